"""What a person lets pass, and why: kept in the properties of the table that it is of, or in the run's tag."""

import json
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import Feed
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import AcceptanceRefused
from affirm_assets.steps.request import Acceptance, Request
from affirm_assets.steps.tables import SUMMARY, load_if_exists, window_of

ACCEPTED = f"{SUMMARY}accepted."
"""Prefix of the table property of a day that is accepted: JSON of the reason, and who gave it when."""

TAG = "affirm/accept"
"""The tag of a run that accepts days for itself alone: `FEED DATE REASON`, one in each line."""

_TRIES = 5


@dataclass(frozen=True)
class Refuser:
    """The dataset that refuses records of a feed, and the one that reads them from files: often the same."""

    dataset: Dataset
    reader: Dataset

    @staticmethod
    def of(datasets: Mapping[str, Dataset], feed: str) -> "list[Refuser]":
        """One for each dataset that reads the feed. Raises AcceptanceRefused if there is no such feed."""
        read = [(each, reader) for reader in datasets.values() for each in reader.feeds]
        found = [
            Refuser(datasets.get(each.refused_by or "", reader), reader) for each, reader in read if each.feed == feed
        ]
        if not found:
            known = ", ".join(sorted({each.feed for each, _ in read}))
            raise AcceptanceRefused(f"expected a feed, one of {known or 'none'}; found {feed}.")
        return found

    def accept(self, catalog: Catalog, acceptance: Acceptance, by: str, at: datetime) -> int:
        """Keep that a day's refusals are accepted, in one commit, for as many records as are there of the day now.

        Returns that number: of another number, somebody is to look again. Said again, the last reason counts. Raises
        AcceptanceRefused if nothing was received, or nothing of the dataset was ever computed.
        """
        day, reason = acceptance.day, acceptance.reason
        records = self._records(_table(catalog, self.reader), day)
        if not records:
            raise AcceptanceRefused(
                f"{acceptance.feed} {day}: expected records of that date in {self.reader.table}, found none. "
                f"Materialize {self._names} first, and look at what is refused."
            )
        said = json.dumps({"reason": reason, "records": records, "by": by, "at": at.isoformat("T", "seconds")})
        for _ in range(_TRIES):
            with suppress(CommitFailedException):
                with _table(catalog, self.dataset).transaction() as transaction:
                    transaction.set_properties({f"{ACCEPTED}{day}": said})
                return records
        raise AcceptanceRefused(f"{self.dataset.table}: others commit to it all the time. Say it again.")

    def withdraw(self, catalog: Catalog, feed: str, day: date) -> None:
        """Take back that a day may pass. Raises AcceptanceRefused if nobody has said so."""
        for _ in range(_TRIES):
            table = _table(catalog, self.dataset)
            if f"{ACCEPTED}{day}" not in table.properties:
                raise AcceptanceRefused(
                    f"{feed} {day}: expected that what {self.dataset} refuses was accepted; it was not."
                )
            with suppress(CommitFailedException):
                with table.transaction() as transaction:
                    transaction.remove_properties(f"{ACCEPTED}{day}")
                return
        raise AcceptanceRefused(f"{self.dataset.table}: others commit to it all the time. Say it again.")

    @property
    def _names(self) -> str:
        return " and ".join(dict.fromkeys((str(self.reader), str(self.dataset))))

    def _records(self, table: Table, day: date) -> int:
        assert self.reader.partitions is not None
        snapshot = _newest_of(table, day) if self.dataset is self.reader else None
        return table.scan(row_filter=f"{self.reader.partitions.column} = '{day}'", snapshot_id=snapshot).count()


def _newest_of(table: Table, day: date) -> int | None:
    """The snapshot of the day's last try: what its audits refused is in none that readers see, but was kept."""
    newest_first = sorted(table.snapshots(), key=lambda each: each.timestamp_ms, reverse=True)
    windows = ((each.snapshot_id, window_of(each)) for each in newest_first)
    return next((snapshot for snapshot, window in windows if window and Window.parse(window).contains(day)), None)


def _table(catalog: Catalog, dataset: Dataset) -> Table:
    table = load_if_exists(catalog, dataset.table)
    if table is None:
        raise AcceptanceRefused(f"{dataset.table}: expected a table, found none. Materialize {dataset} first.")
    return table


def refusable(dataset: Dataset, upstream: Mapping[str, Dataset], table: Table | None, request: Request) -> Feed:
    """The feed whose records the dataset refuses, with the days of the window that are accepted.

    They are in the properties of the table as it was loaded, or said by the run. Raises AcceptanceRefused if a property
    cannot be read.
    """
    (feed,) = dataset.refuses_of(upstream.values())
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
    of_run = {each.day: None for each in request.run.accepts if each.feed == feed.feed}
    return Feed(feed.feed, feed.tolerance, {**found, **of_run})


def passed_by_people(
    dataset: Dataset, upstream: Mapping[str, Dataset], table: Table, request: Request
) -> Collection[date]:
    """Which days of the window a person has let pass."""
    if len(dataset.refuses_of(upstream.values())) != 1:
        return ()
    return refusable(dataset, upstream, table, request).accepted_days.keys()


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
