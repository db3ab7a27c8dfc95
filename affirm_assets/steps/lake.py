"""What a step works on: the catalog of tables and the landing zone. Both are handed in, none is made here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
    """The tables and the files that a step reads and writes. `name` is the catalog's name in Spark SQL."""

    catalog: Catalog
    landing: LandingZone
    name: str = "lake"
