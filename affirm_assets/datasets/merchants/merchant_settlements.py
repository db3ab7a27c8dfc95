"""What each merchant is owed, and how it came to that, day by day."""

from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from affirm_assets.declare import Carry, Contract, Daily, Lookup, Money, Window, audit, column, dataset, key, through
from affirm_assets.lender.money import IS_REFUND, SIGNED_AMOUNT, signed_amount
from affirm_assets.lender.unions import with_nulls
from affirm_assets.lender.vocabulary import NO_MERCHANT, NO_PRODUCT


class MerchantSettlement(Contract):
    """A merchant on a business date: what it is owed as the day begins, what moved that, what it is owed as it ends.

    closing = opening + purchases - discount - refunds + refunds_reversed + discount_returned - payouts + reassigned.
    A merchant has a row on each day on which it opens with something, or anything moves it.
    """

    merchant_id: str = key("Merchant; `no merchant` where a refund names none and its loan is not booked")
    as_of: date = key("Business date")
    opening: Money = column("Owed to the merchant at the end of the day before; negative if it owes the lender")
    purchases: Money = column("Prices of its purchases whose loans are booked on the day", ge=0)
    discount: Money = column("Merchant discount that the lender keeps of them", ge=0)
    refunds: Money = column("Refunds that it gave, also those that could not be applied", ge=0)
    refunds_reversed: Money = column("Refunds, or parts of them, that were reversed", ge=0)
    discount_returned: Money = column("Discount returned with refunds, less what reversals of refunds took back")
    payouts: Money = column("Paid out to it", ge=0)
    reassigned: Money = column(
        "Refunds that had waited for their loan under another merchant's name, from that merchant to the loan's; a "
        "day's add up to 0"
    )
    closing: Money = column("Owed to the merchant at the end of the day; negative if it owes the lender")


_KEY = ("merchant_id", "as_of")
_MOVED = ("purchases", "discount", "refunds", "refunds_reversed", "discount_returned", "payouts", "reassigned")
_NET = "(purchases - discount - refunds + refunds_reversed + discount_returned - payouts + reassigned)"
_IS_ANY_MOVED = " OR ".join(f"{name} <> 0" for name in _MOVED)


@audit()
def movements_add_up(staged: DataFrame) -> DataFrame:
    """Each row closes with what it opens with and what moved it, and has something to say."""
    ok = F.expr(f"closing = opening + {_NET} AND (opening <> 0 OR {_IS_ANY_MOVED})")
    return staged.withColumn("ok", ok)


@audit()
def totals_equal_the_ledger(staged: DataFrame, trial_balance: DataFrame) -> DataFrame:
    """All merchants of a day together open, move and close as the ledger's account `merchant_payable`, to the cent.

    What is reassigned goes from one merchant to another, and comes to nothing.
    """
    of_merchants = staged.select("as_of", "opening", F.expr(_NET).alias("moved"), "closing", "reassigned")
    # The account is a liability: what merchants are owed is its balance with the other sign.
    ledger = trial_balance.where("account = 'merchant_payable'").select(
        "as_of",
        (-F.col("opening")).alias("ledger_opening"),
        (F.col("credits") - F.col("debits")).alias("ledger_moved"),
        (-F.col("closing")).alias("ledger_closing"),
    )
    ok = "opening = ledger_opening AND moved = ledger_moved AND closing = ledger_closing AND reassigned = 0"
    return _added_up(with_nulls(of_merchants, ledger), "as_of").withColumn("ok", F.expr(ok))


def _posted(kinds: str, accounts: str, amount: str) -> str:
    return f"IF(kind IN ({kinds}) AND account IN ({accounts}), {amount}, 0)"


