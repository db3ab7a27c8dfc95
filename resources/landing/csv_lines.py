"""CSV -> rows of text: the feed's delimiter, double quotes, a header in line 1. One line is one record, so a quoted
value cannot hold a newline. Each line is read by itself with Python's strict reader."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

from resources.landing.errors import CorruptLandingFile
from resources.landing.fields import Fields, Row, header_problems, joined, record_batch, record_schema, text_problem
from resources.landing.lines import encoding_problem, is_blank, raw, read_lines

SIMPLE_CHARACTERS = 128 << 10  # Python's reader refuses a longer value, so a longer line is for it to judge


@dataclass(frozen=True)
class _Header:
    width: int  # 0 when nobody can say how many values a record has
    positions: dict[str, int]  # of the declared fields; none when the header cannot say which value is which
    problems: list[str]  # of every record
    is_missing: bool = False  # the line names no field: it is a record itself


def csv_batches(stream: BinaryIO, name: str, fields: Fields, delimiter: str) -> Iterator[pa.RecordBatch]:
    """The records of a CSV file; see `records.batches`."""
    schema = record_schema(fields)
    header: _Header | None = None
    first_line, is_empty = "", True
    for lines in read_lines(stream, name):
        skip = 0
        if header is None:
            if "\r" in lines.texts[0]:
                raise CorruptLandingFile(
                    f"landing file {name}",
                    "lines that end in LF or CR LF",
                    "a CR inside of the first line",
                    "Convert its line ends: as it is, the file is one line, and its records would be lost.",
                )
            first_line = lines.texts[0]
            header = _header(first_line, fields, delimiter)
            # A first line that names no field is a record, whose header is missing: it is kept, like those after it.
            skip = 0 if header.is_missing else 1
        # A line may be blank and yet have one value, so a file of one column is always read with care.
        simple = lines.clean and not header.problems and header.width > 1
        numbers: list[int] = []
        rows: list[Row] = []
        problems: dict[int, tuple[str, str]] = {}
        for number, line in enumerate(lines.texts[skip:], lines.first + skip):
            cells, fault = _cells(line, delimiter)
            row: Row = cells
            if not simple or len(cells) != header.width:
                if is_blank(line) and delimiter not in line:  # a line of tabs is a record where they are delimiters
                    continue
                row, found = _careful(line, cells, fault, header)
                if found:
                    problems[len(rows)] = joined(found), raw(line)
            numbers.append(number)
            rows.append(row)
        if rows:
            is_empty = False
            columns = list(zip(*rows, strict=True))
            picked = (columns[header.positions[f]] if f in header.positions else [None] * len(rows) for f in fields)
            yield record_batch(schema, numbers, (pa.array(column, pa.string()) for column in picked), problems)
    if header is not None and header.problems and is_empty and not is_blank(first_line):
        # With another line end than LF the whole file may be line 1: it is kept, and not taken for a file of no record.
        nothing = (pa.nulls(1, pa.string()) for _ in fields)
        yield record_batch(schema, [1], nothing, {0: (joined(header.problems), raw(first_line))})


def _cells(line: str, delimiter: str) -> tuple[tuple[str, ...], str]:
    """The values of a line and why it has none ('' if it does)."""
    if '"' not in line and "\r" not in line and len(line) <= SIMPLE_CHARACTERS:
        return tuple(line.split(delimiter)), ""
    try:
        return tuple(next(csv.reader((line,), strict=True, delimiter=delimiter))), ""
    except csv.Error as error:
        return (), f"not CSV: {str(error).partition(' - ')[0]}"  # what follows is advice to a programmer


def _header(line: str, fields: Fields, delimiter: str) -> _Header:
    cells, fault = _cells(line, delimiter)
    if fault := encoding_problem(line) or fault:
        return _Header(0, {}, [f"header: {fault}"])
    problems, readable = header_problems(cells, fields)
    positions = {name: position for position, name in enumerate(cells) if readable and name in fields}
    if readable and not positions:
        return _Header(0, {}, ["header: none of its names is a field of the feed"], is_missing=True)
    return _Header(len(cells), positions, problems)


def _careful(line: str, cells: tuple[str, ...], fault: str, header: _Header) -> tuple[Row, list[str]]:
    """The values of any line, null where they cannot be stored, and its problems."""
    problems = list(header.problems)
    row: list[str | None] = [None] * header.width
    if not fault and header.width and len(cells) != header.width:
        fault = f"expected {header.width} values, found {len(cells)}"
    if fault and "\0" in line:
        fault = "NUL character"
    if fault := encoding_problem(line) or fault:
        return tuple(row), [*problems, fault]
    for name, position in header.positions.items():
        if problem := text_problem(cells[position]):
            problems.append(f"{name}: {problem}")
        else:
            row[position] = cells[position]
    return tuple(row), problems
