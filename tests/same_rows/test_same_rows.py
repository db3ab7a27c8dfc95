"""Every dataset on both engines, over a range of days and day by day: the same rows, and the same findings of audits.

The sample holds every oddity. It is too short for its loans to be charged off: some that arrive long after they were
made are added.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.io.pyarrow import schema_to_pyarrow

from affirm_assets import datasets as project
from affirm_assets.declare.contract import key_columns
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Monthly, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.lender.sample_data import SampleSummary, write_sample_data
from affirm_assets.lender.vocabulary import TRANSACTION_KINDS
from affirm_assets.settings import SAIL, SPARK
from affirm_assets.steps.request import Run
from affirm_assets.steps.run import Result
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from tests.conftest import opens_engine
from tests.integration.books import adjustment, jsonl, loan, transaction
from tests.storage import StorageWithEngine, run_in

FIRST, DAYS, ONE_BY_ONE = date(2025, 1, 1), 42, 3
LAST = FIRST + timedelta(days=DAYS - 1)
LOANS = 250
"""No fewer: the last of the oddities is carried by a loan with a number above 240."""

ALONE = [str(LAST - timedelta(days=n)) for n in reversed(range(ONE_BY_ONE))]
"""The days that have steps of their own."""

OLD_LOANS = [
    # An instalment is 120 days past due in the range, on the last day but one, never.
    loan(loan_id="OLD1", originated_on="2024-08-20", first_due_on="2024-09-20", instalment="90.27", due_day=20),
    loan(loan_id="OLD2", originated_on="2024-09-13", first_due_on="2024-10-13"),
    loan(loan_id="OLD3", originated_on="2024-12-01", first_due_on="2025-01-01"),
    # What their contracts state is not what their other terms give.
    loan(loan_id="OLD4", instalment="99.00", due_day=3),
    loan(loan_id="OLD5", instalment="12.49", frequency="biweekly", due_day=2),
]


def cash(number: int, of: str, effective_on: str, kind: str = "payment", amount: str = "90.00", **over: Any) -> Any:
    return transaction(
        transaction_id=f"OLD-{number}", loan_id=of, kind=kind, amount=amount, effective_on=effective_on, **over
    )


OLD_CASH = {
    # By the day on which they arrive. The first comes before its loan, and again after the look-back.
    "2025-01-02": [cash(1, "OLD1", "2024-10-05")],
    "2025-01-20": [cash(2, "OLD1", "2025-01-20", "recovery", "33.33")],
    "2025-02-01": [cash(3, "OLD3", "2025-01-31", amount="999.99")],
    "2025-02-05": [cash(4, "OLD3", "2025-02-05", "refund", "500.00", merchant_id="M1")],
    # More than the price, of which a part is taken back; and a part of the first.
    "2025-02-06": [cash(8, "OLD3", "2025-02-06", "refund", "600.00", merchant_id="M1")],
    "2025-02-07": [cash(9, "OLD3", "2025-02-07", "refund_reversal", "100.00", reverses="OLD-4")],
    ALONE[0]: [cash(5, "OLD1", "2025-01-21", "payment_reversal", reverses="OLD-1")],
    ALONE[1]: [
        cash(6, "OLD3", ALONE[1], "credit_refund", "200.00"),
        cash(10, "OLD3", ALONE[1], "refund_reversal", "250.00", reverses="OLD-8"),
    ],
    ALONE[2]: [cash(7, "OLD2", ALONE[2], "recovery", "0.01"), cash(1, "OLD1", "2024-10-05")],
}


def decided(number: int, of: str, kind: str, effective_on: str, amount: str | None = None, **over: Any) -> Any:
    return adjustment(
        adjustment_id=f"OLD-{number}", loan_id=of, kind=kind, amount=amount, effective_on=effective_on, **over
    )


OLD_DECISIONS = {
    "2025-01-10": [
        decided(1, "OLD2", "goodwill_credit", "2025-01-08", "1.00"),
        decided(2, "OLD2", "fraud", "2025-01-10"),
    ],
    "2025-01-15": [
        decided(3, "OLD2", "undo_charge_off", "2025-01-15"),
        decided(4, "OLD2", "waiver", "2025-01-15", "2.50"),
    ],
    "2025-01-25": [
        decided(5, "OLD2", "correction", "2025-01-02", "0.75"),
        decided(6, "OLD2", "waiver", "2025-01-25", "9999.99"),
    ],
    ALONE[2]: [
        decided(7, "OLD3", "clear_unapplied", ALONE[2], "100.00", transaction_id="OLD-8"),
        decided(8, "OLD1", "undo_charge_off", ALONE[2]),
    ],
}
"""By the day on which they arrive: in time, late, and one of more than is owed."""

REGISTRY = Registry.walk(project)


@dataclass
class Books:
    """What an engine made of the sample, in a lake of its own: by dataset, its table and the result of each step."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    results: dict[str, list[Result]] = field(default_factory=dict)


def windows_of(dataset: Dataset) -> list[Window]:
    """Nearly all in one, and then the last ones each by itself."""
    partitions = dataset.partitions
    assert partitions is not None
    starts = list(partitions.starts(partitions.covering(Window(FIRST, LAST))))
    alone = 1 if isinstance(partitions, Monthly) else ONE_BY_ONE
    return [Window(starts[0], starts[-alone - 1]), *(Window(each, each) for each in starts[-alone:])]


