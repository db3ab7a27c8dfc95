"""Tables on a real S3, listed in a real PostgreSQL, of files that arrived on S3: as on Kubernetes, in one process."""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import date
from typing import Any

import dagster as dg
import pytest
from pyspark.sql import DataFrame, SparkSession

from affirm_assets.declare.contract import Contract, column, key
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.definitions import build_defs
from affirm_assets.settings import SAIL, SPARK, Settings
from affirm_assets.steps.storage import Storage
from affirm_assets.stores import catalog_of, landing_zone_of
from resources.landing import LandingFileChanged
from resources.landing.stores import Bucket
from resources.sail import SailSessions
from resources.spark import SparkSessions
from tests.conftest import declare, opens_engine
from tests.integration.books import jsonl, loan
from tests.servers import PASSWORD, REGION, SECRET_KEY, SECRETS, Postgres, S3Server
from tests.storage import NewStorage, Steps, StorageWithEngine, on_spark

D1, D2 = date(2025, 1, 2), date(2025, 1, 3)
FEED = {
    D1: {"a.jsonl": jsonl([loan(loan_id="L1")]), "b.csv": b"loan_id,principal\nL2,10.00\n"},
    D2: {"a.jsonl": jsonl([loan(loan_id="L3", principal="200.50"), loan(loan_id="bad", currency="EUR")])},
}
SELECTED = ("landing/loan_rows", "loans/loans", "loans/rejected_loans")


@pytest.fixture(scope="session")  # the tests on Spark are run apart from the others of this file
def settings(database: Postgres, s3: S3Server) -> Settings:
    database.create_database("lake")
    s3.create_bucket("books")
    return Settings.of(
        {
            "AFFIRM_DEPLOYMENT": "kubernetes",
            "AFFIRM_CATALOG_URI": database.catalog_uri("lake"),
            "AFFIRM_WAREHOUSE": "s3://books/warehouse",
            "AFFIRM_LANDING": "s3://books/landing",
            "AFFIRM_S3_ENDPOINT": s3.endpoint,
            "AFFIRM_FIRST_BUSINESS_DATE": str(D1),
            "AWS_REGION": REGION,
            **SECRETS,
        }
    )


@pytest.fixture(scope="module", params=[SAIL, SPARK])
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def new_storage(engine: str, settings: Settings, s3: S3Server, request: pytest.FixtureRequest) -> Iterator[NewStorage]:
    catalog, landing = catalog_of(settings), landing_zone_of(settings)
    opens = opens_engine(engine, catalog.spark_conf(), request, SailSessions(s3.endpoint, REGION))
    with ExitStack() as opened:

        def make() -> StorageWithEngine:
            return opened.enter_context(closing(StorageWithEngine(catalog.load(), landing, catalog.name, opens=opens)))

        yield make


@pytest.fixture(scope="module")
def spark_storage(settings: Settings, sessions: SparkSessions) -> StorageWithEngine:
    catalog, landing = catalog_of(settings), landing_zone_of(settings)
    return on_spark(Storage(catalog.load(), landing, catalog.name), sessions.session(catalog.spark_conf()))


