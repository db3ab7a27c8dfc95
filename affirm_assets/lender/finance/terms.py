"""What a loan's contract says, and when its instalments fall due."""

import calendar
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from affirm_assets.lender.finance.instalment import level_instalment
from affirm_assets.lender.vocabulary import Frequency


@dataclass(frozen=True, slots=True)
class Terms:
    """A loan as it was agreed. Amounts in dollars with two places; `apr` in percent a year.

    `instalment` is the level payment (finance.instalment); `merchant_discount` what the merchant gave up of the price.
    """

    principal: Decimal
    apr: Decimal
    instalments: int
    frequency: Frequency
    originated_on: date
    first_due_on: date
    merchant_discount: Decimal
    instalment: Decimal

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
    ) -> "Terms":
        """The terms with their level instalment. Raises ValueError or TypeError as level_instalment does."""
        instalment = level_instalment(principal, apr, instalments, frequency)
        return Terms(principal, apr, instalments, frequency, originated_on, first_due_on, merchant_discount, instalment)

    def due_on(self, number: int) -> date:
        """The day on which instalment `number`, counted from 1, falls due.

        Every 14 days, or on the first one's day of each month; where a month lacks that day, on its last. If the first
        falls due at a month's end, all do.
        """
        if self.frequency == "biweekly":
            return self.first_due_on + timedelta(days=14 * (number - 1))
        first = self.first_due_on
        months = first.month - 1 + number - 1
        year, month = first.year + months // 12, months % 12 + 1
        length = calendar.monthrange(year, month)[1]
        is_month_end = first.day == calendar.monthrange(first.year, first.month)[1]
        return date(year, month, length if is_month_end else min(first.day, length))
