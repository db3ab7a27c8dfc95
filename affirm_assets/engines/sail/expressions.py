"""Expressions of a Connect plan: what type each makes, whether it is proven, and how it is mended."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cached_property

from pyspark.sql.connect import proto
from pyspark.sql.connect.types import proto_schema_to_pyspark_data_type

from affirm_assets.engines.sail import mend, plan, proven, sql
from affirm_assets.engines.sail.plan import (
    BIGINT,
    BOOLEAN,
    DATE,
    DAYS,
    INT,
    INTEGERS,
    STRING,
    VOID,
    Column,
    Columns,
    Message,
    Range,
    Type,
    Typed,
    cast,
    decimal,
    function,
    shown,
    together,
)
from affirm_assets.errors import NotProven


@dataclass(frozen=True)
class Scope:
    """What names mean: columns, variables of lambdas, and columns of the frames that a name is tied to."""

    columns: Columns
    plans: Mapping[int, Columns] = field(default_factory=dict)
    variables: Mapping[str, Typed] = field(default_factory=dict)
    guards: Mapping[str, str] = field(default_factory=dict)
    """Expressions, as they are shown, that match a regular expression where the value is computed."""
    mended: set[str] = field(default_factory=set)
    """Functions that were put into others: what a user is told of."""
    hidden: dict[str, Message] | None = None
    """What windows group by, or rows are ordered by, that must be hidden: by the name that it has below.

    Not in place: DataFusion takes what depends on chance for in no order, even after sorting by it. None: there is no
    place for such columns."""

    @cached_property
    def by_small_letters(self) -> Mapping[str, Sequence[Column]]:
        """Columns by their names in small letters. A wide table's are looked up a thousand times in a step."""
        found: dict[str, list[Column]] = {}
        for each in self.columns:
            if each.name:
                found.setdefault(each.name.lower(), []).append(each)
        return found


def _refused(expression: Message, why: str, types: Iterable[Type] = ()) -> NotProven:
    origin = expression.common.origin.python_origin
    return NotProven(shown(expression), why, tuple(map(str, types)), origin.call_site or None)


def typed(e: Message, scope: Scope, *, may_aggregate: bool = False) -> Typed:
    """The expression's type, and the expression mended. Raises NotProven."""
    kind = e.WhichOneof("expr_type")
    made = _KINDS[kind](e, scope) if kind in _KINDS else None
    if made is None:
        raise _refused(e, f"expressions of this kind ({kind}) are not proven")
    if made.is_aggregate and not may_aggregate:
        raise _refused(e, "an aggregate is proven only in agg() and over a window")
    return made


def _inner(e: Message, scope: Scope) -> Typed:
    return typed(e, scope, may_aggregate=True)


def _literal(e: Message, _scope: Scope) -> Typed:
    kind = e.literal.WhichOneof("literal_type")
    match kind:
        case "null":
            null = type_of_proto(e.literal.null)
            return Typed(e, null, is_literal=True)
        case "boolean":
            return Typed(e, BOOLEAN, literal=e.literal.boolean, is_literal=True)
        case "string":
            return Typed(e, STRING, literal=e.literal.string, is_literal=True)
        case "date":
            return Typed(e, DATE, literal=e.literal.date, is_literal=True)
        case "integer" | "long":
            value = int(getattr(e.literal, kind))
            return Typed(e, INT if kind == "integer" else BIGINT, (value, value), literal=value, is_literal=True)
        case "decimal":
            number = Decimal(e.literal.decimal.value)
            _, digits, exponent = number.as_tuple()
            if not isinstance(exponent, int):
                raise _refused(e, "a decimal that is no number")
            # As Spark types a BigDecimal: Connect's own client says decimal(10,0) of every one.
            scale = max(-exponent, 0)
            precision = max(len(digits) + max(exponent, 0), scale)
            if precision > plan.MOST_DIGITS:
                raise _refused(e, "a decimal of more than 38 digits")
            of = decimal(precision, scale)
            return Typed(plan.exact(f"{number:f}", of), of, literal=number, is_literal=True)
    raise _refused(e, f"literals of this kind ({kind}) are not proven")


