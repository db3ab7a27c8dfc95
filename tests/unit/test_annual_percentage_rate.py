"""The annual percentage rate: Regulation Z's own examples, ten thousand rates of another library, and bad input."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext
from random import Random
from typing import Any

import pytest
import pyxirr

from affirm_assets.lender.finance import annual_percentage_rate
from affirm_assets.lender.finance.periods import PaymentFrequency, due_on, months_after
from affirm_assets.lender.finance.unit_periods import UnitPeriod, days_of, elapsed, unit_period

Flows = list[tuple[date, Decimal]]

DAY, WEEK, HALF_MONTH, MONTH, QUARTER, YEAR = (
    UnitPeriod(0, 1),
    UnitPeriod(0, 7),
    UnitPeriod(1, 0),
    UnitPeriod(2, 0),
    UnitPeriod(6, 0),
    UnitPeriod(24, 0),
)

PER_YEAR: dict[PaymentFrequency, int] = {
    "weekly": 52,
    "biweekly": 26,
    "semimonthly": 24,
    "monthly": 12,
    "quarterly": 4,
}


def on(day: str) -> date:
    return date.fromisoformat(day)


def flows(*each: str) -> Flows:
    """Of "1978-01-10 5000": a day and an amount."""
    return [(on(day), Decimal(amount)) for day, amount in (text.split() for text in each)]


def payments(first: str, amounts: str, *, months: int = 0, weeks: int = 0) -> Flows:
    """Payments at equal intervals. Of "250 23*230": 250 once, then 230, 23 times."""
    each: list[Decimal] = []
    for text in amounts.split():
        *times, amount = text.split("*")
        each += [Decimal(amount)] * int(times[0] if times else 1)
    begins = on(first)
    days = (months_after(begins, months * k) + timedelta(days=7 * weeks * k) for k in range(len(each)))
    return list(zip(days, each, strict=True))


def semimonthly(first: str, count: int, amount: str) -> Flows:
    days = [due_on(on(first), "semimonthly", on(first).day, number) for number in range(1, count + 1)]
    return [(day, Decimal(amount)) for day in days]


# 12 CFR 1026 (Regulation Z), Appendix J: the paragraph, what is advanced, what is paid, and the published APR. No
# dates are published of (b)(9): months are equal.
APPENDIX_J = [
    ("(b)(9)", flows("1978-01-10 1000"), payments("1978-02-10", "36*33.61", months=1), "12.83"),
    ("(c)(1)(i)", flows("1978-01-10 5000"), payments("1978-02-10", "24*230", months=1), "9.69"),
    ("(c)(1)(ii)", flows("1978-02-10 6000"), payments("1978-04-01", "36*200", months=1), "11.82"),
    ("(c)(1)(iii)", flows("1978-02-23 5000"), semimonthly("1978-03-01", 24, "219.17"), "10.34"),
    ("(c)(1)(iv)", flows("1978-05-23 10000"), payments("1978-10-01", "40*385", months=3), "8.97"),
    ("(c)(1)(v)", flows("1978-03-20 500"), payments("1978-04-21", "30*17.60", weeks=1), "14.96"),
    ("(c)(2)(i)", flows("1978-01-10 5000"), payments("1978-02-10", "250 23*230", months=1), "10.08"),
    ("(c)(2)(ii)", flows("1978-03-18 400"), payments("1978-04-20", "39.50 11*38.31", weeks=4), "28.50"),
    ("(c)(3)(i)", flows("1978-01-10 5000"), payments("1978-02-10", "23*230 280", months=1), "10.50"),
    ("(c)(3)(ii)", flows("1978-04-03 200"), payments("1978-04-11", "19*9.50 30", weeks=2), "12.22"),
    ("(c)(4)(i)", flows("1978-01-10 5000"), payments("1978-02-10", "250 22*230 280", months=1), "10.90"),
    ("(c)(4)(ii)", flows("1978-01-10 8000"), payments("1978-03-01", "449.36 18*465 200", months=2), "7.30"),
    ("(c)(5)(i)", flows("1978-01-03 1000"), flows("1978-09-15 1080"), "11.45"),
    (
        "(c)(6)(i)",
        flows("1979-04-10 20000", "1979-06-12 20000", "1979-09-18 20000"),
        payments("1979-12-10", "240*612.36", months=1),
        "10.25",
    ),
]


@pytest.mark.parametrize(
    ("lent", "paid", "apr"), [pytest.param(*each, id=paragraph) for paragraph, *each in APPENDIX_J]
)
def test_examples_of_appendix_j(lent: Flows, paid: Flows, apr: str) -> None:
    assert str(annual_percentage_rate(lent, paid)) == apr


def series(*days: str, since: str = "") -> tuple[list[Any], list[Any]]:
    """An advance on the first day, or on another, and payments on the others."""
    first, *others = (on(day) for day in days)
    begins = on(since) if since else first
    return days_of([begins], begins), days_of(others, begins)


@pytest.mark.parametrize(
    ("days", "unit"),
    [
        pytest.param("2025-01-10 2025-02-10 2025-03-10", MONTH, id="months are equal"),
        pytest.param("2025-01-31 2025-02-28 2025-03-31 2025-04-30", MONTH, id="from last day to last day"),
        pytest.param("2025-01-30 2025-02-28 2025-03-30", MONTH, id="the 30th, in February its last"),
        pytest.param("2025-03-31 2025-04-30 2025-06-30", UnitPeriod(0, 42), id="none twice: 45.5 days on average"),
        pytest.param("2025-01-13 2025-02-10 2025-03-10", UnitPeriod(0, 28), id="28 days occur more often than a month"),
        pytest.param("2025-01-01 2025-01-08 2025-01-15 2025-02-15 2025-03-15", WEEK, id="as often: the smallest"),
        pytest.param("2025-01-01 2025-01-16 2025-02-01 2025-02-16", HALF_MONTH, id="the 1st and the 16th"),
        pytest.param("2025-01-15 2025-01-31 2025-02-15 2025-02-28 2025-03-15", HALF_MONTH, id="the 15th and the last"),
        pytest.param("2025-04-01 2025-04-16 2025-05-01", HALF_MONTH, id="half months of 15 days"),
        pytest.param("2025-01-03 2025-01-18 2025-02-02 2025-02-17", UnitPeriod(0, 15), id="15 days, no half months"),
        pytest.param("2025-01-01 2025-01-11 2025-01-21", UnitPeriod(0, 10), id="ten days"),
        pytest.param("2024-01-01 2024-04-01 2024-07-01", QUARTER, id="91 days, which are 13 weeks, and quarters"),
        pytest.param("2024-02-29 2025-02-28 2026-02-28", YEAR, id="years"),
        pytest.param("2024-01-01 2026-01-01 2028-01-01", YEAR, id="a year at most"),
        pytest.param("2025-01-01 2025-01-02 2025-01-03", DAY, id="days"),
        pytest.param("2025-01-01 2025-01-09 2025-01-30", UnitPeriod(0, 14), id="14.5 days on average: the smaller one"),
        pytest.param("2025-01-01 2025-03-02 2025-05-03", UnitPeriod(4, 0), id="61 days on average: two months"),
        pytest.param("2025-01-01 2025-09-15", UnitPeriod(0, 257), id="one payment: the term"),
        pytest.param("2025-01-01 2025-09-01", UnitPeriod(16, 0), id="one payment: a term of months"),
        pytest.param("2025-01-01 2027-09-01", YEAR, id="one payment: a year at most"),
    ],
)
def test_unit_period(days: str, unit: UnitPeriod) -> None:
    """12 CFR 1026, Appendix J, (b)(3) and (b)(4)."""
    assert unit_period(*series(*days.split())) == unit


@pytest.mark.parametrize(
    ("unit", "since", "until", "expected"),
    [
        # (c)(1)(ii) to (v), (2)(ii), (3)(ii), (4)(ii) and (6)(i) of Appendix J publish these.
        pytest.param(MONTH, "1978-02-10", "1978-04-01", (1, 19, 30), id="(c)(1)(ii)"),
        pytest.param(HALF_MONTH, "1978-02-23", "1978-03-01", (0, 6, 15), id="(c)(1)(iii)"),
        pytest.param(QUARTER, "1978-05-23", "1978-10-01", (1, 39, 90), id="(c)(1)(iv)"),
        pytest.param(WEEK, "1978-03-20", "1978-04-21", (4, 4, 7), id="(c)(1)(v)"),
        pytest.param(UnitPeriod(0, 28), "1978-03-18", "1978-04-20", (1, 5, 28), id="(c)(2)(ii)"),
        pytest.param(UnitPeriod(0, 14), "1978-04-03", "1978-04-11", (0, 8, 14), id="(c)(3)(ii)"),
        pytest.param(MONTH, "1979-04-10", "1979-06-12", (2, 2, 30), id="(c)(6)(i), second advance"),
        pytest.param(MONTH, "1979-04-10", "1979-09-18", (5, 8, 30), id="(c)(6)(i), third advance"),
        pytest.param(MONTH, "1979-04-10", "1979-12-10", (8, 0, 30), id="(c)(6)(i), first payment"),
        # (b)(5)(v).
        pytest.param(YEAR, "2024-01-15", "2026-04-15", (2, 3, 12), id="years and months"),
        pytest.param(YEAR, "2024-01-10", "2026-04-15", (2, 96, 365), id="years and days"),
    ],
)
def test_unit_periods_between_two_days(unit: UnitPeriod, since: str, until: str, expected: tuple[int, ...]) -> None:
    [day] = days_of([on(until)], on(since))
    assert elapsed(unit, on(since), day) == expected


@pytest.mark.parametrize(
    ("lent", "paid", "apr"),
    [
        # (b)(5)(vi) and (vii): one unit-period, of which a year has 12 / 6, or 365 / 100.
        pytest.param(flows("2025-01-15 1000"), flows("2025-07-15 1050"), "10.00", id="six months"),
        pytest.param(flows("2025-01-15 1000"), flows("2025-04-25 1010"), "3.65", id="a hundred days"),
        # 1.21 = 1.1 ** 2; 1.1 * (1 + 0.1 * 6 / 12) = 1.155; 1.1 * (1 + 0.1 * 73 / 365) = 1.122.
        pytest.param(flows("2025-01-15 1000"), flows("2027-01-15 1210"), "10.00", id="two years"),
        pytest.param(flows("2025-01-15 1000"), flows("2026-07-15 1155"), "10.00", id="a year and six months"),
        pytest.param(flows("2025-01-15 1000"), flows("2026-03-29 1122"), "10.00", id="a year and 73 days"),
        # Exactly half of a hundredth.
        pytest.param(flows("2025-01-15 1000"), flows("2026-01-15 1101.25"), "10.13", id="10.125 percent"),
        pytest.param(flows("2025-01-15 1000"), flows("2026-01-15 1101.24"), "10.12", id="10.124 percent"),
        pytest.param(flows("2025-01-01 100"), payments("2025-01-15", "4*25", weeks=2), "0.00", id="0 percent"),
        # 10 days of which 36.5 are a year, at 1 percent; 15 at 1 percent are 365 / 15.
        pytest.param(flows("2025-01-01 100"), flows("2025-01-11 1", "2025-01-21 101"), "36.50", id="ten days"),
        # 1,000 for two months at 1 percent, of which each pays its interest; and 500 for the second.
        pytest.param(
            flows("2025-01-01 1000", "2025-02-01 500"),
            flows("2025-02-01 10", "2025-03-01 1515"),
            "12.00",
            id="an advance on the day of a payment",
        ),
    ],
)
def test_worked_by_hand(lent: Flows, paid: Flows, apr: str) -> None:
    assert str(annual_percentage_rate(lent, paid)) == apr


def test_order_does_not_matter_and_a_days_flows_are_one() -> None:
    lent = flows("1979-04-10 15000", "1979-04-10 5000", "1979-06-12 20000", "1979-09-18 20000")
    paid = payments("1979-12-10", "240*612.36", months=1)
    paid = [*paid[1:], (paid[0][0], Decimal("600.00")), (paid[0][0], Decimal("12.36"))]
    Random(1).shuffle(lent)
    assert annual_percentage_rate(lent, paid[::-1]) == Decimal("10.25")


def test_days_that_are_as_many_unit_periods_after_the_first_count_each() -> None:
    # Counted back from the 29th or the 30th of March, February's last is a month before.
    paid = flows("2025-03-29 500", "2025-03-30 500", "2025-04-30 50")
    assert annual_percentage_rate(flows("2025-01-31 1000"), paid) > 20


def test_ten_thousand_random_loans() -> None:
    """Of equal periods the unit-period's rate is the internal rate of return, which pyxirr computes in floats."""
    rng = Random(19_78)
    for _ in range(10_000):
        frequency, per_year = rng.choice(list(PER_YEAR.items()))
        count, principal = rng.randint(2, 24), Decimal(rng.randint(2_000, 5_000_000)) / 100
        least = int(100 * principal / count) + 1
        amounts = [Decimal(rng.randint(least, 2 * least)) / 100] * (count - 1)
        amounts.append(Decimal(rng.randint(least, 3 * least)) / 100)
        # Not all half months are 15 days, as (b)(5)(iii) counts them. From one of the first 13 days of a month on they
        # are: to one that February has, 15 days later.
        due_day = rng.randint(1, 13 if frequency == "semimonthly" else 31)
        first = months_after(date(2024, rng.randint(1, 12), 1), 0, due_day)
        lent_on, *days = (due_on(first, frequency, due_day, number) for number in range(1, count + 2))
        apr = annual_percentage_rate([(lent_on, principal)], list(zip(days, amounts, strict=True)))
        rate = pyxirr.irr([-float(principal), *map(float, amounts)])
        assert rate is not None
        # As near as two decimals are; and 1e-9 for what floats do not know.
        assert abs(float(apr) - 100 * per_year * rate) <= 0.005 + 1e-9, (lent_on, principal, days, amounts)


