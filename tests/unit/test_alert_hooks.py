"""The ways to people, against servers that take messages and servers that do not."""

import shutil
import socket
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from resources.alerts import Email, HookFailed, Webhook
from tests.alert_servers import PATH, certificate, free_port, mail_server, webhook_server

PASSWORD = "secret-of-the-mail"


class TestWebhook:
    def test_it_posts_what_slack_takes(self) -> None:
        with webhook_server() as server:
            Webhook(server.url).send("a subject", "line 1\nline 2")
        assert server.texts == ["*a subject*\nline 1\nline 2"]

    def test_what_slack_would_take_for_a_command_is_text(self) -> None:
        with webhook_server() as server:
            Webhook(server.url).send("<!channel>", "a & b")
        assert server.texts == ["*&lt;!channel&gt;*\na &amp; b"]

    @pytest.mark.parametrize(
        ("status", "answer", "says"),
        [
            pytest.param(500, b"", "found 500", id="500"),
            pytest.param(404, b"no_team", r"found 404 \(no_team\)", id="Slack says why"),
            pytest.param(404, f"no page {PATH}".encode(), "found 404$", id="an answer that repeats the URL"),
            pytest.param(302, b"", "found 302", id="a redirect, which would lose the message"),
        ],
    )
    def test_another_answer_is_a_failure_that_says_which(self, status: int, answer: bytes, says: str) -> None:
        with webhook_server() as server:
            server.status, server.answer = status, answer
            with pytest.raises(HookFailed, match=f"webhook: expected an answer of 200, {says}"):
                Webhook(server.url).send("a", "b")
        assert server.texts == []

    @pytest.mark.parametrize("how", ["hangs", "drips"])
    def test_a_server_that_hangs_is_left_after_the_seconds(self, how: str) -> None:
        with webhook_server() as server:
            setattr(server, how, True)
            start = time.monotonic()
            with pytest.raises(HookFailed, match=r"webhook: expected an answer"):
                Webhook(server.url, seconds=0.5).send("a", "b")
            assert time.monotonic() - start < 1.5

    def test_a_refused_connection_says_so(self) -> None:
        with pytest.raises(HookFailed, match=r"found ConnectionRefusedError \(Connection refused\)"):
            Webhook(f"http://127.0.0.1:{free_port()}{PATH}").send("a", "b")

    def test_the_url_is_shown_nowhere(self, caplog: pytest.LogCaptureFixture) -> None:
        hook = Webhook(f"http://127.0.0.1:{free_port()}{PATH}")
        with caplog.at_level("DEBUG"), pytest.raises(HookFailed) as failed:
            hook.send("a", "b")
        assert "secret-of-the-webhook" not in f"{hook!r} {failed.value!r} {caplog.text}"
        assert failed.value.__suppress_context__


def email(port: int, **over: Any) -> Email:
    valid = {"host": "localhost", "port": port, "sender": "affirm@lender.example", "to": ("a@x.example", "b@x.example")}
    return Email(**{**valid, **over})


class TestEmail:
    def test_it_is_plain_text_to_all(self) -> None:
        with mail_server() as server:
            email(server.port, clock=lambda: datetime(2025, 1, 2, tzinfo=UTC)).send("a\nsubject", "line 1\nZürich")
        (message,) = server.messages
        assert (message["Subject"], message["From"]) == ("a subject", "affirm@lender.example")
        assert message["To"] == "a@x.example, b@x.example"
        assert message["Date"] == "Thu, 02 Jan 2025 00:00:00 +0000"
        assert message.get_content_type() == "text/plain"
        assert message.get_content().split() == ["line", "1", "Zürich"]
        assert server.recipients == [["a@x.example", "b@x.example"]]

    def test_a_recipient_that_is_refused_does_not_keep_it_from_the_others(self) -> None:
        with mail_server() as server:
            server.refuses = ("a@x.example",)
            email(server.port).send("a", "b")
        assert server.recipients == [["b@x.example"]]

    def test_a_refusal_of_all_says_the_code(self) -> None:
        with mail_server() as server:
            server.refuses = ("a@x.example", "b@x.example")
            with pytest.raises(
                HookFailed, match=r"e-mail: expected localhost:\d+ to take .*all recipients refused: 550"
            ):
                email(server.port).send("a", "b")

    def test_a_refused_connection_says_so(self) -> None:
        with pytest.raises(HookFailed, match=r"found ConnectionRefusedError \(Connection refused\)"):
            email(free_port()).send("a", "b")

    def test_a_server_that_hangs_is_left_after_the_seconds(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            start = time.monotonic()
            with pytest.raises(HookFailed, match="e-mail: expected"):
                email(silent.getsockname()[1], host="127.0.0.1", seconds=0.5).send("a", "b")
            assert time.monotonic() - start < 1.5


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl, for a certificate")
class TestEmailWithLogin:
    def test_it_logs_in_after_starttls(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tls, trusted = certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        with mail_server(tls, PASSWORD) as server:
            email(server.port, starttls=True, user="affirm", password=PASSWORD).send("a", "b")
        assert len(server.messages) == 1
        assert server.logins == [(b"affirm", PASSWORD.encode())]

    def test_a_wrong_password_says_so_and_is_not_shown(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tls, trusted = certificate(tmp_path)
        monkeypatch.setenv("SSL_CERT_FILE", str(trusted))
        with mail_server(tls, "another") as server:
            hook = email(server.port, starttls=True, user="affirm", password=PASSWORD)
            with pytest.raises(HookFailed, match="found SMTPAuthenticationError 535") as failed:
                hook.send("a", "b")
        assert PASSWORD not in f"{hook!r} {failed.value!r}"
        assert server.messages == []

    def test_a_certificate_that_nobody_trusts_gets_no_password(self, tmp_path: Path) -> None:
        tls, _ = certificate(tmp_path)
        with mail_server(tls, PASSWORD) as server, pytest.raises(HookFailed, match="SSLCertVerificationError"):
            email(server.port, starttls=True, user="affirm", password=PASSWORD).send("a", "b")
        assert server.logins == []
