"""A webhook and a mail server that alerts go to, on this machine: gone after the test."""

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

PATH = "/services/T000/B000/secret-of-the-webhook"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class WebhookServer:
    """`status`: of its answers, with `answer`; `hangs`: it says nothing at all, or a byte now and then."""

    port: int = 0
    status: int = 200
    answer: bytes = b"ok"
    hangs: bool = False
    drips: bool = False
    texts: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{PATH}"


@contextmanager
def webhook_server() -> Iterator[WebhookServer]:
    told = WebhookServer()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == PATH
            assert self.headers["Content-Type"] == "application/json"
            content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if told.hangs:
                told.ended.wait(30)
                return
            if told.drips:
                while not told.ended.wait(0.1):
                    self.wfile.write(b"H")
                return
            if told.status == 200:
                told.texts.append(content["text"])
            self.send_response(told.status)
            self.send_header("Location", told.url)
            self.send_header("Content-Length", str(len(told.answer)))
            self.end_headers()
            self.wfile.write(told.answer)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield told
    finally:
        told.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass
class MailServer:
    port: int
    messages: list[EmailMessage] = field(default_factory=list)
    recipients: list[Sequence[str]] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)
    refuses: tuple[str, ...] = ()


@contextmanager
def mail_server(tls: ssl.SSLContext | None = None, password: str | None = None) -> Iterator[MailServer]:
    """`tls`: it wants STARTTLS; `password`: and a login with it."""
    got = MailServer(0)

    class Handler:
        async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, to: str, options: Any) -> str:
            if to in got.refuses:
                return "550 no such user"
            envelope.rcpt_tos.append(to)
            return "250 OK"

        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
            assert isinstance(envelope.content, bytes)
            message = message_from_bytes(envelope.content, policy=policy.default)
            assert isinstance(message, EmailMessage)
            got.messages.append(message)
            got.recipients.append([*envelope.rcpt_tos])
            return "250 OK"

    def authenticate(server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        got.logins.append((data.login, data.password))
        return AuthResult(success=data.password.decode() == password, handled=False)

    options: dict[str, Any] = {"tls_context": tls, "require_starttls": True} if tls else {}
    if password:
        options |= {"authenticator": authenticate, "auth_required": True}
    got.port = free_port()
    controller = Controller(Handler(), hostname="127.0.0.1", port=got.port, server_kwargs=options)
    controller.start()
    try:
        yield got
    finally:
        controller.stop()


def certificate(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Of a server that is called localhost, and the file by which it is trusted."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context, cert
