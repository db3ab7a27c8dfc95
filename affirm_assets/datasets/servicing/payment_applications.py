"""What each transaction on a loan, and each adjustment of it, did."""

from collections.abc import Iterator
from datetime import date
from functools import partial
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.datasets.servicing import _accounts
from affirm_assets.declare import Contract, Daily, Lookup, Money, Window, audit, column, dataset, key, previous
from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.days import applications
from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.money import ADJUSTED, APPLIED, IS_ADJUSTMENT, IS_REFUND, signed_amount
from affirm_assets.lender.vocabulary import FORGIVES, MovementKind, Product


class PaymentApplication(Contract):
    """Where the money of a transaction on a loan went, or what an adjustment paid. All money columns are negative for
    what a reversal undoes.

    amount with its sign = interest + principal + credit + recovery_principal + recovery_interest + unapplied.
    """

    transaction_id: str = key("Transaction; adjustment/ and its id for an adjustment")
    posted_on: date = column("Business date on which it was applied: when it came, or when its loan was booked")
    loan_id: str = column("Loan")
    product: Product = column("Product of the loan")
    kind: MovementKind = column("Kind")
    amount: Money = column("Amount; the kind says which way it goes. 0.00 for an adjustment that has none", ge=0)
    effective_on: date = column("Day on which it happened")
    reverses: str | None = column("Transaction that it undoes, or whose unapplied money it clears")
    is_from_suspense: bool = column("Whether its money waited in suspense for the loan")
    interest: Money = column("To interest owed; negative too where a late row takes back what was paid since")
    principal: Money = column("To principal owed")
    credit: Money = column("To the borrower's credit balance")
    recovery_principal: Money = column("To principal that was charged off")
    recovery_interest: Money = column("To interest that was charged off")
    unapplied: Money = column("Could not be applied")
    interest_given_back: Money = column("Interest given back since it came late; negative for what a reversal posts")
    discount_returned: Money = column("Merchant discount returned with a refund; negative if it is reversed")
    exception: str | None = column("Why it could not be applied")


_OF_LOAN = ("loan_id", "product")
_MOVEMENT = ("transaction_id", "posted_on", "kind", "amount", "effective_on", "reverses")
_APPLICATION = (
    "interest",
    "principal",
    "credit",
    "recovery_principal",
    "recovery_interest",
    "unapplied",
    "interest_given_back",
    "discount_returned",
    "exception",
)


@audit()
def every_transaction_has_one(
    staged: DataFrame, transactions: DataFrame, suspense: DataFrame, adjustments: DataFrame
) -> DataFrame:
    """Each transaction on a loan, posted or taken up from suspense, is applied once, and for its whole amount.

    So is each adjustment: one that pays, and is no exception, for its amount; any other for nothing. What clears money
    that went out writes its amount off.
    """
    moved = _accounts.movements(transactions, suspense, adjustments).select(
        "transaction_id", "posted_on", "kind", "amount"
    )
    pays = F.col("kind").isin(*FORGIVES) & F.col("exception").isNull()
    expected = F.when(F.expr(IS_ADJUSTMENT) & ~pays, F.lit(0)).otherwise(signed_amount())
    is_written_off = (F.col("kind") == "clear_unapplied") & (F.col("applied") == F.col("amount"))
    applied = F.expr(f"{APPLIED} + unapplied").alias("applied")
    return moved.join(
        staged.select("transaction_id", "posted_on", applied, "exception"), ["transaction_id", "posted_on"], "full"
    ).select(
        "transaction_id",
        "posted_on",
        "amount",
        "applied",
        (expected.eqNullSafe(F.col("applied")) | is_written_off).alias("ok"),
    )


_MOVED = {
    "interest": "interest_paid - interest_reversed + interest_refunded",
    "principal": "principal_paid - principal_reversed + principal_refunded",
    "credit": "credit_overpaid - credit_reversed + credit_refunded - credit_paid_out",
    "recovery_principal": "recovery_principal",
    "recovery_interest": "recovery_interest",
    "unapplied": "unapplied_moved",
    "interest_given_back": "interest_given_back",
    "adjusted": "adjusted",
    "refunded": f"IF({_accounts.IS_CARRIED}, refunded - opening_refunded, 0)",
    "discount_returned": f"IF({_accounts.IS_CARRIED}, discount_returned - opening_discount_returned, 0)",
}
_TOTALS = ("refunded", "discount_returned")


@audit()
def applications_are_the_balances_movements(staged: DataFrame, loan_balances: DataFrame) -> DataFrame:
    """Added up by loan and day, the applications are the movements of the balances, and what refunds add up to."""
    of_balances = loan_balances.select(
        "loan_id",
        F.col("as_of").alias("posted_on"),
        F.expr(_accounts.IS_CARRIED).alias("is_carried"),
        *(F.expr(text).alias(name) for name, text in _MOVED.items()),
    )
    refunded = F.expr(f"IF({IS_REFUND}, {APPLIED}, 0)")
    negated = (
        staged.withColumn("refunded", refunded)
        .withColumn("adjusted", F.expr(ADJUSTED))
        .select(
            "loan_id", "posted_on", F.lit(True).alias("is_carried"), *((-F.col(name)).alias(name) for name in _MOVED)
        )
    )
    moves = F.expr(" OR ".join(f"{name} <> 0" for name in _MOVED))
    left = of_balances.where(moves | ~F.col("is_carried")).unionByName(negated).groupBy("loan_id", "posted_on")
    summed = left.agg(
        F.bool_and("is_carried").alias("is_carried"),
        *(F.sum(name).alias(name) for name in _MOVED if name not in _TOTALS),
        # A total of the loan's whole history, where no row before says what it was, is no movement of the day.
        *(F.expr(f"IF(bool_and(is_carried), sum({name}), 0)").alias(name) for name in _TOTALS),
    )
    return summed.withColumn("ok", ~moves)


@dataset(
    PaymentApplication,
    partitions=Daily("posted_on"),
    inputs={"opening_balances": previous(1, "loan_balances"), **_accounts.PAST},
    audits=[every_transaction_has_one, applications_are_the_balances_movements],
    owner="team:servicing",
    freshness="06:00 next business day",
    sums=("amount", "principal", "interest", "unapplied"),
)
def payment_applications(
    loans: DataFrame,
    transactions: DataFrame,
    suspense: DataFrame,
    adjustments: DataFrame,
    opening_balances: DataFrame,
    recent_transactions: DataFrame,
    all_loans: Lookup,
    all_transactions: Lookup,
    all_adjustments: Lookup,
    window: Window,
) -> DataFrame:
    """What each transaction did, by the same rules from the same openings as the balances, which the audit compares."""
    moved = _accounts.movements(transactions, suspense, adjustments)
    accounts = _accounts.accounts(
        moved, loans, opening_balances, recent_transactions, all_loans, all_transactions, all_adjustments, window
    )
    applied = _accounts.run(
        accounts.where("moved IS NOT NULL"),
        window,
        partial(_accounts.one_by_one, rows_of=_rows, of_loan=_OF_LOAN),
        contract=PaymentApplication,
        columns=(*_OF_LOAN, *_MOVEMENT, *_APPLICATION),
    )
    return applied.join(
        moved.select("transaction_id", "posted_on", "is_from_suspense"), ["transaction_id", "posted_on"]
    )


def _rows(account: Account, last: date, moved: list[Movement], *, is_new: bool) -> Iterator[tuple[Any, ...]]:
    for movement, application in applications(account, last, moved, is_new=is_new):
        yield (
            *(getattr(movement, name) for name in _MOVEMENT),
            *(getattr(application, name) for name in _APPLICATION),
        )
