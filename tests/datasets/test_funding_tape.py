"""The funding tape: numbers computed by hand, and the months, loans and days that are not like the others."""

import re
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from affirm_assets.datasets.ledger.ledger_entries import ledger_entries
from affirm_assets.datasets.ledger.trial_balance import AccountBalance, trial_balance
from affirm_assets.datasets.loans.loan_schedules import ScheduledInstalment, loan_schedules
from affirm_assets.datasets.loans.loans import Loan
from affirm_assets.datasets.portfolio.funding_tape import (
    FundedLoan,
    ends_as_the_last_day,
    every_loan_is_there,
    funding_tape,
    movements_add_up,
    opens_as_the_day_before_closed,
    totals_equal_the_ledger,
    totals_equal_the_portfolio,
)
from affirm_assets.datasets.portfolio.portfolio_daily import portfolio_daily
from affirm_assets.datasets.servicing.loan_balances import LoanBalance
from affirm_assets.declare.contract import column_differences, personal_columns
from affirm_assets.declare.partitions import Window
from tests.datasets.lender import MADE_OF, MOVED_BY, WINDOW, Row, books, changed, frame, not_ok, row
from tests.storage import Keep

DOCS = Path(__file__).parents[2] / "docs" / "money.md"
IN_DOCS = {
    "lent": "principal_lent",
    "accrued": "interest_accrued",
    "paid, principal": "principal_paid",
    "paid, interest": "interest_paid",
    **{name.replace("_", " "): name for name in ("opening_principal", "opening_interest", "principal", "interest")},
}

JANUARY, FEBRUARY, JUNE, JULY = (date(2025, month, 1) for month in (1, 2, 6, 7))


@pytest.fixture(scope="module")
def given(spark: SparkSession, keep: Keep) -> dict[str, DataFrame]:
    """The small lender's books."""
    of = books(spark, keep)
    entries = ledger_entries(*(of[name] for name in MADE_OF))
    of["trial_balance"] = keep(
        trial_balance(entries, *(of[name] for name in MOVED_BY), frame(spark, AccountBalance, []), WINDOW)
    )
    of["portfolio_daily"] = keep(portfolio_daily(of["loan_balances"]))
    of["loan_schedules"] = keep(loan_schedules(of["loans"]))
    return of


@pytest.fixture(scope="module")
def tape(given: dict[str, DataFrame], keep: Keep) -> DataFrame:
    return keep(funding_tape(given["loan_balances"], given["loans"], given["loan_schedules"]))


@pytest.fixture(scope="module")
def rows(tape: DataFrame) -> Mapping[tuple[date, str], Row]:
    return {(each.month, each.loan_id): each.asDict() for each in tape.collect()}


def amounts(found: Row, *but: str) -> dict[str, str]:
    """The flows and balances of a row that are not zero."""
    of = [name for name, value in found.items() if isinstance(value, Decimal) and value and name not in TERMS]
    return {name: str(found[name]) for name in of if name not in but}


TERMS = ("instalment", "apr", "amount_lent", "merchant_discount", "next_due_amount", "amount_past_due", "payoff_amount")


def test_it_has_the_contract_s_columns_and_no_personal_one(tape: DataFrame) -> None:
    assert column_differences(FundedLoan, tape.schema) == []
    assert personal_columns(FundedLoan) == frozenset()
    assert not {"user_id", "borrower_email", "merchant_id"} & set(tape.columns)


def test_a_month_by_hand(rows: Mapping[tuple[date, str], Row]) -> None:
    """1,000.00 at 14.99 %, lent on 2025-01-02: 1000 x 0.1499 / 365 = 0.41068493 a day.

    January: 29 days, 11.90986. 2 February: 31 days, 12.73123: of the payment of 257.80, 12.73 is interest and 245.07
    principal. The 754.93 left accrue 0.31003838 a day: 26 days to the 28th, 8.06100. In all 20.79223, less the 11.91 of
    January: 8.88.
    """
    january, february = rows[JANUARY, "ON-TIME"], rows[FEBRUARY, "ON-TIME"]
    assert amounts(january) == {
        "principal_lent": "1000.00",
        "interest_accrued": "11.91",
        "principal": "1000.00",
        "interest": "11.91",
    }
    assert amounts(february) == {
        "opening_principal": "1000.00",
        "opening_interest": "11.91",
        "principal_paid": "245.07",
        "interest_paid": "12.73",
        "interest_accrued": "8.88",
        "principal": "754.93",
        "interest": "8.06",
    }
    assert (january["as_of"], february["as_of"]) == (date(2025, 1, 31), date(2025, 2, 28))
    assert (february["first_due_on"], february["matures_on"]) == (date(2025, 2, 2), date(2025, 5, 2))
    assert (february["status"], february["bucket"], february["next_due_on"]) == ("open", "current", date(2025, 3, 2))
    assert (february["instalments"], february["borrower_state"], february["apr"]) == (4, "CA", Decimal("14.990000"))


