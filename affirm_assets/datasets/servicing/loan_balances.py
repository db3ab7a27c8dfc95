"""What each loan owes at the end of each day, and how it came to that."""

from datetime import date, timedelta
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field
from pyspark.sql import DataFrame

from affirm_assets.contract import Contract, Money, Rate, column, key
from affirm_assets.dataset import Daily, Window, audit, dataset, history, later, previous

Accrued = Annotated[Decimal, Field(max_digits=18, decimal_places=8)]
"""Interest before it is rounded to the cent."""


class LoanBalance(Contract):
    """A loan at the end of a business date: how it opened, each of the day's movements, how it closed."""

    loan_id: str = key("Loan")
    as_of: date = key("Business date")
    product: Literal["pay_in_4", "installment"] = column("Product")
    booked_on: date = column("Business date on which the loan was booked")
    originated_on: date = column("Day of the purchase; interest runs from it")
    first_due_on: date = column("Day on which the first instalment is due")
    frequency: Literal["biweekly", "monthly"] = column("How often an instalment is due")
    instalments: int = column("Number of instalments", ge=1)
    instalment: Money = column("Level instalment", gt=0)
    apr: Rate = column("Annual percentage rate in percent", ge=0)
    amount_lent: Money = column("Principal at origination", gt=0)
    merchant_discount: Money = column("What the merchant paid for the loan", ge=0)
    opening_principal: Money = column("Principal at the end of the day before", ge=0)
    opening_interest: Money = column("Interest owed at the end of the day before", ge=0)
    opening_credit: Money = column("Credit balance at the end of the day before", ge=0)
    principal_lent: Money = column("Principal lent, on the day of booking", ge=0)
    principal_paid: Money = column("Principal that payments repaid", ge=0)
    principal_reversed: Money = column("Principal owed again since a payment was reversed", ge=0)
    principal_refunded: Money = column("Principal that a merchant's refund repaid", ge=0)
    principal_charged_off: Money = column("Principal charged off", ge=0)
    interest_accrued: Money = column("Interest that the day accrued; on the day of booking, since origination", ge=0)
    interest_given_back: Money = column(
        "Interest given back since a payment or refund came late; less what a reversal charged again"
    )
    interest_paid: Money = column(
        "Interest that payments paid. Negative where a late one takes back what a payment after it had paid"
    )
    interest_reversed: Money = column("Interest owed again since a payment was reversed")
    interest_refunded: Money = column("Interest that a merchant's refund paid; may be negative as interest_paid may")
    interest_charged_off: Money = column("Interest charged off", ge=0)
    credit_overpaid: Money = column("What payments exceeded the debt by", ge=0)
    credit_reversed: Money = column("What of that was reversed", ge=0)
    credit_refunded: Money = column("What merchants' refunds exceeded the debt by", ge=0)
    credit_paid_out: Money = column("Credit balance paid out to the borrower", ge=0)
    recovery: Money = column("Received on a charged-off loan, less what of it was reversed")
    unapplied: Money = column("Money of transactions that could not be applied; negative for what went out")
    principal: Money = column("Principal owed at the end of the day", ge=0)
    interest: Money = column("Interest owed at the end of the day", ge=0)
    credit: Money = column("Owed to the borrower at the end of the day (12 CFR 1026.21)", ge=0)
    oldest_due_on: date | None = column("When the oldest unmet instalment falls due; null if nothing is owed")
    days_past_due: int = column("Calendar days since the oldest unmet instalment fell due", ge=0)
    bucket: Literal["current", "1-29", "30-59", "60-89", "90-119", "charged_off"] = column("Delinquency bucket")
    status: Literal["open", "repaid", "charged_off"] = column("Whether anything is owed, or was given up")
    settled_on: date | None = column("Day since which nothing is owed either way; null while something is")
    accrued: Accrued = column("Interest accrued since origination, before rounding", ge=0)
    paid: Money = column("What payments have met of instalments since origination")
    refunded: Money = column("Refunds since origination", ge=0)
    discount_returned: Money = column("Merchant discount returned with refunds since origination", ge=0)
    charged_off_on: date | None = column("Day of the charge-off")
    charged_off_principal: Money = column("Principal charged off since origination", ge=0)
    charged_off_interest: Money = column("Interest charged off since origination", ge=0)
    recovered: Money = column("Recoveries since the charge-off")
