"""Whether the rows of all datasets are the same as before."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import DataScan

from affirm_assets.declare.contract import key_columns
from affirm_assets.declare.dataset import Dataset


class Comparison:
    """Of the rows that datasets had when it was made with those that they have later.

    Digests are computed in a thread, while something else goes on. A table's snapshot is chosen at once: what is
    published meanwhile is not seen.
    """

    def __init__(self, catalog: Catalog, datasets: Iterable[Dataset]) -> None:
        self._catalog = catalog
        self._thread = ThreadPoolExecutor(1)
        self._before = {each.name: self._digest(each) for each in datasets}
        self._now: dict[str, Future[str | None]] = {}

    def look_again(self, datasets: Iterable[Dataset]) -> None:
        """At what was computed since. A lake without rows has nothing to compare."""
        if self._had_rows():
            self._now |= {each.name: self._digest(each) for each in datasets}

    def __str__(self) -> str:
        """A line for the user. Datasets that were not looked at again have the rows that they had."""
        if not self._had_rows():
            return "The first run of this lake; run `make demo` again and it compares the rows."
        changed = [name for name, found in self._now.items() if found.result() != self._before[name].result()]
        if not changed:
            return f"The same rows as before this run, in all {len(self._before)} datasets."
        return f"Other rows than before this run in: {', '.join(changed)}."

    def _had_rows(self) -> bool:
        return any(found.result() is not None for found in self._before.values())

    def _digest(self, dataset: Dataset) -> Future[str | None]:
        return self._thread.submit(_fingerprint, dataset, self._scan(dataset))

    def _scan(self, dataset: Dataset) -> DataScan | None:
        try:
            return self._catalog.load_table(dataset.table).scan()
        except NoSuchTableError:
            return None


def _fingerprint(dataset: Dataset, scan: DataScan | None) -> str | None:
    """A digest of the rows in the order of their key; None if there are none."""
    rows = scan.to_arrow() if scan else None
    if rows is None or rows.num_rows == 0:
        return None
    within = (dataset.partitions.column,) if dataset.partitions else ()
    order = [(name, "ascending") for name in (*key_columns(dataset.contract), *within)]
    named = rows.select(sorted(rows.column_names)).sort_by(order).combine_chunks()
    # Text is of one kind whoever wrote the files, which say how their writer held it.
    plain = named.cast(pa.schema([(each.name, _plain_type(each.type)) for each in named.schema]))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, plain.schema) as writer:
        writer.write_table(plain)
    return hashlib.sha256(sink.getvalue()).hexdigest()


def _plain_type(kind: pa.DataType) -> pa.DataType:
    return pa.large_string() if pa.types.is_string(kind) else kind
