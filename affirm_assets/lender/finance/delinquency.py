"""How late a loan is. Past-due age runs from the oldest instalment that is not met."""

from bisect import bisect
from datetime import date
from decimal import Decimal

from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.vocabulary import OPEN_BUCKETS, DelinquencyBucket

CHARGE_OFF_DAYS = 120
"""Closed-end retail loans are charged off at this age: FFIEC, Uniform Retail Credit Classification, 65 FR 36903."""

BUCKETS_END = (1, 30, 60, 90)
"""Days past due at which one bucket of an open loan ends and the next begins."""


def shortage_after(met: Decimal, shortage: Decimal, instalment: Decimal, rules: Rules) -> Decimal:
    """What is missing of instalments that count as met, after a payment. It is carried to the last instalment.

    met: what payments have met of instalments, with `shortage`, what was missing before. The payment's last instalment
    counts as met if what is missing of it is little enough for the rules.
    """
    toward_next = (met + shortage) % instalment
    missing = instalment - toward_next
    may_be_missing = instalment * (100 - rules.instalment_met_at) / 100
    is_met = missing <= may_be_missing or shortage + missing <= rules.shortages_carried
    return shortage + missing if toward_next and is_met else shortage


def days_past_due(oldest_due_on: date, as_of: date) -> int:
    """Calendar days since the oldest unmet instalment fell due; zero on that day and before it."""
    return max((as_of - oldest_due_on).days, 0)


def bucket(days: int) -> DelinquencyBucket:
    """The bucket of an open loan; at 120 days it is charged off."""
    name: DelinquencyBucket = OPEN_BUCKETS[bisect(BUCKETS_END, days)]
    return name
