"""The publish on a real catalog and real files, with no engine: what readers see, what is refused, what is recorded."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, CommitStateUnknownException
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Operation
from pyiceberg.table.update import AddSnapshotUpdate, SetSnapshotRefUpdate
from pyiceberg.transforms import IdentityTransform

from affirm_assets.declare.carry import Carry
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import SameWindow, beside
from affirm_assets.declare.partitions import Daily, Monthly, Partitions, Window
from affirm_assets.errors import (
    GapRefused,
    InputsNotPublished,
    PublishConflict,
    RecordRefused,
    StageLost,
    TableNotStageable,
)
from affirm_assets.orchestration.tables import Tables
from affirm_assets.steps.audit import Outcome
from affirm_assets.steps.beside import check_beside_unchanged, published_beside
from affirm_assets.steps.manifests import NOTHING, NewSnapshot, read_entries, read_manifests
from affirm_assets.steps.prerequisites import check_inputs_published, check_no_gap
from affirm_assets.steps.publish import find_published, keep_for_inspection, publish, read_report
from affirm_assets.steps.published import PUBLISHED_PROPERTY, RECENT, Publication, Record, last_published, record_of
from affirm_assets.steps.request import Request, Run, pin
from affirm_assets.steps.storage import Storage
from affirm_assets.steps.tables import ensure_table
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone
from tests.staged import NOW, amounts, publish_rows, request_of, rows_of, stage

D1, D2, D3, D4, D5 = (date(2025, 1, day) for day in range(1, 6))
AMOUNTS = amounts()
WHOLE = amounts(partitions=None)
CARRY = Carry({"amount": "amount"})
CARRIED = replace(AMOUNTS, carry=CARRY, inputs=CARRY.inputs("amounts"))


@pytest.fixture
def storage(catalog: IcebergCatalog, tmp_path: Path) -> Storage:
    return Storage(catalog.load(), LandingZone(str(tmp_path / "landing")))


def one(day: date) -> Window:
    return Window(day, day)


def table_of(storage: Storage) -> Table:
    return storage.catalog.load_table(AMOUNTS.table)


def publish_day(storage: Storage, day: date, *ids: str, run: str | None = None, **options: Any) -> Publication:
    rows = [(name, day, "1.00") for name in ids or (f"d{day.day}",)]
    return publish_rows(AMOUNTS, one(day), rows, storage, run=run or f"run of {day}", **options)


def files_named(table: Table) -> set[str]:
    """Every metadata and data file that some snapshot of the table names."""
    found: set[str] = set()
    for snapshot in table.snapshots():
        found.add(snapshot.manifest_list)
        for manifest in read_manifests(table.io, snapshot):
            found.add(manifest.manifest_path)
            found |= {each.data_file.file_path for each in read_entries(table.io, manifest)}
    return found


def avro_files(table: Table) -> set[str]:
    return {f"file://{path}" for path in Path(table.location().removeprefix("file://")).rglob("*.avro")}


def reports(table: Table) -> list[Path]:
    return list(Path(table.location().removeprefix("file://")).rglob("affirm-*.json"))


# What a reader sees.


def test_a_window_is_replaced_and_its_days_without_rows_are_cleared(storage: Storage) -> None:
    for day in (D1, D2, D3, D4):
        publish_day(storage, day)
    published = publish_rows(AMOUNTS, Window(D2, D3), [("new", D3, "1.00")], storage, run="again")
    table = table_of(storage)
    assert rows_of(table) == ["d1", "d4", "new"]
    assert published.total_rows == 3
    assert table.current_snapshot().snapshot_id == published.snapshot
    assert table.current_snapshot().summary.operation == Operation.OVERWRITE


def test_a_new_day_is_an_append_and_an_emptied_one_a_delete(storage: Storage) -> None:
    """Readers of what was appended may follow a table that only grows."""
    publish_day(storage, D1)
    assert table_of(storage).current_snapshot().summary.operation == Operation.APPEND
    publish_rows(AMOUNTS, one(D1), [], storage, run="second")
    assert table_of(storage).current_snapshot().summary.operation == Operation.DELETE
    assert rows_of(table_of(storage)) == []


def test_a_dataset_without_partitions_is_replaced_whole(storage: Storage) -> None:
    publish_rows(WHOLE, None, [("a", D1, "1.00"), ("b", D2, "1.00")], storage)
    publish_rows(WHOLE, None, [("c", D1, "1.00")], storage, run="second")
    assert rows_of(table_of(storage)) == ["c"]
    assert record_of(WHOLE, table_of(storage)).whole
    assert table_of(storage).properties[PUBLISHED_PROPERTY] == "all"


def test_nothing_over_nothing_is_a_publish_all_the_same(storage: Storage) -> None:
    first = publish_rows(AMOUNTS, one(D1), [], storage)
    second = publish_rows(AMOUNTS, one(D1), [], storage, run="second")
    assert first.snapshot != second.snapshot
    assert record_of(AMOUNTS, table_of(storage)).windows == (one(D1),)


def test_files_are_replaced_across_partition_specs(storage: Storage) -> None:
    publish_rows(AMOUNTS, Window(D1, D3), [("a", D1, "1.00"), ("b", D2, "1.00"), ("c", D3, "1.00")], storage)
    with table_of(storage).update_spec() as update:
        update.add_field("id", IdentityTransform(), "id")
    publish_rows(AMOUNTS, Window(D2, D3), [("x", D2, "1.00"), ("y", D3, "1.00")], storage, run="second")
    assert rows_of(table_of(storage)) == ["a", "x", "y"]
    publish_rows(AMOUNTS, Window(D1, D2), [("z", D2, "1.00")], storage, run="third")
    assert rows_of(table_of(storage)) == ["y", "z"]


def without_days(storage: Storage, *rows: tuple[str, date, str]) -> None:
    """Somebody takes the day out of the table's partitions, appends a file, and puts it back."""
    with ensure_table(storage.catalog, AMOUNTS).update_spec() as update:
        update.remove_field("day")
    table = table_of(storage)
    new = NewSnapshot(table, table.metadata.new_snapshot_id(), table.current_snapshot())
    values: dict[str, Any] = {"ref-name": "main", "type": "branch", "snapshot-id": new.snapshot_id}
    snapshot = new.write(stage(table, rows).files, NOTHING, {})
    table._do_commit((AddSnapshotUpdate(snapshot=snapshot), SetSnapshotRefUpdate(**values)), ())
    with table_of(storage).update_spec() as update:
        update.add_field("day", IdentityTransform(), "day")


