"""The code location: what Dagster is told about every dataset, and that it loads from anywhere."""

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import affirm_assets
import affirm_assets.datasets
import resources
from affirm_assets.declare.contract import columns, iceberg_schema
from affirm_assets.declare.dataset import STANDING_CHECKS, Dataset
from affirm_assets.declare.inputs import Before, landing
from affirm_assets.declare.partitions import Daily, Monthly
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.errors import SettingError
from affirm_assets.orchestration.code_version import code_version
from affirm_assets.settings import Settings
from affirm_assets.steps.audit import audit_specs
from resources.iceberg import IcebergCatalog
from resources.landing import LandingZone

REGISTRY = Registry.walk(affirm_assets.datasets)
DATASETS = REGISTRY.in_order()
ROWS = replace(REGISTRY["loan_rows"], inputs={"records": landing("loans", {"loan_id": "text"})})
"""Landing rows that no other dataset refuses, for a project without one."""

PACKAGES = [Path(package.__file__).parent for package in (affirm_assets, resources)]
PROJECT = PACKAGES[0].parent

Graph = Any
"""Dagster's asset graph, for whose class it exports no name."""

each_dataset = pytest.mark.parametrize("dataset", DATASETS, ids=str)


def settings(first_business_date: str = "2025-01-01") -> Settings:
    return Settings.of({"AFFIRM_FIRST_BUSINESS_DATE": first_business_date})


@cache
def graph_from(first_business_date: str) -> Graph:
    return build_defs(settings(first_business_date), REGISTRY).resolve_asset_graph()


def graph_of(*datasets: Dataset) -> Graph:
    return build_defs(settings(), Registry.of(datasets)).resolve_asset_graph()


@pytest.fixture
def graph() -> Graph:
    return graph_from("2025-01-01")


def key_of(dataset: Dataset) -> dg.AssetKey:
    return dg.AssetKey([dataset.domain, dataset.name])


@pytest.fixture(scope="module")
def specs() -> dict[dg.AssetKey, dg.AssetSpec]:
    return {spec.key: spec for spec in build_defs(settings(), REGISTRY).resolve_all_asset_specs()}


def read_by(graph: Graph, child: str, partition: str, parent: str) -> list[str]:
    """The partitions of `parent` that a partition of `child` depends on; all of them exist."""
    down, up = (graph.get(dg.AssetKey(name.split("/"))) for name in (child, parent))
    result = graph.get_partition_mapping(down.key, up.key).get_upstream_mapped_partitions_result_for_partitions(
        down.partitions_def.subset_with_partition_keys([partition]), down.partitions_def, up.partitions_def
    )
    # Dagster would refuse to run a partition that needs one of these.
    assert result.required_but_nonexistent_subset.is_empty
    return list(result.partitions_subset.get_partition_keys())


