"""Which landing files are there, and reading exactly those that were pinned. No JVM."""

import gzip
import hashlib
import io
import os
import pickle
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import IncompleteReadError
from botocore.response import StreamingBody

from resources.landing import (
    CorruptLandingFile,
    FieldKind,
    LandingError,
    LandingFile,
    LandingFileChanged,
    LandingNotReady,
    LandingUnreachable,
    LandingZone,
    UnknownLandingFile,
    files,
    read_pinned,
    stores,
)
from resources.landing.stores import Bucket
from resources.landing.upload import upload
from tests.servers import ACCESS_KEY, LOCALHOST, REGION, SECRET_KEY, S3Server, throttling

DAY = date(2025, 1, 2)
FIELDS = {"loan_id": FieldKind.TEXT, "principal": FieldKind.MONEY}
JSON_LINE = b'{"loan_id": "L1", "principal": 10.50}\n'


class InFolder:
    """A sender that writes into a landing zone in a folder."""

    def __init__(self, root: Path) -> None:
        self.zone = LandingZone(str(root))

    def put(self, name: str, data: bytes) -> None:
        path = Path(self.zone.root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def remove(self, name: str) -> None:
        Path(self.zone.root, name).unlink()

    def rewrite(self, name: str) -> None:
        """The same bytes, a second later than before."""
        path = Path(self.zone.root, name)
        changed = path.stat().st_mtime_ns + 1_000_000_000
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(changed, changed))

    def remove_all(self, folder: str) -> None:
        shutil.rmtree(Path(self.zone.root, folder))


class InBucket:
    """One that writes into a bucket of a real S3 server."""

    def __init__(self, server: S3Server, prefix: str) -> None:
        self.zone = LandingZone(f"s3://{BUCKET}/{prefix}", REGION, server.endpoint)
        self.client = server.client()
        self._prefix = prefix

    def put(self, name: str, data: bytes) -> None:
        self.client.put_object(Bucket=BUCKET, Key=f"{self._prefix}/{name}", Body=data)

    def remove(self, name: str) -> None:
        self.client.delete_object(Bucket=BUCKET, Key=f"{self._prefix}/{name}")

    def rewrite(self, name: str) -> None:
        data = self.client.get_object(Bucket=BUCKET, Key=f"{self._prefix}/{name}")["Body"].read()
        time.sleep(1.1)  # S3 tells times in seconds
        self.put(name, data)

    def remove_all(self, folder: str) -> None:
        for each in self.client.list_objects_v2(Bucket=BUCKET, Prefix=f"{self._prefix}/{folder}/")["Contents"]:
            self.client.delete_object(Bucket=BUCKET, Key=each["Key"])


Sender = InFolder | InBucket


def land(sender: Sender, day: str, content: dict[str, bytes], success: bool = True) -> str:
    """The folder's name in the zone."""
    for name, data in content.items():
        sender.put(f"loans/{day}/{name}", data)
    if success:
        sender.put(f"loans/{day}/_SUCCESS", b"")
    return f"loans/{day}"


def parquet_bytes(*loan_ids: str) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"loan_id": loan_ids}), sink, compression="none")
    return sink.getvalue()


BUCKET = "incoming"
FOLDER = "loans/2025-01-02"
CONTENT = {
    "a.jsonl": JSON_LINE * 3,
    "b.csv": b"loan_id,principal\nL2,1\n",
    "c.jsonl.gz": gzip.compress(JSON_LINE, mtime=0),
    "d.parquet": parquet_bytes("L3", "L4"),
    "e.csv.zst": pa.compress(b"loan_id,principal\nL5,2\n", "zstd", asbytes=True),
    "f.PARQUET": parquet_bytes("L6"),
}


@pytest.fixture(scope="module")
def server(s3: S3Server) -> S3Server:
    s3.create_bucket(BUCKET)
    return s3


