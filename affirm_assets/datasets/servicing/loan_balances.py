"""What each loan owes at the end of each day, and how it came to that."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Annotated

from pydantic import Field
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.datasets.servicing import _accounts, _days
from affirm_assets.declare import Carry, Contract, Daily, Lookup, Money, Rate, Window, audit, column, dataset, key
from affirm_assets.lender.finance.days import DAYS_KEPT_SETTLED, Day
from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.money import signed_amount
from affirm_assets.lender.products import PRODUCTS
from affirm_assets.lender.vocabulary import ChargeOffCause, DelinquencyBucket, Frequency, LoanStatus, Product

Exact = Annotated[Decimal, Field(max_digits=18, decimal_places=8)]
"""An amount before it is rounded to the cent, or a rate."""


class LoanBalance(Contract):
    """A loan at the end of a business date: how it opened, each of the day's movements, how it closed."""

    loan_id: str = key("Loan")
    as_of: date = key("Business date")
    product: Product = column("Product")
    booked_on: date = column("Business date on which the loan was booked")
    originated_on: date = column("Day of the purchase; interest runs from it")
    first_due_on: date = column("Day on which the first instalment is due")
    frequency: Frequency = column("How often an instalment is due")
    instalments: int = column("Number of instalments", ge=1)
    instalment: Money = column("Level instalment", gt=0)
    due_day: int | None = column("Day of the month on which instalments fall due; null if biweekly", ge=1, le=31)
    apr: Rate = column("Annual percentage rate in percent", ge=0)
    effective_rate: Exact = column(
        "What the lender earns, interest and deferred discount together, in percent a year", ge=0
    )
    amount_lent: Money = column("Principal at origination", gt=0)
    merchant_discount: Money = column("What the merchant paid for the loan", ge=0)
    opening_principal: Money = column("Principal at the end of the day before", ge=0)
    opening_interest: Money = column("Interest owed at the end of the day before", ge=0)
    opening_credit: Money = column("Credit balance at the end of the day before", ge=0)
    opening_accrued: Exact = column("Interest accrued at the end of the day before, before rounding", ge=0)
    opening_paid: Money = column("What payments had met of instalments at the end of the day before")
    opening_shortage: Money = column("Missing of instalments that counted as met at the end of the day before", ge=0)
    opening_refunded: Money = column("Refunds up to the end of the day before", ge=0)
    opening_discount_returned: Money = column("Merchant discount returned up to the end of the day before", ge=0)
    opening_last_instalment: int = column("Number of the last instalment at the end of the day before", ge=0)
    opening_highest_days_past_due: int = column("Highest days past due up to the end of the day before", ge=0)
    opening_charge_off_by: date | None = column("As charge_off_by, at the end of the day before")
    opening_charge_off_cause: ChargeOffCause | None = column("As charge_off_cause, at the end of the day before")
    opening_reaged_on: date | None = column("As reaged_on, at the end of the day before")
    opening_charged_off_on: date | None = column("Day of the charge-off as of the end of the day before")
    opening_nonaccrual_since: date | None = column("As nonaccrual_since, at the end of the day before")
    opening_cost_recovered: Money = column("As cost_recovered, at the end of the day before", ge=0)
    opening_deferred_discount: Exact = column("As deferred_discount, at the end of the day before", ge=0)
    opening_settled_on: date | None = column("Day since which nothing was owed at the end of the day before")
    opening_credit_since: date | None = column("Day since which there was a credit at the end of the day before")
    opening_unapplied: Money = column("Money that could not be applied up to the end of the day before")
    principal_lent: Money = column("Principal lent, on the day of booking", ge=0)
    principal_paid: Money = column("Principal that payments repaid", ge=0)
    principal_reversed: Money = column("Principal owed again since a payment was reversed or a late row came", ge=0)
    principal_refunded: Money = column("Principal that a merchant's refund repaid", ge=0)
    principal_charged_off: Money = column("Principal charged off; negative where a late row reversed more of it")
    principal_waived: Money = column("Principal waived after the last due date, as interest_waived")
    interest_accrued: Money = column("Interest that the day accrued; on the day of booking, since origination", ge=0)
    interest_given_back: Money = column(
        "Interest given back since a payment or refund came late; less what was posted for the days before a reversal"
    )
    interest_paid: Money = column(
        "Interest that payments paid. Negative where a late one takes back what a payment after it had paid"
    )
    interest_reversed: Money = column("Interest owed again since a payment was reversed")
    interest_refunded: Money = column("Interest that a merchant's refund paid; may be negative as interest_paid may")
    interest_charged_off: Money = column("Interest charged off; negative where a late row reversed more of it")
    interest_waived: Money = column(
        "Interest waived after the last due date, where little was owed; less what a late row reversed"
    )
    credit_overpaid: Money = column("What payments exceeded the debt by", ge=0)
    credit_reversed: Money = column("What of credit was reversed, or set off against what a reversal restored", ge=0)
    credit_refunded: Money = column("What merchants' refunds exceeded the debt by", ge=0)
    credit_paid_out: Money = column("Credit balance paid out to the borrower", ge=0)
    recovery_principal: Money = column("Received of the principal that was charged off, less what of it was reversed")
    recovery_interest: Money = column("Received of the interest that was charged off, less what of it was reversed")
    unapplied_moved: Money = column("Money of transactions that could not be applied; negative for what went out")
    adjusted: Money = column("What of the movements adjustments paid, and no money that came in")
    principal: Money = column("Principal owed at the end of the day", ge=0)
    interest: Money = column("Interest owed at the end of the day", ge=0)
    credit: Money = column("Owed to the borrower at the end of the day (12 CFR 1026.21)", ge=0)
    oldest_due_on: date | None = column("When the oldest unmet instalment fell or falls due; null if all was paid")
    days_past_due: int = column("Calendar days since the oldest unmet instalment fell due", ge=0)
    bucket: DelinquencyBucket = column("Delinquency bucket")
    status: LoanStatus = column("Whether anything is owed, or was given up")
    amount_past_due: Money = column("What of instalments fell due before the day and is unpaid", ge=0)
    next_due_on: date | None = column("When the next instalment falls due that is not met; null if none is left")
    next_due_amount: Money = column("What of it is unpaid; of the last one, what is owed at the end of the day", ge=0)
    payoff_amount: Money = column(
        "What pays the loan off at the end of the day; of a charged-off one, what did not come back of the loss", ge=0
    )
    credit_over_six_months: Money = column("Credit that is there for more than six months: to be paid out", ge=0)
    settled_on: date | None = column("Day since which nothing is owed either way; null while something is")
    accrued: Exact = column("Interest accrued since origination, before rounding", ge=0)
    paid: Money = column("What payments have met of instalments since origination")
    shortage: Money = column("What is missing of instalments that count as met; carried to the last one", ge=0)
    refunded: Money = column("Refunds since origination", ge=0)
    discount_returned: Money = column("Merchant discount returned with refunds since origination", ge=0)
    last_instalment: int = column("Number of the last instalment: the schedule's, less what refunds took off", ge=1)
    highest_days_past_due: int = column("Highest days past due since origination, as far as is known now", ge=0)
    charge_off_by: date | None = column("Day on which it is charged off at the latest, for another cause than its age")
    charge_off_cause: ChargeOffCause | None = column("That cause")
    reaged_on: date | None = column("Day of an undone charge-off, from which days past due are counted anew")
    charged_off_on: date | None = column("Day of the charge-off")
    charged_off_principal: Money = column("Principal charged off since origination", ge=0)
    charged_off_interest: Money = column("Interest charged off since origination", ge=0)
    recovered_principal: Money = column("Received since the charge-off, of the principal", ge=0)
    recovered_interest: Money = column("Received since the charge-off, of the interest", ge=0)
    waived_principal: Money = column("Principal waived since origination", ge=0)
    waived_interest: Money = column("Interest waived since origination", ge=0)
    nonaccrual_since: date | None = column("Day since which interest is no income until it is paid; null if it is")
    cost_recovered: Money = column(
        "Interest paid in nonaccrual that is no income yet; of a charged-off loan, it lowers the loss", ge=0
    )
    deferred_discount: Exact = column(
        "Merchant discount that is no income yet, before rounding; of a charged-off loan, it lowers the loss", ge=0
    )
    credit_since: date | None = column(
        "Day since which there is a credit balance; after six months it is to be paid out (12 CFR 1026.21(c))"
    )
    unapplied: Money = column("Money that could not be applied since origination, less what went out so")


