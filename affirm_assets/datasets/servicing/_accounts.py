"""The accounts that a window moves, one row for each loan, and the rules of affirm_assets.lender.finance run over them.

An account is taken over from the balances of the day before the window, or opened where its loan is booked in it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from functools import partial
from typing import Any, Protocol

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from affirm_assets.declare import Contract, Input, Lookup, Window, previous, through
from affirm_assets.declare.contract import spark_schema
from affirm_assets.lender.finance.account import EARLY_REVERSAL_DAYS, NEED_EVENTS, Account
from affirm_assets.lender.finance.days import DAYS_KEPT_SETTLED, applications, keeps_row
from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.products import PRODUCTS
from affirm_assets.lender.vocabulary import NO_PRODUCT, REVERSALS

PAST: Mapping[str, Input] = {
    "recent_transactions": previous(EARLY_REVERSAL_DAYS, "transactions"),
    "all_loans": through("loans", by="loan_id"),
    "all_transactions": through("transactions", by="loan_id"),
    "all_adjustments": through("adjustments", by="loan_id"),
}
"""What an account is made of beside the window's own loans, transactions, adjustments and suspense, and the balances
before it."""

LOAN = ("loan_id", "product", "booked_on")
TERMS = (
    "originated_on",
    "first_due_on",
    "frequency",
    "instalments",
    "apr",
    "amount_lent",
    "merchant_discount",
    "instalment",
    "due_day",
    "effective_rate",
)
STATE = (
    "as_of",
    "principal",
    "interest",
    "credit",
    "accrued",
    "paid",
    "shortage",
    "refunded",
    "discount_returned",
    "last_instalment",
    "highest_days_past_due",
    "charge_off_by",
    "charge_off_cause",
    "reaged_on",
    "charged_off_on",
    "charged_off_principal",
    "charged_off_interest",
    "recovered_principal",
    "recovered_interest",
    "waived_principal",
    "waived_interest",
    "nonaccrual_since",
    "cost_recovered",
    "deferred_discount",
    "settled_on",
    "credit_since",
    "unapplied",
)
"""What a day takes over of a loan from the day before, beside LOAN and TERMS."""

IS_CARRIED = "(opening_last_instalment > 0 OR principal_lent > 0)"
"""Spark SQL: whether a balance opens as the day before closed, or with its loan. Otherwise the rows of its settled loan
had ended: it opens with nothing, and closes with what the loan's history makes it."""

_MOVEMENT = ("transaction_id", "kind", "amount", "posted_on", "effective_on", "reverses")
_KEPT = ("loan_id", *_MOVEMENT, "came_on", "is_from_suspense")

# Of so many loans, which is nearly always enough, the past is looked up by ids that are known: they are computed once.
_MOST_IDS = 2_000

ROWS_IN_BATCH = 20_000

Names = Sequence[str]
Row = tuple[Any, ...]
Loan = Mapping[str, Any]
"""A row of `accounts`."""


class RowsOf(Protocol):
    """The rows of an account up to a day. is_new: the account was just opened."""

    def __call__(
        self, account: Account, last: date, movements: list[Movement], /, *, is_new: bool
    ) -> Iterable[Row]: ...


class BatchesOf(Protocol):
    """The rows of the window, as batches of the schema, of batches of `accounts`."""

    def __call__(
        self, batches: Iterator[pa.RecordBatch], /, *, window: Window, schema: pa.Schema
    ) -> Iterator[pa.RecordBatch]: ...


def movements(transactions: DataFrame, suspense: DataFrame, adjustments: DataFrame) -> DataFrame:
    """The window's movements on loans: their transactions, and what was decided about them."""
    decided = _as_transactions(adjustments).withColumn("came_on", F.col("posted_on"))
    return transactions_of_loans(transactions, suspense).unionByName(
        decided.withColumn("is_from_suspense", F.lit(False)).select(*_KEPT)
    )


def transactions_of_loans(transactions: DataFrame, suspense: DataFrame) -> DataFrame:
    """What came for a booked loan, and what waited for one that is booked now."""
    direct = transactions.where(F.col("product") != NO_PRODUCT).withColumn("is_from_suspense", F.lit(False))
    taken_up = suspense.where("taken_up_on IS NOT NULL").withColumn("is_from_suspense", F.lit(True))
    return (
        direct.withColumn("came_on", F.col("posted_on"))
        .select(*_KEPT)
        .unionByName(
            taken_up.withColumn("came_on", F.col("waiting_since"))
            .withColumn("posted_on", F.col("taken_up_on"))
            .select(*_KEPT)
        )
    )


