"""What became of the loans of each month of origination: charge-offs, recoveries, net losses, prepayments to date."""

from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from affirm_assets.datasets.portfolio._report_audits import first_of_month, is_percent, last_days, percent, same_totals
from affirm_assets.datasets.servicing._accounts import IS_CARRIED
from affirm_assets.declare import (
    Carry,
    Contract,
    Money,
    Monthly,
    Rate,
    Window,
    audit,
    column,
    dataset,
    key,
    previous,
    through,
)
from affirm_assets.lender.deferred_income import UNEARNED
from affirm_assets.lender.vocabulary import Product


class VintageCurve(Contract):
    """The loans of one product and month of origination at the end of a month. Amounts are since origination.

    From the month in which the first of them is booked on, each month has a row.
    """

    month: date = key("First day of the month at whose end it stands so")
    product: Product = key("Product")
    vintage: date = key("First day of the month in which the loans originated")
    months_on_book: int = column("Months from the vintage to the month", ge=0)
    loans: int = column("Loans booked by then", ge=1)
    originated: Money = column("Sum of the amounts lent on them", gt=0)
    charged_off: Money = column("Principal charged off, less what late rows and decisions have undone", ge=0)
    recovered: Money = column("Received of it since the charge-offs", ge=0)
    unearned: Money = column("Of the charged-off loans, what never was income, and so is no loss", ge=0)
    net_loss: Money = column("charged_off - recovered - unearned", ge=0)
    prepaid: Money = column("Principal that payments repaid before it was scheduled, less what reversals took back")
    charge_off_rate: Rate = column("charged_off in percent of originated, half up")
    recovery_rate: Rate = column("recovered in percent of originated, half up")
    net_loss_rate: Rate = column("net_loss in percent of originated, half up")
    prepayment_rate: Rate = column("prepaid in percent of originated, half up")
    opening_loans: int = column("loans at the end of the month before", ge=0)
    opening_originated: Money = column("originated at the end of the month before", ge=0)
    opening_prepaid: Money = column("prepaid at the end of the month before")


_GROUP = ("product", "vintage")
_KEY = ("month", *_GROUP)
_CARRIED = ("loans", "originated", "prepaid")
"""What no balance keeps, since a repaid loan's daily rows end: the month before has it, and this one adds to it."""

_RATES = {
    "charge_off_rate": "charged_off",
    "recovery_rate": "recovered",
    "net_loss_rate": "net_loss",
    "prepayment_rate": "prepaid",
}


@audit()
def originated_is_every_loan(staged: DataFrame, all_loans: DataFrame, window: Window) -> DataFrame:
    """Each month has every loan that was booked by its end, with the amount lent, in the month of its origination."""
    by_month = all_loans.groupBy(
        "product", first_of_month("originated_on").alias("vintage"), first_of_month("booked_on").alias("booked_in")
    ).agg(F.count(F.lit(1)).alias("loans"), F.sum("principal").alias("originated"))
    months = staged.sparkSession.range(1).select(_months_from(F.lit(window.first), window).alias("month"))
    expected = (
        months.where("day(month) = 1")
        .join(by_month, F.col("booked_in") <= F.col("month"))
        .groupBy(*_KEY)
        .agg(F.sum("loans").alias("loans"), F.sum("originated").alias("originated"))
    )
    return same_totals(staged, expected, by=_KEY, totals=["loans", "originated"])


@audit()
def losses_are_those_of_charge_offs(staged: DataFrame, charge_offs: DataFrame, portfolio_daily: DataFrame) -> DataFrame:
    """Charged off, recovered, unearned and net loss are those of the loans that charge_offs has on the last day."""
    of_loans = {
        "charged_off": "principal",
        "recovered": "principal_recovered",
        "unearned": "unearned",
        "net_loss": "net_loss",
    }
    lost = (
        charge_offs.join(_closing_days(portfolio_daily), "as_of")
        .withColumn("vintage", first_of_month("originated_on"))
        .groupBy(*_KEY)
        .agg(*(F.sum(of).alias(f"expected_{name}") for name, of in of_loans.items()))
    )
    joined = staged.select(*_KEY, *of_loans).join(lost, [*_KEY], "full").na.fill(0)
    return joined.withColumn("ok", F.expr(" AND ".join(f"{name} = expected_{name}" for name in of_loans)))


