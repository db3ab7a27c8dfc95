"""The SQL of expressions (F.expr, where("..."), a contract's rules) as the messages that Connect has for the same.

What is checked must be what runs, so a text is replaced by its tree before the engine sees it. The grammar is the part
of Spark SQL that means the same whatever the settings are; all else is refused, with the place.
"""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import date
from functools import lru_cache

from pyspark.sql.connect import proto
from pyspark.sql.types import StructType

from affirm_assets.engines.sail.plan import (
    BIGINT,
    INT,
    Message,
    Type,
    alias,
    array,
    attribute,
    boolean,
    cast,
    decimal,
    exact,
    function,
    spark_type,
    struct,
    text,
    whole,
)


class NotUnderstood(ValueError):
    """SQL beyond the grammar of this module. The message says where."""


@lru_cache(4096)
def parsed(sql: str) -> Message:
    """The expression, with its alias if it has one. Raises NotUnderstood. The message is shared: never change it."""
    return _Parser(sql).whole_expression()


@lru_cache(1024)
def parsed_type(sql: str) -> Type:
    """A type as SQL writes it. Raises NotUnderstood."""
    parser = _Parser(sql)
    kind = parser.type()
    parser.end()
    return kind


def schema_of(written: str) -> StructType:
    """A schema as JSON, which Connect's client writes, or as SQL. Raises NotUnderstood."""
    if written.lstrip().startswith("{"):
        return StructType.fromJson(json.loads(written))
    made = spark_type(parsed_type(f"struct<{written}>"))
    assert isinstance(made, StructType)
    return made


