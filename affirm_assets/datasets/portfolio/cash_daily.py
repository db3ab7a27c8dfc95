"""The cash that came in and went out each day."""

from datetime import date

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.datasets.portfolio._report_audits import same_totals
from affirm_assets.declare import Contract, Daily, Money, audit, column, dataset, key
from affirm_assets.lender.money import CASH
from affirm_assets.lender.vocabulary import CASH_KINDS, TAKES_OUT, CashKind, ProductOrNone


class CashDaily(Contract):
    """The transactions of one kind and product that moved cash on a day. What a merchant refunds moves none."""

    posted_on: date = key("Business date")
    product: ProductOrNone = key(
        "Product of the loans; none for payouts, and where the loan was not booked by that day"
    )
    kind: CashKind = key("Kind")
    transactions: int = column("Transactions posted", ge=1)
    received: Money = column("Cash that came in", ge=0)
    paid_out: Money = column("Cash that was paid out or given back", ge=0)


@audit()
def totals_equal_the_transactions(staged: DataFrame, transactions: DataFrame) -> DataFrame:
    """Transactions and cash of each day, product and kind equal those of the transactions, to the cent."""
    by = ["posted_on", "product", "kind"]
    moved = transactions.withColumn("cash", F.expr(CASH)).where("cash <> 0").groupBy(*by)
    expected = moved.agg(
        F.count(F.lit(1)).alias("transactions"),
        F.sum(F.greatest("cash", F.lit(0))).alias("received"),
        F.sum(F.greatest(-F.col("cash"), F.lit(0))).alias("paid_out"),
    )
    return same_totals(staged, expected, by=by, totals=["transactions", "received", "paid_out"])


@audit()
def totals_equal_the_ledger(staged: DataFrame, trial_balance: DataFrame) -> DataFrame:
    """What each day received and paid out is what the ledger's account `cash` was debited and credited, to the cent."""
    day = F.col("as_of").alias("posted_on")
    ledger = trial_balance.where("account = 'cash'").select(
        day, F.col("debits").alias("received"), F.col("credits").alias("paid_out")
    )
    nothing = F.lit(0).cast("decimal(18,2)")
    # The ledger has a row on a day on which no cash moved.
    no_cash = ledger.select("posted_on", nothing.alias("received"), nothing.alias("paid_out"))
    moved = staged.select("posted_on", "received", "paid_out").unionByName(no_cash)
    return same_totals(moved, ledger, by=["posted_on"], totals=["received", "paid_out"])


@dataset(
    CashDaily,
    partitions=Daily("posted_on"),
    audits=[totals_equal_the_transactions, totals_equal_the_ledger],
    owner="team:finance",
    freshness="06:30 next business day",
)
def cash_daily(transactions: DataFrame) -> DataFrame:
    """Transactions, cash received and cash paid out by day, product and kind."""
    goes_out = F.col("kind").isin(*TAKES_OUT)
    received, paid_out = F.when(~goes_out, F.col("amount")), F.when(goes_out, F.col("amount"))
    return (
        transactions.where(F.col("kind").isin(*CASH_KINDS))
        .groupBy("posted_on", "product", "kind")
        .agg(
            F.count(F.lit(1)).alias("transactions"),
            F.sum(received.otherwise(F.lit(0))).cast("decimal(18,2)").alias("received"),
            F.sum(paid_out.otherwise(F.lit(0))).cast("decimal(18,2)").alias("paid_out"),
        )
    )
