"""How an amount becomes cents, each time one does that the contract says: of a payment, or of a period's interest."""

from decimal import ROUND_CEILING, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import Literal

from affirm_assets.lender.finance.accrual import CENT, CONTEXT

Rounding = Literal["half_up", "half_even", "up"]
"""To the nearest cent, of two that are as near to the upper or to the even one; or to the next cent above."""

ROUNDINGS: dict[Rounding, str] = {"half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN, "up": ROUND_CEILING}

# What is exactly 101.00, or exactly half a cent, may come out as that + 1E-47: it must not be rounded up to 101.01.
_NOISE = Decimal("1E-12")


def rounded(amount: Decimal, rounding: Rounding) -> Decimal:
    """An amount that was computed in CONTEXT, in dollars with two places."""
    return amount.quantize(_NOISE, ROUND_HALF_EVEN, CONTEXT).quantize(CENT, ROUNDINGS[rounding], CONTEXT)
