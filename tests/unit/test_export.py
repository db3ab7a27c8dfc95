"""The files of an export: what is in them, by other readers; that they are the same again; and what they refuse."""

import csv
import re
import zipfile
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from affirm_assets.export import formats
from affirm_assets.export import spill as spills
from affirm_assets.export.errors import FileRefused, ValueRefused
from affirm_assets.export.formats import FORMATS, Said
from affirm_assets.export.run import check_file
from affirm_assets.export.spill import Spilled, Totals, spill

SCHEMA = pa.schema(
    [
        pa.field("month", pa.date32(), nullable=False),
        pa.field("loan_id", pa.string(), nullable=False),
        pa.field("apr", pa.decimal128(9, 6)),
        pa.field("principal", pa.decimal128(18, 2)),
        pa.field("loans", pa.int64()),
        pa.field("is_late", pa.bool_()),
        pa.field("settled_on", pa.date32()),
    ]
)
JANUARY = date(2025, 1, 1)
Values = tuple[Any, ...]


def loan(loan_id: str, principal: str | None = "0.00", **over: Any) -> Values:
    found = {
        "month": JANUARY,
        "loan_id": loan_id,
        "apr": Decimal("14.990000"),
        "principal": None if principal is None else Decimal(principal),
        "loans": 1,
        "is_late": False,
        "settled_on": None,
        **over,
    }
    return tuple(found.values())


LOANS = [
    loan("L3", "999.99", settled_on=date(2024, 2, 29)),
    loan("L1", "-0.01", is_late=True),
    loan("007", "512.06"),
    loan("L2", None, loans=None),
    loan("1E5", "9999999999999.99"),  # fifteen digits
]
TOTALS = Totals(5, {"principal": Decimal("10000000001512.03")})
IN_ORDER = ["007", "1E5", "L1", "L2", "L3"]
SAID: Said = [("dataset", "portfolio/tape"), ("rows", 5), ("sum of principal", Decimal("10.10"))]


def spilled(folder: Path, loans: Sequence[Values] = LOANS, size: int = 2) -> Spilled:
    folder.mkdir(exist_ok=True)
    return spill(batches(loans, size), SCHEMA, ["month", "loan_id"], folder)


def batches(loans: Sequence[Values], size: int) -> Iterable[pa.RecordBatch]:
    for start in range(0, len(loans), size):
        columns = zip(*loans[start : start + size], strict=True)
        arrays = [pa.array(column, each.type) for column, each in zip(columns, SCHEMA, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=SCHEMA)


def written(folder: Path, ending: str, loans: Sequence[Values] = LOANS) -> Path:
    path = folder / f"file{ending}"
    FORMATS[ending].write(path, spilled(folder / "parts", loans), SAID)
    return path


def test_rows_come_in_the_order_of_their_key_however_many_parts_they_are_sorted_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spills, "_ROWS_SORTED", 100)
    monkeypatch.setattr(spills, "_ROWS_MERGED", 7)
    many = [loan(f"L{number * 7919 % 1000:04}", f"{number}.01") for number in range(1000)]
    found = spilled(tmp_path, many, 250)
    assert len(found.parts) == 9
    assert list(found.rows()) == sorted(many)
    assert found.totals == Totals(1000, {"principal": Decimal("499510.00")})


@pytest.mark.parametrize("ending", FORMATS)
def test_what_is_read_back_adds_up_to_the_totals_of_the_table(tmp_path: Path, ending: str) -> None:
    assert spilled(tmp_path / "parts").totals == TOTALS
    assert FORMATS[ending].read(written(tmp_path, ending), SCHEMA) == TOTALS


@pytest.mark.parametrize("ending", FORMATS)
def test_a_report_without_rows_is_a_file_with_its_columns(tmp_path: Path, ending: str) -> None:
    assert FORMATS[ending].read(written(tmp_path, ending, []), SCHEMA) == Totals.of(SCHEMA)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_file_is_the_same_again_byte_for_byte(tmp_path: Path, ending: str) -> None:
    files = []
    for name, loans in (("one", LOANS), ("other", LOANS[::-1])):
        (tmp_path / name).mkdir()
        files.append(written(tmp_path / name, ending, loans).read_bytes())
    assert files[0] == files[1]


def test_nothing_in_a_workbook_is_of_the_clock(tmp_path: Path) -> None:
    with zipfile.ZipFile(written(tmp_path, ".xlsx")) as book:
        assert {each.date_time[0] for each in book.infolist()} == {1980}
        assert re.findall(r">(\d{4})-", book.read("docProps/core.xml").decode()) == ["1980", "1980"]


