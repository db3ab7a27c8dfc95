"""A small lender's books as frames: single rows to begin a test with, and months of loans by the rules of finance."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession

from affirm_assets.datasets.adjustments.adjustments import Adjustment
from affirm_assets.datasets.ledger.provisions import Provision, owed_by_bucket, provisions
from affirm_assets.datasets.loans.loans import Loan as BookedLoan
from affirm_assets.datasets.servicing._accounts import TERMS
from affirm_assets.datasets.servicing.charge_offs import charge_offs
from affirm_assets.datasets.servicing.loan_balances import LoanBalance
from affirm_assets.datasets.servicing.payment_applications import PaymentApplication
from affirm_assets.datasets.transactions.suspense import Suspense
from affirm_assets.datasets.transactions.transactions import Transaction
from affirm_assets.declare.contract import Contract, columns, spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Lookup
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.days import applications, days
from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.finance.rules import Rules
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.products import PRODUCTS
from affirm_assets.lender.vocabulary import TAKES_OUT, WITHOUT_AMOUNT
from tests.conftest import declare
from tests.storage import Keep

Row = dict[str, Any]

DAY = date(2025, 3, 14)
_NOTHING = {"string": "-", "bigint": 0, "boolean": False, "date": DAY}


def row(contract: type[Contract], **over: Any) -> Row:
    """A row in which nothing moved; amounts may be given as text."""
    found: Row = {}
    for spec in columns(contract):
        kind = spec.spark_type.simpleString()
        nothing = _NOTHING.get(kind, Decimal(0)) if spec.required else None
        value = over.pop(spec.name, nothing)
        found[spec.name] = Decimal(value) if kind.startswith("decimal") and value is not None else value
    assert not over, f"{contract.__name__} has no {', '.join(over)}"
    return found


def frame(spark: SparkSession, contract: type[Contract], rows: Iterable[Row]) -> DataFrame:
    schema = spark_schema(contract)
    return spark.createDataFrame([tuple(each[name] for name in schema.names) for each in rows], schema)


def source(name: str, contract: type[Contract], day: str, rows: Iterable[Row]) -> Dataset:
    """A dataset that publishes these rows, each on its day."""
    kept = tuple(rows)

    def read(window: Window) -> DataFrame:
        return frame(
            SparkSession.active(), contract, (each for each in kept if window.first <= each[day] <= window.last)
        )

    return declare(read, contract, Daily(day), name=name)


def lookup(rows: DataFrame, by: str) -> Lookup:
    """The rows as a parameter declared with `by` has them."""
    return lambda keys: rows.join(keys.select(by).distinct(), by, "left_semi")


def not_ok(audited: DataFrame) -> int:
    return audited.where("NOT coalesce(ok, false)").count()


def changed(frame: DataFrame, where: str, **changes: str) -> DataFrame:
    """The frame with other values, in Spark SQL, in the rows of which `where` is true; for a planted error."""
    return frame.selectExpr(
        *(
            f"CAST(IF({where}, {changes[each.name]}, {each.name}) AS {each.dataType.simpleString()}) AS {each.name}"
            if each.name in changes
            else each.name
            for each in frame.schema
        )
    )


@dataclass(frozen=True)
class Loan:
    terms: Terms
    booked_on: date
    product: str = "installment"


@dataclass(frozen=True)
class Posted:
    """A transaction as it came."""

    transaction_id: str
    loan_id: str | None
    kind: Any
    amount: str
    posted_on: date
    effective_on: date | None = None
    reverses: str | None = None
    merchant_id: str | None = None


WINDOW = Window(date(2025, 1, 1), date(2025, 7, 20))


def day(text: str) -> date:
    return date.fromisoformat(f"2025-{text}")


RULES = Rules(nonaccrual_after=90)
"""Of both products."""


def with_rules(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the audits know of them."""
    products = {name: replace(settings, rules=RULES) for name, settings in PRODUCTS.items()}
    monkeypatch.setattr("affirm_assets.datasets.servicing.loan_balances.PRODUCTS", products)


