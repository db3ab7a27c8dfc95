"""What was read of the landing folders, known for ever: in the properties of the table that holds their records."""

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date

from affirm_assets.declare.partitions import Window
from affirm_assets.steps.tables import SUMMARY

FOLDERS = f"{SUMMARY}folders."
"""Prefix of the table properties, one for each feed and month.

`affirm.folders.loans.2025-01`: `02 <digest of the listing> <digest of the contents> <files>, 03 ...`. Ten years of a
feed are 110 KiB, which each commit to its one table writes again."""


@dataclass(frozen=True)
class Folder:
    """What was read of a day's folder: a digest of its listing, one of its files' contents, and how many they were."""

    listing: str
    contents: str
    files: int


_UNREADABLE = Folder("", "", 0)
"""Of a property that somebody has changed: equal to no folder, so that the folder is read again."""


@dataclass(frozen=True)
class Folders:
    """The last that was read of each feed's days. `months`: the properties, which are read where they are asked for."""

    months: Mapping[str, str] = field(default_factory=dict)

    @staticmethod
    def of(properties: Mapping[str, str]) -> "Folders":
        return Folders({name: text for name, text in properties.items() if name.startswith(FOLDERS)})

    def get(self, feed: str, day: date) -> Folder | None:
        """None: nothing was read of it."""
        return _days(self.months.get(_name(feed, day), "")).get(f"{day:%d}")

    def with_read(self, read: Mapping[tuple[str, date], Folder]) -> "Folders":
        changed: dict[str, dict[str, Folder]] = defaultdict(dict)
        for (feed, day), folder in read.items():
            changed[_name(feed, day)][f"{day:%d}"] = folder
        months = {name: _text({**_days(self.months.get(name, "")), **days}) for name, days in changed.items()}
        return Folders({**self.months, **months})

    def without(self, days: Window) -> "Folders":
        """As if nobody knew what was read of these days: then they are read again."""
        months = {}
        for name, text in self.months.items():
            month = name.rpartition(".")[2]
            read = _days(text)
            kept = [day for day in read if not days.contains(date.fromisoformat(f"{month}-{day}"))]
            months[name] = _text({day: read[day] for day in kept})
        return Folders(months)


def _name(feed: str, day: date) -> str:
    return f"{FOLDERS}{feed}.{day:%Y-%m}"


def _days(text: str) -> dict[str, Folder]:
    found = {}
    for each in filter(None, text.split(", ")):
        day, *digests = each.split(" ")
        found[day] = _UNREADABLE
        with suppress(TypeError, ValueError):
            listing, contents, files = digests
            found[day] = Folder(listing, contents, int(files))
    return found


def _text(days: Mapping[str, Folder]) -> str:
    return ", ".join(f"{day} {read.listing} {read.contents} {read.files}" for day, read in sorted(days.items()))