def test_csv_is_text_with_two_places(tmp_path: Path) -> None:
    with written(tmp_path, ".csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == SCHEMA.names
    assert [each[1] for each in rows] == IN_ORDER
    assert rows[0] == ["2025-01-01", "007", "14.990000", "512.06", "1", "false", ""]
    assert rows[1][3] == "9999999999999.99"
    assert rows[3][3:5] == ["", ""]
    found = duckdb.sql(f"SELECT sum(principal::DECIMAL(18,2)) FROM read_csv('{tmp_path}/file.csv', all_varchar = true)")
    assert found.fetchall() == [(TOTALS.sums["principal"],)]


def test_parquet_has_exact_decimals_and_the_control_totals_in_its_metadata(tmp_path: Path) -> None:
    path = written(tmp_path, ".parquet")
    found = duckdb.sql(f"SELECT loan_id, principal, settled_on FROM '{path}'")
    assert [str(each) for each in found.types] == ["VARCHAR", "DECIMAL(18,2)", "DATE"]
    assert found.fetchall()[4] == ("L3", Decimal("999.99"), date(2024, 2, 29))
    metadata = pq.read_metadata(path).metadata
    assert metadata[b"affirm.rows"] == b"5"
    assert metadata[b"affirm.sum_of_principal"] == b"10.10"


def test_xlsx_has_numbers_dates_and_text_and_a_sheet_of_control_totals(tmp_path: Path) -> None:
    book = openpyxl.load_workbook(written(tmp_path, ".xlsx"))
    sheet, totals = book.worksheets
    assert (sheet.title, totals.title) == ("Rows", "Control totals")
    header, first, second, third, fourth, last = sheet.iter_rows()
    assert [each.value for each in header] == SCHEMA.names
    assert [each.data_type for each in first] == ["d", "s", "n", "n", "n", "b", "n"]
    assert [first[0].value.date(), first[1].value, first[3].value] == [JANUARY, "007", 512.06]
    assert (first[3].number_format, first[2].number_format, first[0].number_format) == (
        "0.00",
        "0.000000",
        "yyyy-mm-dd",
    )
    assert (second[1].value, second[1].data_type, second[3].value) == ("1E5", "s", 9999999999999.99)
    assert (third[3].value, fourth[3].value, last[6].value.date()) == (-0.01, None, date(2024, 2, 29))
    assert [[each.value for each in row] for row in totals.iter_rows()] == [
        ["dataset", "portfolio/tape"],
        ["rows", 5],
        ["sum of principal", 10.1],
    ]


@pytest.mark.parametrize("begins", ["=", "+", "-", "@", "\t", "\r"])
def test_text_never_runs_as_a_formula(tmp_path: Path, begins: str) -> None:
    """In CSV nothing says that it is text, so it is refused there; it would be another id with a quote before it."""
    loan_id = f"{begins}1+1"
    with pytest.raises(ValueRefused, match="loan_id: expected text that no spreadsheet takes for a formula; found"):
        written(tmp_path, ".csv", [loan(loan_id)])
    sheet = openpyxl.load_workbook(written(tmp_path, ".xlsx", [loan(loan_id)])).worksheets[0]
    assert (sheet["B2"].value.replace("_x000D_", "\r"), sheet["B2"].data_type) == (loan_id, "s")


def test_a_negative_amount_is_a_number_and_no_formula(tmp_path: Path) -> None:
    assert "-0.01" in written(tmp_path, ".csv").read_text()


def test_every_cent_up_to_fifteen_digits_is_in_the_workbook_as_it_is(tmp_path: Path) -> None:
    """A float would be written as 512.0599999999999 where it has as many digits as the library writes."""
    assert f"{512.06:.16G}" != "512.06"
    amounts = [f"{cents / 100:.2f}" for cents in range(50_000, 110_000, 7)]
    many = [loan(f"L{number}", amount) for number, amount in enumerate(amounts)]
    path = written(tmp_path, ".xlsx", many)
    sheet = openpyxl.load_workbook(path, read_only=True).worksheets[0]
    found = {row[1]: row[3] for row in sheet.iter_rows(min_row=2, values_only=True)}
    assert found == {each[1]: float(each[3]) for each in many}
    assert formats.read_xlsx(path, SCHEMA).sums == {"principal": sum(map(Decimal, amounts))}


@pytest.mark.parametrize("amount", ["10000000000000.01", "-1234567890123456.78"])
def test_an_amount_that_a_cell_does_not_hold_is_an_error_that_names_it(tmp_path: Path, amount: str) -> None:
    with pytest.raises(ValueRefused, match=f"principal: expected a number of at most 15 digits.*found {amount}"):
        written(tmp_path, ".xlsx", [loan("L1", amount)])
    assert FORMATS[".parquet"].read(written(tmp_path, ".parquet", [loan("L1", amount)]), SCHEMA).sums == {
        "principal": Decimal(amount)
    }


def test_more_rows_than_a_sheet_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "_MOST_ROWS", 5)
    with pytest.raises(ValueRefused, match=r"rows: expected at most 4, which is what a sheet holds.*found 5"):
        written(tmp_path, ".xlsx")


def test_text_that_is_too_long_for_a_cell_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueRefused, match="loan_id: expected text of at most 32,767 characters"):
        written(tmp_path, ".xlsx", [loan("L" * 32_768)])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("tape.pdf", r"expected a name that ends in \.csv, \.parquet, \.xlsx; found \.pdf"),
        ("tape", "found no ending"),
        ("nowhere/tape.csv", "expected its folder to be there; found no folder .*nowhere"),
        ("folder.xlsx", "expected a file, or nothing yet; found a folder"),
        ("totals.csv", r"totals\.csv\.totals\.csv: expected a file, or nothing yet; found a folder"),
    ],
)
def test_a_file_that_cannot_be_written_there_is_refused(tmp_path: Path, name: str, says: str) -> None:
    (tmp_path / "folder.xlsx").mkdir()
    (tmp_path / "totals.csv.totals.csv").mkdir()
    with pytest.raises(FileRefused, match=says):
        check_file(tmp_path / name)


def test_an_ending_may_be_in_upper_case(tmp_path: Path) -> None:
    assert check_file(tmp_path / "TAPE.XLSX") is FORMATS[".xlsx"]