_LOAN_AND_TERMS = (*_accounts.LOAN, *_accounts.TERMS)
_STATE = tuple(name for name in _accounts.STATE if name != "as_of")


def _money(amount: str) -> str:
    return f"CAST({amount} AS decimal(18,2))"


_OPENS_WITH = {
    **{name: f"opening_{name}" for name in _STATE},
    "charged_off_principal": _money("charged_off_principal - principal_charged_off"),
    "charged_off_interest": _money("charged_off_interest - interest_charged_off"),
    "recovered_principal": _money("recovered_principal - recovery_principal"),
    "recovered_interest": _money("recovered_interest - recovery_interest"),
    # Not zero on a settled loan, and so not carried to a row that comes after its rows had ended.
    "waived_principal": _money(f"IF({_accounts.IS_CARRIED}, waived_principal - principal_waived, 0)"),
    "waived_interest": _money(f"IF({_accounts.IS_CARRIED}, waived_interest - interest_waived, 0)"),
}
"""Of an account's state, what a row says that it opened with: in a column, or by what the day moved."""

_LEFT_BY_LAST_ROW = {
    **dict.fromkeys(
        (
            "accrued",
            "paid",
            "shortage",
            "refunded",
            "discount_returned",
            "last_instalment",
            "highest_days_past_due",
            "waived_principal",
            "waived_interest",
            "unapplied",
        ),
        "0",
    ),
    **dict.fromkeys(("charge_off_by", "charge_off_cause", "reaged_on", "settled_on"), "NULL"),
}

