"""A step's input frames: each parameter at its pinned snapshot, filtered to the days that the declaration names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from inspect import signature
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.contract import columns, personal_columns, spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import (
    FEED,
    LAST_PUBLISHED,
    PROVES,
    PUBLISHED,
    STAGED,
    WINDOW,
    Before,
    Beside,
    Input,
    Landing,
    Lookup,
    Mapped,
    MappedTable,
    Shared,
    Through,
    ToProve,
)
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import SchemaChangeRefused
from affirm_assets.steps.acceptance import refusable
from affirm_assets.steps.beside import published_beside
from affirm_assets.steps.engine import Among, Days, Engine
from affirm_assets.steps.published import last_published
from affirm_assets.steps.request import Pinned, Request
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import schema_of

_MOST_VALUES = 2_000
"""That a Lookup says in a plan; of more, it joins."""


@dataclass(frozen=True)
class TableRead:
    """A read of a table: its snapshot (None: there is nothing to read) and the partitions read (None: all of them)."""

    source: Dataset
    snapshot: int | None
    days: Window | None


def table_read(
    dataset: Dataset, mapped: MappedTable, parameter: str, upstream: Mapping[str, Dataset], request: Request
) -> TableRead:
    """What a parameter of the dataset means in a request."""
    is_own = mapped.dataset == dataset.name
    source = dataset if is_own else upstream[mapped.dataset]
    pinned = request.beside if isinstance(mapped, Beside) else request.inputs
    snapshot = request.base if is_own else pinned[parameter]
    if isinstance(mapped, ToProve) and request.proves is None:
        snapshot = None
    return TableRead(source, snapshot, dataset.read_days(mapped, source.partitions, request.window))


class Frames:
    """A step's input frames by parameter name. A shared frame is made when first named, and kept by the engine."""

    def __init__(
        self, dataset: Dataset, upstream: Mapping[str, Dataset], pinned: Pinned, storage: Storage, engine: Engine
    ) -> None:
        self._dataset, self._upstream, self._pinned = dataset, upstream, pinned
        self._storage, self._engine = storage, engine
        self._made: dict[str, DataFrame | Lookup] = {}
        read = [
            upstream[m.dataset] for m in dataset.leaves.values() if not isinstance(m, Landing) and m.dataset in upstream
        ]
        # An audit may show columns of what it read beside those of what was staged.
        self.personal_columns = frozenset().union(*(personal_columns(each.contract) for each in (dataset, *read)))

    def call(
        self,
        function: Callable[..., DataFrame],
        *,
        staged: DataFrame | None = None,
        inputs: Mapping[str, Input] | None = None,
    ) -> DataFrame:
        """Call a transform, audit or shared function with the frames that its parameters name.

        `inputs` says what the names mean: the dataset's own inputs, unless a shared function brings others.
        """
        meanings = self._dataset.inputs if inputs is None else inputs
        arguments: dict[str, Any] = {}
        for name in signature(function).parameters:
            if name == WINDOW:
                arguments[name] = self._pinned.request.window
            elif name == LAST_PUBLISHED:
                arguments[name] = self._last_published()
            elif name == PUBLISHED:
                arguments[name] = published_beside(self._dataset, self._upstream, self._pinned)
            elif name == PROVES:
                arguments[name] = self._pinned.request.proves
            elif name == FEED:
                table = self._pinned.tables.get(self._dataset.table)
                arguments[name] = refusable(self._dataset, self._upstream, table, self._pinned.request)
            elif name == STAGED and staged is not None:
                arguments[name] = staged
            else:
                arguments[name] = self._frame(name, meanings.get(name))
        return function(**arguments)

    def numbers(self, frame: DataFrame) -> list[str]:
        """The names of the frame's columns that hold numbers."""
        return self._engine.numbers(frame)

    def _last_published(self) -> date | None:
        """The last date after the window for which the dataset is published now."""
        table = self._storage.catalog.load_table(self._dataset.table)
        return last_published(self._dataset, table, self._pinned.request.window)

    def _frame(self, name: str, declared: Input | None) -> DataFrame | Lookup:
        if name not in self._made:
            if isinstance(declared, Shared):
                self._made[name] = self._engine.keep(self.call(declared.function, inputs=declared.inputs))
            else:
                self._made[name] = self._read(name, self._dataset.leaves[name])
        return self._made[name]

    def _read(self, parameter: str, mapped: Mapped) -> DataFrame | Lookup:
        request = self._pinned.request
        if isinstance(mapped, Landing):
            files = [each for each in request.files if each.feed == mapped.feed]
            return self._storage.landing.read(self._engine.session, files, mapped.fields, mapped.delimiter)
        read = table_read(self._dataset, mapped, parameter, self._upstream, request)
        schema = spark_schema(read.source.contract)
        nothing = partial(self._engine.empty, schema)
        by = mapped.by if isinstance(mapped, Before | Through) else None
        if read.snapshot is None or (isinstance(mapped, Beside) and mapped.dataset in request.run.datasets):
            return nothing() if by is None else lambda _: nothing()
        table = self._pinned.tables[read.source.table]
        _check_has_columns(read, table_columns=schema_of(table, read.snapshot).column_names)
        partitions = read.source.partitions
        days = None if read.days is None or partitions is None else Days(partitions.column, read.days)
        rows = partial(self._engine.read, table, read.snapshot, schema, days)
        return rows() if by is None else partial(_found, rows, by)


def _found(rows: Callable[..., DataFrame], by: str, keys: DataFrame | Sequence[str]) -> DataFrame:
    """What a Lookup gives. `rows`: of the whole history, or of what has some values."""
    if not isinstance(keys, DataFrame):
        return rows(among=Among(by, tuple(keys)))
    asked_for = keys.select(by).where(F.col(by).isNotNull()).distinct()
    values = tuple(str(row[by]) for row in asked_for.limit(_MOST_VALUES + 1).collect())
    if len(values) > _MOST_VALUES:
        return rows().join(asked_for, by, "left_semi")
    return rows(among=Among(by, values))


def _check_has_columns(read: TableRead, table_columns: list[str]) -> None:
    missing = [c.name for c in columns(read.source.contract) if c.required and c.name not in table_columns]
    if missing:
        raise SchemaChangeRefused(
            read.source.table, [f"column {name} is not in snapshot {read.snapshot}" for name in missing]
        )
