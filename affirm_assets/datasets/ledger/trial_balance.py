"""The balance of each account of the ledger, day by day."""

from collections.abc import Iterable, Mapping
from datetime import date
from functools import reduce

from pyspark.sql import DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from affirm_assets.datasets.ledger._amounts_by_account import EXPENSES_OF_ADJUSTMENTS, added_up, by_account
from affirm_assets.datasets.ledger._days import days_of
from affirm_assets.declare import Carry, Contract, Daily, Money, Window, audit, column, dataset, key, to_prove
from affirm_assets.lender.deferred_income import (
    DEFERRED_DISCOUNT,
    UNEARNED_INTEREST_MOVED,
    UNRECOGNIZED_INTEREST,
    UNRECOGNIZED_INTEREST_MOVED,
)
from affirm_assets.lender.money import CASH, MERCHANTS_OWED_LESS
from affirm_assets.lender.unions import with_nulls
from affirm_assets.lender.vocabulary import LEDGER_ACCOUNTS, LedgerAccount


class AccountBalance(Contract):
    """An account at the end of a business date. Balances are signed: what debits raise is positive.

    Of some accounts no subledger keeps a balance. What loans, transactions, applications and provisions have moved
    these by is added up from the first day on, beside the ledger and without it, and carried from day to day.
    """

    account: LedgerAccount = key("Account; each has a row each day")
    as_of: date = key("Business date")
    opening: Money = column("Balance at the end of the day before")
    debits: Money = column("Sum of the day's debits", ge=0)
    credits: Money = column("Sum of the day's credits", ge=0)
    closing: Money = column("Balance at the end of the day: opening + debits - credits")
    moved_opening: Money | None = column("What subledgers had moved it by, all days before; none where they keep it")
    moved_closing: Money | None = column("What subledgers have moved it by, this day included; none where they keep it")


@audit()
def sums_to_zero(staged: DataFrame) -> DataFrame:
    """Each day has every account, and their balances add up to 0, both as it opens and as it closes."""
    days = staged.groupBy("as_of").agg(
        F.count(F.lit(1)).alias("accounts"), F.sum("opening").alias("opening"), F.sum("closing").alias("closing")
    )
    return days.withColumn("ok", F.expr(f"accounts = {len(LEDGER_ACCOUNTS)} AND opening = 0 AND closing = 0"))


@audit()
def entries_add_up(
    staged: DataFrame, ledger_entries: DataFrame, previous_partition: DataFrame, window: Window
) -> DataFrame:
    """Each account closes with what was carried into the window and all its entries since; a day's sums are of its own.

    That a day opens as the one before closed is what another audit says.
    """
    by = ["as_of", "account"]
    posted = ledger_entries.groupBy("posted_on", "account").agg(
        F.sum("debit").alias("debit"), F.sum("credit").alias("credit")
    )
    since = days_of(window, staged).join(posted, F.col("posted_on") <= F.col("as_of"))
    entries = since.groupBy(*by).agg(
        F.sum(F.col("debit") - F.col("credit")).alias("entered"),
        F.sum(F.when(F.col("posted_on") == F.col("as_of"), F.col("debit"))).alias("entered_debits"),
        F.sum(F.when(F.col("posted_on") == F.col("as_of"), F.col("credit"))).alias("entered_credits"),
    )
    carried = previous_partition.select("account", F.col("closing").alias("carried"))
    expected = ["carried", "entered", "entered_debits", "entered_credits"]
    # A full join: an account that has entries and no row is not ok.
    return (
        staged.join(entries, by, "full")
        .join(carried, "account", "left")
        .na.fill(0, expected)
        .select(
            *by,
            *expected,
            "debits",
            "credits",
            "closing",
            F.expr("closing = carried + entered AND debits = entered_debits AND credits = entered_credits").alias("ok"),
        )
    )


_OF_BALANCES = {
    "principal_receivable": "sum(principal)",
    "interest_receivable": "sum(interest)",
    "credit_balances": "-sum(credit)",
    "deferred_merchant_discount": f"-sum({DEFERRED_DISCOUNT})",
    "unrecognized_interest": f"-sum({UNRECOGNIZED_INTEREST})",
    # All discounts less what is deferred of them, and what of a charge-off they lower.
    "merchant_discount_income": "sum(CAST(round(deferred_discount, 2) AS decimal(18,2)))",
}
_OF_SUSPENSE = {"suspense": "-sum(closing)"}
_OF_PROVISIONS = {"allowance": "-sum(closing)"}

