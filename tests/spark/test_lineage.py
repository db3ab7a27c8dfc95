"""Lineage of what Spark really makes of a transform: the analyzed plan of frames over Iceberg tables."""

from collections.abc import Mapping
from datetime import date

import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import Window as Over
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, Money, column, key
from affirm_assets.declare.partitions import Daily, Window
from affirm_assets.engines.spark.lineage import lineage_of
from affirm_assets.steps.lineage import ColumnRef
from affirm_assets.steps.tables import ensure_table
from tests.conftest import declare
from tests.storage import NewStorage, Steps, StorageWithEngine

DAY = date(2025, 1, 1)


class Amount(Contract):
    """An amount of a day."""

    id: str = key("Id")
    day: date = column("Business date")
    amount: Money = column("Amount")


class Label(Contract):
    """The label of an id."""

    id: str = key("Id")
    label: str = column("Label")


def texts(lineage: Mapping[str, frozenset[ColumnRef]]) -> dict[str, set[str]]:
    return {name: {f"{each.table}.{each.column}" for each in found} for name, found in lineage.items()}


@pytest.fixture
def empty(new_storage: NewStorage) -> StorageWithEngine:
    """Empty tables tests.amounts and tests.labels."""

    def amounts() -> DataFrame:
        raise AssertionError("never run")

    storage = new_storage()
    ensure_table(storage.catalog, declare(amounts, Amount, Daily("day")))
    ensure_table(storage.catalog, declare(amounts, Label, None, name="labels"))
    return storage


def test_join_aggregate_union_and_window(empty: StorageWithEngine) -> None:
    amounts, labels = empty.spark.table("lake.tests.amounts"), empty.spark.table("lake.tests.labels").alias("l")
    joined = amounts.where("amount > 0").join(labels, "id", "left").where(F.col("l.label") != "x")
    summed = joined.groupBy("id", F.trunc("day", "month").alias("month")).agg(
        F.count(F.lit(1)).alias("rows"),
        (F.sum("amount") + 1).alias("total"),
        F.expr("sum(amount) FILTER (WHERE label = 'y')").alias("some"),
        F.max_by("label", "day").alias("last"),
    )
    labelled = labels.selectExpr("label", "id", "1", "2", "3", "'none'")
    both = summed.union(labelled)
    over = Over.partitionBy("id").orderBy("month")
    result = both.select("*", F.row_number().over(over).alias("n"), F.lag("total").over(over).alias("before"))
    assert texts(lineage_of(result)) == {
        "id": {"tests.amounts.id", "tests.labels.label"},
        "month": {"tests.amounts.day", "tests.labels.id"},
        "rows": set(),
        "total": {"tests.amounts.amount"},
        "some": {"tests.amounts.amount"},
        "last": {"tests.labels.label"},
        "n": set(),
        "before": {"tests.amounts.amount"},
    }


def test_full_joins_take_the_key_from_both_sides_and_self_joins_are_told_apart(empty: StorageWithEngine) -> None:
    amounts, labels = empty.spark.table("lake.tests.amounts"), empty.spark.table("lake.tests.labels")
    full = amounts.select("id").join(labels, "id", "full")
    assert texts(lineage_of(full)) == {
        "id": {"tests.amounts.id", "tests.labels.id"},
        "label": {"tests.labels.label"},
    }
    left, right = amounts.select("id", "amount"), amounts.select("id", F.col("day").alias("amount"))
    itself = left.alias("a").join(right.alias("b"), "id").select(F.col("b.amount").alias("is_day"), "a.amount")
    assert texts(lineage_of(itself)) == {"is_day": {"tests.amounts.day"}, "amount": {"tests.amounts.amount"}}


@pytest.mark.parametrize("kind", ["left_semi", "left_anti"])
def test_the_other_side_of_a_semi_join_is_a_filter(empty: StorageWithEngine, kind: str) -> None:
    amounts, labels = empty.spark.table("lake.tests.amounts"), empty.spark.table("lake.tests.labels")
    found = lineage_of(amounts.join(labels, "id", kind).dropDuplicates(["id"]).orderBy("day").limit(1))
    assert texts(found) == {name: {f"tests.amounts.{name}"} for name in ("id", "day", "amount")}


