"""The verbs of an engine, on classic Spark and Iceberg's own readers and writers."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from uuid import uuid4

from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Observation, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import NumericType, StructType

from affirm_assets.declare.contract import money_columns
from affirm_assets.engines.spark.columns import with_columns_of
from affirm_assets.engines.spark.lineage import lineage_of
from affirm_assets.errors import StageLost, TableNotStageable
from affirm_assets.steps.engine import Among, Days, NullInRequiredColumn, Staged, Target
from affirm_assets.steps.lineage import ColumnRef
from affirm_assets.steps.tables import WAP_ENABLED, added_files

_CONNECT_MODE = "SPARK_CONNECT_MODE_ENABLED"
"""With this variable set, to anything, PySpark's functions make columns for Spark Connect."""

_NATIVE = "spark.comet.enabled"

_ATTEMPT = "affirm.attempt"

_FILE_OPEN_COST = 512 * 1024
"""Bytes that opening a file counts for when Iceberg packs files into tasks. Its default of 4 MiB gives each task of a
history of small daily files four of them, and then the tasks cost more than the reading."""

_WITHOUT_RULES = "spark.sql.adaptive.optimizer.excludedRules"
_CUTS_EMPTY_BRANCHES = "org.apache.spark.sql.execution.adaptive.AQEPropagateEmptyRelation"
"""Replaces a plan that turns out to have no rows, and what was observed in it is gone."""

_NULL_IN_REQUIRED_COLUMN = "NOT_NULL_ASSERT_VIOLATION"


