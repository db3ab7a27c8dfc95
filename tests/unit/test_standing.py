"""How datasets stand against their deadlines: pure decisions, then the sensor on a real instance and real tables."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.api import create_execution_plan
from pyiceberg.catalog import Catalog

import affirm_assets.datasets
from affirm_assets.declare.calendar import NEW_YORK
from affirm_assets.declare.dataset import BY_HAND, COMPLETE, FRESH, Dataset
from affirm_assets.declare.partitions import Daily, Monthly, Window
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.orchestration.alerts import tell
from affirm_assets.orchestration.standing import Finding, Standing, standings
from affirm_assets.orchestration.standing_checks import (
    Found,
    evaluation,
    late_datasets,
    look,
    not_shown,
    refused_tables,
    standing_sensor,
)
from affirm_assets.settings import Settings
from affirm_assets.steps.published import PUBLISHED_PROPERTY, Record
from affirm_assets.steps.tables import ensure_table
from affirm_assets.stores import catalog_of, landing_zone_of
from tests.hooks import Hook

REGISTRY = Registry.walk(affirm_assets.datasets)
LOANS, LOAN_ROWS, MONTHLY = (REGISTRY[name] for name in ("loans", "loan_rows", "originations_monthly"))
FIRST = date(2025, 1, 1)
MONDAY = datetime(2025, 1, 6, 12, tzinfo=NEW_YORK)  # Sunday's is the newest that is due


def record(*windows: str) -> Record:
    return Record(tuple(map(Window.parse, windows)))


def standing(dataset: Dataset, published: Record, first: date | None = FIRST) -> Standing:
    assert dataset.partitions
    return Standing(dataset, dataset.partitions, published, first, "landing/loan_rows")


class TestMissing:
    @pytest.mark.parametrize(
        ("published", "window", "gaps"),
        [
            ([], "2025-01-01...2025-01-05", ["2025-01-01...2025-01-05"]),
            (["2025-01-01...2025-01-05"], "2025-01-01...2025-01-05", []),
            (["2024-01-01...2025-06-01"], "2025-01-01...2025-01-05", []),
            (["2025-01-02", "2025-01-04"], "2025-01-01...2025-01-05", ["2025-01-01", "2025-01-03", "2025-01-05"]),
            (["2024-12-31", "2025-01-06"], "2025-01-01...2025-01-05", ["2025-01-01...2025-01-05"]),
            (["2025-01-01...2025-01-02"], "2025-01-01...2025-01-05", ["2025-01-03...2025-01-05"]),
        ],
    )
    def test_days(self, published: list[str], window: str, gaps: list[str]) -> None:
        assert list(map(str, record(*published).missing(Window.parse(window), Daily("day")))) == gaps

    def test_months(self) -> None:
        published = record("2025-01-01...2025-02-01", "2025-04-01")
        gaps = published.missing(Window.parse("2025-01-01...2025-06-01"), Monthly("month"))
        assert list(map(str, gaps)) == ["2025-03-01", "2025-05-01...2025-06-01"]


class TestFresh:
    def test_the_newest_due_date_is_published(self) -> None:
        found = standing(LOANS, record("2025-01-01...2025-01-05")).fresh(MONDAY)
        assert found == Finding(True, "2025-01-05 was due by Monday 2025-01-06 05:45 in New York and is published.")

    def test_it_is_not(self) -> None:
        found = standing(LOANS, record("2025-01-01...2025-01-03", "2025-01-06")).fresh(MONDAY)
        assert found == Finding(
            False,
            "2025-01-05 was due by Monday 2025-01-06 05:45 in New York and is not published; the newest before it that "
            "is published is 2025-01-03.",
            date(2025, 1, 5),
        )

    def test_before_its_deadline_yesterday_s_is_not_due(self) -> None:
        found = standing(LOANS, record("2025-01-01...2025-01-02")).fresh(MONDAY.replace(hour=5))
        assert found is not None
        assert found.passed

    def test_a_run_of_an_old_day_makes_nothing_fresh(self) -> None:
        found = standing(LOANS, record("2025-01-01")).fresh(MONDAY)
        assert found is not None
        assert (found.passed, found.window) == (False, date(2025, 1, 5))

    def test_nothing_has_arrived(self) -> None:
        found = standing(LOANS, Record(), None).fresh(MONDAY)
        assert found == Finding(True, "Nothing is due: it waits for landing/loan_rows.")

    def test_nothing_is_due_yet(self) -> None:
        found = standing(LOANS, Record()).fresh(datetime(2025, 1, 1, 12, tzinfo=NEW_YORK))
        assert found == Finding(True, "Nothing is due yet: 2025-01-01 is, by Thursday 2025-01-02 05:45.")

    def test_a_dataset_without_a_deadline_has_no_such_check(self) -> None:
        assert standing(replace(LOANS, freshness=None), Record()).fresh(MONDAY) is None

    @pytest.mark.parametrize(
        ("now", "month"),
        [("2025-02-28T12:00", "2025-01-01"), ("2025-03-03T06:29", "2025-01-01"), ("2025-03-03T06:30", "2025-02-01")],
    )
    def test_a_month_is_due_after_its_last_day(self, now: str, month: str) -> None:
        found = standing(MONTHLY, Record()).fresh(datetime.fromisoformat(now).replace(tzinfo=NEW_YORK))
        assert found is not None
        assert (found.passed, found.window) == (False, date.fromisoformat(month))


class TestComplete:
    def test_all_is_published(self) -> None:
        found = standing(LOANS, record("2025-01-01...2025-01-05")).complete(MONDAY)
        assert found == Finding(True, "All of 2025-01-01...2025-01-05 is published: 5 partitions.")

    def test_what_is_missing_is_named(self) -> None:
        found = standing(LOANS, record("2025-01-01", "2025-01-03...2025-01-04")).complete(MONDAY)
        assert found == Finding(
            False, "2 of 5 partitions of 2025-01-01...2025-01-05 are not published: 2025-01-02, 2025-01-05."
        )

    def test_ten_windows_are_named(self) -> None:
        odd = [f"2025-01-{day:02}" for day in range(1, 32, 2)]
        found = standing(LOANS, record(*odd)).complete(datetime(2025, 2, 3, 12, tzinfo=NEW_YORK))
        assert found.text.startswith("17 of 33 partitions of 2025-01-01...2025-02-02 are not published: 2025-01-02, ")
        assert found.text.endswith(", 2025-01-20 and 6 more windows.")

    def test_nothing_has_arrived(self) -> None:
        found = standing(LOANS, Record(), None).complete(MONDAY)
        assert found == Finding(True, "Nothing is missing: it waits for landing/loan_rows.")

    @pytest.mark.parametrize(
        ("through", "published", "missing"),
        [
            (None, ["2025-01-01", "2025-01-03"], "2025-01-02"),
            (None, ["2025-01-01...2025-01-03"], ""),
            (None, [], ""),
            ("2025-01-05", ["2025-01-01...2025-01-03"], "2025-01-04...2025-01-05"),
            ("2025-01-05", [], "2025-01-01...2025-01-05"),
            ("2025-01-02", ["2025-01-01", "2025-01-03"], "2025-01-02"),
            ("2024-12-31", [], ""),
        ],
    )
    def test_without_a_deadline_what_could_be_published_is_missing(
        self, through: str | None, published: list[str], missing: str
    ) -> None:
        last = date.fromisoformat(through) if through else None
        without = replace(standing(replace(LOANS, freshness=None), record(*published)), through=last)
        found = without.complete(MONDAY)
        assert found.passed == (not missing)
        assert not missing or found.text.endswith(f" are not published: {missing}.")

    @pytest.mark.parametrize(
        ("through", "missing"), [("2025-03-30", "2025-02-01"), ("2025-03-31", "2025-02-01...2025-03-01")]
    )
    def test_without_a_deadline_a_month_is_missing_once_all_its_days_are_there(
        self, through: str, missing: str
    ) -> None:
        without = standing(replace(MONTHLY, freshness=None), record("2025-01-01"))
        found = replace(without, through=date.fromisoformat(through)).complete(MONDAY)
        assert found.text.endswith(f" are not published: {missing}.")

    def test_months(self) -> None:
        found = standing(MONTHLY, record("2025-01-01", "2025-03-01")).complete(
            datetime(2025, 5, 5, 12, tzinfo=NEW_YORK)
        )
        assert found.text == ("2 of 4 partitions of 2025-01-01...2025-04-01 are not published: 2025-02-01, 2025-04-01.")


class TestFirst:
    """The first partition that a dataset has, or should have."""

    def firsts(
        self, records: dict[str, Record], arrived: dict[str, date] | None = None, first: date = FIRST
    ) -> dict[str, date | None]:
        found = standings(REGISTRY.in_order(), records, arrived or {}, first, {})
        return {each.dataset.name: each.first for each in found}

    def test_none_where_nothing_has_arrived(self) -> None:
        assert set(self.firsts({}).values()) == {None}

    def test_files_that_nobody_has_read_are_missing(self) -> None:
        found = self.firsts({}, {"loan_rows": FIRST})
        assert (found["loan_rows"], found["loans"], found["transactions"]) == (FIRST, FIRST, None)

    def test_what_a_dataset_reads_says_from_when_it_should_be_there(self) -> None:
        landed = {
            "loan_rows": record("2025-01-02...2025-01-09"),
            "transaction_rows": record("2025-01-03...2025-01-09"),
        }
        found = self.firsts(landed)
        assert found["loans"] == date(2025, 1, 2)
        assert found["suspense"] == date(2025, 1, 3)  # reads both
        assert found["loan_balances"] is None  # reads adjustments too

    def test_of_what_is_published_the_first_counts(self) -> None:
        found = self.firsts({"loan_rows": record("2025-01-05"), "loans": record("2025-01-03")})
        assert found["loans"] == date(2025, 1, 3)

    @pytest.mark.parametrize(
        ("first", "published", "month"),
        [
            ("2025-01-01", "2025-01-01", "2025-01-01"),
            ("2025-01-15", "2025-01-15", "2025-01-01"),
            ("2025-01-01", "2025-01-15", "2025-02-01"),
        ],
    )
    def test_a_month_has_all_the_days_that_there_are(self, first: str, published: str, month: str) -> None:
        found = self.firsts({"loan_rows": record(published)}, first=date.fromisoformat(first))
        assert found["originations_monthly"] == date.fromisoformat(month)

    def test_what_waits_says_for_what(self) -> None:
        waits = {each.dataset.name: each.waits_for for each in standings(REGISTRY.in_order(), {}, {}, FIRST, {})}
        assert waits["loan_rows"] == "the first complete folder of feed loans, such as loans/2025-01-01"
        assert waits["loans"] == "loan_rows"


class TestThrough:
    """Without a deadline: the newest day of which all is there that a dataset is computed from."""

    def through(self, name: str, records: dict[str, Record], newest: dict[str, date], **over: Any) -> date | None:
        over = {"freshness": None, **over}
        datasets = [replace(each, **over) if each.name == name else each for each in REGISTRY.in_order()]
        found = {each.dataset.name: each.through for each in standings(datasets, records, {}, FIRST, newest)}
        assert {each for each, day in found.items() if day} <= {name}  # the others have deadlines
        return found[name]

    @pytest.mark.parametrize(
        ("loans", "transactions", "day"),
        [
            (["2025-01-01...2025-01-09"], ["2025-01-01...2025-01-06"], "2025-01-06"),
            (["2025-01-01...2025-01-09"], ["2025-01-01...2025-01-03", "2025-01-12"], "2025-01-03"),
            (["2025-01-01...2025-01-02", "2025-01-08"], ["2025-01-01...2025-01-03", "2025-01-07"], "2025-01-02"),
            (["2025-01-01...2025-01-09"], [], None),
            (["2025-01-08...2025-01-09"], ["2025-01-01...2025-01-07"], None),
        ],
    )
    def test_all_that_it_reads_has_it(self, loans: list[str], transactions: list[str], day: str | None) -> None:
        read = {"loans": record(*loans), "transactions": record(*transactions)}
        found = self.through("suspense", read, {})
        assert found == (date.fromisoformat(day) if day else None)

    def test_days_of_a_feed_that_are_there(self) -> None:
        landed = {"loan_rows": record("2025-01-01...2025-01-03")}
        assert self.through("loan_rows", landed, {"loan_rows": date(2025, 1, 9)}) == date(2025, 1, 9)
        assert self.through("loan_rows", landed, {}) is None

    @pytest.mark.parametrize("over", [{"starts": BY_HAND}, {"freshness": LOANS.freshness}], ids=str)
    def test_nothing_is_expected_of_what_somebody_starts_or_has_a_deadline(self, over: dict[str, Any]) -> None:
        assert self.through("loans", {"loan_rows": record("2025-01-01")}, {}, **over) is None


DATASETS = [each for each in REGISTRY.in_order() if each.partitions]
ROWS_CHECKS = [dg.AssetCheckKey(dg.AssetKey(["landing", "loan_rows"]), name) for name in (FRESH, COMPLETE)]


class TestOnAnInstance:
    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return Settings.local(tmp_path / "lake", FIRST)

    @pytest.fixture
    def catalog(self, settings: Settings) -> Catalog:
        (Path(settings.landing)).mkdir(parents=True)
        return catalog_of(settings).load()

    @pytest.fixture
    def instance(self, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
        (tmp_path / "instance").mkdir()
        with dg.instance_for_test(temp_dir=str(tmp_path / "instance")) as instance:
            yield instance

    def publish(self, catalog: Catalog, dataset: Dataset, text: str) -> None:
        """As a step's publish records it."""
        with ensure_table(catalog, dataset).transaction() as change:
            change.set_properties({PUBLISHED_PROPERTY: text})

    def look(self, settings: Settings, catalog: Catalog, now: datetime) -> list[Found]:
        return look(DATASETS, catalog, landing_zone_of(settings), FIRST, now)

    def report(self, instance: dg.DagsterInstance, found: Sequence[Found]) -> list[str]:
        news = not_shown(instance, found)
        for each in news:
            instance.report_runless_asset_event(evaluation(each))
        return [f"{each.dataset.name} {each.check}" for each in news]

    def test_each_dataset_has_both_and_an_empty_lake_is_no_error(self, settings: Settings, catalog: Catalog) -> None:
        found = self.look(settings, catalog, MONDAY)
        assert len(found) == 2 * len(DATASETS)
        assert all(each.finding.passed for each in found)

    def test_files_that_nobody_has_read_are_missing(self, settings: Settings, catalog: Catalog) -> None:
        folder = Path(settings.landing, "loans/2025-01-01")
        folder.mkdir(parents=True)
        (folder / "_SUCCESS").touch()
        failed = {each.dataset.name for each in self.look(settings, catalog, MONDAY) if not each.finding.passed}
        assert {"loan_rows", "loans", "borrowers"} <= failed
        assert failed.isdisjoint({"transaction_rows", "transactions", "loan_balances"})

    @pytest.mark.parametrize("complete", [True, False])
    def test_without_a_deadline_new_folders_that_were_not_read_are_missing(
        self, settings: Settings, catalog: Catalog, complete: bool
    ) -> None:
        self.publish(catalog, LOAN_ROWS, "2025-01-01...2025-01-02")
        for day in ("2025-01-03", "2025-01-04", "2025-01-07"):  # the last has not begun
            Path(settings.landing, "loans", day).mkdir(parents=True)
            if complete:
                Path(settings.landing, "loans", day, "_SUCCESS").touch()
        found = look([replace(LOAN_ROWS, freshness=None)], catalog, landing_zone_of(settings), FIRST, MONDAY)
        (text,) = [each.finding.text for each in found]
        assert text == (
            "2 of 4 partitions of 2025-01-01...2025-01-04 are not published: 2025-01-03...2025-01-04."
            if complete
            else "All of 2025-01-01...2025-01-02 is published: 2 partitions."
        )

    def test_a_table_whose_record_is_refused_fails_alone(self, settings: Settings, catalog: Catalog) -> None:
        self.publish(catalog, LOAN_ROWS, "2025-01-01...2025-01-05")
        self.publish(catalog, LOANS, "yesterday")
        found = {(each.dataset.name, each.check): each.finding for each in self.look(settings, catalog, MONDAY)}
        assert found["loan_rows", FRESH].passed
        assert "cannot be read" in found["loans", FRESH].text
        assert not found["loans", COMPLETE].passed

    def test_a_table_that_cannot_be_read_is_told_to_the_owner_once(
        self, settings: Settings, catalog: Catalog, instance: dg.DagsterInstance
    ) -> None:
        self.publish(catalog, LOANS, "yesterday")
        found = self.look(settings, catalog, MONDAY)
        hook = Hook()
        for _ in range(2):
            tell(instance, [hook], refused_tables(found, "http://ui"), MONDAY)
        (text,) = hook.sent
        assert LOANS.owner in text
        assert "loans/loans: its table cannot be read" in text
        assert "cannot be read" in text.partition("its table cannot be read")[2]
        assert "http://ui/assets/loans/loans" in text

    def test_only_what_is_new_is_reported(
        self, settings: Settings, catalog: Catalog, instance: dg.DagsterInstance
    ) -> None:
        self.publish(catalog, LOAN_ROWS, "2025-01-01...2025-01-05")
        assert len(self.report(instance, self.look(settings, catalog, MONDAY))) == 2 * len(DATASETS)
        assert self.report(instance, self.look(settings, catalog, MONDAY)) == []
        self.publish(catalog, LOAN_ROWS, "2025-01-01...2025-01-03")
        assert self.report(instance, self.look(settings, catalog, MONDAY)) == ["loan_rows fresh", "loan_rows complete"]
        shown = instance.event_log_storage.get_latest_asset_check_execution_by_key(ROWS_CHECKS)
        assert [shown[key].status.value for key in ROWS_CHECKS] == ["FAILED", "FAILED"]

    def test_a_materialization_makes_them_be_reported_again(
        self, settings: Settings, catalog: Catalog, instance: dg.DagsterInstance
    ) -> None:
        # Dagster shows no evaluation that is older than the asset's last materialization.
        found = self.look(settings, catalog, MONDAY)
        self.report(instance, found)
        instance.report_runless_asset_event(dg.AssetMaterialization(dg.AssetKey(["loans", "loans"])))
        assert self.report(instance, found) == ["loans fresh", "loans complete"]

    def test_a_date_that_misses_its_deadline_is_told_to_the_owner(self, settings: Settings, catalog: Catalog) -> None:
        self.publish(catalog, LOAN_ROWS, "2025-01-01...2025-01-05")
        self.publish(catalog, LOANS, "2025-01-01...2025-01-04")
        (alert,) = [
            each
            for each in late_datasets(self.look(settings, catalog, MONDAY), "http://ui")
            if each.dataset == "loans/loans"
        ]
        assert (alert.cause, alert.owner, alert.window) == (
            "freshness/loans/loans/2025-01-05",
            LOANS.owner,
            "2025-01-05",
        )
        assert alert.link == "http://ui/assets/loans/loans?view=partitions&partition=2025-01-05"
        assert "was due by Monday 2025-01-06 05:45 in New York and is not published" in alert.reason

    def test_sensor_s_tick(self, settings: Settings, catalog: Catalog, instance: dg.DagsterInstance) -> None:
        self.publish(catalog, LOAN_ROWS, "2025-01-01...2025-01-05")
        hook, sensor = Hook(), standing_sensor(REGISTRY, FIRST, "http://ui")

        def tick() -> tuple[int, str]:
            resources = {"catalog": catalog_of(settings), "landing_zone": landing_zone_of(settings), "alerts": [hook]}
            with dg.build_sensor_context(instance, resources=resources) as context:
                found = sensor.evaluate_tick(context)
            for each in found.asset_events:
                instance.report_runless_asset_event(each)
            assert not found.run_requests
            return len(found.asset_events), found.skip_message or ""

        events, message = tick()
        assert events == 2 * len(DATASETS)
        assert message.startswith(f"{events} checks of {len(DATASETS)} datasets: {events} reported, ")
        assert "loans/loans fresh" in message
        assert tick()[0] == 0
        assert len(hook.sent) == 1
        assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


class TestDefinitions:
    """The checks are the step's, so that Dagster shows them and backfills find them, but it does not evaluate them."""

    def test_a_run_yields_every_check_that_a_backfill_asks_it_for(self, tmp_path: Path) -> None:
        defs = build_defs(Settings.local(tmp_path, FIRST), REGISTRY)
        graph, key = defs.resolve_asset_graph(), dg.AssetKey(["loans", "loans"])
        job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={key})
        plan = create_execution_plan(job)
        yielded = {out.properties.asset_check_key for step in plan.steps for out in step.step_outputs} - {None}
        assert yielded == graph.get_check_keys_for_assets({key})
        assert {FRESH, COMPLETE} <= {each.name for each in yielded if each}
        assert [step.key for step in plan.steps] == ["loans__loans"]

    def test_every_dataset_with_partitions_has_them_and_they_block_nothing(self, tmp_path: Path) -> None:
        graph = build_defs(Settings.local(tmp_path, FIRST), REGISTRY).resolve_asset_graph()
        keys = [dg.AssetCheckKey(dg.AssetKey([each.domain, each.name]), COMPLETE) for each in DATASETS]
        assert not any(graph.get(key).blocking for key in keys)
