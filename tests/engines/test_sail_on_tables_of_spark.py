"""What the engine sail does with tables that Spark wrote to or changed: the same rows, or a refusal that says why."""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from affirm_assets.declare import Window
from affirm_assets.engines.sail import SailEngine
from affirm_assets.errors import NotPlain
from affirm_assets.steps.engine import Days, Staged, Target
from affirm_assets.steps.lineage import ColumnRef
from resources.iceberg import IcebergCatalog
from resources.sail import SailSessions
from resources.spark import SparkSessions

WANTED = T.StructType([T.StructField(name, T.LongType()) for name in ("id", "n")])
MERGE_ON_READ = "TBLPROPERTIES ('write.delete.mode'='merge-on-read', 'write.update.mode'='merge-on-read')"
V3 = "TBLPROPERTIES ('format-version'='3', 'write.delete.mode'='merge-on-read')"


@pytest.fixture
def spark(sessions: SparkSessions, catalog: IcebergCatalog) -> SparkSession:
    session = sessions.session(catalog.spark_conf())
    session.sql("CREATE NAMESPACE lake.tests")
    return session


@pytest.fixture
def engine() -> Iterator[SailEngine]:
    engine = SailEngine(SailSessions().open, "")
    yield engine
    engine.close()


def make(spark: SparkSession, catalog: IcebergCatalog, properties: str, *changes: str) -> Table:
    spark.sql(f"CREATE TABLE lake.tests.t (id BIGINT, n BIGINT) USING iceberg {properties}")
    for change in ("INSERT INTO lake.tests.t SELECT id, id FROM range(0, 100, 1, 1)", *changes):
        spark.sql(change)
    return catalog.load().load_table("tests.t")


def add(table: Table, staged: Staged) -> None:
    with table.transaction() as transaction, transaction.update_snapshot().fast_append() as append:
        for file in staged.files:
            append.append_data_file(file)


def rows(engine: SailEngine, table: Table, wanted: T.StructType = WANTED) -> list[Any]:
    current = table.current_snapshot()
    assert current is not None
    return sorted(map(tuple, engine.read(table, current.snapshot_id, wanted, None).collect()))


PLAIN = {
    "copy on write": ("", "DELETE FROM lake.tests.t WHERE id % 2 = 0"),
    "another partition spec": (
        "",
        "ALTER TABLE lake.tests.t ADD PARTITION FIELD bucket(4, id)",
        "INSERT INTO lake.tests.t VALUES (100, 100)",
    ),
    "a sort order": ("", "ALTER TABLE lake.tests.t WRITE ORDERED BY n DESC", "INSERT INTO lake.tests.t VALUES (7, 8)"),
    "compacted": (
        "",
        "INSERT INTO lake.tests.t VALUES (7, 8)",
        "CALL lake.system.rewrite_data_files(table => 'tests.t', options => map('rewrite-all', 'true'))",
    ),
    "format version 3": ("TBLPROPERTIES ('format-version'='3')", "INSERT INTO lake.tests.t VALUES (7, 8)"),
    "an added column": (
        "",
        "ALTER TABLE lake.tests.t ADD COLUMN late STRING",
        "INSERT INTO lake.tests.t VALUES (7,8,'x')",
    ),
}

