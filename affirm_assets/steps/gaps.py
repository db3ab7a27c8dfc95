"""Windows that may not be computed: after a day that was never published, or from inputs that were not."""

from collections.abc import Mapping
from datetime import date
from itertools import groupby

from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Previous, SameWindow
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import GapRefused, InputsNotPublished
from affirm_assets.steps.lake import Storage
from affirm_assets.steps.tables import is_history_whole, published_windows


def check_inputs_published(
    dataset: Dataset, upstream: Mapping[str, Dataset], window: Window | None, storage: Storage
) -> None:
    """Raises InputsNotPublished if the dataset reads partitions of its window that were never published.

    They would read as days on which nothing happened. What was published is read in the snapshots of `main`: where some
    have expired, all before the first window that is left counts as published.
    """
    if window is None:
        return
    missing = {str(each): _not_published(each, window, storage) for each in _read_for_the_window(dataset, upstream)}
    if any(missing.values()):
        found = {name: ", ".join(map(str, windows)) for name, windows in missing.items() if windows}
        raise InputsNotPublished(str(dataset), str(window), found)


def _not_published(source: Dataset, window: Window, storage: Storage) -> list[Window]:
    assert source.partitions is not None
    known, is_whole = _published(source.table, storage)
    since = date.min if is_whole else min((each.first for each in known), default=date.max)
    by_run = groupby(
        source.partitions.starts(window), lambda day: day >= since and not any(each.contains(day) for each in known)
    )
    runs = [list(days) for is_missing, days in by_run if is_missing]
    return [Window(days[0], days[-1]) for days in runs]


def check_no_gap(
    dataset: Dataset, upstream: Mapping[str, Dataset], window: Window | None, table: Table, storage: Storage
) -> None:
    """Raises GapRefused for a dataset that carries on its own previous partition, if that one is missing.

    `table` is the dataset's own, `upstream` what it may read, by name.

    Where nothing of its own was published before the window, the books begin with it: then nothing of what it reads may
    have been published before it either, since the books would lack that. A partition published without rows is not
    missing. What was published is read in the snapshots of `main`, so that expiring those of the days before a window
    makes it ask for more days than it must.
    """
    if window is None or dataset.partitions is None or not _carries_on(dataset):
        return
    before = dataset.partitions.before(window, 1).last
    earlier = [each for each in published_windows(table) if each.first <= before]
    if any(before <= each.last for each in earlier):
        return
    if earlier:
        last = max(each.last for each in earlier)
        _, first_missing, *_ = dataset.partitions.starts(Window(last, before))
        found = f"the last one published before {window} is {last}"
        raise GapRefused(str(dataset), str(window), before, found, str(Window(first_missing, window.last)))
    for each in _read_for_the_window(dataset, upstream):
        known, _ = _published(each.table, storage)
        first = min((published.first for published in known), default=window.first)
        if first < window.first:
            found = f"nothing was published before {window}, while {each}, which it reads, begins with {first}"
            raise GapRefused(str(dataset), str(window), before, found, str(Window(first, window.last)))


def _carries_on(dataset: Dataset) -> bool:
    """Whether it reads the partition just before: one that looks back over many compares, and carries nothing."""
    return any(
        isinstance(each, Previous) and each.n == 1 and each.dataset == dataset.name for each in dataset.leaves.values()
    )


def _read_for_the_window(dataset: Dataset, upstream: Mapping[str, Dataset]) -> list[Dataset]:
    read = [upstream[each.dataset] for each in dataset.leaves.values() if isinstance(each, SameWindow)]
    return [each for each in read if type(each.partitions) is type(dataset.partitions)]


def _published(table: str, storage: Storage) -> tuple[list[Window], bool]:
    """The windows that were published, and whether these are all."""
    try:
        loaded = storage.catalog.load_table(table)
    except NoSuchTableError:
        return [], True
    return published_windows(loaded), is_history_whole(loaded)