# Of these accounts no subledger keeps a balance from day to day: what moved them is carried on, from the first day.
_OF_LOANS = {
    "merchant_payable": "sum(merchant_discount) - sum(principal)",
    "merchant_discount_income": "-sum(merchant_discount)",
}
_OF_TRANSACTIONS = {
    "cash": f"sum({CASH})",
    "merchant_payable": f"sum({MERCHANTS_OWED_LESS})",
}
_OF_APPLICATIONS = {
    "merchant_payable": "-sum(discount_returned)",
    "merchant_discount_income": "sum(discount_returned)",
    "unapplied": "-sum(unapplied)",
    **{account: EXPENSES_OF_ADJUSTMENTS[account] for account in ("goodwill_expense", "correction_expense")},
}
_PROVIDED = {"provision_expense": "sum(provision)"}
_CARRIED = sorted({*_OF_LOANS, *_OF_TRANSACTIONS, *_OF_APPLICATIONS, *_PROVIDED})

# Loans end, and no row says what they have earned or what was waived: of these, what a day moves.
_MOVED = {
    "interest_income": "sum(interest_given_back) + sum(interest_charged_off) + sum(interest_waived) "
    "- sum(interest_accrued) - sum(recovery_interest) "
    f"+ sum({UNRECOGNIZED_INTEREST_MOVED}) + sum({UNEARNED_INTEREST_MOVED})",
    "waiver_expense": "sum(principal_waived)",
}
_MOVED_BY_WAIVERS = {"waiver_expense": EXPENSES_OF_ADJUSTMENTS["waiver_expense"]}


@audit()
def ties_to_subledgers(
    staged: DataFrame,
    loan_balances: DataFrame,
    suspense: DataFrame,
    loans: DataFrame,
    transactions: DataFrame,
    payment_applications: DataFrame,
    provisions: DataFrame,
    previous_partition: DataFrame,
    all_loans: DataFrame,
    all_transactions: DataFrame,
    all_applications: DataFrame,
    all_provisions: DataFrame,
    proves: str | None,
    window: Window,
) -> DataFrame:
    """Each balance is what loans, suspense, transactions and provisions say, and what income and waivers move by.

    Nothing here is computed from the ledger's entries. Of an account of which no subledger keeps a balance, it is what
    they had moved it by the day before, and the day's own. All days are added up anew, and compared with what was
    carried, at each month's end, and where a day before was published or changed since the day before was computed. A
    difference then means: an earlier day was corrected, but the ledger was not run again for it.
    """
    moved = (
        _moved(all_loans, all_transactions, all_applications, all_provisions)
        if proves
        else _moved(loans, transactions, payment_applications, provisions).unionByName(
            previous_partition.where("moved_closing IS NOT NULL").select(
                "as_of", "account", F.col("moved_closing").cast("decimal(28,2)").alias("amount")
            )
        )
    )
    so_far = _so_far(moved, days_of(window, staged))
    kept = (
        _daily(loan_balances, "as_of", {**_OF_BALANCES, **_MOVED})
        .unionByName(_daily(payment_applications, "posted_on", _MOVED_BY_WAIVERS))
        .unionByName(_daily(suspense, "as_of", _OF_SUSPENSE))
        .unionByName(_daily(provisions, "as_of", _OF_PROVISIONS))
    )
    compared = (
        kept.withColumnRenamed("amount", "in_subledgers"),
        so_far.select("as_of", "account", F.col("amount").alias("in_subledgers"), F.col("amount").alias("moved")),
        _in_ledger(staged),
    )
    amounts = ("in_ledger", "in_subledgers", "carried", "moved")
    ok = f"in_ledger = in_subledgers AND carried = moved AND carries = (account IN ({_listed(_CARRIED)}))"
    return (
        reduce(with_nulls, compared)
        .groupBy("as_of", "account")
        .agg(
            *(F.coalesce(F.sum(name), F.lit(0)).alias(name) for name in amounts),
            F.expr("count(carried) > 0").alias("carries"),
        )
        .withColumn("ok", F.expr(ok))
        .drop("carries")
    )


