"""Native operators beside Spark's own, in one JVM: the same rows of tables that others change, the same errors."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.steps.request import RESULT_SETTINGS
from resources.iceberg import IcebergCatalog
from resources.spark import SparkSessions
from tests.engines.test_sail_on_tables_of_spark import MERGE_ON_READ, NOT_PLAIN, PLAIN, make

TABLES = {**PLAIN, **{case: made for case, (_, *made) in NOT_PLAIN.items()}}
QUERY = "SELECT id % 7 AS k, count(*), sum(n), min(id), max(n) FROM lake.tests.t GROUP BY 1"


@pytest.mark.parametrize("case", TABLES)
def test_rows_of_a_table_that_others_changed_are_the_same(
    case: str, native: SparkSession, stock: SparkSession, catalog: IcebergCatalog
) -> None:
    properties, *changes = TABLES[case]
    table = make(native, catalog, properties, *changes)
    for query in ("SELECT id, n FROM lake.tests.t", QUERY):
        assert answers(native, query) == answers(stock, query)
    for snapshot in table.refresh().snapshots():
        query = f"SELECT id FROM lake.tests.t VERSION AS OF {snapshot.snapshot_id}"
        assert answers(native, query) == answers(stock, query)


def answers(session: SparkSession, query: str) -> list[Any]:
    return sorted(map(tuple, session.sql(query).collect()))


def test_deletes_of_many_commits_over_many_files(
    native: SparkSession, stock: SparkSession, catalog: IcebergCatalog
) -> None:
    """Native scans once lost deletes, and summed what was deleted."""
    more = [f"INSERT INTO lake.tests.t SELECT id, id FROM range({n}000, {n}100)" for n in range(1, 5)]
    deletes = [f"DELETE FROM lake.tests.t WHERE id % 11 = {n}" for n in range(4)]
    updates = [f"UPDATE lake.tests.t SET n = -n WHERE id % 13 = {n}" for n in range(3)]
    updates.append("DELETE FROM lake.tests.t WHERE n < -4000")
    changes = [each for three in zip(more, deletes, updates, strict=True) for each in three]
    make(native, catalog, MERGE_ON_READ, *changes)
    assert answers(native, QUERY) == answers(stock, QUERY)
    joined = "SELECT a.id, b.n FROM lake.tests.t a JOIN lake.tests.t b ON a.id = b.n"
    assert answers(native, joined) == answers(stock, joined)


NATIVE_SCAN = {"spark.comet.scan.icebergNative.enabled": "true"}


def test_iceberg_s_own_reader_reads_since_the_native_one_leaves_out_nulls(
    native: SparkSession, stock: SparkSession, sessions: SparkSessions, catalog: IcebergCatalog
) -> None:
    make(native, catalog, "", "INSERT INTO lake.tests.t VALUES (100, NULL), (101, NULL)")
    query = "SELECT id FROM lake.tests.t WHERE NOT (n <=> 2)"
    assert answers(native, query) == answers(stock, query)
    assert len(answers(native, query)) == 101
    scan = sessions.session({**catalog.spark_conf(), **RESULT_SETTINGS, **NATIVE_SCAN})
    assert len(answers(scan, query)) == 99, "Comet's reader keeps nulls now: look whether it can be trusted"


RAISES: dict[str, str] = {
    "an overflow of int": "SELECT CAST(n AS int) + 2147483647 FROM t",
    "an overflow of bigint": "SELECT n + 9223372036854775807L FROM t",
    "a product that overflows": "SELECT n * 9223372036854775807L FROM t",
    "a sum that overflows": "SELECT sum(n + 9223372036854775800L) FROM t",
    "a decimal that overflows": "SELECT CAST(n * 1000 AS decimal(3,0)) FROM t",
    "a sum of decimals that overflows": "SELECT sum(CAST(n + 3 AS decimal(38,0)) * CAST(1e37 AS decimal(38,0))) FROM t",
    "a division by zero": "SELECT 1 / (n - n) FROM t",
    "a rest of zero": "SELECT n % (n - n) FROM t",
    "a text that is no number": "SELECT CAST(concat('x', n) AS int) FROM t",
    "a text that is no decimal": "SELECT CAST(concat('1.', n, 'x') AS decimal(9,2)) FROM t",
    "a text that is no day": "SELECT CAST(concat('2025-02-', n + 29) AS date) FROM t",
    "a text that is no boolean": "SELECT CAST(concat('t', n) AS boolean) FROM t",
    "a number that is too long": "SELECT CAST(n * 1000000 AS smallint) FROM t",
    "an element that is not": "SELECT split(CAST(n AS string), '-')[5] FROM t",
    "a key twice": "SELECT map(n, 1, n, 2) FROM t",
    "an assertion": "SELECT assert_true(n < 0) FROM t",
    "an error that is asked for": "SELECT raise_error(concat('x', n)) FROM t",
    "two rows for one": "SELECT (SELECT id FROM t WHERE id > 0) FROM t",
}


@pytest.mark.parametrize("case", RAISES)
def test_what_raises_raises_alike(
    case: str, native: SparkSession, stock: SparkSession, catalog: IcebergCatalog
) -> None:
    make(native, catalog, "")
    errors = []
    for session in (native, stock):
        session.table("lake.tests.t").where("n BETWEEN 1 AND 3").createOrReplaceTempView("t")
        with pytest.raises((PySparkException, Py4JJavaError)) as caught:
            session.sql(RAISES[case]).collect()
        errors.append(re.findall(r"\[([A-Z_.]+)\] ", str(caught.value))[:1])
    assert errors[0] == errors[1] != []


def python(batches: Any) -> Any:
    yield from batches


WORKS: dict[str, Callable[[DataFrame], DataFrame]] = {
    "Python on batches": lambda t: t.mapInArrow(python, t.schema),
    "Python on batches between a group and a join": lambda t: (
        t.groupBy("id").agg(F.sum("n").alias("n")).mapInArrow(python, "id bigint, n bigint").join(t.select("id"), "id")
    ),
    "kept": lambda t: t.groupBy((F.col("id") % 3).alias("id")).agg(F.sum("n").alias("n")).persist(),
}


@pytest.mark.parametrize("work", WORKS)
def test_python_and_kept_frames_give_the_same(
    work: str, native: SparkSession, stock: SparkSession, catalog: IcebergCatalog
) -> None:
    make(native, catalog, "")
    found = []
    for session in (native, stock):
        made = WORKS[work](session.table("lake.tests.t"))
        found.append([sorted(map(tuple, made.collect())) for _ in range(2)])
        made.unpersist()
    assert found[0] == found[1]
    assert found[0][0] == found[0][1]
