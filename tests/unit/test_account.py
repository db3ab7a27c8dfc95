"""Worked examples of the books, to the cent: what docs/money.md says, computed by hand.

Most are of `agreed()`: 1,000.00 lent on 1 January at 18.25 %, which is 0.0005 a day, in four monthly instalments of
259.58.
"""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.accrual import daily_interest, to_cents
from affirm_assets.lender.finance.days import Day, applications, days
from affirm_assets.lender.finance.delinquency import bucket, days_past_due
from affirm_assets.lender.finance.instalment import contract_problem
from affirm_assets.lender.finance.movements import Application, Movement
from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.finance.schedule import schedule
from affirm_assets.lender.finance.terms import Terms
from tests.unit.books import agreed, dollars, moved

A_DAY_OF_100 = Fraction("0.05")


def interest(*spells: tuple[str, int]) -> Decimal:
    """What the books have posted after spells of (principal, days) at 18.25 %: the sum, half up to the cent."""
    return dollars(100 * sum(Fraction(principal) * days / 100 * A_DAY_OF_100 for principal, days in spells))


def on(day: str) -> date:
    return date.fromisoformat(day)


class Replay:
    """A loan's rows by day, and what came of each movement by its id."""

    def __init__(self, terms: Terms, *movements: Movement, until: str, booked_on: str = "") -> None:
        def opened() -> Account:
            return Account.opened(terms, on(booked_on) if booked_on else None)

        self.rows = {row.as_of: row for row in days(opened(), on(until), movements, is_new=True)}
        replay = applications(opened(), on(until), movements, is_new=True)
        self.applied = {movement.transaction_id: application for movement, application in replay}

    def __getitem__(self, day: str) -> Day:
        return self.rows[on(day)]


def owed(row: Day) -> tuple[str, str, str, int]:
    return str(row.principal), str(row.interest), str(row.credit), row.days_past_due


def parts(application: Application) -> tuple[str, str, str]:
    return str(application.interest), str(application.principal), str(application.credit)


P1 = moved("p1", "payment", "259.58", "2025-02-01")
PAYOFF = moved("p1", "payment", "1010.00", "2025-01-21")


def test_every_instalment_on_its_due_date() -> None:
    # 0.50 a day for 31 days; 0.37796 for 28; 0.25346 for 31; 0.1276 for 30.
    first = interest(("1000", 31))
    second = interest(("1000", 31), ("755.92", 28)) - first
    third = interest(("1000", 31), ("755.92", 28), ("506.92", 31)) - first - second
    fourth = interest(("1000", 31), ("755.92", 28), ("506.92", 31), ("255.20", 30)) - first - second - third
    assert [str(each) for each in (first, second, third, fourth)] == ["15.50", "10.58", "7.86", "3.83"]

    replay = Replay(
        agreed(),
        P1,
        moved("p2", "payment", "259.58", "2025-03-01"),
        moved("p3", "payment", "259.58", "2025-04-01"),
        moved("p4", "payment", "259.03", "2025-05-01"),
        until="2025-05-02",
    )

    assert [parts(replay.applied[name]) for name in ("p1", "p2", "p3", "p4")] == [
        ("15.50", "244.08", "0.00"),
        ("10.58", "249.00", "0.00"),
        ("7.86", "251.72", "0.00"),
        ("3.83", "255.20", "0.00"),
    ]
    assert owed(replay["2025-01-31"]) == ("1000.00", "15.00", "0.00", 0)
    assert owed(replay["2025-02-01"]) == ("755.92", "0.00", "0.00", 0)
    assert owed(replay["2025-05-01"]) == ("0.00", "0.00", "0.00", 0)
    assert replay["2025-05-02"].status == "repaid"
    assert replay["2025-05-02"].settled_on == on("2025-05-01")
    assert max(row.days_past_due for row in replay.rows.values()) == 0


def test_an_early_payoff_pays_the_interest_up_to_its_day() -> None:
    replay = Replay(agreed(), PAYOFF, until="2025-01-22")

    assert parts(replay.applied["p1"]) == ("10.00", "1000.00", "0.00")  # 20 days
    assert owed(replay["2025-01-22"]) == ("0.00", "0.00", "0.00", 0)
    assert replay["2025-01-22"].interest_accrued == 0


def test_a_late_payment_cures() -> None:
    replay = Replay(
        agreed(),
        moved("p1", "payment", "259.58", "2025-02-11"),
        moved("p2", "payment", "259.58", "2025-03-01"),
        until="2025-03-01",
    )

    assert owed(replay["2025-02-01"]) == ("1000.00", "15.50", "0.00", 0)
    assert owed(replay["2025-02-10"]) == ("1000.00", "20.00", "0.00", 9)
    assert parts(replay.applied["p1"]) == ("20.50", "239.08", "0.00")
    assert owed(replay["2025-02-11"]) == ("760.92", "0.00", "0.00", 0)
    # 18 days of 0.38046 are 6.84828; with 20.50, 27.34828.
    assert parts(replay.applied["p2"]) == ("6.85", "252.73", "0.00")
    assert interest(("1000", 41), ("760.92", 18)) == Decimal("27.35")
    assert owed(replay["2025-03-01"]) == ("508.19", "0.00", "0.00", 0)


def test_a_part_of_an_instalment_does_not_meet_it() -> None:
    replay = Replay(
        agreed(),
        moved("p1", "payment", "100.00", "2025-02-01"),
        moved("p2", "payment", "159.58", "2025-02-11"),
        until="2025-02-11",
    )

    assert parts(replay.applied["p1"]) == ("15.50", "84.50", "0.00")
    assert owed(replay["2025-02-10"]) == ("915.50", "4.12", "0.00", 9)  # 9 days of 0.45775, with 15.50: 19.61975
    assert interest(("1000", 31), ("915.50", 10)) == Decimal("20.08")
    assert parts(replay.applied["p2"]) == ("4.58", "155.00", "0.00")
    assert owed(replay["2025-02-11"]) == ("760.50", "0.00", "0.00", 0)


def test_past_due_runs_from_the_oldest_of_two_instalments() -> None:
    replay = Replay(agreed(), moved("p1", "payment", "259.58", "2025-03-11"), until="2025-03-11")

    assert replay["2025-03-10"].days_past_due == 37  # since 1 February
    assert replay["2025-03-11"].days_past_due == 10  # since 1 March
    assert replay["2025-03-11"].oldest_due_on == on("2025-03-01")


def test_what_is_paid_ahead_meets_instalments_to_come() -> None:
    replay = Replay(agreed(), moved("p1", "payment", "519.16", "2025-02-01"), until="2025-04-02")

    assert replay["2025-02-01"].oldest_due_on == on("2025-04-01")
    assert replay["2025-04-02"].days_past_due == 1


def test_the_last_instalment_is_met_only_at_a_zero_balance() -> None:
    replay = Replay(
        agreed(),
        moved("p1", "payment", "259.58", "2025-02-21"),
        *(moved(f"p{month}", "payment", "259.58", f"2025-0{month}-01") for month in (3, 4, 5)),
        until="2025-05-02",
    )

    # 51 days, 25.50; eight of 0.38296, 3.06; 31 of 0.2547, 7.90; 30 of 0.12886, 3.87: 40.33 in all.
    assert interest(("1000", 51), ("765.92", 8), ("509.40", 31), ("257.72", 30)) == Decimal("40.33")
    row = replay["2025-05-02"]
    assert row.paid == 4 * Decimal("259.58")
    assert owed(row) == ("2.01", "0.00", "0.00", 1)  # 1,040.33 less 1,038.32
    assert row.oldest_due_on == on("2025-05-01")


def test_a_reversed_payoff_is_owed_again_with_the_interest_of_the_days_between() -> None:
    replay = Replay(
        agreed(), PAYOFF, moved("r1", "payment_reversal", "1010.00", "2025-01-24", of="p1"), until="2025-02-03"
    )

    assert replay["2025-01-23"].status == "repaid"
    assert parts(replay.applied["r1"]) == ("-10.00", "-1000.00", "0.00")
    assert replay.applied["r1"].interest_given_back == Decimal("-1.50")  # three days
    assert owed(replay["2025-01-24"]) == ("1000.00", "11.50", "0.00", 0)
    assert replay["2025-01-24"].settled_on is None
    assert owed(replay["2025-01-25"]) == ("1000.00", "12.00", "0.00", 0)
    assert replay["2025-02-03"].days_past_due == 2


def test_a_late_row_gives_interest_back() -> None:
    late = moved("p1", "payment", "259.58", "2025-02-11", at="2025-02-01")
    replay = Replay(agreed(), late, until="2025-02-11")

    # In time: 15.50 on 1 February, then ten days of 0.37796, 19.2796 in all; 20.50 was posted by 11 February.
    assert interest(("1000", 31), ("755.92", 10)) == Decimal("19.28")
    assert owed(replay["2025-02-10"]) == ("1000.00", "20.00", "0.00", 9)
    assert parts(replay.applied["p1"]) == ("15.50", "244.08", "0.00")
    assert replay.applied["p1"].interest_given_back == Decimal("1.22")
    assert owed(replay["2025-02-11"]) == ("755.92", "3.78", "0.00", 0)
    assert replay["2025-02-11"].interest_accrued == Decimal("0.50")
    assert replay["2025-02-11"].accrued == Decimal("19.2796")


def test_a_late_row_with_another_payment_in_between() -> None:
    replay = Replay(
        agreed(),
        moved("p2", "payment", "300.00", "2025-02-20"),
        moved("p1", "payment", "259.58", "2025-03-02", at="2025-02-01"),
        until="2025-03-02",
    )

    # As it came: 50 days, then ten of 0.3625. In time: 15.50; 19 days of 0.37796, 7.18; ten days of 0.23155, 2.32.
    assert parts(replay.applied["p2"]) == ("25.00", "275.00", "0.00")
    assert interest(("1000", 50), ("725", 10)) == Decimal("28.63")
    assert interest(("1000", 31), ("755.92", 19)) == Decimal("22.68")
    assert interest(("1000", 31), ("755.92", 19), ("463.10", 10)) == Decimal("25.00")
    assert parts(replay.applied["p1"]) == ("-2.32", "261.90", "0.00")
    assert replay.applied["p1"].interest_given_back == Decimal("3.63")
    assert owed(replay["2025-03-02"]) == ("463.10", "2.32", "0.00", 0)
    assert replay["2025-03-02"].paid == Decimal("559.58")


def test_a_late_row_of_a_day_before_the_origination_counts_from_the_origination() -> None:
    replay = Replay(agreed(), moved("p1", "payment", "100.00", "2025-01-11", at="2024-12-20"), until="2025-01-11")

    assert parts(replay.applied["p1"]) == ("0.00", "100.00", "0.00")
    assert owed(replay["2025-01-11"]) == ("900.00", "4.50", "0.00", 0)
    assert replay.applied["p1"].interest_given_back == Decimal("0.50")


def test_a_late_row_on_a_loan_that_was_paid_off_since_is_a_credit() -> None:
    replay = Replay(
        agreed(),
        moved("p2", "payment", "1020.00", "2025-02-10"),
        moved("p1", "payment", "100.00", "2025-02-12", at="2025-01-11"),
        until="2025-02-12",
    )

    # In time: 5.00 by 11 January; the 905.00 left then accrue for 30 days, 13.575: 1.42 less than 20.00.
    assert interest(("1000", 10), ("905", 30)) == Decimal("18.58")
    assert parts(replay.applied["p1"]) == ("-1.42", "0.00", "101.42")
    assert replay.applied["p1"].interest_given_back == Decimal("1.42")
    assert owed(replay["2025-02-12"]) == ("0.00", "0.00", "101.42", 0)


