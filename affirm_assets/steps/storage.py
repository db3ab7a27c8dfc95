"""What a step works on: the catalog of tables and the landing zone. Both are handed in, none is made here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class PinnedFile:
    """A landing file as a request records it, to be read back where there is no landing zone.

    The zone's own class of files has the same fields; a step may not know it, since it is the resource's. `size` in
    bytes, `sha256` in hex.
    """

    feed: str
    business_date: date
    name: str
    size: int
    sha256: str


class LandingZone(Protocol):
    """Where files arrive: `<feed>/<YYYY-MM-DD>/`."""

    def pin(self, feed: str, first: date, last: date) -> Sequence[PinnedFile]:
        """The files of these days; fails if a day's folder is not complete."""

    def listings(self, feed: str, first: date, last: date) -> Mapping[str, str]:
        """A digest of what lies in the folder of each of these days, by `feed/date`; of those that are there."""

    def read(
        self, spark: SparkSession, files: Sequence[PinnedFile], fields: Mapping[str, str], delimiter: str
    ) -> DataFrame:
        """business_date, file, record_number, each field as text, problem, raw: one row for each record.

        `delimiter`: the character between values in CSV.
        """


@dataclass(frozen=True)
class Storage:
    """The tables and the files that a step reads and writes. `name` is the catalog's name in Spark SQL."""

    catalog: Catalog
    landing: LandingZone
    name: str = "lake"
