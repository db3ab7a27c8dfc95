"""The postings of each kind, worked to the cent, and the audits that find what is wrong with them."""

from typing import Any, get_args

import pytest
from pyspark.sql import DataFrame, SparkSession

from affirm_assets.datasets.ledger.ledger_entries import (
    LedgerEntry,
    every_movement_is_posted,
    every_posting_balances,
    every_transaction_is_posted,
    ledger_entries,
)
from affirm_assets.datasets.ledger.provisions import Provision
from affirm_assets.datasets.servicing.loan_balances import LoanBalance
from affirm_assets.datasets.servicing.payment_applications import PaymentApplication
from affirm_assets.datasets.transactions.transactions import Transaction
from affirm_assets.declare.contract import column_differences
from affirm_assets.lender.vocabulary import ChargeOffCause
from tests.datasets.lender import DAY, MADE_OF, Row, books, changed, frame, not_ok, row
from tests.storage import Keep


def balance(loan_id: str, **over: Any) -> Row:
    return row(LoanBalance, loan_id=loan_id, as_of=DAY, product="installment", **over)


def applied(transaction_id: str, kind: str, amount: str, **over: Any) -> Row:
    fixed = {"loan_id": "L", "posted_on": DAY, "product": "pay_in_4", "exception": None, **over}
    return row(PaymentApplication, transaction_id=transaction_id, kind=kind, amount=amount, **fixed)


def posted(transaction_id: str, kind: str, amount: str, **over: Any) -> Row:
    fixed = {"loan_id": "L", "posted_on": DAY, "product": "none", **over}
    return row(Transaction, transaction_id=transaction_id, kind=kind, amount=amount, **fixed)