_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^'\\]|\\.)*'(?!'))
    | (?P<number>(?:\d+\.\d*|\.\d+|\d+)(?P<suffix>BD|L|bd|l)?(?![\w.]))
    | (?P<quoted>`(?:[^`]|``)+`)
    | (?P<word>[A-Za-z_]\w*)
    | (?P<sign><=>|<>|!=|<=|>=|==|->|\|\||[-+*/%=<>(),.\[\]:])
    )""",
    re.X | re.S,
)
_END = ("end", "")
# Words that are no column's name here, so that what they would begin is not taken for something else.
_RESERVED = frozenset(
    "ALL AND ANY AS ASC BETWEEN BY CASE CAST COLLATE CROSS DATE DESC DISTINCT DIV ELSE END ESCAPE EXISTS EXTRACT FALSE "  # noqa: SIM905
    "FILTER FROM FULL GROUP HAVING ILIKE IN INNER INTERVAL INTO IS JOIN LIKE NOT NULL NULLS ON OR ORDER OVER REGEXP "
    "RLIKE SELECT SOME STRUCT THEN TIMESTAMP TRUE TRY_CAST UNION USING WHEN WHERE WITH WITHIN".split()
)
_AS_COLUMNS_TOO = frozenset({"DATE", "FILTER", "OVER", "TIMESTAMP", "EXISTS", "STRUCT"})
"""Functions of these names are called, and columns of these names read."""
_TYPES = {
    "boolean": "boolean",
    "string": "string",
    "date": "date",
    "timestamp": "timestamp",
    "tinyint": "tinyint",
    "byte": "tinyint",
    "smallint": "smallint",
    "short": "smallint",
    "int": "int",
    "integer": "int",
    "bigint": "bigint",
    "long": "bigint",
    "double": "double",
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "Z": "\x1a"}


class _Parser:
    def __init__(self, sql: str) -> None:
        self.sql, self.at = sql, 0
        self.tokens = list(_tokens(sql))

    # Reading tokens

    def peek(self, ahead: int = 0) -> tuple[str, str]:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else _END

    def take(self) -> tuple[str, str]:
        token = self.peek()
        self.at += 1
        return token

    def is_word(self, *words: str, ahead: int = 0) -> bool:
        return [
            value.upper() if kind == "word" else None
            for kind, value in (self.peek(ahead + n) for n in range(len(words)))
        ] == list(words)

    def accept(self, *words: str) -> bool:
        if found := self.is_word(*words):
            self.at += len(words)
        return found

    def accept_sign(self, *signs: str) -> str | None:
        kind, value = self.peek()
        if kind != "sign" or value not in signs:
            return None
        self.at += 1
        return value

    def need(self, sign: str) -> None:
        if not self.accept_sign(sign):
            self.fail(f"expected {sign!r}")

    def need_word(self, word: str) -> None:
        if not self.accept(word):
            self.fail(f"expected {word}")

    def fail(self, why: str) -> None:
        found = self.peek()[1] or "the end"
        raise NotUnderstood(f"{why}, found {found!r} in: {self.sql}")

    def end(self) -> None:
        if self.peek() != _END:
            self.fail("expected the end")

    # The grammar, from what binds least

    def whole_expression(self) -> Message:
        made = self.expression()
        if self.accept("AS") or (self.peek()[0] in ("word", "quoted") and self.peek()[1].upper() not in _RESERVED):
            made = alias(made, self.name())
        self.end()
        return made

    def expression(self) -> Message:
        sides = [self.conjunction()]
        while self.accept("OR"):
            sides.append(self.conjunction())
        return _chained("or", sides)

    def conjunction(self) -> Message:
        sides = [self.negation()]
        while self.accept("AND"):
            sides.append(self.negation())
        return _chained("and", sides)

    def negation(self) -> Message:
        return function("not", self.negation()) if self.accept("NOT") else self.predicate()

    def predicate(self) -> Message:
        """As in Spark, a predicate such as IN or IS NULL follows a value; comparisons are part of the value."""
        left = self.comparison()
        while True:
            if self.accept("IS"):
                is_not = self.accept("NOT")
                if self.accept("NULL"):
                    left = function("isnotnull" if is_not else "isnull", left)
                elif self.accept("TRUE"):
                    left = function("<=>", left, boolean(True))
                    left = function("not", left) if is_not else left
                elif self.accept("FALSE"):
                    left = function("<=>", left, boolean(False))
                    left = function("not", left) if is_not else left
                else:
                    self.fail("expected NULL, TRUE or FALSE")
                continue
            at, is_not = self.at, self.accept("NOT")
            if self.accept("IN"):
                self.need("(")
                made = function("in", left, *self.arguments())
            elif self.accept("BETWEEN"):
                least = self.comparison()
                self.need_word("AND")
                made = function("and", function(">=", left, least), function("<=", left, self.comparison()))
            elif self.accept("RLIKE") or self.accept("REGEXP"):
                made = function("rlike", left, self.comparison())
            elif self.accept("LIKE"):
                made = function("like", left, self.comparison())
            else:
                self.at = at
                return left
            left = function("not", made) if is_not else made

    def comparison(self) -> Message:
        left = self.sum()
        while sign := self.accept_sign("=", "==", "<>", "!=", "<=>", "<=", ">=", "<", ">"):
            right = self.sum()
            if sign in ("<>", "!="):
                left = function("not", function("==", left, right))
            else:
                left = function("==" if sign == "=" else sign, left, right)
        return left

    def sum(self) -> Message:
        left = self.product()
        while sign := self.accept_sign("+", "-", "||"):
            left = function(sign, left, self.product())
        return left

    def product(self) -> Message:
        left = self.signed()
        while True:
            if sign := self.accept_sign("*", "/", "%"):
                left = function(sign, left, self.signed())
            elif self.accept("DIV"):
                left = function("div", left, self.signed())
            else:
                return left

    def signed(self) -> Message:
        if self.accept_sign("-"):
            if self.peek()[0] == "number":
                return self.number("-")
            return function("negative", self.signed())
        return self.signed() if self.accept_sign("+") else self.postfix()

    def postfix(self) -> Message:
        made = self.primary()
        while True:
            if self.accept_sign("["):
                made = extracted(made, self.expression())
                self.need("]")
            elif self.accept_sign("."):
                made = extracted(made, text(self.name()))
            else:
                return made

    def primary(self) -> Message:
        kind, value = self.peek()
        if kind == "number":
            return self.number("")
        if kind == "string":
            return text("".join(self.strings()))
        if self.accept_sign("("):
            made = self.expression()
            self.need(")")
            return made
        if self.accept_sign("*"):
            made = proto.Expression()
            made.unresolved_star.SetInParent()
            return made
        if kind == "word":
            if self.accept("TRUE"):
                return boolean(True)
            if self.accept("FALSE"):
                return boolean(False)
            if self.accept("NULL"):
                made = proto.Expression()
                made.literal.null.null.SetInParent()
                return made
            if self.is_word("DATE") and self.peek(1)[0] == "string":
                self.take()
                return self.date()
            if self.accept("INTERVAL"):
                return self.interval()
            if self.accept("CASE"):
                return self.case()
            if self.peek(1) == ("sign", "("):
                return self.call()
            if value.upper() in _RESERVED - _AS_COLUMNS_TOO:
                self.fail("expected a value")
        if kind in ("word", "quoted"):
            return self.column()
        self.fail("expected a value")
        raise AssertionError

    def column(self) -> Message:
        made = attribute(self.name())
        while self.peek() == ("sign", ".") and self.peek(1)[0] in ("word", "quoted"):
            self.take()
            made.unresolved_attribute.unparsed_identifier += (
                "." + attribute(self.name()).unresolved_attribute.unparsed_identifier
            )
        return made

    def name(self) -> str:
        kind, value = self.take()
        if kind == "quoted":
            return value[1:-1].replace("``", "`")
        if kind != "word":
            self.at -= 1
            self.fail("expected a name")
        return value

    def call(self) -> Message:
        name = self.name()
        self.need("(")
        if name.upper() in ("CAST", "TRY_CAST"):
            child = self.expression()
            self.need_word("AS")
            kind = self.type()
            self.need(")")
            return cast(child, kind, is_try=name.upper() == "TRY_CAST")
        is_distinct = self.accept("DISTINCT")
        made = function(name.lower(), *self.arguments())
        made.unresolved_function.is_distinct = is_distinct
        if self.is_word("FILTER") and self.peek(1) == ("sign", "("):
            self.fail("FILTER of an aggregate is not understood; use CASE in its argument")
        return self.over(made) if self.accept("OVER") else made

    def arguments(self) -> Iterable[Message]:
        """Up to the closing bracket, which is taken."""
        found: list[Message] = []
        if self.accept_sign(")"):
            return found
        while True:
            found.append(self.expression())
            if not self.accept_sign(","):
                break
        self.need(")")
        return found

    def over(self, called: Message) -> Message:
        made = proto.Expression()
        made.window.window_function.CopyFrom(called)
        self.need("(")
        if self.accept("PARTITION", "BY"):
            made.window.partition_spec.append(self.expression())
            while self.accept_sign(","):
                made.window.partition_spec.append(self.expression())
        if self.accept("ORDER", "BY"):
            made.window.order_spec.append(self.order())
            while self.accept_sign(","):
                made.window.order_spec.append(self.order())
        self.need(")")
        return made

    def order(self) -> Message:
        made: Message = proto.Expression.SortOrder()
        made.child.CopyFrom(self.expression())
        made.direction = made.null_ordering = _DESCENDING if self.accept("DESC") else _ASCENDING
        if made.direction == _ASCENDING:
            self.accept("ASC")
        if self.accept("NULLS", "FIRST"):
            made.null_ordering = _ASCENDING
        elif self.accept("NULLS", "LAST"):
            made.null_ordering = _DESCENDING
        return made

    def case(self) -> Message:
        subject = None if self.is_word("WHEN") else self.expression()
        parts: list[Message] = []
        while self.accept("WHEN"):
            condition = self.expression()
            self.need_word("THEN")
            parts += [condition if subject is None else function("==", subject, condition), self.expression()]
        if self.accept("ELSE"):
            parts.append(self.expression())
        self.need_word("END")
        return function("when", *parts)

    def strings(self) -> Iterable[str]:
        while self.peek()[0] == "string":
            yield _unescaped(self.take()[1][1:-1])

    def date(self) -> Message:
        (value,) = [*self.strings()]
        made = proto.Expression()
        try:
            made.literal.date = (date.fromisoformat(value) - date(1970, 1, 1)).days
        except ValueError:
            self.fail(f"expected a date YYYY-MM-DD and not {value!r}")
        return made

    def interval(self) -> Message:
        kind, value = self.take()
        if (kind, value) != ("number", "1") or not self.accept("DAY"):
            self.fail("no interval is understood but INTERVAL 1 DAY")
        made = proto.Expression()
        made.expression_string.expression = DAY
        return made

    def number(self, sign: str) -> Message:
        value = self.take()[1]
        digits = value.upper().removesuffix("BD").removesuffix("L")
        if value.upper().endswith("L"):
            return whole(int(sign + digits), BIGINT)
        if "." not in digits and not value.upper().endswith("BD"):
            number = int(sign + digits)
            if -(2**31) <= number < 2**31:
                return whole(number, INT)
            if -(2**63) <= number < 2**63:
                return whole(number, BIGINT)
        before, _, after = digits.partition(".")
        before = before.lstrip("0")
        precision = max(len(before + after) if before else len(after.lstrip("0")), len(after), 1)
        if precision > 38:
            self.fail("a decimal has at most 38 digits")
        return exact(f"{sign}{before or '0'}{'.' + after if after else ''}", decimal(precision, len(after)))

    def type(self) -> Type:
        kind, value = self.take()
        name = value.lower()
        if kind == "word" and name in ("decimal", "dec", "numeric"):
            precision, scale = 10, 0
            if self.accept_sign("("):
                precision = int(self.take()[1])
                scale = int(self.take()[1]) if self.accept_sign(",") else 0
                self.need(")")
            return decimal(precision, scale)
        if kind == "word" and name == "array":
            self.need("<")
            element = self.type()
            self.need(">")
            return array(element)
        if kind == "word" and name == "struct":
            self.need("<")
            fields = [self.typed_field()]
            while self.accept_sign(","):
                fields.append(self.typed_field())
            self.need(">")
            return struct(fields)
        if kind != "word" or name not in _TYPES:
            self.at -= 1
            self.fail("expected a type")
        return Type(_TYPES[name])

    def typed_field(self) -> tuple[str, Type]:
        name = self.name()
        self.accept_sign(":")
        kind = self.type()
        self.accept("NOT", "NULL")  # what is proven is proven with nulls too
        return name, kind


