"""One description of a catalog gives PyIceberg's properties and Spark's settings."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import chdir, closing
from pathlib import Path
from queue import Queue
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, TableAlreadyExistsError
from pyiceberg.io import FileIO
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import SetPropertiesUpdate
from sqlalchemy.exc import OperationalError

from affirm_assets.cli import main
from affirm_assets.steps.published import PUBLISHED_PROPERTY
from affirm_assets.steps.tables import load_if_exists
from resources import iceberg
from resources.iceberg import (
    CatalogDamaged,
    CatalogError,
    CatalogLost,
    CatalogUnreachable,
    IcebergCatalog,
    MetadataUnreadable,
    Registration,
)
from tests.servers import LOCALHOST, REGION, Postgres, S3Server

S3 = {"warehouse": "s3://books/warehouse", "region": "eu-west-1"}
SPARK_S3 = {
    "warehouse": "s3://books/warehouse",
    "client.region": "eu-west-1",
    "io-impl": "org.apache.iceberg.aws.s3.S3FileIO",
}
PYICEBERG_S3 = {
    "warehouse": "s3://books/warehouse",
    "py-io-impl": "pyiceberg.io.fsspec.FsspecFileIO",
    "s3.region": "eu-west-1",
}
JDBC = {"type": "jdbc", "jdbc.schema-version": "V1"}


def spark_conf(catalog: IcebergCatalog) -> dict[str, str]:
    """The catalog's settings without their prefix, and without the two that every kind has."""
    conf = catalog.spark_conf()
    assert conf.pop("spark.sql.catalog.lake") == "org.apache.iceberg.spark.SparkCatalog"
    found = {name.removeprefix("spark.sql.catalog.lake."): value for name, value in conf.items()}
    assert found.pop("cache-enabled") == "false"
    return found


def at_once(times: int, function: Callable[[], Any]) -> list[Any]:
    with ThreadPoolExecutor(times) as threads:
        return [each.result() for each in [threads.submit(function) for _ in range(times)]]


@pytest.mark.parametrize(
    ("catalog", "properties", "spark"),
    [
        pytest.param(
            IcebergCatalog(uri="sqlite:////lake/catalog.db", warehouse="file:///lake/warehouse"),
            {"uri": "sqlite:////lake/catalog.db", "warehouse": "file:///lake/warehouse"},
            {**JDBC, "uri": "jdbc:sqlite:/lake/catalog.db", "warehouse": "file:///lake/warehouse"},
            id="sqlite",
        ),
        pytest.param(
            IcebergCatalog(uri="postgresql+psycopg2://affirm@db:5432/lake?sslmode=verify-full", **S3),
            {
                **PYICEBERG_S3,
                "uri": "postgresql+psycopg2://affirm@db:5432/lake?sslmode=verify-full",
                "pool_pre_ping": "true",
            },
            {
                **SPARK_S3,
                **JDBC,
                "uri": "jdbc:postgresql://db:5432/lake?sslmode=verify-full",
                "jdbc.user": "affirm",
            },
            id="postgresql",
        ),
        pytest.param(
            IcebergCatalog(uri="https://catalog.example.com/iceberg", **S3),
            {**PYICEBERG_S3, "uri": "https://catalog.example.com/iceberg"},
            {**SPARK_S3, "type": "rest", "uri": "https://catalog.example.com/iceberg"},
            id="REST",
        ),
        pytest.param(
            IcebergCatalog(uri="glue:", **S3),
            {**PYICEBERG_S3, "glue.region": "eu-west-1"},
            {**SPARK_S3, "type": "glue"},
            id="AWS Glue",
        ),
        pytest.param(
            IcebergCatalog(uri="glue:", s3_endpoint="http://10.0.0.1:9000", **S3),
            {**PYICEBERG_S3, "glue.region": "eu-west-1", "s3.endpoint": "http://10.0.0.1:9000"},
            {**SPARK_S3, "type": "glue", "s3.endpoint": "http://10.0.0.1:9000", "s3.path-style-access": "true"},
            id="another S3",
        ),
    ],
)
def test_settings_of_both_engines(catalog: IcebergCatalog, properties: dict[str, str], spark: dict[str, str]) -> None:
    assert catalog.properties() == properties
    assert spark_conf(catalog) == spark


