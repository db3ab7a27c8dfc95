"""Checks by partition: an evaluation may be of a range, and is read as partitions. On both of Dagster's databases."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.event_api import PartitionKeyFilter
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionResolvedStatus as Status

from resources.checks_by_partition import keys_of, range_key
from tests.servers import PASSWORD, USER, Postgres, postgres, postgres_missing

ROOT = Path(__file__).parents[2]
DAYS = dg.DailyPartitionsDefinition("2025-01-01", end_date="2025-02-15")
MONTHS = dg.MonthlyPartitionsDefinition("2025-01-01", end_date="2025-06-01")
KEY = dg.AssetKey("amounts")
CHECK = dg.AssetCheckKey(KEY, "adds_up")

Found = Sequence[tuple[str, bool]]
"""Partitions, and whether they passed."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    if missing := postgres_missing():
        pytest.skip(missing)
    with postgres(databases=["dagster"]) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def instance(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[dg.DagsterInstance]:
    """As the local and the cluster's dagster.yaml make it."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    if request.param == "sqlite":
        shutil.copy(ROOT / "dagster.yaml", tmp_path)
    else:
        server: Postgres = request.getfixturevalue("server")
        says = {"HOST": server.host, "PORT": str(server.port), "DB": "dagster", "USERNAME": USER, "PASSWORD": PASSWORD}
        for name, value in says.items():
            monkeypatch.setenv(f"DAGSTER_PG_{name}", value)
        storage = yaml.safe_load((ROOT / "deploy/kubernetes/base/dagster.yaml").read_text())["storage"]
        (tmp_path / "dagster.yaml").write_text(yaml.safe_dump({"storage": storage}))
    with dg.DagsterInstance.from_config(str(tmp_path)) as made:
        made.wipe_assets([KEY])
        yield made
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)


def run(
    instance: dg.DagsterInstance,
    first: str,
    last: str,
    found: Found,
    *,
    publishes: bool = True,
    partitions: dg.PartitionsDefinition[str] = DAYS,
) -> dg.ExecuteInProcessResult:
    """A step over a range that says so of its check."""

    @dg.multi_asset(
        name="amounts",
        specs=[dg.AssetSpec(KEY, partitions_def=partitions)],
        check_specs=[dg.AssetCheckSpec(CHECK.name, asset=KEY, partitions_def=partitions)],
        backfill_policy=dg.BackfillPolicy.single_run(),
    )
    def step(context: dg.AssetExecutionContext):  # type: ignore[no-untyped-def]  # Dagster reads the annotation
        if publishes:
            yield dg.MaterializeResult(asset_key=KEY)
        yield dg.Output(None, context.assets_def.get_output_name_for_asset_check_key(CHECK))
        for partition, passed in found:
            yield dg.AssetCheckEvaluation(
                asset_key=KEY, check_name=CHECK.name, passed=passed, partition=partition, metadata={"of": partition}
            )
        if not publishes:
            raise dg.Failure("refused")

    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    return dg.materialize([step], instance=instance, tags=tags, raise_on_error=False)


def shown(
    instance: dg.DagsterInstance, partitions: dg.PartitionsDefinition[str] = DAYS
) -> Mapping[Status, Sequence[str]]:
    """What the UI shows of the check's partitions."""
    state = instance.event_log_storage.get_asset_check_state([(CHECK, partitions)])[CHECK]
    keys = {status: sorted(subset.subset_value.get_partition_keys()) for status, subset in state.subsets.items()}
    return {status: found for status, found in keys.items() if found}


def rows_stored(instance: dg.DagsterInstance) -> int:
    return len(instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=1000))


def test_a_range_that_passed_is_one_row_and_every_partition_is_green(instance: dg.DagsterInstance) -> None:
    run(instance, "2025-01-01", "2025-01-31", [("2025-01-01...2025-01-31", True)])
    assert rows_stored(instance) == 1
    assert shown(instance) == {Status.SUCCEEDED: [f"2025-01-{day:02}" for day in range(1, 32)]}


def test_of_five_days_of_which_the_third_fails_only_the_third_is_red(instance: dg.DagsterInstance) -> None:
    parts = [("2025-01-01...2025-01-02", True), ("2025-01-04...2025-01-05", True), ("2025-01-03", False)]
    run(instance, "2025-01-01", "2025-01-05", parts, publishes=False)
    assert shown(instance) == {
        Status.SUCCEEDED: ["2025-01-01", "2025-01-02", "2025-01-04", "2025-01-05"],
        Status.FAILED: ["2025-01-03"],
    }


