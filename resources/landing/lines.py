"""Bytes of a text file -> numbered lines. What a line means is the business of `json_lines` and `csv_lines`.

A record is one line, in CSV too: a newline inside quotes is not supported, so that a stray quote can never swallow
the good records after it.
"""

import codecs
import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

from resources.landing.errors import CorruptLandingFile

READ_BYTES = 4 << 20  # about 12,000 loans: large enough for the fixed cost of a batch, small beside a worker's memory
MAX_LINE_BYTES = 16 << 20  # a worker holds a whole line; a longer one is a file without newlines, not a record
MAX_BATCH_LINES = 20_000  # a bound on Python objects when lines are very short


@dataclass(frozen=True)
class Lines:
    """Consecutive lines without their ends; bytes that are not UTF-8 stand in them as lone surrogates."""

    first: int  # the line number, from 1, of texts[0]
    texts: list[str]
    clean: bool  # valid UTF-8 and no NUL: whatever is cut out of the lines can be stored


def read_lines(stream: BinaryIO, name: str) -> Iterator[Lines]:
    """The lines of a file, decompressed if its name ends in `.gz` or `.zst`, in bounded memory.

    Lines end in LF or CRLF; the last may have no end. A byte order mark at the start of the file is dropped.

    Raises:
        CorruptLandingFile: Truncated or damaged gzip or zstd, zstd that asks for a window of more than 128 MiB, or a
            line longer than 16 MiB.
    """
    number = 1
    for block in _whole_lines(_blocks(stream, name), name):
        try:
            text, valid = block.decode(), True
        except UnicodeDecodeError:
            text, valid = block.decode(errors="surrogateescape"), False
        texts = text.split("\n")
        if not texts[-1]:  # what follows the newline that ends the block
            texts.pop()
        if "\r" in text:
            texts = [line.removesuffix("\r") for line in texts]
        clean = valid and "\0" not in text
        for start in range(0, len(texts), MAX_BATCH_LINES):
            yield Lines(number + start, texts[start : start + MAX_BATCH_LINES], clean)
        number += len(texts)


def is_blank(line: str) -> bool:
    """Whether the line is no record at all."""
    return not line.strip(" \t\r")


def encoding_problem(line: str) -> str | None:
    """Where a line stops being UTF-8, as a 1-based byte of the line, or None."""
    try:
        line.encode()
    except UnicodeEncodeError as error:
        return f"invalid UTF-8 at byte {len(line[: error.start].encode()) + 1}"
    return None


def raw(line: str) -> str:
    """The line as text that can be stored: bytes that are not UTF-8 and NUL are shown escaped (`\\xff`, `\\x00`)."""
    text = line.encode(errors="surrogateescape").decode(errors="backslashreplace")
    return text.replace("\0", "\\x00")


def _blocks(stream: BinaryIO, name: str) -> Iterator[bytes]:
    match name.lower().rpartition(".")[2]:
        case "gz":
            yield from _unpacked(gzip.GzipFile(fileobj=stream, mode="rb"), stream, name, "gzip")
        case "zst":
            packed = pa.PythonFile(_KeptOpen(stream), mode="r")
            yield from _unpacked(pa.CompressedInputStream(packed, "zstd"), stream, name, "zstd")
        case _:
            yield from iter(lambda: stream.read(READ_BYTES), b"")


def _unpacked(archive: gzip.GzipFile | pa.NativeFile, stream: BinaryIO, name: str, kind: str) -> Iterator[bytes]:
    try:
        with archive:
            yield from iter(lambda: archive.read(READ_BYTES), b"")
        if not stream.tell():  # both readers take no bytes for an archive of nothing; to gzip and zstd they are none
            raise EOFError("it has no bytes")
    except (EOFError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's failure, not the file's
            raise
        raise CorruptLandingFile(
            f"landing file {name}",
            f"a complete {kind} archive",
            f"a truncated or damaged one ({error})",
            "Land the file again; nothing of it was published.",
        ) from error


class _KeptOpen:
    """What Arrow reads from. Arrow closes it, but the stream behind it is the caller's."""

    closed = False

    def __init__(self, stream: BinaryIO) -> None:
        self.read = stream.read

    def close(self) -> None:
        """Closes nothing."""


def _whole_lines(blocks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """Blocks that end where a line ends (or the file)."""
    held: list[bytes] = []  # the beginning of a line whose end is not read yet
    held_bytes, lines = 0, 0
    mark: bytes = codecs.BOM_UTF8
    for block in blocks:
        first_end = block.find(b"\n")
        held_bytes += len(block) if first_end < 0 else first_end
        if held_bytes > MAX_LINE_BYTES:
            raise CorruptLandingFile(
                f"landing file {name}, line {lines + 1}",
                f"a line of at most {MAX_LINE_BYTES:,} bytes",
                "a longer one",
                "Have its sender write one record a line, and land the file again.",
            )
        held.append(block)
        if first_end < 0:
            continue
        whole = b"".join(held)
        end = whole.rfind(b"\n") + 1
        held, held_bytes = [whole[end:]], len(whole) - end
        whole = whole[:end]
        lines += whole.count(b"\n")
        yield whole.removeprefix(mark)
        mark = b""
    if rest := b"".join(held).removeprefix(mark):
        yield rest