def test_a_file_without_a_day_goes_by_the_days_of_its_rows(storage: Storage) -> None:
    without_days(storage, ("a", D1, "1.00"), ("b", D2, "1.00"))
    publish_rows(AMOUNTS, one(D3), [("c", D3, "1.00")], storage)
    assert rows_of(table_of(storage)) == ["a", "b", "c"]
    publish_rows(AMOUNTS, Window(D1, D2), [("x", D1, "1.00")], storage, run="second")
    assert rows_of(table_of(storage)) == ["c", "x"]


def test_a_file_that_reaches_out_of_the_window_is_refused(storage: Storage) -> None:
    without_days(storage, ("a", D1, "1.00"), ("b", D2, "1.00"))
    with pytest.raises(TableNotStageable, match=r"with rows of 2025-01-01\.\.\.2025-01-02.*rewrite_data_files"):
        publish_day(storage, D1)
    assert rows_of(table_of(storage)) == ["a", "b"]
    assert avro_files(table_of(storage)) <= files_named(table_of(storage))
    assert reports(table_of(storage)) == []


def test_staged_rows_of_another_day_are_refused(storage: Storage) -> None:
    with pytest.raises(StageLost, match=r"expected staged files of 2025-01-01, found .* of 2025-01-02"):
        publish_rows(AMOUNTS, one(D1), [("a", D2, "1.00")], storage)
    assert table_of(storage).snapshots() == []


def test_a_table_of_version_1_is_refused(storage: Storage) -> None:
    storage.catalog.create_namespace("tests")
    fresh = ensure_table(storage.catalog, AMOUNTS)
    schema, spec = fresh.schema(), fresh.spec()
    storage.catalog.purge_table(AMOUNTS.table)
    properties = {"format-version": "1", "write.wap.enabled": "true"}
    storage.catalog.create_table(AMOUNTS.table, schema, partition_spec=spec, properties=properties)
    with pytest.raises(TableNotStageable, match="expected Iceberg's format version 2 or 3, found 1"):
        publish_day(storage, D1)


# Once, and only over what was looked at.


def test_the_same_work_is_published_once(storage: Storage) -> None:
    first = publish_day(storage, D1, run="first", root="root")
    publish_day(storage, D2)
    again = publish_day(storage, D1, run="retry", root="root")
    assert again == first
    assert len(table_of(storage).snapshots()) == 2


def test_work_that_was_overtaken_is_published_again(storage: Storage) -> None:
    publish_day(storage, D1, "mine", run="first", root="root")
    publish_day(storage, D1, "theirs", run="other")
    publish_day(storage, D1, "mine", run="retry", root="root")
    assert rows_of(table_of(storage)) == ["mine"]
    assert len(table_of(storage).snapshots()) == 3


def test_a_lost_update_is_refused(storage: Storage) -> None:
    with pytest.raises(PublishConflict, match="of run theirs") as caught:
        publish_day(storage, D1, "mine", meanwhile=lambda: publish_day(storage, D1, "theirs", run="theirs"))
    assert "Run the step again" in str(caught.value)
    assert rows_of(table_of(storage)) == ["theirs"]
    assert len(reports(table_of(storage))) == 1


def test_an_empty_result_over_an_empty_one_is_refused(storage: Storage) -> None:
    def theirs() -> None:
        publish_rows(AMOUNTS, one(D1), [], storage, run="theirs")

    with pytest.raises(PublishConflict, match="of run theirs"):
        publish_rows(AMOUNTS, one(D1), [], storage, run="mine", meanwhile=theirs)


