"""Books that carry something from day to day: a window may not begin after a day that was never published."""

from collections.abc import Mapping

from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import Table

from affirm_assets.dataset import Dataset, Previous, SameWindow
from affirm_assets.errors import GapRefused
from affirm_assets.partitions import Window
from affirm_assets.steps.lake import Storage
from affirm_assets.steps.tables import published_windows


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
        first = min((published.first for published in _published(each.table, storage)), default=window.first)
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


def _published(table: str, storage: Storage) -> list[Window]:
    try:
        return published_windows(storage.catalog.load_table(table))
    except NoSuchTableError:
        return []
