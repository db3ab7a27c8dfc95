"""Ways to tell people something: a webhook that takes Slack's format, and plain e-mail.

A hook takes a subject and a text, or raises HookFailed within its seconds. What it raises and logs never holds the
webhook's URL or a password: they are secrets.
"""

import json
import re
import smtplib
import ssl
import threading
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.message import EmailMessage
from email.utils import format_datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError

_SECONDS = 10.0
"""For a message, from the look-up of the host's name to the answer. Sensors are evaluated one after the other: that
long the others may wait."""

_CODE = re.compile(r"[a-z_]{1,60}")
"""How Slack's answers say what is wrong, such as `channel_is_archived`. Another text may repeat the URL."""

_OF_SLACK = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
"""What Slack wants escaped; `<!channel>` would call everybody."""


class HookFailed(Exception):
    """A hook that did not take a message."""

    def __init__(self, hook: str, expected: str, found: str) -> None:
        super().__init__(f"{hook}: expected {expected}, found {found}")


@dataclass(frozen=True)
class Webhook:
    """Slack's incoming webhooks, and all that take the same: a POST of `{"text": ...}`, answered by 2xx."""

    url: str = field(repr=False)
    seconds: float = _SECONDS
    name: str = "webhook"

    def send(self, subject: str, text: str) -> None:
        """Raises HookFailed."""
        body = json.dumps({"text": f"*{_escaped(subject)}*\n{_escaped(text)}"}).encode()
        _within(self.seconds, self.name, lambda: self._post(body))

    def _post(self, body: bytes) -> None:
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        try:
            with urllib.request.build_opener(_NoRedirects).open(request, timeout=self.seconds):
                pass
        except HTTPError as error:
            raise HookFailed(self.name, "an answer of 200", f"{error.code}{_code_of(error)}") from None
        except (OSError, HTTPException) as error:
            raise HookFailed(self.name, "an answer of 200", _what_happened(error)) from None


@dataclass(frozen=True)
class Email:
    """Plain e-mail through one SMTP server. `user` and `password`: both or neither."""

    host: str
    port: int
    sender: str
    to: tuple[str, ...]
    starttls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    seconds: float = _SECONDS
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    name: str = "e-mail"

    def send(self, subject: str, text: str) -> None:
        """Raises HookFailed; not if a part of those that it is for were refused: the others have it."""
        message = EmailMessage()
        message["Subject"] = " ".join(subject.split())
        message["From"] = self.sender
        message["To"] = ", ".join(self.to)
        message["Date"] = format_datetime(self.clock())
        message.set_content(text)
        _within(self.seconds, self.name, lambda: self._deliver(message))

    def _deliver(self, message: EmailMessage) -> None:
        expected = f"{self.host}:{self.port} to take a message"
        try:
            with smtplib.SMTP(self.host, self.port, timeout=self.seconds) as server:
                if self.starttls:
                    server.starttls(context=ssl.create_default_context())
                if self.user and self.password:
                    server.login(self.user, self.password)
                server.send_message(message)
        except smtplib.SMTPResponseException as error:
            raise HookFailed(self.name, expected, f"{type(error).__name__} {error.smtp_code}") from None
        except smtplib.SMTPRecipientsRefused as error:
            codes = sorted({str(code) for code, _ in error.recipients.values()})
            raise HookFailed(self.name, expected, f"all recipients refused: {', '.join(codes)}") from None
        except (smtplib.SMTPException, OSError) as error:
            raise HookFailed(self.name, expected, _what_happened(error)) from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirected POST would become a GET without the message; the answer 3xx is an error that says so."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _within(seconds: float, hook: str, send: Callable[[], None]) -> None:
    """The limit for all of it: a socket's own is for each read, and none is for the look-up of a name.

    A thread that hangs on is left behind; its socket's timeouts end it.
    """
    ended: list[BaseException | None] = []

    def run() -> None:
        try:
            send()
        except BaseException as error:
            ended.append(error)
        else:
            ended.append(None)

    thread = threading.Thread(target=run, name=f"alert by {hook}", daemon=True)
    thread.start()
    thread.join(seconds)
    if not ended:
        raise HookFailed(hook, f"an answer within {seconds:g} seconds", "none")
    if ended[0] is not None:
        raise ended[0]


def _escaped(text: str) -> str:
    return "".join(_OF_SLACK.get(each, each) for each in text)


def _code_of(answer: HTTPError) -> str:
    with suppress(OSError, HTTPException):
        text = answer.read(100).decode(errors="replace").strip()
        if _CODE.fullmatch(text):
            return f" ({text})"
    return ""


def _what_happened(error: Exception) -> str:
    """Without the error's text, which may hold the URL: its kind, and what the system says of it."""
    cause = error.reason if isinstance(error, URLError) else error
    kind, said = type(cause).__name__, getattr(cause, "strerror", None)
    return f"{kind} ({said})" if said else kind