class TestAssets:
    def test_every_dataset_and_feed_is_an_asset_and_nothing_else_is(self, graph: Graph) -> None:
        feeds = {dg.AssetKey(["feeds", feed]) for feed in REGISTRY.feeds}
        assert graph.get_all_asset_keys() == {*map(key_of, DATASETS), *feeds}

    @pytest.mark.parametrize(
        "key",
        [
            "landing/loan_rows",
            "landing/transaction_rows",
            "landing/adjustment_rows",
            "loans/loans",
            "loans/borrowers",
            "loans/rejected_loans",
            "transactions/transactions",
            "transactions/rejected_transactions",
            "transactions/suspense",
            "adjustments/adjustments",
            "adjustments/rejected_adjustments",
            "merchants/merchant_settlements",
            "ledger/journal",
            "portfolio/originations_daily",
            "portfolio/cash_daily",
            "portfolio/originations_monthly",
            "portfolio/roll_rates",
            "portfolio/vintage_curves",
            "portfolio/funding_tape",
        ],
    )
    def test_platform_has(self, graph: Graph, key: str) -> None:
        assert graph.get(dg.AssetKey(key.split("/"))).is_materializable

    @each_dataset
    def test_group_is_the_domain(self, graph: Graph, dataset: Dataset) -> None:
        assert graph.get(key_of(dataset)).group_name == dataset.domain

    @each_dataset
    def test_owner_is_the_declared_one(self, graph: Graph, dataset: Dataset) -> None:
        assert graph.get(key_of(dataset)).owners == [dataset.owner]

    @each_dataset
    def test_kind_is_iceberg_whichever_engine_computes_it(self, graph: Graph, dataset: Dataset) -> None:
        assert graph.get(key_of(dataset)).kinds == {"iceberg"}

    @each_dataset
    def test_has_a_description(self, graph: Graph, dataset: Dataset) -> None:
        assert graph.get(key_of(dataset)).description == dataset.description != ""

    @each_dataset
    def test_code_version_is_that_of_the_source(self, graph: Graph, dataset: Dataset) -> None:
        parser = ["resources.landing"] if dataset.domain == "landing" else []
        packages = {"affirm_assets": PROJECT, "resources": PROJECT}
        expected = code_version(packages, dataset.function.__module__, *parser)
        assert graph.get(key_of(dataset)).code_version == expected

    def test_code_version_of_landing_rows_changes_with_the_parser(self, graph: Graph, tmp_path: Path) -> None:
        dataset = REGISTRY["loan_rows"]

        def version(folder: str, more: str) -> str:
            shutil.copytree(PROJECT / "resources", tmp_path / folder / "resources")
            with (tmp_path / folder / "resources/landing/csv_lines.py").open("a") as parser:
                parser.write(more)
            packages = {"affirm_assets": PROJECT, "resources": tmp_path / folder}
            return code_version(packages, dataset.function.__module__, "resources.landing")

        assert version("same", "") == graph.get(key_of(dataset)).code_version != version("mended", "# mended\n")

    @each_dataset
    def test_tags_hold_the_declared_ones_and_the_compute_profile(self, graph: Graph, dataset: Dataset) -> None:
        expected = {**dataset.tags, "compute": dataset.compute.profile}
        assert expected.items() <= graph.get(key_of(dataset)).tags.items()

    @each_dataset
    def test_metadata_names_table_and_storage(self, graph: Graph, dataset: Dataset) -> None:
        metadata = graph.get(key_of(dataset)).metadata
        assert metadata["dagster/table_name"] == dataset.table
        assert metadata["dagster/storage_kind"] == "iceberg"


class TestColumnSchema:
    @each_dataset
    def test_columns_are_those_of_the_iceberg_table(
        self, specs: dict[dg.AssetKey, dg.AssetSpec], dataset: Dataset
    ) -> None:
        shown = [
            (each.name, each.type, each.description, each.constraints.nullable)
            for each in table_of(specs, dataset).columns
        ]
        assert shown == [
            (field.name, str(field.field_type), field.doc, field.optional)
            for field in iceberg_schema(dataset.contract).fields
        ]

    @each_dataset
    def test_key_columns_are_marked(self, specs: dict[dg.AssetKey, dg.AssetSpec], dataset: Dataset) -> None:
        marked = [each.name for each in table_of(specs, dataset).columns if "key" in each.constraints.other]
        assert marked == [spec.name for spec in columns(dataset.contract) if spec.is_key]

    @each_dataset
    def test_direct_identifiers_are_tagged(self, specs: dict[dg.AssetKey, dg.AssetSpec], dataset: Dataset) -> None:
        tagged = {each.name: each.tags.get("pii") for each in table_of(specs, dataset).columns}
        assert tagged == {spec.name: spec.pii for spec in columns(dataset.contract)}

    def test_rules_of_a_column_are_shown(self, specs: dict[dg.AssetKey, dg.AssetSpec]) -> None:
        (apr,) = [each for each in table_of(specs, REGISTRY["loans"]).columns if each.name == "apr"]
        assert {"apr >= 0", "apr <= 36"} <= set(apr.constraints.other)


def table_of(specs: dict[dg.AssetKey, dg.AssetSpec], dataset: Dataset) -> dg.TableSchema:
    shown: Any = specs[key_of(dataset)].metadata["dagster/column_schema"]
    return getattr(shown, "value", shown)