def test_a_reversal_undoes_what_its_payment_stands_for_by_what_has_come_late_since() -> None:
    replay = Replay(
        agreed(),
        moved("p2", "payment", "1020.00", "2025-02-10"),
        moved("p1", "payment", "100.00", "2025-02-11", at="2025-01-11"),
        moved("r2", "payment_reversal", "1020.00", "2025-02-12", of="p2"),
        moved("p3", "payment", "259.58", "2025-02-13"),
        until="2025-02-13",
    )

    # Had p1 come in time, p2 would have paid the 13.58 and 905.00 that were left, and 101.42 too much.
    assert parts(replay.applied["p2"]) == ("20.00", "1000.00", "0.00")
    assert parts(replay.applied["p1"]) == ("-1.42", "0.00", "101.42")
    assert parts(replay.applied["r2"]) == ("-13.58", "-905.00", "-101.42")
    # Without p2, two more days of 0.4525: 18.575, posted as 18.58, and 0.905 are 19.48.
    assert interest(("1000", 10), ("905", 32)) == Decimal("19.48")
    assert replay.applied["r2"].interest_given_back == Decimal("-0.90")
    assert owed(replay["2025-02-12"]) == ("905.00", "14.48", "0.00", 11)
    assert replay["2025-02-12"].paid == 100
    assert parts(replay.applied["p3"]) == ("14.93", "244.65", "0.00")  # 19.48 and 0.4525 are 19.9325; 5.00 is paid
    assert owed(replay["2025-02-13"]) == ("660.35", "0.00", "0.00", 0)


def test_a_reversed_late_row_leaves_the_rows_since_as_they_were() -> None:
    replay = Replay(
        agreed(),
        moved("p2", "payment", "1020.00", "2025-02-10"),
        moved("p1", "payment", "100.00", "2025-02-11", at="2025-01-11"),
        moved("r1", "payment_reversal", "100.00", "2025-02-12", of="p1"),
        moved("p3", "payment", "50.00", "2025-03-20", at="2025-03-12"),
        until="2025-03-20",
    )

    assert parts(replay.applied["r1"]) == ("1.42", "0.00", "-101.42")
    assert replay.applied["r1"].interest_given_back == Decimal("-1.42")
    assert owed(replay["2025-02-12"]) == ("0.00", "0.00", "0.00", 0)
    # Nothing was owed on 12 March, so there is no interest to give back since.
    assert parts(replay.applied["p3"]) == ("0.00", "0.00", "50.00")
    assert replay["2025-03-20"].accrued == 20


def test_the_reversal_of_a_late_row_charges_all_days_as_if_it_had_never_been() -> None:
    replay = Replay(
        agreed(),
        moved("p1", "payment", "259.58", "2025-02-11", at="2025-02-01"),
        moved("r1", "payment_reversal", "259.58", "2025-02-20", of="p1"),
        until="2025-02-20",
    )

    # 19.2796, and nine more days of 0.37796, are 22.68124; of that, 15.50 was paid. Without it, 50 days of 0.50.
    assert owed(replay["2025-02-19"]) == ("755.92", "6.80", "0.00", 0)
    assert parts(replay.applied["r1"]) == ("-15.50", "-244.08", "0.00")
    assert replay.applied["r1"].interest_given_back == Decimal("-2.32")
    assert owed(replay["2025-02-20"]) == ("1000.00", "25.00", "0.00", 19)
    assert replay["2025-02-20"].accrued == 25


def test_the_reversal_of_a_late_row_restores_the_accrual_to_the_last_place() -> None:
    late = moved("p1", "payment", "259.58", "2025-02-11", at="2025-02-01")
    reversal = moved("r1", "payment_reversal", "259.58", "2025-02-18", of="p1")
    replay = Replay(agreed(principal="777.77"), late, reversal, until="2025-02-18")

    # 0.388885 a day. In time, 12.06 of 12.055435 would have been paid, and seventeen days of 0.265125 have followed.
    assert 31 * Decimal("0.388885") + 10 * Decimal("0.265125") == Decimal("14.706685")  # and not the 15.944285
    assert replay.applied["p1"].interest_given_back == Decimal("15.94") - Decimal("14.71")
    assert Decimal("14.706685") + 7 * Decimal("0.265125") == Decimal("16.56256")
    assert replay["2025-02-18"].accrued == 48 * Decimal("0.388885") == Decimal("18.66648")
    assert replay["2025-02-18"].interest == Decimal("18.67")
    assert replay.applied["r1"].interest_given_back == Decimal("16.56") - Decimal("18.67")


def test_what_was_paid_since_pays_what_a_reversed_payment_did() -> None:
    replay = Replay(
        agreed(),
        P1,
        moved("p2", "payment", "1000.00", "2025-02-10"),
        moved("r1", "payment_reversal", "259.58", "2025-02-14", of="p1"),
        moved("p3", "payment", "259.58", "2025-02-20", at="2025-01-31"),
        until="2025-02-20",
    )

    assert parts(replay.applied["p2"]) == ("3.40", "755.92", "240.68")
    # Without p1, p2 pays 20.00 and 980.00; four days of 0.01 on the 20.00 left. 18.90 and 1,000.00 were paid.
    assert parts(replay.applied["r1"]) == ("1.10", "-20.00", "-240.68")
    assert replay.applied["r1"].interest_given_back == Decimal("18.90") - Decimal("20.04")
    assert owed(replay["2025-02-14"]) == ("20.00", "0.04", "0.00", 0)
    assert replay["2025-02-14"].paid == 1000
    # In time, p3 would have paid 15.00 and 244.58; then ten days of 0.37771, and p2 exceeds 759.20 by 240.80.
    assert interest(("1000", 30), ("755.42", 10)) == Decimal("18.78")
    assert parts(replay.applied["p3"]) == ("-1.22", "20.00", "240.80")  # 18.78 and 1,000.00 of 20.00 and 980.00
    assert owed(replay["2025-02-20"]) == ("0.00", "0.00", "240.80", 0)
    assert replay["2025-02-20"].paid == Decimal("1018.78")


def test_what_a_payment_became_by_another_ones_reversal_is_what_its_own_undoes() -> None:
    replay = Replay(
        agreed(),
        P1,
        moved("p2", "payment", "1000.00", "2025-02-10"),
        moved("r1", "payment_reversal", "259.58", "2025-02-14", of="p1"),
        moved("r2", "payment_reversal", "1000.00", "2025-02-14", of="p2"),
        until="2025-02-14",
    )

    assert parts(replay.applied["r2"]) == ("-20.00", "-980.00", "0.00")
    assert owed(replay["2025-02-14"]) == ("1000.00", "22.00", "0.00", 13)  # 44 days
    assert replay["2025-02-14"].paid == 0


def test_a_refund_meets_no_instalment_when_the_payment_before_it_is_reversed() -> None:
    replay = Replay(
        agreed(),
        PAYOFF,
        moved("f1", "refund", "300.00", "2025-01-22"),
        moved("r1", "payment_reversal", "1010.00", "2025-01-24", of="p1"),
        until="2025-02-03",
    )

    assert parts(replay.applied["r1"]) == ("-10.00", "-700.00", "-300.00")
    assert owed(replay["2025-01-24"]) == ("700.00", "11.20", "0.00", 0)  # 21 days of 0.50, and two of 0.35
    assert replay["2025-01-24"].paid == 0
    assert replay["2025-02-03"].days_past_due == 2


def test_a_credit_that_a_late_row_takes_back_counts_as_reversed() -> None:
    replay = Replay(
        agreed(),
        moved("p0", "payment", "258.00", "2025-05-30"),
        moved("v1", "recovery", "900.00", "2025-07-01"),
        moved("p1", "payment", "1.00", "2025-07-02", at="2025-05-30"),
        until="2025-07-02",
    )

    # 1.58 is missing: charged off on 1 June, with two days of 0.40825 after the 74.50 that p0 paid.
    assert interest(("1000", 149), ("816.50", 2)) == Decimal("75.32")
    assert replay.applied["v1"] == Application(
        recovery_principal=Decimal("816.50"), recovery_interest=Decimal("0.82"), credit=Decimal("82.68")
    )
    # With p1, 0.58 is missing, which is carried: charged off on 29 June, after 30 days of 0.40775.
    assert interest(("1000", 149), ("815.50", 30)) == Decimal("86.73")
    row = replay["2025-07-02"]
    assert (row.charged_off_on, row.charged_off_principal) == (on("2025-06-29"), Decimal("815.50"))
    assert (row.charged_off_interest, row.credit) == (Decimal("12.23"), Decimal("72.27"))
    assert replay.applied["p1"] == Application(
        principal=Decimal("1.00"),
        recovery_principal=Decimal("-1.00"),
        recovery_interest=Decimal("11.41"),
        credit=Decimal("-10.41"),
        interest_given_back=Decimal("-11.41"),
    )
    assert (row.credit_overpaid, row.credit_reversed) == (0, Decimal("10.41"))
    assert (row.principal_charged_off, row.interest_charged_off) == (Decimal("-1.00"), Decimal("11.41"))


def test_a_refund_takes_instalments_off_the_end() -> None:
    replay = Replay(
        agreed(),
        moved("f1", "refund", "300.00", "2025-01-11"),
        P1,
        moved("p2", "payment", "259.58", "2025-03-01"),
        moved("p3", "payment", "202.62", "2025-04-01"),
        until="2025-04-01",
    )

    assert parts(replay.applied["f1"]) == ("0.00", "300.00", "0.00")
    assert replay.applied["f1"].discount_returned == Decimal("15.00")
    assert owed(replay["2025-01-11"]) == ("700.00", "5.00", "0.00", 0)
    # Ten days of 0.50 and 21 of 0.35; 28 of 0.226385; 31 of 0.099765.
    assert interest(("1000", 10), ("700", 21)) == Decimal("12.35")
    assert parts(replay.applied["p1"]) == ("12.35", "247.23", "0.00")
    assert parts(replay.applied["p2"]) == ("6.34", "253.24", "0.00")
    assert parts(replay.applied["p3"]) == ("3.09", "199.53", "0.00")
    assert replay["2025-04-01"].status == "repaid"


def test_past_due_runs_from_no_instalment_that_a_refund_took_off() -> None:
    f1 = moved("f1", "refund", "495.00", "2025-01-02")
    replay = Replay(
        agreed(),
        f1,
        moved("p1", "payment", "259.58", "2025-04-20"),
        moved("p2", "payment", "259.58", "2025-05-20"),
        until="2025-06-29",
    )

    # In time, 513.08 on 1 February and 257.04 on 1 March are all that is left: two instalments of 259.58.
    # A day of 0.50 and 30 of 0.2525 are 8.075; with 28 of 0.12675, 11.624.
    in_time = Replay(agreed(), f1, P1, until="2025-03-01")
    assert parts(in_time.applied["p1"]) == ("8.08", "251.50", "0.00")
    assert interest(("1000", 1), ("505", 30), ("253.50", 28)) == Decimal("11.62")
    assert owed(in_time["2025-03-01"]) == ("253.50", "3.54", "0.00", 0)
    assert [replay[f"2025-01-0{day}"].last_instalment for day in (1, 2)] == [4, 2]
    assert replay["2025-05-21"].oldest_due_on == on("2025-03-01")
    assert owed(replay["2025-05-21"]) == ("17.71", "0.01", "0.00", 81)
    assert replay["2025-06-28"].days_past_due == 119
    assert replay["2025-06-29"].principal_charged_off == Decimal("17.71")