DAY = "INTERVAL 1 DAY"
# Connect numbers directions and places of nulls alike, and Spark puts nulls first where it ascends.
_ASCENDING, _DESCENDING = 1, 2


def _tokens(sql: str) -> Iterable[tuple[str, str]]:
    at, end = 0, len(sql.rstrip())
    while at < end:
        match = _TOKEN.match(sql, at)
        if match is None:
            raise NotUnderstood(f"at {sql[at : at + 20].strip()!r} in: {sql}")
        if sql.startswith(("--", "/*"), match.start(match.lastgroup or 0)):
            raise NotUnderstood(f"a comment in: {sql}")
        kind = match.lastgroup if match.lastgroup != "suffix" else "number"
        assert kind is not None
        yield kind, match.group(kind)
        at = match.end()


def _unescaped(value: str) -> str:
    r"""As Spark reads a literal: a backslash before another character is left out, but in `\%` and `\_`."""

    def one(match: re.Match[str]) -> str:
        if octal := match.group("octal"):
            return chr(int(octal, 8))
        if code := match.group("code"):
            return chr(int(code[1:], 16))
        character = match.group("other")
        if character == "U":
            raise NotUnderstood(f"expected no \\U in a text, found one in: {value}")
        return f"\\{character}" if character in "%_" else _ESCAPES.get(character, character)

    return re.sub(r"\\(?:(?P<octal>[0-1][0-7]{2})|(?P<code>u[0-9A-Fa-f]{4})|(?P<other>.))", one, value, flags=re.S)


def _chained(name: str, sides: Sequence[Message]) -> Message:
    """A chain as a tree of little depth: one message within another may be a hundred deep at most."""
    if len(sides) == 1:
        return sides[0]
    half = len(sides) // 2
    return function(name, _chained(name, sides[:half]), _chained(name, sides[half:]))


def extracted(child: Message, key: Message) -> Message:
    made = proto.Expression()
    made.unresolved_extract_value.child.CopyFrom(child)
    made.unresolved_extract_value.extraction.CopyFrom(key)
    return made