_PAYABLE, _WITH_DISCOUNT = "'merchant_payable'", "'merchant_payable', 'merchant_discount_income'"
_CREDITED, _DEBITED = "credit - debit", "debit - credit"
# Of a refund's posting, the two entries of the discount come to nothing: what is left is the refund.
_REFUNDS = {
    "refunds": (_posted("'refund'", _WITH_DISCOUNT, _DEBITED), _posted("'suspense'", _PAYABLE, "debit")),
    "refunds_reversed": (
        _posted("'refund_reversal'", _WITH_DISCOUNT, _CREDITED),
        _posted("'suspense'", _PAYABLE, "credit"),
    ),
}
_POSTED = {
    "purchases": _posted("'origination'", "'principal_receivable'", _DEBITED),
    "discount": _posted("'origination'", "'deferred_merchant_discount'", _CREDITED),
    **{name: " + ".join(parts) for name, parts in _REFUNDS.items()},
    "discount_returned": f"IF(account = 'merchant_discount_income', {_DEBITED}, 0)",
    "payouts": _posted("'merchant_payout'", "'cash'", _CREDITED),
    "reassigned": _posted("'refund', 'refund_reversal'", "'suspense'", _CREDITED),
    "moved": f"IF(account = 'merchant_payable', {_CREDITED}, 0)",
}
"""Of entries of the ledger, in Spark SQL; `moved` is all but what is reassigned."""


@audit()
def movements_are_those_of_the_ledger(
    staged: DataFrame,
    ledger_entries: DataFrame,
    loans: DataFrame,
    transactions: DataFrame,
    all_loans: Lookup,
    all_transactions: Lookup,
) -> DataFrame:
    """By merchant and day, each movement is what the ledger's entries say of the merchant's loans and transactions.

    An entry of a loan is its merchant's. One of suspense, or of a payout, is of the merchant whom the transaction
    names. What leaves suspense was charged to the merchant whom its transaction had named when it came.
    """
    entries = ledger_entries.where(
        "account = 'merchant_payable' OR kind IN ('origination', 'merchant_payout', 'refund', 'refund_reversal') OR "
        "(account = 'merchant_discount_income' AND transaction_id IS NOT NULL)"
    )
    of_loans = entries.where("kind NOT IN ('suspense', 'merchant_payout')")
    of_no_loan = entries.where("kind IN ('suspense', 'merchant_payout')")
    taken_up = of_loans.where("account = 'suspense'")
    of_loan, named_by = ("loan_id", "booked_on", "merchant_id"), ("transaction_id", "loan_id", "merchant_id")
    named_on_the_day = ("transaction_id", "posted_on", "merchant_id")
    booked_before = all_loans(of_loans.where("kind <> 'origination'").select("loan_id")).select(*of_loan)
    merchants = _merchants_of(loans.select(*of_loan).unionByName(booked_before))
    came_before = all_transactions(taken_up.select("transaction_id")).select(*named_by)
    amounts = [F.expr(amount).alias(f"posted_{name}") for name, amount in _POSTED.items()]
    given_back = F.expr(_DEBITED).alias("posted_reassigned")
    posted = (
        of_loans.join(merchants, "loan_id", "left").select(*_named("posted_on"), *amounts),
        # By the day, too: long after it was used, an id may come again.
        of_no_loan.join(transactions.select(*named_on_the_day), [*named_on_the_day[:2]], "left").select(
            *_named("posted_on"), *amounts
        ),
        taken_up.join(came_before, [*named_by[:2]], "left").select(*_named("posted_on"), given_back),
    )
    moved = staged.select(*_KEY, *_MOVED, F.expr(f"{_NET} - reassigned").alias("moved"))
    same = " AND ".join(f"{name} = posted_{name}" for name in _POSTED)
    return _added_up(reduce(with_nulls, posted, moved), *_KEY).withColumn("ok", F.expr(same))


def _added_up(rows: DataFrame, *by: str) -> DataFrame:
    """What has no row counts as 0."""
    amounts = (name for name in rows.columns if name not in by)
    return rows.groupBy(*by).agg(*(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in amounts))


