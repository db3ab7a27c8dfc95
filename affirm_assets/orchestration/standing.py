"""How a dataset stands against its deadlines: is the newest due date published, and is nothing missing before it.

Decided from what the tables say is published, from the dataset's own calendar and from the time that is handed in.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime

from affirm_assets.declare.dataset import AUTOMATIC, Dataset
from affirm_assets.declare.inputs import Before, Previous
from affirm_assets.declare.partitions import Partitions, Window
from affirm_assets.steps.published import Record

_MOST_NAMED = 10
"""Of the windows that are missing."""


@dataclass(frozen=True)
class Finding:
    """What a check found, in a sentence. `window`: the partition that should have been published and is not."""

    passed: bool
    text: str
    window: date | None = None


@dataclass(frozen=True)
class Standing:
    """What is known of a dataset that has partitions. `record`: what is published of it.

    `first`: its first partition, or the one that it should have had; None: there is nothing to compute it from.
    `through`: without a deadline, the newest day of which all is there that it is computed from; None: there is none,
    or nothing asks for the dataset by itself.
    """

    dataset: Dataset
    partitions: Partitions
    record: Record
    first: date | None
    waits_for: str = ""
    through: date | None = None

    def fresh(self, now: datetime) -> Finding | None:
        """Whether the newest partition that is due is published; None: the dataset declares no deadline."""
        due = self.dataset.freshness
        if due is None:
            return None
        if self.first is None:
            return Finding(True, f"Nothing is due: it waits for {self.waits_for}.")
        newest = self._newest_due(now)
        if newest is None:
            at = due.due_at(self._last_day(self.first))
            return Finding(True, f"Nothing is due yet: {self.first} is, by {at:%A %Y-%m-%d %H:%M}.")
        by = f"{newest} was due by {due.due_at(self._last_day(newest)):%A %Y-%m-%d %H:%M} in New York"
        if self.record.covers(newest):
            return Finding(True, f"{by} and is published.")
        published = [each.last for each in self.record.windows if each.last < newest]
        newest_there = (
            f"the newest before it that is published is {published[-1]}" if published else "nor is any before it"
        )
        return Finding(False, f"{by} and is not published; {newest_there}.", newest)

    def complete(self, now: datetime) -> Finding:
        """Whether all partitions are published from the first to the newest due one.

        Without a deadline, to the newest that could be published. A partition whose run failed is missing like others.
        """
        if self.first is None:
            return Finding(True, f"Nothing is missing: it waits for {self.waits_for}.")
        last = self._newest_due(now) if self.dataset.freshness else self._newest_there()
        if last is None or last < self.first:
            return Finding(True, "Nothing is missing: nothing is due yet.")
        all_of_it = Window(self.first, last)
        there_should_be = sum(1 for _ in self.partitions.starts(all_of_it))
        gaps = self.record.missing(all_of_it, self.partitions)
        if not gaps:
            return Finding(True, f"All of {all_of_it} is published: {there_should_be:,} partitions.")
        count = sum(1 for gap in gaps for _ in self.partitions.starts(gap))
        named = ", ".join(map(str, gaps[:_MOST_NAMED]))
        more = f" and {len(gaps) - _MOST_NAMED} more windows" if len(gaps) > _MOST_NAMED else ""
        return Finding(
            False, f"{count:,} of {there_should_be:,} partitions of {all_of_it} are not published: {named}{more}."
        )

    def _newest_due(self, now: datetime) -> date | None:
        if self.first is None or self.dataset.freshness is None:
            return None
        day = self.dataset.freshness.newest_due(now, self.first)
        return None if day is None else self._newest_within(day, self.first)

    def _newest_there(self) -> date | None:
        """The newest partition that is published, or of which all is there that it is computed from.

        The newest that is published is not enough: then nothing would be missing, though each new date fails.
        """
        could_be = self._newest_within(self.through, self.first) if self.through and self.first else None
        published = self.record.windows[-1].last if self.record.windows else None
        return max(filter(None, (published, could_be)), default=None)

    def _newest_within(self, day: date, first: date) -> date | None:
        """The newest partition that has all its days by this one; None: it would be before the first."""
        newest = self.partitions.covering(Window(day, day)).first
        if self._last_day(newest) > day:
            newest = self.partitions.before(Window(newest, newest), 1).first
        return newest if newest >= first else None

    def _last_day(self, partition: date) -> date:
        return self.partitions.days(Window(partition, partition)).last


def standings(
    datasets: Iterable[Dataset],
    records: Mapping[str, Record],
    arrived: Mapping[str, date],
    first: date,
    newest: Mapping[str, date],
) -> Iterator[Standing]:
    """Of each dataset with partitions. `datasets`: upstream first.

    `records`: what is published, by dataset. `arrived`: the first date of which there are files, of those that read
    feeds and were never published. `first`: the first business date. `newest`: the last date of which there are files
    that were not read, of those that read feeds and have no deadline.

    A dataset's partitions begin with its first that is published, or with that of what it reads, if that is earlier.
    """
    firsts: dict[str, date | None] = {}
    kinds: dict[str, Partitions] = {}
    for each in datasets:
        if each.partitions is None:
            continue
        kinds[each.name] = each.partitions
        record = records.get(each.name, Record())
        reads = [name for name in _upstream(each) if name in firsts]
        lacking = [name for name in reads if firsts[name] is None]
        begun = [there for name in reads if (there := firsts[name])]
        should = arrived.get(each.name) if each.feeds else None
        if begun and not lacking:
            should = _begins(each.partitions, max(begun), first)
        published = record.windows[0].first if record.windows else None
        firsts[each.name] = min(filter(None, (published, should)), default=None)
        folders = [
            f"the first complete folder of feed {feed.feed}, such as {feed.feed}/{feed.begins(first)}"
            for feed in each.feeds
        ]
        waits_for = " and ".join([*folders, *lacking])
        through = _through(each, records, kinds, newest) if expects_what_is_there(each) else None
        yield Standing(each, each.partitions, record, firsts[each.name], waits_for, through)


def expects_what_is_there(dataset: Dataset) -> bool:
    """Whether a partition should be published once all is there that it is computed from: nothing says by when."""
    return dataset.freshness is None and dataset.starts == AUTOMATIC


def _through(
    dataset: Dataset, records: Mapping[str, Record], kinds: Mapping[str, Partitions], newest: Mapping[str, date]
) -> date | None:
    """The newest day that is there of all that a dataset is computed from; None: there is none.

    `kinds`: the partitions of the datasets that have any; of others, no day is expected.
    """
    there: list[list[Window]] = []
    for mapped in dataset.computed_from:
        if mapped.dataset != dataset.name and (kind := kinds.get(mapped.dataset)):
            windows = records.get(mapped.dataset, Record()).windows
            # Where it is read as it was before, the days after it can be computed.
            more = [kind.after(each, 1) if isinstance(mapped, Previous | Before) else each for each in windows]
            days = zip(windows, more, strict=True)
            there.append([Window(each.first, kind.days(after).last) for each, after in days])
    if dataset.feeds:
        there.append([Window(date.min, newest[dataset.name])] if dataset.name in newest else [])
    day = date.max if there else date.min
    while (all_have := min((_newest_by(day, each) for each in there), default=day)) < day:
        day = all_have  # which some may not have, but only days before it
    return None if day == date.min else day


def _newest_by(day: date, windows: Iterable[Window]) -> date:
    """The newest of their days that is not after this one; date.min: there is none."""
    return max((min(each.last, day) for each in windows if each.first <= day), default=date.min)


def _upstream(dataset: Dataset) -> list[str]:
    """The other datasets that it is computed from."""
    return list(dict.fromkeys(each.dataset for each in dataset.computed_from if each.dataset != dataset.name))


def _begins(partitions: Partitions, day: date, first: date) -> date:
    """The first partition that has all its days if data begin on `day`. Before `first` there are none."""
    found = partitions.covering(Window(day, day))
    return found.first if found.first >= day or day <= first else partitions.after(found, 1).first
