"""What a loan's contract says, and when its instalments fall due."""

from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from functools import lru_cache

from affirm_assets.lender.finance.accrual import ZERO, daily_interest, to_cents
from affirm_assets.lender.finance.discount import effective_rate
from affirm_assets.lender.finance.instalment import level_instalment
from affirm_assets.lender.finance.periods import due_on, usual_due_day
from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.vocabulary import Frequency


@dataclass(frozen=True, slots=True)
class Terms:
    """A loan as it was agreed. Amounts in dollars with two places; `apr` in percent a year.

    `instalment` is the level payment: the contract's, or computed (finance.instalment). `due_day` is the day of the
    month on which monthly instalments fall due, in a shorter month its last. `merchant_discount` is what the merchant
    gave up of the price, `rules` what the lender has chosen for the product. `effective_rate` is what the lender earns
    in percent a year, deferred discount and interest together (finance.discount).
    """

    principal: Decimal
    apr: Decimal
    instalments: int
    frequency: Frequency
    originated_on: date
    first_due_on: date
    merchant_discount: Decimal
    instalment: Decimal
    due_day: int
    effective_rate: Decimal
    rules: Rules = field(default_factory=Rules)

    @staticmethod
    def agreed(
        *,
        principal: Decimal,
        apr: Decimal,
        instalments: int,
        frequency: Frequency,
        originated_on: date,
        first_due_on: date,
        merchant_discount: Decimal = Decimal("0.00"),
        instalment: Decimal | None = None,
        due_day: int | None = None,
        effective_rate: Decimal | None = None,
        rules: Rules | None = None,
    ) -> "Terms":
        """The terms, with what the contract does not state made from the others, and the effective rate if not given.

        Raises ValueError or TypeError as level_instalment does.
        """
        rules = rules or Rules()
        if instalment is None:
            instalment = level_instalment(principal, apr, instalments, frequency, rules.instalment_rounding)
        terms = Terms(
            principal,
            apr,
            instalments,
            frequency,
            originated_on,
            first_due_on,
            merchant_discount,
            instalment,
            due_day or usual_due_day(originated_on, first_due_on),
            effective_rate or apr,
            rules,
        )
        return terms if effective_rate is not None else replace(terms, effective_rate=_effective_rate(terms))

    @property
    def deferred_discount(self) -> Decimal:
        """What of the merchant discount is no income yet when the loan is lent."""
        return self.merchant_discount if self.rules.merchant_discount == "deferred" else Decimal("0.00")

    def scheduled_principal(self, day: date, ahead: int = 0) -> Decimal:
        """The principal at the end of a day, if each instalment is paid on its due date, and so many before it."""
        number = self.due_before(day + timedelta(days=1)) + ahead
        if number >= self.instalments:
            return ZERO
        # In tens, so that neither a payment asks for many years, nor each due date anew.
        _, _, principal = _periods(self, number - number % 10 + 10)[number]
        return principal

    def due_on(self, number: int) -> date:
        """The day on which instalment `number`, counted from 1, falls due.

        Every 14 days; or the first on its date, and the others on `due_day` of each month after, or the month's last.
        """
        return due_on(self.first_due_on, self.frequency, self.due_day, number)

    def due_before(self, day: date) -> int:
        """How many instalments fell due before a day, if there were no end to them."""
        first = self.first_due_on
        if day <= first:
            return 0
        if self.frequency == "biweekly":
            return (day - first).days // 14 + ((day - first).days % 14 > 0)
        # Those of the months before, and of the day's own month if it is past.
        before = (day.year - first.year) * 12 + day.month - first.month
        return before + (self.due_on(before + 1) < day)


# Of a loan that is past due, each day asks again; how many loans there are does not matter.
@lru_cache(maxsize=8)
def _periods(terms: Terms, most: int) -> tuple[tuple[date, int, Decimal], ...]:
    """From one due date to the next, if each instalment is paid on its own: the latter, the days, and the principal.

    The first of them, of which there are `most` or as many as instalments.
    """
    periods = []
    since, principal = terms.originated_on, terms.principal
    for number in range(1, min(terms.instalments, most) + 1):
        due_on = terms.due_on(number)
        periods.append((due_on, (due_on - since).days, principal))
        interest = to_cents(daily_interest(principal, terms.apr) * (due_on - since).days)
        principal = max(principal + min(interest - terms.instalment, ZERO), ZERO)
        since = due_on
    return tuple(periods)


def _effective_rate(terms: Terms) -> Decimal:
    periods = ((days, principal) for _, days, principal in _periods(terms, terms.instalments))
    return effective_rate(terms.deferred_discount, terms.apr, periods)