@dataset(
    MerchantSettlement,
    partitions=Daily("as_of"),
    inputs={
        "all_loans": through("loans", by="loan_id"),
        "all_transactions": through("transactions", by="transaction_id"),
    },
    carry=Carry({"opening": "closing"}),
    audits=[movements_add_up, totals_equal_the_ledger, movements_are_those_of_the_ledger],
    owner="team:finance",
    freshness="06:30 next business day",
    sums=("purchases", "refunds", "payouts", "closing"),
)
def merchant_settlements(
    loans: DataFrame,
    transactions: DataFrame,
    payment_applications: DataFrame,
    suspense: DataFrame,
    all_loans: Lookup,
    previous_partition: DataFrame,
    window: Window,
) -> DataFrame:
    """What merchants are owed by merchant and day: purchases, refunds, payouts, carried on from the day before.

    A refund is of the merchant of its loan, whatever it names itself. Only where its loan is not booked yet, it is of
    the merchant whom it names; when the loan takes it up, it is reassigned.
    """
    carried = previous_partition.where("closing <> 0").select(
        "merchant_id", F.lit(window.first).alias("as_of"), F.col("closing").alias("carried")
    )
    moved = (
        _of_purchases(loans),
        _of_applications(payment_applications, all_loans),
        _of_transactions(transactions),
        _of_taken_up(suspense),
    )
    by_day = _added_up(reduce(with_nulls, moved, carried), *_KEY)
    days = (
        by_day.groupBy("merchant_id")
        .agg(F.min("as_of").alias("first"))
        .withColumn("as_of", F.explode(F.sequence("first", F.lit(window.last), F.expr("INTERVAL 1 DAY"))))
    )
    rows = days.select(*_KEY).join(by_day, [*_KEY], "left").na.fill(0, ["carried", *_MOVED])
    # Typed as what it adds to: a sum then has ten digits to spare.
    net = F.expr(f"CAST(carried + {_NET} AS decimal(18,2))")
    closing = F.sum(net).over(Over.partitionBy("merchant_id").orderBy("as_of"))
    balanced = rows.withColumn("closing", closing).withColumn("opening", F.expr(f"closing - {_NET}"))
    money = (name for name in MerchantSettlement.model_fields if name not in _KEY)
    return balanced.where(f"opening <> 0 OR {_IS_ANY_MOVED}").select(
        *_KEY, *(F.col(name).cast("decimal(18,2)").alias(name) for name in money)
    )


def _of_purchases(loans: DataFrame) -> DataFrame:
    return loans.select(
        "merchant_id",
        F.col("booked_on").alias("as_of"),
        F.col("principal").alias("purchases"),
        F.col("merchant_discount").alias("discount"),
    )


def _of_applications(payment_applications: DataFrame, all_loans: Lookup) -> DataFrame:
    """Refunds of booked loans. One from suspense was charged to the merchant whom it names, and is its loan's now."""
    refunds = payment_applications.where(f"{IS_REFUND} OR discount_returned <> 0")
    return refunds.join(_merchants_of(all_loans(refunds.select("loan_id"))), "loan_id", "left").select(
        *_named("posted_on"),
        F.expr("IF(kind = 'refund' AND NOT is_from_suspense, amount, 0)").alias("refunds"),
        F.expr("IF(kind = 'refund_reversal' AND NOT is_from_suspense, amount, 0)").alias("refunds_reversed"),
        "discount_returned",
        F.expr(f"IF({IS_REFUND} AND is_from_suspense, -({SIGNED_AMOUNT}), 0)").alias("reassigned"),
    )


def _of_transactions(transactions: DataFrame) -> DataFrame:
    """Payouts, and refunds that wait for their loan in suspense."""
    of_no_loan = transactions.where(F.col("product") == NO_PRODUCT)
    return of_no_loan.where(f"kind = 'merchant_payout' OR {IS_REFUND}").select(
        *_named("posted_on"),
        F.expr("IF(kind = 'refund', amount, 0)").alias("refunds"),
        F.expr("IF(kind = 'refund_reversal', amount, 0)").alias("refunds_reversed"),
        F.expr("IF(kind = 'merchant_payout', amount, 0)").alias("payouts"),
    )


def _of_taken_up(suspense: DataFrame) -> DataFrame:
    """Refunds whose loan is booked: no longer of the merchant whom they name."""
    return suspense.where(f"taken_up_on IS NOT NULL AND {IS_REFUND}").select(
        *_named("as_of"), signed_amount().alias("reassigned")
    )


def _merchants_of(loans: DataFrame) -> DataFrame:
    """An id booked twice beyond the look-back counts from its first day."""
    return loans.groupBy("loan_id").agg(F.min_by("merchant_id", "booked_on").alias("merchant_id"))


def _named(day: str) -> list[Column]:
    """The key of what moved a merchant on a day."""
    return [F.coalesce("merchant_id", F.lit(NO_MERCHANT)).alias("merchant_id"), F.col(day).alias("as_of")]