@pytest.mark.parametrize(
    ("refunds", "taken_off"),
    [
        pytest.param([("1.00", "2025-01-02")], 0, id="a little"),
        pytest.param([("300.00", "2025-01-11")], 1, id="one instalment"),
        pytest.param([("252.00", "2025-04-02")], 0, id="of the last instalment a part"),
        pytest.param([("255.33", "2025-04-02")], 1, id="of the last instalment all"),
        pytest.param([("252.00", "2025-04-01")], 0, id="on a due date"),
        pytest.param([("1000.00", "2025-03-15")], 2, id="all, after two were due"),
        pytest.param([("1000.00", "2025-01-11")], 3, id="all before one was due"),
        pytest.param([("150.00", "2025-01-11"), ("150.00", "2025-01-20")], 1, id="in two parts"),
    ],
)
def test_how_many_instalments_refunds_take_off(refunds: list[tuple[str, str]], taken_off: int) -> None:
    movements = [moved(f"f{number}", "refund", *each) for number, each in enumerate(refunds)]
    late = [moved(f"f{number}", "refund", amount, "2025-04-20", at=day) for number, (amount, day) in enumerate(refunds)]

    for replay in (Replay(agreed(), *movements, until="2025-04-20"), Replay(agreed(), *late, until="2025-04-20")):
        assert replay["2025-04-20"].last_instalment == 4 - taken_off


def test_the_last_instalment_is_the_last_of_the_schedule() -> None:
    # 48 level instalments were agreed, but after a first period of 14 days 47 repay the loan.
    terms = agreed(apr="35.99", instalments=48, originated_on="2024-01-01", first_due_on="2024-01-15")
    due = list(schedule(terms))
    assert (len(due), due[-1].due_on, due[-1].payment) == (47, on("2027-11-15"), Decimal("14.59"))
    a_month_late = [
        moved(f"p{each.number:02}", "payment", terms.instalment, str(each.due_on + timedelta(days=27)))
        for each in due[:-1]
    ]
    last = moved("p47", "payment", terms.instalment, "2027-11-15")

    # A cent back takes off none of the 47.
    for movements in ([*a_month_late, last], [*a_month_late, last, moved("f1", "refund", "0.01", "2024-01-02")]):
        replay = Replay(terms, *movements, until="2027-12-14")
        row = replay["2027-12-14"]
        assert row.principal > 0
        assert (row.last_instalment, row.oldest_due_on, row.days_past_due) == (47, on("2027-11-15"), 29)


def test_what_was_paid_out_since_is_owed_when_a_refund_takes_instalments_off() -> None:
    replay = Replay(
        agreed(apr="0"),
        moved("p1", "payment", "2000.00", "2025-01-10"),
        moved("c1", "credit_refund", "1000.00", "2025-01-11"),
        moved("r1", "payment_reversal", "2000.00", "2025-01-15", of="p1"),
        moved("f1", "refund", "500.00", "2025-02-05"),
        moved("p2", "payment", "1000.00", "2025-02-05"),
        until="2025-04-10",
    )

    # 2,000.00 are owed when f1 comes, and p2 meets all four instalments of 250.00.
    assert owed(replay["2025-02-04"]) == ("2000.00", "0.00", "0.00", 3)
    assert (replay["2025-04-10"].oldest_due_on, replay["2025-04-10"].last_instalment) == (on("2025-05-01"), 4)
    assert owed(replay["2025-04-10"]) == ("500.00", "0.00", "0.00", 0)


def test_a_credit_can_be_paid_out_on_the_day_it_comes() -> None:
    replay = Replay(
        agreed(),
        moved("a", "credit_refund", "90.00", "2025-01-21"),
        moved("z", "payment", "1100.00", "2025-01-21"),
        until="2025-01-21",
    )

    assert replay.applied["a"] == Application(credit=Decimal("-90.00"))
    assert owed(replay["2025-01-21"]) == ("0.00", "0.00", "0.00", 0)


def test_what_a_refund_leaves_falls_due_after_the_instalments_that_were_met() -> None:
    p1 = moved("p1", "payment", "519.16", "2025-03-20")
    f1 = moved("f1", "refund", "515.00", "2025-03-21")
    r1 = moved("r1", "payment_reversal", "519.16", "2025-04-05", of="p1")
    again = moved("p2", "payment", "519.16", "2025-04-06")
    replay = Replay(agreed(), p1, f1, r1, again, until="2025-04-06")

    # 78 days of 0.50 are 39.00; a day of 0.25992 is 0.26. In time, 515.00 on 21 March would have left none after March.
    assert owed(replay["2025-03-20"]) == ("519.84", "0.00", "0.00", 0)
    assert owed(replay["2025-03-21"]) == ("4.84", "0.26", "0.00", 0)
    assert replay["2025-03-21"].oldest_due_on == on("2025-04-01")
    # What was reversed met nothing: one of two instalments is left, and past due since 1 March.
    assert replay["2025-04-05"].oldest_due_on == on("2025-02-01")
    assert replay["2025-04-06"].oldest_due_on == on("2025-03-01")

    # Late, or on the same day in whatever order.
    for other in (
        Replay(agreed(), replace(p1, posted_on=on("2025-03-22")), f1, until="2025-03-22"),
        Replay(agreed(), p1, replace(f1, posted_on=on("2025-03-22")), until="2025-03-22"),
        Replay(
            agreed(), p1, replace(f1, effective_on=on("2025-03-20"), posted_on=on("2025-03-20")), until="2025-03-22"
        ),
    ):
        assert other["2025-03-22"].oldest_due_on == on("2025-04-01")


def test_a_refund_does_not_put_off_what_an_earlier_one_has_left() -> None:
    replay = Replay(
        agreed(),
        moved("f1", "refund", "495.00", "2025-01-02"),
        moved("p1", "payment", "519.16", "2025-05-20"),
        moved("f2", "refund", "1.00", "2025-05-21"),
        until="2025-05-21",
    )

    assert [replay[f"2025-05-{day}"].oldest_due_on for day in (20, 21)] == [on("2025-03-01")] * 2


def test_a_refund_cures_nothing() -> None:
    replay = Replay(agreed(), moved("f1", "refund", "900.00", "2025-02-11"), until="2025-02-12")

    assert owed(replay["2025-02-11"]) == ("100.00", "20.50", "0.00", 10)
    assert owed(replay["2025-02-12"]) == ("100.00", "20.55", "0.00", 11)


def test_discounts_returned_round_to_no_more_than_the_discount() -> None:
    terms = agreed(principal="10.00", merchant_discount="1.00", apr="0")
    refunds = [moved(f"f{number}", "refund", "3.33", f"2025-01-0{number}") for number in (2, 3, 4)]
    replay = Replay(terms, *refunds, moved("f5", "refund", "0.01", "2025-01-05"), until="2025-01-05")

    # In proportion to all that was refunded of the price: 0.333, 0.666, 0.999, and the price is refunded.
    returned = [str(replay.applied[name].discount_returned) for name in ("f2", "f3", "f4", "f5")]
    assert returned == ["0.33", "0.34", "0.33", "0.00"]
    assert replay["2025-01-05"].discount_returned == terms.merchant_discount
    assert owed(replay["2025-01-05"]) == ("0.00", "0.00", "0.00", 0)


def test_an_overpayment_is_a_credit_that_is_paid_out_and_no_more() -> None:
    replay = Replay(
        agreed(),
        moved("p1", "payment", "1100.00", "2025-01-21"),
        moved("c1", "credit_refund", "90.01", "2025-01-24"),
        moved("c2", "credit_refund", "90.01", "2025-01-25"),
        until="2025-01-25",
    )

    assert parts(replay.applied["p1"]) == ("10.00", "1000.00", "90.00")
    assert replay["2025-01-21"].status == "repaid"
    assert replay["2025-01-21"].settled_on is None  # owed to the borrower still
    assert replay["2025-01-23"].credit_since == on("2025-01-21")
    more = "more than the credit balance"
    assert replay.applied["c1"] == Application(credit=Decimal("-90.00"), unapplied=Decimal("-0.01"), exception=more)
    assert replay.applied["c2"] == Application(unapplied=Decimal("-90.01"), exception=more)
    assert owed(replay["2025-01-24"]) == ("0.00", "0.00", "0.00", 0)
    assert replay["2025-01-24"].settled_on == on("2025-01-24")
    assert replay["2025-01-24"].credit_since is None
    assert replay["2025-01-25"].unapplied == Decimal("-90.02")


def test_what_was_paid_out_of_a_payment_that_is_reversed_is_principal() -> None:
    replay = Replay(
        agreed(),
        moved("p1", "payment", "1100.00", "2025-01-21"),
        moved("c1", "credit_refund", "90.00", "2025-01-25"),
        moved("r1", "payment_reversal", "1100.00", "2025-01-31", of="p1"),
        until="2025-02-02",
    )

    # 24 days of 0.50, and from the day on which it was paid out six of 0.545.
    assert interest(("1000", 24), ("1090", 6)) == Decimal("15.27")
    assert parts(replay.applied["r1"]) == ("-10.00", "-1090.00", "0.00")
    assert owed(replay["2025-01-31"]) == ("1090.00", "15.27", "0.00", 0)
    assert owed(replay["2025-02-02"]) == ("1090.00", "16.36", "0.00", 1)


def test_charge_off_at_120_days_and_what_comes_after() -> None:
    replay = Replay(
        agreed(),
        moved("v1", "recovery", "300.00", "2025-07-01"),
        moved("p1", "payment", "50.00", "2025-07-02"),
        moved("f1", "refund", "100.00", "2025-07-03"),
        until="2025-07-03",
    )

    assert owed(replay["2025-05-31"]) == ("1000.00", "75.00", "0.00", 119)
    assert replay["2025-05-31"].bucket == "90-119"
    charged_off = replay["2025-06-01"]
    assert (charged_off.principal_charged_off, charged_off.interest_charged_off) == (
        Decimal("1000.00"),
        Decimal("75.50"),
    )
    assert charged_off.bucket == charged_off.status == "charged_off"
    assert owed(charged_off) == ("0.00", "0.00", "0.00", 0)
    assert replay["2025-07-01"].interest_accrued == 0
    assert [replay.applied[name].recovery_principal for name in ("v1", "p1", "f1")] == [300, 50, 100]
    assert replay.applied["f1"].discount_returned == Decimal("5.00")
    assert (replay["2025-07-03"].recovered_principal, replay["2025-07-03"].recovered_interest) == (450, 0)
    assert owed(replay["2025-07-03"]) == ("0.00", "0.00", "0.00", 0)


def test_a_payment_of_before_the_charge_off_that_comes_after_it_lowers_it() -> None:
    replay = Replay(agreed(), moved("p1", "payment", "50.00", "2025-07-02", at="2025-02-01"), until="2025-07-02")

    # 15.50 and 34.50; the 965.50 left accrue 0.48275 on 120 days, 57.93. 75.50 were posted.
    assert parts(replay.applied["p1"]) == ("15.50", "34.50", "0.00")
    assert replay.applied["p1"].interest_given_back == Decimal("75.50") - Decimal("73.43")
    row = replay["2025-07-02"]
    assert (row.principal_charged_off, row.interest_charged_off) == (Decimal("-34.50"), Decimal("-17.57"))
    assert (row.charged_off_on, row.charged_off_principal) == (on("2025-06-01"), Decimal("965.50"))
    assert row.charged_off_interest == Decimal("57.93")
    assert row.recovered_principal == 0


