"""Composed relational plans on Sail, as a step would compute them: no row differs from plain Python's in silence.

Joins, unions, aggregates, windows and what is between them, over columns that may be null and that never are. Run more
of them with PLANS=20000. The server is one of this module: its batches have two rows, so that what goes wrong between
one batch and the next, as a group that ends too early, shows with few rows.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

import resources.sail
from affirm_assets.engines.sail import sql
from affirm_assets.errors import NotProven
from resources.sail import SailSessions
from tests.engines.evaluate import Checks, types_of
from tests.engines.relational import COLUMNS, NEVER_NULL, Plans, Relation, Row, tables

PLANS = int(os.environ.get("PLANS", "150"))
FILES = 2
"""Of each table: an engine reads them side by side."""
Written = tuple[dict[str, DataFrame], dict[str, list[Row]]]


def schema_of(table: str) -> str:
    suffix = " NOT NULL" if table in NEVER_NULL else ""
    return ", ".join(f"`{name}` {kind}{suffix}" for name, kind in COLUMNS.items())


def write(rows: Mapping[str, list[Row]], folder: Path) -> None:
    for name, of_table in rows.items():
        (folder / name).mkdir()
        schema = to_arrow_schema(sql.schema_of(schema_of(name)))
        for at in range(FILES):
            pq.write_table(pa.Table.from_pylist(of_table[at::FILES], schema), folder / name / f"{at}.parquet")


def read(session: Any, folder: Path) -> dict[str, DataFrame]:
    return {each.name: session.read.schema(schema_of(each.name)).parquet(str(each)) for each in folder.iterdir()}


def difference(plan: Relation, frames: Mapping[str, DataFrame]) -> str | None:
    """What an engine makes otherwise of the plan, if so."""
    table = eval(plan.text, {**frames, "F": F}).toArrow()
    columns = dict(zip(table.column_names, types_of(table), strict=True))
    if columns != {name: str(kind) for name, kind in plan.kinds.items()}:
        return f"columns {columns}"
    found = list(zip(*(each.to_pylist() for each in table.columns), strict=True))
    wanted = [tuple(row[name] for name in plan.kinds) for row in plan.rows]
    if plan.is_ordered:
        return None if found == wanted else f"in order {found} and not {wanted}"
    missing, more = Counter(wanted) - Counter(found), Counter(found) - Counter(wanted)
    return f"{[*missing][:3]} are missing, {[*more][:3]} are too much" if missing or more else None


def drawn(seed: int, rows: Mapping[str, list[Row]]) -> Relation:
    chance = random.Random(seed)
    return Plans(chance, rows).plan(chance.choice([1, 2, 3, 4]))


@pytest.fixture(scope="module")
def small_batches() -> Iterator[None]:
    from pysail.spark import SparkConnectServer

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RUST_LOG", "off")
        with pytest.MonkeyPatch.context() as settings:
            settings.setenv("SAIL_MODE", "local")
            settings.setenv("SAIL_EXECUTION__BATCH_SIZE", "2")
            server = SparkConnectServer("127.0.0.1", 0)
            server.start(background=True)
        patch.setattr(resources.sail, "_running", resources.sail._Running(os.getpid(), server))
        yield
    server.stop()


@pytest.fixture(scope="module")
def written(small_batches: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Written]:
    """The tables' frames, and their rows."""
    folder, rows = tmp_path_factory.mktemp("relational"), tables(random.Random(0))
    write(rows, folder)
    session = SailSessions().open(Checks())
    with session.active():
        yield read(session.spark, folder), rows
    session.close()


def test_no_relational_plan_differs_in_silence(written: Written) -> None:
    frames, rows = written
    seen: Counter[str] = Counter()
    differs = []
    for seed in range(PLANS):
        plan = drawn(seed, rows)
        try:
            found = difference(plan, frames)
            seen["equal"] += found is None
            differs += [(len(plan.text), seed, plan.text, found)] if found else []
        except NotProven:
            seen["refused"] += 1
        except PySparkException:
            # No row raises by Spark's rules: the step goes to Spark. Loud, and not wrong.
            seen["raises"] += 1
    assert not differs, f"{len(differs)} of {PLANS}; the shortest: {min(differs)}"
    assert seen["refused"] + seen["raises"] <= PLANS / 10, seen


# Null and 2 come to one partition.
MATCHED = (
    "one.selectExpr('k').crossJoin(two.selectExpr('n'))"
    ".join(sure.selectExpr('k', '2 AS found').distinct(), ['k'], 'left')"
)
PAIRS = "sure.select('k').distinct().crossJoin(two.select('b')).distinct()"


@pytest.mark.parametrize(
    ("plan", "number"),
    {
        # What is constant where the other side has a row, and null elsewhere.
        f"{MATCHED}.groupBy('found').agg(F.count('*'))": 2,
        f"{MATCHED}.groupBy(F.expr('found + 0 AS it')).agg(F.count('*'))": 2,
        f"{MATCHED}.groupBy('n', 'found').agg(F.count('*'))": 12,
        f"{MATCHED}.select('n', 'found').distinct()": 12,
        f"{MATCHED}.selectExpr('found', 'count(*) OVER (PARTITION BY found) AS rows').distinct()": 2,
        f"{MATCHED}.withColumn('rows', F.expr('count(*) OVER (PARTITION BY found)')).select('rows').distinct()": 2,
        # What has one row for each key before a join, and more after it.
        f"{PAIRS}.groupBy('k', 'b').agg(F.count('*').alias('rows')).select('k', 'rows')": 15,
        f"{PAIRS}.distinct().select('k')": 15,
    }.items(),
)
def test_groups_are_told_apart(written: Written, plan: str, number: int) -> None:
    frames, _ = written
    assert len(eval(plan, {**frames, "F": F}).collect()) == number


@pytest.mark.parametrize(
    "plan",
    [
        f"{MATCHED}.select('found', 'n').orderBy('found', 'n')",
        f"{PAIRS}.orderBy('k', 'b')",
        "one.selectExpr('1 AS side', 'n').union(two.selectExpr('0 AS side', 'n')).orderBy('side', 'n').limit(3)",
    ],
)
def test_rows_are_in_order(written: Written, plan: str) -> None:
    frames, _ = written
    found = [tuple((value is not None, value) for value in row) for row in eval(plan, {**frames, "F": F}).collect()]
    assert found == sorted(found)
    assert "limit" not in plan or {side for side, _ in found} == {(True, 0)}


@pytest.mark.parametrize("condition", ["x.k = y.k AND x.n = x.n", "x.k = y.k AND NOT (y.n <=> y.n)"])
def test_a_column_that_equals_itself_is_refused_where_spark_takes_it_for_two(written: Written, condition: str) -> None:
    frames, _ = written
    joined = frames["one"].alias("x").join(frames["one"].alias("y"), F.expr(condition))
    with pytest.raises(NotProven, match="a frame with itself"):
        joined.selectExpr("x.k").collect()
    other = frames["one"].alias("x").join(frames["two"].alias("y"), F.expr(condition))
    other.selectExpr("x.k").collect()