_ADDED_UP = {
    "principal": "opening_principal + principal_lent - principal_paid + principal_reversed - principal_refunded "
    "- principal_charged_off - principal_waived",
    "interest": "opening_interest + interest_accrued - interest_given_back - interest_paid + interest_reversed "
    "- interest_refunded - interest_charged_off - interest_waived",
    "credit": "opening_credit + credit_overpaid - credit_reversed + credit_refunded - credit_paid_out",
}


@audit()
def movements_add_up(staged: DataFrame) -> DataFrame:
    """Opening + movements = closing, of principal, interest and credit of every loan and day."""
    expected = (
        F.expr(f"CAST({total} AS decimal(18,2))").alias(f"expected_{name}") for name, total in _ADDED_UP.items()
    )
    ok = F.expr(" AND ".join(f"{name} = {total}" for name, total in _ADDED_UP.items()))
    return staged.select("loan_id", "as_of", *expected, *_ADDED_UP, ok.alias("ok"))


# Cast after each operation: a sum of wide types keeps six places only.
_A_DAYS_INTEREST = "CAST(round(opening_principal * apr / 36500, 8) AS decimal(18,8))"
_A_DAY_BEFORE_BOOKING = "CAST(round(principal_lent * apr / 36500, 8) AS decimal(18,8))"
_SINCE_ORIGINATION = f"CAST({_A_DAY_BEFORE_BOOKING} * datediff(as_of, originated_on) AS decimal(18,8))"
_ACCRUED = {
    "expected_accrued": f"round(opening_accrued + {_A_DAYS_INTEREST} + {_SINCE_ORIGINATION}, 2) "
    "- round(opening_accrued, 2)",
    "expected_total": "round(opening_accrued, 2) + interest_accrued - interest_given_back",
}


@audit()
def interest_is_principal_times_rate_times_days(staged: DataFrame) -> DataFrame:
    """A day accrues the principal that it began with x rate / 365, half up; given back and posted add up to the total.

    The day of booking accrues all days since the origination. A row that has none before it opens with nothing.
    """
    expected = staged.select(
        "loan_id",
        "as_of",
        "interest_accrued",
        F.expr("CAST(round(accrued, 2) AS decimal(18,2))").alias("total"),
        F.expr(_accounts.IS_CARRIED).alias("is_carried"),
        *(F.expr(f"CAST({text} AS decimal(18,2))").alias(name) for name, text in _ACCRUED.items()),
    )
    ok = F.expr("NOT is_carried OR (interest_accrued = expected_accrued AND total = expected_total)")
    return expected.withColumn("ok", ok)


@audit()
def delinquency_follows_from_the_due_date(staged: DataFrame) -> DataFrame:
    """Days past due run from the oldest unmet due date; at 120 an open loan is charged off, and none is before without
    a cause."""
    late_since = "greatest(oldest_due_on, coalesce(reaged_on, oldest_due_on))"
    expected = f"IF(status = 'open', greatest(datediff(as_of, {late_since}), 0), 0)"
    earliest = f"least(date_add({late_since}, 120), coalesce(charge_off_by, date_add({late_since}, 120)))"
    ok = (
        f"days_past_due = {expected} AND days_past_due < 120 AND highest_days_past_due >= days_past_due "
        "AND (oldest_due_on IS NULL) = (status = 'repaid') AND (charged_off_on IS NOT NULL) = (status = 'charged_off') "
        "AND (charged_off_on IS NULL OR (charged_off_on <= as_of "
        f"AND charged_off_on >= greatest({earliest}, booked_on)))"
    )
    shown = ["loan_id", "as_of", "status", "oldest_due_on", "days_past_due", "charged_off_on"]
    return staged.select(*shown, F.coalesce(F.expr(ok), F.lit(False)).alias("ok"))


