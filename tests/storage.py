"""A storage of a test: its tables, its landing zone, an engine that computes steps on it, and one to look with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from affirm_assets.declare.contract import spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.engines.spark import SparkEngine
from affirm_assets.errors import UnfitForEngine
from affirm_assets.steps.engine import Engine
from affirm_assets.steps.read import Frames
from affirm_assets.steps.request import Pinned, Run
from affirm_assets.steps.run import Result, run_step
from affirm_assets.steps.scan_size import ScanSize
from affirm_assets.steps.storage import Storage

Opens = Callable[[], Engine]
Keep = Callable[[DataFrame], DataFrame]


@dataclass(frozen=True)
class OneEngine:
    """Steps get the engine that a test is about, whatever they read."""

    opens: Opens
    sizes: list[ScanSize] = field(default_factory=list)

    def open(self, dataset: Dataset, window: Window | None, size: ScanSize) -> Engine:
        self.sizes.append(size)
        return self.opens()

    def instead(self, dataset: Dataset, window: Window | None, size: ScanSize, error: UnfitForEngine) -> Engine:
        raise error


@dataclass(frozen=True)
class StorageWithEngine(Storage):
    """`opens` makes an engine for a step, `own` is one to make frames and to look at rows with."""

    opens: Opens = field(kw_only=True)

    @cached_property
    def own(self) -> Engine:
        return self.opens()

    @property
    def spark(self) -> SparkSession:
        return self.own.session

    def close(self) -> None:
        if "own" in vars(self):
            self.own.close()

    def frames(self, dataset: Dataset, upstream: Mapping[str, Dataset], pinned: Pinned) -> Frames:
        return Frames(dataset, upstream, pinned, self, self.own)

    def read(self, dataset: Dataset, snapshot: int) -> DataFrame:
        """The dataset's table as it was with a snapshot."""
        table = self.catalog.load_table(dataset.table)
        return self.own.read(table, snapshot, spark_schema(dataset.contract), None)

    def rows(self, table: str, *, order: str) -> list[tuple[Any, ...]]:
        """What a reader of `main` sees, by PyIceberg."""
        return [tuple(row.values()) for row in self.by_name(table, order=order)]

    def by_name(self, table: str, *, order: str) -> list[dict[str, Any]]:
        """The same, each row's values by column."""
        read: list[dict[str, Any]] = self.catalog.load_table(table).scan().to_arrow().sort_by(order).to_pylist()
        return read


NewStorage = Callable[[], StorageWithEngine]
"""Makes another step's view of the same tables."""


def on_spark(storage: Storage, session: SparkSession) -> StorageWithEngine:
    """The storage as a step on classic Spark sees it."""
    opens = partial(SparkEngine, session, storage.name, "the test asks for it")
    return StorageWithEngine(storage.catalog, storage.landing, storage.name, opens=opens)


def run_in(
    storage: StorageWithEngine,
    dataset: Dataset,
    upstream: Mapping[str, Dataset],
    window: Window | None,
    run: Run,
    code_version: str = "v1",
) -> Result:
    """A step on the storage's engine."""
    return run_step(dataset, upstream, window, run, code_version, storage, OneEngine(storage.opens))


class Steps:
    """Runs steps of test datasets, each in a session of its own."""

    def __init__(self, new_storage: NewStorage) -> None:
        self.new_storage = new_storage

    def run(
        self,
        dataset: Dataset,
        window: Window | None,
        *,
        upstream: tuple[Dataset, ...] = (),
        run: str = "run",
        **over: Any,
    ) -> Result:
        datasets = {each.name: each for each in (*upstream, dataset)}
        arguments = {"code_version": "v1", "root": run, **over}
        return run_in(
            self.new_storage(), dataset, datasets, window, Run(run, arguments["root"]), arguments["code_version"]
        )

    def rows(self, dataset: Dataset, *, order: str = "id") -> list[tuple[Any, ...]]:
        """What a reader of `main` sees."""
        return self.new_storage().rows(dataset.table, order=order)
