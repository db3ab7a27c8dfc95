"""What a step works on: the catalog of tables, the landing zone, a Spark session. All handed in, none made here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Protocol

from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame, SparkSession


class LandedFile(Protocol):
    """A file of a complete landing folder, with what identifies its bytes."""

    @property
    def feed(self) -> str: ...
    @property
    def business_date(self) -> date: ...
    @property
    def name(self) -> str: ...
    @property
    def size(self) -> int: ...
    @property
    def sha256(self) -> str: ...


class LandingZone(Protocol):
    """Where files arrive: `<feed>/<YYYY-MM-DD>/`."""

    def pin(self, feed: str, first: date, last: date) -> Sequence[LandedFile]:
        """The files of these days; fails if a day's folder is not complete."""

    def read(self, spark: SparkSession, files: Sequence[LandedFile], fields: Mapping[str, str]) -> DataFrame:
        """business_date, file, record_number, each field as text, problem, raw: one row for each record."""


@dataclass(frozen=True)
class Storage:
    """What a step needs before it has Spark. `name` is the catalog's name in Spark; `catalog` is the same catalog."""

    catalog: Catalog
    landing: LandingZone
    name: str = "lake"

    def table_name(self, table: str) -> str:
        return f"{self.name}.{table}"

    def with_spark(self, spark: SparkSession) -> "Lake":
        return Lake(self.catalog, self.landing, self.name, spark=spark)


@dataclass(frozen=True)
class Lake(Storage):
    """`spark` is a session of one step alone: `spark.wap.id`, which stages a write, holds for a whole session."""

    spark: SparkSession = field(kw_only=True)