BALANCES = [
    balance(
        "LENT", principal_lent="1000.00", merchant_discount="31.07", principal="1000.00", deferred_discount="31.07"
    ),
    balance("AT-ONCE", principal_lent="80.00", merchant_discount="2.00", principal="80.00"),
    balance("AT-COST", principal_lent="49.99", merchant_discount="0.00", principal="49.99"),
    balance(
        "QUIET",
        merchant_discount="31.07",
        interest_accrued="0.41",
        opening_deferred_discount="20.00499999",
        deferred_discount="19.47500000",
    ),
    balance("GIVEN-UP", interest_accrued="0.62", principal_charged_off="750.50", interest_charged_off="93.11"),
    balance("NO-INTEREST", principal_charged_off="20.00"),
    balance(
        "UNEARNED",
        principal_charged_off="500.00",
        interest_charged_off="9.00",
        charged_off_on=DAY,
        nonaccrual_since=DAY,
        opening_nonaccrual_since=DAY,
        opening_interest="9.00",
        opening_cost_recovered="4.00",
        cost_recovered="4.00",
        opening_deferred_discount="7.00",
        deferred_discount="7.00",
    ),
    balance(
        "LOSS-CAME-BACK",
        charged_off_on=DAY,
        opening_charged_off_on=DAY,
        opening_cost_recovered="4.00",
        cost_recovered="1.00",
        opening_deferred_discount="7.00",
        deferred_discount="0",
    ),
    balance("STOPS", nonaccrual_since=DAY, opening_interest="60.00", interest_accrued="0.50", interest="60.50"),
    balance(
        "STOPPED",
        nonaccrual_since=DAY,
        opening_nonaccrual_since=DAY,
        opening_interest="65.00",
        interest="0.00",
        interest_accrued="0.50",
        cost_recovered="65.50",
    ),
    balance(
        "ON-CASH-BASIS",
        nonaccrual_since=DAY,
        opening_nonaccrual_since=DAY,
        opening_interest="65.00",
        interest="0.00",
        interest_accrued="0.50",
    ),
    balance(
        "ACCRUES-AGAIN",
        opening_nonaccrual_since=DAY,
        opening_interest="3.20",
        interest="0.00",
        interest_accrued="0.46",
        opening_cost_recovered="65.50",
        cost_recovered="69.16",
    ),
    balance("PAID-IN-TIME", principal_charged_off="-20.00", interest_charged_off="-0.30"),
    balance("SMALL", principal_waived="0.70", interest_waived="0.02"),
    balance("REPAID", merchant_discount="31.07"),
]
APPLICATIONS = [
    applied("T1", "payment", "257.80", interest="12.73", principal="245.07"),
    applied("T2", "payment_reversal", "257.80", interest="-12.73", principal="-245.07", reverses="T1"),
    applied("T3", "refund", "133.33", principal="133.33", discount_returned="10.36"),
    applied("T4", "payment", "269.12", interest="-6.59", principal="275.71", interest_given_back="10.67"),
    applied("T5", "payment", "800.00", interest="13.96", principal="754.93", credit="31.11"),
    applied("T6", "credit_refund", "10.00", credit="-10.00"),
    applied("T7", "recovery", "150.00", recovery_principal="90.00", recovery_interest="9.99", credit="50.01"),
    applied("T8", "refund", "5.00", unapplied="5.00", exception="more than the price"),
    applied("adjustment/U", "undo_charge_off", "0.00", principal="300.00", recovery_principal="-300.00"),
    applied("R8", "refund_reversal", "133.33", principal="-133.33", discount_returned="-10.36", reverses="T3"),
    applied("T9", "refund", "20.00", recovery_principal="20.00", discount_returned="0.83"),
    applied("W1", "payment", "50.00", principal="50.00", interest_given_back="0.04", is_from_suspense=True),
    applied("W2", "refund", "100.00", principal="100.00", discount_returned="5.18", is_from_suspense=True),
    applied("W3", "payment_reversal", "50.00", principal="-50.00", interest_given_back="-0.04", is_from_suspense=True),
]
TRANSACTIONS = [
    posted("M1", "merchant_payout", "968.93", loan_id=None, merchant_id="M"),
    posted("S1", "payment", "50.00"),
    posted("S2", "refund", "100.00"),
    posted("S3", "payment_reversal", "50.00", reverses="S1"),
    posted("S4", "credit_refund", "7.00"),
    posted("S5", "recovery", "8.01"),
    # On a booked loan: its application is posted.
    posted("T1", "payment", "257.80", product="pay_in_4"),
]
PROVISIONS = [
    row(Provision, product="installment", as_of=DAY, provision="1234.56"),
    row(Provision, product="pay_in_4", as_of=DAY, provision="-7.08"),
]

