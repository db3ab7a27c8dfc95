"""The files that a report is exported to: each is written row by row, and read back to add up what is in it.

A file is the same, byte for byte, whenever it is written of the same rows: nothing in it is of the clock or by chance,
and what its writer may choose is said here.
"""

import csv
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow as pa
import pyarrow.parquet as pq
import xlsxwriter
from xlsxwriter.utility import xl_col_to_name

from affirm_assets.export.errors import ValueRefused
from affirm_assets.export.spill import Row, Spilled, Totals, money_of

Said = Sequence[tuple[str, str | int | Decimal]]
"""The control totals as people read them: what, and its value."""

TOTALS_SHEET = "Control totals"

_ROWS_IN_GROUP = 50_000
"""Of a Parquet file: so many are in memory at once."""

_MOST_DIGITS = 15
"""Excel keeps a number as a double, of which so many digits are certain (IEEE 754; Excel specifications and limits)."""

_MOST_ROWS = 1_048_576
"""Of a sheet, its header included (Excel specifications and limits)."""

_LONGEST_TEXT = 32_767
"""Characters of a cell (Excel specifications and limits)."""

_MADE = datetime(1980, 1, 1)
"""What a workbook says of when it was made: always the same, and the first moment that a zip file can say."""

_RUNS = "=+-@\t\r"
"""A spreadsheet takes CSV text that begins so for a formula (OWASP, CSV Injection)."""


@dataclass(frozen=True)
class Format:
    """A kind of file. `write` makes the file, `read` says what is in it. `has_totals`: it holds the control totals."""

    write: Callable[[Path, Spilled, Said], None]
    read: Callable[[Path, pa.Schema], Totals]
    has_totals: bool = True


def write_csv(path: Path, rows: Spilled, said: Said) -> None:  # noqa: ARG001  (they are in a file beside it)
    """UTF-8, commas, a line for each row under the columns' names; amounts as plain digits, a null as nothing."""
    names = rows.schema.names
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        for row in rows.rows():
            writer.writerow(_plain(*each) for each in zip(names, row, strict=True))


def write_totals_csv(path: Path, said: Said) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("item", "value"))
        writer.writerows((what, _plain(what, value)) for what, value in said)


def read_csv(path: Path, schema: pa.Schema) -> Totals:
    totals = Totals.of(schema)
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            totals.add({name: Decimal(row[name]) if row[name] else None for name in totals.sums})
    return totals


def _plain(name: str, value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case Decimal():
            return f"{value:f}"
        case date():  # or a moment
            return value.isoformat()
        case str() if value.startswith(tuple(_RUNS)):
            expected = "text that no spreadsheet takes for a formula"
            raise ValueRefused(name, repr(value), expected, "Export it to .xlsx or .parquet, where text is text.")
    return str(value)


def write_parquet(path: Path, rows: Spilled, said: Said) -> None:
    """Decimals and dates as such; the control totals are in the file's key-value metadata, as affirm.<what>."""
    metadata = {f"affirm.{what.replace(' ', '_')}": _plain(what, value) for what, value in said}
    schema = rows.schema.with_metadata(metadata)
    options: Mapping[str, Any] = {
        "version": "2.6",
        "data_page_version": "1.0",
        "compression": "zstd",
        "compression_level": 3,
    }
    with pq.ParquetWriter(path, schema, **options) as writer:
        for part in _in_groups(rows.rows()):
            columns = [
                pa.array(column, each.type) for column, each in zip(zip(*part, strict=True), schema, strict=True)
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema), row_group_size=_ROWS_IN_GROUP)


def _in_groups(rows: Iterator[Row]) -> Iterator[Sequence[Row]]:
    while part := list(islice(rows, _ROWS_IN_GROUP)):
        yield part


def read_parquet(path: Path, schema: pa.Schema) -> Totals:
    totals = Totals.of(schema)
    with pq.ParquetFile(path) as file:
        if not totals.sums:
            totals.rows = file.metadata.num_rows
        for batch in file.iter_batches(columns=list(totals.sums)) if totals.sums else ():
            for row in batch.to_pylist():
                totals.add(row)
    return totals


