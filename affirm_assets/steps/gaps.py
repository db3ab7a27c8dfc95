"""Books that carry something from day to day: a window may not begin after a day that was never published."""

from pyiceberg.table import Table

from affirm_assets.dataset import Dataset, Previous
from affirm_assets.errors import GapRefused
from affirm_assets.partitions import Window
from affirm_assets.steps.lake import Lake
from affirm_assets.steps.publish import WINDOW
from affirm_assets.steps.request import WHOLE_TABLE
from affirm_assets.steps.tables import main_history


def check_no_gap(dataset: Dataset, window: Window | None, lake: Lake) -> None:
    """Raises GapRefused for a dataset that reads its own previous partitions, if the one before the window is missing.

    A partition that was published without rows is not missing. Where nothing at all was published before the window,
    the books begin with it. What was published is read in the snapshots of `main`, so that expiring those of the days
    before a window makes it ask for more days than it must.
    """
    if window is None or dataset.partitions is None or not _reads_its_previous(dataset):
        return
    before = dataset.partitions.before(window, 1).last
    earlier = [each for each in _published(lake.catalog.load_table(dataset.table)) if each.first <= before]
    if not earlier or any(before <= each.last for each in earlier):
        return
    last = max(each.last for each in earlier)
    _, first_missing, *_ = dataset.partitions.starts(Window(last, before))
    raise GapRefused(str(dataset), str(window), before, last, str(Window(first_missing, window.last)))


def _reads_its_previous(dataset: Dataset) -> bool:
    return any(isinstance(each, Previous) and each.dataset == dataset.name for each in dataset.leaves.values())


def _published(table: Table) -> list[Window]:
    """The windows of this platform's commits; compactions and what others write have none."""
    recorded = (each.summary.get(WINDOW) for each in main_history(table) if each.summary)
    return [Window.parse(str(text)) for text in recorded if text not in (None, WHOLE_TABLE)]
