"""The platform on a real cluster: it comes up, materializes what a laptop does, and tells nobody its secrets."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, timedelta
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import Table

import affirm_assets.datasets
from affirm_assets.declare.partitions import Daily
from affirm_assets.declare.registry import Registry
from affirm_assets.settings import EngineSettings
from affirm_assets.steps.published import record_of
from affirm_assets.steps.tables import load_if_exists
from resources.spark import SparkSessions
from tests.integration.books import ADJUSTMENTS, BOOKS, DAILY, MONTHLY, Books
from tests.kubernetes.cluster import NAMESPACE, kubectl, objects, until
from tests.kubernetes.platform import DAYS, LOCATION, START, Platform
from tests.servers import SECRETS

LAST = START + timedelta(days=DAYS - 1)
REGISTRY = Registry.walk(affirm_assets.datasets)
DATASETS = tuple(f"{DAILY},{ADJUSTMENTS},{BOOKS}".split(","))


@pytest.fixture(scope="module")
def on_spark(
    platform: Platform, sessions: SparkSessions, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Future[Books]]:
    """The books that local Spark makes of the sample. It computes while the cluster does."""
    books = Books(tmp_path_factory.mktemp("on_spark"), sessions, START, engines=EngineSettings("spark"))
    books.landing.symlink_to(platform.landed)
    with ThreadPoolExecutor(1) as thread:
        yield thread.submit(_made, books)


def _made(books: Books) -> Books:
    books.materialize(",".join(DATASETS), START, LAST)
    books.materialize(MONTHLY, START)
    return books


@pytest.fixture(scope="module")
def ten_days(platform: Platform, on_spark: Future[Books]) -> list[str]:
    """Ids of the runs that computed all datasets over the sample's days: those that the sensors asked for, and one."""
    platform.land(START, LAST - timedelta(days=1))
    until(lambda: _is_published(platform, LAST - timedelta(days=1)), 1500, "the books of nine dates that were there")
    platform.land(LAST, LAST)
    # Its run ends some seconds after its last dataset is published.
    runs = until(lambda: _runs_with(platform, LAST), 900, "the run of a date that arrived")
    assert _is_published(platform, LAST)
    # The month has days to come: nobody but a person asks for it.
    return [*runs, platform.materialize(*MONTHLY.split(","), first=START.replace(day=1))]


def test_a_date_that_arrives_is_booked_by_one_run(platform: Platform, ten_days: list[str]) -> None:
    tags = [platform.tags(run) for run in ten_days[:-1]]
    of_books = [each.get("dagster/partition") for each in tags if each["dagster/sensor_name"] == "books"]
    assert of_books.count(str(LAST)) == 1
    for name in ("loans", "transactions", "adjustments"):
        assert platform.reported(name) == DAYS


def test_it_comes_up_from_nothing(platform: Platform) -> None:
    answer = platform.ask(
        """{
          workspaceOrError { ... on Workspace { locationEntries { name locationOrLoadError {
            __typename
            ... on RepositoryLocation { repositories { assetNodes { assetKey { path } isExecutable } } }
            ... on PythonError { message }
          } } } }
          instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
        }"""
    )
    (entry,) = answer["workspaceOrError"]["locationEntries"]
    assert entry["name"] == LOCATION
    assert entry["locationOrLoadError"]["__typename"] == "RepositoryLocation", entry
    nodes = entry["locationOrLoadError"]["repositories"][0]["assetNodes"]
    assert {"/".join(each["assetKey"]["path"]) for each in nodes if each["isExecutable"]} == {
        *DATASETS,
        *MONTHLY.split(","),
    }
    daemons = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
    assert [each for each in daemons if each["required"] and not each["healthy"]] == []


def test_ten_days_equal_what_spark_computes_locally(
    platform: Platform, ten_days: list[str], on_spark: Future[Books]
) -> None:
    """The steps in pods are so small that Sail computes them."""
    books = on_spark.result()
    for name in (*DATASETS, *MONTHLY.split(",")):
        table = name.replace("/", ".")
        assert _rows(platform.table(table)) == _rows(books.table(table)), table
        assert _engine(platform.catalog().load_table(table)) == "sail", table
        assert _engine(books.catalog.load_table(table)) == "spark", table


def test_a_person_accepts_and_resumes_in_a_pod(platform: Platform, ten_days: list[str]) -> None:
    """The feed's dates have no refusal beyond its tolerance: what is accepted of one is kept, and changes nothing."""
    affirm = ("exec", "deployment/affirm-code-location", "--", "affirm")
    accept = ["accept", "loans", str(START), "--reason", "A try"]
    with pytest.raises(AssertionError, match="--by: expected who says it, found nothing"):
        kubectl(*affirm, *accept)
    said = kubectl(*affirm, *accept, "--by=ops@example.com")
    assert "(A try, ops@example.com). It is kept in the properties of" in said
    with platform.catalog() as catalog:
        kept = catalog.load_table("loans.loans").properties[f"affirm.accepted.{START}"]
    assert json.loads(kept)["by"] == "ops@example.com"
    assert "A daemon is running: its sensors" in kubectl(*affirm, "resume")