class TestChecks:
    @each_dataset
    def test_every_audit_has_a_check_and_those_of_single_rows_have_one(self, graph: Graph, dataset: Dataset) -> None:
        checks = [graph.get(key) for key in graph.get(key_of(dataset)).check_keys if key.name not in STANDING_CHECKS]
        specs = audit_specs(dataset)
        of_rows = sum(each.of_rows for each in specs)
        contract = f"What each row may hold: {of_rows} constraints of {dataset.contract.__name__}."
        assert {(check.key.name, check.description, check.blocking) for check in checks} == {
            ("contract", contract, True),
            *((each.name, each.description, each.blocking) for each in specs if not each.of_rows),
        }
        rules = {rule.name for column in columns(dataset.contract) for rule in column.rules}
        assert {each.name for each in specs if each.of_rows} == {"not_null", "in_window", *rules}

    @each_dataset
    def test_names_and_descriptions_are_there(self, dataset: Dataset) -> None:
        audits = audit_specs(dataset)
        assert len({each.name for each in audits}) == len(audits)
        assert all(each.description for each in audits)

    @each_dataset
    def test_contract_gives_the_audits_that_every_dataset_has(self, dataset: Dataset) -> None:
        assert {"not_null", "keys_are_unique"} <= {each.name for each in audit_specs(dataset)}

    @pytest.mark.parametrize("dataset", [each for each in DATASETS if each.partitions], ids=str)
    def test_rows_outside_the_window_are_audited(self, dataset: Dataset) -> None:
        assert "in_window" in {each.name for each in audit_specs(dataset)}

    def test_audit_that_does_not_block_has_a_check_that_does_not(self) -> None:
        loans = REGISTRY["loans"]
        warning = replace(loans, audits=tuple(replace(each, blocking=False) for each in loans.audits))
        graph = graph_of(REGISTRY["loan_rows"], warning, REGISTRY["borrowers"], REGISTRY["rejected_loans"])
        assert not graph.get(dg.AssetCheckKey(key_of(loans), "every_record_is_accounted_for")).blocking


class TestFeeds:
    @pytest.mark.parametrize("feed", ["loans", "transactions", "adjustments"])
    def test_feed_is_an_external_daily_asset(self, graph: Graph, feed: str) -> None:
        node = graph.get(dg.AssetKey(["feeds", feed]))
        assert (node.is_external, node.is_materializable) == (True, False)
        assert node.partitions_def == graph.get(dg.AssetKey(["loans", "loans"])).partitions_def

    @pytest.mark.parametrize("feed", ["loans", "transactions", "adjustments"])
    def test_only_landing_datasets_depend_on_a_feed(self, graph: Graph, feed: str) -> None:
        readers = graph.get(dg.AssetKey(["feeds", feed])).child_keys
        assert {key.path[0] for key in readers} == {"landing"}


