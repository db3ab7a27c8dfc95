"""What a step works on: the catalog of tables and the landing zone. Both are handed in, none is made here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class LandingFile:
    """A file of a complete landing folder as it was when a step pinned it: `size` in bytes, `sha256` in hex."""

    feed: str
    business_date: date
    name: str
    size: int
    sha256: str


class LandingZone(Protocol):
    """Where files arrive: `<feed>/<YYYY-MM-DD>/`. Its files may be of a class of its own, with the same fields."""

    def pin(self, feed: str, first: date, last: date) -> Sequence[LandingFile]:
        """The files of these days; fails if a day's folder is not complete."""

    def read(self, spark: SparkSession, files: Sequence[LandingFile], fields: Mapping[str, str]) -> DataFrame:
        """business_date, file, record_number, each field as text, problem, raw: one row for each record."""


@dataclass(frozen=True)
class Storage:
    """The tables and the files that a step reads and writes. `name` is the catalog's name in Spark SQL."""

    catalog: Catalog
    landing: LandingZone
    name: str = "lake"
