"""Old snapshots go with the files that only they name, and nothing else does: on real tables, with no engine."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.update import AddSnapshotUpdate

import affirm_assets.datasets
from affirm_assets.cli import main
from affirm_assets.declare.carry import Carry
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import SameWindow, ToProve
from affirm_assets.declare.partitions import Window
from affirm_assets.declare.registry import Registry
from affirm_assets.errors import RecordRefused, UpkeepRefused
from affirm_assets.settings import Settings
from affirm_assets.steps import upkeep
from affirm_assets.steps.engine import Staged
from affirm_assets.steps.manifests import read_entries, read_manifests
from affirm_assets.steps.publish import keep_for_inspection, publish, read_report
from affirm_assets.steps.published import record_of
from affirm_assets.steps.request import Request, Run, pin
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import ensure_table, main_history
from affirm_assets.steps.upkeep import Upkeep, keep_up
from affirm_assets.stores import catalog_of
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from tests.servers import REGION, Postgres, S3Server
from tests.staged import NOW, amounts, publish_rows, request_of, rows_of, stage

D1, D2, D3, D4 = (date(2025, 1, day) for day in range(1, 5))
AMOUNTS = amounts()
DAYS = timedelta(days=35)
FAR = timedelta(days=400)


@pytest.fixture
def storage(catalog: IcebergCatalog, tmp_path: Path) -> Storage:
    return Storage(catalog.load(), LandingZone(str(tmp_path / "landing")))


def table_of(storage: Storage, dataset: Dataset = AMOUNTS) -> Table:
    return storage.catalog.load_table(dataset.table)


def publish_day(storage: Storage, day: date, *ids: str, run: str = "run", **options: Any) -> int:
    rows = [(name, day, "1.00") for name in ids or (f"d{day.day}",)]
    return publish_rows(AMOUNTS, Window(day, day), rows, storage, run=f"{run} {day}", **options).snapshot


def refuse(storage: Storage, day: date, name: str) -> int:
    """Rows that an audit refused."""
    request = request_of(AMOUNTS, Window(day, day), storage, f"refused {name}")
    return keep_for_inspection(AMOUNTS, request, stage(table_of(storage), [(name, day, "1.00")]), storage)


def made_at(storage: Storage, snapshot: int) -> datetime:
    found = table_of(storage).snapshot_by_id(snapshot)
    assert found
    return datetime.fromtimestamp(found.timestamp_ms / 1000, UTC)


def keep_all_since(storage: Storage, snapshot: int, **options: Any) -> Upkeep:
    """Upkeep on the day on which this snapshot, and what is younger, is as old as may be."""
    return keep_up(AMOUNTS, storage.catalog, made_at(storage, snapshot) + DAYS, 35, **options)


def keep_heads(storage: Storage, dataset: Dataset = AMOUNTS, **options: Any) -> Upkeep:
    return keep_up(dataset, storage.catalog, datetime.now(UTC) + FAR, 35, **options)


def ids(table: Table) -> set[int]:
    return {each.snapshot_id for each in table.snapshots()}


def named(table: Table) -> set[str]:
    """The files that the table's snapshots name."""
    found: set[str] = set()
    for snapshot in table.snapshots():
        found.add(snapshot.manifest_list)
        report = snapshot.summary.get("affirm.report") if snapshot.summary else None
        found |= {report} if report else set()
        for manifest in read_manifests(table.io, snapshot):
            found.add(manifest.manifest_path)
            found |= {each.data_file.file_path for each in read_entries(table.io, manifest)}
    return found


def lie(table: Table) -> set[str]:
    """The files of the table that are there, but for its metadata files."""
    folder = Path(table.location().removeprefix("file://"))
    return {f"file://{path}" for path in folder.rglob("*.*") if not path.name.endswith(".metadata.json")}


def rows_at(table: Table, snapshot: int) -> list[str]:
    return sorted(table.scan(snapshot_id=snapshot).to_arrow().column("id").to_pylist())