def test_another_window_is_published_side_by_side(storage: Storage) -> None:
    publish_day(storage, D1, "mine", meanwhile=lambda: publish_day(storage, D2, "theirs"))
    assert rows_of(table_of(storage)) == ["mine", "theirs"]
    assert record_of(AMOUNTS, table_of(storage)).windows == (Window(D1, D2),)


def test_a_change_of_the_days_that_were_read_is_refused(storage: Storage) -> None:
    publish_day(storage, D1)
    with pytest.raises(PublishConflict):
        publish_rows(
            CARRIED, one(D2), [], storage, run="mine", meanwhile=lambda: publish_day(storage, D1, run="theirs")
        )


def test_a_commit_of_others_that_says_no_window_is_refused(storage: Storage) -> None:
    publish_day(storage, D1)

    def theirs() -> None:
        table_of(storage).append(table_of(storage).scan(row_filter="id == 'd1'").to_arrow())

    with pytest.raises(PublishConflict, match="of somebody else"):
        publish_day(storage, D2, meanwhile=theirs)


def compact(storage: Storage) -> None:
    """What rewrite_data_files does: the same rows in other files, in a commit of the kind `replace`."""
    table = table_of(storage)
    rows = [(each["id"], each["day"], str(each["amount"])) for each in table.scan().to_arrow().to_pylist()]
    new = NewSnapshot(table, table.metadata.new_snapshot_id(), table.current_snapshot())
    snapshot = new.write(stage(table, rows).files, replace(NOTHING, manifests=bool, files=bool), {})
    snapshot = snapshot.model_copy(
        update={"summary": snapshot.summary.model_copy(update={"operation": Operation.REPLACE})}
    )
    values: dict[str, Any] = {"ref-name": "main", "type": "branch", "snapshot-id": new.snapshot_id}
    table._do_commit((AddSnapshotUpdate(snapshot=snapshot), SetSnapshotRefUpdate(**values)), ())


def expire_all_but_the_last(storage: Storage) -> None:
    table = table_of(storage)
    current = table.current_snapshot()
    others = [each.snapshot_id for each in table.snapshots() if each != current]
    table.maintenance.expire_snapshots().by_ids(others).commit()


def test_a_compaction_meanwhile_is_none_of_a_step_s_concern(storage: Storage) -> None:
    publish_day(storage, D1)
    publish_day(storage, D1, "new", run="again", meanwhile=lambda: compact(storage))
    assert rows_of(table_of(storage)) == ["new"]


def test_a_history_that_was_cut_off_is_a_conflict(storage: Storage) -> None:
    publish_day(storage, D1)

    def theirs() -> None:
        compact(storage)
        expire_all_but_the_last(storage)

    with pytest.raises(PublishConflict, match="no longer in the history of main"):
        publish_day(storage, D2, meanwhile=theirs)


def test_what_came_and_expired_since_there_was_nothing_is_a_conflict(storage: Storage) -> None:
    def theirs() -> None:
        publish_day(storage, D1, "theirs")
        compact(storage)
        expire_all_but_the_last(storage)

    with pytest.raises(PublishConflict, match="found that 2025-01-01 was published"):
        publish_day(storage, D1, "mine", run="mine", meanwhile=theirs)
    publish_day(storage, D2, "other", run="other", base=None)


@pytest.mark.parametrize("published", [(), (D2,)], ids=["empty", "not empty"])
def test_nothing_is_published_into_a_table_that_was_made_anew(storage: Storage, published: tuple[date, ...]) -> None:
    for day in published:
        publish_day(storage, day)

    def made_anew() -> None:
        folder = Path(table_of(storage).location().removeprefix("file://"))
        storage.catalog.drop_table(AMOUNTS.table)
        folder.rename(folder.with_name("dropped"))
        ensure_table(storage.catalog, AMOUNTS)

    with pytest.raises(PublishConflict, match=r"found another table \w+ in place of \w+: that was dropped"):
        publish_day(storage, D1, "mine", meanwhile=made_anew)
    assert table_of(storage).current_snapshot() is None
    assert reports(table_of(storage)) == []


@dataclass
class Catalogs:
    """A catalog on which `before` and `after` happen around a commit of the tables that it has loaded, once."""

    catalog: Catalog
    before: Callable[[], object] = lambda: None
    after: Callable[[], object] = lambda: None
    commits: int = field(default=0)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.catalog, name)

    def load_table(self, name: str) -> Table:
        table = self.catalog.load_table(name)
        table.catalog = self  # type: ignore[assignment]
        return table

    def commit_table(self, *arguments: Any) -> Any:
        self.commits += 1
        if self.commits == 1:
            self.before()
        response = self.catalog.commit_table(*arguments)
        if self.commits == 1:
            self.after()
        return response


def publish_through(storage: Storage, catalog: Catalogs, day: date, name: str) -> Publication:
    """Only the publish itself commits through the catalog."""
    request = request_of(AMOUNTS, one(day), storage, "mine")
    staged = stage(table_of(storage), [(name, day, "1.00")])
    through: Any = catalog
    return publish(AMOUNTS, request, staged, (), replace(storage, catalog=through), NOW, wait=lambda _: None)


