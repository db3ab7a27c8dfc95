"""Evaluates the suite's cases on one engine, in a process of its own: `python -m tests.engines.evaluate ENGINE FOLDER`.

PySpark's functions make columns for one kind of session at a time, and both engines evaluate side by side. What is
found is pickled: Spark first says which rows raise, so that Sail is asked for the others together and for those alone.
"""

import os
import pickle
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from functools import reduce
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from tests.engines.values import FRAMES

RAISES = ("raises",)
BATCH = 60
MOST_RAISING = 1
"""Rows that raise on Spark, of each expression, that Sail is asked for one by one."""


@dataclass
class Found:
    """What an engine makes of a case: its type, and a value or RAISES for each row. `error`: why it raises, if so."""

    type: str = ""
    rows: dict[int, Any] = field(default_factory=dict)
    error: str = ""
    is_refused: bool = False


def write_frames(folder: Path) -> None:
    for name, make in FRAMES.items():
        pq.write_table(make(), folder / f"{name}.parquet")


def read_frames(session: Any, folder: Path) -> dict[str, Any]:
    def read(name: str) -> Any:
        path = folder / f"{name}.parquet"
        schema = from_arrow_schema(pq.read_schema(path), prefer_timestamp_ntz=False)
        return session.read.schema(schema).parquet(str(path))

    return {name: read(name) for name in FRAMES}


def plain(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Values that can be compared and pickled; days and instants as numbers, since Python's do not reach far enough."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_timestamp(array.type):
        array = array.cast(pa.int64())
    elif pa.types.is_date32(array.type):
        array = array.cast(pa.int32())
    return [_plain(each) for each in array.to_pylist()]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple(_plain(each) for each in value.values())
    if isinstance(value, list):
        return ("array", *(_plain(each) for each in value))
    return ("double", repr(value)) if isinstance(value, float) else value


def types_of(table: pa.Table) -> list[str]:
    """As Spark SQL names them, of what was sent: a declared type may be another."""
    schema: StructType = from_arrow_schema(table.schema, prefer_timestamp_ntz=False)
    return [each.dataType.simpleString() for each in schema.fields]


def why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:400]


def column_of(expression: Any) -> Any:
    from pyspark.sql import functions as F

    return F.expr(expression) if isinstance(expression, str) else expression(F)


def query(make: Callable[..., Any], frames: Mapping[str, Any], ordered: bool) -> Found:
    """A whole query. Raising is all that is known of one that raises."""
    from pyspark.sql import functions as F

    try:
        table = make(F, frames).toArrow()
        rows = list(zip(*(plain(each) for each in table.columns), strict=True))
        names = [f"{name}:{kind}" for name, kind in zip(table.column_names, types_of(table), strict=True)]
        return Found(", ".join(names), dict(enumerate(rows if ordered else sorted(rows, key=repr))))
    except Exception as error:
        return Found("", {0: RAISES}, why(error), type(error).__name__ == "NotProven")


class OnSpark:
    """All rows at once: TryEval makes null of an expression that raises, and so of a struct that holds its value."""

    def __init__(self, session: Any) -> None:
        from pyspark.sql.classic.column import Column

        java = session._jvm.org.apache.spark.sql
        self._column, self._convert = Column, java.classic.ExpressionUtils
        self._try = java.catalyst.expressions.TryEval

    def evaluate(self, frame: Any, expressions: Sequence[Any]) -> list[Found]:
        try:
            return self._together(frame, expressions)
        except Exception as error:
            if len(expressions) == 1:
                return [Found(error=why(error))]
            half = len(expressions) // 2
            return self.evaluate(frame, expressions[:half]) + self.evaluate(frame, expressions[half:])

    def _together(self, frame: Any, expressions: Sequence[Any]) -> list[Found]:
        columns = [column_of(each) for each in expressions]
        kinds = frame.select(*(each.alias(f"c{at}") for at, each in enumerate(columns))).schema
        table = frame.select("i", *(self._caught(each).alias(f"c{at}") for at, each in enumerate(columns))).toArrow()
        numbers = table["i"].to_pylist()
        made = []
        for at, kind in enumerate(kinds.fields):
            column = table[f"c{at}"].combine_chunks()
            values = zip(column.is_valid().to_pylist(), plain(pc.struct_field(column, 0)), strict=True)
            rows = {i: value if is_there else RAISES for i, (is_there, value) in zip(numbers, values, strict=True)}
            made.append(Found(kind.dataType.simpleString(), rows))
        return made

    def _caught(self, column: Any) -> Any:
        from pyspark.sql import functions as F

        held = F.struct(column.alias("value"))
        return self._column(self._convert.column(self._try(self._convert.expression(held._jc))))


