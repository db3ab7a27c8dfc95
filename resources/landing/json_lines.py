"""JSON lines -> rows of text. One line is one record; numbers keep the digits that were written (10.005 stays 10.005).

Two readers give the same rows. The careful one is Python's JSON scanner with hooks, which sees every duplicated key
and names every problem. It is slow, so from a good record it learns a template: a pattern for lines with the same keys
in the same order, whose values need no decoding. A line that the template does not match goes to the careful reader.
"""

import json
import re
from collections.abc import Iterator
from json import JSONDecodeError
from typing import BinaryIO

import pyarrow as pa

from resources.landing.fields import (
    NUMERIC,
    FieldKind,
    Fields,
    Row,
    duplicated,
    joined,
    record_batch,
    record_schema,
    text_problem,
    unexpected,
)
from resources.landing.lines import encoding_problem, is_blank, raw, read_lines

MAX_NUMBER = 4300  # Python refuses int() of a longer text (sys.int_info), so no reader of the lake may meet one
MAX_TEMPLATES = 16  # a program writes a few shapes of record; more would cost more to try than they save

_SPACE = r"[ \t\r]*+"
# No escapes, no control characters, no bytes that were not UTF-8: what stands between the quotes is the value.
_STRING = r'(?:"([^"\\\x00-\x1f\ud800-\udfff]*+)"|null)'
_NUMBER = r"(?:(-?+(?:0|[1-9][0-9]{0,37}+)(?:\.[0-9]{1,38}+)?+(?:[eE][-+]?+[0-9]{1,9}+)?+)|null)"
_ABSENT = "((?!))?+"  # a group that matches nothing, for the fields that a template lacks


class _Number(str):
    """The digits of a JSON number, to tell it from a JSON string."""

    __slots__ = ()


class _Object(list[tuple[str, object]]):
    """A JSON object's pairs as written, to see duplicated keys and tell it from a JSON array."""

    __slots__ = ()


_DECODER = json.JSONDecoder(parse_float=_Number, parse_int=_Number, parse_constant=_Number, object_pairs_hook=_Object)


def json_batches(stream: BinaryIO, name: str, fields: Fields) -> Iterator[pa.RecordBatch]:
    """The records of a file of JSON lines; see `records.batches`."""
    schema = record_schema(fields)
    templates = _Templates(fields)
    for lines in read_lines(stream, name):
        numbers: list[int] = []
        rows: list[Row] = []
        problems: dict[int, tuple[str, str]] = {}
        for number, line in enumerate(lines.texts, lines.first):
            row = templates.row(line)
            if row is None:
                if is_blank(line):
                    continue
                row, problem = _careful(line, fields, templates)
                if problem:
                    problems[len(rows)] = problem, raw(line)
            numbers.append(number)
            rows.append(row)
        if rows:
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            yield record_batch(schema, numbers, columns, problems)


class _Templates:
    """The shapes of record that were learned from a file, the one that matched last first."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._shapes: set[tuple[tuple[str, bool], ...]] = set()
        self._templates: list[tuple[re.Pattern[str], list[int]]] = []

    def row(self, line: str) -> Row | None:
        """The values of a line that a template matches ('' for null), in the order of the declared fields."""
        for position, (pattern, groups) in enumerate(self._templates):
            if found := pattern.fullmatch(line):
                if position:
                    self._templates.insert(0, self._templates.pop(position))
                return found.group(*groups)[1:]
        return None

    def learn(self, record: _Object) -> None:
        """Make a template of a record that has no problem."""
        shape = tuple((key, self._is_number(key, value)) for key, value in record)
        if shape in self._shapes or len(self._shapes) == MAX_TEMPLATES:
            return
        self._shapes.add(shape)
        pairs = (f'"{re.escape(key)}"{_SPACE}:{_SPACE}{_NUMBER if number else _STRING}' for key, number in shape)
        body = f"{_SPACE},{_SPACE}".join(pairs)
        pattern = re.compile(rf"{_SPACE}\{{{_SPACE}{body}{_SPACE}\}}{_SPACE}{_ABSENT}")
        group = {key: number for number, (key, _) in enumerate(shape, start=1)}
        absent = len(shape) + 1
        # The absent group comes first as well: a match gives a tuple only for two groups and more.
        self._templates.append((pattern, [absent, *(group.get(name, absent) for name in self._fields)]))

    def _is_number(self, key: str, value: object) -> bool:
        return type(value) is _Number or (value is None and self._fields[key] in NUMERIC)


def _careful(line: str, fields: Fields, templates: _Templates) -> tuple[Row, str]:
    """The values of any line and its problem ('' if it has none)."""
    nothing: Row = (None,) * len(fields)
    if damage := encoding_problem(line):
        return nothing, damage
    if "\0" in line:
        return nothing, "NUL character"
    try:
        record = _DECODER.decode(line)
    except JSONDecodeError as error:
        # Only the part before a colon: what follows could be a piece of the record.
        what = error.msg.partition(":")[0].removesuffix(" at").lower()
        return nothing, f"not JSON: {what} at character {error.pos + 1}"
    except RecursionError:
        return nothing, "not JSON: nested too deeply"
    if not isinstance(record, _Object):
        return nothing, f"expected a JSON object, found {_json_type(record)}"
    values, problems = _checked(record, fields)
    if not problems:
        templates.learn(record)
    return tuple(values.get(name) for name in fields), joined(problems)


def _checked(record: _Object, fields: Fields) -> tuple[dict[str, str | None], list[str]]:
    values: dict[str, str | None] = {}
    problems: list[str] = []
    seen: set[str] = set()
    for key, value in record:
        if key in seen:
            problems.append(duplicated(key))
            values[key] = None  # nobody can say which one was meant
        elif key not in fields:
            problems.append(unexpected(key))
        elif problem := _value_problem(value, fields[key]):
            problems.append(f"{key}: {problem}")
        else:
            values[key] = None if value is None else str(value)
        seen.add(key)
    return values, problems


def _value_problem(value: object, kind: FieldKind) -> str | None:
    if value is None:
        return None
    if type(value) is str:
        return text_problem(value)
    if type(value) is not _Number or kind not in NUMERIC:
        return f"expected {kind}, found {_json_type(value)}"
    return f"number of more than {MAX_NUMBER} characters" if len(value) > MAX_NUMBER else None


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    names = {_Number: "number", _Object: "object", list: "array", bool: "boolean", str: "string"}
    return names[type(value)]
