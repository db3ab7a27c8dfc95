"""The contract of a dataset's rows: one pydantic model gives the Iceberg schema, Spark schema and audits.

Belongs here: what a column may be, and what follows from it. Does not: sessions, tables, files, Dagster.
"""

import re
import sys
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any, Literal, TypedDict, Union, Unpack, get_args, get_origin

import annotated_types
import pyiceberg.types as iceberg
import pyspark.sql.types as spark
from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo
from pydantic_core import SchemaError, SchemaValidator, core_schema
from pyiceberg.schema import Schema

from affirm_assets.errors import ContractError

Money = Annotated[Decimal, Field(max_digits=18, decimal_places=2)]
"""An amount in the books' currency, to the cent."""

Rate = Annotated[Decimal, Field(max_digits=9, decimal_places=6)]
"""A rate in percent: 14.990000 is 14.99 %."""

Pii = Literal["direct"]
"""`direct`: identifies a person by itself. Masked wherever a sample is shown; erasure removes it."""

_ALLOWED = "str, int, bool, date, datetime, Decimal with max_digits and decimal_places, Literal, or one of them | None"
_COLUMN_NAME = re.compile(r"[a-z][a-z0-9_]*")
_OF_TEXT = ("pattern", "min_length", "max_length")
_SPARK_DECIMAL_DIGITS = 38  # the most that Spark and Iceberg hold


class Constraints(TypedDict, total=False):
    """What an audit or the type can check, as pydantic names it. Bounds: int, Decimal or date; lengths: characters."""

    ge: Any
    gt: Any
    le: Any
    lt: Any
    pattern: str
    min_length: int
    max_length: int
    max_digits: int
    decimal_places: int


def column(description: str, *, pii: Pii | None = None, **constraints: Unpack[Constraints]) -> Any:
    """A column. Each constraint becomes an audit."""
    return _field(description, False, pii, constraints)


def key(description: str, *, pii: Pii | None = None, **constraints: Unpack[Constraints]) -> Any:
    """A column of the key: never null, and unique together with the other key columns within a window."""
    return _field(description, True, pii, constraints)


def _field(description: str, is_key: bool, pii: Pii | None, constraints: Constraints) -> Any:
    # What is no constraint is refused by the field's name, which is not known here yet.
    known: dict[str, Any] = {name: value for name, value in constraints.items() if name in Constraints.__annotations__}
    extra = _extra(is_key, pii, tuple(sorted(set(constraints) - set(known))))
    return Field(description=description, json_schema_extra=extra, **known)


@cache
def _extra(is_key: bool, pii: Pii | None, unknown: tuple[str, ...]) -> Any:
    """One for all columns that are alike."""
    return {"key": is_key, "pii": pii, "unknown": [*unknown]}


@dataclass(frozen=True, slots=True)
class Rule:
    """One audit of a column's values. `violation` is Spark SQL that is true for rows that break it."""

    name: str
    description: str
    violation: str


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """One column, resolved: the same facts for Iceberg, Spark, the audits and Dagster."""

    name: str
    iceberg_type: iceberg.PrimitiveType
    spark_type: spark.DataType
    required: bool
    doc: str
    is_key: bool
    pii: Pii | None
    rules: tuple[Rule, ...]


class Contract(BaseModel):
    """Base of all contracts. A subclass is one row; its docstring says of what."""

    # Arbitrary types pass pydantic here so that they are refused below, by the field's name. No row ever becomes an
    # object of a contract, so that pydantic need not make a validator of each (defer_build).
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True, defer_build=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        columns(cls)


@cache
def columns(contract: type[Contract]) -> tuple[ColumnSpec, ...]:
    """The contract's columns in declared order; raises ContractError for a field that cannot be one."""
    where = f"{getattr(sys.modules.get(contract.__module__), '__file__', contract.__module__)}: {contract.__name__}"
    if not (contract.__doc__ or "").strip():
        raise ContractError(f"{where}: a contract says in its docstring what one row is; found none.")
    decorators = contract.__pydantic_decorators__
    has_post_init = contract.model_post_init is not BaseModel.model_post_init
    if has_post_init or any(getattr(decorators, each.name) for each in fields(decorators)):
        raise ContractError(
            f"{where}: a pydantic validator or computed field cannot become an audit. Declare an @audit on the dataset."
        )
    specs = tuple(_column_spec(where, name, info) for name, info in contract.model_fields.items())
    if not any(spec.is_key for spec in specs):
        raise ContractError(f"{where}: expected at least one key() column, found none.")
    rules = [rule.name for spec in specs for rule in spec.rules]
    if repeated := sorted({name for name in rules if rules.count(name) > 1}):
        raise ContractError(
            f"{where}: a column has two constraints of one kind: {', '.join(repeated)}. Keep one of them."
        )
    return specs


