"""The export itself: a file that is whole, of the table's rows and no others, or no file."""

import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow

from affirm_assets.export.errors import ExportDiffers, FileRefused
from affirm_assets.export.formats import FORMATS, Format, Said, write_totals_csv
from affirm_assets.export.report import Report
from affirm_assets.export.spill import Totals, spill
from affirm_assets.steps.tables import schema_of

_LONGEST_NAME = 255
"""Bytes of a file's name, on the file systems of Linux."""


@dataclass(frozen=True)
class Exported:
    """`files`: what was written; `said`: the control totals, as they are in it."""

    files: tuple[Path, ...]
    totals: Totals
    said: Said


def check_file(to: Path) -> Format:
    """The file's kind, by its ending. Raises FileRefused if it cannot be written there."""
    form = FORMATS.get(to.suffix.lower())
    if form is None:
        raise FileRefused(f"{to}: expected a name that ends in {', '.join(FORMATS)}; found {to.suffix or 'no ending'}.")
    if not to.parent.is_dir():
        raise FileRefused(f"{to}: expected its folder to be there; found no folder {to.parent}. Make it first.")
    for each in _files(to, form):
        if len(os.fsencode(_part(each).name)) > _LONGEST_NAME:
            raise FileRefused(f"{to}: expected a shorter name; found one of {len(to.name)} characters.")
        if each.is_dir():
            raise FileRefused(f"{each}: expected a file, or nothing yet; found a folder. Choose another name.")
    return form


def export(report: Report, to: Path) -> Exported:
    """Write the report's rows, in the order of their key, and its control totals, and read them back.

    An existing file is replaced, at the end and whole. Of a CSV file the totals are in a file beside it,
    `<name>.totals.csv`: who finds both finds two that belong together. Raises FileRefused, ValueRefused, ExportDiffers.
    """
    try:
        return _export(report, to)
    except OSError as error:
        found = f"{error.strerror or error} ({error.filename or to})"
        raise FileRefused(f"{to}: expected to write it; found {found}. Nothing was written.") from error


def _export(report: Report, to: Path) -> Exported:
    form = check_file(to)
    schema = _schema(report)
    with tempfile.TemporaryDirectory(prefix="affirm-export-") as folder:
        rows = spill(_batches(report), schema, _key(report), Path(folder))
        said = control_totals(report, rows.totals)
        files = _files(to, form)
        parts = [*map(_part, files)]
        try:
            form.write(parts[0], rows, said)
            found = form.read(parts[0], schema)
            if found != rows.totals:
                raise ExportDiffers(
                    f"{to}: expected what is written to add up to the table's rows; read back from the file: "
                    f"{rows.totals.differences(found)}. Nothing was written. Is the disk sound? Try again."
                )
            for each in parts[1:]:
                write_totals_csv(each, said)
            for each in parts:
                _to_disk(each)
            # Old totals go first, and new ones come last: they never lie beside rows that they are not of.
            for each in files[1:]:
                each.unlink(missing_ok=True)
            for part, each in zip(parts, files, strict=True):
                part.replace(each)
        finally:
            for each in parts:
                each.unlink(missing_ok=True)
    return Exported(files, rows.totals, said)


def control_totals(report: Report, totals: Totals) -> Said:
    """What was exported, from where, how many rows, and the sum of each Money column."""
    return [
        ("dataset", str(report.dataset)),
        ("partition", report.partition),
        ("closed", "yes" if report.is_closed else "no"),
        ("read from", report.read_from),
        *report.origin.items(),
        ("rows", totals.rows),
        *((f"sum of {name}", amount) for name, amount in totals.sums.items()),
    ]


def _part(file: Path) -> Path:
    """Where it is written, before it is there."""
    return file.with_name(f".{file.name}.{os.getpid()}.part")


def _files(to: Path, form: Format) -> tuple[Path, ...]:
    return (to,) if form.has_totals else (to, to.with_name(f"{to.name}.totals.csv"))


def _schema(report: Report) -> pa.Schema:
    """The table's columns as they were with the snapshot: one that came later is not in a month that was closed."""
    made = schema_to_pyarrow(schema_of(report.table, report.snapshot), include_field_ids=False)
    text = {pa.large_string(): pa.string()}
    return pa.schema([each.with_type(text.get(each.type, each.type)) for each in made])


def _key(report: Report) -> list[str]:
    schema = schema_of(report.table, report.snapshot)
    key = {schema.find_column_name(each) for each in schema.identifier_field_ids}
    return [each.name for each in schema.fields if each.name in key]


def _batches(report: Report) -> Iterator[pa.RecordBatch]:
    """File by file: PyIceberg reads ahead all that it is given at once."""
    scan = report.table.scan(f"{report.partitions.column} = '{report.day}'", snapshot_id=report.snapshot)
    read = ArrowScan(report.table.metadata, report.table.io, scan.projection(), scan.row_filter)
    for task in scan.plan_files():
        yield from read.to_record_batches([task])


def _to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())
