"""The Connect plan as data: types, the values that expressions make, and small builders of plan messages."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pyspark.sql.types as spark
from pyspark.sql.connect import proto

from affirm_assets.steps.lineage import ColumnRef

Message = Any
"""A protobuf message. Their classes are made at import, so that no checker knows their fields."""


@dataclass(frozen=True, slots=True)
class Type:
    """A type of Spark SQL without nullability. A struct has `fields`, an array one of them, its element."""

    name: str
    precision: int = 0
    scale: int = 0
    fields: tuple[tuple[str, "Type"], ...] = ()

    def __str__(self) -> str:
        match self.name:
            case "decimal":
                return f"decimal({self.precision},{self.scale})"
            case "array":
                return f"array<{self.element}>"
            case "struct":
                return f"struct<{','.join(f'{name}:{kind}' for name, kind in self.fields)}>"
        return self.name

    @property
    def element(self) -> "Type":
        return self.fields[0][1]

    def field(self, name: str) -> "Type | None":
        return next((kind for each, kind in self.fields if each == name), None)


def decimal(precision: int, scale: int) -> Type:
    return Type("decimal", precision, scale)


def array(element: Type) -> Type:
    return Type("array", fields=(("element", element),))


def struct(fields: Iterable[tuple[str, Type]]) -> Type:
    return Type("struct", fields=tuple(fields))


BOOLEAN, STRING, DATE, TIMESTAMP, VOID = map(Type, ("boolean", "string", "date", "timestamp", "void"))
TINYINT, SMALLINT, INT, BIGINT = map(Type, ("tinyint", "smallint", "int", "bigint"))
DOUBLE, DAYS = Type("double"), Type("interval day")
INTEGERS: Mapping[str, int] = {"tinyint": 8, "smallint": 16, "int": 32, "bigint": 64}
"""Bits of each."""
DIGITS: Mapping[str, int] = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 20}
"""The precision of the decimal that Spark casts an integer to."""
MOST_DIGITS = 38


def is_number(kind: Type) -> bool:
    return kind.name in ("decimal", "double", *INTEGERS)


_SIMPLE: Mapping[type[spark.DataType], Type] = {
    spark.BooleanType: BOOLEAN,
    spark.DateType: DATE,
    spark.TimestampType: TIMESTAMP,
    spark.NullType: VOID,
    spark.ByteType: TINYINT,
    spark.ShortType: SMALLINT,
    spark.IntegerType: INT,
    spark.LongType: BIGINT,
    spark.DoubleType: DOUBLE,
}
_SPARK = {kind.name: each for each, kind in _SIMPLE.items()}


def type_of(kind: spark.DataType) -> Type:
    """The type; one that this module does not know has Spark's name, and nothing is proven of it."""
    match kind:
        case spark.DecimalType():
            return decimal(kind.precision, kind.scale)
        case spark.ArrayType():
            return array(type_of(kind.elementType))
        case spark.StructType():
            return struct((each.name, type_of(each.dataType)) for each in kind.fields)
        case spark.StringType():
            return STRING if kind == spark.StringType() else Type(kind.simpleString())
    return _SIMPLE.get(type(kind)) or Type(kind.simpleString())


def spark_type(kind: Type) -> spark.DataType:
    match kind.name:
        case "decimal":
            return spark.DecimalType(kind.precision, kind.scale)
        case "array":
            return spark.ArrayType(spark_type(kind.element))
        case "struct":
            return spark.StructType([spark.StructField(name, spark_type(each)) for name, each in kind.fields])
        case "string":
            return spark.StringType()
    return _SPARK[kind.name]()


@dataclass(frozen=True, slots=True)
class Sources:
    """The table columns that a value is computed from; of a struct made in the plan also those of each field.

    may_be_unmatched: a part of it comes from a side of an outer join that is null where it has no row.
    """

    columns: frozenset[ColumnRef] = frozenset()
    fields: tuple["Sources", ...] = ()
    may_be_unmatched: bool = False


NOWHERE = Sources()


def together(sources: Iterable[Sources]) -> Sources:
    """Of all of them; what each field is of is not known any more."""
    given = list(sources)
    return Sources(
        frozenset().union(*(each.columns for each in given)),
        may_be_unmatched=any(each.may_be_unmatched for each in given),
    )


def either(one: Sources, other: Sources) -> Sources:
    """Of one or the other; fields stay apart where both have the same."""
    fields = zip(one.fields, other.fields, strict=True) if len(one.fields) == len(other.fields) else ()
    may_be_unmatched = one.may_be_unmatched or other.may_be_unmatched
    return Sources(one.columns | other.columns, tuple(either(*each) for each in fields), may_be_unmatched)


def unmatched(sources: Sources) -> Sources:
    return replace(sources, fields=tuple(map(unmatched, sources.fields)), may_be_unmatched=True)


Range = tuple[int, int]
"""The least and the most that an integer can be."""

_ids = count(1)


@dataclass(frozen=True, eq=False, slots=True)
class Column:
    """A column of a relation. `id` stays with a column that is passed on as it is; `qualifiers` are aliases of frames.

    One that Spark would name by its expression has no name here, and cannot be referred to. `within`: the plans that a
    name may be tied to and mean this column, where a frame was joined with itself; None: whichever has its id.
    """

    name: str | None
    type: Type
    range: Range | None = None
    sources: Sources = NOWHERE
    qualifiers: tuple[str, ...] = ()
    within: frozenset[int] | None = None
    id: int = field(default_factory=lambda: next(_ids))