def test_charge_off_and_recovery_of_fineract() -> None:
    # Apache Fineract: 1,000.00 outstanding is charged off; after a payment of 250.00, 750.00 is.
    replay = Replay(agreed(apr="0"), moved("p1", "payment", "250.00", "2025-07-01"), until="2025-07-01")

    assert replay["2025-06-01"].principal_charged_off == 1000
    assert replay["2025-07-01"].charged_off_principal - replay["2025-07-01"].recovered_principal == 750


def test_a_payment_on_the_120th_day_comes_in_time() -> None:
    replay = Replay(agreed(), moved("p1", "payment", "259.58", "2025-06-01"), until="2025-06-29")

    assert replay["2025-06-01"].status == "open"
    assert replay["2025-06-01"].days_past_due == 92  # since 1 March
    assert replay["2025-06-29"].status == "charged_off"


def test_a_part_of_an_instalment_does_not_put_off_the_charge_off() -> None:
    replay = Replay(agreed(), moved("p1", "payment", "200.00", "2025-05-31"), until="2025-06-01")

    assert replay["2025-06-01"].status == "charged_off"


def test_the_reversal_of_a_payment_on_a_charged_off_loan_is_charged_off() -> None:
    replay = Replay(agreed(), P1, moved("r1", "payment_reversal", "259.58", "2025-07-10", of="p1"), until="2025-07-10")

    # 1 March and 120 days: 29 June, 148 days of 0.37796 after 1 February: 71.43808 with the 15.50 that was paid.
    assert interest(("1000", 31), ("755.92", 148)) == Decimal("71.44")
    first, second = replay["2025-06-29"], replay["2025-07-10"]
    assert (first.principal_charged_off, first.interest_charged_off) == (Decimal("755.92"), Decimal("55.94"))
    # Without it, 1,000.00 and 75.50 on 1 June: 4.06 more interest, and 19.56 more of it charged off.
    assert (second.principal_reversed, second.interest_reversed) == (Decimal("244.08"), Decimal("15.50"))
    assert second.interest_given_back == Decimal("71.44") - Decimal("75.50")
    assert (second.principal_charged_off, second.interest_charged_off) == (Decimal("244.08"), Decimal("19.56"))
    assert (second.charged_off_principal, second.charged_off_interest) == (1000, Decimal("75.50"))
    assert second.charged_off_on == on("2025-06-01")
    assert owed(second) == ("0.00", "0.00", "0.00", 0)


def test_payments_reversed_before_and_after_the_charge_off_give_no_more_than_was_lent() -> None:
    replay = Replay(
        agreed(),
        moved("b0", "payment", "2000.00", "2025-05-20"),
        moved("b1", "payment", "500.00", "2025-05-20"),
        moved("r0", "payment_reversal", "2000.00", "2025-06-10", of="b0"),
        moved("r1", "payment_reversal", "500.00", "2025-07-10", of="b1"),
        until="2025-07-10",
    )

    # b1 was all too much when it came. Without b0, it pays 69.50 and 430.50.
    assert parts(replay.applied["b1"]) == ("0.00", "0.00", "500.00")
    assert parts(replay.applied["r0"]) == ("0.00", "-569.50", "-1430.50")
    assert owed(replay["2025-06-10"]) == ("569.50", "5.98", "0.00", 101)  # 21 days of 0.28475
    # 500.00 meet the instalment of 1 February: 120 days from 1 March, 40 of them at 0.28475.
    assert replay["2025-06-29"].principal_charged_off == Decimal("569.50")
    assert replay["2025-06-29"].interest_charged_off == 40 * Decimal("0.28475") == Decimal("11.39")
    assert parts(replay.applied["r1"]) == ("-69.50", "-430.50", "0.00")
    row = replay["2025-07-10"]
    assert (row.charged_off_on, row.charged_off_principal) == (on("2025-06-01"), 1000)
    assert row.charged_off_interest == Decimal("75.50")
    assert owed(row) == ("0.00", "0.00", "0.00", 0)


def test_two_reversals_on_a_day_after_the_charge_off() -> None:
    replay = Replay(
        agreed(),
        moved("p1", "payment", "100.00", "2025-01-11"),
        moved("p2", "payment", "159.58", "2025-02-01"),
        moved("v1", "recovery", "5.00", "2025-07-01"),
        moved("r1", "payment_reversal", "100.00", "2025-07-10", of="p1"),
        moved("r2", "payment_reversal", "159.58", "2025-07-10", of="p2"),
        until="2025-07-10",
    )

    # p1 paid 5.00 and 95.00, p2 9.50 (21 days of 0.4525 are 9.5025) and 150.08; without p1, 15.50 and 144.08.
    assert parts(replay.applied["r1"]) == ("1.00", "-101.00", "0.00")
    assert parts(replay.applied["r2"]) == ("-15.50", "-144.08", "0.00")
    row = replay["2025-07-10"]
    assert (row.charged_off_principal, row.charged_off_interest) == (1000, Decimal("75.50"))
    assert row.recovered_principal == 5


@pytest.mark.parametrize("kind", ["recovery", "payment"])
def test_the_reversal_of_a_recovery(kind: str) -> None:
    replay = Replay(
        agreed(),
        moved("v1", kind, "300.00", "2025-07-01"),  # type: ignore[arg-type]
        moved("r1", "payment_reversal", "300.00", "2025-07-05", of="v1"),
        until="2025-07-05",
    )

    assert replay["2025-07-01"].recovered_principal == 300
    assert replay.applied["r1"] == Application(recovery_principal=Decimal("-300.00"))
    assert replay["2025-07-05"].recovered_principal == 0


@pytest.mark.parametrize("kind", ["recovery", "payment"])
def test_what_exceeds_what_was_charged_off_is_a_credit_and_can_be_paid_out(kind: str) -> None:
    replay = Replay(
        agreed(),
        moved("v1", kind, "1500.00", "2025-07-01"),  # type: ignore[arg-type]
        moved("c1", "credit_refund", "424.51", "2025-07-02"),
        until="2025-07-02",
    )

    # 1,000.00 and 75.50 were charged off.
    assert replay.applied["v1"] == Application(
        recovery_principal=Decimal("1000.00"), recovery_interest=Decimal("75.50"), credit=Decimal("424.50")
    )
    first, last = replay["2025-07-01"], replay["2025-07-02"]
    assert owed(first) == ("0.00", "0.00", "424.50", 0)
    assert first.credit_overpaid == Decimal("424.50")
    assert (first.recovery_principal, first.recovery_interest) == (1000, Decimal("75.50"))
    assert replay.applied["c1"].exception == "more than the credit balance"
    assert (last.credit_paid_out, last.credit, last.unapplied_moved) == (Decimal("424.50"), 0, Decimal("-0.01"))
    assert (last.recovered_principal, last.recovered_interest) == (1000, Decimal("75.50"))


def test_a_refund_beyond_what_was_charged_off_is_a_credit() -> None:
    replay = Replay(
        agreed(),
        moved("v1", "recovery", "1000.00", "2025-07-01"),
        moved("f1", "refund", "100.00", "2025-07-02"),
        until="2025-07-02",
    )

    assert replay.applied["f1"] == Application(
        recovery_interest=Decimal("75.50"), credit=Decimal("24.50"), discount_returned=Decimal("5.00")
    )
    assert replay["2025-07-02"].credit_refunded == Decimal("24.50")


def test_a_recovery_that_is_reversed_leaves_the_others_what_it_was() -> None:
    replay = Replay(
        agreed(),
        moved("v1", "recovery", "1000.00", "2025-07-01"),
        moved("v2", "recovery", "500.00", "2025-07-02"),
        moved("r1", "payment_reversal", "1000.00", "2025-07-03", of="v1"),
        moved("r2", "payment_reversal", "500.00", "2025-07-04", of="v2"),
        until="2025-07-04",
    )

    assert replay.applied["v2"] == Application(recovery_interest=Decimal("75.50"), credit=Decimal("424.50"))
    # Without v1, all that v2 brought is principal.
    assert replay.applied["r1"] == Application(
        recovery_principal=Decimal("-500.00"), recovery_interest=Decimal("-75.50"), credit=Decimal("-424.50")
    )
    row = replay["2025-07-03"]
    assert (row.recovered_principal, row.recovered_interest, row.credit) == (500, 0, 0)
    assert replay.applied["r2"] == Application(recovery_principal=Decimal("-500.00"))
    assert replay["2025-07-04"].recovered_principal == 0


def test_a_recovery_that_is_reversed_after_its_credit_was_paid_out_is_a_loss() -> None:
    replay = Replay(
        agreed(),
        moved("v1", "recovery", "1500.00", "2025-07-01"),
        moved("c1", "credit_refund", "424.50", "2025-07-02"),
        moved("r1", "payment_reversal", "1500.00", "2025-07-03", of="v1"),
        moved("v2", "recovery", "1600.00", "2025-07-04"),
        until="2025-07-04",
    )

    row = replay["2025-07-03"]
    assert replay.applied["r1"] == Application(
        recovery_principal=Decimal("-1000.00"), recovery_interest=Decimal("-75.50"), principal=Decimal("-424.50")
    )
    assert (row.principal_reversed, row.principal_charged_off) == (Decimal("424.50"), Decimal("424.50"))
    assert (row.charged_off_principal, row.charged_off_interest) == (Decimal("1424.50"), Decimal("75.50"))
    assert (row.recovered_principal, row.recovered_interest) == (0, 0)
    assert replay.applied["v2"] == Application(
        recovery_principal=Decimal("1424.50"), recovery_interest=Decimal("75.50"), credit=Decimal("100.00")
    )


def test_what_came_back_of_a_charged_off_loan_pays_for_a_payment_that_is_reversed() -> None:
    replay = Replay(
        agreed(),
        P1,
        moved("v1", "recovery", "1000.00", "2025-07-05"),
        moved("r1", "payment_reversal", "259.58", "2025-07-10", of="p1"),
        until="2025-07-10",
    )

    # Charged off were 755.92 and 55.94; without p1, 1,000.00 and 75.50 on 1 June.
    assert replay.applied["v1"] == Application(
        recovery_principal=Decimal("755.92"), recovery_interest=Decimal("55.94"), credit=Decimal("188.14")
    )
    assert replay.applied["r1"] == Application(
        interest=Decimal("-15.50"),
        principal=Decimal("-244.08"),
        credit=Decimal("-188.14"),
        recovery_principal=Decimal("244.08"),
        recovery_interest=Decimal("-55.94"),
        interest_given_back=Decimal("-4.06"),
    )
    row = replay["2025-07-10"]
    assert owed(row) == ("0.00", "0.00", "0.00", 0)
    assert (row.charged_off_principal, row.charged_off_interest) == (1000, Decimal("75.50"))
    assert (row.recovered_principal, row.recovered_interest) == (1000, 0)


