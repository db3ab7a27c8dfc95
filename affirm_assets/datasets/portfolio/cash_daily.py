"""What was paid, received and given back each day."""

from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.datasets.portfolio._report_audits import same_totals
from affirm_assets.declare import Contract, Daily, Money, audit, column, dataset, key
from affirm_assets.lender.vocabulary import ProductOrNone, TransactionKind


class CashDaily(Contract):
    """The transactions posted on a day of one kind and product."""

    posted_on: date = key("Business date")
    product: ProductOrNone = key(
        "Product of the loans; none for payouts, and where the loan was not booked by that day"
    )
    kind: TransactionKind = key("Kind")
    transactions: int = column("Transactions posted", ge=1)
    amount: Money = column("Sum of their amounts", gt=0)


@audit()
def totals_equal_the_transactions(staged: DataFrame, transactions: DataFrame) -> DataFrame:
    """Transactions and amount of each day, product and kind equal those of the transactions, to the cent."""
    by = ["posted_on", "product", "kind"]
    posted = transactions.groupBy(*by).agg(F.count(F.lit(1)).alias("transactions"), F.sum("amount").alias("amount"))
    return same_totals(staged, posted, by=by, totals=["transactions", "amount"])


@dataset(
    CashDaily,
    partitions=Daily("posted_on"),
    audits=[totals_equal_the_transactions],
    owner="team:finance",
    freshness=timedelta(hours=36),
)
def cash_daily(transactions: DataFrame) -> DataFrame:
    """Transactions and amount by day, product and kind."""
    return transactions.groupBy("posted_on", "product", "kind").agg(
        F.count(F.lit(1)).alias("transactions"), F.sum("amount").cast("decimal(18,2)").alias("amount")
    )
