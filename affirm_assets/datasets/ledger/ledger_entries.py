"""The ledger: what moved in the books, as postings of which each balances."""

from datetime import date
from functools import reduce

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from affirm_assets.datasets.ledger._amounts_by_account import EXPENSES_OF_ADJUSTMENTS, added_up, by_account
from affirm_assets.declare import Contract, Daily, Money, audit, column, dataset, key
from affirm_assets.lender.deferred_income import (
    DEFERRED_DISCOUNT_MOVED,
    UNEARNED_DISCOUNT_MOVED,
    UNEARNED_INTEREST_MOVED,
    UNRECOGNIZED_INTEREST_MOVED,
)
from affirm_assets.lender.money import CASH, IS_ADJUSTMENT, IS_REFUND, MERCHANTS_OWED_LESS, SIGNED_AMOUNT
from affirm_assets.lender.unions import with_nulls
from affirm_assets.lender.vocabulary import NO_PRODUCT, LedgerAccount, PostingKind, ProductOrNone


class LedgerEntry(Contract):
    """A debit or credit of one account. The entries of a posting belong together, and balance."""

    posting_id: str = key(
        "Posting: its kind, and the transaction, the loan, or the loan or product and the day, that it is of"
    )
    entry: int = key("Its place in the posting, counted from 1", ge=1)
    posted_on: date = column("Business date on which the books count it")
    kind: PostingKind = column("What the posting is of; suspense: cash that came before its loan was booked")
    account: LedgerAccount = column("Account")
    debit: Money = column("Amount if it is a debit, or 0", ge=0)
    credit: Money = column("Amount if it is a credit, or 0", ge=0)
    loan_id: str | None = column("Loan; none for a payout or a provision")
    transaction_id: str | None = column("Transaction; none for what only the balances say")
    product: ProductOrNone = column(
        "Product of the loan or provision; none for a payout, and for cash that came before its loan was booked"
    )


@audit()
def every_posting_balances(staged: DataFrame) -> DataFrame:
    """The debits of each posting equal its credits, to the cent, and each entry is one of the two."""
    of_posting = staged.groupBy("posting_id", "posted_on").agg(
        F.sum("debit").alias("debits"),
        F.sum("credit").alias("credits"),
        F.count_if(F.expr("(debit > 0) = (credit > 0)")).alias("entries_on_both_sides_or_none"),
    )
    return of_posting.withColumn("ok", F.expr("debits = credits AND entries_on_both_sides_or_none = 0"))


_LENT = "IF(principal_lent > 0, merchant_discount, 0)"
_DISCOUNT_LEAVES = f"({_LENT} - {DEFERRED_DISCOUNT_MOVED})"
"""What leaves the deferred discount of a loan's day, of what it opened with and what was lent."""
_OF_BALANCES = {
    "origination": {
        "principal_receivable": "sum(principal_lent)",
        "merchant_payable": f"sum({_LENT}) - sum(principal_lent)",
        "deferred_merchant_discount": f"-sum({_LENT})",
    },
    "accrual": {"interest_receivable": "sum(interest_accrued)", "interest_income": "-sum(interest_accrued)"},
    "charge_off": {
        "allowance": "sum(principal_charged_off)",
        "principal_receivable": "-sum(principal_charged_off)",
        "interest_income": "sum(interest_charged_off)",
        "interest_receivable": "-sum(interest_charged_off)",
    },
    "small_balance": {
        "waiver_expense": "sum(principal_waived)",
        "principal_receivable": "-sum(principal_waived)",
        "interest_income": "sum(interest_waived)",
        "interest_receivable": "-sum(interest_waived)",
    },
    "discount_earned": {
        "deferred_merchant_discount": f"sum({_LENT}) - sum({DEFERRED_DISCOUNT_MOVED})",
        "allowance": f"-sum({UNEARNED_DISCOUNT_MOVED})",
        "merchant_discount_income": f"sum({DEFERRED_DISCOUNT_MOVED}) + sum({UNEARNED_DISCOUNT_MOVED}) - sum({_LENT})",
    },
    "nonaccrual": {
        "unrecognized_interest": f"-sum({UNRECOGNIZED_INTEREST_MOVED})",
        "allowance": f"-sum({UNEARNED_INTEREST_MOVED})",
        "interest_income": f"sum({UNRECOGNIZED_INTEREST_MOVED}) + sum({UNEARNED_INTEREST_MOVED})",
    },
}
_OF_PROVISIONS = {"provision_expense": "sum(provision)", "allowance": "-sum(provision)"}
_OF_APPLICATIONS = {
    "cash": f"sum(IF(is_from_suspense OR {IS_REFUND} OR {IS_ADJUSTMENT}, 0, {SIGNED_AMOUNT}))",
    "suspense": f"sum(IF(is_from_suspense, {SIGNED_AMOUNT}, 0))",
    "merchant_payable": f"sum(IF({IS_REFUND} AND NOT is_from_suspense, {SIGNED_AMOUNT}, 0)) - sum(discount_returned)",
    "merchant_discount_income": "sum(discount_returned)",
    "interest_receivable": "-sum(interest) - sum(interest_given_back)",
    "interest_income": "sum(interest_given_back) - sum(recovery_interest)",
    **EXPENSES_OF_ADJUSTMENTS,
    "principal_receivable": "-sum(principal)",
    "credit_balances": "-sum(credit)",
    "allowance": "-sum(recovery_principal)",
    "unapplied": "-sum(unapplied)",
}
_OF_TRANSACTIONS = {
    "cash": f"sum({CASH})",
    "merchant_payable": f"sum({MERCHANTS_OWED_LESS})",
    "suspense": f"-sum(IF(kind = 'merchant_payout', 0, {SIGNED_AMOUNT}))",
}