class TestPartitions:
    @pytest.mark.parametrize("kind", [Daily, Monthly], ids=["daily", "monthly"])
    def test_datasets_of_one_kind_share_their_partitions(self, graph: Graph, kind: type) -> None:
        own = [graph.get(key_of(each)).partitions_def for each in DATASETS if isinstance(each.partitions, kind)]
        assert own
        assert all(each == own[0] for each in own)

    @pytest.mark.parametrize("dataset", [each for each in DATASETS if isinstance(each.partitions, Daily)], ids=str)
    def test_range_of_days_is_one_run(self, graph: Graph, dataset: Dataset) -> None:
        assert graph.get(key_of(dataset)).backfill_policy == dg.BackfillPolicy.single_run()

    def test_range_is_a_run_for_each_partition_where_the_dataset_wants_one(self) -> None:
        rows = replace(ROWS, ranges=False)
        assert graph_of(rows).get(key_of(rows)).backfill_policy == dg.BackfillPolicy.multi_run()

    def test_unpartitioned_dataset_depends_on_all_partitions(self) -> None:
        whole = replace(REGISTRY["originations_daily"], partitions=None)
        domains = ("landing", "loans", "transactions", "adjustments")
        graph = graph_of(*(each for each in REGISTRY.in_order() if each.domain in domains), whole)
        assert (graph.get(key_of(whole)).partitions_def, graph.get(key_of(whole)).backfill_policy) == (None, None)
        assert graph.get_partition_mapping(key_of(whole), key_of(REGISTRY["loans"])) == dg.AllPartitionMapping()

    @pytest.mark.parametrize("name", ["loans", "transactions", "adjustments"])
    def test_self_dependency_reaches_back_over_the_look_back(self, graph: Graph, name: str) -> None:
        key = dg.AssetKey([name, name])
        mapping = graph.get_partition_mapping(key, key)
        assert (mapping.start_offset, mapping.end_offset) == (-35, -1)

    def test_dataset_that_reads_itself_has_a_pool_of_its_own(self, graph: Graph) -> None:
        pools = {"/".join(key.path): graph.get(key).pools for key in graph.materializable_asset_keys}
        assert pools["servicing/loan_balances"] == {"servicing_loan_balances"}
        assert pools["loans/loans"] == {"loans_loans"}
        assert pools["ledger/ledger_entries"] == set()

    def test_self_dependency_of_a_day_is_the_35_days_before(self, graph: Graph) -> None:
        read = read_by(graph, "loans/loans", "2025-03-01", "loans/loans")
        assert (len(read), read[0], read[-1]) == (35, "2025-01-25", "2025-02-28")

    def test_first_business_date_needs_no_earlier_one(self, graph: Graph) -> None:
        assert read_by(graph, "loans/loans", "2025-01-01", "loans/loans") == []

    @pytest.mark.parametrize(
        "name",
        [
            "servicing/loan_balances",
            "servicing/charge_offs",
            "ledger/provisions",
            "ledger/trial_balance",
            "merchants/merchant_settlements",
        ],
    )
    def test_what_is_carried_is_a_pool_and_depends_on_the_day_before(self, graph: Graph, name: str) -> None:
        assert graph.get(dg.AssetKey(name.split("/"))).pools == {name.replace("/", "_")}
        assert read_by(graph, name, "2025-03-01", name) == ["2025-02-28"]

    def test_all_before_depends_on_the_last_partition_before_only(self) -> None:
        rows = ROWS
        copies = replace(rows, name="copies", inputs={"earlier": Before("loan_rows"), "own": Before("copies")})
        graph = graph_of(rows, copies)
        for read in ("landing/loan_rows", "landing/copies"):
            assert read_by(graph, "landing/copies", "2025-03-01", read) == ["2025-02-28"]

    def test_input_of_an_audit_alone_is_a_dependency(self, graph: Graph) -> None:
        assert "trial_balance" not in signature(REGISTRY["portfolio_daily"].function).parameters
        read = read_by(graph, "portfolio/portfolio_daily", "2025-03-01", "ledger/trial_balance")
        assert read == ["2025-03-01"]

    @pytest.mark.parametrize("upstream", ["servicing/loan_balances", "portfolio/portfolio_daily"])
    def test_roll_rates_of_a_month_depend_on_its_days_and_on_the_day_before(self, graph: Graph, upstream: str) -> None:
        """Dagster counts in months: to it, the day before is all of the month before."""
        read = read_by(graph, "portfolio/roll_rates", "2025-03-01", upstream)
        assert read == [
            f"2025-{month}-{day:02}" for month, days in (("02", 28), ("03", 31)) for day in range(1, days + 1)
        ]

    def test_vintage_curves_of_a_month_depend_on_the_month_before(self, graph: Graph) -> None:
        assert read_by(graph, "portfolio/vintage_curves", "2025-03-01", "portfolio/vintage_curves") == ["2025-02-01"]

    @pytest.mark.parametrize(
        "name",
        [
            "suspense",
            "loan_balances",
            "charge_offs",
            "provisions",
            "trial_balance",
            "merchant_settlements",
            "vintage_curves",
        ],
    )
    def test_what_is_carried_has_its_two_checks(self, graph: Graph, name: str) -> None:
        key = key_of(REGISTRY[name])
        checks = {each.name for each in graph.asset_check_keys if each.asset_key == key}
        assert {"opens_as_closed", "next_day_opens_as_closed"} <= checks

    def test_all_through_the_window_depends_on_the_same_day_only(self, graph: Graph) -> None:
        assert read_by(graph, "transactions/transactions", "2025-03-01", "loans/loans") == ["2025-03-01"]

    @pytest.mark.parametrize(
        ("month", "days"),
        [
            pytest.param("2024-02-01", 29, id="leap February"),
            pytest.param("2025-02-01", 28, id="February"),
            pytest.param("2025-03-01", 31, id="month in which clocks change"),
        ],
    )
    def test_month_depends_on_its_days(self, month: str, days: int) -> None:
        read = read_by(
            graph_from("2024-01-01"), "portfolio/originations_monthly", month, "portfolio/originations_daily"
        )
        assert read == [f"{month[:8]}{day:02}" for day in range(1, days + 1)]

    def test_first_month_depends_on_the_days_that_have_a_partition(self) -> None:
        graph = graph_from("2025-01-30")
        read = read_by(graph, "portfolio/originations_monthly", "2025-01-01", "portfolio/originations_daily")
        assert read == ["2025-01-30", "2025-01-31"]

    @pytest.mark.parametrize(
        ("key", "first"),
        [
            ("loans/loans", "2024-03-15"),
            ("portfolio/originations_monthly", "2024-03-01"),
            ("feeds/loans", "2024-03-15"),
        ],
        ids=["daily", "monthly", "feed"],
    )
    def test_first_business_date_moves_the_first_partition(self, key: str, first: str) -> None:
        node = graph_from("2024-03-15").get(dg.AssetKey(key.split("/")))
        assert node.partitions_def.get_first_partition_key() == first


