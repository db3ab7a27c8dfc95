"""What was given up, and what came back of it."""

from datetime import date, timedelta
from typing import Any, Literal

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.audits import carry
from affirm_assets.declare import Contract, Daily, Money, Window, audit, column, dataset, key, later, previous


class ChargedOffLoan(Contract):
    """A loan that is charged off, at the end of a business date: all amounts are of its whole history up to then."""

    loan_id: str = key("Loan")
    as_of: date = key("Business date")
    product: Literal["pay_in_4", "installment"] = column("Product")
    originated_on: date = column("Day of the purchase")
    charged_off_on: date = column("Day on which an instalment was 120 days past due")
    principal: Money = column("Principal charged off against the allowance", ge=0)
    interest_reversed: Money = column("Accrued interest reversed against income", ge=0)
    recoveries: Money = column("Received since, to the credit of the allowance")
    net_loss: Money = column("Principal less recoveries")


_MOVEMENTS = {
    "principal": "principal_charged_off",
    "interest_reversed": "interest_charged_off",
    "recoveries": "recovery",
}
_CARRY: Any = {
    "day": "as_of",
    "keys": ["loan_id"],
    "carried": {f"opening_{total}": total for total in _MOVEMENTS},
    "kept": ["product", "originated_on", "charged_off_on"],
}


@audit()
def totals_grow_by_the_movements(
    staged: DataFrame, charged_off_before: DataFrame, loan_balances: DataFrame, window: Window
) -> DataFrame:
    """Loan by loan, each total is that of the day before and what the balances' movements added to it; net loss too."""
    compared = carry.opens_as_closed(_opened(staged, loan_balances), charged_off_before, window, **_CARRY)
    wrong = staged.where("net_loss <> principal - recoveries")
    differs = F.lit("net_loss is not principal - recoveries").alias("differs")
    return compared.unionByName(wrong.select("loan_id", "as_of", differs, F.lit(False).alias("ok")))


@audit()
def next_day_opens_as_closed(
    staged: DataFrame,
    later_charge_offs: DataFrame,
    later_balances: DataFrame,
    window: Window,
    last_published: date | None,
) -> DataFrame:
    """The day after, where it is published already, grew from the totals that the window's last day closes with now."""
    next_day = f"as_of = DATE'{window.last + timedelta(days=1)}'"
    after = _opened(later_charge_offs.where(next_day), later_balances.where(next_day))
    return carry.next_opens_as_closed(staged, after, window, last_published, **_CARRY)


def _opened(charged_off: DataFrame, loan_balances: DataFrame) -> DataFrame:
    """Each total beside what it was when the day began: less what the balances' movements added to it."""
    moves = " OR ".join(f"{name} <> 0" for name in _MOVEMENTS.values())
    moved = loan_balances.where(moves).select("loan_id", "as_of", *_MOVEMENTS.values())
    # In full: a loan that was charged off and has no row is a total that did not grow.
    totals = charged_off.join(moved, ["loan_id", "as_of"], "full").na.fill(0)
    openings = ((F.col(total) - F.col(name)).alias(f"opening_{total}") for total, name in _MOVEMENTS.items())
    return totals.select("*", *openings)


@dataset(
    ChargedOffLoan,
    partitions=Daily("as_of"),
    inputs={
        "charged_off_before": previous(1, "charge_offs"),
        "later_charge_offs": later("charge_offs"),
        "later_balances": later("loan_balances"),
    },
    audits=[totals_grow_by_the_movements, next_day_opens_as_closed],
    owner="team:credit-risk",
    freshness=timedelta(hours=36),
)
def charge_offs(loan_balances: DataFrame) -> DataFrame:
    """Loans that are charged off, by day: principal, interest reversed, recoveries to date."""
    return loan_balances.where("status = 'charged_off'").select(
        "loan_id",
        "as_of",
        "product",
        "originated_on",
        "charged_off_on",
        F.col("charged_off_principal").alias("principal"),
        F.col("charged_off_interest").alias("interest_reversed"),
        F.col("recovered").alias("recoveries"),
        (F.col("charged_off_principal") - F.col("recovered")).cast("decimal(18,2)").alias("net_loss"),
    )
