"""The landing zone as the sample sees it: records as bytes, a folder for each feed and day, `_SUCCESS` at the end."""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from affirm_assets.lender.sample_data.window import SampleWindow

Feed = Literal["loans", "transactions", "adjustments"]

# What is held before it is appended to the files: the whole memory of the writer, whatever the number of loans.
_BUFFER_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class LoanRecord:
    """A record of the feed `loans`, its fields as they are written: text, but for the number of instalments."""

    loan_id: str
    user_id: str
    merchant_id: str
    borrower_email: str
    borrower_state: str
    product: str
    principal: str
    merchant_discount: str
    apr: str
    instalments: int
    frequency: str
    originated_on: str
    first_due_on: str
    currency: str

    def line(self) -> bytes:
        return json.dumps(vars(self)).encode() + b"\n"


@dataclass(frozen=True)
class TransactionRecord:
    """A record of the feed `transactions`, its fields as they are written; empty where there is no value."""

    transaction_id: str
    loan_id: str
    merchant_id: str
    kind: str
    amount: str
    effective_on: str
    reverses: str

    def line(self) -> bytes:
        # No value of ours holds a comma, a quote or a line end.
        return ",".join(vars(self).values()).encode() + b"\n"


@dataclass(frozen=True)
class AdjustmentRecord:
    """A record of the feed `adjustments`, its fields as they are written; empty where there is no value."""

    adjustment_id: str
    loan_id: str
    kind: str
    amount: str
    effective_on: str
    reason: str
    approver: str
    transaction_id: str = ""

    def line(self) -> bytes:
        return json.dumps(vars(self)).encode() + b"\n"


_PART_NAMES: dict[Feed, str] = {
    "loans": "part-00000.jsonl",
    "transactions": "part-00000.csv",
    "adjustments": "part-00000.jsonl",
}
FEEDS = tuple(_PART_NAMES)
_HEADERS: dict[Feed, bytes] = {
    "loans": b"",
    "transactions": ",".join(field.name for field in fields(TransactionRecord)).encode() + b"\n",
    "adjustments": b"",
}


def money(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


class SampleFiles:
    """Appends records to the day's file of their feed. A day counts for its readers only after `finish`.

    Records of other days than `days` are passed over.
    """

    def __init__(self, landing: Path, window: SampleWindow, days: range) -> None:
        self._landing = landing
        self._window = window
        self._days = days
        self._buffers: dict[tuple[Feed, int], bytearray] = {}
        self._buffered = 0
        self._started: set[tuple[Feed, int]] = set()

    @property
    def files(self) -> int:
        return len(self._started)

    def clear(self) -> None:
        """Empty the days' folders: first the marker, so that no reader takes a half-written day for a whole one."""
        for folder in self._folders():
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "_SUCCESS").unlink(missing_ok=True)
            for stale in folder.glob("part-*"):
                stale.unlink()

    def add(self, feed: Feed, day: int, line: bytes) -> bool:
        """Whether it is a record of these days."""
        if day not in self._days:
            return False
        self._buffers.setdefault((feed, day), bytearray()).extend(line)
        self._buffered += len(line)
        if self._buffered >= _BUFFER_BYTES:
            self._flush()
        return True

    def finish(self) -> None:
        self._flush()
        for folder in self._folders():
            (folder / "_SUCCESS").touch()

    def _flush(self) -> None:
        for (feed, day), lines in self._buffers.items():
            with (self._folder(feed, day) / _PART_NAMES[feed]).open("ab") as part:
                if (feed, day) not in self._started:
                    self._started.add((feed, day))
                    part.write(_HEADERS[feed])
                part.write(lines)
        self._buffers.clear()
        self._buffered = 0

    def _folder(self, feed: Feed, day: int) -> Path:
        return self._landing / feed / self._window.text(day)

    def _folders(self) -> list[Path]:
        return [self._folder(feed, day) for feed in _PART_NAMES for day in self._days]
