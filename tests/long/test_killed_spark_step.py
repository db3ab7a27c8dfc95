"""A step on Spark that is killed before it publishes: readers see nothing, its files are known, its retry publishes."""

import multiprocessing
import re
import signal
import sqlite3
import time
from contextlib import closing, suppress
from multiprocessing.context import SpawnProcess
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from affirm_assets.engines.spark import SparkEngine
from affirm_assets.settings import SPARK
from affirm_assets.steps.request import RESULT_SETTINGS
from affirm_assets.steps.tables import added_files
from resources.iceberg import IcebergCatalog
from resources.jars import LOCAL
from resources.landing import LandingZone
from tests.conftest import WHY, sessions_for_few_rows
from tests.engines.test_killed import files_in, is_killed
from tests.long.test_others_procedures import rewrite_and_expire
from tests.steps.amounts import D1, D2, amounts_of, one
from tests.storage import NewStorage, Steps, StorageWithEngine

OF_ICEBERG = re.compile(r"\d{5}-\d+-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}-\d+-\d{5}\.parquet")


@pytest.fixture(scope="session")
def engine() -> str:
    return SPARK


def step(uri: str, warehouse: str, is_to_end: bool) -> None:
    """In a process of its own, with a JVM of its own. is_to_end: by its audit, when the files are written."""
    catalog = IcebergCatalog(uri=uri, warehouse=warehouse)
    session = sessions_for_few_rows("512m", sorted(LOCAL)).session({**catalog.spark_conf(), **RESULT_SETTINGS})

    def new_storage() -> StorageWithEngine:
        return StorageWithEngine(catalog.load(), LandingZone(""), opens=lambda: SparkEngine(session, "lake", WHY))

    audits = (is_killed,) if is_to_end else ()
    Steps(new_storage).run(amounts_of(("new", D2, "2.00"), audits=audits), one(D2), run="killed", root="work")


def started(catalog: IcebergCatalog, *, is_to_end: bool) -> SpawnProcess:
    process = multiprocessing.get_context("spawn").Process(
        target=step, args=(catalog.uri, catalog.warehouse, is_to_end), daemon=True
    )
    process.start()
    return process


def is_whole(file: Path) -> bool:
    with suppress(OSError, ValueError):
        return pq.read_metadata(file).num_rows > 0
    return False


def kill_with_its_jvm(process: SpawnProcess) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    for each in children:
        with suppress(psutil.NoSuchProcess):
            each.kill()


def unseen_snapshots(table: Table) -> list[Snapshot]:
    return [each for each in table.snapshots() if each != table.current_snapshot()]


@pytest.fixture
def published(steps: Steps, new_storage: NewStorage) -> set[str]:
    """The files of a day that readers see."""
    steps.run(amounts_of(("old", D1, "1.00")), one(D1))
    return files_in(new_storage())


def check_retry(steps: Steps, storage: StorageWithEngine, left: set[str]) -> None:
    retry = steps.run(amounts_of(("new", D2, "2.00")), one(D2), run="retry", root="work")
    assert not retry.already_published
    rows = steps.rows(amounts_of())
    assert [row[0] for row in rows] == ["new", "old"]
    assert left <= files_in(storage)
    rewrite_and_expire(storage, amounts_of())
    assert not left & files_in(storage)
    assert steps.rows(amounts_of()) == rows


def test_killed_with_its_files_in_a_snapshot_on_no_branch(
    catalog: IcebergCatalog, steps: Steps, new_storage: NewStorage, published: set[str]
) -> None:
    process = started(catalog, is_to_end=True)
    process.join(180)
    assert process.exitcode == -signal.SIGKILL

    storage = new_storage()
    table, left = storage.catalog.load_table("tests.amounts"), files_in(storage) - published
    assert [row[0] for row in steps.rows(amounts_of())] == ["old"]
    assert set(table.metadata.refs) == {"main"}
    [snapshot] = unseen_snapshots(table)
    assert snapshot.summary is not None
    assert snapshot.summary["affirm.run-id"] == "killed"
    [file] = added_files(table, snapshot)
    assert {Path(each).name for each in left} == {Path(file.file_path).name}
    check_retry(steps, storage, left)


def test_killed_with_its_files_in_no_snapshot(
    catalog: IcebergCatalog, steps: Steps, new_storage: NewStorage, published: set[str]
) -> None:
    storage = new_storage()
    with closing(sqlite3.connect(catalog.uri.removeprefix("sqlite:///"), isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")  # others read, and wait to commit
        process = started(catalog, is_to_end=False)
        until = time.monotonic() + 180
        while not (left := {each for each in files_in(storage) - published if is_whole(Path(each))}):
            assert process.is_alive()
            assert time.monotonic() < until
            time.sleep(0.02)
        kill_with_its_jvm(process)
        process.join(60)
        database.execute("ROLLBACK")
    assert process.exitcode == -signal.SIGKILL

    table = storage.catalog.load_table("tests.amounts")
    assert [row[0] for row in steps.rows(amounts_of())] == ["old"]
    assert unseen_snapshots(table) == []
    assert files_in(storage) - published == left
    assert all(OF_ICEBERG.fullmatch(Path(each).name) for each in left)
    check_retry(steps, storage, left)
