"""What a person lets pass, and why: kept in the properties of the table that it is of, or in the run's tag."""

import json
from collections.abc import Mapping
from datetime import date, datetime
from inspect import signature

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import ACCEPTED_DAYS
from affirm_assets.errors import AcceptanceRefused
from affirm_assets.steps.request import Acceptance, Run
from affirm_assets.steps.tables import SUMMARY, ensure_table

ACCEPTED = f"{SUMMARY}accepted."
"""Prefix of the table property of a day that is accepted: JSON of the reason, and who gave it when."""

TAG = "affirm/accept"
"""The tag of a run that accepts days for itself alone: `FEED DATE REASON`, one in each line."""

_TRIES = 5


def accept(catalog: Catalog, dataset: Dataset, day: date, reason: str, by: str, at: datetime) -> None:
    """Keep that a day's refusals are accepted, in one commit. Said again, the last reason counts.

    Raises CommitFailedException if others commit to the table again and again.
    """
    said = json.dumps({"reason": reason, "by": by, "at": at.isoformat(timespec="seconds")})
    for left in reversed(range(_TRIES)):
        try:
            with ensure_table(catalog, dataset).transaction() as transaction:
                transaction.set_properties({f"{ACCEPTED}{day}": said})
            return
        except CommitFailedException:
            if not left:
                raise


def accepting(datasets: Mapping[str, Dataset], feed: str) -> Dataset:
    """The dataset that refuses records of a feed: it has the feed's name. Raises AcceptanceRefused if none does."""
    able = {
        name: each
        for name, each in datasets.items()
        if any(ACCEPTED_DAYS in signature(audit.function).parameters for audit in each.audits)
    }
    if feed not in able:
        raise AcceptanceRefused(f"expected a feed, one of {', '.join(sorted(able))}; found {feed}.")
    return able[feed]


def accepted_days(dataset: Dataset, table: Table | None, run: Run) -> Mapping[date, str]:
    """The days of the dataset that are accepted, each with its reason: in the table as it was loaded, or by the run."""
    found = {each.day: each.reason for each in run.accepts if each.feed == dataset.name}
    for name, said in (table.properties if table else {}).items():
        if name.startswith(ACCEPTED):
            found.setdefault(date.fromisoformat(name.removeprefix(ACCEPTED)), json.loads(said)["reason"])
    return found


def acceptances(tag: str) -> tuple[Acceptance, ...]:
    """What a run's tag accepts. Raises AcceptanceRefused if it cannot be read."""
    found = []
    for line in filter(None, map(str.strip, tag.splitlines())):
        feed, day, reason = (*line.split(maxsplit=2), "", "")[:3]
        try:
            found.append(Acceptance(feed, date.fromisoformat(day), reason))
        except ValueError:
            reason = ""
        if not reason:
            raise AcceptanceRefused(f"run tag {TAG}: expected `FEED DATE REASON` in each line, found {line!r}.")
    return tuple(found)