@audit()
def every_movement_is_posted(
    staged: DataFrame,
    loan_balances: DataFrame,
    payment_applications: DataFrame,
    transactions: DataFrame,
    provisions: DataFrame,
) -> DataFrame:
    """By day, product, kind and account, the entries are what balances, applications, transactions, provisions move."""
    by = ["posted_on", "product"]
    expected = [
        added_up(
            loan_balances.withColumnRenamed("as_of", "posted_on"),
            by,
            (
                ({"kind": kind, "account": account}, total)
                for kind, totals in _OF_BALANCES.items()
                for account, total in totals.items()
            ),
        ),
        added_up(
            provisions.withColumn("kind", F.lit("provision")).withColumnRenamed("as_of", "posted_on"),
            [*by, "kind"],
            by_account(_OF_PROVISIONS),
        ),
        added_up(payment_applications, [*by, "kind"], by_account(_OF_APPLICATIONS)),
        added_up(
            transactions.where(F.col("product") == NO_PRODUCT).withColumn(
                "posting", F.expr("IF(kind = 'merchant_payout', kind, 'suspense')")
            ),
            [*by, "posting"],
            by_account(_OF_TRANSACTIONS),
        ).withColumnRenamed("posting", "kind"),
    ]
    posted = staged.select(*by, "kind", "account", F.expr("debit - credit").alias("posted"))
    # Added up side by side and not joined: a total that only one side has is compared with 0.
    return (
        with_nulls(reduce(DataFrame.unionByName, expected).withColumnRenamed("amount", "expected"), posted)
        .groupBy(*by, "kind", "account")
        .agg(*(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in ("expected", "posted")))
        .withColumn("ok", F.col("expected") == F.col("posted"))
    )


@audit()
def every_transaction_is_posted(staged: DataFrame, transactions: DataFrame) -> DataFrame:
    """Each transaction moves its amount, of cash or of what merchants are owed, on its day; no other entry moves cash.

    A refund lowers what its merchant is owed by less than its amount: the rest is discount, which is income no more.
    """
    posted = staged.where("account IN ('cash', 'merchant_payable', 'merchant_discount_income')").select(
        "posted_on",
        "transaction_id",
        F.expr("IF(account = 'cash', debit - credit, 0)").alias("cash"),
        F.expr("IF(account = 'cash' OR transaction_id IS NULL, 0, debit - credit)").alias("merchant"),
    )
    expected = transactions.select(
        "posted_on",
        "transaction_id",
        F.expr(CASH).alias("expected_cash"),
        F.expr(MERCHANTS_OWED_LESS).alias("expected_merchant"),
    )
    amounts = ("cash", "merchant", "expected_cash", "expected_merchant")
    return (
        with_nulls(expected, posted)
        .groupBy("posted_on", "transaction_id")
        .agg(*(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in amounts))
        .withColumn("ok", F.expr("cash = expected_cash AND merchant = expected_merchant"))
    )


