"""The payments in time of a batch of accounts, as whole numbers: what finance.in_time computes with."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from affirm_assets.datasets.servicing._integers import from_arrow
from affirm_assets.lender.finance.due_dates import Ints
from affirm_assets.lender.finance.in_time import MOST_PAID
from affirm_assets.lender.finance.quiet import NEVER, Bools


@dataclass(frozen=True, slots=True)
class Payments:
    """Of each loan its payments, in order of their days, from `first` to `end`.

    are_all: whether the loan is carried, and has no other movements in the window and no two on one day.
    """

    day: Ints
    amount: Ints
    first: Ints
    end: Ints
    are_all: Bools

    @staticmethod
    def of(accounts: pa.RecordBatch) -> "Payments":
        """Of a batch of `accounts`."""
        moved = accounts["moved"]
        loan, movements = pc.list_parent_indices(moved).to_numpy().astype(np.int64), pc.list_flatten(moved)
        day, effective_on, amount = (
            from_arrow(pc.struct_field(movements, name)) for name in ("posted_on", "effective_on", "amount")
        )
        is_payment = pc.equal(pc.struct_field(movements, "kind").cast(pa.string()), "payment")
        is_plain = is_payment.to_numpy(zero_copy_only=False) & (effective_on == day) & (amount > 0)
        is_plain &= amount <= MOST_PAID
        order = np.lexsort((day, loan))
        loan, day, amount = loan[order], day[order], amount[order]
        are_all = pc.is_valid(accounts["as_of"]).to_numpy(zero_copy_only=False).copy()
        are_all &= ~pc.fill_null(accounts["needs_earlier"], False).to_numpy(zero_copy_only=False)
        are_all[loan[~is_plain[order]]] = False
        are_all[loan[1:][(loan[1:] == loan[:-1]) & (day[1:] == day[:-1])]] = False
        numbers = np.arange(len(accounts))
        first, end = np.searchsorted(loan, numbers), np.searchsorted(loan, numbers, side="right")
        return Payments(day, amount, first, end, are_all)

    def following(self, loan: Ints, number: Ints) -> tuple[Ints, Ints]:
        """Day and amount of the payment that follows so many of a loan; NEVER and zero if none does."""
        place = self.first[loan] + number
        [is_one] = np.nonzero(place < self.end[loan])
        day, amount = np.full(len(loan), NEVER), np.zeros(len(loan), dtype=np.int64)
        day[is_one], amount[is_one] = self.day[place[is_one]], self.amount[place[is_one]]
        return day, amount
