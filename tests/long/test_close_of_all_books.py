"""All tables closed, restated and closed again; and readers of the branch `closed` while the closer is killed."""

import os
import random
import signal
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table

from affirm_assets.cli import main
from affirm_assets.orchestration.closed_date import CLOSED, CLOSED_DATE, load_closed
from affirm_assets.restate import CHANGES
from affirm_assets.steps.closed import TAG
from affirm_assets.steps.tables import main_history, main_snapshot
from affirm_assets.steps.together import Change, as_loaded, commit_together, load_together, set_properties, set_ref
from resources.iceberg import IcebergCatalog
from resources.spark import SparkSessions
from tests.between import atomic
from tests.integration.books import ADJUSTMENTS, BOOKS, DAILY, MONTHLY, Books, jsonl, loan, range_tags, transaction
from tests.servers import rest_catalog, rest_catalog_missing

FIRST, PAID, END = date(2025, 1, 1), date(2025, 1, 20), date(2025, 1, 31)
ALL = f"{DAILY},{ADJUSTMENTS},{BOOKS}"
SCHEMA = pa.schema([("day", pa.int32()), ("note", pa.int32())])
SEEDS, SEEDS_OF_A_LAKE = 100, 10
"""Then come new tables: a commit costs more with each snapshot, and all seeds together more than twice as long."""


