"""The audit of what is income passes every history that the rules make: a false alarm would stop the books."""

import random
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from pyspark.sql import DataFrame, SparkSession

from affirm_assets.datasets.adjustments.adjustments import Adjustment
from affirm_assets.datasets.servicing._accounts import TERMS
from affirm_assets.datasets.servicing.loan_balances import LoanBalance, income_waits_as_the_rules_say
from affirm_assets.datasets.transactions.suspense import Suspense
from affirm_assets.datasets.transactions.transactions import Transaction
from affirm_assets.lender.finance.account import Account
from affirm_assets.lender.finance.days import days
from affirm_assets.lender.finance.movements import Movement
from affirm_assets.lender.finance.terms import Terms
from affirm_assets.lender.vocabulary import ADJUSTMENT_KINDS
from tests.datasets.lender import RULES, Row, frame, row, with_rules
from tests.unit.histories import History, random_history

DAY = date.fromisoformat


def lent(apr: str, instalments: int) -> Terms:
    return Terms.agreed(
        principal=Decimal("1000.00"),
        apr=Decimal(apr),
        instalments=instalments,
        frequency="monthly",
        originated_on=DAY("2025-01-01"),
        first_due_on=DAY("2025-02-01"),
        merchant_discount=Decimal("50.00"),
        rules=RULES,
    )


def came(name: str, kind: str, amount: str, on: str, effective_on: str = "", of: str | None = None) -> Movement:
    return Movement(name, kind, Decimal(amount), DAY(on), DAY(effective_on or on), of)  # type: ignore[arg-type]


def never_paid(apr: str, instalments: int, *moved: Movement) -> History:
    return History(lent(apr, instalments), DAY("2025-01-01"), DAY("2025-12-31"), list(moved))


# A day on which no column of the balances moves, and a replay changes what is deferred all the same.
NOTHING_SEEMS_TO_MOVE = [
    never_paid(
        "0",
        12,
        came("u", "undo_charge_off", "0", "2025-06-10"),
        came("b", "bankruptcy", "0", "2025-06-20", "2025-01-01"),
    ),
    never_paid(
        "18.25",
        12,
        came("b", "fraud", "0", "2025-01-02", "2024-11-01"),
        came("r", "recovery", "300.00", "2025-02-01"),
        came("x", "payment_reversal", "300.00", "2025-02-10", of="r"),
        came("f", "refund", "300.00", "2025-02-10"),
    ),
]


def histories() -> list[History]:
    found = [*NOTHING_SEEMS_TO_MOVE]
    for seed in range(150):
        history = random_history(random.Random(seed))
        found.append(replace(history, terms=replace(history.terms, rules=RULES)))
    return found


def rows(loan_id: str, history: History) -> list[Row]:
    fixed = {
        "loan_id": loan_id,
        "product": "installment",
        "booked_on": history.booked_on,
        "amount_lent": history.terms.principal,
        **{name: getattr(history.terms, name) for name in TERMS if name != "amount_lent"},
    }
    account = Account.opened(history.terms, history.booked_on)
    return [{**fixed, **each._asdict()} for each in days(account, history.last, history.movements, is_new=True)]


def moved(loan_id: str, history: History, *, decided: bool) -> list[Row]:
    contract = Adjustment if decided else Transaction
    found = []
    for each in history.movements:
        if (each.kind in ADJUSTMENT_KINDS) == decided:
            ids = {"adjustment_id" if decided else "transaction_id": f"{loan_id}-{each.transaction_id}"}
            on = {"posted_on": each.posted_on, "effective_on": each.effective_on, "amount": str(each.amount)}
            found.append(row(contract, loan_id=loan_id, kind=each.kind, product="installment", **ids, **on))
    return found


@pytest.fixture(scope="module")
def audited(spark: SparkSession) -> DataFrame:
    made = {f"L{number:03}": history for number, history in enumerate(histories())}
    transactions, adjustments = (
        frame(spark, contract, [each for of in made.items() for each in moved(*of, decided=decided)])
        for contract, decided in ((Transaction, False), (Adjustment, True))
    )
    balances = frame(spark, LoanBalance, [each for of in made.items() for each in rows(*of)])
    with pytest.MonkeyPatch.context() as patch:
        with_rules(patch)
        return income_waits_as_the_rules_say.function(
            balances, transactions, frame(spark, Suspense, []), adjustments
        ).persist()


def test_no_right_row_is_taken_for_a_wrong_one(audited: DataFrame) -> None:
    assert audited.where("NOT ok").collect() == []


def test_days_of_each_kind_are_looked_at(audited: DataFrame) -> None:
    kinds = {row.came: row["count"] for row in audited.groupBy("came").count().collect()}
    assert min(kinds[None], kinds["in time"], kinds["else"]) > 50
    assert audited.where("nonaccrual_since IS NOT NULL AND cost_recovered > 0").count() > 50
