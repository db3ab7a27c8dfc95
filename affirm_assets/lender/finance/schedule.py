"""The schedule of a loan: what falls due when, and what each instalment pays of interest and principal."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.finance.terms import Terms


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
    account = Account.opened(terms)
    for number in range(1, terms.instalments + 1):
        due_on = terms.due_on(number)
        account.go_to(due_on)
        left = account.principal + account.interest
        payment = left if number == terms.instalments else min(terms.instalment, left)
        paid = account.apply(Movement(str(number), "payment", payment, due_on, due_on))
        yield Instalment(number, due_on, payment, paid.interest, paid.principal, account.principal)
        if not account.is_owed:
            return
