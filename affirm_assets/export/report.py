"""What is exported: a partition of a report, as it was closed, or as it is published now."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from affirm_assets.close import CLOSES, Close, Closing, Ledger, closes_of
from affirm_assets.declare.contract import personal_columns
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import SameWindow
from affirm_assets.declare.partitions import Monthly, Partitions, Window, iso_date
from affirm_assets.export.errors import PartitionMalformed, PartitionNotPublished, ReportUnknown
from affirm_assets.orchestration.plan import Books
from affirm_assets.steps.closed import month_text
from affirm_assets.steps.published import Record, records_of
from affirm_assets.steps.tables import RUN_ID, is_by_others, main_history, window_of

REPORT_DOMAINS = ("portfolio", "merchants", "ledger")
"""The folders of datasets whose tables are reports. The others hold what reports are made from."""

NOT_KNOWN = "not known any more"


@dataclass(frozen=True)
class Report:
    """A partition of a report. `day`: its first; `partition`: as people write it.

    `snapshot`: what is read of the table; `read_from`: the tag or branch that names it. `origin`, in words: of a closed
    month its close; of any other what the partition was published with, and what others have committed since. So it is
    the same again, whatever is published of other partitions meanwhile.
    """

    dataset: Dataset
    partitions: Partitions
    partition: str
    day: date
    table: Table
    snapshot: int
    read_from: str
    is_closed: bool
    origin: Mapping[str, str]


def find(ledger: Ledger, name: str, partition: str) -> Report:
    """The report of this name (`funding_tape` or `portfolio/funding_tape`) and partition (`2025-01`, or `2025-01-31`).

    Raises ReportUnknown, PartitionMalformed, PartitionNotPublished.
    """
    dataset, partitions = _report(ledger.datasets, name)
    day = _day(dataset, partitions, partition)
    tables = ledger.tables()
    records = records_of(ledger.datasets, tables)
    table, record = tables.get(dataset.table), records[dataset.name]
    if table is None or not record.covers(day):
        published = ", ".join(map(str, record.windows)) or "nothing"
        raise PartitionNotPublished(
            f"{dataset} of {partition}: expected it to be published; published is {published}. Materialize it first."
        )
    if found := _closed(tables, dataset, day):
        close, closing = found
        closed = table.snapshot_by_id(closing.snapshot)
        if closed is None:
            raise PartitionNotPublished(
                f"{dataset} of {partition}: expected snapshot {closing.snapshot}, as the month was closed (tag "
                f"{closing.tag}); found that it is gone: somebody has removed the tag. Restate the month to close it "
                "anew."
            )
        is_tagged = (ref := table.metadata.refs.get(str(closing.tag))) and ref.snapshot_id == closing.snapshot
        read_from = f"tag {closing.tag}" if is_tagged else f"snapshot {closing.snapshot}"
        by = {"snapshot id": str(closing.snapshot), "close": f"{month_text(close.month)}, number {close.number}"}
        return Report(dataset, partitions, partition, day, table, closing.snapshot, read_from, True, by)
    _check_whole(ledger, records, dataset, partitions, partition, day)
    snapshot = table.current_snapshot()
    assert snapshot is not None  # of a table of which a partition is published
    origin = _published_by(table, record, day)
    return Report(dataset, partitions, partition, day, table, snapshot.snapshot_id, "branch main", False, origin)


def _report(datasets: Mapping[str, Dataset], name: str) -> tuple[Dataset, Partitions]:
    reports = ", ".join(str(each) for each in datasets.values() if _is_report(each))
    found = [each for each in datasets.values() if name in (each.name, str(each))]
    if not found:
        raise ReportUnknown(f"{name}: expected a report, one of {reports}; found no dataset of that name.")
    (dataset,) = found
    if personal := sorted(personal_columns(dataset.contract)):
        raise ReportUnknown(
            f"{dataset}: expected a report without personal data, one of {reports}; found the personal columns "
            f"{', '.join(personal)}. They leave the lake in no file."
        )
    if not _is_report(dataset) or dataset.partitions is None:
        raise ReportUnknown(
            f"{dataset}: expected a report, one of {reports}; found a dataset that reports are made from. Query its "
            "table instead."
        )
    return dataset, dataset.partitions


def _is_report(dataset: Dataset) -> bool:
    return dataset.domain in REPORT_DOMAINS and not personal_columns(dataset.contract)


def _day(dataset: Dataset, partitions: Partitions, text: str) -> date:
    is_month = isinstance(partitions, Monthly)
    try:
        if is_month and not re.fullmatch(r"[0-9]{4}-[0-9]{2}", text):
            raise ValueError
        return iso_date(f"{text}-01" if is_month else text)
    except ValueError:
        expected = "a month, such as 2025-01" if is_month else "a date, such as 2025-01-31"
        raise PartitionMalformed(f"{dataset}: expected {expected}; found {text!r}.") from None


def _closed(tables: Mapping[str, Table], dataset: Dataset, day: date) -> tuple[Close, Closing] | None:
    """The close, and the table as the day's month was closed, the last time.

    Of a table that is newer than that: as the first month after it was closed.
    """
    closings = {
        (close.month, close.number): (close, each)
        for close in closes_of(tables.get(CLOSES))
        for each in close.tables
        if close.month >= day.replace(day=1) and each.table == dataset.table
    }
    first = min((month for month, _ in closings), default=None)
    return closings[max(each for each in closings if each[0] == first)] if first else None


def _check_whole(
    ledger: Ledger,
    records: Mapping[str, Record],
    dataset: Dataset,
    partitions: Partitions,
    partition: str,
    day: date,
) -> None:
    """Raises PartitionNotPublished if days of it are missing, or something that it was made from has changed since."""
    books = Books.of(ledger.datasets, records, ledger.first)
    days = partitions.days(Window(day, day))
    for mapped in dataset.leaves.values():
        if not isinstance(mapped, SameWindow):
            continue
        source, begins = ledger.datasets[mapped.dataset], books.begins[mapped.dataset]
        if source.partitions is None or begins > days.last:
            continue
        whole = source.partitions.covering(Window(max(days.first, begins), days.last))
        if missing := records[source.name].missing(whole, source.partitions):
            raise PartitionNotPublished(
                f"{dataset} of {partition}: expected all of it; found a part: {source}, of which it is made, is not "
                f"published for {', '.join(map(str, missing))}. Export it when that is there."
            )
    # What is carried from day to day is out of date with any day before it.
    carries = [dataset.name] if dataset.carry else []
    stale = books.why_stale(dataset.name, Window(day, day))
    if found := [*([stale] if stale else []), *books.lacking([*books.made_from(dataset.name), *carries], days.last)]:
        more = f", and {len(found) - 1} more" if len(found) > 1 else ""
        raise PartitionNotPublished(
            f"{dataset} of {partition}: expected it and all that it is made from to be up to date; found that "
            f"{found[0]}{more}. Compute that again first: affirm resume"
        )


def _published_by(table: Table, record: Record, day: date) -> Mapping[str, str]:
    """The snapshot and the run that published the day, as long as the table remembers them."""
    published, others = (NOT_KNOWN, NOT_KNOWN), list[int]()
    for one in reversed(record.recent):  # the newest last
        if Window.parse(one.window).contains(day):
            published = str(one.snapshot), one.run_id
    for snapshot in main_history(table):  # newest first
        window = window_of(snapshot)
        if window and Window.parse(window).contains(day):
            published = str(snapshot.snapshot_id), _run_of(snapshot)
            break
        if is_by_others(snapshot):
            others.append(snapshot.snapshot_id)
    since = ", ".join(f"snapshot {each}" for each in others) or "no"
    return {"snapshot id": published[0], "run id": published[1], "changed since by others": since}


def _run_of(snapshot: Snapshot) -> str:
    found = snapshot.summary.get(RUN_ID) if snapshot.summary else None
    return str(found or NOT_KNOWN)
