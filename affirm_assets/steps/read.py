"""Read a step's inputs at their pinned snapshots, filtered so that Iceberg prunes files."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from inspect import signature
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.contract import columns, personal_columns, spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import LAST_PUBLISHED, STAGED, WINDOW, Input, Landing, Mapped, MappedTable, Shared
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import SchemaChangeRefused
from affirm_assets.steps.lake import Lake
from affirm_assets.steps.published import last_published
from affirm_assets.steps.request import Request

_FILE_OPEN_COST = 512 * 1024
"""Bytes that opening a file counts for when Iceberg packs files into tasks. Its default of 4 MiB gives each task of a
history of small daily files four of them, and then the tasks cost more than the reading."""


@dataclass(frozen=True)
class TableRead:
    """A read of a table: its snapshot (None: nothing was published) and the partitions read (None: all of them)."""

    source: Dataset
    snapshot: int | None
    days: Window | None


def table_read(
    dataset: Dataset, mapped: MappedTable, parameter: str, upstream: Mapping[str, Dataset], request: Request
) -> TableRead:
    """What a parameter of the dataset means in a request."""
    is_own = mapped.dataset == dataset.name
    source = dataset if is_own else upstream[mapped.dataset]
    snapshot = request.base if is_own else request.inputs[parameter]
    return TableRead(source, snapshot, dataset.read_days(mapped, source.partitions, request.window))


class Frames:
    """A step's input frames by parameter name. A shared frame is made when first named, and kept until `release`."""

    def __init__(self, dataset: Dataset, upstream: Mapping[str, Dataset], request: Request, lake: Lake) -> None:
        self._window, self._dataset, self._lake = request.window, dataset, lake
        self._read: dict[str, DataFrame] = {
            name: _read(dataset, mapped, name, upstream, request, lake) for name, mapped in dataset.leaves.items()
        }
        read = [
            upstream[m.dataset] for m in dataset.leaves.values() if not isinstance(m, Landing) and m.dataset in upstream
        ]
        # An audit may show columns of what it read beside those of what was staged.
        self.personal_columns = frozenset().union(*(personal_columns(each.contract) for each in (dataset, *read)))
        self._shared: dict[str, DataFrame] = {}
        self._inputs = dataset.inputs

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
        meanings = self._inputs if inputs is None else inputs
        arguments: dict[str, Any] = {}
        for name in signature(function).parameters:
            if name == WINDOW:
                arguments[name] = self._window
            elif name == LAST_PUBLISHED:
                arguments[name] = self._last_published()
            elif name == STAGED and staged is not None:
                arguments[name] = staged
            else:
                arguments[name] = self._frame(name, meanings.get(name))
        return function(**arguments)

    def release(self) -> None:
        for frame in self._shared.values():
            frame.unpersist()
        self._shared.clear()

    def _last_published(self) -> date | None:
        """The last date after the window for which the dataset is published."""
        return last_published(self._dataset, self._lake.catalog.load_table(self._dataset.table), self._window)

    def _frame(self, name: str, declared: Input | None) -> DataFrame:
        if not isinstance(declared, Shared):
            return self._read[name]
        if name not in self._shared:
            self._shared[name] = self.call(declared.function, inputs=declared.inputs).persist(
                StorageLevel.MEMORY_AND_DISK
            )
        return self._shared[name]


def between(column: str, days: Window) -> str:
    """Spark SQL: the column's date lies in the days. Iceberg prunes by it."""
    return f"`{column}` >= DATE'{days.first}' AND `{column}` <= DATE'{days.last}'"


def snapshot_frame(lake: Lake, dataset: Dataset, snapshot: int) -> DataFrame:
    """The dataset's table at a snapshot, with the contract's columns: one that is younger than the snapshot is null."""
    reader = lake.spark.read.option("versionAsOf", str(snapshot)).option("file-open-cost", str(_FILE_OPEN_COST))
    frame = reader.table(lake.table_name(dataset.table))
    present = set(frame.columns)
    missing = [c.name for c in columns(dataset.contract) if c.required and c.name not in present]
    if missing:
        raise SchemaChangeRefused(dataset.table, [f"column {name} is not in snapshot {snapshot}" for name in missing])
    return frame.select(
        [
            F.col(c.name) if c.name in present else F.lit(None).cast(c.spark_type).alias(c.name)
            for c in columns(dataset.contract)
        ]
    )


def _read(
    dataset: Dataset, mapped: Mapped, parameter: str, upstream: Mapping[str, Dataset], request: Request, lake: Lake
) -> DataFrame:
    if isinstance(mapped, Landing):
        return lake.landing.read(
            lake.spark, [each for each in request.files if each.feed == mapped.feed], mapped.fields
        )
    read = table_read(dataset, mapped, parameter, upstream, request)
    if read.snapshot is None:
        return lake.spark.createDataFrame([], spark_schema(read.source.contract))
    frame, partitions = snapshot_frame(lake, read.source, read.snapshot), read.source.partitions
    return frame if read.days is None or partitions is None else frame.where(between(partitions.column, read.days))
