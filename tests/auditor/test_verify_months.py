"""`affirm verify` on the reports of whole months: they hold, and what somebody damaged below the platform is named."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog

from affirm_assets.auditor.verify.of_months import NAMES, ROLL_RATES, VINTAGES
from affirm_assets.auditor.verify.run import verify
from resources.spark import SparkSessions
from tests.auditor.test_verify import Damage, doubled, dropped, moved, rewritten, wrong
from tests.integration.books import ADJUSTMENTS, BOOKS, DAILY, Books, adjustment, jsonl, loan, transaction

JANUARY, FEBRUARY = date(2025, 1, 1), date(2025, 2, 1)
FIRST, LAST = date(2025, 1, 30), date(2025, 2, 28)

_LOANS: Mapping[date, Sequence[dict[str, Any]]] = {
    FIRST: [
        loan(loan_id="paid-off", originated_on="2025-01-20", first_due_on="2025-02-20"),
        loan(loan_id="behind", originated_on="2024-12-01", first_due_on="2025-01-01"),
        loan(loan_id="lost", originated_on="2024-09-15", first_due_on="2024-10-15"),
        loan(loan_id="undone", originated_on="2024-08-01", first_due_on="2024-09-01"),
        loan(loan_id="reversed", originated_on="2024-12-10", first_due_on="2025-01-10"),
    ],
    date(2025, 2, 5): [loan(loan_id="new", originated_on="2025-01-31", first_due_on="2025-02-28")],
}


def _cash(number: int, of: str, on: str, amount: str, kind: str = "payment", **over: Any) -> dict[str, Any]:
    return transaction(transaction_id=f"T{number}", loan_id=of, kind=kind, amount=amount, effective_on=on, **over)


_TRANSACTIONS: Mapping[date, Sequence[dict[str, Any]]] = {
    date(2025, 1, 31): [_cash(1, "reversed", "2025-01-31", "50.00"), _cash(2, "undone", "2025-01-31", "30.00")],
    date(2025, 2, 6): [
        _cash(3, "paid-off", "2025-02-06", "1100.00"),
        _cash(4, "behind", "2025-02-06", "100.00", "refund", merchant_id="M1"),
    ],
    date(2025, 2, 20): [
        _cash(5, "lost", "2025-02-20", "77.77", "recovery"),
        _cash(6, "reversed", "2025-02-20", "50.00", "payment_reversal", reverses="T1"),
    ],
    LAST: [_cash(7, "new", "2025-02-28", "300.00")],
}


@pytest.fixture(scope="module")
def books(spark_if_needed: SparkSessions, tmp_path_factory: pytest.TempPathFactory) -> Books:
    books = Books(tmp_path_factory.mktemp("months"), spark_if_needed, first=FIRST)
    undo = adjustment(
        adjustment_id="A", loan_id="undone", kind="undo_charge_off", amount=None, effective_on="2025-02-10"
    )
    for number in range((LAST - FIRST).days + 1):
        day = FIRST + timedelta(days=number)
        books.land("loans", day, {"part.jsonl": jsonl(_LOANS.get(day, []))})
        books.land("transactions", day, {"part.jsonl": jsonl(_TRANSACTIONS.get(day, []))})
        books.land("adjustments", day, {"part.jsonl": jsonl([undo] if day == date(2025, 2, 10) else [])})
    books.materialize(f"{DAILY},{ADJUSTMENTS},{BOOKS}", FIRST, LAST)
    books.materialize("portfolio/roll_rates,portfolio/vintage_curves", JANUARY, FEBRUARY)
    return books


@pytest.fixture
def catalog(books: Books, tmp_path: Path) -> Catalog:
    return books.fork(tmp_path).catalog


def test_the_reports_of_months_hold(books: Books) -> None:
    verified = verify(books.catalog)
    assert wrong(verified) == {}
    compared = {each.name: each.compared for each in verified.found}
    assert all(compared[name] > 10 for name in NAMES.values())
    rolled = {(each["from_bucket"], each["to_bucket"]): each["principal"] for each in books.rows(ROLL_RATES)}
    assert {to for _, to in rolled} >= {"paid", "refunded", "charged_off", "1-29"}
    assert rolled["charged_off", "charged_off"] == -1000
    assert rolled["1-29", "paid"] < 0
    curves = {(each["month"], each["vintage"]): each for each in books.rows(VINTAGES)}
    assert curves[FEBRUARY, date(2024, 9, 1)]["recovered"] == Decimal("77.77")
    assert curves[FEBRUARY, JANUARY]["prepaid"] > 0
    assert [curves[month, JANUARY]["loans"] for month in (JANUARY, FEBRUARY)] == [1, 2]


DAMAGES = {
    "a cent that went elsewhere": Damage(
        ROLL_RATES, moved("principal", to_bucket="paid", from_bucket="1-29"), {"where the principal": "1-29 paid"}
    ),
    "a loan more": Damage(ROLL_RATES, moved("loans", 1, to_bucket="charged_off"), {"where the principal": "loans"}),
    "a cent of what it opened with": Damage(
        ROLL_RATES,
        moved("opening_principal", to_bucket="refunded"),
        {"where the principal": "refunded opening_principal"},
    ),
    "the last place of a rate": Damage(
        ROLL_RATES, moved("rate", Decimal("0.000001"), to_bucket="refunded"), {"where the principal": "refunded rate"}
    ),
    "a destination": Damage(
        ROLL_RATES, dropped(to_bucket="refunded"), {"where the principal": "refunded", "rows that were": ROLL_RATES}
    ),
    "a row twice": Damage(ROLL_RATES, doubled(to_bucket="refunded"), {"no key is there twice": "refunded"}),
    "the vintage of a row": Damage(
        VINTAGES,
        lambda rows: [{**each, "vintage": date(2024, 11, 1)} if each["charged_off"] else each for each in rows],
        {"each vintage": "2024-11-01 loans: expected 0, found 1"},
    ),
    "the last place of a curve": Damage(
        VINTAGES,
        moved("net_loss_rate", Decimal("0.000001"), vintage=date(2024, 9, 1)),
        {"each vintage": "net_loss_rate"},
    ),
    "a month of a vintage": Damage(VINTAGES, dropped(vintage=date(2024, 9, 1)), {"each vintage": "2024-09-01 loans"}),
    "a month of all": Damage(VINTAGES, lambda _: [], {"each vintage": "loans"}),
    **{
        f"a vintage's {name}": Damage(
            VINTAGES,
            moved(name, 1 if "loans" in name or "months" in name else Decimal("0.01"), vintage=JANUARY),
            {"each vintage": f"2025-01-01 {name}"},
        )
        for name in ("loans", "originated", "recovered", "unearned", "prepaid", "months_on_book", "opening_prepaid")
    },
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damage_is_named(catalog: Catalog, name: str) -> None:
    damage = DAMAGES[name]
    rewritten(catalog.load_table(damage.table), damage.change, FEBRUARY)
    found = wrong(verify(catalog))
    for identity, where in damage.says.items():
        said = [text for each, text in found.items() if identity in each]
        assert said, f"{identity} does not fail; {found}"
        assert where in said[0]


@pytest.mark.parametrize("table", [ROLL_RATES, VINTAGES])
def test_a_table_that_is_empty_is_found_though_its_reports_are_lost_too(
    catalog: Catalog, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("affirm_assets.auditor.verify.lake.AuditedTable._report", lambda *_: None)
    catalog.load_table(table).delete()
    assert NAMES[table] in wrong(verify(catalog))
