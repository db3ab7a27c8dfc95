"""A process that is killed between writing files and committing them: readers see nothing, and its files are known."""

import multiprocessing
import os
import re
import signal
from datetime import date
from functools import partial
from pathlib import Path

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.dataset import audit
from affirm_assets.engines.sail import SailEngine
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from resources.sail import SailSessions
from tests.conftest import WHY
from tests.steps.amounts import D1, D2, amounts_of, one
from tests.storage import NewStorage, Steps, StorageWithEngine

LEFTOVER = re.compile(r"affirm-[0-9a-f]{32}-\d+-\d+\.parquet")


@audit()
def is_killed(staged: DataFrame) -> DataFrame:
    """The process ends here, with the files written and nothing committed."""
    if staged.count():
        os.kill(os.getpid(), signal.SIGKILL)
    return staged.select("id", F.lit(True).alias("ok"))


def killed_step(uri: str, warehouse: str, day: date) -> None:
    """In a process of its own."""
    opens = partial(SailEngine, SailSessions().open, WHY)
    catalog = IcebergCatalog(uri=uri, warehouse=warehouse).load()
    steps = Steps(lambda: StorageWithEngine(catalog, LandingZone(""), opens=opens))
    steps.run(amounts_of(("new", day, "2.00"), audits=(is_killed,)), one(day), run="killed", root="work")


def files_in(storage: StorageWithEngine) -> set[str]:
    folder = storage.catalog.load_table("tests.amounts").location().removeprefix("file://")
    return {str(path) for path in Path(folder).rglob("*.parquet")}


def files_of_snapshots(storage: StorageWithEngine) -> set[str]:
    files = storage.catalog.load_table("tests.amounts").inspect.all_files().column("file_path").to_pylist()
    return {path.removeprefix("file://") for path in files}


@pytest.mark.parametrize("day", [D1, D2], ids=["a day that is published again", "a day that is new"])
def test_nothing_is_seen_and_a_retry_publishes(
    catalog: IcebergCatalog, steps: Steps, new_storage: NewStorage, day: date
) -> None:
    before = steps.run(amounts_of(("old", D1, "1.00")), one(D1))
    seen, published = steps.rows(amounts_of()), files_in(new_storage())

    context = multiprocessing.get_context("spawn")
    process = context.Process(target=killed_step, args=(catalog.uri, catalog.warehouse, day))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL

    storage = new_storage()
    table = storage.catalog.load_table("tests.amounts")
    assert [each.snapshot_id for each in table.snapshots()] == [before.snapshot]
    assert steps.rows(amounts_of()) == seen
    left = files_in(storage) - published
    assert len(left) == 1
    assert all(LEFTOVER.fullmatch(Path(each).name) for each in left)
    assert all(Path(each).is_relative_to(Path(table.location().removeprefix("file://"), "data")) for each in left)

    retry = steps.run(amounts_of(("new", day, "2.00")), one(day), run="retry", root="work")
    assert not retry.already_published
    ids = [row[0] for row in steps.rows(amounts_of())]
    assert ids == (["new"] if day == D1 else ["new", "old"])
    # By what upkeep tells them: no snapshot names them.
    assert files_in(storage) - files_of_snapshots(storage) == left
