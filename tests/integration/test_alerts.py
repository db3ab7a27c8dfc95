"""The sensor `alerts` and `affirm alerts`, on real instances with runs, ticks and daemons that fail."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.definitions.run_request import InstigatorType
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill
from dagster._core.scheduler.instigation import TickStatus
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._daemon.sensor import execute_sensor_iteration
from dagster._daemon.types import DaemonHeartbeat
from dagster._scheduler.scheduler import launch_scheduled_runs
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets import datasets
from affirm_assets.declare.contract import Contract, column, key
from affirm_assets.declare.dataset import audit
from affirm_assets.declare.partitions import Daily
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.errors import AlertsNotSent
from affirm_assets.orchestration.alert_outbox import Outbox
from affirm_assets.orchestration.alert_sensor import alert_sensor, look_from_outside, place_of
from affirm_assets.orchestration.alerts import Alert, hooks_of, tell
from affirm_assets.orchestration.troubles import Looked, look, looked, remember
from affirm_assets.settings import AlertSettings, Settings
from resources.key_values import KeyValues
from resources.spark import SparkSessions
from tests.alert_servers import WebhookServer, free_port, webhook_server
from tests.conftest import declare
from tests.servers import Postgres

UI = "http://127.0.0.1:3000"
ROOT = Path(__file__).parents[2]
REGISTRY = Registry.walk(datasets)
PLACE = place_of(REGISTRY, UI)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.instance_for_test(overrides={"run_retries": {"enabled": True}}) as instance:
        yield instance


@pytest.fixture
def webhook() -> Iterator[WebhookServer]:
    with webhook_server() as server:
        yield server


def hooks(server: WebhookServer) -> Any:
    return hooks_of(AlertSettings(server.url))


class Amount(Contract):
    """An amount of a day."""

    id: str = key("Id")
    day: date = column("Business date")
    amount: int = column("Amount", ge=0)


def amounts() -> DataFrame:
    """A key that is there twice, once with an amount that cannot be."""
    rows = [("KEY-OF-A-ROW", date(2025, 1, 2), amount) for amount in (5, -77)]
    return SparkSession.active().createDataFrame(rows, "id string, day date, amount long")


@audit(blocking=False)
def amounts_are_round(staged: DataFrame) -> DataFrame:
    """Tens. It warns, and is not told beside what blocks."""
    return staged.select("id", "amount", (F.col("amount") % 10 == 0).alias("ok"))


def tick(
    instance: dg.DagsterInstance, server: WebhookServer, last: datetime | None = None, registry: Registry = REGISTRY
) -> dg.SkipReason:
    """Of the sensor. last: when its tick before this one ended."""
    context = dg.SensorEvaluationContext(
        instance_ref=None,
        instance=instance,
        last_tick_completion_time=last.timestamp() if last else None,
        last_run_key=None,
        cursor=None,
        repository_name=None,
        resources={"alerts": hooks(server)},
    )
    said = alert_sensor(registry, UI)(context)
    assert isinstance(said, dg.SkipReason)
    return said


def failing_run(instance: dg.DagsterInstance, tags: Mapping[str, str] | None = None) -> str:
    """tags: what Dagster says of the run once it has failed."""

    @dg.asset(key=["loans", "loans"])
    def loans() -> None:
        raise ValueError("a row's value")

    run_id = dg.materialize([loans], instance=instance, raise_on_error=False).run_id
    instance.add_run_tags(run_id, tags or {})
    return run_id


def now() -> datetime:
    return datetime.now(UTC)


class TestRuns:
    def test_failed_audits_are_told_once_and_without_their_rows(
        self, instance: dg.DagsterInstance, webhook: WebhookServer, spark_if_needed: SparkSessions, tmp_path: Path
    ) -> None:
        registry = Registry.of([declare(amounts, Amount, Daily("day"), audits=(amounts_are_round,))])
        settings = Settings.local(tmp_path, date(2025, 1, 1))
        defs = build_defs(settings, registry, {"spark": spark_if_needed})
        result = defs.resolve_implicit_global_asset_job_def().execute_in_process(
            instance=instance, raise_on_error=False, partition_key="2025-01-02"
        )
        (failure,) = (event for event in result.all_events if event.is_step_failure)
        assert "KEY-OF-A-ROW" in str(failure.step_failure_data.error)
        assert tick(instance, webhook, registry=registry).skip_message == "Alerts sent: 1"
        assert tick(instance, webhook, registry=registry).skip_message == "Alerts sent: 0"
        (text,) = webhook.texts
        assert text.splitlines() == [
            "*tests/amounts 2025-01-02: audits failed*",
            "team:tests:",
            "- tests/amounts 2025-01-02: audits failed",
            "  contract: 1 of 2 failed (2025-01-02); keys_are_unique: 1 of 2 failed (2025-01-02). "
            "Readers still see what they saw before.",
            f"  {UI}/runs/{result.run_id}",
        ]
        assert "KEY-OF-A-ROW" not in text
        assert "-77" not in text.replace(result.run_id, "")

    def test_a_lost_cursor_tells_nothing_twice(self, instance: dg.DagsterInstance, webhook: WebhookServer) -> None:
        failing_run(instance)
        tick(instance, webhook)
        for row in ("", "not JSON", '{"until": 3}'):
            KeyValues(instance).put("affirm/alert/looked", row)
            assert tick(instance, webhook).skip_message == "Alerts sent: 0"
        assert len(webhook.texts) == 1

    def test_nothing_older_than_a_day_is_told(self, instance: dg.DagsterInstance) -> None:
        failing_run(instance)
        later = now() + timedelta(days=1, minutes=1)
        values = KeyValues(instance)
        alerts, _ = look(instance, PLACE, looked(values, later), later)
        assert alerts == []
        # Nor if it was looked before that.
        assert look(instance, PLACE, Looked(now() - timedelta(days=9)), later)[0] == []

    def test_a_daemon_that_was_away_for_hours_finds_what_failed_meanwhile(self, instance: dg.DagsterInstance) -> None:
        remember(KeyValues(instance), Looked(now()))
        run_id = failing_run(instance)
        later = now() + timedelta(hours=23)
        alerts, after = look(instance, PLACE, looked(KeyValues(instance), later), later)
        assert [each.cause for each in alerts] == [f"run/{run_id}/loans__loans"]
        assert look(instance, PLACE, after, later)[0] == []

    def test_a_run_is_looked_at_once(self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
        failing_run(instance)
        values = KeyValues(instance)
        _, after = look(instance, PLACE, looked(values, now()), now())
        remember(values, after)
        assert looked(values, now()) == after
        monkeypatch.setattr(type(instance), "all_logs", None)
        assert look(instance, PLACE, after, now())[0] == []

    def test_many_runs_are_looked_at_by_several_ticks(
        self, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("affirm_assets.orchestration.troubles._RUNS", 2)
        runs = [failing_run(instance) for _ in range(5)]
        before, found = looked(KeyValues(instance), now()), []
        for _ in range(3):
            alerts, before = look(instance, PLACE, before, now())
            found.append([each.cause.split("/")[1] for each in alerts])
        assert found == [runs[:2], runs[2:4], runs[4:]]

    def test_a_run_that_dagster_tries_again_is_left_to_that_run(
        self, instance: dg.DagsterInstance, webhook: WebhookServer
    ) -> None:
        failing_run(instance, {"dagster/will_retry": "true", "dagster/auto_retry_run_id": "another"})
        assert tick(instance, webhook).skip_message == "Alerts sent: 0"

    def test_a_run_whose_retry_never_comes_is_told(self, instance: dg.DagsterInstance) -> None:
        run_id = failing_run(instance, {"dagster/will_retry": "true"})
        before = looked(KeyValues(instance), now())
        alerts, before = look(instance, PLACE, before, now())
        assert alerts == []
        later = now() + timedelta(minutes=6)
        alerts, _ = look(instance, PLACE, before, later)
        assert [each.cause for each in alerts] == [f"run/{run_id}/loans__loans"]

    def test_a_run_that_somebody_stopped_is_none(self, instance: dg.DagsterInstance, webhook: WebhookServer) -> None:
        run = instance.create_run_for_job(dg.GraphDefinition("nothing").to_job())
        instance.report_run_canceled(run)
        assert tick(instance, webhook).skip_message == "Alerts sent: 0"

    def test_a_run_that_never_started(self, instance: dg.DagsterInstance, webhook: WebhookServer) -> None:
        run = instance.create_run_for_job(dg.GraphDefinition("nothing").to_job())
        instance.report_run_failed(run, "It took longer than 180 seconds to start.")
        tick(instance, webhook)
        assert "nothing: the run failed\n  It took longer than 180 seconds to start.\n" in webhook.texts[0]

    def test_a_backfill_that_dagster_gave_up(self, instance: dg.DagsterInstance, webhook: WebhookServer) -> None:
        instance.add_backfill(
            PartitionBackfill(
                backfill_id="abc",
                status=BulkActionStatus.FAILED,
                from_failure=False,
                tags={},
                backfill_timestamp=now().timestamp(),
                asset_selection=[dg.AssetKey(["loans", "loans"])],
            )
        )
        tick(instance, webhook)
        assert f"- loans/loans: the backfill failed\n  Dagster does not say why\n  {UI}/runs/b/abc" in webhook.texts[0]


class TestHook:
    def test_a_tick_is_red_as_long_as_something_waits(
        self, instance: dg.DagsterInstance, webhook: WebhookServer
    ) -> None:
        failing_run(instance)
        webhook.status, webhook.answer = 500, b""
        for _ in range(2):
            with pytest.raises(AlertsNotSent, match=r"webhook: expected an answer of 200, found 500 \(1 in a row\)"):
                tick(instance, webhook)
        webhook.status = 200
        # The pause of half a minute is over.
        tell(instance, hooks(webhook), [], now() + timedelta(seconds=31))
        assert tick(instance, webhook).skip_message == "Alerts sent: 0"
        assert len(webhook.texts) == 1

    def test_without_one_nothing_is_looked_for(self, instance: dg.DagsterInstance) -> None:
        with dg.build_sensor_context(instance, resources={"alerts": []}) as context:
            said = alert_sensor(REGISTRY, UI)(context)
        assert isinstance(said, dg.SkipReason)
        assert str(said.skip_message).startswith("No hook is set (AFFIRM_ALERT_WEBHOOK or AFFIRM_ALERT_SMTP)")


SENSORS = """
import dagster as dg
from affirm_assets.declare.contract import Contract, column, key
from affirm_assets.declare.dataset import audit
from affirm_assets.declare.partitions import Daily
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.orchestration.alert_sensor import alert_sensor
from affirm_assets.orchestration.alerts import hooks_of
from affirm_assets.settings import AlertSettings, Settings