class TestResources:
    def test_are_in_the_lake_of_the_settings(self, tmp_path: Path) -> None:
        defs = build_defs(Settings.of({"AFFIRM_LAKE": str(tmp_path)}), REGISTRY)
        catalog = defs.resources["catalog"]
        assert (catalog.uri, catalog.warehouse) == (
            f"sqlite:///{tmp_path}/catalog.db",
            f"file://{tmp_path}/warehouse",
        )

    def test_on_kubernetes_are_in_buckets_and_a_database(self) -> None:
        endpoint = "http://10.0.0.1:9000"
        buckets = {"AFFIRM_WAREHOUSE": "s3://books/warehouse", "AFFIRM_LANDING": "s3://books/landing"}
        database = {"AFFIRM_CATALOG_URI": "postgresql+psycopg2://affirm@db/lake", "PGPASSWORD": "hunter2"}
        others = {"AFFIRM_DEPLOYMENT": "kubernetes", "AFFIRM_FIRST_BUSINESS_DATE": "2025-01-01", "AWS_REGION": "x-1"}
        environ = {**others, **buckets, **database, "AFFIRM_S3_ENDPOINT": endpoint}
        resources = build_defs(Settings.of(environ), REGISTRY).resources
        assert resources["landing_zone"] == LandingZone("s3://books/landing", "x-1", endpoint)
        assert resources["catalog"] == IcebergCatalog(
            uri="postgresql+psycopg2://affirm@db/lake",
            warehouse="s3://books/warehouse",
            region="x-1",
            s3_endpoint=endpoint,
        )
        assert "hunter2" not in repr(resources)

    def test_can_be_overridden_one_by_one(self) -> None:
        ours, theirs = (build_defs(settings(), REGISTRY, some).resources for some in ({}, {"landing_zone": "another"}))
        assert theirs["landing_zone"] == "another"
        assert theirs["catalog"] == ours["catalog"]

    def test_registry_can_be_another(self) -> None:
        rows = Registry.of([ROWS])
        assert build_defs(settings(), rows).resolve_asset_graph().get_all_asset_keys() == {
            dg.AssetKey(["feeds", "loans"]),
            dg.AssetKey(["landing", "loan_rows"]),
        }


