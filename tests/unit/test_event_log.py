"""The local instance's event log: a batch is stored as Dagster would store it, as a whole or not at all."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from resources.event_log import BatchingSqliteEventLogStorage

INSTANCE_YAML = Path(__file__).parents[2] / "dagster.yaml"
DAYS = dg.DailyPartitionsDefinition("2025-01-01", end_offset=1)
RANGE = {
    "dagster/asset_partition_range_start": "2025-01-01",
    "dagster/asset_partition_range_end": "2025-01-20",
}
KEY = dg.AssetKey("days")


@dg.asset(
    partitions_def=DAYS,
    backfill_policy=dg.BackfillPolicy.single_run(),
    check_specs=[dg.AssetCheckSpec("whole", asset=KEY)],
)
def days(context: dg.AssetExecutionContext):  # type: ignore[no-untyped-def]  # Dagster reads the annotation
    for number, key in enumerate(context.partition_keys):
        context.add_asset_metadata({"number": number}, partition_key=key)
    return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=True, check_name="whole")])


@pytest.fixture
def batched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """An instance as the project's dagster.yaml makes it."""
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    shutil.copy(INSTANCE_YAML, tmp_path)
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)


def materialize(instance: dg.DagsterInstance) -> str:
    return dg.materialize([days], instance=instance, tags=RANGE).run_id


def seen(instance: dg.DagsterInstance, run_id: str) -> dict[str, Any]:
    """What the UI reads of a run and of its asset."""
    records = instance.fetch_materializations(KEY, limit=100).records
    check = dg.AssetCheckKey(KEY, "whole")
    summary = instance.event_log_storage.get_asset_check_summary_records([check])[check]
    assert summary.last_check_execution_record is not None
    return {
        "events": [str(each.dagster_event_type) for each in instance.all_logs(run_id)],
        "partitions": sorted(instance.get_materialized_partitions(KEY)),
        "metadata": sorted(
            (str(each.partition_key), each.asset_materialization.metadata["number"].value)
            for each in records
            if each.asset_materialization
        ),
        "check": summary.last_check_execution_record.status,
    }


def test_range_is_stored_as_dagster_s_own_storage_does(
    batched: dg.DagsterInstance, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert isinstance(batched.event_log_storage, BatchingSqliteEventLogStorage)
    found = seen(batched, materialize(batched))
    with dg.DagsterInstance.local_temp(str(tmp_path_factory.mktemp("plain"))) as plain:
        expected = seen(plain, materialize(plain))
    assert found == expected
    assert len(found["metadata"]) == 20


def test_databases_are_where_dagster_s_own_storage_has_them(batched: dg.DagsterInstance, tmp_path: Path) -> None:
    run_id = materialize(batched)
    assert {path.name for path in (tmp_path / "history" / "runs").glob("*.db")} == {"index.db", f"{run_id}.db"}


def test_batch_that_fails_midway_leaves_nothing(batched: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = materialize(batched)
    storage = batched.event_log_storage
    before = seen(batched, run_id)
    events = batched.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)

    def fail(*_: object) -> None:
        raise OSError("disk full")

    # After the events have been written into both databases.
    monkeypatch.setattr(storage, "_store_asset_event", fail)
    with pytest.raises(OSError, match="disk full"):
        storage.store_event_batch(events)
    assert seen(batched, run_id) == before


def test_another_thread_does_not_write_into_a_batch(
    batched: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its event stays, though the batch that is open meanwhile is undone."""
    run_id = materialize(batched)
    storage = batched.event_log_storage
    events = batched.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    other = threading.Thread(target=lambda: storage.store_event(events[0]))

    def interrupted(*_: object) -> None:
        monkeypatch.undo()  # for the other thread, which waits until this one is done
        other.start()
        raise OSError("disk full")

    monkeypatch.setattr(storage, "_store_asset_event", interrupted)
    with pytest.raises(OSError, match="disk full"):
        storage.store_event_batch(events)
    other.join()
    assert len(batched.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)) == len(events) + 1


def test_check_of_a_range_is_announced_once(batched: dg.DagsterInstance) -> None:
    """Dagster's own storage announces it for each of the 20 partitions, and nobody evaluates those."""
    materialize(batched)
    history = batched.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(KEY, "whole"), limit=100)
    assert [each.status.value for each in history] == ["SUCCEEDED"]


def test_who_watches_a_run_sees_its_events_while_its_database_is_open(batched: dg.DagsterInstance) -> None:
    """The UI does so, in another process; `Observer` looks at the file."""
    run_id = materialize(batched)
    storage = batched.event_log_storage
    (event, *_) = batched.all_logs(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    cursor = storage.get_records_for_run(run_id).cursor
    assert isinstance(storage, BatchingSqliteEventLogStorage)
    told, seen_by = threading.Event(), []

    def tell(entry: dg.EventLogEntry, _: str) -> None:
        seen_by.append(entry)
        told.set()

    with dg.DagsterInstance.from_config(batched.root_directory) as other:
        other.event_log_storage.watch(run_id, cursor, tell)
        storage.store_event(event)
        assert told.wait(10)
        other.event_log_storage.end_watch(run_id, tell)
    assert [each.dagster_event_type for each in seen_by] == [event.dagster_event_type]


def test_reading_a_run_tells_nobody_who_watches_it(batched: dg.DagsterInstance, tmp_path: Path) -> None:
    """Or the UI, which reads when it is told, would tell itself for ever."""
    run_id = materialize(batched)
    database = tmp_path / "history" / "runs" / f"{run_id}.db"
    before = database.stat().st_mtime_ns
    assert batched.all_logs(run_id)
    assert database.stat().st_mtime_ns == before
    batched.event_log_storage.store_event(batched.all_logs(run_id)[0])
    assert database.stat().st_mtime_ns > before


def test_few_databases_stay_open(batched: dg.DagsterInstance) -> None:
    ids = [materialize(batched) for _ in range(6)]
    assert all(batched.all_logs(each) for each in ids)
    events = str(Path(batched.root_directory, "history", "runs"))  # other tests have databases of their own
    is_open = [each.path for each in psutil.Process().open_files() if each.path.startswith(events)]
    assert 1 < len({each for each in is_open if each.endswith(".db")}) <= 4
    batched.wipe()
    assert batched.all_logs(ids[0]) == []
    assert materialize(batched) in {each.run_id for each in batched.get_runs()}


def test_the_days_of_a_range_are_milliseconds_apart(batched: dg.DagsterInstance) -> None:
    """The UI shows an asset's events page by page, each of those before a millisecond."""
    materialize(batched)
    records = batched.fetch_materializations(KEY, limit=100).records
    assert len({int(each.timestamp * 1000) for each in records}) == 20
    newest_first = [each.timestamp for each in records]
    assert newest_first == sorted(newest_first, reverse=True)
