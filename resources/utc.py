"""The time zone of a process that computes."""

import os
import time


def keep_utc() -> None:
    """Have this process and those that it starts keep UTC, whatever the machine's zone is.

    PySpark takes a datetime without a zone to be of the process's zone, and not of the session's: the same transform
    would publish other times on a machine in Tokyo. Said before an engine starts, so that the JVM and Python's workers
    have it too.
    """
    if os.environ.get("TZ") != "UTC":
        os.environ["TZ"] = "UTC"
        time.tzset()