def type_of_proto(kind: Message) -> Type:
    return plan.type_of(proto_schema_to_pyspark_data_type(kind))


def _attribute(e: Message, scope: Scope) -> Typed:
    parts = names_in(e.unresolved_attribute.unparsed_identifier)
    plan_id = e.unresolved_attribute.plan_id if e.unresolved_attribute.HasField("plan_id") else None
    column, fields = _column(e, parts, plan_id, scope)
    made = Typed(e, column.type, column.range, column.sources, parts[-1], column)
    for name in fields:
        made = _field_of(e, e, made, name)
    return made


def names_in(identifier: str) -> list[str]:
    """The parts of a dotted name, each of which may be quoted."""
    parts, at = [], 0
    while at <= len(identifier):
        if identifier[at : at + 1] == "`":
            end = at + 1
            while identifier[end : end + 1] != "`" or identifier[end + 1 : end + 2] == "`":
                end += 2 if identifier[end : end + 1] == "`" else 1
                if end > len(identifier):
                    return [identifier]
            parts.append(identifier[at + 1 : end].replace("``", "`"))
            at = end + 2
        else:
            end = identifier.find(".", at)
            end = len(identifier) if end < 0 else end
            parts.append(identifier[at:end])
            at = end + 1
    return parts


def _column(e: Message, parts: Sequence[str], plan_id: int | None, scope: Scope) -> tuple[Column, Sequence[str]]:
    if plan_id is not None:
        if plan_id not in scope.plans:
            raise _refused(e, "it belongs to a frame that is not part of this one")
        of_plan = [each for each in scope.plans[plan_id] if each.name == parts[0]]
        ids = {each.id for each in of_plan}
        found = [each for each in scope.columns if each.id in ids and (each.within is None or plan_id in each.within)]
        return _only(e, found, scope), parts[1:]
    if len(parts) > 1:
        found = [each for each in scope.columns if each.name == parts[1] and parts[0] in each.qualifiers]
        if found:
            return _only(e, found, scope), parts[2:]
    # Spark takes large and small letters for the same: what differs in them only is ambiguous to it.
    alike = scope.by_small_letters.get(parts[0].lower(), ())
    return _only(e, alike if [each.name for each in alike] == [parts[0]] else alike[1:] and alike, scope), parts[1:]


def _only(e: Message, found: Sequence[Column], scope: Scope) -> Column:
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted({each.name or "?" for each in scope.columns}))
    why = "more than one column has this name" if found else "expected the name of a column, written as it is"
    raise _refused(e, f"{why}; there are {names}")


def _field_of(e: Message, message: Message, of: Typed, name: str) -> Typed:
    found = of.type.field(name) if of.type.name == "struct" else None
    if found is None:
        raise _refused(e, f"{name} is no field of it", [of.type])
    at = [each for each, _ in of.type.fields].index(name)
    sources = of.sources.fields[at] if of.sources.fields else of.sources
    return Typed(message, found, None, sources, name)


def _extract(e: Message, scope: Scope) -> Typed:
    of = _inner(e.unresolved_extract_value.child, scope)
    key = _inner(e.unresolved_extract_value.extraction, scope)
    if not (key.is_literal and key.type == STRING):
        raise _refused(e, "only fields of a struct, by name, are proven", [of.type, key.type])
    return _field_of(e, sql.extracted(of.message, key.message), of, key.literal)


def _text(e: Message, scope: Scope) -> Typed:
    if e.expression_string.expression == sql.DAY:
        return Typed(e, DAYS)
    try:
        tree = sql.parsed(e.expression_string.expression)
    except sql.NotUnderstood as error:
        raise _refused(e, f"this SQL is not understood: {error}") from None
    return _inner(tree, scope)


