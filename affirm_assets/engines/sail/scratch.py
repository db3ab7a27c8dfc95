"""A step's own folder for the frames that it keeps, which may hold personal data: removed with the step.

A process that is killed cannot remove it. The next step that keeps a frame on the machine does: a folder whose lock
nobody holds is a leftover, whichever container its process was in.
"""

import fcntl
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from affirm_assets.engines.sail.plain import MEANS_ITSELF
from affirm_assets.errors import SettingError

PREFIX = "affirm-kept-"
"""How the names of these folders begin, in the folder for temporary files."""

_LOCK = "lock"


class Scratch:
    """Makes the folder, which only its user can read, and holds its lock.

    Raises SettingError where Sail would take the path for a pattern: another folder might be on another disk.
    """

    def __init__(self) -> None:
        if not MEANS_ITSELF.fullmatch(tempfile.gettempdir()):
            expected = "a folder for temporary files without characters such as * ? [ { % in its path"
            raise SettingError("TMPDIR", repr(tempfile.gettempdir()), expected)
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
            self._lock = (self.path / _LOCK).open("w")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if self.path.exists():
                return
            # It was taken for a leftover before it was locked.
            self._lock.close()

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def remove_leftovers() -> None:
    """Remove the folders of processes that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        # Those of other users stay, and one that is made or removed at this moment has no lock.
        with suppress(OSError), (folder / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