def loan(principal: str, apr: str, originated_on: str, first_due_on: str, **over: Any) -> Loan:
    terms = Terms.agreed(
        principal=Decimal(principal),
        apr=Decimal(apr),
        instalments=4,
        frequency="monthly",
        originated_on=day(originated_on),
        first_due_on=day(first_due_on),
        merchant_discount=Decimal("31.07"),
        rules=RULES,
    )
    return Loan(terms, over.pop("booked_on", terms.originated_on), **over)


LOANS: Mapping[str, Loan] = {
    "ON-TIME": loan("1000.00", "14.99", "01-02", "02-02"),
    "LATE": loan("1000.00", "35.99", "01-05", "02-05"),
    "REFUNDED": loan("400.00", "0", "01-09", "02-09", product="pay_in_4"),
    "NEVER-PAID": loan("750.50", "29.99", "01-03", "02-03"),
    "CENTS-SHORT": loan("100.00", "0", "01-02", "02-02"),
    "BOOKED-LATE": loan("600.00", "9.99", "03-01", "04-01", booked_on=day("03-04")),
}

POSTED = [
    Posted("P1", "ON-TIME", "payment", "257.80", day("02-02")),
    Posted("P2", "ON-TIME", "payment", "257.80", day("03-02")),
    Posted("P2R", "ON-TIME", "payment_reversal", "257.80", day("03-05"), reverses="P2"),
    Posted("P3", "ON-TIME", "recovery", "5.00", day("03-06")),
    Posted("P4", "ON-TIME", "payment", "800.00", day("03-20")),
    Posted("P5", "ON-TIME", "credit_refund", "10.00", day("03-25")),
    Posted("P6", "LATE", "payment", "269.12", day("03-05")),
    Posted("P7", "LATE", "payment", "269.12", day("03-20"), day("02-05")),
    Posted("P8", "REFUNDED", "refund", "133.33", day("01-20")),
    Posted("P8R", "REFUNDED", "refund_reversal", "33.33", day("01-25"), reverses="P8"),
    Posted("P9", "REFUNDED", "payment", "333.33", day("02-09")),
    Posted("P13", "REFUNDED", "refund", "400.00", day("04-10")),
    Posted("P10", "NEVER-PAID", "recovery", "99.99", day("07-01")),
    Posted("P11", "NEVER-PAID", "refund", "20.00", day("07-02")),
    Posted("P12", "CENTS-SHORT", "payment", "99.50", day("02-02")),
    Posted("W1", "BOOKED-LATE", "payment", "50.00", day("03-01")),
    Posted("W2", "BOOKED-LATE", "refund", "100.00", day("03-02")),
    Posted("W3", "BOOKED-LATE", "payment_reversal", "50.00", day("03-02"), reverses="W1"),
    Posted("W4", "UNKNOWN", "credit_refund", "7.00", day("05-05")),
    Posted("M1", None, "merchant_payout", "968.93", day("01-04"), merchant_id="M-installment"),
    Posted("M2", None, "merchant_payout", "1500.00", day("02-01"), merchant_id="M-pay_in_4"),
]

DECIDED = [
    Posted("adjustment/A1", "LATE", "goodwill_credit", "10.00", day("04-02")),
    Posted("adjustment/A2", "LATE", "waiver", "20.00", day("04-20")),
    Posted("adjustment/A3", "LATE", "correction", "5.00", day("04-21")),
    Posted("adjustment/A4", "REFUNDED", "clear_unapplied", "300.00", day("04-11"), reverses="P13"),
    Posted("adjustment/A5", "BOOKED-LATE", "bankruptcy", "0.00", day("04-25")),
]
"""What persons decided about the loans."""


def balances() -> Iterable[Row]:
    for loan_id, of in LOANS.items():
        fixed = {
            "loan_id": loan_id,
            "product": of.product,
            "booked_on": of.booked_on,
            "amount_lent": of.terms.principal,
            **{name: getattr(of.terms, name) for name in TERMS if name != "amount_lent"},
        }
        account = Account.opened(of.terms, of.booked_on)
        for each in days(account, WINDOW.last, _movements(loan_id), is_new=True):
            yield {**fixed, **each._asdict()}


def applied() -> Iterable[Row]:
    for loan_id, of in LOANS.items():
        account = Account.opened(of.terms, of.booked_on)
        for movement, application in applications(account, WINDOW.last, _movements(loan_id), is_new=True):
            yield {
                "loan_id": loan_id,
                "product": of.product,
                "is_from_suspense": movement.transaction_id.startswith("W"),
                **{name: getattr(movement, name) for name in Movement.__slots__},
                **{name: getattr(application, name) for name in application.__slots__},
            }