@pytest.fixture(params=[InFolder, InBucket], ids=["folder", "bucket"])
def sender(request: pytest.FixtureRequest, tmp_path: Path) -> Sender:
    if request.param is InFolder:
        return InFolder(tmp_path)
    return InBucket(request.getfixturevalue("server"), tmp_path.name)


@pytest.fixture
def zone(sender: Sender) -> LandingZone:
    return sender.zone


class TestLacking:
    def test_says_what_each_day_lacks_that_is_not_complete(self, sender: Sender, zone: LandingZone) -> None:
        land(sender, "2025-01-02", {})
        land(sender, "2025-01-03", CONTENT)
        incomplete = zone.store.location(land(sender, "2025-01-04", CONTENT, success=False))
        assert zone.lacking("loans", [date(2025, 1, day) for day in (5, 4, 3, 2)]) == {
            date(2025, 1, 5): f"2025-01-05: no folder {zone.root}/loans/2025-01-05",
            date(2025, 1, 4): f"2025-01-04: no _SUCCESS in {incomplete}",
        }

    def test_a_folder_of_that_name_is_no_mark(self, sender: Sender, zone: LandingZone) -> None:
        sender.put("loans/2025-01-02/_SUCCESS/a.jsonl", JSON_LINE)
        assert list(zone.lacking("loans", [DAY])) == [DAY]


