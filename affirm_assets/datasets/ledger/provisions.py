"""The allowance for credit losses, and what each month provides for it."""

from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from affirm_assets.datasets.ledger._days import days_of
from affirm_assets.declare import (
    Carry,
    Contract,
    Daily,
    Money,
    Rate,
    Window,
    audit,
    column,
    dataset,
    key,
    previous,
    shared,
    to_prove,
)
from affirm_assets.lender.deferred_income import AMORTIZED_COST, UNEARNED_MOVED
from affirm_assets.lender.expected_losses import EXPECTED_LOSSES
from affirm_assets.lender.unions import with_nulls
from affirm_assets.lender.vocabulary import OPEN_BUCKETS, PRODUCT_NAMES, Product


class Provision(Contract):
    """A product's allowance on a business date: how it opened, what moved it, how it closed. A credit is positive.

    Each product has a row each day. Only the last day of a month provides: what the allowance lacks of the expected
    credit losses (ASC 326-20-35-1), or has too much. They are of the amortized cost: the principal, less what never was
    income of it, the deferred discount and what was recovered of the cost. Accrued interest needs no allowance, since a
    charge-off reverses it against income (ASC 326-20-30-5A).
    """

    product: Product = key("Product")
    as_of: date = key("Business date")
    opening: Money = column("Allowance at the end of the day before; negative if more was lost than was provided for")
    charged_off: Money = column("Principal charged off, less what late rows reversed")
    unearned: Money = column("What of it never was income, and so is no loss; less what recoveries released")
    recovered: Money = column("Recovered of what was charged off, less what of it was reversed")
    cost_current: Money = column("Amortized cost of loans that are not past due", ge=0)
    cost_1_29: Money = column("Amortized cost of loans 1 to 29 days past due", ge=0)
    cost_30_59: Money = column("Amortized cost of loans 30 to 59 days past due", ge=0)
    cost_60_89: Money = column("Amortized cost of loans 60 to 89 days past due", ge=0)
    cost_90_119: Money = column("Amortized cost of loans 90 to 119 days past due", ge=0)
    rate_current: Rate = column("Percent of it that is expected to be lost")
    rate_1_29: Rate = column("Percent of it that is expected to be lost")
    rate_30_59: Rate = column("Percent of it that is expected to be lost")
    rate_60_89: Rate = column("Percent of it that is expected to be lost")
    rate_90_119: Rate = column("Percent of it that is expected to be lost")
    expected_current: Money = column("Expected loss: amortized cost times rate, half up")
    expected_1_29: Money = column("Expected loss: amortized cost times rate, half up")
    expected_30_59: Money = column("Expected loss: amortized cost times rate, half up")
    expected_60_89: Money = column("Expected loss: amortized cost times rate, half up")
    expected_90_119: Money = column("Expected loss: amortized cost times rate, half up")
    expected: Money = column("Expected loss of all buckets", ge=0)
    provision: Money = column("Provided on the last day of a month, or 0; negative for a release")
    closing: Money = column("Allowance at the end of the day: opening - charged_off + unearned + recovered + provision")


# What came back of a charged-off loan, where the allowance gets it from: of a day, and to date.
_RECOVERED = {"loan_balances": "recovery_principal", "charge_offs": "principal_recovered"}

_BUCKETS = {bucket.replace("-", "_"): bucket for bucket in OPEN_BUCKETS}
_BY_DAY = ["product", "as_of"]
# Not by the bucket, as the transform does.
_BUCKET_OF_DAYS = (
    "CASE WHEN days_past_due = 0 THEN 'current' WHEN days_past_due < 30 THEN '1-29' "
    "WHEN days_past_due < 60 THEN '30-59' WHEN days_past_due < 90 THEN '60-89' ELSE '90-119' END"
)


# Not by the ledger's accounts, as the transform does.
_COST = "principal - IF(status = 'open', CAST(round(deferred_discount, 2) AS decimal(18,2)) + cost_recovered, 0)"