WORKED = {
    "origination/LENT": [
        ("principal_receivable", "1000.00", "0.00"),
        ("merchant_payable", "0.00", "968.93"),
        ("deferred_merchant_discount", "0.00", "31.07"),
    ],
    "origination/AT-ONCE": [
        ("principal_receivable", "80.00", "0.00"),
        ("merchant_payable", "0.00", "78.00"),
        ("deferred_merchant_discount", "0.00", "2.00"),
    ],
    "discount_earned/AT-ONCE/2025-03-14": [
        ("deferred_merchant_discount", "2.00", "0.00"),
        ("merchant_discount_income", "0.00", "2.00"),
    ],
    # From 20.00, rounded, to 19.48.
    "discount_earned/QUIET/2025-03-14": [
        ("deferred_merchant_discount", "0.52", "0.00"),
        ("merchant_discount_income", "0.00", "0.52"),
    ],
    # Of 500.00 that are charged off, 11.00 never were income.
    "discount_earned/UNEARNED/2025-03-14": [
        ("deferred_merchant_discount", "7.00", "0.00"),
        ("allowance", "0.00", "7.00"),
    ],
    "nonaccrual/UNEARNED/2025-03-14": [
        ("interest_income", "0.00", "9.00"),
        ("unrecognized_interest", "13.00", "0.00"),
        ("allowance", "0.00", "4.00"),
    ],
    # All but 1.00 of the loss came back.
    "discount_earned/LOSS-CAME-BACK/2025-03-14": [
        ("allowance", "7.00", "0.00"),
        ("merchant_discount_income", "0.00", "7.00"),
    ],
    "nonaccrual/LOSS-CAME-BACK/2025-03-14": [("interest_income", "0.00", "3.00"), ("allowance", "3.00", "0.00")],
    "nonaccrual/STOPS/2025-03-14": [
        ("interest_income", "60.50", "0.00"),
        ("unrecognized_interest", "0.00", "60.50"),
    ],
    # In cost recovery the day's interest is no income, and what was paid stays where it is.
    "nonaccrual/STOPPED/2025-03-14": [("interest_income", "0.50", "0.00"), ("unrecognized_interest", "0.00", "0.50")],
    # On cash basis what was paid is: 65.50, of which the day's 0.50 are posted already.
    "nonaccrual/ON-CASH-BASIS/2025-03-14": [
        ("interest_income", "0.00", "65.00"),
        ("unrecognized_interest", "65.00", "0.00"),
    ],
    "nonaccrual/ACCRUES-AGAIN/2025-03-14": [
        ("interest_income", "0.46", "0.00"),
        ("unrecognized_interest", "0.00", "0.46"),
    ],
    "origination/AT-COST": [("principal_receivable", "49.99", "0.00"), ("merchant_payable", "0.00", "49.99")],
    "accrual/QUIET/2025-03-14": [("interest_receivable", "0.41", "0.00"), ("interest_income", "0.00", "0.41")],
    "accrual/GIVEN-UP/2025-03-14": [("interest_receivable", "0.62", "0.00"), ("interest_income", "0.00", "0.62")],
    **{
        f"accrual/{name}/2025-03-14": [("interest_receivable", amount, "0.00"), ("interest_income", "0.00", amount)]
        for name, amount in {
            "STOPS": "0.50",
            "STOPPED": "0.50",
            "ON-CASH-BASIS": "0.50",
            "ACCRUES-AGAIN": "0.46",
        }.items()
    },
    "charge_off/UNEARNED/2025-03-14": [
        ("allowance", "500.00", "0.00"),
        ("principal_receivable", "0.00", "500.00"),
        ("interest_income", "9.00", "0.00"),
        ("interest_receivable", "0.00", "9.00"),
    ],
    "charge_off/GIVEN-UP/2025-03-14": [
        ("allowance", "750.50", "0.00"),
        ("principal_receivable", "0.00", "750.50"),
        ("interest_income", "93.11", "0.00"),
        ("interest_receivable", "0.00", "93.11"),
    ],
    "charge_off/NO-INTEREST/2025-03-14": [("allowance", "20.00", "0.00"), ("principal_receivable", "0.00", "20.00")],
    # A late row shows that it was paid in time.
    "charge_off/PAID-IN-TIME/2025-03-14": [
        ("allowance", "0.00", "20.00"),
        ("principal_receivable", "20.00", "0.00"),
        ("interest_income", "0.00", "0.30"),
        ("interest_receivable", "0.30", "0.00"),
    ],
    "small_balance/SMALL/2025-03-14": [
        ("waiver_expense", "0.70", "0.00"),
        ("principal_receivable", "0.00", "0.70"),
        ("interest_income", "0.02", "0.00"),
        ("interest_receivable", "0.00", "0.02"),
    ],
    # On time.
    "payment/T1": [
        ("cash", "257.80", "0.00"),
        ("interest_receivable", "0.00", "12.73"),
        ("principal_receivable", "0.00", "245.07"),
    ],
    "payment_reversal/T2": [
        ("cash", "0.00", "257.80"),
        ("interest_receivable", "12.73", "0.00"),
        ("principal_receivable", "245.07", "0.00"),
    ],
    # With the merchant's discount.
    "refund/T3": [
        ("merchant_payable", "133.33", "0.00"),
        ("principal_receivable", "0.00", "133.33"),
        ("merchant_discount_income", "10.36", "0.00"),
        ("merchant_payable", "0.00", "10.36"),
    ],
    # Late: it takes back what a payment since has paid of interest, and gives back what accrued since.
    "payment/T4": [
        ("cash", "269.12", "0.00"),
        ("interest_receivable", "6.59", "0.00"),
        ("principal_receivable", "0.00", "275.71"),
        ("interest_income", "10.67", "0.00"),
        ("interest_receivable", "0.00", "10.67"),
    ],
    # More than is owed, and what is paid out of it.
    "payment/T5": [
        ("cash", "800.00", "0.00"),
        ("interest_receivable", "0.00", "13.96"),
        ("principal_receivable", "0.00", "754.93"),
        ("credit_balances", "0.00", "31.11"),
    ],
    "credit_refund/T6": [("cash", "0.00", "10.00"), ("credit_balances", "10.00", "0.00")],
    # More than was charged off.
    "recovery/T7": [
        ("cash", "150.00", "0.00"),
        ("credit_balances", "0.00", "50.01"),
        ("allowance", "0.00", "90.00"),
        ("interest_income", "0.00", "9.99"),
    ],
    # An exception.
    "refund/T8": [("merchant_payable", "5.00", "0.00"), ("unapplied", "0.00", "5.00")],
    "undo_charge_off/adjustment/U": [("principal_receivable", "0.00", "300.00"), ("allowance", "300.00", "0.00")],
    "refund_reversal/R8": [
        ("merchant_payable", "0.00", "133.33"),
        ("principal_receivable", "133.33", "0.00"),
        ("merchant_discount_income", "0.00", "10.36"),
        ("merchant_payable", "10.36", "0.00"),
    ],
    # A refund of a loan that is charged off.
    "refund/T9": [
        ("merchant_payable", "20.00", "0.00"),
        ("allowance", "0.00", "20.00"),
        ("merchant_discount_income", "0.83", "0.00"),
        ("merchant_payable", "0.00", "0.83"),
    ],
    # Taken up from suspense.
    "payment/W1": [
        ("suspense", "50.00", "0.00"),
        ("principal_receivable", "0.00", "50.00"),
        ("interest_income", "0.04", "0.00"),
        ("interest_receivable", "0.00", "0.04"),
    ],
    "refund/W2": [
        ("suspense", "100.00", "0.00"),
        ("principal_receivable", "0.00", "100.00"),
        ("merchant_discount_income", "5.18", "0.00"),
        ("merchant_payable", "0.00", "5.18"),
    ],
    "payment_reversal/W3": [
        ("suspense", "0.00", "50.00"),
        ("principal_receivable", "50.00", "0.00"),
        ("interest_income", "0.00", "0.04"),
        ("interest_receivable", "0.04", "0.00"),
    ],
    # Into suspense.
    "suspense/S1": [("cash", "50.00", "0.00"), ("suspense", "0.00", "50.00")],
    "suspense/S2": [("merchant_payable", "100.00", "0.00"), ("suspense", "0.00", "100.00")],
    "suspense/S3": [("cash", "0.00", "50.00"), ("suspense", "50.00", "0.00")],
    "suspense/S4": [("cash", "0.00", "7.00"), ("suspense", "7.00", "0.00")],
    "suspense/S5": [("cash", "8.01", "0.00"), ("suspense", "0.00", "8.01")],
    "merchant_payout/M1": [("cash", "0.00", "968.93"), ("merchant_payable", "968.93", "0.00")],
    "provision/installment/2025-03-14": [("provision_expense", "1234.56", "0.00"), ("allowance", "0.00", "1234.56")],
    # A release.
    "provision/pay_in_4/2025-03-14": [("provision_expense", "0.00", "7.08"), ("allowance", "7.08", "0.00")],
}


