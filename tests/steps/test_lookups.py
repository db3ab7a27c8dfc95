"""Rows of a long history that are looked up by a key: the same of few keys and of many, and few files are opened."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Before, Lookup, Through, before, through
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.engines.sail import SailEngine, stage
from affirm_assets.steps import read
from affirm_assets.steps.request import Run, pin
from tests.conftest import declare
from tests.steps.amounts import D1, D3, D4, Amount, AmountWithNote, amounts_of, frame, noted, one
from tests.storage import NewStorage, Steps, StorageWithEngine

DAYS = Window(D1, date(2025, 1, 10))
SOURCE = amounts_of(*((f"id{day:02d}", date(2025, 1, day), "1.00") for day in range(1, 11)))


def looking_up(*keys: str | None, how: Before | Through) -> Dataset:
    def found(history: Lookup) -> DataFrame:
        asked_for: Any = [(each,) for each in keys]
        return history(SparkSession.active().createDataFrame(asked_for, "id string"))

    return declare(found, Amount, Daily("day"), inputs={"history": how})


def found(storage: StorageWithEngine, dataset: Dataset, window: Window) -> list[str]:
    pinned = pin(dataset, {"amounts": SOURCE}, window, Run("r", "r"), "v1", storage)
    rows = storage.frames(dataset, {"amounts": SOURCE}, pinned).call(dataset.function)
    return sorted(row.id for row in rows.collect())


@pytest.mark.parametrize("most", [2_000, 1], ids=["few keys", "more than are said"])
def test_what_is_looked_up_is_what_has_one_of_the_keys(
    steps: Steps, new_storage: NewStorage, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(read, "_MOST_VALUES", most)
    steps.run(SOURCE, DAYS)
    storage = new_storage()
    with storage.own.active():
        through_it = looking_up("id02", "id04", "id04", "id05", "id99", None, how=through("amounts", by="id"))
        assert found(storage, through_it, one(D4)) == ["id02", "id04"]
        before_it = looking_up("id02", "id04", None, how=before("amounts", by="id"))
        assert found(storage, before_it, one(D4)) == ["id02"]


@pytest.mark.parametrize("keys", [(), (None,)])
def test_of_no_key_nothing_is_found(steps: Steps, new_storage: NewStorage, keys: tuple[None, ...]) -> None:
    steps.run(SOURCE, DAYS)
    storage = new_storage()
    with storage.own.active():
        assert found(storage, looking_up(*keys, how=through("amounts", by="id")), one(D4)) == []


def test_before_anything_was_published_nothing_is_found(new_storage: NewStorage) -> None:
    storage = new_storage()
    with storage.own.active():
        assert found(storage, looking_up("id02", how=through("amounts", by="id")), one(D4)) == []


def test_by_a_column_that_is_younger_than_the_history_nothing_is_found(steps: Steps, new_storage: NewStorage) -> None:
    steps.run(SOURCE, DAYS)

    def of_note(history: Lookup) -> DataFrame:
        asked_for = SparkSession.active().createDataFrame([("hello",)], "note string")
        return history(asked_for).select("id", "day", "amount")

    through_it = declare(of_note, Amount, Daily("day"), inputs={"history": through("amounts", by="note")})
    source, storage = {"amounts": noted()}, new_storage()
    pinned = pin(through_it, source, one(D4), Run("r", "r"), "v1", storage)
    with storage.own.active():
        assert storage.frames(through_it, source, pinned).call(through_it.function).collect() == []


@pytest.mark.parametrize("long", ["x" * 4_000, "x" * 5_000], ids=["in the footer", "too long for the footer"])
def test_what_is_written_beside_a_long_key_is_found(
    steps: Steps, new_storage: NewStorage, monkeypatch: pytest.MonkeyPatch, long: str
) -> None:
    monkeypatch.setattr(stage, "_ROWS_OF_RANGE", 2)

    def amounts() -> DataFrame:
        rows = frame(*((each, D3, "1.00") for each in ("A1", "A5", "B1", long)))
        return rows.coalesce(1).mapInArrow(_by_twos, rows.schema)

    steps.run(declare(amounts, Amount, Daily("day")), DAYS)
    storage = new_storage()
    with storage.own.active():
        assert found(storage, looking_up("B1", how=through("amounts", by="id")), one(D4)) == ["B1"]


@pytest.mark.parametrize(
    ("write", "opened"),
    [
        (lambda steps: steps.run(SOURCE, DAYS), 2),
        (lambda steps: steps.run(amounts_of(("x" * 40, D3, "1.00")), DAYS), 1),
    ],
    ids=["ids of days", "a long id"],
)
def test_only_files_that_may_hold_a_key_are_opened(
    steps: Steps, new_storage: NewStorage, write: Callable[[Steps], object], opened: int
) -> None:
    """Spark asks Iceberg for them, by the same bounds."""
    write(steps)
    storage = new_storage()
    if not isinstance(storage.own, SailEngine):
        pytest.skip("of Sail's own reading")
    with storage.own.active():
        found(storage, looking_up("id02", "id04", "x" * 40, "x" * 39, "y", how=through("amounts", by="id")), one(D4))
        assert [len(scan.files) for _, scan in storage.own._scans] == [opened]


def test_files_with_nothing_but_nulls_are_not_opened(steps: Steps, new_storage: NewStorage) -> None:
    """Of transactions at weekends, none may be of a loan."""

    def amounts() -> DataFrame:
        rows = frame(("a", D1, "1.00"), ("b", D1, "1.00"), ("c", D3, "1.00"), ("d", D3, "1.00"), ("e", D4, "1.00"))
        return rows.withColumn("note", F.expr("IF(id IN ('d', 'e'), 'hello', NULL)"))

    source = declare(amounts, AmountWithNote, Daily("day"))
    steps.run(source, DAYS)

    def of_note(history: Lookup) -> DataFrame:
        asked_for = SparkSession.active().createDataFrame([("hello",)], "note string")
        return history(asked_for).select("id", "day", "amount")

    through_it = declare(of_note, Amount, Daily("day"), inputs={"history": through("amounts", by="note")})
    storage = new_storage()
    pinned = pin(through_it, {"amounts": source}, one(D4), Run("r", "r"), "v1", storage)
    with storage.own.active():
        rows = storage.frames(through_it, {"amounts": source}, pinned).call(through_it.function).collect()
        assert sorted(row.id for row in rows) == ["d", "e"]
        if isinstance(storage.own, SailEngine):
            assert [len(scan.files) for _, scan in storage.own._scans] == [2]


def _by_twos(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        yield from (batch.slice(start, 2) for start in range(0, len(batch), 2))
