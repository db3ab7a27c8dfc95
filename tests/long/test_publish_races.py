"""Processes that publish to one table at the same moment, on SQLite and PostgreSQL: nothing is lost, nothing twice."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cache, partial
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.dataset import audit
from affirm_assets.declare.inputs import previous
from affirm_assets.declare.partitions import Window
from affirm_assets.engines.sail import SailEngine
from affirm_assets.engines.spark import SparkEngine
from affirm_assets.errors import PublishConflict
from affirm_assets.settings import SAIL, SPARK
from affirm_assets.steps.engine import Engine
from affirm_assets.steps.manifests import read_entries, read_manifests
from affirm_assets.steps.publish import keep_for_inspection, publish
from affirm_assets.steps.published import record_of
from affirm_assets.steps.request import RESULT_SETTINGS, Run
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import ensure_table, main_history
from resources.iceberg import IcebergCatalog
from resources.jars import LOCAL, REMOTE
from resources.landing import LandingZone
from resources.sail import SailSessions
from resources.spark import SparkSessions, java_problem
from tests.conftest import WHY, sessions_for_few_rows
from tests.staged import NOW, amounts, publish_rows, request_of, rows_of, stage
from tests.steps.amounts import frame
from tests.storage import StorageWithEngine, run_in

WRITERS = 5
ROUNDS = 4
FIRST = date(2025, 1, 1)

CONFLICT = "conflict"


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def one(number: int) -> Window:
    return Window(day(number), day(number))


@dataclass(frozen=True)
class SharedTable:
    """A table that another process can open too, by the addresses of its catalog and its warehouse."""

    uri: str
    warehouse: str
    name: str

    @property
    def catalog(self) -> IcebergCatalog:
        return IcebergCatalog(uri=self.uri, warehouse=self.warehouse)

    @property
    def storage(self) -> Storage:
        return Storage(self.catalog.load(), LandingZone(""))


# In a process of its own. Each has its barrier from the start, since one cannot be sent later.

_together: Any = None


def _begin(barrier: Barrier) -> None:
    global _together
    _together = barrier


def publish_together(
    shared: SharedTable, window: Window, name: str, run: str, root: str, reads_before: bool = False
) -> Any:
    """Pin and stage, wait for the others, publish: its snapshot, or `CONFLICT`."""
    dataset = amounts(name=shared.name, inputs={"earlier": previous(1, shared.name)} if reads_before else {})
    storage = shared.storage
    request = request_of(dataset, window, storage, run, root)
    rows = [(name, window.first, "1.00")] if name else []
    staged = stage(storage.catalog.load_table(dataset.table), rows)
    if name.startswith("by a snapshot"):  # as Spark stages
        staged = replace(staged, snapshot=keep_for_inspection(dataset, request, staged, storage))
    _together.wait(60)
    try:
        return publish(dataset, request, staged, (), storage, NOW).snapshot
    except PublishConflict:
        return CONFLICT


def publish_in_turn(shared: SharedTable, numbers: list[int]) -> list[int]:
    """Every day in a step of its own, as fast as it goes."""
    storage = shared.storage
    _together.wait(60)
    return [
        publish_rows(amounts(name=shared.name), one(number), [(f"d{number:03}", day(number), "1.00")], storage).snapshot
        for number in numbers
    ]


@cache
def _spark() -> SparkSessions:
    """Of this process."""
    return sessions_for_few_rows("512m", sorted({*LOCAL, *(jar for jar in REMOTE if "postgresql" in jar)}))


def _open(engine: str, shared: SharedTable) -> Engine:
    if engine == SAIL:
        return SailEngine(SailSessions().open, WHY)
    return SparkEngine(_spark().session({**shared.catalog.spark_conf(), **RESULT_SETTINGS}), shared.catalog.name, WHY)


def run_step_together(shared: SharedTable, engine: str, window: Window, run: str) -> str:
    """A whole step on this engine, that publishes when the other one is about to: which engine did, or `CONFLICT`."""

    def amounts_of_engine() -> DataFrame:
        return frame((f"{engine} {window.first}", window.first, "1.00"))

    @audit()
    def the_other_one_has_staged(staged: DataFrame) -> DataFrame:
        """Waits, once it has rows."""
        if staged.count():
            _together.wait(180)
        return staged.select("id", F.lit(True).alias("ok"))

    dataset = replace(amounts(name=shared.name), function=amounts_of_engine, audits=(the_other_one_has_staged,))
    on_engine = StorageWithEngine(shared.catalog.load(), LandingZone(""), opens=partial(_open, engine, shared))
    try:
        return str(run_in(on_engine, dataset, {}, window, Run(run, run)).engine)
    except PublishConflict:
        return CONFLICT


@pytest.fixture(scope="module")
def engines(secrets: None) -> Iterator[dict[str, ProcessPoolExecutor]]:
    """A process for each engine."""
    if problem := java_problem():
        pytest.skip(f"needs a JVM: {problem}")
    context = multiprocessing.get_context("spawn")
    begin: dict[str, Any] = {"initializer": _begin, "initargs": (context.Barrier(2),)}
    with ExitStack() as stack:
        yield {name: stack.enter_context(ProcessPoolExecutor(1, context, **begin)) for name in (SAIL, SPARK)}


@pytest.fixture(scope="module")
def writers(secrets: None) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(WRITERS, context, initializer=_begin, initargs=(context.Barrier(WRITERS),))
    with pool:
        yield pool


@pytest.fixture(params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> SharedTable:
    uri = f"sqlite:///{tmp_path}/catalog.db"
    if request.param == "postgresql":
        database = request.getfixturevalue("database")
        name = request.node.originalname
        database.create_database(name)
        uri = database.catalog_uri(name)
    found = SharedTable(uri, f"file://{tmp_path}/warehouse", "amounts")
    ensure_table(found.storage.catalog, amounts())
    return found


def race(writers: ProcessPoolExecutor, step: Callable[..., Any], *arguments: tuple[Any, ...]) -> list[Any]:
    assert len(arguments) == WRITERS
    return [each.result(120) for each in [writers.submit(step, *each) for each in arguments]]


def check_no_file_is_left(shared: SharedTable) -> None:
    """Every manifest and report in the folder belongs to a snapshot of the table."""
    table = shared.storage.catalog.load_table(amounts().table)
    folder = Path(table.location().removeprefix("file://"))
    named = {each.manifest_list for each in table.snapshots()}
    manifests = [each for snapshot in table.snapshots() for each in read_manifests(table.io, snapshot)]
    named |= {each.manifest_path for each in manifests}
    for each in manifests:
        read_entries(table.io, each)  # is there, and can be read
    assert set(folder.rglob("*.avro")) == set(map(path_of, named))
    reports = [each.summary["affirm.report"] for each in table.snapshots() if each.summary]
    assert set(folder.rglob("affirm-*.json")) == {path_of(each) for each in reports if each}


def path_of(location: str) -> Path:
    """Spark writes file:/ where PyIceberg writes file:/// ."""
    return Path("/", location.removeprefix("file:").lstrip("/"))


