"""What must be published before a window is computed: the partition before it, and what it reads."""

from collections.abc import Mapping

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import SameWindow
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import GapRefused, InputsNotPublished
from affirm_assets.steps.published import Record, record_of
from affirm_assets.steps.request import Pinned


def check_inputs_published(dataset: Dataset, upstream: Mapping[str, Dataset], pinned: Pinned) -> None:
    """Raises InputsNotPublished if the dataset reads partitions of its window that were not published at the pin.

    They would read as days on which nothing happened.
    """
    window = pinned.request.window
    if window is None:
        return
    missing = {
        str(each): _record(each, pinned).missing(window, each.partitions)
        for each in _read_for_the_window(dataset, upstream)
        if each.partitions
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


def _record(dataset: Dataset, pinned: Pinned) -> Record:
    table = pinned.tables.get(dataset.table)
    return Record() if table is None else record_of(dataset, table)


def _read_for_the_window(dataset: Dataset, upstream: Mapping[str, Dataset]) -> list[Dataset]:
    read = [upstream[each.dataset] for each in dataset.leaves.values() if isinstance(each, SameWindow)]
    return [each for each in read if type(each.partitions) is type(dataset.partitions)]