def test_a_payoff_reversed_when_its_instalment_is_120_days_past_due_is_charged_off() -> None:
    replay = Replay(
        agreed(), PAYOFF, moved("r1", "payment_reversal", "1010.00", "2025-07-01", of="p1"), until="2025-07-01"
    )

    row = replay["2025-07-01"]
    assert (row.principal_charged_off, row.interest_charged_off) == (Decimal("1000.00"), Decimal("75.50"))
    assert row.interest_given_back == Decimal("10.00") - Decimal("75.50")
    assert (row.status, row.settled_on, row.charged_off_on) == ("charged_off", None, on("2025-06-01"))


NEVER_PAID = (Decimal("1000.00"), Decimal("75.50"))
"""What is charged off on 1 June, 120 days past due, of the loan that is never paid: 151 days of 0.50 are 75.50."""


def charged_off(row: Day) -> tuple[Decimal, Decimal]:
    return row.charged_off_principal, row.charged_off_interest


def test_all_is_recovered_first_principal_then_interest() -> None:
    replay = Replay(
        agreed(),
        moved("v1", "recovery", "999.00", "2025-06-30"),
        moved("v2", "recovery", "76.50", "2025-07-01"),
        until="2025-07-01",
    )
    at_once = Replay(agreed(), moved("v1", "recovery", "1075.50", "2025-07-01"), until="2025-07-01")

    assert replay.applied["v1"] == Application(recovery_principal=Decimal("999.00"))
    assert replay.applied["v2"] == Application(recovery_principal=Decimal("1.00"), recovery_interest=Decimal("75.50"))
    assert at_once.applied["v1"] == Application(
        recovery_principal=Decimal("1000.00"), recovery_interest=Decimal("75.50")
    )
    for row in (replay["2025-07-01"], at_once["2025-07-01"]):
        assert charged_off(row) == NEVER_PAID
        assert row.charged_off_principal - row.recovered_principal == 0  # the net loss
        assert (row.status, row.credit) == ("charged_off", 0)


@pytest.mark.parametrize(("day", "paid", "credit"), [("2025-05-31", "75.00", "5.00"), ("2025-06-01", "75.50", "4.50")])
def test_a_recovery_on_a_loan_that_is_not_charged_off_is_a_payment(day: str, paid: str, credit: str) -> None:
    replay = Replay(agreed(), moved("v1", "recovery", "1080.00", day), until="2025-07-01")

    assert parts(replay.applied["v1"]) == (paid, "1000.00", credit)
    assert replay.applied["v1"].exception is None
    row = replay["2025-07-01"]
    assert (row.status, str(row.credit), row.charged_off_on) == ("repaid", credit, None)
    assert replay[day].credit_overpaid == Decimal(credit)


def test_a_payoff_of_friday_that_comes_after_a_charge_off_on_sunday_reverses_it() -> None:
    assert [on(day).strftime("%A") for day in ("2025-05-30", "2025-06-01", "2025-06-02")] == [
        "Friday",
        "Sunday",
        "Monday",
    ]
    p1 = moved("p1", "payment", "1074.50", "2025-06-02", at="2025-05-30")
    replay = Replay(agreed(), p1, until="2025-06-29")
    without = Replay(agreed(), until="2025-06-29")

    # 149 days are 74.50; the 1.00 of two more days is given back.
    assert replay.applied["p1"] == Application(
        interest=Decimal("74.50"), principal=Decimal("1000.00"), interest_given_back=Decimal("1.00")
    )
    row = replay["2025-06-02"]
    assert (row.principal_charged_off, row.interest_charged_off) == (Decimal("-1000.00"), Decimal("-75.50"))
    assert (row.status, row.charged_off_on, charged_off(row)) == ("repaid", None, (0, 0))
    assert (owed(row), row.settled_on) == (("0.00", "0.00", "0.00", 0), on("2025-06-02"))
    assert row.highest_days_past_due == 117  # on 29 May
    assert {day: each for day, each in replay.rows.items() if day < on("2025-06-02")} == {
        day: each for day, each in without.rows.items() if day < on("2025-06-02")
    }
    assert replay["2025-06-29"].status == "repaid"


def test_an_instalment_of_friday_that_comes_after_the_charge_off_puts_it_off() -> None:
    p1 = moved("p1", "payment", "259.58", "2025-06-02", at="2025-05-30")
    replay = Replay(agreed(), p1, until="2025-06-29")

    # 74.50 and 185.08; 0.40746 a day on the 814.92 left.
    assert interest(("1000", 149), ("814.92", 3)) == Decimal("75.72")
    assert replay.applied["p1"] == Application(
        interest=Decimal("74.50"), principal=Decimal("185.08"), interest_given_back=Decimal("75.50") - Decimal("75.72")
    )
    row = replay["2025-06-02"]
    assert (row.principal_charged_off, row.interest_charged_off) == (Decimal("-1000.00"), Decimal("-75.50"))
    assert (row.status, owed(row)) == ("open", ("814.92", "1.22", "0.00", 93))  # since 1 March
    assert replay["2025-06-28"].status == "open"
    again = replay["2025-06-29"]
    assert (again.charged_off_on, charged_off(again)) == (on("2025-06-29"), (Decimal("814.92"), Decimal("12.22")))


def test_the_same_that_comes_when_it_would_be_charged_off_again_moves_the_charge_off() -> None:
    p1 = moved("p1", "payment", "259.58", "2025-07-10", at="2025-05-30")
    replay = Replay(agreed(), p1, until="2025-07-10")

    # 30 days of 0.40746 until 29 June, when it is 120 days past due by what is known now.
    assert interest(("1000", 149), ("814.92", 30)) == Decimal("86.72")
    assert replay["2025-07-09"].charged_off_on == on("2025-06-01")
    row = replay["2025-07-10"]
    assert (row.charged_off_on, charged_off(row)) == (on("2025-06-29"), (Decimal("814.92"), Decimal("12.22")))
    assert (row.principal_charged_off, row.interest_charged_off) == (Decimal("-185.08"), Decimal("-63.28"))
    assert replay.applied["p1"].interest_given_back == Decimal("75.50") - Decimal("86.72")
    assert owed(row) == ("0.00", "0.00", "0.00", 0)


A_YEAR: dict[str, object] = {
    "principal": "1100.00",
    "apr": "15",
    "instalments": 12,
    "originated_on": "2024-01-01",
    "first_due_on": "2024-02-01",
}


def a_year_of(instalment: str) -> list[Movement]:
    months = [f"2024-{month:02}-01" for month in range(2, 13)] + ["2025-01-01"]
    return [moved(f"p{number:02}", "payment", instalment, day) for number, day in enumerate(months)]


def test_who_pays_the_contracts_instalment_is_never_past_due() -> None:
    # 1.25 % a month: the annuity of 12 is 11.0793..., 1,100.00 / it = 99.284...: the contract rounds to the nearest.
    exact = 1100 / sum(1 / Fraction("1.0125") ** number for number in range(1, 13))
    assert Fraction("99.28") < exact < Fraction("99.285")
    computed, nearest = agreed(**A_YEAR), agreed(**A_YEAR, rules=Rules(instalment_rounding="nearest"))
    stated = agreed(**A_YEAR, instalment=Decimal("99.28"))
    assert [str(each.instalment) for each in (computed, nearest, stated)] == ["99.29", "99.28", "99.28"]

    # By hand, in cents: days of each month, 2024 with its 29 February, at 15 / 36500 a day.
    left, accrued, posted = 110_000, Fraction(0), 0
    for month in (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31):
        accrued += month * Fraction(dollars(left)).limit_denominator(100) * 100 * 15 / 36_500
        left -= 9928 - (int(accrued + Fraction(1, 2)) - posted)
        posted = int(accrued + Fraction(1, 2))
    assert 0 < left < 100

    for terms in (computed, nearest, stated):
        replay = Replay(terms, *a_year_of("99.28"), until="2025-06-30")
        assert max(row.days_past_due for row in replay.rows.values()) == 0
        assert replay["2025-01-01"].principal == dollars(left)
        assert replay["2025-01-02"].principal_waived == dollars(left)
        assert replay["2025-06-30"].status == "repaid"
    assert Replay(computed, *a_year_of("99.28"), until="2025-01-01")["2025-01-01"].shortage == Decimal("0.12")


def test_what_a_contract_cannot_state() -> None:
    def problem(instalment: str) -> str | None:
        return contract_problem(Decimal(instalment), Decimal("1100.00"), Decimal("15"), 12, "monthly")

    assert [problem(each) for each in ("99.28", "99.29", "99.30")] == [None] * 3
    for each in ("99.27", "99.31", "13.76"):
        assert problem(each) == (
            f"{each} differs by more than a cent from 99.29, which is computed from the loan's other terms"
        )
    # 1.25 % of 1,100.00 are 13.75.
    assert problem("13.75") == ("13.75 never repays the loan, of which a period's interest is 13.75; computed 99.29")


@pytest.mark.parametrize(
    ("paid", "status", "late"), [("259.57", "open", 92), ("258.58", "open", 92), ("258.57", "charged_off", 0)]
)
def test_an_instalment_of_which_a_dollar_or_less_is_missing_is_met(paid: str, status: str, late: int) -> None:
    replay = Replay(agreed(), moved("p1", "payment", paid, "2025-06-01"), until="2025-06-01")

    assert parts(replay.applied["p1"]) == ("75.50", str(Decimal(paid) - Decimal("75.50")), "0.00")
    row = replay["2025-06-01"]
    assert (row.status, row.days_past_due) == (status, late)  # since 1 March
    assert row.shortage == (Decimal("259.58") - Decimal(paid) if status == "open" else 0)


def test_what_is_missing_of_all_instalments_comes_to_a_dollar_or_less() -> None:
    paid = [("259.18", "2025-02-01"), ("258.98", "2025-03-01"), ("259.57", "2025-04-01")]
    replay = Replay(agreed(), *(moved(f"p{day}", "payment", amount, day) for amount, day in paid), until="2025-04-02")

    # 0.40 and 0.60 are 1.00: both are met. The cent that is missing then is one too much.
    assert [str(replay[day].shortage) for day in ("2025-02-01", "2025-03-01", "2025-04-01")] == ["0.40", "1.00", "1.00"]
    assert replay["2025-04-01"].days_past_due == 0
    assert (replay["2025-04-02"].days_past_due, replay["2025-04-02"].amount_past_due) == (1, Decimal("0.01"))


def on_due_dates(*amounts: str) -> list[Movement]:
    return [moved(f"p{month}", "payment", amount, f"2025-0{month}-01") for month, amount in enumerate(amounts, 2)]


def test_who_pays_a_cent_less_on_each_due_date_is_never_past_due() -> None:
    replay = Replay(agreed(), *on_due_dates("259.57", "259.57", "259.57", "259.05"), until="2025-12-31")

    # 15.50, 10.58, 7.86 and 3.83 of interest; 3 x 259.57 and 259.05 are a cent less than 1,037.77.
    assert interest(("1000", 31), ("755.93", 28), ("506.94", 31), ("255.23", 30)) == Decimal("37.77")
    assert str(replay["2025-04-01"].shortage) == "0.03"
    assert owed(replay["2025-05-01"]) == ("0.01", "0.00", "0.00", 0)
    assert replay["2025-05-02"].principal_waived == Decimal("0.01")
    assert max(row.highest_days_past_due for row in replay.rows.values()) == 0
    assert {row.status for day, row in replay.rows.items() if day > on("2025-05-01")} == {"repaid"}
    # Of the last instalment 259.06 is left: who pays 259.57 of it too has paid 0.51 too much.
    again = Replay(agreed(), *on_due_dates(*["259.57"] * 4), until="2025-12-31")
    assert parts(again.applied["p5"]) == ("3.83", "255.23", "0.51")
    assert max(row.highest_days_past_due for row in again.rows.values()) == 0


