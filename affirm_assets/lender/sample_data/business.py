"""What decides every record of a sample, and the file that says so beside the records."""

import json
from dataclasses import dataclass
from datetime import date

BUSINESS_FILE = "_sample.json"
"""In the landing zone's root. Readers ignore names that begin with '_'."""


@dataclass(frozen=True)
class Business:
    """So many loans over so many days from `start` on, and after them others at the same rate."""

    loans: int
    start: date
    days: int
    seed: int

    def json(self) -> bytes:
        return json.dumps({**vars(self), "start": self.start.isoformat()}).encode() + b"\n"

    @staticmethod
    def parse(content: bytes) -> "Business":
        """The inverse of `json`; raises ValueError."""
        try:
            found = json.loads(content)
            numbers = {name: int(found[name]) for name in ("loans", "days", "seed")}
            return Business(start=date.fromisoformat(found["start"]), **numbers)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"expected loans, start, days and seed; found {content[:200]!r}") from error
