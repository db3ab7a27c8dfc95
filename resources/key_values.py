"""Dagster's key-value store, for processes that write at once: its own functions have no "only if".

Its rows are few and small, and lie in the database of the instance's runs (SQLite or PostgreSQL).
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import KeyValueStoreTable as Rows
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError


class KeyValues:
    """Each method is one statement: it happens as a whole, or not at all."""

    def __init__(self, instance: dg.DagsterInstance) -> None:
        storage = instance.run_storage
        if not isinstance(storage, SqlRunStorage):
            raise TypeError(
                f"The instance's run storage: expected SQLite or PostgreSQL, found {type(storage).__name__}."
            )
        self._storage = storage

    def get(self, key: str) -> str | None:
        found: str | None = self._storage.get_cursor_values({key}).get(key)
        return found

    def put(self, key: str, value: str) -> None:
        """Whatever is there."""
        self._storage.set_cursor_values({key: value})

    def insert(self, key: str, value: str) -> bool:
        """Only if there is none. Whether there was none."""
        try:
            self._execute(insert(Rows).values(key=key, value=value))
        except IntegrityError:
            return False
        return True

    def replace(self, key: str, old: str, new: str) -> bool:
        """Only if it is still `old`. Whether it was."""
        return bool(self._execute(update(Rows).where(Rows.c.key == key, Rows.c.value == old).values(value=new)))

    def remove(self, key: str, old: str) -> bool:
        """Only if it is still `old`. Whether it was."""
        return bool(self._execute(delete(Rows).where(Rows.c.key == key, Rows.c.value == old)))

    def begin_with(self, key: str, value: str) -> Mapping[str, str]:
        """Those whose key and value begin so, in the order in which they were inserted."""
        rows = (
            select(Rows.c.key, Rows.c.value)
            .where(Rows.c.key.startswith(key, autoescape=True), Rows.c.value.startswith(value, autoescape=True))
            .order_by(Rows.c.id)
        )
        with self._storage.connect() as connection:
            return {row.key: row.value for row in connection.execute(rows)}

    def _execute(self, statement: Any) -> int:
        with self._storage.connect() as connection:
            changed: int = connection.execute(statement).rowcount
            return changed
