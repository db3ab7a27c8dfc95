"""Lineage told by the check of a Connect plan: by the rules that hold for Spark's, and of every dataset."""

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F
from pyspark.sql.types import DateType, DecimalType, StringType, StructField, StructType

import affirm_assets.datasets
from affirm_assets.declare.inputs import Landing
from affirm_assets.declare.registry import Registry
from affirm_assets.engines.sail.lineage import column_lineage
from tests.engines.connect import CheckedSail, Lineages, lineages

DAY = date(2025, 1, 1)

AMOUNTS = StructType(
    [StructField("id", StringType()), StructField("day", DateType()), StructField("amount", DecimalType(18, 2))]
)
LABELS = StructType([StructField("id", StringType()), StructField("label", StringType())])


@pytest.fixture
def amounts(sail: CheckedSail, tmp_path: Path) -> DataFrame:
    return sail.file(tmp_path / "amounts.parquet", AMOUNTS, table="tests.amounts")


@pytest.fixture
def labels(sail: CheckedSail, tmp_path: Path) -> DataFrame:
    return sail.file(tmp_path / "labels.parquet", LABELS, table="tests.labels")


@pytest.fixture
def lineage(sail: CheckedSail) -> Callable[[DataFrame], dict[str, set[str]]]:
    def told(frame: DataFrame) -> dict[str, set[str]]:
        found = column_lineage(sail.checked(frame).columns)
        return {name: {f"{each.table}.{each.column}" for each in columns} for name, columns in found.items()}

    return told


Lineage = Callable[[DataFrame], dict[str, set[str]]]


def test_join_aggregate_union_and_window(amounts: DataFrame, labels: DataFrame, lineage: Lineage) -> None:
    labels = labels.alias("l")
    joined = amounts.where("amount > 0").join(labels, "id", "left").where(F.col("l.label") != "x")
    summed = joined.groupBy("id", F.trunc("day", "month").alias("month")).agg(
        F.count(F.lit(1)).alias("rows"),
        (F.sum("amount") + 1).alias("total"),
        F.max_by("label", "day").alias("last"),
    )
    labelled = labels.selectExpr("label", "CAST(NULL AS date)", "1L", "2.5", "'none'")
    both = summed.union(labelled)
    over = Over.partitionBy("id").orderBy("month")
    result = both.select("*", F.row_number().over(over).alias("n"), F.max("total").over(over).alias("before"))
    assert lineage(result) == {
        "id": {"tests.amounts.id", "tests.labels.label"},
        "month": {"tests.amounts.day"},
        "rows": set(),
        "total": {"tests.amounts.amount"},
        "last": {"tests.labels.label"},
        "n": set(),
        "before": {"tests.amounts.amount"},
    }


def test_full_joins_take_the_key_from_both_sides_and_self_joins_are_told_apart(
    amounts: DataFrame, labels: DataFrame, lineage: Lineage
) -> None:
    full = amounts.select("id").join(labels, "id", "full")
    assert lineage(full) == {"id": {"tests.amounts.id", "tests.labels.id"}, "label": {"tests.labels.label"}}
    left, right = amounts.select("id", "amount"), amounts.select("id", F.col("day").alias("amount"))
    itself = left.alias("a").join(right.alias("b"), "id").select(F.col("b.amount").alias("is_day"), "a.amount")
    assert lineage(itself) == {"is_day": {"tests.amounts.day"}, "amount": {"tests.amounts.amount"}}


@pytest.mark.parametrize("kind", ["left_semi", "left_anti"])
def test_the_other_side_of_a_semi_join_is_a_filter(
    amounts: DataFrame, labels: DataFrame, lineage: Lineage, kind: str
) -> None:
    found = lineage(amounts.join(labels, "id", kind).distinct().orderBy("day").limit(1))
    assert found == {name: {f"tests.amounts.{name}"} for name in ("id", "day", "amount")}


def test_the_condition_of_a_case_counts_and_a_filter_does_not(amounts: DataFrame, lineage: Lineage) -> None:
    found = lineage(amounts.where("day IS NOT NULL").select(F.expr("IF(id = 'x', amount, 0)").alias("x")))
    assert found == {"x": {"tests.amounts.id", "tests.amounts.amount"}}


def test_fields_of_a_struct_are_told_apart_and_generated_rows_come_from_the_generator(
    amounts: DataFrame, lineage: Lineage
) -> None:
    packed = amounts.select(F.struct("id", "day").alias("s"), F.array("amount", F.lit(0)).alias("many"))
    result = packed.union(packed).select("s.*", "s", F.explode("many").alias("one"), F.col("s.day").alias("again"))
    assert lineage(result) == {
        "id": {"tests.amounts.id"},
        "day": {"tests.amounts.day"},
        "s": {"tests.amounts.id", "tests.amounts.day"},
        "one": {"tests.amounts.amount"},
        "again": {"tests.amounts.day"},
    }


def test_a_lambda_adds_the_columns_that_it_names(amounts: DataFrame, lineage: Lineage) -> None:
    many = amounts.groupBy("id").agg(F.collect_list("day").alias("days"), F.max("amount").alias("most"))
    found = lineage(many.select(F.filter("days", lambda day: F.col("most") > 0).alias("x")))
    assert found == {"x": {"tests.amounts.day", "tests.amounts.amount"}}