# Of a day on which a late row or a reversal changed what other days had paid, no column says what was paid today.
_TAKES_NOTHING_BACK = (
    "interest_given_back = 0 AND principal_reversed = 0 AND interest_reversed = 0 AND interest_paid >= 0 "
    "AND principal_charged_off >= 0 AND interest_charged_off >= 0 AND refunded = 0"
)
# The instalments between the first and the oldest unmet one, times 1 by month or 14 by days.
_UNMET = (
    "IF(frequency = 'biweekly', datediff(oldest_due_on, first_due_on), "
    "(year(oldest_due_on) - year(first_due_on)) * 12 + month(oldest_due_on) - month(first_due_on))"
)


@audit()
def what_is_paid_meets_instalments(staged: DataFrame) -> DataFrame:
    """What a day's payments paid counts toward instalments, and the oldest unmet one is the first that it leaves unmet.

    The last instalment is met by nothing but a debt of zero.
    """
    numbered = staged.withColumn("unit", F.expr("IF(frequency = 'biweekly', 14, 1)")).withColumn(
        "unmet", F.expr(_UNMET)
    )
    counts = f"(NOT ({_TAKES_NOTHING_BACK}) OR paid - opening_paid = principal_paid + interest_paid)"
    meets = (
        "unmet >= 0 AND unmet % unit = 0 AND unmet <= unit * (last_instalment - 1) "
        "AND unmet * instalment <= unit * (paid + shortage) "
        "AND (unmet = unit * (last_instalment - 1) OR unit * (paid + shortage) < (unmet + unit) * instalment)"
    )
    ok = f"(NOT {_accounts.IS_CARRIED} OR {counts}) AND (oldest_due_on IS NULL OR ({meets}))"
    shown = ["loan_id", "as_of", "opening_paid", "paid", "shortage", "oldest_due_on", "unmet"]
    return numbered.select(*shown, F.coalesce(F.expr(ok), F.lit(False)).alias("ok"))


@audit()
def money_is_where_it_can_be(staged: DataFrame) -> DataFrame:
    """A status says what is owed; nobody owes and is owed at once; no more comes back of a loss than was lost."""
    rules = (
        "(status = 'open') = (charged_off_on IS NULL AND principal + interest > 0)",
        "credit = 0 OR principal + interest = 0",
        "status <> 'charged_off' OR principal + interest = 0",
        "recovered_principal <= charged_off_principal AND recovered_interest <= charged_off_interest",
        "recovered_interest = 0 OR recovered_principal = charged_off_principal",
        "amount_past_due <= principal + interest AND amount_past_due + next_due_amount <= principal + interest",
        "(credit_since IS NULL) = (credit = 0)",
        "credit_over_six_months = IF(as_of > add_months(credit_since, 6), credit, 0)",
        "payoff_amount = IF(status = 'charged_off', charged_off_principal + charged_off_interest "
        "- recovered_principal - recovered_interest, principal + interest)",
    )
    ok = " AND ".join(f"({rule})" for rule in rules)
    shown = ["loan_id", "as_of", "status", "principal", "interest", "credit"]
    return staged.select(*shown, F.expr(ok).alias("ok"))


# A day on which interest accrues, and nothing came that could have changed the days before.
_IS_QUIET = (
    f"{_accounts.IS_CARRIED} AND came IS NULL AND principal_lent = 0 AND principal_waived = 0 "
    "AND charged_off_on <=> opening_charged_off_on"
)
# One on which money came in time, and no other: it may take no more of the discount along than its share.
_IS_IN_TIME = (
    f"{_accounts.IS_CARRIED} AND came = 'in time' AND principal_lent = 0 AND status = 'open' "
    "AND opening_charged_off_on IS NULL AND opening_principal > 0"
)
# Times 36,500, so that nothing is divided: two amounts of a day are rounded, each by half of the last place at most.
_EARNED = "CAST(opening_deferred_discount - deferred_discount AS decimal(18,8)) * 36500BD"
_EARNS = (
    "greatest(CAST(opening_principal - opening_deferred_discount AS decimal(18,8)) * effective_rate "
    "- opening_principal * apr, 0BD)"
)
_ROUNDED = "0.000365BD"
_EARNS_NOTHING = "(opening_charged_off_on IS NOT NULL OR opening_nonaccrual_since IS NOT NULL)"
# To two cents, and a day's earnings as a little more than they are.
_IS_SHARE_LEFT = (
    "CAST(round(deferred_discount, 2) + 0.02BD AS decimal(18,2)) * opening_principal "
    ">= CAST(opening_deferred_discount - CAST(earns AS decimal(28,8)) * 0.000028BD AS decimal(18,2)) * principal"
)
_TO_COME = "IF(status = 'charged_off', charged_off_principal - recovered_principal, principal)"