def _alias(e: Message, scope: Scope) -> Typed:
    if len(e.alias.name) != 1:
        raise _refused(e, "several names at once are proven only for what makes several columns")
    of = _inner(e.alias.expr, scope)
    # Without the alias's metadata, even an empty one: Sail takes a struct with it for another type than without.
    return replace(of, message=plan.alias(of.message, e.alias.name[0]), name=e.alias.name[0], column=None)


def _cast(e: Message, scope: Scope) -> Typed:
    of = _inner(e.cast.expr, scope)
    if e.cast.HasField("type"):
        target = type_of_proto(e.cast.type)
    else:
        try:
            target = sql.parsed_type(e.cast.type_str)
        except sql.NotUnderstood as error:
            raise _refused(e, f"this type is not understood: {error}") from None
    if e.cast.eval_mode == proto.Expression.Cast.EvalMode.EVAL_MODE_LEGACY:
        raise _refused(e, "a cast of the legacy mode")
    is_try = e.cast.eval_mode == proto.Expression.Cast.EvalMode.EVAL_MODE_TRY
    if of.type == target:
        return replace(of, column=None)
    if not (proven.can_cast(of.type, target, is_try) or _is_text_of(e.cast.expr, of, target, scope)):
        raise _refused(e, f"this {'try_cast' if is_try else 'cast'} to {target} is not proven", [of.type])
    return replace(converted(of, target, is_try=is_try), column=None, name=of.name)


def _is_text_of(e: Message, of: Typed, target: Type, scope: Scope) -> bool:
    """Whether it is a text that both engines take for the same value of the type: by a guard, or as it is written."""
    if of.type != STRING:
        return False
    if of.is_literal:
        return of.literal is not None and proven.is_plain_text(of.literal, target)
    guard = scope.guards.get(_identity(e))
    return guard is not None and proven.is_text_of(guard, target)


def _keeps_values(source: Type, target: Type) -> bool:
    """Whether values that differ before a cast differ after it: such a cast may be taken away from a comparison."""
    if source.name in ("void", "array", "struct"):
        return True
    if source.name != "decimal" or target.name != "decimal":
        return False
    return source.scale <= target.scale and source.precision - source.scale <= target.precision - target.scale


def converted(of: Typed, target: Type, *, is_try: bool = False) -> Typed:
    """The value in another type that holds it, or that raises."""
    if of.type == target:
        return of
    if of.is_literal and of.type.name in INTEGERS and _fits(of, target):
        if target.name == "decimal":
            message = plan.exact(f"{of.literal}{'.' + '0' * target.scale if target.scale else ''}", target)
            return Typed(message, target, literal=Decimal(of.literal), is_literal=True)
        return replace(of, message=plan.whole(of.literal, target), type=target)
    kept = of.range if of.type.name in INTEGERS and target.name in INTEGERS and _fits(of, target) else None
    message = of.message
    is_aliased = message.WhichOneof("expr_type") == "alias"
    made = cast(message.alias.expr if is_aliased else message, target, is_try=is_try)
    if not _keeps_values(of.type, target):
        made = plan.held(made, target)
    return replace(of, message=made, type=target, range=kept, literal=None, is_literal=False)


def _fits(of: Typed, target: Type) -> bool:
    """Whether every value that the integer can have is one of the target type."""
    if target.name == "decimal":
        most = 10 ** (target.precision - target.scale) - 1
        least = -most
    elif target.name in INTEGERS:
        least, most = mend.full(target)
    else:
        return False
    lowest, highest = of.range or mend.full(of.type)
    return bool(least <= lowest and highest <= most)


def _variable(e: Message, scope: Scope) -> Typed:
    name, *fields = e.unresolved_named_lambda_variable.name_parts
    if name not in scope.variables:
        raise _refused(e, "it is no variable of the function around it")
    made = replace(scope.variables[name], message=e)
    for each in fields:
        made = _field_of(e, e, made, each)
    return made


