"""Whether the rows of all datasets are the same as before."""

import hashlib
from collections.abc import Callable, Mapping

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from affirm_assets.declare.contract import key_columns
from affirm_assets.declare.dataset import Dataset


def fingerprint(catalog: Catalog, dataset: Dataset) -> str | None:
    """A digest of the table's rows in the order of their key; None if there are none."""
    try:
        rows = catalog.load_table(dataset.table).scan().to_arrow()
    except NoSuchTableError:
        return None
    if rows.num_rows == 0:
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


def comparison(before: Mapping[str, str | None], now: Callable[[str], str | None]) -> str:
    if all(value is None for value in before.values()):
        return "The first run of this lake; run `make demo` again and it compares the rows."
    changed = [name for name, found in before.items() if now(name) != found]
    if not changed:
        return f"The same rows as before this run, in all {len(before)} datasets."
    return f"Other rows than before this run in: {', '.join(changed)}."
