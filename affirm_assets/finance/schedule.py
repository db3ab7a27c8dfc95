"""The schedule of a loan: what falls due when, and what each instalment pays of interest and principal."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from affirm_assets.finance.accrual import ZERO, daily_interest, to_cents
from affirm_assets.finance.terms import Terms


@dataclass(frozen=True, slots=True)
class Instalment:
    """Dollars. `payment` = `interest` + `principal`; `balance` is the principal that is left after it."""

    number: int
    due_on: date
    payment: Decimal
    interest: Decimal
    principal: Decimal
    balance: Decimal


def schedule(terms: Terms) -> Iterator[Instalment]:
    """The instalments of a borrower who pays each one on its due date, as the books will apply it.

    Each is the level instalment, applied to the interest that the daily accrual has posted, then to principal; the last
    is whatever is left, more or less than the others. Where rounding up repays the loan earlier, it ends earlier.
    """
    day, principal, accrued, paid_interest = terms.originated_on, terms.principal, ZERO, ZERO
    for number in range(1, terms.instalments + 1):
        due_on = terms.due_on(number)
        accrued += daily_interest(principal, terms.apr) * (due_on - day).days
        owed_interest = to_cents(accrued) - paid_interest
        left = principal + owed_interest
        payment = left if number == terms.instalments else min(terms.instalment, left)
        interest = min(payment, owed_interest)
        principal -= payment - interest
        paid_interest += interest
        day = due_on
        yield Instalment(number, due_on, payment, interest, payment - interest, principal)
        if principal == 0 and interest == owed_interest:
            return
