"""Sums that are read back from files."""

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile

from affirm_assets.steps.control_totals import Totals, totals_of_files

MOST = Decimal("9999999999999999.99")


def test_a_sum_may_have_more_digits_than_its_column(tmp_path: Path) -> None:
    """Of rows in several batches of the reader, in two files, with nulls among them."""
    rows = 200_000
    paid, owed = [MOST] * rows, [None if number % 2 else -MOST for number in range(rows)]
    table = pa.table({"paid": pa.array(paid, pa.decimal128(18, 2)), "owed": pa.array(owed, pa.decimal128(18, 2))})
    files = [DataFile.from_args(file_path=f"{tmp_path}/{number}.parquet") for number in range(2)]
    for file in files:
        pq.write_table(table, file.file_path)
    expected = Totals(rows, {"paid": MOST * rows, "owed": -MOST * (rows // 2)})
    assert totals_of_files(files, ["paid", "owed"], PyArrowFileIO()) == [expected, expected]
