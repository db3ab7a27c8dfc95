"""What should be computed next: decided from what the tables say is published, and from nothing else.

Pure. A lost event, a daemon that was away or a run started by hand changes nothing: whoever asks again gets the same
answer from the same tables.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from math import inf

from affirm_assets.declare.dataset import AUTOMATIC, Dataset
from affirm_assets.declare.inputs import Before, MappedTable, Previous, SameWindow, Through
from affirm_assets.declare.partitions import Daily, Monthly, Partitions, Window
from affirm_assets.steps.published import Publication, Record, joined

MISSING = "missing"
"""The trigger of an ask for partitions that were never published."""

_NEVER = date.max
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Ask:
    """Datasets to compute in one run, upstream first, all for one window; None: they have no partitions.

    `restates`: the window was published before. `trigger` names what made it necessary, for as long as it is necessary.
    """

    datasets: tuple[str, ...]
    window: Window | None
    reason: str
    trigger: str
    restates: bool = False

    def meets(self, other: "Ask") -> bool:
        """Whether both compute a dataset for the same days."""
        is_shared = bool(set(self.datasets) & set(other.datasets))
        return is_shared and (self.window is None or other.window is None or self.window.overlaps(other.window))


@dataclass(frozen=True)
class Plan:
    """What to ask for, and what waits for what."""

    asks: tuple[Ask, ...] = ()
    waits: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Need:
    """The first partition that is missing or out of date, and why."""

    first: date
    reason: str
    trigger: str
    restates: bool


@dataclass(frozen=True)
class Books:
    """The datasets of a project, upstream first, and what is published of each.

    `first`: the first business date. `by_hand`: the names of those that nothing asks for.
    """

    datasets: Mapping[str, Dataset]
    records: Mapping[str, Record]
    first: date
    by_hand: frozenset[str] = frozenset()

    @staticmethod
    def of(datasets: Mapping[str, Dataset], records: Mapping[str, Record], first: date) -> "Books":
        """`datasets` upstream first."""
        by_hand = frozenset(name for name, each in datasets.items() if each.starts != AUTOMATIC)
        return Books(datasets, records, first, by_hand)

    def plan(self, through: date, busy: Iterable[Ask] = (), without: Collection[str] = ()) -> Plan:
        """Everything that is missing or out of date, for the business dates through `through`.

        One ask for each kind of partitions. `busy`: what runs are computing now. What they compute, and what reads it,
        waits; so does what reads one of `without`, which nobody can compute just now.
        """
        busy = [*busy]
        out = {*self.by_hand, *without, *self.readers(without)}
        asks: list[Ask] = []
        waits: list[str] = []
        for kind in (Daily, Monthly, type(None)):
            names = [name for name, each in self.datasets.items() if isinstance(each.partitions, kind)]
            found = self._plan([name for name in names if name not in out], through)
            waits += found.waits
            for ask in found.asks:
                if running := [each for each in (*busy, *asks) if self._depends(ask, each)]:
                    waits.append(f"{_several(ask.datasets)} of {ask.window}: after {running[0].reason}")
                else:
                    asks.append(ask)
        return Plan(tuple(asks), tuple(waits))

    def only(self, name: str, through: date) -> Plan:
        """What is missing or out of date of one dataset, whoever asks for it otherwise."""
        return self._plan([name], through)

    def missing(self, name: str, through: date) -> date | None:
        """The first partition of a dataset that should be published and is not."""
        dataset = self.datasets[name]
        last = self._last_start(dataset, through)
        if dataset.partitions is None or last is None:
            return None
        begins = self.begins[name]
        first = dataset.partitions.covering(Window(begins, begins)).first
        gaps = self.records[name].missing(Window(first, last), dataset.partitions) if first <= last else []
        return gaps[0].first if gaps else None

    def lacking(self, names: Iterable[str], through: date) -> list[str]:
        """What of these datasets is missing or out of date, for the business dates through `through`, in words."""
        needs = (self._need(self.datasets[name], through) for name in names)
        return list(dict.fromkeys(each.reason for each in needs if each))

    def out_of_date(self, name: str, through: date) -> Window | None:
        """From the first partition that is missing or out of date to the last one that is published."""
        need = self._need(self.datasets[name], through)
        windows = self.records[name].windows
        return Window(need.first, max(need.first, windows[-1].last if windows else need.first)) if need else None

    def why_stale(self, name: str, partition: Window) -> str | None:
        """What was published again since this one partition was computed from it, in words; None: nothing was."""
        dataset, record = self.datasets[name], self.records[name]
        partial = frozenset(day for day in record.partial if partition.contains(day))
        alone = replace(record, windows=(partition,), partial=partial)
        days = dataset.partitions.days(partition) if dataset.partitions else partition
        stale = replace(self, records={**self.records, name: alone})._stale(dataset, days.last)
        return stale.reason if stale else None

    @cached_property
    def begins(self) -> Mapping[str, date]:
        """Each dataset's first business date: the deployment's, or that of a feed it reads, if that begins later."""
        found: dict[str, date] = {}
        for name, each in self.datasets.items():  # upstream first
            fed = [feed.begins(self.first) for feed in each.feeds]
            read = [found[mapped.dataset] for mapped in _tables_read(each) if isinstance(mapped, SameWindow)]
            found[name] = max([self.first, *fed, *read])
        return found

    def readers(self, names: Iterable[str]) -> set[str]:
        """The datasets that read one of these, directly or not."""
        found = set(names)
        for name, each in self.datasets.items():  # upstream first
            if found & {mapped.dataset for mapped in _tables_read(each)}:
                found.add(name)
        return found - set(names)

    def made_from(self, name: str) -> list[str]:
        """The datasets that this one reads, directly or not; not itself. Upstream first."""
        found = {name}
        for each in reversed([*self.datasets]):  # upstream last
            if each in found:
                found |= {mapped.dataset for mapped in _tables_read(self.datasets[each])}
        return [each for each in self.datasets if each in found and each != name]

    def _plan(self, names: list[str], through: date) -> Plan:
        """`names`: of one kind of partitions. What cannot be computed yet is left out, and what reads it."""
        left, waits = list(names), list[str]()
        while needs := {name: need for name in left if (need := self._need(self.datasets[name], through))}:
            first = min(each.first for each in needs.values())
            begun = [name for name, need in needs.items() if need.first == first]
            together = [name for name in left if name in {*begun, *self.readers(begun)}]
            last = self._last(together, first, through, restates=needs[begun[0]].restates)
            ready = {name: self._last_ready(name, together, first, last) for name in together}
            if not (lacking := {name: lacks for name, lacks in ready.items() if isinstance(lacks, str)}):
                need, last = needs[begun[0]], min([last, *(each for each in ready.values() if isinstance(each, date))])
                window = None if self.datasets[begun[0]].partitions is None else Window(first, last)
                asked = Ask(tuple(together), window, need.reason, need.trigger, need.restates)
                return Plan((asked,), tuple(waits))
            waits += [f"{self.datasets[name]} of {first}: waits for {lacks}" for name, lacks in lacking.items()]
            left = [name for name in left if name not in {*lacking, *self.readers(lacking)}]
        return Plan((), tuple(waits))

    def _last(self, names: list[str], first: date, through: date, *, restates: bool) -> date:
        """The last partition to compute, if all is there that it reads."""
        last = self._last_start(self.datasets[names[0]], through) or first
        if restates:
            published = [min(each.last, last) for name in names for each in self.records[name].windows]
            last = max([first, *published])
        return last if all(self.datasets[name].ranges for name in names) else first

    def _last_ready(self, name: str, together: list[str], first: date, last: date) -> date | str:
        """The last partition up to which all that it reads is published or computed with it; text: what lacks."""
        kind = self.datasets[name].partitions
        for mapped in _tables_read(self.datasets[name]):
            if mapped.dataset not in together:
                ready = self._ready(mapped, kind, first, last)
                if ready is None:
                    return str(self.datasets[mapped.dataset])
                last = min(last, ready)
        return last

    def _ready(self, mapped: MappedTable, kind: Partitions | None, first: date, last: date) -> date | None:
        """The last partition for which an input of the same days is published; None: not even the first."""
        record, source = self.records[mapped.dataset], self.datasets[mapped.dataset].partitions
        if source is None:
            return last if record.whole else None
        if kind is None:
            return last if record.windows else None
        ready, begins = None, self.begins[mapped.dataset]
        for start in kind.starts(Window(first, last)):
            days = kind.days(Window(start, start))
            if isinstance(mapped, Through) and days.last < begins:  # there is nothing of it yet
                ready = start
                continue
            days = source.covering(Window(min(max(days.first, begins), days.last), days.last))
            if isinstance(mapped, Previous | Before):  # of days before the window, which may be before the first
                days = source.before(days, 1)
                if days.first < source.covering(Window(begins, begins)).first:
                    ready = start
                    continue
            if not all(map(record.covers, source.starts(days))):
                break
            ready = start
        return ready

    def _need(self, dataset: Dataset, through: date) -> _Need | None:
        record = self.records[dataset.name]
        if dataset.partitions is None and not record.whole:
            return _Need(self.first, f"{dataset} was never published", "never", restates=False)
        missing, stale = self.missing(dataset.name, through), self._stale(dataset, through)
        if missing is None or (stale and stale.first < missing):
            return stale
        # A hole, with days published after it, is to be filled with all that follows.
        restates = any(each.last > missing for each in record.windows)
        return _Need(missing, f"{dataset} of {missing} is not published", MISSING, restates)

    def _stale(self, dataset: Dataset, through: date) -> _Need | None:
        """The first published partition for which something that it reads was published again after it was read.

        Of a month that was published before all of its days were, that is remembered for ever; of others for weeks.
        """
        record = self.records[dataset.name]
        found = [
            _Need(day, f"{dataset} of {day} was published before all of its days were", f"partial {day}", restates=True)
            for day in record.partial
            if dataset.partitions and dataset.partitions.days(Window(day, day)).last <= through
        ]
        for mapped in dataset.computed_from:
            source = self.datasets[mapped.dataset]
            of_source = self.records[source.name]
            if not of_source.recent:
                continue
            reads = _Reads.of(dataset, source, mapped, record, of_source.table_id)
            for publication in of_source.recent:
                first = reads.first_without(publication)
                if first is not None and first <= through:
                    reason = f"{source} of {publication.window} was published again by run {publication.run_id}"
                    trigger = f"{source.table} {publication.sequence_number}"
                    found.append(_Need(first, reason, trigger, restates=True))
        return min(found, key=lambda each: each.first, default=None)

    def _last_start(self, dataset: Dataset, through: date) -> date | None:
        """The last partition that should be published. A month should be, though its days are not all there yet."""
        if dataset.partitions is None or through < self.first:
            return None
        return dataset.partitions.covering(Window(through, through)).first

    def _depends(self, ask: Ask, running: Ask) -> bool:
        """Whether an ask computes what a run computes, or reads it."""
        if ask.meets(running):
            return True
        if not set(ask.datasets) & self.readers(running.datasets):
            return False
        kinds = {type(self.datasets[name].partitions) for name in (*ask.datasets, *running.datasets)}
        # Of the same kind, later days of an input do not matter; a month has its days in any case.
        apart = ask.window and running.window and kinds == {Daily} and running.window.first > ask.window.last
        return not apart


def landing_asks(
    datasets: Mapping[str, Dataset],
    records: Mapping[str, Record],
    feed: str,
    complete: Iterable[date],
    changed: Mapping[date, Collection[str]],
    books_through: date,
) -> list[Ask]:
    """What to read of a feed's folders, by those of these datasets that read no other feed.

    `complete`: days whose folder is complete; `changed`: those of them that hold other files than were read, and by
    which datasets. `books_through`: the day up to which all feeds are there; up to it the rows are read in one run with
    all the books.
    """
    readers = [name for name, each in datasets.items() if {read.feed for read in each.feeds} == {feed}]
    late: dict[tuple[str, ...], list[date]] = defaultdict(list)
    fresh: dict[tuple[str, ...], list[date]] = defaultdict(list)
    for day, by in sorted(changed.items()):
        late[tuple(name for name in readers if name in by)].append(day)
    for day in complete:
        if day > books_through:
            fresh[tuple(name for name in readers if not records[name].covers(day))].append(day)
    asks = [
        Ask(names, window, f"late file: {feed} of {window} changed after it was read", "changed", restates=True)
        for names, days in late.items()
        for window in _windows(days, datasets, names)
    ]
    asks += [
        Ask(names, window, f"{feed} of {window} arrived", "arrived")
        for names, days in fresh.items()
        for window in _windows(days, datasets, names)
    ]
    return [each for each in asks if each.datasets]


def first_part(ask: Ask, kind: Partitions | None, tries: int) -> Ask:
    """A shorter window of a range that has failed before: half as long each time, from the second failure on.

    So one bad day keeps back no day before it.
    """
    if ask.window is None or kind is None or tries < 2:
        return ask
    starts = list(kind.starts(ask.window))
    return replace(ask, window=Window(starts[0], starts[max(1, len(starts) >> (tries - 1)) - 1]))


@dataclass(frozen=True)
class _Reads:
    """What the last publishes of a dataset have read of one input. `numbers`: of each, up to which sequence number."""

    dataset: Dataset
    source: Dataset
    mapped: MappedTable
    record: Record
    numbers: tuple[tuple[Window | None, float], ...]

    @staticmethod
    def of(dataset: Dataset, source: Dataset, mapped: MappedTable, record: Record, source_id: str) -> "_Reads":
        """`source_id`: of the input's table, as it is now."""

        def number(each: Publication) -> float:
            if source.name == dataset.name:
                return each.sequence_number
            if source.table not in each.read:  # an input that it did not have then
                return inf
            read_id, _, number = each.read[source.table].partition(" ")
            return int(number) if read_id == source_id else -inf

        window = Window.parse if dataset.partitions else lambda _: None
        numbers = tuple((window(each.window), number(each)) for each in record.recent)
        return _Reads(dataset, source, mapped, record, numbers)

    @cached_property
    def _least(self) -> float:
        """All of them have read what has no higher number."""
        return min((number for _, number in self.numbers), default=-inf)

    @cached_property
    def _most_of(self) -> Mapping[Window | None, float]:
        """By the window that was computed, up to where it was read for it."""
        found: dict[Window | None, float] = {}
        for window, number in self.numbers:
            found[window] = max(number, found.get(window, -inf))
        return found

    def first_without(self, publication: Publication) -> date | None:
        """The first published partition that reads this publication of the input, and was computed before it.

        What is known of when a partition was computed are the last publishes. One that is older than all of those has
        read no more than the oldest of them.
        """
        if publication.sequence_number <= self._least:
            return None
        partitions = self.dataset.partitions
        if partitions is None:
            is_read = bool(self.numbers) and self.numbers[0][1] >= publication.sequence_number
            return None if is_read else date.min
        concerned = _concerned(self.dataset, self.source, self.mapped, publication)
        if self.source.name == self.dataset.name and concerned is not None:
            inside = Window.parse(publication.window)
            after = partitions.after(inside, 1).first
            concerned = Window(after, concerned.last) if concerned.last >= after else None
        # Nearly all: the same days were computed, and in one go, since then.
        if concerned is None or self._most_of.get(concerned, -inf) >= publication.sequence_number:
            return None
        read = [window for window, number in self.numbers if window and number >= publication.sequence_number]
        computed_after = joined(read, partitions)
        for published in self.record.windows:
            if published.overlaps(concerned):
                day = max(published.first, concerned.first)
                for each in computed_after:
                    if each.contains(day):
                        day = partitions.after(each, 1).first
                if day <= min(published.last, concerned.last):
                    return day
        return None


