"""The database's password for the JVM: libpq reads PGPASSWORD, PostgreSQL's JDBC driver reads a file only."""

import atexit
import os
import tempfile
from pathlib import Path

_own: tuple[int, str] | None = None
"""The process that wrote its file, and the file. A child has its parent's environment, but not its files for ever."""


def share_password() -> None:
    """Write PGPASSWORD into a file that only this user can read, and name it in PGPASSFILE for the JVMs that we start.

    The file goes when this process does. Without PGPASSWORD nothing happens; called again, neither.
    """
    global _own
    password = os.environ.get("PGPASSWORD")
    if not password or (_own and _own[0] == os.getpid()):
        return
    handle, name = tempfile.mkstemp(prefix="pgpass-")  # made with mode 0600
    with os.fdopen(handle, "w") as file:
        # For any host, port, database and user, as PGPASSWORD is.
        file.write("*:*:*:*:" + password.replace("\\", "\\\\").replace(":", "\\:") + "\n")
    os.environ["PGPASSFILE"] = name
    _own = os.getpid(), name
    atexit.register(_remove, *_own)


def _remove(process: int, name: str) -> None:
    if process == os.getpid():  # a forked child runs the handlers of its parent
        Path(name).unlink(missing_ok=True)