ELSEWHERE = """
from datetime import date
from affirm_assets.declare.contract import Contract, key
from affirm_assets.declare.partitions import Daily
from affirm_assets.declare.dataset import dataset
from ledger.days import DAYS

class Booking(Contract):
    'A booking.'
    as_of: date = key("Business date")

@dataset(Booking, owner="team:ledger", partitions=Daily("as_of"))
def bookings():
    return DAYS
"""
LEDGER = {"__init__.py": "", "books/__init__.py": "", "books/bookings.py": ELSEWHERE}


class TestRegistryFromElsewhere:
    """A package that is no part of affirm_assets."""

    @pytest.fixture
    def version(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str | None]]:
        """The code version of ledger/books/bookings.py, written with this ledger/days.py into a folder of this name."""

        def forget() -> None:
            for name in [name for name in sys.modules if name.partition(".")[0] == "ledger"]:
                del sys.modules[name]

        def version(folder: str, days: str) -> str | None:
            package = tmp_path / folder / "ledger"
            (package / "books").mkdir(parents=True)
            for path, source in {**LEDGER, "days.py": days}.items():
                (package / path).write_text(source)
            with monkeypatch.context() as patched:
                patched.syspath_prepend(package.parent)
                forget()
                registry = Registry.walk(importlib.import_module("ledger.books"))
            return graph_of(registry["bookings"]).get(dg.AssetKey(["books", "bookings"])).code_version

        yield version
        forget()

    def test_code_version_is_over_that_package(self, version: Callable[[str, str], str | None]) -> None:
        versions = version("one", "DAYS = 360\n"), version("same", "DAYS = 360\n"), version("other", "DAYS = 365\n")
        assert versions[0] == versions[1] != versions[2]

    def test_code_version_is_over_this_project_too(
        self, version: Callable[[str, str], str | None], tmp_path: Path
    ) -> None:
        packages = {"ledger": tmp_path / "one", "affirm_assets": PROJECT}
        assert version("one", "DAYS = 360\n") == code_version(packages, "ledger.books.bookings")


class TestCodeLocation:
    def test_loads_with_the_project_s_own_resources_and_writes_nothing(self, tmp_path: Path) -> None:
        # In a fresh interpreter: this one has found its modules already.
        # A folder of this name without __init__.py comes first on the path, and may not win.
        (tmp_path / "resources").mkdir()
        script = """
import json, affirm_assets.definitions as location, resources, dagster as dg
loans = location.defs.resolve_asset_graph().get(dg.AssetKey(["loans", "loans"]))
print(json.dumps({"resources": resources.__file__, "first": loans.partitions_def.get_first_partition_key()}))
"""
        loaded = run_python(script, tmp_path, AFFIRM_FIRST_BUSINESS_DATE="2024-03-15")
        assert loaded.returncode == 0, loaded.stderr
        assert json.loads(loaded.stdout) == {"resources": resources.__file__, "first": "2024-03-15"}
        assert [path.name for path in tmp_path.rglob("*")] == ["resources"]

    def test_unknown_deployment_stops_it_with_the_known_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "affirm_assets.definitions")
        monkeypatch.setenv("AFFIRM_DEPLOYMENT", "production")
        with pytest.raises(SettingError, match="AFFIRM_DEPLOYMENT: expected one of local"):
            importlib.import_module("affirm_assets.definitions")


def run_python(script: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AFFIRM_")}
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


MODULES = sorted(file for package in PACKAGES for file in package.rglob("*.py"))


@pytest.mark.parametrize("file", MODULES, ids=lambda file: str(file.relative_to(PROJECT)))
def test_no_module_imports_kubernetes_or_boto3_when_it_is_loaded(file: Path) -> None:
    heavy = {"kubernetes", "boto3", "botocore"}
    assert heavy.isdisjoint(name.partition(".")[0] for name in imported_at_load(ast.parse(file.read_bytes())))


def imported_at_load(node: ast.AST) -> Iterator[str]:
    """Imports that run when a module is loaded: all but those inside functions."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.level == 0:
            yield child.module or ""
        elif not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from imported_at_load(child)
