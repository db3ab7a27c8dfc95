"""What fails is told once for each cause, and tried again where something is another; and what is beside it goes on."""

import errno
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import tests.projects.two_feeds
from affirm_assets.declare import audit
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.registry import Registry
from affirm_assets.orchestration import books
from affirm_assets.orchestration.asking import CAUSE
from affirm_assets.orchestration.failed_runs import EVENTS, Place, alerts_of_run
from affirm_assets.steps.published import record_of
from resources.landing.stores import Folder
from tests.hooks import Hook
from tests.integration.test_landing_sensors import REFUNDS, SALES, Shops, day, shops, window

__all__ = ["shops"]

UNREADABLE = (*(f'shop{number},"1.234,56"' for number in range(11)), "north,1.00")
TOO_MUCH = "north,9.00"
"""Of refunds: more than was sold."""


@pytest.fixture(autouse=True)
def tried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affirm_assets.orchestration.asking._WAITS", (timedelta(0),) * 3)


def datasets() -> dict[str, Dataset]:
    return {each.name: each for each in Registry.walk(tests.projects.two_feeds).in_order()}


def land_bad(shops: Shops, number: int) -> None:
    shops.land(SALES, number, "north,1.00")
    shops.land(REFUNDS, number, TOO_MUCH)


def failed(shops: Shops) -> list[dg.DagsterRun]:
    return shops.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))


def causes(shops: Shops) -> set[str]:
    """Of all that would be told of failed runs."""
    place = Place({}, "http://ui", str)
    entries = [(run, shops.instance.all_logs(run.run_id, of_type=EVENTS)) for run in failed(shops)]
    return {alert.cause for run, found in entries for alert in alerts_of_run(run, found, place)}


def test_a_range_with_one_bad_day_is_told_of_once_in_whatever_parts_it_is_tried(shops: Shops) -> None:
    for number in (0, 1, 2, 4):
        shops.land_all(number)
    land_bad(shops, 3)
    shops.tick_to_the_end()
    assert len({window(run) for run in failed(shops)}) > 1
    assert len(causes(shops)) == 1
    land_bad(shops, 3)
    shops.land(REFUNDS, 3, "north,8.00")
    shops.tick_to_the_end()
    assert len(causes(shops)) == 2, "of other files"


def test_what_is_only_touched_is_tried_again_and_not_told_again(shops: Shops) -> None:
    land_bad(shops, 0)
    shops.tick_to_the_end()
    before = len(failed(shops))
    os.utime(shops.folder(SALES, 0) / "_SUCCESS", (1, 1))
    shops.tick_to_the_end()
    assert len(failed(shops)) > before
    assert len(causes(shops)) == 1


def test_a_bad_file_is_told_of_once_before_and_after_the_other_feed_arrives(shops: Shops) -> None:
    shops.land(SALES, 0, *UNREADABLE)
    shops.tick_to_the_end()
    shops.land(REFUNDS, 0)
    shops.tick_to_the_end()
    assert len(causes(shops)) == 1


def test_a_deploy_of_another_dataset_tells_nothing_again(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    land_bad(shops, 0)
    shops.tick("books")
    of = books.Project.of
    monkeypatch.setattr(books.Project, "of", lambda r, v, f: of(r, {**v, "takings_monthly": "another"}, f))
    shops.declare(Registry(datasets()))
    shops.tick_to_the_end()
    assert len(causes(shops)) == 1


def test_processes_that_die_one_after_another_are_told_of_once(shops: Shops) -> None:
    def dies(pid: int) -> Callable[[Shops, dg.RunRequest], dg.DagsterRun]:
        def execute(shops: Shops, request: dg.RunRequest) -> dg.DagsterRun:
            run = shops.instance.create_run_for_job(
                shops.defs.resolve_implicit_global_asset_job_def(),
                status=dg.DagsterRunStatus.STARTED,
                tags={**request.tags, "dagster/partition": str(request.partition_key)},
                asset_selection=frozenset(request.asset_selection or ()),
            )
            shops.instance.report_run_failed(run, f"Its process {pid} is gone: it was killed.")
            return run

        return execute

    shops.land_all(0)
    for pid in (111, 222, 333):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Shops, "_execute", dies(pid))
            assert len(shops.tick("books")[0]) == 1
    assert len(causes(shops)) == 1


def test_what_a_person_executes_again_is_told_and_no_try_of_the_sensor(shops: Shops) -> None:
    """Dagster's UI gives such a run the tags of the one before."""
    land_bad(shops, 0)
    shops.tick_to_the_end()
    last = failed(shops)[0]
    job = shops.defs.resolve_implicit_global_asset_job_def()
    again = shops.instance.create_run_for_job(
        job,
        tags=dict(last.tags),
        parent_run_id=last.run_id,
        root_run_id=last.run_id,
        asset_selection=last.asset_selection,
        status=dg.DagsterRunStatus.STARTED,
    )
    shops.instance.report_run_failed(again, "It failed.")
    assert len(causes(shops)) == 2
    _, said = shops.tick("books")
    assert "failed, try 3." in said
    assert len(shops.instance.get_runs(dg.RunsFilter(tags={CAUSE: last.tags[CAUSE]}))) == 4


@audit()
def no_month_above_hundred(staged: DataFrame) -> DataFrame:
    """No shop takes more than 100 in a month."""
    return staged.select("shop", "month", "amount", (F.col("amount") <= 100).alias("ok"))