def write_xlsx(path: Path, rows: Spilled, said: Said) -> None:
    """A sheet with the rows, and one with the control totals. Amounts are numbers, ids are text, dates are dates."""
    if rows.totals.rows >= _MOST_ROWS:
        expected = f"at most {_MOST_ROWS - 1:,}, which is what a sheet holds under its header"
        raise ValueRefused("rows", f"{rows.totals.rows:,}", expected, "Export it to .csv or .parquet.")
    options = {"constant_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
    with xlsxwriter.Workbook(str(path), options) as book:
        book.set_properties({"created": _MADE})
        formats = {places: book.add_format({"num_format": f"0.{'0' * places}"}) for places in _places(rows.schema)}
        day = book.add_format({"num_format": "yyyy-mm-dd"})

        def write(sheet: Any, at: tuple[int, int], name: str, value: object) -> None:
            match value:
                case None:
                    pass
                case bool():
                    sheet.write_boolean(*at, value)
                case Decimal():
                    sheet.write_number(*at, _held(name, value), formats[_places_of(value)])
                case int():
                    sheet.write_number(*at, _held(name, value))
                case datetime():  # a cell has no time zone
                    sheet.write_string(*at, value.isoformat())
                case date():
                    sheet.write_datetime(*at, value, day)
                case _:
                    sheet.write_string(*at, _short(name, str(value)))

        sheet = book.add_worksheet("Rows")
        sheet.freeze_panes(1, 0)
        names = rows.schema.names
        for column, name in enumerate(names):
            sheet.write_string(0, column, name)
        for number, row in enumerate(rows.rows(), 1):
            for column, (name, value) in enumerate(zip(names, row, strict=True)):
                write(sheet, (number, column), name, value)
        sheet = book.add_worksheet(TOTALS_SHEET)
        for number, (what, value) in enumerate(said):
            sheet.write_string(number, 0, what)
            write(sheet, (number, 1), what, value)


def _places(schema: pa.Schema) -> set[int]:
    return {2, *(each.type.scale for each in schema if pa.types.is_decimal(each.type))}


def _places_of(value: Decimal) -> int:
    return -int(value.as_tuple().exponent)


def _held(name: str, value: Decimal | int) -> Decimal | int:
    """The value, of which the library writes each digit into the file, as it would not of a float."""
    digits = "".join(map(str, Decimal(value).normalize().as_tuple().digits))
    if len(digits) > _MOST_DIGITS:
        expected = f"a number of at most {_MOST_DIGITS} digits, which is what a cell holds exactly"
        raise ValueRefused(name, f"{value}", expected, "Export it to .csv or .parquet.")
    return value


def _short(name: str, value: str) -> str:
    if len(value) > _LONGEST_TEXT:
        expected = f"text of at most {_LONGEST_TEXT:,} characters, which is what a cell holds"
        raise ValueRefused(name, f"{len(value):,}: {value[:40]}...", expected, "Export it to .csv or .parquet.")
    return value


_CELL = re.compile(r"[A-Z]+")
_IN_SHEET = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"


def read_xlsx(path: Path, schema: pa.Schema) -> Totals:
    """By the file's own XML, digit by digit: any reader of workbooks makes floats of its numbers."""
    totals = Totals.of(schema)
    money = {xl_col_to_name(schema.get_field_index(name)): name for name in money_of(schema)}
    with zipfile.ZipFile(path) as book, book.open("xl/worksheets/sheet1.xml") as sheet:
        rows = None
        for event, element in ElementTree.iterparse(sheet, ("start", "end")):
            if event == "start" and element.tag == f"{_IN_SHEET}sheetData":
                rows = element
            if event == "end" and element.tag == f"{_IN_SHEET}row":
                if element.get("r") != "1":
                    totals.add(_amounts(element, money))
                assert rows is not None  # each row is in it
                rows.clear()
    return totals


def _amounts(row: ElementTree.Element, money: Mapping[str, str]) -> Mapping[str, Decimal | None]:
    found: dict[str, Decimal | None] = {}
    for cell in row:
        column = _CELL.match(cell.get("r", ""))
        number = cell.find(f"{_IN_SHEET}v")
        if column and column.group() in money and number is not None:
            found[money[column.group()]] = Decimal(number.text or "")
    return found


FORMATS: Mapping[str, Format] = {
    ".csv": Format(write_csv, read_csv, has_totals=False),
    ".parquet": Format(write_parquet, read_parquet),
    ".xlsx": Format(write_xlsx, read_xlsx),
}
"""By the ending of the file's name."""
