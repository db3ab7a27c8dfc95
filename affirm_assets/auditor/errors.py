"""One class for each way in which an auditor's command cannot answer.

Not in affirm_assets.errors: datasets import that, and another code version of all of them would follow.
"""

from datetime import date

from affirm_assets.errors import AffirmError


class NothingToVerify(AffirmError):
    """A lake without a table that `affirm verify` is of, or without a day that all of them have."""


class LoanUnknown(AffirmError):
    """A loan that the books do not have."""

    def __init__(self, loan_id: str, booked: str) -> None:
        super().__init__(
            f"loan {loan_id}: expected a loan that is booked; found none of that id among the loans booked {booked}. "
            "Was it rejected? Look for it in loans.rejected_loans."
        )


class LoanNotYetBooked(AffirmError):
    """A date on which the books did not have the loan yet."""

    def __init__(self, loan_id: str, as_of: date, booked_on: date) -> None:
        super().__init__(f"loan {loan_id}: expected a date from its booking on, {booked_on}; found {as_of}.")


class DateNotPublished(AffirmError):
    """A business date that the books do not have."""

    def __init__(self, table: str, as_of: date, published: str) -> None:
        super().__init__(
            f"{table}: expected a business date that is published, {published or 'of which there is none yet'}; "
            f"found {as_of}."
        )


class RunUnknown(AffirmError):
    """A run that published nothing, as far as the tables remember."""

    def __init__(self, run_id: str, known: list[str]) -> None:
        some = f" The last that did: {', '.join(known[:5])}." if known else ""
        super().__init__(
            f"run {run_id}: expected a run that published, found none of that id in the records of the tables.{some}"
        )


class SnapshotExpired(AffirmError):
    """A snapshot that is not there any more, or that names files which are not."""

    def __init__(self, table: str, snapshot: int, of: str) -> None:
        super().__init__(
            f"{table}: expected the snapshot {snapshot} {of}; found that it is gone: somebody expired it. What it held "
            "cannot be read any more."
        )


class FilesGone(AffirmError):
    """Files that a snapshot names, or that were read from a landing zone, and that are gone or changed."""

    def __init__(self, what: str, expected: str, found: str) -> None:
        super().__init__(f"{what}: expected {expected}; found {found}. What they held cannot be read any more.")


class RunHasNotPublished(AffirmError):
    """A dataset of which a run published nothing."""

    def __init__(self, run_id: str, dataset: str, published: list[str]) -> None:
        has = f"; it published {', '.join(published)}" if published else ""
        super().__init__(
            f"run {run_id}: expected a dataset that it published, found {dataset}{has or ', which is no dataset'}."
        )


class ReportGone(AffirmError):
    """The file with the request of a publish is not there any more, or cannot be read."""

    def __init__(self, table: str, snapshot: int, run_id: str) -> None:
        super().__init__(
            f"{table}: expected the report affirm-{snapshot}.json beside the table's metadata, in which run {run_id} "
            "left its request; found none that can be read. What the step had read is not known any more."
        )
