"""The sensors that watch the landing zone: one for each feed."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

import dagster as dg
from dagster import ResourceParam

from affirm_assets.declare.dataset import AUTOMATIC
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.orchestration.arrivals import arrived, feed_readers
from affirm_assets.orchestration.asking import busy, run_request
from affirm_assets.orchestration.books import SECONDS_BETWEEN_TICKS, Project, today
from affirm_assets.orchestration.partitions import asset_key, feed_key
from affirm_assets.orchestration.plan import Ask, landing_asks
from affirm_assets.orchestration.tables import Tables
from affirm_assets.steps.published import Folders, joined
from affirm_assets.steps.request import contents_digest
from resources.iceberg import IcebergCatalog
from resources.landing import Arrival, LandingError, LandingZone

LOOK_BACK = timedelta(days=45)
"""Before the newest day that was seen: what changes in these days is noticed at the next tick."""

OLDER_FOLDERS = 100
"""Of those before, looked at in one tick: in turn, so that each is, in time."""

MOST_BYTES = 1 << 30
"""Of a changed folder that is read to see whether its files are others. A larger one is taken to be changed."""

_DAY = timedelta(days=1)


@dataclass
class Cursor:
    """What a sensor remembers. All of it can be lost: then it is made anew from the tables and the instance.

    `reported`: the days that the instance was told of. `older`: the name up to which older folders were looked at.
    `seen`: of the days whose folder is not as it was read: its listing, and whether its files are others.
    """

    reported: tuple[Window, ...] = ()
    older: str = ""
    seen: dict[date, tuple[str, bool]] = field(default_factory=dict)

    @staticmethod
    def parse(text: str | None) -> "Cursor | None":
        """None: there is none, or nobody can read it."""
        try:
            said: dict[str, Any] = json.loads(text or "")
            reported = tuple(map(Window.parse, said["reported"]))
            seen = {
                date.fromisoformat(day): (str(listing), bool(other)) for day, (listing, other) in said["seen"].items()
            }
            return Cursor(reported, str(said["older"]), seen)
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    def text(self) -> str:
        seen = {str(day): each for day, each in sorted(self.seen.items())}
        return json.dumps({"reported": [*map(str, self.reported)], "older": self.older, "seen": seen})


@dataclass
class _Tick:
    """What one look at a feed's folders brings."""

    feed: str
    read: Folders
    cursor: Cursor
    first: date
    today: date
    news: list[Arrival] = field(default_factory=list)
    complete: list[date] = field(default_factory=list)
    changed: list[date] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    def look(self, zone: LandingZone) -> None:
        newest = max((each.last for each in self.cursor.reported), default=self.first)
        since = max(self.first, newest - LOOK_BACK) - _DAY
        for each in self._older(zone, since):
            self._note(zone, each)
        for each in zone.arrivals(self.feed, since.isoformat()):
            self._note(zone, each)
        days = [day for each in self.news if (day := each.day)]
        windows = (*self.cursor.reported, *(Window(day, day) for day in days))
        self.cursor.reported = joined(windows, Daily("")) if windows else ()

    def _older(self, zone: LandingZone, since: date) -> Iterator[Arrival]:
        found = [*islice(zone.arrivals(self.feed, self.cursor.older), OLDER_FOLDERS)]
        older = [each for each in found if each.name <= since.isoformat()]
        # Once around: from the beginning again.
        self.cursor.older = older[-1].name if len(older) == OLDER_FOLDERS else ""
        yield from older

    def _note(self, zone: LandingZone, found: Arrival) -> None:
        day = found.day
        if found.problem or day is None:
            self.messages.append(found.problem)
        elif day < self.first:
            self.messages.append(f"{self.feed} of {day}: before the first business date, {self.first}; it is not read")
        elif day > self.today:
            self.messages.append(f"{self.feed} of {day}: expected a business date that has begun, found a later one")
        elif not found.is_complete:
            self.messages.append(f"{self.feed} of {day}: waits for _SUCCESS")
        else:
            self.complete.append(day)
            is_other, is_news = self._is_other(zone, found, day)
            if is_other:
                self.changed.append(day)
            if is_news or not any(each.contains(day) for each in self.cursor.reported):
                self.news.append(found)

    def _is_other(self, zone: LandingZone, found: Arrival, day: date) -> tuple[bool, bool]:
        """Whether a folder that was read holds other files now, and whether that is found out just now."""
        read, seen = self.read.get((self.feed, day)), self.cursor.seen.get(day)
        if read is None or read.listing == found.listing:
            self.cursor.seen.pop(day, None)
            return False, False
        if seen and seen[0] == found.listing:
            return seen[1], False
        try:
            is_other = found.bytes > MOST_BYTES or _contents(zone, self.feed, day) != read.contents
        except LandingError as error:  # it changes while it is read, say
            self.messages.append(str(error))
            return False, False
        self.cursor.seen[day] = found.listing, is_other
        return is_other, is_other