@audit()
def losses_are_those_of_the_portfolio(staged: DataFrame, portfolio_daily: DataFrame) -> DataFrame:
    """Charged off and recovered are those of the portfolio on the last day, to the cent."""
    last = portfolio_daily.join(_closing_days(portfolio_daily), "as_of").select(
        *_KEY,
        F.col("charged_off_principal").alias("expected_charged_off"),
        F.col("recovered_principal").alias("expected_recovered"),
    )
    # The portfolio has no row of a vintage whose loans are all repaid and gone.
    joined = staged.select(*_KEY, "charged_off", "recovered").join(last, [*_KEY], "full").na.fill(0)
    return joined.withColumn("ok", F.expr("charged_off = expected_charged_off AND recovered = expected_recovered"))


# By other columns than the transform's: what was owed by the rows of the day before, what payments did by all that
# moved but they, and what was scheduled by the balances that instalments leave.
_PAID_BY_ALL_ELSE = (
    "sum(opening_principal - principal) + sum(principal_lent - principal_refunded) "
    "- sum(principal_charged_off + principal_waived)"
)
_PREPAID_BY_BALANCES = (
    "IF(paid >= 0, greatest(paid - greatest(owed, scheduled_before) + scheduled_after, 0), "
    "greatest(paid, least(owed - scheduled_before, 0)))"
)


@audit()
def prepaid_is_what_the_schedules_did_not_ask_for(
    staged: DataFrame, loan_balances: DataFrame, opening_balances: DataFrame, all_schedules: DataFrame
) -> DataFrame:
    """What each month adds to prepaid is what payments repaid beyond the balances that the schedules leave, and beyond
    what was behind them; less what reversals took back of what was ahead of them."""
    paid = (
        _with_month(loan_balances)
        .groupBy(*_KEY, "loan_id")
        .agg(
            F.expr(_PAID_BY_ALL_ELSE).cast("decimal(18,2)").alias("paid"),
            F.min_by("refunded", "as_of").alias("first_refunded"),
            F.max("amount_lent").alias("amount_lent"),
            F.bool_or(F.expr("booked_on >= month")).alias("is_new"),
        )
        .where("paid <> 0")
    )
    month_ends = opening_balances.unionByName(loan_balances.where("as_of = last_day(as_of)"))
    before = month_ends.select(
        F.date_add("as_of", 1).alias("month"),
        "loan_id",
        F.expr("principal + charged_off_principal").alias("owed_before"),
        F.col("refunded").alias("refunded_before"),
    )
    left_by_schedule = (
        paid.select("month", "loan_id")
        .join(all_schedules.select("loan_id", "due_on", "balance"), "loan_id")
        .groupBy("month", "loan_id")
        .agg(
            F.min(F.expr("IF(due_on < month, balance, NULL)")).alias("left_before"),
            F.min(F.expr("IF(due_on <= last_day(month), balance, NULL)")).alias("left_after"),
        )
    )
    refunded = "coalesce(refunded_before, IF(is_new, 0, first_refunded))"
    compared = {
        "owed": "coalesce(owed_before, IF(is_new, amount_lent, 0))",
        "scheduled_before": f"greatest(coalesce(left_before, amount_lent) - {refunded}, 0)",
        "scheduled_after": f"greatest(coalesce(left_after, amount_lent) - {refunded}, 0)",
    }
    expected = (
        paid.join(before, ["month", "loan_id"], "left")
        .join(left_by_schedule, ["month", "loan_id"], "left")
        .select(*_KEY, "paid", *(F.expr(each).cast("decimal(18,2)").alias(name) for name, each in compared.items()))
        .groupBy(*_KEY)
        .agg(F.expr(f"sum({_PREPAID_BY_BALANCES})").alias("expected"))
    )
    found = staged.select(*_KEY, F.expr("prepaid - opening_prepaid").alias("prepaid"))
    joined = found.join(expected, [*_KEY], "full").na.fill(0)
    return joined.withColumn("ok", F.expr("prepaid = expected"))


