"""A query's Connect plan -> the same plan in what is proven equal to Spark, or NotProven.

Walks the plan from its leaves, with the types that Spark would give each column. Where types meet, Spark's casts are
written into the plan; SQL texts are replaced by their trees; what Sail does otherwise is rewritten (mend.py).
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
from google.protobuf.message import DecodeError
from pyspark.sql.connect import proto
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructField, StructType
from pyspark.util import PythonEvalType

from affirm_assets.engines.sail import plan, proven, sql
from affirm_assets.engines.sail.expressions import Scope, converted, names_in, ordered, type_of_proto, typed
from affirm_assets.engines.sail.plan import (
    BIGINT,
    BOOLEAN,
    INT,
    INTEGERS,
    STRING,
    Column,
    Columns,
    Message,
    Sources,
    Type,
    Typed,
    alias,
    attribute,
    either,
    function,
    shown,
    together,
)
from affirm_assets.engines.sail.returned import checked
from affirm_assets.errors import NotProven

Leaves = Callable[[Message], Columns | None]
"""The columns of a leaf that a plan only names (proto.Relation: a read); None if it is unknown."""


@dataclass(frozen=True)
class Checked:
    """A plan of what is proven, and the columns that it makes, with their lineage."""

    plan: Message
    columns: Columns

    @property
    def schema(self) -> StructType | None:
        """As Spark types it, all nullable; None where a column has only the name that an engine makes up."""
        if any(each.name is None for each in self.columns):
            return None
        return StructType([StructField(str(each.name), plan.spark_type(each.type)) for each in self.columns])


class Checker:
    """Checks the plans of one session. What a frame was found to be is kept: each query repeats the plans before it."""

    def __init__(self, leaves: Leaves) -> None:
        self._leaves = leaves
        self._plans: dict[int, Columns] = {}
        self._mended: dict[int, Message] = {}
        self.functions_mended: set[str] = set()

    def check(self, query: Message) -> Checked:
        """query: proto.Plan, of rows or of a command on a frame; it is not changed. Raises NotProven."""
        made = proto.Plan()
        made.CopyFrom(query)
        root = _root(made)
        try:
            columns = self._relation(root)
        except DecodeError:
            raise NotProven(
                "a query", "one expression holds another too deep; keep a frame, or select in steps"
            ) from None
        # A frame that was asked for is asked for again: first what its columns are, then its rows.
        if root.common.HasField("plan_id"):
            self._keep(root)
        return Checked(made, columns)

    def _relation(self, relation: Message) -> Columns:
        """Mend the relation where it is, and say what columns it makes."""
        plan_id = relation.common.plan_id if relation.common.HasField("plan_id") else None
        if plan_id is not None and plan_id in self._mended:
            relation.CopyFrom(self._mended[plan_id])
            return self._plans[plan_id]
        kind = relation.WhichOneof("rel_type")
        operator = _OPERATORS.get(kind)
        if operator is None:
            raise NotProven(str(kind), "this operator is not proven")
        columns = operator(self, relation)
        if plan_id is not None:
            if plan_id in self._plans:
                columns = self._plans[plan_id]
                self._keep(relation)
            self._plans[plan_id] = columns
        return columns

    def _keep(self, mended: Message) -> None:
        if mended.common.plan_id not in self._mended:
            self._mended[mended.common.plan_id] = kept = proto.Relation()
            kept.CopyFrom(mended)

    def _scope(self, columns: Columns) -> Scope:
        return Scope(columns, self._plans, mended=self.functions_mended)

    # Leaves

    def _read(self, relation: Message) -> Columns:
        columns = self._leaves(relation)
        source = relation.read.data_source
        if columns is None and source.format == "parquet" and source.schema:
            columns = plan.columns_of(_schema(source.schema))
        if columns is None:
            raise NotProven(_leaf(relation), "expected a frame that this step was given")
        return columns

    def _local(self, relation: Message) -> Columns:
        local = relation.local_relation
        if local.schema:
            schema = _schema(local.schema)
            # Without what describes its columns: Sail takes a type with metadata for another than the same without,
            # and fails in some plans of an empty frame even where the metadata is empty.
            local.schema = _without_metadata(schema)
        elif local.data:
            schema = from_arrow_schema(pa.ipc.open_stream(local.data).schema)
        else:
            raise NotProven("a local frame", "expected a schema")
        return plan.columns_of(schema)

    def _range(self, relation: Message) -> Columns:
        of = relation.range
        ends = (of.start, of.end)
        return (Column("id", BIGINT, (min(ends), max(ends))),)

    # Operators of one input

    def _project(self, relation: Message) -> Columns:
        if not relation.project.HasField("input"):
            raise NotProven("select", "a selection from nothing is not proven")
        columns = self._relation(relation.project.input)
        scope = replace(self._scope(columns), hidden={})
        made, found = self._selected(relation.project.expressions, scope)
        del relation.project.expressions[:]
        relation.project.expressions.extend(made)
        _add(scope.hidden, relation.project.input)
        return found

    def _selected(self, expressions: Iterable[Message], scope: Scope) -> tuple[list[Message], Columns]:
        messages: list[Message] = []
        found: list[Column] = []
        for each in expressions:
            kind = each.WhichOneof("expr_type")
            if kind == "expression_string" and each.expression_string.expression.strip() == "*":
                kind = "unresolved_star"
            if kind == "unresolved_star":
                stars = list(_star(each, scope.columns))
                messages += [message for message, _ in stars]
                found += [column for _, column in stars]
            elif (called := _generator(each)) is not None:
                message, made = self._generated(each, called, scope)
                messages.append(message)
                found += made
            else:
                of = typed(each, scope)
                messages.append(_named(of))
                found.append(_as_column(of))
        return messages, tuple(found)

    def _generated(self, e: Message, called: Message, scope: Scope) -> tuple[Message, Columns]:
        """explode, posexplode, inline, with or without names for what they make."""
        name = called.unresolved_function.function_name
        names = list(e.alias.name) if e.WhichOneof("expr_type") == "alias" else []
        of = typed(called.unresolved_function.arguments[0], scope)
        if of.type.name != "array" or (name == "inline" and of.type.element.name != "struct"):
            raise NotProven(shown(e), "expected an array", (str(of.type),))
        anything = together([of.sources])
        if name == "inline":
            made = [Column(each, kind, sources=anything) for each, kind in of.type.element.fields]
        elif name == "posexplode":
            made = [
                Column("pos", INT, (0, 2**31 - 16), anything),
                Column("col", of.type.element, sources=anything),
            ]
        else:
            made = [Column("col", of.type.element, sources=anything)]
        if names and len(names) != len(made):
            raise NotProven(shown(e), f"expected {len(made)} names")
        if names:
            made = [replace(each, name=given) for each, given in zip(made, names, strict=True)]
        message = function(name, of.message)
        return plan.alias(message, *names) if names else message, tuple(made)

    def _filter(self, relation: Message) -> Columns:
        columns = self._relation(relation.filter.input)
        condition = self._condition(relation.filter.condition, columns)
        relation.filter.condition.CopyFrom(condition)
        return columns

    def _condition(self, condition: Message, columns: Columns) -> Message:
        of = typed(condition, self._scope(columns))
        if of.type != BOOLEAN:
            raise NotProven(shown(condition), "expected a condition", (str(of.type),))
        return of.message

    def _with_columns(self, relation: Message) -> Columns:
        columns = list(self._relation(relation.with_columns.input))
        scope = replace(self._scope(tuple(columns)), hidden={})
        names = [each.name[0] for each in relation.with_columns.aliases]
        _check_case("withColumn", names, tuple(columns))
        if len(set(names)) != len(names):
            raise NotProven("withColumns", "a name is given twice")
        for each in relation.with_columns.aliases:
            whole = proto.Expression()
            whole.alias.CopyFrom(each)
            if (called := _generator(whole)) is not None:
                message, made = self._generated(whole, called, scope)
                (column,) = made
            else:
                of = typed(each.expr, scope)
                message, column = plan.alias(_bare(of.message), each.name[0]), _as_column(of, each.name[0])
            each.CopyFrom(message.alias)
            places = [at for at, known in enumerate(columns) if known.name == each.name[0]]
            if len(places) > 1:
                raise NotProven(each.name[0], "more than one column has this name")
            if places:
                columns[places[0]] = column
            else:
                columns.append(column)
        _add_for_now(scope.hidden, relation, relation.with_columns.input)
        return tuple(columns)

    def _renamed(self, relation: Message) -> Columns:
        columns = self._relation(relation.with_columns_renamed.input)
        renames = {each.col_name: each.new_col_name for each in relation.with_columns_renamed.renames}
        renames.update(relation.with_columns_renamed.rename_columns_map)
        renames = {old: new for old, new in renames.items() if old != new}
        _check_case("withColumnRenamed", renames, columns)
        if any(each.name is None for each in columns) and (unknown := set(renames) - {each.name for each in columns}):
            raise NotProven(
                f"withColumnRenamed {min(unknown)}",
                "a column that has no alias is called otherwise on Sail; give it one",
            )
        if set(renames.values()) & set(renames):
            raise NotProven("withColumnsRenamed", "a name is both given and taken")
        return tuple(
            Column(renames[each.name], each.type, each.range, each.sources) if each.name in renames else each
            for each in columns
        )

    def _dropped(self, relation: Message) -> Columns:
        columns = self._relation(relation.drop.input)
        names, ids = set(relation.drop.column_names), set()
        _check_case("drop", names, columns)
        for each in relation.drop.columns:
            of = typed(each, self._scope(columns))
            if of.column is None:
                raise NotProven(shown(each), "expected a column to drop")
            if sum(known.name == of.column.name for known in columns) > 1:
                raise NotProven(shown(each), "more than one column has this name; rename one before")
            ids.add(of.column.id)
        return tuple(each for each in columns if each.name not in names and each.id not in ids)

    def _named_anew(self, relation: Message) -> Columns:
        columns = self._relation(relation.to_df.input)
        if len(columns) != len(relation.to_df.column_names):
            raise NotProven("toDF", f"expected {len(columns)} names")
        return tuple(
            Column(name, each.type, each.range, each.sources)
            for name, each in zip(relation.to_df.column_names, columns, strict=True)
        )

    def _distinct(self, relation: Message) -> Columns:
        columns = self._relation(relation.deduplicate.input)
        of = relation.deduplicate
        _check_case("dropDuplicates", of.column_names, columns)
        if not of.all_columns_as_keys and set(of.column_names) < {each.name for each in columns}:
            raise NotProven("dropDuplicates", "which of the rows with one key is kept is left to chance; use max_by")
        if not all(proven.is_comparable(each.type) for each in columns):
            raise NotProven("distinct", "not proven for these types", [str(each.type) for each in columns])
        return _with_hidden(of.input, columns, is_all=len(columns) > 1 and _may_lose_keys(of.input))

    def _sorted(self, relation: Message) -> Columns:
        columns = self._relation(relation.sort.input)
        scope = replace(self._scope(columns), hidden={})
        # Of a union it may forget what is constant on each side, and of a join what is an aggregate's key.
        is_hidden = _joins_or_unites(relation.sort.input)
        for each in relation.sort.order:
            each.CopyFrom(ordered(each, scope, is_hidden=is_hidden))
        _add_for_now(scope.hidden, relation, relation.sort.input)
        return columns

    def _aliased(self, relation: Message) -> Columns:
        columns = self._relation(relation.subquery_alias.input)
        return tuple(replace(each, qualifiers=(relation.subquery_alias.alias,)) for each in columns)

    def _hinted(self, relation: Message) -> Columns:
        """A hint says how, not what, and Sail knows none. Something takes its place, since names may be tied to it."""
        columns = self._relation(relation.hint.input)
        instead = proto.Relation()
        instead.common.CopyFrom(relation.common)
        instead.filter.input.CopyFrom(relation.hint.input)
        instead.filter.condition.CopyFrom(plan.boolean(True))
        relation.CopyFrom(instead)
        return columns

    def _repartitioned(self, relation: Message) -> Columns:
        return self._relation(relation.repartition.input)

    def _repartitioned_by(self, relation: Message) -> Columns:
        of = relation.repartition_by_expression
        columns = self._relation(of.input)
        for each in of.partition_exprs:
            each.CopyFrom(typed(each, self._scope(columns)).message)
        return columns

    def _filled(self, relation: Message) -> Columns:
        """na.fill as a selection with coalesce, typed: a number fills columns of numbers, and so on."""
        columns = self._relation(relation.fill_na.input)
        names = [each.name for each in columns]
        if None in names or len(set(names)) != len(names):
            raise NotProven("na.fill", "expected each column to have a name of its own")
        wanted, values = list(relation.fill_na.cols), list(relation.fill_na.values)
        if unknown := set(wanted) - set(names):
            raise NotProven("na.fill", f"there are no columns {', '.join(sorted(unknown))}")
        by_name = (
            dict(zip(wanted, values, strict=True)) if len(values) > 1 else dict.fromkeys(wanted or names, values[0])
        )
        made: list[Message] = []
        found: list[Column] = []
        for column in columns:
            message = attribute(str(column.name))
            value = _filling(by_name[column.name], column) if column.name in by_name else None
            # Of one value for several columns, Spark too leaves out those of another type.
            if (len(values) > 1 or len(wanted) == 1) and column.name in by_name and value is None:
                raise NotProven(
                    f"na.fill of {column.name}", "a value of another type is not proven", (str(column.type),)
                )
            if value is not None:
                # Null or not, the value is what it was: only the range may take in what fills it.
                filled = function("coalesce", message, value.message)
                made.append(alias(filled, str(column.name)))
                ends = (*column.range, value.literal) if column.range else None
                found.append(Column(column.name, column.type, (min(ends), max(ends)) if ends else None, column.sources))
            else:
                made.append(message)
                found.append(column)
        projected = proto.Relation()
        projected.common.CopyFrom(relation.common)
        projected.project.input.CopyFrom(relation.fill_na.input)
        projected.project.expressions.extend(made)
        relation.CopyFrom(projected)
        return tuple(found)

    def _aggregated(self, relation: Message) -> Columns:
        of = relation.aggregate
        columns = self._relation(of.input)
        scope = self._scope(columns)
        if of.group_type not in (
            proto.Aggregate.GroupType.GROUP_TYPE_GROUPBY,
            proto.Aggregate.GroupType.GROUP_TYPE_PIVOT,
        ):
            raise NotProven("groupBy", "rollup, cube and grouping sets are not proven")
        found: list[Column] = []
        may_lose_keys = len(of.grouping_expressions) > 1 and _may_lose_keys(of.input)
        for each in of.grouping_expressions:
            by = typed(each, scope)
            if not proven.is_comparable(by.type):
                raise NotProven(shown(each), "grouping by this type is not proven", (str(by.type),))
            if may_lose_keys or by.sources.may_be_unmatched:
                column = _matched(_as_column(by))
                hidden = plan.hidden(_bare(by.message))
                each.CopyFrom(alias(hidden, column.name) if column.name else hidden)
            else:
                column = _as_column(by)
                each.CopyFrom(_named(by))
            found.append(column)
        if of.group_type == proto.Aggregate.GroupType.GROUP_TYPE_PIVOT:
            return (*found, *self._pivoted(of, scope))
        for each in of.aggregate_expressions:
            made = typed(each, scope, may_aggregate=True)
            each.CopyFrom(_named(made))
            found.append(_as_column(made))
        if not of.grouping_expressions:
            _keep_one_row(relation)
        return tuple(found)

    def _pivoted(self, of: Message, scope: Scope) -> Iterable[Column]:
        """Proven for one count of rows and values that are texts: each makes a column of its name."""
        column = typed(of.pivot.col, scope)
        values = [typed(_literal_of(each), scope) for each in of.pivot.values]
        if column.type != STRING or not values or any(each.type != STRING for each in values):
            raise NotProven("pivot", "proven for a column of texts and the texts that it holds", (str(column.type),))
        of.pivot.col.CopyFrom(column.message)
        (each, *more) = of.aggregate_expressions
        made = typed(each, scope, may_aggregate=True)
        if more or not _is_count(_bare(made.message)):
            raise NotProven("pivot", "proven for one count()")
        each.CopyFrom(made.message)
        sources = together([column.sources, made.sources])
        return [Column(value.literal, made.type, made.range, sources) for value in values]

    def _mapped(self, relation: Message) -> Columns:
        columns = self._relation(relation.map_partitions.input)
        udf = relation.map_partitions.func.python_udf
        if udf.eval_type != PythonEvalType.SQL_MAP_ARROW_ITER_UDF:
            raise NotProven("mapInPandas", "only mapInArrow is proven")
        if _is_sorted(relation.map_partitions.input):
            raise NotProven("mapInArrow", "the order of its rows is left to chance, although they are sorted before")
        made = type_of_proto(udf.output_type)
        returned = plan.spark_type(made)
        assert isinstance(returned, StructType)
        udf.command = checked(udf.command, returned)
        anything = Sources(together(each.sources for each in columns).columns)
        return tuple(Column(name, kind, sources=anything) for name, kind in made.fields)

    # Operators of two inputs

    def _joined(self, relation: Message) -> Columns:
        of = relation.join
        left, right = _told_apart(self._relation(of.left), self._relation(of.right), of)
        kind = _JOINS.get(of.join_type)
        if kind is None:
            raise NotProven("join", "this kind of join is not proven")
        if of.HasField("join_condition"):
            of.join_condition.CopyFrom(self._condition(of.join_condition, (*left, *right)))
            if {each.id for each in left} & {each.id for each in right} and _compares_one_with_itself(
                of.join_condition
            ):
                raise NotProven(
                    shown(of.join_condition),
                    "in a join of a frame with itself, Spark takes a column that equals itself for those of both sides",
                )
        keys = list(of.using_columns)
        pairs = [(_one(left, name), _one(right, name)) for name in keys]
        for one, other in pairs:
            if one.type != other.type or not proven.is_comparable(one.type):
                raise NotProven(
                    f"join on {one.name}",
                    "expected both sides to have it with one type",
                    (str(one.type), str(other.type)),
                )
        if kind in ("semi", "anti"):
            return (*(one for one, _ in pairs), *(each for each in left if each.name not in keys))
        if not keys and not of.HasField("join_condition") and kind not in ("cross", "inner"):
            raise NotProven("join", "expected columns or a condition")
        if kind in ("right", "full"):
            left = tuple(_unmatched(each) for each in left)
        if kind in ("left", "full"):
            right = tuple(_unmatched(each) for each in right)
        if kind in ("left", "right", "full"):
            pairs = [(_one(left, name), _one(right, name)) for name in keys]
        rest = [*(each for each in left if each.name not in keys), *(each for each in right if each.name not in keys)]
        match kind:
            case "full":
                joined = [
                    Column(one.name, one.type, _over(one, other), either(one.sources, other.sources))
                    for one, other in pairs
                ]
            case "right":
                joined = [other for _, other in pairs]
            case _:
                joined = [one for one, _ in pairs]
        return (*joined, *rest)

    def _united(self, relation: Message) -> Columns:
        """A union as one by position, of columns of the same types: what is by name is put in order, and cast."""
        of = relation.set_op
        left, right = self._relation(of.left_input), self._relation(of.right_input)
        if of.set_op_type != proto.SetOperation.SetOpType.SET_OP_TYPE_UNION or not of.is_all:
            raise NotProven("set operation", "only union all is proven")
        if of.by_name:
            left_names, right_names = [each.name for each in left], [each.name for each in right]
            if (
                None in left_names + right_names
                or len(set(left_names)) < len(left)
                or len(set(right_names)) < len(right)
            ):
                raise NotProven("unionByName", "expected each column to have a name of its own")
            _check_case("unionByName", map(str, right_names), left)
            missing = set(left_names) ^ set(right_names)
            if missing and not of.allow_missing_columns:
                raise NotProven("unionByName", f"only one side has {', '.join(sorted(map(str, missing)))}")
            names = [*left_names, *(name for name in right_names if name not in set(left_names))]
            ones = [next((each for each in left if each.name == name), None) for name in names]
            others = [next((each for each in right if each.name == name), None) for name in names]
        else:
            if len(left) != len(right):
                raise NotProven("union", f"{len(left)} columns meet {len(right)}")
            ones, others = list(left), list(right)
        kinds = [_meeting(one, other) for one, other in zip(ones, others, strict=True)]
        self._put_in_order(of.left_input, left, ones, others, kinds)
        self._put_in_order(of.right_input, right, others, ones, kinds)
        of.by_name = of.allow_missing_columns = False
        return tuple(
            Column(
                (one or other).name,  # type: ignore[union-attr]
                kind,
                _over(one, other) if one and other else None,
                either(one.sources, other.sources) if one and other else (one or other).sources,  # type: ignore[union-attr]
            )
            for one, other, kind in zip(ones, others, kinds, strict=True)
        )

    def _put_in_order(
        self,
        relation: Message,
        columns: Columns,
        wanted: Sequence[Column | None],
        instead: Sequence[Column | None],
        kinds: Sequence[Type],
    ) -> None:
        """Select the columns, in this order and of these types, where they are not so already."""
        if list(columns) == list(wanted) and all(each.type == kind for each, kind in zip(columns, kinds, strict=True)):
            return
        places = {each.id: f"c{at}" for at, each in enumerate(columns)}
        made = proto.Relation()
        # By names of their own: a column may have none, or another's.
        made.project.input.to_df.input.CopyFrom(relation)
        made.project.input.to_df.column_names.extend(places.values())
        for each, other, kind in zip(wanted, instead, kinds, strict=True):
            if each is None:
                null: Message = proto.Expression()
                null.literal.null.null.SetInParent()
                value = plan.cast(null, kind)
            else:
                value = converted(Typed(attribute(places[each.id]), each.type, each.range), kind).message
            name = (each or other).name  # type: ignore[union-attr]  # one of the two is there
            made.project.expressions.append(alias(value, name or "?"))
        relation.CopyFrom(made)


def condition_problem(condition: str, schema: StructType) -> str | None:
    """Why a condition on rows of this schema, as SQL, is not proven; None if it is."""
    made = proto.Expression()
    made.expression_string.expression = condition
    try:
        typed(made, Scope(plan.columns_of(schema)))
    except NotProven as error:
        return str(error)
    return None


def _keep_one_row(total: Message) -> None:
    """A limit of one row around an aggregate without keys, which has one.

    Sail pushes a condition on a constant below it, from where it takes the rows and not the total away.
    """
    made = proto.Relation()
    made.common.CopyFrom(total.common)
    made.limit.input.CopyFrom(total)
    made.limit.input.common.ClearField("plan_id")
    made.limit.limit = 1
    total.CopyFrom(made)


def _add(hidden: Mapping[str, Message] | None, relation: Message) -> None:
    """Columns for what windows group by and rows are ordered by, in the relation itself."""
    if hidden:
        made = proto.Relation()
        made.with_columns.input.CopyFrom(relation)
        for name, message in hidden.items():
            made.with_columns.aliases.append(alias(message, name).alias)
        relation.CopyFrom(made)


def _add_for_now(hidden: Mapping[str, Message] | None, relation: Message, below: Message) -> None:
    """The columns in its input, which it passes on, and not in itself."""
    if hidden:
        _add(hidden, below)
        made = proto.Relation()
        made.common.CopyFrom(relation.common)
        made.drop.input.CopyFrom(relation)
        made.drop.input.common.ClearField("plan_id")
        made.drop.column_names.extend(hidden)
        relation.CopyFrom(made)


def _with_hidden(relation: Message, columns: Columns, *, is_all: bool) -> Columns:
    """The columns in the relation itself, those that may be unmatched or all of them hidden."""
    hidden = {each.id for each in columns if is_all or each.sources.may_be_unmatched}
    if not hidden:
        return columns
    names = [each.name for each in columns]
    if None in names or len(set(names)) < len(names):
        raise NotProven("distinct", "after a join, expected each column to have a name of its own")
    made = proto.Relation()
    made.project.input.CopyFrom(relation)
    for each in columns:
        message = attribute(str(each.name))
        made.project.expressions.append(alias(plan.hidden(message), str(each.name)) if each.id in hidden else message)
    relation.CopyFrom(made)
    return tuple(_matched(each) if each.id in hidden else each for each in columns)


def _may_lose_keys(relation: Message) -> bool:
    """Whether it has groups of a join with groups.

    DataFusion takes the keys of the latter for what tells the groups of the join apart: it leaves out other keys of
    these, where they are grouped once more or sorted, so that groups come together.
    """
    return _groups(relation) == 3


def _groups(relation: Message) -> int:
    """What it is, or is made of: groups (1), a join with groups (2), groups of such a join (3), or nothing such (0)."""
    found = max(map(_groups, _inputs(relation)), default=0)
    match relation.WhichOneof("rel_type"):
        case "aggregate" | "deduplicate":
            return 3 if found >= 2 else 1
        case "join":
            return 2 if found == 1 else found
    return found


def _joins_or_unites(relation: Message) -> bool:
    return relation.WhichOneof("rel_type") in ("join", "set_op") or any(map(_joins_or_unites, _inputs(relation)))


def _unmatched(column: Column) -> Column:
    """The same one, where its side of a join may have no row."""
    return replace(column, sources=plan.unmatched(column.sources))


def _matched(column: Column) -> Column:
    """One that was hidden, which is another."""
    return Column(column.name, column.type, column.range, replace(column.sources, may_be_unmatched=False))


_ROW_BY_ROW = ("project", "filter", "with_columns", "with_columns_renamed", "drop", "to_df", "subquery_alias", "hint")


def _is_sorted(relation: Message) -> bool:
    """Whether its rows come in an order that somebody asked for."""
    kind = relation.WhichOneof("rel_type")
    while kind in (*_ROW_BY_ROW, "fill_na", "repartition", "map_partitions"):
        relation = getattr(relation, kind).input
        kind = relation.WhichOneof("rel_type")
    return bool(kind == "sort")


def _check_case(what: str, names: Iterable[str], columns: Columns) -> None:
    """Spark takes names that differ in case for one, Sail does not."""
    by_lower = {each.name.lower(): each.name for each in columns if each.name}
    for name in names:
        if (known := by_lower.get(name.lower(), name)) != name:
            raise NotProven(f"{what} {name}", f"the column is called {known}: names in another case are not proven")


def _root(query: Message) -> Message:
    """The relation that the query is about. A limit around it is only for looking at: which rows is left to chance."""
    if query.WhichOneof("op_type") == "root":
        root = query.root
        return root.limit.input if root.WhichOneof("rel_type") == "limit" else root
    kind = query.command.WhichOneof("command_type")
    match kind:
        case "write_operation":
            return query.command.write_operation.input
        case "create_dataframe_view":
            return query.command.create_dataframe_view.input
    raise NotProven(str(kind or query.WhichOneof("op_type")), "this command is not proven")


def _told_apart(left: Columns, right: Columns, join: Message) -> tuple[Columns, Columns]:
    """The sides of a join of a frame with itself, each column with the plans of its side, to which names are tied."""
    both = {each.id for each in left} & {each.id for each in right}
    if not both:
        return left, right
    sides = []
    for columns, relation in ((left, join.left), (right, join.right)):
        plans = frozenset(_plan_ids(relation))
        sides.append(tuple(replace(each, within=plans) if each.id in both else each for each in columns))
    return sides[0], sides[1]


def _compares_one_with_itself(condition: Message) -> bool:
    called = condition.unresolved_function
    is_equality = called.function_name in ("==", "<=>") and called.arguments[0] == called.arguments[1]
    return (is_equality and called.arguments[0].WhichOneof("expr_type") == "unresolved_attribute") or any(
        map(_compares_one_with_itself, called.arguments)
    )


def _plan_ids(relation: Message) -> Iterable[int]:
    """Of the relation and all below it."""
    if relation.common.HasField("plan_id"):
        yield relation.common.plan_id
    for each in _inputs(relation):
        yield from _plan_ids(each)


def _inputs(relation: Message) -> list[Message]:
    of = getattr(relation, relation.WhichOneof("rel_type"))
    kinds = ((field.message_type, value) for field, value in of.ListFields())
    return [value for kind, value in kinds if kind is not None and kind.name == "Relation"]


def _meeting(one: Column | None, other: Column | None) -> Type:
    if one is None or other is None:
        found = one or other
        assert found is not None
        return found.type
    kind = one.type if one.type == other.type else proven.common([one.type, other.type])
    if kind is None:
        raise NotProven(f"union of {one.name}", "no common type is proven", (str(one.type), str(other.type)))
    return kind


def _over(one: Column, other: Column) -> plan.Range | None:
    if one.range is None or other.range is None:
        return None
    return min(one.range[0], other.range[0]), max(one.range[1], other.range[1])


def _one(columns: Columns, name: str) -> Column:
    found = [each for each in columns if each.name == name]
    if len(found) != 1:
        names = ", ".join(sorted({each.name or "?" for each in columns}))
        raise NotProven(f"join on {name}", f"expected one column of this name on each side; there are {names}")
    return found[0]


def _as_column(of: Typed, name: str | None = None) -> Column:
    if of.column is not None and name in (None, of.column.name):
        return of.column
    return Column(name or of.name, of.type, of.range, of.sources)


def _named(of: Typed) -> Message:
    """With the name that Spark gives the column: what a cast was mended to has none of its own."""
    is_mended = of.message.WhichOneof("expr_type") == "unresolved_function"
    return alias(of.message, of.name) if is_mended and of.name is not None else of.message


def _star(e: Message, columns: Columns) -> Iterable[tuple[Message, Column]]:
    """`*`, `frame.*` and `struct.*`; the columns one by one, as they are."""
    target = e.unresolved_star.unparsed_target if e.WhichOneof("expr_type") == "unresolved_star" else ""
    if e.unresolved_star.HasField("plan_id"):
        raise NotProven("*", "all columns of a frame are proven by name only")
    if not target:
        names = [each.name for each in columns]
        if None in names or len(set(names)) < len(names):
            # Left as it is: what it means does not depend on names.
            whole = proto.Expression()
            whole.unresolved_star.SetInParent()
            raise NotProven("*", "expected each column to have a name of its own")
        yield from ((attribute(str(each.name)), each) for each in columns)
        return
    (name,) = names_in(target.removesuffix(".*"))
    if qualified := [each for each in columns if name in each.qualifiers]:
        for each in qualified:
            message = proto.Expression()
            message.unresolved_attribute.unparsed_identifier = f"{plan.quoted(name)}.{plan.quoted(str(each.name))}"
            yield message, each
        return
    found = [each for each in columns if each.name == name]
    if len(found) != 1 or found[0].type.name != "struct":
        raise NotProven(target, "expected a frame's alias or a struct")
    for at, (field_name, kind) in enumerate(found[0].type.fields):
        sources = found[0].sources.fields[at] if found[0].sources.fields else found[0].sources
        message = sql.extracted(attribute(name), plan.text(field_name))
        yield alias(message, field_name), Column(field_name, kind, sources=sources)


def _generator(e: Message) -> Message | None:
    called = e.alias.expr if e.WhichOneof("expr_type") == "alias" else e
    is_one = called.WhichOneof("expr_type") == "unresolved_function" and (
        called.unresolved_function.function_name in proven.GENERATORS
    )
    return called if is_one else None


def _bare(message: Message) -> Message:
    return message.alias.expr if message.WhichOneof("expr_type") == "alias" else message


def _is_count(message: Message) -> bool:
    of = message.unresolved_function
    return (
        of.function_name == "count" and len(of.arguments) == 1 and of.arguments[0].WhichOneof("expr_type") == "literal"
    )


def _literal_of(literal: Message) -> Message:
    made = proto.Expression()
    made.literal.CopyFrom(literal)
    return made


def _filling(literal: Message, column: Column) -> Typed | None:
    """The value as the column's type; None if it is not for such columns."""
    of = typed(_literal_of(literal), Scope(()))
    if of.type.name in INTEGERS:
        if column.type.name not in (*INTEGERS, "decimal"):
            return None
        return converted(of, column.type)
    if of.type in (STRING, BOOLEAN):
        return of if column.type == of.type else None
    raise NotProven(
        f"na.fill({shown(of.message)})", "only whole numbers, texts and booleans are proven", (str(of.type),)
    )