def test_a_commit_is_never_tried_again_on_a_head_that_was_not_looked_at(storage: Storage) -> None:
    """PyIceberg would, by this property of the table."""
    publish_day(storage, D2)
    with table_of(storage).transaction() as change:
        change.set_properties({"commit.retry.num-retries": "10"})
    catalog = Catalogs(storage.catalog, before=lambda: publish_day(storage, D1, "theirs", run="theirs"))
    with pytest.raises(PublishConflict, match="of run theirs"):
        publish_through(storage, catalog, D1, "mine")
    assert catalog.commits == 1
    assert rows_of(table_of(storage)) == ["d2", "theirs"]
    assert avro_files(table_of(storage)) <= files_named(table_of(storage))
    assert len(reports(table_of(storage))) == 2


def test_a_commit_that_came_too_late_goes_round(storage: Storage) -> None:
    catalog = Catalogs(storage.catalog, before=lambda: publish_day(storage, D2, "theirs"))
    publish_through(storage, catalog, D1, "mine")
    assert catalog.commits == 2
    assert rows_of(table_of(storage)) == ["mine", "theirs"]
    assert record_of(AMOUNTS, table_of(storage)).windows == (Window(D1, D2),)
    assert avro_files(table_of(storage)) <= files_named(table_of(storage))


def test_a_sequence_number_that_was_taken_is_no_failure(storage: Storage) -> None:
    publish_day(storage, D2)
    request = request_of(AMOUNTS, one(D3), storage, "refused")
    refused = stage(table_of(storage), [("refused", D3, "1.00")])
    catalog = Catalogs(storage.catalog, before=lambda: keep_for_inspection(AMOUNTS, request, refused, storage))
    publish_through(storage, catalog, D1, "mine")
    assert rows_of(table_of(storage)) == ["d2", "mine"]


def raises(error: Exception) -> Callable[[], object]:
    def do() -> None:
        raise error

    return do


@pytest.mark.parametrize(
    "answer", [CommitStateUnknownException("timeout"), CommitFailedException("tried twice"), OSError("connection lost")]
)
def test_a_commit_whose_answer_was_lost_is_found(storage: Storage, answer: Exception) -> None:
    published = publish_through(storage, Catalogs(storage.catalog, after=raises(answer)), D1, "mine")
    assert [each.snapshot_id for each in table_of(storage).snapshots()] == [published.snapshot]
    assert rows_of(table_of(storage)) == ["mine"]
    assert read_report(table_of(storage), published) is not None


def test_a_commit_that_was_overtaken_before_its_answer_was_lost_is_found(storage: Storage) -> None:
    def after() -> None:
        publish_day(storage, D1, "theirs", run="theirs")
        raise CommitFailedException("tried twice")

    published = publish_through(storage, Catalogs(storage.catalog, after=after), D1, "mine")
    assert published.run_id == "mine"
    assert rows_of(table_of(storage)) == ["theirs"]
    assert table_of(storage).scan(snapshot_id=published.snapshot).to_arrow().column("id").to_pylist() == ["mine"]


def test_a_commit_that_may_still_come_keeps_its_files(storage: Storage) -> None:
    publish_day(storage, D2)
    before = avro_files(table_of(storage))
    with pytest.raises(CommitStateUnknownException):
        publish_through(storage, Catalogs(storage.catalog, before=raises(CommitStateUnknownException())), D1, "mine")
    assert len(avro_files(table_of(storage)) - before) == 2
    assert len(reports(table_of(storage))) == 2


def test_a_publish_that_never_comes_first_gives_up(storage: Storage) -> None:
    publish_day(storage, D2)
    waits: list[int] = []

    @dataclass
    class Busy(Catalogs):
        def commit_table(self, *arguments: Any) -> Any:
            raise CommitFailedException("busy")

    request = request_of(AMOUNTS, one(D1), storage, "mine")
    busy: Any = Busy(storage.catalog)
    staged = stage(table_of(storage), [])
    with pytest.raises(PublishConflict, match="100 other commits"):
        publish(AMOUNTS, request, staged, (), replace(storage, catalog=busy), NOW, wait=waits.append)
    assert waits == list(range(1, 100))
    assert avro_files(table_of(storage)) <= files_named(table_of(storage))


# What a snapshot says, and what is kept beside it.


def test_the_summary_is_small_and_the_rest_is_in_a_file(storage: Storage) -> None:
    request = request_of(AMOUNTS, Window(D1, D3), storage, "mine")
    staged = stage(table_of(storage), [("a", D1, "1.00"), ("b", D3, "1.00"), ("c", D3, "1.00")])
    outcome = Outcome("audit", "long " * 1_000, True, 3, 0, sample=({"id": "a"},))
    published = publish(AMOUNTS, request, staged, [outcome], storage, NOW, notes={"affirm.engine": "none"})
    said = table_of(storage).current_snapshot().summary.additional_properties
    assert len(json.dumps(said)) < 1_200
    assert (said["affirm.engine"], said["affirm.window"]) == ("none", "2025-01-01...2025-01-03")
    assert said["published-wap-id"] == request.wap_id
    assert said["affirm.report"].endswith(f"/metadata/affirm-{published.snapshot}.json")
    report = read_report(table_of(storage), published)
    assert report is not None
    assert (report.request, report.outcomes, report.files) == (request, (outcome,), 2)
    assert report.rows == {D1: 1, D2: 0, D3: 2}


