"""Telling: once for each cause, in one message, by hooks that may fail and processes that may be killed."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from affirm_assets.orchestration.alerts import Alert, deliver, hooks_of, message, tell
from affirm_assets.settings import AlertSettings, MailSettings
from resources.alerts import HookFailed
from tests.alert_servers import mail_server, webhook_server

NOW = datetime(2025, 1, 3, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@dataclass
class FakeHook:
    """Takes what it is sent, or fails."""

    name: str = "fake"
    fails: Exception | None = None
    got: list[tuple[str, str]] = field(default_factory=list)
    tries: int = 0

    def send(self, subject: str, text: str) -> None:
        self.tries += 1
        if self.fails:
            raise self.fails
        self.got.append((subject, text))


def failing(name: str = "fake") -> FakeHook:
    return FakeHook(name, HookFailed(name, "an answer of 200", "500"))


def alert(cause: str = "run/1/step", **over: Any) -> Alert:
    valid = {
        "title": "the run failed",
        "reason": "no reason",
        "owner": "team:loans",
        "dataset": "loans/loans",
        "window": "2025-01-02",
        "link": "http://ui/runs/1",
    }
    return Alert(cause, **{**valid, **over})


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test() as instance:
        yield instance


class TestMessage:
    def test_one_alert_says_all_of_it(self) -> None:
        assert message([alert()]) == (
            "loans/loans 2025-01-02: the run failed",
            "team:loans:\n- loans/loans 2025-01-02: the run failed\n  no reason\n  http://ui/runs/1",
        )

    def test_several_are_grouped_by_owner_and_a_runs_link_stands_once(self) -> None:
        subject, text = message(
            [alert(dataset="b/b"), alert(owner="team:books", dataset="c/c", link=None), alert(dataset="d/d")]
        )
        assert subject == "b/b 2025-01-02: the run failed and 2 more"
        assert text.splitlines() == [
            "team:books:",
            "- c/c 2025-01-02: the run failed",
            "  no reason",
            "team:loans:",
            "- b/b 2025-01-02: the run failed",
            "  no reason",
            "- d/d 2025-01-02: the run failed",
            "  no reason",
            "  http://ui/runs/1",
        ]

    def test_what_has_neither_owner_nor_dataset(self) -> None:
        subject, text = message([alert(owner=None, dataset=None, window=None, link=None)])
        assert subject == "the run failed"
        assert text == "without an owner:\n- the run failed\n  no reason"


class TestTell:
    def test_all_that_is_new_goes_into_one_message(self, instance: dg.DagsterInstance) -> None:
        hook = FakeHook()
        assert tell(instance, [hook], [alert("a"), alert("b")], NOW) == 2
        ((subject, _),) = hook.got
        assert subject.endswith("and 1 more")

    def test_a_flood_is_told_in_messages_of_a_bearable_length_and_the_rest_at_the_next_tick(
        self, instance: dg.DagsterInstance
    ) -> None:
        hook = FakeHook()
        flood = [alert(f"run/{n}", dataset=f"d/d{n}", reason="x" * 10_000) for n in range(160)]
        assert [tell(instance, [hook], flood, NOW), tell(instance, [hook], [], NOW), len(hook.got)] == [150, 10, 6]
        assert all(len(text) < 20_000 for _, text in hook.got)
        told = sorted(line for _, text in hook.got for line in text.splitlines() if line.startswith("- "))
        assert told == sorted(f"- {each.dataset} 2025-01-02: the run failed" for each in flood)

    def test_a_cause_is_told_once_for_ever(self, instance: dg.DagsterInstance) -> None:
        hook = FakeHook()
        told = [tell(instance, [hook], [alert("a")], NOW + n * timedelta(days=40)) for n in range(3)]
        assert told == [1, 0, 0]
        assert len(hook.got) == 1

    def test_the_same_cause_twice_at_once(self, instance: dg.DagsterInstance) -> None:
        hook = FakeHook()
        assert tell(instance, [hook], [alert("a"), alert("a")], NOW) == 1
        assert "more" not in hook.got[0][0]

    def test_without_a_hook_nothing_is_remembered(self, instance: dg.DagsterInstance) -> None:
        assert tell(instance, [], [alert("a")], NOW) == 0
        assert tell(instance, [FakeHook()], [alert("a")], NOW) == 1

    def test_nothing_new_sends_nothing(self, instance: dg.DagsterInstance) -> None:
        hook = FakeHook()
        assert tell(instance, [hook], [], NOW) == 0
        assert hook.tries == 0


class TestFailingHook:
    def test_it_is_tried_again_and_the_other_gets_nothing_twice(self, instance: dg.DagsterInstance) -> None:
        bad, good = failing("bad"), FakeHook("good")
        assert tell(instance, [bad, good], [alert("a")], NOW) == 1
        bad.fails = None
        assert tell(instance, [bad, good], [alert("b")], NOW + 31 * SECOND) == 2
        assert [subject for subject, _ in bad.got] == ["loans/loans 2025-01-02: the run failed and 1 more"]
        assert [subject for subject, _ in good.got] == ["loans/loans 2025-01-02: the run failed"] * 2

    def test_its_order_does_not_matter(self, instance: dg.DagsterInstance) -> None:
        good, bad = FakeHook("good"), failing("bad")
        assert tell(instance, [good, bad], [alert("a")], NOW) == 1
        bad.fails = None
        assert tell(instance, [good, bad], [], NOW + 31 * SECOND) == 1
        assert (len(good.got), len(bad.got)) == (1, 1)

    def test_it_is_left_alone_for_longer_each_time(self, instance: dg.DagsterInstance) -> None:
        hook, tried = failing(), []
        for n in range(0, 300, 10):
            before = hook.tries
            tell(instance, [hook], [alert("a")], NOW + n * SECOND)
            tried += [n] * (hook.tries - before)
        assert tried == [0, 30, 90, 210]

    def test_the_problem_says_what_and_when_next(self, instance: dg.DagsterInstance) -> None:
        hook = failing()
        found = deliver(instance, [hook], [alert("a"), alert("b")], NOW)
        said = (
            "fake: expected an answer of 200, found 500 (1 in a row). Alerts that wait: 2. They are tried again after "
            "12:00:30 UTC, for a day at most."
        )
        assert (found.sent, found.problems) == (0, (said,))
        # As long as something waits, also while it is left alone.
        assert deliver(instance, [hook], [], NOW + SECOND).problems == (said,)
        assert hook.tries == 1

    def test_after_a_day_it_is_given_up(self, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture) -> None:
        hook = failing()
        tell(instance, [hook], [alert("a")], NOW)
        hook.fails = None
        assert deliver(instance, [hook], [], NOW + timedelta(days=1, seconds=1)).problems == ()
        assert hook.got == []
        assert "given up after a day, not taken by fake: a" in caplog.text
        assert tell(instance, [hook], [alert("a")], NOW + timedelta(days=2)) == 0

    def test_a_success_ends_the_pause(self, instance: dg.DagsterInstance) -> None:
        hook = failing()
        for n in (0, 30, 90):
            tell(instance, [hook], [alert("a")], NOW + n * SECOND)
        hook.fails = None
        tell(instance, [hook], [], NOW + 210 * SECOND)
        hook.fails = failing().fails
        assert "after 12:04:30" in deliver(instance, [hook], [alert("b")], NOW + 240 * SECOND).problems[0]

    def test_what_another_error_says_is_not_shown(
        self, instance: dg.DagsterInstance, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert tell(instance, [FakeHook(fails=ValueError("secret"))], [alert("a")], NOW) == 0
        assert "fake: expected it to take a message, found <class 'ValueError'>" in caplog.text
        assert "secret" not in caplog.text

    def test_one_that_is_no_longer_set_is_not_waited_for(self, instance: dg.DagsterInstance) -> None:
        tell(instance, [failing("old"), FakeHook("new")], [alert("a")], NOW)
        assert deliver(instance, [FakeHook("new")], [], NOW + 31 * SECOND).problems == ()
        back = FakeHook("old")
        assert tell(instance, [back], [], NOW + 62 * SECOND) == 0


def test_two_that_tell_at_once_send_once(instance: dg.DagsterInstance) -> None:
    answers, asked = threading.Event(), threading.Event()

    class Slow(FakeHook):
        def send(self, subject: str, text: str) -> None:
            asked.set()
            answers.wait(10)
            super().send(subject, text)

    hook = Slow()
    first = threading.Thread(target=tell, args=(instance, [hook], [alert("a")], NOW))
    first.start()
    assert asked.wait(10)
    # The other one leaves it to the first; what is new waits for the next tick.
    assert tell(instance, [hook], [alert("a"), alert("b")], NOW + SECOND) == 0
    answers.set()
    first.join()
    assert [subject for subject, _ in hook.got] == ["loans/loans 2025-01-02: the run failed"]
    assert tell(instance, [hook], [], NOW + 2 * SECOND) == 1


KILLED = """
import os, sys
from datetime import UTC, datetime
import dagster as dg
from affirm_assets.orchestration.alerts import Alert, tell
from resources.alerts import Webhook

