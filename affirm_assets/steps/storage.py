"""What a step works on: the catalog of tables and the landing zone. Both are handed in, none is made here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Protocol

from pyiceberg.catalog import Catalog
from pyspark.sql import DataFrame, SparkSession

from resources.landing.landing_file import LandingFile


class LandingZone(Protocol):
    """Where files arrive: `<feed>/<YYYY-MM-DD>/`."""

    def pin(self, feed: str, first: date, last: date) -> Sequence[LandingFile]:
        """The files of these days; fails if a day's folder is not complete."""

    def listings(self, feed: str, first: date, last: date) -> Mapping[str, str]:
        """A digest of what lies in the folder of each of these days, by `feed/date`; of those that are there."""

    def sizes(self, feed: str, first: date, last: date) -> Sequence[int]:
        """Bytes of each file that lies in the folders of these days now, complete or not. No file is opened."""

    def read(
        self, spark: SparkSession, files: Sequence[LandingFile], fields: Mapping[str, str], delimiter: str
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
