"""What is kept of a table's files takes little memory, however many there are and however wide they are."""

import gc
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io.pyarrow import PyArrowFileIO

from affirm_assets.engines.sail import plain

FILES, COLUMNS = 200, 90


def test_footers_of_a_wide_table_share_their_columns(tmp_path: Path) -> None:
    kind = pa.decimal128(18, 2)
    fields = [pa.field(f"c{i}", kind, metadata={"PARQUET:field_id": str(i)}) for i in range(COLUMNS)]
    pq.write_table(pa.schema(fields).empty_table(), tmp_path / "0")
    for i in range(1, FILES):
        (tmp_path / str(i)).hardlink_to(tmp_path / "0")
    io, paths = PyArrowFileIO(), [str(tmp_path / str(i)) for i in range(FILES)]
    first = plain._footer(io, paths[0])
    assert [(each.field_id, each.name) for each in first] == [(i, f"c{i}") for i in range(COLUMNS)]
    gc.collect()
    tracemalloc.start()
    try:
        footers = [plain._footer(io, path) for path in paths]
        gc.collect()
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert footers == [first] * FILES
    assert taken < 20 * FILES * COLUMNS


def test_all_is_forgotten_before_there_is_more_than_may_be_kept() -> None:
    read: list[str] = []
    kept: plain.Kept[int] = plain.Kept(6)

    def get(path: str) -> None:
        def three() -> tuple[int, ...]:
            read.append(path)
            return 1, 2, 3

        assert kept.get(path, three) == (1, 2, 3)

    for path in "aabab":
        get(path)
    assert read == ["a", "b"]
    for path in "cab":
        get(path)
    assert read == ["a", "b", "c", "a", "b"]
