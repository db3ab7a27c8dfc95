"""Schedules at feeds' deadlines: what they look for, what they say, whom they tell."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

import affirm_assets.datasets
from affirm_assets.declare.calendar import NEW_YORK, Due
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.orchestration.deadlines import dates_due, deadline_schedules, feeds_due, late_files, says
from affirm_assets.settings import Settings
from resources.landing import LandingZone

REGISTRY = Registry.walk(affirm_assets.datasets)
FIRST = date(2025, 1, 1)
DUE = Due.parse("05:00 next business day")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=NEW_YORK)


def days(*texts: str) -> list[date]:
    return [date.fromisoformat(text) for text in texts]


@dataclass
class Hook:
    """A way to people that keeps what it was given."""

    name: str = "memory"
    sent: list[tuple[str, str]] = field(default_factory=list)

    def send(self, subject: str, text: str) -> None:
        self.sent.append((subject, text))


class TestDatesDue:
    @pytest.mark.parametrize(
        ("tick", "newly"),
        [
            ("2025-03-06T05:00", ["2025-03-05"]),
            ("2025-03-10T05:00", ["2025-03-07", "2025-03-08", "2025-03-09"]),  # clocks went forward on Sunday
            ("2025-11-03T05:00", ["2025-10-31", "2025-11-01", "2025-11-02"]),  # and back
            ("2025-01-21T05:00", ["2025-01-17", "2025-01-18", "2025-01-19", "2025-01-20"]),  # Monday was a holiday
            ("2025-11-28T05:00", ["2025-11-26", "2025-11-27"]),  # after Thanksgiving
            ("2025-12-26T05:00", ["2025-12-24", "2025-12-25"]),
            ("2026-01-02T05:00", ["2025-12-31", "2026-01-01"]),
            ("2026-07-06T05:00", ["2026-07-02", "2026-07-03", "2026-07-04", "2026-07-05"]),
        ],
    )
    def test_are_those_that_fall_due_and_those_of_the_days_before(self, tick: str, newly: list[str]) -> None:
        found = dates_due(DUE, at(tick), FIRST)
        assert [day for day in found if DUE.day(day) == at(tick).date()] == days(*newly)
        assert found[-1] == date.fromisoformat(newly[-1])
        assert all(0 <= (at(tick).date() - DUE.day(day)).days < 7 for day in found)

    @pytest.mark.parametrize("tick", ["2025-01-05T05:00", "2025-01-04T05:00", "2025-12-25T05:00", "2026-07-03T05:00"])
    def test_none_on_a_day_on_which_nobody_works(self, tick: str) -> None:
        assert dates_due(DUE, at(tick), FIRST) == []

    def test_each_date_falls_due_at_one_tick_of_the_schedule(self) -> None:
        ticks = [at(f"2025-{month:02}-{day:02}T05:00") for month in range(1, 13) for day in range(1, 29)]
        fell = [day for tick in ticks for day in dates_due(DUE, tick, FIRST) if DUE.day(day) == tick.date()]
        assert len(fell) == len(set(fell)) > 300

    def test_a_tick_that_was_missed_is_made_up_for(self) -> None:
        missed = dates_due(DUE, at("2025-03-10T05:00"), FIRST)
        assert set(days("2025-03-07", "2025-03-08", "2025-03-09")) <= set(missed)
        assert set(days("2025-03-07", "2025-03-08", "2025-03-09")) <= set(dates_due(DUE, at("2025-03-11T05:00"), FIRST))

    def test_none_before_the_first_business_date(self) -> None:
        assert dates_due(DUE, at("2025-01-03T05:00"), FIRST) == days("2025-01-01", "2025-01-02")
        assert dates_due(DUE, at("2024-12-30T05:00"), FIRST) == []

    def test_same_day(self) -> None:
        due = Due.parse("18:00 same day")
        assert dates_due(due, at("2025-01-05T18:00"), FIRST)[-1] == date(2025, 1, 5)


class TestSays:
    def test_nothing_falls_due(self) -> None:
        assert says(DUE, at("2025-01-05T05:00"), [], {}) == "Sunday 2025-01-05: no business date falls due."

    def test_complete(self) -> None:
        dates = dates_due(DUE, at("2025-01-06T05:00"), FIRST)
        assert says(DUE, at("2025-01-06T05:00"), dates, {}) == (
            "Due by 05:00 on Monday 2025-01-06: 2025-01-03, 2025-01-04, 2025-01-05. Complete, as is all that fell due "
            "in the 7 days before."
        )

    def test_late(self) -> None:
        dates = dates_due(DUE, at("2025-01-07T05:00"), FIRST)
        lacking = dict.fromkeys(days("2025-01-06"), "2025-01-06: no folder x") | dict.fromkeys(days("2025-01-04"), "y")
        assert says(DUE, at("2025-01-07T05:00"), dates, lacking) == (
            "Due by 05:00 on Tuesday 2025-01-07: 2025-01-06. Late: y; 2025-01-06: no folder x."
        )


class TestAlerts:
    def test_name_feed_date_and_owner(self) -> None:
        (loans,) = [each for each in feeds_due(REGISTRY, FIRST) if each.feed == "loans"]
        (alert,) = late_files(loans, {date(2025, 1, 4): "2025-01-04: no folder x"}, "http://ui")
        assert (alert.cause, alert.owner, alert.dataset, alert.window) == (
            "late/loans/2025-01-04",
            "team:data-platform",
            "landing/loan_rows",
            "2025-01-04",
        )
        assert alert.link == "http://ui/assets/landing/loan_rows?view=partitions&partition=2025-01-04"
        assert alert.reason == ("expected them by Monday 2025-01-06 05:00 in New York; found 2025-01-04: no folder x")


class TestSchedules:
    @pytest.fixture
    def instance(self, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
        (tmp_path / "instance").mkdir()
        with dg.instance_for_test(temp_dir=str(tmp_path / "instance")) as instance:
            yield instance

    @pytest.fixture
    def zone(self, tmp_path: Path) -> LandingZone:
        return LandingZone(str(tmp_path / "landing"))

    def land(self, zone: LandingZone, *texts: str) -> None:
        for text in texts:
            folder = Path(zone.root, "loans", text)
            folder.mkdir(parents=True)
            (folder / "_SUCCESS").touch()

    def tick(self, instance: dg.DagsterInstance, zone: LandingZone, hook: Hook, tick: str) -> dg.SkipReason | Any:
        (schedule,) = [each for each in deadline_schedules(REGISTRY, FIRST, "http://ui") if each.name == "loans_due"]
        # An open one leaves its instance to the garbage collector, and a dead instance to the tests that come after.
        with dg.build_schedule_context(
            instance, scheduled_execution_time=at(tick), resources={"landing_zone": zone, "alerts": [hook]}
        ) as context:
            return schedule.evaluate_tick(context)

    def test_there_is_one_for_each_feed_that_declares_a_deadline(self) -> None:
        schedules = deadline_schedules(REGISTRY, FIRST, "http://ui")
        assert {(each.name, each.cron_schedule, each.execution_timezone) for each in schedules} == {
            (f"{feed}_due", "0 5 * * *", "America/New_York") for feed in ("loans", "transactions", "adjustments")
        }
        assert all(each.default_status == dg.DefaultScheduleStatus.RUNNING for each in schedules)

    def test_a_feed_that_begins_later_lacks_no_date_before(self) -> None:
        begins = date(2025, 3, 3)
        rows = REGISTRY["loan_rows"]
        later = replace(rows, inputs={"records": replace(rows.feeds[0], since=begins)})
        (loans,) = feeds_due(Registry({later.name: later}), FIRST)
        assert dates_due(loans.due, at("2025-03-03T05:00"), loans.first) == []
        assert dates_due(loans.due, at("2025-03-05T05:00"), loans.first) == days("2025-03-03", "2025-03-04")

    def test_they_load_with_the_assets(self, tmp_path: Path) -> None:
        defs = build_defs(Settings.local(tmp_path, FIRST), REGISTRY)
        schedules, resources = (
            deadline_schedules(REGISTRY, FIRST, "http://ui"),
            {**(defs.resources or {}), "alerts": []},
        )
        dg.Definitions.validate_loadable(dg.Definitions(assets=defs.assets, resources=resources, schedules=schedules))

    def test_complete_folders_are_said_and_nobody_is_told(
        self, instance: dg.DagsterInstance, zone: LandingZone
    ) -> None:
        self.land(zone, "2025-01-01", "2025-01-02", "2025-01-03", "2025-01-04", "2025-01-05")
        hook = Hook()
        found = self.tick(instance, zone, hook, "2025-01-06T05:00")
        assert found.run_requests == []
        assert found.skip_message.startswith("Due by 05:00 on Monday 2025-01-06: 2025-01-03, 2025-01-04, 2025-01-05. C")
        assert hook.sent == []

    def test_late_folders_are_told_once_and_what_comes_later_is_not_told(
        self, instance: dg.DagsterInstance, zone: LandingZone
    ) -> None:
        self.land(zone, "2025-01-01", "2025-01-02", "2025-01-04")
        Path(zone.root, "loans/2025-01-03").mkdir()
        hook = Hook()
        found = self.tick(instance, zone, hook, "2025-01-06T05:00")
        assert f"Late: 2025-01-03: no _SUCCESS in {zone.root}/loans/2025-01-03; 2025-01-05: no f" in found.skip_message
        ((_, text),) = hook.sent
        assert all(each in text for each in ("2025-01-03", "2025-01-05", "team:data-platform"))
        self.tick(instance, zone, hook, "2025-01-06T05:00")
        self.land(zone, "2025-01-05", "2025-01-06")
        assert "Late: 2025-01-03: no _SUCCESS" in self.tick(instance, zone, hook, "2025-01-07T05:00").skip_message
        assert len(hook.sent) == 1

    def test_sunday(self, instance: dg.DagsterInstance, zone: LandingZone) -> None:
        hook = Hook()
        found = self.tick(instance, zone, hook, "2025-01-05T05:00")
        assert found.skip_message == "Sunday 2025-01-05: no business date falls due."
        assert hook.sent == []
