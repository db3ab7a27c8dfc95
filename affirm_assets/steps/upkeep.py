"""Takes old snapshots off a table, and removes the files that only they named.

A table has a snapshot for each publish, and its metadata holds all of them: every step parses that, and every commit
writes it. What is published is in the table's properties and stays known (`published.py`).

Kept is what readers of a branch saw within the last days, for a snapshot was current until another followed it; what a
tag names; and what lies on no branch and is as young, such as refused rows. No file is found by a listing, or by its
age: those go that a removed snapshot names and no other one, after the commit that removed it. Who is killed between
the two leaves files that nobody names, and nothing else.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pydantic import PrivateAttr
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.io import FileIO
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRef, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    AssertTableUUID,
    RemovePartitionStatisticsUpdate,
    RemoveSnapshotsUpdate,
    TableRequirement,
    TableUpdate,
)
from pyiceberg.utils.concurrent import ExecutorFactory
from pyiceberg.utils.properties import property_as_bool, property_as_int

from affirm_assets.declare.dataset import Dataset
from affirm_assets.errors import UpkeepRefused
from affirm_assets.steps.manifests import delete_files, read_entries, read_manifests
from affirm_assets.steps.publish import REPORT
from affirm_assets.steps.published import Record, record_of
from affirm_assets.steps.tables import load_if_exists
from affirm_assets.steps.together import wait_a_little

DAYS_KEPT = 35
"""As long as the record remembers every publish: see `published.py`."""

_TRIES = 20
"""Each one that fails is another writer's success. The next upkeep finds what this one leaves."""

_MIN_SNAPSHOTS = "history.expire.min-snapshots-to-keep"
_MAX_AGE_MS = "history.expire.max-snapshot-age-ms"
_GARBAGE_IS_REMOVED = "gc.enabled"

_LOCAL = re.compile(r"file:/+")


@dataclass(frozen=True)
class Upkeep:
    """What was done to a table, or would be: of so many snapshots, how many went, and which files with them."""

    table: str
    snapshots: int
    expired: int
    data_files: Sequence[str]
    metadata_files: Sequence[str]

    @property
    def files(self) -> list[str]:
        return [*self.data_files, *self.metadata_files]


def keep_up(dataset: Dataset, catalog: Catalog, now: datetime, days: int = DAYS_KEPT, *, dry: bool = False) -> Upkeep:
    """Expire, in one commit, what has not been current for so many days, and then remove the files that only it named.

    `dry`: nothing is done. Raises RecordRefused, for a table of which it is not certain what is published, and
    UpkeepRefused: such a table is left as it is.
    """
    for failed in range(_TRIES):
        if failed:
            wait_a_little(failed)
        table = load_if_exists(catalog, dataset.table)
        if table is None:
            return Upkeep(dataset.table, 0, 0, (), ())
        _check_may_expire(table)
        # Raises: what contradicts the record may be all that shows how it came to that.
        record = record_of(dataset, table)
        kept = _kept(table, record, now, timedelta(days=days))
        expired = [each for each in table.metadata.snapshots if each.snapshot_id not in kept]
        found = _only_of(table, expired)
        if dry or not expired:
            return found
        try:
            table._do_commit(_updates(table, expired), _requirements(table))
        except CommitFailedException:
            continue  # somebody else's commit came first: what is to be kept may be more
        _delete(table.io, found.files)  # whoever loads the table now finds none of them
        return found
    raise UpkeepRefused(
        dataset.table, "a moment without another commit", f"one just before each of {_TRIES} tries", "Run it again."
    )


def _check_may_expire(table: Table) -> None:
    if not property_as_bool(table.properties, _GARBAGE_IS_REMOVED, True):
        raise UpkeepRefused(
            ".".join(table.name()),
            f"the table property {_GARBAGE_IS_REMOVED}=true, or none",
            f"{table.properties[_GARBAGE_IS_REMOVED]}: others may use its files",
            "Unset it, if none do.",
        )


def _kept(table: Table, record: Record, now: datetime, days: timedelta) -> Set[int]:
    """The ids of the snapshots that stay."""
    limit = _milliseconds(now - days)
    kept = {each.snapshot_id for each in table.metadata.snapshots if each.timestamp_ms >= limit}
    by_id = {each.snapshot_id: each for each in table.metadata.snapshots}
    # What was published last, below what others may have compacted since.
    last = {each.snapshot for each in record.recent[:1]}
    for name, ref in table.metadata.refs.items():
        kept.add(ref.snapshot_id)
        if ref.snapshot_ref_type == SnapshotRefType.BRANCH:
            least, age = _said_of(ref, table.metadata.properties)
            history = list(_history(ref.snapshot_id, by_id))
            since = limit if age is None else min(limit, _milliseconds(now) - age)
            kept |= _newest(history, least, since, last if name == MAIN_BRANCH else frozenset())
    return kept


def _said_of(ref: SnapshotRef, properties: dict[str, str]) -> tuple[int, int | None]:
    """How many snapshots of a branch others want to be kept at least, and for how many milliseconds."""
    least = ref.min_snapshots_to_keep or property_as_int(properties, _MIN_SNAPSHOTS, 1) or 1
    return least, ref.max_snapshot_age_ms or property_as_int(properties, _MAX_AGE_MS)


