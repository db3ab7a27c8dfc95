"""A movement on a loan whose daily rows have ended: the balances' own functions tell it from its past."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from affirm_assets.datasets.servicing import _accounts
from affirm_assets.declare.partitions import Window
from affirm_assets.lender.finance.days import DAYS_KEPT_SETTLED, days

BOOKED, SETTLED = date(2025, 1, 1), date(2025, 1, 21)


def payment(name: str, amount: str, day: date) -> dict[str, Any]:
    return {
        "transaction_id": name,
        "kind": "payment",
        "amount": Decimal(amount),
        "posted_on": day,
        "effective_on": day,
        "reverses": None,
    }


def rows(paid: str, day: date) -> list[tuple[Any, ...]]:
    """Of a day on which 10.00 come for a loan of which no balance is carried. `paid` came on 21 January."""
    loan = {
        "loan_id": "L",
        "product": "installment",
        "booked_on": BOOKED,
        "originated_on": BOOKED,
        "first_due_on": date(2025, 2, 1),
        "frequency": "monthly",
        "instalments": 4,
        "apr": Decimal("18.25"),
        "amount_lent": Decimal("1000.00"),
        "merchant_discount": Decimal("50.00"),
        "instalment": None,
        "due_day": None,
        "effective_rate": None,
        "as_of": None,
        "needs_earlier": False,
        "earlier": [payment("p1", paid, SETTLED)],
        "moved": [payment("p2", "10.00", day)],
    }
    return list(_accounts.rows_of_loan(loan, Window(day, day), days, ("loan_id",)))


@pytest.mark.parametrize("after", [1, 2, 12])
def test_a_movement_after_the_last_row_has_a_row(after: int) -> None:
    day = SETTLED + timedelta(days=DAYS_KEPT_SETTLED + after)
    assert [(row[0], row[1]) for row in rows("1010.00", day)] == [("L", day)]


def test_a_loan_that_should_still_have_rows_stops_the_step() -> None:
    with pytest.raises(ValueError, match="loan L: expected a balance on 2025-07-19"):
        rows("1010.00", SETTLED + timedelta(days=DAYS_KEPT_SETTLED))
    with pytest.raises(ValueError, match="since it is open"):
        rows("500.00", SETTLED + timedelta(days=60))
