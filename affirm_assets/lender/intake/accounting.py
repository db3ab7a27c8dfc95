"""That each record of a feed is in one of its tables: what their audits compare.

Accepted is one table, rejected another; an exact duplicate is in none.
"""

from collections.abc import Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.audits import reconcile
from affirm_assets.declare import Window
from affirm_assets.lender.intake.duplicates import ACCEPTED, DUPLICATE, RECORD, REJECTED, with_fate


def accepted_accounts_for(
    staged: DataFrame,
    received: DataFrame,
    fates: DataFrame,
    published_rejections: DataFrame,
    days: Sequence[Window],
    *,
    day: str,
    together: Sequence[str],
) -> DataFrame:
    """staged: the accepted; days: those of which the rejections are published, on others they are what is computed.

    One row for each file, with the date of its folder as `day`.
    """
    rejected = reconcile.published_or_computed(
        published_rejections, with_fate(fates, REJECTED), RECORD, day=day, days=days
    )
    compared = reconcile.one_fate_each(
        received, {ACCEPTED: staged, REJECTED: rejected, DUPLICATE: with_fate(fates, DUPLICATE)}
    )
    compared = _with_day(compared, received, day)
    return compared.withColumn("run_instead", reconcile.run_together(*together)) if days else compared


def rejected_accounts_for(
    staged: DataFrame,
    received: DataFrame,
    fates: DataFrame,
    accepted: DataFrame,
    *,
    day: str,
    together: Sequence[str],
) -> DataFrame:
    """staged: the rejected; accepted: as published. One row for each file, with the date of its folder as `day`."""
    compared = reconcile.one_fate_each(
        received, {ACCEPTED: accepted, REJECTED: staged, DUPLICATE: with_fate(fates, DUPLICATE)}
    )
    return _with_day(compared, received, day).withColumn("run_instead", reconcile.run_together(*together))


def _with_day(compared: DataFrame, received: DataFrame, day: str) -> DataFrame:
    """So that of a range only the days of the wrong files are red. Null where no such file was received."""
    files = received.groupBy("file").agg(F.min("business_date").alias(day))
    return compared.join(files, "file", "left")
