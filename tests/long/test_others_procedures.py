"""What every guide to Iceberg advises, done by others between two days, and between a publish and its retry."""

import os
import re
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.table import Table
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.declare.carry import Carry
from affirm_assets.declare.contract import Contract, column, key, spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.errors import GapRefused, InputsNotPublished, PublishConflict, RecordRefused
from affirm_assets.settings import SPARK
from affirm_assets.steps.run import Result
from tests.conftest import declare
from tests.storage import Steps, StorageWithEngine

D1, D2, D3, D4, D5 = (date(2025, 1, day) for day in range(1, 6))
TEN_DAYS = 10 * 24 * 3600


@pytest.fixture(scope="session")
def engine() -> str:
    return SPARK


class Balance(Contract):
    """A balance of a day."""

    day: date = key("Business date")
    id: str = key("Id")
    amount: int = column("Balance")


def arrivals(window: Window) -> DataFrame:
    """Two new ids a day."""
    days = [d for d in (D1, D2, D3, D4, D5) if window.contains(d)]
    rows = [(day, f"{day.day}{name}", day.day) for day in days for name in "ab"]
    return SparkSession.active().createDataFrame(rows, spark_schema(Balance))


def balances(arrivals: DataFrame, previous_partition: DataFrame, window: Window) -> DataFrame:
    """All ids so far, each with one more a day."""
    days = [date.fromordinal(number) for number in range(window.first.toordinal(), window.last.toordinal() + 1)]
    result, known = None, previous_partition
    for day in days:
        kept = known.select(F.lit(day).alias("day"), "id", (F.col("amount") + 1).alias("amount"))
        known = kept.unionByName(arrivals.where(F.col("day") == F.lit(day)))
        result = known if result is None else result.unionByName(known)
    assert result is not None
    return result


def as_carried(rows: DataFrame) -> DataFrame:
    """What an id has grown by since it came is not what these tests are about."""
    return rows.select("day", "id", F.lit(0).alias("opening"), F.lit(0).alias("closing"))


ARRIVALS = declare(arrivals, Balance, Daily("day"))
CARRY = Carry({"opening": "closing"}, opens=as_carried, closes=as_carried)
BALANCES = declare(balances, Balance, Daily("day"), carry=CARRY)


def one(day: date) -> Window:
    return Window(day, day)


def rewrite_and_expire(storage: StorageWithEngine, *datasets: Dataset) -> None:
    """Compact files and manifests, keep one snapshot, remove what no snapshot names: files as old as ten days."""
    for dataset in datasets:
        location = Path(storage.catalog.load_table(dataset.table).location().removeprefix("file://"))
        call(storage, f"rewrite_data_files(table => '{dataset.table}', options => map('rewrite-all', 'true'))")
        call(storage, f"rewrite_manifests('{dataset.table}')")
        call(storage, f"expire_snapshots(table => '{dataset.table}', older_than => now(), retain_last => 1)")
        for path in location.rglob("*"):
            os.utime(path, (time.time() - TEN_DAYS,) * 2)
        call(storage, f"remove_orphan_files('{dataset.table}')")


def call(storage: StorageWithEngine, procedure: str) -> Any:
    return storage.spark.sql(f"CALL lake.system.{procedure}").collect()


def table_of(storage: StorageWithEngine, dataset: Dataset) -> Table:
    return storage.catalog.load_table(dataset.table)


@pytest.fixture
def run(steps: Steps) -> Callable[..., Result]:
    """Both datasets for a window."""

    def both(window: Window, run: str | None = None, root: str | None = None) -> Result:
        name = run or f"run of {window}"
        steps.run(ARRIVALS, window, run=name, root=root or name)
        return steps.run(BALANCES, window, upstream=(ARRIVALS,), run=name, root=root or name)

    return both