def test_a_report_that_somebody_removed_is_missed_by_nobody_else(storage: Storage) -> None:
    first = publish_day(storage, D1, root="root")
    for path in reports(table_of(storage)):
        path.unlink()
    assert read_report(table_of(storage), first) is None
    assert publish_day(storage, D1, root="root") == first
    publish_day(storage, D1, "new", run="again")


def test_what_others_said_of_keeping_main_s_snapshots_stays(storage: Storage) -> None:
    publish_day(storage, D1)
    table = table_of(storage)
    values: dict[str, Any] = {"ref-name": "main", "type": "branch", "snapshot-id": table.current_snapshot().snapshot_id}
    table._do_commit((SetSnapshotRefUpdate(**values, **{"min-snapshots-to-keep": 7, "max-snapshot-age-ms": 99}),), ())
    publish_day(storage, D2)
    main = table_of(storage).refs()["main"]
    assert (main.min_snapshots_to_keep, main.max_snapshot_age_ms) == (7, 99)


def staged_by_an_engine(storage: Storage, day: date, name: str) -> Any:
    """Like Spark, which makes a snapshot on no branch."""
    staged = stage(table_of(storage), [(name, day, "1.00")])
    return replace(
        staged, snapshot=keep_for_inspection(AMOUNTS, request_of(AMOUNTS, one(day), storage), staged, storage)
    )


def test_a_staged_snapshot_goes_with_the_commit_that_publishes_its_files(storage: Storage) -> None:
    publish_day(storage, D2)
    request = request_of(AMOUNTS, one(D1), storage, "mine")
    staged = staged_by_an_engine(storage, D1, "mine")
    assert keep_for_inspection(AMOUNTS, request, staged, storage) == staged.snapshot
    publish(AMOUNTS, request, staged, (), storage, NOW)
    table = table_of(storage)
    assert rows_of(table) == ["d2", "mine"]
    assert len(table.snapshots()) == 2
    assert avro_files(table) <= files_named(table)


def test_a_staged_snapshot_that_somebody_tagged_stays(storage: Storage) -> None:
    publish_day(storage, D2)
    request = request_of(AMOUNTS, one(D1), storage, "mine")
    staged = staged_by_an_engine(storage, D1, "mine")
    table_of(storage).manage_snapshots().create_tag(staged.snapshot, "look").commit()
    publish(AMOUNTS, request, staged, (), storage, NOW)
    tagged = table_of(storage).scan(snapshot_id=table_of(storage).refs()["look"].snapshot_id)
    assert tagged.to_arrow().column("id").to_pylist() == ["mine"]
    assert rows_of(table_of(storage)) == ["d2", "mine"]


def test_a_staged_snapshot_that_somebody_expired_is_refused(storage: Storage) -> None:
    publish_day(storage, D2)
    request = request_of(AMOUNTS, one(D1), storage, "mine")
    staged = staged_by_an_engine(storage, D1, "mine")
    expire_all_but_the_last(storage)
    with pytest.raises(StageLost, match="somebody expired it"):
        publish(AMOUNTS, request, staged, (), storage, NOW)


def test_refused_rows_can_be_looked_at_and_are_on_no_branch(storage: Storage) -> None:
    publish_day(storage, D1)
    kept = keep_for_inspection(
        AMOUNTS, request_of(AMOUNTS, one(D1), storage), stage(table_of(storage), [("bad", D1, "1.00")]), storage
    )
    table = table_of(storage)
    assert rows_of(table) == ["d1"]
    assert table.scan(snapshot_id=kept).to_arrow().column("id").to_pylist() == ["bad"]
    assert table.snapshot_by_id(kept).summary["affirm.window"] == "2025-01-01"
    assert record_of(AMOUNTS, table).windows == (one(D1),)


# Manifests.


def test_many_small_manifests_become_one(storage: Storage) -> None:
    ensure_table(storage.catalog, AMOUNTS)
    with table_of(storage).transaction() as change:
        change.set_properties({"commit.manifest.min-count-to-merge": "5"})
    first = date(2025, 1, 1)
    for number in range(12):
        publish_day(storage, first + timedelta(days=number), f"r{number:02}")
    publish_day(storage, D3, "new", run="again")
    table = table_of(storage)
    assert len(read_manifests(table.io, table.current_snapshot())) <= 6
    assert rows_of(table) == sorted([f"r{number:02}" for number in range(12) if number != 2] + ["new"])
    assert {
        each.data_file.record_count
        for m in table.current_snapshot().manifests(table.io)
        for each in m.fetch_manifest_entry(table.io)
    } == {1}


