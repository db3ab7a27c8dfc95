"""The sensors of the landing zone and of the books, tick by tick, with real runs over a lake of two small feeds."""

import errno
import importlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import pytest
from click.testing import CliRunner

import affirm_assets
import affirm_assets.datasets
import tests.projects.two_feeds
from affirm_assets.cli import main
from affirm_assets.close import Ledger, close_month
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.errors import DeclarationError
from affirm_assets.orchestration import partitions
from affirm_assets.orchestration.alerts import AlertHook
from affirm_assets.orchestration.asking import CAUSE, REASON, resume
from affirm_assets.orchestration.failed_runs import EVENTS, Place, alerts_of_run
from affirm_assets.orchestration.partitions import today
from affirm_assets.restate import begin
from affirm_assets.settings import Settings
from affirm_assets.stores import catalog_of
from tests.hooks import Hook

FIRST = date(2025, 1, 30)
SALES, REFUNDS = "sales", "refunds"
ASKING = ("_landing", "books", "months")
"""How the names of sensors end that ask for runs."""

DISPUTES = """
from datetime import date

from pyspark.sql import DataFrame

from affirm_assets.declare import Contract, Daily, column, dataset, key, landing


class DisputeRow(Contract):
    \"""One record of a file of the disputes feed, its fields as text.\"""

    file: str = key("Path of the file in the landing zone")
    record_number: int = key("Line of a text file", ge=1)
    business_date: date = column("Date of the folder")
    shop: str | None = column("Shop")
    amount: str | None = column("Amount")
    problem: str | None = column("Why the record is not well-formed")
    raw: str | None = column("The record's text, if it is not well-formed")


@dataset(
    DisputeRow,
    partitions=Daily("business_date"),
    inputs={"records": landing("disputes", {"shop": "text", "amount": "money"}, since=date(2025, 2, 1))},
    owner="team:disputes",
)
def dispute_rows(records: DataFrame) -> DataFrame:
    \"""Records of the disputes feed as they arrived.\"""
    return records
"""


@dataclass
class Shops:
    """A lake of the project with two feeds, an instance, and its sensors' cursors."""

    root: Path
    instance: dg.DagsterInstance
    cursors: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.declare(Registry.walk(tests.projects.two_feeds))

    def declare(self, registry: Registry, *hooks: AlertHook) -> None:
        """The datasets are these from now on."""
        self.defs = build_defs(Settings.local(self.root, FIRST), registry, {"alerts": [*hooks]})

    def land(self, feed: str, number: int, *lines: str, complete: bool = True) -> Path:
        folder = self.folder(feed, number)
        folder.mkdir(parents=True, exist_ok=True)
        Path(folder, "part.csv").write_text("\n".join(["shop,amount", *lines]) + "\n")
        if complete:
            Path(folder, "_SUCCESS").touch()
        return folder

    def land_all(self, number: int) -> None:
        self.land(SALES, number, "north,10.00", "south,5.00")
        self.land(REFUNDS, number, "north,1.00")

    def folder(self, feed: str, number: int) -> Path:
        return self.root / "landing" / feed / str(day(number))

    def tick(self, name: str) -> tuple[list[dg.DagsterRun], str]:
        """Evaluate a sensor as the daemon does, and execute what it asks for; the runs, and why there is none."""
        sensor = self.defs.get_sensor_def(name)
        repository = self.defs.get_repository_def()
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self.cursors.get(name),
            repository_def=repository,
            sensor_name=name,
            resources=dict(self.defs.resources or {}),
        ) as context:
            result = sensor.evaluate_tick(context)
        for event in result.asset_events:
            self.instance.report_runless_asset_event(event)
        self.cursors[name] = result.cursor
        return [self._execute(each) for each in result.run_requests or ()], result.skip_message or ""

    def cron(self, name: str) -> dg.RunRequest | dg.SkipReason:
        """Evaluate a schedule as the daemon does."""
        schedule = self.defs.get_schedule_def(name)
        assert schedule.cron_schedule == "0 6 * * MON"
        assert schedule.default_status is dg.DefaultScheduleStatus.RUNNING
        with dg.build_schedule_context(
            self.instance,
            scheduled_execution_time=datetime(2025, 2, 3, 11, tzinfo=UTC),
            repository_def=self.defs.get_repository_def(),
            resources=dict(self.defs.resources or {}),
        ) as context:
            found = schedule.evaluate_tick(context)
        requests = found.run_requests or []
        return requests[0] if requests else dg.SkipReason(found.skip_message)

    def _execute(self, request: dg.RunRequest) -> dg.DagsterRun:
        selection = list(request.asset_selection or ())
        job = self.defs.resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(
            instance=self.instance,
            asset_selection=selection,
            partition_key=request.partition_key,
            tags=dict(request.tags),
            raise_on_error=False,
        )
        return result.dagster_run if result.success else self.instance.get_run_by_id(result.run_id)

    def tick_to_the_end(self) -> list[tuple[str, str, str]]:
        """Tick all sensors until none asks for anything, twice; the runs as (sensor, window, reason)."""
        found: list[tuple[str, str, str]] = []
        quiet = 0
        for _ in range(30):
            before = len(found)
            for name in [each.name for each in self.defs.sensors or () if each.name.endswith(ASKING)]:
                found += [(name, window(run), run.tags[REASON]) for run in self.tick(name)[0]]
            quiet = quiet + 1 if len(found) == before else 0
            if quiet == 3:  # a folder that changed is looked at twice before it is read again
                return found
        raise AssertionError(f"no end of asking: {found[-3:]}")

    def rows(self, table: str) -> list[dict[str, Any]]:
        found = catalog_of(Settings.local(self.root, FIRST)).load().load_table(table).scan().to_arrow().to_pylist()
        return sorted(found, key=lambda row: [str(each) for each in row.values()])