def test_days_go_on_after_each_day_s_tables_were_rewritten_and_expired(
    run: Callable[..., Result], steps: Steps, storage: StorageWithEngine
) -> None:
    for day in (D1, D2):
        run(one(day))
        rewrite_and_expire(storage, ARRIVALS, BALANCES)
        assert len(table_of(storage, BALANCES).snapshots()) == 1
    assert run(one(D3)).total_rows == 2 + 4 + 6
    assert run(one(D2), "again").rows == {D2: 4}
    rewrite_and_expire(storage, ARRIVALS, BALANCES)
    assert run(Window(D2, D3), "range").rows == {D2: 4, D3: 6}
    assert sum(row[2] for row in steps.rows(BALANCES, order="id") if row[0] == D3) == 3 * 6


def test_a_day_left_out_is_a_gap_although_every_snapshot_has_expired(
    run: Callable[..., Result], steps: Steps, storage: StorageWithEngine
) -> None:
    for day in (D1, D2, D3):
        run(one(day))
    rewrite_and_expire(storage, ARRIVALS, BALANCES)
    steps.run(ARRIVALS, one(D5), run="later")
    with pytest.raises(GapRefused, match=r"is 2025-01-03\. Run 2025-01-04\.\.\.2025-01-05 instead"):
        steps.run(BALANCES, one(D5), upstream=(ARRIVALS,), run="later")
    with pytest.raises(InputsNotPublished, match=r"tests/arrivals of 2025-01-04\."):
        steps.run(BALANCES, Window(D4, D5), upstream=(ARRIVALS,), run="range")
    assert run(Window(D4, D5)).rows == {D4: 8, D5: 10}


def test_the_beginning_is_known_although_every_snapshot_has_expired(steps: Steps, storage: StorageWithEngine) -> None:
    for day in (D2, D3):
        steps.run(ARRIVALS, one(day), run=str(day))
    rewrite_and_expire(storage, ARRIVALS)
    with pytest.raises(GapRefused, match="begins with 2025-01-02"):
        steps.run(BALANCES, one(D3), upstream=(ARRIVALS,))
    with pytest.raises(InputsNotPublished, match=r"tests/arrivals of 2025-01-01\."):
        steps.run(BALANCES, Window(D1, D2), upstream=(ARRIVALS,))


def test_a_retry_after_the_tables_were_rewritten_and_expired_is_published_once(
    run: Callable[..., Result], storage: StorageWithEngine
) -> None:
    run(one(D1))
    first = run(one(D2), "first", "root")
    rewrite_and_expire(storage, ARRIVALS, BALANCES)
    again = run(one(D2), "retry", "root")
    assert not first.already_published
    assert again.already_published
    assert again.snapshot == first.snapshot
    assert again.outcomes == ()  # their file was nobody's, and was removed
    assert len(table_of(storage, BALANCES).snapshots()) == 1


def test_a_retry_after_a_compaction_alone_shows_what_the_first_try_found(
    run: Callable[..., Result], storage: StorageWithEngine
) -> None:
    first = run(one(D1), "first", "root")
    call(storage, f"rewrite_data_files(table => '{BALANCES.table}', options => map('rewrite-all', 'true'))")
    again = run(one(D1), "retry", "root")
    assert again.already_published
    assert (again.rows, again.outcomes, again.total_rows) == (first.rows, first.outcomes, first.total_rows)


@pytest.mark.parametrize(
    "meanwhile",
    [
        pytest.param("rewrite_data_files(table => '{}', options => map('rewrite-all', 'true'))", id="data files"),
        pytest.param("rewrite_manifests('{}')", id="manifests"),
    ],
)
def test_what_compacts_a_table_while_a_step_computes_does_not_stop_it(
    steps: Steps, storage: StorageWithEngine, meanwhile: str
) -> None:
    for day in (D1, D2):
        steps.run(ARRIVALS, one(day), run=str(day))

    def arrivals() -> DataFrame:
        call(storage, meanwhile.format(ARRIVALS.table))
        return SparkSession.active().createDataFrame([(D2, "new", 1)], spark_schema(Balance))

    steps.run(declare(arrivals, Balance, Daily("day")), one(D2), run="again")
    assert [row[1] for row in steps.rows(ARRIVALS)] == ["1a", "1b", "new"]