def test_renamed_dropped_filled_and_missing_columns(amounts: DataFrame, labels: DataFrame, lineage: Lineage) -> None:
    renamed = amounts.withColumnRenamed("amount", "sum").drop("day").na.fill(0)
    found = lineage(labels.unionByName(renamed, allowMissingColumns=True))
    assert found == {
        "id": {"tests.amounts.id", "tests.labels.id"},
        "label": {"tests.labels.label"},
        "sum": {"tests.amounts.amount"},
    }


def test_what_python_makes_may_come_from_every_column_it_is_given(amounts: DataFrame, lineage: Lineage) -> None:
    made = amounts.select("id", "day").mapInArrow(lambda batches: batches, "x string")
    assert lineage(made) == {"x": {"tests.amounts.id", "tests.amounts.day"}}


def test_rows_of_no_table_have_no_lineage(sail: CheckedSail, lineage: Lineage) -> None:
    made = sail.spark.createDataFrame([("a", DAY)], "id string, day date")
    numbers = sail.spark.range(3).withColumn("next", F.col("id") + 1)
    assert lineage(made) == {"id": set(), "day": set()}
    assert lineage(numbers) == {"id": set(), "next": set()}


def test_a_kept_frame_has_the_lineage_of_what_was_kept(
    sail: CheckedSail, amounts: DataFrame, lineage: Lineage, tmp_path: Path
) -> None:
    doubled = amounts.select("id", (F.col("amount") * 2).cast("decimal(18,2)").alias("twice"))
    path = tmp_path / "kept.parquet"
    sail.kept[str(path)] = sail.checked(doubled).columns
    kept = sail.file(path, doubled.schema)
    assert lineage(kept.where("twice > 1")) == {"id": {"tests.amounts.id"}, "twice": {"tests.amounts.amount"}}


REGISTRY = Registry.walk(affirm_assets.datasets)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Lineages:
    """Of every dataset, from its Connect plan. That Spark's plans tell the same is shown by tests/same_rows."""
    return lineages(REGISTRY, tmp_path_factory.mktemp("empty"))


def test_every_dataset_of_the_project_has_lineage(told: Lineages) -> None:
    known = {f"{each.table}.{name}" for each in REGISTRY.datasets.values() for name in each.contract.model_fields}
    for dataset in REGISTRY.in_order():
        found = told[dataset.table]
        assert set(found) == set(dataset.contract.model_fields)
        upstream = {REGISTRY[each.dataset].table for each in dataset.leaves.values() if not isinstance(each, Landing)}
        named = set().union(*found.values())
        assert named <= known
        assert {each.rpartition(".")[0] for each in named} <= upstream
        assert bool(named) != bool(dataset.feeds)


@pytest.mark.parametrize("table", ["loans.rejected_loans", "transactions.rejected_transactions"])
def test_each_refused_field_comes_from_its_own(told: Lineages, table: str) -> None:
    rows = {"loans": "landing.loan_rows", "transactions": "landing.transaction_rows"}[table.split(".")[0]]
    for name in ("loan_id", "merchant_id"):
        assert told[table][name] == {f"{rows}.{name}"}


def test_lineage_of_the_books_is_what_their_code_says(told: Lineages) -> None:
    daily, loans, cash = (told[t] for t in ("portfolio.originations_daily", "loans.loans", "portfolio.cash_daily"))
    assert daily["principal"] == {"loans.loans.principal"}
    assert daily["apr"] == {"loans.loans.principal", "loans.loans.apr"}
    assert daily["loans"] == set()
    assert loans["loan_id"] == {"landing.loan_rows.loan_id"}
    assert loans["booked_on"] == {"landing.loan_rows.business_date"}
    assert cash["received"] == {"transactions.transactions.kind", "transactions.transactions.amount"}
    assert told["portfolio.originations_monthly"]["month"] == {"portfolio.originations_daily.booked_on"}
    rolled, curves = told["portfolio.roll_rates"], told["portfolio.vintage_curves"]
    assert rolled["from_bucket"] == {"servicing.loan_balances.bucket", "servicing.loan_balances.status"}
    assert curves["recovered"] == {"servicing.loan_balances.recovered_principal"}
    assert curves["originated"] == {"loans.loans.principal", "portfolio.vintage_curves.originated"}
    assert "loans.loan_schedules.due_on" in curves["prepaid"]
    tape, balances = told["portfolio.funding_tape"], "servicing.loan_balances"
    assert tape["principal_paid"] == {f"{balances}.principal_paid"}
    assert tape["matures_on"] == {"loans.loan_schedules.due_on"}
    assert tape["borrower_state"] == {"loans.loans.borrower_state"}
    assert told["loans.borrowers"]["borrower_email"] == {"landing.loan_rows.borrower_email"}
    assert told["transactions.transactions"]["product"] == {
        "loans.loans.product",
        "loans.loans.booked_on",
        "landing.transaction_rows.business_date",
    }
