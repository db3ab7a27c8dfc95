"""What a step measures before it asks for an engine, on tables that PyIceberg writes, and when it asks for none."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import NoReturn

import pytest
from pyspark.sql import DataFrame

from affirm_assets.declare.carry import Carry
from affirm_assets.declare.contract import Contract, Money, column, key
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Input, SameWindow, before, landing, previous, through
from affirm_assets.declare.partitions import Daily, Monthly, Window
from affirm_assets.errors import GapRefused, UnfitForEngine
from affirm_assets.steps.engine import Engine
from affirm_assets.steps.request import Run
from affirm_assets.steps.run import Result, run_step
from affirm_assets.steps.scan_size import ScanSize, scan_size_now
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import ensure_table
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from tests.conftest import declare
from tests.staged import publish_rows

D1, D2, D3, D4, D5 = DAYS = [date(2025, 1, day) for day in range(1, 6)]
RUN = Run("run", "run")


class Amount(Contract):
    """An amount."""

    id: str = key("Id")
    day: date = column("Business date")
    amount: Money = column("Amount")


def amounts(earlier: DataFrame) -> DataFrame:
    raise AssertionError("never run")


def copies(first: DataFrame) -> DataFrame:
    raise AssertionError("never run")


def two_copies(first: DataFrame, second: DataFrame) -> DataFrame:
    raise AssertionError("never run")


SOURCE = declare(amounts, Amount, Daily("day"), inputs={"earlier": previous(2, "amounts")})
CARRY = Carry({"amount": "amount"})
CARRIED = replace(SOURCE, carry=CARRY, inputs=CARRY.inputs("amounts"))


def reader(**inputs: Input) -> Dataset:
    return declare(two_copies if "second" in inputs else copies, Amount, Daily("day"), inputs=inputs)


@pytest.fixture
def storage(catalog: IcebergCatalog, tmp_path: Path) -> Storage:
    return Storage(catalog.load(), LandingZone(str(tmp_path / "landing")), catalog.name)


def publish(storage: Storage, *days: date, rows: int = 1) -> None:
    """These days of `amounts` as one commit, which makes them anew."""
    made = [(f"{day}/{n}", day, f"{n}.00") for day in days for n in range(rows)]
    publish_rows(SOURCE, Window(days[0], days[-1]), made, storage, run=f"{days[0]} with {rows}")


def stored(storage: Storage, *days: date) -> ScanSize:
    """By PyIceberg's plan of a scan of each of these days."""
    table = storage.catalog.load_table(SOURCE.table)
    files = [each.file for day in days for each in table.scan(row_filter=f"day = '{day}'").plan_files()]
    return ScanSize(sum(each.file_size_in_bytes for each in files), len(files))


def opened(*_: object) -> NoReturn:
    raise AssertionError("opened")


class EngineAsked(Exception):
    """Raised in place of opening an engine."""

    def __init__(self, size: ScanSize) -> None:
        self.size = size


class NoEngine:
    """Says what it was asked to read."""

    def open(self, dataset: Dataset, window: Window | None, size: ScanSize) -> Engine:
        raise EngineAsked(size)

    def instead(self, dataset: Dataset, window: Window | None, size: ScanSize, error: UnfitForEngine) -> Engine:
        raise error


def run(storage: Storage, dataset: Dataset, day: date) -> Result:
    return run_step(dataset, {"amounts": SOURCE}, Window(day, day), RUN, "v1", storage, NoEngine())


def measured(storage: Storage, dataset: Dataset, day: date) -> ScanSize:
    """By the step itself, and the same by whoever asks before it."""
    before = scan_size_now(dataset, {"amounts": SOURCE}, Window(day, day), storage)
    with pytest.raises(EngineAsked) as asked:
        run(storage, dataset, day)
    assert asked.value.size == before
    return before


