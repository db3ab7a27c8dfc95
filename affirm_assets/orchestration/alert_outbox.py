"""What was told and what is to be told, kept in the instance: not in a cursor, which a killed tick does not write.

A cause has one row, for ever: with its content until every hook has taken it, then with the time alone. It is inserted
only if it is not there, and one process at a time sends, so that a sensor, a schedule and a command can tell at once.
Between a hook's answer and the row that says so is the only moment in which a killed process leads to a second message.
"""

import json
import os
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from resources.key_values import KeyValues

_CAUSES = "affirm/alert/cause/"
_PAUSES = "affirm/alert/pause/"
_SENDER = "affirm/alert/sender"

_WAITS = "{"
"""How the value of a row with content begins: JSON."""

_SENDS_AT_MOST = timedelta(minutes=1)
"""After which a process that holds the sender's place is taken for killed. Each hook gives up after ten seconds."""

_FIRST_PAUSE = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(hours=1)


@dataclass(frozen=True)
class Waiting:
    """A content that `hooks` have not taken yet; `row`: as it is stored."""

    cause: str
    content: Mapping[str, str | None]
    hooks: tuple[str, ...]
    since: datetime
    row: str


@dataclass(frozen=True)
class Pause:
    """Of a hook that failed so many times in a row: until when it is left alone, and what it last said."""

    failures: int
    until: datetime
    said: str


class Outbox:
    def __init__(self, values: KeyValues) -> None:
        self._values = values

    def put(self, cause: str, content: Mapping[str, str | None], hooks: Collection[str], now: datetime) -> bool:
        """Unless there was ever something of this cause. Whether it is new."""
        return self._values.insert(_CAUSES + cause, _row(content, hooks, now))

    def waiting(self) -> list[Waiting]:
        """Oldest first."""
        rows = self._values.begin_with(_CAUSES, _WAITS)
        return [_waiting(key.removeprefix(_CAUSES), row) for key, row in rows.items()]

    def done(self, each: Waiting, hooks: Collection[str], now: datetime) -> None:
        """It no longer waits for these hooks."""
        left = [name for name in each.hooks if name not in hooks]
        row = _row(each.content, left, each.since) if left else now.isoformat()
        self._values.replace(_CAUSES + each.cause, each.row, row)

    @contextmanager
    def sender(self, now: datetime) -> Iterator[bool]:
        """Whether this process may send. If not, another one does so at this moment."""
        mine = f"{(now + _SENDS_AT_MOST).isoformat()} {os.getpid()}-{threading.get_ident()}"
        if not self._take(mine, now):
            yield False
            return
        try:
            yield True
        finally:
            self._values.remove(_SENDER, mine)

    def _take(self, mine: str, now: datetime) -> bool:
        if self._values.insert(_SENDER, mine):
            return True
        theirs = self._values.get(_SENDER)
        if theirs is None or now < datetime.fromisoformat(theirs.split()[0]):
            return False
        return self._values.replace(_SENDER, theirs, mine)

    def pause(self, hook: str) -> Pause | None:
        row = self._values.get(_PAUSES + hook)
        if not row:
            return None
        found = json.loads(row)
        return Pause(found["failures"], datetime.fromisoformat(found["until"]), found["said"])

    def failed(self, hook: str, said: str, now: datetime) -> Pause:
        """Each failure in a row doubles the pause."""
        before = self.pause(hook)
        failures = before.failures + 1 if before else 1
        pause = Pause(failures, now + min(_FIRST_PAUSE * 2 ** min(failures - 1, 10), _LONGEST_PAUSE), said)
        row = {"failures": pause.failures, "until": pause.until.isoformat(), "said": pause.said}
        self._values.put(_PAUSES + hook, json.dumps(row))
        return pause

    def took(self, hook: str) -> None:
        """It answers; the next failure is its first."""
        self._values.put(_PAUSES + hook, "")


def _row(content: Mapping[str, str | None], hooks: Collection[str], since: datetime) -> str:
    return json.dumps({"content": dict(content), "hooks": list(hooks), "since": since.isoformat()})


def _waiting(cause: str, row: str) -> Waiting:
    found = json.loads(row)
    return Waiting(cause, found["content"], tuple(found["hooks"]), datetime.fromisoformat(found["since"]), row)
