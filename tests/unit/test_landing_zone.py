"""Which landing files are there, and reading exactly those that were pinned. No JVM."""

import gzip
import hashlib
import io
import os
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resources.landing import (
    CorruptLandingFile,
    FieldKind,
    LandingError,
    LandingFile,
    LandingFileChanged,
    LandingNotReady,
    LandingZone,
    UnknownLandingFile,
    files,
    read_pinned,
)

DAY = date(2025, 1, 2)
FIELDS = {"loan_id": FieldKind.TEXT, "principal": FieldKind.MONEY}
JSON_LINE = b'{"loan_id": "L1", "principal": 10.50}\n'


def land(zone: LandingZone, day: str, content: dict[str, bytes], success: bool = True) -> Path:
    folder = Path(zone.root, "loans", day)
    folder.mkdir(parents=True)
    for name, data in content.items():
        (folder / name).write_bytes(data)
    if success:
        (folder / "_SUCCESS").touch()
    return folder


def parquet_bytes(*loan_ids: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"loan_id": loan_ids}), sink, compression="none")
    return sink.getvalue()


CONTENT = {
    "a.jsonl": JSON_LINE * 3,
    "b.csv": b"loan_id,principal\nL2,1\n",
    "c.jsonl.gz": gzip.compress(JSON_LINE, mtime=0),
    "d.parquet": parquet_bytes("L3", "L4"),
}


@pytest.fixture
def zone(tmp_path: Path) -> LandingZone:
    return LandingZone(str(tmp_path))


class TestPin:
    def test_files_by_day_and_name_with_their_checksums(self, zone: LandingZone) -> None:
        land(zone, "2025-01-03", {"b.csv": b"x"})
        land(zone, "2025-01-02", dict(reversed(CONTENT.items())))
        land(zone, "2025-01-04", {"later.csv": b""})
        pinned = zone.pin("loans", DAY, date(2025, 1, 3))
        assert [file.name for file in pinned] == [f"loans/2025-01-02/{name}" for name in CONTENT] + [
            "loans/2025-01-03/b.csv"
        ]
        assert pinned[0] == LandingFile(
            "loans", DAY, "loans/2025-01-02/a.jsonl", len(JSON_LINE * 3), hashlib.sha256(JSON_LINE * 3).hexdigest()
        )

    def test_checksum_of_a_file_of_several_blocks(self, zone: LandingZone, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files, "BLOCK_BYTES", 7)
        land(zone, "2025-01-02", {"a.jsonl": JSON_LINE})
        (pinned,) = zone.pin("loans", DAY, DAY)
        assert (pinned.size, pinned.sha256) == (len(JSON_LINE), hashlib.sha256(JSON_LINE).hexdigest())

    def test_a_day_on_which_nothing_was_received(self, zone: LandingZone) -> None:
        land(zone, "2025-01-02", {"_note.txt": b"", ".hidden": b""})
        assert zone.pin("loans", DAY, DAY) == ()

    def test_days_that_are_not_complete(self, zone: LandingZone) -> None:
        land(zone, "2025-01-02", {})
        incomplete = land(zone, "2025-01-03", CONTENT, success=False)
        with pytest.raises(LandingNotReady) as caught:
            zone.pin("loans", DAY, date(2025, 1, 4))
        assert str(caught.value) == (
            "landing feed 'loans': expected a complete folder for each of 3 days from 2025-01-02 to 2025-01-04; "
            f"found 2025-01-03: no _SUCCESS in {incomplete}; 2025-01-04: no folder {zone.root}/loans/2025-01-04. "
            "Wait for the sender or ask for the days; a day without records is an empty folder with _SUCCESS."
        )

    def test_ten_days_are_named(self, zone: LandingZone) -> None:
        with pytest.raises(LandingNotReady) as caught:
            zone.pin("loans", date(2025, 1, 1), date(2025, 1, 15))
        assert str(caught.value).count("no folder") == 10
        assert "and 5 more days" in str(caught.value)

    def test_a_feed_that_is_not_there(self, zone: LandingZone) -> None:
        with pytest.raises(LandingNotReady, match=f"no folder {zone.root}/loan/2025-01-02"):
            zone.pin("loan", DAY, DAY)

    def test_an_empty_range(self, zone: LandingZone) -> None:
        with pytest.raises(ValueError, match="2025-01-02 to 2025-01-01 of feed 'loans' holds no day"):
            zone.pin("loans", DAY, date(2025, 1, 1))

    @pytest.mark.parametrize("name", ["a\n.csv", "a\udcff.csv", "eve@example.com.csv", "a b.csv"], ids=ascii)
    def test_a_name_that_may_hold_anything_is_refused_and_not_shown(self, zone: LandingZone, name: str) -> None:
        land(zone, "2025-01-02", CONTENT | {name: b""})
        with pytest.raises(UnknownLandingFile, match=r"names of letters, digits and \._=\+- only") as caught:
            zone.pin("loans", DAY, DAY)
        assert ascii(name)[1:-1] not in str(caught.value)
        assert "loans/2025-01-02" in str(caught.value)

    @pytest.mark.parametrize("name", ["a.json", "a.csv.gz", "README", "a.csv.tmp"], ids=ascii)
    def test_a_file_that_is_not_known(self, zone: LandingZone, name: str) -> None:
        land(zone, "2025-01-02", CONTENT | {name: b""})
        with pytest.raises(UnknownLandingFile, match=r"ends in \.jsonl, \.jsonl\.gz, \.csv, \.parquet") as caught:
            zone.pin("loans", DAY, DAY)
        assert ascii(name)[1:-1] in str(caught.value)
        assert str(caught.value).isprintable()

    def test_a_folder_in_the_folder(self, zone: LandingZone) -> None:
        (land(zone, "2025-01-02", CONTENT) / "more.csv").mkdir()
        with pytest.raises(UnknownLandingFile, match=r"more\.csv'.* found a folder"):
            zone.pin("loans", DAY, DAY)