class OnSail:
    """Rows that raise on Spark must raise here, each alone: a few are asked for. The others are evaluated together.

    Rows are hidden by making their columns null. A filter would not hide them: Sail may compute before it filters.
    """

    def __init__(self, checks: "Checks | None") -> None:
        self._checks = checks

    def evaluate(self, frame: Any, expressions: Sequence[Any], on_spark: Sequence[Found]) -> list[Found]:
        found: dict[int, Found] = {}
        for at in range(0, len(expressions), BATCH):
            asked = {each: expressions[each] for each in range(at, min(at + BATCH, len(expressions)))}
            hidden = {each: [i for i, value in on_spark[each].rows.items() if value == RAISES] for each in asked}
            found |= self._together(frame, asked, hidden)
            for each, rows in hidden.items():
                if rows and not found[each].is_refused:
                    self._raising(frame, each, asked[each], rows, found[each])
        return [found[at] for at in range(len(expressions))]

    def _together(self, frame: Any, asked: Mapping[int, Any], hidden: Mapping[int, Sequence[int]]) -> dict[int, Found]:
        try:
            return self._query(frame, asked, {at: ("NOT IN", rows) for at, rows in hidden.items() if rows})
        except Exception as error:
            if len(asked) == 1:
                is_refused = type(error).__name__ == "NotProven"
                return dict.fromkeys(asked, Found(rows={-1: RAISES}, error=why(error), is_refused=is_refused))
            numbers = list(asked)
            halves = numbers[: len(numbers) // 2], numbers[len(numbers) // 2 :]
            one, other = ({each: asked[each] for each in half} for half in halves)
            return self._together(frame, one, hidden) | self._together(frame, other, hidden)

    def _query(
        self, frame: Any, asked: Mapping[int, Any], seen: Mapping[int, tuple[str, Sequence[int]]]
    ) -> dict[int, Found]:
        """seen: for an expression, which rows it is to see (IN, NOT IN); of the others its columns are null."""
        from pyspark.sql import functions as F

        inner, outer = ["*"], [F.col("i")]
        for at, expression in asked.items():
            if at not in seen:
                outer.append(column_of(expression).alias(f"c{at}"))
                continue
            sign, rows = seen[at]
            text, names = _renamed(expression, frame.columns, f"_{at}")
            inner += [
                F.expr(f"CASE WHEN i {sign} ({', '.join(map(str, rows))}) THEN `{name}` END").alias(f"{name}_{at}")
                for name in names
            ]
            outer.append(F.expr(text).alias(f"c{at}"))
        table = frame.select(*inner).select(*outer).toArrow()
        numbers, sent = table["i"].to_pylist(), types_of(table)[1:]
        claimed = self._checks.types[1:] if self._checks else sent
        found = {}
        for at, kind, claim in zip(asked, sent, claimed, strict=True):
            rows = dict(zip(numbers, plain(table[f"c{at}"]), strict=True))
            sign, listed = seen.get(at, ("", ()))
            kept = {i: value for i, value in rows.items() if not sign or (i in listed) == (sign == "IN")}
            found[at] = Found(kind if kind == claim else f"{kind}, claimed to be {claim}", kept)
        return found

    def _raising(self, frame: Any, at: int, expression: Any, rows: Sequence[int], found: Found) -> None:
        for i in sorted({rows[each * (len(rows) - 1) // MOST_RAISING] for each in range(1, MOST_RAISING + 1)}):
            try:
                made = self._query(frame, {at: expression}, {at: ("IN", [i])})[at]
                found.rows |= made.rows
            except Exception as error:
                found.rows[i], found.error = RAISES, found.error or why(error)


class OnNativeSpark(OnSail):
    """One expression that is left to Spark leaves its whole node to it: those go together, and apart from the others.

    What is tried as Spark itself is, Comet would never see.
    """

    def __init__(self) -> None:
        super().__init__(None)
        self.native: set[Any] = set()
        """Expressions that were computed natively."""

    def evaluate(self, frame: Any, expressions: Sequence[Any], on_spark: Sequence[Found]) -> list[Found]:
        groups = self._groups(frame, expressions, range(len(expressions)))
        native = [each for group in groups for each in group]
        self.native |= {expressions[at] for at in native}
        found: dict[int, Found] = {}
        for group in [*groups, [at for at in range(len(expressions)) if at not in set(native)]]:
            made = super().evaluate(frame, [expressions[at] for at in group], [on_spark[at] for at in group])
            found |= dict(zip(group, made, strict=True))
        return [found[at] for at in range(len(expressions))]

    def _groups(self, frame: Any, expressions: Sequence[Any], numbers: Sequence[int]) -> list[Sequence[int]]:
        """Of numbers of expressions that are computed natively together."""
        if 0 < len(numbers) <= BATCH and self._is_native(frame, [expressions[at] for at in numbers]):
            return [numbers]
        if len(numbers) <= 1:
            return []
        half = len(numbers) // 2
        return self._groups(frame, expressions, numbers[:half]) + self._groups(frame, expressions, numbers[half:])

    def _is_native(self, frame: Any, expressions: Sequence[Any]) -> bool:
        columns = [column_of(each).alias(f"c{at}") for at, each in enumerate(expressions)]
        try:
            plan = frame.select("i", *columns)._jdf.queryExecution().executedPlan().toString()
        except Exception:
            return False  # evaluating it alone tells what it raises
        return "CometProject" in plan and not re.search(r"(?<!Comet)Project\b", plan)


def _renamed(expression: str, columns: Iterable[str], suffix: str) -> tuple[str, list[str]]:
    """The SQL with another name for each column in it, and these columns."""
    used: list[str] = []
    known = set(columns)

    def renamed(match: re.Match[str]) -> str:
        if match[0] not in known:
            return match[0]
        used.append(match[0])
        return match[0] + suffix

    parts = re.split(r"('(?:[^'\\\\]|\\\\.)*')", expression)
    text = "".join(part if at % 2 else re.sub(r"\b[a-z]\w*\b(?!\()", renamed, part) for at, part in enumerate(parts))
    return text, sorted(set(used))


def spark_session(native: Mapping[str, str] = MappingProxyType({})) -> Any:
    """`native`: settings of a Spark with native operators."""
    from pyspark.sql import SparkSession

    from resources.spark import common_conf

    conf = {name: value for name, value in common_conf().items() if name != "spark.sql.extensions"}
    return SparkSession.builder.config(
        map={
            **conf,
            "spark.master": "local[2]",
            "spark.driver.memory": "1g",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
            "spark.sql.ansi.enabled": "true",
            "spark.sql.shuffle.partitions": "2",
            # Compiling takes longer than evaluating so few rows.
            "spark.sql.codegen.wholeStage": "false",
            "spark.sql.codegen.factoryMode": "NO_CODEGEN",
            **native,
        }
    ).getOrCreate()


def on_spark(folder: Path) -> None:
    from tests.engines.cases import cases, differences, queries

    session = spark_session()
    session.sparkContext.setLogLevel("OFF")
    frames, engine = read_frames(session, folder), OnSpark(session)
    found: dict[str, dict[str, Found]] = {"cases": {}, "queries": {}, "differences": {}}
    for group, tried in (("cases", cases()), ("differences", differences())):
        for frame in FRAMES:
            of_frame = [each for each in tried if each.frame == frame]
            for at in range(0, len(of_frame), BATCH):
                batch = of_frame[at : at + BATCH]
                made = engine.evaluate(frames[frame], [each.expression for each in batch])
                found[group] |= {each.name: one for each, one in zip(batch, made, strict=True)}
    for each in queries():
        found["queries"][each.name] = query(each.make, frames, each.ordered)
    _write(folder / "spark.pickle", found)


def on_native_spark(folder: Path) -> None:
    from resources.comet import comet_conf
    from resources.jars import NATIVE
    from tests.engines.cases import cases

    session = spark_session({**comet_conf(mib=512), "spark.jars.packages": NATIVE})
    session.sparkContext.setLogLevel("OFF")
    engine = OnNativeSpark()
    found = _found(folder, read_frames(session, folder), engine, every_case=True)
    left = {each.name: [] for each in cases() if each.expression not in engine.native}
    _write(folder / "native.pickle", {**found, "left to spark": left})


def on_sail(folder: Path) -> None:
    from resources.sail import SailSessions

    checks = Checks()
    found = {
        "checked": _on_sail(folder, SailSessions().open(checks), checks),
        "raw": _on_sail(folder, SailSessions().open(), None),
    }
    raw = {f"raw {name}": of for name, of in found["raw"].items()}
    compared = {"never null": never_null(folder, SailSessions().open(Checks()))}
    _write(folder / "sail.pickle", {**found["checked"], **raw, **compared})


def _on_sail(folder: Path, session: Any, checks: "Checks | None") -> dict[str, dict[str, Found]]:
    """All cases if plans are checked and mended, as a step's are; without, those of which a difference is known."""
    with session.active():
        return _found(folder, read_frames(session.spark, folder), OnSail(checks), every_case=checks is not None)


def _found(folder: Path, frames: Mapping[str, Any], engine: OnSail, every_case: bool) -> dict[str, dict[str, Found]]:
    from tests.engines.cases import cases, differences, queries

    before = read_found(folder, "spark")
    found: dict[str, dict[str, Found]] = {"cases": {}, "differences": {}, "queries": {}}
    for group, tried in (("cases", cases() if every_case else ()), ("differences", differences())):
        for frame in FRAMES:
            names = [each.name for each in tried if each.frame == frame]
            expressions = [each.expression for each in tried if each.frame == frame]
            made = engine.evaluate(frames[frame], expressions, [before[group][name] for name in names])
            found[group] |= dict(zip(names, made, strict=True))
    for each in queries():
        if every_case or each.differs:
            found["queries"][each.name] = query(each.make, frames, each.ordered)
    return found


def never_null(folder: Path, session: Any) -> dict[str, list[str]]:
    """Each case over rows in which no column is null, compared with constants: what differs from Spark, by case.

    DataFusion looks through more of what is never null, and moves a cast from a column to a constant that it is
    compared with. What is expected is Python's comparison of the values that Spark computed.
    """
    from tests.engines.cases import cases

    spark, values, found = read_found(folder, "spark")["cases"], pq.read_table(folder / "values.parquet"), {}
    with session.active():
        for each in cases():
            on_spark, text = spark[each.name], each.expression
            if each.frame == "values" and isinstance(text, str) and re.match("decimal|bigint|int", on_spark.type):
                _, used = _renamed(text, values.column_names, "")
                if differs := _compared(session.spark, values.select(["i", *used]), text, on_spark, folder):
                    found[each.name] = differs
    return found


def _compared(session: Any, table: pa.Table, expression: str, on_spark: Found, folder: Path) -> list[str]:
    has_all = reduce(pc.and_, (pc.is_valid(table[name]) for name in table.column_names))
    values = {i: on_spark.rows[i] for i in table.filter(has_all)["i"].to_pylist()}
    values = {i: value for i, value in values.items() if value is not None and value != RAISES}
    if not values:
        return []
    kept = table.filter(pc.is_in(table["i"], pa.array(list(values))))
    path = str(folder / "never-null.parquet")
    pq.write_table(kept, path)
    fields = from_arrow_schema(kept.schema, prefer_timestamp_ntz=False).fields
    schema = ", ".join(f"`{each.name}` {each.dataType.simpleString()} NOT NULL" for each in fields)
    frame = session.read.schema(schema).parquet(path)
    # The smallest by its digits: what others may round to.
    constant = min(values.values(), key=lambda value: (abs(value), value))
    text = f"{constant:f}BD" if isinstance(constant, Decimal) else f"{constant}L"
    if constant == -(2**63):
        return []
    try:
        compared = f"({expression}) = {text} AS is_it", f"({expression}) > {text} AS is_more"
        rows = frame.selectExpr("i", *compared).collect()
        those = frame.where(f"({expression}) = {text}").select("i").collect()
    except Exception as error:
        return [] if type(error).__name__ == "NotProven" else [why(error)]
    expected = {i: (value == constant, value > constant) for i, value in values.items()}
    wrong = [
        f"row {row['i']}, {values[row['i']]}: = and > {text} are {row['is_it']} and {row['is_more']}"
        for row in rows
        if (row["is_it"], row["is_more"]) != expected[row["i"]]
    ]
    if {row["i"] for row in those} != {i for i, (is_it, _) in expected.items() if is_it}:
        wrong.append(f"as a condition, = {text} finds {len(those)} rows")
    return wrong


class Checks:
    """What each plan of a session goes through, and the types that the last one was found to make."""

    def __init__(self) -> None:
        from affirm_assets.engines.sail import plan, sql
        from affirm_assets.engines.sail.checker import Checker

        def of_a_table(leaf: Any) -> Any:
            """As a step's: a value that is made of no table's column may be a constant."""
            is_file = leaf.WhichOneof("rel_type") == "read" and leaf.read.data_source.paths
            return plan.columns_of(sql.schema_of(leaf.read.data_source.schema), "tests.frame") if is_file else None

        self._checker = Checker(of_a_table)
        self.types: list[str] = []

    def __call__(self, plan: Any) -> Any:
        checked = self._checker.check(plan)
        self.types = [str(each.type) for each in checked.columns]
        return checked.plan


def _write(path: Path, found: object) -> None:
    path.with_suffix(".part").write_bytes(pickle.dumps(found))
    path.with_suffix(".part").rename(path)


def read_found(folder: Path, engine: str) -> Mapping[str, Mapping[str, Found]]:
    found: Mapping[str, Mapping[str, Found]] = pickle.loads((folder / f"{engine}.pickle").read_bytes())
    return found


if __name__ == "__main__":
    # By its own name: what is pickled must not be of a module called __main__.
    from tests.engines import evaluate

    engine, where = sys.argv[1:]
    engines = {"spark": evaluate.on_spark, "sail": evaluate.on_sail, "native": evaluate.on_native_spark}
    engines[engine](Path(where))
    sys.stdout.flush()
    os._exit(0)  # neither engine's threads are waited for