def posted() -> Iterable[Row]:
    for number, each in enumerate(POSTED, 1):
        is_waiting = each.transaction_id.startswith("W") or each.loan_id is None
        yield row(
            Transaction,
            product="none" if is_waiting else LOANS[str(each.loan_id)].product,
            record_number=number,
            **{**_fields(each), "posted_on": each.posted_on},
        )


def waiting() -> Iterable[Row]:
    for each in POSTED:
        if not each.transaction_id.startswith("W"):
            continue
        of = LOANS.get(str(each.loan_id))
        sign = -1 if each.kind in TAKES_OUT else 1
        last = of.booked_on if of else WINDOW.last
        for number in range((last - each.posted_on).days + 1):
            as_of = each.posted_on + timedelta(days=number)
            is_taken_up = of is not None and as_of == last
            yield row(
                Suspense,
                as_of=as_of,
                waiting_since=each.posted_on,
                taken_up_on=as_of if is_taken_up else None,
                opening=sign * Decimal(each.amount) if number else Decimal(0),
                closing=Decimal(0) if is_taken_up else sign * Decimal(each.amount),
                **_fields(each),
            )


MADE_OF = ("loan_balances", "payment_applications", "transactions", "provisions")
"""The parameters of ledger_entries."""

MOVED_BY = ("loans", "transactions", "payment_applications", "provisions")
"""The subledgers among the parameters of trial_balance."""


def books(spark: SparkSession, keep: Keep) -> dict[str, DataFrame]:
    """What the ledger and the portfolio are made of, by the name of the dataset."""
    made = {
        "loan_balances": (LoanBalance, balances()),
        "payment_applications": (PaymentApplication, applied()),
        "transactions": (Transaction, posted()),
        "suspense": (Suspense, waiting()),
        "loans": (BookedLoan, loans()),
    }
    frames = {name: keep(frame(spark, contract, rows)) for name, (contract, rows) in made.items()}
    owed = owed_by_bucket.function(frames["loan_balances"])
    return {
        **frames,
        "charge_offs": keep(charge_offs(frames["loan_balances"])),
        "provisions": keep(provisions(owed, frame(spark, Provision, []), WINDOW)),
    }


def loans() -> list[Row]:
    return [
        row(
            BookedLoan,
            loan_id=loan_id,
            booked_on=each.booked_on,
            product=each.product,
            user_id=f"U-{loan_id}",
            merchant_id=f"M-{each.product}",
            borrower_state="CA",
            currency="USD",
            record_number=number,
            **{
                name: getattr(each.terms, name)
                for name in ("principal", *TERMS)
                if name not in ("amount_lent", "due_day", "effective_rate")
            },
        )
        for number, (loan_id, each) in enumerate(LOANS.items(), 1)
    ]


def decided() -> list[Row]:
    """What persons decided, as accepted from the feed."""
    return [
        row(
            Adjustment,
            adjustment_id=each.transaction_id.removeprefix("adjustment/"),
            posted_on=each.posted_on,
            loan_id=each.loan_id,
            product=LOANS[str(each.loan_id)].product,
            kind=each.kind,
            amount=None if each.kind in WITHOUT_AMOUNT else each.amount,
            effective_on=each.effective_on or each.posted_on,
            approver="E1",
            transaction_id=each.reverses,
            record_number=number,
        )
        for number, each in enumerate(DECIDED, 1)
    ]


def _fields(each: Posted) -> Row:
    names = ("transaction_id", "loan_id", "merchant_id", "kind", "amount", "reverses")
    return {**{name: getattr(each, name) for name in names}, "effective_on": each.effective_on or each.posted_on}


def _movements(loan_id: str) -> list[Movement]:
    booked_on = LOANS[loan_id].booked_on
    return [
        Movement(
            each.transaction_id,
            each.kind,
            Decimal(each.amount),
            max(each.posted_on, booked_on),
            each.effective_on or each.posted_on,
            each.reverses,
        )
        for each in (*POSTED, *DECIDED)
        if each.loan_id == loan_id
    ]