@dataset(
    LedgerEntry,
    partitions=Daily("posted_on"),
    audits=[every_posting_balances, every_movement_is_posted, every_transaction_is_posted],
    owner="team:finance",
    compute="medium",
    freshness="06:15 next business day",
)
def ledger_entries(
    loan_balances: DataFrame, payment_applications: DataFrame, transactions: DataFrame, provisions: DataFrame
) -> DataFrame:
    """Double-entry postings of what was lent, accrued, received, given back, paid out, charged off, provided, by day.

    A transaction on a loan is posted on the day on which it is applied; one that came before its loan is booked is
    posted to suspense on the day on which it came, and from there when its loan takes it up.
    """
    of_loans = with_nulls(_of_balances(loan_balances), _of_applications(payment_applications))
    postings = with_nulls(of_loans.unionByName(_of_transactions(transactions)), _of_provisions(provisions))
    entries = F.posexplode(F.filter("entries", lambda entry: entry.amount != 0)).alias("position", "moved")
    return postings.select(*(name for name in postings.columns if name != "entries"), entries).select(
        "posting_id",
        (F.col("position") + 1).cast("long").alias("entry"),
        "posted_on",
        "kind",
        "moved.account",
        F.greatest("moved.amount", F.lit(0)).cast("decimal(18,2)").alias("debit"),
        F.greatest(-F.col("moved.amount"), F.lit(0)).cast("decimal(18,2)").alias("credit"),
        "loan_id",
        "transaction_id",
        "product",
    )


def _of_balances(loan_balances: DataFrame) -> DataFrame:
    """What a loan's day makes by itself. One reading of the rows gives all kinds: they are many."""
    postings = [
        _posting(
            "origination",
            "principal_lent > 0",
            _entry("principal_receivable", "principal_lent"),
            _entry("merchant_payable", "merchant_discount - principal_lent"),
            _entry("deferred_merchant_discount", "-merchant_discount"),
        ),
        _posting(
            "accrual",
            "interest_accrued > 0",
            _entry("interest_receivable", "interest_accrued"),
            _entry("interest_income", "-interest_accrued"),
        ),
        # US GAAP, ASC 326-20-35-8: a charge-off is deducted from the allowance. Accrued interest that is not collected
        # is reversed against income (ASC 326-20-35-8A).
        _posting(
            "charge_off",
            "principal_charged_off <> 0 OR interest_charged_off <> 0",
            _entry("allowance", "principal_charged_off"),
            _entry("principal_receivable", "-principal_charged_off"),
            _entry("interest_income", "interest_charged_off"),
            _entry("interest_receivable", "-interest_charged_off"),
        ),
        _posting(
            "small_balance",
            "principal_waived <> 0 OR interest_waived <> 0",
            _entry("waiver_expense", "principal_waived"),
            _entry("principal_receivable", "-principal_waived"),
            _entry("interest_income", "interest_waived"),
            _entry("interest_receivable", "-interest_waived"),
        ),
        # What is deferred is what the balances say at the end of the day: the rest of it has become income.
        _posting(
            "discount_earned",
            f"{_DISCOUNT_LEAVES} <> 0 OR {UNEARNED_DISCOUNT_MOVED} <> 0",
            _entry("deferred_merchant_discount", _DISCOUNT_LEAVES),
            # A charge-off is of what the loan stands at in the books: the discount that is deferred is no loss.
            _entry("allowance", f"-{UNEARNED_DISCOUNT_MOVED}"),
            _entry("merchant_discount_income", f"{UNEARNED_DISCOUNT_MOVED} - {_DISCOUNT_LEAVES}"),
        ),
        _posting(
            "nonaccrual",
            f"{UNRECOGNIZED_INTEREST_MOVED} <> 0 OR {UNEARNED_INTEREST_MOVED} <> 0",
            _entry("interest_income", f"{UNRECOGNIZED_INTEREST_MOVED} + {UNEARNED_INTEREST_MOVED}"),
            _entry("unrecognized_interest", f"-{UNRECOGNIZED_INTEREST_MOVED}"),
            _entry("allowance", f"-{UNEARNED_INTEREST_MOVED}"),
        ),
    ]
    made = F.inline(F.array_compact(F.array(*postings)))
    return loan_balances.select("loan_id", F.col("as_of").alias("posted_on"), "product", made)