def test_does_not_depend_on_the_callers_decimal_context() -> None:
    lent, paid = flows("1978-01-10 5000"), payments("1978-02-10", "24*230", months=1)
    with localcontext(prec=3):
        assert annual_percentage_rate(lent, paid) == Decimal("9.69")


LENT, PAID = flows("2025-01-01 100.00"), flows("2025-02-01 60.00", "2025-03-01 60.00")


@pytest.mark.parametrize(
    ("lent", "paid", "message"),
    [
        pytest.param([], PAID, r"advances=\[\]: expected one or more, .* found none", id="no advances"),
        pytest.param(LENT, [], r"payments=\[\]: expected one or more, .* found none", id="no payments"),
        pytest.param(flows("2025-01-01 0"), PAID, r"advances\[0\]=0: expected dollars above zero", id="nothing lent"),
        pytest.param(
            LENT, flows("2025-02-01 9", "2025-03-01 -1"), r"payments\[1\]=-1: expected dollars above", id="negative"
        ),
        pytest.param(LENT, flows("2025-02-01 NaN"), r"payments\[0\]=NaN: expected dollars", id="no number"),
        pytest.param(LENT, flows("2025-02-01 Infinity"), r"payments\[0\]=Infinity: expected dollars", id="no end"),
        pytest.param(
            LENT,
            flows("2024-12-31 1", "2025-02-01 120"),
            "payments=2024-12-31: expected days after the first advance, found it on 2025-01-01",
            id="paid before it is lent",
        ),
        pytest.param(LENT, flows("2025-01-01 120"), "payments=2025-01-01: expected days after", id="paid when lent"),
        pytest.param(
            LENT,
            flows("2025-02-01 40", "2025-03-01 59.99"),
            r"payments=99\.99: expected no less than the 100\.00 that is advanced: no APR",
            id="less is paid than lent",
        ),
        pytest.param(
            LENT,
            flows("2025-02-01 1000100.01"),
            r"payments=1000100\.01: expected a rate of 1,000,000 percent a unit-period at most; found none so low",
            id="beyond all bounds",
        ),
    ],
)
def test_refuses(lent: Flows, paid: Flows, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        annual_percentage_rate(lent, paid)


@pytest.mark.parametrize(
    ("paid", "message"),
    [
        pytest.param([(on("2025-02-01"), 120.0)], r"payments\[0\]=120\.0: expected a Decimal, .* a float", id="float"),
        pytest.param([(on("2025-02-01"), 120)], r"payments\[0\]=120: expected a Decimal, found a int", id="int"),
        pytest.param([("2025-02-01", Decimal(120))], r"payments\[0\]='2025-02-01': expected a date", id="text"),
        pytest.param([(datetime(2025, 2, 1), Decimal(120))], r"expected a date, found a datetime", id="a moment"),
    ],
)
def test_refuses_other_types(paid: Sequence[Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        annual_percentage_rate(LENT, paid)


def test_as_much_as_may_be() -> None:
    assert annual_percentage_rate(LENT, flows("2025-02-01 1000100.00")) == Decimal(12_000_000)
