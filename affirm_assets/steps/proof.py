"""Whether a window adds up the whole history of what is carried, or goes on from what the day before closed with.

What the day before closed with was right when it was computed: it was proven, or went on from a day that was. It is
still right unless the code is another, or something before the window has changed since. So that, and nothing else, is
looked for, in records and snapshots: that costs the same on any day. At each month's end the whole history is added up
in any case, so that no mistake in this lasts longer.
"""

from collections.abc import Mapping
from datetime import date, timedelta

from pyiceberg.table import Table

from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import ToProve
from affirm_assets.declare.partitions import Window
from affirm_assets.steps.published import Publication, record_of
from affirm_assets.steps.tables import is_by_others, main_history, table_id, window_of


def why_it_proves(
    dataset: Dataset,
    upstream: Mapping[str, Dataset],
    window: Window | None,
    code_version: str,
    tables: Mapping[str, Table | None],
) -> str | None:
    """Why an audit of the window is to add up the whole history, in words; None: it need not, or there is none.

    `tables`: those that the dataset reads, and its own, by name, as the step pins them. Raises RecordRefused.
    """
    partitions = dataset.partitions
    if window is None or partitions is None or not _has_proof(dataset):
        return None
    if end := _month_end(partitions.days(window)):
        return f"{end} is the last day of a month"
    before = partitions.before(window, 1).last
    publication = _published_last(dataset, tables.get(dataset.table), before)
    if publication is None:
        return f"it is not known from what {before} was computed"
    if publication.code_version != code_version:
        return f"{before} was computed by code {publication.code_version}, and this is {code_version}"
    read = {each.dataset: upstream[each.dataset] for each in dataset.computed_from if each.dataset != dataset.name}
    for each in (dataset, *read.values()):
        table = tables.get(each.table)
        since = publication.sequence_number if each is dataset else _read_by(publication, each, table)
        if since is None:
            return f"{each} is another table than the one that {before} was computed from"
        if table and (change := _change(each, table, since, window.first)):
            return f"{change}, since {before} was computed"
    return None


def _has_proof(dataset: Dataset) -> bool:
    return any(isinstance(each, ToProve) for each in dataset.leaves.values())


def _month_end(days: Window) -> date | None:
    """The first last day of a month among them."""
    end = (days.first.replace(day=1) + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return end if end <= days.last else None


def _published_last(dataset: Dataset, table: Table | None, day: date) -> Publication | None:
    """With what a partition was published last: one that replaced another is kept for as long as that other."""
    recent = record_of(dataset, table).recent if table else ()
    return next((each for each in recent if Window.parse(each.window).contains(day)), None)


def _read_by(publication: Publication, source: Dataset, table: Table | None) -> int | None:
    """The sequence number of what was read of a source; None: it was not read, or is another table now."""
    read_id, _, number = publication.read.get(source.table, "none").partition(" ")
    if table is None:
        return None if read_id else 0
    return int(number) if read_id == table_id(table) else None


def _change(source: Dataset, table: Table, since: int, first: date) -> str | None:
    """What of partitions before `first` was published or written by others since, or may have been, in words."""
    if source.partitions is None:  # its readers take it as it is, and nothing of it is of a day
        return None
    recent = record_of(source, table).recent
    newer = [each for each in recent if each.sequence_number > since]
    for each in newer:
        if Window.parse(each.window).first < first:
            return f"{source} of {each.window} was published by run {each.run_id}"
    known = [each for each in recent if each.sequence_number <= since]
    # The record forgets the oldest publications that replaced nothing first, and those that replaced something last.
    if newer and all(each.again for each in known):
        return f"more of {source} was published than is remembered"
    parent, after = None, since + 1
    for snapshot in main_history(table):
        parent, after = snapshot.parent_snapshot_id, snapshot.sequence_number or 0
        if after == since:
            return None
        if after < since:  # what was read is no longer in its history
            return f"{source} was taken back to snapshot {snapshot.snapshot_id}"
        if is_by_others(snapshot):
            return f"snapshot {snapshot.snapshot_id} of {source} was written by somebody else"
        # As the record says, unless somebody has removed what it remembers.
        if (published := window_of(snapshot)) and Window.parse(published).first < first:
            return f"{source} of {published} was published with snapshot {snapshot.snapshot_id}"
    # Before the oldest snapshot that is left, whose parent may not be known, others may have written too.
    between = set(range(since + 1, after)) - {each.sequence_number for each in newer}
    if not between or parent in {each.snapshot for each in known if each.sequence_number == since}:
        return None
    return f"snapshots of {source} have expired"
