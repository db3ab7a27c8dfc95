"""Alerts: what is told to people, once for each cause, through the deployment's hooks.

What holds if a process is killed, or several tell at once: nothing that was handed to `tell` is lost, and a message is
sent twice only if its sender is killed between a hook's answer and the row that remembers it.
"""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Protocol

import dagster as dg

from affirm_assets.declare.dataset import Dataset
from affirm_assets.orchestration.alert_outbox import Outbox, Waiting
from affirm_assets.orchestration.partitions import asset_key
from affirm_assets.settings import AlertSettings
from resources.alerts import Email, HookFailed, Webhook
from resources.key_values import KeyValues

OLDEST = timedelta(days=1)
"""What is older is no news: it is neither looked for nor, should a hook fail for so long, sent any more."""

_IN_ONE = 30
"""Alerts in one message; the others come in the next. Slack takes 40,000 characters."""

_AT_ONCE = 5 * _IN_ONE
"""Alerts that are handed to a hook in one tick, which has a minute; the others wait for the next."""

_LONGEST_REASON = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alert:
    """Something that a person must know. It never holds a value of a row: not in its reason either.

    `cause` names it for ever: what was told of a cause is not told again. `title`: what happened, in a few words.
    """

    cause: str
    title: str
    reason: str
    owner: str | None = None
    dataset: str | None = None
    window: str | None = None
    link: str | None = None


def alert_of(dataset: Dataset, partition: date | None, ui_url: str, *, cause: str, title: str, reason: str) -> Alert:
    """To the dataset's owner, with a link to its page, or the partition's."""
    page = f"{ui_url}/assets/{'/'.join(asset_key(dataset).path)}"
    if partition is None:
        return Alert(cause, title, reason, dataset.owner, str(dataset), link=page)
    link = f"{page}?view=partitions&partition={partition}"
    return Alert(cause, title, reason, dataset.owner, str(dataset), str(partition), link)


class AlertHook(Protocol):
    """A way to people. Raises HookFailed, and takes seconds at most."""

    @property
    def name(self) -> str: ...

    def send(self, subject: str, text: str) -> None: ...


@dataclass(frozen=True)
class Delivery:
    """`sent`: alerts that at least one hook took now. `problems`: of each hook that something waits for."""

    sent: int = 0
    problems: tuple[str, ...] = ()


def hooks_of(settings: AlertSettings) -> list[AlertHook]:
    """Those that the deployment has set, for its resource `alerts`."""
    webhook, mail = settings.webhook, settings.mail
    hooks: list[AlertHook] = []
    if webhook is not None:
        hooks.append(Webhook(webhook))
    if mail is not None:
        hooks.append(Email(mail.host, mail.port, mail.sender, mail.to, mail.starttls, mail.user, mail.password))
    return hooks


def tell(instance: dg.DagsterInstance, hooks: Sequence[AlertHook], alerts: Iterable[Alert], now: datetime) -> int:
    """Send those that were never told, in one message, and what waits. Returns how many were sent.

    A hook that fails is no error of the caller: what it did not take waits, for the sensor `alerts`.
    """
    delivery = deliver(instance, hooks, alerts, now)
    for problem in delivery.problems:
        _log.warning("%s", problem)
    return delivery.sent


def deliver(
    instance: dg.DagsterInstance, hooks: Sequence[AlertHook], alerts: Iterable[Alert], now: datetime
) -> Delivery:
    """As `tell`, and says what is wrong with a hook. Without a hook nothing is sent and nothing remembered."""
    if not hooks:
        return Delivery()
    outbox = Outbox(KeyValues(instance))
    names = [hook.name for hook in hooks]
    for each in alerts:
        outbox.put(each.cause, asdict(each), names, now)
    with outbox.sender(now) as may_send:
        if not may_send:
            return Delivery()
        _give_up(outbox, names, now)
        sent: set[str] = set()
        problems = []
        for hook in hooks:
            waiting = [each for each in outbox.waiting() if hook.name in each.hooks][:_AT_ONCE]
            if waiting and (problem := _send(outbox, hook, waiting, now)):
                problems.append(problem)
            elif waiting:
                sent.update(each.cause for each in waiting)
        return Delivery(len(sent), tuple(problems))


def _give_up(outbox: Outbox, hooks: Sequence[str], now: datetime) -> None:
    for each in outbox.waiting():
        if now - each.since > OLDEST:
            _log.warning("given up after a day, not taken by %s: %s", " and ".join(each.hooks), each.cause)
            outbox.done(each, each.hooks, now)
        elif gone := [name for name in each.hooks if name not in hooks]:
            outbox.done(each, gone, now)


def _send(outbox: Outbox, hook: AlertHook, waiting: Sequence[Waiting], now: datetime) -> str | None:
    """What is wrong, if the hook did not take them or is left alone after it failed."""
    pause = outbox.pause(hook.name)
    if pause is None or pause.until <= now:
        for first in range(0, len(waiting), _IN_ONE):
            together = waiting[first : first + _IN_ONE]
            if failure := _failure(hook, together):
                pause = outbox.failed(hook.name, failure, now)
                break
            for each in together:
                outbox.done(each, [hook.name], now)
        else:
            if pause:
                outbox.took(hook.name)
            return None
    return (
        f"{pause.said} ({pause.failures} in a row). Alerts that wait: {len(waiting)}. They are tried again after "
        f"{pause.until:%H:%M:%S} UTC, for a day at most."
    )


def _failure(hook: AlertHook, together: Sequence[Waiting]) -> str | None:
    """Why a hook did not take them, in one message; None: it did."""
    try:
        hook.send(*message([Alert(**each.content) for each in together]))  # type: ignore[arg-type]
    except HookFailed as error:
        return str(error)
    except Exception as error:
        # Of a hook that is not ours: its text may hold a secret.
        return f"{hook.name}: expected it to take a message, found {type(error)}"
    return None


def message(alerts: Sequence[Alert]) -> tuple[str, str]:
    """Subject and text for all of them, by owner; of those with one link, such as a run's, it stands once."""
    lines = []
    for owner, of_owner in groupby(sorted(alerts, key=lambda each: each.owner or ""), key=lambda each: each.owner):
        lines.append(f"{owner or 'without an owner'}:")
        for link, of_link in groupby(of_owner, key=lambda each: each.link):
            lines += [line for each in of_link for line in _lines(each)]
            if link:
                lines.append(f"  {link}")
    others = f" and {len(alerts) - 1} more" if len(alerts) > 1 else ""
    return f"{_name(alerts[0])}{others}", "\n".join(lines)


def _lines(alert: Alert) -> tuple[str, str]:
    cut = f"{alert.reason[:_LONGEST_REASON]} ..." if len(alert.reason) > _LONGEST_REASON else alert.reason
    return f"- {_name(alert)}", "  " + cut.strip().replace("\n", "\n  ")


def _name(alert: Alert) -> str:
    """Such as: loans/loans 2025-01-02: audits failed."""
    of = " ".join(each for each in (alert.dataset, alert.window) if each)
    return f"{of}: {alert.title}" if of else alert.title
