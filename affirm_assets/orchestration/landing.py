"""The sensors that watch the landing zone: one for each feed."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from typing import Any

import dagster as dg
from dagster import ResourceParam

from affirm_assets.declare.dataset import AUTOMATIC, Dataset
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.orchestration.alerts import Alert, AlertHook, alert_of, tell
from affirm_assets.orchestration.arrivals import arrived, feed_readers
from affirm_assets.orchestration.asking import busy
from affirm_assets.orchestration.books import SECONDS_BETWEEN_TICKS, Project, shown
from affirm_assets.orchestration.partitions import asset_key, feed_key, today
from affirm_assets.orchestration.plan import Ask, landing_asks
from affirm_assets.orchestration.tables import Tables
from affirm_assets.steps.folders import Folder
from affirm_assets.steps.published import Record, joined
from affirm_assets.steps.request import contents_digest
from resources.iceberg import IcebergCatalog
from resources.landing import Arrival, LandingError, LandingZone

LOOK_BACK = timedelta(days=45)
"""Before the newest day that was seen: what changes in these days is noticed at the next tick."""

OLDER_FOLDERS = 100
"""Of those before, looked at in one tick: in turn, so that each is, in time."""

NEW_FOLDERS = 5_000
"""Looked at in one tick: a tick that takes longer than a minute is given up, and would be for ever."""

MOST_BYTES = 256 << 20
"""Of changed folders that are read in one tick to see whether their files are others; the rest waits for the next tick.

A folder that is larger by itself is taken to be changed."""

MOST_FOLDERS = 20
"""That are read so in one tick: each costs some requests, too."""

_DAY = timedelta(days=1)


@dataclass
class Cursor:
    """What a sensor remembers. All of it can be lost: then it is made anew from the tables and the instance.

    `reported`: the days that the instance was told of. `older`: the name up to which older folders were looked at.
    `seen`: of the days whose folder is not as it was read: its listing, and the datasets that have read other files;
    None: it may be changing still.
    """

    reported: tuple[Window, ...] = ()
    older: str = ""
    seen: dict[date, tuple[str, list[str] | None]] = field(default_factory=dict)

    @staticmethod
    def parse(text: str | None) -> "Cursor | None":
        """None: there is none, or nobody can read it."""
        try:
            said: dict[str, Any] = json.loads(text or "")
            reported = tuple(map(Window.parse, said["reported"]))
            seen = {date.fromisoformat(day): (str(listing), by) for day, (listing, by) in said["seen"].items()}
            if not all(by is None or isinstance(by, list) for _, by in seen.values()):
                return None
            return Cursor(reported, str(said["older"]), seen)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None

    def text(self) -> str:
        seen = {str(day): each for day, each in sorted(self.seen.items())}
        return json.dumps({"reported": [*map(str, self.reported)], "older": self.older, "seen": seen})


@dataclass
class _Tick:
    """What one look at a feed's folders brings. `records`: of the datasets that read the feed, by name.

    `fewer`: of the days whose folder has lost files since it was read, what is said of it.
    """

    feed: str
    records: Mapping[str, Record]
    cursor: Cursor
    first: date
    today: date
    news: list[Arrival] = field(default_factory=list)
    complete: list[date] = field(default_factory=list)
    changed: dict[date, list[str]] = field(default_factory=dict)
    fewer: dict[date, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)
    bytes_left: int = MOST_BYTES
    folders_left: int = MOST_FOLDERS

    def look(self, zone: LandingZone) -> None:
        newest = max((each.last for each in self.cursor.reported), default=self.first)
        since = max(self.first, newest - LOOK_BACK) - _DAY
        for each in self._older(zone, since):
            self._note(zone, each)
        for each in islice(zone.arrivals(self.feed, since.isoformat()), NEW_FOLDERS):
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
            by, is_news = self._changed(zone, found, day)
            if by:
                self.changed[day] = by
            if is_news or not any(each.contains(day) for each in self.cursor.reported):
                self.news.append(found)

    def _changed(self, zone: LandingZone, found: Arrival, day: date) -> tuple[list[str], bool]:
        """The datasets that have read other files than the folder holds, and whether that is found out just now."""
        read = {name: each.folders.get(self.feed, day) for name, each in self.records.items() if each.covers(day)}
        # Of a day that is published nobody may know what was read: somebody has removed that property.
        differ = {name: each for name, each in read.items() if each is None or each.listing != found.listing}
        if not differ:
            self.cursor.seen.pop(day, None)
            return [], False
        if fewer := [each for each in differ.values() if each and found.files < each.files]:
            text = (
                f"{self.feed} of {day}: expected the {fewer[0].files} files that were read of it, found {found.files}. "
                f"Put the others back. If they are to go, materialize {' and '.join(differ)} of that date by hand."
            )
            self.messages.append(text)
            was_so, _ = self.cursor.seen.get(day, ("", None))
            self.cursor.seen[day] = found.listing, None
            # At the first look they may be being replaced just now.
            if was_so == found.listing:
                self.fewer[day] = text
            return [], False
        listing, by = self.cursor.seen.get(day, ("", None))
        if listing != found.listing:
            # It may be being written just now: looked at again at the next tick.
            self.cursor.seen[day] = found.listing, None
            return [], False
        if by is not None:
            return [name for name in by if name in differ], False
        if not self.folders_left or not self.bytes_left:
            return [], False
        by = self._others(zone, found, day, differ)
        if by is not None:
            self.cursor.seen[day] = found.listing, by
        return by or [], bool(by)

    def _others(
        self, zone: LandingZone, found: Arrival, day: date, differ: Mapping[str, Folder | None]
    ) -> list[str] | None:
        """Those of the datasets whose files are others than the folder's; None: it changes while it is read."""
        if found.bytes > MOST_BYTES:
            return [*differ]
        self.folders_left -= 1
        self.bytes_left = max(0, self.bytes_left - found.bytes)
        try:
            contents = contents_digest((each.name, each.sha256) for each in zone.pin(self.feed, day, day))
        except LandingError as error:
            self.messages.append(str(error))
            return None
        return [name for name, each in differ.items() if each is None or each.contents != contents]