def _by_product(said: Callable[[Rules], str]) -> str:
    """Spark SQL: what the rules of the row's product say."""
    by_product = (f"WHEN '{name}' THEN {said(settings.rules)}" for name, settings in PRODUCTS.items())
    return f"CASE product {' '.join(by_product)} END"


@audit()
def income_waits_as_the_rules_say(
    staged: DataFrame, transactions: DataFrame, suspense: DataFrame, adjustments: DataFrame
) -> DataFrame:
    """A day on which nothing came earns of the deferred discount what the effective rate does more than the contract's,
    and no other part of what is deferred changes. What comes in time takes no more than its share of it. Nothing is
    deferred that is not to come. Nonaccrual begins and ends by days past due, or by a notice, where the product has it.
    """
    is_in_time = "kind IN ('payment', 'recovery') AND effective_on = posted_on AND NOT is_from_suspense"
    came = (
        _accounts.movements(transactions, suspense, adjustments)
        .groupBy("loan_id", F.col("posted_on").alias("as_of"))
        .agg(F.expr(f"IF(bool_and({is_in_time}), 'in time', 'else')").alias("came"))
    )
    after = _by_product(lambda rules: str(rules.nonaccrual_after or "NULL"))
    defers = _by_product(lambda rules: str(rules.merchant_discount == "deferred"))
    days = (
        staged.join(came, ["loan_id", "as_of"], "left")
        .withColumns({"is_quiet": F.expr(_IS_QUIET), "is_in_time": F.coalesce(F.expr(_IS_IN_TIME), F.lit(False))})
        .withColumns(
            {
                "earned": F.expr(_EARNED),
                # With a digit to spare: a sum of two that have none is computed row by row, a hundred times slower.
                "earns": F.expr(f"CAST(IF({_EARNS_NOTHING}, 0BD, {_EARNS}) AS decimal(36,16))"),
                "to_come": F.expr(_TO_COME),
                "nonaccrual_after": F.expr(after),
                "defers": F.expr(defers),
            }
        )
    )
    rules = (
        "NOT is_quiet OR cost_recovered = opening_cost_recovered",
        f"NOT is_quiet OR earned BETWEEN 0 AND earns + {_ROUNDED}",
        # What is past due earns less, and so does the last of a discount.
        f"NOT is_quiet OR days_past_due > 1 OR deferred_discount = 0 OR earned >= earns - {_ROUNDED}",
        f"NOT is_in_time OR deferred_discount = to_come - cost_recovered OR {_IS_SHARE_LEFT}",
        "cost_recovered + deferred_discount <= to_come",
        "cost_recovered + interest + charged_off_interest + waived_interest <= round(accrued, 2)",
        "defers OR deferred_discount = 0",
        "deferred_discount <= merchant_discount - discount_returned",
        "nonaccrual_after IS NOT NULL OR (nonaccrual_since IS NULL AND cost_recovered = 0)",
        "nonaccrual_since IS NULL OR nonaccrual_since <= as_of",
        "NOT is_quiet OR nonaccrual_since <=> opening_nonaccrual_since "
        "OR (nonaccrual_since = as_of AND days_past_due >= nonaccrual_after)",
        "nonaccrual_since IS NULL OR status = 'charged_off' "
        "OR (status = 'open' AND (oldest_due_on < as_of OR charge_off_by IS NOT NULL))",
        "nonaccrual_since IS NOT NULL OR status <> 'open' OR nonaccrual_after IS NULL "
        "OR (days_past_due < nonaccrual_after AND charge_off_by IS NULL)",
    )
    ok = F.expr(" AND ".join(f"({rule})" for rule in rules))
    shown = ["loan_id", "as_of", "status", "came", "earned", "earns", "deferred_discount", "cost_recovered"]
    return days.select(*shown, "nonaccrual_since", F.coalesce(ok, F.lit(False)).alias("ok"))


