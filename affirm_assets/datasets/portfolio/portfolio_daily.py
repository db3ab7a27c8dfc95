"""What is owed, what moved and what is late, by the month in which it was lent."""

from collections.abc import Iterable, Mapping
from datetime import date

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.datasets.portfolio._report_audits import first_of_month, same_totals
from affirm_assets.declare import Contract, Daily, Money, audit, column, dataset, key
from affirm_assets.lender.vocabulary import Product


class PortfolioDaily(Contract):
    """The loans of one product and month of origination at the end of a business date, and what the day moved.

    A loan that is settled has left once its daily balances have ended (finance.days.DAYS_KEPT_SETTLED).
    """

    product: Product = key("Product")
    vintage: date = key("First day of the month in which the loans originated")
    as_of: date = key("Business date")
    loans: int = column("Loans that have a balance row", ge=1)
    open_loans: int = column("Those on which something is owed", ge=0)
    repaid_loans: int = column("Those on which nothing is owed any more", ge=0)
    charged_off_loans: int = column("Those charged off", ge=0)
    principal: Money = column("Principal owed at the end of the day", ge=0)
    interest: Money = column("Interest owed at the end of the day", ge=0)
    credit: Money = column("Owed to borrowers at the end of the day", ge=0)
    principal_lent: Money = column("Principal lent", ge=0)
    principal_paid: Money = column("Principal that payments repaid, less what reversals undid")
    principal_refunded: Money = column("Principal that merchants' refunds repaid", ge=0)
    principal_charged_off: Money = column("Principal charged off, less what late rows reversed")
    principal_waived: Money = column("Principal of small debts waived after the last due date")
    interest_accrued: Money = column("Interest accrued", ge=0)
    interest_paid: Money = column("Interest that payments paid, less what reversals undid")
    interest_refunded: Money = column("Interest that merchants' refunds paid")
    interest_given_back: Money = column("Interest given back since a payment or refund came late")
    interest_charged_off: Money = column("Interest charged off, less what late rows reversed")
    interest_waived: Money = column("Interest of small debts waived after the last due date")
    recovery_principal: Money = column("Received of charged-off principal, less what of it was reversed")
    recovery_interest: Money = column("Received of charged-off interest, less what of it was reversed")
    principal_current: Money = column("Principal of loans that are not past due", ge=0)
    principal_1_29: Money = column("Principal of loans 1 to 29 days past due", ge=0)
    principal_30_59: Money = column("Principal of loans 30 to 59 days past due", ge=0)
    principal_60_89: Money = column("Principal of loans 60 to 89 days past due", ge=0)
    principal_90_119: Money = column("Principal of loans 90 to 119 days past due", ge=0)
    loans_1_29: int = column("Loans 1 to 29 days past due", ge=0)
    loans_30_59: int = column("Loans 30 to 59 days past due", ge=0)
    loans_60_89: int = column("Loans 60 to 89 days past due", ge=0)
    loans_90_119: int = column("Loans 90 to 119 days past due", ge=0)
    charged_off_principal: Money = column("Principal charged off since origination", ge=0)
    recovered_principal: Money = column("Received of it since the charge-offs", ge=0)
    amount_past_due: Money = column("What of instalments fell due before the day and is unpaid", ge=0)


_KEY = ("product", "vintage", "as_of")
_BUCKETS = {"current": "current", "1_29": "1-29", "30_59": "30-59", "60_89": "60-89", "90_119": "90-119"}
_LATE = ("1_29", "30_59", "60_89", "90_119")
_COUNTS = {
    "loans": "count(1)",
    **{f"{status}_loans": f"count_if(status = '{status}')" for status in ("open", "repaid", "charged_off")},
    **{f"loans_{name}": f"count_if(bucket = '{_BUCKETS[name]}')" for name in _LATE},
}
_AMOUNTS = {
    "principal": "sum(principal)",
    "interest": "sum(interest)",
    "credit": "sum(credit)",
    "principal_lent": "sum(principal_lent)",
    "principal_paid": "sum(principal_paid - principal_reversed)",
    "principal_refunded": "sum(principal_refunded)",
    "principal_charged_off": "sum(principal_charged_off)",
    "principal_waived": "sum(principal_waived)",
    "interest_accrued": "sum(interest_accrued)",
    "interest_paid": "sum(interest_paid - interest_reversed)",
    "interest_refunded": "sum(interest_refunded)",
    "interest_given_back": "sum(interest_given_back)",
    "interest_charged_off": "sum(interest_charged_off)",
    "interest_waived": "sum(interest_waived)",
    "recovery_principal": "sum(recovery_principal)",
    "recovery_interest": "sum(recovery_interest)",
    **{f"principal_{name}": f"sum(IF(bucket = '{bucket}', principal, 0))" for name, bucket in _BUCKETS.items()},
    "charged_off_principal": "sum(charged_off_principal)",
    "recovered_principal": "sum(recovered_principal)",
    "amount_past_due": "sum(amount_past_due)",
}


