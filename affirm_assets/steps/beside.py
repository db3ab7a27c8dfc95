"""Tables that divide the same records among them. Looks at what the others have published of these.

No commit is of two tables. So the one that is published looks at the others as they are, and is refused if it does not
go with them; but one that the same run computes after it is not looked at: it looks itself, at what was published then.
"""

from collections.abc import Iterator, Mapping

from pyiceberg.table.snapshots import Operation, Snapshot

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Beside, SameWindow, Through
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import PublishConflict
from affirm_assets.steps.published import record_of
from affirm_assets.steps.request import Pinned
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import WHOLE_TABLE, load_if_exists, main_history, main_snapshot, window_of


def published_beside(
    dataset: Dataset, upstream: Mapping[str, Dataset], pinned: Pinned
) -> Mapping[str, tuple[Window, ...]]:
    """For each beside() parameter, what of the window was published at the pin; nothing of what this run computes."""
    return {
        name: () if each.dataset in pinned.request.run.datasets else _published(upstream[each.dataset], pinned)
        for name, each in dataset.leaves.items()
        if isinstance(each, Beside)
    }


def check_beside_unchanged(dataset: Dataset, upstream: Mapping[str, Dataset], pinned: Pinned, storage: Storage) -> None:
    """Raises PublishConflict if one that shares with this dataset published the window since the pin.

    Its audits then compared with what is no longer there. Two commits at the same moment are not detected.
    """
    window = pinned.request.window
    if window is None:
        return
    for other in _sharing(dataset, upstream):
        known = main_snapshot(pinned.tables.get(other.table))
        table = load_if_exists(storage.catalog, other.table)
        for snapshot in main_history(table) if table else ():
            if snapshot.snapshot_id == known:
                break
            if _concerns(snapshot, window):
                cause = f"snapshot {snapshot.snapshot_id} of {other.table}, which shares its records with this table"
                raise PublishConflict(dataset.table, str(window), pinned.request.base, cause)


def _published(other: Dataset, pinned: Pinned) -> tuple[Window, ...]:
    window, table = pinned.request.window, pinned.tables.get(other.table)
    if window is None or table is None:
        return ()
    found = [each for each in record_of(other, table).windows if each.overlaps(window)]
    return tuple(Window(max(each.first, window.first), min(each.last, window.last)) for each in found)


def _sharing(dataset: Dataset, upstream: Mapping[str, Dataset]) -> Iterator[Dataset]:
    """Those beside it, and those beside which it is."""
    for mapped in dataset.leaves.values():
        if isinstance(mapped, Beside):
            yield upstream[mapped.dataset]
        elif isinstance(mapped, SameWindow | Through):
            other = upstream[mapped.dataset]
            if any(isinstance(each, Beside) and each.dataset == dataset.name for each in other.leaves.values()):
                yield other


def _concerns(snapshot: Snapshot, window: Window) -> bool:
    """What others write may be anything, unless it is a compaction."""
    changed = window_of(snapshot)
    if changed is None:
        return not (snapshot.summary and snapshot.summary.operation == Operation.REPLACE)
    return changed == WHOLE_TABLE or Window.parse(changed).overlaps(window)