def _moved(
    loans: DataFrame, transactions: DataFrame, payment_applications: DataFrame, provisions: DataFrame
) -> DataFrame:
    """By day and account, what the rows of subledgers move it by where they keep no balance of it."""
    return (
        _daily(loans, "booked_on", _OF_LOANS)
        .unionByName(_daily(transactions, "posted_on", _OF_TRANSACTIONS))
        .unionByName(_daily(payment_applications, "posted_on", _OF_APPLICATIONS))
        .unionByName(_daily(provisions, "as_of", _PROVIDED))
    )


def _so_far(moved: DataFrame, days: DataFrame) -> DataFrame:
    """For each day, all that moved the accounts up to it."""
    return days.join(moved.withColumnRenamed("as_of", "moved_on"), F.col("moved_on") <= F.col("as_of")).drop("moved_on")


def _in_ledger(staged: DataFrame) -> DataFrame:
    moved = F.col("closing") - F.col("opening")
    in_ledger = F.when(F.col("account").isin(*_MOVED), moved).otherwise(F.col("closing"))
    return staged.select("as_of", "account", in_ledger.alias("in_ledger"), F.col("moved_closing").alias("carried"))


def _listed(accounts: Iterable[str]) -> str:
    return ", ".join(f"'{account}'" for account in accounts)


def _daily(source: DataFrame, day: str, totals: Mapping[str, str]) -> DataFrame:
    return added_up(source.withColumnRenamed(day, "as_of"), ["as_of"], by_account(totals))


@dataset(
    AccountBalance,
    partitions=Daily("as_of"),
    inputs={
        "all_loans": to_prove("loans"),
        "all_transactions": to_prove("transactions"),
        "all_applications": to_prove("payment_applications"),
        "all_provisions": to_prove("provisions"),
    },
    carry=Carry({"opening": "closing", "moved_opening": "moved_closing"}),
    audits=[sums_to_zero, entries_add_up, ties_to_subledgers],
    owner="team:finance",
    freshness="06:15 next business day",
)
def trial_balance(
    ledger_entries: DataFrame,
    loans: DataFrame,
    transactions: DataFrame,
    payment_applications: DataFrame,
    provisions: DataFrame,
    previous_partition: DataFrame,
    window: Window,
) -> DataFrame:
    """Opening, debits, credits and closing of every account by day, carried on from the day before the window.

    Beside them, of what no subledger keeps a balance, all that subledgers have moved it by.
    """
    entered = ledger_entries.groupBy(F.col("posted_on").alias("as_of"), "account").agg(
        F.sum("debit").alias("debits"), F.sum("credit").alias("credits")
    )
    moved = (
        _moved(loans, transactions, payment_applications, provisions)
        .groupBy("as_of", "account")
        .agg(F.sum("amount").cast("decimal(18,2)").alias("moved"))
    )
    carried = previous_partition.select(
        "account", F.col("closing").alias("carried"), F.col("moved_closing").alias("moved_before")
    )
    by_account = Over.partitionBy("account").orderBy("as_of")
    # Typed as what it adds to: a sum then has ten digits to spare.
    net = (F.col("debits") - F.col("credits")).cast("decimal(18,2)")
    so_far, moved_so_far = F.sum(net).over(by_account), F.sum("moved").over(by_account)
    is_carried = F.col("account").isin(*_CARRIED)
    amounts = {
        "opening": F.col("carried") + so_far - net,
        "debits": F.col("debits"),
        "credits": F.col("credits"),
        "closing": F.col("carried") + so_far,
        "moved_opening": F.when(is_carried, F.col("moved_before") + moved_so_far - F.col("moved")),
        "moved_closing": F.when(is_carried, F.col("moved_before") + moved_so_far),
    }
    return (
        _every_account_and_day(ledger_entries, window)
        .join(entered, ["account", "as_of"], "left")
        .join(moved, ["account", "as_of"], "left")
        .join(carried, "account", "left")
        .na.fill(0)
        .select("account", "as_of", *(amount.cast("decimal(18,2)").alias(name) for name, amount in amounts.items()))
    )


def _every_account_and_day(ledger_entries: DataFrame, window: Window) -> DataFrame:
    accounts = F.array(*(F.lit(account) for account in LEDGER_ACCOUNTS))
    return days_of(window, ledger_entries).select("as_of", F.explode(accounts).alias("account"))