def _window(e: Message, scope: Scope) -> Typed:
    called = e.window.window_function
    of = _inner(called, _unguarded(scope))
    name = called.unresolved_function.function_name
    if proven.SYNONYMS.get(name, name).lower() not in proven.OVER_WINDOWS:
        raise _refused(e, "this over a window is not proven")
    if _is_row_number(of.message) and not e.window.order_spec:
        raise _refused(e, "row_number needs an order")
    made = proto.Expression()
    made.window.CopyFrom(e.window)
    if e.window.HasField("frame_spec"):
        raise _refused(e, "a frame of a window is not proven")
    for at, each in enumerate(e.window.partition_spec):
        made.window.partition_spec[at].CopyFrom(_key_below(typed(each, scope), scope))
    for at, order in enumerate(e.window.order_spec):
        made.window.order_spec[at].CopyFrom(ordered(order, scope))
    return Typed(_over(of.message, made), of.type, of.range, of.sources)


def _over(message: Message, window: Message) -> Message:
    """The aggregates of an expression over the window: what an aggregate was mended to may be more than one."""
    made = proto.Expression()
    called = message.unresolved_function
    if called.function_name in proven.OVER_WINDOWS:
        made.CopyFrom(window)
        made.window.window_function.CopyFrom(message)
        return made
    made.CopyFrom(message)
    if message.WhichOneof("expr_type") == "cast":
        made.cast.expr.CopyFrom(_over(message.cast.expr, window))
    for given in (made.unresolved_function, made.common_inline_user_defined_function):
        for each in given.arguments:
            each.CopyFrom(_over(each, window))
    return made


def _is_row_number(message: Message) -> bool:
    return bool(message.unresolved_function.function_name == "row_number")


def ordered(order: Message, scope: Scope, *, is_hidden: bool = False) -> Message:
    """A SortOrder, mended; hidden also where its columns may be seen."""
    of = typed(order.child, scope)
    if not proven.is_comparable(of.type):
        raise _refused(order.child, "values of this type are not proven to be in the same order", [of.type])
    made = proto.Expression.SortOrder()
    made.CopyFrom(order)
    made.child.CopyFrom(_key_below(of, scope, is_hidden=is_hidden))
    return made


def _key_below(of: Typed, scope: Scope, *, is_hidden: bool = False) -> Message:
    """What a window groups by, or rows are ordered by; as a column below it where it must be hidden."""
    if not (is_hidden or of.sources.may_be_unmatched):
        return of.message
    if scope.hidden is None:
        raise _refused(of.message, "after an outer join, an order by it is proven in a selection and in orderBy only")
    name = f"__key_{len(scope.hidden)}"
    scope.hidden[name] = plan.hidden(_unnamed(of.message))
    return plan.attribute(name)


def _call(e: Message, scope: Scope) -> Typed:
    called = e.unresolved_function
    name = proven.SYNONYMS.get(called.function_name, called.function_name)
    name = proven.SYNONYMS.get(name.lower(), name) if name not in _SPECIAL else name
    if called.is_distinct:
        raise _refused(e, "DISTINCT in a function is not proven")
    if name in _SPECIAL:
        return _SPECIAL[name](e, called.arguments, scope)
    within = _unguarded(scope) if any(line.is_aggregate for line in proven.entries(name)) else scope
    arguments = [_inner(each, within) for each in called.arguments]
    if name in _FLIPPED and len(arguments) == 2 and _is_constant(arguments[0].message):
        name, arguments = _FLIPPED[name], arguments[::-1]
    return _listed(e, name, arguments, scope)