@pytest.mark.parametrize(("paid", "late"), [("233.63", 0), ("233.62", 29)])
def test_a_product_may_count_90_percent_of_an_instalment_as_all_of_it(paid: str, late: int) -> None:
    # 90 % of 259.58 are 233.622.
    terms = agreed(rules=Rules(instalment_met_at=Decimal(90)))
    replay = Replay(terms, *on_due_dates(*[paid] * 4), until="2025-08-29")
    assert replay["2025-04-30"].days_past_due == late  # three of 233.62 meet two instalments in full, and not a third
    if late:
        return

    spells = (("1000", 31), ("781.87", 28), ("559.19", 31), ("334.22", 30))
    assert interest(*spells) == Decimal("40.13")  # 15.50, 10.95, 8.66 and 5.02
    assert owed(replay["2025-05-01"]) == ("105.61", "0.00", "0.00", 0)  # 1,040.13 less 4 x 233.63
    assert str(replay["2025-04-01"].shortage) == "77.85"  # 3 x 25.95
    assert (replay["2025-05-02"].days_past_due, replay["2025-05-02"].amount_past_due) == (1, Decimal("105.66"))
    assert interest(*spells, ("105.61", 120)) == Decimal("46.46")
    assert charged_off(replay["2025-08-29"]) == (Decimal("105.61"), Decimal("6.33"))


@pytest.mark.parametrize(("paid", "late"), [("225.00", 0), ("224.99", 1)])
def test_exactly_90_percent_are_enough(paid: str, late: int) -> None:
    terms = agreed(apr="0", rules=Rules(instalment_met_at=Decimal(90), shortages_carried=Decimal(0)))
    replay = Replay(terms, moved("p1", "payment", paid, "2025-02-01"), until="2025-02-02")

    assert replay["2025-02-02"].days_past_due == late  # of 250.00


@pytest.mark.parametrize(
    ("last", "left", "is_waived"), [("258.04", "0.99", True), ("258.03", "1.00", False), ("258.02", "1.01", False)]
)
def test_a_balance_of_less_than_a_dollar_is_waived_after_the_last_due_date(
    last: str, left: str, is_waived: bool
) -> None:
    replay = Replay(agreed(), *on_due_dates("259.58", "259.58", "259.58", last), until="2025-08-29")

    assert owed(replay["2025-05-01"]) == (left, "0.00", "0.00", 0)
    assert replay["2025-05-01"].waived_principal == 0
    after, end = replay["2025-05-02"], replay["2025-08-29"]
    if is_waived:
        assert (after.principal_waived, after.status, after.settled_on) == (Decimal(left), "repaid", on("2025-05-02"))
        assert (after.days_past_due, after.highest_days_past_due) == (0, 0)
        assert (end.waived_principal, end.charged_off_on) == (Decimal(left), None)
    else:
        assert (after.principal_waived, after.days_past_due) == (0, 1)
        # 37.76814 were accrued; 120 days of 0.0005 are 0.06.
        assert charged_off(end) == (Decimal(left), Decimal("0.06"))
        assert end.charged_off_on == on("2025-08-29")


@pytest.mark.parametrize(("paid", "is_waived"), [("1.00", False), ("1.01", True)])
def test_so_is_what_a_payment_after_it_leaves(paid: str, is_waived: bool) -> None:
    after = moved("p6", "payment", paid, "2025-05-02")
    replay = Replay(agreed(), *on_due_dates("259.58", "259.58", "259.58", "257.03"), after, until="2025-05-02")

    # 2.00 are left on 1 May, and accrue no cent in a day.
    row = replay["2025-05-02"]
    assert (row.principal, row.waived_principal) == ((0, Decimal("0.99")) if is_waived else (1, 0))


def test_a_product_may_waive_nothing() -> None:
    terms = agreed(rules=Rules(waived_below=Decimal(0)))
    replay = Replay(terms, *on_due_dates("259.58", "259.58", "259.58", "258.04"), until="2025-08-29")

    # 120 days of 0.000495 are 0.0594; with 37.76814, 37.82754.
    assert (replay["2025-05-02"].days_past_due, replay["2025-05-02"].principal_waived) == (1, 0)
    assert charged_off(replay["2025-08-29"]) == (Decimal("0.99"), Decimal("0.06"))


def test_a_late_row_takes_a_waiver_back() -> None:
    late = moved("p6", "payment", "0.50", "2025-05-10", at="2025-05-01")
    replay = Replay(agreed(), *on_due_dates("259.58", "259.58", "259.58", "258.04"), late, until="2025-05-10")

    # 0.49 is left by it, and waived on 2 May instead of 0.99.
    assert parts(replay.applied["p6"]) == ("0.00", "0.50", "0.00")
    row = replay["2025-05-10"]
    assert (row.principal_waived, row.waived_principal) == (Decimal("-0.50"), Decimal("0.49"))
    assert owed(row) == ("0.00", "0.00", "0.00", 0)


def test_a_full_refund_by_the_first_due_date_gives_all_interest_back() -> None:
    p1 = moved("p1", "payment", "100.00", "2025-01-11")
    for day in ("2025-01-21", "2025-02-01"):
        replay = Replay(agreed(), p1, moved("f1", "refund", "1000.00", day), until="2025-05-01")
        # p1 paid 5.00 and 95.00: what was paid is what the borrower gets back.
        assert parts(replay.applied["f1"]) == ("-5.00", "905.00", "100.00")
        assert replay.applied["f1"].discount_returned == 50
        assert owed(replay[day]) == ("0.00", "0.00", "100.00", 0)
        assert (replay[day].accrued, replay[day].status) == (0, "repaid")
    # Ten days of 0.50 and ten of 0.4525, 9.525; or 21 of them, 14.5025.
    assert interest(("1000", 10), ("905", 21)) == replay.applied["f1"].interest_given_back == Decimal("14.50")

    in_two = [moved("f1", "refund", "600.00", "2025-01-11"), moved("f2", "refund", "400.00", "2025-01-31")]
    late = [moved("f1", "refund", "1000.00", "2025-06-20", at="2025-01-31")]
    for refunds in (in_two, late):
        row = Replay(agreed(), *refunds, until="2025-06-20")["2025-06-20"]
        assert (owed(row), row.accrued, row.status) == (("0.00", "0.00", "0.00", 0), 0, "repaid")


def test_or_the_interest_is_owed() -> None:
    terms = agreed(rules=Rules(interest_after_full_refund="owed"))
    p1 = moved("p1", "payment", "100.00", "2025-01-11")
    paid = Replay(terms, p1, moved("f1", "refund", "1000.00", "2025-01-21"), until="2025-01-21")
    assert parts(paid.applied["f1"]) == ("4.53", "905.00", "90.47")  # ten days of 0.4525, and 5.00, are 9.525

    replay = Replay(terms, moved("f1", "refund", "1000.00", "2025-01-11"), until="2025-02-03")
    assert owed(replay["2025-01-11"]) == ("0.00", "5.00", "0.00", 0)
    assert (replay["2025-01-11"].oldest_due_on, replay["2025-01-11"].last_instalment) == (on("2025-02-01"), 1)
    assert owed(replay["2025-02-02"]) == ("0.00", "5.00", "0.00", 1)
    # Of two days, 1.00: not below; of one, 0.50 is waived after the only due date.
    for refunded_on, waived in (("2025-01-03", 0), ("2025-01-02", Decimal("0.50"))):
        row = Replay(terms, moved("f1", "refund", "1000.00", refunded_on), until="2025-02-02")["2025-02-02"]
        assert row.interest_waived == row.waived_interest == waived
        assert row.status == ("repaid" if waived else "open")


def test_a_full_refund_after_the_first_due_date_leaves_the_interest() -> None:
    f1 = moved("f1", "refund", "1000.00", "2025-02-02")
    replay = Replay(agreed(), f1, until="2025-02-03")
    assert parts(replay.applied["f1"]) == ("0.00", "1000.00", "0.00")
    assert owed(replay["2025-02-03"]) == ("0.00", "16.00", "0.00", 2)  # 32 days

    paid = Replay(agreed(), P1, f1, until="2025-02-02")
    assert parts(paid.applied["f1"]) == ("0.38", "755.92", "243.70")  # 15.87796 less 15.50
    assert paid.applied["f1"].interest_given_back == 0


@pytest.mark.parametrize(("rule", "left"), [("never_made", "25.00"), ("waived", "10.00")])
def test_the_interest_of_the_days_before_a_payment_is_returned(rule: str, left: str) -> None:
    terms = agreed(rules=Rules(returned_payment=rule))  # type: ignore[arg-type]
    r1 = moved("r1", "payment_reversal", "1010.00", "2025-02-20", of="p1")
    replay = Replay(terms, PAYOFF, r1, until="2025-02-21")

    # 20 days were paid for, 30 are between.
    assert parts(replay.applied["r1"]) == ("-10.00", "-1000.00", "0.00")
    assert replay.applied["r1"].interest_given_back == Decimal("10.00") - Decimal(left)
    assert owed(replay["2025-02-20"]) == ("1000.00", left, "0.00", 19)
    assert replay["2025-02-21"].interest == Decimal(left) + Decimal("0.50")


def test_interest_that_is_waived_on_a_loan_charged_off_meanwhile_is_not_charged_off() -> None:
    terms = agreed(rules=Rules(returned_payment="waived"))
    r1 = moved("r1", "payment_reversal", "1010.00", "2025-07-10", of="p1")
    replay = Replay(terms, PAYOFF, r1, until="2025-07-10")
    with_recovery = Replay(terms, PAYOFF, moved("v1", "recovery", "1020.00", "2025-07-01"), r1, until="2025-07-10")

    # Charged off on 1 June, with the interest of the 20 days that p1 had paid: of 75.50, 65.50 is waived.
    row = replay["2025-07-10"]
    assert (row.charged_off_on, charged_off(row)) == (on("2025-06-01"), (1000, 10))
    assert (row.credit, row.accrued) == (0, 10)
    assert parts(replay.applied["r1"]) == ("-10.00", "-1000.00", "0.00")
    # v1 pays both, and 10.00 too much.
    row = with_recovery["2025-07-10"]
    assert charged_off(row) == (row.recovered_principal, row.recovered_interest) == (1000, 10)
    assert (row.credit, row.accrued) == (10, 10)


def test_a_refund_of_more_than_the_price_is_refused() -> None:
    refused = "more than the price, with what was refunded before"
    replay = Replay(agreed(), moved("f1", "refund", "10000.00", "2025-01-11"), until="2025-01-11")
    assert replay.applied["f1"] == Application(unapplied=Decimal("10000.00"), exception=refused)
    row = replay["2025-01-11"]
    assert (owed(row), row.unapplied, row.discount_returned) == (("1000.00", "5.00", "0.00", 0), 10000, 0)

    for amount, second in (("1000.00", 1000), ("600.00", 600)):
        twice = [moved(f"f{number}", "refund", amount, f"2025-02-1{number}") for number in (1, 2)]
        replay = Replay(agreed(), *twice, until="2025-02-12")
        assert (replay.applied["f1"].exception, replay.applied["f2"].exception) == (None, refused)
        assert replay.applied["f2"].unapplied == replay["2025-02-12"].unapplied == second
        assert replay["2025-02-12"].refunded == Decimal(amount)


