"""Whether the rows of all datasets are the same as before."""

import hashlib
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import DataScan

from affirm_assets.declare.contract import key_columns
from affirm_assets.declare.dataset import Dataset


class Fingerprints:
    """Digests of the rows that datasets have now, each computed in a thread, while something else goes on.

    A table's snapshot is chosen at once, so that what is published meanwhile is not seen.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._thread = ThreadPoolExecutor(1)

    def of(self, datasets: Iterable[Dataset]) -> dict[str, Future[str | None]]:
        """By name; None for a dataset without rows."""
        return {each.name: self._thread.submit(_fingerprint, each, self._scan(each)) for each in datasets}

    def _scan(self, dataset: Dataset) -> DataScan | None:
        try:
            return self._catalog.load_table(dataset.table).scan()
        except NoSuchTableError:
            return None


def _fingerprint(dataset: Dataset, scan: DataScan | None) -> str | None:
    """Of the rows in the order of their key."""
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


def comparison(before: Mapping[str, Future[str | None]], now: Mapping[str, Future[str | None]]) -> str:
    """`now`: of the datasets that were computed; the others have the rows that they had."""
    if all(found.result() is None for found in before.values()):
        return "The first run of this lake; run `make demo` again and it compares the rows."
    changed = [name for name, found in now.items() if found.result() != before[name].result()]
    if not changed:
        return f"The same rows as before this run, in all {len(before)} datasets."
    return f"Other rows than before this run in: {', '.join(changed)}."
