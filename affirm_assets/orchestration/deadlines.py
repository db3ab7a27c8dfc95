"""Schedules that look, at a feed's deadline, whether what is due has arrived, and tell the feed's owner if not.

They ask for no run: files that come later are the landing sensors' business.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import takewhile

import dagster as dg
from dagster import ResourceParam

from affirm_assets.declare.calendar import NEW_YORK, Due
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration.alerts import Alert, AlertHook, alert_of, tell
from affirm_assets.orchestration.partitions import asset_key
from resources.landing import LandingZone

_LOOK_BACK = timedelta(days=7)
"""A daemon that was away runs the last missed tick of a schedule only: what fell due since then is looked at again.

What was told is not told again."""


@dataclass(frozen=True)
class FeedDue:
    """A feed's deadline, the dataset that reads it, whose owner is who waits, and the feed's first business date."""

    feed: str
    due: Due
    reader: Dataset
    first: date


def deadline_schedules(registry: Registry, first: date, ui_url: str) -> list[dg.ScheduleDefinition]:
    """One for each feed that declares a deadline. `first`: the first business date."""
    return [_schedule(each, ui_url) for each in feeds_due(registry, first)]


def feeds_due(registry: Registry, first: date) -> list[FeedDue]:
    """The feeds that declare a deadline. None has a date before `first`."""
    return [
        FeedDue(feed.feed, due, dataset, feed.begins(first))
        for dataset in registry.in_order()
        for feed in dataset.feeds
        if (due := feed.deadline)
    ]


def dates_due(due: Due, tick: datetime, first: date) -> list[date]:
    """The business dates, from `first` on, to look for at a tick: none, or the last of them falls due on its day.

    Those of the days before are among them, see _LOOK_BACK.
    """
    today = tick.astimezone(NEW_YORK).date()
    newest = due.newest_due(tick, first)
    if newest is None or due.day(newest) != today:
        return []
    back = (newest - timedelta(days=number) for number in range((newest - first).days + 1))
    return sorted(takewhile(lambda day: due.day(day) > today - _LOOK_BACK, back))


def says(due: Due, tick: datetime, dates: Sequence[date], lacking: Mapping[date, str]) -> str:
    """What is shown of a tick that looked for these dates."""
    today = tick.astimezone(NEW_YORK).date()
    if not dates:
        return f"{today:%A} {today}: no business date falls due."
    falls_due = ", ".join(str(day) for day in dates if due.day(day) == today)
    looked = f"Due by {due.at:%H:%M} on {today:%A} {today}: {falls_due}."
    if not lacking:
        return f"{looked} Complete, as is all that fell due in the {_LOOK_BACK.days} days before."
    return f"{looked} Late: {'; '.join(lack for _, lack in sorted(lacking.items()))}."


def late_files(each: FeedDue, lacking: Mapping[date, str], ui_url: str) -> list[Alert]:
    return [
        alert_of(
            each.reader,
            day,
            ui_url,
            cause=f"late/{each.feed}/{day}",
            title=f"the files of feed {each.feed} are late",
            reason=f"expected them by {each.due.due_at(day):%A %Y-%m-%d %H:%M} in New York; found {lack}",
        )
        for day, lack in sorted(lacking.items())
    ]


def _schedule(each: FeedDue, ui_url: str) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=f"{each.feed}_due",
        cron_schedule=f"{each.due.at.minute} {each.due.at.hour} * * *",
        execution_timezone=NEW_YORK.key,
        target=dg.AssetSelection.assets(asset_key(each.reader)),
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Looks whether the folders of feed {each.feed} that are due ({each.due}, New York) are complete, "
        f"and tells {each.reader.owner} if not. Starts no run.",
    )
    def schedule(
        context: dg.ScheduleEvaluationContext,
        landing_zone: ResourceParam[LandingZone],
        alerts: ResourceParam[Sequence[AlertHook]],
    ) -> dg.SkipReason:
        tick = context.scheduled_execution_time
        dates = dates_due(each.due, tick, each.first)
        lacking = landing_zone.lacking(each.feed, dates)
        tell(context.instance, alerts, late_files(each, lacking, ui_url), datetime.now(UTC))
        return dg.SkipReason(says(each.due, tick, dates, lacking))

    return schedule
