"""What the check of a plan lets through, mends and refuses. That Spark agrees is for the suite of both to show."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import Window as Over
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    StructField,
    StructType,
)

import affirm_assets.datasets
from affirm_assets.declare.contract import Rule
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.registry import Registry
from affirm_assets.engines.sail import mend, plan, proven, sql
from affirm_assets.errors import NotProven
from affirm_assets.lender.intake.duplicates import digest
from affirm_assets.steps.audit import value_rules
from tests.engines.connect import DAY, CheckedSail, Steps

REGISTRY = Registry.walk(affirm_assets.datasets)
MOST = 2**63 - 1

SCHEMA = StructType(
    [
        StructField("m", DecimalType(18, 2)),
        StructField("r", DecimalType(9, 6)),
        StructField("w", DecimalType(38, 8)),
        StructField("x", DecimalType(28, 2)),
        StructField("n", LongType()),
        StructField("i", IntegerType()),
        StructField("s", StringType()),
        StructField("d", DateType()),
        StructField("b", BooleanType()),
        StructField("f", DoubleType()),
    ]
)


def money(text: str) -> Decimal:
    return Decimal(text)


ROWS: list[dict[str, Any]] = [
    {
        "m": money("10.00"),
        "r": money("14.990000"),
        "w": money("2.50000000"),
        "x": money("3.00"),
        "n": 7,
        "i": 3,
        "s": "12.50",
        "d": date(2025, 2, 28),
        "b": True,
        "f": 1.5,
    },
    {
        "m": money("-7.01"),
        "r": money("0.500000"),
        "w": money("-9.12345678"),
        "x": money("9.99"),
        "n": MOST,
        "i": 2**31 - 1,
        "s": "1e3",
        "d": date(1582, 10, 10),
        "b": False,
        "f": -0.5,
    },
    dict.fromkeys(SCHEMA.names),
]


@pytest.fixture
def rows(sail: CheckedSail, tmp_path: Path) -> DataFrame:
    from pyspark.sql.pandas.types import to_arrow_schema

    table = pa.Table.from_pylist(ROWS, to_arrow_schema(SCHEMA))
    return sail.file(tmp_path / "rows.parquet", SCHEMA, table, "tests.rows")


def values(frame: DataFrame, expression: str | Column) -> list[Any]:
    column = F.expr(expression) if isinstance(expression, str) else expression
    return [row[0] for row in frame.select(column.alias("x")).collect()]


@pytest.mark.parametrize("dataset", REGISTRY.in_order(), ids=str)
def test_every_dataset_and_audit_is_proven_and_typed_as_sail_types_it(
    sail: CheckedSail, tmp_path: Path, dataset: Dataset
) -> None:
    steps = Steps(sail, REGISTRY, tmp_path)
    frames = {"transform": steps.transform(dataset), **steps.audits(dataset, None)}
    before = steps.audits(dataset, DAY.last)
    frames |= {f"{name} after {DAY.last}": before[name] for name in steps.audits_that_know_what_is_published(dataset)}
    if rules := value_rules(dataset, steps.window(dataset)):
        counts = [F.expr(f"count_if({rule.violation})").alias(rule.name) for rule in rules]
        frames["values"] = steps.table(dataset).agg(*counts)
    assert {name: sail.types(each) for name, each in frames.items()} == {
        name: sail.types_on_sail(each) for name, each in frames.items()
    }


@pytest.mark.parametrize(
    ("expression", "kind", "expected"),
    [
        ("m / x", "decimal(38,20)", [money("3." + "3" * 20), money("-0.70170170170170170170"), None]),
        ("m / 3", "decimal(22,6)", None),
        ("avg(m) OVER ()", "decimal(22,6)", [money("1.495000")] * 3),
        ("w / m", "decimal(38,6)", [money("0.250000"), money("1.301492"), None]),
        ("w + 1", "decimal(38,7)", [money("3.5000000"), money("-8.1234568"), None]),
        ("w * r", "decimal(38,6)", [money("37.475000"), money("-4.561728"), None]),
        ("round(w, 2)", "decimal(33,2)", [money("2.50"), money("-9.12"), None]),
        ("IF(b, m, 0)", "decimal(18,2)", [money("10.00"), money("0.00"), money("0.00")]),
        ("greatest(m, 0)", "decimal(18,2)", [money("10.00"), money("0.00"), money("0.00")]),
        ("IF(b, m, w)", "decimal(38,8)", [money("10.00000000"), money("-9.12345678"), None]),
        ("coalesce(i, n)", "bigint", [3, 2**31 - 1, None]),
        ("m IN ()", "boolean", [False] * 3),
        ("trunc(d, 'month')", "date", [date(2025, 2, 1), date(1582, 10, 1), None]),
        ("d + 1", "date", [date(2025, 3, 1), date(1582, 10, 11), None]),
        ("datediff(d, d)", "int", [0, 0, None]),
        ("w % CAST(x AS decimal(38,0))", "decimal(38,8)", [money("2.50000000"), money("-9.12345678"), None]),
        ("x / 1", "decimal(32,6)", [money("3.000000"), money("9.990000"), None]),
        ("m % 3", "decimal(3,2)", [money("1.00"), money("-1.01"), None]),
        ("coalesce(m, 0.5) % 1", "decimal(3,2)", [money("0.00"), money("-0.01"), money("0.50")]),
        ("coalesce(m, 0.5) % 1 = 0", "boolean", [True, False, False]),
        ("coalesce(m, 0.5) * 0 = 0", "boolean", [True, True, True]),
        ("CAST(0 AS decimal(5,4)) * coalesce(m, 0.5) = 0", "boolean", [True, True, True]),
        ("CASE WHEN s RLIKE '^-?[0-9]{1,16}(\\\\.[0-9]{1,2})?\\\\z' THEN TRY_CAST(s AS decimal(18,2)) END",
         "decimal(18,2)", [money("12.50"), None, None]),
        ("i BETWEEN 1 AND 5 OR NOT b IS NULL AND m < 0", "boolean", [True, True, None]),
        ("s || '/' || CAST(m AS string)", "string", ["12.50/10.00", "1e3/-7.01", None]),
        ("nullif(m, 10.0001)", "decimal(18,2)", [money("10.00"), money("-7.01"), None]),
        ("b AND NULL", "boolean", [None, False, None]),
        ("nullif(i, 3)", "int", [None, 2**31 - 1, None]),
    ],
)  # fmt: skip
def test_what_sail_does_otherwise_is_mended(
    sail: CheckedSail, rows: DataFrame, expression: str, kind: str, expected: list[Any] | None
) -> None:
    frame = rows.select(F.expr(expression).alias("x"))
    assert sail.types(frame) == [kind]
    assert sail.types_on_sail(frame) == [kind]
    if expected is not None:
        assert values(rows, expression) == expected


@pytest.mark.parametrize(
    "expression",
    [
        "n + 1",
        "n * n",
        "i + 1",
        "-n - 2",
        "m / 0",
        "m / (x - 3)",
        "m % 0.00",
        "CAST(n AS int)",
        "CAST(m AS decimal(3,2))",
    ],
)
def test_what_spark_raises_for_is_raised(rows: DataFrame, expression: str) -> None:
    with pytest.raises(PySparkException):
        values(rows, expression)


def test_sums_that_do_not_fit_raise(sail: CheckedSail, rows: DataFrame) -> None:
    many = rows.where("n = 7").select(F.lit(money("9" * 30 + ".99999999")).alias("w"), F.lit(MOST).alias("n"))
    twice = many.union(many)
    assert many.agg(F.sum("n")).first() == (MOST,)
    for column in ("w", "n"):
        with pytest.raises(PySparkException):
            twice.agg(F.sum(column).alias("x")).collect()
    assert rows.agg(F.sum("w").alias("x")).first() == (money("-6.62345678"),)
    assert rows.where("false").agg(F.sum("w").alias("x"), F.sum("n").alias("y")).first() == (None, None)


def test_a_sum_over_a_window_is_guarded_too(sail: CheckedSail, rows: DataFrame) -> None:
    over = Over.orderBy("i").partitionBy(F.lit(1))
    sums = rows.select("i", F.sum("w").over(over).alias("w"), F.sum("i").over(over).alias("n")).orderBy("i")
    assert [tuple(row)[1:] for row in sums.collect()] == [
        (None, None),
        (money("2.50000000"), 3),
        (money("-6.62345678"), 2**31 + 2),
    ]


Refused = Callable[[DataFrame], DataFrame]


def expr(text: str) -> Refused:
    return lambda rows: rows.select(F.expr(text).alias("x"))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (expr("bround(m, 1)"), "bround(m, 1) (of decimal(18,2), int): this function is not on the list"),
        (expr("try_cast(s AS decimal(18,2))"), "(of string): this try_cast to decimal(18,2) is not proven"),
        (expr("CASE WHEN s RLIKE '^.*\\\\z' THEN try_cast(s AS date) END"), "this try_cast to date is not proven"),
        (expr("CASE WHEN s RLIKE '^-?[0-9]{1,17}\\\\z' THEN try_cast(s AS decimal(18,2)) END"), "is not proven"),
        (expr("CAST(s AS int)"), "this cast to int is not proven"),
        (expr("CAST('1e3' AS decimal(18,2))"), "this cast to decimal(18,2) is not proven"),
        (expr("CAST('0.0295' AS decimal(4,3))"), "this cast to decimal(4,3) is not proven"),
        (expr("CAST(' 12' AS int)"), "this cast to int is not proven"),
        (expr("CAST('2025-2-3' AS date)"), "this cast to date is not proven"),
        (expr("to_json(named_struct('m', m))"), "to_json"),
        (expr("f + 1"), "this function is not proven for these types"),
        (expr("s + 1"), "this function is not proven for these types"),
        (expr("s = 1"), "(of string, int): this function is not proven for these types"),
        (expr("d = '2025-01-01'"), "(of date, string)"),
        (expr("s RLIKE 'x$'"), "lets a line break pass"),
        (expr("s RLIKE '(?i)x'"), "(? in a regular expression"),
        (expr("s RLIKE s"), "not proven"),
        (expr("n DIV 2"), "div"),
        (expr("-CAST(m AS decimal(38,2))"), "this function is not proven for these types"),
        (expr("named_struct('m', m) < named_struct('m', x)"), "not proven"),
        (expr("rand()"), "not on the list"),
        (expr("M"), "expected the name of a column, written as it is"),
        (expr("nothing"), "there are b, d, f, i, m, n, r, s, w, x"),
        (expr("sum(m)"), "an aggregate is proven only in agg() and over a window"),
        (expr("m ~ 2"), "this SQL is not understood"),
        (expr("(SELECT 1)"), "this SQL is not understood"),
        (expr("INTERVAL 2 DAYS"), "this SQL is not understood"),
        (expr("make_date(i, 1, 1)"), "others may be no date"),
        (expr("trunc(d, 'week')"), "trunc to 'week'"),
        (expr("substring(s, -5, 3)"), "from a place counted from 1"),
        (lambda rows: rows.dropDuplicates(["s"]), "which of the rows with one key is kept is left to chance"),
        (lambda rows: rows.limit(2).select("m"), "limit: this operator is not proven"),
        (lambda rows: rows.sample(0.5), "sample"),
        (lambda rows: rows.rollup("s").count(), "rollup"),
        (lambda rows: rows.intersect(rows), "only union all is proven"),
        (lambda rows: rows.select("m").unionByName(rows.select("r")), "only one side has m, r"),
        (lambda rows: rows.select("m").union(rows.select("s")), "(of decimal(18,2), string)"),
        (lambda rows: rows.join(rows.select(F.col("i").alias("n")), "n"), "one type"),
        (lambda rows: rows.mapInPandas(lambda each: each, "x int"), "only mapInArrow is proven"),
        (lambda rows: rows.agg(F.collect_list(F.struct("m")).alias("x")).select(F.array_sort("x")), "collect_list of"),
        (lambda rows: rows.select(F.count_distinct("m").over(Over.partitionBy("s"))), "DISTINCT"),
        (lambda rows: rows.select(F.sum("m").over(Over.orderBy("i").rowsBetween(-1, 0))), "a frame of a window"),
        (lambda rows: rows.groupBy(F.struct("m").alias("x")).count(), "grouping by this type"),
        (lambda rows: rows.select(F.collect_list("n").over(Over.partitionBy("s"))), "this over a window"),
        (lambda rows: rows.select((F.sum("m") + F.sum("m")).over(Over.partitionBy("s"))), "this over a window"),
        (lambda rows: rows.select(F.row_number().over(Over.partitionBy("s"))), "row_number needs an order"),
        (lambda rows: rows.orderBy("i").mapInArrow(lambda each: each, rows.schema), "left to chance"),
        (lambda rows: rows.orderBy("i").where("i > 1").mapInArrow(lambda each: each, rows.schema), "left to chance"),
        (lambda rows: rows.na.fill({"m": "1.5"}), "na.fill of m (of decimal(18,2)): a value of another type"),
        (lambda rows: rows.na.fill({"s": 0, "i": 1}), "na.fill of s (of string): a value of another type"),
        (lambda rows: rows.withColumnRenamed("M", "x"), "the column is called m"),
        (lambda rows: rows.groupBy("s").sum("n").withColumnRenamed("sum(n)", "x"), "has no alias"),
        (lambda rows: rows.withColumn("M", F.lit(1)), "the column is called m"),
        (lambda rows: rows.drop("M"), "the column is called m"),
        (lambda rows: rows.select("m").unionByName(rows.select(F.col("m").alias("M")), True), "the column is called m"),
        (lambda rows: rows.select(F.when(F.col("s").rlike(r"^[0-9]{1,9}\z"), F.max(F.col("s").cast("int")).over(
            Over.partitionBy("i")))), "this cast to int is not proven"),
        (lambda rows: rows.alias("a").join(rows.select(F.col("s").alias("o"), "i"), "i").select(
            F.when(F.col("o").rlike(r"^[0-9]{1,9}\z"), F.col("s").cast("int"))), "this cast to int is not proven"),
        (expr("lower(s)"), "not on the list"),
        (expr("array_append(array(NULL), NULL)"), "an array of nothing but NULL"),
        (expr("s RLIKE '[!--]'"), "-- in a class"),
        (expr("s RLIKE 'a{1}{2}'"), "a quantifier after a quantifier"),
        (expr("s RLIKE 'a**'"), "a quantifier after a quantifier"),
        (expr("s RLIKE 'a{ 1 }'"), "{ in a regular expression"),
        (expr(r"s RLIKE '[\\w-.]'"), "a range from"),
        (expr(r"s RLIKE '[+-\\d]'"), "a range to"),
        (expr(r"s RLIKE '[^,-\\s]'"), "a range to"),
    ],
)  # fmt: skip
def test_what_is_not_proven_is_refused(sail: CheckedSail, rows: DataFrame, make: Refused, message: str) -> None:
    with pytest.raises(NotProven) as refused:
        sail.checked(make(rows))
    assert message in str(refused.value)


def test_a_refusal_names_the_line_that_made_the_expression(
    sail: CheckedSail, rows: DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    # PySpark asks once in a process whether to note lines: not where no session was there yet.
    monkeypatch.setattr("pyspark.errors.utils._enable_debugging_cache", True)
    with pytest.raises(NotProven) as refused:
        sail.checked(rows.select(F.col("m") % F.col("s")))
    assert refused.value.types == ("decimal(18,2)", "string")
    assert (refused.value.place or "").startswith(f"{__file__}:")


def test_names_tied_to_a_frame_are_found_through_joins_and_hints(sail: CheckedSail, rows: DataFrame) -> None:
    left, right = rows.select("n", "m"), rows.select("n", F.col("m").alias("other"))
    joined = left.join(F.broadcast(right), left["n"] == right["n"]).select(left["n"], right["other"], left["m"])
    assert joined.schema.names == ["n", "other", "m"]
    assert {tuple(row) for row in joined.collect()} == {(each["n"], each["m"], each["m"]) for each in ROWS if each["n"]}


def test_unions_by_name_fill_in_what_one_side_lacks(sail: CheckedSail, rows: DataFrame) -> None:
    left, right = rows.select("m", "s"), rows.select(F.lit(1).alias("added"), "w", F.col("i").alias("m"))
    both = left.unionByName(right, allowMissingColumns=True)
    assert sail.types(both) == sail.types_on_sail(both) == ["decimal(18,2)", "string", "int", "decimal(38,8)"]
    assert [tuple(row) for row in both.where("m = 3").collect()] == [(money("3.00"), None, 1, money("2.50000000"))]


def test_the_last_row_by_a_struct_has_nulls_first(sail: CheckedSail) -> None:
    frame = sail.spark.createDataFrame([("a", None, 9), ("b", "x", 1), ("c", "x", None)], "v string, k string, n int")
    last = frame.agg(F.max_by("v", F.struct("k", "n")).alias("last"), F.min_by("v", F.struct("k", "n")).alias("first"))
    assert tuple(last.first() or ()) == ("b", "a")


def test_digests_are_equal_only_where_all_values_are(sail: CheckedSail) -> None:
    texts = ["", "a", "b", "ab", "-", "1:a", "2:ab", "a1:b", "ä", "\n", None]
    pairs = [(one, other) for one in texts for other in texts]
    frame = sail.spark.createDataFrame(pairs, "a string, b string")
    found = [row[0] for row in frame.select(digest("a", "b")).collect()]
    assert len(set(found)) == len(pairs)
    assert None not in found
    money = sail.spark.createDataFrame([(Decimal("1.50"),), (Decimal("1.5"),), (None,)], "m decimal(18,2)")
    assert len({row[0] for row in money.select(digest("m")).collect()}) == 2


def test_a_description_of_a_column_does_not_make_another_type(sail: CheckedSail) -> None:
    schema = StructType([StructField("day", DateType(), metadata={"comment": "Business date"})])
    frame = sail.spark.createDataFrame([(date(2025, 1, 1),)], schema)
    days = frame.groupBy().agg(F.collect_list(F.struct("day")).alias("days"))
    more = days.select(F.array_append("days", F.struct(F.lit(date(2025, 1, 2)).alias("day"))).alias("days"))
    assert [each.day.day for each in (more.first() or [[]])[0]] == [1, 2]


def test_a_check_leaves_the_plan_as_it_was_and_says_the_same_again(sail: CheckedSail, rows: DataFrame) -> None:
    made: Any = rows.select((F.col("n") + 1).alias("x")).na.fill(0).where("x > 1")
    query = made._plan.to_proto(sail.spark.client)
    before = query.SerializeToString(deterministic=True)
    first, *others = (sail.checker.check(query) for _ in range(3))
    assert query.SerializeToString(deterministic=True) == before
    for other in others:
        assert other.plan == first.plan
        assert [each.id for each in other.columns] == [each.id for each in first.columns]


@pytest.mark.parametrize(
    ("java", "rust"),
    [
        (r"^[^@\s]{1,64}@x\z", r"^[^@ \t\n\x0B\f\r]{1,64}@x\z"),
        (r"^\d+\.\w?\z", r"^[0-9]+\.[A-Za-z0-9_]?\z"),
        (r"\S|\D", r"[^ \t\n\x0B\f\r]|[^0-9]"),
        (r"a.b", r"a[^\n\r\x{85}\x{2028}\x{2029}]b"),
        (r"^(?:ab|c)*[a-z\-.]{2,}\z", r"^(?:ab|c)*[a-z\-.]{2,}\z"),
    ],
)
def test_patterns_mean_to_sail_what_they_mean_to_java(java: str, rust: str) -> None:
    assert mend.pattern(java) == rust


@pytest.mark.parametrize(
    "java", ["a$", r"\bx", r"\h", "[a[b]]", "[a&&b]", "[é]", "(?=a)", "a++", "[", r"\1", "[]a]", r"[\S]"]
)
def test_patterns_that_may_mean_something_else_are_refused(java: str) -> None:
    with pytest.raises(mend.CannotMend):
        mend.pattern(java)


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("a + b * c - d", "((a + (b * c)) - d)"),
        ("-a * b", "(negative(a) * b)"),
        ("- 1 - -2", "(-1 - -2)"),
        ("a OR b AND NOT c = d", "or(a, and(b, not((c == d))))"),
        ("a = b IS NULL", "isnull((a == b))"),
        ("x NOT IN (1, 'b\\'c')", 'not(in(x, 1, "b\'c"))'),
        ("x between 1 and 2 and y", "and(and((x >= 1), (x <= 2)), y)"),
        ("case x when 1 then 'a' else 'b' end", "when((x == 1), 'a', 'b')"),
        ("cast(`a b`.c as decimal(4, 2))", "CAST(`a b`.c AS decimal(4,2))"),
        ("DATE'1970-01-02'", "1"),
        ("0.01BD + 10L", "(0.01 + 10)"),
        ("sum(x) over (partition by a, b order by c desc)", "sum(x) OVER (...)"),
        ("a <> 1 AS differs", "not((a == 1)) AS differs"),
    ],
)  # fmt: skip
def test_sql_is_read_as_spark_reads_it(text: str, tree: str) -> None:
    assert plan.shown(sql.parsed(text)) == tree


@pytest.mark.parametrize(
    "text",
    ["", "a +", "a b c", "1e3", "x::int", "exists(select 1)", "map('a', 1)['a'", "sum(x) FILTER (WHERE y)", "'a' 'b",
     "a; b", "a--1", "/* x */ a", "timestamp'2025-01-01'", "CAST(a AS varchar(3))", "a -- comment", "x IN (SELECT 1)"],
)  # fmt: skip
def test_sql_beyond_the_grammar_is_not_understood(text: str) -> None:
    with pytest.raises(sql.NotUnderstood):
        sql.parsed(text)


def test_a_long_chain_of_conditions_is_no_deep_tree(sail: CheckedSail, rows: DataFrame) -> None:
    rule = Rule("many", "many", " OR ".join(f"n = {number}" for number in range(500)))
    assert rows.where(rule.violation).count() == 1


def test_each_line_of_the_list_can_be_read() -> None:
    patterns = {"T", "any", "element", "hashed", "ordered", "decimal", "integer", "int", "string", "date", "boolean"}
    patterns |= {"array", "'text", "#", "day", "lambda"}
    for line in (*proven.LIST, *proven.WINDOW_ONLY):
        assert {each.rstrip("*") for each in line.arguments.split()} <= patterns
        assert not line.mend or line.mend in mend.MENDS or line.mend == "sort"
