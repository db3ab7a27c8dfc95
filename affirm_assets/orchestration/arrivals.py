"""What has arrived in the landing zone, as far as the books need to know."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta

from affirm_assets.declare.dataset import BY_HAND, Dataset
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.steps.published import Record
from resources.landing import Arrival, LandingZone

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Arrived:
    """The last day up to which all feeds are there, and what lacks of the day after it; `problems`: of entries."""

    through: date
    lacks: str
    problems: tuple[str, ...] = ()


def arrived(
    zone: LandingZone, datasets: Mapping[str, Dataset], records: Mapping[str, Record], first: date, today: date
) -> Arrived:
    """From the first day that was not read of all feeds, by a dataset that starts by itself. A day that one has read is
    there, though its folder may be gone.

    Raises LandingUnreachable.
    """
    readers = feed_readers({name: each for name, each in datasets.items() if each.starts != BY_HAND})
    begins = {
        feed: max(read.begins(first) for name in names for read in datasets[name].feeds if read.feed == feed)
        for feed, names in readers.items()
    }
    day = min((_unread(records, names, begins[feed]) for feed, names in readers.items()), default=today + _DAY)
    folders = {feed: _Folders(zone, feed) for feed in readers}
    lacks: list[str] = []
    while day <= today:
        for feed, names in readers.items():
            if day < begins[feed] or any(records[name].covers(day) for name in names):
                continue
            if not folders[feed].is_complete(day):
                lacks.append(feed)
        if lacks:
            break
        day += _DAY
    problems = tuple(each for listed in folders.values() for each in listed.problems)
    said = f"waits for {' and '.join(lacks)} of {day}" if lacks else f"all feeds are there through {today}"
    return Arrived(day - _DAY, said, problems)


def feed_readers(datasets: Mapping[str, Dataset]) -> Mapping[str, tuple[str, ...]]:
    """The datasets that read each feed."""
    feeds = sorted({read.feed for each in datasets.values() for read in each.feeds})
    return {
        feed: tuple(name for name, each in datasets.items() if feed in {read.feed for read in each.feeds})
        for feed in feeds
    }


def _unread(records: Mapping[str, Record], names: tuple[str, ...], first: date) -> date:
    """The first day, from `first` on, that none of these has published up to."""
    return max(records[name].missing(Window(first, date.max), Daily(""))[0].first for name in names)


@dataclass
class _Folders:
    """The folders of a feed, by day in order. The first is looked for alone: mostly it is not there, and is all."""

    zone: LandingZone
    feed: str
    problems: list[str] = field(default_factory=list)
    _asked: bool = False
    _listed: Iterator[Arrival] | None = None
    _next: Arrival | None = None

    def is_complete(self, day: date) -> bool:
        if not self._asked:
            self._asked = True
            return self._is_complete(self.zone.arrival(self.feed, day))
        self._listed = self._listed or self.zone.arrivals(self.feed, (day - _DAY).isoformat())
        while (found := self._next or next(self._listed, None)) is not None:
            self._next = None if found.problem else found
            if found.problem:  # a bucket lists 2025-01-30-old before 2025-01-30
                self.problems.append(found.problem)
            elif found.name > day.isoformat():
                return False
            elif found.name == day.isoformat():
                self._next = None
                return found.is_complete
            self._next = None
        return False

    def _is_complete(self, found: Arrival | None) -> bool:
        if found and found.problem:
            self.problems.append(found.problem)
        return found is not None and found.is_complete
