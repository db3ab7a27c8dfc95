"""Composed expressions on Sail, as a step would compute them: no row differs from Python's own arithmetic in silence.

Rows that raise by Spark's rules are not compared: where a constant decides, both engines leave out what would raise.
Over columns that may be null and over those that never are, as a column and as a condition. Run more of them with
EXPRESSIONS=5000.
"""

import os
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_schema

from affirm_assets.engines.sail import sql
from affirm_assets.errors import NotProven
from resources.sail import SailSessions
from tests.engines.composed import DDL, Composer, Expression, Raises, Row, rows
from tests.engines.evaluate import Checks

EXPRESSIONS = int(os.environ.get("EXPRESSIONS", "200"))
ROWS = 40
Values = tuple[DataFrame, list[dict[str, Any]]]
RAISES = "raises"


@pytest.fixture(scope="module", params=["may be null", "never null"])
def values(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[DataFrame, list]]:
    """A frame, and its rows."""
    nulls = request.param == "may be null"
    made = rows(random.Random(request.param), ROWS, nulls=nulls)
    schema = ", ".join(
        f"`{name}` {kind}{'' if nulls else ' NOT NULL'}" for name, kind in {"i": "bigint", **DDL}.items()
    )
    path = str(tmp_path_factory.mktemp("composed") / "rows.parquet")
    pq.write_table(pa.Table.from_pylist(made, to_arrow_schema(sql.schema_of(schema))), path)
    session = SailSessions().open(Checks())
    with session.active():
        yield session.spark.read.schema(schema).parquet(path), made
    session.close()


def expected(expression: Expression, row: Row) -> Any:
    try:
        return expression.value(row)
    except Raises:
        return RAISES


def test_no_composed_expression_differs_in_silence(values: Values) -> None:
    frame, made = values
    seen: Counter[str] = Counter()
    differs = []
    for seed in range(EXPRESSIONS):
        chance = random.Random(seed)
        compose, depth = Composer(chance), chance.choice([2, 3, 4])
        kind = chance.choice([compose.condition, compose.algebra, compose.algebra, compose.whole, compose.decimal])
        expression = kind(depth)
        wanted = {row["i"]: expected(expression, row) for row in made}
        try:
            found = {row["i"]: row["x"] for row in frame.selectExpr("i", f"{expression.text} AS x").collect()}
            others = difference(wanted, found)
            seen["equal"] += not others
            differs += [(seed, expression.text, others)] if others else []
            if kind in (compose.condition, compose.algebra):
                those = {row["i"] for row in frame.where(expression.text).select("i").collect()}
                raises = {i for i, value in wanted.items() if value == RAISES}
                if those - raises != {i for i, value in wanted.items() if value is True}:
                    differs.append((seed, f"WHERE {expression.text}", sorted(those)))
        except NotProven:
            seen["refused"] += 1
        except PySparkException:
            # Where no row raises by Spark's rules, the step goes to Spark: loud, and not wrong.
            seen["raises as it must" if RAISES in wanted.values() else "raises"] += 1
    assert not differs, f"{len(differs)} of {EXPRESSIONS}, such as {differs[0]}"
    assert seen["equal"] > EXPRESSIONS / 3
    assert seen["raises as it must"] > EXPRESSIONS / 20
    assert seen["raises"] + seen["refused"] <= EXPRESSIONS / 10, seen


def difference(wanted: dict[int, Any], found: dict[int, Any]) -> list[tuple[int, Any, Any]]:
    """Of some rows: number, the right value, what there is."""
    differs = [(i, value, found.get(i, "no row")) for i, value in wanted.items() if value != RAISES]
    return [each for each in differs if each[1] != each[2]][:3]
