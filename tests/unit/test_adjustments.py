"""What persons decide about loans, to the cent, by hand: 1,000.00 at 18.25 %, 0.50 a day, instalments of 259.58."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.days import Day, applications, days
from affirm_assets.lender.finance.movements import Application, Movement
from tests.unit.books import agreed, moved


def adds_up(row: Day) -> None:
    given_up = row.principal_charged_off + row.principal_waived
    paid = row.principal_paid - row.principal_reversed + row.principal_refunded
    assert row.principal == row.opening_principal + row.principal_lent - paid - given_up
    given_up = row.interest_charged_off + row.interest_waived
    paid = row.interest_paid - row.interest_reversed + row.interest_refunded
    assert row.interest == row.opening_interest + row.interest_accrued - row.interest_given_back - paid - given_up
    overpaid = row.credit_overpaid - row.credit_reversed + row.credit_refunded
    assert row.credit == row.opening_credit + overpaid - row.credit_paid_out


class Replay:
    def __init__(self, *movements: Movement, until: str) -> None:
        last = date.fromisoformat(until)
        self.rows = {row.as_of: row for row in days(Account.opened(agreed()), last, movements, is_new=True)}
        for row in self.rows.values():
            adds_up(row)
        done = applications(Account.opened(agreed()), last, movements, is_new=True)
        self.applied = {movement.transaction_id: application for movement, application in done}

    def __getitem__(self, day: str) -> Day:
        return self.rows[date.fromisoformat(day)]


def decided(name: str, kind: Any, amount: str, day: str, **over: Any) -> Movement:
    return moved(name, kind, amount, day, **over)


def owed(row: Day) -> tuple[str, str, str, str]:
    return str(row.principal), str(row.interest), str(row.credit), row.status


@pytest.mark.parametrize("kind", ["goodwill_credit", "waiver", "correction"])
def test_what_is_given_pays_interest_then_principal_and_meets_instalments(kind: str) -> None:
    replay = Replay(decided("a", kind, "259.58", "2025-02-01"), until="2025-02-28")
    assert replay.applied["a"] == Application(Decimal("15.50"), Decimal("244.08"))
    row = replay["2025-02-01"]
    assert owed(row) == ("755.92", "0.00", "0.00", "open")
    assert (row.adjusted, row.principal_paid, row.interest_paid) == (
        Decimal("259.58"),
        Decimal("244.08"),
        Decimal("15.50"),
    )
    assert replay["2025-02-28"].days_past_due == 0


def test_what_is_given_late_counts_from_its_day() -> None:
    replay = Replay(decided("a", "waiver", "15.50", "2025-02-11", at="2025-02-01"), until="2025-02-11")
    assert replay.applied["a"] == Application(Decimal("15.50"))
    assert owed(replay["2025-02-11"]) == ("1000.00", "5.00", "0.00", "open")


@pytest.mark.parametrize("kind", ["goodwill_credit", "waiver", "correction", "settlement"])
def test_more_than_is_owed_is_refused_and_moves_nothing(kind: str) -> None:
    replay = Replay(decided("a", kind, "1010.01", "2025-01-21"), until="2025-01-21")
    assert replay.applied["a"] == Application(exception="1010.01 is more than the 1010.00 that is owed")
    assert owed(replay["2025-01-21"]) == ("1000.00", "10.00", "0.00", "open")


def test_a_settlement_forgives_all_that_is_left() -> None:
    replay = Replay(
        moved("1", "payment", "610.00", "2025-01-21"),
        decided("2", "settlement", "399.99", "2025-01-21"),
        decided("3", "settlement", "400.00", "2025-01-21"),
        moved("v", "recovery", "50.00", "2025-02-21"),
        until="2025-02-21",
    )
    assert "a settlement forgives all that is left" in str(replay.applied["2"].exception)
    row = replay["2025-01-21"]
    assert (row.status, row.charge_off_cause, row.charged_off_principal, row.charged_off_interest) == (
        "charged_off",
        "settlement",
        Decimal("400.00"),
        Decimal("0.00"),
    )
    assert replay["2025-02-21"].recovered_principal == Decimal("50.00")


@pytest.mark.parametrize(("cause", "wait"), [("bankruptcy", 60), ("fraud", 90), ("death", 60), ("debt_sale", 0)])
def test_another_cause_charges_off_after_its_days(cause: str, wait: int) -> None:
    notice = date(2025, 1, 21)
    by = notice + timedelta(days=wait)
    replay = Replay(decided("c", cause, "0.00", str(notice)), until="2025-06-30")
    eve = replay.rows.get(by - timedelta(days=1))
    assert eve is None or eve.status == "open"
    row = replay.rows[by]
    assert (row.charged_off_on, row.charge_off_by, row.charge_off_cause) == (by, by, cause)
    assert row.principal_charged_off == Decimal("1000.00")
    assert row.interest_charged_off == Decimal("0.50") * (by - date(2025, 1, 1)).days


def test_a_notice_that_comes_late_charges_off_as_if_it_had_come_in_time() -> None:
    replay = Replay(decided("c", "bankruptcy", "0.00", "2025-04-15", at="2025-01-21"), until="2025-04-15")
    row = replay["2025-04-15"]
    # 60 days after 21 January: 79 days have accrued 39.50, and 52.00 were posted by 15 April.
    assert (str(row.charged_off_on), str(row.interest_charged_off)) == ("2025-03-22", "40.00")
    assert row.interest_given_back == Decimal("12.00")
    assert replay["2025-04-14"].status == "open"


def test_the_days_run_from_the_notice_even_if_it_is_older_than_the_loan() -> None:
    replay = Replay(decided("c", "bankruptcy", "0.00", "2025-01-21", at="2024-12-20"), until="2025-02-28")
    assert (replay["2025-02-17"].status, str(replay["2025-02-18"].charged_off_on)) == ("open", "2025-02-18")


def test_who_pays_before_the_day_is_not_charged_off() -> None:
    replay = Replay(
        decided("c", "bankruptcy", "0.00", "2025-01-11"),
        moved("p", "payment", "1010.00", "2025-01-21"),
        until="2025-06-30",
    )
    assert replay["2025-06-30"].status == "repaid"


def test_a_charge_off_is_undone_and_days_past_due_begin_anew() -> None:
    replay = Replay(
        moved("v", "recovery", "300.00", "2025-06-15"),
        decided("u", "undo_charge_off", "0.00", "2025-07-01"),
        until="2025-10-29",
    )
    row = replay["2025-07-01"]
    assert owed(row) == ("700.00", "75.50", "0.00", "open")
    assert (row.principal_charged_off, row.interest_charged_off) == (Decimal("-1000.00"), Decimal("-75.50"))
    assert replay.applied["u"] == Application(principal=Decimal("300.00"), recovery_principal=Decimal("-300.00"))
    assert (row.days_past_due, replay["2025-07-31"].days_past_due) == (0, 30)
    # 120 days after 1 July; 0.35 a day on 700.00.
    assert replay["2025-10-28"].status == "open"
    assert (replay["2025-10-29"].charged_off_principal, replay["2025-10-29"].charged_off_interest) == (
        Decimal("700.00"),
        Decimal("75.50") + 120 * Decimal("0.35"),
    )


def test_what_came_back_of_an_undone_charge_off_meets_instalments() -> None:
    replay = Replay(
        moved("v", "recovery", "258.58", "2025-06-15"),
        decided("u", "undo_charge_off", "0.00", "2025-07-01"),
        until="2025-07-01",
    )
    row = replay["2025-07-01"]
    # The first instalment but for 1.00, which is carried; the second fell due on 1 March.
    assert (row.paid, row.shortage, str(row.oldest_due_on)) == (Decimal("258.58"), Decimal("1.00"), "2025-03-01")


def test_what_is_not_charged_off_cannot_be_undone_and_what_is_cannot_be_given() -> None:
    replay = Replay(
        decided("u", "undo_charge_off", "0.00", "2025-02-01"),
        decided("g", "goodwill_credit", "1.00", "2025-07-01"),
        decided("b", "bankruptcy", "0.00", "2025-07-01"),
        until="2025-07-01",
    )
    assert replay.applied["u"].exception == "the loan is not charged off, and is not to be"
    assert replay.applied["g"].exception == replay.applied["b"].exception == "the loan is charged off"


def test_unapplied_money_is_cleared_once_and_no_further() -> None:
    replay = Replay(
        moved("f1", "refund", "1000.01", "2025-01-11"),
        decided("c1", "clear_unapplied", "600.00", "2025-01-21", of="f1"),
        decided("c2", "clear_unapplied", "400.02", "2025-01-22", of="f1"),
        decided("c3", "clear_unapplied", "400.01", "2025-01-23", of="f1"),
        moved("r", "refund_reversal", "0.01", "2025-01-24", of="f1"),
        until="2025-01-24",
    )
    assert replay.applied["c1"] == Application(Decimal("10.00"), Decimal("590.00"), unapplied=Decimal("-600.00"))
    assert replay.applied["c2"].exception == "clears 400.02, where 400.01 of it is unapplied"
    assert replay.applied["c3"].unapplied == Decimal("-400.01")
    assert replay.applied["r"].exception == "reverses what was reversed before"
    assert replay["2025-01-23"].unapplied == 0
    assert replay["2025-01-23"].adjusted == 0


def test_money_that_went_out_is_written_off() -> None:
    replay = Replay(
        moved("p", "payment", "1100.00", "2025-01-21"),
        moved("o", "credit_refund", "90.01", "2025-01-22"),
        decided("c", "clear_unapplied", "0.01", "2025-01-23", of="o"),
        until="2025-01-23",
    )
    assert replay.applied["c"] == Application(unapplied=Decimal("0.01"))
    row = replay["2025-01-23"]
    assert (row.unapplied, row.adjusted, row.credit) == (0, Decimal("0.01"), 0)


@pytest.mark.parametrize("name", ["P1", "p1"])
def test_a_decision_is_one_about_all_that_came_on_its_day(name: str) -> None:
    replay = Replay(
        moved(name, "payment", "610.00", "2025-01-21"),
        decided("adjustment/A", "settlement", "400.00", "2025-01-21"),
        until="2025-01-21",
    )
    assert replay["2025-01-21"].charged_off_principal == Decimal("400.00")


def test_a_late_decision_is_one_about_the_day_on_which_it_was_made() -> None:
    replay = Replay(
        decided("w", "waiver", "1015.00", "2025-01-31", at="2025-01-01"),
        decided("s", "settlement", "1010.00", "2025-02-02", at="2025-01-21"),
        until="2025-02-02",
    )
    assert replay.applied["w"].exception == "1015.00 is more than the 1000.00 that is owed"
    assert replay.applied["s"].exception is None
    row = replay["2025-02-02"]
    assert (row.charged_off_on, row.charged_off_principal, row.charged_off_interest) == (
        date(2025, 1, 21),
        Decimal("1000.00"),
        Decimal("10.00"),
    )


def test_what_is_waived_before_the_charge_off_reverses_it_though_it_comes_after() -> None:
    replay = Replay(decided("w", "waiver", "259.58", "2025-06-02", at="2025-05-30"), until="2025-06-02")
    assert replay["2025-06-01"].status == "charged_off"
    assert (replay["2025-06-02"].status, replay["2025-06-02"].days_past_due) == ("open", 93)


def test_a_payment_that_comes_late_makes_no_undone_charge_off_worse() -> None:
    undone = decided("u", "undo_charge_off", "0.00", "2025-07-01")
    replay = Replay(undone, moved("p", "payment", "519.16", "2025-07-10", at="2025-05-30"), until="2025-07-30")
    assert (replay["2025-07-30"].status, replay["2025-07-30"].days_past_due) == ("open", 29)


def test_a_notice_is_withdrawn_before_the_loan_is_charged_off() -> None:
    replay = Replay(
        decided("b", "bankruptcy", "0.00", "2025-01-11"),
        decided("u", "undo_charge_off", "0.00", "2025-01-21"),
        until="2025-03-12",
    )
    row = replay["2025-03-12"]
    assert (row.status, row.charge_off_by, row.reaged_on, row.days_past_due) == ("open", None, None, 39)


@pytest.mark.parametrize(
    "late",
    [
        pytest.param([moved("p", "payment", "259.58", "2025-04-01")], id="after a payment"),
        pytest.param([moved("p", "payment", "1100.00", "2025-04-01")], id="after a payoff with a credit"),
    ],
)
@pytest.mark.parametrize("cause", ["bankruptcy", "fraud", "death", "debt_sale"])
def test_a_late_notice_adds_up(late: list[Movement], cause: str) -> None:
    # Each row of a replay is added up.
    replay = Replay(*late, decided("c", cause, "0.00", "2025-06-15", at="2025-01-21"), until="2025-06-15")
    assert replay.applied["c"].money == 0


def test_what_was_written_off_waits_for_no_payment() -> None:
    replay = Replay(
        moved("r", "payment_reversal", "259.58", "2025-01-31", of="p"),
        decided("c", "clear_unapplied", "259.58", "2025-02-01", of="p"),
        moved("p", "payment", "259.58", "2025-02-02"),
        until="2025-02-02",
    )
    assert replay.applied["p"].unapplied == 0
    assert replay["2025-02-02"].unapplied == 0