def _concerned(dataset: Dataset, source: Dataset, mapped: MappedTable, publication: Publication) -> Window | None:
    """The partitions of a dataset that read what was published of an input; None: none.

    A table without partitions is published as a whole each time: its readers take it as it is, and a change of it
    restates nothing, or each day would restate all days before.
    """
    assert dataset.partitions is not None
    if source.partitions is None:
        return None
    days = source.partitions.days(Window.parse(publication.window))
    match mapped:
        case Previous(n=n):
            after = source.partitions.days(source.partitions.after(Window.parse(publication.window), n))
            days = Window(days.first + _DAY, after.last)
        case Before():
            days = Window(days.first + _DAY, _NEVER)
        case Through():
            days = Window(days.first, _NEVER)
        case _:
            pass
    first = dataset.partitions.covering(Window(days.first, days.first)).first
    return Window(first, _NEVER) if days.last == _NEVER else dataset.partitions.covering(days)


def _tables_read(dataset: Dataset) -> list[MappedTable]:
    """The inputs that decide when a dataset can be computed."""
    return [each for each in dataset.computed_from if each.dataset != dataset.name]


def _windows(days: Iterable[date], datasets: Mapping[str, Dataset], names: tuple[str, ...]) -> list[Window]:
    """As few as can be; of single days, for a dataset that computes no ranges."""
    windows: list[Window] = []
    for day in sorted(days):
        if windows and windows[-1].last + _DAY == day and all(datasets[name].ranges for name in names):
            windows[-1] = Window(windows[-1].first, day)
        else:
            windows.append(Window(day, day))
    return windows


def _several(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
