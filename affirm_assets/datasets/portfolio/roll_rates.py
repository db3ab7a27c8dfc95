"""Where the principal of each delinquency bucket went in a month."""

from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from affirm_assets.datasets.ledger._amounts_by_account import added_up
from affirm_assets.datasets.portfolio._report_audits import PRINCIPAL_IN, is_percent, last_days, percent, same_totals
from affirm_assets.declare import Contract, Money, Monthly, Window, audit, column, dataset, key, previous
from affirm_assets.lender.vocabulary import OPEN_BUCKETS, Product, RollsFrom, RollsTo

Share = Annotated[Decimal, Field(max_digits=18, decimal_places=6)]
"""In percent. Wider than a rate: a small balance may be followed by a large one that a reversal brings back."""


class RollRate(Contract):
    """What of one bucket's principal went to one destination in a month. Loans that the month booked are no part of it.

    The rows of a from_bucket add up to its opening principal.
    """

    month: date = key("First day of the month")
    product: Product = key("Product")
    from_bucket: RollsFrom = key("Delinquency bucket at the end of the day before the month; repaid: nothing was owed")
    to_bucket: RollsTo = key("Delinquency bucket at the month's end of what is still owed; else what became of it")
    loans: int = column("Loans of which principal went there; one of which parts did counts in each", ge=1)
    principal: Money = column("Principal that went there; negative where reversals brought more back")
    opening_principal: Money = column("Principal of the from_bucket when the month began: the sum of its rows", ge=0)
    rate: Share | None = column("principal in percent of opening_principal, half up; null if that is zero")


_KEY = ("month", "product", "from_bucket", "to_bucket")
_TO = ("month", "product", "to_bucket")
_FLOWS = {
    "paid": "principal_paid - principal_reversed",
    "refunded": "principal_refunded",
    "waived": "principal_waived",
    "charged_off": "principal_charged_off",
}
_IS_OLDER = "booked_on < month"


@audit()
def rows_add_up_to_the_opening_balances(
    staged: DataFrame, portfolio_daily: DataFrame, opening_portfolio: DataFrame, window: Window
) -> DataFrame:
    """The rows of each product and bucket add up to the bucket's principal in the portfolio of the day before.

    Those of loans on which nothing was owed add up to zero.
    """
    opened = (
        opening_portfolio.unionByName(portfolio_daily)
        .where("as_of = last_day(as_of)")
        .withColumn("month", F.date_add("as_of", 1))
        .where(F.col("month") <= F.lit(window.last))
    )
    owed = added_up(
        opened,
        ["month", "product"],
        (({"from_bucket": bucket}, f"sum({name})") for bucket, name in PRINCIPAL_IN.items()),
    )
    rows = staged.groupBy("month", "product", "from_bucket").agg(
        F.sum("principal").alias("went"),
        F.min("opening_principal").alias("least"),
        F.max("opening_principal").alias("most"),
    )
    joined = rows.join(owed.withColumnRenamed("amount", "owed"), ["month", "product", "from_bucket"], "full")
    return joined.na.fill(0).withColumn("ok", F.expr("went = owed AND least = owed AND most = owed"))


@audit()
def destinations_tie_to_the_portfolio(
    staged: DataFrame, portfolio_daily: DataFrame, loan_balances: DataFrame
) -> DataFrame:
    """What went to each destination is what the portfolio paid, lost, ... in the month, and owes in each bucket at its
    end, less what of that is of loans that the month booked."""
    in_portfolio = {
        **{bucket: f"sum(IF(is_last, {name}, 0))" for bucket, name in PRINCIPAL_IN.items()},
        **{to: f"sum(principal_{to})" for to in _FLOWS},
    }
    of_new_loans = {
        **{bucket: f"-sum(IF(is_last AND bucket = '{bucket}', principal, 0))" for bucket in OPEN_BUCKETS},
        **{to: f"-sum({flow})" for to, flow in _FLOWS.items()},
    }
    new = _with_month(loan_balances).where(f"NOT ({_IS_OLDER})")
    expected = [
        added_up(_with_last_day(rows), ["month", "product"], (({"to_bucket": to}, each) for to, each in totals.items()))
        for rows, totals in ((_with_month(portfolio_daily), in_portfolio), (new, of_new_loans))
    ]
    nothing = F.lit(0).cast("decimal(28,2)")
    rows = staged.select(*_TO, F.col("principal").cast("decimal(28,2)").alias("went"), nothing.alias("expected"))
    for each in expected:
        rows = rows.unionByName(each.select(*_TO, nothing.alias("went"), F.col("amount").alias("expected")))
    summed = rows.groupBy(*_TO).agg(F.sum("went").alias("went"), F.sum("expected").alias("expected"))
    return summed.withColumn("ok", F.expr("went = expected"))


_DAYS_PAST_DUE = {
    "current": "0 AND 0",
    "1-29": "1 AND 29",
    "30-59": "30 AND 59",
    "60-89": "60 AND 89",
    "90-119": "90 AND 119",
}
# Not by what the transform looks at, where something else says the same: buckets by the days, what is repaid by what is
# owed, and what payments did by all else.
_BY_DAYS = " ".join(f"WHEN days_past_due BETWEEN {days} THEN '{bucket}'" for bucket, days in _DAYS_PAST_DUE.items())
_FROM = (
    "CASE WHEN charged_off_on IS NOT NULL THEN 'charged_off' WHEN principal + interest = 0 THEN 'repaid' "
    f"{_BY_DAYS} END"
)
_WENT = {
    **{bucket: f"IF(at_the_end = '{bucket}', owed, 0)" for bucket in OPEN_BUCKETS},
    "refunded": "refunded",
    "waived": "waived",
    "charged_off": "charged_off",
    "paid": "coalesce(owed_before, 0) - owed - refunded - waived - charged_off",
}