@audit()
def parts_add_up(staged: DataFrame) -> DataFrame:
    """The principal of all buckets is the principal, and the loans of each status are all loans."""
    parts = {
        "principal_in_buckets": "principal_current + principal_1_29 + principal_30_59 + principal_60_89 "
        "+ principal_90_119",
        "loans_by_status": "open_loans + repaid_loans + charged_off_loans",
    }
    summed = staged.select(*_KEY, "principal", "loans", *_named(parts))
    return summed.withColumn("ok", F.expr("principal = principal_in_buckets AND loans = loans_by_status"))


# Not what the transform adds up, where something else says the same: status by what is owed, lateness by the days, and
# what payments did by all that moved.
_EXPECTED = {
    "loans": "count(loan_id)",
    "open_loans": "count_if(charged_off_on IS NULL AND principal + interest > 0)",
    "repaid_loans": "count_if(charged_off_on IS NULL AND principal + interest = 0)",
    "charged_off_loans": "count(charged_off_on)",
    "principal": "sum(principal)",
    "interest": "sum(interest)",
    "credit": "sum(credit)",
    "principal_lent": "sum(IF(booked_on = as_of, amount_lent, 0))",
    "principal_paid": "sum(opening_principal - principal) + sum(principal_lent - principal_refunded) "
    "- sum(principal_charged_off + principal_waived)",
    "principal_refunded": "sum(principal_refunded)",
    "principal_charged_off": "sum(principal_charged_off)",
    "principal_waived": "sum(principal_waived)",
    "interest_accrued": "sum(interest_accrued)",
    "interest_paid": "sum(opening_interest - interest) + sum(interest_accrued - interest_refunded) "
    "- sum(interest_given_back + interest_charged_off + interest_waived)",
    "interest_refunded": "sum(interest_refunded)",
    "interest_given_back": "sum(interest_given_back)",
    "interest_charged_off": "sum(interest_charged_off)",
    "interest_waived": "sum(interest_waived)",
    "recovery_principal": "sum(recovery_principal)",
    "recovery_interest": "sum(recovery_interest)",
    "principal_current": "sum(IF(days_past_due = 0, principal, 0))",
    "principal_1_29": "sum(IF(days_past_due BETWEEN 1 AND 29, principal, 0))",
    "principal_30_59": "sum(IF(days_past_due BETWEEN 30 AND 59, principal, 0))",
    "principal_60_89": "sum(IF(days_past_due BETWEEN 60 AND 89, principal, 0))",
    "principal_90_119": "sum(IF(days_past_due BETWEEN 90 AND 119, principal, 0))",
    "loans_1_29": "count_if(days_past_due BETWEEN 1 AND 29)",
    "loans_30_59": "count_if(days_past_due BETWEEN 30 AND 59)",
    "loans_60_89": "count_if(days_past_due BETWEEN 60 AND 89)",
    "loans_90_119": "count_if(days_past_due BETWEEN 90 AND 119)",
    "charged_off_principal": "sum(charged_off_principal)",
    "recovered_principal": "sum(recovered_principal)",
    "amount_past_due": "sum(amount_past_due)",
}


@audit()
def totals_equal_the_balances(staged: DataFrame, loan_balances: DataFrame) -> DataFrame:
    """Every figure of each product, vintage and day is that of the loan balances, to the cent."""
    vintage = first_of_month("originated_on")
    expected = loan_balances.groupBy("product", vintage.alias("vintage"), "as_of").agg(*_named(_EXPECTED))
    return same_totals(staged, expected, by=_KEY, totals=list(_EXPECTED))


_IN_LEDGER = {
    "principal": "sum(IF(account = 'principal_receivable', closing, 0))",
    "interest": "sum(IF(account = 'interest_receivable', closing, 0))",
    "credit": "sum(IF(account = 'credit_balances', -closing, 0))",
}


@audit()
def totals_equal_the_ledger(staged: DataFrame, trial_balance: DataFrame) -> DataFrame:
    """What is owed at the end of each day is the balance of the ledger's account, to the cent."""
    ledger = trial_balance.groupBy("as_of").agg(*_named(_IN_LEDGER))
    # The ledger has a row on a day on which there is no loan.
    no_loans = ledger.select("as_of", *(F.lit(0).cast("decimal(18,2)").alias(name) for name in _IN_LEDGER))
    owed = staged.select("as_of", *_IN_LEDGER).unionByName(no_loans)
    return same_totals(owed, ledger, by=["as_of"], totals=list(_IN_LEDGER))


@dataset(
    PortfolioDaily,
    partitions=Daily("as_of"),
    audits=[parts_add_up, totals_equal_the_balances, totals_equal_the_ledger],
    owner="team:credit-risk",
    freshness="06:30 next business day",
    sums=("principal", "interest", "credit", "principal_lent", "amount_past_due", "charged_off_principal"),
)
def portfolio_daily(loan_balances: DataFrame) -> DataFrame:
    """Balances, movements and delinquency by day, product and month of origination."""
    vintage = F.trunc("originated_on", "month").alias("vintage")
    amounts = (F.expr(each).cast("decimal(18,2)").alias(name) for name, each in _AMOUNTS.items())
    return loan_balances.groupBy("product", vintage, "as_of").agg(*_named(_COUNTS), *amounts)


def _named(expressions: Mapping[str, str]) -> Iterable[Column]:
    return (F.expr(each).alias(name) for name, each in expressions.items())
