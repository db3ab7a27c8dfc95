"""The checks `fresh` and `complete` of each dataset with partitions, and the sensor that says how they stand.

No step computes them: they change with time, and with other partitions than those of a run.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256

import dagster as dg
from dagster import ResourceParam
from pyiceberg.catalog import Catalog

from affirm_assets.declare.calendar import NEW_YORK
from affirm_assets.declare.dataset import COMPLETE, FRESH, Dataset
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration.alerts import Alert, AlertHook, alert_of, tell
from affirm_assets.orchestration.partitions import asset_key
from affirm_assets.orchestration.standing import Finding, expects_what_is_there, standings
from affirm_assets.orchestration.tables import Tables
from affirm_assets.steps.published import Record
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone

_SECONDS_BETWEEN_TICKS = 60

_MOST_NAMED = 10
"""Of the checks that fail, in what is shown of a tick."""


@dataclass(frozen=True)
class Found:
    """A check's finding, and the dataset that it is of. is_refused: its table cannot be read as it is."""

    dataset: Dataset
    check: str
    finding: Finding
    is_refused: bool = False

    @property
    def key(self) -> dg.AssetCheckKey:
        return dg.AssetCheckKey(asset_key(self.dataset), self.check)


def standing_check_specs(dataset: Dataset) -> Iterator[dg.AssetCheckSpec]:
    """They are among the checks of the dataset's step, which yields `not_evaluated` for them.

    Dagster shows a check only if some job yields it, and a backfill fails at runs that do not yield all its assets'
    checks.
    """
    if dataset.partitions is None:
        return
    if dataset.freshness:
        yield dg.AssetCheckSpec(
            FRESH,
            asset=asset_key(dataset),
            description=f"The newest business date that is due ({dataset.freshness}, New York) is published.",
        )
    yield dg.AssetCheckSpec(
        COMPLETE,
        asset=asset_key(dataset),
        description="Nothing is left failed or missing between the first business date and "
        + ("the newest that is due." if dataset.freshness else "the newest that could be published."),
    )


def not_evaluated(context: dg.AssetExecutionContext, dataset: Dataset) -> Iterator[dg.Output[None]]:
    """What the dataset's step yields for these checks: an output without an evaluation."""
    for each in standing_check_specs(dataset):
        yield dg.Output(None, context.assets_def.get_output_name_for_asset_check_key(each.key))


def standing_sensor(registry: Registry, first: date, ui_url: str) -> dg.SensorDefinition:
    """`first`: the first business date of the deployment."""
    datasets = [each for each in registry.in_order() if each.partitions]

    @dg.sensor(
        name="standing",
        minimum_interval_seconds=_SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Says in each dataset's checks `fresh` and `complete` whether the newest due business date is "
        "published and nothing before it is missing, and tells the owner if a date misses its deadline, or if the "
        "table cannot be read.",
    )
    def standing(
        context: dg.SensorEvaluationContext,
        catalog: IcebergCatalog,
        landing_zone: ResourceParam[LandingZone],
        alerts: ResourceParam[Sequence[AlertHook]],
    ) -> dg.SensorResult:
        now = datetime.now(UTC)
        with catalog.load() as loaded:
            found = look(datasets, loaded, landing_zone, first, now)
        news = not_shown(context.instance, found)
        tell(context.instance, alerts, [*late_datasets(found, ui_url), *refused_tables(found, ui_url)], now)
        return dg.SensorResult(asset_events=[*map(evaluation, news)], skip_reason=dg.SkipReason(says(found, news)))

    return standing


def look(datasets: Sequence[Dataset], catalog: Catalog, zone: LandingZone, first: date, now: datetime) -> list[Found]:
    """What both checks of each dataset find. `datasets`: those with partitions, upstream first.

    Loads each table once; looks into the landing zone only for those that read feeds and were never published, or have
    no deadline.
    """
    tables = Tables.of({each.name: each for each in datasets}, catalog)
    records = tables.records
    arrived = {
        each.name: there
        for each in datasets
        if each.feeds and not records[each.name].windows
        if (there := _arrived(each, zone, first, now))
    }
    newest = {
        each.name: there
        for each in datasets
        if each.feeds and expects_what_is_there(each)
        if (there := _newest_arrived(each, zone, records[each.name], first, now))
    }
    found = []
    for each in standings(datasets, records, arrived, first, newest):
        refused = tables.refused.get(each.dataset.name)
        wrong = Finding(False, refused) if refused is not None else None
        if fresh := each.fresh(now):
            found.append(Found(each.dataset, FRESH, wrong or fresh, wrong is not None))
        found.append(Found(each.dataset, COMPLETE, wrong or each.complete(now), wrong is not None))
    return found


