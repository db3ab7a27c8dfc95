"""Level-payment schedules: published ones, the books' own, ten thousand of another library, and bad input."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from itertools import pairwise
from random import Random
from typing import Any

import pytest
from mortgagemath import LoanParams, PaymentFrequency, PaymentRounding, amortization_schedule

from affirm_assets.lender.finance import Instalment, level_schedule
from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.accrual import to_cents
from affirm_assets.lender.finance.instalment import level_instalment, rate_of
from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.finance.periods import DAY_COUNTS, FREQUENCIES, due_on, months_after, spans
from affirm_assets.lender.finance.rounding import ROUNDINGS
from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.finance.schedule import INTEREST_ROUNDINGS, PAYMENT_PERIODS, schedule
from affirm_assets.lender.finance.terms import Terms

CENT = Decimal("0.01")


def lent(**changed: Any) -> list[Instalment]:
    """1,000.00 at 12 % in four months, 30/360, of which a month is 1 %; each rounding to the nearest cent, half up."""
    loan: dict[str, Any] = {
        "principal": "1000.00",
        "apr": "12",
        "instalments": 4,
        "originated_on": "2025-01-01",
        "first_due_on": "2025-02-01",
        "frequency": "monthly",
        "day_count": "30/360",
        "payment_rounding": "half_up",
        "interest_rounding": "half_up",
    }
    loan |= changed
    for name in ("principal", "apr", "payment"):
        if isinstance(loan.get(name), str):
            loan[name] = Decimal(loan[name])
    for name in ("originated_on", "first_due_on"):
        if isinstance(loan[name], str):
            loan[name] = date.fromisoformat(loan[name])
    return level_schedule(loan.pop("principal"), loan.pop("apr"), loan.pop("instalments"), **loan)


def texts(rows: list[Instalment], *names: str) -> str:
    """Of the rows, these fields: in one row by spaces, and row by row by commas."""
    return ", ".join(" ".join(str(getattr(row, name)) for name in names) for row in rows)


def test_cfpb_form_h25b() -> None:
    """CFPB sample form H-25(B): half of a cent of interest, 523.125, is rounded up."""
    rows = lent(principal="162000.00", apr="3.875", instalments=360)
    assert len(rows) == 360
    assert texts(rows[:1], "payment", "interest", "principal") == "761.78 523.13 238.65"
    assert rows[-1].balance == 0
    [even, *_] = lent(principal="162000.00", apr="3.875", instalments=360, interest_rounding="half_even")
    assert (even.payment, even.interest) == (Decimal("761.78"), Decimal("523.12"))


ACTUAL = {"day_count": "actual/actual", "payment_periods": "actual"}
IN_DECEMBER = {"originated_on": "2023-12-12", "first_due_on": "2024-01-12"}
IN_JULY = {"originated_on": "2024-07-01", "first_due_on": "2024-08-01"}

# Apache Fineract's progressive loan schedules: of 7 % from its documentation, of the others from its end-to-end tests,
# EMICalculation-Part1.feature and, of 10 %, LoanMerchantIssuedRefund.feature.
FINERACT = [
    pytest.param(
        {"principal": "100.00", "apr": "7", "instalments": 6},
        "17.01 17.00",
        "0.58 0.49 0.39 0.29 0.20 0.10",
        "83.57 67.05 50.43 33.71 16.90 0.00",
        id="100.00 at 7 %, 30/360",
    ),
    pytest.param(
        {"principal": "10000.00", "apr": "12", "instalments": 6, **IN_DECEMBER, **ACTUAL},
        "1725.56 1725.59",
        "101.81 85.14 64.05 51.58 33.45 17.36",
        "8376.25 6735.83 5074.32 3400.34 1708.23 0.00",
        id="10,000.00 at 12 %, actual/actual, into a leap year",
    ),
    pytest.param(
        {"principal": "331.77", "apr": "10.65", "instalments": 5, **IN_DECEMBER, **ACTUAL},
        "68.14 68.12",
        "3.00 2.41 1.70 1.21 0.59",
        "266.63 200.90 134.46 67.53 0.00",
        id="331.77 at 10.65 %, actual/actual, into a leap year",
    ),
    pytest.param(
        {"principal": "100.00", "apr": "12", "instalments": 6, "originated_on": "2024-01-01"}
        | {"first_due_on": "2024-02-01"},
        "17.25 17.28",
        "1.00 0.84 0.67 0.51 0.34 0.17",
        "83.75 67.34 50.76 34.02 17.11 0.00",
        id="100.00 at 12 %, 30/360",
    ),
    pytest.param(
        {"principal": "1000.00", "apr": "10", "instalments": 3, **IN_JULY},
        "338.90 338.91",
        "8.33 5.58 2.80",
        "669.43 336.11 0.00",
        id="1,000.00 at 10 %, 30/360",
    ),
]


@pytest.mark.parametrize(("loan", "payments", "interest", "balances"), FINERACT)
def test_fineract(loan: dict[str, Any], payments: str, interest: str, balances: str) -> None:
    rows = as_fineract(loan)
    level = [row.payment for row in rows[:-1]]
    assert f"{level[0]} {rows[-1].payment}" == payments
    assert level == [level[0]] * len(level)
    assert " ".join(str(row.interest) for row in rows) == interest
    assert " ".join(str(row.balance) for row in rows) == balances


def as_fineract(loan: dict[str, Any]) -> list[Instalment]:
    """A level payment that Fineract computes, and then adjusts (EmiAdjustment.java): where the last payment differs by
    more cents than half of the instalments, each takes its part of that. Of the published loans it does so of one:
    331.77 at 10.65 % is 68.1342 a month, and 68.16 would be the last; a fifth of 0.03 makes it 68.14."""
    rows = lent(**loan)
    level, difference = rows[0].payment, rows[-1].payment - rows[0].payment
    if abs(difference) * 100 > len(rows) // 2:
        return lent(**loan, payment=(level + difference / len(rows)).quantize(CENT, ROUND_HALF_UP))
    return rows


def test_level_payments_that_fineract_begins_with() -> None:
    assert lent(principal="331.77", apr="10.65", instalments=5, **IN_DECEMBER, **ACTUAL)[0].payment == Decimal("68.13")
    # Of equal periods it would be another.
    [first, *_] = lent(principal="10000.00", instalments=6, **IN_DECEMBER, day_count="actual/actual")
    assert first.payment == Decimal("1725.48")


def test_fineract_after_a_refund() -> None:
    """LoanMerchantIssuedRefund.feature: of the last loan above, 338.90 is repaid on 10 July, and 50.00 refunded on 15.

    Within a month Fineract divides a month's interest of 30/360 by its actual days, which no day count here does; so
    these are made of a month's interest by hand. What the schedule says of whole months is the same.
    """
    [first, *_] = lent(principal="1000.00", apr="10", instalments=3, **IN_JULY)
    paid = to_cents(month("1000.00") * 9 / 31)
    assert (paid, first.payment - paid) == (Decimal("2.42"), Decimal("336.48"))
    left = Decimal("1000.00") - (first.payment - paid) - Decimal("50.00")
    assert left == Decimal("613.52")

    until_refund, until_august = to_cents(month("663.52") * 5 / 31), to_cents(month("613.52") * 17 / 31)
    [august] = lent(principal=str(left), apr="10", instalments=1, originated_on="2024-08-01", first_due_on="2024-09-01")
    interest = until_refund + until_august + august.interest
    assert interest == Decimal("8.80")
    left -= first.payment - interest
    [last] = lent(principal=str(left), apr="10", instalments=1, originated_on="2024-09-01", first_due_on="2024-10-01")
    assert texts([last], "interest", "balance") == "2.36 0.00"


def month(principal: str) -> Decimal:
    return Decimal(principal) * rate_of(Decimal(10), (30, 360))


def as_the_account_applies(terms: Terms) -> Iterator[Instalment]:
    """What a borrower pays who pays each instalment on its due date, by the account of the books."""
    account = Account.opened(terms)
    for number in range(1, terms.instalments + 1):
        due_on = terms.due_on(number)
        account.go_to(due_on)
        payment = account.owed if number == terms.instalments else min(terms.instalment, account.owed)
        paid = account.apply(Movement(str(number), "payment", payment, due_on, due_on))
        yield Instalment(number, due_on, payment, paid.interest, paid.principal, account.principal)
        if not account.is_owed:
            return


def random_terms(rng: Random) -> Terms:
    originated_on = date(2023, 1, 1) + timedelta(days=rng.randrange(1500))
    principal = Decimal(rng.choice([rng.randint(1, 500), rng.randint(100, 10_000_000)])) / 100
    apr = rng.choice([Decimal(0), Decimal(rng.randint(1, 3600)) / 100])
    return Terms.agreed(
        principal=principal,
        apr=apr,
        instalments=rng.randint(1, 18),
        frequency=rng.choice(["monthly", "biweekly"]),
        originated_on=originated_on,
        first_due_on=originated_on + timedelta(days=rng.choice([14, 30, 31, rng.randint(1, 120)])),
        due_day=rng.choice([None, None, rng.randint(1, 31)]),
        effective_rate=apr,
        rules=Rules(instalment_rounding=rng.choice(["up", "nearest"])),
    )


def test_the_books_schedule_is_what_the_account_applies() -> None:
    rng = Random(3_653)
    for _ in range(2_000):
        terms = random_terms(rng)
        assert schedule(terms) == list(as_the_account_applies(terms)), terms


def test_the_computed_payment_is_the_books_instalment() -> None:
    rng = Random(31)
    for _ in range(200):
        terms = random_terms(rng)
        rows = level_schedule(
            terms.principal,
            terms.apr,
            terms.instalments,
            originated_on=terms.originated_on,
            first_due_on=terms.first_due_on,
            frequency=terms.frequency,
            day_count="actual/365",
            payment_rounding="up" if terms.rules.instalment_rounding == "up" else "half_up",
            interest_rounding="cumulative",
            due_day=terms.due_day if terms.frequency == "monthly" else None,
        )
        assert rows == schedule(terms)


def test_an_instalment_to_the_nearest_cent_still_repays() -> None:
    # 3 % of 0.34 are 0.0102, and the annuity of 120 months is 0.0105.
    terms = Decimal("0.34"), Decimal(36), 120, "monthly"
    assert level_instalment(*terms, "nearest") == level_instalment(*terms) == Decimal("0.02")  # type: ignore[arg-type]


MORTGAGEMATH_FREQUENCIES = {
    "weekly": PaymentFrequency.WEEKLY,
    "biweekly": PaymentFrequency.BIWEEKLY,
    "semimonthly": PaymentFrequency.SEMI_MONTHLY,
    "monthly": PaymentFrequency.MONTHLY,
    "quarterly": PaymentFrequency.QUARTERLY,
}
MORTGAGEMATH_ROUNDINGS = {
    "half_up": PaymentRounding.ROUND_HALF_UP,
    "half_even": PaymentRounding.ROUND_HALF_EVEN,
    "up": PaymentRounding.ROUND_UP,
}


@pytest.mark.filterwarnings("ignore::mortgagemath.EarlyPayoffWarning")
def test_ten_thousand_random_loans() -> None:
    """Of equal periods, as mortgagemath has them: payments, interest, and balances to the cent.

    Its rate of a period has 28 digits. So rates are chosen of which that is all of them, and a half cent is one.
    """
    rng = Random(30_360)
    for _ in range(10_000):
        frequency = rng.choice(FREQUENCIES)
        of_year = MORTGAGEMATH_FREQUENCIES[frequency]
        # 13 weeks are a quarter, and 13 fortnights half a year.
        months = {"weekly": 3, "biweekly": 6, "quarterly": 3}.get(frequency, 1) * rng.choice([1, 1, 2, 3, 4])
        apr = rng.randint(0, 1200) * (Decimal("0.13") if frequency in ("weekly", "biweekly") else Decimal("0.03"))
        principal = Decimal(rng.randint(1_000, 50_000_000)) / 100
        payment_rounding, interest_rounding = rng.choice(list(ROUNDINGS)), rng.choice(list(ROUNDINGS))
        due_day = rng.randint(1, 31)
        begins = months_after(date(2024, rng.randint(1, 12), 1), 0, due_day)
        rows = level_schedule(
            principal,
            apr,
            months * of_year.payments_per_year // 12,
            originated_on=begins,
            first_due_on=due_on(begins, frequency, due_day, 2),
            frequency=frequency,
            day_count="30/360",
            payment_rounding=payment_rounding,
            interest_rounding=interest_rounding,
            due_day=None if frequency in ("weekly", "biweekly") else due_day,
        )
        loan = LoanParams(
            principal,
            apr,
            months,
            payment_frequency=of_year,
            payment_rounding=MORTGAGEMATH_ROUNDINGS[payment_rounding],
            interest_rounding=MORTGAGEMATH_ROUNDINGS[interest_rounding],
        )
        _, *theirs = amortization_schedule(loan)
        assert [(row.payment, row.interest, row.balance) for row in rows] == [
            (row.payment, row.interest, row.balance) for row in theirs
        ], loan


@pytest.mark.parametrize(
    ("loan", "due"),
    [
        pytest.param({"frequency": "weekly", "first_due_on": "2025-01-10"}, "01-10 01-17 01-24 01-31", id="weekly"),
        pytest.param({"frequency": "biweekly", "first_due_on": "2025-01-10"}, "01-10 01-24 02-07 02-21", id="biweekly"),
        pytest.param({"frequency": "monthly", "first_due_on": "2025-01-31"}, "01-31 02-28 03-31 04-30", id="monthly"),
        pytest.param({"frequency": "monthly", "due_day": 15}, "02-01 03-15 04-15 05-15", id="a due day"),
        pytest.param({"frequency": "quarterly"}, "02-01 05-01 08-01 11-01", id="quarterly"),
        pytest.param(
            {"frequency": "quarterly", "originated_on": "2024-11-30", "first_due_on": "2025-02-28"},
            "02-28 05-30 08-30 11-30",
            id="quarterly, on the day of the origination",
        ),
        pytest.param({"frequency": "semimonthly"}, "02-01 02-16 03-01 03-16", id="the 1st and the 16th"),
        pytest.param(
            {"frequency": "semimonthly", "first_due_on": "2025-01-30"}, "01-30 02-15 02-28 03-15", id="15th and 30th"
        ),
        pytest.param(
            {"frequency": "semimonthly", "first_due_on": "2025-01-15", "due_day": 31},
            "01-15 01-31 02-15 02-28",
            id="the 15th and the last",
        ),
        pytest.param(
            {"frequency": "semimonthly", "first_due_on": "2025-01-10", "due_day": 5},
            "01-10 01-20 02-05 02-20",
            id="the first on its own day",
        ),
    ],
)
def test_due_dates(loan: dict[str, Any], due: str) -> None:
    assert [row.due_on.isoformat()[5:] for row in lent(**loan)] == due.split()


@pytest.mark.parametrize(
    ("day_count", "since", "until", "due_days", "expected"),
    [
        pytest.param("30/360", "2025-01-15", "2025-02-15", (15,), ((30, 360),), id="a month"),
        pytest.param("30/360", "2025-01-31", "2025-02-28", (31,), ((30, 360),), id="a month, from last day to last"),
        pytest.param("30/360", "2025-02-28", "2025-03-31", (31,), ((30, 360),), id="a month, from February's last"),
        pytest.param("30/360", "2025-01-29", "2025-02-28", (29,), ((30, 360),), id="a month, to the 29th of February"),
        pytest.param("30/360", "2025-01-10", "2025-03-01", (1,), ((51, 360),), id="odd days"),
        pytest.param("30/360", "2025-01-15", "2025-03-31", (31,), ((76, 360),), id="odd days to a 31st"),
        pytest.param("30/360", "2025-01-31", "2025-03-15", (15,), ((45, 360),), id="odd days from a 31st"),
        pytest.param("30/360", "2025-01-01", "2025-01-16", (1, 16), ((15, 360),), id="a half month"),
        pytest.param("30/360", "2025-01-15", "2025-01-31", (15, 31), ((15, 360),), id="a half month to the last"),
        pytest.param("30/360", "2025-02-28", "2025-03-15", (15, 31), ((15, 360),), id="a half month from the last"),
        pytest.param("30/360", "2025-01-29", "2025-02-05", (), ((7, 364),), id="a week is the year's 52nd"),
        pytest.param("actual/365", "2024-02-01", "2024-03-01", (1,), ((29, 365),), id="actual/365"),
        pytest.param("actual/360", "2024-02-01", "2024-03-01", (1,), ((29, 360),), id="actual/360"),
        pytest.param("actual/actual", "2025-02-01", "2025-03-01", (1,), ((28, 365),), id="a year of 365 days"),
        pytest.param("actual/actual", "2024-02-01", "2024-03-01", (1,), ((29, 366),), id="a leap year"),
        pytest.param("actual/actual", "2023-12-12", "2024-01-12", (12,), ((19, 365), (12, 366)), id="both"),
        pytest.param("actual/actual", "2023-12-31", "2024-01-01", (1,), ((1, 366),), id="a day ends in its year"),
        pytest.param(
            "actual/actual", "2022-12-31", "2024-12-31", (31,), ((365, 365), (366, 366)), id="from year's end on"
        ),
    ],
)
def test_day_counts(day_count: Any, since: str, until: str, due_days: tuple[int, ...], expected: object) -> None:
    assert spans(date.fromisoformat(since), date.fromisoformat(until), day_count, due_days) == expected


def test_an_odd_first_period() -> None:
    # 45 days of 30/360 are 15.00, of 1,000.00; and 15 days are 5.00. The payment is that of equal periods.
    long, short = lent(first_due_on="2025-02-16"), lent(first_due_on="2025-01-16")
    assert texts(long, "payment", "interest") == "256.28 15.00, 256.28 7.59, 256.28 5.10, 261.44 2.59"
    assert texts(short, "payment", "interest") == "256.28 5.00, 256.28 7.49, 256.28 5.00, 251.14 2.49"


def test_payment_of_actual_periods() -> None:
    # 1,015.00 after 45 days, and then 1 % a month: 1,015.00 / 1.01 in four months, at the end of each.
    rows = lent(first_due_on="2025-02-16", payment_periods="actual")
    assert texts(rows, "payment", "interest") == "257.55 15.00, 257.55 7.57, 257.55 5.07, 257.54 2.55"


@pytest.mark.parametrize("day_count", DAY_COUNTS)
@pytest.mark.parametrize("frequency", FREQUENCIES)
def test_the_last_payment_of_actual_periods_differs_by_what_was_rounded(frequency: Any, day_count: Any) -> None:
    rng = Random(f"{frequency} {day_count}")
    for _ in range(20):
        rows = lent(
            principal=str(Decimal(rng.randint(10_000, 1_000_000)) / 100),
            apr=str(rng.randint(0, 36)),
            instalments=rng.randint(2, 30),
            frequency=frequency,
            first_due_on=date(2025, 1, 1) + timedelta(days=rng.randint(5, 60)),
            day_count=day_count,
            payment_periods="actual",
            interest_rounding=rng.choice(INTEREST_ROUNDINGS[:2]),
        )
        # Half a cent of each payment, and of each period's interest, which bear interest, too.
        assert abs(rows[-1].payment - rows[0].payment) <= len(rows) * CENT * 2
        assert rows[-1].balance == 0


@pytest.mark.parametrize(
    ("rounding", "interest"),
    [
        # 1 % of 10.50 is 0.105, of 10.10 is 0.101: half of a cent, and a tenth.
        ("half_up", "0.11 0.10"),
        ("half_even", "0.10 0.10"),
        ("up", "0.11 0.11"),
    ],
)
def test_interest_rounding(rounding: str, interest: str) -> None:
    firsts = [lent(principal=principal, interest_rounding=rounding)[0] for principal in ("10.50", "10.10")]
    assert " ".join(str(row.interest) for row in firsts) == interest


@pytest.mark.parametrize(
    ("rounding", "payments"),
    [
        # Of 0.05 a half is 0.025, of 0.15 it is 0.075, and a third of 100.00 is 33.333.
        ("half_up", "0.03 0.08 33.33"),
        ("half_even", "0.02 0.08 33.33"),
        ("up", "0.03 0.08 33.34"),
    ],
)
def test_payment_rounding(rounding: str, payments: str) -> None:
    loans = (("0.05", 2), ("0.15", 2), ("100.00", 3))
    firsts = [lent(principal=each, instalments=n, apr="0", payment_rounding=rounding)[0] for each, n in loans]
    assert " ".join(str(row.payment) for row in firsts) == payments


def test_interest_that_is_rounded_once_for_all_days() -> None:
    # 0.60 at 12 %, actual/365, accrues 0.00019726 a day, in January 0.00611506. In February 0.59 accrues 0.00543116,
    # which by itself is a cent; of 0.01154622 one is posted already. In March it is 0.01735562 in all.
    loan = {"principal": "0.60", "instalments": 3, "day_count": "actual/365", "payment": "0.02"}
    assert texts(lent(**loan, interest_rounding="cumulative"), "interest") == "0.01, 0.00, 0.01"
    assert texts(lent(**loan), "interest") == "0.01, 0.01, 0.01"


def test_at_0_percent() -> None:
    assert texts(lent(principal="100.00", apr="0", instalments=3), "payment", "interest", "balance") == (
        "33.33 0.00 66.67, 33.33 0.00 33.34, 33.34 0.00 0.00"
    )


def test_a_given_payment() -> None:
    # Repaid in fewer instalments; and where they are too few, the last is what is left.
    assert texts(lent(instalments=120, payment="400.00"), "payment", "balance") == (
        "400.00 610.00, 400.00 216.10, 218.26 0.00"
    )
    assert texts(lent(instalments=2, payment="400.00"), "payment", "balance") == "400.00 610.00, 616.10 0.00"
    assert texts(lent(instalments=1, payment="400.00"), "payment", "balance") == "1010.00 0.00"


def test_interest_that_a_payment_does_not_meet_is_paid_first_by_the_next() -> None:
    # 91 days before the first payment are 30.00: 20.00 of it are paid then, 10.00 and 10.00 by the next.
    rows = lent(first_due_on="2025-04-01", payment="20.00")
    assert texts(rows, "payment", "interest", "balance") == (
        "20.00 20.00 1000.00, 20.00 20.00 1000.00, 20.00 10.00 990.00, 999.90 9.90 0.00"
    )


def test_every_schedule_adds_up() -> None:
    rng = Random(11)
    for _ in range(300):
        principal = Decimal(rng.randint(1_000, 1_000_000)) / 100
        rows = lent(
            principal=str(principal),
            apr=str(Decimal(rng.randint(0, 3600)) / 100),
            instalments=rng.randint(1, 24),
            frequency=rng.choice(FREQUENCIES),
            first_due_on=date(2025, 1, 1) + timedelta(days=rng.randint(1, 60)),
            day_count=rng.choice(DAY_COUNTS),
            payment_rounding=rng.choice(list(ROUNDINGS)),
            interest_rounding=rng.choice(INTEREST_ROUNDINGS),
            payment_periods=rng.choice(PAYMENT_PERIODS),
        )
        assert sum(row.principal for row in rows) == principal
        assert rows[-1].balance == 0
        assert {row.payment for row in rows[:-1]} <= {rows[0].payment}
        for before, row in pairwise([None, *rows]):
            assert row is not None
            assert row.payment == row.interest + row.principal
            assert row.balance == (before.balance if before else principal) - row.principal
            assert all(str(amount)[-3] == "." for amount in (row.payment, row.interest, row.principal, row.balance))
            assert row.number == (before.number if before else 0) + 1


def test_does_not_depend_on_the_callers_decimal_context() -> None:
    loan = {"principal": "29999.99", "apr": "14.99", "instalments": 60, **IN_DECEMBER, **ACTUAL}
    for rounding in INTEREST_ROUNDINGS:
        expected = lent(**loan, interest_rounding=rounding)
        with localcontext(prec=3):
            assert lent(**loan, interest_rounding=rounding) == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"principal": "0.00"}, r"principal=0\.00: expected dollars above zero"),
        ({"principal": "-5.00"}, r"principal=-5\.00: expected dollars above zero"),
        ({"principal": "NaN"}, "principal=NaN: expected dollars above zero"),
        ({"principal": "10.005"}, r"principal=10\.005: expected dollars with two places at most"),
        ({"apr": "-0.01"}, r"apr=-0\.01: expected percent a year, zero or more"),
        ({"apr": "Infinity"}, "apr=Infinity: expected percent a year"),
        ({"instalments": 0}, "instalments=0: expected one or more"),
        ({"first_due_on": "2025-01-01"}, "first_due_on=2025-01-01: expected a day after originated_on=2025-01-01"),
        ({"frequency": "daily"}, "frequency='daily': expected one of weekly, biweekly, semimonthly, monthly, quar"),
        ({"day_count": "30E"}, "day_count='30E': expected one of 30/360, actual/365, actual/360, actual/actual"),
        ({"payment_rounding": "down"}, "payment_rounding='down': expected one of half_up, half_even, up"),
        ({"interest_rounding": "down"}, "interest_rounding='down': expected one of half_up, half_even, up, cumulative"),
        ({"payment_periods": "odd"}, "payment_periods='odd': expected one of equal, actual"),
        ({"due_day": 0}, "due_day=0: expected a day of the month, 1 to 31"),
        ({"due_day": 32}, "due_day=32: expected a day of the month, 1 to 31"),
        ({"due_day": 5, "frequency": "weekly"}, "due_day=5: expected none of instalments by the week"),
        ({"payment": "0.00"}, r"payment=0\.00: expected dollars above zero"),
        ({"payment": "300.001"}, r"payment=300\.001: expected dollars with two places at most"),
        (
            {"payment": "10.00"},
            r"payment=10\.00: expected more than 10\.00, which a period's interest on 1000\.00 comes to: it never",
        ),
        # A year's 365 days are of 360: more than what equal months pay in 50 years.
        (
            {"principal": "100000.00", "instalments": 600, "day_count": "actual/360"},
            r"payment=1002\.56: expected more than 1013\.89, .* it never repays the loan",
        ),
        # Half a cent that is rounded up each month.
        ({"principal": "0.50", "payment": "0.01"}, r"payment=0\.01: expected more than 0\.01, .* it never repays"),
    ],
)
def test_refuses(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        lent(**changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"principal": 100.0}, r"principal=100\.0: expected a Decimal, found a float"),
        ({"apr": 12}, "apr=12: expected a Decimal, found a int"),
        ({"instalments": 4.0}, r"instalments=4\.0: expected a whole number, found a float"),
        ({"payment": 300.0}, r"payment=300\.0: expected a Decimal, found a float"),
        ({"originated_on": None}, "originated_on=None: expected a date, found a NoneType"),
        ({"first_due_on": datetime(2025, 2, 1)}, r"first_due_on=.*: expected a date, found a datetime"),
    ],
)
def test_refuses_other_types(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        lent(**changed)