def _as_transactions(adjustments: DataFrame) -> DataFrame:
    """Adjustments by the names of transactions. No transaction's id has a slash in it."""
    return adjustments.select(
        F.concat(F.lit("adjustment/"), "adjustment_id").alias("transaction_id"),
        "loan_id",
        "kind",
        F.coalesce("amount", F.lit(0)).cast("decimal(18,2)").alias("amount"),
        "posted_on",
        "effective_on",
        F.col("transaction_id").alias("reverses"),
    )


def accounts(
    moved: DataFrame,
    loans: DataFrame,
    opening_balances: DataFrame,
    recent_transactions: DataFrame,
    all_loans: Lookup,
    all_transactions: Lookup,
    all_adjustments: Lookup,
    window: Window,
) -> DataFrame:
    """One row for each loan with a row in the window: its terms, its state on the day before, `moved` and `earlier`.

    The state is null for a loan that is booked in the window, and for a settled one whose daily rows had ended.
    `earlier`, what moved before the window, is read only where `needs_earlier` says that something depends on it.
    """
    by_loan = _by_loan(moved, recent_transactions)
    known = _carried(opening_balances).unionByName(_with_terms(loans), allowMissingColumns=True)
    known = known.join(by_loan, "loan_id", "left")
    ended = by_loan.join(known.select("loan_id"), "loan_id", "left_anti")
    needs_earlier = known.where("as_of IS NOT NULL AND needs_earlier").select("loan_id")
    loan_ids = _known_if_few(needs_earlier.unionByName(ended.select("loan_id")))
    columns = ["loan_id", *_MOVEMENT]
    before = F.col("posted_on") < F.lit(window.first)
    moved_before = (
        all_transactions(loan_ids)
        .where(before)
        .select(columns)
        .unionByName(_as_transactions(all_adjustments(loan_ids).where(before)).select(columns))
    )
    loans_before = all_loans(loan_ids).where(F.col("booked_on") < F.lit(window.first))
    earlier = moved_before.groupBy("loan_id").agg(_collected(_MOVEMENT).alias("earlier"))
    resumed = ended.join(_with_terms(loans_before), "loan_id")
    return known.unionByName(resumed, allowMissingColumns=True).join(earlier, "loan_id", "left")


def run(
    accounts: DataFrame, window: Window, batches_of: BatchesOf, *, contract: type[Contract], columns: Names
) -> DataFrame:
    """The rows that `batches_of` makes of the accounts: these columns, typed as the contract.

    Runs in Arrow batches, side by side in as many tasks as a shuffle has.
    """
    tasks = int(accounts.sparkSession.conf.get("spark.sql.shuffle.partitions") or 1)
    typed = spark_schema(contract)
    schema = T.StructType([typed[name] for name in columns])
    work = partial(batches_of, window=window, schema=to_arrow_schema(schema))
    return accounts.repartition(tasks, "loan_id").mapInArrow(work, schema)


def one_by_one(
    batches: Iterator[pa.RecordBatch], *, window: Window, schema: pa.Schema, rows_of: RowsOf, of_loan: Names
) -> Iterator[pa.RecordBatch]:
    """The rows that `rows_of` makes of each account, the loan's columns `of_loan` before them."""
    rows: list[Row] = []
    for batch in batches:
        for loan in batch.to_pylist():
            rows += rows_of_loan(loan, window, rows_of, of_loan)
            if len(rows) >= ROWS_IN_BATCH:
                yield batch_of(rows, schema)
                rows = []
    yield batch_of(rows, schema)


def rows_of_loan(loan: Loan, window: Window, rows_of: RowsOf, of_loan: Names) -> Iterator[Row]:
    account, movements = opened(loan, window)
    prefix = loan_columns(loan, account.terms, of_loan)
    for row in rows_of(account, window.last, movements, is_new=is_new(loan, window)):
        yield (*prefix, *row)


def is_new(loan: Loan, window: Window) -> bool:
    """Whether the loan is booked in the window."""
    return bool(loan["booked_on"] >= window.first)


def opened(loan: Loan, window: Window) -> tuple[Account, list[Movement]]:
    """The account as the window begins, or on a later day to which it was taken, and what moves it after that."""
    terms = _terms(loan)
    movements = (Movement(**each) for each in loan["moved"] or ())
    return _account(loan, terms, window), [
        each for each in movements if loan["as_of"] is None or each.posted_on > loan["as_of"]
    ]


def loan_columns(loan: Loan, terms: Terms, names: Names) -> Row:
    """Columns of the loan and its terms; what the contract does not state, as the terms have it."""
    due_day = terms.due_day if terms.frequency == "monthly" else None
    known = {**loan, "instalment": terms.instalment, "due_day": due_day, "effective_rate": terms.effective_rate}
    return tuple(known[name] for name in names)