READS = {
    "the same window": (reader(first=SameWindow("amounts")), [D3]),
    "the two days before": (reader(first=previous(2, "amounts")), [D1, D2]),
    "everything so far": (reader(first=through("amounts")), [D1, D2, D3]),
    "its own days before": (SOURCE, [D1, D2]),
    "the same days twice": (reader(first=SameWindow("amounts"), second=SameWindow("amounts")), [D3]),
    "everything so far, looked up by values": (reader(first=through("amounts", by="id")), []),
    "a day, and looked up": (reader(first=SameWindow("amounts"), second=before("amounts", by="id")), [D3]),
    "different days": (reader(first=SameWindow("amounts"), second=previous(1, "amounts")), [D2, D3]),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("commits", [[[day] for day in DAYS], [DAYS], [[D1, D2], [D3, D4, D5]]], ids=len)
def test_the_size_is_that_of_the_files_of_the_days_that_are_read(
    storage: Storage, name: str, commits: list[list[date]]
) -> None:
    for days in commits:
        publish(storage, *days, rows=50 * days[0].day)
    dataset, days = READS[name]
    assert measured(storage, dataset, D3) == stored(storage, *days)


def test_a_day_that_was_computed_again_is_counted_as_it_is_now(storage: Storage) -> None:
    """The commit that wrote the days first says a size that is no longer so."""
    publish(storage, D1, D2, D3)
    publish(storage, D2, rows=1000)
    assert measured(storage, reader(first=through("amounts")), D3) == stored(storage, D1, D2, D3)
    assert measured(storage, reader(first=SameWindow("amounts")), D2) == stored(storage, D2)


def test_a_manifest_that_was_merged_is_counted_whole(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the last commit's, but most of its files are not."""
    with ensure_table(storage.catalog, SOURCE).transaction() as change:
        change.set_properties({"commit.manifest-merge.enabled": "true", "commit.manifest.min-count-to-merge": "2"})
    for day in DAYS:
        publish(storage, day)
    assert storage.catalog.load_table(SOURCE.table).inspect.manifests().num_rows < len(DAYS)
    whole = stored(storage, *DAYS)
    assert measured(storage, reader(first=through("amounts")), D5) == whole
    assert measured(storage, reader(first=through("amounts")), D4) == stored(storage, D1, D2, D3, D4)
    with monkeypatch.context() as patched:
        patched.setattr("affirm_assets.steps.scan_size.read_entries", opened)
        assert measured(storage, reader(first=through("amounts")), D5) == whole


def test_every_day_is_found_without_opening_a_manifest(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in DAYS:
        publish(storage, day)
    whole, one = stored(storage, *DAYS), stored(storage, D2)
    monkeypatch.setattr("affirm_assets.steps.scan_size.read_entries", opened)
    assert measured(storage, reader(first=through("amounts")), D5) == whole
    assert measured(storage, reader(first=SameWindow("amounts")), D2) == one


def test_a_month_is_measured_by_its_days(storage: Storage) -> None:
    last = [date(2025, 1, 30), date(2025, 1, 31)]
    publish(storage, *last)
    publish(storage, date(2025, 2, 1))
    monthly = declare(copies, Amount, Monthly("day"), inputs={"first": SameWindow("amounts")})
    assert measured(storage, monthly, D1) == stored(storage, *last)


def test_a_table_without_partitions_is_measured_whole(storage: Storage) -> None:
    publish(storage, D1, D2)
    whole = declare(copies, Amount, None, inputs={"first": SameWindow("amounts")})
    with pytest.raises(EngineAsked) as asked:
        run_step(whole, {"amounts": SOURCE}, None, RUN, "v1", storage, NoEngine())
    assert asked.value.size == stored(storage, D1, D2)


def test_landing_files_count_with_their_sizes(storage: Storage, tmp_path: Path) -> None:
    folder = tmp_path / "landing" / "things" / str(D1)
    folder.mkdir(parents=True)
    (folder / "a.jsonl").write_text('{"id": "a"}\n')
    (folder / "_SUCCESS").touch()
    assert measured(storage, reader(first=landing("things", {"id": "text"})), D1) == ScanSize(12, 1)


def test_what_was_never_published_has_no_size(storage: Storage) -> None:
    assert measured(storage, reader(first=before("amounts")), D1) == ScanSize(0, 0)


def test_work_that_is_published_already_needs_no_engine(storage: Storage) -> None:
    publish(storage, D1)
    window = Window(D2, D3)
    publish_rows(SOURCE, window, [(f"{n}", D2, "1.00") for n in range(3)], storage, run=RUN.run_id)
    result = run_step(SOURCE, {}, window, RUN, "v1", storage, NoEngine())
    assert result.already_published
    assert result.rows == {D2: 3, D3: 0}
    assert (result.total_rows, result.added_files) == (4, 1)


def test_a_window_that_is_refused_needs_no_engine(storage: Storage) -> None:
    publish(storage, D1)
    with pytest.raises(GapRefused):
        run(storage, CARRIED, D3)