@audit()
def rates_are_of_what_was_originated(staged: DataFrame) -> DataFrame:
    """Each rate is its amount in percent of what was originated, to the last place."""
    ok = " AND ".join(is_percent(rate, amount, "originated") for rate, amount in _RATES.items())
    # As text: the numbers of an audit are added up, and a sum of rates says nothing.
    rates = (F.col(rate).cast("string").alias(rate) for rate in _RATES)
    return staged.select(*_KEY, "originated", *_RATES.values(), *rates, F.expr(ok).alias("ok"))


_MEAN_MONTH = "30.436875BD"
"""Days: 146,097 in 400 years of 12 months. First days of months are never as far as three days from so many of them."""


@audit()
def months_on_book_are_those_since_the_vintage(staged: DataFrame) -> DataFrame:
    """The days from the vintage to the month are those of so many months."""
    off_by = F.expr(f"datediff(month, vintage) - months_on_book * {_MEAN_MONTH}")
    rows = staged.select(*_KEY, F.col("months_on_book").cast("string").alias("months_on_book"), off_by.alias("off_by"))
    return rows.select(*_KEY, "months_on_book", F.expr("off_by BETWEEN -5 AND 5").alias("ok"))


@dataset(
    VintageCurve,
    partitions=Monthly("month"),
    inputs={
        "opening_balances": previous(1, "loan_balances"),
        "all_loans": through("loans"),
        "all_schedules": through("loan_schedules"),
    },
    carry=Carry({f"opening_{name}": name for name in _CARRIED}),
    audits=[
        originated_is_every_loan,
        losses_are_those_of_charge_offs,
        losses_are_those_of_the_portfolio,
        prepaid_is_what_the_schedules_did_not_ask_for,
        rates_are_of_what_was_originated,
        months_on_book_are_those_since_the_vintage,
    ],
    owner="team:credit-risk",
    freshness="06:30 next business day",
    sums=("originated", "charged_off", "recovered", "net_loss", "prepaid"),
)
def vintage_curves(
    loans: DataFrame, loan_balances: DataFrame, all_schedules: DataFrame, previous_partition: DataFrame, window: Window
) -> DataFrame:
    """Charge-offs, recoveries, net losses and prepayments since origination, by month, product and vintage."""
    by_loan = _by_loan(loan_balances)
    lent = loans.groupBy(
        F.trunc("booked_on", "month").alias("month"), "product", F.trunc("originated_on", "month").alias("vintage")
    ).agg(F.count(F.lit(1)).alias("loans"), F.sum("principal").cast("decimal(18,2)").alias("originated"))
    lost = by_loan.groupBy(*_KEY).agg(
        *(F.sum(name).cast("decimal(18,2)").alias(name) for name in ("charged_off", "recovered", "unearned"))
    )
    carried = previous_partition.select(*_GROUP, *(F.col(name).alias(f"carried_{name}") for name in _CARRIED))
    so_far = Over.partitionBy(*_GROUP).orderBy("month")
    closing = {name: F.col(f"carried_{name}") + F.sum(name).over(so_far) for name in _CARRIED}
    opening = {f"opening_{name}": each - F.col(name) for name, each in closing.items()}
    types = {"loans": "bigint", "originated": "decimal(18,2)", "prepaid": "decimal(18,2)"}
    return (
        _every_month(previous_partition, lent, window)
        .join(lent, [*_KEY], "left")
        .join(_prepaid(by_loan, all_schedules), [*_KEY], "left")
        .join(lost, [*_KEY], "left")
        .join(carried, [*_GROUP], "left")
        .na.fill(0)
        .select(
            *_KEY,
            F.expr(_MONTHS_ON_BOOK).cast("bigint").alias("months_on_book"),
            "charged_off",
            "recovered",
            "unearned",
            F.expr("charged_off - recovered - unearned").cast("decimal(18,2)").alias("net_loss"),
            *(each.cast(types[name]).alias(name) for name, each in closing.items()),
            *(each.cast(types[name.removeprefix("opening_")]).alias(name) for name, each in opening.items()),
        )
        .withColumns({rate: percent(of, "originated").cast("decimal(9,6)") for rate, of in _RATES.items()})
    )


_MONTHS_ON_BOOK = "(year(month) - year(vintage)) * 12 + month(month) - month(vintage)"

# What was owed before the month's payments: of a loan that was charged off, as if it were owed still.
_OWED = "opening_principal + principal_lent + charged_off_principal - principal_charged_off"