@audit()
def cells_are_those_of_the_loans(
    staged: DataFrame, loan_balances: DataFrame, opening_balances: DataFrame, window: Window
) -> DataFrame:
    """Principal and loans of each cell are what the loans' balances of the two days leave, loan by loan."""
    before = (
        opening_balances.unionByName(loan_balances)
        .where("as_of = last_day(as_of)")
        .select(
            F.date_add("as_of", 1).alias("month"),
            "loan_id",
            F.expr(_FROM).alias("from_bucket"),
            F.col("principal").alias("owed_before"),
        )
        .where(F.col("month") <= F.lit(window.last))
    )
    of_loans = (
        _with_last_day(_with_month(loan_balances).where(_IS_OLDER))
        .groupBy("month", "product", "loan_id")
        .agg(
            F.expr("sum(IF(is_last, principal, 0))").alias("owed"),
            F.expr(f"max(IF(is_last, CASE {_BY_DAYS} END, NULL))").alias("at_the_end"),
            *(F.expr(f"sum({_FLOWS[to]})").alias(to) for to in ("refunded", "waived", "charged_off")),
        )
        .join(before, ["month", "loan_id"], "left")
    )
    cells = (
        F.struct(F.lit(to).alias("to_bucket"), F.expr(f"CAST({went} AS decimal(28,2))").alias("principal"))
        for to, went in _WENT.items()
    )
    from_bucket = F.coalesce("from_bucket", F.lit("repaid")).alias("from_bucket")
    expected = (
        of_loans.select("month", "product", from_bucket, F.inline(F.array(*cells)))
        .where("principal <> 0")
        .groupBy(*_KEY)
        .agg(F.sum("principal").alias("principal"), F.count(F.lit(1)).alias("loans"))
    )
    return same_totals(staged, expected, by=_KEY, totals=["principal", "loans"])


@audit()
def rates_are_of_the_opening_balances(staged: DataFrame) -> DataFrame:
    """Each rate is its row's principal in percent of the opening principal, to the last place."""
    ok = F.expr(is_percent("rate", "principal", "opening_principal"))
    return staged.select(*_KEY, "principal", F.col("rate").cast("string").alias("rate"), ok.alias("ok"))


@dataset(
    RollRate,
    partitions=Monthly("month"),
    inputs={
        "opening_balances": previous(1, "loan_balances"),
        "opening_portfolio": previous(1, "portfolio_daily"),
    },
    audits=[
        rows_add_up_to_the_opening_balances,
        destinations_tie_to_the_portfolio,
        cells_are_those_of_the_loans,
        rates_are_of_the_opening_balances,
    ],
    owner="team:credit-risk",
    freshness="06:30 next business day",
    sums=("principal",),
)
def roll_rates(loan_balances: DataFrame, opening_balances: DataFrame) -> DataFrame:
    """Principal by month, product, bucket when the month began, and where it is when the month ends."""
    amounts = {to: F.sum(F.expr(flow)) for to, flow in _FLOWS.items()}
    moved = (
        _with_month(loan_balances)
        .where(_IS_OLDER)
        .groupBy("month", "product", "loan_id")
        .agg(
            F.max_by("bucket", "as_of").alias("bucket"),
            F.max_by("principal", "as_of").alias("principal"),
            *(amount.alias(to) for to, amount in amounts.items()),
        )
    )
    went = [(F.col("bucket"), "principal"), *((F.lit(to), to) for to in _FLOWS)]
    parts = (
        F.struct(where.alias("to_bucket"), F.col(amount).cast("decimal(18,2)").alias("principal"))
        for where, amount in went
    )
    by_loan = moved.join(_opened(opening_balances, loan_balances), ["month", "loan_id"], "left").select(
        "month",
        "product",
        # The daily rows of a repaid loan end. That of a loan which a reversal brings back is not there.
        F.coalesce("from_bucket", F.lit("repaid")).alias("from_bucket"),
        F.inline(F.array(*parts)),
    )
    opening = F.sum("principal").over(Over.partitionBy("month", "product", "from_bucket"))
    return (
        by_loan.where("principal <> 0")
        .groupBy(*_KEY)
        .agg(F.count(F.lit(1)).alias("loans"), F.sum("principal").cast("decimal(18,2)").alias("principal"))
        .withColumn("opening_principal", opening.cast("decimal(18,2)"))
        .withColumn("rate", percent("principal", "opening_principal").cast("decimal(18,6)"))
    )


def _opened(opening_balances: DataFrame, loan_balances: DataFrame) -> DataFrame:
    """The bucket of each loan at the end of the day before each month."""
    day_before = opening_balances.unionByName(loan_balances.where("as_of = last_day(as_of)"))
    return day_before.select(
        F.date_add("as_of", 1).alias("month"),
        "loan_id",
        F.expr("IF(status = 'repaid', 'repaid', bucket)").alias("from_bucket"),
    )


def _with_month(rows: DataFrame) -> DataFrame:
    return rows.withColumn("month", F.trunc("as_of", "month"))


def _with_last_day(rows: DataFrame) -> DataFrame:
    """With whether a row is of the last day of its month."""
    return rows.join(F.broadcast(last_days(rows)), "month").withColumn("is_last", F.col("as_of") == F.col("last_day"))
