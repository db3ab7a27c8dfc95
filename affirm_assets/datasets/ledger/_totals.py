"""The chart of accounts, and totals by account for the audits, which do not trust what the transforms made."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

Account = Literal[
    "cash",
    "principal_receivable",
    "interest_receivable",
    "merchant_payable",
    "credit_balances",
    "suspense",
    "unapplied",
    "interest_income",
    "merchant_discount_income",
    "allowance",
]

CASH = """
    CASE WHEN kind IN ('payment', 'recovery') THEN amount
         WHEN kind IN ('payment_reversal', 'credit_refund', 'merchant_payout') THEN -amount
         ELSE 0 END
"""
"""Spark SQL: the cash that a transaction moves; a refund moves none, it lowers what the merchant is owed."""


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
