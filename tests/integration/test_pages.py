"""What a dataset's and a run's pages show, as the instance of the project's dagster.yaml has it after real runs."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.storage.asset_check_execution_record import AssetCheckExecutionResolvedStatus as Status
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, Money, column, key
from affirm_assets.declare.dataset import Dataset, audit
from affirm_assets.declare.partitions import Daily
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from resources.spark import SparkSessions
from tests.conftest import declare
from tests.integration.books import Books, range_tags

FIRST, LAST = date(2025, 1, 1), date(2025, 1, 5)
KEY = dg.AssetKey(["tests", "amounts"])


class Amount(Contract):
    """An amount of a day, and whose it is."""

    id: str = key("Id")
    day: date = column("Business date")
    amount: Money = column("Amount", ge=0)
    email: str = column("E-mail", pii="direct")


@audit()
def amounts_are_below_100(staged: DataFrame) -> DataFrame:
    """No amount of 100 or more."""
    return staged.select("id", "day", "email", (F.col("amount") < 100).alias("ok"))


def amounts_of(third: str) -> Dataset:
    """Two rows a day; the third day has this amount in both."""

    def amounts(window: Any) -> DataFrame:
        rows = [
            (f"{name}{day}", date(2025, 1, day), Decimal(third if day == 3 else f"{day}.10"), "jane@example.com")
            for day in range(window.first.day, window.last.day + 1)
            for name in "ba"
        ]
        schema = "id string, day date, amount decimal(18,2), email string"
        return SparkSession.active().createDataFrame(rows, schema)

    dataset = declare(amounts, Amount, Daily("day"), audits=(amounts_are_below_100,))
    return replace(dataset, source=Path(__file__), sums=("amount",))


@pytest.fixture(scope="module")
def books(spark_if_needed: SparkSessions, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Books]:
    home = tmp_path_factory.mktemp("home")
    shutil.copy(Path(__file__).parents[2] / "dagster.yaml", home)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(home))
        patch.setenv("DAGSTER_EVENT_BATCH_SIZE", "500")
        with dg.DagsterInstance.from_config(str(home)) as instance:
            yield Books(tmp_path_factory.mktemp("pages"), spark_if_needed, instance=instance)


def run(books: Books, dataset: Dataset, first: date = FIRST, last: date = LAST) -> dg.ExecuteInProcessResult:
    defs = build_defs(books.settings, Registry.of([dataset]), {"spark": books.sessions})
    job = dg.define_asset_job("books", selection=dg.AssetSelection.assets(KEY))
    resolved = dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def("books")
    tags = range_tags(first, last)
    return resolved.execute_in_process(instance=books.instance, raise_on_error=False, tags=tags)


def shown(books: Books, check: str) -> Mapping[Status, list[str]]:
    """Which partitions the UI shows how."""
    partitions = dg.DailyPartitionsDefinition("2025-01-01", timezone="America/New_York", end_offset=1)
    name = dg.AssetCheckKey(KEY, check)
    state = books.instance.event_log_storage.get_asset_check_state([(name, partitions)])[name]
    keys = {status: sorted(subset.subset_value.get_partition_keys()) for status, subset in state.subsets.items()}
    return {status: found for status, found in keys.items() if found}


def materializations(result: dg.ExecuteInProcessResult) -> dict[str, Mapping[str, Any]]:
    events = result.asset_materializations_for_node("tests__amounts")
    return {str(each.partition): {k: v.value for k, v in each.metadata.items()} for each in events}


@pytest.fixture(scope="module")
def good(books: Books) -> dg.ExecuteInProcessResult:
    return run(books, amounts_of("3.10"))


@pytest.fixture(scope="module")
def bad(books: Books, good: dg.ExecuteInProcessResult) -> dg.ExecuteInProcessResult:
    return run(books, amounts_of("100.00"))


def test_each_partition_has_its_own_rows_and_sums_to_plot(good: dg.ExecuteInProcessResult) -> None:
    found = materializations(good)
    assert {day: (each["rows"], each["sum/amount"]) for day, each in found.items()} == {
        f"2025-01-0{day}": (2, 2 * day + 0.2) for day in range(1, 6)
    }
    assert all(each["dagster/partition_row_count"] == 2 for each in found.values())


def test_what_is_of_the_whole_step_is_told_once(good: dg.ExecuteInProcessResult) -> None:
    *others, last = materializations(good).values()
    assert all(
        {*each} == {"rows", "sum/amount", "dagster/partition_row_count", "snapshot", "window"} for each in others
    )
    assert {"sample", "schema", "seconds", "engine", "dagster/row_count"} <= {*last}
    numbers = {name for name, value in last.items() if isinstance(value, int | float) and not isinstance(value, bool)}
    assert numbers == {"rows", "sum/amount", "dagster/partition_row_count", "dagster/row_count"}


def test_the_sample_has_a_line_for_each_column_and_no_personal_data(good: dg.ExecuteInProcessResult) -> None:
    events = good.asset_materializations_for_node("tests__amounts")
    sample = events[-1].metadata["sample"]
    assert isinstance(sample, dg.TableMetadataValue)
    assert [dict(each.data) for each in sample.records] == [
        {"column": "id", "row 1": "a5", "row 2": "b5"},
        {"column": "day", "row 1": "2025-01-05", "row 2": "2025-01-05"},
        {"column": "amount", "row 1": "5.10", "row 2": "5.10"},
        {"column": "email", "row 1": "***", "row 2": "***"},
    ]


def test_all_days_of_a_good_range_are_green(books: Books, good: dg.ExecuteInProcessResult) -> None:
    checks = {each.check_name for each in good.get_asset_check_evaluations()}
    assert checks == {"contract", "control_totals", "keys_are_unique", "amounts_are_below_100"}
    assert len(good.get_asset_check_evaluations()) == len(checks)


def test_of_five_days_of_which_the_third_fails_only_the_third_is_red(
    books: Books, bad: dg.ExecuteInProcessResult
) -> None:
    assert not bad.success
    assert shown(books, "amounts_are_below_100") == {
        Status.SUCCEEDED: ["2025-01-01", "2025-01-02", "2025-01-04", "2025-01-05"],
        Status.FAILED: ["2025-01-03"],
    }
    everyone = [f"2025-01-0{day}" for day in range(1, 6)]
    assert shown(books, "contract") == shown(books, "keys_are_unique") == {Status.SUCCEEDED: everyone}


def test_a_refused_step_says_what_readers_see_and_where_the_refused_rows_are(
    books: Books, good: dg.ExecuteInProcessResult, bad: dg.ExecuteInProcessResult
) -> None:
    [event] = bad.get_step_failure_events()
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    assert failure.description is not None
    first, second, *_ = failure.description.splitlines()
    assert first.endswith("nothing was published, as amounts_are_below_100 failed in 2025-01-03.")
    snapshot = materializations(good)["2025-01-05"]["snapshot"]
    assert second == f"Readers still see snapshot {snapshot}, as before this run."
    assert failure.metadata["readers_see"].value == f"snapshot {snapshot}"
    rows = books.catalog.load_table("tests.amounts")
    refused = int(str(failure.metadata["refused_rows"].value).removeprefix("snapshot "))
    assert max(rows.scan(snapshot_id=refused).to_arrow()["amount"].to_pylist()) == Decimal("100.00")
    assert max(rows.scan().to_arrow()["amount"].to_pylist()) < 100
    # The same text twice helps nobody.
    assert event.step_failure_data.error is not None
    assert event.step_failure_data.error.cause is None


def test_no_personal_data_is_in_any_event(
    books: Books, good: dg.ExecuteInProcessResult, bad: dg.ExecuteInProcessResult
) -> None:
    for each in (good, bad):
        assert [str(event) for event in books.instance.all_logs(each.run_id) if "jane" in str(event)] == []


def test_once_the_third_day_is_mended_all_are_green(books: Books, bad: dg.ExecuteInProcessResult) -> None:
    day = date(2025, 1, 3)
    assert run(books, amounts_of("3.20"), day, day).success
    assert shown(books, "amounts_are_below_100") == {
        Status.SUCCEEDED: [f"2025-01-0{day}" for day in range(1, 6)],
    }
