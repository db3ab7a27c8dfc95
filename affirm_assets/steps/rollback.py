"""Put a table back to what a run published: a commit of metadata alone, which writes no rows and removes none.

Main goes on from that run's snapshot with a new one that holds the same files. What was published since is on no branch
then; engines that expire snapshots know this as a rollback. Each window that was undone counts as published again, so
that whoever has read it is out of date.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AddSnapshotUpdate, TableUpdate

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import RollbackRefused
from affirm_assets.steps.closed import DECIDE, check_open
from affirm_assets.steps.manifests import NOTHING, NewSnapshot
from affirm_assets.steps.published import (
    PUBLISHED_PROPERTY,
    Publication,
    Record,
    joined,
    record_of,
    windows_in,
    work_digest,
)
from affirm_assets.steps.request import Request, Run
from affirm_assets.steps.tables import (
    RUN_ID,
    SUMMARY,
    WHOLE_TABLE,
    WINDOW_KEY,
    is_by_others,
    is_compaction,
    load_if_exists,
    main_history,
    main_snapshot,
    window_of,
)
from affirm_assets.steps.together import as_loaded, set_main, set_properties, wait_a_little

_MOST_SHOWN = 10
_TRIES = 20


@dataclass(frozen=True)
class RolledBack:
    """`to`: the snapshot whose rows main holds again, and `snapshot` its new one. `undone`: the windows, as text, that
    other runs had published since; `missing`: those of them that were never published before."""

    to: int
    snapshot: int
    undone: tuple[str, ...]
    missing: tuple[str, ...]


def roll_back(catalog: Catalog, dataset: Dataset, run_id: str, by: Run, now: datetime) -> RolledBack:
    """Put the table back to what it held when this run had published. `by`: who asks.

    Raises RollbackRefused if the run published nothing that is on main, or if it is what main holds; MonthClosed if a
    window that would be undone is closed; RecordRefused.
    """
    for failed in range(_TRIES):
        if failed:
            wait_a_little(failed)
        table = load_if_exists(catalog, dataset.table)
        if table is None:
            raise RollbackRefused(f"{dataset.table}: expected a table, found none. Nothing of it was ever published.")
        record = record_of(dataset, table)
        target, since = _history_since(table, run_id)
        for each in since:
            _check_open(dataset, table, each, by)
        new = NewSnapshot(table, table.metadata.new_snapshot_id(), parent=target)
        try:
            return _commit(dataset, table, record, new, since, now)
        except (CommitFailedException, ValueError):
            now_there = catalog.load_table(dataset.table)
            if now_there.snapshot_by_id(new.snapshot_id):  # an answer that was lost
                return _rolled_back(dataset, record, target, since, new.snapshot_id)
            new.discard()
            if now_there.metadata_location == table.metadata_location:
                raise
    raise RollbackRefused(f"{dataset.table}: others commit to it all the time. Say it again.")


def _history_since(table: Table, run_id: str) -> tuple[Snapshot, list[Snapshot]]:
    """The snapshot that a run published last, and those that came after it, newest first."""
    since: list[Snapshot] = []
    for snapshot in main_history(table):
        if window_of(snapshot) is not None and snapshot.summary and snapshot.summary.get(RUN_ID) == run_id:
            if all(map(is_compaction, since)):
                raise RollbackRefused(f"{_name(table)}: it holds already what run {run_id} published. Nothing to do.")
            return snapshot, since
        if is_by_others(snapshot):
            raise RollbackRefused(
                f"{_name(table)}: expected nothing since run {run_id} but publishes and compactions, found snapshot "
                f"{snapshot.snapshot_id}, which somebody else wrote. To undo it, too, would bring back what they "
                "changed or erased."
            )
        since.append(snapshot)
    runs = dict.fromkeys(str(each.summary[RUN_ID]) for each in since if each.summary and each.summary.get(RUN_ID))
    known = ", ".join([*runs][:_MOST_SHOWN]) or "none"
    raise RollbackRefused(
        f"{_name(table)}: expected a run whose publish is in the history of main, found {run_id}. The newest of those "
        f"that are: {known}."
    )


def _check_open(dataset: Dataset, table: Table, undone: Snapshot, by: Run) -> None:
    text = window_of(undone)
    if text is None:  # a compaction, or what somebody else wrote: its days are not known
        return
    window = None if text == WHOLE_TABLE else Window.parse(text)
    check_open(dataset, Request(str(dataset), window, by, "", main_snapshot(table), {}, ()), table)


def _commit(
    dataset: Dataset, table: Table, record: Record, new: NewSnapshot, since: Sequence[Snapshot], now: datetime
) -> RolledBack:
    target = new.parent
    assert target is not None
    assert target.sequence_number is not None
    before = _windows_then(dataset, record, target)
    says: dict[str, str] = {f"{SUMMARY}rolled-back-to": str(target.snapshot_id)}
    if dataset.partitions is not None:
        says[PUBLISHED_PROPERTY] = replace(record, windows=before).text
    snapshot = new.write((), NOTHING, says | _window_key(since))
    kept = [each for each in record.recent if each.sequence_number <= target.sequence_number]
    undone = [each for each in record.recent if each.sequence_number > target.sequence_number]
    again = [_published_again(text, kept, undone, dataset, snapshot, now) for text in _undone(since)]
    folders = record.folders
    for text in _undone(since):
        if text != WHOLE_TABLE:
            folders = folders.without(Window.parse(text))
    after = replace(record, windows=before, recent=(*reversed(again), *kept), folders=folders)
    updates: tuple[TableUpdate, ...] = (
        AddSnapshotUpdate(snapshot=snapshot),
        set_main(table, snapshot),
        set_properties(after.properties()),
    )
    table._do_commit(updates, as_loaded(table, properties=DECIDE))
    return _rolled_back(dataset, record, target, since, snapshot.snapshot_id)


def _rolled_back(
    dataset: Dataset, record: Record, target: Snapshot, since: Sequence[Snapshot], snapshot: int
) -> RolledBack:
    before = _windows_then(dataset, record, target)
    missing = () if dataset.partitions is None else tuple(map(str, _lost(dataset, record, before)))
    return RolledBack(target.snapshot_id, snapshot, _undone(since), missing)


def _undone(since: Sequence[Snapshot]) -> tuple[str, ...]:
    """The windows that were published since, as text."""
    return tuple(dict.fromkeys(text for each in since if (text := window_of(each)) is not None))


def _windows_then(dataset: Dataset, record: Record, target: Snapshot) -> tuple[Window, ...]:
    """What was published when the run had published. Raises RollbackRefused if its snapshot does not say it."""
    if dataset.partitions is None:
        return record.windows
    said = target.summary.get(PUBLISHED_PROPERTY) if target.summary else None
    if said is None:
        raise RollbackRefused(
            f"{dataset.table}: expected snapshot {target.snapshot_id} to say which windows were published with it "
            f"({PUBLISHED_PROPERTY} in its summary), found nothing: too many holes. Publish the windows again "
            "instead."
        )
    return joined(windows_in(str(said)), dataset.partitions)


def _window_key(since: Sequence[Snapshot]) -> dict[str, str]:
    """All that is undone as one window; none if somebody else's commit is among it, which may have changed any day."""
    texts = [window_of(each) for each in since if not is_compaction(each)]
    if None in texts or not texts:
        return {}
    if WHOLE_TABLE in texts:
        return {WINDOW_KEY: WHOLE_TABLE}
    windows = [Window.parse(text) for text in texts if text]
    hull = Window(min(each.first for each in windows), max(each.last for each in windows))
    return {WINDOW_KEY: str(hull)}


