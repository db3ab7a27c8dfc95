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
from tests.datasets.lender import DAY, MADE_OF, MOVED_BY, WINDOW, Row, books, changed, day, frame, not_ok, row
from tests.storage import Keep

OPENS, NEXT_DAY_OPENS = audits_of(trial_balance)

ACCOUNTS = AccountBalance.model_fields["account"].annotation.__args__  # type: ignore[union-attr]
DAY_OF = {"loans": "booked_on", "transactions": "posted_on", "payment_applications": "posted_on"}
SUBLEDGERS = ("loan_balances", "suspense", *MOVED_BY)
HISTORIES = dict(zip(("all_loans", "all_transactions", "all_applications", "all_provisions"), MOVED_BY, strict=True))
CARRIED = {
    "cash",
    "correction_expense",
    "goodwill_expense",
    "merchant_discount_income",
    "merchant_payable",
    "provision_expense",
    "unapplied",
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
def staged(entries: DataFrame, given: dict[str, DataFrame], nothing: DataFrame, keep: Keep) -> DataFrame:
    return keep(trial_balance(entries, *moved_by(given, WINDOW), nothing, WINDOW))


def of_days(rows: DataFrame, name: str, window: Window) -> DataFrame:
    return rows.where(F.col(DAY_OF.get(name, "as_of")).between(F.lit(window.first), F.lit(window.last)))


def moved_by(given: dict[str, DataFrame], window: Window) -> list[DataFrame]:
    return [of_days(given[name], name, window) for name in MOVED_BY]


def made(entries: DataFrame, given: dict[str, DataFrame], carried: DataFrame, window: Window) -> DataFrame:
    """The balances of the window, of entries of all days."""
    posted = entries.where(F.col("posted_on").between(F.lit(window.first), F.lit(window.last)))
    return trial_balance(posted, *moved_by(given, window), carried, window)


def rows(balances: DataFrame) -> list[tuple[Any, ...]]:
    return sorted(tuple(each) for each in balances.select(list(AccountBalance.model_fields)).collect())


def entry(account: str, posted_on: date, debit: str, credit: str) -> Row:
    return row(LedgerEntry, posting_id="P", account=account, posted_on=posted_on, debit=debit, credit=credit)


def test_each_account_has_each_day(spark: SparkSession, given: dict[str, DataFrame]) -> None:
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
    balances = trial_balance(
        frame(spark, LedgerEntry, posted),
        *(given[name].where("false") for name in MOVED_BY),
        frame(spark, AccountBalance, before),
        Window(DAY, DAY + timedelta(days=2)),
    )
    assert column_differences(AccountBalance, balances.schema) == []
    found = {
        (each.account, each.as_of): tuple(map(str, (each.opening, each.debits, each.credits, each.closing)))
        for each in balances.collect()
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


def test_a_range_is_its_days_one_by_one(
    spark: SparkSession, entries: DataFrame, given: dict[str, DataFrame], staged: DataFrame, keep: Keep
) -> None:
    window = Window(day("03-01"), day("03-07"))
    carried = keep(staged.where("as_of = DATE'2025-02-28'"))
    found: list[tuple[Any, ...]] = []
    for number in range(7):
        each = window.first + timedelta(days=number)
        of_day = rows(made(entries, given, carried, Window(each, each)))
        found += of_day
        carried = spark.createDataFrame(of_day, spark_schema(AccountBalance))
    assert sorted(found) == rows(staged.where("as_of BETWEEN DATE'2025-03-01' AND DATE'2025-03-07'"))


def test_a_range_in_the_middle_goes_on(entries: DataFrame, given: dict[str, DataFrame], staged: DataFrame) -> None:
    """Ranges that follow each other give what one range does."""
    carried = staged.where("as_of = DATE'2025-02-28'")
    found = made(entries, given, carried, Window(day("03-01"), WINDOW.last))
    assert rows(found) == rows(staged.where("as_of >= DATE'2025-03-01'"))


def tied(
    staged: DataFrame,
    given: dict[str, DataFrame],
    window: Window = WINDOW,
    *,
    carried: DataFrame | None = None,
    **over: DataFrame,
) -> DataFrame:
    """The audit of the window. carried: the balances of the day before, from which it goes on; None: it proves."""
    subledgers = {name: of_days(given[name], name, window) for name in SUBLEDGERS}
    histories = {name: given[of] if carried is None else given[of].where("false") for name, of in HISTORIES.items()}
    return ties_to_subledgers.function(
        staged,
        **{**subledgers, **histories, **over},
        previous_partition=staged.where("false") if carried is None else carried,
        proves="a month ends" if carried is None else None,
        window=window,
    )


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
    entries: DataFrame, given: dict[str, DataFrame], staged: DataFrame, nothing: DataFrame
) -> None:
    window = Window(day("03-05"), day("03-06"))
    opened = made(entries, given, nothing, window)
    carried = staged.where("as_of = DATE'2025-03-04'")
    open_accounts = carried.where("closing <> 0").count()
    assert not_ok(OPENS.function(opened, carried, window)) == open_accounts > 5


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
    dataset = HISTORIES.get(name, name)
    of = given[dataset]
    row = of.where(wrong).first()
    assert row is not None
    failed = tied(staged, given, **{name: of.unionByName(of.where(wrong))}).where("NOT ok").collect()
    assert {each.account for each in failed} == accounts
    since = row[DAY_OF.get(dataset, "as_of")]
    days = {each.as_of for each in failed}
    assert min(days) == since
    # A balance that is added up from the first day on stays wrong.
    assert len(days) == ((WINDOW.last - since).days + 1 if name.startswith("all_") else 1)


@pytest.mark.parametrize(
    ("name", "wrong", "accounts"),
    [
        ("transactions", "transaction_id = 'P1'", {"cash"}),
        ("transactions", "transaction_id = 'M1'", {"cash", "merchant_payable"}),
        ("payment_applications", "transaction_id = 'P8'", {"merchant_payable", "merchant_discount_income"}),
        ("loans", "loan_id = 'LATE'", {"merchant_payable", "merchant_discount_income"}),
        ("provisions", "product = 'installment' AND as_of = DATE'2025-04-30'", {"provision_expense", "allowance"}),
    ],
    ids=["a payment", "a payout", "a discount", "a price", "a provision"],
)
def test_a_row_of_the_day_that_the_ledger_does_not_have_is_found_on_the_day(
    staged: DataFrame, given: dict[str, DataFrame], name: str, wrong: str, accounts: set[str]
) -> None:
    """Where the day goes on from what the day before closed with, and reads nothing before it."""
    row = given[name].where(wrong).first()
    assert row is not None
    since = row[DAY_OF.get(name, "as_of")]
    window = Window(since, since)
    of_day, before = (staged.where(F.col("as_of") == F.lit(since - timedelta(days=back))) for back in (0, 1))
    assert not_ok(tied(of_day, given, window, carried=before)) == 0
    of = of_days(given[name], name, window)
    failed = tied(of_day, given, window, carried=before, **{name: of.unionByName(of.where(wrong))}).where("NOT ok")
    # An application's discount is in the loan's balance, too.
    assert {each.account for each in failed.collect()} >= accounts


def test_days_that_go_on_from_the_day_before_tie_and_tell_where_it_was_wrong(
    staged: DataFrame, given: dict[str, DataFrame]
) -> None:
    window = Window(day("03-05"), day("03-09"))
    in_window, before = of_days(staged, "trial_balance", window), staged.where("as_of = DATE'2025-03-04'")
    assert not_ok(tied(in_window, given, window, carried=before)) == 0
    wrong = changed(before, "account = 'cash'", moved_closing="moved_closing + 0.01")
    failed = tied(in_window, given, window, carried=wrong).where("NOT ok").collect()
    assert {each.account for each in failed} == {"cash"}
    assert len(failed) == 5


def test_what_was_carried_wrongly_is_found_by_the_whole_history(staged: DataFrame, given: dict[str, DataFrame]) -> None:
    """The ledger and what is carried beside it are wrong alike, since a day that had the mistake."""
    window = Window(day("03-31"), day("03-31"))
    wrong = changed(
        of_days(staged, "trial_balance", Window(day("03-30"), day("03-31"))),
        "account = 'cash'",
        **{name: f"{name} + 0.01" for name in ("opening", "closing", "moved_opening", "moved_closing")},
    )
    of_day, before = (wrong.where(F.col("as_of") == F.lit(day(text))) for text in ("03-31", "03-30"))
    assert not_ok(tied(of_day, given, window, carried=before)) == 0
    failed = tied(of_day, given, window).where("NOT ok").collect()
    assert {each.account for each in failed} == {"cash"}


def test_what_no_subledger_keeps_is_carried_beside_the_ledger(staged: DataFrame) -> None:
    assert {
        each.account for each in staged.where("moved_closing IS NOT NULL").select("account").distinct().collect()
    } == (CARRIED)
    differing = staged.where("moved_closing <> closing").select("account").distinct().collect()
    assert {each.account for each in differing} == {"merchant_discount_income"}, "which loans' balances defer, too"


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
    assert not_ok(tied(staged.where(of_day), given, window)) == 0
    of = given[HISTORIES[name]]
    failed = tied(staged.where(of_day), given, window, **{name: of.unionByName(of.where(wrong))}).where("NOT ok")
    assert {each.account for each in failed.collect()} == accounts


def test_a_day_that_the_ledger_does_not_have_is_found(staged: DataFrame, given: dict[str, DataFrame]) -> None:
    failed = tied(staged.where(f"NOT {ON_A_DAY}"), given).where("NOT ok").collect()
    assert {str(each.as_of) for each in failed} == {"2025-03-05"}