NOT_PLAIN = {
    "position deletes": ("deleted by other files", MERGE_ON_READ, "DELETE FROM lake.tests.t WHERE id % 2 = 0"),
    "deletion vectors": ("deleted by other files", V3, "DELETE FROM lake.tests.t WHERE id % 2 = 0"),
    "ORC": ("it is ORC", "TBLPROPERTIES ('write.format.default'='orc')"),
    "Avro": ("it is AVRO", "TBLPROPERTIES ('write.format.default'='avro')"),
    "a renamed column": (
        "is called n now",
        "",
        "ALTER TABLE lake.tests.t RENAME COLUMN n TO m",
        "ALTER TABLE lake.tests.t RENAME COLUMN m TO n",
        "ALTER TABLE lake.tests.t RENAME COLUMN n TO m",
        "INSERT INTO lake.tests.t VALUES (7, 8)",
        "ALTER TABLE lake.tests.t RENAME COLUMN m TO n",
        "INSERT INTO lake.tests.t VALUES (7, 8)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PLAIN)
def test_rows_are_those_that_spark_reads(
    case: str, spark: SparkSession, catalog: IcebergCatalog, engine: SailEngine
) -> None:
    table = make(spark, catalog, *PLAIN[case])
    expected = sorted(map(tuple, spark.table("lake.tests.t").select("id", "n").collect()))
    assert rows(engine, table) == expected


@pytest.mark.parametrize("case", NOT_PLAIN)
def test_what_is_not_plain_is_refused(
    case: str, spark: SparkSession, catalog: IcebergCatalog, engine: SailEngine
) -> None:
    reason, *made = NOT_PLAIN[case]
    with pytest.raises(NotPlain, match=reason):
        rows(engine, make(spark, catalog, *made))


def test_deletes_elsewhere_do_not_matter(spark: SparkSession, catalog: IcebergCatalog, engine: SailEngine) -> None:
    made = make(spark, catalog, MERGE_ON_READ, "DELETE FROM lake.tests.t WHERE id = 1")
    spark.sql("CALL lake.system.rewrite_data_files(table => 'tests.t', options => map('rewrite-all', 'true'))")
    table = made.catalog.load_table(made.name())
    assert len(rows(engine, table)) == 99


def test_spark_reads_what_sail_staged(spark: SparkSession, catalog: IcebergCatalog, engine: SailEngine) -> None:
    table = make(spark, catalog, "")
    with engine.active():
        staged = engine.stage(
            engine.session.range(100, 200).selectExpr("id", "id AS n"), Target(table, None, "wap", {})
        )
    add(table, staged)
    read = spark.sql("SELECT count(DISTINCT id), sum(n), min(id) FROM lake.tests.t").collect()[0]
    assert tuple(read) == (200, 199 * 100, 0)
    assert spark.sql("SELECT count(*) FROM lake.tests.t WHERE id = 150").collect()[0][0] == 1


class TestFilesOfSeveralWriters:
    """Files say how their writer held text. Spark's say nothing; PyIceberg's, and once Sail's, say large."""

    BY = "spark", "sail", "pyiceberg"
    WANTED = T.StructType(
        [
            T.StructField("day", T.DateType()),
            T.StructField("id", T.StringType()),
            T.StructField("amount", T.DecimalType(18, 2)),
            T.StructField("paid_at", T.TimestampType()),
        ]
    )

    @pytest.fixture
    def table(self, spark: SparkSession, catalog: IcebergCatalog, engine: SailEngine) -> Table:
        """A day by each."""
        spark.sql(
            "CREATE TABLE lake.tests.t (day DATE, id STRING, amount DECIMAL(18,2), paid_at TIMESTAMP) "
            "USING iceberg PARTITIONED BY (day)"
        )
        of_spark, of_sail, of_pyiceberg = (
            [(date(2025, 1, n), by, Decimal(n), datetime(2025, 1, n, n, tzinfo=UTC))] for n, by in enumerate(self.BY, 1)
        )
        spark.createDataFrame(of_spark, self.WANTED).writeTo("lake.tests.t").append()
        table = catalog.load().load_table("tests.t")
        day = of_sail[0][0]
        with engine.active():
            frame = engine.session.createDataFrame(of_sail, self.WANTED)
            add(table, engine.stage(frame, Target(table, Days("day", Window(day, day)), "wap", {})))
        table = table.catalog.load_table(table.name())
        arrow = schema_to_pyarrow(table.schema(), include_field_ids=False)
        assert pa.types.is_large_string(arrow.field("id").type)
        table.append(pa.table(list(zip(*of_pyiceberg, strict=True)), schema=arrow))
        return table.catalog.load_table(table.name())

    def test_are_read_in_one_scan(self, spark: SparkSession, table: Table, engine: SailEngine) -> None:
        expected = sorted(map(tuple, spark.table("lake.tests.t").collect()))
        assert [each[1] for each in expected] == list(self.BY)
        assert rows(engine, table, self.WANTED) == expected

    def test_are_a_frame_like_any_other(self, table: Table, engine: SailEngine) -> None:
        """Selected from, united and filtered, on which a plain union of the files fails; with its lineage and sums."""
        snapshot = table.current_snapshot()
        assert snapshot is not None
        with engine.active():
            read = engine.read(table, snapshot.snapshot_id, self.WANTED, None)
            twice = read.selectExpr("day", "id", "amount", "paid_at").union(read)
            found = twice.where("amount > 1")
            assert sorted(each.id for each in found.collect()) == ["pyiceberg", "pyiceberg", "sail", "sail"]
            days = Days("day", Window(date(2025, 1, 2), date.max))
            last = engine.read(table, snapshot.snapshot_id, self.WANTED, days)
            assert sorted(each.id for each in last.collect()) == ["pyiceberg", "sail"]
        assert engine.lineage(found) == {
            name: {ColumnRef("tests.t", name)} for name in ("day", "id", "amount", "paid_at")
        }
        staged = engine.stage(found, Target(table, Days("day", Window(date.min, date.max)), "wap", {}))
        assert (staged.rows, staged.sums) == (4, {"amount": Decimal("10.00")})