def test_the_example_of_the_docs(rows: Mapping[tuple[date, str], Row]) -> None:
    _, _, text = DOCS.read_text().partition("### The funding tape")
    header, *lines = [each.strip("|").split("|") for each in re.findall(r"^\| (?:month|\d{4}-\d\d) .*$", text, re.M)]
    assert len(lines) == 2
    for line in lines:
        month, *said = (each.strip() for each in line)
        found = rows[date.fromisoformat(f"{month}-01"), "ON-TIME"]
        assert said == [f"{found[IN_DOCS[each.strip()]]:,.2f}" for each in header[1:]]


def test_a_refund_takes_instalments_off_the_end_and_its_reversal_gives_them_back(
    rows: Mapping[tuple[date, str], Row],
) -> None:
    """400.00 at 0 %, four times 100.00: 133.33 come off, 33.33 of that are owed again; the 300.00 left are three times
    100.00.

    A tape says what stands at the end, and not what the contract said.
    """
    january = rows[JANUARY, "REFUNDED"]
    assert january["principal"] == Decimal("300.00")
    assert (january["instalments"], january["last_instalment"]) == (4, 3)
    assert january["matures_on"] == date(2025, 4, 9)


def test_a_loan_that_is_charged_off_stays_with_what_it_lost_and_what_comes_back(
    rows: Mapping[tuple[date, str], Row],
) -> None:
    """Nothing was paid of the instalment of 3 February: 120 days later is 3 June. In July 99.99 and 20.00 come back."""
    may, june, july = (rows[date(2025, month, 1), "NEVER-PAID"] for month in (5, 6, 7))
    assert (may["status"], may["bucket"], may["days_past_due"]) == ("open", "90-119", 117)
    assert (june["status"], june["bucket"], june["charged_off_on"]) == ("charged_off", "charged_off", date(2025, 6, 3))
    assert june["charge_off_cause"] == "days_past_due"
    assert (june["opening_principal"], june["principal_charged_off"], june["principal"]) == (
        *(Decimal("750.50"),) * 2,
        Decimal("0.00"),
    )
    charged_off = {each: str(june[f"charged_off_{each}"]) for each in ("principal", "interest")}
    assert amounts(july) == {
        "recovery_principal": "119.99",
        "recovered_principal": "119.99",
        **{f"charged_off_{name}": amount for name, amount in charged_off.items()},
    }
    assert july["payoff_amount"] == sum(map(Decimal, charged_off.values())) - Decimal("119.99")


def test_a_charge_off_for_another_cause_says_so(rows: Mapping[tuple[date, str], Row]) -> None:
    """60 days after the notice of 25 April."""
    june = rows[JUNE, "BOOKED-LATE"]
    assert (june["charged_off_on"], june["charge_off_cause"]) == (date(2025, 6, 24), "bankruptcy")
    assert rows[JULY, "CENTS-SHORT"]["charge_off_cause"] is None


def test_each_month_begins_where_the_one_before_ended(rows: Mapping[tuple[date, str], Row]) -> None:
    owed = ("principal", "interest", "credit")
    followed = 0
    for (month, loan_id), each in rows.items():
        if before := rows.get(((month - timedelta(days=1)).replace(day=1), loan_id)):
            assert [each[f"opening_{name}"] for name in owed] == [before[name] for name in owed]
            followed += 1
    assert followed == len(rows) - 6
    """All but each loan's first."""


# Days by hand


