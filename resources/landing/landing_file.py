"""One file of the landing zone. A module of its own, since it is all that the steps know of resources."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class LandingFile:
    """One pinned file: its bytes are the ones with this size and checksum, or reading it fails."""

    feed: str
    business_date: date
    name: str  # relative to the zone's root, with '/': loans/2025-01-02/part-00000.jsonl
    size: int  # bytes, as they lie in the zone (compressed)
    sha256: str  # of the same bytes, in hex