@pytest.fixture(scope="module")
def worked(spark: SparkSession) -> dict[str, list[Row]]:
    made = ledger_entries(
        frame(spark, LoanBalance, BALANCES),
        frame(spark, PaymentApplication, APPLICATIONS),
        frame(spark, Transaction, TRANSACTIONS),
        frame(spark, Provision, PROVISIONS),
    )
    assert column_differences(LedgerEntry, made.schema) == []
    by_posting: dict[str, list[Row]] = {}
    for each in sorted(made.collect(), key=lambda each: each.entry):
        by_posting.setdefault(each.posting_id, []).append(each.asDict())
    return by_posting


@pytest.mark.parametrize("posting_id", WORKED)
def test_a_posting_has_these_entries(worked: dict[str, list[Row]], posting_id: str) -> None:
    entries = worked[posting_id]
    assert [(each["account"], str(each["debit"]), str(each["credit"])) for each in entries] == WORKED[posting_id]
    assert [each["entry"] for each in entries] == list(range(1, len(entries) + 1))
    assert {each["posted_on"] for each in entries} == {DAY}


def test_nothing_else_is_posted(worked: dict[str, list[Row]]) -> None:
    assert sorted(worked) == sorted(WORKED)


def test_a_posting_names_what_it_is_of(worked: dict[str, list[Row]]) -> None:
    named = {
        posting_id: tuple(worked[posting_id][0][name] for name in ("kind", "loan_id", "transaction_id", "product"))
        for posting_id in (
            "charge_off/GIVEN-UP/2025-03-14",
            "refund/W2",
            "suspense/S2",
            "merchant_payout/M1",
            "provision/pay_in_4/2025-03-14",
        )
    }
    assert named == {
        "charge_off/GIVEN-UP/2025-03-14": ("charge_off", "GIVEN-UP", None, "installment"),
        "refund/W2": ("refund", "L", "W2", "pay_in_4"),
        "suspense/S2": ("suspense", "L", "S2", "none"),
        "merchant_payout/M1": ("merchant_payout", None, "M1", "none"),
        "provision/pay_in_4/2025-03-14": ("provision", None, None, "pay_in_4"),
    }


