"""The loan-level file that a funding partner gets each month."""

from collections.abc import Iterable
from datetime import date
from typing import Literal

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.audits import reconcile
from affirm_assets.datasets.portfolio._report_audits import PRINCIPAL_IN, first_of_month, last_days, same_totals
from affirm_assets.declare import (
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
from affirm_assets.lender.vocabulary import ChargeOffCause, DelinquencyBucket, Frequency, LoanStatus, Product


class FundedLoan(Contract):
    """A loan in a month: its terms, how it stands at the month's end, what it owed before and after, what moved.

    It has a row in each month in which it has a daily balance: from its booking on, up to 180 days after it is settled
    (finance.days.DAYS_KEPT_SETTLED), and for ever if it is charged off. Nothing in it identifies a borrower directly.
    """

    month: date = key("First day of the month")
    loan_id: str = key("Loan")
    as_of: date = column(
        "Day of the loan's last balance in the month: its last day, unless the daily rows ended before"
    )
    product: Product = column("Product")
    borrower_state: str = column("Borrower's state, USPS code", pattern="^[A-Z]{2}$")
    booked_on: date = column("Business date on which the loan was booked")
    originated_on: date = column("Day of the purchase; interest runs from it")
    first_due_on: date = column("Day on which the first instalment is due")
    matures_on: date = column("Day on which the last instalment is due, of those that refunds have left")
    frequency: Frequency = column("How often an instalment is due")
    instalments: int = column("Number of instalments agreed", ge=1)
    last_instalment: int = column("Number of the last instalment: the schedule's, less what refunds took off", ge=1)
    instalment: Money = column("Level instalment", gt=0)
    apr: Rate = column("Annual percentage rate in percent", ge=0)
    amount_lent: Money = column("Principal at origination", gt=0)
    merchant_discount: Money = column("What the merchant paid for the loan", ge=0)
    status: LoanStatus = column("Whether anything is owed, or was given up, at the end")
    bucket: DelinquencyBucket = column("Delinquency bucket at the end")
    days_past_due: int = column("Calendar days since the oldest unmet instalment fell due, at the end", ge=0)
    highest_days_past_due: int = column("Highest days past due since origination", ge=0)
    amount_past_due: Money = column("What of instalments fell due before the last day and is unpaid", ge=0)
    next_due_on: date | None = column("When the next instalment falls due that is not met; null if none is left")
    next_due_amount: Money = column("What of it is unpaid", ge=0)
    payoff_amount: Money = column(
        "What pays the loan off at the end; of a charged-off one, what did not come back of the loss", ge=0
    )
    nonaccrual_since: date | None = column("Day since which interest is no income until it is paid; null if it is")
    charged_off_on: date | None = column("Day of the charge-off, by what is known at the end")
    charge_off_cause: Literal["days_past_due", ChargeOffCause] | None = column(
        "Why: 120 days past due, or another cause before that; null if it is not charged off"
    )
    settled_on: date | None = column("Day since which nothing is owed either way; null while something is")
    opening_principal: Money = column("Principal at the end of the day before the month", ge=0)
    opening_interest: Money = column("Interest owed at the end of the day before the month", ge=0)
    opening_credit: Money = column("Owed to the borrower at the end of the day before the month", ge=0)
    principal_lent: Money = column("Principal lent in the month", ge=0)
    principal_paid: Money = column("Principal that payments repaid", ge=0)
    principal_reversed: Money = column("Principal owed again since a payment was reversed or a late row came", ge=0)
    principal_refunded: Money = column("Principal that merchants' refunds repaid", ge=0)
    principal_charged_off: Money = column("Principal charged off, less what late rows reversed of it")
    principal_waived: Money = column("Principal waived after the last due date, less what late rows reversed of it")
    interest_accrued: Money = column("Interest accrued", ge=0)
    interest_given_back: Money = column(
        "Interest given back since a payment or refund came late; less what was posted for the days before a reversal"
    )
    interest_paid: Money = column("Interest that payments paid, less what late ones took back")
    interest_reversed: Money = column("Interest owed again since a payment was reversed")
    interest_refunded: Money = column("Interest that merchants' refunds paid, less what late rows took back")
    interest_charged_off: Money = column("Interest charged off, less what late rows reversed of it")
    interest_waived: Money = column("Interest waived after the last due date, less what late rows reversed of it")
    credit_overpaid: Money = column("What payments exceeded the debt by", ge=0)
    credit_reversed: Money = column("What of credit was reversed, or set off against what a reversal restored", ge=0)
    credit_refunded: Money = column("What merchants' refunds exceeded the debt by", ge=0)
    credit_paid_out: Money = column("Credit balance paid out to the borrower", ge=0)
    recovery_principal: Money = column("Received of charged-off principal, less what of it was reversed")
    recovery_interest: Money = column("Received of charged-off interest, less what of it was reversed")
    unapplied_moved: Money = column("Money of transactions that could not be applied; negative for what went out")
    adjusted: Money = column("What of the movements adjustments paid, and no money that came in")
    principal: Money = column("Principal owed at the end", ge=0)
    interest: Money = column("Interest owed at the end", ge=0)
    credit: Money = column("Owed to the borrower at the end", ge=0)
    charged_off_principal: Money = column("Principal charged off since origination", ge=0)
    charged_off_interest: Money = column("Interest charged off since origination", ge=0)
    recovered_principal: Money = column("Received of the principal since the charge-off", ge=0)
    recovered_interest: Money = column("Received of the interest since the charge-off", ge=0)


_KEY = ["month", "loan_id"]
_OWED = ("principal", "interest", "credit")
_TERMS = (
    "product",
    "booked_on",
    "originated_on",
    "first_due_on",
    "frequency",
    "instalments",
    "instalment",
    "apr",
    "amount_lent",
    "merchant_discount",
)
_STANDING = (
    "last_instalment",
    "status",
    "bucket",
    "days_past_due",
    "highest_days_past_due",
    "amount_past_due",
    "next_due_on",
    "next_due_amount",
    "payoff_amount",
    "nonaccrual_since",
    "charged_off_on",
    "settled_on",
    *_OWED,
    "charged_off_principal",
    "charged_off_interest",
    "recovered_principal",
    "recovered_interest",
)
"""What the row of a day says of its end."""
_FLOWS = (
    "principal_lent",
    "principal_paid",
    "principal_reversed",
    "principal_refunded",
    "principal_charged_off",
    "principal_waived",
    "interest_accrued",
    "interest_given_back",
    "interest_paid",
    "interest_reversed",
    "interest_refunded",
    "interest_charged_off",
    "interest_waived",
    "credit_overpaid",
    "credit_reversed",
    "credit_refunded",
    "credit_paid_out",
    "recovery_principal",
    "recovery_interest",
    "unapplied_moved",
    "adjusted",
)
_ADDED_UP = {
    "principal": "opening_principal + principal_lent - principal_paid + principal_reversed - principal_refunded "
    "- principal_charged_off - principal_waived",
    "interest": "opening_interest + interest_accrued - interest_given_back - interest_paid + interest_reversed "
    "- interest_refunded - interest_charged_off - interest_waived",
    "credit": "opening_credit + credit_overpaid - credit_reversed + credit_refunded - credit_paid_out",
}


@audit()
def movements_add_up(staged: DataFrame) -> DataFrame:
    """Opening + the month's movements = closing, of principal, interest and credit of every loan and month."""
    expected = (
        F.expr(f"CAST({total} AS decimal(18,2))").alias(f"expected_{name}") for name, total in _ADDED_UP.items()
    )
    ok = F.expr(" AND ".join(f"{name} = {total}" for name, total in _ADDED_UP.items()))
    return staged.select(*_KEY, *expected, *_OWED, ok.alias("ok"))


def _same(names: Iterable[str], other: str) -> Column:
    """Whether each column is the other's of its name."""
    return F.expr(" AND ".join(f"{name} <=> {other}_{name}" for name in names))


@audit()
def every_loan_is_there(staged: DataFrame, loan_balances: DataFrame) -> DataFrame:
    """Each loan that has a balance on any day of a month is there once, and no other."""
    known = loan_balances.select(first_of_month("as_of").alias("month"), "loan_id")
    return reconcile.same_keys(staged, known, _KEY, ("funding_tape", "loan_balances"))


@audit()
def opens_as_the_day_before_closed(
    staged: DataFrame, day_before: DataFrame, loan_balances: DataFrame, window: Window
) -> DataFrame:
    """A loan opens a month with what its balance of the day before says; with nothing, if it has none.

    And each loan on which something was owed then, either way, is there.
    """
    closed = day_before.unionByName(loan_balances).where("day(date_add(as_of, 1)) = 1")
    before = closed.select(
        F.date_add("as_of", 1).alias("month"), "loan_id", *(F.col(each).alias(f"before_{each}") for each in _OWED)
    ).where((F.col("month") <= F.lit(window.last)) & F.expr("before_principal + before_interest + before_credit > 0"))
    opened = staged.select(*_KEY, *(f"opening_{each}" for each in _OWED))
    joined = opened.join(before, _KEY, "full").na.fill(0, [f"before_{each}" for each in _OWED])
    ok = F.expr(" AND ".join(f"opening_{each} = before_{each}" for each in _OWED))
    return joined.withColumn("ok", F.coalesce(ok, F.lit(False)))


@audit()
def ends_as_the_last_day(staged: DataFrame, loan_balances: DataFrame) -> DataFrame:
    """A loan stands at the end of a month as its balance of the last day says; if it has none, it had been settled."""
    last = loan_balances.join(last_days(loan_balances).withColumnRenamed("last_day", "as_of"), "as_of").select(
        *_KEY, F.col("as_of").alias("last_day"), *(F.col(each).alias(f"last_{each}") for each in _STANDING)
    )
    joined = staged.select(*_KEY, "as_of", *_STANDING).join(last, _KEY, "full")
    ended = F.expr("status = 'repaid' AND settled_on < as_of AND principal = 0 AND interest = 0 AND credit = 0")
    same = _same(_STANDING, "last") & F.expr("as_of <=> last_day")
    ok = F.when(F.col("last_day").isNull(), ended).otherwise(same)
    return joined.select(*_KEY, "as_of", "last_day", *_OWED, F.coalesce(ok, F.lit(False)).alias("ok"))


_LISTED = {
    "charged_off_on": "charged_off_on",
    "charge_off_cause": "cause",
    "charged_off_principal": "principal",
    "charged_off_interest": "interest_reversed",
    "recovered_principal": "principal_recovered",
    "recovered_interest": "interest_recovered",
}


@audit()
def charged_off_loans_are_those_listed(
    staged: DataFrame, charge_offs: DataFrame, loan_balances: DataFrame
) -> DataFrame:
    """The loans that are charged off at the end are those that charge_offs lists: day, cause, lost and recovered."""
    last = last_days(loan_balances).withColumnRenamed("last_day", "as_of")
    listed = charge_offs.join(last, "as_of").select(
        *_KEY, *(F.col(of).alias(f"listed_{name}") for name, of in _LISTED.items())
    )
    charged_off = staged.where("charged_off_on IS NOT NULL").select(*_KEY, *_LISTED)
    joined = charged_off.join(listed, _KEY, "full")
    return joined.withColumn("ok", _same(_LISTED, "listed") & F.col("charged_off_on").isNotNull())


_AT_END = (
    *("loans", "open_loans", "repaid_loans", "charged_off_loans", *_OWED),
    *("amount_past_due", "charged_off_principal", "recovered_principal"),
    *PRINCIPAL_IN.values(),
)
"""Of the portfolio, what is of the end of a day."""
_IN_DAYS = (
    *("principal_lent", "principal_paid", "principal_refunded", "principal_charged_off", "principal_waived"),
    *("interest_accrued", "interest_paid", "interest_refunded", "interest_given_back", "interest_charged_off"),
    *("interest_waived", "recovery_principal", "recovery_interest"),
)
"""What moved in it."""
_OF_LOAN = {
    "loans": "IF(as_of = last_day, 1, 0)",
    **{
        f"{status}_loans": f"IF(as_of = last_day AND status = '{status}', 1, 0)"
        for status in ("open", "repaid", "charged_off")
    },
    **{name: f"IF(bucket = '{bucket}', principal, 0)" for bucket, name in PRINCIPAL_IN.items()},
    "principal_paid": "principal_paid - principal_reversed",
    "interest_paid": "interest_paid - interest_reversed",
}
"""Where the portfolio's figure is not the sum of the column of its name."""


@audit()
def totals_equal_the_portfolio(staged: DataFrame, portfolio_daily: DataFrame) -> DataFrame:
    """Loans and amounts at a month's end, and what moved in it, are the portfolio's by product and vintage."""
    by, totals = ["month", "product", "vintage"], [*_AT_END, *_IN_DAYS]
    last = last_days(portfolio_daily)
    figures = (F.expr(_OF_LOAN.get(name, name)).alias(name) for name in totals)
    loans = staged.join(last, "month").select(
        "month", "product", first_of_month("originated_on").alias("vintage"), *figures
    )
    days = portfolio_daily.withColumn("month", first_of_month("as_of")).join(last, "month")
    at_end = (F.expr(f"sum(IF(as_of = last_day, {name}, 0))").alias(name) for name in _AT_END)
    return same_totals(
        loans, days.groupBy(*by).agg(*at_end, *(F.sum(name).alias(name) for name in _IN_DAYS)), by=by, totals=totals
    )


_IN_LEDGER = {
    "principal": ("principal_receivable", ""),
    "interest": ("interest_receivable", ""),
    "credit": ("credit_balances", "-"),
}
"""The account of what is owed, and its sign."""


@audit()
def totals_equal_the_ledger(staged: DataFrame, trial_balance: DataFrame) -> DataFrame:
    """What all loans owe as a month begins and as it ends is the balance of the ledger's account, to the cent."""
    days = trial_balance.groupBy(first_of_month("as_of").alias("month")).agg(
        F.min("as_of").alias("first_day"), F.max("as_of").alias("last_day")
    )
    balances = {
        **{f"opening_{name}": (*of, "opening", "first_day") for name, of in _IN_LEDGER.items()},
        **{name: (*of, "closing", "last_day") for name, of in _IN_LEDGER.items()},
    }
    ledger = (
        trial_balance.withColumn("month", first_of_month("as_of"))
        .join(days, "month")
        .groupBy("month")
        .agg(
            *(
                F.expr(f"sum(IF(account = '{account}' AND as_of = {day}, {sign}{balance}, 0))").alias(name)
                for name, (account, sign, balance, day) in balances.items()
            )
        )
    )
    # The ledger has rows in a month in which there is no loan.
    no_loans = days.select("month", *(F.lit(0).cast("decimal(18,2)").alias(name) for name in balances))
    owed = staged.select("month", *balances).unionByName(no_loans)
    return same_totals(owed, ledger, by=["month"], totals=list(balances))


@audit()
def terms_are_those_of_the_loans(staged: DataFrame, all_loans: DataFrame) -> DataFrame:
    """What was agreed of each loan, and its borrower's state, are as the loan was booked."""
    agreed = ("borrower_state", *(each for each in _TERMS if each not in ("instalment", "amount_lent")))
    booked = all_loans.select(
        "loan_id",
        F.col("principal").alias("loan_s_amount_lent"),
        F.col("instalment").alias("loan_s_instalment"),
        *(F.col(name).alias(f"loan_s_{name}") for name in agreed),
    )
    # A contract that states no instalment has the level one, which the schedules' own audits prove.
    ok = _same([*agreed, "amount_lent"], "loan_s") & F.expr("instalment = coalesce(loan_s_instalment, instalment)")
    joined = staged.select(*_KEY, "borrower_state", *_TERMS).join(booked, "loan_id", "left")
    return joined.select(*_KEY, "amount_lent", "merchant_discount", ok.alias("ok"))


@audit()
def new_loans_are_the_originations(staged: DataFrame, originations_daily: DataFrame) -> DataFrame:
    """The loans that are booked in a month are its originations: number and amount lent by product and state."""
    by, totals = ["month", "product", "borrower_state"], ["loans", "principal"]
    lent = staged.where(first_of_month("booked_on") == F.col("month")).select(
        *by, F.lit(1).alias("loans"), F.col("amount_lent").alias("principal")
    )
    originated = originations_daily.groupBy(first_of_month("booked_on").alias("month"), *by[1:])
    return same_totals(lent, originated.agg(*(F.sum(name).alias(name) for name in totals)), by=by, totals=totals)


_DAYS_AFTER = "datediff(matures_on, first_due_on)"
_MONTHS_AFTER = "(year(matures_on) - year(first_due_on)) * 12 + month(matures_on) - month(first_due_on)"


@audit()
def matures_with_its_last_instalment(staged: DataFrame, loan_balances: DataFrame) -> DataFrame:
    """The last instalment that refunds have left falls due as many fortnights or months after the first as it says.

    By the month, on the loan's day of the month; in a shorter month on its last.
    """
    left = loan_balances.select("loan_id", "as_of", "due_day", F.col("last_instalment").alias("left"))
    fortnights = f"{_DAYS_AFTER} = 14 * (last_instalment - 1)"
    months = (
        f"{_MONTHS_AFTER} = last_instalment - 1 "
        "AND (last_instalment = 1 OR day(matures_on) = least(due_day, day(last_day(matures_on)))) "
        "AND (last_instalment > 1 OR matures_on = first_due_on)"
    )
    ok = F.expr(f"last_instalment = left AND IF(frequency = 'biweekly', {fortnights}, {months})")
    shown = (*_KEY, "first_due_on", "last_instalment", "matures_on")
    joined = staged.select(*shown, "as_of", "frequency").join(left, ["loan_id", "as_of"], "left")
    return joined.select(*shown, "left", F.coalesce(ok, F.lit(False)).alias("ok"))


@dataset(
    FundedLoan,
    partitions=Monthly("month"),
    inputs={
        "all_loans": through("loans"),
        "all_schedules": through("loan_schedules"),
        "day_before": previous(1, "loan_balances"),
    },
    audits=[
        movements_add_up,
        every_loan_is_there,
        opens_as_the_day_before_closed,
        ends_as_the_last_day,
        charged_off_loans_are_those_listed,
        totals_equal_the_portfolio,
        totals_equal_the_ledger,
        terms_are_those_of_the_loans,
        new_loans_are_the_originations,
        matures_with_its_last_instalment,
    ],
    owner="team:capital-markets",
    compute="medium",
    freshness="06:30 next business day",
    sums=("opening_principal", "principal_lent", "principal_paid", "principal_charged_off", "principal", "interest"),
)
def funding_tape(loan_balances: DataFrame, all_loans: DataFrame, all_schedules: DataFrame) -> DataFrame:
    """Each loan of a month: terms, standing and balances at its end, opening balances, and all that moved in it."""
    standing = (*_TERMS, *_STANDING, "charge_off_by", "charge_off_cause")
    months = loan_balances.groupBy(F.trunc("as_of", "month").alias("month"), "loan_id").agg(
        F.max("as_of").alias("last_day"),
        *(F.min_by(f"opening_{name}", "as_of").alias(f"opening_{name}") for name in _OWED),
        *(F.sum(name).cast("decimal(18,2)").alias(name) for name in _FLOWS),
        *(F.max_by(name, "as_of").alias(name) for name in standing),
    )
    # As in charge_offs.
    cause = "IF(charged_off_on IS NULL, NULL, IF(charged_off_on >= charge_off_by, charge_off_cause, 'days_past_due'))"
    states = all_loans.select("loan_id", "borrower_state")
    due = all_schedules.select("loan_id", F.col("number").alias("last_instalment"), F.col("due_on").alias("matures_on"))
    return (
        months.withColumn("charge_off_cause", F.expr(cause))
        .withColumnRenamed("last_day", "as_of")
        .drop("charge_off_by")
        # Left: a loan that is not found is a null that an audit names, not a row that is gone.
        .join(states, "loan_id", "left")
        .join(due, ["loan_id", "last_instalment"], "left")
    )
