"""Which table columns each column of a transform's result is computed from, read off Spark's analyzed plan.

Lineage of a column is every table column that the expressions of its VALUE name, on the way from the table to the
result: through projections, aggregates, windows, both sides of a union. The condition of a CASE is part of its
expression, and counts. What decides only which rows there are, or where they are put together, does not: filters, join
conditions, the other side of a semi join, grouping keys, PARTITION BY and ORDER BY of a window, FILTER of an aggregate,
the order of min_by and max_by. So count(*) and row_number() have no lineage.

Rows that were read from no table (files, Python data, an RDD) contribute nothing. An operator that this module does not
know passes its children's columns on; those that it makes itself may be made of all of them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pyspark.sql import DataFrame

from affirm_assets.steps.lineage import ColumnRef

_T = TypeVar("_T")
Node = Mapping[str, Any]
"""An operator or expression. A tree is a flat list of nodes, parents before children, each with its `num-children`."""


@dataclass(frozen=True)
class _Value:
    """What a value is computed from; for a struct made in the plan also what each of its fields is."""

    columns: frozenset[ColumnRef] = frozenset()
    fields: tuple["_Value", ...] = ()


@dataclass(frozen=True)
class _Output:
    """A column of an operator. Spark's ids are unique in one operator's output, not in a plan."""

    id: int | None
    name: str
    value: _Value


_NOTHING = _Value()
_FIRST_CHILD_ONLY = {"Intersect", "Except"}
_LEFT_ONLY_JOINS = {"LeftSemi$", "LeftAnti$"}
_FIRST_ARGUMENT_ONLY = {"Alias", "WindowExpression", "AggregateExpression", "MinBy", "MaxBy"}
"""Their value is the first argument's, fields and all; the others are a window's definition, a FILTER, an order."""


def lineage_of(frame: DataFrame) -> Mapping[str, frozenset[ColumnRef]]:
    """Lineage of each column of the frame. Asks Spark for the plan in one call and runs no job."""
    classic: Any = frame
    return column_lineage(json.loads(classic._jdf.queryExecution().analyzed().toJSON()))


def column_lineage(plan: Sequence[Node]) -> Mapping[str, frozenset[ColumnRef]]:
    """For each output column of the plan's root, the table columns that its value is computed from."""
    lineage: dict[str, frozenset[ColumnRef]] = {}
    for output in _outputs(plan):
        lineage[output.name] = lineage.get(output.name, frozenset()) | output.value.columns
    return lineage


def _outputs(plan: Sequence[Node]) -> list[_Output]:
    """Output of the plan's root. From the last node to the first, so that deep plans need no deep recursion."""
    stack: list[list[_Output]] = []
    for index in reversed(range(len(plan))):
        node = plan[index]
        if table := _table_read(plan, index):
            stack.append([_read(table, attribute) for (attribute, *_) in node.get("output") or ()])
        else:
            stack.append(_output_of(node, _take_children(stack, node)))
    return stack[-1] if stack else []


def _output_of(node: Node, children: Sequence[list[_Output]]) -> list[_Output]:
    kind = _kind(node)
    if kind == "Union":
        return _by_position(children)
    if kind in _FIRST_CHILD_ONLY or (kind == "Join" and _join_type(node) in _LEFT_ONLY_JOINS):
        return children[0]
    if kind == "WithCTE":  # its last child is the query, the others are what the query names
        return children[-1]
    below = [output for child in children for output in child]
    known = {output.id: output.value for output in below}
    if kind == "Project":
        return [_named(each, known) for each in node["projectList"]]
    if kind == "Aggregate":
        return [_named(each, known) for each in node["aggregateExpressions"]]
    if kind == "Window":
        return below + [_named(each, known) for each in node["windowExpressions"]]
    if kind == "Generate":
        generated = _value(node["generator"], known)
        return below + [_output(attribute, _flat([generated])) for (attribute, *_) in node["generatorOutput"]]
    if not isinstance(node.get("output"), list):
        return below
    anything = _flat(output.value for output in below)
    return [_output(attribute, known.get(_id(attribute), anything)) for (attribute, *_) in node["output"]]


def _by_position(children: Sequence[list[_Output]]) -> list[_Output]:
    """A union's columns have the names and ids of its first child's."""
    return [
        _Output(columns[0].id, columns[0].name, _either([each.value for each in columns]))
        for columns in zip(*children, strict=False)
    ]


def _either(values: Sequence[_Value]) -> _Value:
    """One of the values; fields stay apart where all have the same."""
    same = len({len(value.fields) for value in values}) == 1
    fields = zip(*(value.fields for value in values), strict=True) if same else ()
    return _Value(_flat(values).columns, tuple(_either(each) for each in fields))


def _named(expression: Sequence[Node], known: Mapping[int | None, _Value]) -> _Output:
    return _output(expression[0], _value(expression, known))


def _value(expression: Sequence[Node], known: Mapping[int | None, _Value]) -> _Value:
    stack: list[_Value] = []
    for node in reversed(expression):
        stack.append(_value_of(node, _take_children(stack, node), known))
    return stack[-1] if stack else _NOTHING


def _value_of(node: Node, children: Sequence[_Value], known: Mapping[int | None, _Value]) -> _Value:
    kind = _kind(node)
    if kind == "AttributeReference":
        return known.get(_id(node), _NOTHING)
    if isinstance(node.get("plan"), list):  # a subquery; its children are the outer columns that it names
        return _flat([*children, *(output.value for output in _outputs(node["plan"]))])
    if kind == "CreateNamedStruct":  # name, value, name, value, ...
        return _Value(_flat(children).columns, tuple(children[1::2]))
    if kind == "GetStructField" and node["ordinal"] < len(children[0].fields):
        return children[0].fields[node["ordinal"]]
    if kind in _FIRST_ARGUMENT_ONLY:
        return children[0]
    return _flat(children) if children else _NOTHING


def _flat(values: Iterable[_Value]) -> _Value:
    return _Value(frozenset().union(*(value.columns for value in values)))


def _take_children(stack: list[_T], node: Node) -> list[_T]:
    """Pop what a node's children left: the first child, handled last, lies on top."""
    first = max(len(stack) - node["num-children"], 0)
    children = stack[first:][::-1]
    del stack[first:]
    return children


def _table_read(plan: Sequence[Node], index: int) -> str | None:
    """The table that a leaf reads. Spark names it in the alias right above, with catalog and namespace."""
    if index == 0 or plan[index]["num-children"] or _kind(plan[index - 1]) != "SubqueryAlias":
        return None
    identifier = plan[index - 1]["identifier"]
    # Spark writes a list of names as one text, but an empty one as a list.
    qualifier = identifier["qualifier"].strip("[]").split(", ") if identifier.get("qualifier") else []
    return ".".join([*qualifier[1:], identifier["name"]]) if len(qualifier) > 1 else None


def _read(table: str, attribute: Node) -> _Output:
    return _output(attribute, _Value(frozenset([ColumnRef(table, attribute["name"])])))


def _output(named: Node, value: _Value) -> _Output:
    return _Output(_id(named), named.get("name", ""), value)


def _id(named: Node) -> int | None:
    found: int | None = named.get("exprId", {}).get("id")
    return found


def _join_type(join: Node) -> str:
    return _name((join.get("joinType") or {}).get("object"))


def _kind(node: Node) -> str:
    return _name(node["class"])


def _name(scala_class: str | None) -> str:
    return (scala_class or "").rpartition(".")[2]
