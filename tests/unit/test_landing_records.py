"""What each format's reader makes of good and bad records. No JVM."""

import csv
import gzip
import io
import json
import re
import tracemalloc
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.landing import (
    CorruptLandingFile,
    FieldKind,
    Record,
    UnknownLandingFile,
    batches,
    json_lines,
    lines,
    parquet,
    records,
)

FIELDS = {
    "loan_id": FieldKind.TEXT,
    "principal": FieldKind.MONEY,
    "apr": FieldKind.RATE,
    "instalments": FieldKind.INTEGER,
    "originated_on": FieldKind.DATE,
}
GOOD = {
    "loan_id": "L1",
    "principal": "100.50",
    "apr": "9.99",
    "instalments": "12",
    "originated_on": "2025-01-02",
}
GOOD_VALUES = tuple(GOOD.values())
HEADER = ",".join(FIELDS)
NOTHING = (None,) * len(FIELDS)
SECRET = "jane.doe@example.com"


def read(name: str, data: bytes, fields: dict[str, FieldKind] = FIELDS, **options: Any) -> list[Record]:
    found = list(records(io.BytesIO(data), name, fields, **options))
    for record in found:
        for text in (*record.values, record.problem, record.raw):
            assert text is None or "\0" not in text.encode().decode()
        assert SECRET not in (record.problem or "")
    return found


def jsonl(*lines: str | bytes, **options: Any) -> list[Record]:
    data = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    return read("loans/2025-01-02/part.jsonl", data, **options)


def zstd(data: bytes) -> bytes:
    """With a checksum, as the command writes it; Arrow writes none."""
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def packed(name: str, data: bytes) -> bytes:
    """What a file of this name holds if its text is `data`."""
    if name.endswith(".gz"):
        return gzip.compress(data)
    return zstd(data) if name.endswith(".zst") else data


def csv_(*lines: str | bytes, **options: Any) -> list[Record]:
    data = b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines)
    return read("loans/2025-01-02/part.csv", data, **options)


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def parquet_(columns: dict[str, pa.Array], **options: Any) -> list[Record]:
    return read("loans/2025-01-02/part.parquet", parquet_bytes(pa.table(columns), **options))


def written(**changes: Any) -> str:
    """A good JSON record, with some of its values as they stand in the file."""
    texts = {name: json.dumps(value) for name, value in GOOD.items()} | changes
    return "{" + ", ".join(f'"{name}": {text}' for name, text in texts.items() if text is not None) + "}"


def expected(**changes: str | None) -> tuple[str | None, ...]:
    return tuple((GOOD | changes).values())


