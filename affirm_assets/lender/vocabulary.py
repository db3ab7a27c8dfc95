"""The lender's words, each written once: products, kinds, statuses, buckets, frequencies, the chart of accounts.

A contract takes the type of a column from here, and what reads or refuses rows takes the same words as a tuple.
"""

from typing import Literal, get_args

Product = Literal["pay_in_4", "installment"]
ProductOrNone = Literal[Product, "none"]
"""Of a transaction: it has none where no loan is booked that it is on."""
NO_PRODUCT = "none"

Frequency = Literal["biweekly", "monthly"]
FREQUENCIES = get_args(Frequency)

Currency = Literal["USD"]
CURRENCIES = get_args(Currency)

LoanStatus = Literal["open", "repaid", "charged_off"]
DelinquencyBucket = Literal["current", "1-29", "30-59", "60-89", "90-119", "charged_off"]

LoanKind = Literal["payment", "payment_reversal", "refund", "recovery", "credit_refund"]
"""What a transaction on a loan is."""
MerchantKind = Literal["merchant_payout"]
TransactionKind = Literal[LoanKind, MerchantKind]
PostingKind = Literal["origination", "accrual", LoanKind, "charge_off", MerchantKind, "suspense"]
"""What a posting of the ledger is of."""

LOAN_KINDS = get_args(LoanKind)
MERCHANT_KINDS = get_args(MerchantKind)
TRANSACTION_KINDS = get_args(TransactionKind)

AdjustmentKind = Literal[
    "goodwill_credit",
    "waiver",
    "correction",
    "settlement",
    "undo_charge_off",
    "clear_unapplied",
    "bankruptcy",
    "fraud",
    "death",
    "debt_sale",
]
"""What a person decides about a loan. The last four charge it off, for another cause than its days past due."""
ADJUSTMENT_KINDS = get_args(AdjustmentKind)
WITHOUT_AMOUNT: tuple[AdjustmentKind, ...] = ("undo_charge_off", "bankruptcy", "fraud", "death")

TAKES_OUT: tuple[TransactionKind, ...] = ("payment_reversal", "credit_refund", "merchant_payout")
"""The kinds whose money the lender pays out or gives back; every other kind brings money in."""
OF_MERCHANTS: tuple[TransactionKind, ...] = ("refund", "merchant_payout")
"""The kinds by which merchants are owed less. A refund moves no cash: the merchant pays it by being owed less."""

LedgerAccount = Literal[
    "cash",
    "principal_receivable",
    "interest_receivable",
    "merchant_payable",
    "credit_balances",
    "suspense",
    "unapplied",
    "interest_income",
    "merchant_discount_income",
    "allowance",
]
LEDGER_ACCOUNTS = get_args(LedgerAccount)
