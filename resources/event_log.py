"""The event log of a local instance: Dagster's SQLite storage, with a batch of events in one transaction.

A range over n partitions is announced by n events for each dataset and reported by n more. Dagster's storage opens its
databases anew for each of them (8 ms): a minute, for 17 datasets over 180 days.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dagster import EventLogEntry, StringSource
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._serdes import ConfigurableClassData
from sqlalchemy import Connection

_BATCH_SIZE = "DAGSTER_EVENT_BATCH_SIZE"
"""Dagster hands over batches only where this is set."""

_EVENTS = "500"  # enough that opening the databases costs nothing


class BatchingSqliteEventLogStorage(SqliteEventLogStorage):
    """For `event_log_storage` in dagster.yaml; `home` is the instance's folder."""

    _db_lock: Any

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        os.environ.setdefault(_BATCH_SIZE, _EVENTS)
        self._batch = threading.local()
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
        """Store all of them or, on an error, none; Dagster then tries them one by one."""
        with ExitStack() as stack:
            self._batch.stack, self._batch.connections = stack, {}
            try:
                super().store_event_batch(events)
            finally:
                self._batch.stack = None

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """Within a batch, the connection and transaction that its first event has opened."""
        stack: ExitStack | None = getattr(self._batch, "stack", None)
        if stack is None:
            with super()._connect(shard) as connection:
                yield connection
            return
        connections = self._batch.connections
        if shard not in connections:
            connections[shard] = stack.enter_context(super()._connect(shard))
        yield connections[shard]