def test_writers_of_different_windows_lose_nothing(writers: ProcessPoolExecutor, shared: SharedTable) -> None:
    days = WRITERS * ROUNDS
    snapshots = race(writers, publish_in_turn, *((shared, list(range(n, days, WRITERS))) for n in range(WRITERS)))
    table = shared.storage.catalog.load_table(amounts().table)
    assert rows_of(table) == [f"d{number:03}" for number in range(days)]
    record = record_of(amounts(), table)
    assert record.windows == (Window(day(0), day(days - 1)),)
    assert {each.snapshot for each in record.recent} == {each for of_one in snapshots for each in of_one}
    assert len(table.snapshots()) == days
    check_no_file_is_left(shared)


def test_of_writers_of_one_window_one_wins(writers: ProcessPoolExecutor, shared: SharedTable) -> None:
    for number in range(ROUNDS):
        results = race(
            writers, publish_together, *((shared, one(number), f"{n}", f"r{n}", f"r{n}") for n in range(WRITERS))
        )
        assert sorted(map(str, results))[1:] == [CONFLICT] * (WRITERS - 1)
    table = shared.storage.catalog.load_table(amounts().table)
    assert len(rows_of(table)) == len(table.snapshots()) == ROUNDS
    check_no_file_is_left(shared)


def test_of_empty_results_over_empty_ones_one_wins(writers: ProcessPoolExecutor, shared: SharedTable) -> None:
    for number in range(ROUNDS):
        results = race(
            writers, publish_together, *((shared, one(number), "", f"r{n}", f"r{n}") for n in range(WRITERS))
        )
        assert sorted(map(str, results))[1:] == [CONFLICT] * (WRITERS - 1)
    check_no_file_is_left(shared)


