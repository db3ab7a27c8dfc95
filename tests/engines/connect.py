"""A session of Sail whose queries are all checked, for tests of the check itself."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from inspect import signature
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import StructField, StructType

from affirm_assets.declare import Window
from affirm_assets.declare.contract import spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Before, Beside, Feed, Landing, Lookup, SameWindow, Shared, Through, Tolerance
from affirm_assets.declare.partitions import Monthly
from affirm_assets.declare.registry import Registry
from affirm_assets.engines.sail.checker import Checked, Checker
from affirm_assets.engines.sail.lineage import Leaves, column_lineage
from affirm_assets.engines.sail.plan import Columns
from affirm_assets.steps.audit import declared_audits

_CONNECT = "SPARK_CONNECT_MODE_ENABLED"
"""While it is set, pyspark.sql.functions make the columns of Connect."""


class CheckedSail:
    """Files of `tables` have their table's lineage, those of `kept` that of a frame."""

    def __init__(self, url: str) -> None:
        from pyspark.sql.connect.session import SparkSession

        self.spark: Any = SparkSession.builder.remote(url).create()
        # As the platform's own client. Otherwise all sessions share threads that release answers, and a session that is
        # collected as garbage waits for their end: in one of them, or while it holds a lock that they need, for ever.
        self.spark.client.disable_reattachable_execute()
        self.spark.conf.set("spark.sql.session.timeZone", "UTC")
        self.spark.conf.set("spark.sql.ansi.enabled", "true")
        self.tables: dict[str, str] = {}
        self.kept: dict[str, Columns] = {}
        self.checker = Checker(Leaves(self.tables, self.kept))
        client = self.spark.client
        self._run, self._ask = client.to_table, client.schema
        client.to_table = lambda plan, observations: self._run(self.checker.check(plan).plan, observations)
        client.schema = lambda plan: self.checker.check(plan).schema or self._ask(self.checker.check(plan).plan)

    def checked(self, frame: DataFrame) -> Checked:
        plan: Any = frame
        return self.checker.check(plan._plan.to_proto(self.spark.client))

    def types_on_sail(self, frame: DataFrame) -> list[str]:
        """What Sail takes the mended plan's columns for."""
        return [each.dataType.simpleString() for each in self._ask(self.checked(frame).plan)]

    def types(self, frame: DataFrame) -> list[str]:
        """What the check says that Spark gives."""
        return [str(each.type) for each in self.checked(frame).columns]

    def file(self, path: Path, schema: StructType, rows: pa.Table | None = None, table: str | None = None) -> DataFrame:
        bare = StructType([StructField(each.name, each.dataType) for each in schema.fields])
        pq.write_table(rows if rows is not None else to_arrow_schema(bare).empty_table(), path)
        if table:
            self.tables[str(path)] = table
        frame: DataFrame = self.spark.read.schema(bare).parquet(str(path))
        return frame


@contextmanager
def checked_sail() -> Iterator[CheckedSail]:
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    _, port = server.listening_address
    with connect_functions():
        made = CheckedSail(f"sc://127.0.0.1:{port}")
    try:
        yield made
    finally:
        made.spark.client.close()
        server.stop()


@contextmanager
def connect_functions() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv(_CONNECT, "1")
        yield


DAY = Window(date(2025, 1, 2), date(2025, 1, 2))


class Steps:
    """The frames of a dataset's step over empty files: of its transform and of each audit."""

    def __init__(self, sail: CheckedSail, registry: Registry, folder: Path, days: Window = DAY) -> None:
        self._sail, self._registry, self._folder, self._days = sail, registry, folder, days

    def transform(self, dataset: Dataset) -> DataFrame:
        return self._call(dataset, dataset.function, dataset.inputs, {})

    def audits(self, dataset: Dataset, last_published: date | None) -> Mapping[str, DataFrame]:
        made: dict[str, DataFrame] = {}
        beside = [name for name, each in dataset.leaves.items() if isinstance(each, Beside)]
        given = {
            "staged": self.table(dataset),
            "last_published": last_published,
            "proves": last_published and f"{last_published} is the last day of a month",
            "feed": Feed("loans", Tolerance(), {} if last_published is None else {last_published: 3}),
            "published": dict.fromkeys(beside, (self.window(dataset),)),
        }
        for each in declared_audits(dataset):
            made[each.name] = self._call(dataset, each.function, dataset.inputs, given)
        return made

    def audits_that_know_what_is_published(self, dataset: Dataset) -> list[str]:
        """Whose frame is another one where days before have been published."""
        given = {"last_published", "feed", "proves"}
        return [each.name for each in declared_audits(dataset) if given & set(signature(each.function).parameters)]

    def table(self, dataset: Dataset) -> DataFrame:
        path = self._folder / f"{dataset.name}.parquet"
        return self._sail.file(path, spark_schema(dataset.contract), table=dataset.table)

    def window(self, dataset: Dataset) -> Window:
        return Window(date(2025, 1, 1), date(2025, 1, 1)) if isinstance(dataset.partitions, Monthly) else self._days

    def _call(self, dataset: Dataset, function: Any, inputs: Mapping[str, Any], given: Mapping[str, Any]) -> DataFrame:
        arguments: dict[str, Any] = {}
        for name in signature(function).parameters:
            if name == "window":
                arguments[name] = self.window(dataset)
            elif name in given:
                arguments[name] = given[name]
            else:
                arguments[name] = self._input(dataset, inputs.get(name) or SameWindow(name))
        made: DataFrame = function(**arguments)
        return made

    def _input(self, dataset: Dataset, meant: Any) -> DataFrame | Lookup:
        if isinstance(meant, Shared):
            return self._call(dataset, meant.function, meant.inputs, {})
        if isinstance(meant, Landing):  # records have the columns of the landing rows, but are of no table
            path = self._folder / f"{meant.feed}.records.parquet"
            return self._sail.file(path, spark_schema(dataset.contract))
        rows = self.table(self._registry[meant.dataset])
        if isinstance(meant, Before | Through) and (by := meant.by):
            return lambda keys: (
                rows.join(keys.select(by).distinct(), by, "left_semi")
                if isinstance(keys, DataFrame)
                else rows.where(F.col(by).isin(*keys))
            )
        return rows


Lineages = Mapping[str, Mapping[str, set[str]]]
"""By table and column: the columns that it comes from."""


def lineages(registry: Registry, folder: Path) -> Lineages:
    """Of every dataset, from its Connect plan."""
    with checked_sail() as sail, connect_functions():
        steps, found = Steps(sail, registry, folder), {}
        for dataset in registry.in_order():
            lineage = column_lineage(sail.checked(steps.transform(dataset)).columns)
            found[dataset.table] = {
                name: {f"{each.table}.{each.column}" for each in columns} for name, columns in lineage.items()
            }
    return found
