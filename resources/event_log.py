"""The event log of a local instance: Dagster's SQLite storage, with a batch of events in one transaction.

A range over n partitions is announced by n events for each dataset and reported by n more. Dagster's storage opens its
databases anew for each of them (8 ms): a minute, for 17 datasets over 180 days. Here the few that are used stay open.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dagster import EventLogEntry, StringSource
from dagster._core.events import ASSET_CHECK_EVENTS, ASSET_EVENTS
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable as Events
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.event import listen

from resources.checks_by_partition import ChecksByPartition

_BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"
"""Dagster hands over batches only where this is set."""

_EVENTS = "500"  # enough that a transaction costs nothing

_MOST_OPEN = 4  # databases: the index, and those of the runs that are written or read now


def apart(events: Sequence[EventLogEntry]) -> Sequence[EventLogEntry]:
    """At least two milliseconds after each other. The UI asks for an asset's events page by page, for those before a
    millisecond: of a range whose days are reported in the same one, it shows some and loads the others for ever."""
    found: list[EventLogEntry] = []
    for each in events:
        earliest = found[-1].timestamp + 0.002 if found else each.timestamp
        found.append(each if each.timestamp >= earliest else each._replace(timestamp=earliest))
    return found


def _changes(connection: Connection) -> int:
    """How many rows were ever changed by the connection to the database that is used."""
    changes: int = connection.connection.dbapi_connection.total_changes  # type: ignore[union-attr]
    return changes


def _wait_for_no_disk(connection: Any, _: object) -> None:
    """After a power cut the last events may be missing; what is published is in the tables, and never is."""
    connection.execute("PRAGMA synchronous = NORMAL")


class BatchingSqliteEventLogStorage(ChecksByPartition, SqliteEventLogStorage):
    """For `event_log_storage` in dagster.yaml; `home` is the instance's folder."""

    _db_lock: Any

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        os.environ.setdefault(_BATCH_SIZE, _EVENTS)
        self._batch = threading.local()
        self._engines: OrderedDict[str, Engine] = OrderedDict()
        super().__init__(base_dir, inst_data)
        # A batch holds the connections to the run's database and to the index at once.
        self._db_lock = threading.RLock()

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        return {"home": StringSource}

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Any
    ) -> "BatchingSqliteEventLogStorage":
        return cls(str(Path(config_value["home"], "history", "runs")), inst_data)

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store all of them or, on an error, none; Dagster then tries them one by one.

        As `dagster_postgres` does it: one insert for all events, and of each asset's events the last is its latest.
        """
        events = apart(events)
        rows = [self._event_to_row(event) for event in events]
        with self._one_transaction():
            with self.run_connection(events[0].run_id) as run:
                run.execute(Events.insert(), rows)
            # Batches hold events of assets and of their checks only, and all of those are found across runs too.
            with self.index_connection() as index:
                found = index.execute(Events.insert().returning(Events.c.id, sort_by_parameter_order=True), rows)
                self._store_what_is_indexed(index, events, list(found.scalars()))

    def _store_what_is_indexed(self, index: Connection, events: Sequence[EventLogEntry], ids: Sequence[int]) -> None:
        of_assets = {
            id: event for id, event in zip(ids, events, strict=True) if event.dagster_event_type in ASSET_EVENTS
        }
        self._store_asset_event_tags(index, list(of_assets.values()), list(of_assets))
        latest = {event.get_dagster_event().asset_key: id for id, event in of_assets.items()}
        for id in latest.values():
            self._store_asset_event(index, of_assets[id], id)
        for event, id in zip(events, ids, strict=True):
            if event.dagster_event_type in ASSET_CHECK_EVENTS:
                self.store_asset_check_event(event, id)

    @contextmanager
    def _one_transaction(self) -> Iterator[None]:
        """What this thread writes meanwhile, in either database, is stored as one."""
        with ExitStack() as stack:
            self._batch.stack, self._batch.connections = stack, {}
            try:
                yield
            finally:
                self._batch.stack = None

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """Within a batch, the connection and transaction that its first event has opened."""
        stack: ExitStack | None = getattr(self._batch, "stack", None)
        if stack is None:
            with self._transaction(shard) as connection:
                yield connection
            return
        connections = self._batch.connections
        if shard not in connections:
            connections[shard] = stack.enter_context(self._transaction(shard))
        yield connections[shard]

    @contextmanager
    def _transaction(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engine(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.begin() as connection:
                before = _changes(connection)
                yield connection
                is_changed = _changes(connection) != before
            # The UI follows a run by the changes of its database's file, which SQLite writes when the last connection
            # is closed; until then what is new is in the file beside it. To read is no change: the UI reads when told.
            if is_changed:
                os.utime(self.path_for_shard(shard))

    def _engine(self, shard: str) -> Engine:
        """With a connection that stays open: to open a database takes longer than to store an event."""
        if shard not in self._engines:
            self._engines[shard] = engine = create_engine(
                self.conn_string_for_shard(shard), pool_size=1, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS}
            )
            listen(engine, "connect", _wait_for_no_disk)
        self._engines.move_to_end(shard)
        if len(self._engines) > _MOST_OPEN:
            self._engines.popitem(last=False)[1].dispose()
        return self._engines[shard]

    def wipe(self) -> None:
        self._close()
        super().wipe()

    def dispose(self) -> None:
        super().dispose()
        self._close()

    def _close(self) -> None:
        """All databases: the next use opens them again."""
        with self._db_lock:
            while self._engines:
                self._engines.popitem()[1].dispose()
