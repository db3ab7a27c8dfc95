"""What a table says of closed months, and what may be published into them.

It is in the table's own properties, and each try to publish requires of the catalog that they are as it saw them: a
close and a publish that race are one before the other. A REST or Glue catalog checks no property, but the tags of
closed months. There, a close may come between a publish's look and its commit if the table has personal data, and so no
tags.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from datetime import date, timedelta

from pyiceberg.table import Table

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.errors import MonthClosed, RecordRefused
from affirm_assets.steps.request import Request
from affirm_assets.steps.tables import SUMMARY

CLOSED_MONTH = f"{SUMMARY}closed-month"
"""The table property with the last month that is closed, `2025-01`; those before it are closed, too."""

RESTATEMENT = f"{SUMMARY}restatement"
"""The table property with the restatement that is under way, as JSON."""

DECIDE = (CLOSED_MONTH, RESTATEMENT)
"""The properties that decide what may be published: a publish is refused if they change before it commits."""

TAG = "affirm/restatement"
"""The tag of a run that may publish into closed months: the restatement's id."""


@dataclass(frozen=True)
class Restatement:
    """That closed months may be published again from a date on, why, and who says so (`at`: an ISO timestamp)."""

    id: str
    first: date
    reason: str
    by: str
    at: str

    def to_json(self) -> str:
        return json.dumps({**asdict(self), "first": str(self.first)})

    @staticmethod
    def from_json(text: str) -> "Restatement":
        value = json.loads(text)
        return Restatement(**{**value, "first": date.fromisoformat(value["first"])})


def month_text(month: date) -> str:
    """As in `2025-01`."""
    return f"{month:%Y-%m}"


def month_end(day: date) -> date:
    return (day.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)


def close_tag(month: date, number: int = 1) -> str:
    """The Iceberg tag of a table as a month was closed; with the number of the close, where it was closed again."""
    return f"close-{month_text(month)}" + (f"-{number}" if number > 1 else "")


def closed_through(table: Table) -> date | None:
    """The last day of the last month that is closed. Raises RecordRefused if nobody can tell."""
    said = table.properties.get(CLOSED_MONTH)
    if said is None:
        return None
    try:
        return month_end(date.fromisoformat(f"{said}-01"))
    except ValueError as error:
        raise _unreadable(table, CLOSED_MONTH, said, "a month such as 2025-01") from error


def restatement_of(table: Table) -> Restatement | None:
    """The one that is under way. Raises RecordRefused if nobody can tell."""
    said = table.properties.get(RESTATEMENT)
    if said is None:
        return None
    try:
        return Restatement.from_json(said)
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(table, RESTATEMENT, said, "a restatement as `affirm restate` writes it") from error


def restatements_of(tables: Iterable[Table]) -> Collection[Restatement]:
    """Those that are under way on any of these tables: one at most, unless somebody has set the property by hand."""
    return {found.id: found for each in tables if (found := restatement_of(each))}.values()


def part_through(dataset: Dataset, window: Window | None, through: date) -> Window | None:
    """The days of a window up to a day. A dataset without partitions has no days."""
    if window is None or dataset.partitions is None:
        return None
    days = dataset.partitions.days(window)
    return Window(days.first, min(days.last, through)) if days.first <= through else None


def first_reached(restatement: Restatement, dataset: Dataset) -> date:
    """The first day of the dataset that may be published: of the partition that holds the restatement's first date."""
    if dataset.partitions is None:
        return restatement.first
    first = dataset.partitions.covering(Window(restatement.first, restatement.first))
    return dataset.partitions.days(first).first


def check_open(dataset: Dataset, request: Request, table: Table) -> None:
    """Raises MonthClosed for a window in closed months, unless the run carries the restatement that is under way."""
    through = closed_through(table)
    closed = None if through is None else part_through(dataset, request.window, through)
    if closed is None:
        return
    restatement, carried = restatement_of(table), request.run.restatement
    if restatement is None:
        found = "none" if not carried else f"the run's tag {TAG}={carried}, which is not under way"
        to_do = f"affirm restate --from {closed.first} --reason TEXT"
    elif carried != restatement.id:
        found = f"{restatement.id} under way, and {f'the tag {TAG}={carried}' if carried else 'no such tag'} on the run"
        to_do = (
            f"Run it again with the tag {TAG}={restatement.id}; by a command, with AFFIRM_RESTATEMENT={restatement.id}"
        )
    elif closed.first < first_reached(restatement, dataset):
        found = f"{restatement.id}, which begins with {restatement.first}"
        to_do = f"affirm restate --from {closed.first} --reason TEXT, once that one has ended"
    else:
        return
    raise MonthClosed(str(dataset), request.window_text, str(table.properties[CLOSED_MONTH]), found, to_do)


def _unreadable(table: Table, name: str, said: str, expected: str) -> RecordRefused:
    found = f"the property {name} = {said!r}, where {expected} was expected"
    return RecordRefused(".".join(table.name()), found, "", f"Set it right, or remove it if no month is closed: {name}")