@pytest.fixture(scope="module")
def given(spark: SparkSession, keep: Keep) -> dict[str, DataFrame]:
    return books(spark, keep)


@pytest.fixture(scope="module")
def entries(given: dict[str, DataFrame], keep: Keep) -> DataFrame:
    return keep(ledger_entries(*(given[name] for name in MADE_OF)))


def unposted(entries: DataFrame, given: dict[str, DataFrame]) -> DataFrame:
    return every_movement_is_posted.function(entries, *(given[name] for name in MADE_OF)).where("NOT ok")


def test_audits_pass(entries: DataFrame, given: dict[str, DataFrame]) -> None:
    assert not_ok(every_posting_balances.function(entries)) == 0
    assert unposted(entries, given).count() == 0
    assert not_ok(every_transaction_is_posted.function(entries, given["transactions"])) == 0


def test_the_books_have_every_kind_and_account(entries: DataFrame) -> None:
    types = {field: LedgerEntry.model_fields[field].annotation.__args__ for field in ("kind", "account")}  # type: ignore[union-attr]
    # Most of these decisions are posted as charge-offs; by themselves only if they move what came in before.
    decisions = {*get_args(ChargeOffCause), "undo_charge_off"}
    for field, known in types.items():
        assert {each[0] for each in entries.select(field).distinct().collect()} == set(known) - decisions


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ("entry = 1", {"debit": "debit + 0.01"}),
        ("entry = 2", {"credit": "credit - 0.01"}),
        ("entry = 2", {"debit": "credit", "credit": "debit"}),
        ("true", {"debit": "debit + 1", "credit": "credit + 1"}),
        ("true", {"debit": "0", "credit": "0"}),
    ],
    ids=["a cent more", "a cent less", "sides swapped", "on both sides", "no amounts"],
)
def test_a_posting_that_does_not_balance_is_found(entries: DataFrame, where: str, wrong: dict[str, str]) -> None:
    planted = changed(entries, f"posting_id = 'payment/P1' AND {where}", **wrong)
    assert not_ok(every_posting_balances.function(planted)) == 1


def test_a_dropped_entry_is_found(entries: DataFrame, given: dict[str, DataFrame]) -> None:
    wrong = entries.where("NOT (posting_id = 'refund/P8' AND entry = 3)")
    assert not_ok(every_posting_balances.function(wrong)) == 1
    assert unposted(wrong, given).count() == 1