@dataclass(frozen=True)
class DisturbedZone(LandingZone):
    """Something happens in the folder as soon as its first file is hashed."""

    disturb: Callable[[Path], object] = Path.exists

    def _pinned(self, feed: str, day: date, path: Path) -> LandingFile:
        pinned = super()._pinned(feed, day, path)
        if path.name == "a.jsonl":
            self.disturb(path.parent)
        return pinned


def rewrite(path: Path) -> None:
    """The same bytes, a second later than before."""
    changed = path.stat().st_mtime_ns + 1_000_000_000
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(changed, changed))


class TestPinWhileTheFolderChanges:
    @pytest.mark.parametrize(
        "disturb",
        [
            pytest.param(lambda folder: (folder / "_SUCCESS").unlink(), id="_SUCCESS goes"),
            pytest.param(lambda folder: rewrite(folder / "_SUCCESS"), id="_SUCCESS is written again"),
            pytest.param(lambda folder: (folder / "z.csv").touch(), id="a file comes"),
            pytest.param(lambda folder: (folder / "a.jsonl").unlink(), id="a file goes that was hashed"),
            pytest.param(lambda folder: (folder / "d.parquet").unlink(), id="a file goes that is hashed next"),
            pytest.param(lambda folder: (folder / "a.jsonl").write_bytes(b""), id="a file has another size"),
            pytest.param(lambda folder: rewrite(folder / "a.jsonl"), id="a file is written again"),
            pytest.param(shutil.rmtree, id="all of it goes"),
        ],
    )
    def test_it_is_not_complete(self, zone: LandingZone, disturb: Callable[[Path], object]) -> None:
        folder = land(zone, "2025-01-02", CONTENT)
        with pytest.raises(LandingNotReady) as caught:
            DisturbedZone(zone.root, disturb).pin("loans", DAY, DAY)
        assert str(caught.value) == (
            f"landing folder '{folder}': expected _SUCCESS and the files to stay as they are once _SUCCESS is there; "
            "found that they changed while they were read. Wait until the sender is done, then run the step again."
        )

    def test_what_is_ignored_may_change(self, zone: LandingZone) -> None:
        land(zone, "2025-01-02", CONTENT)
        disturbed = DisturbedZone(zone.root, lambda folder: (folder / "_log").touch())
        assert disturbed.pin("loans", DAY, DAY) == zone.pin("loans", DAY, DAY)