@audit()
def expected_is_rate_times_cost(staged: DataFrame, loan_balances: DataFrame, window: Window) -> DataFrame:
    """By product, day and bucket: the amortized cost is of loans so late, rate the lender's, expected their product.

    Half up, to the cent. Multiplied out, so that nothing here is rounded: half a cent is 0.5 percent of a dollar. Each
    product has each day.
    """
    by = [*_BY_DAY, "bucket"]
    owed = loan_balances.groupBy(*_BY_DAY, F.expr(_BUCKET_OF_DAYS).alias("bucket")).agg(
        F.sum(F.expr(_COST)).alias("owed")
    )
    rates = (
        F.struct(
            F.lit(product).alias("product"),
            F.lit(bucket).alias("bucket"),
            F.lit(percent).cast("decimal(9,6)").alias("percent"),
        )
        for (product, bucket), percent in EXPECTED_LOSSES.items()
    )
    wanted = (
        days_of(window, staged).select("as_of", F.inline(F.array(*rates))).join(owed, by, "left").na.fill(0, ["owed"])
    )
    booked = (
        F.struct(
            F.lit(bucket).alias("bucket"),
            *(F.col(f"{each}_{name}").alias(each) for each in ("cost", "rate", "expected")),
        )
        for name, bucket in _BUCKETS.items()
    )
    off_by = "expected * 100BD - owed * percent"
    ok = F.expr(f"cost = owed AND rate = percent AND {off_by} > -0.5BD AND {off_by} <= 0.5BD")
    return (
        wanted.withColumn("owed", F.col("owed").cast("decimal(18,2)"))
        .join(staged.select(*_BY_DAY, F.inline(F.array(*booked))), by, "full")
        .select(*by, "owed", "cost", F.col("rate").cast("string").alias("rate"), "expected", ok.alias("ok"))
    )


@audit()
def movements_are_those_of_charge_offs(
    staged: DataFrame, charge_offs: DataFrame, charge_offs_before: DataFrame, window: Window
) -> DataFrame:
    """By product and day, what is charged off, unearned and recovered is what the totals of charged-off loans have
    grown by."""
    of = {
        "grown_charged_off": "principal",
        "grown_unearned": "unearned",
        "grown_recovered": _RECOVERED["charge_offs"],
    }
    closed = charge_offs.select(*_BY_DAY, *(F.col(total).alias(name) for name, total in of.items()))
    opened = (
        each.select(
            "product",
            F.date_add("as_of", 1).alias("as_of"),
            *((-F.col(total)).alias(name) for name, total in of.items()),
        )
        for each in (charge_offs.where(F.col("as_of") < F.lit(window.last)), charge_offs_before)
    )
    grown = reduce(DataFrame.unionByName, opened, closed)
    booked = staged.select(*_BY_DAY, "charged_off", "unearned", "recovered")
    ok = F.expr("charged_off = grown_charged_off AND unearned = grown_unearned AND recovered = grown_recovered")
    return _added_up(with_nulls(grown, booked)).withColumn("ok", ok)


@audit()
def allowance_is_provided_less_lost(
    staged: DataFrame,
    earlier_provisions: DataFrame,
    previous_partition: DataFrame,
    charge_offs: DataFrame,
    charge_offs_before: DataFrame,
    proves: str | None,
    window: Window,
) -> DataFrame:
    """By product and day, the allowance is all that was ever provided less what all charged-off loans have lost.

    What was provided before is, on most days, what the day before is left with and had lost. It is added up anew at
    each month's end, and where a day before was published or changed since the day before was computed.
    """
    provided = _provided(staged, "provision").unionByName(
        _provided(earlier_provisions, "provision")
        if proves
        else _provided(previous_partition, "closing").unionByName(_provided(charge_offs_before, "net_loss"))
    )
    provided_to_date = days_of(window, staged).join(provided, F.col("provided_on") <= F.col("as_of"))
    lost = charge_offs.select(*_BY_DAY, F.col("net_loss").alias("lost"))
    expected = with_nulls(provided_to_date.drop("provided_on"), lost)
    compared = _added_up(with_nulls(expected, staged.select(*_BY_DAY, "closing")))
    return compared.withColumn("ok", F.expr("closing = provided - lost"))


def _provided(rows: DataFrame, amount: str) -> DataFrame:
    of = F.col(amount).alias("provided")
    return rows.where(F.col(amount) != 0).select("product", F.col("as_of").alias("provided_on"), of)


@audit()
def only_the_end_of_a_month_provides(staged: DataFrame) -> DataFrame:
    """A month's last day closes with what the buckets are expected to lose; no other day provides."""
    in_buckets = " + ".join(f"expected_{name}" for name in _BUCKETS)
    as_expected = staged.withColumn("expected_in_buckets", F.expr(in_buckets)).withColumn(
        "ok",
        F.expr("expected = expected_in_buckets AND IF(as_of = last_day(as_of), closing = expected, provision = 0)"),
    )
    return as_expected.select(*_BY_DAY, "expected_in_buckets", "expected", "provision", "closing", "ok")


