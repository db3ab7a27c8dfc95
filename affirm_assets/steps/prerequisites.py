"""What must be published before a window is computed: the partition before it, and what it reads."""

from collections.abc import Mapping
from datetime import date

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import SameWindow, Through
from affirm_assets.declare.partitions import Daily, Monthly, Window
from affirm_assets.errors import GapRefused, InputsNotPublished
from affirm_assets.steps.published import Record, record_of
from affirm_assets.steps.request import Pinned


def check_inputs_published(dataset: Dataset, upstream: Mapping[str, Dataset], pinned: Pinned) -> None:
    """Raises InputsNotPublished if the dataset reads partitions of its window that were not published at the pin.

    They would read as days on which nothing happened. `upstream`: all the datasets of the project, by name.
    """
    window = pinned.request.window
    if window is None:
        return
    missing = {
        str(upstream[mapped.dataset]): _missing(dataset, mapped, upstream, pinned, window)
        for mapped in dataset.leaves.values()
        if isinstance(mapped, SameWindow | Through)
    }
    if any(missing.values()):
        found = {name: ", ".join(map(str, windows)) for name, windows in missing.items() if windows}
        raise InputsNotPublished(str(dataset), str(window), found)


def check_no_gap(dataset: Dataset, upstream: Mapping[str, Dataset], pinned: Pinned) -> None:
    """Raises GapRefused for a dataset that declares a carry=, if the partition before the window is missing.

    Where nothing of its own was published before the window, the books begin with it: then nothing of what it reads may
    have been published before it either, since the books would lack that. A partition published without rows is not
    missing. `upstream`: what it may read, by name.
    """
    window = pinned.request.window
    if window is None or dataset.partitions is None or dataset.carry is None:
        return
    before = dataset.partitions.before(window, 1).last
    record = _record(dataset, pinned)
    if record.covers(before):
        return
    if earlier := [each.last for each in record.windows if each.last <= before]:
        last = max(earlier)
        _, first_missing, *_ = dataset.partitions.starts(Window(last, before))
        found = f"the last one published before {window} is {last}"
        raise GapRefused(str(dataset), str(window), before, found, str(Window(first_missing, window.last)))
    for each in _read_for_the_window(dataset, upstream):
        first = min((published.first for published in _record(each, pinned).windows), default=window.first)
        if first < window.first:
            found = f"nothing was published before {window}, while {each}, which it reads, begins with {first}"
            raise GapRefused(str(dataset), str(window), before, found, str(Window(first, window.last)))


def _missing(
    dataset: Dataset, mapped: SameWindow | Through, upstream: Mapping[str, Dataset], pinned: Pinned, window: Window
) -> list[Window]:
    """What an input lacks of the partitions that hold the window's days."""
    source = upstream[mapped.dataset]
    if dataset.partitions is None or source.partitions is None:
        return []
    record, days = _record(source, pinned), dataset.partitions.days(window)
    first, last = days.first, days.last
    if isinstance(mapped, Through):  # with an input of the same days, a dataset begins itself
        first = max(first, _since(source, upstream))
    if isinstance(dataset.partitions, Monthly) and not isinstance(source.partitions, Monthly) and record.windows:
        # The month in which the books begin has no days before them, and one that goes on may be looked at by hand.
        begins, ends = record.windows[0].first, record.windows[-1].last
        if dataset.partitions.covering(Window(begins, begins)).first == window.first:
            first = max(first, begins)
        if dataset.partitions.covering(Window(ends, ends)).last == window.last:
            last = ends
    return record.missing(source.partitions.covering(Window(first, last)), source.partitions) if first <= last else []


def months_that_go_on(dataset: Dataset, upstream: Mapping[str, Dataset], pinned: Pinned) -> list[date]:
    """The first day of the window's last month, if what it reads was not published for all of its days at the pin."""
    window = pinned.request.window
    if window is None or not isinstance(dataset.partitions, Monthly):
        return []
    last = dataset.partitions.days(window).last
    read = [upstream[each.dataset] for each in dataset.leaves.values() if isinstance(each, SameWindow)]
    ends = [_record(each, pinned).windows[-1:] for each in read if isinstance(each.partitions, Daily)]
    return [window.last] if any(end and end[0].last < last for end in ends) else []


def _since(dataset: Dataset, upstream: Mapping[str, Dataset]) -> date:
    """The first day of the feed that it comes from, where that begins later than the others."""
    read = [upstream[each.dataset] for each in dataset.leaves.values() if isinstance(each, SameWindow)]
    days = [feed.since for feed in dataset.feeds if feed.since]
    return max([date.min, *days, *(_since(each, upstream) for each in read)])


def _record(dataset: Dataset, pinned: Pinned) -> Record:
    table = pinned.tables.get(dataset.table)
    return Record() if table is None else record_of(dataset, table)


def _read_for_the_window(dataset: Dataset, upstream: Mapping[str, Dataset]) -> list[Dataset]:
    read = [upstream[each.dataset] for each in dataset.leaves.values() if isinstance(each, SameWindow)]
    return [each for each in read if type(each.partitions) is type(dataset.partitions)]