def _posting(kind: str, where: str, *entries: Column) -> Column:
    """A posting of a loan's day, or null. A loan is lent once, so its origination needs no day."""
    day = [] if kind == "origination" else [F.col("as_of").cast("string")]
    posting_id = F.concat_ws("/", F.lit(kind), "loan_id", *day)
    posting = F.struct(posting_id.alias("posting_id"), F.lit(kind).alias("kind"), F.array(*entries).alias("entries"))
    return F.when(F.expr(where), posting)


def _of_applications(payment_applications: DataFrame) -> DataFrame:
    """What became of the money of a transaction on a loan, and what pays for an adjustment.

    The money is the transaction's or adjustment's own amount, and not what was applied of it: a posting of which a part
    is missing does not balance. The merchant pays a refund by being owed less.
    """
    source = F.expr(
        f"CASE WHEN is_from_suspense THEN 'suspense' WHEN {IS_REFUND} THEN 'merchant_payable' "
        "WHEN kind = 'goodwill_credit' THEN 'goodwill_expense' WHEN kind = 'waiver' THEN 'waiver_expense' "
        "WHEN kind IN ('correction', 'clear_unapplied') THEN 'correction_expense' ELSE 'cash' END"
    )
    paid_for = (
        "CASE WHEN exception IS NOT NULL THEN 0 WHEN kind IN ('goodwill_credit', 'waiver', 'correction') THEN amount "
        "WHEN kind = 'clear_unapplied' AND unapplied > 0 THEN amount ELSE 0 END"
    )
    entries = F.array(
        _entry(source, f"IF({IS_ADJUSTMENT}, {paid_for}, {SIGNED_AMOUNT})"),
        _entry("interest_receivable", "-interest"),
        _entry("principal_receivable", "-principal"),
        _entry("credit_balances", "-credit"),
        # US GAAP, ASC 326-20-35-8: a recovery is recorded in the allowance when it is received. Of interest, nothing
        # was debited to the allowance: what comes back of it is the income that it was reversed against.
        _entry("allowance", "-recovery_principal"),
        _entry("interest_income", "-recovery_interest"),
        _entry("unapplied", "-unapplied"),
        # A movement of its own: it stays apart from the interest that the money paid or took back.
        _entry("interest_income", "interest_given_back"),
        _entry("interest_receivable", "-interest_given_back"),
        _entry("merchant_discount_income", "discount_returned"),
        _entry("merchant_payable", "-discount_returned"),
    )
    posting_id = F.concat_ws("/", "kind", "transaction_id").alias("posting_id")
    return payment_applications.select(
        posting_id, "posted_on", "kind", "loan_id", "transaction_id", "product", entries.alias("entries")
    )


def _of_transactions(transactions: DataFrame) -> DataFrame:
    """What belongs to no loan that is booked: payouts to merchants, and cash that waits for its loan in suspense."""
    kind = F.when(F.col("kind") == "merchant_payout", F.col("kind")).otherwise("suspense")
    entries = F.array(
        _entry(F.expr(f"IF({IS_REFUND}, 'merchant_payable', 'cash')"), SIGNED_AMOUNT),
        _entry(F.expr("IF(kind = 'merchant_payout', 'merchant_payable', 'suspense')"), f"-({SIGNED_AMOUNT})"),
    )
    return transactions.where(F.col("product") == NO_PRODUCT).select(
        F.concat_ws("/", kind, "transaction_id").alias("posting_id"),
        "posted_on",
        kind.alias("kind"),
        "loan_id",
        "transaction_id",
        "product",
        entries.alias("entries"),
    )


def _of_provisions(provisions: DataFrame) -> DataFrame:
    """What brings a product's allowance to its expected losses (ASC 326-20-35-1); a release goes the other way."""
    entries = F.array(_entry("provision_expense", "provision"), _entry("allowance", "-provision"))
    kind = F.lit("provision")
    return provisions.where("provision <> 0").select(
        F.concat_ws("/", kind, "product", F.col("as_of").cast("string")).alias("posting_id"),
        F.col("as_of").alias("posted_on"),
        kind.alias("kind"),
        "product",
        entries.alias("entries"),
    )


def _entry(account: str | Column, amount: str) -> Column:
    """An entry before its side is known: a debit is positive, a credit negative, and 0 is none."""
    return F.struct(F.lit(account).alias("account"), F.expr(amount).cast("decimal(18,2)").alias("amount"))