class TestJsonLines:
    @pytest.mark.parametrize(
        ("line", "values"),
        [
            pytest.param(written(), GOOD_VALUES, id="strings for every kind"),
            pytest.param(written(principal="10.005"), expected(principal="10.005"), id="three decimal places are kept"),
            pytest.param(written(principal="10.10"), expected(principal="10.10"), id="trailing zero is kept"),
            pytest.param(written(principal="1e2"), expected(principal="1e2"), id="exponent is kept"),
            pytest.param(written(principal="-0"), expected(principal="-0"), id="negative zero is kept"),
            pytest.param(written(apr="0.1E-3"), expected(apr="0.1E-3"), id="rate as number"),
            pytest.param(written(instalments="12"), expected(instalments="12"), id="integer as number"),
            pytest.param(
                written(instalments="1.5"), expected(instalments="1.5"), id="the next stage judges the number"
            ),
            pytest.param(written(principal="NaN"), expected(principal="NaN"), id="NaN is text"),
            pytest.param(written(principal="-Infinity"), expected(principal="-Infinity"), id="-Infinity is text"),
            pytest.param(written(principal="9" * 60), expected(principal="9" * 60), id="60 digits are kept"),
            pytest.param(written(loan_id="null"), expected(loan_id=None), id="null"),
            pytest.param(written(principal="null"), expected(principal=None), id="null number"),
            pytest.param(written(loan_id='""'), expected(loan_id=None), id="empty text is null"),
            pytest.param(written(loan_id='"\\u00e9"'), expected(loan_id="é"), id="escape"),
            pytest.param(written(loan_id='"\\ud83d\\ude00"'), expected(loan_id="😀"), id="surrogate pair"),
            pytest.param(written(loan_id='"é\u2028"'), expected(loan_id="é\u2028"), id="UTF-8 and line separator"),
            pytest.param(written(loan_id='" "'), expected(loan_id=" "), id="blanks are kept"),
            pytest.param(written(loan_id=None), expected(loan_id=None), id="missing field is null"),
            pytest.param("{}", NOTHING, id="empty object"),
            pytest.param(' {"loan_id" :\t"L1" } ', ("L1", *NOTHING[1:]), id="white space"),
        ],
    )
    def test_well_formed(self, line: str, values: tuple[str | None, ...]) -> None:
        # The first is read with care, the second by the template that the first gave.
        assert jsonl(line, line) == [Record(1, values, None, None), Record(2, values, None, None)]

    @pytest.mark.parametrize(
        ("line", "problem", "values"),
        [
            pytest.param(
                written(loan_id="5"),
                "loan_id: expected text, found number",
                expected(loan_id=None),
                id="number for text",
            ),
            pytest.param(
                written(originated_on="20250102"),
                "originated_on: expected date, found number",
                expected(originated_on=None),
                id="number for date",
            ),
            pytest.param(
                written(principal="true"),
                "principal: expected money, found boolean",
                expected(principal=None),
                id="boolean",
            ),
            pytest.param(
                written(principal=f'{{"to": "{SECRET}"}}'),
                "principal: expected money, found object",
                expected(principal=None),
                id="object",
            ),
            pytest.param(written(apr="[]"), "apr: expected rate, found array", expected(apr=None), id="array"),
            pytest.param(
                written(loan_id="1", apr="false"),
                "loan_id: expected text, found number; apr: expected rate, found boolean",
                expected(loan_id=None, apr=None),
                id="two problems",
            ),
            pytest.param(
                written(principal="9" * 5000),
                "principal: number of more than 4300 characters",
                expected(principal=None),
                id="a number that int() refuses",
            ),
            pytest.param(written(phone=f'"{SECRET}"'), "unexpected field: phone", GOOD_VALUES, id="unexpected field"),
            pytest.param(
                written(**{"a": "1", "b": "null"}),
                "unexpected field: a; unexpected field: b",
                GOOD_VALUES,
                id="unexpected fields",
            ),
            pytest.param(
                written(**{SECRET: "1"}), "unexpected field: (unprintable name)", GOOD_VALUES, id="unprintable name"
            ),
            pytest.param(
                written(**{"a\\n": "1"}), "unexpected field: (unprintable name)", GOOD_VALUES, id="newline in a name"
            ),
            pytest.param(
                written(**{"a" * 64: "1"}), "unexpected field: (unprintable name)", GOOD_VALUES, id="name of 64"
            ),
            pytest.param(
                written(**{f"f{n}": "1" for n in range(25)}),
                "; ".join([f"unexpected field: f{n}" for n in range(20)] + ["5 more problems"]),
                GOOD_VALUES,
                id="25 unexpected fields",
            ),
            pytest.param(
                written()[:-1] + ', "loan_id": "L2"}',
                "duplicated field: loan_id",
                expected(loan_id=None),
                id="duplicated field",
            ),
            pytest.param(
                written()[:-1] + ', "l\\u006fan_id": "L1"}',
                "duplicated field: loan_id",
                expected(loan_id=None),
                id="duplicated field behind an escape",
            ),
            pytest.param(
                written(loan_id='"a\\u0000b"'), "loan_id: NUL character", expected(loan_id=None), id="escaped NUL"
            ),
            pytest.param(
                written(loan_id='"\\ud800"'), "loan_id: lone surrogate", expected(loan_id=None), id="lone surrogate"
            ),
            pytest.param(
                written(**{"\\ud800": "1"}), "unexpected field: (unprintable name)", GOOD_VALUES, id="surrogate name"
            ),
            pytest.param(f'["{SECRET}"]', "expected a JSON object, found array", NOTHING, id="top level array"),
            pytest.param(f'"{SECRET}"', "expected a JSON object, found string", NOTHING, id="top level string"),
            pytest.param("1.5", "expected a JSON object, found number", NOTHING, id="top level number"),
            pytest.param("null", "expected a JSON object, found null", NOTHING, id="top level null"),
            pytest.param(SECRET, "not JSON: expecting value at character 1", NOTHING, id="plain text"),
            pytest.param(
                '{"loan_id": "L1"', "not JSON: expecting ',' delimiter at character 17", NOTHING, id="cut off"
            ),
            pytest.param(
                f'{{"loan_id": "{SECRET}',
                "not JSON: unterminated string starting at character 13",
                NOTHING,
                id="cut text",
            ),
            pytest.param('{"loan_id": "\\q"}', "not JSON: invalid \\escape at character 14", NOTHING, id="bad escape"),
            pytest.param(
                '{"loan_id": "a\tb"}', "not JSON: invalid control character at character 15", NOTHING, id="tab in text"
            ),
            pytest.param('{"principal": 01}', "not JSON: expecting ',' delimiter at character 16", NOTHING, id="01"),
            pytest.param(
                written() + written(),
                f"not JSON: extra data at character {len(written()) + 1}",
                NOTHING,
                id="two in a line",
            ),
            pytest.param("\ufeff{}", "not JSON: expecting value at character 1", NOTHING, id="byte order mark inside"),
            pytest.param("[" * 100_000, "not JSON: nested too deeply", NOTHING, id="deep nesting"),
        ],
    )
    def test_problem(self, line: str, problem: str, values: tuple[str | None, ...]) -> None:
        first, bad, last = jsonl(written(), line, written())
        assert bad == Record(2, values, problem, line)
        assert (first, last) == (Record(1, GOOD_VALUES, None, None), Record(3, GOOD_VALUES, None, None))

    @pytest.mark.parametrize(
        ("line", "problem", "raw"),
        [
            pytest.param(b'{"loan_id": "\xff"}', "invalid UTF-8 at byte 14", '{"loan_id": "\\xff"}', id="byte ff"),
            pytest.param(
                '{"loan_id": "é'.encode() + b'\xe2\x82"}',
                "invalid UTF-8 at byte 16",
                '{"loan_id": "é\\xe2\\x82"}',
                id="cut character",
            ),
            pytest.param(
                b'{"loan_id": "\xed\xa0\x80"}',
                "invalid UTF-8 at byte 14",
                '{"loan_id": "\\xed\\xa0\\x80"}',
                id="encoded surrogate",
            ),
            pytest.param(b'{"loan_id": "a\x00"}', "NUL character", '{"loan_id": "a\\x00"}', id="NUL in text"),
            pytest.param(b"\x00\x00", "NUL character", "\\x00\\x00", id="NUL only"),
            pytest.param(b"\xff\x00", "invalid UTF-8 at byte 1", "\\xff\\x00", id="both"),
        ],
    )
    def test_bytes_that_are_no_text(self, line: bytes, problem: str, raw: str) -> None:
        first, bad, last = jsonl(written(), line, written())
        assert bad == Record(2, NOTHING, problem, raw)
        assert (first.problem, last.problem) == (None, None)

    def test_a_field_may_have_the_shape_of_a_pattern(self) -> None:
        fields = {"a.b": FieldKind.TEXT, "(": FieldKind.MONEY}
        lines = ['{"a.b": "x", "(": 1}', '{"axb": "x", "(": 1}', '{"a.b": "y", "(": 2}']
        assert [record.values for record in jsonl(*lines, fields=fields)] == [("x", "1"), (None, "1"), ("y", "2")]

    def test_one_field(self) -> None:
        fields = {"loan_id": FieldKind.TEXT}
        assert [r.values for r in jsonl('{"loan_id": "x"}', '{"loan_id": "y"}', fields=fields)] == [("x",), ("y",)]


TEXT_NAMES = [f"a.{form}{packing}" for form in ("jsonl", "ndjson", "csv") for packing in ("", ".gz", ".zst")]