def batch_of(rows: Sequence[Row], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(*rows, strict=True) if rows else [()] * len(schema)
    return pa.RecordBatch.from_arrays(
        [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
    )


def _carried(opening_balances: DataFrame) -> DataFrame:
    """The accounts that are taken over from the day before the window: all but those whose daily rows have ended."""
    return opening_balances.where(
        f"charged_off_on IS NOT NULL OR settled_on IS NULL OR as_of < date_add(settled_on, {DAYS_KEPT_SETTLED})"
    ).select(*LOAN, *TERMS, *STATE)


def _by_loan(moved: DataFrame, recent_transactions: DataFrame) -> DataFrame:
    """The window's movements of each loan that has any, and whether what they do depends on earlier ones."""
    depends_on_earlier = _depends_on_earlier() | F.col("was_reversed_before")
    return (
        moved.join(F.broadcast(_reversed_before(recent_transactions)), "transaction_id", "left")
        .groupBy("loan_id")
        .agg(_collected((*_MOVEMENT, "came_on")).alias("moved"), F.bool_or(depends_on_earlier).alias("needs_earlier"))
    )


def _known_if_few(loan_ids: DataFrame) -> DataFrame | Sequence[str]:
    """The ids themselves, or of many the frame."""
    ids = [row.loan_id for row in loan_ids.limit(_MOST_IDS + 1).collect()]
    return loan_ids if len(ids) > _MOST_IDS else ids


def _reversed_before(recent_transactions: DataFrame) -> DataFrame:
    """What the reversals that may still wait for what they reverse when the window begins are of."""
    reversals = recent_transactions.where(F.col("kind").isin(*REVERSALS))
    of = reversals.select(F.col("reverses").alias("transaction_id")).distinct()
    return of.withColumn("was_reversed_before", F.lit(True))


def _depends_on_earlier() -> Column:
    """Account.needs_events for Spark, which is to read the past before there is an account to ask."""
    is_late = (F.col("kind") != "credit_refund") & (F.col("effective_on") < F.col("posted_on"))
    return F.col("kind").isin(*NEED_EVENTS) | is_late


def _collected(names: Iterable[str]) -> Any:
    return F.collect_list(F.struct(*names))


def _with_terms(loans: DataFrame) -> DataFrame:
    """Loans as balances name their terms; what the contract does not state is null."""
    named = {"amount_lent": F.col("principal"), "effective_rate": F.lit(None).cast("decimal(18,8)")}
    return loans.withColumns(named).select(*LOAN, *TERMS)


_FIELD = {"amount_lent": "principal"}


def _terms(loan: Loan) -> Terms:
    agreed = {_FIELD.get(name, name): loan[name] for name in TERMS}
    return Terms.agreed(**agreed, rules=PRODUCTS[loan["product"]].rules)


def _account(loan: Loan, terms: Terms, window: Window) -> Account:
    """The account on the day before the window, or just opened if the loan is booked in it."""
    yesterday = window.first - timedelta(days=1)
    if loan["booked_on"] > yesterday:
        return Account.opened(terms, loan["booked_on"])
    if loan["as_of"] is None:
        return _replayed(loan, terms, yesterday)
    account = Account(
        terms, loan["as_of"], loan["booked_on"], **{name: loan[name] for name in STATE if name != "as_of"}
    )
    if loan["needs_earlier"]:
        replayed = _replayed(loan, terms, yesterday)
        _check_same(account, replayed, loan["loan_id"])
        account.events = replayed.events
    return account


def _check_same(account: Account, replayed: Account, loan_id: str) -> None:
    """Raises ValueError if they differ: what they differ by would be posted as if today's movement had made it."""
    pairs = {name: (getattr(account, name), getattr(replayed, name)) for name in STATE if name != "as_of"}
    if differs := [f"{name} {balance} and not {made}" for name, (balance, made) in pairs.items() if balance != made]:
        raise ValueError(
            f"loan {loan_id}: expected the balance of {account.day} to be what the loan's transactions make; "
            f"found {', '.join(differs)}. A transaction, the loan or a rule has changed since: run the balances from "
            "that day."
        )


def _replayed(loan: Loan, terms: Terms, last: date) -> Account:
    """The account as all that moved it up to a day has left it."""
    booked_on = loan["booked_on"]
    account = Account.opened(terms, booked_on)
    earlier = [
        Movement(**{**each, "posted_on": max(each["posted_on"], booked_on), "came_on": each["posted_on"]})
        for each in loan["earlier"] or ()
    ]
    for _ in applications(account, last, earlier, is_new=True):
        pass
    account.go_to(last)
    account.close()
    # The last row of a settled loan is carried on to no other day.
    if loan["as_of"] is None and keeps_row(account, last + timedelta(days=1)):
        raise ValueError(
            f"loan {loan['loan_id']}: expected a balance on {last}, since it is {account.status} and was not settled "
            f"{DAYS_KEPT_SETTLED} days before; found none. Run the balances from {booked_on}."
        )
    return account
