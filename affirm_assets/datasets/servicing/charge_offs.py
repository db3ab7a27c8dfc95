"""What was given up, and what came back of it."""

from datetime import date
from typing import Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare import Carry, Contract, Daily, Money, audit, column, dataset, key
from affirm_assets.lender.deferred_income import UNEARNED, UNEARNED_MOVED
from affirm_assets.lender.vocabulary import ChargeOffCause, Product


class ChargedOffLoan(Contract):
    """A loan that is charged off, at the end of a business date: all amounts are of its whole history up to then."""

    loan_id: str = key("Loan")
    as_of: date = key("Business date")
    product: Product = column("Product")
    originated_on: date = column("Day of the purchase")
    charged_off_on: date = column("Day of the charge-off, by what is known now")
    cause: Literal["days_past_due", ChargeOffCause] = column("Why: 120 days past due, or another cause before that")
    principal: Money = column("Principal charged off against the allowance", ge=0)
    interest_reversed: Money = column("Accrued interest reversed against income", ge=0)
    principal_recovered: Money = column("Received since of the principal, to the credit of the allowance", ge=0)
    interest_recovered: Money = column("Received since of the interest, which is income", ge=0)
    unearned: Money = column("Deferred discount, and interest paid in nonaccrual: never income, and so no loss", ge=0)
    net_loss: Money = column("Principal less what of it was recovered, and less what is unearned", ge=0)


_MOVEMENTS = {
    "principal": "principal_charged_off",
    "interest_reversed": "interest_charged_off",
    "principal_recovered": "recovery_principal",
    "interest_recovered": "recovery_interest",
    "unearned": "unearned_moved",
}

_OF_LOAN = ("product", "originated_on")


@audit()
def net_loss_adds_up(staged: DataFrame, loan_balances: DataFrame) -> DataFrame:
    """Net loss is what the balances say was charged off less recovered and unearned, of every loan that they say is,
    day by day."""
    lost = loan_balances.where("charged_off_on IS NOT NULL").select(
        "loan_id",
        "as_of",
        F.expr("charged_off_principal - recovered_principal - cost_recovered").alias("without_discount"),
        "deferred_discount",
    )
    joined = staged.select("loan_id", "as_of", "net_loss").join(lost, ["loan_id", "as_of"], "full")
    # Multiplied out: half a cent of a discount is rounded up, so the loss down.
    off_by = "(net_loss - without_discount + deferred_discount)"
    ok = F.coalesce(F.expr(f"{off_by} >= -0.005BD AND {off_by} < 0.005BD"), F.lit(False))
    return joined.withColumn("ok", ok)


def _opened(charged_off: DataFrame, loan_balances: DataFrame) -> DataFrame:
    """Each total beside what it was when the day began, less what the balances' movements added; and the day."""
    moves = " OR ".join(f"{name} <> 0" for name in _MOVEMENTS.values())
    of_loan = [F.col(name).alias(f"loan_s_{name}") for name in _OF_LOAN]
    moved = (
        loan_balances.withColumn("unearned_moved", F.expr(UNEARNED_MOVED))
        .where(f"charged_off_on IS NOT NULL OR {moves}")
        .select(
            "loan_id",
            "as_of",
            *of_loan,
            "opening_charged_off_on",
            F.expr("opening_charged_off_on <=> charged_off_on").alias("is_of_the_same_day"),
            *_MOVEMENTS.values(),
        )
    )
    # In full: a loan that was charged off and has no row is a total that did not grow, or one that a late row reversed.
    totals = charged_off.join(moved, ["loan_id", "as_of"], "full").na.fill(0)
    for name in _OF_LOAN:
        totals = totals.withColumn(name, F.coalesce(name, f"loan_s_{name}"))
    opening_day = F.expr("IF(is_of_the_same_day, charged_off_on, opening_charged_off_on)")
    totals = totals.withColumn("opening_charged_off_on", opening_day)
    openings = (
        (F.col(total) - F.col(name)).cast("decimal(18,2)").alias(f"opening_{total}")
        for total, name in _MOVEMENTS.items()
    )
    return totals.select("*", *openings)


@dataset(
    ChargedOffLoan,
    partitions=Daily("as_of"),
    carry=Carry(
        {f"opening_{name}": name for name in ("charged_off_on", *_MOVEMENTS)},
        kept=_OF_LOAN,
        opens=_opened,
    ),
    audits=[net_loss_adds_up],
    owner="team:credit-risk",
    freshness="06:00 next business day",
)
def charge_offs(loan_balances: DataFrame) -> DataFrame:
    """Loans that are charged off, by day: principal, interest reversed, unearned and recovered to date."""
    return loan_balances.where("status = 'charged_off'").select(
        "loan_id",
        "as_of",
        "product",
        "originated_on",
        "charged_off_on",
        F.expr("IF(charged_off_on >= charge_off_by, charge_off_cause, 'days_past_due')").alias("cause"),
        F.col("charged_off_principal").alias("principal"),
        F.col("charged_off_interest").alias("interest_reversed"),
        F.col("recovered_principal").alias("principal_recovered"),
        F.col("recovered_interest").alias("interest_recovered"),
        F.expr(UNEARNED).cast("decimal(18,2)").alias("unearned"),
        F.expr(f"charged_off_principal - recovered_principal - {UNEARNED}").cast("decimal(18,2)").alias("net_loss"),
    )