def test_no_secret_is_told(platform: Platform, ten_days: list[str]) -> None:
    told = {
        **_pod_logs(),
        **{f"compute log {key}": text for key, text in platform.logs().items()},
        **_database(platform),
        "the UI's answers": _what_the_ui_shows(platform, ten_days),
        "manifests": kubectl("get", "all,configmaps", "--output", "json"),
        "Spark's settings": kubectl("exec", "deployment/affirm-code-location", "--", "python", "-c", _DUMP_SPARK_CONF),
    }
    assert "spark.sql.catalog.lake" in told["Spark's settings"]
    assert any(key.startswith("compute log") and text for key, text in told.items())
    found = {(where, name) for where, text in told.items() for name, secret in SECRETS.items() if secret in text}
    assert found == set()


@pytest.mark.parametrize("account", ["webserver", "daemon", "code-location", "run", "step", "executor"])
def test_no_account_reads_secrets_or_leaves_its_namespace(platform: Platform, account: str) -> None:
    user = f"--as=system:serviceaccount:{NAMESPACE}:affirm-{account}"
    for request in (
        ["get", "secrets"],
        ["create", "pods", "--subresource=exec"],
        ["list", "pods", "--namespace=default"],
    ):
        done = subprocess.run(
            ["kubectl", f"--namespace={NAMESPACE}", "auth", "can-i", *request, user], capture_output=True, text=True
        )
        assert done.stdout.strip() == "no", (request, done)


def _runs_with(platform: Platform, day: date) -> list[str]:
    """The runs that sensors asked for and that succeeded, once that of the day's books is among them."""
    runs = platform.runs_of_sensors()
    tags = [platform.tags(run) for run in runs]
    wanted = {"dagster/sensor_name": "books", "dagster/partition": str(day)}
    return runs if any(wanted.items() <= each.items() for each in tags) else []


def _is_published(platform: Platform, day: date) -> bool:
    with platform.catalog() as catalog:
        tables = [load_if_exists(catalog, each.table) for each in REGISTRY.datasets.values()]
    daily = [each for each in REGISTRY.datasets.values() if isinstance(each.partitions, Daily)]
    found = {table.name()[-1]: table for table in tables if table}
    return all(each.name in found and record_of(each, found[each.name]).covers(day) for each in daily)


def _engine(table: Table) -> str:
    """The one that computed the table's current snapshot."""
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    return str(snapshot.summary["affirm.engine"]).partition(":")[0]


def _rows(table: pa.Table) -> list[list[Any]]:
    """In an order of their own, by the names of the columns."""
    names = sorted(table.column_names)
    return sorted(([row[name] for name in names] for row in table.to_pylist()), key=str)


def _pod_logs() -> dict[str, str]:
    return {
        f"log of pod {pod['metadata']['name']}": kubectl(
            "logs", pod["metadata"]["name"], "--all-containers", "--tail=-1", check=False
        )
        for pod in objects("pods")
    }


def _database(platform: Platform) -> dict[str, str]:
    """Every row of Dagster's own tables: runs, events, ticks, settings."""
    connection = platform.database.connect("dagster")
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        tables = [name for (name,) in cursor.fetchall()]
        told = {}
        for name in tables:
            cursor.execute(f'SELECT t::text FROM "{name}" t')
            told[f"Dagster's table {name}"] = "\n".join(row for (row,) in cursor.fetchall())
    connection.close()
    return told


def _what_the_ui_shows(platform: Platform, run_ids: list[str]) -> str:
    """The instance page, and all of the runs."""
    instance = platform.ask(
        "{ instance { info runLauncher { name } concurrencyLimits { concurrencyKey } } version "
        "workspaceOrError { ... on Workspace { locationEntries { name displayMetadata { key value } } } } }"
    )
    runs = platform.ask("{ runsOrError { ... on Runs { results { runId runConfigYaml tags { key value } } } } }")
    return f"{instance}{runs}{[platform.events(each) for each in run_ids]}"


_DUMP_SPARK_CONF = """
import os
from affirm_assets.stores import catalog_of
from affirm_assets.settings import Settings
from resources.compute import PROFILES
from resources.spark_on_kubernetes import KubernetesSparkSessions

catalog = catalog_of(Settings.of(os.environ))
session, _ = KubernetesSparkSessions().open(catalog.spark_conf(), PROFILES["small"], 0)
print(session.sparkContext.getConf().toDebugString())
print([tuple(row) for row in session.sql("SET").collect()])
print(session._jsc.hadoopConfiguration().getPropsWithPrefix(""))
print(session._jvm.java.lang.System.getProperties())
"""