def key_columns(contract: type[Contract]) -> tuple[str, ...]:
    return tuple(spec.name for spec in columns(contract) if spec.is_key)


def required_columns(contract: type[Contract]) -> tuple[str, ...]:
    return tuple(spec.name for spec in columns(contract) if spec.required)


def personal_columns(contract: type[Contract]) -> frozenset[str]:
    """The columns that are masked wherever a sample is shown."""
    return frozenset(spec.name for spec in columns(contract) if spec.pii)


def iceberg_schema(contract: type[Contract]) -> Schema:
    """Field ids count from 1 in declared order, for a new table; later columns get the next free id."""
    specs = columns(contract)
    return Schema(
        *(
            iceberg.NestedField(number, spec.name, spec.iceberg_type, required=spec.required, doc=spec.doc)
            for number, spec in enumerate(specs, start=1)
        ),
        identifier_field_ids=[number for number, spec in enumerate(specs, start=1) if spec.is_key],
    )


def spark_schema(contract: type[Contract]) -> spark.StructType:
    return spark.StructType(
        [
            spark.StructField(spec.name, spec.spark_type, nullable=not spec.required, metadata={"comment": spec.doc})
            for spec in columns(contract)
        ]
    )


_MONEY = spark.DecimalType(18, 2)


def money_columns(schema: spark.StructType) -> tuple[str, ...]:
    """The columns of amounts, whose sums are compared as control totals."""
    return tuple(each.name for each in schema.fields if each.dataType == _MONEY)


def money_of(contract: type[Contract]) -> tuple[str, ...]:
    """The contract's columns of amounts."""
    return tuple(spec.name for spec in columns(contract) if spec.spark_type == _MONEY)


@dataclass(frozen=True)
class SchemaChange:
    """What would bring a table to its contract: `add`, `relax` and `redoc` are safe, `refused` is not."""

    add: tuple[ColumnSpec, ...] = ()
    relax: tuple[str, ...] = ()
    redoc: tuple[ColumnSpec, ...] = ()
    refused: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.add or self.relax or self.redoc or self.refused)


def schema_change(contract: type[Contract], table: Schema) -> SchemaChange:
    """Compare by column name: a renamed column shows as one dropped and one added."""
    specs = {spec.name: spec for spec in columns(contract)}
    fields = {field.name: field for field in table.fields}
    refused = [
        f"column {name} ({field.field_type}) is in the table, but not in the contract: dropped or renamed?"
        for name, field in fields.items()
        if name not in specs
    ]
    add, relax, redoc = [], [], []
    for name, spec in specs.items():
        field = fields.get(name)
        if field is None and spec.required:
            refused.append(f"column {name} ({spec.iceberg_type}) is new and not nullable: rows already there have none")
        elif field is None:
            add.append(spec)
        elif field.field_type != spec.iceberg_type:
            refused.append(f"column {name}: the table has {field.field_type}, the contract {spec.iceberg_type}")
        elif spec.required and not field.required:
            refused.append(f"column {name}: nullable in the table, not nullable in the contract (narrowed)")
        else:
            if field.required and not spec.required:
                relax.append(name)
            if (field.doc or "") != spec.doc:
                redoc.append(spec)
    table_key = sorted(table.find_field(field_id).name for field_id in table.identifier_field_ids)
    contract_key = sorted(key_columns(contract))
    if table_key != contract_key:
        refused.append(f"key: the table has {', '.join(table_key) or 'none'}, the contract {', '.join(contract_key)}")
    return SchemaChange(tuple(add), tuple(relax), tuple(redoc), tuple(refused))