def compute(storage: StorageWithEngine) -> Books:
    """As Dagster does: a range in one run, each later day in its own, and the months when the days are there."""
    books = Books()
    ordered = REGISTRY.in_order()
    daily = [each for each in ordered if not isinstance(each.partitions, Monthly)]
    for runs in (daily, [each for each in ordered if each not in daily]):
        for number, windows in enumerate(zip(*(windows_of(each) for each in runs), strict=True)):
            for dataset, window in zip(runs, windows, strict=True):
                result = run_in(storage, dataset, REGISTRY.datasets, window, Run(f"run {number}", f"run {number}"))
                books.results.setdefault(dataset.name, []).append(result)
    for dataset in ordered:
        books.tables[dataset.name] = rows_of(storage, dataset)
    return books


def rows_of(storage: StorageWithEngine, dataset: Dataset) -> pa.Table:
    """In the order of the key. What the files say of how PyArrow holds text (large_string or not) is no difference."""
    table = storage.catalog.load_table(dataset.table)
    rows = table.scan().to_arrow().cast(schema_to_pyarrow(table.schema(), include_field_ids=False))
    return rows.sort_by([(name, "ascending") for name in order_of(dataset)]).combine_chunks()


def order_of(dataset: Dataset) -> list[str]:
    within = [dataset.partitions.column] if dataset.partitions else []
    return list(dict.fromkeys([*within, *key_columns(dataset.contract)]))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("both")


@pytest.fixture(scope="module")
def sample(folder: Path) -> SampleSummary:
    summary = write_sample_data(folder / "landing", loans=LOANS, start=FIRST, days=DAYS, seed=2)
    (folder / "landing" / "loans" / "2025-01-06" / "old.jsonl").write_bytes(jsonl(OLD_LOANS))
    for day, records in OLD_CASH.items():
        (folder / "landing" / "transactions" / day / "old.jsonl").write_bytes(jsonl(records))
    for day, records in OLD_DECISIONS.items():
        (folder / "landing" / "adjustments" / day / "old.jsonl").write_bytes(jsonl(records))
    return summary


@pytest.fixture(scope="module")
def books(folder: Path, sample: SampleSummary, request: pytest.FixtureRequest) -> Mapping[str, Books]:
    """By engine."""
    request.getfixturevalue("sessions")  # or skip before the other engine has worked for nothing
    made = {}
    for engine in (SAIL, SPARK):
        catalog = IcebergCatalog(uri=f"sqlite:///{folder}/{engine}.db", warehouse=f"file://{folder}/{engine}")
        opens = opens_engine(engine, catalog.spark_conf(), request)
        storage = StorageWithEngine(catalog.load(), LandingZone(str(folder / "landing")), catalog.name, opens=opens)
        made[engine] = compute(storage)
    return made


def test_the_sample_holds_everything(sample: SampleSummary, books: Mapping[str, Books]) -> None:
    """Each oddity, each kind of transaction, a charge-off in the range and one in a day by itself."""
    missing = [(each.feed, each.kind) for each in sample.oddities if each.records == 0]
    assert missing in ([], [("transactions", "duplicate_past_look_back")])  # which is added
    tables = books[SAIL].tables
    assert set(tables["transactions"].column("kind").to_pylist()) == set(TRANSACTION_KINDS)
    charged_off = {str(day) for day in tables["charge_offs"].column("charged_off_on").to_pylist()}
    assert charged_off & set(ALONE)
    assert charged_off - set(ALONE)


@pytest.mark.parametrize("name", sorted(REGISTRY.datasets))
def test_has_the_same_rows_on_both_engines(name: str, books: Mapping[str, Books]) -> None:
    ours, theirs = (books[engine].tables[name] for engine in (SAIL, SPARK))
    assert ours.num_rows > 0, "a dataset without rows proves nothing"
    assert ours.schema == theirs.schema
    assert difference(ours, theirs) == []


def difference(ours: pa.Table, theirs: pa.Table) -> list[Any]:
    """The first rows that are not the same; an answer that can be read, where a whole table could not."""
    if ours.equals(theirs):
        return []
    rows, others = ours.to_pylist(), theirs.to_pylist()
    pairs = [(mine, other) for mine, other in zip(rows, others, strict=False) if mine != other]
    return [(len(rows), len(others)), *pairs[:3]]


@pytest.mark.parametrize("name", sorted(REGISTRY.datasets))
def test_its_audits_find_the_same_on_both_engines(name: str, books: Mapping[str, Books]) -> None:
    windows = windows_of(REGISTRY[name])
    for window, ours, theirs in zip(windows, *(books[engine].results[name] for engine in (SAIL, SPARK)), strict=True):
        assert (ours.engine or "").startswith(SAIL)
        assert (theirs.engine or "").startswith(SPARK)
        assert [asdict(each) for each in ours.outcomes] == [asdict(each) for each in theirs.outcomes], window
        assert all(each.passed for each in ours.outcomes), window
        assert ours.rows == theirs.rows, window