def test_postings_that_are_missing_are_found(entries: DataFrame, given: dict[str, DataFrame]) -> None:
    """One of each kind, each on a day of its own."""
    missing = {
        "origination/LATE": "2025-01-05",
        "accrual/LATE/2025-02-01": "2025-02-01",
        "charge_off/NEVER-PAID/2025-06-03": "2025-06-03",
        "payment/P7": "2025-03-20",
        "payment_reversal/P2R": "2025-03-05",
        "refund/W2": "2025-03-04",
        "recovery/P3": "2025-03-06",
        "credit_refund/P5": "2025-03-25",
        "suspense/W3": "2025-03-02",
        "merchant_payout/M1": "2025-01-04",
        "provision/installment/2025-04-30": "2025-04-30",
    }
    wrong = entries.where(~entries.posting_id.isin(list(missing)))
    failed = unposted(wrong, given).select("kind", "posted_on").distinct().collect()
    kinds = {name: name.split("/")[0] for name in missing}
    assert sorted((each.kind, str(each.posted_on)) for each in failed) == sorted(
        (kinds[name], posted_on) for name, posted_on in missing.items()
    )


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        (
            "posting_id = 'payment/P1'",
            {"account": "IF(account = 'principal_receivable', 'interest_receivable', account)"},
        ),
        ("posting_id = 'suspense/W1'", {"account": "IF(account = 'suspense', 'unapplied', account)"}),
        ("posting_id = 'recovery/P10'", {"debit": "credit", "credit": "debit"}),
        ("posting_id = 'refund/P8'", {"product": "'installment'"}),
        ("posting_id = 'merchant_payout/M1'", {"posted_on": "date_add(posted_on, 1)"}),
        ("posting_id = 'recovery/P10'", {"kind": "'payment'"}),
        (
            "posting_id = 'accrual/LATE/2025-02-01'",
            {"debit": "IF(debit > 0, debit + 1, debit)", "credit": "IF(credit > 0, credit + 1, credit)"},
        ),
    ],
    ids=["other account", "other liability", "sides swapped", "product", "day", "kind", "a dollar too much"],
)
def test_a_balanced_posting_that_is_wrong_is_found(
    entries: DataFrame, given: dict[str, DataFrame], where: str, wrong: dict[str, str]
) -> None:
    planted = changed(entries, where, **wrong)
    assert not_ok(every_posting_balances.function(planted)) == 0
    assert unposted(planted, given).count() >= 2


@pytest.mark.parametrize(
    ("where", "wrong"),
    [
        ("posting_id = 'payment/P1'", {"debit": "debit + 0.01"}),
        ("posting_id = 'payment/P1'", {"transaction_id": "'P2'"}),
        ("posting_id = 'suspense/W1'", {"posted_on": "date_add(posted_on, 1)"}),
        ("posting_id = 'refund/P8'", {"account": "IF(account = 'merchant_payable', 'suspense', account)"}),
        ("posting_id = 'merchant_payout/M1'", {"debit": "credit", "credit": "debit"}),
        ("posting_id = 'accrual/LATE/2025-02-01'", {"account": "IF(account = 'interest_receivable', 'cash', account)"}),
    ],
    ids=["a cent more", "other transaction", "other day", "other account", "sides swapped", "cash of no transaction"],
)
def test_a_transaction_that_is_posted_otherwise_is_found(
    entries: DataFrame, given: dict[str, DataFrame], where: str, wrong: dict[str, str]
) -> None:
    assert not_ok(every_transaction_is_posted.function(changed(entries, where, **wrong), given["transactions"]))


def test_transactions_without_a_posting_are_found(entries: DataFrame, given: dict[str, DataFrame]) -> None:
    wrong = entries.where("posting_id NOT IN ('payment/P4', 'refund/P8', 'suspense/W1', 'merchant_payout/M2')")
    failed = every_transaction_is_posted.function(wrong, given["transactions"]).where("NOT ok").collect()
    assert sorted(each.transaction_id for each in failed) == ["M2", "P4", "P8", "W1"]