def test_manifests_stay_apart_where_somebody_said_so(storage: Storage) -> None:
    ensure_table(storage.catalog, AMOUNTS)
    with table_of(storage).transaction() as change:
        change.set_properties({"commit.manifest.min-count-to-merge": "2", "commit.manifest-merge.enabled": "false"})
    for day in (D1, D2, D3, D4):
        publish_day(storage, day)
    assert len(read_manifests(table_of(storage).io, table_of(storage).current_snapshot())) == 4


def test_a_replaced_day_leaves_the_other_entries_as_they_were(storage: Storage) -> None:
    publish_rows(AMOUNTS, Window(D1, D3), [("a", D1, "1.00"), ("b", D2, "1.00"), ("c", D3, "1.00")], storage)
    before = {each.data_file.file_path: each for each in entries(storage)}
    publish_rows(AMOUNTS, one(D2), [("x", D2, "2.00")], storage, run="second")
    kept = [each for each in entries(storage) if each.data_file.file_path in before]
    assert len(kept) == 2
    for each in kept:
        was = before[each.data_file.file_path]
        assert (each.snapshot_id, each.sequence_number) == (was.snapshot_id, was.sequence_number)
        assert each.data_file._data == was.data_file._data


def entries(storage: Storage) -> list[Any]:
    table = table_of(storage)
    manifests = read_manifests(table.io, table.current_snapshot())
    return [entry for each in manifests for entry in read_entries(table.io, each)]


# The record.


@pytest.mark.parametrize(
    ("partitions", "windows", "text"),
    [
        (Daily("day"), ["2025-01-01", "2025-01-02"], "2025-01-01...2025-01-02"),
        (Daily("day"), ["2025-01-01...2025-06-29", "2025-07-02"], "2025-01-01...2025-06-29, 2025-07-02"),
        (Daily("day"), ["2025-01-05", "2025-01-01", "2025-01-02...2025-01-04"], "2025-01-01...2025-01-05"),
        (Daily("day"), ["2025-01-01...2025-01-09", "2025-01-03"], "2025-01-01...2025-01-09"),
        (Monthly("day"), ["2025-01-01", "2025-02-01", "2025-12-01"], "2025-01-01...2025-02-01, 2025-12-01"),
        (Monthly("day"), ["2025-12-01", "2026-01-01...2026-03-01"], "2025-12-01...2026-03-01"),
        (Daily("day"), ["2025-01-31", "2025-02-02"], "2025-01-31, 2025-02-02"),
    ],
)  # fmt: skip
def test_windows_are_as_few_as_can_be(partitions: Partitions, windows: list[str], text: str) -> None:
    record = Record()
    for each in windows:
        record = record.with_window(Window.parse(each), partitions)
    assert record.text == text


def publication(number: int, days_ago: float = 0, run_id: str = "run") -> Publication:
    return Publication(
        run_id, "2025-01-01", f"w{number}", number, number, NOW - timedelta(days=days_ago), 1, {}, False, "v1"
    )


def test_few_publishes_are_remembered_and_only_of_the_last_weeks() -> None:
    record = Record()
    for number in range(100):
        record = record.with_publication(publication(number, days_ago=0.1 * (100 - number)))
    assert [each.snapshot for each in record.recent] == list(range(99, 35, -1))
    old = Record().with_publication(publication(1, days_ago=40)).with_publication(publication(2))
    assert [each.snapshot for each in old.recent] == [2]
    for number in range(10):
        record = record.with_publication(publication(number, run_id="x" * 3_000))
    assert len(record.properties()[RECENT]) <= 32 * 1024
    huge = record.with_publication(publication(7, run_id="x" * 100_000))
    assert [each.snapshot for each in huge.recent] == [7]


def test_a_record_with_many_holes_is_not_in_every_summary() -> None:
    record = Record()
    for number in range(0, 60, 2):
        record = record.with_window(one(D1 + timedelta(days=number)), Daily("day"))
    assert record.summary() == {}


def test_what_is_published_outlives_compaction_and_expiry(storage: Storage) -> None:
    for day in (D1, D2, D3):
        publish_day(storage, day, root=f"root{day.day}")
    compact(storage)
    expire_all_but_the_last(storage)
    table = table_of(storage)
    assert record_of(AMOUNTS, table).windows == (Window(D1, D3),)
    assert last_published(AMOUNTS, table, one(D1)) == D3
    assert last_published(AMOUNTS, table, one(D3)) is None
    again = publish_day(storage, D3, run="retry", root="root3")
    assert again.run_id == f"run of {D3}"
    assert len(table_of(storage).snapshots()) == 1
    with pytest.raises(GapRefused, match=r"is 2025-01-03\. Run 2025-01-04\.\.\.2025-01-05 instead"):
        check_no_gap(CARRIED, {}, pin(CARRIED, {}, one(D5), Run("r", "r"), "v1", storage))
    check_no_gap(CARRIED, {}, pin(CARRIED, {}, one(D4), Run("r", "r"), "v1", storage))
    check_no_gap(CARRIED, {}, pin(CARRIED, {}, Window(D3, D4), Run("r", "r"), "v1", storage))