Columns = tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Typed:
    """An expression as Sail is to run it, and its result type."""

    message: Message
    type: Type
    range: Range | None = None
    sources: Sources = NOWHERE
    name: str | None = None
    column: Column | None = None
    """Set if the expression is just a column."""
    literal: Any = None
    is_literal: bool = False
    is_aggregate: bool = False


def columns_of(schema: spark.StructType, table: str | None = None) -> Columns:
    """Columns of a leaf. `table` is the name, for lineage, of the table whose columns they are."""
    return tuple(
        Column(
            each.name,
            type_of(each.dataType),
            sources=Sources(frozenset([ColumnRef(table, each.name)])) if table else NOWHERE,
        )
        for each in schema.fields
    )


def function(name: str, *arguments: Message) -> Message:
    made = proto.Expression()
    made.unresolved_function.function_name = name
    made.unresolved_function.arguments.extend(arguments)
    return made


def attribute(name: str) -> Message:
    made = proto.Expression()
    made.unresolved_attribute.unparsed_identifier = quoted(name)
    return made


def quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def cast(child: Message, kind: Type, *, is_try: bool = False) -> Message:
    made = proto.Expression()
    made.cast.expr.CopyFrom(child)
    made.cast.type_str = str(kind)
    if is_try:
        made.cast.eval_mode = proto.Expression.Cast.EvalMode.EVAL_MODE_TRY
    return made


def held(made: Message, kind: Type) -> Message:
    """A cast that stays: where it is compared with a literal, DataFusion casts the literal instead.

    Then CAST(1.25 AS bigint) = 1 is false, and CAST(n AS int) < 20 is no error for an n beyond int. It does not look
    through nullif. (Through coalesce it does, where the value is never null.)
    """
    nothing = proto.Expression()
    nothing.literal.null.null.SetInParent()
    return function("nullif", made, cast(nothing, kind))


def hidden(made: Message) -> Message:
    """The value, by an expression that depends on chance as far as DataFusion knows, and on nothing else that it knows.

    It takes a constant of one side of an outer join, or what a condition makes one, for a constant of all joined rows,
    also where that side has no row and all of it is null. Then it leaves out the column when it sorts, and a window or
    a group ends with the first other value. Whoever groups or orders by such a column hides it.
    """
    two: Message = proto.Expression()
    two.literal.double = 2.0
    return function("when", function("<", function("rand"), two), made)


def alias(child: Message, *names: str) -> Message:
    made = proto.Expression()
    made.alias.expr.CopyFrom(child)
    made.alias.name.extend(names)
    return made


def boolean(value: bool) -> Message:
    made = proto.Expression()
    made.literal.boolean = value
    return made


def text(value: str) -> Message:
    made = proto.Expression()
    made.literal.string = value
    return made


def whole(value: int, kind: Type) -> Message:
    made = proto.Expression()
    if kind == BIGINT:
        made.literal.long = value
    else:
        made.literal.integer = value
    return made if kind in (INT, BIGINT) else cast(made, kind)


def exact(value: str, kind: Type) -> Message:
    """A decimal literal. `value`: as it is written, without an exponent."""
    made = proto.Expression()
    made.literal.decimal.value = value
    made.literal.decimal.precision, made.literal.decimal.scale = kind.precision, kind.scale
    return made


def shown(expression: Message, most: int = 300) -> str:
    """The expression in a form near to SQL, for messages."""
    written = _shown(expression)
    return written if len(written) <= most else written[: most - 3] + "..."


_NEEDLESS_QUOTES = re.compile(r"`(\w+)`")


def _shown(e: Message) -> str:
    match e.WhichOneof("expr_type"):
        case "literal":
            return _literal_shown(e.literal)
        case "unresolved_attribute":
            return _NEEDLESS_QUOTES.sub(r"\1", e.unresolved_attribute.unparsed_identifier)
        case "expression_string":
            return str(e.expression_string.expression)
        case "alias":
            return f"{_shown(e.alias.expr)} AS {', '.join(e.alias.name)}"
        case "cast":
            kind = e.cast.type_str or e.cast.type.WhichOneof("kind")
            return f"CAST({_shown(e.cast.expr)} AS {kind})"
        case "unresolved_function":
            called = e.unresolved_function
            parts = [_shown(each) for each in called.arguments]
            if len(parts) == 2 and not called.function_name.isidentifier():
                return f"({parts[0]} {called.function_name} {parts[1]})"
            return f"{called.function_name}({', '.join(parts)})"
        case "unresolved_extract_value":
            return f"{_shown(e.unresolved_extract_value.child)}[{_shown(e.unresolved_extract_value.extraction)}]"
        case "lambda_function":
            return f"-> {_shown(e.lambda_function.function)}"
        case "unresolved_named_lambda_variable":
            return ".".join(e.unresolved_named_lambda_variable.name_parts)
        case "window":
            return f"{_shown(e.window.window_function)} OVER (...)"
        case "unresolved_star":
            return str(e.unresolved_star.unparsed_target or "*")
        case "sort_order":
            return _shown(e.sort_order.child)
    return str(e.WhichOneof("expr_type"))


def _literal_shown(literal: Message) -> str:
    match literal.WhichOneof("literal_type"):
        case "decimal":
            return str(literal.decimal.value)
        case "string":
            return repr(literal.string)
        case "null":
            return "NULL"
        case str() as kind:
            return str(getattr(literal, kind)).strip()
    return "?"
