"""Ways in which the landing zone can fail, one class for each. No file is read here."""


class LandingError(Exception):
    """A landing zone, folder or file is not what its reader needs.

    The four parts are the exception's arguments, so that it survives pickling between a Spark worker and the driver.
    None of them ever holds a value from a record: it may be personal data.
    """

    def __init__(self, what: str, expected: str, found: str, remedy: str) -> None:
        super().__init__(what, expected, found, remedy)
        self.what = what
        self.expected = expected
        self.found = found
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}; found {self.found}. {self.remedy}"


class LandingNotReady(LandingError):
    """A business date of the range has no complete folder."""


class LandingUnreachable(LandingError):
    """The bucket does not answer, or refuses this process."""


class UnknownLandingFile(LandingError):
    """The zone holds a file or folder whose name says nothing about what it is."""


class LandingFileChanged(LandingError):
    """The file's bytes are no longer those that were pinned."""


class CorruptLandingFile(LandingError):
    """The file as a whole cannot be read: truncated, damaged, or a line without end."""
