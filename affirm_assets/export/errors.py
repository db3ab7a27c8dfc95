"""One class for each way in which nothing is exported.

Not in affirm_assets.errors: datasets import that, and another code version of all of them would follow.
"""

from affirm_assets.errors import AffirmError


class ReportUnknown(AffirmError):
    """A name that is no report's."""


class PartitionMalformed(AffirmError):
    """Text that does not name a partition: no month, or no date."""


class PartitionNotPublished(AffirmError):
    """A partition that is not published, not whole, or not up to date."""


class FileRefused(AffirmError):
    """A file that cannot be written there, or is of no known kind."""


class ValueRefused(AffirmError):
    """A value that a file of this kind does not hold as it is."""

    def __init__(self, column: str, found: object, expected: str, to_do: str) -> None:
        super().__init__(f"{column}: expected {expected}; found {found}. Nothing was written. {to_do}")


class ExportDiffers(AffirmError):
    """A file whose totals, read back, are not the table's."""
