"""Totals by account for the audits, which do not trust what the transforms made."""

from collections.abc import Iterable, Mapping, Sequence

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.lender.money import ADJUSTED

EXPENSES_OF_ADJUSTMENTS: Mapping[str, str] = {
    "waiver_expense": f"sum(IF(kind = 'waiver', {ADJUSTED}, 0))",
    "goodwill_expense": f"sum(IF(kind = 'goodwill_credit', {ADJUSTED}, 0))",
    "correction_expense": f"sum(IF(kind IN ('correction', 'clear_unapplied'), {ADJUSTED}, 0))",
}
"""Of applications: what paid for adjustments, in Spark SQL by account."""


def by_account(totals: Mapping[str, str]) -> Iterable[tuple[dict[str, str], str]]:
    """Totals for `added_up`, of Spark SQL by account."""
    return (({"account": account}, total) for account, total in totals.items())


def added_up(source: DataFrame, by: Sequence[str], totals: Iterable[tuple[Mapping[str, str], str]]) -> DataFrame:
    """Totals as rows: for each group and total the columns of `by`, the total's labels and `amount`, debit positive.

    totals: (label columns and their values, Spark SQL that adds up). The source is read once for all of them.
    """
    amounts = (
        F.struct(
            *(F.lit(value).alias(name) for name, value in labels.items()),
            F.expr(total).cast("decimal(28,2)").alias("amount"),
        )
        for labels, total in totals
    )
    return source.groupBy(*by).agg(F.array(*amounts).alias("amounts")).select(*by, F.inline("amounts"))