count = 0

@dg.sensor(name="landing", default_status=dg.DefaultSensorStatus.RUNNING)
def landing(context):
    global count
    count += 1
    raise ValueError(f"a row's value, the {count}th")

@dg.op
def nothing():
    pass

@dg.job
def nightly_job():
    nothing()

@dg.schedule(job=nightly_job, cron_schedule="* * * * *", name="nightly")
def nightly(context):
    raise ValueError("a row's value")

defs = dg.Definitions(
    sensors=[landing, alert_sensor(Registry.of([]), "http://ui")],
    schedules=[nightly],
    resources={"alerts": hooks_of(AlertSettings("WEBHOOK"))},
)
"""


class TestTicks:
    @pytest.fixture
    def workspace(self, instance: dg.DagsterInstance, webhook: WebhookServer, tmp_path: Path) -> Iterator[Any]:
        file = tmp_path / "sensors.py"
        file.write_text(SENSORS.replace("WEBHOOK", webhook.url))
        target = PythonFileTarget(str(file), None, None, "here")
        with create_test_daemon_workspace_context(target, instance) as workspace:
            yield workspace

    @pytest.fixture
    def iterate(self, instance: dg.DagsterInstance, workspace: Any) -> Callable[[], None]:
        """What the sensor daemon does once, a minute after the last time."""

        def once() -> None:
            for state in instance.all_instigator_state(instigator_type=InstigatorType.SENSOR):
                data = state.sensor_instigator_data
                assert data is not None
                earlier = data._replace(last_tick_timestamp=None, last_tick_start_timestamp=None)
                instance.update_instigator_state(state.with_data(earlier))
            [*execute_sensor_iteration(workspace, logging.getLogger(), None, None)]

        return once

    def test_a_schedule_that_fails_is_told(
        self, instance: dg.DagsterInstance, webhook: WebhookServer, workspace: Any, iterate: Any
    ) -> None:
        location = next(iter(workspace.create_request_context().code_locations))
        schedule = next(iter(location.get_repositories().values())).get_schedule("nightly")
        instance.start_schedule(schedule)
        [*launch_scheduled_runs(workspace, logging.getLogger(), now() + timedelta(minutes=2), {})]
        iterate()
        (text,) = webhook.texts
        assert "- the schedule nightly failed" in text
        assert "  ValueError; its message may hold values of rows, and is not shown here" in text
        assert "http://ui/locations/__repository__@here/schedules/nightly" in text

    def test_a_sensor_that_fails_is_told_once_until_it_succeeds(
        self, instance: dg.DagsterInstance, webhook: WebhookServer, iterate: Any
    ) -> None:
        for _ in range(3):
            iterate()
        (text,) = webhook.texts
        assert text.splitlines() == [
            "*the sensor landing failed*",
            "without an owner:",
            "- the sensor landing failed",
            "  ValueError; its message may hold values of rows, and is not shown here",
            "  http://ui/locations/__repository__@here/sensors/landing",
        ]
        (state,) = (each for each in instance.all_instigator_state() if each.name == "landing")
        (last, *_) = instance.get_ticks(state.instigator_origin_id, state.selector_id, limit=1)
        ok = last.tick_data.with_status(TickStatus.SUCCESS, error=None)
        instance.create_tick(ok._replace(timestamp=now().timestamp()))
        iterate()
        iterate()
        assert webhook.texts == [text, text]


class TestStandingStill:
    @pytest.fixture
    def alive(self, instance: dg.DagsterInstance) -> None:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(now().timestamp(), kind, "uuid", []))

    def stop(self, instance: dg.DagsterInstance, kind: str, since: timedelta) -> None:
        last = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC) if since > timedelta(days=1) else now() - since
        instance.add_daemon_heartbeat(DaemonHeartbeat(last.timestamp(), kind, "uuid", []))

    @pytest.mark.usefixtures("alive")
    def test_a_daemon_is_told_once_for_each_stop(self, instance: dg.DagsterInstance, webhook: WebhookServer) -> None:
        recently = now() - timedelta(seconds=30)
        assert tick(instance, webhook, recently).skip_message == "Alerts sent: 0"
        self.stop(instance, "SCHEDULER", timedelta(days=100))
        assert tick(instance, webhook, recently).skip_message == "Alerts sent: 1"
        assert tick(instance, webhook, recently).skip_message == "Alerts sent: 0"
        assert (
            "- the daemon SCHEDULER stands still\n  Its last sign of life: 2025-01-02 03:04:05 UTC" in webhook.texts[0]
        )
        assert f"{UI}/deployment/daemons" in webhook.texts[0]

    @pytest.mark.usefixtures("alive")
    def test_after_a_pause_of_its_own_others_may_be_about_to_wake(
        self, instance: dg.DagsterInstance, webhook: WebhookServer
    ) -> None:
        self.stop(instance, "SCHEDULER", timedelta(hours=1))
        assert tick(instance, webhook, now() - timedelta(hours=1)).skip_message == "Alerts sent: 0"
        assert tick(instance, webhook, None).skip_message == "Alerts sent: 0"

    @pytest.mark.usefixtures("alive")
    def test_minutes_of_silence_are_no_standstill(self, instance: dg.DagsterInstance) -> None:
        self.stop(instance, "SENSOR", timedelta(minutes=9))
        assert look_from_outside(instance, [], PLACE, now()).still == []
        self.stop(instance, "SENSOR", timedelta(minutes=11))
        (alert,) = look_from_outside(instance, [], PLACE, now()).still
        assert alert.title == "the daemon SENSOR stands still"

    @pytest.mark.usefixtures("alive")
    def test_all_daemons_are_one_process(self, instance: dg.DagsterInstance) -> None:
        dead = now() + timedelta(minutes=10)
        self.stop(instance, "SENSOR", timedelta(seconds=30))
        alerts = [look_from_outside(instance, [], PLACE, dead + timedelta(minutes=n)).still for n in (0, 1, 60)]
        assert [[each.title for each in found] for found in alerts] == [["dagster-daemon stands still"]] * 3
        assert len({found[0].cause for found in alerts}) == 1

    @pytest.mark.usefixtures("alive")
    def test_a_sensor_that_nobody_evaluates_is_seen_from_outside(
        self, instance: dg.DagsterInstance, webhook: WebhookServer, tmp_path: Path
    ) -> None:
        file = tmp_path / "sensors.py"
        file.write_text(SENSORS.replace("WEBHOOK", webhook.url))
        target = PythonFileTarget(str(file), None, None, "here")
        with create_test_daemon_workspace_context(target, instance) as workspace:
            [*execute_sensor_iteration(workspace, logging.getLogger(), None, None)]
        assert look_from_outside(instance, [], PLACE, now()).still == []
        later = now() + timedelta(minutes=11)
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(later.timestamp(), kind, "uuid", []))
        (alert,) = look_from_outside(instance, [], PLACE, later).still
        assert alert.title == "sensors stand still"
        assert "Does the code location load?" in alert.reason


class TestCommand:
    def run(self, instance: dg.DagsterInstance, **environ: str) -> "subprocess.CompletedProcess[str]":
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "DAGSTER_HOME": instance.root_directory, **environ}
        command = [str(Path(sys.executable).with_name("affirm")), "alerts"]
        # Where no .env is.
        return subprocess.run(command, cwd=instance.root_directory, env=environment, capture_output=True, text=True)

    def test_a_daemon_that_stands_still_is_told_and_is_exit_code_1(
        self, instance: dg.DagsterInstance, webhook: WebhookServer
    ) -> None:
        failing_run(instance)
        done = self.run(instance, AFFIRM_ALERT_WEBHOOK=webhook.url, AFFIRM_UI_URL="https://dagster.example/")
        assert done.returncode == 1, done.stderr
        assert "dagster-daemon stands still: Its last sign of life: never" in done.stdout
        assert "Alerts sent: 2, to webhook.\n" in done.stdout
        (text,) = webhook.texts
        assert "loans/loans: the run failed" in text
        assert "https://dagster.example/deployment/daemons" in text

    def test_a_failed_run_that_was_told_is_exit_code_0(
        self, instance: dg.DagsterInstance, webhook: WebhookServer
    ) -> None:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(now().timestamp(), kind, "uuid", []))
        failing_run(instance)
        done = self.run(instance, AFFIRM_ALERT_WEBHOOK=webhook.url)
        assert (done.returncode, done.stdout) == (0, "Alerts sent: 1, to webhook.\n"), done.stderr

    def test_a_hook_that_does_not_take_it_is_exit_code_1(self, instance: dg.DagsterInstance) -> None:
        for kind in instance.get_required_daemon_types():
            instance.add_daemon_heartbeat(DaemonHeartbeat(now().timestamp(), kind, "uuid", []))
        failing_run(instance)
        done = self.run(instance, AFFIRM_ALERT_WEBHOOK=f"http://127.0.0.1:{free_port()}/secret")
        assert done.returncode == 1
        assert "webhook: expected an answer of 200, found ConnectionRefusedError" in done.stdout
        assert "secret" not in done.stdout + done.stderr


def test_an_instance_on_postgresql_remembers_the_same_way(
    database: Postgres, webhook: WebhookServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.create_database("alerts")
    connection = {
        "hostname": database.host,
        "port": database.port,
        "db_name": "alerts",
        "username": "affirm",
        "password": {"env": "PGPASSWORD"},
        "scheme": "postgresql+psycopg2",
    }
    with dg.instance_for_test(overrides={"storage": {"postgres": {"postgres_db": connection}}}) as instance:
        failing_run(instance)
        assert tick(instance, webhook).skip_message == "Alerts sent: 1"
        assert tick(instance, webhook).skip_message == "Alerts sent: 0"
        webhook.status = 500
        assert tell(instance, hooks(webhook), [Alert("b", "b", "b")], now()) == 0
        webhook.status = 200
        assert tell(instance, hooks(webhook), [], now() + timedelta(seconds=31)) == 1
        outbox = Outbox(KeyValues(instance))
        assert outbox.waiting() == []
        with outbox.sender(now()) as first, outbox.sender(now()) as second:
            assert (first, second) == (True, False)
        later = replace(Looked(now()), runs=frozenset({"run"}))
        remember(KeyValues(instance), later)
        assert looked(KeyValues(instance), now()) == later
