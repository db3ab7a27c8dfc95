"""What of a loan's interest and discount is no income yet, by the ledger's account that holds it.

Each is Spark SQL of a row of loan_balances.

Of an open loan it stands in an account of its own. Of a charged-off loan it lowers what was debited to the allowance:
what never was income is no loss.
"""

_DISCOUNT = "CAST(round({0}deferred_discount, 2) AS decimal(18,2))"
_UNPAID_INTEREST = "IF({0}nonaccrual_since IS NULL, 0, {0}interest)"


def _moved(of_loan: str) -> str:
    """By how much a day raises it."""
    return f"({of_loan.format('')} - {of_loan.format('opening_')})"


_OPEN_DISCOUNT = f"IF({{0}}charged_off_on IS NULL, {_DISCOUNT}, 0)"
_OPEN_INTEREST = f"IF({{0}}charged_off_on IS NULL, {{0}}cost_recovered + {_UNPAID_INTEREST}, 0)"
_LOST_DISCOUNT = f"IF({{0}}charged_off_on IS NULL, 0, {_DISCOUNT})"
_LOST_INTEREST = "IF({0}charged_off_on IS NULL, 0, {0}cost_recovered)"

DEFERRED_DISCOUNT = _OPEN_DISCOUNT.format("")
UNRECOGNIZED_INTEREST = _OPEN_INTEREST.format("")
UNEARNED = f"({_LOST_DISCOUNT} + {_LOST_INTEREST})".format("")
"""What of a charged-off loan was never income, and so is no loss."""

AMORTIZED_COST = f"(principal - {DEFERRED_DISCOUNT} - IF(charged_off_on IS NULL, cost_recovered, 0))"
"""What an open loan stands at in the books, without its accrued interest."""

DEFERRED_DISCOUNT_MOVED = _moved(_OPEN_DISCOUNT)
"""Beside what the booking defers."""
UNRECOGNIZED_INTEREST_MOVED = _moved(_OPEN_INTEREST)
UNEARNED_DISCOUNT_MOVED = _moved(_LOST_DISCOUNT)
UNEARNED_INTEREST_MOVED = _moved(_LOST_INTEREST)
UNEARNED_MOVED = f"({UNEARNED_DISCOUNT_MOVED} + {UNEARNED_INTEREST_MOVED})"
