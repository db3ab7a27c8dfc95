"""Whether the rows of all datasets are the same as before."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

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
        self._catalog, self._datasets = catalog, tuple(datasets)
        self._thread = ThreadPoolExecutor(1)
        self._before = {each.name: _Seen.of(each, self._scan(each), self._thread) for each in self._datasets}
        self._now = dict(self._before)

    def __enter__(self) -> "Comparison":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def look_again(self) -> None:
        """At the tables that have another snapshot. A lake without rows has nothing to compare."""
        if not self._had_rows():
            return
        for each in self._datasets:
            scan = self._scan(each)
            if _snapshot(scan) != self._now[each.name].snapshot:
                self._now[each.name] = _Seen.of(each, scan, self._thread)

    def said(self) -> str:
        """A line for the user. Waits until all is compared."""
        self.look_again()
        if not self._had_rows():
            return "The first run of this lake; run `make demo` again and it compares the rows."
        changed = [
            name for name, before in self._before.items() if self._now[name].digest.result() != before.digest.result()
        ]
        if not changed:
            return f"The same rows as before this run, in all {len(self._before)} datasets."
        return f"Other rows than before this run in: {', '.join(changed)}."

    def _had_rows(self) -> bool:
        return any(each.digest.result() is not None for each in self._before.values())

    def _scan(self, dataset: Dataset) -> DataScan | None:
        try:
            return self._catalog.load_table(dataset.table).scan()
        except NoSuchTableError:
            return None


@dataclass(frozen=True)
class _Seen:
    """A table's snapshot, and the digest of its rows: None if there are none."""

    snapshot: int | None
    digest: Future[str | None]

    @staticmethod
    def of(dataset: Dataset, scan: DataScan | None, thread: ThreadPoolExecutor) -> "_Seen":
        return _Seen(_snapshot(scan), thread.submit(_fingerprint, dataset, scan))


def _snapshot(scan: DataScan | None) -> int | None:
    found = scan.snapshot() if scan else None
    return found.snapshot_id if found else None


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