class Killed(Webhook):
    def send(self, subject, text):
        super().send(subject, text)
        os._exit(9)

with dg.DagsterInstance.get() as instance:
    tell(instance, [Killed(sys.argv[1])], [Alert("a", "first", "no reason")], datetime.fromisoformat(sys.argv[2]))
"""


def test_killed_between_sending_and_remembering_it_is_sent_a_second_time_and_no_more(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "DAGSTER_HOME": instance.root_directory}
    with webhook_server() as server:
        command = [sys.executable, "-c", KILLED, server.url, NOW.isoformat()]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert (done.returncode, len(server.texts)) == (9, 1), done.stderr
        hooks = hooks_of(AlertSettings(server.url))
        # The killed process holds the sender's place for a minute.
        assert tell(instance, hooks, [Alert("a", "first", "no reason")], NOW + 30 * SECOND) == 0
        assert tell(instance, hooks, [Alert("a", "first", "no reason")], NOW + 61 * SECOND) == 1
        assert tell(instance, hooks, [Alert("a", "first", "no reason")], NOW + 91 * SECOND) == 0
    assert server.texts == ["*first*\nwithout an owner:\n- first\n  no reason"] * 2


def test_the_deployments_hooks_are_those_that_it_sets(instance: dg.DagsterInstance) -> None:
    assert hooks_of(AlertSettings()) == []
    with webhook_server() as chat, mail_server() as mail:
        settings = MailSettings("127.0.0.1", mail.port, "affirm@lender.example", ("team@lender.example",))
        chat.status = 500
        assert tell(instance, hooks_of(AlertSettings(chat.url, settings)), [alert("a")], NOW) == 1
        chat.status = 200
        assert tell(instance, hooks_of(AlertSettings(chat.url, settings)), [], NOW + 31 * SECOND) == 1
    assert len(chat.texts) == 1
    assert [each["Subject"] for each in mail.messages] == ["loans/loans 2025-01-02: the run failed"]