class TestTextLines:
    """What JSON lines and CSV have in common."""

    @pytest.mark.parametrize("name", TEXT_NAMES)
    def test_empty_file(self, name: str) -> None:
        assert read(name, packed(name, b"")) == []

    @pytest.mark.parametrize("data", [b"\n\n", b"\xef\xbb\xbf", b"\xef\xbb\xbf\r\n \t\n"], ids=["lines", "mark", "all"])
    @pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
    def test_nothing_but_blanks(self, name: str, data: bytes) -> None:
        assert read(name, data) == []

    @pytest.mark.parametrize(
        ("data", "numbers"),
        [
            pytest.param(b"%\n%\n", [2, 3], id="LF"),
            pytest.param(b"%\r\n%\r\n", [2, 3], id="CRLF"),
            pytest.param(b"%\n%", [2, 3], id="last line without an end"),
            pytest.param(b"\n  \n%\n\t\r\n%\n\n", [4, 6], id="blank lines count but are no records"),
        ],
    )
    @pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["plain", "byte order mark"])
    @pytest.mark.parametrize("name", TEXT_NAMES)
    def test_line_ends(self, name: str, data: bytes, numbers: list[int], mark: bytes) -> None:
        first, line = (HEADER, ",".join(GOOD_VALUES)) if ".csv" in name else (" ", written())
        content = mark + first.encode() + b"\n" + data.replace(b"%", line.encode())
        found = read(name, packed(name, content))
        assert found == [Record(number, GOOD_VALUES, None, None) for number in numbers]

    def test_crlf_is_no_part_of_raw(self) -> None:
        assert read("a.jsonl", b"oops\r\n")[0].raw == "oops"

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
    def test_lines_across_reads(self, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
        content = ("\ufeff" + "\r\n".join([written(loan_id=f'"é{n}"') for n in range(20)])).encode()
        whole = read("a.jsonl", content)
        monkeypatch.setattr(lines, "READ_BYTES", size)
        assert read("a.jsonl", content) == whole
        assert [record.number for record in whole] == list(range(1, 21))

    def test_batches_are_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lines, "MAX_BATCH_LINES", 3)
        content = "\n".join([written()] * 8).encode()
        found = list(batches(io.BytesIO(content), "a.jsonl", FIELDS))
        assert max(batch.num_rows for batch in found) == 3
        assert [n for batch in found for n in batch["record_number"].to_pylist()] == list(range(1, 9))

    @pytest.mark.parametrize("end", [b"", b"\n"], ids=["no end", "newline"])
    @pytest.mark.parametrize("name", TEXT_NAMES)
    def test_endless_line(self, name: str, end: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lines, "MAX_LINE_BYTES", 1000)
        monkeypatch.setattr(lines, "READ_BYTES", 300)
        content = b"\n\n" + b"x" * 1000 + b"\n" + b"x" * 1001 + end
        with pytest.raises(CorruptLandingFile, match=rf"{name}, line 4: expected a line of at most 1,000 bytes"):
            read(name, packed(name, content))

    def test_a_long_line_is_a_record(self) -> None:
        line = written(loan_id=f'"{"x" * (lines.READ_BYTES * 2)}"')
        assert [record.problem for record in jsonl(line, written())] == [None, None]


JSON_CONTENT = "\n".join(written(loan_id=f'"L{n}"') for n in range(2000)).encode()
CSV_CONTENT = "\n".join([HEADER, *(f"L{n},100.50,9.99,12,2025-01-02" for n in range(2000))]).encode()


def packed_as(ending: str) -> pytest.MarkDecorator:
    """Each text format as a packed file, beside the plain one of the same content."""
    return pytest.mark.parametrize(
        ("name", "plain", "content"),
        [
            (f"loans/d/a.jsonl.{ending}", "a.jsonl", JSON_CONTENT),
            (f"loans/d/a.ndjson.{ending}", "a.jsonl", JSON_CONTENT),
            (f"loans/d/a.csv.{ending}", "a.csv", CSV_CONTENT),
        ],
    )


@packed_as("gz")
class TestGzip:
    def test_several_members(self, name: str, plain: str, content: bytes) -> None:
        half = content.index(b"\n", 5000) + 1
        data = gzip.compress(content[:half]) + gzip.compress(content[half:])
        assert read(name, data) == read(plain, content)

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda data: b"", id="no bytes"),
            pytest.param(lambda data: data[:5], id="cut in the header"),
            pytest.param(lambda data: data[:-2000], id="cut in the middle"),
            pytest.param(lambda data: data[:-1], id="cut in the checksum"),
            pytest.param(lambda data: data[:-5] + b"\xff" + data[-4:], id="wrong checksum"),
            pytest.param(lambda data: data[:2000] + b"\xff" * 50 + data[2050:], id="damaged bytes"),
            pytest.param(lambda data: data + b"rubbish", id="something after the end"),
            pytest.param(lambda data: b"not gzip at all", id="another format"),
        ],
    )
    def test_damage(self, name: str, plain: str, content: bytes, damage: Any) -> None:
        with pytest.raises(CorruptLandingFile, match=rf"landing file {re.escape(name)}: expected a complete gzip"):
            read(name, damage(gzip.compress(content)))


SKIPPED = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"note"  # a frame that holds no data


