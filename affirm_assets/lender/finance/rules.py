"""Where a rule of the books is the lender's choice: the choices, and what is chosen where nobody says otherwise."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from affirm_assets.lender.finance.accrual import CENT

InstalmentRounding = Literal["up", "nearest"]


@dataclass(frozen=True, slots=True)
class Rules:
    """How the books treat the loans of a product. A product's are declared in affirm_assets.lender.products.

    instalment_rounding: of the level instalment, where the contract does not say it: `up` to the next cent, as
        LendingClub's published loans have it, or to the `nearest`, half up.
    instalment_met_at: percent, with two places, of an instalment that counts as all of it. 100, or as low as 90, which
        FFIEC allows (Uniform Retail Credit Classification, 65 FR 36903: 90 percent of a contractual payment may be
        considered a full payment in computing past due status). What is missing is carried to the last instalment.
    shortages_carried: dollars. An instalment of which something was paid counts as met too, as long as all that is
        missing of the loan's instalments comes to no more than this. It is carried to the last instalment.
    waived_below: dollars. After the last due date, a debt of less than this is waived and never charged off.
    interest_after_full_refund: what becomes of the interest if the merchant refunds the whole price by the first due
        date: all of it is `given_back`, or it stays `owed`.
    returned_payment: a payment that the bank takes back counts as `never_made`: interest is posted for the days
        between. Or that interest is `waived`.
    merchant_discount: it is `deferred`, and income over the loan's life (ASC 310-20); or it is income `at_once`, where
        it is the price of a service to the merchant (ASC 606).
    nonaccrual_after: days past due from which interest is no income until it is paid (FFIEC, call report instructions,
        "Nonaccrual Status": 90 days). None: consumer loans, which are charged off at 120 days, may go on.
    payment_in_nonaccrual: interest that is paid then lowers what the books have at stake in the loan, which is
        `cost_recovery`; or it is income when it is paid, on `cash_basis`.
    """

    instalment_rounding: InstalmentRounding = "up"
    instalment_met_at: Decimal = Decimal(100)
    shortages_carried: Decimal = Decimal("1.00")
    waived_below: Decimal = Decimal("1.00")
    interest_after_full_refund: Literal["given_back", "owed"] = "given_back"
    returned_payment: Literal["never_made", "waived"] = "never_made"
    merchant_discount: Literal["deferred", "at_once"] = "deferred"
    nonaccrual_after: Literal[90] | None = None
    payment_in_nonaccrual: Literal["cost_recovery", "cash_basis"] = "cost_recovery"

    def __post_init__(self) -> None:
        if not 90 <= self.instalment_met_at <= 100 or self.instalment_met_at % CENT:
            expected = "percent with two places, from 90 to 100"
            raise ValueError(f"instalment_met_at={self.instalment_met_at}: expected {expected}.")
        for name in ("shortages_carried", "waived_below"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)}: expected dollars, zero or more.")