def landing_sensors(project: Project) -> list[dg.SensorDefinition]:
    """One for each feed that a dataset reads."""
    return [_sensor(project, feed, names) for feed, names in feed_readers(project.datasets).items()]


def _sensor(project: Project, feed: str, names: tuple[str, ...]) -> dg.SensorDefinition:
    automatic = {name: each for name in names if (each := project.datasets[name]).starts == AUTOMATIC}

    @dg.sensor(
        name=f"{feed}_landing",
        target=dg.AssetSelection.assets(*(asset_key(project.datasets[name]) for name in names)),
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Reports the folders of {feed} that are complete. Has their records read where another feed of "
        "that date is not there yet, and where a folder has other files than were read.",
    )
    def landing(
        context: dg.SensorEvaluationContext, catalog: IcebergCatalog, landing_zone: ResourceParam[LandingZone]
    ) -> dg.SensorResult:
        running = busy(context.instance, project.datasets)
        readers = {name: each for each in project.datasets.values() for name in [each.name] if each.feeds}
        tables = Tables.of(readers, catalog.load())
        there = arrived(landing_zone, readers, tables.records, project.first, today())
        cursor = Cursor.parse(context.cursor) or Cursor(_reported(context.instance, feed))
        tick = _Tick(feed, _read(tables, names), cursor, project.first, today())
        tick.look(landing_zone)
        asks = landing_asks(automatic, tables.records, feed, tick.complete, tick.changed, there.through)
        requests = []
        for ask in asks:
            asked = _asked(context, project, tables, landing_zone, ask, running)
            if isinstance(asked, str):
                tick.messages.append(asked)
            else:
                requests.append(asked)
        for each in tick.messages:
            context.log.info(each)
        said = "; ".join(tick.messages) or f"{len(tick.news)} new folders of {feed}"
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(said),
            cursor=tick.cursor.text(),
            asset_events=[_materialization(feed, each) for each in tick.news],
        )

    return landing


def _asked(
    context: dg.SensorEvaluationContext,
    project: Project,
    tables: Tables,
    zone: LandingZone,
    ask: Ask,
    running: Iterable[Ask],
) -> dg.RunRequest | str:
    if meets := next((each for each in running if ask.meets(each)), None):
        return f"{ask.datasets[0]} of {ask.window}: after {meets.reason}"
    state = project.state(ask, tables, zone)
    return run_request(context.instance, ask, project.datasets, state, datetime.now(UTC))


def _contents(zone: LandingZone, feed: str, day: date) -> str:
    return contents_digest((each.name, each.sha256) for each in zone.pin(feed, day, day))


def _read(tables: Tables, names: Iterable[str]) -> Folders:
    return {key: each for name in names for key, each in tables.records[name].folders.items()}


def _reported(instance: dg.DagsterInstance, feed: str) -> tuple[Window, ...]:
    days = [date.fromisoformat(key) for key in instance.get_materialized_partitions(feed_key(feed))]
    return joined([Window(day, day) for day in days], Daily(""))


def _materialization(feed: str, found: Arrival) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        feed_key(feed),
        partition=found.name,
        metadata={"files": found.files, "bytes": found.bytes},
        tags={"dagster/data_version": found.listing},
    )