@packed_as("zst")
class TestZstd:
    @pytest.mark.parametrize(
        "pack",
        [
            pytest.param(zstd, id="zstandard"),
            pytest.param(lambda data: pa.compress(data, "zstd", asbytes=True), id="Arrow"),
            pytest.param(lambda data: zstd(data[:5000]) + zstd(data[5000:]), id="several frames"),
            pytest.param(
                lambda data: zstd(b"") + zstd(data[:5000]) + zstd(b"") * 3 + zstd(data[5000:]) + zstd(b""),
                id="frames of nothing",
            ),
            pytest.param(lambda data: SKIPPED + zstd(data) + SKIPPED, id="frames to be skipped"),
        ],
    )
    def test_archive(self, name: str, plain: str, content: bytes, pack: Callable[[bytes], bytes]) -> None:
        stream = io.BytesIO(pack(content))
        assert list(records(stream, name, FIELDS)) == read(plain, content)
        assert not stream.closed  # the rest of it is still to be hashed

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda data: b"", id="no bytes"),
            pytest.param(lambda data: data[:3], id="cut in the header"),
            pytest.param(lambda data: data[:-2000], id="cut in the middle"),
            pytest.param(lambda data: data[:-1], id="cut in the checksum"),
            pytest.param(lambda data: data + data[:-1], id="cut in the second frame"),
            pytest.param(lambda data: data + data[:2], id="cut in the header of the second frame"),
            pytest.param(lambda data: data[:-5] + bytes([data[-5] ^ 1]) + data[-4:], id="wrong checksum"),
            pytest.param(lambda data: data[:2000] + b"\xff" * 50 + data[2050:], id="damaged bytes"),
            pytest.param(lambda data: data + b"rubbish", id="something after the end"),
            pytest.param(lambda data: b"not zstd at all", id="another format"),
            pytest.param(gzip.compress, id="gzip"),
            # The magic number, no flags, a window of 2 GiB, a last block of no bytes.
            pytest.param(lambda data: b"\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", id="a window of 2 GiB"),
        ],
    )
    def test_damage(self, name: str, plain: str, content: bytes, damage: Any) -> None:
        with pytest.raises(CorruptLandingFile, match=rf"landing file {re.escape(name)}: expected a complete zstd"):
            read(name, damage(zstd(content)))


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.gz", "a.jsonl.zst", "a.csv.zst"])
class TestPackedText:
    def test_a_cut_anywhere(self, name: str) -> None:
        line = f"{HEADER}\n{','.join(GOOD_VALUES)}" if ".csv" in name else f"\n{written()}"
        whole = packed(name, line.encode())
        assert read(name, whole) == [Record(2, GOOD_VALUES, None, None)]
        for size in range(len(whole)):
            with pytest.raises(CorruptLandingFile):
                read(name, whole[:size])

    def test_a_small_file_of_a_huge_line_is_not_held_in_memory(self, name: str) -> None:
        data = packed(name, bytes(256 << 20))
        tracemalloc.start()
        try:
            with pytest.raises(CorruptLandingFile, match=f"{name}, line 1: expected a line of at most 16,777,216 by"):
                read(name, data)
            assert tracemalloc.get_traced_memory()[1] < 64 << 20
        finally:
            tracemalloc.stop()

    def test_a_failing_disk_is_no_damage(self, name: str) -> None:
        class Failing(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                raise OSError(5, "Input/output error")

        with pytest.raises(OSError, match="Input/output error"):
            list(records(Failing(), name, FIELDS))


class TestPandas:
    """Files as pandas writes them."""

    FRAME = pd.DataFrame([GOOD])

    @pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.csv.zst"])
    def test_csv(self, tmp_path: Path, name: str) -> None:
        self.FRAME.to_csv(tmp_path / name, index=False)
        assert read(name, (tmp_path / name).read_bytes()) == [Record(2, GOOD_VALUES, None, None)]

    @pytest.mark.parametrize("name", [name for name in TEXT_NAMES if ".csv" not in name])
    def test_json_lines(self, tmp_path: Path, name: str) -> None:
        self.FRAME.to_json(tmp_path / name, orient="records", lines=True)
        assert read(name, (tmp_path / name).read_bytes()) == [Record(1, GOOD_VALUES, None, None)]

    def test_parquet(self, tmp_path: Path) -> None:
        frame = self.FRAME.assign(originated_on=pd.to_datetime(self.FRAME["originated_on"]))
        assert frame["originated_on"].dtype.kind == "M"  # a time: pandas has no dates
        frame.to_parquet(tmp_path / "a.parquet")
        assert read("a.parquet", (tmp_path / "a.parquet").read_bytes()) == [Record(1, GOOD_VALUES, None, None)]


class TestCsv:
    @pytest.mark.parametrize(
        ("line", "values"),
        [
            pytest.param("L1,100.50,9.99,12,2025-01-02", GOOD_VALUES, id="plain"),
            pytest.param('"L1","100.50","9.99","12","2025-01-02"', GOOD_VALUES, id="quoted"),
            pytest.param('"a ""b"", c",,"",12,', ('a "b", c', None, None, "12", None), id="quotes, commas, empty"),
            pytest.param('5",1,2,3,4', ('5"', "1", "2", "3", "4"), id="quote inside a bare value"),
            pytest.param(" L1 ,1e2,NaN,é,\u2028", (" L1 ", "1e2", "NaN", "é", "\u2028"), id="texts are kept"),
            pytest.param(",,,,", NOTHING, id="all empty"),
        ],
    )
    def test_well_formed(self, line: str, values: tuple[str | None, ...]) -> None:
        assert csv_(HEADER, line) == [Record(2, values, None, None)]

    @pytest.mark.parametrize(
        ("line", "problem", "values"),
        [
            pytest.param("L1,1,2,3", "expected 5 values, found 4", NOTHING, id="too few"),
            pytest.param(f"L1,1,2,3,4,{SECRET}", "expected 5 values, found 6", NOTHING, id="too many"),
            pytest.param(f'"{SECRET},1,2,3,4', "not CSV: unexpected end of data", NOTHING, id="quote without end"),
            pytest.param(f'"L1"{SECRET},1,2,3,4', "not CSV: ',' expected after '\"'", NOTHING, id="text after quote"),
            pytest.param("a\rb,1,2,3,4", "not CSV: new-line character seen in unquoted field", NOTHING, id="lone CR"),
            pytest.param(
                "x" * 150_000 + ",1,2,3,4", "not CSV: field larger than field limit (131072)", NOTHING, id="long value"
            ),
        ],
    )
    def test_problem(self, line: str, problem: str, values: tuple[str | None, ...]) -> None:
        good = ",".join(GOOD_VALUES)
        first, bad, last = csv_(HEADER, good, line, good)
        assert bad == Record(3, values, problem, line)
        assert (first, last) == (Record(2, GOOD_VALUES, None, None), Record(4, GOOD_VALUES, None, None))

    def test_a_stray_quote_does_not_swallow_what_follows(self) -> None:
        good = ",".join(GOOD_VALUES)
        found = csv_(HEADER, '"L0,1,2,3,4', good, '"', good)
        assert [record.number for record in found if not record.problem] == [3, 5]

    @pytest.mark.parametrize(
        ("line", "problem", "values", "raw"),
        [
            pytest.param(b"L\xff,1,2,3,4", "invalid UTF-8 at byte 2", NOTHING, "L\\xff,1,2,3,4", id="invalid UTF-8"),
            pytest.param(
                b"L1,1\x00,2,3,4", "principal: NUL character", ("L1", None, "2", "3", "4"), "L1,1\\x00,2,3,4", id="NUL"
            ),
            pytest.param(b"\x00", "NUL character", NOTHING, "\\x00", id="NUL only"),
            pytest.param(b"\x00,\xff", "invalid UTF-8 at byte 3", NOTHING, "\\x00,\\xff", id="both"),
        ],
    )
    def test_bytes_that_are_no_text(self, line: bytes, problem: str, values: tuple[str | None, ...], raw: str) -> None:
        assert csv_(HEADER, line, ",".join(GOOD_VALUES)) == [
            Record(2, values, problem, raw),
            Record(3, GOOD_VALUES, None, None),
        ]

    @pytest.mark.parametrize(
        ("header", "line", "problem", "values"),
        [
            pytest.param(
                f"{HEADER},loan_id",
                "L1,1,2,3,4,L2",
                "duplicated field: loan_id",
                NOTHING,
                id="duplicated name",
            ),
            pytest.param(f"{HEADER},", "L1,1,2,3,4,", "empty field name", NOTHING, id="empty name"),
            pytest.param("", "L1,1,2,3,4", "empty field name; expected 1 values, found 5", NOTHING, id="no header"),
            pytest.param(f'"{HEADER}', "L1,1", "header: not CSV: unexpected end of data", NOTHING, id="not CSV"),
            pytest.param(b"loan_id,\xff", "L1,1", "header: invalid UTF-8 at byte 9", NOTHING, id="invalid UTF-8"),
            pytest.param(
                f"{HEADER},phone,{SECRET}",
                "L1,100.50,9.99,12,2025-01-02,5,6",
                "unexpected field: phone; unexpected field: (unprintable name)",
                GOOD_VALUES,
                id="unexpected names",
            ),
            pytest.param(
                f"{HEADER},phone",
                "L1",
                "unexpected field: phone; expected 6 values, found 1",
                NOTHING,
                id="unexpected name and too few values",
            ),
        ],
    )
    def test_header_problem(self, header: str | bytes, line: str, problem: str, values: tuple[str | None, ...]) -> None:
        assert csv_(header, line, line) == [Record(number, values, problem, line) for number in (2, 3)]

    @pytest.mark.parametrize(
        ("header", "line", "values"),
        [
            pytest.param(
                "originated_on,instalments,apr,principal,loan_id",
                "2025-01-02,12,9.99,100.50,L1",
                GOOD_VALUES,
                id="another order",
            ),
            pytest.param('"loan_id","apr"', "L1,9.99", ("L1", None, "9.99", None, None), id="missing fields are null"),
            pytest.param("loan_id", "L1", ("L1", *NOTHING[1:]), id="one column"),
        ],
    )
    def test_header(self, header: str, line: str, values: tuple[str | None, ...]) -> None:
        assert csv_(header, line, "", line) == [Record(2, values, None, None), Record(4, values, None, None)]

    @pytest.mark.parametrize("data", [HEADER, f"{HEADER}\r\n\r\n"], ids=["no end", "blank line"])
    def test_header_only(self, data: str) -> None:
        assert csv_(data) == []

    @given(
        st.lists(
            st.lists(
                st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])), min_size=5, max_size=5
            )
        )
    )
    @settings(max_examples=100, deadline=None)
    def test_reads_what_the_standard_writer_writes(self, rows: list[list[str]]) -> None:
        sink = io.StringIO()
        csv.writer(sink).writerows([list(FIELDS), *rows])
        found = read("a.csv", sink.getvalue().encode())
        assert [record.values for record in found] == [tuple(text or None for text in row) for row in rows]