def day(number: int) -> date:
    return FIRST + timedelta(days=number)


def window(run: dg.DagsterRun) -> str:
    one = run.tags.get("dagster/partition")
    return one or "...".join(run.tags[f"dagster/asset_partition_range_{end}"] for end in ("start", "end"))


@pytest.fixture
def shops(tmp_path: Path) -> Iterator[Shops]:
    with dg.DagsterInstance.ephemeral(str(tmp_path)) as instance:
        yield Shops(tmp_path / "lake", instance)


def test_a_first_start_books_the_backlog_in_one_run_and_then_each_date(shops: Shops) -> None:
    for number in range(4):
        shops.land_all(number)
    asked = shops.tick_to_the_end()
    assert [(name, over) for name, over, _ in asked] == [
        ("books", f"{day(0)}...{day(3)}"),
        ("months", "2025-01-01"),  # its last two days
    ]
    assert [row["amount"] for row in shops.rows("books.totals") if row["as_of"] == day(3)] == [36, 20]
    shops.land_all(4)
    assert [(name, over) for name, over, _ in shops.tick_to_the_end()] == [("books", str(day(4)))]
    assert not shops.tick_to_the_end()


def test_folders_are_reported_once(shops: Shops) -> None:
    shops.land_all(0)
    shops.land(SALES, 1, complete=False)
    for _ in range(2):
        shops.tick("sales_landing")
    shops.cursors["sales_landing"] = "lost"
    _, said = shops.tick("sales_landing")
    key = dg.AssetKey(["feeds", SALES])
    (found,) = shops.instance.fetch_materializations(key, limit=10).records
    assert found.partition_key == str(day(0))
    assert found.asset_materialization is not None
    assert {name: each.value for name, each in found.asset_materialization.metadata.items()} == {
        "files": 1,
        "bytes": len("shop,amount\nnorth,10.00\nsouth,5.00\n"),
    }
    assert f"sales of {day(1)}: waits for _SUCCESS" in said


def test_what_can_be_read_is_read_before_the_other_feed_is_there(shops: Shops) -> None:
    shops.land(SALES, 0, "north,10.00")
    assert [(name, over) for name, over, _ in shops.tick_to_the_end()] == [("sales_landing", str(day(0)))]
    _, said = shops.tick("books")
    assert said.startswith(f"waits for refunds of {day(0)}")
    shops.land(REFUNDS, 0)
    assert [name for name, *_ in shops.tick_to_the_end()] == ["books"]


def test_a_late_file_restates_from_its_day_on_and_its_month(shops: Shops) -> None:
    for number in range(4):
        shops.land_all(number)
    shops.tick_to_the_end()
    shops.land(SALES, 1, "north,10.00", "south,6.00")
    asked = shops.tick_to_the_end()
    assert [(name, over) for name, over, _ in asked] == [
        ("sales_landing", str(day(1))),
        ("books", f"{day(1)}...{day(3)}"),
        ("months", "2025-01-01"),
    ]
    assert asked[0][2] == f"late file: sales of {day(1)} changed after it was read"
    assert [row["amount"] for row in shops.rows("books.totals") if row["as_of"] == day(3)] == [36, 21]


