"""What is shown of a dataset beside its counts: sums by partition, and a few rows with personal data masked."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal

from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.contract import key_columns, personal_columns
from affirm_assets.declare.dataset import Dataset
from affirm_assets.steps.audit import masked_rows
from affirm_assets.steps.control_totals import Totals, added_up
from affirm_assets.steps.tables import partition_day, partition_positions

SAMPLE_ROWS = 3

Sums = Mapping[date | None, Mapping[str, Decimal]]
"""By partition (first day; None: unpartitioned), of each column."""


def sums_by_partition(dataset: Dataset, table: Table, files: Sequence[DataFile], totals: Sequence[Totals]) -> Sums:
    """The sums that control totals found in each file, added up; of partitions that have files."""
    of_days: dict[date | None, list[Totals]] = defaultdict(list)
    for day, each in zip(days_of(dataset, table, files), totals, strict=True):
        of_days[day].append(each)
    return {day: added_up(found, dataset.sums).sums for day, found in of_days.items()}


def sample_rows(
    dataset: Dataset, table: Table, files: Sequence[DataFile], rows: DataFrame
) -> tuple[Mapping[str, str | None], ...]:
    """The first rows, by key, of the newest partition that has any, whatever files they lie in.

    Masked are personal columns, and in what a feed brought each of its fields: nobody has looked at those, and an
    address may stand where an amount should.
    """
    newest = max((day for day in days_of(dataset, table, files) if day), default=None)
    if not files:
        return ()
    if newest and dataset.partitions:
        rows = rows.where(F.col(dataset.partitions.column) == F.lit(newest))
    unchecked = {name for feed in dataset.feeds for name in feed.fields}
    return masked_rows(
        personal_columns(dataset.contract) | unchecked, rows.orderBy(*key_columns(dataset.contract)), SAMPLE_ROWS
    )


def days_of(dataset: Dataset, table: Table, files: Sequence[DataFile]) -> list[date | None]:
    """The partition of each file."""
    if dataset.partitions is None:
        return [None] * len(files)
    positions = partition_positions(table, dataset.partitions.column)
    return [partition_day(each, positions[each.spec_id]) for each in files]
