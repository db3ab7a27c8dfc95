"""Payments that come in time, of many accounts at once: columns of whole numbers, as finance.quiet has them.

The rules are those of finance.account; tests hold each column against them. What a payment does beside these columns,
or what closes the day with more, is left to the account: `may_be_paid` and `Paid.is_whole` say of which.
"""

from dataclasses import dataclass, replace

import numpy as np

from affirm_assets.lender.finance.delinquency import CHARGE_OFF_DAYS
from affirm_assets.lender.finance.due_dates import Ints
from affirm_assets.lender.finance.quiet import CENT, NEVER, Accounts, Bools, closing, scheduled_principal, share

MOST_PAID = 10**9
"""In cents. With as much as an account holds, no sum is more than int64 does."""

_PERCENT = 100 * 100
"""In hundredths of a percent."""


@dataclass(frozen=True, slots=True)
class Paid:
    """Accounts at the end of the day of a payment.

    `columns`: those of finance.days.Day that are not what they would be without it. `is_whole`: whether nothing but the
    payment happens on that day: no waiver and no charge-off.
    """

    accounts: Accounts
    columns: dict[str, Ints]
    is_whole: Bools


def may_be_paid(accounts: Accounts, day: Ints) -> Bools:
    """Of which accounts a payment on a later day, up to which nothing moves but interest, can be computed here.

    Of open ones that are not to be charged off, and accrue to income.
    """
    is_plain = accounts.is_open & (accounts.charge_off_by == NEVER) & (accounts.credit == 0)
    accrues = (accounts.nonaccrual_since == NEVER) & (accounts.cost_recovered == 0)
    may_be_paid: Bools = is_plain & accrues & (day - accounts.late_since < accounts.nonaccrual_after)
    return may_be_paid


def paid(accounts: Accounts, amount: Ints) -> Paid:
    """Payments on the accounts' own day, which has accrued its interest and has not been closed.

    `highest_days_past_due` is that of the day before. Each of the accounts `may_be_paid`.
    """
    interest_paid = np.minimum(amount, accounts.interest)
    principal_paid = np.minimum(amount - interest_paid, accounts.principal)
    credit = amount - interest_paid - principal_paid
    principal, interest = accounts.principal - principal_paid, accounts.interest - interest_paid
    met = accounts.paid + interest_paid + principal_paid
    is_settled = (principal == 0) & (interest == 0)
    after = replace(
        accounts,
        principal=principal,
        interest=interest,
        credit=credit,
        paid=met,
        shortage=_shortage_after(accounts, met),
        deferred_discount=_deferred(accounts, principal),
        settled_on=np.where(is_settled & (credit == 0), accounts.day, NEVER),
        credit_since=np.where(credit > 0, accounts.day, NEVER),
    )
    columns = {
        **closing(after),
        **{name: getattr(after, name) for name in CHANGED},
        "interest_paid": interest_paid,
        "principal_paid": principal_paid,
        "credit_overpaid": credit,
    }
    is_late = (after.day > after.due_on(after.last_instalment)) & (after.owed < after.waived_below)
    closes = after.is_open & (is_late | (after.day - after.late_since >= CHARGE_OFF_DAYS))
    return Paid(replace(after, highest_days_past_due=columns["highest_days_past_due"]), columns, ~closes)


CHANGED = (
    "principal",
    "interest",
    "credit",
    "paid",
    "shortage",
    "deferred_discount",
    "settled_on",
    "credit_since",
)
"""What a payment changes of an account, beside its highest days past due."""


def _deferred(accounts: Accounts, left: Ints) -> Ints:
    """What is left of the deferred discount: as Account._repay takes its share, and no more than is still to come."""
    deferred, before = accounts.deferred_discount, accounts.principal.copy()
    [at] = np.nonzero(deferred > 0)
    before[at] = np.minimum(before[at], scheduled_principal(accounts, at, accounts.day[at], ahead=1))
    [at] = np.nonzero((deferred > 0) & (left < before))
    deferred = deferred.copy()
    deferred[at] = share(deferred[at], left[at], before[at])
    kept = accounts.merchant_discount - accounts.discount_returned
    most: Ints = np.minimum(deferred, np.minimum(kept, left) * CENT)
    return most


def _shortage_after(accounts: Accounts, paid: Ints) -> Ints:
    """delinquency.shortage_after."""
    level, shortage = accounts.instalment, accounts.shortage
    toward_next = (paid + shortage) % level
    missing = level - toward_next
    is_little = missing * _PERCENT <= level * accounts.may_be_missing
    is_met = (toward_next > 0) & (is_little | (shortage + missing <= accounts.shortages_carried))
    return np.where(is_met, shortage + missing, shortage)
