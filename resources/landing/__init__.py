"""The landing zone: which files arrived, and every record in them as text, good or bad.

`files` pins and reads the folders of a store, which is a folder or a bucket (`stores`); `records` reads the bytes of
one file, with one module for each format. Nothing here knows a feed: which fields it has is the caller's to say, what
their text means is the next stage's.
"""

from resources.landing.errors import (
    CorruptLandingFile,
    LandingError,
    LandingFileChanged,
    LandingNotReady,
    LandingUnreachable,
    UnknownLandingFile,
)
from resources.landing.fields import FieldKind, Fields
from resources.landing.files import Arrival, LandingZone, read_pinned
from resources.landing.landing_file import LandingFile
from resources.landing.records import Record, batches, records

__all__ = [
    "Arrival",
    "CorruptLandingFile",
    "FieldKind",
    "Fields",
    "LandingError",
    "LandingFile",
    "LandingFileChanged",
    "LandingNotReady",
    "LandingUnreachable",
    "LandingZone",
    "Record",
    "UnknownLandingFile",
    "batches",
    "read_pinned",
    "records",
]