@pytest.fixture(scope="module")
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture(scope="module")
def run(settings: Settings, spark_if_needed: SparkSessions, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    """Two days, through Dagster."""
    store = landing_zone_of(settings).store
    assert isinstance(store, Bucket)
    for day, files in FEED.items():
        for name, content in {**files, "_SUCCESS": b""}.items():
            store.put(f"loans/{day}/{name}", content)
    defs = build_defs(settings, resource_overrides={"spark": spark_if_needed})
    job = dg.define_asset_job("two_days", selection=dg.AssetSelection.assets(*(k.split("/") for k in SELECTED)))
    resolved = dg.Definitions.merge(defs, dg.Definitions(jobs=[job])).resolve_job_def("two_days")
    tags = {"dagster/asset_partition_range_start": str(D1), "dagster/asset_partition_range_end": str(D2)}
    return resolved.execute_in_process(instance=instance, tags=tags)


class TestRun:
    def test_tables_hold_what_arrived(self, run: dg.ExecuteInProcessResult, settings: Settings) -> None:
        table = catalog_of(settings).load().load_table("loans.loans")
        rows = table.scan().to_arrow().select(["loan_id", "booked_on"]).to_pylist()
        assert sorted((row["loan_id"], row["booked_on"]) for row in rows) == [("L1", D1), ("L3", D2)]
        assert table.location() == "s3://books/warehouse/loans/loans"
        rejected = catalog_of(settings).load().load_table("loans.rejected_loans").scan().to_arrow()
        assert sorted(rejected["loan_id"].to_pylist()) == ["L2", "bad"]

    def test_no_secret_is_in_an_event(self, run: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> None:
        events = "\n".join(map(repr, instance.all_logs(run.run_id)))
        assert "s3://books/warehouse/loans/loans" in events
        assert [name for name, secret in SECRETS.items() if secret in events] == []


def amounts_of(name: str, *rows: tuple[str, date, int]) -> Any:
    class Amounts(Contract):
        """Numbers by day."""

        id: str = key("Id")
        day: date = key("Day")
        amount: int = column("Amount", ge=0)

    def amounts() -> DataFrame:
        """Its rows."""
        return SparkSession.active().createDataFrame(list(rows), "id string, day date, amount long")

    return declare(amounts, Amounts, Daily("day"), name=name)


class TestStep:
    def test_publishes_one_day_and_then_another(self, engine: str, new_storage: NewStorage) -> None:
        steps, name = Steps(new_storage), f"amounts_of_{engine}"
        first = steps.run(amounts_of(name, ("a", D1, 1)), Window(D1, D1), run="first")
        steps.run(amounts_of(name, ("b", D2, 2)), Window(D2, D2), run="second")
        again = steps.run(amounts_of(name, ("a", D1, 1)), Window(D1, D1), run="first")
        assert not first.already_published
        assert (again.already_published, again.snapshot) == (True, first.snapshot)
        assert steps.rows(amounts_of(name)) == [("a", D1, 1), ("b", D2, 2)]

    def test_a_file_that_changed_after_it_was_pinned_stops_it(
        self, run: dg.ExecuteInProcessResult, new_storage: NewStorage
    ) -> None:
        storage = new_storage()
        store = storage.landing.store  # type: ignore[attr-defined]
        day = date(2025, 2, 1)
        for name, content in {"a.jsonl": jsonl([loan()]), "_SUCCESS": b""}.items():
            store.put(f"loans/{day}/{name}", content)
        pinned = storage.landing.pin("loans", day, day)
        store.put(f"loans/{day}/a.jsonl", jsonl([loan(borrower_state="NY")]))
        with storage.own.active(), pytest.raises(Exception, match=LandingFileChanged.__name__):
            storage.landing.read(storage.spark, pinned, {"loan_id": "text"}).collect()


def dump(session: SparkSession) -> str:
    """Every setting that Spark, Hadoop and the JVM have."""
    java: Any = session._jvm
    context: Any = session.sparkContext
    hadoop = [
        session._jsc.hadoopConfiguration(),  # type: ignore[attr-defined]
        session._jsparkSession.sessionState().newHadoopConf(),  # type: ignore[attr-defined]
        java.org.apache.spark.deploy.SparkHadoopUtil.get().conf(),
    ]
    texts = [str(context.getConf().getAll()), str(session.conf.getAll), java.System.getProperties().toString()]
    for conf in hadoop:
        writer = java.java.io.StringWriter()
        java.org.apache.hadoop.conf.Configuration.dumpConfiguration(conf, writer)
        texts.append(writer.toString())
    return "\n".join(texts)


class TestSecrets:
    def test_are_in_no_setting_of_spark(self, spark_storage: StorageWithEngine) -> None:
        session = spark_storage.spark
        environment: Any = session._jvm.System.getenv()  # type: ignore[union-attr]
        assert (environment["AWS_SECRET_ACCESS_KEY"], environment["PGPASSWORD"]) == (SECRET_KEY, PASSWORD)
        settings = dump(session)
        assert "s3://books/warehouse" in settings
        assert "fs.s3a.connection.maximum" in settings
        assert [name for name, secret in SECRETS.items() if secret in settings] == []

    def test_are_in_no_metadata_of_the_tables(self, run: dg.ExecuteInProcessResult, s3: S3Server) -> None:
        client = s3.client()
        keys = [
            each["Key"]
            for each in client.list_objects_v2(Bucket="books", Prefix="warehouse/loans/loans/metadata/")["Contents"]
        ]
        metadata = b"".join(client.get_object(Bucket="books", Key=key)["Body"].read() for key in keys)
        assert keys
        assert [name for name, secret in SECRETS.items() if secret.encode() in metadata] == []