def test_a_failure_over_a_published_day_shows_until_the_day_is_published_again(instance: dg.DagsterInstance) -> None:
    run(instance, "2025-01-01", "2025-01-05", [("2025-01-01...2025-01-05", True)])
    run(instance, "2025-01-02", "2025-01-03", [("2025-01-02...2025-01-03", False)], publishes=False)
    assert shown(instance)[Status.FAILED] == ["2025-01-02", "2025-01-03"]
    run(instance, "2025-01-03", "2025-01-03", [("2025-01-03", True)])
    assert shown(instance)[Status.FAILED] == ["2025-01-02"]
    assert shown(instance)[Status.SUCCEEDED] == ["2025-01-01", "2025-01-03", "2025-01-04", "2025-01-05"]


def test_a_day_that_was_materialized_after_its_check_is_not_evaluated(instance: dg.DagsterInstance) -> None:
    run(instance, "2025-01-01", "2025-01-03", [("2025-01-01...2025-01-03", True)])
    instance.report_runless_asset_event(dg.AssetMaterialization(KEY, partition="2025-01-02"))
    assert shown(instance) == {Status.SUCCEEDED: ["2025-01-01", "2025-01-03"]}


def test_what_a_run_did_not_get_to_is_as_it_was(instance: dg.DagsterInstance) -> None:
    """And not "execution failed" for each of its partitions."""
    run(instance, "2025-01-01", "2025-01-02", [("2025-01-01...2025-01-02", True)])
    assert not run(instance, "2025-01-01", "2025-01-04", [], publishes=False).success
    assert shown(instance) == {Status.SUCCEEDED: ["2025-01-01", "2025-01-02"]}


def test_a_step_that_is_tried_again_may_say_the_same_again(instance: dg.DagsterInstance) -> None:
    run(instance, "2025-01-01", "2025-01-01", [("2025-01-01", False), ("2025-01-01", True)])
    assert rows_stored(instance) == 1
    assert shown(instance) == {Status.SUCCEEDED: ["2025-01-01"]}


def test_the_evaluations_of_one_partition_are_its_own_and_those_of_its_ranges(instance: dg.DagsterInstance) -> None:
    run(instance, "2025-01-01", "2025-01-31", [("2025-01-01...2025-01-31", True)])
    run(instance, "2025-01-10", "2025-01-12", [("2025-01-10...2025-01-11", True), ("2025-01-12", False)])

    def of(partition: str) -> list[object]:
        history = instance.event_log_storage.get_asset_check_execution_history(
            CHECK, limit=10, partition_filter=PartitionKeyFilter(key=partition)
        )
        return [each.evaluation.metadata["of"].value for each in history if each.evaluation]

    assert of("2025-01-12") == ["2025-01-12", "2025-01-01...2025-01-31"]
    assert of("2025-01-10") == ["2025-01-10...2025-01-11", "2025-01-01...2025-01-31"]
    assert of("2025-02-01") == []


def test_months_of_a_range_are_months(instance: dg.DagsterInstance) -> None:
    run(instance, "2025-01-01", "2025-03-01", [("2025-01-01...2025-03-01", True)], partitions=MONTHS)
    assert shown(instance, MONTHS) == {Status.SUCCEEDED: ["2025-01-01", "2025-02-01", "2025-03-01"]}


def test_a_check_without_partitions_is_announced_and_evaluated_as_ever(instance: dg.DagsterInstance) -> None:
    @dg.asset(key=KEY, check_specs=[dg.AssetCheckSpec(CHECK.name, asset=KEY)])
    def amounts():  # type: ignore[no-untyped-def]  # an annotation would have to name the check's output too
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(passed=False, check_name=CHECK.name)])

    result = dg.materialize([amounts], instance=instance)
    [record] = instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=10)
    assert (record.run_id, record.status.value, record.partition) == (result.run_id, "FAILED", None)


@pytest.mark.parametrize(
    ("first", "last", "key", "keys"),
    [
        ("2025-01-03", "2025-01-03", "2025-01-03", ["2025-01-03"]),
        ("2025-02-27", "2025-03-01", "2025-02-27...2025-03-01", ["2025-02-27", "2025-02-28", "2025-03-01"]),
    ],
)
def test_a_range_is_written_and_read(first: str, last: str, key: str, keys: list[str]) -> None:
    assert range_key(first, last) == key
    assert list(keys_of(key)) == keys
