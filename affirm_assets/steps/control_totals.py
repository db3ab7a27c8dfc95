"""Control totals: what was written, read again by a reader that is not the engine, against what the engine says.

An engine that loses, doubles or changes money between its frame and the files does not see it when it reads its own
files again by the same mistake. PyArrow reads the rows and the columns of amounts of each file, and nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io import FileIO
from pyiceberg.manifest import DataFile

from affirm_assets.steps.audit import AuditSpec, Outcome
from affirm_assets.steps.engine import Staged

_THREADS = 8  # files on a bucket are waited for
_NOTHING = Decimal("0.00")


@dataclass(frozen=True)
class Totals:
    """How many rows, and the sum of each column of amounts, nulls left out."""

    rows: int
    sums: Mapping[str, Decimal]


def totals_of_files(files: Sequence[DataFile], columns: Sequence[str], io: FileIO) -> list[Totals]:
    """Of each Parquet file, by PyArrow over its own columns."""
    with ThreadPoolExecutor(_THREADS) as threads:
        return list(threads.map(lambda file: _totals_of_file(file, columns, io), files))


def added_up(totals: Iterable[Totals], columns: Sequence[str]) -> Totals:
    """Of all of them together."""
    rows, sums = 0, dict.fromkeys(columns, _NOTHING)
    for each in totals:
        rows += each.rows
        sums = {name: sums[name] + each.sums[name] for name in columns}
    return Totals(rows, sums)


def control_totals_outcome(spec: AuditSpec, staged: Staged, listed_rows: int, found: Totals) -> Outcome:
    """Compare what the engine says, what the files' entries say and what the files hold, to the row and the cent.

    listed_rows: of the entries that will be committed.
    """
    compared = [
        ("rows", str(staged.rows), str(found.rows)),
        ("rows listed", str(listed_rows), str(found.rows)),
        *((name, f"{_cents(said)}", f"{_cents(found.sums[name])}") for name, said in staged.sums.items()),
    ]
    differs = [
        {"total": name, "engine": said, "files": held}
        for name, said, held in compared
        if Decimal(said) != Decimal(held)
    ]
    return Outcome(
        name=spec.name,
        description=spec.description,
        passed=not differs,
        checked=len(compared),
        failed=len(differs),
        totals={name: held for name, _, held in compared if name != "rows listed"},
        sample=tuple(differs),
    )


def _totals_of_file(file: DataFile, columns: Sequence[str], io: FileIO) -> Totals:
    with io.new_input(file.file_path).open() as stream, pq.ParquetFile(stream) as parquet:
        sums = dict.fromkeys(columns, _NOTHING)
        rows = 0
        for batch in parquet.iter_batches(columns=list(columns), use_threads=False):
            rows += batch.num_rows
            for name in columns:
                sums[name] += _sum(batch.column(name))
        # Without a column of amounts there is no batch to count: the footer's count was written with the rows.
        return Totals(rows if columns else parquet.metadata.num_rows, sums)


def _sum(values: pa.Array) -> Decimal:
    found = pc.sum(values).as_py()  # PyArrow sums up in 38 digits
    return _NOTHING if found is None else Decimal(found)


def _cents(amount: Decimal) -> Decimal:
    return amount.quantize(_NOTHING)


def listed_rows(files: Iterable[DataFile]) -> int:
    return sum(each.record_count for each in files)
