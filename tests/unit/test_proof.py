"""When a window adds up the whole history of what it carries: with real tables, and no engine."""

from dataclasses import replace
from datetime import date
from pathlib import Path
from shutil import rmtree

import pytest
from pyiceberg.table import Table

from affirm_assets.declare.carry import Carry
from affirm_assets.declare.inputs import SameWindow, ToProve
from affirm_assets.declare.partitions import Window
from affirm_assets.steps.publish import publish
from affirm_assets.steps.published import RECENT
from affirm_assets.steps.request import Request, Run, pin
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import ensure_table
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from tests.staged import NOW, amounts, publish_rows, stage

SOURCE = amounts(name="source")
CARRY = Carry({"amount": "amount"})
TOTALS = replace(
    amounts(
        name="totals",
        inputs={"source": SameWindow("source"), "history": ToProve("source"), **CARRY.inputs("totals")},
    ),
    carry=CARRY,
)


@pytest.fixture
def storage(catalog: IcebergCatalog, tmp_path: Path) -> Storage:
    return Storage(catalog.load(), LandingZone(str(tmp_path / "landing")))


def window_of(*days: int, month: int = 1) -> Window:
    return Window(date(2025, month, days[0]), date(2025, month, days[-1]))


def publish_source(storage: Storage, *days: int, month: int = 1, run: str = "run") -> None:
    window = window_of(*days, month=month)
    publish_rows(SOURCE, window, [("row", window.first, "1.00")], storage, run=f"{run} {window}")


def request(storage: Storage, window: Window, run: str = "run") -> Request:
    table = ensure_table(storage.catalog, TOTALS)
    return pin(TOTALS, {"source": SOURCE}, window, Run(run, run), "v1", storage, table).request


def why(storage: Storage, *days: int, month: int = 1) -> str | None:
    return request(storage, window_of(*days, month=month)).proves


def publish_totals(storage: Storage, *days: int, month: int = 1, run: str = "run") -> None:
    window = window_of(*days, month=month)
    staged = stage(table_of(storage, "totals"), [("total", window.last, "1.00")])
    publish(TOTALS, request(storage, window, f"{run} {window}"), staged, (), storage, NOW)


def table_of(storage: Storage, name: str) -> Table:
    return storage.catalog.load_table(f"tests.{name}")


@pytest.fixture
def three_days(storage: Storage) -> Storage:
    """Of both, one by one."""
    ensure_table(storage.catalog, TOTALS)
    for day in (1, 2, 3):
        publish_source(storage, day)
        publish_totals(storage, day)
    return storage


def test_the_first_window_adds_up_all_that_there_is(storage: Storage) -> None:
    publish_source(storage, 1)
    assert why(storage, 1) == "it is not known from what 2024-12-31 was computed"


def test_a_new_day_goes_on_from_the_day_before(three_days: Storage) -> None:
    assert why(three_days, 4) is None
    publish_source(three_days, 4)
    publish_source(three_days, 5, 6)
    assert why(three_days, 4) is None
    assert why(three_days, 4, 5, 6) is None


def test_a_day_that_is_run_again_goes_on_from_the_day_before_too(three_days: Storage) -> None:
    publish_source(three_days, 3, run="again")
    assert why(three_days, 3) is None
    publish_totals(three_days, 3, run="again")
    assert why(three_days, 4) is None


@pytest.mark.parametrize(
    ("month", "days", "end"),
    [(1, (31,), "2025-01-31"), (1, (4, 31), "2025-01-31"), (2, (28,), "2025-02-28"), (12, (31,), "2025-12-31")],
)
def test_a_months_last_day_proves(three_days: Storage, month: int, days: tuple[int, ...], end: str) -> None:
    assert why(three_days, *days, month=month) == f"{end} is the last day of a month"


def test_a_range_over_a_months_end_proves(three_days: Storage) -> None:
    over = Window(date(2025, 1, 4), date(2025, 2, 3))
    assert request(three_days, over).proves == "2025-01-31 is the last day of a month"


def test_an_earlier_day_of_a_source_that_was_published_again_is_proven_on_the_day(three_days: Storage) -> None:
    publish_source(three_days, 2, run="again")
    said = "tests/source of 2025-01-02 was published by run again 2025-01-02, since {} was computed"
    assert why(three_days, 4) == said.format("2025-01-03")
    assert why(three_days, 3) == said.format("2025-01-02")
    assert why(three_days, 2) is None
    publish_totals(three_days, 2, 3, run="again")
    assert why(three_days, 4) is None