def _newest(history: Sequence[Snapshot], least: int, since: int, wanted: Set[int]) -> Set[int]:
    """Of a branch, newest first: all down to the oldest that is to be kept, so that its history has no holes."""
    count = least
    for number, each in enumerate(history):
        was_current_until = history[number - 1].timestamp_ms if number else since
        if max(was_current_until, each.timestamp_ms) >= since or each.snapshot_id in wanted:
            count = max(count, number + 1)
    return {each.snapshot_id for each in history[:count]}


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _history(snapshot_id: int | None, by_id: Mapping[int, Snapshot]) -> Iterator[Snapshot]:
    while snapshot_id is not None and (snapshot := by_id.get(snapshot_id)):
        yield snapshot
        snapshot_id = snapshot.parent_snapshot_id


def _only_of(table: Table, expired: Sequence[Snapshot]) -> Upkeep:
    """The files that these snapshots of the table name, and none of its others."""
    gone = {each.snapshot_id for each in expired}
    kept = [each for each in table.metadata.snapshots if each.snapshot_id not in gone]
    manifests_kept = _manifests(table.io, kept) if expired else {}
    manifests = {name: each for name, each in _manifests(table.io, expired).items() if name not in manifests_kept}
    named = _data_files(table.io, manifests.values())
    data = named.keys() - _data_files(table.io, manifests_kept.values()).keys() if named else set()
    beside, beside_kept = _beside(table, expired), _beside(table, kept)
    return Upkeep(
        table=".".join(table.name()),
        snapshots=len(table.metadata.snapshots),
        expired=len(expired),
        data_files=tuple(named[name] for name in sorted(data)),
        metadata_files=(
            *(manifests[name].manifest_path for name in sorted(manifests)),
            *(beside[name] for name in sorted(beside.keys() - beside_kept.keys())),
        ),
    )


def _manifests(io: FileIO, snapshots: Sequence[Snapshot]) -> dict[str, ManifestFile]:
    lists = ExecutorFactory.get_or_create().map(lambda each: read_manifests(io, each), snapshots)
    return {_name(each.manifest_path): each for manifests in lists for each in manifests}


def _data_files(io: FileIO, manifests: Iterable[ManifestFile]) -> dict[str, str]:
    """And delete files."""
    entries = ExecutorFactory.get_or_create().map(lambda each: read_entries(io, each), manifests)
    return {_name(each.data_file.file_path): each.data_file.file_path for of_one in entries for each in of_one}


def _beside(table: Table, snapshots: Sequence[Snapshot]) -> dict[str, str]:
    """The files that the snapshots have beside their manifests: the lists of these, reports, statistics."""
    ids = {each.snapshot_id for each in snapshots}
    statistics = (*table.metadata.statistics, *table.metadata.partition_statistics)
    paths = [
        *(each.manifest_list for each in snapshots),
        *(str(report) for each in snapshots if each.summary and (report := each.summary.get(REPORT))),
        *(each.statistics_path for each in statistics if each.snapshot_id in ids),
    ]
    return {_name(each): each for each in paths}


def _name(path: str) -> str:
    """One for all ways to write it: for file:///a Spark says file:/a, and others /a."""
    return _LOCAL.sub("/", path, count=1).replace("s3a://", "s3://", 1).replace("s3n://", "s3://", 1)


def _delete(io: FileIO, paths: Sequence[str]) -> None:
    list(ExecutorFactory.get_or_create().map(lambda path: delete_files(io, [path]), paths))


def _updates(table: Table, expired: Sequence[Snapshot]) -> tuple[TableUpdate, ...]:
    ids = [each.snapshot_id for each in expired]
    # PyIceberg removes the other statistics of a snapshot with it, and not these.
    of_partitions = {each.snapshot_id for each in table.metadata.partition_statistics} & set(ids)
    statistics: list[dict[str, Any]] = [{"snapshot-id": each} for each in sorted(of_partitions)]
    removed: dict[str, Any] = {"snapshot-ids": ids}
    return *(RemovePartitionStatisticsUpdate(**each) for each in statistics), RemoveSnapshotsUpdate(**removed)


class _Unchanged(AssertTableUUID):
    """The table is as it was looked at. With its snapshots a branch or tag goes that names one of them, also a new one.

    To a REST catalog, which knows no such requirement, it says whose table it is.
    """

    _seen: TableMetadata = PrivateAttr()

    @staticmethod
    def since(seen: TableMetadata) -> "_Unchanged":
        made = _Unchanged(uuid=seen.table_uuid)
        made._seen = seen
        return made

    def validate(self, base_metadata: TableMetadata | None) -> None:  # type: ignore[override]
        super().validate(base_metadata)
        if base_metadata is not self._seen and base_metadata != self._seen:
            raise CommitFailedException("Requirement failed: the table has changed")


def _requirements(table: Table) -> tuple[TableRequirement, ...]:
    refs: list[dict[str, Any]] = [
        {"ref": name, "snapshot-id": each.snapshot_id} for name, each in table.metadata.refs.items()
    ]
    return _Unchanged.since(table.metadata), *(AssertRefSnapshotId(**each) for each in refs)