@dataclass(frozen=True)
class SparkEngine:
    """`session` is a session of one step alone: `spark.wap.id`, which stages a write, holds for a whole session.

    `catalog` is the name of the tables' catalog in that session.
    """

    session: SparkSession
    catalog: str
    why: str
    name: str = "spark"
    _kept: list[DataFrame] = field(default_factory=list)

    @property
    def notes(self) -> str:
        return "native operators" if self.session.conf.get(_NATIVE, "false") == "true" else ""

    @contextmanager
    def active(self) -> Iterator[None]:
        before = os.environ.pop(_CONNECT_MODE, None)
        try:
            yield
        finally:
            if before is not None:
                os.environ[_CONNECT_MODE] = before

    def owns(self, frame: DataFrame) -> bool:
        theirs: Any = getattr(frame.sparkSession, "_jsparkSession", None)
        ours: Any = self.session
        return theirs is not None and bool(theirs.equals(ours._jsparkSession))

    def read(
        self, table: Table, snapshot: int, schema: StructType, days: Days | None, among: Among | None = None
    ) -> DataFrame:
        reader = self.session.read.option("versionAsOf", str(snapshot)).option("file-open-cost", str(_FILE_OPEN_COST))
        frame = with_columns_of(schema, reader.table(self._name_of(table)))
        frame = frame if days is None else frame.where(days.sql)
        if among is None:
            return frame
        return frame.where(F.col(among.column).isin(*among.values) if among.values else F.lit(False))

    def empty(self, schema: StructType) -> DataFrame:
        return self.session.createDataFrame([], schema)

    def keep(self, frame: DataFrame) -> DataFrame:
        kept = frame.persist(StorageLevel.MEMORY_AND_DISK)
        self._kept.append(kept)
        return kept

    def stage(self, frame: DataFrame, target: Target) -> Staged:
        """Stage under a wap id: Iceberg's own writers, and a snapshot that is on no branch.

        Raises StageLost; TableNotStageable if it has become main, because somebody has turned staging off since the
        step began, or because the catalog keeps no snapshot that is on no branch.
        """
        attempt = uuid4().hex  # of two tries of the same work that run side by side, each finds its own write
        observed = self._write(frame, target, {**target.properties, _ATTEMPT: attempt})
        table = target.table.refresh()
        name = ".".join(table.name())
        staged = [each for each in table.metadata.snapshots if each.summary and each.summary.get(_ATTEMPT) == attempt]
        if not staged:
            raise StageLost(f"{name}: expected a staged snapshot with {_ATTEMPT}={attempt}, found none.")
        seen = {table.metadata.current_snapshot_id, *(each.snapshot_id for each in table.metadata.snapshot_log)}
        if staged[-1].snapshot_id in seen:
            raise TableNotStageable(
                f"{name}: expected the staged rows in a snapshot that is on no branch, found it in main's history "
                f"({staged[-1].snapshot_id}): readers see rows that no audit has passed. Set {WAP_ENABLED}=true, put "
                f"main back to snapshot {staged[-1].parent_snapshot_id} (Iceberg's procedure rollback_to_snapshot), "
                "and run the step again. If the property was true, the catalog does not keep such snapshots: use "
                "another one."
            )
        files = tuple(added_files(table, staged[-1]))
        _check_all_written(name, staged[-1].snapshot_id, observed["rows"], files)
        sums = {column: Decimal(observed[f"sum {column}"] or 0) for column in money_columns(frame.schema)}
        return Staged(files, observed["rows"], sums, staged[-1].snapshot_id)

    def look(self, staged: Staged, target: Target, schema: StructType) -> DataFrame:
        assert staged.snapshot is not None
        return self.read(target.table, staged.snapshot, schema, target.days)

    def check(self, makes: Iterable[Callable[[], DataFrame]]) -> None:
        """Spark is what others are compared with."""

    def answers(self, queries: Iterable[DataFrame]) -> list[Row]:
        return [each.collect()[0] for each in queries]

    def check_inputs(self) -> None:
        """Spark fails by itself on a file that is gone."""

    def numbers(self, frame: DataFrame) -> list[str]:
        return [each.name for each in frame.schema.fields if isinstance(each.dataType, NumericType)]

    def lineage(self, frame: DataFrame) -> Mapping[str, frozenset[ColumnRef]]:
        return lineage_of(frame)

    def close(self) -> None:
        for frame in self._kept:
            frame.unpersist()
        self._kept.clear()

    def _name_of(self, table: Table) -> str:
        return ".".join((self.catalog, *table.name()))

    def _write(self, frame: DataFrame, target: Target, properties: Mapping[str, str]) -> dict[str, Any]:
        """Write, and count on the way; returns `rows` and the sums."""
        observation = Observation()
        observed = frame.observe(
            observation,
            F.count(F.lit(1)).alias("rows"),
            *(F.sum(column).alias(f"sum {column}") for column in money_columns(frame.schema)),
        )
        writer = observed.writeTo(self._name_of(target.table)).option("check-nullability", "false")
        # Whatever another team has made the table's default: the files' totals are read again as Parquet.
        writer = writer.option("write-format", "parquet")
        for name, value in _layout(target.days).items():
            writer = writer.option(name, value)
        for name, value in properties.items():
            writer = writer.option(f"snapshot-property.{name}", value)
        self.session.conf.set("spark.wap.id", target.wap_id)
        self.session.conf.set(_WITHOUT_RULES, _CUTS_EMPTY_BRANCHES)
        try:
            writer.overwrite(F.expr(target.days.sql if target.days else "true"))
        except PySparkException as error:
            if _NULL_IN_REQUIRED_COLUMN in str(error):
                raise NullInRequiredColumn from error
            raise
        finally:
            self.session.conf.unset("spark.wap.id")
            self.session.conf.unset(_WITHOUT_RULES)
        return observation.get


def _layout(days: Days | None) -> Mapping[str, str]:
    """A shuffle by partition spares a range a small file for each task and day; one partition needs none.

    A range is sorted too, so that a task has one file open at a time: with a file for each day it runs out of memory.
    """
    if days is None or days.window.first == days.window.last:
        return {"distribution-mode": "none"}
    return {"distribution-mode": "hash", "fanout-enabled": "false"}


def _check_all_written(table: str, snapshot: int, rows: int, files: tuple[DataFile, ...]) -> None:
    written = sum(file.record_count for file in files)
    if written != rows:
        # A retried task may be observed twice, and then no count that was observed can be believed.
        raise StageLost(
            f"{table}: {rows} rows were observed while writing, but the staged snapshot {snapshot} holds {written}. "
            "Nothing was published; run the step again."
        )