_FLIPPED = {"==": "==", "<=>": "<=>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
"""Comparisons with their sides the other way about.

DataFusion takes `m = 0.5 AND 0.5 = m` for two conditions of which one at most holds, and loses the stricter one of
`m <= 1.0 AND 1.0 > m`. With the constant on the right it does neither."""


def _is_constant(message: Message) -> bool:
    """Whether it names no column."""
    match message.WhichOneof("expr_type"):
        case "literal":
            return True
        case "cast":
            return _is_constant(message.cast.expr)
        case "alias":
            return _is_constant(message.alias.expr)
        case "unresolved_function":
            return all(map(_is_constant, message.unresolved_function.arguments))
        case "common_inline_user_defined_function":
            return all(map(_is_constant, message.common_inline_user_defined_function.arguments))
    return False


def _listed(e: Message, name: str, arguments: Sequence[Typed], scope: Scope) -> Typed:
    """The function by the list: the first entry that its arguments match."""
    types = [each.type for each in arguments]
    lines = proven.entries(name)
    if not lines:
        raise _refused(e, "this function is not on the list of what is proven", types)
    for line in lines:
        if line.is_aggregate and any(each.is_aggregate for each in arguments):
            continue
        if (fitting := matched(line, arguments)) is not None:
            given, meeting = fitting
            if (result := _result(line, given, meeting)) is not None:
                made = _applied(e, line, given, result, [each.type for each in arguments])
                if made.message != function(line.name, *(_unnamed(each.message) for each in given)):
                    scope.mended.add(line.name)
                return made
    raise _refused(e, "this function is not proven for these types", types)


def matched(line: proven.Proven, arguments: Sequence[Typed]) -> tuple[list[Typed], Type | None] | None:
    """The arguments as the line wants them, and the type that those at T were brought to; None if they do not fit."""
    patterns = line.arguments.split()
    if patterns and patterns[-1].endswith("*"):
        last = patterns.pop()[:-1]
        if len(arguments) < len(patterns):
            return None
        patterns += [last] * (len(arguments) - len(patterns))
    if len(patterns) != len(arguments):
        return None
    has_decimal = any(each.type.name == "decimal" for each in arguments)
    if not all(_is(pattern, each, has_decimal) for pattern, each in zip(patterns, arguments, strict=True)):
        return None
    # Spark types a whole literal beside a decimal by its own digits in what has two sides, by its type elsewhere.
    meet = _in_digits if has_decimal and line.result == "boolean" else _as_typed
    meeting = proven.common([meet(each) for each, pattern in zip(arguments, patterns, strict=True) if pattern == "T"])
    if "T" in patterns and (meeting is None or not (proven.is_comparable(meeting) or meeting == VOID)):
        return None
    return [
        converted(each, meeting)
        if pattern == "T" and meeting is not None
        else converted(each, _in_digits(each))
        if pattern == "decimal"
        else converted(each, proven.SIMPLE[pattern])
        if each.type == VOID and pattern in proven.SIMPLE
        else each
        for each, pattern in zip(arguments, patterns, strict=True)
    ], meeting


def _as_typed(each: Typed) -> Type:
    return each.type


def _in_digits(each: Typed) -> Type:
    if each.type.name in INTEGERS and each.is_literal:
        return decimal(len(str(abs(each.literal))), 0)
    return proven.as_decimal(each.type)


def _is(pattern: str, each: Typed, beside_decimal: bool) -> bool:
    match pattern:
        case "T":
            return proven.is_comparable(each.type) or each.type == VOID
        case "any":
            return each.type.name in proven.READABLE
        case "hashed":
            return proven.is_hashed(each.type)
        case "ordered":
            return proven.is_comparable(each.type) or _is_struct_of_comparables(each)
        case "integer":
            return each.type.name in INTEGERS
        case "decimal":
            return each.type.name == "decimal" or (beside_decimal and each.type.name in INTEGERS)
        case "'text":
            return each.is_literal and each.type == STRING
        case "#":
            return each.is_literal and each.type.name in INTEGERS and abs(each.literal) < 1_000_000
        case "day":
            return each.type == DAYS
    return each.type.name == pattern or (pattern in proven.SIMPLE and each.type == VOID)


def _is_struct_of_comparables(each: Typed) -> bool:
    is_made_here = each.message.unresolved_function.function_name == "named_struct"
    return is_made_here and all(proven.is_comparable(kind) for _, kind in each.type.fields)


def _result(line: proven.Proven, arguments: Sequence[Typed], meeting: Type | None) -> Type | None:
    types = [each.type for each in arguments]
    if line.result == "T":
        return meeting or (types[0] if types else None)
    if line.result == "array of T":
        return plan.array(meeting or VOID)
    if line.result == "decimal rounded":
        return proven.rounded(types[0], arguments[1].literal)
    return proven.SIMPLE.get(line.result) or proven.RESULTS[line.result](*types)


def _applied(
    e: Message, line: proven.Proven, arguments: Sequence[Typed], result: Type, original: Iterable[Type]
) -> Typed:
    sources = arguments[0].sources if line.name in ("min_by", "max_by") else together(a.sources for a in arguments)
    try:
        if line.mend:
            message = mend.MENDS[line.mend](line.name, arguments, result)
        else:
            message = function(line.name, *(_unnamed(each.message) for each in arguments))
    except mend.CannotMend as error:
        raise _refused(e, str(error), original) from None
    found = line.range
    if line.mend == "integers":
        found = mend.range_of(line.name, arguments, result)
    is_aggregate = line.is_aggregate or any(each.is_aggregate for each in arguments)
    if line.name in ("coalesce", "greatest", "least") and result.name in INTEGERS:
        found = _around(arguments)
    return Typed(message, result, found, sources, is_aggregate=is_aggregate)


def _around(values: Iterable[Typed]) -> Range:
    ranges = [each.range or mend.full(each.type) for each in values]
    return min(least for least, _ in ranges), max(most for _, most in ranges)


def _unnamed(message: Message) -> Message:
    return message.alias.expr if message.WhichOneof("expr_type") == "alias" else message


def _identity(e: Message) -> str:
    """What tells an expression from others: what it says, and the frames that its names are tied to."""
    return f"{shown(e, most=10_000)} {[*_tied_to(e)]}"


def _tied_to(message: Message) -> Iterator[int]:
    for part, value in message.ListFields():
        if part.name == "plan_id":
            yield value
        elif part.message_type is not None:
            for each in [value] if part.label != part.LABEL_REPEATED else value:
                yield from _tied_to(each) if hasattr(each, "ListFields") else ()


def _unguarded(scope: Scope) -> Scope:
    """Where more rows are computed with than the one that a condition was asked of."""
    return replace(scope, guards={})


def _guarded(condition: Message, scope: Scope) -> Scope:
    """The scope where the condition is known to hold: with what an rlike says of a text."""
    called = condition.unresolved_function
    if called.function_name != "rlike" or len(called.arguments) != 2:
        return scope
    text, pattern = called.arguments
    return replace(scope, guards={**scope.guards, _identity(text): pattern.literal.string})


def _when(e: Message, arguments: Sequence[Message], scope: Scope) -> Typed:
    given = [_inner(each, _guarded(arguments[at - 1], scope) if at % 2 else scope) for at, each in enumerate(arguments)]
    conditions = given[0 : len(given) - len(given) % 2 : 2]
    values = [*given[1::2], *(given[-1:] if len(given) % 2 else ())]
    if any(each.type not in (BOOLEAN, VOID) for each in conditions) or not conditions:
        raise _refused(e, "expected conditions", [each.type for each in conditions])
    meeting = proven.common([each.type for each in values])
    if meeting is None or meeting.name not in proven.READABLE:
        raise _refused(e, "values of these types have no common one that is proven", [each.type for each in values])
    brought = [converted(each, meeting) for each in values]
    parts: list[Message] = []
    for condition, value in zip(conditions, brought, strict=False):
        parts += [_unnamed(converted(condition, BOOLEAN).message), _unnamed(value.message)]
    if len(given) % 2:
        parts.append(_unnamed(brought[-1].message))
    found = _around([each for each in values if each.type != VOID]) if meeting.name in INTEGERS else None
    return Typed(
        function("when", *parts),
        meeting,
        found,
        together(each.sources for each in given),
        is_aggregate=any(each.is_aggregate for each in given),
    )


def _struct(e: Message, arguments: Sequence[Message], scope: Scope) -> Typed:
    """As named_struct: what names a struct's fields is then said, and Sail takes no metadata of columns into it."""
    given = [_inner(each, scope) for each in arguments]
    if any(each.name is None for each in given):
        raise _refused(e, "expected a column or an alias for each field of the struct")
    names = [str(each.name) for each in given]
    return _named_struct_of(names, given)


def _named_struct(e: Message, arguments: Sequence[Message], scope: Scope) -> Typed:
    given = [_inner(each, scope) for each in arguments]
    if len(given) % 2 or any(not (each.is_literal and each.type == STRING) for each in given[::2]):
        raise _refused(e, "expected literal names and values by turns")
    return _named_struct_of([each.literal for each in given[::2]], given[1::2])


def _named_struct_of(names: Sequence[str], values: Sequence[Typed]) -> Typed:
    parts: list[Message] = []
    for name, value in zip(names, values, strict=True):
        parts += [plan.text(name), _unnamed(value.message)]
    return Typed(
        function("named_struct", *parts),
        plan.struct((name, value.type) for name, value in zip(names, values, strict=True)),
        None,
        replace(together(each.sources for each in values), fields=tuple(each.sources for each in values)),
        is_aggregate=any(each.is_aggregate for each in values),
    )


def _array(e: Message, arguments: Sequence[Message], scope: Scope) -> Typed:
    given = [_inner(each, scope) for each in arguments]
    meeting = proven.common([each.type for each in given])
    if meeting is None:
        raise _refused(e, "the elements have no common type that is proven", [each.type for each in given])
    message = function("array", *(_unnamed(converted(each, meeting).message) for each in given))
    return Typed(
        message,
        plan.array(meeting),
        None,
        together(each.sources for each in given),
        is_aggregate=any(each.is_aggregate for each in given),
    )


def _count(e: Message, arguments: Sequence[Message], scope: Scope) -> Typed:
    if len(arguments) == 1 and arguments[0].WhichOneof("expr_type") == "unresolved_star":
        arguments = [plan.whole(1, INT)]
    return _listed(e, "count", [_inner(each, scope) for each in arguments], scope)


def _higher(e: Message, arguments: Sequence[Message], scope: Scope) -> Typed:
    """filter(array, x -> ...), exists(array, x -> ...)."""
    name = e.unresolved_function.function_name
    of = _inner(arguments[0], scope)
    if len(arguments) != 2 or of.type.name != "array":
        raise _refused(e, "expected an array and a function of one argument", [of.type])
    message, made = _lambda(arguments[1], [of.type.element], scope)
    if made.type != BOOLEAN:
        raise _refused(e, "expected the function to make a boolean", [made.type])
    result = of.type if name == "filter" else BOOLEAN
    return Typed(function(name, of.message, message), result, None, together([of.sources, made.sources]))


def _fold(e: Message, arguments: Sequence[Message], scope: Scope) -> Typed:
    """aggregate(array, zero, (state, x) -> state)."""
    if len(arguments) != 3:
        raise _refused(e, "aggregate is proven without a function that finishes it")
    of, zero = _inner(arguments[0], scope), _inner(arguments[1], scope)
    if of.type.name != "array":
        raise _refused(e, "expected an array", [of.type])
    message, made = _lambda(arguments[2], [zero.type, of.type.element], scope)
    if made.type != zero.type:
        raise _refused(e, "expected the function to make what it begins with", [zero.type, made.type])
    sources = together([of.sources, zero.sources, made.sources])
    return Typed(function("aggregate", of.message, zero.message, message), zero.type, None, sources)


def _lambda(e: Message, types: Sequence[Type], scope: Scope) -> tuple[Message, Typed]:
    if e.WhichOneof("expr_type") != "lambda_function" or len(e.lambda_function.arguments) != len(types):
        raise _refused(e, f"expected a function of {len(types)} arguments")
    names = [each.name_parts[0] for each in e.lambda_function.arguments]
    variables = {name: Typed(e, kind) for name, kind in zip(names, types, strict=True)}
    made = _inner(e.lambda_function.function, replace(scope, variables={**scope.variables, **variables}))
    message = proto.Expression()
    message.lambda_function.CopyFrom(e.lambda_function)
    message.lambda_function.function.CopyFrom(_unnamed(made.message))
    return message, made


def _append(e: Message, arguments: Sequence[Message], scope: Scope) -> Typed:
    given = [_inner(each, scope) for each in arguments]
    if len(given) != 2 or given[0].type.name != "array" or given[0].type.element != given[1].type:
        raise _refused(e, "expected an array and an element of its type", [each.type for each in given])
    if given[1].type == VOID:
        raise _refused(e, "an array of nothing but NULL is not proven; cast what begins it")
    message = function("array_append", *(_unnamed(each.message) for each in given))
    return Typed(message, given[0].type, None, together(each.sources for each in given))


def _sorted(e: Message, arguments: Sequence[Message], scope: Scope) -> Typed:
    """array_sort. Sail's puts nulls within structs last; its sort_array does not, but puts null elements first."""
    of = _inner(arguments[0], scope)
    element = of.type.element if of.type.name == "array" else VOID
    is_collected = of.message.unresolved_function.function_name == "collect_list"  # which leaves out nulls
    if element.name == "struct" and is_collected and all(proven.is_comparable(kind) for _, kind in element.fields):
        name = "sort_array"
    elif proven.is_comparable(element):
        name = "array_sort"
    else:
        raise _refused(e, "expected an array of values, or collect_list of a struct of values", [of.type])
    if len(arguments) != 1:
        raise _refused(e, "a function that compares is not proven")
    return replace(of, message=function(name, _unnamed(of.message)), name=None, column=None)


def _nullif(e: Message, arguments: Sequence[Message], scope: Scope) -> Typed:
    """Of the first one's type, however the two are compared."""
    if len(arguments) != 2:
        raise _refused(e, "expected two values")
    one, other = (_inner(each, scope) for each in arguments)
    same = _listed(e, "==", [one, other], scope)
    differs = function("not", function("<=>", same.message, plan.boolean(True)))
    sources = together([one.sources, other.sources])
    message = function("when", differs, _unnamed(one.message))
    return Typed(message, one.type, one.range, sources, is_aggregate=same.is_aggregate)


def _transform(e: Message, arguments: Sequence[Message], scope: Scope) -> Typed:
    of = _inner(arguments[0], scope)
    if len(arguments) != 2 or of.type.name != "array":
        raise _refused(e, "expected an array and a function of one argument", [of.type])
    message, made = _lambda(arguments[1], [of.type.element], scope)
    sources = together([of.sources, made.sources])
    return Typed(function("transform", _unnamed(of.message), message), plan.array(made.type), None, sources)


_SPECIAL: Mapping[str, Callable[[Message, Sequence[Message], Scope], Typed]] = {
    "when": _when,
    "struct": _struct,
    "named_struct": _named_struct,
    "array": _array,
    "count": _count,
    "filter": _higher,
    "exists": _higher,
    "aggregate": _fold,
    "array_append": _append,
    "array_sort": _sorted,
    "nullif": _nullif,
    "transform": _transform,
}

_KINDS: Mapping[str, Callable[[Message, Scope], Typed]] = {
    "literal": _literal,
    "unresolved_attribute": _attribute,
    "unresolved_extract_value": _extract,
    "unresolved_function": _call,
    "unresolved_named_lambda_variable": _variable,
    "expression_string": _text,
    "alias": _alias,
    "cast": _cast,
    "window": _window,
}