def _added_up(rows: DataFrame) -> DataFrame:
    """By product and day; what has no row counts as 0."""
    amounts = (name for name in rows.columns if name not in _BY_DAY)
    return rows.groupBy(*_BY_DAY).agg(*(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in amounts))


@shared()
def owed_by_bucket(loan_balances: DataFrame) -> DataFrame:
    """By product and day: the amortized cost in each bucket, and what was charged off, unearned and recovered."""
    amounts = {
        **{f"cost_{name}": f"sum(IF(bucket = '{bucket}', {AMORTIZED_COST}, 0))" for name, bucket in _BUCKETS.items()},
        "charged_off": "sum(principal_charged_off)",
        "unearned": f"sum({UNEARNED_MOVED})",
        "recovered": f"sum({_RECOVERED['loan_balances']})",
    }
    return loan_balances.groupBy(*_BY_DAY).agg(
        *(F.expr(total).cast("decimal(18,2)").alias(name) for name, total in amounts.items())
    )


@dataset(
    Provision,
    partitions=Daily("as_of"),
    inputs={
        "owed_by_bucket": owed_by_bucket,
        "charge_offs_before": previous(1, "charge_offs"),
        "earlier_provisions": to_prove("provisions"),
    },
    carry=Carry({"opening": "closing"}),
    audits=[
        expected_is_rate_times_cost,
        movements_are_those_of_charge_offs,
        allowance_is_provided_less_lost,
        only_the_end_of_a_month_provides,
    ],
    owner="team:finance",
    freshness="06:15 next business day",
    sums=("charged_off", "recovered", "provision", "closing"),
)
def provisions(owed_by_bucket: DataFrame, previous_partition: DataFrame, window: Window) -> DataFrame:
    """The allowance by product and day, and the provision that brings it to the expected losses at each month's end."""
    products = F.explode(F.array(*(F.lit(product) for product in PRODUCT_NAMES)))
    owed = (
        days_of(window, owed_by_bucket)
        .select("as_of", products.alias("product"))
        .join(owed_by_bucket, _BY_DAY, "left")
        .na.fill(0)
        .withColumn("month", F.trunc("as_of", "month"))
    )
    of_days = _with_expected(owed)
    is_last = F.col("as_of") == F.last_day("as_of")
    # A month opens with what was expected at the end of the one before: a range needs no day to be computed first.
    left = of_days.where(is_last).select(
        "product", F.date_add("as_of", 1).alias("month"), F.col("expected").alias("left")
    )
    carried = previous_partition.select("product", F.col("closing").alias("carried"))
    net = (F.col("recovered") + F.col("unearned") - F.col("charged_off")).cast("decimal(18,2)")
    in_month = F.sum(net).over(Over.partitionBy("product", "month").orderBy("as_of"))
    without = F.coalesce("left", "carried", F.lit(0)) + in_month
    lacking = F.when(is_last, F.col("expected") - without).otherwise(F.lit(0))
    moved = {"opening": without - net, "provision": lacking, "closing": without + lacking}
    return (
        of_days.join(left, ["product", "month"], "left")
        .join(carried, "product", "left")
        .withColumns({name: amount.cast("decimal(18,2)") for name, amount in moved.items()})
        .select(list(Provision.model_fields))
    )


def _with_expected(owed: DataFrame) -> DataFrame:
    rates = owed.withColumns({f"rate_{name}": _rate(bucket) for name, bucket in _BUCKETS.items()})
    in_buckets = rates.withColumns(
        {
            f"expected_{name}": F.round(F.expr(f"cost_{name} * rate_{name} * 0.01BD"), 2).cast("decimal(18,2)")
            for name in _BUCKETS
        }
    )
    return in_buckets.withColumn(
        "expected", F.expr(" + ".join(f"expected_{name}" for name in _BUCKETS)).cast("decimal(18,2)")
    )


def _rate(bucket: str) -> Column:
    by_product = (
        f"WHEN '{product}' THEN {percent}BD" for (product, of), percent in EXPECTED_LOSSES.items() if of == bucket
    )
    return F.expr(f"CASE product {' '.join(by_product)} END").cast("decimal(9,6)")