class TestPin:
    def test_files_by_day_and_name_with_their_checksums(self, sender: Sender, zone: LandingZone) -> None:
        land(sender, "2025-01-03", {"b.csv": b"x"})
        land(sender, "2025-01-02", dict(reversed(CONTENT.items())))
        land(sender, "2025-01-04", {"later.csv": b""})
        pinned = zone.pin("loans", DAY, date(2025, 1, 3))
        assert [file.name for file in pinned] == [f"loans/2025-01-02/{name}" for name in CONTENT] + [
            "loans/2025-01-03/b.csv"
        ]
        assert pinned[0] == LandingFile(
            "loans", DAY, "loans/2025-01-02/a.jsonl", len(JSON_LINE * 3), hashlib.sha256(JSON_LINE * 3).hexdigest()
        )

    def test_checksum_of_a_file_of_several_blocks(
        self, sender: Sender, zone: LandingZone, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(files, "BLOCK_BYTES", 7)
        land(sender, "2025-01-02", {"a.jsonl": JSON_LINE})
        (pinned,) = zone.pin("loans", DAY, DAY)
        assert (pinned.size, pinned.sha256) == (len(JSON_LINE), hashlib.sha256(JSON_LINE).hexdigest())

    def test_a_day_on_which_nothing_was_received(self, sender: Sender, zone: LandingZone) -> None:
        land(sender, "2025-01-02", {"_note.txt": b"", ".hidden": b""})
        assert zone.pin("loans", DAY, DAY) == ()

    def test_days_that_are_not_complete(self, sender: Sender, zone: LandingZone) -> None:
        land(sender, "2025-01-02", {})
        incomplete = zone.store.location(land(sender, "2025-01-03", CONTENT, success=False))
        with pytest.raises(LandingNotReady) as caught:
            zone.pin("loans", DAY, date(2025, 1, 4))
        assert str(caught.value) == (
            "landing feed 'loans': expected a complete folder for each of 3 days from 2025-01-02 to 2025-01-04; "
            f"found 2025-01-03: no _SUCCESS in {incomplete}; 2025-01-04: no folder {zone.root}/loans/2025-01-04. "
            "Wait for the sender or ask for the days; a day without records is an empty folder with _SUCCESS."
        )

    def test_ten_days_are_named(self, sender: Sender, zone: LandingZone) -> None:
        with pytest.raises(LandingNotReady) as caught:
            zone.pin("loans", date(2025, 1, 1), date(2025, 1, 15))
        assert str(caught.value).count("no folder") == 10
        assert "and 5 more days" in str(caught.value)

    def test_a_feed_that_is_not_there(self, sender: Sender, zone: LandingZone) -> None:
        with pytest.raises(LandingNotReady, match=f"no folder {zone.root}/loan/2025-01-02"):
            zone.pin("loan", DAY, DAY)

    def test_an_empty_range(self, sender: Sender, zone: LandingZone) -> None:
        with pytest.raises(ValueError, match="2025-01-02 to 2025-01-01 of feed 'loans' holds no day"):
            zone.pin("loans", DAY, date(2025, 1, 1))

    @pytest.mark.parametrize("name", ["a\n.csv", "a\udcff.csv", "eve@example.com.csv", "a b.csv"], ids=ascii)
    def test_a_name_that_may_hold_anything_is_refused_and_not_shown(
        self, sender: Sender, zone: LandingZone, name: str
    ) -> None:
        if isinstance(sender, InBucket) and not name.isprintable():
            pytest.skip("no key of a bucket that boto3 could write")
        land(sender, "2025-01-02", CONTENT | {name: b""})
        with pytest.raises(UnknownLandingFile, match=r"names of letters, digits and \._=\+- only") as caught:
            zone.pin("loans", DAY, DAY)
        assert ascii(name)[1:-1] not in str(caught.value)
        assert "loans/2025-01-02" in str(caught.value)

    @pytest.mark.parametrize("name", ["a.json", "a.csv.bz2", "README", "a.csv.tmp"], ids=ascii)
    def test_a_file_that_is_not_known(self, sender: Sender, zone: LandingZone, name: str) -> None:
        land(sender, "2025-01-02", CONTENT | {name: b""})
        with pytest.raises(UnknownLandingFile, match=r"ends in \.jsonl, \.jsonl\.gz, .*, \.parquet") as caught:
            zone.pin("loans", DAY, DAY)
        assert ascii(name)[1:-1] in str(caught.value)
        assert str(caught.value).isprintable()

    def test_a_folder_in_the_folder(self, sender: Sender, zone: LandingZone) -> None:
        sender.put(f"{land(sender, '2025-01-02', CONTENT)}/more.csv/part.csv", b"")
        with pytest.raises(UnknownLandingFile, match=r"more\.csv'.* found a folder"):
            zone.pin("loans", DAY, DAY)


@dataclass(frozen=True)
class DisturbedZone(LandingZone):
    """Something happens in the folder as soon as its first file is hashed."""

    disturb: Callable[[], object] = lambda: None

    def _pinned(self, feed: str, day: date, name: str) -> LandingFile:
        pinned = super()._pinned(feed, day, name)
        if name.endswith("/a.jsonl"):
            self.disturb()
        return pinned


def disturbed(sender: Sender, disturb: Callable[[Sender], object]) -> DisturbedZone:
    zone = sender.zone
    return DisturbedZone(zone.root, zone.region, zone.endpoint, lambda: disturb(sender))


class TestPinWhileTheFolderChanges:
    @pytest.mark.parametrize(
        "disturb",
        [
            pytest.param(lambda sender: sender.remove(f"{FOLDER}/_SUCCESS"), id="_SUCCESS goes"),
            pytest.param(lambda sender: sender.rewrite(f"{FOLDER}/_SUCCESS"), id="_SUCCESS is written again"),
            pytest.param(lambda sender: sender.put(f"{FOLDER}/z.csv", b""), id="a file comes"),
            pytest.param(lambda sender: sender.remove(f"{FOLDER}/a.jsonl"), id="a file goes that was hashed"),
            pytest.param(lambda sender: sender.remove(f"{FOLDER}/d.parquet"), id="a file goes that is hashed next"),
            pytest.param(lambda sender: sender.put(f"{FOLDER}/a.jsonl", b""), id="a file has another size"),
            pytest.param(lambda sender: sender.rewrite(f"{FOLDER}/a.jsonl"), id="a file is written again"),
            pytest.param(lambda sender: sender.remove_all(FOLDER), id="all of it goes"),
        ],
    )
    def test_it_is_not_complete(self, sender: Sender, disturb: Callable[[Sender], object]) -> None:
        land(sender, "2025-01-02", CONTENT)
        with pytest.raises(LandingNotReady) as caught:
            disturbed(sender, disturb).pin("loans", DAY, DAY)
        assert str(caught.value) == (
            f"landing folder '{sender.zone.root}/{FOLDER}': expected _SUCCESS and the files to stay as they are once "
            "_SUCCESS is there; found that they changed while they were read. Wait until the sender is done, then run "
            "the step again."
        )

    def test_what_is_ignored_may_change(self, sender: Sender, zone: LandingZone) -> None:
        land(sender, "2025-01-02", CONTENT)
        noisy = disturbed(sender, lambda sender: sender.put(f"{FOLDER}/_log", b""))
        assert noisy.pin("loans", DAY, DAY) == zone.pin("loans", DAY, DAY)


class TestArrivals:
    def test_in_order_after_a_name_with_what_lies_in_each(self, sender: Sender, zone: LandingZone) -> None:
        land(sender, "2025-01-02", {"a.csv": b"loan_id\n"})
        land(sender, "2025-01-03", {"a.csv": b"loan_id\nL1\n", "b.csv": b"loan_id\n", "_notes": b"x"}, success=False)
        land(sender, "2025-01-04", {})
        sender.put("loans/_checkpoints/x", b"")
        found = [(each.name, each.day, each.is_complete, each.files, each.bytes) for each in zone.arrivals("loans")]
        assert found == [
            ("2025-01-02", date(2025, 1, 2), True, 1, 8),
            ("2025-01-03", date(2025, 1, 3), False, 2, 19),
            ("2025-01-04", date(2025, 1, 4), True, 0, 0),
        ]
        assert [each.name for each in zone.arrivals("loans", "2025-01-02")] == ["2025-01-03", "2025-01-04"]
        assert list(zone.arrivals("payments")) == []
        assert [zone.arrival("loans", each.day) for each in zone.arrivals("loans") if each.day] == [
            *zone.arrivals("loans")
        ]
        assert zone.arrival("loans", date(2025, 1, 5)) is None

    def test_a_listing_is_another_once_anything_that_counts_was_written(
        self, sender: Sender, zone: LandingZone
    ) -> None:
        folder = land(sender, "2025-01-02", {"a.csv": b"loan_id\n"})

        def listing() -> str:
            (found,) = zone.arrivals("loans")
            assert {folder: found.listing} == zone.listings("loans", DAY, DAY)
            return found.listing

        listings = [listing()]
        sender.put(f"{folder}/_notes", b"x")
        assert listing() == listings[0]
        sender.rewrite(f"{folder}/a.csv")
        listings.append(listing())
        sender.put(f"{folder}/b.csv", b"")
        listings.append(listing())
        sender.remove(f"{folder}/_SUCCESS")
        listings.append(listing())
        assert len(set(listings)) == 4

    def test_what_is_no_folder_of_a_date_says_what_to_do(self, sender: Sender, zone: LandingZone) -> None:
        sender.put("loans/2025-02-30/_SUCCESS", b"")
        sender.put("loans/2025-1-2/_SUCCESS", b"")
        sender.put("loans/jane@example.com/_SUCCESS", b"")
        sender.put("loans/stray.csv", b"")
        problems = {each.name: each.problem for each in zone.arrivals("loans") if each.day is None}
        assert [*problems] == ["2025-02-30", "2025-1-2", "jane@example.com", "stray.csv"]
        assert "expected a folder named <YYYY-MM-DD>, found a folder of another name" in problems["2025-02-30"]
        assert "found a file of another name" in problems["stray.csv"]
        assert "jane" not in problems["jane@example.com"]


class TestReadPinned:
    def test_every_format(self, sender: Sender, zone: LandingZone) -> None:
        land(sender, "2025-01-02", CONTENT)
        found = pa.Table.from_batches(
            batch for file in zone.pin("loans", DAY, DAY) for batch in read_pinned(zone.store, file, FIELDS)
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
            ("loans/2025-01-02/e.csv.zst", 2, "L5", "2"),
            ("loans/2025-01-02/f.PARQUET", 1, "L6", None),
        ]
        assert set(found["business_date"].to_pylist()) == {DAY}

    def test_delimiter(self, sender: Sender, zone: LandingZone) -> None:
        land(sender, "2025-01-02", {"a.csv": b"loan_id;principal\nL1,x;1\n"})
        (file,) = zone.pin("loans", DAY, DAY)
        (batch,) = read_pinned(zone.store, file, FIELDS, ";")
        assert [tuple(row.values())[2:] for row in batch.to_pylist()] == [(2, "L1,x", "1", None, None)]

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
    def test_a_file_that_changed(self, sender: Sender, zone: LandingZone, name: str, change, found: str) -> None:
        folder = land(sender, "2025-01-02", {name: CONTENT[name]})
        (file,) = zone.pin("loans", DAY, DAY)
        changed = change(CONTENT[name])
        sender.remove(f"{folder}/{name}")
        if changed is not None:
            sender.put(f"{folder}/{name}", changed)
        message = rf"{re.escape(file.name)}, which changed since it was pinned: expected {file.size} bytes.*{found}"
        with pytest.raises(LandingFileChanged, match=message):
            list(read_pinned(zone.store, file, FIELDS))

    @pytest.mark.parametrize("name", ["c.jsonl.gz", "d.parquet", "e.csv.zst", "f.PARQUET"])
    def test_a_file_that_was_corrupt_when_pinned(self, sender: Sender, zone: LandingZone, name: str) -> None:
        land(sender, "2025-01-02", {name: CONTENT[name][:-1]})
        (file,) = zone.pin("loans", DAY, DAY)
        with pytest.raises(CorruptLandingFile, match=f"landing file {re.escape(file.name)}: expected"):
            list(read_pinned(zone.store, file, FIELDS))

    def test_a_large_file_is_read_in_batches(self, sender: Sender, zone: LandingZone) -> None:
        land(sender, "2025-01-02", {"a.jsonl": JSON_LINE * 150_000})
        (file,) = zone.pin("loans", DAY, DAY)
        rows = [batch.num_rows for batch in read_pinned(zone.store, file, FIELDS)]
        assert sum(rows) == 150_000
        assert max(rows) <= 20_000


class TestBucket:
    """What a folder of this machine does not have."""

    @pytest.fixture
    def sender(self, server: S3Server, tmp_path: Path) -> InBucket:
        return InBucket(server, tmp_path.name)

    @pytest.fixture
    def fresh_clients(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Clients are made from the environment as it is now, and soon give up."""
        monkeypatch.setattr(stores, "_ATTEMPTS", 1)
        stores._client_of.cache_clear()
        yield
        stores._client_of.cache_clear()

    def test_a_folder_of_more_files_than_an_answer_lists(
        self, sender: InBucket, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(stores, "PAGE_KEYS", 2)
        names = [f"{letter}.csv" for letter in "abcde"]
        land(sender, "2025-01-02", dict.fromkeys(names, b""))
        assert [file.name for file in sender.zone.pin("loans", DAY, DAY)] == [f"{FOLDER}/{name}" for name in names]

    def test_more_folders_than_an_answer_lists(self, sender: InBucket) -> None:
        days = [DAY + timedelta(days=number) for number in range(510)]
        with ThreadPoolExecutor(8) as threads:  # two keys of each day
            [*threads.map(lambda day: land(sender, day.isoformat(), {"a.csv": b""}), days)]
        assert [each.day for each in sender.zone.arrivals("loans") if each.is_complete and each.files == 1] == days

    def test_the_mark_that_some_programs_write_for_a_folder_is_no_file(self, sender: InBucket) -> None:
        sender.put(f"{FOLDER}/", b"")
        with pytest.raises(LandingNotReady, match=f"no _SUCCESS in {sender.zone.root}/{FOLDER}"):
            sender.zone.pin("loans", DAY, DAY)
        land(sender, "2025-01-02", {})
        assert sender.zone.pin("loans", DAY, DAY) == ()

    def test_a_prefix_is_not_taken_for_a_folder(self, sender: InBucket) -> None:
        sender.put(f"{FOLDER}-old/_SUCCESS", b"")
        with pytest.raises(LandingNotReady, match="no folder"):
            sender.zone.pin("loans", DAY, DAY)

    @pytest.mark.parametrize(
        ("name", "content"),
        [("a.jsonl", JSON_LINE * 200_000), ("d.parquet", CONTENT["d.parquet"])],
        ids=["text", "Parquet"],
    )
    def test_a_file_that_is_replaced_while_it_is_read(
        self, sender: InBucket, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        land(sender, "2025-01-02", {name: content})
        (file,) = sender.zone.pin("loans", DAY, DAY)
        read = Bucket.get

        def replaced_after(bucket: Bucket, *arguments: Any) -> bytes:
            content = read(bucket, *arguments)
            sender.put(file.name, bytes(file.size))
            return content

        monkeypatch.setattr(Bucket, "get", replaced_after)
        with pytest.raises(LandingFileChanged, match="found no file, or another"):
            list(read_pinned(sender.zone.store, file, FIELDS))

    def test_a_connection_that_breaks_is_made_again(self, sender: InBucket, monkeypatch: pytest.MonkeyPatch) -> None:
        land(sender, "2025-01-02", CONTENT)
        expected = sender.zone.pin("loans", DAY, DAY)
        read = StreamingBody.read
        broken: list[StreamingBody] = []

        def breaks_every_other_time(body: StreamingBody, amt: int | None = None) -> bytes:
            if len(broken) % 2 == 0:
                broken.append(body)
                raise IncompleteReadError(actual_bytes=1, expected_bytes=2)
            broken.append(body)
            return read(body, amt)

        monkeypatch.setattr(StreamingBody, "read", breaks_every_other_time)
        assert sender.zone.pin("loans", DAY, DAY) == expected
        assert len(broken) == 2 * len(CONTENT)

    @pytest.mark.parametrize(
        ("name", "value", "found"),
        [
            pytest.param("AWS_SECRET_ACCESS_KEY", "another", "SignatureDoesNotMatch", id="secret"),
            pytest.param("AWS_ACCESS_KEY_ID", "AKIANOBODY", "XAdminUserNotFound", id="key"),
        ],
    )
    def test_wrong_keys(
        self,
        sender: InBucket,
        fresh_clients: None,
        monkeypatch: pytest.MonkeyPatch,
        name: str,
        value: str,
        found: str,
    ) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(LandingUnreachable) as refused:
            sender.zone.pin("loans", DAY, DAY)
        assert str(refused.value) == (
            f"landing zone, {sender.zone.root}/{FOLDER}: expected an answer of {sender.zone.endpoint} ({REGION}); "
            f"found {found}. Check AFFIRM_LANDING, AFFIRM_S3_ENDPOINT and AWS_REGION, the keys or the role of this "
            "process, and its permission s3:ListBucket."
        )
        for secret in (ACCESS_KEY, SECRET_KEY, value):
            assert secret not in str(refused.value)

    def test_no_keys(self, sender: InBucket, fresh_clients: None, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, os.devnull)
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(LandingUnreachable, match=r"found NoCredentialsError\. Check"):
            sender.zone.pin("loans", DAY, DAY)

    def test_no_such_bucket(self, sender: InBucket) -> None:
        zone = LandingZone("s3://elsewhere/landing", REGION, sender.zone.endpoint)
        with pytest.raises(LandingUnreachable, match=r"s3://elsewhere/landing/loans/2025-01-02: .* found NoSuchBucket"):
            zone.pin("loans", DAY, DAY)

    def test_nobody_answers(self, secrets: None, fresh_clients: None) -> None:
        zone = LandingZone("s3://incoming/landing", REGION, f"http://{LOCALHOST}:1")
        with pytest.raises(LandingUnreachable, match=rf"an answer of http://{LOCALHOST}:1 .* found EndpointConnection"):
            zone.pin("loans", DAY, DAY)

    def test_a_server_that_asks_for_fewer_requests_is_asked_again(self, sender: InBucket, server: S3Server) -> None:
        land(sender, "2025-01-02", CONTENT)
        with throttling(server, times=2) as (busy, asked):
            zone = LandingZone(sender.zone.root, REGION, busy.endpoint)
            assert [each.day for each in zone.arrivals("loans")] == [DAY]
            assert len(asked) == 3

    def test_one_that_goes_on_asking_for_fewer_is_said_to(
        self, sender: InBucket, server: S3Server, fresh_clients: None
    ) -> None:
        with throttling(server, times=100) as (busy, asked):
            zone = LandingZone(sender.zone.root, REGION, busy.endpoint)
            with pytest.raises(
                LandingUnreachable, match=r"found SlowDown at each try.*A sensor looks again at its next tick"
            ):
                list(zone.arrivals("loans"))
            assert len(asked) > 1

    def test_a_worker_reads_with_the_keys_of_its_environment(self, sender: InBucket) -> None:
        land(sender, "2025-01-02", CONTENT)
        pinned = sender.zone.pin("loans", DAY, DAY)
        sent = pickle.dumps((sender.zone.store.for_worker(), pinned, FIELDS))
        code = (
            "import pickle, sys; from resources.landing import read_pinned;"
            "store, pinned, fields = pickle.load(sys.stdin.buffer);"
            "print(sum(batch.num_rows for file in pinned for batch in read_pinned(store, file, fields)));"
            "print('dagster' in sys.modules)"
        )
        ran = subprocess.run([sys.executable, "-c", code], input=sent, capture_output=True, check=True)
        assert ran.stdout.split() == [b"9", b"False"]  # importing Dagster would take longer than reading

    def test_what_a_worker_is_sent_holds_no_key(self, sender: InBucket) -> None:
        sender.zone.store.entries("loans")  # the client with the keys is made
        sent = pickle.dumps(sender.zone.store.for_worker())
        assert pickle.loads(sent).location("x") == f"{sender.zone.root}/x"
        assert ACCESS_KEY.encode() not in sent
        assert SECRET_KEY.encode() not in sent

    def test_a_folder_is_uploaded_in_place_of_what_was_there(self, sender: InBucket, tmp_path: Path) -> None:
        land(sender, "2025-01-02", {"stale.csv": b"", "a.jsonl": b"old"})
        local = InFolder(tmp_path)
        land(local, "2025-01-02", CONTENT)
        land(local, "2025-01-03", {})
        land(local, "2025-01-04", {"a.jsonl": b""}, success=False)
        (tmp_path / "_about.json").write_bytes(b"{}")
        store = sender.zone.store
        assert isinstance(store, Bucket)
        upload(tmp_path, store)
        last = date(2025, 1, 3)
        assert sender.zone.pin("loans", DAY, last) == local.zone.pin("loans", DAY, last)
        with pytest.raises(LandingNotReady, match="no _SUCCESS"):
            sender.zone.pin("loans", date(2025, 1, 4), date(2025, 1, 4))
        assert store.open("_about.json").read() == b"{}"


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

    def test_order_does_not_depend_on_the_listing(self, sender: Sender, zone: LandingZone) -> None:
        land(sender, "2025-01-02", CONTENT)
        pinned = zone.pin("loans", DAY, DAY)
        assert files.spread(pinned) == files.spread(pinned[::-1])


@pytest.mark.parametrize("kind", LandingError.__subclasses__())
def test_errors_survive_pickling(kind: type[LandingError]) -> None:
    error = kind("landing file a.csv", "this", "that", "Do so.")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error) == "landing file a.csv: expected this; found that. Do so."
