"""A real daemon sees a deadline come, on the days of a clock change: its own clock is moved, and no other process's."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.scheduler.instigation import InstigatorTick, TickStatus

from tests.alert_servers import WebhookServer, webhook_server
from tests.services import ROOT, Services, kill, wait_for

SECONDS = 120

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)

SLEEP = """
import select, time

time.sleep = lambda seconds: select.select([], [], [], seconds)
"""
"""For the daemon's Python, whose sleep ends at a moment of the monotonic clock. libfaketime changes that moment too,
though it is to leave that clock alone, and the kernel refuses it."""

pytestmark = pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime: apt-get install faketime")


@pytest.fixture
def told() -> Iterator[WebhookServer]:
    with webhook_server() as told:
        yield told


@pytest.fixture
def clock(tmp_path: Path) -> Path:
    """The file that says how far the daemon's clock is from this machine's."""
    return tmp_path / "clock"


@pytest.fixture
def services(tmp_path: Path, told: WebhookServer, clock: Path) -> Iterator[Services]:
    (tmp_path / "sitecustomize.py").write_text(SLEEP)
    environment = {
        "PYTHONPATH": f"{tmp_path}:{ROOT}",
        "AFFIRM_ALERT_WEBHOOK": told.url,
        "AFFIRM_FIRST_BUSINESS_DATE": "2025-03-07",
        "LD_PRELOAD": str(LIBRARY),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # what waits for so many seconds is to wait for so many
    }
    services = Services(tmp_path / "services", environment)
    try:
        yield services
    finally:
        services.stop()


def move(clock: Path, to: datetime) -> None:
    new = clock.with_suffix(".new")
    new.write_text(f"{(to - datetime.now(UTC)).total_seconds():+.0f}\n")
    new.rename(clock)


def ended(instance: dg.DagsterInstance, schedule: str, number: int) -> list[InstigatorTick] | None:
    """Its ticks, newest first, once there are so many and the last one is over."""
    found = ticks(instance, schedule) or []
    return found if len(found) == number and found[0].status == TickStatus.SKIPPED else None


def ticks(instance: dg.DagsterInstance, schedule: str) -> list[InstigatorTick] | None:
    """None: the daemon has not seen the schedule yet."""
    for state in instance.all_instigator_state():
        if state.instigator_name == schedule:
            return [*instance.get_ticks(state.instigator_origin_id, state.selector_id)]
    return None


def test_a_deadline_is_five_in_the_morning_of_new_york_on_the_day_on_which_clocks_change(
    services: Services, told: WebhookServer, clock: Path
) -> None:
    """Clocks go forward on Sunday, 9 March: five o'clock is an hour earlier, in UTC, than on Friday."""
    sunday, monday = datetime(2025, 3, 9, 9, tzinfo=UTC), datetime(2025, 3, 10, 9, tzinfo=UTC)
    with services.instance() as instance:
        # What waits in the daemon by the clock gives up if that goes on by more than its minutes.
        move(clock, sunday - timedelta(seconds=150))
        daemon = services.daemon()
        wait_for(lambda: ticks(instance, "sales_due") is not None, "the daemon to see the schedule", SECONDS)
        move(clock, sunday - timedelta(seconds=5))
        (first,) = wait_for(lambda: ended(instance, "sales_due", 1), "the tick of Sunday", SECONDS)
        kill(daemon)

        move(clock, monday - timedelta(seconds=30))
        services.daemon()
        second, _ = wait_for(lambda: ended(instance, "sales_due", 2), "the tick of Monday", SECONDS)
    assert [datetime.fromtimestamp(each.timestamp, UTC) for each in (first, second)] == [sunday, monday]
    assert first.skip_reason == "Sunday 2025-03-09: no business date falls due."
    assert (second.skip_reason or "").startswith(
        "Due by 05:00 on Monday 2025-03-10: 2025-03-07, 2025-03-08, 2025-03-09. Late: 2025-03-07: no folder "
    )
    (text,) = [each for each in told.texts if "the files of feed sales are late" in each]
    assert text.count("expected them by Monday 2025-03-10 05:00 in New York") == 3