def looked_through(
    zone: LandingZone, feed: str, records: Mapping[str, Record], first: date, today: date
) -> tuple[list[date], Mapping[date, list[str]], list[str]]:
    """All folders of a feed, for a person who does not wait for ticks: which days are complete, which of them hold
    other files than were read, and by which datasets; and messages. `records`: of the datasets that read the feed.

    Raises LandingUnreachable.
    """
    cursor = Cursor()
    for _ in range(2):  # a folder is another once it was seen so twice
        cursor = Cursor(seen=cursor.seen)
        tick = _Tick(feed, records, cursor, first, today, bytes_left=sys.maxsize, folders_left=sys.maxsize)
        tick.look(zone)
    return tick.complete, tick.changed, tick.messages


def landing_sensors(project: Project, ui_url: str) -> list[dg.SensorDefinition]:
    """One for each feed that a dataset reads."""
    return [_sensor(project, feed, names, ui_url) for feed, names in feed_readers(project.datasets).items()]


def _fewer_files(reader: Dataset, feed: str, fewer: Mapping[date, str], ui_url: str) -> list[Alert]:
    return [
        alert_of(
            reader,
            day,
            ui_url,
            cause=f"fewer/{feed}/{day}/{text}",
            title=f"files of feed {feed} are gone",
            reason=text,
        )
        for day, text in sorted(fewer.items())
    ]


def _late_files(
    reader: Dataset, feed: str, asks: Iterable[Ask], cursor: Cursor, closed: Mapping[Ask, Window], ui_url: str
) -> list[Alert]:
    """Of each day whose rows are asked for again."""
    days = sorted(
        {
            day
            for day in cursor.seen
            for ask in asks
            if ask.restates and ask.window and ask.window.contains(day)
            if ask not in closed or not closed[ask].contains(day)
        }
    )
    return [
        alert_of(
            reader,
            day,
            ui_url,
            cause=f"late/{feed}/{day}/{cursor.seen[day][0]}",
            title=f"late files of feed {feed}",
            reason="The folder holds other files than were read of it. The books from this date on are computed again.",
        )
        for day in days
    ]