def test_rows_that_others_write_while_a_step_computes_are_not_overwritten(
    steps: Steps, storage: StorageWithEngine
) -> None:
    steps.run(ARRIVALS, one(D1))

    def arrivals() -> DataFrame:
        storage.spark.sql(f"INSERT INTO lake.{ARRIVALS.table} VALUES (DATE'2025-01-01', 'theirs', 1)")
        return SparkSession.active().createDataFrame([(D1, "mine", 1)], spark_schema(Balance))

    with pytest.raises(PublishConflict, match="of somebody else"):
        steps.run(declare(arrivals, Balance, Daily("day")), one(D1), run="again")
    assert [row[1] for row in steps.rows(ARRIVALS)] == ["1a", "1b", "theirs"]


def test_a_main_that_was_rolled_back_is_refused_and_the_message_says_how_to_go_on(
    steps: Steps, storage: StorageWithEngine
) -> None:
    first = steps.run(ARRIVALS, one(D1)).snapshot
    steps.run(ARRIVALS, one(D2), run="second")
    call(storage, f"rollback_to_snapshot('{ARRIVALS.table}', {first})")
    with pytest.raises(RecordRefused, match="published of 2025-01-02 is no longer on it") as caught:
        steps.run(ARRIVALS, one(D3), run="third")
    forward, back, forget = statements(str(caught.value))
    storage.spark.sql(forward)
    steps.run(ARRIVALS, one(D3), run="third")
    assert [row[1] for row in steps.rows(ARRIVALS)] == ["1a", "1b", "2a", "2b", "3a", "3b"]
    call(storage, f"set_current_snapshot('{ARRIVALS.table}', {first})")
    storage.spark.sql(back)
    storage.spark.sql(forget)
    with pytest.raises(InputsNotPublished, match=r"tests/arrivals of 2025-01-02\."):
        steps.run(BALANCES, Window(D1, D2), upstream=(ARRIVALS,), run="reads")
    steps.run(ARRIVALS, one(D2), run="again")
    assert [row[1] for row in steps.rows(ARRIVALS)] == ["1a", "1b", "2a", "2b"]


@pytest.mark.parametrize("compactions", [1, 2])
def test_a_main_that_was_rolled_back_is_refused_although_its_snapshots_were_rewritten_and_expired(
    steps: Steps, storage: StorageWithEngine, compactions: int
) -> None:
    first, *_ = [steps.run(ARRIVALS, one(day), run=str(day)).snapshot for day in (D1, D2, D3)]
    call(storage, f"rollback_to_snapshot('{ARRIVALS.table}', {first})")
    for _ in range(compactions):
        call(storage, f"rewrite_data_files(table => '{ARRIVALS.table}', options => map('rewrite-all', 'true'))")
    until = "older_than => TIMESTAMP '2100-01-01 00:00:00', retain_last => 1"
    call(storage, f"expire_snapshots(table => '{ARRIVALS.table}', {until})")
    assert len(table_of(storage, ARRIVALS).snapshots()) == 1
    with pytest.raises(RecordRefused, match="somebody took main back"):
        steps.run(BALANCES, Window(D1, D3), upstream=(ARRIVALS,), run="reads")
    with pytest.raises(RecordRefused, match="somebody took main back"):
        steps.run(ARRIVALS, one(D4), run="fourth")


def test_rows_that_others_erased_before_the_tables_were_rewritten_and_expired_are_no_rollback(
    steps: Steps, storage: StorageWithEngine
) -> None:
    for day in (D1, D2):
        steps.run(ARRIVALS, one(day), run=str(day))
    storage.spark.sql(f"DELETE FROM lake.{ARRIVALS.table} WHERE id = '1a'")
    rewrite_and_expire(storage, ARRIVALS)
    steps.run(ARRIVALS, one(D3), run="third")
    assert [row[1] for row in steps.rows(ARRIVALS)] == ["1b", "2a", "2b", "3a", "3b"]


def statements(message: str) -> list[str]:
    """The SQL that a message advises, with the catalog's name put in."""
    found = re.findall(r"(?:CALL|ALTER TABLE) <catalog>.*?\)(?= |\.|,|$)", message)
    return [each.replace("<catalog>", "lake") for each in found]


