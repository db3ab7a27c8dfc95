"""Which way the money of a transaction on a loan goes."""

from pyspark.sql import Column
from pyspark.sql import functions as F

_TAKES_OUT = ("payment_reversal", "credit_refund")


def signed_amount() -> Column:
    """The `amount` of a row by its `kind`: negative where the lender pays it out or gives it back."""
    return F.when(F.col("kind").isin(*_TAKES_OUT), -F.col("amount")).otherwise(F.col("amount"))
