"""Files land, and a real daemon makes books of them: late files, a failed audit, killed runs and daemons included."""

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from datetime import date, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import TickStatus

import tests.projects.two_feeds
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration.asking import CAUSE, REASON
from affirm_assets.settings import Settings
from affirm_assets.steps.published import Record, record_of
from affirm_assets.steps.tables import load_if_exists, main_history, window_of
from affirm_assets.stores import catalog_of
from tests.services import FIRST_BUSINESS_DATE, Services, kill, wait_for

FIRST = date.fromisoformat(FIRST_BUSINESS_DATE)
DATASETS = {each.name: each for each in Registry.walk(tests.projects.two_feeds).in_order()}
DAILY = ("sale_rows", "refund_rows", "takings", "totals")
SECONDS = 300


@pytest.fixture
def told() -> Iterator[tuple[str, list[str]]]:
    """A webhook's address, and the messages that it was sent."""
    messages: list[str] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["text"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/hook", messages
        server.shutdown()


@pytest.fixture
def services(tmp_path: Path, told: tuple[str, list[str]]) -> Iterator[Services]:
    services = Services(tmp_path, {"AFFIRM_ALERT_WEBHOOK": told[0]})
    try:
        yield services
    finally:
        services.stop()


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def land(services: Services, number: int, sales: str = "north,10.00", refunds: str = "north,1.00") -> None:
    for feed, line in (("sales", sales), ("refunds", refunds)):
        folder = services.lake / "landing" / feed / str(day(number))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "part.csv").write_text(f"shop,amount\n{line}\n")
        (folder / "_SUCCESS").touch()


def record(services: Services, name: str) -> Record:
    table = load_if_exists(catalog_of(Settings.local(services.lake, FIRST)).load(), DATASETS[name].table)
    return record_of(DATASETS[name], table) if table else Record()


def published(services: Services, last: int) -> bool:
    return all(record(services, name).covers(day(number)) for name in DAILY for number in range(last + 1))


def amounts(services: Services, table: str) -> dict[date, Any]:
    found = catalog_of(Settings.local(services.lake, FIRST)).load().load_table(table).scan().to_arrow().to_pylist()
    return {row["as_of"]: row["amount"] for row in found}


def test_files_become_books_whatever_is_killed_meanwhile(services: Services, told: tuple[str, list[str]]) -> None:
    for number in range(3):
        land(services, number)
    daemon = services.daemon()
    wait_for(lambda: published(services, 2), "the backlog", SECONDS)

    # A run that is killed is asked for again.
    (services.lake / "slow pin").write_text("20")
    land(services, 3)
    with services.instance() as instance:
        run, pid = wait_for(lambda: _begun(instance), "a run that reads files", SECONDS)
        (services.lake / "slow pin").unlink()
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: published(services, 3), "the day whose run was killed", SECONDS)
        assert instance.get_run_by_id(run).status == dg.DagsterRunStatus.FAILURE

        # A daemon that is killed in the middle of ticks asks for nothing twice.
        (services.lake / "slow listing").write_text("4")
        land(services, 4)
        wait_for(lambda: _evaluating(instance), "a tick in its middle", SECONDS)
        kill(daemon)
        (services.lake / "slow listing").unlink()
        daemon = services.daemon()
        wait_for(lambda: published(services, 4), "the day of the killed daemon", SECONDS)

        # A late file, and a day that its audit refuses.
        land(services, 2, sales="north,20.00")
        wait_for(lambda: amounts(services, "books.totals").get(day(4)) == 55, "the late file's books", SECONDS)
        land(services, 5, sales="north,1.00", refunds="north,9.00")
        failed = wait_for(lambda: _failed(instance, day(5)), "the failed audit", SECONDS)
        assert amounts(services, "books.takings").get(day(5)) is None
        land(services, 5, sales="north,9.00", refunds="north,9.00")
        wait_for(lambda: published(services, 5), "the mended day", SECONDS)

        # Published once: each window by the runs that the story tells of, and by no other.
        windows = Counter(window_of(each) for each in main_history(_table(services, "books.takings")))
        assert windows == {
            f"{day(0)}...{day(2)}": 1,
            str(day(3)): 1,
            str(day(4)): 1,
            f"{day(2)}...{day(4)}": 1,
            str(day(5)): 1,
        }
        causes = Counter(run.tags[CAUSE] for run in instance.get_runs() if CAUSE in run.tags)
        assert max(causes.values()) <= 2, "asked twice only where a run had failed"
        assert failed.tags[REASON]

        # Each alert was sent once: of the killed run, and of the failed audit with its name, but with no shop.
        wait_for(lambda: any(failed.run_id in each for each in told[1]), "the alert of the failed audit", SECONDS)
        after = _ticks_of(instance, "alerts")
        wait_for(lambda: _ticks_of(instance, "alerts") >= after + 2, "two more looks for alerts", SECONDS)
        for each in (run, failed.run_id):
            (alert,) = [message for message in told[1] if each in message]
        assert "no_shop_gives_more_than_it_takes" in alert
        assert not any("north" in message for message in told[1])
        lines = Counter(line for message in told[1] for line in message.splitlines() if line.startswith("- "))
        assert set(lines.values()) == {1}, lines


def _begun(instance: dg.DagsterInstance) -> tuple[str, int] | None:
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        for each in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_START):
            if each.dagster_event and each.dagster_event.pid:
                return run.run_id, each.dagster_event.pid
    return None


def _evaluating(instance: dg.DagsterInstance) -> bool:
    """Whether a tick is in its middle that may ask for something."""
    states = [each for each in instance.all_instigator_state() if each.name == "books" or "landing" in each.name]
    ticks = [instance.get_ticks(each.instigator_origin_id, each.selector_id, limit=1) for each in states]
    return any(found[0].status == TickStatus.STARTED for found in ticks if found)


def _ticks_of(instance: dg.DagsterInstance, sensor: str) -> int:
    (state,) = [each for each in instance.all_instigator_state() if each.name == sensor]
    ticks = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1_000)
    return len([each for each in ticks if each.status != TickStatus.STARTED])


def _failed(instance: dg.DagsterInstance, on: date) -> dg.DagsterRun | None:
    runs = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    return next((run for run in runs if run.tags.get("dagster/partition") == str(on)), None)


def _table(services: Services, name: str) -> Any:
    return catalog_of(Settings.local(services.lake, FIRST)).load().load_table(name)