def upgrade(storage: StorageWithEngine, dataset: Dataset, version: int) -> None:
    properties = f"'format-version' = '{version}', 'write.delete.mode' = 'merge-on-read'"
    storage.spark.sql(f"ALTER TABLE lake.{dataset.table} SET TBLPROPERTIES ({properties})")


@pytest.mark.parametrize("version", [2, 3], ids=["position deletes", "deletion vectors"])
def test_deleted_rows_stay_deleted_and_a_replaced_day_takes_its_deletes_with_it(
    steps: Steps, storage: StorageWithEngine, version: int
) -> None:
    steps.run(ARRIVALS, Window(D1, D2))
    upgrade(storage, ARRIVALS, version)
    storage.spark.sql(f"DELETE FROM lake.{ARRIVALS.table} WHERE id LIKE '%a'")
    assert summary(storage)["total-delete-files"] == "2"
    steps.run(ARRIVALS, one(D3), run="another day")
    assert [row[1] for row in steps.rows(ARRIVALS)] == ["1b", "2b", "3a", "3b"]
    assert summary(storage)["total-delete-files"] == "2"
    steps.run(ARRIVALS, one(D1), run="again")
    assert [row[1] for row in steps.rows(ARRIVALS)] == ["1a", "1b", "2b", "3a", "3b"]
    assert summary(storage)["total-delete-files"] == "1"
    assert summary(storage)["removed-delete-files"] == "1"
    assert storage.spark.table(f"lake.{ARRIVALS.table}.delete_files").count() == 1
    storage.spark.sql(f"DELETE FROM lake.{ARRIVALS.table} WHERE id = '1b'")
    call(storage, f"rewrite_data_files(table => '{ARRIVALS.table}', options => map('rewrite-all', 'true'))")
    assert [row[1] for row in steps.rows(ARRIVALS)] == ["1a", "2b", "3a", "3b"]
    steps.run(ARRIVALS, Window(D1, D3), run="all")
    assert [row[1] for row in steps.rows(ARRIVALS)] == ["1a", "1b", "2a", "2b", "3a", "3b"]
    assert summary(storage)["total-delete-files"] == "0"


def summary(storage: StorageWithEngine) -> Any:
    return table_of(storage, ARRIVALS).current_snapshot().summary


def row_ids(storage: StorageWithEngine) -> dict[str, int]:
    rows = storage.spark.sql(f"SELECT id, _row_id FROM lake.{ARRIVALS.table}").collect()
    ids = {row[0]: row[1] for row in rows}
    assert len(set(ids.values())) == len(rows)
    assert None not in ids.values()
    return ids


def test_rows_of_a_table_of_version_3_keep_their_ids(steps: Steps, storage: StorageWithEngine) -> None:
    """Those of days that are not replaced, through a manifest that is written again and one that is merged."""
    steps.run(ARRIVALS, Window(D1, D2))
    upgrade(storage, ARRIVALS, 3)
    steps.run(ARRIVALS, Window(D3, D4), run="second")
    before = row_ids(storage)
    steps.run(ARRIVALS, one(D3), run="again")
    after = row_ids(storage)
    assert {name: after[name] for name in ("1a", "1b", "2a", "2b", "4a", "4b")} == {
        name: value for name, value in before.items() if not name.startswith("3")
    }
    assert not set(before.values()) & {after["3a"], after["3b"]}
    storage.spark.sql(
        f"ALTER TABLE lake.{ARRIVALS.table} SET TBLPROPERTIES ('commit.manifest.min-count-to-merge' = '2')"
    )
    steps.run(ARRIVALS, one(D5), run="fifth")
    assert storage.spark.table(f"lake.{ARRIVALS.table}.manifests").count() == 2
    assert {name: value for name, value in row_ids(storage).items() if not name.startswith("5")} == after
    storage.spark.sql(f"INSERT INTO lake.{ARRIVALS.table} VALUES (DATE'2025-01-09', 'theirs', 1)")
    assert row_ids(storage)["theirs"] > max(after.values())