def _schema(written: str) -> StructType:
    try:
        return sql.schema_of(written)
    except sql.NotUnderstood as error:
        raise NotProven(written, f"this schema is not understood: {error}") from None


def _without_metadata(schema: StructType) -> str:
    """As JSON."""

    def strip(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: strip(value) for key, value in node.items() if key != "metadata"}
        return [strip(each) for each in node] if isinstance(node, list) else node

    return json.dumps(strip(json.loads(schema.json())))


def _leaf(relation: Message) -> str:
    read = relation.read
    return str(
        read.named_table.unparsed_identifier or ", ".join(read.data_source.paths) or relation.WhichOneof("rel_type")
    )


_TYPE = proto.Join.JoinType
_JOINS: Mapping[int, str] = {
    _TYPE.JOIN_TYPE_INNER: "inner",
    _TYPE.JOIN_TYPE_FULL_OUTER: "full",
    _TYPE.JOIN_TYPE_LEFT_OUTER: "left",
    _TYPE.JOIN_TYPE_RIGHT_OUTER: "right",
    _TYPE.JOIN_TYPE_LEFT_SEMI: "semi",
    _TYPE.JOIN_TYPE_LEFT_ANTI: "anti",
    _TYPE.JOIN_TYPE_CROSS: "cross",
}

_OPERATORS: Mapping[str, Callable[[Checker, Message], Columns]] = {
    "read": Checker._read,
    "local_relation": Checker._local,
    "range": Checker._range,
    "project": Checker._project,
    "filter": Checker._filter,
    "with_columns": Checker._with_columns,
    "with_columns_renamed": Checker._renamed,
    "drop": Checker._dropped,
    "to_df": Checker._named_anew,
    "deduplicate": Checker._distinct,
    "sort": Checker._sorted,
    "subquery_alias": Checker._aliased,
    "hint": Checker._hinted,
    "repartition": Checker._repartitioned,
    "repartition_by_expression": Checker._repartitioned_by,
    "fill_na": Checker._filled,
    "aggregate": Checker._aggregated,
    "map_partitions": Checker._mapped,
    "join": Checker._joined,
    "set_op": Checker._united,
}