def test_a_hole_of_a_source_that_was_filled_is_proven(storage: Storage) -> None:
    ensure_table(storage.catalog, TOTALS)
    publish_source(storage, 1)
    publish_source(storage, 3)
    publish_totals(storage, 1, 2, 3)
    assert why(storage, 4) is None
    publish_source(storage, 2)
    assert str(why(storage, 4)).startswith("tests/source of 2025-01-02 was published by run")


def test_an_earlier_day_of_its_own_that_was_published_again_is_proven(three_days: Storage) -> None:
    publish_totals(three_days, 2, run="again")
    assert str(why(three_days, 4)).startswith("tests/totals of 2025-01-02 was published by run")


@pytest.mark.parametrize("name", ["source", "totals"])
def test_what_others_wrote_is_proven(three_days: Storage, name: str) -> None:
    table_of(three_days, name).delete("day = '2025-01-01'")
    assert "was written by somebody else, since 2025-01-03 was computed" in str(why(three_days, 4))


@pytest.mark.parametrize("name", ["source", "totals"])
def test_snapshots_that_expired_are_not_missed_where_the_record_knows_them(three_days: Storage, name: str) -> None:
    publish_source(three_days, 4)
    publish_source(three_days, 5)
    expire(table_of(three_days, name), keep=1)
    assert why(three_days, 4) is None


def test_snapshots_that_nobody_knows_are_proven(three_days: Storage) -> None:
    """What others wrote between two publications may have been among them."""
    table_of(three_days, "source").delete("day = '2025-01-01'")
    publish_source(three_days, 4)
    expire(table_of(three_days, "source"), keep=1)
    assert why(three_days, 4) == "snapshots of tests/source have expired, since 2025-01-03 was computed"


def test_a_source_that_was_made_anew_is_proven(three_days: Storage) -> None:
    folder = table_of(three_days, "source").location().removeprefix("file://")
    three_days.catalog.drop_table("tests.source")
    rmtree(folder)
    publish_source(three_days, 1, 2, 3, 4)
    said = "tests/source is another table than the one that 2025-01-03 was computed from"
    assert why(three_days, 4) == said


def test_what_was_computed_before_a_source_was_read_is_proven(three_days: Storage) -> None:
    before = replace(
        TOTALS, inputs={name: each for name, each in TOTALS.inputs.items() if name in CARRY.inputs("totals")}
    )
    window = window_of(3)
    table = table_of(three_days, "totals")
    old = pin(before, {}, window, Run("old", "old"), "v1", three_days, table).request
    publish(before, old, stage(table, [("total", window.last, "1.00")]), (), three_days, NOW)
    assert why(three_days, 4) == "tests/source is another table than the one that 2025-01-03 was computed from"


def test_a_dataset_that_proves_nothing_never_does(three_days: Storage) -> None:
    table = table_of(three_days, "source")
    assert pin(SOURCE, {}, window_of(31), Run("run", "run"), "v1", three_days, table).request.proves is None


def test_a_request_keeps_why(three_days: Storage) -> None:
    asked = request(three_days, window_of(31))
    assert Request.from_json(asked.to_json()) == asked


def expire(table: Table, keep: int) -> None:
    newest_first = sorted(table.snapshots(), key=lambda each: -(each.sequence_number or 0))
    table.maintenance.expire_snapshots().by_ids([each.snapshot_id for each in newest_first[keep:]]).commit()


def test_a_source_that_is_taken_back_over_a_commit_of_others_is_proven(three_days: Storage) -> None:
    read = table_of(three_days, "source").metadata.current_snapshot_id
    assert read
    table_of(three_days, "source").delete("day = '2025-01-01'")
    publish_totals(three_days, 1, 2, 3, run="without it")
    assert why(three_days, 4) is None
    table_of(three_days, "source").manage_snapshots().set_current_snapshot(snapshot_id=read).commit()
    taken_back = f"tests/source was taken back to snapshot {read}, since 2025-01-03 was computed"
    assert why(three_days, 4) == taken_back
    publish_source(three_days, 4)
    assert why(three_days, 4) == taken_back


def test_a_record_that_somebody_has_repaired_hides_nothing_that_snapshots_say(three_days: Storage) -> None:
    publish_source(three_days, 4)
    publish_source(three_days, 2, run="again")
    with table_of(three_days, "source").transaction() as transaction:
        transaction.remove_properties(RECENT)
    last = table_of(three_days, "source").metadata.current_snapshot_id
    assert why(three_days, 4) == (
        f"tests/source of 2025-01-02 was published with snapshot {last}, since 2025-01-03 was computed"
    )


def test_the_first_window_of_another_code_is_proven(three_days: Storage) -> None:
    table = table_of(three_days, "totals")
    pinned = pin(TOTALS, {"source": SOURCE}, window_of(4), Run("r", "r"), "v2", three_days, table)
    assert pinned.request.proves == "2025-01-03 was computed by code v1, and this is v2"