def test_inputs_are_those_published_at_the_pin(storage: Storage) -> None:
    copies = amounts(name="copies", inputs={"amounts": SameWindow("amounts")})
    upstream = {"amounts": AMOUNTS}
    publish_day(storage, D1)
    early = pin(copies, upstream, Window(D1, D2), Run("r", "r"), "v1", storage)
    publish_day(storage, D2)
    with pytest.raises(InputsNotPublished, match="tests/amounts of 2025-01-02"):
        check_inputs_published(copies, upstream, early)
    check_inputs_published(copies, upstream, pin(copies, upstream, Window(D1, D2), Run("r", "r"), "v1", storage))


def test_a_record_that_somebody_removed_is_refused_until_somebody_says_what_holds(storage: Storage) -> None:
    for day in (D1, D3):
        publish_day(storage, day)
    with table_of(storage).transaction() as change:
        change.remove_properties(PUBLISHED_PROPERTY, RECENT)
    with pytest.raises(RecordRefused, match=r"no property affirm\.published") as caught:
        publish_day(storage, D4)
    assert "'affirm.published' = '2025-01-01, 2025-01-03'" in str(caught.value)
    with table_of(storage).transaction() as change:
        change.set_properties({PUBLISHED_PROPERTY: "2025-01-01, 2025-01-03"})
    publish_day(storage, D4)
    assert record_of(AMOUNTS, table_of(storage)).windows == (one(D1), Window(D3, D4))


def test_a_table_whose_metadata_file_is_cut_off_is_in_disorder_alone(storage: Storage) -> None:
    others = amounts(name="others")
    for each in (AMOUNTS, others):
        publish_rows(each, one(D1), [("a", D1, "1.00")], storage)
    Path(table_of(storage).metadata_location.removeprefix("file://")).write_text('{"format-')
    tables = Tables.of({each.name: each for each in (AMOUNTS, others)}, storage.catalog)
    assert list(tables.refused) == ["amounts"]
    assert tables.records["others"].windows == (one(D1),)


def test_snapshots_of_before_there_was_a_record_say_what_it_was(storage: Storage) -> None:
    """Of tables that were published by an earlier version of this platform."""
    table = ensure_table(storage.catalog, AMOUNTS)
    for day in (D1, D2):
        rows = table.scan().to_arrow().slice(0, 0)
        table.append(rows, snapshot_properties={"affirm.window": str(day)})
    with pytest.raises(RecordRefused, match=r"'affirm\.published' = '2025-01-01\.\.\.2025-01-02'"):
        publish_day(storage, D3)


@pytest.mark.parametrize("text", ["yesterday", "2025-01-05...2025-01-01", "all"])
def test_a_record_that_cannot_be_read_is_refused(storage: Storage, text: str) -> None:
    publish_day(storage, D1)
    with table_of(storage).transaction() as change:
        change.set_properties({PUBLISHED_PROPERTY: text})
    with pytest.raises(RecordRefused, match="cannot be read"):
        record_of(AMOUNTS, table_of(storage))


def take_back(storage: Storage, snapshot: int) -> None:
    table_of(storage).manage_snapshots().set_current_snapshot(snapshot).commit()


def test_a_main_that_was_taken_back_is_refused_until_somebody_says_what_holds(storage: Storage) -> None:
    first = publish_day(storage, D1)
    second = publish_day(storage, D2, root="root")
    take_back(storage, first.snapshot)
    request = request_of(AMOUNTS, one(D2), storage, "retry", "root")
    with pytest.raises(RecordRefused, match="somebody took main back, and what was published of 2025-01-02") as caught:
        find_published(AMOUNTS, request, table_of(storage))
    assert f"set_current_snapshot('tests.amounts', {second.snapshot})" in str(caught.value)
    assert "'affirm.published' = '2025-01-01'" in str(caught.value)
    take_back(storage, second.snapshot)
    assert find_published(AMOUNTS, request, table_of(storage)) == second
    take_back(storage, first.snapshot)
    with table_of(storage).transaction() as change:
        change.set_properties({PUBLISHED_PROPERTY: "2025-01-01"})
        change.remove_properties(RECENT)
    assert find_published(AMOUNTS, request, table_of(storage)) is None
    publish_day(storage, D2, run="again")
    assert rows_of(table_of(storage)) == ["d1", "d2"]


def test_a_main_that_was_taken_back_and_went_on_is_refused(storage: Storage) -> None:
    first = publish_day(storage, D1)
    publish_day(storage, D2)
    take_back(storage, first.snapshot)
    compact(storage)
    with pytest.raises(RecordRefused, match="somebody took main back"):
        record_of(AMOUNTS, table_of(storage))


