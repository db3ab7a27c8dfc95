"""How much a step will read: the bytes and files of its pinned inputs, from metadata alone and before any engine.

Not counted is what would be the whole history, of which a step holds little: what is looked up by values is read from
the few files that may have them, and to prove what is carried, three columns are added up. If both were counted, the
same day's work would get another engine, and a pod of its own, as a lake ages.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pyiceberg.manifest import ManifestContent, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Before, Landing, MappedTable, Through, ToProve
from affirm_assets.declare.partitions import Window
from affirm_assets.steps.manifests import read_entries, read_manifests
from affirm_assets.steps.read import TableRead, table_read
from affirm_assets.steps.request import Pinned
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import (
    days_held,
    load_if_exists,
    main_snapshot,
    partition_day,
    partition_positions,
)


@dataclass(frozen=True)
class ScanSize:
    """What a step's scans hold after pruning by partition: whole files, compressed, whichever columns are read."""

    bytes: int
    files: int


def scan_size(dataset: Dataset, upstream: Mapping[str, Dataset], pinned: Pinned) -> ScanSize:
    """The landing files and, once for each table and range of its days, the data files."""
    reads = [
        table_read(dataset, mapped, parameter, upstream, pinned.request)
        for parameter, mapped in dataset.leaves.items()
        if not isinstance(mapped, Landing) and _is_counted(mapped)
    ]
    sizes = [ScanSize(each.size, 1) for each in pinned.request.files]
    for read in {(each.source.table, each.days): each for each in reads}.values():
        if read.snapshot is not None:
            sizes += _sizes(pinned.tables[read.source.table], read.snapshot, read)
    return _sum(sizes)


def scan_size_now(
    dataset: Dataset, upstream: Mapping[str, Dataset], window: Window | None, storage: Storage
) -> ScanSize:
    """What a step that pinned its inputs now would read. It pins nothing, and opens no landing file."""
    sizes: list[ScanSize] = []
    reads: set[tuple[str, Window | None]] = set()
    for mapped in dataset.leaves.values():
        if isinstance(mapped, Landing):
            days = dataset.read_days(mapped, None, window)
            assert days is not None
            sizes += [ScanSize(size, 1) for size in storage.landing.sizes(mapped.feed, days.first, days.last)]
            continue
        if not _is_counted(mapped):
            continue
        source = dataset if mapped.dataset == dataset.name else upstream[mapped.dataset]
        days = dataset.read_days(mapped, source.partitions, window)
        if (source.table, days) in reads:
            continue
        reads.add((source.table, days))
        table = load_if_exists(storage.catalog, source.table)
        snapshot = main_snapshot(table)
        if table and snapshot is not None:
            sizes += _sizes(table, snapshot, TableRead(source, snapshot, days))
    return _sum(sizes)


def _is_counted(mapped: MappedTable) -> bool:
    is_looked_up = isinstance(mapped, Before | Through) and mapped.by is not None
    return not is_looked_up and not isinstance(mapped, ToProve)


def _sum(sizes: Sequence[ScanSize]) -> ScanSize:
    return ScanSize(sum(each.bytes for each in sizes), sum(each.files for each in sizes))


def _sizes(table: Table, snapshot: int, read: TableRead) -> Iterator[ScanSize]:
    pinned = table.snapshot_by_id(snapshot)
    assert pinned is not None
    partitions = read.source.partitions
    positions = partition_positions(table, partitions.column) if partitions else {}
    manifests = [each for each in read_manifests(table.io, pinned) if each.content == ManifestContent.DATA]
    held = [_days_held(each, positions) for each in manifests]
    is_inside = [_is_inside(each, read.days) for each in held]
    if all(is_inside) and (known := _known_size_of_all(pinned, manifests)):
        yield known
        return
    commits = {each.snapshot_id: each for each in table.metadata.snapshots}
    for manifest, days, inside in zip(manifests, held, is_inside, strict=True):
        if read.days and days and not days.overlaps(read.days):
            continue
        known = _known_size(commits.get(manifest.added_snapshot_id or 0), manifest) if inside else None
        yield known or _size_of_entries(table, manifest, positions.get(manifest.partition_spec_id), read.days)


def _days_held(manifest: ManifestFile, positions: Mapping[int, int]) -> Window | None:
    position = positions.get(manifest.partition_spec_id)
    return None if position is None else days_held(manifest, position)


def _is_inside(held: Window | None, days: Window | None) -> bool:
    return days is None or (held is not None and days.first <= held.first and held.last <= days.last)


def _known_size_of_all(snapshot: Snapshot, manifests: Sequence[ManifestFile]) -> ScanSize | None:
    """What the snapshot says of itself, where that is of data files alone, and of as many as are there."""
    recorded = snapshot.summary
    files = sum((each.added_files_count or 0) + (each.existing_files_count or 0) for each in manifests)
    if recorded is None or recorded.get("total-delete-files") != "0" or recorded.get("total-data-files") != str(files):
        return None
    size = recorded.get("total-files-size")
    return None if size is None else ScanSize(int(size), files)


def _known_size(commit: Snapshot | None, manifest: ManifestFile) -> ScanSize | None:
    """What the snapshot that wrote the manifest says, where its files are all that it added, and are all still there.

    So are those of a table that grows by a commit a day: to open each of 180 manifests takes longer.
    """
    recorded = commit.summary if commit else None
    if recorded is None or manifest.existing_files_count or manifest.deleted_files_count:
        return None
    size = recorded.get("added-files-size")
    if size is None or recorded.get("added-delete-files"):
        return None
    if recorded.get("added-data-files") != str(manifest.added_files_count):
        return None
    return ScanSize(int(size), int(manifest.added_files_count or 0))


def _size_of_entries(table: Table, manifest: ManifestFile, position: int | None, days: Window | None) -> ScanSize:
    sizes = [
        entry.data_file.file_size_in_bytes
        for entry in read_entries(table.io, manifest)
        if days is None or position is None or days.contains(partition_day(entry.data_file, position))
    ]
    return ScanSize(sum(sizes), len(sizes))
