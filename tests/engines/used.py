"""What the plans of the suite's cases use, as the check finds it in them: whoever claims more has proven less."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql.connect import proto

from affirm_assets.engines.sail import checker, expressions, proven
from affirm_assets.engines.sail.plan import Columns, Message, Type
from affirm_assets.errors import NotProven
from tests.engines.cases import cases, queries
from tests.engines.connect import CheckedSail
from tests.engines.evaluate import column_of, read_frames, write_frames


@dataclass
class Used:
    """All by name: `types` of columns; `arguments` (function, place, type); `joins` (kind, what is joined by);
    `casts` (from, to, whether it is try_cast), of a text whether it is written in the plan or guarded; `as_keys` what
    is done by values of a type; `over` a function over a window, and whether that has an order."""

    operators: set[str] = field(default_factory=set)
    types: set[str] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    arguments: set[tuple[str, int, str]] = field(default_factory=set)
    casts: set[tuple[str, str, bool]] = field(default_factory=set)
    joins: set[tuple[str, str]] = field(default_factory=set)
    as_keys: set[tuple[str, str]] = field(default_factory=set)
    over: set[tuple[str, bool]] = field(default_factory=set)
    generators: set[str] = field(default_factory=set)

    def operator(self, of: Callable[..., Columns], of_plan: checker.Checker, relation: Message) -> Columns:
        """Checks a relation as `of` does, which mends it."""
        before = proto.Relation()
        before.CopyFrom(relation)
        columns = of(of_plan, relation)
        kind = str(before.WhichOneof("rel_type"))
        self.operators.add(kind)
        self.types |= {name for each in columns for name in _names(each.type)}
        keys: list[Type] = []
        match kind:
            case "aggregate":
                keys = [each.type for each in columns[: len(before.aggregate.grouping_expressions)]]
            case "deduplicate":
                keys = [each.type for each in columns]
            case "join":
                keys = [each.type for each in columns[: len(before.join.using_columns)]]
                by = "names" if keys else "a condition" if before.join.HasField("join_condition") else "nothing"
                self.joins.add((checker._JOINS[before.join.join_type], by))
            case "sort":
                scope = of_plan._scope(columns)
                keys = [expressions.typed(each.child, scope).type for each in before.sort.order]
        self.as_keys |= {(kind, each.name) for each in keys}
        return columns

    def generator(self, of: Callable[..., Message | None], e: Message) -> Message | None:
        if (called := of(e)) is not None:
            self.generators.add(called.unresolved_function.function_name)
        return called

    def cast(self, of: Callable[..., Any], e: Message, scope: expressions.Scope) -> Any:
        made = of(e, scope)
        source = expressions._inner(e.cast.expr, scope)
        text = f"{'written' if source.is_literal else 'guarded'} text"
        is_try = e.cast.eval_mode == proto.Expression.Cast.EvalMode.EVAL_MODE_TRY
        self.casts.add((text if source.type.name == "string" else source.type.name, made.type.name, is_try))
        return made

    def call(self, of: Callable[..., Any], e: Message, scope: expressions.Scope) -> Any:
        made = of(e, scope)
        written = e.unresolved_function.function_name
        name = proven.SYNONYMS.get(written, written)
        self.functions |= {written, name}
        for place, each in enumerate(e.unresolved_function.arguments):
            try:
                self.arguments.add((name, place, expressions._inner(each, scope).type.name))
            except NotProven:  # a lambda, or what another argument guards
                continue
        return made

    def window(self, of: Callable[..., Any], e: Message, scope: expressions.Scope) -> Any:
        made = of(e, scope)
        self.over.add((e.window.window_function.unresolved_function.function_name, bool(e.window.order_spec)))
        return made


def _names(kind: Type) -> Iterator[str]:
    yield kind.name
    for _, each in kind.fields:
        yield from _names(each)


@contextmanager
def _seen_by(used: Used) -> Iterator[None]:
    seen = {"cast": used.cast, "unresolved_function": used.call, "window": used.window}
    with pytest.MonkeyPatch.context() as patch:
        operators = {kind: partial(used.operator, each) for kind, each in checker._OPERATORS.items()}
        kinds = {kind: partial(seen[kind], each) for kind, each in expressions._KINDS.items() if kind in seen}
        patch.setattr(checker, "_OPERATORS", operators)
        patch.setattr(checker, "_generator", partial(used.generator, checker._generator))
        patch.setattr(expressions, "_KINDS", {**expressions._KINDS, **kinds})
        yield


def used_by_cases(sail: CheckedSail, folder: Path) -> Used:
    """Of the cases and queries that tests/same_rows evaluates on both engines."""
    from pyspark.sql import functions as F

    write_frames(folder)
    frames, used = read_frames(sail.spark, folder), Used()
    with _seen_by(used):
        for case in cases():
            sail.checked(frames[case.frame].select(column_of(case.expression)))
        for query in queries():
            sail.checked(query.make(F, frames))
    return used
