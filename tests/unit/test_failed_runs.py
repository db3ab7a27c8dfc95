"""What is told of a run that is over, and that no value of a row is in it. Each run is a real one."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import dagster as dg
import pytest
from dagster_shared.error import SerializableErrorInfo

from affirm_assets.errors import AlertsNotSent, EngineFailed, GapRefused
from affirm_assets.orchestration.alerts import Alert
from affirm_assets.orchestration.asking import CAUSE
from affirm_assets.orchestration.execution import step_failures
from affirm_assets.orchestration.failed_runs import EVENTS, Place, alerts_of_run, reason_of
from resources.landing.errors import LandingNotReady

SECRET = "jane.doe@example.com"
KEY = dg.AssetKey(["loans", "loans"])
PLACE = Place({KEY: "team:loans", dg.AssetKey("other"): "team:other"}, "http://ui", lambda _: "v1")
DAYS = dg.DailyPartitionsDefinition("2025-01-01")


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def asset_that(does: Callable[[], Any], *checks: dg.AssetCheckSpec) -> dg.AssetsDefinition:
    @dg.multi_asset(specs=[dg.AssetSpec(KEY, partitions_def=DAYS)], check_specs=[*checks], name="loans__loans")
    def step(context: dg.AssetExecutionContext) -> Any:
        yield from does() or ()
        yield dg.MaterializeResult(asset_key=KEY)

    return step


def check(name: str, **over: Any) -> dg.AssetCheckResult:
    metadata = {"checked": 100, "failed": 3, "sample": [SECRET]}
    valid = {"check_name": name, "asset_key": KEY, "passed": False, "description": SECRET, "metadata": metadata}
    return dg.AssetCheckResult(**{**valid, **over})


def specs(*names: str) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(name, asset=KEY) for name in names]


def run(instance: dg.DagsterInstance, *assets: Any, **options: Any) -> str:
    options = {"partition_key": "2025-01-02", **options}
    result = dg.materialize([*assets], instance=instance, raise_on_error=False, **options)
    return result.run_id


def told(instance: dg.DagsterInstance, run_id: str, without: tuple[str, ...] = ()) -> list[Alert]:
    """`without`: types of events that are taken away, as if the process had been killed before them."""
    found = instance.get_run_by_id(run_id)
    assert found is not None
    entries = [
        each
        for each in instance.all_logs(run_id, of_type=EVENTS)
        if each.get_dagster_event().event_type_value not in without
    ]
    alerts = alerts_of_run(found, entries, PLACE)
    assert SECRET not in repr(alerts)
    return alerts


def raises(error: BaseException) -> Callable[[], None]:
    def does() -> None:
        with step_failures():
            raise error

    return does


def test_a_run_that_succeeds_is_none(instance: dg.DagsterInstance) -> None:
    passed = check("unique_key", passed=True)
    assert told(instance, run(instance, asset_that(lambda: [passed], *specs("unique_key")))) == []


def test_a_failed_step_says_whose_of_what_and_where(instance: dg.DagsterInstance) -> None:
    error = GapRefused("loans/loans", "2025-01-02", date(2025, 1, 1), "nothing was", "2025-01-01")
    run_id = run(instance, asset_that(raises(error)))
    assert told(instance, run_id) == [
        Alert(
            cause=f"run/{run_id}/loans__loans",
            title="the run failed",
            reason=str(error),
            owner="team:loans",
            dataset="loans/loans",
            window="2025-01-02",
            link=f"http://ui/runs/{run_id}",
        )
    ]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        pytest.param(LandingNotReady("a", "b", "c", "d"), "a: expected b; found c. d", id="the landing zone's"),
        pytest.param(ValueError(SECRET), "ValueError; its message may hold values of rows", id="any other"),
        pytest.param(EngineFailed("sail", SECRET), "EngineFailed; its message may hold", id="an engine's"),
        pytest.param(
            RuntimeError(f"java.lang.OutOfMemoryError {SECRET}"),
            "out of memory: the heap of Spark's JVM is full",
            id="OOM",
        ),
        pytest.param(OSError(f"No space left on device {SECRET}"), "A disk is full", id="disk"),
        pytest.param(
            dg.Failure(f"out of memory: killed at 3Gi (pod p).\nIts last lines:\n{SECRET}", allow_retries=False),
            "out of memory: killed at 3Gi (pod p).",
            id="a pod's log",
        ),
    ],
)
def test_the_message_is_shown_only_of_an_error_that_speaks_of_no_rows(
    instance: dg.DagsterInstance, error: Exception, reason: str
) -> None:
    (alert,) = told(instance, run(instance, asset_that(raises(error))))
    assert alert.reason.startswith(reason)


def test_what_an_error_of_ours_was_raised_from_does_not_hide_it(instance: dg.DagsterInstance) -> None:
    def does() -> None:
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            raise AlertsNotSent(["webhook: 500"]) from error

    (alert,) = told(instance, run(instance, asset_that(does)))
    assert alert.reason == "webhook: 500"


def test_failed_audits_are_names_and_counts(instance: dg.DagsterInstance) -> None:
    def does() -> Iterator[Any]:
        yield check("unique_key")
        yield check("accrued", metadata={"sample": SECRET})
        raise dg.Failure(f"audits failed, such as {SECRET}", allow_retries=False)

    (alert,) = told(instance, run(instance, asset_that(does, *specs("unique_key", "accrued"))))
    assert alert.title == "audits failed"
    assert alert.reason == "accrued; unique_key: 3 of 100 failed. Readers still see what they saw before."


def test_of_a_pod_is_told_what_the_executor_says_and_no_line_of_its_log() -> None:
    said = f"no room: pod p has waited for 600 s\nIts last lines:\n{SECRET}"
    assert reason_of(SerializableErrorInfo(said, [], None)) == "no room: pod p has waited for 600 s"


def test_the_tries_of_what_a_sensor_asks_for_are_one_cause(instance: dg.DagsterInstance) -> None:
    """Of the same files and code; of others the sensor's cause is another, and so is what fails otherwise."""

    def audit_fails() -> Iterator[Any]:
        yield check("unique_key")
        raise dg.Failure("audits failed", allow_retries=False)

    def cause(does: Callable[[], Any], asked: str, *names: str) -> str:
        tags = {CAUSE: "fedcba987654", "affirm/day": asked, "affirm/since": ""}
        (alert,) = told(instance, run(instance, asset_that(does, *specs(*names)), tags=tags))
        return alert.cause

    first = cause(audit_fails, "0123456789ab", "unique_key")
    assert cause(audit_fails, "0123456789ab", "unique_key") == first
    assert cause(audit_fails, "cdef01234567", "unique_key") != first
    assert cause(raises(OSError("No space left on device")), "0123456789ab") != first
    warning = cause(lambda: [check("unique_key", severity=dg.AssetCheckSeverity.WARN)], "0123456789ab", "unique_key")
    assert warning not in (first, cause(raises(ValueError()), "0123456789ab"))