def test_a_catalog_of_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one of .*'glue'.*; found 'thrift'"):
        IcebergCatalog(uri="thrift://hive:9083", warehouse="file:///lake").spark_conf()


def test_glue_is_loaded_with_the_region() -> None:
    """Making the client asks nobody; the tests call no AWS."""
    catalog = IcebergCatalog(uri="glue:", **S3).load()
    assert type(catalog).__name__ == "GlueCatalog"
    assert catalog.glue.meta.region_name == "eu-west-1"  # type: ignore[attr-defined]


def test_first_steps_of_a_new_lake_load_its_catalog_at_once(tmp_path: Path) -> None:
    """One lake in five failed: SQLite says by an OperationalError that another one has made a table meanwhile."""
    for number in range(30):
        catalog = IcebergCatalog(uri=f"sqlite:///{tmp_path}/{number}.db", warehouse=f"file://{tmp_path}/{number}")
        assert [loaded.list_namespaces() for loaded in at_once(4, catalog.load)] == [[]] * 4


def test_a_metadata_file_is_read_once_while_its_table_is_held_and_others_commits_are_seen(
    catalog: IcebergCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = catalog.load(), catalog.load()
    mine.create_namespace("tests")
    mine.create_table("tests.amounts", pa.schema([("id", pa.string())]))
    read: list[str] = []
    original = iceberg.FromInputFile.table_metadata

    def counted(file: Any) -> TableMetadata:
        read.append(file.location)
        return original(file)

    monkeypatch.setattr("pyiceberg.catalog.sql.FromInputFile.table_metadata", counted)
    held = mine.load_table("tests.amounts")
    assert mine.load_table("tests.amounts").metadata is held.metadata
    mine.load_table("tests.amounts").transaction().set_properties({"mine": "1"}).commit_transaction()
    assert "mine" not in held.properties
    assert len(read) == 1
    theirs.load_table("tests.amounts").transaction().set_properties({"theirs": "1"}).commit_transaction()
    held = mine.load_table("tests.amounts")
    assert (held.properties["mine"], held.properties["theirs"]) == ("1", "1")
    assert read[-1] == held.metadata_location
    del held
    mine.load_table("tests.amounts")
    assert read[-2:] == [read[-1]] * 2


class TestPostgres:
    """A real one."""

    def test_loads_with_the_password_of_the_environment(self, database: Postgres, tmp_path: Path) -> None:
        database.create_database("catalog")
        loaded = IcebergCatalog(uri=database.catalog_uri("catalog"), warehouse=f"file://{tmp_path}").load()
        loaded.create_namespace("loans")
        assert loaded.list_namespaces() == [("loans",)]

    def test_first_steps_of_a_new_catalog_load_it_at_once(self, database: Postgres, tmp_path: Path) -> None:
        for number in range(5):
            database.create_database(f"new_{number}")
            catalog = IcebergCatalog(uri=database.catalog_uri(f"new_{number}"), warehouse=f"file://{tmp_path}")
            assert [loaded.list_namespaces() for loaded in at_once(4, catalog.load)] == [[]] * 4

    def test_first_steps_of_a_domain_make_its_namespace_at_once(self, database: Postgres, tmp_path: Path) -> None:
        database.create_database("namespaces")
        catalogs = Queue[Catalog]()
        for _ in range(4):
            catalogs.put(IcebergCatalog(uri=database.catalog_uri("namespaces"), warehouse=f"file://{tmp_path}").load())

        def make_all() -> None:
            catalog = catalogs.get()
            for number in range(20):
                catalog.create_namespace_if_not_exists(f"domain_{number}")

        at_once(4, make_all)
        loaded = IcebergCatalog(uri=database.catalog_uri("namespaces"), warehouse=f"file://{tmp_path}").load()
        assert len(loaded.list_namespaces()) == 20

    def test_wrong_password(self, database: Postgres, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGPASSWORD", "hunter2")
        uri = database.catalog_uri("postgres")
        with pytest.raises(CatalogUnreachable, match='password authentication failed for user "affirm"') as refused:
            IcebergCatalog(uri=uri, **S3).load()
        assert f"catalog {uri}: expected a database that this user may use" in str(refused.value)
        assert "hunter2" not in str(refused.value)

    def test_no_such_database(self, database: Postgres) -> None:
        with pytest.raises(CatalogUnreachable, match='database "nowhere" does not exist'):
            IcebergCatalog(uri=database.catalog_uri("nowhere"), **S3).load()

    def test_nobody_answers(self) -> None:
        uri = f"postgresql+psycopg2://affirm@{LOCALHOST}:1/lake"
        with pytest.raises(CatalogUnreachable, match="Connection refused"):
            IcebergCatalog(uri=uri, **S3).load()


class TestPassword:
    SHARE = (
        "import os, resources.pgpass as p; p.share_password(); first = os.environ.get('PGPASSFILE');"
        "p.share_password();"
        "print(first, os.environ.get('PGPASSFILE'), oct(os.stat(first).st_mode) if first else None);"
        "print(open(first).read() if first else '', end='')"
    )

    def shared(self, tmp_path: Path, **environ: str) -> list[str]:
        ran = subprocess.run(
            [sys.executable, "-c", self.SHARE],
            env={"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path), **environ},
            capture_output=True,
            text=True,
            check=True,
        )
        assert list(tmp_path.iterdir()) == []  # gone with its process
        return ran.stdout.splitlines()

    def test_is_in_a_file_that_only_its_user_reads(self, tmp_path: Path) -> None:
        names, content = self.shared(tmp_path, PGPASSWORD=r"a:b\c")
        first, second, mode = names.split()
        assert first == second
        assert Path(first).parent == tmp_path
        assert stat.S_IMODE(int(mode, 8)) == 0o600
        assert content == r"*:*:*:*:a\:b\\c"

    def test_replaces_the_file_of_a_parent_that_may_end_first(self, tmp_path: Path) -> None:
        names, _ = self.shared(tmp_path, PGPASSWORD="x", PGPASSFILE="/of/the/parent")
        assert Path(names.split()[0]).parent == tmp_path

    def test_without_one_there_is_no_file(self, tmp_path: Path) -> None:
        assert self.shared(tmp_path) == ["None None None"]


def create(catalog: Catalog) -> None:
    catalog.create_table("loans.loans", pa.schema([("id", pa.string())]))


def create_in_transaction(catalog: Catalog) -> None:
    catalog.create_table_transaction("loans.loans", pa.schema([("id", pa.string())])).commit_transaction()


def register_tables(folder: Path, *options: str) -> Result:
    """The command on a lake in this folder."""
    environment = {
        "AFFIRM_DEPLOYMENT": "local",
        "AFFIRM_LAKE": str(folder),
        "AFFIRM_CATALOG_URI": f"sqlite:///{folder}/catalog.db",
        "AFFIRM_WAREHOUSE": f"file://{folder}/warehouse",
    }
    with chdir(folder):  # a checkout's .env would be heard
        return CliRunner().invoke(main, ["register-tables", *options], env=environment)


@pytest.fixture
def in_bucket(s3: S3Server, tmp_path: Path) -> IcebergCatalog:
    bucket = uuid4().hex
    s3.create_bucket(bucket)
    uri, warehouse = f"sqlite:///{tmp_path}/catalog.db", f"s3://{bucket}"
    return IcebergCatalog(uri=uri, warehouse=warehouse, region=REGION, s3_endpoint=s3.endpoint)


def test_no_new_table_is_begun_in_the_folder_of_another_in_a_bucket(in_bucket: IcebergCatalog, s3: S3Server) -> None:
    loaded = in_bucket.load()
    loaded.create_namespace("loans")
    create(loaded)
    loaded.drop_table("loans.loans")
    # As consoles mark a folder.
    s3.client().put_object(Bucket=in_bucket.warehouse.removeprefix("s3://"), Key="loans/loans/metadata/")
    create(loaded)  # what was dropped had never been committed to
    loaded.load_table("loans.loans").append(pa.table({"id": ["a"]}))
    loaded.drop_table("loans.loans")
    with pytest.raises(CatalogLost, match=r"loans\.loans: .* found 3 metadata files"):
        create(loaded)
    assert [table.name() for table in in_bucket.register_tables().registered] == [("loans", "loans")]


def test_what_others_write_into_a_folder_of_a_bucket_after_it_was_looked_at_is_found(
    in_bucket: IcebergCatalog, s3: S3Server
) -> None:
    loaded = in_bucket.load()
    loaded.create_namespace("loans")
    create(loaded)
    loaded.load_table("loans.loans").append(pa.table({"id": ["a"]}))
    loaded.drop_table("loans.loans")
    *_, newest = in_bucket.tables_in_warehouse()["loans.loans"]
    with pytest.raises(CatalogLost):
        loaded.load_table("loans.loans")
    others, bucket = newest.replace("00001-", "00002-"), in_bucket.warehouse.removeprefix("s3://")
    source, target = (each.removeprefix(f"{in_bucket.warehouse}/") for each in (newest, others))
    s3.client().copy_object(Bucket=bucket, Key=target, CopySource={"Bucket": bucket, "Key": source})
    loaded.register_table("loans.loans", others)
    assert loaded.load_table("loans.loans").scan().to_arrow()["id"].to_pylist() == ["a"]


class TestLost:
    """A catalog that is gone or damaged while the warehouse is full."""

    @pytest.fixture
    def full(self, tmp_path: Path) -> IcebergCatalog:
        catalog = IcebergCatalog(uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
        loaded = catalog.load()
        loaded.create_namespace("loans")
        table = loaded.create_table("loans.loans", pa.schema([("id", pa.string())]))
        table.append(pa.table({"id": ["a"]}))
        table.append(pa.table({"id": ["b"]}))
        return catalog

    def test_no_new_lake_is_begun_over_an_old_one(self, full: IcebergCatalog, tmp_path: Path) -> None:
        (tmp_path / "catalog.db").unlink()
        with pytest.raises(
            CatalogLost, match=r"expected the 1 tables .* \(such as loans.loans\), found none"
        ) as caught:
            full.load()
        assert ".venv/bin/affirm register-tables" in str(caught.value)

    @pytest.mark.parametrize("uri", ["http://127.0.0.1:1/catalog", "glue:"])
    def test_those_of_a_service_are_registered_by_its_own_means(self, uri: str) -> None:
        with pytest.raises(CatalogError, match="expected one in SQLite or PostgreSQL, found a service"):
            IcebergCatalog(uri=uri, **S3).register_tables()

    def test_tables_are_registered_again_by_their_newest_metadata(self, full: IcebergCatalog, tmp_path: Path) -> None:
        (tmp_path / "catalog.db").unlink()
        assert [table.name() for table in full.register_tables().registered] == [("loans", "loans")]
        assert sorted(full.load().load_table("loans.loans").scan().to_arrow()["id"].to_pylist()) == ["a", "b"]
        assert full.register_tables() == Registration([], {}, {}, [])

    @pytest.mark.parametrize("file", ["whole", "cut off"])
    def test_a_table_whose_maker_was_killed_before_it_was_listed_is_made_anew(self, tmp_path: Path, file: str) -> None:
        """The first one of a lake, too. It was never committed to, so that nothing is lost."""
        catalog = IcebergCatalog(uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")
        loaded = catalog.load()
        loaded.create_namespace("loans")
        create(loaded)
        loaded.drop_table("loans.loans")
        if file == "cut off":
            [left] = catalog.tables_in_warehouse()["loans.loans"]
            os.truncate(left.removeprefix("file://"), 100)

        loaded = catalog.load()
        assert load_if_exists(loaded, "loans.loans") is None
        create(loaded)
        loaded.load_table("loans.loans").append(pa.table({"id": ["a"]}))
        assert len(catalog.tables_in_warehouse()["loans.loans"]) == 3

        (tmp_path / "catalog.db").unlink()
        with pytest.raises(CatalogLost, match=r"expected the 1 tables"):
            catalog.load()
        catalog.register_tables()
        assert catalog.load().load_table("loans.loans").scan().to_arrow()["id"].to_pylist() == ["a"]

    def test_a_table_that_was_never_committed_to_is_not_registered(self, full: IcebergCatalog, tmp_path: Path) -> None:
        """Its maker may be at work, and would remove the file that the catalog names."""
        full.load().create_table("loans.others", pa.schema([("id", pa.string())]))
        [left] = full.tables_in_warehouse()["loans.others"]
        (tmp_path / "catalog.db").unlink()
        assert "loans.others: passed over, nothing was ever committed to it" in register_tables(tmp_path).output
        assert full.load().list_tables("loans") == [("loans", "loans")]
        assert [table.name() for table in full.register_tables([left]).registered] == [("loans", "others")]

    @pytest.mark.parametrize("sees", ["links", "data"])
    def test_a_table_is_lost_whatever_its_folder_holds(self, full: IcebergCatalog, tmp_path: Path, sees: str) -> None:
        """Files that are links. Data beside the first metadata file: the others went elsewhere."""
        others = full.load().create_table("loans.others", pa.schema([("id", pa.string())]))
        if sees == "data":
            with others.transaction() as change:
                change.set_properties({"write.metadata.path": f"file://{tmp_path}/elsewhere"})
            full.load().load_table("loans.others").append(pa.table({"id": ["a"]}))
        else:
            others.append(pa.table({"id": ["a"]}))
            for file in (tmp_path / "warehouse/loans/others/metadata").iterdir():
                file.rename(tmp_path / file.name)
                file.symlink_to(tmp_path / file.name)
        full.load().drop_table("loans.others")
        with pytest.raises(CatalogLost, match=r"loans\.others: the catalog does not know it"):
            full.load().load_table("loans.others")

    def test_a_first_table_that_was_published_while_it_was_looked_for_is_not_lost(
        self, full: IcebergCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "catalog.db").unlink()
        look = IcebergCatalog.tables_in_warehouse

        def another_registers(catalog: IcebergCatalog) -> Mapping[str, Sequence[str]]:
            monkeypatch.setattr(IcebergCatalog, "tables_in_warehouse", look)
            catalog.register_tables()
            return look(catalog)

        monkeypatch.setattr(IcebergCatalog, "tables_in_warehouse", another_registers)
        assert full.load().list_tables("loans") == [("loans", "loans")]

    def test_namespaces_alone_are_no_catalog(self, full: IcebergCatalog) -> None:
        full.load().drop_table("loans.loans")
        with pytest.raises(CatalogLost, match=r"expected the 1 tables"):
            full.load()

    @pytest.mark.parametrize("make", [create, create_in_transaction])
    def test_no_new_table_is_begun_in_the_folder_of_another(
        self, full: IcebergCatalog, make: Callable[[Catalog], object]
    ) -> None:
        loaded = full.load()
        files = full.tables_in_warehouse()
        loaded.drop_table("loans.loans")
        with pytest.raises(CatalogLost, match=r"loans\.loans: .* found 3 metadata files") as caught:
            make(loaded)
        assert ".venv/bin/affirm register-tables" in str(caught.value)
        assert full.tables_in_warehouse() == files

    def test_a_table_that_the_catalog_has_lost_is_none_that_was_never_made(self, full: IcebergCatalog) -> None:
        loaded = full.load()
        loaded.create_table("loans.others", pa.schema([("id", pa.string())]))
        loaded.drop_table("loans.loans")
        with pytest.raises(
            CatalogLost, match=r"loans\.loans: .* found 3 metadata files .* would read as never published"
        ):
            load_if_exists(loaded, "loans.loans")
        assert load_if_exists(loaded, "loans.never") is None
        assert load_if_exists(loaded, "never.loans") is None

    def test_a_table_is_lost_with_its_namespace(self, full: IcebergCatalog, tmp_path: Path) -> None:
        loaded = full.load()
        loaded.create_namespace("others")
        loaded.create_table("others.others", pa.schema([("id", pa.string())]))
        loaded.drop_table("loans.loans")
        loaded.drop_namespace("loans")
        with pytest.raises(CatalogLost, match=r"loans\.loans: .* found 3 metadata files"):
            loaded.load_table("loans.loans")

    def test_a_table_that_is_known_costs_no_listing(
        self, full: IcebergCatalog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaded = full.load()
        monkeypatch.setattr(iceberg, "_committed", None)
        loaded.load_table("loans.loans")

    def test_a_table_that_another_process_publishes_meanwhile_is_not_lost(
        self, full: IcebergCatalog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It had no row when it was looked for, and has files when they are looked for."""
        loaded = full.load()
        *_, newest = full.tables_in_warehouse()["loans.loans"]
        committed = iceberg._committed

        def another_registers(*of: Any) -> list[str]:
            loaded.register_table("loans.loans", newest)
            return committed(*of)

        monkeypatch.setattr(iceberg, "_committed", another_registers)
        loaded.drop_table("loans.loans")
        with pytest.raises(TableAlreadyExistsError, match=r"loans\.loans"):
            create(loaded)
        loaded.drop_table("loans.loans")
        assert loaded.load_table("loans.loans").metadata_location == newest

    def test_of_two_that_create_a_table_at_once_the_other_leaves_no_file(
        self, full: IcebergCatalog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaded = full.load()
        files = full.tables_in_warehouse()
        monkeypatch.setattr(iceberg, "_committed", lambda *_: [])  # when it looked, there was nothing
        with pytest.raises(TableAlreadyExistsError):
            create(loaded)
        assert full.tables_in_warehouse() == files

    def test_a_commit_that_was_overtaken_leaves_no_metadata_file(
        self, full: IcebergCatalog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        loaded = full.load()
        table = loaded.load_table("loans.loans")
        write = SqlCatalog._write_metadata

        def overtaken(metadata: TableMetadata, io: FileIO, metadata_path: str) -> None:
            write(metadata, io, metadata_path)
            monkeypatch.setattr(SqlCatalog, "_write_metadata", staticmethod(write))
            full.load().load_table("loans.loans").append(pa.table({"id": ["c"]}))

        monkeypatch.setattr(SqlCatalog, "_write_metadata", staticmethod(overtaken))
        with pytest.raises(CommitFailedException):
            loaded.commit_table(table, (), (SetPropertiesUpdate(updates={"a": "b"}),))
        files = full.tables_in_warehouse()["loans.loans"]
        assert len(files) == 4
        assert files[-1] == full.load().load_table("loans.loans").metadata_location

    def test_a_metadata_file_that_cannot_be_written_is_not_left(
        self, full: IcebergCatalog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        files = full.tables_in_warehouse()
        table = full.load().load_table("loans.loans")

        def full_disk(metadata: TableMetadata, io: FileIO, metadata_path: str) -> None:
            Path(metadata_path.removeprefix("file://")).write_text('{"format-version"')
            raise OSError("No space left on device")

        monkeypatch.setattr(SqlCatalog, "_write_metadata", staticmethod(full_disk))
        with pytest.raises(OSError, match="No space left"):
            table.append(pa.table({"id": ["c"]}))
        assert full.tables_in_warehouse() == files

    def test_a_commit_whose_outcome_is_unknown_keeps_its_metadata_file(
        self, full: IcebergCatalog, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        table = full.load().load_table("loans.loans")

        def no_answer(*_: object) -> None:
            raise OperationalError("COMMIT", None, Exception("the server closed the connection"))

        monkeypatch.setattr("sqlalchemy.orm.Session.commit", no_answer)
        with pytest.raises(OperationalError):
            table.append(pa.table({"id": ["c"]}))
        assert len(full.tables_in_warehouse()["loans.loans"]) == 4

    def test_of_two_newest_metadata_files_a_person_chooses(self, full: IcebergCatalog, tmp_path: Path) -> None:
        others = full.load().create_table("loans.others", pa.schema([("id", pa.string())]))
        others.append(pa.table({"id": ["a"]}))
        *_, newest = full.tables_in_warehouse()["loans.loans"]
        twin = newest.replace("00002-", "00002-0")
        shutil.copy(newest.removeprefix("file://"), twin.removeprefix("file://"))
        (tmp_path / "catalog.db").unlink()

        done = full.register_tables()
        assert [table.name() for table in done.registered] == [("loans", "others")]
        assert {table: set(files) for table, files in done.undecided.items()} == {"loans.loans": {newest, twin}}
        with pytest.raises(CatalogError, match=r"absent.*: expected a metadata file of a table"):
            full.register_tables(["file:///absent.metadata.json"])
        with pytest.raises(CatalogError, match=r"loans\.loans: expected one metadata file, found"):
            full.register_tables([newest, twin])

        done = full.register_tables([newest])
        assert [table.metadata_location for table in done.registered] == [newest]
        assert done.undecided == {}
        with pytest.raises(CatalogError, match=r"loans\.loans: expected a table that the catalog lacks"):
            full.register_tables([twin])

    @pytest.mark.parametrize(
        "content", [b"", b'{"format-version": 2, "loc', b"\xff\xfe"], ids=["empty", "cut", "noise"]
    )
    def test_an_unreadable_metadata_file_is_passed_over(
        self, full: IcebergCatalog, tmp_path: Path, content: bytes
    ) -> None:
        others = full.load().create_table("loans.others", pa.schema([("id", pa.string())]))
        others.append(pa.table({"id": ["a"]}))
        *_, older, newest = full.tables_in_warehouse()["loans.loans"]
        Path(newest.removeprefix("file://")).write_bytes(content)
        (tmp_path / "catalog.db").unlink()
        with pytest.raises(CatalogError, match="expected a whole metadata file"):
            full.register_tables([newest])
        done = full.register_tables()
        assert [table.name() for table in done.registered] == [("loans", "loans"), ("loans", "others")]
        assert done.registered[0].metadata_location == older
        assert list(done.unreadable) == [newest]
        assert "\n" not in done.unreadable[newest]

    def test_the_command_says_what_counts_as_published(self, full: IcebergCatalog, tmp_path: Path) -> None:
        with full.load().load_table("loans.loans").transaction() as change:
            change.set_properties({PUBLISHED_PROPERTY: "2025-01-01...2025-01-03"})
        *_, newest = full.tables_in_warehouse()["loans.loans"]
        cut = newest.replace("00003-", "00004-")
        Path(cut.removeprefix("file://")).touch()
        (tmp_path / "catalog.db").unlink()
        said = register_tables(tmp_path)
        assert said.exit_code == 0
        passed_over, registered, *_ = said.output.splitlines()
        assert passed_over.startswith(f"{cut}: passed over, it cannot be read: ")
        assert registered == f"loans.loans: {newest}, affirm.published: 2025-01-01...2025-01-03"
        assert "1 tables registered" in said.output
        assert "may be of a commit that failed" in said.output

    def test_the_command_asks_which_of_two_files(self, full: IcebergCatalog, tmp_path: Path) -> None:
        *_, newest = full.tables_in_warehouse()["loans.loans"]
        twin = newest.replace("00002-", "00002-0")
        shutil.copy(newest.removeprefix("file://"), twin.removeprefix("file://"))
        (tmp_path / "catalog.db").unlink()
        asked = register_tables(tmp_path)
        assert asked.exit_code == 1
        assert f"loans.loans: {newest}\n" in asked.output
        assert f"loans.loans: {twin}\n" in asked.output
        assert ".venv/bin/affirm register-tables --metadata FILE" in asked.output
        assert register_tables(tmp_path, "--metadata", twin).exit_code == 0
        assert full.load().load_table("loans.loans").metadata_location == twin

    @pytest.mark.parametrize("damage", [slice(0, 100), slice(4096, 4400)], ids=["header", "page"])
    def test_a_damaged_file_is_one_line(self, full: IcebergCatalog, tmp_path: Path, damage: slice) -> None:
        file = tmp_path / "catalog.db"
        content = bytearray(file.read_bytes())
        content[damage] = b"x" * (damage.stop - damage.start)
        file.write_bytes(content)
        with pytest.raises(CatalogDamaged, match="expected a whole SQLite database") as caught:
            full.load()
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE iceberg_tables SET metadata_location = CAST(x'66696c65d3' AS TEXT)",
            "UPDATE iceberg_tables SET table_namespace = CAST(x'd3' AS TEXT)",
            "ALTER TABLE iceberg_tables RENAME COLUMN metadata_location TO other",
        ],
        ids=["location", "namespace", "column"],
    )
    def test_a_damaged_row_is_one_line(self, full: IcebergCatalog, tmp_path: Path, statement: str) -> None:
        with closing(sqlite3.connect(tmp_path / "catalog.db")) as database:
            database.execute(statement)
            database.commit()
        with pytest.raises(CatalogDamaged, match="expected a whole SQLite database, found: ") as caught:
            full.load().load_table("loans.loans")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("content", [None, b"", b'{"format-version": 2, "loc', b"\xff\xfe"])
    def test_a_metadata_file_that_is_not_whole_is_one_line(self, full: IcebergCatalog, content: bytes | None) -> None:
        newest = full.tables_in_warehouse()["loans.loans"][-1]
        file = Path(newest.removeprefix("file://"))
        file.unlink()
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(MetadataUnreadable, match=r"loans\.loans: expected a whole metadata file") as caught:
            full.load().load_table("loans.loans")
        assert newest in str(caught.value)
        assert "\n" not in str(caught.value)