def test_the_same_work_is_published_once(writers: ProcessPoolExecutor, shared: SharedTable) -> None:
    for number in range(ROUNDS):
        results = race(
            writers, publish_together, *((shared, one(number), "a", f"try {n}", "root") for n in range(WRITERS))
        )
        assert len(set(results)) == 1
        assert CONFLICT not in results
    table = shared.storage.catalog.load_table(amounts().table)
    assert len(rows_of(table)) == len(table.snapshots()) == ROUNDS
    check_no_file_is_left(shared)


def test_writers_that_stage_by_a_snapshot_lose_nothing(writers: ProcessPoolExecutor, shared: SharedTable) -> None:
    for number in range(ROUNDS):
        windows = [one(WRITERS * number + n) for n in range(WRITERS)]
        race(writers, publish_together, *((shared, each, f"by a snapshot {each}", "r", "r") for each in windows))
    table = shared.storage.catalog.load_table(amounts().table)
    assert len(rows_of(table)) == len(table.snapshots()) == WRITERS * ROUNDS
    check_no_file_is_left(shared)


def test_of_writers_that_read_each_other_s_days_no_two_miss_each_other(
    writers: ProcessPoolExecutor, shared: SharedTable
) -> None:
    """Each reads the day before, which another one is about to publish: what is published read what is there."""
    results = race(
        writers, publish_together, *((shared, one(n), f"{n}", f"r{n}", f"r{n}", True) for n in range(WRITERS))
    )
    table = shared.storage.catalog.load_table(amounts().table)
    order = [date.fromisoformat(each.summary["affirm.window"]) for each in table.snapshots()]
    assert len(order) == sum(each != CONFLICT for each in results) >= 1
    for position, later in enumerate(order):
        assert later - timedelta(days=1) not in order[:position]
    check_no_file_is_left(shared)


def race_of_engines(
    engines: dict[str, ProcessPoolExecutor], shared: SharedTable, window_of: Callable[[str], Window], number: int
) -> list[str]:
    started = [
        pool.submit(run_step_together, shared, engine, window_of(engine), f"{engine} {number}")
        for engine, pool in engines.items()
    ]
    return sorted(each.result(240).partition(":")[0] for each in started)


def test_both_engines_publish_different_windows_of_one_table(
    engines: dict[str, ProcessPoolExecutor], shared: SharedTable
) -> None:
    for number in range(ROUNDS):
        windows = {SAIL: one(2 * number), SPARK: one(2 * number + 1)}
        assert race_of_engines(engines, shared, windows.__getitem__, number) == [SAIL, SPARK]
    table = shared.storage.catalog.load_table(amounts().table)
    days = {SAIL: range(0, 2 * ROUNDS, 2), SPARK: range(1, 2 * ROUNDS, 2)}
    assert rows_of(table) == sorted(f"{engine} {day(number)}" for engine, its in days.items() for number in its)
    assert record_of(amounts(), table).windows == (Window(day(0), day(2 * ROUNDS - 1)),)
    assert len(table.snapshots()) == 2 * ROUNDS
    check_no_file_is_left(shared)


def test_of_both_engines_on_one_window_one_wins(engines: dict[str, ProcessPoolExecutor], shared: SharedTable) -> None:
    winners = []
    for number in range(ROUNDS):
        conflict, winner = race_of_engines(engines, shared, lambda _, number=number: one(number), number)
        assert (conflict, winner in engines) == (CONFLICT, True)
        winners.append(winner)
    table = shared.storage.catalog.load_table(amounts().table)
    assert rows_of(table) == sorted(f"{winner} {day(number)}" for number, winner in enumerate(winners))
    assert len(list(main_history(table))) == ROUNDS
    check_no_file_is_left(shared)