def day_of(loan_id: str, as_of: date, **over: Any) -> Row:
    fixed = {"product": "installment", "status": "open", "bucket": "current", "frequency": "monthly", **over}
    return row(
        LoanBalance,
        loan_id=loan_id,
        as_of=as_of,
        **{"booked_on": as_of, "originated_on": as_of, "last_instalment": 1, **fixed},
    )


def tape_of(spark: SparkSession, balances: Iterable[Row]) -> tuple[DataFrame, DataFrame]:
    """The tape of these balances, and them."""
    days = list(balances)
    loans = {each["loan_id"]: row(Loan, loan_id=each["loan_id"], borrower_state="CA") for each in days}
    due = [row(ScheduledInstalment, loan_id=loan_id, number=1) for loan_id in loans]
    made = frame(spark, LoanBalance, days)
    return funding_tape(made, frame(spark, Loan, loans.values()), frame(spark, ScheduledInstalment, due)), made


def month_of(spark: SparkSession, balances: Iterable[Row]) -> Row:
    [found] = tape_of(spark, balances)[0].collect()
    return found.asDict()


def test_a_loan_that_is_booked_and_settled_within_a_month_opens_and_closes_with_nothing(spark: SparkSession) -> None:
    gone = {"status": "repaid", "settled_on": date(2025, 1, 4), "booked_on": date(2025, 1, 3)}
    found = month_of(
        spark,
        [
            day_of("QUICK", date(2025, 1, 3), principal_lent="80.00", principal="80.00"),
            day_of("QUICK", date(2025, 1, 4), opening_principal="80.00", principal_paid="80.00", **gone),
            *(day_of("QUICK", date(2025, 1, day), **gone) for day in range(5, 32)),
        ],
    )
    assert amounts(found) == {"principal_lent": "80.00", "principal_paid": "80.00"}
    assert (found["status"], found["settled_on"], found["as_of"]) == ("repaid", date(2025, 1, 4), date(2025, 1, 31))


def ended(day: date, **over: Any) -> Row:
    """Settled 180 days before 10 January; the daily rows end then."""
    return day_of("ENDED", day, status="repaid", settled_on=date(2024, 7, 14), **over)


def test_a_settled_loan_whose_daily_rows_end_in_the_month_is_there_with_nothing_owed(spark: SparkSession) -> None:
    tape, balances = tape_of(
        spark,
        [
            *(ended(date(2025, 1, number)) for number in range(1, 11)),
            *(
                day_of("OPEN", date(2025, 1, number), opening_principal="5.00", principal="5.00")
                for number in range(1, 32)
            ),
        ],
    )
    found = {each.loan_id: each.asDict() for each in tape.collect()}
    assert (found["ENDED"]["as_of"], found["OPEN"]["as_of"]) == (date(2025, 1, 10), date(2025, 1, 31))
    assert amounts(found["ENDED"]) == {}
    assert not_ok(ends_as_the_last_day.function(tape, balances)) == 0
    assert not_ok(every_loan_is_there.function(tape, balances)) == 0
    # Without it, or with something owed, it is not.
    assert not_ok(every_loan_is_there.function(tape.where("loan_id = 'OPEN'"), balances)) == 1
    owes = changed(tape, "loan_id = 'ENDED'", credit="0.01")
    assert not_ok(ends_as_the_last_day.function(owes, balances)) == 1


def test_a_late_row_on_a_loan_whose_rows_had_ended_is_a_movement_of_its_month(spark: SparkSession) -> None:
    """A payment of 2024 is reversed on 20 January: 30.00 are owed again, and the loan has rows from then on."""
    back = [
        day_of("ENDED", date(2025, 1, number), opening_principal="30.00", principal="30.00") for number in range(21, 32)
    ]
    found = month_of(
        spark,
        [
            *(ended(date(2025, 1, number)) for number in range(1, 11)),
            day_of("ENDED", date(2025, 1, 20), principal_reversed="30.00", principal="30.00"),
            *back,
        ],
    )
    assert amounts(found) == {"principal_reversed": "30.00", "principal": "30.00"}
    assert (found["status"], found["settled_on"]) == ("open", None)