def test_what_readers_see_stays_and_the_files_of_what_was_replaced_go(storage: Storage) -> None:
    for day in (D1, D2, D3):
        publish_day(storage, day)
    replaced = named(table_of(storage))
    last = publish_day(storage, D1, "new", run="again")
    before = table_of(storage)
    done = keep_heads(storage)
    after = table_of(storage)
    assert (done.snapshots, done.expired, len(done.data_files)) == (4, 3, 1)
    assert ids(after) == {last}
    assert rows_of(after) == rows_of(before) == ["d2", "d3", "new"]
    assert lie(after) == named(after)
    assert set(done.files) == replaced - named(after)
    assert record_of(AMOUNTS, after) == record_of(AMOUNTS, before)
    assert read_report(after, record_of(AMOUNTS, after).recent[0])
    assert keep_heads(storage) == Upkeep(AMOUNTS.table, 1, 0, (), ())


@pytest.mark.parametrize("merged", ["100", "2"])
def test_files_that_a_manifest_that_goes_shares_with_one_that_stays_stay(storage: Storage, merged: str) -> None:
    ensure_table(storage.catalog, AMOUNTS)
    said = {"commit.manifest.min-count-to-merge": merged}
    table_of(storage).transaction().set_properties(said).commit_transaction()
    of_days = [(f"d{day.day}", day, "1.00") for day in (D1, D2, D3)]
    publish_rows(AMOUNTS, Window(D1, D3), of_days, storage, run="range")
    for name in ("new", "newer"):
        publish_day(storage, D2, name, run=name)
    publish_day(storage, D4)
    done = keep_heads(storage)
    table = table_of(storage)
    assert (done.expired, len(done.data_files)) == (3, 2)
    assert rows_of(table) == ["d1", "d3", "d4", "newer"]
    assert lie(table) == named(table)


def test_files_that_another_snapshot_names_too_stay(storage: Storage) -> None:
    """Such as one that was picked: it has the summary of the first, and so its report."""
    first, _ = (publish_day(storage, D1, name, run=name) for name in "ab")
    table = table_of(storage)
    found = table.snapshot_by_id(first)
    assert found
    later = int((datetime.now(UTC) + 2 * FAR).timestamp() * 1000)
    number = table.metadata.next_sequence_number()
    picked = found.model_copy(update={"snapshot_id": 1, "timestamp_ms": later, "sequence_number": number})
    table._do_commit((AddSnapshotUpdate(snapshot=picked),), ())
    assert keep_heads(storage).files == []
    table = table_of(storage)
    assert first not in ids(table)
    assert rows_at(table, 1) == ["a"]
    assert lie(table) == named(table)


def test_what_was_current_within_the_days_stays_however_long_ago_it_was_made(storage: Storage) -> None:
    """A step that runs for a minute may have pinned what was published a month ago."""
    first, second, third = (publish_day(storage, D1, name, run=name) for name in "abc")
    done = keep_all_since(storage, third)
    table = table_of(storage)
    assert ids(table) == {second, third}
    assert (rows_at(table, second), rows_at(table, third)) == (["b"], ["c"])
    assert lie(table) == named(table)
    assert len(done.data_files) == 1
    with pytest.raises(ValueError, match=f"Snapshot not found: {first}"):
        rows_at(table, first)


def test_what_tags_and_branches_name_stays(storage: Storage) -> None:
    a, b, c, d, e, f = (publish_day(storage, D1, name, run=name) for name in "abcdef")
    table = table_of(storage)
    table.manage_snapshots().create_tag(a, "audited").create_branch(c, "theirs", min_snapshots_to_keep=2).commit()
    keep_heads(storage)
    table = table_of(storage)
    assert ids(table) == {a, b, c, f}  # b: as one of the two of the branch
    assert [rows_at(table, each) for each in (a, b, c, f)] == [["a"], ["b"], ["c"], ["f"]]
    assert lie(table) == named(table)
    assert set(table.refs()) == {"main", "audited", "theirs"}
    assert not {d, e} & ids(table)


