"""Processes that publish to one table at the same moment, on SQLite and PostgreSQL: nothing is lost, nothing twice."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from affirm_assets.declare.inputs import previous
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import PublishConflict
from affirm_assets.steps.lake import Storage
from affirm_assets.steps.manifests import read_entries, read_manifests
from affirm_assets.steps.publish import keep_for_inspection, publish
from affirm_assets.steps.published import record_of
from affirm_assets.steps.tables import ensure_table
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from tests.staged import NOW, amounts, publish_rows, request_of, rows_of, stage

WRITERS = 5
ROUNDS = 4
FIRST = date(2025, 1, 1)

CONFLICT = "conflict"


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def one(number: int) -> Window:
    return Window(day(number), day(number))


@dataclass(frozen=True)
class Lake:
    """A catalog that another process can open too; `name` is the table's, one for each test."""

    uri: str
    warehouse: str
    name: str

    @property
    def storage(self) -> Storage:
        return Storage(IcebergCatalog(uri=self.uri, warehouse=self.warehouse).load(), LandingZone(""))


# In a process of its own. Each has its barrier from the start, since one cannot be sent later.

_together: Any = None


def _begin(barrier: Barrier) -> None:
    global _together
    _together = barrier


def publish_together(lake: Lake, window: Window, name: str, run: str, root: str, reads_before: bool = False) -> Any:
    """Pin and stage, wait for the others, publish: its snapshot, or `CONFLICT`."""
    dataset = amounts(name=lake.name, inputs={"earlier": previous(1, lake.name)} if reads_before else {})
    storage = lake.storage
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


def publish_in_turn(lake: Lake, numbers: list[int]) -> list[int]:
    """Every day in a step of its own, as fast as it goes."""
    storage = lake.storage
    _together.wait(60)
    return [
        publish_rows(amounts(name=lake.name), one(number), [(f"d{number:03}", day(number), "1.00")], storage).snapshot
        for number in numbers
    ]


@pytest.fixture(scope="module")
def writers(secrets: None) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(WRITERS, context, initializer=_begin, initargs=(context.Barrier(WRITERS),))
    with pool:
        yield pool


@pytest.fixture(params=["sqlite", "postgresql"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    uri = f"sqlite:///{tmp_path}/catalog.db"
    if request.param == "postgresql":
        database = request.getfixturevalue("database")
        name = request.node.originalname
        database.create_database(name)
        uri = database.catalog_uri(name)
    found = Lake(uri, f"file://{tmp_path}/warehouse", "amounts")
    ensure_table(found.storage.catalog, amounts())
    return found


def race(writers: ProcessPoolExecutor, step: Callable[..., Any], *arguments: tuple[Any, ...]) -> list[Any]:
    assert len(arguments) == WRITERS
    return [each.result(120) for each in [writers.submit(step, *each) for each in arguments]]


def check_no_file_is_left(lake: Lake) -> None:
    """Every manifest and report in the folder belongs to a snapshot of the table."""
    table = lake.storage.catalog.load_table(amounts().table)
    folder = Path(table.location().removeprefix("file://"))
    named = {each.manifest_list for each in table.snapshots()}
    manifests = [each for snapshot in table.snapshots() for each in read_manifests(table.io, snapshot)]
    named |= {each.manifest_path for each in manifests}
    for each in manifests:
        read_entries(table.io, each)  # is there, and can be read
    assert {f"file://{path}" for path in folder.rglob("*.avro")} == named
    assert {f"file://{path}" for path in folder.rglob("affirm-*.json")} == {
        each.summary["affirm.report"] for each in table.snapshots() if each.summary["affirm.report"]
    }


def test_writers_of_different_windows_lose_nothing(writers: ProcessPoolExecutor, lake: Lake) -> None:
    days = WRITERS * ROUNDS
    snapshots = race(writers, publish_in_turn, *((lake, list(range(n, days, WRITERS))) for n in range(WRITERS)))
    table = lake.storage.catalog.load_table(amounts().table)
    assert rows_of(table) == [f"d{number:03}" for number in range(days)]
    record = record_of(amounts(), table)
    assert record.windows == (Window(day(0), day(days - 1)),)
    assert {each.snapshot for each in record.recent} == {each for of_one in snapshots for each in of_one}
    assert len(table.snapshots()) == days
    check_no_file_is_left(lake)


def test_of_writers_of_one_window_one_wins(writers: ProcessPoolExecutor, lake: Lake) -> None:
    for number in range(ROUNDS):
        results = race(
            writers, publish_together, *((lake, one(number), f"{n}", f"r{n}", f"r{n}") for n in range(WRITERS))
        )
        assert sorted(map(str, results))[1:] == [CONFLICT] * (WRITERS - 1)
    table = lake.storage.catalog.load_table(amounts().table)
    assert len(rows_of(table)) == len(table.snapshots()) == ROUNDS
    check_no_file_is_left(lake)


def test_of_empty_results_over_empty_ones_one_wins(writers: ProcessPoolExecutor, lake: Lake) -> None:
    for number in range(ROUNDS):
        results = race(writers, publish_together, *((lake, one(number), "", f"r{n}", f"r{n}") for n in range(WRITERS)))
        assert sorted(map(str, results))[1:] == [CONFLICT] * (WRITERS - 1)
    check_no_file_is_left(lake)


def test_the_same_work_is_published_once(writers: ProcessPoolExecutor, lake: Lake) -> None:
    for number in range(ROUNDS):
        results = race(
            writers, publish_together, *((lake, one(number), "a", f"try {n}", "root") for n in range(WRITERS))
        )
        assert len(set(results)) == 1
        assert CONFLICT not in results
    table = lake.storage.catalog.load_table(amounts().table)
    assert len(rows_of(table)) == len(table.snapshots()) == ROUNDS
    check_no_file_is_left(lake)


def test_writers_that_stage_by_a_snapshot_lose_nothing(writers: ProcessPoolExecutor, lake: Lake) -> None:
    for number in range(ROUNDS):
        windows = [one(WRITERS * number + n) for n in range(WRITERS)]
        race(writers, publish_together, *((lake, each, f"by a snapshot {each}", "r", "r") for each in windows))
    table = lake.storage.catalog.load_table(amounts().table)
    assert len(rows_of(table)) == len(table.snapshots()) == WRITERS * ROUNDS
    check_no_file_is_left(lake)


def test_of_writers_that_read_each_other_s_days_no_two_miss_each_other(
    writers: ProcessPoolExecutor, lake: Lake
) -> None:
    """Each reads the day before, which another one is about to publish: what is published read what is there."""
    results = race(writers, publish_together, *((lake, one(n), f"{n}", f"r{n}", f"r{n}", True) for n in range(WRITERS)))
    table = lake.storage.catalog.load_table(amounts().table)
    order = [date.fromisoformat(each.summary["affirm.window"]) for each in table.snapshots()]
    assert len(order) == sum(each != CONFLICT for each in results) >= 1
    for position, later in enumerate(order):
        assert later - timedelta(days=1) not in order[:position]
    check_no_file_is_left(lake)