@audit()
def every_loan_is_lent_once(staged: DataFrame, loans: DataFrame) -> DataFrame:
    """The principal lent on each day is that of the loans booked on it, loan by loan."""
    lent = staged.where("principal_lent <> 0").select("loan_id", "as_of", "principal_lent")
    return (
        loans.select("loan_id", F.col("booked_on").alias("as_of"), "principal")
        .join(lent, ["loan_id", "as_of"], "full")
        .select(
            "loan_id",
            "as_of",
            "principal",
            "principal_lent",
            F.col("principal").eqNullSafe(F.col("principal_lent")).alias("ok"),
        )
    )


@audit()
def every_transaction_is_applied(staged: DataFrame, transactions: DataFrame, suspense: DataFrame) -> DataFrame:
    """The money of each day's transactions is what the loans' movements add up to, loan by loan, less adjustments."""
    moved = (
        _accounts.transactions_of_loans(transactions, suspense)
        .groupBy("loan_id", F.col("posted_on").alias("as_of"))
        .agg(F.sum(signed_amount()).alias("moved"))
    )
    applied = staged.select(
        "loan_id",
        "as_of",
        F.expr(
            "principal_paid - principal_reversed + principal_refunded + interest_paid - interest_reversed "
            "+ interest_refunded + credit_overpaid - credit_reversed + credit_refunded - credit_paid_out "
            "+ recovery_principal + recovery_interest + unapplied_moved - adjusted"
        ).alias("applied"),
    ).where("applied <> 0")
    joined = applied.join(moved, ["loan_id", "as_of"], "full").na.fill(0, ["moved", "applied"])
    return joined.select("loan_id", "as_of", "moved", "applied", (F.col("moved") == F.col("applied")).alias("ok"))


def _opened(balances: DataFrame) -> DataFrame:
    """The state of the account as the day began: by a column, or by what the day moved."""
    openings = (F.expr(opening).alias(f"opening_{name}") for name, opening in _OPENS_WITH.items())
    return balances.select("as_of", *_LOAN_AND_TERMS, *openings)


def _closed(balances: DataFrame) -> DataFrame:
    """The last day of a settled loan leaves nothing to another row."""
    is_last = f"charged_off_on IS NULL AND as_of >= date_add(settled_on, {DAYS_KEPT_SETTLED})"
    leaves = {name: f"IF({is_last}, {left}, {name})" for name, left in _LEFT_BY_LAST_ROW.items()}
    return balances.select("as_of", *_LOAN_AND_TERMS, *(F.expr(leaves.get(name, name)).alias(name) for name in _STATE))


@dataset(
    LoanBalance,
    partitions=Daily("as_of"),
    inputs=_accounts.PAST,
    carry=Carry(
        {f"opening_{name}": name for name in _STATE},
        kept=tuple(name for name in _LOAN_AND_TERMS if name != "loan_id"),
        opens=_opened,
        closes=_closed,
    ),
    audits=[
        movements_add_up,
        interest_is_principal_times_rate_times_days,
        delinquency_follows_from_the_due_date,
        what_is_paid_meets_instalments,
        money_is_where_it_can_be,
        income_waits_as_the_rules_say,
        every_loan_is_lent_once,
        every_transaction_is_applied,
    ],
    owner="team:servicing",
    compute="medium",
    freshness="06:00 next business day",
    sums=("principal", "interest", "credit", "amount_past_due", "charged_off_principal"),
)
def loan_balances(
    loans: DataFrame,
    transactions: DataFrame,
    suspense: DataFrame,
    adjustments: DataFrame,
    previous_partition: DataFrame,
    recent_transactions: DataFrame,
    all_loans: Lookup,
    all_transactions: Lookup,
    all_adjustments: Lookup,
    window: Window,
) -> DataFrame:
    """Each loan's balance, delinquency and movements by day: the rules of finance over every account."""
    moved = _accounts.movements(transactions, suspense, adjustments)
    accounts = _accounts.accounts(
        moved,
        loans,
        previous_partition,
        recent_transactions,
        all_loans,
        all_transactions,
        all_adjustments,
        window,
    )
    return _accounts.run(
        accounts, window, _days.of_accounts, contract=LoanBalance, columns=(*_LOAN_AND_TERMS, *Day._fields)
    )
