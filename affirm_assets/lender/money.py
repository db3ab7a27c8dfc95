"""Which way the money of a transaction goes: of its `amount`, by its `kind`."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from affirm_assets.lender.vocabulary import ADJUSTMENT_KINDS, MERCHANT_KINDS, REFUND_KINDS, TAKES_OUT


def _listed(kinds: tuple[str, ...]) -> str:
    return ", ".join(f"'{kind}'" for kind in kinds)


SIGNED_AMOUNT = f"IF(kind IN ({_listed(TAKES_OUT)}), -amount, amount)"
"""Spark SQL: the amount, negative where the lender pays it out or gives it back."""

IS_REFUND = f"kind IN ({_listed(REFUND_KINDS)})"
"""Spark SQL: whether a transaction moves no cash, but what its merchant is owed."""

CASH = f"IF({IS_REFUND}, 0, {SIGNED_AMOUNT})"
"""Spark SQL: the cash that a transaction moves."""

MERCHANTS_OWED_LESS = (
    f"CASE WHEN {IS_REFUND} THEN {SIGNED_AMOUNT} WHEN kind IN ({_listed(MERCHANT_KINDS)}) THEN amount ELSE 0 END"
)
"""Spark SQL: how much less merchants are owed after a transaction."""

IS_ADJUSTMENT = f"kind IN ({_listed(ADJUSTMENT_KINDS)})"
"""Spark SQL: whether a movement is no transaction: it brings in no money, but an expense may pay for it."""

APPLIED = "interest + principal + credit + recovery_principal + recovery_interest"
"""Spark SQL: what of an application is applied."""

ADJUSTED = f"IF({IS_ADJUSTMENT}, {APPLIED} + unapplied, 0)"
"""Spark SQL: what of an application an adjustment pays, or writes off of money that went out."""


def signed_amount() -> Column:
    """SIGNED_AMOUNT as a column."""
    return F.expr(SIGNED_AMOUNT)
