"""How late a loan is. Past-due age runs from the oldest instalment that is not met in full."""

from datetime import date
from decimal import Decimal

from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.vocabulary import DelinquencyBucket

CHARGE_OFF_DAYS = 120
"""Closed-end retail loans are charged off at this age: FFIEC, Uniform Retail Credit Classification, 65 FR 36903."""


def oldest_unmet(terms: Terms, paid: Decimal, last: int) -> int:
    """The number, from 1, of the oldest instalment of a loan with a balance that `paid` does not meet in full.

    `paid` is all that the borrower has paid of interest and principal: it meets the instalments in their order. The
    `last` one is whatever is left, so as long as there is a balance it is not met.
    """
    return min(int(paid // terms.instalment) + 1, last)


def days_past_due(oldest_due_on: date, as_of: date) -> int:
    """Calendar days since the oldest unmet instalment fell due; zero on that day and before it."""
    return max((as_of - oldest_due_on).days, 0)


def bucket(days: int) -> DelinquencyBucket:
    """The bucket of an open loan; at 120 days it is charged off."""
    if days == 0:
        return "current"
    if days < 30:
        return "1-29"
    if days < 60:
        return "30-59"
    return "60-89" if days < 90 else "90-119"