def not_shown(instance: dg.DagsterInstance, found: Sequence[Found]) -> list[Found]:
    """Those that Dagster's UI does not show already.

    Beside what was never reported or is otherwise now, these are checks of a dataset that was materialized since: an
    evaluation from before it is shown no more.
    """
    keys = [each.key for each in found]
    executions = instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    entries = [each.asset_entry for each in instance.get_asset_records(list({key.asset_key for key in keys}))]
    materialized = {each.asset_key: each.last_materialization for each in entries}
    news = []
    for each in found:
        execution, last = executions.get(each.key), materialized.get(each.key.asset_key)
        shown = execution.evaluation if execution else None
        is_same = (
            isinstance(shown, dg.AssetCheckEvaluation)  # or it is only announced, by a run
            and (shown.passed, shown.description) == (each.finding.passed, each.finding.text)
        )
        if not execution or not is_same or (last and last.timestamp >= execution.create_timestamp):
            news.append(each)
    return news


def evaluation(each: Found) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=asset_key(each.dataset),
        check_name=each.check,
        passed=each.finding.passed,
        description=each.finding.text,
        severity=dg.AssetCheckSeverity.ERROR,
        blocking=False,
    )


def late_datasets(found: Sequence[Found], ui_url: str) -> list[Alert]:
    return [
        alert_of(
            each.dataset,
            each.finding.window,
            ui_url,
            cause=f"freshness/{each.dataset}/{each.finding.window}",
            title="not published by its deadline",
            reason=each.finding.text,
        )
        for each in found
        if each.check == FRESH and each.finding.window
    ]


def refused_tables(found: Sequence[Found], ui_url: str) -> list[Alert]:
    """Nothing is computed of such a table, so that no run fails which would be told."""
    return [
        alert_of(
            each.dataset,
            None,
            ui_url,
            cause=f"refused/{each.dataset}/{sha256(each.finding.text.encode()).hexdigest()}",
            title="its table cannot be read",
            reason=each.finding.text,
        )
        for each in found
        if each.check == COMPLETE and each.is_refused
    ]


def says(found: Sequence[Found], news: Sequence[Found]) -> str:
    """What is shown of a tick."""
    failed = [f"{each.dataset} {each.check}" for each in found if not each.finding.passed]
    named = ", ".join(failed[:_MOST_NAMED]) + (", ..." if len(failed) > _MOST_NAMED else "")
    datasets = len({each.dataset.name for each in found})
    return (
        f"{len(found)} checks of {datasets} datasets: {len(news)} reported, {len(failed)} failed"
        f"{f' ({named})' if failed else ''}."
    )


def _arrived(dataset: Dataset, zone: LandingZone, first: date, now: datetime) -> date | None:
    """The feeds' first date or else the newest that is due, if all the dataset's feeds have it."""
    first = max((feed.begins(first) for feed in dataset.feeds), default=first)
    newest = dataset.freshness.newest_due(now, first) if dataset.freshness else None
    days = sorted({first, newest or first})
    lacking = [zone.lacking(feed.feed, days) for feed in dataset.feeds]
    return next((day for day in days if not any(day in each for each in lacking)), None)


def _newest_arrived(dataset: Dataset, zone: LandingZone, record: Record, first: date, now: datetime) -> date | None:
    """The newest date that all the dataset's feeds have, after the newest that it has published."""
    today = now.astimezone(NEW_YORK).date()
    there = []
    for feed in dataset.feeds:
        after = record.windows[-1].last if record.windows else feed.begins(first) - timedelta(days=1)
        found = zone.arrivals(feed.feed, after.isoformat())
        there.append({each.day for each in found if each.is_complete and each.day and each.day <= today})
    return max(set.intersection(*there), default=None)
