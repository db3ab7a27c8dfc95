"""What the lender's staff gives borrowers: a few dollars of credit, or of what they owe, on an open loan.

Its borrower goes on as if nothing had been given, so that in the end a few dollars too much are paid: a credit.
"""

from random import Random

from affirm_assets.lender.sample_data.draws import Weighted, between
from affirm_assets.lender.sample_data.files import AdjustmentRecord, money
from affirm_assets.lender.sample_data.loans import Loan
from affirm_assets.lender.sample_data.repayment import Movement
from affirm_assets.lender.sample_data.window import SampleWindow
from affirm_assets.lender.vocabulary import AdjustmentKind

_EVERY = 100
"""One loan of so many is adjusted, or the next that can be."""

MOST_DAYS = 45
"""An adjustment lands so many days after the loan's origination, at most."""

_MOST_CENTS = 9_99
_KINDS: Weighted[AdjustmentKind] = Weighted({"goodwill_credit": 6, "waiver": 4})
_REASONS: dict[AdjustmentKind, tuple[str, ...]] = {
    "goodwill_credit": ("Delivery was late, merchant agreed", "Long wait on the phone"),
    "waiver": ("Payment page was down on the due date", "Interest of a day, card was replaced"),
}


class Adjustments:
    def __init__(self, window: SampleWindow, seed: int) -> None:
        self._window, self._seed = window, seed
        self._waiting = 0

    def of(self, loan: Loan, movements: list[Movement]) -> tuple[int, AdjustmentRecord] | None:
        """The adjustment of a loan and the day on which it lands, if it is its turn. Draws of its own.

        `movements`: the first MOST_DAYS of them, at least.
        """
        self._waiting += loan.number % _EVERY == 0
        rng = Random(f"{self._seed}/{loan.number}/adjustment")
        day = loan.originated + between(rng, 6, MOST_DAYS)
        if not self._waiting or not _is_open(loan, movements, day):
            return None
        self._waiting -= 1
        kind = _KINDS.draw(rng)
        return day, AdjustmentRecord(
            adjustment_id=f"A{loan.number:09d}",
            loan_id=loan.loan_id,
            kind=kind,
            amount=money(between(rng, 1_00, _MOST_CENTS)),
            effective_on=self._window.text(day),
            reason=_REASONS[kind][rng.randrange(2)],
            approver=f"E{between(rng, 1, 40):04d}",
        )


def _is_open(loan: Loan, movements: list[Movement], day: int) -> bool:
    """Whether it certainly is: more is owed than an adjustment gives. Nor does it make up for a missed instalment."""
    paid = sum(
        -each.cents if each.kind == "payment_reversal" else each.cents for each in movements if each.effective <= day
    )
    left = loan.principal - paid
    return loan.landed < day and left > _MOST_CENTS and loan.principal > _MOST_CENTS * loan.instalments