def test_a_month_that_failed_is_tried_once_more_after_one_of_its_days_is_another(shops: Shops) -> None:
    found = datasets()
    found["takings_monthly"] = replace(found["takings_monthly"], audits=[no_month_above_hundred])
    shops.declare(Registry(found))
    shops.land_all(0)
    shops.land(SALES, 1, "north,200.00")  # 31 January
    shops.land(REFUNDS, 1)
    shops.land_all(2)
    shops.tick_to_the_end()
    assert "try 3" in shops.tick("months")[1]
    shops.land(SALES, 1, "north,20.00")
    assert "months" in {name for name, *_ in shops.tick_to_the_end()}
    assert shops.rows("books.takings_monthly")


def test_a_good_late_file_is_read_though_the_one_before_it_is_bad(shops: Shops) -> None:
    for number in range(4):
        shops.land_all(number)
    shops.tick_to_the_end()
    shops.land(SALES, 1, *UNREADABLE)
    shops.land(SALES, 2, "north,77.00")
    shops.tick_to_the_end()
    sold = [row["amount"] for row in shops.rows("landing.sale_rows") if row["business_date"] == day(2)]
    assert sold == ["77.00"]


def test_days_of_one_feed_are_read_though_those_before_them_are_bad(shops: Shops) -> None:
    shops.land(SALES, 0, *UNREADABLE)
    shops.land(SALES, 1, "north,5.00")
    shops.land(SALES, 2, *UNREADABLE)
    shops.tick_to_the_end()
    assert {row["business_date"] for row in shops.rows("landing.sale_rows")} == {day(1)}
    assert len(causes(shops)) == 2
    for number in range(3):
        shops.land(REFUNDS, number)
    shops.tick_to_the_end()
    assert len(causes(shops)) == 2, "the other feed changes nothing of it"
    shops.land(SALES, 0, "north,5.00")
    shops.land(SALES, 2, "north,5.00")
    shops.tick_to_the_end()
    assert {row["as_of"] for row in shops.rows("books.takings")} == {day(0), day(1), day(2)}


def test_a_later_bad_file_is_known_though_a_day_before_it_waits_for_a_person(shops: Shops) -> None:
    shops.land_all(0)
    for number in (1, 2):
        shops.land(SALES, number, *UNREADABLE)
        shops.land(REFUNDS, number)
        shops.tick_to_the_end()
    assert len(causes(shops)) == 2


def test_of_many_days_that_fail_only_some_are_tried(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(books, "_MOST_GIVEN_UP", 2)
    for number in range(4):
        shops.land(SALES, number, *UNREADABLE)
    shops.tick_to_the_end()
    assert len(causes(shops)) == 2


def test_a_late_file_is_told_with_what_follows_from_it(shops: Shops) -> None:
    hook = Hook()
    shops.declare(Registry.walk(tests.projects.two_feeds), hook)
    for number in range(2):
        shops.land_all(number)
    shops.tick_to_the_end()
    assert hook.sent == []
    shops.land(SALES, 0, "north,8.00")
    shops.tick_to_the_end()
    (told,) = hook.sent
    assert f"landing/sale_rows {day(0)}: late files of feed sales" in told
    assert "The books from this date on are computed again." in told


def test_who_reads_a_feed_by_hand_holds_back_no_books_and_has_no_older_folder_looked_at(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        shops.land_all(number)
    shops.tick_to_the_end()
    for feed in (SALES, REFUNDS):
        shutil.rmtree(shops.folder(feed, 0))  # archived
    again = replace(datasets()["refund_rows"], name="refunds_again", starts="by_hand")
    shops.declare(Registry({**datasets(), "refunds_again": again}))
    shops.land_all(3)
    assert ("books", str(day(3))) in [(name, over) for name, over, _ in shops.tick_to_the_end()]
    looked_at: list[str] = []
    entries = Folder.entries
    monkeypatch.setattr(Folder, "entries", lambda self, folder: looked_at.append(folder) or entries(self, folder))
    shops.tick("books")
    assert {each.partition("/")[2] for each in looked_at} == {str(day(4))}


def test_a_table_that_nobody_may_read_is_told_and_stops_no_check_of_another(
    shops: Shops, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To root, as whom tests may run, nothing is forbidden: so the refusal is the system's own, raised for it."""
    hook = Hook()
    shops.declare(Registry.walk(tests.projects.two_feeds), hook)
    shops.land_all(0)
    shops.tick_to_the_end()

    def refuse(dataset: Dataset, table: Any) -> Any:
        if dataset.name == "totals":
            raise PermissionError(errno.EACCES, "Permission denied", "totals/metadata.json")
        return record_of(dataset, table)

    monkeypatch.setattr("affirm_assets.orchestration.tables.record_of", refuse)
    shops.tick("standing")
    assert any("Permission denied" in each for each in hook.sent)


def test_a_folder_that_nobody_may_list_says_so(shops: Shops, monkeypatch: pytest.MonkeyPatch) -> None:
    shops.land_all(0)
    forbidden, iterdir = shops.folder(SALES, 0), Path.iterdir

    def refuse(path: Path) -> Any:
        if path == forbidden:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    job = shops.defs.resolve_implicit_global_asset_job_def()
    selection = [dg.AssetKey(["landing", "sale_rows"])]
    done = job.execute_in_process(
        instance=shops.instance, asset_selection=selection, partition_key=str(day(0)), raise_on_error=False
    )
    run = shops.instance.get_run_by_id(done.run_id)
    assert run
    (alert,) = alerts_of_run(run, shops.instance.all_logs(run.run_id, of_type=EVENTS), Place({}, "", str))
    assert "expected a folder that can be read; found [Errno 13] Permission denied" in alert.reason
