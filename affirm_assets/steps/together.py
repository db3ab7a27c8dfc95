"""Several tables at one moment: read as they are at it, and committed to in one transaction where the catalog has one.

The SQL catalogs (SQLite, PostgreSQL) have: all tables move, or none does. A REST catalog has, if its server lists the
endpoint for it: then all is asked for in one request, and it is the server's work that all tables move or none does.
Elsewhere (Glue, other REST servers) tables are committed to one after another; a property that all of them have in
common then says whether they belong together. Only the SQL catalogs also load several tables as of one moment.

Such a catalog says so: `commits_together`; and `checks_properties`, if it knows a requirement of our own.
"""

import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import (
    AssertRefSnapshotId,
    AssertTableUUID,
    RemovePropertiesUpdate,
    SetPropertiesUpdate,
    SetSnapshotRefUpdate,
    TableRequirement,
    TableUpdate,
    ValidatableTableRequirement,
)

from affirm_assets.errors import TablesBusy
from affirm_assets.steps.tables import load_if_exists, main_snapshot

_TRIES = 20
_LONGEST_WAIT = 1.0  # seconds


@dataclass(frozen=True)
class Change:
    """What is to be committed to a table, as it was loaded."""

    table: Table
    updates: tuple[TableUpdate, ...]
    requirements: tuple[TableRequirement, ...] = ()


def wait_a_little(failed: int) -> None:
    """Longer after each failed try, and never the same for two writers."""
    time.sleep(random.uniform(0, min(0.02 * 2 ** min(failed, 10), _LONGEST_WAIT)))


def load_together(catalog: Catalog, names: Collection[str]) -> Mapping[str, Table]:
    """The tables of these names that there are."""
    if of_one_moment := getattr(catalog, "load_together", None):
        return dict(of_one_moment(names))
    loaded = {name: load_if_exists(catalog, name) for name in names}
    return {name: table for name, table in loaded.items() if table is not None}


def commit_together(catalog: Catalog, decide: Callable[[], Sequence[Change] | None]) -> Sequence[Change] | None:
    """Commit what `decide` says of tables that it loads; again, if another commit came first. What was committed.

    `decide` returns None if there is nothing to commit. Where the catalog commits to one table at a time, the last one
    comes last. Raises TablesBusy after many tries.
    """
    for failed in range(_TRIES):
        if failed:
            wait_a_little(failed)
        changes = decide()
        if not changes:
            return None
        try:
            _commit(catalog, changes)
        except CommitFailedException:
            continue
        return changes
    raise TablesBusy(f"{_TRIES} tries: each time, somebody else committed to one of the tables first. Say it again.")


def _commit(catalog: Catalog, changes: Sequence[Change]) -> None:
    if getattr(catalog, "commits_together", False):
        at_once: Any = catalog
        at_once.commit_together(changes)
        return
    for each in changes:
        each.table._do_commit(each.updates, each.requirements)


class _PropertiesAreAsLoaded(ValidatableTableRequirement):
    """Properties that decide whether a commit is allowed. Only a catalog that checks by this library knows it."""

    type: Literal["affirm-properties-are-as-loaded"] = "affirm-properties-are-as-loaded"
    properties: dict[str, str | None]

    def validate(self, base_metadata: TableMetadata | None) -> None:  # type: ignore[override]
        for name, expected in self.properties.items():
            if base_metadata is None or base_metadata.properties.get(name) != expected:
                raise CommitFailedException(f"Requirement failed: property {name} was changed concurrently")


def as_loaded(table: Table, *refs: str, properties: Collection[str] = ()) -> tuple[TableRequirement, ...]:
    """That main, and these refs, point to the snapshots that they pointed to when the table was loaded.

    Where the catalog checks properties (the SQL ones do), also that these are as they were: a catalog takes what was
    committed since the load, if only what is required of it still holds.
    """
    snapshots = {name: ref.snapshot_id for name, ref in table.metadata.refs.items()}
    # PyIceberg refuses to be asked of other refs where there is no snapshot, and so no ref.
    others = {name: snapshots.get(name) for name in refs} if table.metadata.snapshots else {}
    found: dict[str, int | None] = {MAIN_BRANCH: main_snapshot(table), **others}
    kept: list[Any] = []
    if properties and getattr(table.catalog, "checks_properties", False):
        kept = [_PropertiesAreAsLoaded(properties={name: table.properties.get(name) for name in properties})]
    return (
        AssertTableUUID(uuid=table.metadata.table_uuid),
        *(_ref_is(name, snapshot) for name, snapshot in found.items()),
        *kept,
    )


def _ref_is(name: str, snapshot: int | None) -> AssertRefSnapshotId:
    values: dict[str, Any] = {"ref": name, "snapshot-id": snapshot}
    return AssertRefSnapshotId(**values)


def set_ref(name: str, kind: str, snapshot: int) -> TableUpdate:
    """kind: `branch` or `tag`."""
    values: dict[str, Any] = {"ref-name": name, "type": kind, "snapshot-id": snapshot}
    return SetSnapshotRefUpdate(**values)


def set_main(table: Table, snapshot: Snapshot) -> TableUpdate:
    """What others said of how long main's snapshots are kept stays."""
    main = table.metadata.refs.get(MAIN_BRANCH)
    ref: dict[str, Any] = main.model_dump() if main else {"type": SnapshotRefType.BRANCH}
    return SetSnapshotRefUpdate(**{**ref, "snapshot-id": snapshot.snapshot_id, "ref-name": MAIN_BRANCH})


def set_properties(values: Mapping[str, str]) -> TableUpdate:
    return SetPropertiesUpdate(updates=dict(values))


def remove_properties(names: Collection[str]) -> TableUpdate:
    return RemovePropertiesUpdate(removals=list(names))