def test_a_restatement_tells_what_changed_by_table_account_and_loan(
    tmp_path: Path, spark_if_needed: SparkSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the commands that people use."""
    books = Books(tmp_path, spark_if_needed, FIRST)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AFFIRM_LAKE", str(tmp_path))
    monkeypatch.setenv("AFFIRM_FIRST_BUSINESS_DATE", str(FIRST))
    for number in range(31):
        day = FIRST + timedelta(days=number)
        books.land("loans", day, {"part.jsonl": jsonl([loan()] if day == date(2025, 1, 2) else [])})
        books.land("adjustments", day, {})
        books.land("transactions", day, {"part.jsonl": jsonl(_paid("90.00") if day == PAID else [])})
    assert books.materialize(ALL, FIRST, END).success
    assert "portfolio/originations_monthly of 2025-01-01 is not published" in affirm("close", "2025-01", fails=True)
    assert books.materialize(MONTHLY, FIRST).success
    assert affirm("close") == "2025-01-31 is closed: the branch `closed` of all daily tables shows it.\n"
    said = affirm("close", "2025-01", "--by", "E0007")
    assert said.startswith("2025-01 is closed, by E0007. Kept as a tag of 23 tables:")
    assert f"  cash{90:>53,.2f}" in said
    assert affirm("restate") == "No restatement is under way.\n"
    assert "expected a reason, found ''" in affirm("restate", "--from", str(PAID), fails=True)
    reason = "The processor sent another amount"
    begun = affirm("restate", "--from", str(PAID), "--reason", reason, "--by", "E0008")
    assert "by runs with the tag affirm/restatement=R1" in begun
    assert affirm("restate").startswith("R1 from 2025-01-20, begun by E0008 at ")
    books.land("transactions", PAID, {"part.jsonl": jsonl(_paid("80.00"))})
    before = books.rows("transactions.transactions")
    run = books.job(ALL).execute_in_process(instance=books.instance, tags={**range_tags(PAID, END), TAG: "R1"})
    assert run.success
    assert "R1 cannot end" in affirm("restate", "--end", "--by", "E0008", fails=True)
    month = books.job(MONTHLY).execute_in_process(instance=books.instance, partition_key=str(FIRST), tags={TAG: "R1"})
    assert month.success
    ended = affirm("restate", "--end", "--by", "E0008")
    assert "  2025-01 servicing.loan_balances: changed on 12 days, of 1 loans, accounts or others" in ended
    assert "Closed anew: 2025-01 (close 2)." in ended
    key = ("table", "of", "name", "column", "day")
    told = {tuple(each[name] for name in key): each for each in books.rows(CHANGES)}
    cash = told["ledger.trial_balance", "account", "cash", "closing", END]
    assert (cash["before"], cash["after"]) == (Decimal("90.00"), Decimal("80.00"))
    principal = told["servicing.loan_balances", "loan", "L1", "principal", END]
    assert principal["after"] - principal["before"] == Decimal("10.00")
    posted = told["ledger.ledger_entries", "account", "cash", "debit", PAID]
    assert (posted["before"], posted["after"]) == (Decimal("90.00"), Decimal("80.00"))
    assert ("ledger.ledger_entries", "loan", "L1", "debit", PAID) in told
    # Paid before the first instalment is due. A month's report is of the month's first day.
    prepaid = told["portfolio.vintage_curves", "table", None, "prepaid", FIRST]
    assert prepaid["before"] - prepaid["after"] == Decimal("10.00")
    monthly = [each.replace("/", ".") for each in MONTHLY.split(",")]
    assert min(each["day"] for each in told.values() if each["table"] not in monthly) == PAID
    tape = told["portfolio.funding_tape", "loan", "L1", "principal", FIRST]
    assert (tape["before"], tape["after"]) == (principal["before"], principal["after"])
    as_closed, anew = (
        books.catalog.load_table("ledger.trial_balance").scan(f"as_of = '{END}'").use_ref(tag).to_arrow()
        for tag in ("close-2025-01", "close-2025-01-2")
    )
    for table, expected in ((as_closed, "90.00"), (anew, "80.00")):
        (closing,) = [row["closing"] for row in table.to_pylist() if row["account"] == "cash"]
        assert closing == Decimal(expected)
    first = _first_run(books, "transactions.transactions")
    assert "are closed" in affirm("rollback", "transactions/transactions", "--to", first, fails=True)
    affirm("restate", "--from", str(PAID), "--reason", "The first amount was right", "--by", "E0008")
    back = affirm("rollback", "transactions/transactions", "--to", first, "--restatement", "R2")
    assert "Undone: what was published since for 2025-01-20...2025-01-31." in back
    assert "Out of date: servicing/loan_balances of 2025-01-20...2025-01-31" in back
    assert books.rows("transactions.transactions") == before


def affirm(*arguments: str, fails: bool = False) -> str:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code != 0) == fails, result.output
    return result.output


def _first_run(books: Books, table: str) -> str:
    *_, first = main_history(books.catalog.load_table(table))
    assert first.summary
    return str(first.summary["affirm.run-id"])


def _paid(amount: str) -> list[dict[str, object]]:
    return [transaction(effective_on=str(PAID), amount=amount)]


Reads = Callable[[Catalog, Collection[str]], Mapping[str, Table]]


@pytest.fixture(params=["sqlite", "rest"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[IcebergCatalog, Reads]]:
    """Of each kind that commits to several tables at once, and how several are read there.

    Iceberg's own REST server does it only behind `atomic`.
    """
    warehouse = f"file://{tmp_path}/warehouse"
    if request.param == "sqlite":
        yield IcebergCatalog(uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=warehouse), load_together
        return
    if missing := rest_catalog_missing():
        pytest.skip(missing)
    with rest_catalog(tmp_path) as server, atomic(server) as one_at_a_time:
        yield IcebergCatalog(uri=one_at_a_time.uri, warehouse=warehouse), load_closed


def test_readers_of_the_branch_never_see_two_dates_while_the_closer_is_killed(
    lake: tuple[IcebergCatalog, Reads],
) -> None:
    """Also another writer's commits to the tables at the same moment are there in the end, all of them."""
    description, reads = lake
    closed = set[int]()
    for first in range(0, SEEDS, SEEDS_OF_A_LAKE):
        closed |= _closed_in_a_lake(description, reads, range(first, first + SEEDS_OF_A_LAKE))
    assert closed, "the closer was always killed before it had closed a date"
    assert len(closed) < SEEDS, "the closer was never killed before it had closed a date"


def _closed_in_a_lake(description: IcebergCatalog, reads: Reads, seeds: range) -> set[int]:
    """A closer for each seed, which is the date that it closes: those whose date was closed."""
    catalog, before = description.load(), seeds.start - 1
    names = _tables(catalog, f"lake{seeds.start}", before)
    usual = min(_seconds_of(_closer(description, names, before, 10)) for _ in range(5))
    notes, closed = 0, set[int]()
    for seed in seeds:
        rng = random.Random(seed)
        _publish(catalog, names, seed)
        closer = _closer(description, names, seed, rng.uniform(0.001, 3 * usual))
        ended = False
        while not ended:
            ended = os.waitpid(closer, os.WNOHANG)[0] == closer
            closed.add(_closed_day(reads(catalog, names)))
            _append(catalog, rng.choice(names), notes)
            notes += 1
    assert _notes(catalog, names) == [*range(notes)]
    return closed - {before}


def _tables(catalog: Catalog, namespace: str, day: int) -> list[str]:
    """New ones, with a first date closed."""
    catalog.create_namespace(namespace)
    names = [f"{namespace}.table{number}" for number in range(3)]
    for name in names:
        catalog.create_table(name, SCHEMA)
    _publish(catalog, names, day)
    _close(catalog, names, day)
    return names


def _append(catalog: Catalog, name: str, note: int) -> None:
    catalog.load_table(name).append(pa.table({"day": [None], "note": [note]}, SCHEMA))


def _notes(catalog: Catalog, names: Sequence[str]) -> list[int]:
    scans = (catalog.load_table(name).scan("day IS NULL") for name in names)
    return sorted(note for scan in scans for note in scan.to_arrow()["note"].to_pylist())


def _closer(description: IcebergCatalog, names: Sequence[str], day: int, seconds: float) -> int:
    """The pid of a process that closes a date, and is killed if it has not ended within so many seconds.

    The kernel kills it, by a timer: this process, which reads and writes beside it, would often be too late. A process
    that was forked may also wait for a thread that it has not.
    """
    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, seconds)
            _close(description.load(), names, day)
        finally:
            os._exit(0)
    return pid


def _seconds_of(pid: int) -> float:
    """Until a process has ended."""
    began = time.monotonic()
    os.waitpid(pid, 0)
    return time.monotonic() - began


def _publish(catalog: Catalog, names: Sequence[str], day: int) -> None:
    for name in names:
        catalog.load_table(name).overwrite(pa.table({"day": [day], "note": [None]}, SCHEMA), "day IS NOT NULL")


def _close(catalog: Catalog, names: Sequence[str], day: int) -> None:
    said = set_properties({CLOSED_DATE: str(FIRST + timedelta(days=day))})

    def decide() -> Sequence[Change]:
        tables = load_together(catalog, names).values()
        heads = [(each, main_snapshot(each)) for each in tables]
        return [
            Change(each, (set_ref(CLOSED, "branch", head), said), as_loaded(each, CLOSED))
            for each, head in heads
            if head is not None
        ]

    commit_together(catalog, decide)


def _closed_day(tables: Mapping[str, Table]) -> int:
    """By the rows of all of them."""
    scans = (table.scan("day IS NOT NULL").use_ref(CLOSED) for table in tables.values())
    (day,) = {day for scan in scans for day in scan.to_arrow()["day"].to_pylist()}
    return int(day)