def column_differences(contract: type[Contract], frame: spark.StructType) -> list[str]:
    """How a frame's schema misses the contract: missing, extra, repeated and mistyped columns; empty if it fits."""
    names = frame.fieldNames()
    found = {field.name: field.dataType for field in frame.fields}
    specs = {spec.name: spec.spark_type for spec in columns(contract)}
    missing = [f"missing column {name} ({kind.simpleString()})" for name, kind in specs.items() if name not in found]
    extra = [f"extra column {name} ({kind.simpleString()})" for name, kind in found.items() if name not in specs]
    repeated = [
        f"column {name} appears {names.count(name)} times" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    mistyped = [
        f"column {name}: expected {specs[name].simpleString()}, found {kind.simpleString()}"
        for name, kind in found.items()
        if name in specs and specs[name] != kind
    ]
    return missing + extra + repeated + mistyped


def sql_text(value: str) -> str:
    """A Spark SQL string literal of exactly this text."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def java_pattern(pattern: str) -> str:
    r"""The pattern for Spark's rlike: in Java `$` matches before a last line break too, and `L1\n` would pass for L1.

    Each `$` that is an anchor becomes `\z`, which means in Java what `$` means to pydantic.
    """
    translated, is_escaped, is_in_class = "", False, False
    for character in pattern:
        is_anchor = character == "$" and not is_escaped and not is_in_class
        translated += r"\z" if is_anchor else character
        if not is_escaped and character in "[]":
            is_in_class = character == "["
        is_escaped = character == "\\" and not is_escaped
    return translated


def _column_spec(contract: str, name: str, info: FieldInfo) -> ColumnSpec:
    where = f"{contract}.{name}"
    if not _COLUMN_NAME.fullmatch(name):
        raise ContractError(f"{where}: a column name is lower-case letters, digits and underscores.")
    extra = info.json_schema_extra
    if not isinstance(extra, Mapping) or "key" not in extra:
        raise ContractError(f"{where}: declare it with key(...) or column(...), so that it has a description.")
    if extra["unknown"]:
        raise ContractError(
            f"{where}: {extra['unknown']} cannot become an audit. Expected {', '.join(Constraints.__annotations__)}."
        )
    if extra["pii"] not in (None, *get_args(Pii)):
        raise ContractError(f"{where}: expected pii to be one of {', '.join(get_args(Pii))}; found {extra['pii']!r}.")
    if not (info.description or "").strip():
        raise ContractError(f"{where}: expected a description, found none.")
    base, optional, metadata = _unwrap(info.annotation, list(info.metadata))
    is_key = bool(extra["key"])
    if is_key and optional:
        raise ContractError(f"{where}: a key column cannot be nullable; found {info.annotation}.")
    iceberg_type, spark_type, rules = _column_type(where, name, base, metadata)
    return ColumnSpec(
        name=name,
        iceberg_type=iceberg_type,
        spark_type=spark_type,
        required=not optional,
        doc=info.description or "",
        is_key=is_key,
        pii=extra["pii"],  # type: ignore[arg-type]
        rules=(*rules, *_constraint_rules(where, name, base, metadata)),
    )


def _unwrap(annotation: Any, metadata: list[Any]) -> tuple[Any, bool, list[Any]]:
    """Strip Annotated and `| None`; returns the bare type, whether None is allowed, and all constraints found."""
    optional = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *inner = get_args(annotation)
            for item in inner:
                metadata.extend(item.metadata if isinstance(item, FieldInfo) else [item])
        elif origin in (Union, types.UnionType) and types.NoneType in get_args(annotation):
            rest = [arg for arg in get_args(annotation) if arg is not types.NoneType]
            if len(rest) != 1:
                return annotation, True, metadata
            annotation, optional = rest[0], True
        else:
            return annotation, optional, metadata


_SIMPLE: Mapping[Any, tuple[iceberg.PrimitiveType, spark.DataType]] = {
    str: (iceberg.StringType(), spark.StringType()),
    int: (iceberg.LongType(), spark.LongType()),
    bool: (iceberg.BooleanType(), spark.BooleanType()),
    date: (iceberg.DateType(), spark.DateType()),
    datetime: (iceberg.TimestamptzType(), spark.TimestampType()),
}


def _column_type(
    where: str, name: str, base: Any, metadata: Iterable[Any]
) -> tuple[iceberg.PrimitiveType, spark.DataType, tuple[Rule, ...]]:
    if base is Decimal:
        if sum(getattr(item, "max_digits", None) is not None for item in metadata) > 1:
            raise ContractError(f"{where}: its digits are given twice; Money and Rate have theirs already.")
        digits = _constraint(metadata, "max_digits")
        places = _constraint(metadata, "decimal_places")
        if digits is None or places is None or not 0 <= places <= digits <= _SPARK_DECIMAL_DIGITS:
            raise ContractError(
                f"{where}: a Decimal needs max_digits (at most {_SPARK_DECIMAL_DIGITS}) and decimal_places, as Money "
                f"and Rate have; found max_digits={digits}, decimal_places={places}."
            )
        return iceberg.DecimalType(digits, places), spark.DecimalType(digits, places), ()
    if get_origin(base) is Literal:
        values = get_args(base)
        if len({type(value) for value in values}) != 1 or type(values[0]) not in (str, int):
            raise ContractError(f"{where}: the values of a Literal are all str or all int; found {values}.")
        iceberg_type, spark_type = _SIMPLE[type(values[0])]
        listed = ", ".join(sql_text(value) if isinstance(value, str) else str(value) for value in values)
        rule = Rule(
            f"{name}_is_known", f"{name} is one of {', '.join(map(str, values))}", f"`{name}` NOT IN ({listed})"
        )
        return iceberg_type, spark_type, (rule,)
    if base in _SIMPLE:
        return *_SIMPLE[base], ()
    shown = getattr(base, "__name__", str(base))
    raise ContractError(f"{where}: {shown} is not a column type. Expected {_ALLOWED}.")


def _constraint(metadata: Iterable[Any], attribute: str) -> Any:
    return next((value for item in metadata if (value := getattr(item, attribute, None)) is not None), None)


_COMPARISONS: Mapping[type, tuple[str, str, str]] = {
    annotated_types.Ge: ("ge", ">=", "<"),
    annotated_types.Gt: ("gt", ">", "<="),
    annotated_types.Le: ("le", "<=", ">"),
    annotated_types.Lt: ("lt", "<", ">="),
}


def _constraint_rules(where: str, name: str, base: Any, metadata: Iterable[Any]) -> Iterable[Rule]:
    for item in metadata:
        _check_fits(where, base, item)
        _check_text(where, item)
        if type(item) in _COMPARISONS:
            attribute, sign, opposite = _COMPARISONS[type(item)]
            bound = getattr(item, attribute)
            yield Rule(
                f"{name}_{attribute}", f"{name} {sign} {bound}", f"`{name}` {opposite} {_sql_bound(where, bound)}"
            )
        elif isinstance(item, annotated_types.MinLen):
            yield Rule(
                f"{name}_min_length",
                f"{name} has {item.min_length} characters or more",
                f"length(`{name}`) < {item.min_length}",
            )
        elif isinstance(item, annotated_types.MaxLen):
            yield Rule(
                f"{name}_max_length",
                f"{name} has {item.max_length} characters or fewer",
                f"length(`{name}`) > {item.max_length}",
            )
        else:
            known = {"pattern", "max_digits", "decimal_places"}
            given = (
                {attribute for attribute, value in vars(item).items() if value is not None}
                if hasattr(item, "__dict__")
                else {str(item)}
            )
            if given - known:
                raise ContractError(
                    f"{where}: the constraint {', '.join(sorted(given - known))} cannot become an audit."
                )
            if pattern := getattr(item, "pattern", None):
                yield Rule(
                    f"{name}_pattern",
                    f"{name} matches {pattern}",
                    f"NOT rlike(`{name}`, {sql_text(java_pattern(pattern))})",
                )


def _check_fits(where: str, base: Any, item: Any) -> None:
    is_bound = type(item) in _COMPARISONS
    is_of_text = isinstance(item, annotated_types.MinLen | annotated_types.MaxLen) or getattr(item, "pattern", None)
    is_of_decimal = getattr(item, "max_digits", None) is not None or getattr(item, "decimal_places", None) is not None
    if is_of_decimal and base is not Decimal:
        raise ContractError(f"{where}: only a Decimal has max_digits and decimal_places; found {base}.")
    if (is_bound and base not in (int, Decimal, date, datetime)) or (is_of_text and base is not str):
        raise ContractError(f"{where}: the constraint {item} does not fit the type {getattr(base, '__name__', base)}.")


def _check_text(where: str, item: Any) -> None:
    """Refuses a pattern that is none, and a length that no text has."""
    given = {name: value for name in _OF_TEXT if (value := getattr(item, name, None)) is not None}
    if given and (problem := _text_problem(**given)):
        raise ContractError(f"{where}: the constraint {item} cannot be kept by any text: {problem}")


@cache
def _text_problem(**constraints: Any) -> str | None:
    """What is wrong with them, as pydantic says it: it reads patterns by the same rules as Sail."""
    try:
        SchemaValidator(core_schema.str_schema(**constraints))
    except SchemaError as error:
        return str(error)
    return None


def _sql_bound(where: str, bound: Any) -> str:
    if isinstance(bound, datetime):
        return f"TIMESTAMP {sql_text(bound.isoformat())}"
    if isinstance(bound, date):
        return f"DATE {sql_text(bound.isoformat())}"
    if isinstance(bound, Decimal):
        return f"{bound:f}BD"
    if isinstance(bound, int) and not isinstance(bound, bool):
        return str(bound)
    raise ContractError(f"{where}: a bound is an int, Decimal, date or datetime; found {bound!r}.")