def _published_again(
    text: str,
    kept: Sequence[Publication],
    undone: Sequence[Publication],
    dataset: Dataset,
    snapshot: Snapshot,
    now: datetime,
) -> Publication:
    """That a window holds what it held before, with what that was computed from: so it may be out of date itself."""
    assert snapshot.sequence_number is not None
    held = [each for each in kept if _meet(each.window, text)]
    return Publication(
        run_id=held[0].run_id if held else "unknown",
        window=text,
        work=work_digest(f"rollback {snapshot.snapshot_id} {text}"),
        snapshot=snapshot.snapshot_id,
        sequence_number=snapshot.sequence_number,
        published_at=now.astimezone(UTC),
        total_rows=int((snapshot.summary.get("total-records") if snapshot.summary else None) or 0),
        read=_read_by(text, held, undone, dataset),
        again=True,
        code_version=held[0].code_version if held else "unknown",
    )


def _read_by(
    text: str, held: Sequence[Publication], undone: Sequence[Publication], dataset: Dataset
) -> Mapping[str, str]:
    """Of each input, the oldest version that a part of the window was computed from; 0 where that is forgotten."""
    is_known = _cover(held, text, dataset)
    versions: dict[str, list[tuple[str, int]]] = {}
    for each in held if is_known else (*held, *undone):
        for name, version in each.read.items():
            table, _, number = version.partition(" ")
            versions.setdefault(name, []).append((table, int(number or 0) if is_known else 0))
    return {name: f"{found[0][0]} {min(number for _, number in found)}" for name, found in versions.items()}


def _cover(publications: Sequence[Publication], text: str, dataset: Dataset) -> bool:
    """Whether they published all partitions of a window."""
    if dataset.partitions is None or text == WHOLE_TABLE:
        return bool(publications)
    windows = joined([Window.parse(each.window) for each in publications], dataset.partitions)
    return not Record(windows).missing(Window.parse(text), dataset.partitions)


def _meet(one: str, other: str) -> bool:
    return WHOLE_TABLE in (one, other) or Window.parse(one).overlaps(Window.parse(other))


def _lost(dataset: Dataset, record: Record, before: Sequence[Window]) -> list[Window]:
    """What is published now and was not then."""
    assert dataset.partitions is not None
    then = replace(record, windows=tuple(before))
    return [gap for each in record.windows for gap in then.missing(each, dataset.partitions)]


def _name(table: Table) -> str:
    return ".".join(table.name())