def test_checks_of_a_run_that_succeeds_are_told_too(instance: dg.DagsterInstance) -> None:
    broken = check("unique_key", severity=dg.AssetCheckSeverity.ERROR)
    run_id = run(instance, asset_that(lambda: [broken], *specs("unique_key")))
    (alert,) = told(instance, run_id)
    assert alert.cause == f"run/{run_id}/check/loans/loans/unique_key"
    assert (alert.title, alert.reason) == ("checks failed", "unique_key: 3 of 100 failed")
    assert (alert.owner, alert.dataset, alert.window) == ("team:loans", "loans/loans", "2025-01-02")


def test_warnings_of_an_asset_are_one_alert(instance: dg.DagsterInstance) -> None:
    names = [f"check_{n}" for n in range(7)]
    warnings = [check(name, severity=dg.AssetCheckSeverity.WARN) for name in names]
    (alert,) = told(instance, run(instance, asset_that(lambda: warnings, *specs(*names))))
    assert alert.title == "checks warn"
    assert alert.reason.startswith("check_0: 3 of 100 failed; check_1: 3 of 100")
    assert alert.reason.endswith("check_4: 3 of 100 failed and 2 more")


def test_warnings_of_what_succeeded_in_a_run_that_failed_are_told(instance: dg.DagsterInstance) -> None:
    @dg.asset(partitions_def=DAYS)
    def other() -> None:
        raise ValueError(SECRET)

    warning = check("unique_key", severity=dg.AssetCheckSeverity.WARN)
    alerts = told(instance, run(instance, asset_that(lambda: [warning], *specs("unique_key")), other))
    assert [(each.dataset, each.title) for each in alerts] == [
        ("other", "the run failed"),
        ("loans/loans", "checks warn"),
    ]


def test_a_check_that_runs_by_itself_is_told_once_a_day(instance: dg.DagsterInstance) -> None:
    @dg.asset_check(asset=KEY)
    def nothing_is_missing() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=False)

    job = dg.Definitions(asset_checks=[nothing_is_missing]).resolve_implicit_global_asset_job_def()
    runs = [job.execute_in_process(instance=instance).run_id for _ in range(2)]
    causes = {alert.cause for run_id in runs for alert in told(instance, run_id)}
    assert len(causes) == 1
    assert causes.pop().startswith("20")


def test_the_window_of_a_range_run(instance: dg.DagsterInstance) -> None:
    tags = {"dagster/asset_partition_range_start": "2025-01-02", "dagster/asset_partition_range_end": "2025-01-05"}
    asset = asset_that(raises(ValueError(SECRET)))
    (alert,) = told(instance, run(instance, asset, partition_key=None, tags=tags))
    assert alert.window == "2025-01-02...2025-01-05"


def test_a_step_that_was_under_way_when_its_process_died(instance: dg.DagsterInstance) -> None:
    run_id = run(instance, asset_that(raises(ValueError(SECRET))))
    found = instance.get_run_by_id(run_id)
    assert found is not None
    instance.report_run_failed(found, "The run's process died.\nIt had 3 steps.")
    (alert,) = told(instance, run_id, without=("STEP_FAILURE",))
    assert (alert.cause, alert.dataset) == (f"run/{run_id}/loans__loans", "loans/loans")
    assert alert.reason == "The run's process died."


def test_a_run_that_never_began_is_told_to_each_owner(instance: dg.DagsterInstance) -> None:
    @dg.asset(partitions_def=DAYS)
    def other() -> None: ...

    run_id = run(instance, asset_that(raises(ValueError(SECRET))), other)
    alerts = told(instance, run_id, without=("STEP_START", "STEP_FAILURE", "STEP_SUCCESS"))
    assert [(each.cause, each.owner, each.dataset) for each in alerts] == [
        (f"run/{run_id}/team:loans", "team:loans", "loans/loans"),
        (f"run/{run_id}/team:other", "team:other", "other"),
    ]


def test_a_job_without_assets_is_told_by_its_step(instance: dg.DagsterInstance) -> None:
    @dg.op
    def resume() -> None:
        raise ValueError(SECRET)

    @dg.job
    def resuming() -> None:
        resume()

    result = resuming.execute_in_process(instance=instance, raise_on_error=False)
    (alert,) = told(instance, result.run_id)
    assert (alert.dataset, alert.owner, alert.window) == ("resume", None, None)