@pytest.mark.parametrize(
    "said",
    [
        {"history.expire.min-snapshots-to-keep": "3"},
        {"history.expire.max-snapshot-age-ms": str(2 * FAR // timedelta(milliseconds=1))},
    ],
)
def test_what_others_said_of_how_long_snapshots_are_kept_counts_where_it_is_longer(
    storage: Storage, said: dict[str, str]
) -> None:
    made = [publish_day(storage, D1, name, run=name) for name in "abc"]
    table_of(storage).transaction().set_properties(said).commit_transaction()
    assert keep_heads(storage).expired == 0
    assert ids(table_of(storage)) == set(made)


def test_refused_rows_stay_as_long_as_they_are_young(storage: Storage) -> None:
    publish_day(storage, D1)
    old, young = refuse(storage, D2, "old"), refuse(storage, D2, "young")
    keep_all_since(storage, young)
    table = table_of(storage)
    assert old not in ids(table)
    assert rows_at(table, young) == ["young"]
    assert lie(table) == named(table)
    keep_heads(storage)
    assert rows_of(table_of(storage)) == ["d1"]
    assert lie(table_of(storage)) == named(table_of(storage))


def test_the_last_publish_stays_below_what_others_wrote_since(storage: Storage) -> None:
    publish_day(storage, D1)
    last = publish_day(storage, D2)
    table = table_of(storage)
    table.append(table.scan(row_filter="id = 'd1'").to_arrow())
    keep_heads(storage)
    assert [each.snapshot_id for each in main_history(table_of(storage))][1:] == [last]


def test_a_dry_run_says_what_would_go_and_does_nothing(storage: Storage) -> None:
    for name in "ab":
        publish_day(storage, D1, name, run=name)
    before, files = table_of(storage).metadata_location, lie(table_of(storage))
    would = keep_heads(storage, dry=True)
    assert (table_of(storage).metadata_location, lie(table_of(storage))) == (before, files)
    assert keep_heads(storage) == would
    assert files - lie(table_of(storage)) == set(would.files)


def meanwhile(storage: Storage, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> None:
    """The work is done just before the next commit by this storage's catalog."""
    commit, left = storage.catalog.commit_table, [work]

    def late(table: Table, requirements: Any, updates: Any) -> Any:
        if left:
            left.pop()()
        return commit(table, requirements, updates)

    monkeypatch.setattr(storage.catalog, "commit_table", late)


@pytest.fixture
def other(catalog: IcebergCatalog, storage: Storage) -> Storage:
    """Another process's view of the tables."""
    return replace(storage, catalog=catalog.load())


def test_a_publish_during_upkeep_is_not_lost(storage: Storage, other: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in (D1, D2):
        publish_day(storage, day)
    meanwhile(storage, monkeypatch, lambda: publish_day(other, D1, "new", run="again"))
    done = keep_heads(storage)
    table = table_of(other)
    assert (done.snapshots, done.expired, len(done.data_files)) == (3, 2, 1)  # as after the publish, and not before it
    assert rows_of(table) == ["d2", "new"]
    assert lie(table) == named(table)


def test_a_tag_that_comes_during_upkeep_is_not_lost(
    storage: Storage, other: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (publish_day(storage, D1, name, run=name) for name in "ab")
    meanwhile(storage, monkeypatch, lambda: table_of(other).manage_snapshots().create_tag(old, "audited").commit())
    assert keep_heads(storage).expired == 0
    table = table_of(other)
    assert (rows_at(table, old), rows_at(table, new)) == (["a"], ["b"])


def test_upkeep_during_a_publish_makes_it_no_conflict(
    storage: Storage, other: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for day in (D1, D2):
        publish_day(storage, day)
    publish_day(storage, D3, meanwhile=lambda: keep_heads(other))
    meanwhile(storage, monkeypatch, lambda: keep_heads(other))
    publish_day(storage, D4)
    table = table_of(storage)
    assert rows_of(table) == ["d1", "d2", "d3", "d4"]
    assert len(ids(table)) == 2
    assert lie(table) == named(table)


def test_two_at_once_are_as_one(storage: Storage, other: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        publish_day(storage, D1, name, run=name)
    meanwhile(storage, monkeypatch, lambda: keep_heads(other))
    assert keep_heads(storage).expired == 0
    assert rows_of(table_of(storage)) == ["c"]
    assert lie(table_of(storage)) == named(table_of(storage))


def test_one_that_is_killed_before_it_removes_files_leaves_files_and_nothing_else(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        publish_day(storage, D1, name, run=name)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(upkeep, "_delete", killed)
        with pytest.raises(KeyboardInterrupt):
            keep_heads(storage)
    table = table_of(storage)
    assert rows_of(table) == ["b"]
    assert lie(table) > named(table)
    assert keep_heads(storage).expired == 0


def test_a_table_whose_record_is_contradicted_is_left_as_it_is(storage: Storage) -> None:
    first, _ = (publish_day(storage, day) for day in (D1, D2))
    table_of(storage).manage_snapshots().set_current_snapshot(first).commit()
    files = lie(table_of(storage))
    with pytest.raises(RecordRefused, match="somebody took main back"):
        keep_heads(storage)
    assert lie(table_of(storage)) == files


def test_a_table_whose_files_others_use_is_left_as_it_is(storage: Storage) -> None:
    for name in "ab":
        publish_day(storage, D1, name, run=name)
    table_of(storage).transaction().set_properties({"gc.enabled": "false"}).commit_transaction()
    with pytest.raises(UpkeepRefused, match=r"tests\.amounts: no snapshot was expired: expected .*found false"):
        keep_heads(storage)
    assert len(ids(table_of(storage))) == 2


def test_a_table_that_is_always_busy_is_left_as_it_is(
    storage: Storage, other: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        publish_day(storage, D1, name, run=name)
    monkeypatch.setattr(upkeep, "_TRIES", 2)
    commit = storage.catalog.commit_table

    def late(*arguments: Any) -> Any:
        refuse(other, D2, "theirs")
        return commit(*arguments)

    monkeypatch.setattr(storage.catalog, "commit_table", late)
    with pytest.raises(UpkeepRefused, match="one just before each of 2 tries"):
        keep_heads(storage)
    assert rows_of(table_of(other)) == ["b"]


def test_what_was_never_made_needs_no_upkeep(storage: Storage) -> None:
    assert keep_heads(storage) == Upkeep(AMOUNTS.table, 0, 0, (), ())
    ensure_table(storage.catalog, AMOUNTS)
    assert keep_heads(storage).expired == 0


# The day after.

SOURCE = amounts(name="source")
CARRY = Carry({"amount": "amount"})
TOTALS = replace(
    amounts(
        name="totals",
        inputs={"source": SameWindow("source"), "history": ToProve("source"), **CARRY.inputs("totals")},
    ),
    carry=CARRY,
)


def request_of_totals(storage: Storage, day: date) -> Request:
    table = ensure_table(storage.catalog, TOTALS)
    run = Run(f"run of {day}", f"run of {day}")
    return pin(TOTALS, {"source": SOURCE}, Window(day, day), run, "v1", storage, table).request


def publish_both(storage: Storage, day: date) -> str | None:
    """What the day's step proves."""
    publish_rows(SOURCE, Window(day, day), [("row", day, "1.00")], storage, run=f"source of {day}")
    request = request_of_totals(storage, day)
    staged = stage(table_of(storage, TOTALS), [("total", day, "1.00")])
    publish(TOTALS, request, staged, (), storage, NOW)
    return request.proves


def test_the_day_after_proves_nothing_anew(storage: Storage) -> None:
    for day in (D1, D2, D3):
        publish_both(storage, day)
        for each in (SOURCE, TOTALS):
            keep_heads(storage, each)
            assert len(ids(table_of(storage, each))) == 1
    assert publish_both(storage, D4) is None
    assert rows_of(table_of(storage, TOTALS)) == ["total"] * 4


def test_what_changed_since_is_proven_anew_all_the_same(storage: Storage) -> None:
    for day in (D1, D2, D3):
        publish_both(storage, day)
    publish_rows(SOURCE, Window(D2, D2), [("other", D2, "2.00")], storage, run="again")
    for each in (SOURCE, TOTALS):
        keep_heads(storage, each)
    proves = request_of_totals(storage, D4).proves
    assert proves == "tests/source of 2025-01-02 was published by run again, since 2025-01-03 was computed"


# The command.


def test_the_command_goes_on_where_a_table_is_left_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.of({"AFFIRM_LAKE": str(tmp_path)})
    catalog = catalog_of(settings).load()
    datasets = Registry.walk(affirm_assets.datasets).datasets
    storage = Storage(catalog, LandingZone(str(tmp_path)))
    for name in ("loans", "loan_schedules", "borrowers"):
        for run in "abc":
            publish_nothing(datasets[name], datasets, storage, run)
    catalog.load_table("loans.loans").transaction().set_properties({"gc.enabled": "false"}).commit_transaction()
    monkeypatch.setattr("affirm_assets.cli.load_dotenv", lambda *_, **__: None)
    environment = {"AFFIRM_LAKE": str(tmp_path), "AFFIRM_DEPLOYMENT": "local"}
    nothing = CliRunner().invoke(main, ["upkeep"], env=environment)
    assert nothing.exit_code == 1
    assert "loans.loans: no snapshot was expired: expected the table property gc.enabled=true" in nothing.output
    assert (
        "loans.borrowers: 0 of 3 snapshots expired, and 0 data files and 0 metadata files with them" in nothing.output
    )
    monkeypatch.setattr(upkeep, "DAYS_KEPT", -1)
    newest, *_ = main_history(catalog.load_table("loans.loan_schedules"))
    Path(newest.manifest_list.removeprefix("file://")).unlink()
    dry = CliRunner().invoke(main, ["upkeep", "--dry-run"], env=environment)
    assert "loans.borrowers: 2 of 3 snapshots would go, and 0 data files and 4 metadata files with them" in dry.output
    assert sum("/loans/borrowers/metadata/" in line for line in dry.output.splitlines()) == 4
    assert len(catalog.load_table("loans.borrowers").snapshots()) == 3
    done = CliRunner().invoke(main, ["upkeep"], env=environment)
    assert "loans.borrowers: 2 of 3 snapshots expired, and 0 data files and 4 metadata files with them" in done.output
    assert "loans.loan_schedules: FileNotFoundError: " in done.output
    assert len(catalog.load_table("loans.loan_schedules").snapshots()) == 3
    assert len(catalog.load_table("loans.borrowers").snapshots()) == 1


def publish_nothing(dataset: Dataset, datasets: Any, storage: Storage, run: str) -> None:
    table = ensure_table(storage.catalog, dataset)
    request = Request(str(dataset), Window(D1, D1), Run(run, run), "v1", None, {}, ())
    current = table.current_snapshot()
    publish(dataset, replace(request, base=current and current.snapshot_id), Staged((), 0, {}), (), storage, NOW)


def test_a_lake_on_s3_with_its_catalog_in_postgresql(database: Postgres, s3: S3Server, tmp_path: Path) -> None:
    database.create_database("upkeep")
    s3.create_bucket("upkeep")
    catalog: Catalog = IcebergCatalog(
        uri=database.catalog_uri("upkeep"),
        warehouse="s3://upkeep/warehouse",
        region=REGION,
        s3_endpoint=s3.endpoint,
    ).load()
    storage = Storage(catalog, LandingZone(str(tmp_path)))
    for name in "abc":
        publish_day(storage, D1, name, run=name)
    gone = named(table_of(storage))
    done = keep_heads(storage)
    table = table_of(storage)
    assert (done.expired, len(done.data_files)) == (2, 2)
    assert rows_of(table) == ["c"]
    assert set(done.files) == gone - named(table)
    assert not [path for path in done.files if table.io.new_input(path).exists()]
    assert all(table.io.new_input(path).exists() for path in named(table))
