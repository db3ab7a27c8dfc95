"""What each transaction on a loan did."""

from datetime import date, timedelta
from typing import Literal

from pyspark.sql import DataFrame

from affirm_assets.contract import Contract, Money, column, key


class PaymentApplication(Contract):
    """Where the money of a transaction on a loan went. All money columns are negative for what a reversal undoes.

    amount with its sign = interest + principal + credit + recovery + unapplied.
    """

    transaction_id: str = key("Transaction")
    posted_on: date = column("Business date on which it was applied: when it came, or when its loan was booked")
    loan_id: str = column("Loan")
    product: Literal["pay_in_4", "installment"] = column("Product of the loan")
    kind: Literal["payment", "payment_reversal", "refund", "recovery", "credit_refund"] = column("Kind")
    amount: Money = column("Amount of the transaction; the kind says which way it goes", gt=0)
    effective_on: date = column("Day on which it happened")
    reverses: str | None = column("Transaction that it undoes")
    is_from_suspense: bool = column("Whether its money waited in suspense for the loan")
    interest: Money = column("To interest owed; negative too where a late row takes back what was paid since")
    principal: Money = column("To principal owed")
    credit: Money = column("To the borrower's credit balance")
    recovery: Money = column("To a loan that is charged off")
    unapplied: Money = column("Could not be applied")
    interest_given_back: Money = column("Interest given back since it came late")
    discount_returned: Money = column("Merchant discount returned with a refund", ge=0)
    exception: str | None = column("Why it could not be applied")
