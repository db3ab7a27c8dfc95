"""Which way the money of a transaction goes: of its `amount`, by its `kind`."""

from pyspark.sql import Column
from pyspark.sql import functions as F

from affirm_assets.lender.vocabulary import OF_MERCHANTS, TAKES_OUT


def _listed(kinds: tuple[str, ...]) -> str:
    return ", ".join(f"'{kind}'" for kind in kinds)


SIGNED_AMOUNT = f"IF(kind IN ({_listed(TAKES_OUT)}), -amount, amount)"
"""Spark SQL: the amount, negative where the lender pays it out or gives it back."""

CASH = f"IF(kind = 'refund', 0, {SIGNED_AMOUNT})"
"""Spark SQL: the cash that a transaction moves; a refund moves none, it lowers what the merchant is owed."""

MERCHANTS_OWED_LESS = f"IF(kind IN ({_listed(OF_MERCHANTS)}), amount, 0)"
"""Spark SQL: how much less merchants are owed after a transaction."""


def signed_amount() -> Column:
    """SIGNED_AMOUNT as a column."""
    return F.expr(SIGNED_AMOUNT)