def _closed_files(
    reader: Dataset, feed: str, asks: Iterable[Ask], cursor: Cursor, closed: Mapping[Ask, Window], ui_url: str
) -> list[Alert]:
    """Of each day that is closed and whose folder holds other files than were read."""
    days = sorted({day for day in cursor.seen for ask in asks if ask in closed and closed[ask].contains(day)})
    return [
        alert_of(
            reader,
            day,
            ui_url,
            cause=f"closed/{feed}/{day}/{cursor.seen[day][0]}",
            title=f"files of feed {feed} for a closed month",
            reason="The folder holds other files than were read of it. Nothing is computed: the month is closed. To "
            f"read them: affirm restate --from {day} --reason TEXT",
        )
        for day in days
    ]


def _sensor(project: Project, feed: str, names: tuple[str, ...], ui_url: str) -> dg.SensorDefinition:
    automatic = {name: each for name in names if (each := project.datasets[name]).starts == AUTOMATIC}

    @dg.sensor(
        name=f"{feed}_landing",
        asset_selection=dg.AssetSelection.assets(*(asset_key(project.datasets[name]) for name in names)),
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Reports the folders of {feed} that are complete. Has their records read where another feed of "
        "that date is not there yet, and where a folder has other files than were read.",
    )
    def landing(
        context: dg.SensorEvaluationContext,
        catalog: IcebergCatalog,
        landing_zone: ResourceParam[LandingZone],
        alerts: ResourceParam[Sequence[AlertHook]],
    ) -> dg.SensorResult:
        running = busy(context.instance, project.datasets, datetime.now(UTC))
        readers = {name: each for name, each in project.datasets.items() if each.feeds}
        with catalog.load() as loaded:  # closed: a server ticks for months, and each holds a connection
            tables = Tables.of(readers, loaded)
        cursor = Cursor.parse(context.cursor) or Cursor(_reported(context.instance, feed))
        known = {name: tables.records[name] for name in names if name not in tables.refused}
        tick = _Tick(feed, known, cursor, project.first, today())
        tick.look(landing_zone)
        tick.messages += [tables.refused[name] for name in names if name in tables.refused]
        through = _all_feeds_through(landing_zone, readers, tables, project.first)
        able = {name: each for name, each in automatic.items() if name in known}
        asks = landing_asks(able, tables.records, feed, tick.complete, tick.changed, through)
        closed = {ask: days for ask in asks if (days := tables.closed_part(project.datasets, ask.datasets, ask.window))}
        requests: list[dg.RunRequest] = []
        for ask in asks:
            found, said = project.run_requests(context.instance, ask, running, tables, landing_zone)
            requests += found
            tick.messages += said
        told = [
            *_fewer_files(project.datasets[names[0]], feed, tick.fewer, ui_url),
            *_late_files(project.datasets[names[0]], feed, asks, cursor, closed, ui_url),
            *_closed_files(project.datasets[names[0]], feed, asks, cursor, closed, ui_url),
        ]
        if told:
            tell(context.instance, alerts, told, datetime.now(UTC))
        for each in tick.messages:
            context.log.info(each)
        why = shown(tick.messages) or f"{len(tick.news)} new folders of {feed}"
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(why),
            cursor=tick.cursor.text(),
            asset_events=[_materialization(feed, each) for each in tick.news],
        )

    return landing


def _all_feeds_through(zone: LandingZone, readers: Mapping[str, Dataset], tables: Tables, first: date) -> date:
    try:
        return arrived(zone, readers, tables.records, first, today()).through
    except LandingError:  # another feed's, whose own sensor says it
        return first - _DAY


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