def test_the_reversal_of_a_refused_refund_takes_its_money_out_again() -> None:
    replay = Replay(
        agreed(),
        moved("f1", "refund", "10000.00", "2025-01-11"),
        moved("r1", "refund_reversal", "10000.00", "2025-01-12", of="f1"),
        until="2025-01-12",
    )

    assert replay.applied["r1"] == Application(unapplied=Decimal("-10000.00"))
    assert replay["2025-01-12"].unapplied == 0


def test_a_payment_is_reversed_in_parts_and_no_further() -> None:
    replay = Replay(
        agreed(),
        P1,
        moved("r1", "payment_reversal", "100.00", "2025-02-10", of="p1"),
        moved("r2", "payment_reversal", "100.00", "2025-02-11", of="p1"),
        moved("r3", "payment_reversal", "59.59", "2025-02-12", of="p1"),
        moved("r4", "payment_reversal", "59.58", "2025-02-13", of="p1"),
        moved("r5", "payment_reversal", "0.01", "2025-02-14", of="p1"),
        until="2025-02-14",
    )

    # 159.58 would have paid 15.50 and 144.08: nine days of 0.42796. Then 59.58: ten days of 0.47796.
    assert interest(("1000", 31), ("755.92", 9)) == Decimal("18.90")
    assert interest(("1000", 31), ("855.92", 9)) == Decimal("19.35")
    assert replay.applied["r1"] == Application(principal=Decimal("-100.00"), interest_given_back=Decimal("-0.45"))
    assert owed(replay["2025-02-10"]) == ("855.92", "3.85", "0.00", 9)
    assert interest(("1000", 31), ("955.92", 10)) == Decimal("20.28")
    assert owed(replay["2025-02-11"]) == ("955.92", "4.78", "0.00", 10)
    assert replay.applied["r3"] == Application(
        unapplied=Decimal("-59.59"), exception="more than is left of what it reverses"
    )
    assert parts(replay.applied["r4"]) == ("-15.50", "-44.08", "0.00")
    assert owed(replay["2025-02-13"]) == ("1000.00", "21.50", "0.00", 12)  # 43 days
    assert replay.applied["r5"].exception == "reverses what was reversed before"


@pytest.mark.parametrize(
    ("amount", "left", "charged", "discount", "last"),
    [("300.00", "1000.00", "10.00", "15.00", 4), ("100.00", "800.00", "9.00", "5.00", 4)],
)
def test_a_refund_is_reversed(amount: str, left: str, charged: str, discount: str, last: int) -> None:
    r1 = moved("r1", "refund_reversal", amount, "2025-01-21", of="f1")
    replay = Replay(agreed(), moved("f1", "refund", "300.00", "2025-01-11"), r1, until="2025-01-21")

    # Ten days of 0.50, and ten of 0.35, of 0.40 or of 0.50.
    assert owed(replay["2025-01-20"]) == ("700.00", "8.15", "0.00", 0)
    assert replay["2025-01-20"].last_instalment == 3
    assert replay.applied["r1"] == Application(
        principal=-Decimal(amount),
        interest_given_back=Decimal("8.50") - Decimal(charged),
        discount_returned=-Decimal(discount),
    )
    row = replay["2025-01-21"]
    assert owed(row) == (left, charged, "0.00", 0)
    assert (row.last_instalment, row.refunded) == (last, 300 - Decimal(amount))
    assert row.principal_reversed == Decimal(amount)


def test_a_refund_may_come_again_for_what_was_reversed_of_it() -> None:
    replay = Replay(
        agreed(),
        moved("f1", "refund", "1000.00", "2025-01-11"),
        moved("r1", "refund_reversal", "400.00", "2025-01-12", of="f1"),
        moved("f2", "refund", "400.01", "2025-01-13"),
        moved("f3", "refund", "400.00", "2025-01-13"),
        until="2025-01-13",
    )

    # f1 gave 5.00 back; of what stands of it, 600.00, no interest: a day of 0.20 is owed, too.
    assert replay.applied["r1"].interest_given_back == Decimal("-5.20")
    assert owed(replay["2025-01-12"]) == ("400.00", "5.20", "0.00", 0)
    assert replay.applied["f2"].exception is not None
    assert owed(replay["2025-01-13"]) == ("0.00", "0.00", "0.00", 0)
    assert replay["2025-01-13"].discount_returned == 50


def falls_due(row: Day) -> tuple[str, str | None, str]:
    return str(row.amount_past_due), row.next_due_on and row.next_due_on.isoformat(), str(row.next_due_amount)


def test_what_is_past_due_and_what_falls_due_next() -> None:
    never = Replay(agreed(), until="2025-08-31")
    assert falls_due(never["2025-01-01"]) == ("0.00", "2025-02-01", "259.58")
    assert falls_due(never["2025-02-01"]) == ("0.00", "2025-02-01", "259.58")  # it may be paid that day
    assert falls_due(never["2025-02-02"]) == ("259.58", "2025-03-01", "259.58")
    # 91 days, 45.50; the last instalment is whatever is left.
    assert falls_due(never["2025-04-02"]) == ("778.74", "2025-05-01", "266.76")
    assert falls_due(never["2025-05-02"]) == ("1060.50", None, "0.00")
    assert falls_due(never["2025-06-01"]) == ("0.00", None, "0.00")

    part = Replay(agreed(), moved("p1", "payment", "100.00", "2025-02-01"), until="2025-02-02")
    assert falls_due(part["2025-02-01"]) == ("0.00", "2025-02-01", "159.58")
    assert falls_due(part["2025-02-02"]) == ("159.58", "2025-03-01", "259.58")
    ahead = Replay(agreed(), moved("p1", "payment", "300.00", "2025-02-01"), until="2025-02-02")
    assert falls_due(ahead["2025-02-02"]) == ("0.00", "2025-03-01", "219.16")
    two = Replay(agreed(), moved("p1", "payment", "519.16", "2025-02-01"), until="2025-02-02")
    assert falls_due(two["2025-02-02"]) == ("0.00", "2025-04-01", "259.58")
    short = Replay(agreed(), moved("p1", "payment", "259.57", "2025-02-01"), until="2025-02-02")
    assert falls_due(short["2025-02-02"]) == ("0.00", "2025-03-01", "259.58")
    repaid = Replay(agreed(), PAYOFF, until="2025-02-02")
    assert falls_due(repaid["2025-02-02"]) == ("0.00", None, "0.00")
    # A refund cures nothing: 100.00 and 20.50 are all of the first instalment, which is the last.
    refunded = Replay(agreed(), moved("f1", "refund", "900.00", "2025-02-11"), until="2025-02-11")
    assert falls_due(refunded["2025-02-11"]) == ("120.50", None, "0.00")


def test_the_most_days_that_a_loan_has_been_past_due() -> None:
    cured = Replay(agreed(), moved("p1", "payment", "259.58", "2025-02-11"), until="2025-03-06")
    assert [cured[f"2025-02-{day}"].highest_days_past_due for day in ("01", "10", "11", "28")] == [0, 9, 9, 9]
    assert cured["2025-02-11"].opening_highest_days_past_due == 9
    assert cured["2025-03-06"].highest_days_past_due == 9
    assert Replay(agreed(), until="2025-07-01")["2025-07-01"].highest_days_past_due == 120
    # By what is known now, it never was past due.
    late = Replay(agreed(), moved("p1", "payment", "259.58", "2025-02-11", at="2025-02-01"), until="2025-02-11")
    assert [late[f"2025-02-{day}"].highest_days_past_due for day in ("10", "11")] == [9, 0]


def test_a_credit_is_owed_since_the_day_on_which_the_books_learned_of_it() -> None:
    replay = Replay(
        agreed(),
        moved("p1", "payment", "1100.00", "2025-01-21"),
        moved("p2", "payment", "5.00", "2025-01-25", at="2025-01-02"),
        moved("r1", "payment_reversal", "1100.00", "2025-01-31", of="p1"),
        moved("p3", "payment", "1100.00", "2025-02-05"),
        until="2025-02-05",
    )

    since = [replay[day].credit_since for day in ("2025-01-20", "2025-01-21", "2025-01-25", "2025-01-31")]
    assert since == [None, on("2025-01-21"), on("2025-01-21"), None]
    assert replay["2025-02-05"].credit_since == on("2025-02-05")


@pytest.mark.parametrize(
    ("movements", "exception"),
    [
        pytest.param(
            [
                moved("x", "payment_reversal", "259.58", "2025-02-03", of="p1"),
                moved("a", "payment_reversal", "259.58", "2025-02-02", of="p1"),
            ],
            "reverses what was reversed before",
            id="twice",
        ),
        pytest.param(
            [
                moved("x", "payment_reversal", "259.58", "2025-02-03", of="p1"),
                moved("a", "payment_reversal", "259.58", "2025-02-03", of="p1"),
            ],
            "reverses what was reversed before",
            id="twice on a day",
        ),
        pytest.param(
            [moved("x", "payment_reversal", "259.59", "2025-02-03", of="p1")],
            "more than is left of what it reverses",
            id="more than it was",
        ),
        pytest.param(
            [moved("x", "payment_reversal", "259.58", "2025-02-03", of="p2")],
            "reverses no payment or recovery of this loan",
            id="of nothing",
        ),
        pytest.param(
            [
                moved("x", "payment_reversal", "10.00", "2025-02-03", of="f1"),
                moved("f1", "refund", "10.00", "2025-02-02"),
            ],
            "reverses no payment or recovery of this loan",
            id="of a refund",
        ),
        pytest.param(
            [moved("x", "refund_reversal", "259.58", "2025-02-03", of="p1")],
            "reverses no refund of this loan",
            id="of a payment, as if it were a refund",
        ),
        pytest.param(
            [moved("x", "refund", "1000.01", "2025-02-03")],
            "more than the price, with what was refunded before",
            id="a refund of more than the price",
        ),
        pytest.param(
            [moved("x", "credit_refund", "0.01", "2025-02-03")],
            "more than the credit balance",
            id="a credit refund without a credit",
        ),
    ],
)
def test_what_cannot_be_applied_moves_nothing_but_money(movements: list[Movement], exception: str) -> None:
    replay = Replay(agreed(), P1, *movements, until="2025-02-03")
    without = Replay(agreed(), P1, *movements[1:], until="2025-02-03")

    refused = replay.applied["x"]
    sign = 1 if movements[0].kind == "refund" else -1
    assert refused == Application(unapplied=sign * movements[0].amount, exception=exception)
    row = replay["2025-02-03"]
    assert row == without["2025-02-03"]._replace(unapplied_moved=refused.unapplied, unapplied=refused.unapplied)


def test_a_payment_comes_to_nothing_if_its_reversal_came_before_it() -> None:
    replay = Replay(
        agreed(),
        moved("r1", "payment_reversal", "259.58", "2025-01-31", of="p1"),
        P1,
        moved("r2", "payment_reversal", "259.58", "2025-02-02", of="p1"),
        until="2025-02-02",
    )

    assert replay.applied["r1"].unapplied == Decimal("-259.58")
    assert replay.applied["p1"] == Application(unapplied=Decimal("259.58"), exception="was reversed before it came")
    assert owed(replay["2025-02-01"]) == ("1000.00", "15.50", "0.00", 0)
    assert replay["2025-02-01"].paid == 0
    assert replay.applied["r2"].exception == "reverses what was reversed before"


