"""The trial balance: as the entries say, in one range or day by day; tied to the subledgers by audits that fail."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.audits.carry import audits_of
from affirm_assets.datasets.ledger.ledger_entries import LedgerEntry, ledger_entries
from affirm_assets.datasets.ledger.trial_balance import (
    AccountBalance,
    entries_add_up,
    sums_to_zero,
    ties_to_subledgers,
    trial_balance,
)
from affirm_assets.declare.contract import column_differences, spark_schema
from affirm_assets.declare.partitions import Window
from tests.datasets.lender import DAY, MADE_OF, WINDOW, Row, books, changed, day, frame, not_ok, row
from tests.storage import Keep

OPENS, NEXT_DAY_OPENS = audits_of(trial_balance)

ACCOUNTS = AccountBalance.model_fields["account"].annotation.__args__  # type: ignore[union-attr]
SUBLEDGERS = {
    "loan_balances": "loan_balances",
    "suspense": "suspense",
    "provisions": "provisions",
    "all_loans": "loans",
    "all_transactions": "transactions",
    "all_applications": "payment_applications",
    "all_provisions": "provisions",
}


@pytest.fixture(scope="module")
def given(spark: SparkSession, keep: Keep) -> dict[str, DataFrame]:
    return books(spark, keep)


@pytest.fixture(scope="module")
def entries(given: dict[str, DataFrame], keep: Keep) -> DataFrame:
    return keep(ledger_entries(*(given[name] for name in MADE_OF)))


@pytest.fixture(scope="module")
def nothing(spark: SparkSession) -> DataFrame:
    return frame(spark, AccountBalance, [])


@pytest.fixture(scope="module")
def staged(entries: DataFrame, nothing: DataFrame, keep: Keep) -> DataFrame:
    return keep(trial_balance(entries, nothing, WINDOW))


def rows(balances: DataFrame) -> list[tuple[Any, ...]]:
    return sorted(tuple(each) for each in balances.select(list(AccountBalance.model_fields)).collect())


def entry(account: str, posted_on: date, debit: str, credit: str) -> Row:
    return row(LedgerEntry, posting_id="P", account=account, posted_on=posted_on, debit=debit, credit=credit)


def test_each_account_has_each_day(spark: SparkSession) -> None:
    """Cash opens with what was carried, moves twice on the second day of three; the rest moves once or not at all."""
    second = DAY + timedelta(days=1)
    posted = [
        entry("cash", second, "10.00", "0"),
        entry("cash", second, "0", "2.50"),
        entry("suspense", second, "0", "7.50"),
    ]
    before = [
        row(AccountBalance, account="cash", closing="100.00"),
        row(AccountBalance, account="allowance", closing="-100.00"),
    ]
    made = trial_balance(
        frame(spark, LedgerEntry, posted),
        frame(spark, AccountBalance, before),
        Window(DAY, DAY + timedelta(days=2)),
    )
    assert column_differences(AccountBalance, made.schema) == []
    found = {
        (each.account, each.as_of): tuple(map(str, (each.opening, each.debits, each.credits, each.closing)))
        for each in made.collect()
    }
    moved = {
        "cash": [
            ("100.00", "0.00", "0.00", "100.00"),
            ("100.00", "10.00", "2.50", "107.50"),
            ("107.50", "0.00", "0.00", "107.50"),
        ],
        "suspense": [
            ("0.00", "0.00", "0.00", "0.00"),
            ("0.00", "0.00", "7.50", "-7.50"),
            ("-7.50", "0.00", "0.00", "-7.50"),
        ],
        "allowance": [("-100.00", "0.00", "0.00", "-100.00")] * 3,
    }
    quiet = [("0.00", "0.00", "0.00", "0.00")] * 3
    assert found == {
        (account, DAY + timedelta(days=number)): moved.get(account, quiet)[number]
        for account in ACCOUNTS
        for number in range(3)
    }


def test_a_range_is_its_days_one_by_one(spark: SparkSession, entries: DataFrame, staged: DataFrame, keep: Keep) -> None:
    window = Window(day("03-01"), day("03-07"))
    carried = keep(staged.where("as_of = DATE'2025-02-28'"))
    found: list[tuple[Any, ...]] = []
    for number in range(7):
        each = window.first + timedelta(days=number)
        of_day = rows(trial_balance(entries.where(F.col("posted_on") == F.lit(each)), carried, Window(each, each)))
        found += of_day
        carried = spark.createDataFrame(of_day, spark_schema(AccountBalance))
    assert sorted(found) == rows(staged.where("as_of BETWEEN DATE'2025-03-01' AND DATE'2025-03-07'"))


def test_a_range_in_the_middle_goes_on(entries: DataFrame, staged: DataFrame) -> None:
    """Ranges that follow each other give what one range does."""
    last = WINDOW.last
    found = trial_balance(
        entries.where("posted_on >= DATE'2025-03-01'"),
        staged.where("as_of = DATE'2025-02-28'"),
        Window(day("03-01"), last),
    )
    assert rows(found) == rows(staged.where("as_of >= DATE'2025-03-01'"))


def tied(staged: DataFrame, given: dict[str, DataFrame], window: Window = WINDOW, **over: DataFrame) -> DataFrame:
    subledgers = {name: given[dataset] for name, dataset in SUBLEDGERS.items()}
    return ties_to_subledgers.function(staged, **{**subledgers, **over}, window=window)


def test_audits_pass(staged: DataFrame, entries: DataFrame, given: dict[str, DataFrame], nothing: DataFrame) -> None:
    assert not_ok(sums_to_zero.function(staged)) == 0
    assert not_ok(entries_add_up.function(staged, entries, nothing, WINDOW)) == 0
    assert not_ok(OPENS.function(staged, nothing, WINDOW)) == 0
    assert not_ok(NEXT_DAY_OPENS.function(staged, nothing, WINDOW, None)) == 0
    assert not_ok(tied(staged, given)) == 0


def test_every_account_is_tied(staged: DataFrame, given: dict[str, DataFrame]) -> None:
    audited = tied(staged, given)
    assert {each.account for each in audited.where("in_subledgers <> 0").select("account").distinct().collect()} == set(
        ACCOUNTS
    )
    assert audited.count() == staged.count() == len(ACCOUNTS) * 201


ON_A_DAY = "as_of = DATE'2025-03-05'"


@pytest.mark.parametrize("name", ["opening", "closing"])
def test_a_day_that_does_not_sum_to_zero_is_found(staged: DataFrame, name: str) -> None:
    wrong = changed(staged, f"{ON_A_DAY} AND account = 'unapplied'", **{name: f"{name} + 0.01"})
    assert not_ok(sums_to_zero.function(wrong)) == 1


def test_a_day_without_one_of_its_accounts_is_found(staged: DataFrame) -> None:
    """Nothing had been unapplied by then, so the sums do not tell."""
    assert not_ok(sums_to_zero.function(staged.where(f"NOT ({ON_A_DAY} AND account = 'unapplied')"))) == 1


@pytest.mark.parametrize("name", ["debits", "credits", "closing"])
def test_a_balance_that_is_not_its_entries_is_found(
    staged: DataFrame, entries: DataFrame, nothing: DataFrame, name: str
) -> None:
    wrong = changed(staged, f"{ON_A_DAY} AND account = 'cash'", **{name: f"{name} + 0.01"})
    assert not_ok(entries_add_up.function(wrong, entries, nothing, WINDOW)) == 1


def test_a_range_in_the_middle_closes_with_what_was_carried_and_its_entries(
    staged: DataFrame, entries: DataFrame, nothing: DataFrame
) -> None:
    window = Window(day("03-05"), day("03-06"))
    in_window, posted = (
        each.where(F.col(name).between(F.lit(window.first), F.lit(window.last)))
        for each, name in ((staged, "as_of"), (entries, "posted_on"))
    )
    carried = staged.where("as_of = DATE'2025-03-04'")
    assert not_ok(entries_add_up.function(in_window, posted, carried, window)) == 0
    missing = posted.where("posting_id <> 'payment/P6'")
    # Cash, interest and principal of both days.
    assert not_ok(entries_add_up.function(in_window, missing, carried, window)) == 6
    assert not_ok(entries_add_up.function(in_window, posted, nothing, window)) > 6


def test_a_day_that_opens_otherwise_than_the_day_before_closed_is_found(staged: DataFrame, nothing: DataFrame) -> None:
    wrong = changed(staged, f"{ON_A_DAY} AND account = 'cash'", opening="opening - 0.01", closing="closing - 0.01")
    # The day itself, and the one after it.
    assert not_ok(OPENS.function(wrong, nothing, WINDOW)) == 2


def test_a_range_that_opens_with_nothing_carried_is_found(
    entries: DataFrame, staged: DataFrame, nothing: DataFrame
) -> None:
    window = Window(day("03-05"), day("03-06"))
    made = trial_balance(entries.where("posted_on BETWEEN DATE'2025-03-05' AND DATE'2025-03-06'"), nothing, window)
    carried = staged.where("as_of = DATE'2025-03-04'")
    open_accounts = carried.where("closing <> 0").count()
    assert not_ok(OPENS.function(made, carried, window)) == open_accounts > 5


def test_a_next_day_that_opened_otherwise_is_found(staged: DataFrame) -> None:
    window = Window(day("03-05"), day("03-06"))
    after = staged.where("as_of > DATE'2025-03-06'")
    now = staged.where("as_of BETWEEN DATE'2025-03-05' AND DATE'2025-03-06'")
    assert not_ok(NEXT_DAY_OPENS.function(now, after, window, WINDOW.last)) == 0
    wrong = changed(now, "account = 'suspense'", closing="closing + 0.01")
    assert not_ok(NEXT_DAY_OPENS.function(wrong, after, window, WINDOW.last)) == 1


def test_accounts_that_are_a_cent_off_their_subledgers_are_found(
    staged: DataFrame, given: dict[str, DataFrame]
) -> None:
    """Each account on a day of its own."""
    wrong, planted = staged, []
    for number, account in enumerate(ACCOUNTS):
        as_of = DAY + timedelta(days=number)
        wrong = changed(wrong, f"account = '{account}' AND as_of = DATE'{as_of}'", closing="closing + 0.01")
        planted.append((account, as_of, Decimal("0.01")))
    failed = tied(wrong, given).where("NOT ok").collect()
    found = [(each.account, each.as_of, each.in_ledger - each.in_subledgers) for each in failed]
    assert sorted(found) == sorted(planted)


@pytest.mark.parametrize(
    ("name", "wrong", "accounts"),
    [
        (
            "loan_balances",
            "loan_id = 'LATE' AND as_of = DATE'2025-03-04'",
            {
                "principal_receivable",
                "interest_receivable",
                "interest_income",
                "deferred_merchant_discount",
                "merchant_discount_income",
            },
        ),
        ("loan_balances", "loan_id = 'REFUNDED' AND as_of = DATE'2025-03-05'", {"credit_balances"}),
        ("suspense", "transaction_id = 'W4' AND as_of = DATE'2025-06-01'", {"suspense"}),
        ("provisions", "product = 'installment' AND as_of = DATE'2025-07-20'", {"allowance"}),
        ("all_provisions", "product = 'installment' AND as_of = DATE'2025-04-30'", {"provision_expense"}),
        ("all_transactions", "transaction_id = 'P1'", {"cash"}),
        ("all_transactions", "transaction_id = 'M1'", {"cash", "merchant_payable"}),
        ("all_applications", "transaction_id = 'P8'", {"merchant_payable", "merchant_discount_income"}),
        ("all_loans", "loan_id = 'LATE'", {"merchant_payable", "merchant_discount_income"}),
    ],
    ids=[
        "a loan",
        "a credit balance",
        "waiting cash",
        "an allowance",
        "a provision",
        "a payment",
        "a payout",
        "a discount",
        "a price",
    ],
)
def test_a_subledger_row_that_the_ledger_does_not_have_is_found(
    staged: DataFrame, given: dict[str, DataFrame], name: str, wrong: str, accounts: set[str]
) -> None:
    of = given[SUBLEDGERS[name]]
    row = of.where(wrong).first()
    assert row is not None
    failed = tied(staged, given, **{name: of.unionByName(of.where(wrong))}).where("NOT ok").collect()
    assert {each.account for each in failed} == accounts
    days_of = {"all_loans": "booked_on", "all_transactions": "posted_on", "all_applications": "posted_on"}
    since = row[days_of.get(name, "as_of")]
    days = {each.as_of for each in failed}
    assert min(days) == since
    # A balance that is added up from the first day on stays wrong.
    assert len(days) == ((WINDOW.last - since).days + 1 if name.startswith("all_") else 1)


@pytest.mark.parametrize(
    ("name", "wrong", "accounts"),
    [
        ("all_transactions", "transaction_id = 'M1'", {"cash", "merchant_payable"}),
        ("all_applications", "transaction_id = 'P8'", {"merchant_payable", "merchant_discount_income"}),
        ("all_loans", "loan_id = 'LATE'", {"merchant_payable", "merchant_discount_income"}),
        ("all_provisions", "product = 'installment' AND as_of = DATE'2025-04-30'", {"provision_expense"}),
    ],
    ids=["a payout", "a discount", "a price", "a provision"],
)
def test_an_earlier_day_that_was_corrected_behind_the_ledger_is_found(
    staged: DataFrame, given: dict[str, DataFrame], name: str, wrong: str, accounts: set[str]
) -> None:
    window = Window(WINDOW.last, WINDOW.last)
    of_day = f"as_of = DATE'{WINDOW.last}'"
    given = {**given, **{each: given[each].where(of_day) for each in ("loan_balances", "suspense")}}
    over = {"provisions": given["provisions"].where(of_day)}
    assert not_ok(tied(staged.where(of_day), given, window, **over)) == 0
    of = given[SUBLEDGERS[name]]
    over[name] = of.unionByName(of.where(wrong))
    failed = tied(staged.where(of_day), given, window, **over).where("NOT ok")
    assert {each.account for each in failed.collect()} == accounts


def test_a_day_that_the_ledger_does_not_have_is_found(staged: DataFrame, given: dict[str, DataFrame]) -> None:
    failed = tied(staged.where(f"NOT {ON_A_DAY}"), given).where("NOT ok").collect()
    assert {str(each.as_of) for each in failed} == {"2025-03-05"}