def test_a_charge_off_that_is_undone_is_a_negative_movement(spark: SparkSession) -> None:
    lost = {"status": "charged_off", "bucket": "charged_off", "charged_off_on": date(2025, 1, 31)}
    found = month_of(
        spark,
        [
            day_of("UNDONE", date(2025, 2, 1), charged_off_principal="50.00", **lost),
            day_of("UNDONE", date(2025, 2, 2), principal_charged_off="-50.00", principal="50.00"),
        ],
    )
    assert amounts(found) == {"principal_charged_off": "-50.00", "principal": "50.00"}
    assert (found["status"], found["charged_off_on"], found["charge_off_cause"]) == ("open", None, None)


@pytest.mark.parametrize("last", [date(2024, 2, 29), date(2025, 2, 28), date(2025, 12, 31)], ids=str)
def test_a_month_opens_as_its_day_before_closed_in_each_year(spark: SparkSession, last: date) -> None:
    """Of two months in one step, and of the second alone, for which the day before is read."""
    march = last + timedelta(days=1)
    days = [
        day_of("L", last, opening_principal="9.00", principal="9.00", interest="0.11"),
        day_of("L", march, opening_principal="9.00", opening_interest="0.11", principal="9.00", interest="0.11"),
    ]
    tape, balances = tape_of(spark, days)
    nothing, before = balances.where("false"), balances.where(f"as_of = DATE'{last}'")
    both = Window(last.replace(day=1), march)
    opened = opens_as_the_day_before_closed.function(tape, nothing, balances, both)
    # The first opens with 9.00, and no day before it says so.
    assert [(each.month, each.ok) for each in opened.orderBy("month").collect()] == [
        (both.first, False),
        (both.last, True),
    ]
    alone = tape.where(f"month = DATE'{march}'"), before, balances.where(f"as_of = DATE'{march}'")
    assert not_ok(opens_as_the_day_before_closed.function(*alone, Window(march, march))) == 0


def test_a_loan_that_owed_something_the_day_before_and_is_not_there_is_found(spark: SparkSession) -> None:
    tape, balances = tape_of(spark, [day_of("L", JANUARY, principal_lent="9.00", principal="9.00")])
    before = frame(spark, LoanBalance, [day_of("LOST", date(2024, 12, 31), credit="0.01")])
    opened = opens_as_the_day_before_closed.function(tape, before, balances, Window(JANUARY, JANUARY))
    assert [each.loan_id for each in opened.where("NOT ok").collect()] == ["LOST"]


def test_a_day_that_was_restated_after_the_day_before_is_found(spark: SparkSession) -> None:
    """The last day of January says another cent now; the days of February were not computed again."""
    days = [day_of("L", FEBRUARY, opening_principal="9.00", principal="9.00")]
    tape, balances = tape_of(spark, days)
    restated = frame(spark, LoanBalance, [day_of("L", date(2025, 1, 31), principal="9.01")])
    opened = opens_as_the_day_before_closed.function(tape, restated, balances, Window(FEBRUARY, FEBRUARY))
    assert not_ok(opened) == 1


def test_the_first_month_and_one_that_goes_on_tie_on_the_days_that_they_have(
    tape: DataFrame, given: dict[str, DataFrame]
) -> None:
    """The small lender begins on 1 January, lends on the 2nd, and its July ends with the 20th."""
    assert not_ok(movements_add_up.function(tape)) == 0
    assert not_ok(totals_equal_the_portfolio.function(tape, given["portfolio_daily"])) == 0
    of_ledger = totals_equal_the_ledger.function(tape, given["trial_balance"])
    assert (of_ledger.count(), not_ok(of_ledger)) == (7, 0)
    july = tape.where(f"month = DATE'{JULY}'")
    assert {each.as_of for each in july.select("as_of").distinct().collect()} == {WINDOW.last}


def test_a_month_without_loans_ties_to_a_ledger_of_zeros(spark: SparkSession) -> None:
    tape, _ = tape_of(spark, [day_of("L", FEBRUARY, principal_lent="9.00", principal="9.00")])
    accounts = ("principal_receivable", "interest_receivable", "credit_balances")
    zeros = [row(AccountBalance, account=each, as_of=JANUARY) for each in accounts]
    empty = totals_equal_the_ledger.function(tape.where("false"), frame(spark, AccountBalance, zeros))
    assert (empty.count(), not_ok(empty)) == (1, 0)
    owes = [{**each, "closing": Decimal("0.01")} for each in zeros]
    assert not_ok(totals_equal_the_ledger.function(tape.where("false"), frame(spark, AccountBalance, owes))) == 1