def test_a_late_file_of_a_closed_month_is_told_and_computes_nothing_until_a_person_says_why(shops: Shops) -> None:
    registry, hook = Registry.walk(tests.projects.two_feeds), Hook()
    shops.declare(registry, hook)
    for number in range(4):  # 30 January and on
        shops.land_all(number)
    shops.tick_to_the_end()
    catalog = catalog_of(Settings.local(shops.root, FIRST)).load()
    ledger = Ledger(catalog, {each.name: each for each in registry.in_order()}, FIRST)
    close_month(ledger, FIRST.replace(day=1), "E0007", datetime(2025, 2, 3, tzinfo=UTC))
    before = shops.rows("books.totals")
    shops.land(SALES, 1, "north,10.00", "south,6.00")
    assert shops.tick_to_the_end() == []
    assert shops.rows("books.totals") == before
    assert ["files of feed sales for a closed month" in each for each in hook.sent].count(True) == 1
    begin(ledger, day(1), "The north shop sent another file", "E0008", datetime(2025, 2, 4, tzinfo=UTC))
    asked = shops.tick_to_the_end()
    assert [(name, over) for name, over, _ in asked] == [
        ("sales_landing", str(day(1))),
        ("books", f"{day(1)}...{day(3)}"),
        ("months", "2025-01-01"),
    ]
    assert shops.rows("books.totals") != before


def test_a_file_that_was_only_touched_restates_nothing(shops: Shops) -> None:
    shops.land_all(0)
    shops.tick_to_the_end()
    os.utime(shops.folder(SALES, 0) / "part.csv", (1, 1))
    assert not shops.tick_to_the_end()
    shops.cursors.clear()
    assert not shops.tick_to_the_end()


def test_an_archived_folder_is_no_change(shops: Shops) -> None:
    shops.land_all(0)
    shops.tick_to_the_end()
    for feed in (SALES, REFUNDS):
        for file in shops.folder(feed, 0).iterdir():
            file.unlink()
        shops.folder(feed, 0).rmdir()
    shops.land_all(1)
    assert ("books", str(day(1))) in [(name, over) for name, over, _ in shops.tick_to_the_end()]
    assert not shops.tick_to_the_end()


@pytest.mark.parametrize("lost", [None, "", "{}", "[1]", '{"reported": ["x"], "older": "", "seen": {}}'])
def test_a_cursor_that_is_lost_runs_nothing_twice_and_misses_nothing(shops: Shops, lost: str | None) -> None:
    for number in range(2):
        shops.land_all(number)
    shops.tick_to_the_end()
    shops.land(SALES, 0, "north,7.00")
    shops.cursors = dict.fromkeys(shops.cursors, lost)
    assert [(name, over) for name, over, _ in shops.tick_to_the_end()][:2] == [
        ("sales_landing", str(day(0))),
        ("books", f"{day(0)}...{day(1)}"),
    ]


