"""What a step asks of an engine. Transforms and audits are PySpark functions; an engine computes their frames.

A step knows these verbs and nothing else of an engine: no session's settings, no JVM.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql.types import StructType

from affirm_assets.declare.partitions import Window
from affirm_assets.steps.lineage import ColumnRef


class NullInRequiredColumn(Exception):
    """A frame holds a null where the contract has none: such rows cannot even be written."""


@dataclass(frozen=True)
class Days:
    """Which rows of a table: those whose date `column` lies in `window`."""

    column: str
    window: Window

    @property
    def sql(self) -> str:
        """Spark SQL that is true for them. Iceberg prunes by it."""
        return f"`{self.column}` >= DATE'{self.window.first}' AND `{self.column}` <= DATE'{self.window.last}'"


@dataclass(frozen=True)
class Target:
    """Where a frame is to be staged: as the new content of these days of the table (None: of the whole table).

    `wap_id` names the work and `properties` say what it is, for engines that make a snapshot of what they stage.
    """

    table: Table
    days: Days | None
    wap_id: str
    properties: Mapping[str, str]


@dataclass(frozen=True)
class Staged:
    """Data files that lie in a table's folder and are in no snapshot that readers see.

    `rows` and `sums` are what the engine says of the frame that it wrote, not what the files hold: an audit compares
    the two. `sums`: of each decimal(18,2) column, nulls left out. `snapshot`: the one that holds the files, if the
    engine made one.
    """

    files: tuple[DataFile, ...]
    rows: int
    sums: Mapping[str, Decimal]
    snapshot: int | None = None


@dataclass(frozen=True)
class Among:
    """Some values of a column of text."""

    column: str
    values: tuple[str, ...]


class Engine(Protocol):
    """An engine at work on one step. `why` says why it was chosen, `notes` what it did that a user should know."""

    @property
    def name(self) -> str: ...
    @property
    def why(self) -> str: ...
    @property
    def session(self) -> SparkSession: ...
    @property
    def notes(self) -> str: ...

    def active(self) -> AbstractContextManager[None]:
        """Inside, pyspark.sql.functions make this engine's columns, and SparkSession.active() is its session."""

    def owns(self, frame: DataFrame) -> bool:
        """Whether the frame belongs to this step's session: another's would not be staged here."""

    def read(
        self, table: Table, snapshot: int, schema: StructType, days: Days | None, among: Among | None = None
    ) -> DataFrame:
        """The rows of these days (None: all) at a snapshot, with the schema's columns; one that is younger is null.

        With `among`, only those that have one of its values.

        Raises UnfitForEngine where this engine would not read the table rightly.
        """

    def empty(self, schema: StructType) -> DataFrame:
        """No rows."""

    def keep(self, frame: DataFrame) -> DataFrame:
        """The same rows, computed once, however often they are read until `close`."""

    def stage(self, frame: DataFrame, target: Target) -> Staged:
        """Write the frame as data files of the table, on no reader's path.

        Raises NullInRequiredColumn, StageLost.
        """

    def look(self, staged: Staged, target: Target, schema: StructType) -> DataFrame:
        """What was staged, read from its files."""

    def check(self, makes: Iterable[Callable[[], DataFrame]]) -> None:
        """Raises UnfitForEngine if this engine cannot compute one of the frames that `makes` make. Computes none.

        What cannot be made without looking at rows, such as a frame with a bound that is collected first, is left out.
        """

    def answers(self, queries: Iterable[DataFrame]) -> list[Row]:
        """The one row of each, in their order. A query may be at work while the next is made."""

    def check_inputs(self) -> None:
        """Look again whether what was read is still there, before anything is published of it. Raises FilesLost."""

    def numbers(self, frame: DataFrame) -> list[str]:
        """The names of the frame's columns that hold numbers. Runs nothing."""

    def lineage(self, frame: DataFrame) -> Mapping[str, frozenset[ColumnRef]]:
        """For each column, the table columns that its values are computed from. Runs nothing."""

    def close(self) -> None:
        """Let go of what was kept."""