class TestReadPinned:
    def test_every_format(self, zone: LandingZone) -> None:
        land(zone, "2025-01-02", CONTENT)
        found = pa.Table.from_batches(
            batch for file in zone.pin("loans", DAY, DAY) for batch in read_pinned(zone.root, file, FIELDS)
        )
        assert found.schema.names == [
            "business_date",
            "file",
            "record_number",
            "loan_id",
            "principal",
            "problem",
            "raw",
        ]
        assert [tuple(row.values())[1:5] for row in found.to_pylist()] == [
            ("loans/2025-01-02/a.jsonl", 1, "L1", "10.50"),
            ("loans/2025-01-02/a.jsonl", 2, "L1", "10.50"),
            ("loans/2025-01-02/a.jsonl", 3, "L1", "10.50"),
            ("loans/2025-01-02/b.csv", 2, "L2", "1"),
            ("loans/2025-01-02/c.jsonl.gz", 1, "L1", "10.50"),
            ("loans/2025-01-02/d.parquet", 1, "L3", None),
            ("loans/2025-01-02/d.parquet", 2, "L4", None),
        ]
        assert set(found["business_date"].to_pylist()) == {DAY}

    @pytest.mark.parametrize("name", CONTENT)
    @pytest.mark.parametrize(
        ("change", "found"),
        [
            pytest.param(lambda data: data + b"\n", r"found [0-9,]+ bytes", id="longer"),
            pytest.param(lambda data: data[:-1], r"found [0-9,]+ bytes", id="shorter"),
            pytest.param(lambda data: data[:14] + b"M" + data[15:], "found sha256", id="one byte differs"),
            pytest.param(lambda data: bytes(len(data)), "found sha256", id="NUL bytes of the same size"),
            pytest.param(lambda data: None, "found no file", id="gone"),
        ],
    )
    def test_a_file_that_changed(self, zone: LandingZone, name: str, change, found: str) -> None:
        folder = land(zone, "2025-01-02", {name: CONTENT[name]})
        (file,) = zone.pin("loans", DAY, DAY)
        changed = change(CONTENT[name])
        (folder / name).unlink()
        if changed is not None:
            (folder / name).write_bytes(changed)
        message = rf"{re.escape(file.name)}, which changed since it was pinned: expected {file.size} bytes.*{found}"
        with pytest.raises(LandingFileChanged, match=message):
            list(read_pinned(zone.root, file, FIELDS))

    @pytest.mark.parametrize("name", ["c.jsonl.gz", "d.parquet"])
    def test_a_file_that_was_corrupt_when_pinned(self, zone: LandingZone, name: str) -> None:
        land(zone, "2025-01-02", {name: CONTENT[name][:-1]})
        (file,) = zone.pin("loans", DAY, DAY)
        with pytest.raises(CorruptLandingFile, match=f"landing file {re.escape(file.name)}: expected"):
            list(read_pinned(zone.root, file, FIELDS))

    def test_a_large_file_is_read_in_batches(self, zone: LandingZone) -> None:
        land(zone, "2025-01-02", {"a.jsonl": JSON_LINE * 150_000})
        (file,) = zone.pin("loans", DAY, DAY)
        rows = [batch.num_rows for batch in read_pinned(zone.root, file, FIELDS)]
        assert sum(rows) == 150_000
        assert max(rows) <= 20_000


class TestSpread:
    @staticmethod
    def sizes(*sizes: int) -> list[list[int]]:
        unit = files.TASK_BYTES // 16
        pinned = [LandingFile("loans", DAY, f"loans/{n}.csv", size * unit, "") for n, size in enumerate(sizes)]
        return [[file.size // unit for file in task] for task in files.spread(pinned)]

    @pytest.mark.parametrize(
        ("sizes", "tasks"),
        [
            pytest.param([], [], id="no files"),
            pytest.param([1, 100, 20], [[100], [20], [1]], id="the largest first"),
            pytest.param([1, 2, 3, 10], [[10, 3, 2, 1]], id="small ones share a task"),
            pytest.param([9, 8, 8, 7], [[9], [8, 8], [7]], id="until it is full"),
            pytest.param([0, 0, 0], [[0, 0, 0]], id="empty files"),
        ],
    )
    def test_tasks(self, sizes: list[int], tasks: list[list[int]]) -> None:
        assert self.sizes(*sizes) == tasks

    def test_order_does_not_depend_on_the_listing(self, zone: LandingZone) -> None:
        land(zone, "2025-01-02", CONTENT)
        pinned = zone.pin("loans", DAY, DAY)
        assert files.spread(pinned) == files.spread(pinned[::-1])


@pytest.mark.parametrize("kind", LandingError.__subclasses__())
def test_errors_survive_pickling(kind: type[LandingError]) -> None:
    error = kind("landing file a.csv", "this", "that", "Do so.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "landing file a.csv: expected this; found that. Do so."