def test_a_bad_day_is_tried_three_times_and_again_once_its_file_is_another(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("affirm_assets.orchestration.asking._WAITS", (timedelta(0),) * 3)
    shops.land_all(0)
    shops.land(SALES, 1, "north,1.00")
    shops.land(REFUNDS, 1, "north,9.00")  # more than was sold
    asked = shops.tick_to_the_end()
    assert ("books", str(day(0))) in [(name, over) for name, over, _ in asked]
    failed = [run for run in shops.instance.get_runs() if run.status == dg.DagsterRunStatus.FAILURE]
    assert len([run for run in failed if window(run) == str(day(1))]) == 3
    _, said = shops.tick("books")
    assert "failed, try 3." in said
    assert "affirm resume" in said
    # Told once for the three tries; and once more if it fails again after a person acted.
    assert len(causes_of_failures(shops, 1)) == 1
    resume(shops.instance, datetime.now(UTC))
    assert [over for _, over, _ in shops.tick_to_the_end()] == [str(day(1))] * 3
    assert len(causes_of_failures(shops, 1)) == 2
    shops.land(REFUNDS, 1, "north,1.00")
    shops.tick_to_the_end()
    assert [row["amount"] for row in shops.rows("books.takings") if row["as_of"] == day(1)] == [0]


def test_a_failure_is_told_once_though_the_next_try_leaves_out_what_the_first_one_published(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("affirm_assets.orchestration.asking._WAITS", (timedelta(0),) * 3)
    shops.land(SALES, 0, "north,1.00")
    shops.land(REFUNDS, 0, "north,9.00")  # more than was sold
    shops.tick_to_the_end()
    failed = [run for run in shops.instance.get_runs() if run.status == dg.DagsterRunStatus.FAILURE]
    assert {len(run.asset_selection or ()) for run in failed} == {4, 2}, "the rows were published by the first try"
    assert len(causes_of_failures(shops, 0)) == 1


def causes_of_failures(shops: Shops, number: int) -> set[str]:
    """Of the alerts of failed runs of a day: a cause is told once, for ever."""
    failed = [run for run in shops.instance.get_runs() if run.status == dg.DagsterRunStatus.FAILURE]
    place = Place({}, "http://ui", str)
    return {
        alert.cause
        for run in failed
        for alert in alerts_of_run(run, shops.instance.all_logs(run.run_id, of_type=EVENTS), place)
        if alert.window == str(day(number))
    }


def test_a_run_that_somebody_stopped_waits_until_it_is_resumed_in_the_ui(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    def is_stopped(shops: Shops, request: dg.RunRequest) -> dg.DagsterRun:
        return shops.instance.create_run_for_job(
            shops.defs.resolve_implicit_global_asset_job_def(),
            status=dg.DagsterRunStatus.CANCELED,
            tags=dict(request.tags),
            asset_selection=frozenset(request.asset_selection or ()),
        )

    shops.land_all(0)
    with monkeypatch.context() as patch:
        patch.setattr(Shops, "_execute", is_stopped)
        assert len(shops.tick("books")[0]) == 1
    asked, said = shops.tick("books")
    assert not asked
    assert "was cancelled. To go on: affirm resume" in said
    assert shops.defs.get_job_def("resume").execute_in_process(instance=shops.instance).success
    assert [window(each) for each in shops.tick("books")[0]] == [str(day(0))]


def test_a_dataset_that_a_cron_schedule_starts(tmp_path: Path) -> None:
    """The sensors leave it alone."""
    with dg.instance_for_test() as instance:
        starts_by_cron(Shops(tmp_path / "lake", instance))


def starts_by_cron(shops: Shops) -> None:
    datasets = {each.name: each for each in Registry.walk(tests.projects.two_feeds).in_order()}
    datasets["totals"] = replace(datasets["totals"], starts="0 6 * * MON")
    shops.declare(Registry(datasets))
    shops.land_all(0)
    assert [over for name, over, _ in shops.tick_to_the_end() if name == "books"] == [str(day(0))]
    assert [row["amount"] for row in shops.rows("books.takings")] == [9, 5]
    asked = shops.cron("books__totals")
    assert isinstance(asked, dg.RunRequest)
    assert [key.path[-1] for key in asked.asset_selection or ()] == ["totals"]
    assert shops._execute(asked).status is dg.DagsterRunStatus.SUCCESS
    assert [row["amount"] for row in shops.rows("books.totals")] == [9, 5]
    again = shops.cron("books__totals")
    assert isinstance(again, dg.SkipReason)
    assert again.skip_message == f"books/totals of {day(1)}: waits for books/takings"


def test_a_start_that_there_is_not_is_refused(shops: Shops) -> None:
    datasets = {each.name: each for each in Registry.walk(tests.projects.two_feeds).in_order()}
    datasets["totals"] = replace(datasets["totals"], starts="sometimes")
    with pytest.raises(DeclarationError, match=r"dataset 'totals': expected starts= to be .*; found 'sometimes'"):
        shops.declare(Registry(datasets))


def test_what_a_run_computes_is_not_asked_for_again(shops: Shops) -> None:
    shops.land_all(0)
    names = [dg.AssetKey(["books", "takings"])]
    running = shops.instance.create_run_for_job(
        shops.defs.resolve_implicit_global_asset_job_def(),
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": str(day(0))},
        asset_selection=frozenset(names),
    )
    runs, said = shops.tick("books")
    assert not runs
    assert f"after run {running.run_id[:8]}" in said


BAD_ENTRIES: Mapping[str, str] = {
    "2025-13-45": "expected a folder named <YYYY-MM-DD>",
    "20250131": "expected a folder named <YYYY-MM-DD>",
    "jane@example.com": "an entry beside",
    str(FIRST - timedelta(days=1)): "before the first business date",
    "9999-12-31": "expected a business date that has begun",
}


def test_bad_names_are_told_and_stop_nothing(shops: Shops, tmp_path: Path) -> None:
    shops.land_all(0)
    root = shops.root / "landing" / SALES
    for name in BAD_ENTRIES:
        (root / name).mkdir()
        (root / name / "_SUCCESS").touch()
    (root / "stray.csv").write_text("shop,amount\n")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "_SUCCESS").touch()
    (root / str(day(1))).symlink_to(outside)
    _, said = shops.tick("sales_landing")
    for words in [*BAD_ENTRIES.values(), "found a file of another name", "a link that leads out of it"]:
        assert words in said
    assert "jane@example.com" not in said
    assert [over for name, over, _ in shops.tick_to_the_end() if name == "books"] == [str(day(0))]


def test_a_link_inside_of_a_folder_that_leads_out_is_not_read(shops: Shops, tmp_path: Path) -> None:
    shops.land_all(0)
    secret = tmp_path / "secret.csv"
    secret.write_text("shop,amount\nnorth,1.00\n")
    (shops.folder(SALES, 0) / "more.csv").symlink_to(secret)
    _, said = shops.tick("sales_landing")
    assert "more.csv" in said
    assert "a link that leads out of it" in said
    _, said = shops.tick("books")
    assert f"waits for sales of {day(0)}" in said


def test_a_link_to_another_date_is_not_booked_twice(shops: Shops) -> None:
    shops.land_all(0)
    (shops.root / "landing" / SALES / str(day(1))).symlink_to(shops.folder(SALES, 0))
    shops.land(REFUNDS, 1)
    _, said = shops.tick("sales_landing")
    assert f"found a link to sales/{day(0)}" in said
    assert [over for name, over, _ in shops.tick_to_the_end() if name == "books"] == [str(day(0))]


def test_a_date_that_links_to_where_it_is_kept_is_read(shops: Shops) -> None:
    """As some senders publish a folder at once: `2025-01-02` links to `.sent/2025-01-02.7`."""
    shops.land_all(0)
    sent = shops.root / "landing" / ".sent"
    sent.mkdir()
    folder = shops.folder(SALES, 0)
    folder.rename(sent / f"{day(0)}.7")
    folder.symlink_to(sent / f"{day(0)}.7")
    assert [over for name, over, _ in shops.tick_to_the_end() if name == "books"] == [str(day(0))]


def test_success_that_comes_before_its_files_is_a_late_file_in_the_end(shops: Shops) -> None:
    folder = shops.land(SALES, 0)
    shops.land(REFUNDS, 0)
    shops.tick_to_the_end()
    assert shops.rows("landing.sale_rows") == []
    (folder / "part.csv").write_text("shop,amount\nnorth,3.00\n")
    shops.tick_to_the_end()
    assert [row["amount"] for row in shops.rows("books.takings")] == [3]


def test_a_folder_that_is_being_written_again_waits(shops: Shops) -> None:
    shops.land_all(0)
    shops.tick_to_the_end()
    folder = shops.folder(SALES, 0)
    (folder / "_SUCCESS").unlink()
    (folder / "part.csv").write_text("shop,amo")
    assert not shops.tick_to_the_end()
    _, said = shops.tick("sales_landing")
    assert f"sales of {day(0)}: waits for _SUCCESS" in said


def test_a_changed_folder_with_a_file_that_nobody_may_read_stops_no_other_folder(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To root, as whom tests may run, nothing is forbidden: so the refusal is the system's own, raised for it."""
    shops.land_all(0)
    shops.tick_to_the_end()
    forbidden = shops.land(SALES, 0, "north,8.00") / "part.csv"
    opened = Path.open

    def refuse(path: Path, *args: Any, **options: Any) -> Any:
        if path == forbidden:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", refuse)
    shops.land_all(1)
    assert str(day(1)) in [over for _, over, _ in shops.tick_to_the_end()]
    _, said = shops.tick("sales_landing")
    assert "expected a file that can be read; found [Errno 13] Permission denied" in said


def test_older_folders_are_looked_at_in_turn(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affirm_assets.orchestration.landing.LOOK_BACK", timedelta(days=1))
    monkeypatch.setattr("affirm_assets.orchestration.landing.OLDER_FOLDERS", 2)
    for number in range(6):
        shops.land_all(number)
    shops.tick_to_the_end()
    shops.land(SALES, 1, "north,8.00")
    late = [run for _ in range(12) for run in shops.tick("sales_landing")[0]][:1]
    assert [window(run) for run in late] == [str(day(1))]


def test_a_run_says_why_it_was_asked_for(shops: Shops) -> None:
    shops.land_all(0)
    ((run,), _) = shops.tick("books")
    assert run.tags[REASON] == f"landing/refund_rows of {day(0)} is not published"
    assert len(run.tags[CAUSE]) == 12
    assert json.dumps(sorted(str(key.path[-1]) for key in run.asset_selection or ())) == json.dumps(
        ["refund_rows", "sale_rows", "takings", "totals"]
    )


def test_the_business_date_is_new_york_s(monkeypatch: pytest.MonkeyPatch) -> None:
    class HalfPastTenInTheEvening(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:
            return datetime(2025, 1, 3, 3, 30, tzinfo=UTC).astimezone(tz)

    monkeypatch.setattr(partitions, "datetime", HalfPastTenInTheEvening)
    assert today() == date(2025, 1, 2)


def test_a_folder_that_lacks_files_that_were_read_is_not_booked_from_the_rest(shops: Shops) -> None:
    folder = shops.land(SALES, 0, "north,10.00")
    (folder / "more.csv").write_text("shop,amount\nnorth,5.00\n")
    shops.land(REFUNDS, 0)
    shops.tick_to_the_end()
    (folder / "part.csv").unlink()
    assert not shops.tick_to_the_end()
    _, said = shops.tick("sales_landing")
    assert f"sales of {day(0)}: expected the 2 files that were read of it, found 1" in said
    assert [row["amount"] for row in shops.rows("books.takings")] == [15]


def test_files_that_are_gone_are_told_once_and_not_at_the_first_look(shops: Shops) -> None:
    """They may be being replaced just then."""
    hook = Hook()
    shops.declare(Registry.walk(tests.projects.two_feeds), hook)
    folder = shops.land(SALES, 0, "north,10.00")
    (folder / "more.csv").write_text("shop,amount\nnorth,5.00\n")
    shops.land(REFUNDS, 0)
    shops.tick_to_the_end()
    (folder / "more.csv").unlink()
    shops.tick("sales_landing")
    assert hook.sent == []
    for _ in range(3):
        shops.tick("sales_landing")
    (text,) = hook.sent
    assert "files of feed sales are gone" in text
    assert f"/assets/landing/sale_rows?view=partitions&partition={day(0)}" in text


def test_a_day_that_fails_keeps_back_no_day_of_what_does_not_read_it(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("affirm_assets.orchestration.asking._WAITS", (timedelta(0),) * 3)
    shops.land(SALES, 0, "north,1.00")
    shops.land(REFUNDS, 0, "north,9.00")
    shops.tick_to_the_end()
    shops.land_all(1)
    assert ("books", str(day(1))) in [(name, over) for name, over, _ in shops.tick_to_the_end()]
    assert {row["business_date"] for row in shops.rows("landing.sale_rows")} == {day(0), day(1)}
    _, said = shops.tick("books")
    assert "these wait for what is not computed: takings_monthly" in said


def test_a_table_in_disorder_stops_nothing_that_does_not_read_it(shops: Shops) -> None:
    shops.land_all(0)
    shops.land_all(1)
    shops.tick_to_the_end()
    table = catalog_of(Settings.local(shops.root, FIRST)).load().load_table("books.totals")
    with table.transaction() as transaction:
        transaction.set_properties({"affirm.published": "nonsense"})
    shops.land_all(2)
    assert ("books", str(day(2))) in [(name, over) for name, over, _ in shops.tick_to_the_end()]
    assert {row["as_of"] for row in shops.rows("books.takings")} == {day(0), day(1), day(2)}
    _, said = shops.tick("books")
    assert "books.totals: expected the record of what is published to agree" in said


@pytest.fixture
def with_disputes(shops: Shops, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The project with a third feed, which is one file more, after two days without it."""
    for number in range(2):
        shops.land_all(number)
    shops.tick_to_the_end()
    shutil.copytree(Path(tests.projects.two_feeds.__file__).parent, tmp_path / "with_disputes")
    (tmp_path / "with_disputes" / "landing" / "dispute_rows.py").write_text(DISPUTES)
    monkeypatch.syspath_prepend(str(tmp_path))
    package = importlib.import_module("with_disputes")
    shops.declare(Registry.walk(package))
    yield package
    for name in [each for each in sys.modules if each.partition(".")[0] == "with_disputes"]:
        del sys.modules[name]


def test_a_feed_is_added_by_one_file_and_may_begin_later_than_the_others(
    shops: Shops, with_disputes: ModuleType
) -> None:
    shops.land_all(2)  # 1 February, of which the new feed is not there yet
    assert {name for name, *_ in shops.tick_to_the_end()} == {"sales_landing", "refunds_landing"}
    _, said = shops.tick("books")
    assert f"waits for disputes of {day(2)}" in said
    shops.land("disputes", 2, "north,1.00")
    assert ("books", str(day(2))) in [(name, over) for name, over, _ in shops.tick_to_the_end()]
    assert [row["shop"] for row in shops.rows("landing.dispute_rows")] == ["north"]
    assert {row["as_of"] for row in shops.rows("books.takings")} == {day(0), day(1), day(2)}


def test_a_feed_of_one_file_is_stopped_if_nobody_can_read_it_and_a_person_may_let_it_pass(
    shops: Shops, with_disputes: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text in another notation is well-formed, and no amount: known before the other feeds of that date are there."""
    shops.land("disputes", 2, *(f'shop{number},"1.234,56"' for number in range(11)), "north,1.00")
    runs, _ = shops.tick("disputes_landing")
    assert [each.is_success for each in runs] == [False]
    (failed,) = (
        e for e in shops.instance.all_logs(runs[0].run_id) if e.is_dagster_event and e.dagster_event.is_step_failure
    )
    for text in (
        f"landing/dispute_rows {day(2)}: nothing was published, as few_are_unreadable failed in {day(2)}.",
        f"file=disputes/{day(2)}/part.csv, records=12, refused=11, percent=91.7, "
        "reasons=amount: not an amount in plain digits with at most two decimal places (11)",
        f"to_let_pass=affirm accept disputes {day(2)} --reason TEXT",
    ):
        assert text in str(failed.dagster_event.event_specific_data)
    shops.land_all(2)
    shops.tick_to_the_end()
    assert not shops.rows("landing.dispute_rows")
    assert day(2) in {row["as_of"] for row in shops.rows("books.takings")}  # which does not read it

    monkeypatch.setattr(affirm_assets, "datasets", with_disputes)
    monkeypatch.chdir(shops.root)  # where there is no .env
    said = ["--reason", "Test rows of the scheme", "--by", "E0007"]
    lake = {"AFFIRM_LAKE": str(shops.root)}
    unknown = CliRunner().invoke(main, ["accept", "claims", str(day(2)), *said], env=lake)
    assert "expected a feed, one of disputes, refunds, sales; found claims." in unknown.stderr
    another_day = CliRunner().invoke(main, ["accept", "disputes", str(day(1)), *said], env=lake)
    assert f"disputes {day(1)}: expected records of that date in landing.dispute_rows" in another_day.stderr
    done = CliRunner().invoke(main, ["accept", "disputes", str(day(2)), *said], env=lake)
    assert done.exit_code == 0, done.stderr
    assert "what is refused of its 12 records may pass (Test rows of the scheme, E0007)" in done.stdout
    assert "Now materialize landing/dispute_rows for that date." in done.stdout

    assert [over for _, over, _ in shops.tick_to_the_end()] == [str(day(2))]
    rows = shops.rows("landing.dispute_rows")
    assert [row["amount"] for row in rows].count("1.234,56") == 11  # as it came: nothing is lost or changed
    assert len(rows) == 12


def test_a_run_s_tag_lets_a_feed_of_one_file_pass_for_this_run(shops: Shops, with_disputes: ModuleType) -> None:
    shops.land("disputes", 2, *(f"shop{number},none" for number in range(11)))
    key = dg.AssetKey(["landing", "dispute_rows"])

    def passes(tags: dict[str, str]) -> bool:
        job = shops.defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(
            instance=shops.instance,
            asset_selection=[key],
            partition_key=str(day(2)),
            tags=tags,
            raise_on_error=False,
        ).success

    assert not passes({"affirm/accept": f"sales {day(2)} another feed"})
    assert passes({"affirm/accept": f"disputes {day(2)} Test rows of the scheme"})
    assert not passes({})
