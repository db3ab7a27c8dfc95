"""What a person lets pass, and why: kept in the properties of the table that it is of, or in the run's tag."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from inspect import signature

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import ACCEPTED_DAYS
from affirm_assets.errors import AcceptanceRefused
from affirm_assets.steps.request import Acceptance, Request
from affirm_assets.steps.tables import SUMMARY, load_if_exists

ACCEPTED = f"{SUMMARY}accepted."
"""Prefix of the table property of a day that is accepted: JSON of the reason, and who gave it when."""

TAG = "affirm/accept"
"""The tag of a run that accepts days for itself alone: `FEED DATE REASON`, one in each line."""

_TRIES = 5


def accept(catalog: Catalog, dataset: Dataset, landing: Dataset, acceptance: Acceptance, by: str, at: datetime) -> int:
    """Keep that a day's refusals are accepted, in one commit, for as many records as `landing` now has of the day.

    Returns that number: of another number, somebody is to look again. Said again, the last reason counts. Raises
    AcceptanceRefused if nothing was received, or nothing of the dataset was ever computed.
    """
    day = acceptance.day
    assert landing.partitions is not None
    records = _table(catalog, landing).scan(row_filter=f"{landing.partitions.column} = '{day}'").count()
    if not records:
        raise AcceptanceRefused(
            f"{acceptance.feed} {day}: expected records of that date in {landing.table}, found none. "
            "Materialize that dataset and this one first, and look at what is refused."
        )
    said = json.dumps({"reason": acceptance.reason, "records": records, "by": by, "at": at.isoformat("T", "seconds")})
    for _ in range(_TRIES):
        with suppress(CommitFailedException):
            with _table(catalog, dataset).transaction() as transaction:
                transaction.set_properties({f"{ACCEPTED}{day}": said})
            return records
    raise AcceptanceRefused(f"{dataset.table}: others commit to it all the time. Say it again.")


def _table(catalog: Catalog, dataset: Dataset) -> Table:
    table = load_if_exists(catalog, dataset.table)
    if table is None:
        raise AcceptanceRefused(f"{dataset.table}: expected a table, found none. Materialize {dataset} first.")
    return table


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


def accepted_days(dataset: Dataset, table: Table | None, request: Request) -> Mapping[date, int | None]:
    """The days of the window that are accepted, and for how many records; None: for any.

    In the properties of the table as it was loaded, or by the run. Raises AcceptanceRefused if a property cannot be
    read.
    """
    found: dict[date, int | None] = {}
    window = request.window
    for name, said in (table.properties if table and window else {}).items():
        day = name.removeprefix(ACCEPTED)
        # As text: what is no date lies in no window.
        if window and name.startswith(ACCEPTED) and str(window.first) <= day <= str(window.last):
            try:
                found[date.fromisoformat(day)] = int(json.loads(said)["records"])
            except (ValueError, KeyError, TypeError) as error:
                raise AcceptanceRefused(
                    f"{dataset.table}: expected a property {name} as `affirm accept` writes it, found {said!r}. Say it "
                    f"again by `affirm accept`, or remove the property."
                ) from error
    return {**found, **{each.day: None for each in request.run.accepts if each.feed == dataset.name}}


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
