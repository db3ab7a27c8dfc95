"""All tables closed, restated and closed again; and readers of the branch `closed` while the closer is killed."""

import os
import random
import signal
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
from pyiceberg.catalog import Catalog

import affirm_assets.datasets
from affirm_assets.close import Ledger, close_month
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration.closed_date import CLOSED
from affirm_assets.restate import begin, end
from affirm_assets.steps.closed import TAG
from affirm_assets.steps.tables import main_snapshot
from affirm_assets.steps.together import Change, as_loaded, commit_together, load_together, set_properties, set_ref
from resources.iceberg import IcebergCatalog
from resources.spark import SparkSessions
from tests.integration.books import ADJUSTMENTS, BOOKS, DAILY, Books, jsonl, loan, range_tags, transaction

FIRST, PAID, END = date(2025, 1, 1), date(2025, 1, 20), date(2025, 1, 31)
NOW = datetime(2025, 2, 3, 9, 30, tzinfo=UTC)
ALL = f"{DAILY},{ADJUSTMENTS},{BOOKS}"
MONTHLY = "portfolio/originations_monthly"
SCHEMA = pa.schema([("day", pa.int32()), ("note", pa.int32())])
TABLES = [f"lake.table{number}" for number in range(6)]
SEEDS = 100


def test_a_restatement_tells_what_changed_by_table_account_and_loan(
    tmp_path: Path, spark_if_needed: SparkSessions
) -> None:
    books = Books(tmp_path, spark_if_needed, FIRST)
    for number in range(31):
        day = FIRST + timedelta(days=number)
        books.land("loans", day, {"part.jsonl": jsonl([loan()] if day == date(2025, 1, 2) else [])})
        books.land("adjustments", day, {})
        books.land("transactions", day, {"part.jsonl": jsonl(_paid("90.00") if day == PAID else [])})
    assert books.materialize(ALL, FIRST, END).success
    assert books.materialize(MONTHLY, FIRST).success
    datasets = {each.name: each for each in Registry.walk(affirm_assets.datasets).in_order()}
    ledger = Ledger(books.catalog, datasets, FIRST)
    close = close_month(ledger, FIRST, "E0007", NOW)
    rows = books.rows("ledger.trial_balance")
    assert {account: amounts[-1] for account, amounts in close.trial_balance.items()} == {
        row["account"]: row["closing"] for row in rows if row["as_of"] == END
    }
    said = begin(ledger, PAID, "The processor sent another amount", "E0008", NOW)
    books.land("transactions", PAID, {"part.jsonl": jsonl(_paid("80.00"))})
    tags = {**range_tags(PAID, END), TAG: said.id}
    assert books.job(ALL).execute_in_process(instance=books.instance, tags=tags).success
    ended = end(ledger, "E0008", NOW)
    told = {(each.table, each.of, each.name, each.column, each.day): each for each in ended.changes}
    cash = told["ledger.trial_balance", "account", "cash", "closing", END]
    assert (cash.before, cash.after) == (Decimal("90.00"), Decimal("80.00"))
    principal = told["servicing.loan_balances", "loan", "L1", "principal", END]
    assert principal.after - principal.before == Decimal("10.00")
    assert min(each.day for each in ended.changes) == PAID
    as_closed, anew = (
        books.catalog.load_table("ledger.trial_balance").scan(f"as_of = '{END}'").use_ref(tag).to_arrow()
        for tag in ("close-2025-01", "close-2025-01-2")
    )
    for table, expected in ((as_closed, "90.00"), (anew, "80.00")):
        (closing,) = [row["closing"] for row in table.to_pylist() if row["account"] == "cash"]
        assert closing == Decimal(expected)


def _paid(amount: str) -> list[dict[str, object]]:
    return [transaction(effective_on=str(PAID), amount=amount)]


def test_readers_of_the_branch_never_see_two_dates_while_the_closer_is_killed(tmp_path: Path) -> None:
    """Also another writer's commits to the tables at the same moment are there in the end, all of them."""
    description = IcebergCatalog(uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
    catalog = description.load()
    catalog.create_namespace("lake")
    for name in TABLES:
        catalog.create_table(name, SCHEMA)
    _publish(catalog, 0)
    _close(catalog, 0)
    notes, closed = 0, set[int]()
    for seed in range(SEEDS):
        rng = random.Random(seed)
        _publish(catalog, seed + 1)
        closer = os.fork()
        if closer == 0:
            try:
                _close(description.load(), seed + 1)
            finally:
                os._exit(0)
        kill_at = time.monotonic() + rng.uniform(0, 0.25)
        while time.monotonic() < kill_at:
            closed.add(_closed_day(catalog))
            row = pa.table({"day": [None], "note": [notes]}, SCHEMA)
            catalog.load_table(rng.choice(TABLES)).append(row)
            notes += 1
        os.kill(closer, signal.SIGKILL)
        os.waitpid(closer, 0)
        closed.add(_closed_day(catalog))
    assert len(closed) > 1, "the closer was always killed before it had closed a date"
    assert len(closed) <= SEEDS, "the closer was never killed before it had closed a date"
    found = [
        note for name in TABLES for note in catalog.load_table(name).scan("day IS NULL").to_arrow()["note"].to_pylist()
    ]
    assert sorted(found) == [*range(notes)]


def _publish(catalog: Catalog, day: int) -> None:
    for name in TABLES:
        catalog.load_table(name).overwrite(pa.table({"day": [day], "note": [None]}, SCHEMA), "day IS NOT NULL")


def _close(catalog: Catalog, day: int) -> None:
    def decide() -> Sequence[Change]:
        tables = load_together(catalog, TABLES).values()
        heads = [(each, main_snapshot(each)) for each in tables]
        return [
            Change(each, (set_ref(CLOSED, "branch", head), set_properties({"day": str(day)})), as_loaded(each, CLOSED))
            for each, head in heads
            if head is not None
        ]

    commit_together(catalog, decide)


def _closed_day(catalog: Catalog) -> int:
    """By the rows of all tables, read as they are at one moment."""
    tables = load_together(catalog, TABLES)
    scans = (table.scan("day IS NOT NULL").use_ref(CLOSED) for table in tables.values())
    (day,) = {day for scan in scans for day in scan.to_arrow()["day"].to_pylist()}
    return int(day)
