"""One description of a catalog gives PyIceberg's properties and Spark's settings."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from resources.iceberg import CatalogDamaged, CatalogLost, CatalogUnreachable, IcebergCatalog
from tests.servers import LOCALHOST, Postgres

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
        assert "affirm register-tables" in str(caught.value)

    def test_tables_are_registered_again_by_their_newest_metadata(self, full: IcebergCatalog, tmp_path: Path) -> None:
        (tmp_path / "catalog.db").unlink()
        assert list(full.register_tables()) == ["loans.loans"]
        assert sorted(full.load().load_table("loans.loans").scan().to_arrow()["id"].to_pylist()) == ["a", "b"]
        assert full.register_tables() == {}

    @pytest.mark.parametrize("damage", [slice(0, 100), slice(4096, 4400)], ids=["header", "page"])
    def test_a_damaged_file_is_one_line(self, full: IcebergCatalog, tmp_path: Path, damage: slice) -> None:
        file = tmp_path / "catalog.db"
        content = bytearray(file.read_bytes())
        content[damage] = b"x" * (damage.stop - damage.start)
        file.write_bytes(content)
        with pytest.raises(CatalogDamaged, match="expected a whole SQLite database") as caught:
            full.load()
        assert "\n" not in str(caught.value)
