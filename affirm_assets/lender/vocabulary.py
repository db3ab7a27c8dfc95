"""The lender's words, each written once: products, kinds, statuses, buckets, frequencies, the chart of accounts.

A contract takes the type of a column from here, and what reads or refuses rows takes the same words as a tuple.
"""

from typing import Literal, get_args

Product = Literal["pay_in_4", "installment"]
PRODUCT_NAMES = get_args(Product)
ProductOrNone = Literal[Product, "none"]
"""Of a transaction: it has none where no loan is booked that it is on."""
NO_PRODUCT = "none"
NO_MERCHANT = "no merchant"
"""What stands for the merchant where none is named. No id of a feed has a space in it."""

Frequency = Literal["biweekly", "monthly"]
FREQUENCIES = get_args(Frequency)

Currency = Literal["USD"]
CURRENCIES = get_args(Currency)

LoanStatus = Literal["open", "repaid", "charged_off"]
OpenBucket = Literal["current", "1-29", "30-59", "60-89", "90-119"]
OPEN_BUCKETS = get_args(OpenBucket)
DelinquencyBucket = Literal[OpenBucket, "charged_off"]
RollsFrom = Literal[OpenBucket, "repaid", "charged_off"]
"""Where a loan stands when a month begins: in a bucket, or with nothing owed."""
RollsTo = Literal[OpenBucket, "paid", "refunded", "waived", "charged_off"]
"""Where its principal is when the month ends: still owed, in a bucket, or what became of it."""

LoanKind = Literal["payment", "payment_reversal", "refund", "refund_reversal", "recovery", "credit_refund"]
"""What a transaction on a loan is."""
MerchantKind = Literal["merchant_payout"]
TransactionKind = Literal[LoanKind, MerchantKind]
CashKind = Literal["payment", "payment_reversal", "recovery", "credit_refund", "merchant_payout"]
"""The kinds that move cash: a refund does not, since the merchant pays it by being owed less."""

LOAN_KINDS = get_args(LoanKind)
MERCHANT_KINDS = get_args(MerchantKind)
TRANSACTION_KINDS = get_args(TransactionKind)
CASH_KINDS = get_args(CashKind)

REVERSALS: tuple[LoanKind, ...] = ("payment_reversal", "refund_reversal")
"""The kinds that undo another transaction, or a part of it."""
ChargeOffCause = Literal["settlement", "bankruptcy", "fraud", "death", "debt_sale"]
"""Why a loan is charged off before it is 120 days past due."""
AdjustmentKind = Literal[
    "goodwill_credit", "waiver", "correction", "undo_charge_off", "clear_unapplied", ChargeOffCause
]
"""What a person decides about a loan."""
ADJUSTMENT_KINDS = get_args(AdjustmentKind)
WITHOUT_AMOUNT: tuple[AdjustmentKind, ...] = ("undo_charge_off", "bankruptcy", "fraud", "death")
FORGIVES: tuple[AdjustmentKind, ...] = ("goodwill_credit", "waiver", "correction")
"""The adjustments that pay a debt with an expense of the lender."""
MovementKind = Literal[LoanKind, AdjustmentKind]
"""What moves a loan's account."""
PostingKind = Literal[
    "origination",
    "accrual",
    LoanKind,
    "charge_off",
    "small_balance",
    "discount_earned",
    "nonaccrual",
    MerchantKind,
    "suspense",
    "provision",
    AdjustmentKind,
]
"""What a posting of the ledger is of."""

TAKES_OUT: tuple[TransactionKind, ...] = ("payment_reversal", "refund_reversal", "credit_refund", "merchant_payout")
"""The kinds whose money the lender pays out or gives back; every other kind brings money in."""
REFUND_KINDS: tuple[TransactionKind, ...] = ("refund", "refund_reversal")
"""The kinds that move no cash: a merchant pays a refund by being owed less, and is owed more if it is reversed."""

LedgerAccount = Literal[
    "cash",
    "principal_receivable",
    "interest_receivable",
    "merchant_payable",
    "credit_balances",
    "suspense",
    "unapplied",
    "deferred_merchant_discount",
    "unrecognized_interest",
    "interest_income",
    "merchant_discount_income",
    "waiver_expense",
    "goodwill_expense",
    "correction_expense",
    "allowance",
    "provision_expense",
]
LEDGER_ACCOUNTS = get_args(LedgerAccount)