class TestDelimiter:
    GOOD_LINE = ";".join(GOOD_VALUES)
    SEMICOLONS = ";".join(FIELDS)

    @pytest.mark.parametrize("delimiter", [";", "\t", "|", " ", "\x01", "¦"], ids=ascii)
    @pytest.mark.parametrize("name", [name for name in TEXT_NAMES if ".csv" in name])
    def test_declared(self, delimiter: str, name: str) -> None:
        row = delimiter.join(["L1,x", f'"1{delimiter}0"', "", '"a ""b"""', ""])
        data = packed(name, f"{delimiter.join(FIELDS)}\r\n{row}\r\n".encode())
        values = ("L1,x", f"1{delimiter}0", None, 'a "b"', None)
        assert read(name, data, delimiter=delimiter) == [Record(2, values, None, None)]

    @pytest.mark.parametrize("delimiter", ["\t", " "], ids=ascii)
    @pytest.mark.parametrize(
        ("line", "found"),
        [
            pytest.param("%%%%", [Record(3, NOTHING, None, None)], id="as many as there are values"),
            pytest.param("%", [Record(3, NOTHING, "expected 5 values, found 2", "%")], id="too few"),
            pytest.param("", [], id="blank"),
        ],
    )
    def test_a_line_of_nothing_but_delimiters_is_a_record(self, delimiter: str, line: str, found: list[Record]) -> None:
        good = delimiter.join(GOOD_VALUES)
        rows = csv_(delimiter.join(FIELDS), good, line.replace("%", delimiter), good, delimiter=delimiter)
        expected = [each._replace(raw=each.raw and each.raw.replace("%", delimiter)) for each in found]
        assert rows == [Record(2, GOOD_VALUES, None, None), *expected, Record(4, GOOD_VALUES, None, None)]

    @pytest.mark.parametrize("header", [[*FIELDS, "phone"], [*FIELDS, ""]], ids=["unexpected name", "empty name"])
    def test_a_line_of_tabs_is_a_record_under_a_bad_header(self, header: list[str]) -> None:
        (record,) = csv_("\t".join(header), "\t" * 5, delimiter="\t")
        assert (record.number, record.values, record.raw) == (2, NOTHING, "\t" * 5)

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            pytest.param("L1;2;3;4", "expected 5 values, found 4", id="too few"),
            pytest.param('"L1"x;2;3;4;5', "not CSV: ';' expected after '\"'", id="text after quote"),
        ],
    )
    def test_problem(self, line: str, problem: str) -> None:
        found = csv_(self.SEMICOLONS, self.GOOD_LINE, line, self.GOOD_LINE, delimiter=";")
        assert found == [
            Record(2, GOOD_VALUES, None, None),
            Record(3, NOTHING, problem, line),
            Record(4, GOOD_VALUES, None, None),
        ]

    def test_no_record_of_a_file_with_another_delimiter_is_lost(self) -> None:
        found = csv_(HEADER, ",".join(GOOD_VALUES), delimiter=";")
        problem = "header: none of its names is a field of the feed"
        assert found == [
            Record(1, NOTHING, problem, HEADER),
            Record(2, NOTHING, problem, ",".join(GOOD_VALUES)),
        ]

    @pytest.mark.parametrize("name", ["a.jsonl", "a.parquet"])
    def test_other_formats_have_none(self, name: str) -> None:
        data = written().encode() if name == "a.jsonl" else parquet_bytes(pa.Table.from_pylist([GOOD]))
        assert read(name, data, delimiter=";") == [Record(1, GOOD_VALUES, None, None)]


def strings(*values: str | None) -> pa.Array:
    return pa.array(values, pa.string())


def decimals(*values: str | None, places: int = 2) -> pa.Array:
    return pa.array([value and Decimal(value) for value in values], pa.decimal128(18, places))