@pytest.mark.parametrize("compactions", [1, 2], ids=["its parent is known", "its rows alone tell"])
def test_a_main_that_was_taken_back_compacted_and_expired_is_refused(storage: Storage, compactions: int) -> None:
    first, *_ = [publish_day(storage, day) for day in (D1, D2, D3)]
    take_back(storage, first.snapshot)
    for _ in range(compactions):
        compact(storage)
    expire_all_but_the_last(storage)
    with pytest.raises(RecordRefused, match="somebody took main back") as caught:
        publish_day(storage, D4)
    if compactions == 2:
        assert "with 1 rows and nothing but compactions" in str(caught.value)
        assert "published 2025-01-03 with 3 rows in the table after it" in str(caught.value)
    with table_of(storage).transaction() as change:
        change.set_properties({PUBLISHED_PROPERTY: "2025-01-01"})
        change.remove_properties(RECENT)
    publish_day(storage, D2, run="again")
    assert record_of(AMOUNTS, table_of(storage)).windows == (Window(D1, D2),)


@pytest.mark.parametrize("compactions", [1, 2])
def test_rows_that_others_erased_before_a_compaction_and_an_expiry_are_no_rollback(
    storage: Storage, compactions: int
) -> None:
    publish_day(storage, D1)
    publish_day(storage, D2, "a", "b", "c")
    table_of(storage).delete("id = 'a'")
    for _ in range(compactions):
        compact(storage)
    expire_all_but_the_last(storage)
    publish_day(storage, D3)
    assert rows_of(table_of(storage)) == ["b", "c", "d1", "d3"]
    assert record_of(AMOUNTS, table_of(storage)).windows == (Window(D1, D3),)


def test_snapshots_that_expired_in_the_middle_were_not_taken_back(storage: Storage) -> None:
    publish_day(storage, D1)
    second = publish_day(storage, D2)
    publish_day(storage, D3)
    table_of(storage).maintenance.expire_snapshots().by_ids([second.snapshot]).commit()
    assert record_of(AMOUNTS, table_of(storage)).windows == (Window(D1, D3),)


def test_a_table_that_was_emptied_of_snapshots_is_refused(storage: Storage) -> None:
    publish_day(storage, D1)
    properties = table_of(storage).properties
    storage.catalog.purge_table(AMOUNTS.table)
    with ensure_table(storage.catalog, AMOUNTS).transaction() as change:
        change.set_properties({name: properties[name] for name in (PUBLISHED_PROPERTY, RECENT)})
    with pytest.raises(RecordRefused, match="main without any snapshot"):
        record_of(AMOUNTS, table_of(storage))


def shared_between() -> tuple[Dataset, Dataset, Mapping[str, Dataset]]:
    """One that has an audit of what `copies`, which reads it, has published."""
    copies = amounts(name="copies", inputs={"amounts": SameWindow("amounts")})
    shared = amounts(inputs={"published_copies": beside("copies")})
    return shared, copies, {"amounts": shared, "copies": copies}


def publish_copy(storage: Storage, day: date, run: str = "copy") -> None:
    publish_rows(amounts(name="copies"), one(day), [(f"d{day.day}", day, "1.00")], storage, run=run)


def test_of_what_is_beside_a_dataset_it_sees_the_published_days_of_its_window(storage: Storage) -> None:
    shared, copies, datasets = shared_between()
    pinned = pin(shared, datasets, Window(D1, D4), Run("r", "r"), "v1", storage)
    assert published_beside(shared, datasets, pinned) == {"published_copies": ()}
    for day in (D1, D2, D4, D5):
        publish_copy(storage, day)
    pinned = pin(shared, datasets, Window(D2, D4), Run("r", "r"), "v1", storage)
    assert published_beside(shared, datasets, pinned) == {"published_copies": (one(D2), one(D4))}
    assert pinned.request.inputs == {}
    assert pinned.request.beside == {
        "published_copies": storage.catalog.load_table(copies.table).metadata.current_snapshot_id
    }
    assert Request.from_json(pinned.request.to_json()) == pinned.request


def test_what_the_same_run_computes_after_a_dataset_is_not_beside_it(storage: Storage) -> None:
    shared, _, datasets = shared_between()
    publish_copy(storage, D1)
    pinned = pin(shared, datasets, one(D1), Run("r", "r", ("amounts", "copies")), "v1", storage)
    assert published_beside(shared, datasets, pinned) == {"published_copies": ()}
    assert Request.from_json(pinned.request.to_json()) == pinned.request


def test_one_that_was_published_beside_a_dataset_since_its_pin_is_a_conflict(storage: Storage) -> None:
    shared, copies, datasets = shared_between()
    for day in (D1, D2):
        publish_day(storage, day)
        publish_copy(storage, day)
    run = Run("r", "r")
    of_shared, of_copies = (pin(each, datasets, one(D1), run, "v1", storage) for each in (shared, copies))
    publish_day(storage, D2, run="other")
    publish_copy(storage, D2, run="other")
    check_beside_unchanged(shared, datasets, of_shared, storage)
    check_beside_unchanged(copies, datasets, of_copies, storage)
    publish_day(storage, D1, run="other")
    with pytest.raises(PublishConflict, match=r"of tests\.amounts, which shares its records"):
        check_beside_unchanged(copies, datasets, of_copies, storage)
    publish_copy(storage, D1, run="other")
    with pytest.raises(PublishConflict, match=r"of tests\.copies, which shares its records"):
        check_beside_unchanged(shared, datasets, of_shared, storage)