def test_fields_of_a_struct_are_told_apart_and_generated_rows_come_from_the_generator(empty: StorageWithEngine) -> None:
    amounts = empty.spark.table("lake.tests.amounts")
    packed = amounts.select(F.struct("id", "day").alias("s"), F.array("amount", F.lit(0)).alias("many"))
    result = packed.union(packed).select("s.*", "s", F.explode("many").alias("one"))
    assert texts(lineage_of(result)) == {
        "id": {"tests.amounts.id"},
        "day": {"tests.amounts.day"},
        "s": {"tests.amounts.id", "tests.amounts.day"},
        "one": {"tests.amounts.amount"},
    }


def test_sql_with_a_subquery_and_sets(empty: StorageWithEngine) -> None:
    empty.spark.table("lake.tests.labels").createOrReplaceTempView("labels_view")
    found = lineage_of(
        empty.spark.sql(
            "SELECT id, (SELECT max(label) FROM labels_view) AS most FROM lake.tests.amounts "
            "WHERE id IN (SELECT label FROM labels_view) EXCEPT SELECT label, id FROM labels_view"
        )
    )
    assert texts(found) == {"id": {"tests.amounts.id"}, "most": {"tests.labels.label"}}


def test_a_subtotal_may_come_from_whatever_its_operator_reads(empty: StorageWithEngine) -> None:
    found = texts(lineage_of(empty.spark.table("lake.tests.amounts").rollup("id").agg(F.sum("amount").alias("total"))))
    assert found["total"] == {"tests.amounts.amount"}
    assert "tests.amounts.id" in found["id"]


def test_what_python_makes_may_come_from_every_column_it_is_given(empty: StorageWithEngine) -> None:
    made = empty.spark.table("lake.tests.amounts").select("id", "day").mapInPandas(lambda batches: batches, "x string")
    assert texts(lineage_of(made)) == {"x": {"tests.amounts.id", "tests.amounts.day"}}


def test_rows_of_no_table_have_no_lineage(empty: StorageWithEngine) -> None:
    made = empty.spark.createDataFrame([("a", DAY)], "id string, day date")
    made.createOrReplaceTempView("made")
    numbers = empty.spark.range(3).withColumn("next", F.col("id") + 1)
    assert texts(lineage_of(empty.spark.table("made"))) == {"id": set(), "day": set()}
    assert texts(lineage_of(numbers)) == {"id": set(), "next": set()}
    assert texts(lineage_of(empty.spark.createDataFrame([], "id string"))) == {"id": set()}


def test_with_clauses_do_not_add_columns(empty: StorageWithEngine) -> None:
    found = lineage_of(
        empty.spark.sql("WITH c AS (SELECT label, id AS i FROM lake.tests.labels) SELECT id FROM lake.tests.amounts, c")
    )
    assert texts(found) == {"id": {"tests.amounts.id"}}


def test_a_step_can_ask_for_the_lineage_of_its_result(steps: Steps) -> None:
    """A step that reads what another published, as the runner hands it over: pinned, filtered, by contract."""
    seen: list[dict[str, set[str]]] = []

    def amounts() -> DataFrame:
        return SparkSession.active().createDataFrame([], "id string, day date, amount decimal(18,2)")

    def doubled(amounts: DataFrame) -> DataFrame:
        result = amounts.withColumn("amount", (F.col("amount") * 2).cast("decimal(18,2)"))
        seen.append(texts(lineage_of(result)))
        return result

    upstream = declare(amounts, Amount, Daily("day"))
    steps.run(upstream, Window(DAY, DAY))
    steps.run(declare(doubled, Amount, Daily("day")), Window(DAY, DAY), upstream=(upstream,))
    assert seen == [{name: {f"tests.amounts.{name}"} for name in ("id", "day", "amount")}]