def _by_loan(loan_balances: DataFrame) -> DataFrame:
    """Of each loan and month: what payments repaid, what was owed before them, and what is lost at the end."""
    rows = _with_month(loan_balances).select(
        *_KEY,
        "loan_id",
        "as_of",
        "amount_lent",
        F.expr("principal_paid - principal_reversed").alias("paid"),
        F.expr(_OWED).alias("owed"),
        # A row that resumes a loan whose daily rows had ended opens with nothing.
        F.expr(f"IF({IS_CARRIED}, opening_refunded, refunded)").alias("refunded"),
        "charged_off_principal",
        "recovered_principal",
        F.expr(UNEARNED).alias("unearned"),
    )
    return rows.groupBy(*_KEY, "loan_id").agg(
        F.max("amount_lent").alias("amount_lent"),
        F.sum("paid").cast("decimal(18,2)").alias("paid"),
        F.min_by("owed", "as_of").cast("decimal(18,2)").alias("owed"),
        F.min_by("refunded", "as_of").alias("refunded"),
        F.max_by("charged_off_principal", "as_of").alias("charged_off"),
        F.max_by("recovered_principal", "as_of").alias("recovered"),
        F.max_by("unearned", "as_of").alias("unearned"),
    )


# Instalments that refunds took off the end are scheduled no more.
_SCHEDULED = "greatest(amount_lent - {0} - refunded, 0)"
_ASKED_FOR = "scheduled_before - scheduled_after + greatest(owed - scheduled_before, 0)"
_PREPAID = f"IF(paid >= 0, greatest(paid - ({_ASKED_FOR}), 0), -least(-paid, greatest(scheduled_before - owed, 0)))"


def _prepaid(by_loan: DataFrame, all_schedules: DataFrame) -> DataFrame:
    """What each month's payments repaid before it was scheduled, less what reversals took back.

    Scheduled is what falls due in the month, and what is behind the schedule when it begins. A loan whose payments are
    less than its reversals takes back what it was ahead of the schedule, at most.
    """
    paid = by_loan.where("paid <> 0")
    fallen_due = (
        paid.select("month", "loan_id")
        .join(all_schedules.select("loan_id", "due_on", "principal"), "loan_id")
        .groupBy("month", "loan_id")
        .agg(
            F.expr("sum(IF(due_on < month, principal, 0))").cast("decimal(18,2)").alias("due_before"),
            F.expr("sum(IF(due_on <= last_day(month), principal, 0))").cast("decimal(18,2)").alias("due_by_its_end"),
        )
    )
    scheduled = {
        "scheduled_before": F.expr(_SCHEDULED.format("due_before")),
        "scheduled_after": F.expr(_SCHEDULED.format("due_by_its_end")),
    }
    return (
        paid.join(fallen_due, ["month", "loan_id"])
        .withColumns({name: each.cast("decimal(18,2)") for name, each in scheduled.items()})
        .groupBy(*_KEY)
        .agg(F.expr(f"sum({_PREPAID})").cast("decimal(18,2)").alias("prepaid"))
    )


def _every_month(previous_partition: DataFrame, lent: DataFrame, window: Window) -> DataFrame:
    """Each month of the window of each vintage, from the one in which its first loan is booked on."""
    since = previous_partition.select(*_GROUP, F.lit(window.first).alias("since")).unionByName(
        lent.select(*_GROUP, F.col("month").alias("since"))
    )
    firsts = since.groupBy(*_GROUP).agg(F.min("since").alias("since"))
    return firsts.select(*_GROUP, _months_from(F.col("since"), window).alias("month")).where("day(month) = 1")


def _months_from(first: Column, window: Window) -> Column:
    """The days to the first of the window's last month, each in a row, for the first days of months to be taken."""
    return F.explode(F.sequence(first, F.lit(window.last), F.expr("INTERVAL 1 DAY")))


def _with_month(loan_balances: DataFrame) -> DataFrame:
    months = {"month": F.trunc("as_of", "month"), "vintage": F.trunc("originated_on", "month")}
    return loan_balances.withColumns(months)


def _closing_days(portfolio_daily: DataFrame) -> DataFrame:
    return last_days(portfolio_daily).withColumnRenamed("last_day", "as_of")