class TestParquet:
    @pytest.mark.parametrize(
        ("field", "column", "text"),
        [
            pytest.param("loan_id", strings("L1"), "L1", id="string"),
            pytest.param("loan_id", strings(""), None, id="empty string is null"),
            pytest.param("loan_id", strings(None), None, id="null"),
            pytest.param("loan_id", pa.nulls(1), None, id="column without a type"),
            pytest.param("loan_id", pa.array(["é"], pa.large_string()), "é", id="large string"),
            pytest.param("loan_id", pa.array(["é"], pa.string_view()), "é", id="string view"),
            pytest.param("loan_id", strings("L1").dictionary_encode(), "L1", id="dictionary"),
            pytest.param("principal", strings("10.005"), "10.005", id="money as string"),
            pytest.param("originated_on", strings("2025-1-2"), "2025-1-2", id="date as string"),
            pytest.param("principal", decimals("10.50"), "10.50", id="money as decimal"),
            pytest.param("principal", decimals("-0.05"), "-0.05", id="negative decimal"),
            pytest.param("principal", decimals("10.005", places=3), "10.005", id="three places"),
            pytest.param("apr", decimals("0", places=10), "0.000000", id="zero of ten places has no exponent"),
            pytest.param("principal", decimals("10.5", places=4), "10.50", id="a wide column appends zeros"),
            pytest.param("principal", decimals("10.005", places=4), "10.005", id="a wide column with a third place"),
            pytest.param("apr", decimals("0.00000001", places=8), "0.00000001", id="small decimal has no exponent"),
            pytest.param("instalments", decimals("12", places=0), "12", id="integer as decimal"),
            pytest.param("principal", pa.array([Decimal("1.5")], pa.decimal256(50, 2)), "1.50", id="wide decimal"),
            pytest.param("principal", pa.array([1050], pa.int64()), "10.50", id="cents"),
            pytest.param("principal", pa.array([-5], pa.int32()), "-0.05", id="negative cents"),
            pytest.param("principal", pa.array([0], pa.int8()), "0.00", id="no cents"),
            pytest.param("principal", pa.array([2**64 - 1], pa.uint64()), "184467440737095516.15", id="most cents"),
            pytest.param("principal", pa.array([-(2**63)], pa.int64()), "-92233720368547758.08", id="least cents"),
            pytest.param("instalments", pa.array([12], pa.int16()), "12", id="integer"),
            pytest.param("apr", pa.array([36], pa.uint8()), "36", id="rate as integer"),
            pytest.param("originated_on", pa.array([date(2025, 1, 2)]), "2025-01-02", id="date"),
            pytest.param(
                "originated_on", pa.array([10**7], pa.int32()).view(pa.date32()), "29349-01-26", id="far date"
            ),
            pytest.param("apr", pa.array([None], pa.float64()), None, id="null float is null"),
        ],
    )
    def test_exact_text(self, field: str, column: pa.Array, text: str | None) -> None:
        (record,) = parquet_({field: column})
        assert record == Record(1, tuple(text if name == field else None for name in FIELDS), None, None)

    @pytest.mark.parametrize(
        ("field", "column", "problem", "raw"),
        [
            pytest.param(
                "principal",
                pa.array([1.5]),
                "expected decimal, integer cents or text, found double (binary floats cannot hold cents)",
                "1.5",
                id="double for money",
            ),
            pytest.param(
                "principal",
                pa.array([float("nan")], pa.float32()),
                "expected decimal, integer cents or text, found float (binary floats cannot hold cents)",
                "NaN",
                id="float NaN for money",
            ),
            pytest.param(
                "apr",
                pa.array([1.5]),
                "expected decimal, integer or text, found double (binary floats are not exact)",
                "1.5",
                id="double for rate",
            ),
            pytest.param(
                "instalments",
                pa.array([12.0]),
                "expected integer, decimal or text, found double (binary floats are not exact)",
                "12.0",
                id="double for integer",
            ),
            pytest.param("loan_id", pa.array([1.5]), "expected text, found double", "1.5", id="double for text"),
            pytest.param("loan_id", pa.array([15]), "expected text, found int64", "15", id="integer for text"),
            pytest.param(
                "loan_id", decimals("1.50"), "expected text, found decimal128", '"1.50"', id="decimal for text"
            ),
            pytest.param(
                "originated_on",
                pa.array([20250102]),
                "expected date or text, found int64",
                "20250102",
                id="int for date",
            ),
            pytest.param(
                "originated_on",
                pa.array([datetime(2025, 1, 2, 3)], pa.timestamp("us")),
                "expected date or text, found timestamp",
                '"2025-01-02 03:00:00"',
                id="timestamp for date",
            ),
            pytest.param(
                "principal",
                pa.array([date(2025, 1, 2)]),
                "expected decimal, integer cents or text, found date32",
                '"2025-01-02"',
                id="date for money",
            ),
            pytest.param(
                "principal",
                pa.array([True]),
                "expected decimal, integer cents or text, found bool",
                "true",
                id="boolean",
            ),
            pytest.param(
                "loan_id", pa.array([b"a\xff"]), "expected text, found binary", '"a\\\\xff"', id="binary for text"
            ),
            pytest.param(
                "loan_id",
                pa.array([{SECRET: 1}]),
                "expected text, found struct",
                f'{{"{SECRET}": 1}}',
                id="struct, whose field names are not shown",
            ),
            pytest.param("loan_id", pa.array([["a"]]), "expected text, found list", '["a"]', id="list"),
            pytest.param(
                "apr",
                pa.array([10**7], pa.int32()).view(pa.date32()),
                "expected decimal, integer or text, found date32",
                '"(no Python value)"',
                id="a date that Python has not",
            ),
            pytest.param("loan_id", strings("a\0b"), "NUL character", '"a\\u0000b"', id="NUL"),
            pytest.param(
                "loan_id",
                pa.array([b"a\xff"]).view(pa.string()),
                "invalid UTF-8 at byte 2",
                '"a\\\\xff"',
                id="invalid UTF-8",
            ),
        ],
    )
    def test_problem(self, field: str, column: pa.Array, problem: str, raw: str) -> None:
        """The second row has null in the bad column: nothing is wrong with it."""
        other = "instalments" if field == "apr" else "apr"
        column = pa.chunked_array([column, pa.nulls(1, column.type)])
        bad, good = parquet_({other: strings("7", "8"), field: column})
        values = dict.fromkeys(FIELDS) | {other: "7"}
        shown = f'{{"{other}": "7", "{field}": {raw}}}'
        assert bad == Record(1, tuple(values.values()), f"{field}: {problem}", shown)
        assert good == Record(2, tuple((values | {other: "8"}).values()), None, None)

    @pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
    def test_a_midnight_without_a_zone_is_a_date(self, unit: str) -> None:
        days = [date(2025, 1, 2), date(1970, 1, 1), date(1969, 12, 31), None, date(2024, 2, 29)]
        found = parquet_({"originated_on": pa.array(days).cast(pa.timestamp(unit))})
        texts = [day and day.isoformat() for day in days]
        assert found == [Record(number, (*NOTHING[1:], text), None, None) for number, text in enumerate(texts, start=1)]

    @pytest.mark.parametrize("far", [2**63 - 1, -(2**63), 2**31 * 86_400_000], ids=["last", "first", "past the dates"])
    @pytest.mark.parametrize("unit", ["ms", "us", "ns"])
    def test_each_time_is_judged_by_itself(self, unit: str, far: int) -> None:
        day = {"ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}[unit]
        ticks = [day, day + 1, None, day - 1, -day, 1 - day, -1 - day, far, 0]
        found = parquet_({"originated_on": pa.array(ticks, pa.int64()).view(pa.timestamp(unit))})
        good = {1: "1970-01-02", 3: None, 5: "1969-12-31", 9: "1970-01-01"}
        assert {each.number: each.values[-1] for each in found if each.problem is None} == good
        assert {each.problem for each in found if each.number not in good} == {
            "originated_on: expected date or text, found timestamp"
        }
        assert {each.values for each in found if each.number not in good} == {NOTHING}

    def test_a_midnight_of_96_bits_may_be_another_zone_s(self) -> None:
        """So Spark writes moments: a midnight in New York is not that of the date in UTC."""
        days = pa.array([date(2025, 1, 2), None])
        found = parquet_({"originated_on": days.cast(pa.timestamp("us"))}, use_deprecated_int96_timestamps=True)
        assert [each.problem for each in found] == ["originated_on: expected date or text, found timestamp", None]

    @pytest.mark.parametrize(
        ("field", "column", "problem"),
        [
            pytest.param(
                "originated_on",
                pa.array([datetime(2025, 1, 2)], pa.timestamp("us", "UTC")),
                "expected date or text, found timestamp",
                id="a midnight of UTC",
            ),
            pytest.param(
                "originated_on",
                pa.array([datetime(2025, 1, 2, 5)], pa.timestamp("us", "America/New_York")),
                "expected date or text, found timestamp",
                id="a midnight elsewhere",
            ),
            pytest.param(
                "loan_id",
                pa.array([datetime(2025, 1, 2)], pa.timestamp("us")),
                "expected text, found timestamp",
                id="a field that is no date",
            ),
        ],
    )
    def test_a_midnight_that_is_no_date(self, field: str, column: pa.Array, problem: str) -> None:
        (record,) = parquet_({field: column})
        assert (record.values, record.problem) == (NOTHING, f"{field}: {problem}")

    def test_bad_texts_among_good_ones(self) -> None:
        column = pa.array([b"a", b"\xff", None, b"b\0", b"", b"c"]).view(pa.string())
        found = parquet_({"loan_id": column})
        assert [record.values[0] for record in found] == ["a", None, None, None, None, "c"]
        assert [record.number for record in found if record.problem] == [2, 4]

    @pytest.mark.parametrize(
        ("extra", "problem"),
        [
            pytest.param("phone", "unexpected field: phone", id="printable"),
            pytest.param(SECRET, "unexpected field: (unprintable name)", id="unprintable"),
        ],
    )
    def test_unexpected_column(self, extra: str, problem: str) -> None:
        (record,) = parquet_({"loan_id": strings("L1"), extra: strings(None)})
        assert record == Record(1, ("L1", *NOTHING[1:]), problem, f'{{"loan_id": "L1", "{extra}": null}}')

    @pytest.mark.parametrize(
        ("names", "problem"),
        [
            pytest.param(["loan_id", "loan_id"], "duplicated field: loan_id", id="duplicated"),
            pytest.param(["loan_id", ""], "empty field name", id="empty"),
        ],
    )
    def test_ambiguous_columns(self, names: list[str], problem: str) -> None:
        data = parquet_bytes(pa.Table.from_arrays([strings("L1"), strings("L2")], names=names))
        (record,) = read("a.parquet", data)
        assert record == Record(1, NOTHING, problem, f'{{"{names[0]}": "L1", "{names[1]}": "L2"}}')

    def test_row_numbers_across_batches_and_row_groups(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parquet, "MAX_ROWS", 7)
        names = [f"L{n}" for n in range(1, 51)]
        found = parquet_({"loan_id": strings(*names)}, row_group_size=20)
        assert [(record.number, record.values[0]) for record in found] == list(enumerate(names, start=1))

    def test_wide_rows_make_small_batches(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parquet, "BATCH_BYTES", 10_000)
        data = parquet_bytes(pa.table({"loan_id": strings(*("x" * 1000 + str(n) for n in range(40)))}))
        found = list(batches(io.BytesIO(data), "a.parquet", FIELDS))
        assert sum(batch.num_rows for batch in found) == 40
        assert max(batch.num_rows for batch in found) < 10

    def test_no_rows(self) -> None:
        assert parquet_({"loan_id": strings()}) == []

    @pytest.mark.parametrize(
        "damage",
        [
            pytest.param(lambda data: b"", id="no bytes"),
            pytest.param(lambda data: data[:-1], id="cut at the end"),
            pytest.param(lambda data: data[: len(data) // 2], id="cut in the middle"),
            pytest.param(lambda data: data[:20] + b"\xff" * 20 + data[40:], id="damaged page"),
            pytest.param(lambda data: data[:-40] + b"\xff" * 30 + data[-10:], id="damaged footer"),
            # 1000 is written as d0 0f; the last one is the row group's.
            pytest.param(lambda data: b"\xce\x0f".join(data.rsplit(b"\xd0\x0f", 1)), id="a row group that hides a row"),
            pytest.param(lambda data: b"loan_id,principal\nL1,5\n", id="another format"),
        ],
    )
    def test_damage(self, damage: Any) -> None:
        data = parquet_bytes(pa.table({"loan_id": strings(*map(str, range(1000)))}), write_page_checksum=True)
        with pytest.raises(CorruptLandingFile, match=r"landing file loans/d/a\.parquet: expected a readable Parquet"):
            read("loans/d/a.parquet", damage(data))

    def test_a_failing_disk_is_no_damage(self) -> None:
        class Failing(io.BytesIO):
            def read(self, size: int | None = -1) -> bytes:
                raise OSError(5, "Input/output error")

        with pytest.raises(OSError, match="Input/output error"):
            list(records(Failing(parquet_bytes(pa.table({"loan_id": strings("L1")}))), "a.parquet", FIELDS))


class TestProperties:
    """The quick readers give what the careful ones give, and nothing is lost."""

    TEXT = st.text(max_size=6)
    VALUE = st.one_of(
        TEXT.map(lambda text: json.dumps(text, ensure_ascii=False)),
        TEXT.map(json.dumps),
        st.sampled_from(["null", "true", "[]", "{}", "1", "-0.50", "1e5", "01", "NaN", '"x"', '"y"', "1" * 45, ""]),
    )
    LINE = st.one_of(  # of a JSON file: whole, damaged, or any bytes
        st.tuples(
            st.lists(st.tuples(st.sampled_from([*FIELDS, "other"]), VALUE), max_size=6),
            st.sampled_from([",", ", ", " , ", ",\t"]),
            st.sampled_from([":", ": ", " : "]),
        ).map(lambda x: ("{" + x[1].join(f'"{key}"{x[2]}{value}' for key, value in x[0]) + "}").encode()),
        st.binary(max_size=30).map(lambda data: data.replace(b"\n", b"")),
    )

    @given(st.lists(LINE, max_size=12))
    @settings(max_examples=300, deadline=None)
    def test_a_line_is_read_as_if_it_were_alone(self, content: list[bytes]) -> None:
        """Alone, a line meets no template: it is read with care."""
        # A line of its own first, so that a byte order mark is not dropped from any.
        alone = [record for line in content for record in read("a.jsonl", b"{}\n" + line)[1:]]
        together = read("a.jsonl", b"\n".join([b"{}", *content]))[1:]
        assert [record[1:] for record in together] == [record[1:] for record in alone]

    @pytest.mark.parametrize("name", ["a.jsonl", "a.csv"])
    @given(data=st.binary(max_size=200))
    @settings(max_examples=200, deadline=None)
    def test_every_line_is_a_record(self, name: str, data: bytes) -> None:
        data = (HEADER.encode() if name == "a.csv" else b"{}") + b"\n" + data
        found = [record.number for record in read(name, data)]
        lines_ = [number for number, line in enumerate(data.split(b"\n"), start=1) if line.strip(b" \t\r")]
        assert found == (lines_[1:] if name == "a.csv" else lines_)

    def test_many_shapes_of_record(self) -> None:
        names = list(FIELDS)
        content = [written(**dict.fromkeys(names[: n % 5])) for n in range(3 * json_lines.MAX_TEMPLATES)]
        found = jsonl(*content)
        assert [record.values for record in found] == [
            expected(**dict.fromkeys(names[: n % 5])) for n in range(len(content))
        ]

    def test_more_shapes_than_templates(self) -> None:
        fields = {f"f{n}": FieldKind.TEXT for n in range(3 * json_lines.MAX_TEMPLATES)}
        content = [json.dumps({name: name}) for name in fields] * 2
        found = jsonl(*content, fields=fields)
        assert [[value for value in record.values if value] for record in found] == [[name] for name in fields] * 2


@pytest.mark.parametrize(
    ("name", "data"),
    [
        pytest.param("a.JSONL", written().encode(), id="JSONL"),
        pytest.param("a.Jsonl.GZ", gzip.compress(written().encode()), id="Jsonl.GZ"),
        pytest.param("a.NDJSON.ZST", zstd(written().encode()), id="NDJSON.ZST"),
        pytest.param("a.CSV", f"{HEADER}\n{','.join(GOOD_VALUES)}".encode(), id="CSV"),
        pytest.param("a.csv.Zst", zstd(f"{HEADER}\n{','.join(GOOD_VALUES)}".encode()), id="csv.Zst"),
        pytest.param("a.PARQUET", parquet_bytes(pa.Table.from_pylist([GOOD])), id="PARQUET"),
    ],
)
def test_an_ending_may_be_in_upper_case(name: str, data: bytes) -> None:
    assert [record[1:] for record in read(name, data)] == [(GOOD_VALUES, None, None)]


@pytest.mark.parametrize("name", ["a.json", "a.csv.bz2", "a.parquet.gz", "a.gz", "a.zst", "jsonl", "a.CSV.TMP"])
def test_unknown_ending(name: str) -> None:
    message = (
        f"{name}: expected a name that ends in .jsonl, .jsonl.gz, .jsonl.zst, .ndjson, .ndjson.gz, .ndjson.zst, .csv, "
        ".csv.gz, .csv.zst, .parquet; found another ending"
    )
    with pytest.raises(UnknownLandingFile, match=re.escape(message)):
        read(name, b"")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "at least one field"),
        ({"raw": FieldKind.TEXT, "file": FieldKind.TEXT}, r"\['file', 'raw'\] have the names"),
    ],
    ids=["no field", "reserved names"],
)
@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_unusable_declaration(name: str, fields: dict[str, FieldKind], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(name, b"", fields)


def test_a_csv_file_whose_first_line_is_all_of_it_is_kept() -> None:
    """With line ends that are none here, the whole file is a header that is wrong: it is not a file of no record."""
    whole = "loan_id,principal\u2028L1,10.00\u2028L2,20.00"
    [found] = records(
        io.BytesIO(whole.encode()), "loans/2025-01-02/a.csv", {"loan_id": FieldKind.TEXT, "principal": FieldKind.MONEY}
    )
    assert (found.number, found.values, found.raw) == (1, (None, None), whole)
    assert found.problem is not None
    assert found.problem.startswith("unexpected field: ")


def test_a_csv_file_without_a_header_keeps_its_first_record() -> None:
    found = list(records(io.BytesIO(b"L1,Eve\nL2,Bob\n"), "a.csv", {"loan_id": FieldKind.TEXT, "name": FieldKind.TEXT}))
    assert [(each.number, each.raw) for each in found] == [(1, "L1,Eve"), (2, "L2,Bob")]
    assert {each.problem for each in found} == {"header: none of its names is a field of the feed"}


def test_a_csv_file_whose_lines_end_in_cr_is_refused_whole() -> None:
    with pytest.raises(CorruptLandingFile, match="a CR inside of the first line"):
        list(
            records(io.BytesIO(b"loan_id,name\rL1,Eve\r"), "a.csv", {"loan_id": FieldKind.TEXT, "name": FieldKind.TEXT})
        )