@pytest.mark.parametrize(("came_on", "is_reversed"), [("2025-01-01", True), ("2024-12-31", False)])
def test_a_reversal_waits_35_days_for_its_payment(came_on: str, is_reversed: bool) -> None:
    terms = agreed(originated_on="2024-12-01", first_due_on="2025-01-01")
    late = moved("p1", "payment", "259.58", "2025-02-05", at="2025-01-20")
    replay = Replay(terms, moved("r1", "payment_reversal", "259.58", came_on, of="p1"), late, until="2025-02-05")

    assert (replay.applied["p1"].exception is not None) == is_reversed
    assert (replay["2025-02-05"].paid == 0) == is_reversed


@pytest.mark.parametrize(
    ("kind", "back", "amount", "left"),
    [
        ("payment", "payment_reversal", "100.00", "159.58"),
        ("payment", "payment_reversal", "259.59", "259.58"),
        ("recovery", "payment_reversal", "100.00", "159.58"),
        ("refund", "refund_reversal", "100.00", "159.58"),
        ("refund", "payment_reversal", "100.00", "259.58"),
    ],
)
def test_a_reversal_that_waits_takes_back_its_amount_and_no_more(kind: str, back: str, amount: str, left: str) -> None:
    replay = Replay(
        agreed(),
        moved("r1", back, amount, "2025-01-31", of="p1"),  # type: ignore[arg-type]
        moved("p1", kind, "259.58", "2025-02-01"),  # type: ignore[arg-type]
        until="2025-02-02",
    )

    came = replay.applied["p1"]
    assert came.interest + came.principal == Decimal(left)
    assert came.unapplied == Decimal("259.58") - Decimal(left)
    assert (came.exception == "was reversed before it came") == (came.unapplied != 0)
    assert replay["2025-02-02"].unapplied == came.unapplied - Decimal(amount)


@pytest.mark.parametrize(("came_on", "is_reversed"), [("2025-02-14", True), ("2025-02-13", False)])
def test_a_reversal_waits_from_the_day_it_came_not_from_its_own(came_on: str, is_reversed: bool) -> None:
    reversal = moved("r1", "payment_reversal", "259.58", came_on, at="2025-02-10", of="p1")
    waited = replace(reversal, posted_on=on("2025-03-20"), came_on=on(came_on))
    old = replace(reversal, effective_on=on("2025-01-02"))
    late = moved("p1", "payment", "259.58", "2025-03-21", at="2025-02-01")

    for each in (reversal, waited, old):
        replay = Replay(agreed(), each, late, until="2025-03-21")
        assert (replay.applied["p1"].exception == "was reversed before it came") == is_reversed
        assert (replay["2025-03-21"].principal == 1000) == is_reversed


def test_a_reversal_of_another_amount_does_not_stand_in_the_way_of_the_right_one() -> None:
    replay = Replay(
        agreed(),
        P1,
        moved("r1", "payment_reversal", "259.59", "2025-02-03", of="p1"),
        moved("r2", "payment_reversal", "259.58", "2025-02-04", of="p1"),
        until="2025-02-04",
    )

    assert replay.applied["r2"].exception is None
    assert replay["2025-02-04"].principal == 1000


def test_a_reversal_on_the_day_of_its_payment_comes_after_it() -> None:
    replay = Replay(agreed(), moved("a", "payment_reversal", "259.58", "2025-02-01", of="p1"), P1, until="2025-02-01")

    assert list(replay.applied) == ["p1", "a"]
    assert owed(replay["2025-02-01"]) == ("1000.00", "15.50", "0.00", 0)
    assert replay["2025-02-01"].paid == 0


def test_a_day_goes_by_effective_date_then_by_id() -> None:
    replay = Replay(
        agreed(),
        moved("b", "payment", "1.00", "2025-01-11"),
        moved("c", "payment", "1.00", "2025-01-11", at="2025-01-10"),
        moved("a", "refund", "1.00", "2025-01-11"),
        until="2025-01-11",
    )

    assert list(replay.applied) == ["c", "a", "b"]


def test_a_loan_booked_late_posts_what_accrued_since_its_origination() -> None:
    replay = Replay(agreed(), until="2025-01-16", booked_on="2025-01-15")

    assert min(replay.rows) == on("2025-01-15")
    first = replay["2025-01-15"]
    assert (first.opening_principal, first.opening_interest, first.opening_credit) == (0, 0, 0)
    assert (first.principal_lent, first.interest_accrued) == (1000, 7)
    assert owed(replay["2025-01-16"]) == ("1000.00", "7.50", "0.00", 0)


def test_a_payment_that_waited_for_its_loan_counts_from_its_day() -> None:
    waited = moved("p1", "payment", "100.00", "2025-01-15", at="2025-01-10")
    replay = Replay(agreed(), waited, until="2025-01-15", booked_on="2025-01-15")

    # Nine days, 4.50; then five of 0.45225: 6.76125 of the 7.00 posted.
    assert parts(replay.applied["p1"]) == ("4.50", "95.50", "0.00")
    assert replay.applied["p1"].interest_given_back == Decimal("0.24")
    assert owed(replay["2025-01-15"]) == ("904.50", "2.26", "0.00", 0)


def test_a_loan_booked_when_it_is_120_days_past_due_is_charged_off_that_day() -> None:
    replay = Replay(agreed(), until="2025-06-16", booked_on="2025-06-15")

    assert min(replay.rows) == on("2025-06-15")
    first = replay["2025-06-15"]
    assert (first.principal_lent, first.principal_charged_off) == (1000, 1000)
    assert first.interest_accrued == first.interest_charged_off == Decimal("82.50")  # 165 days
    assert replay["2025-06-16"].charged_off_on == on("2025-06-15")


def test_what_was_paid_before_so_late_a_booking_saves_it() -> None:
    waited = moved("p1", "payment", "259.58", "2025-06-15", at="2025-02-01")
    replay = Replay(agreed(), waited, until="2025-06-29", booked_on="2025-06-15")

    assert replay["2025-06-15"].principal == Decimal("755.92")
    assert replay["2025-06-15"].days_past_due == 106
    assert replay["2025-06-29"].principal_charged_off == Decimal("755.92")


@pytest.mark.parametrize(
    ("late", "expected"),
    [
        (0, "current"),
        (1, "1-29"),
        (29, "1-29"),
        (30, "30-59"),
        (59, "30-59"),
        (60, "60-89"),
        (89, "60-89"),
        (90, "90-119"),
        (119, "90-119"),
        (120, "charged_off"),
    ],
)
def test_buckets(late: int, expected: str) -> None:
    as_of = on("2025-02-01") + timedelta(days=late)
    row = Replay(agreed(), until=as_of.isoformat()).rows[as_of]

    assert row.bucket == expected
    assert row.days_past_due == (late if late < 120 else 0)
    assert days_past_due(on("2025-02-01"), as_of) == late
    if late < 120:
        assert bucket(late) == expected


def test_a_settled_loan_has_rows_for_180_days_and_one_for_what_moves_later() -> None:
    replay = Replay(
        agreed(),
        PAYOFF,
        moved("x", "payment_reversal", "5.00", "2025-09-01", of="p9"),
        moved("p2", "payment", "7.00", "2025-10-01"),
        moved("c1", "credit_refund", "7.00", "2025-10-03"),
        until="2026-12-31",
    )

    last = on("2025-01-21") + timedelta(days=180)
    assert last == on("2025-07-20")
    assert [day for day in replay.rows if day > last][:4] == [
        on(f"2025-{day}") for day in ("09-01", "10-01", "10-02", "10-03")
    ]
    assert last in replay.rows
    assert replay["2025-09-01"].unapplied == -5
    assert replay["2025-09-01"].settled_on == on("2025-01-21")
    assert replay["2025-10-02"].credit == 7
    assert replay["2025-10-03"].settled_on == on("2025-10-03")
    assert max(replay.rows) == on("2025-10-03") + timedelta(days=180)


def test_a_charged_off_loan_has_a_row_always() -> None:
    replay = Replay(agreed(), until="2027-12-31")

    assert len(replay.rows) == (on("2027-12-31") - on("2025-01-01")).days + 1


def test_at_0_percent_nothing_accrues() -> None:
    terms = agreed(principal="100.00", apr="0", frequency="biweekly", first_due_on="2025-01-15", merchant_discount="0")
    replay = Replay(
        terms, *(moved(f"p{n}", "payment", "25.00", day) for n, day in enumerate(_FORTNIGHTS)), until="2025-02-26"
    )

    assert [owed(replay[day])[0] for day in _FORTNIGHTS] == ["75.00", "50.00", "25.00", "0.00"]
    assert {(row.interest, row.interest_accrued, row.days_past_due) for row in replay.rows.values()} == {(0, 0, 0)}


_FORTNIGHTS = ("2025-01-15", "2025-01-29", "2025-02-12", "2025-02-26")


def test_every_fortnight_of_a_biweekly_loan_accrues_14_days() -> None:
    # 14 days at 18.25 % are 0.7 %: the annuity of 4 is (1 - 1.007^-4) / 0.007 = 3.930..., 1,000.00 / it = 254.391...
    annuity = sum(1 / Fraction("1.007") ** number for number in range(1, 5))
    terms = agreed(frequency="biweekly", first_due_on="2025-01-15")
    assert 0 < Fraction(terms.instalment) - 1000 / annuity < Fraction("0.01")
    replay = Replay(terms, moved("p1", "payment", terms.instalment, "2025-01-15"), until="2025-01-29")

    assert parts(replay.applied["p1"]) == ("7.00", str(terms.instalment - 7), "0.00")
    assert replay["2025-01-29"].interest == dollars(Fraction(1000 - terms.instalment + 7) * Fraction("0.7"))


@pytest.mark.parametrize(
    "movement",
    [
        pytest.param(moved("x", "payment_reversal", "1.00", "2025-01-11", of="p1"), id="a reversal"),
        pytest.param(moved("x", "payment", "1.00", "2025-01-11", at="2025-01-10"), id="a late payment"),
        pytest.param(moved("x", "refund", "1.00", "2025-01-11"), id="a refund"),
    ],
)
def test_what_depends_on_the_past_is_refused_without_it(movement: Movement) -> None:
    account = replace(Account.opened(agreed()), day=on("2025-01-11"), events=None)
    assert account.needs_events(movement)
    with pytest.raises(ValueError, match="transaction x: expected the account's earlier movements"):
        account.apply(movement)


def test_a_credit_refund_counts_on_the_day_it_came() -> None:
    movement = moved("x", "credit_refund", "1.00", "2025-01-11", at="2025-01-10")
    assert not Account.opened(agreed()).needs_events(movement)


def test_interest_is_carried_at_eight_places_and_posted_half_up() -> None:
    # CFPB form H-25(B): the first month of $162,000 at 3.875 % is 523.125, half a cent; published as 523.13.
    assert to_cents(Decimal("162000") * Decimal("3.875") / 1200) == Decimal("523.13")
    # A day of it in these books is 17.198630136986...
    assert daily_interest(Decimal("162000"), Decimal("3.875")) == Decimal("17.19863014")
    # 0.000000005 exactly: half up.
    assert daily_interest(Decimal("0.01"), Decimal("0.01825")) == Decimal("0.00000001")
    assert daily_interest(Decimal("0.01"), Decimal("0.01")) == 0
