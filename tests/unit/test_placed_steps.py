"""Small steps in processes of the run itself, others as jobs of a cluster that a test plays."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.step_delegating import StepDelegatingExecutor

from resources import warm
from resources.kubernetes import placed_steps
from resources.kubernetes.diagnosis import Patience
from resources.kubernetes.placed_steps import PlacedSteps
from resources.kubernetes.places import Place
from resources.kubernetes.step_jobs import StepAccounts, StepJobs
from resources.memory import Memory
from tests.unit.test_step_jobs import OOM, STAGE, Cluster, ended, error_of, instance_on_cluster, told

K = dg.DagsterEventType


class Said:
    """The steps' places by their names: `declared_*` say theirs, `large*` are found to be so, the others are small."""

    def beforehand(self, step: str) -> str | None:
        return "it is declared" if step.startswith("declared") else None

    def now(self, step: str, tags: Mapping[str, str]) -> Place:
        return Place(False, "9 MiB to read") if step.startswith("large") else Place(True, "1 MiB to read")


@dg.executor(name="placed", requirements=[])
def placed(_: dg.InitExecutorContext) -> StepDelegatingExecutor:
    pods = StepJobs(
        StepAccounts("affirm-step", "affirm-executor"),
        Patience(),
        load_incluster_config=False,
        kubeconfig_file=STAGE.kubeconfig,
        k8s_client_batch_api=STAGE.cluster,
        k8s_client_core_api=STAGE.cluster,
    )
    return StepDelegatingExecutor(
        PlacedSteps(Said(), pods, 1),
        retries=RetryMode.ENABLED,
        check_step_health_interval_seconds=0,
        sleep_seconds=0.05,
    )


RETRIES = dg.RetryPolicy(max_retries=1)


def two_small() -> dg.JobDefinition:
    @dg.op
    def first() -> int:
        return os.getpid()

    @dg.op
    def second(first: int) -> None:
        assert first == os.getpid()

    @dg.job(executor_def=placed)
    def steps() -> None:
        second(first())

    return steps


def one_killed() -> dg.JobDefinition:
    @dg.op(retry_policy=RETRIES)
    def killed() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    @dg.op
    def other() -> None: ...

    @dg.job(executor_def=placed)
    def steps() -> None:
        killed()
        other()

    return steps


def large_and_declared() -> dg.JobDefinition:
    @dg.op
    def large() -> None: ...

    @dg.op
    def declared() -> None: ...

    @dg.job(executor_def=placed)
    def steps() -> None:
        large()
        declared()

    return steps


def moved() -> dg.JobDefinition:
    @dg.op(retry_policy=RETRIES)
    def turns_out_large() -> None:
        raise dg.RetryRequested(1, 0)

    @dg.job(executor_def=placed)
    def steps() -> None:
        turns_out_large()

    return steps


def slow() -> dg.JobDefinition:
    @dg.op
    def sleeps() -> None:
        Path(os.environ["STEP_STARTED"]).touch()
        time.sleep(60)

    @dg.job(executor_def=placed)
    def steps() -> None:
        sleeps()

    return steps


@dataclass(frozen=True)
class Stage:
    """Runs a job on a cluster where its pods have these fates; the events of its run."""

    instance: dg.DagsterInstance

    def __call__(
        self, job: Callable[[], dg.JobDefinition], *fates: dict[str, Any], **options: Any
    ) -> list[dg.DagsterEvent]:
        STAGE.cluster = Cluster(*fates)
        with dg.execute_job(dg.reconstructable(job), self.instance, **options) as result:
            return self.events(result.run_id)

    def events(self, run_id: str) -> list[dg.DagsterEvent]:
        logs = self.instance.all_logs(run_id)
        return [entry.dagster_event for entry in logs if entry.dagster_event is not None]


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(placed_steps, "_POD_CHECK_SECONDS", 0.0)

    with instance_on_cluster(tmp_path) as instance:
        yield Stage(instance)


def said(events: list[dg.DagsterEvent], step: str) -> list[str]:
    """Where a step was executed, and why, in the run's log."""
    return [
        each.message or ""
        for each in events
        if each.event_type == K.ENGINE_EVENT and each.step_key == step and (each.message or "").startswith("In ")
    ]


def test_small_steps_share_a_process_that_is_not_the_runs_own(play: Stage) -> None:
    events = play(two_small)
    assert [each.step_key for each in told(events, K.STEP_SUCCESS)] == ["first", "second"]
    assert said(events, "second") == ["In the run's own pod: 1 MiB to read."]
    (pid,) = {each.event_specific_data.metadata["pid"].value for each in told(events, K.STEP_WORKER_STARTED)}
    assert pid != str(os.getpid())
    assert STAGE.cluster.jobs == []


def test_a_step_that_is_large_or_says_so_has_a_pod(play: Stage) -> None:
    events = play(large_and_declared, ended(OOM), ended(OOM))
    assert said(events, "large") == ["In a pod of its own: 9 MiB to read."]
    assert said(events, "declared") == ["In a pod of its own: it is declared."]
    assert len(STAGE.cluster.jobs) == 2
    assert told(events, K.STEP_WORKER_STARTED) == []


def test_a_step_whose_process_was_killed_is_tried_again_in_a_pod_and_the_others_go_on(play: Stage) -> None:
    events = play(one_killed, ended(OOM))
    (retry,) = told(events, K.STEP_UP_FOR_RETRY)
    assert "the process of the run's own pod that executed it was killed (SIGKILL) without reporting" in error_of(retry)
    assert said(events, "killed")[1:] == ["In a pod of its own: it is tried again."]
    assert [each.step_key for each in told(events, K.STEP_SUCCESS)] == ["other"]


def test_a_kill_for_want_of_memory_is_said(play: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    kills = iter(range(1000))
    monkeypatch.setattr(warm, "read_memory", lambda: Memory(next(kills), 3 << 30))
    (retry,) = told(play(one_killed, ended(OOM)), K.STEP_UP_FOR_RETRY)
    assert "out of memory: the process of the run's own pod that executed it" in error_of(retry)
    assert "limit of 3072Mi" in error_of(retry)


def test_a_step_may_leave_the_runs_pod_for_its_own(play: Stage) -> None:
    events = play(moved, ended(OOM))
    assert len(told(events, K.STEP_UP_FOR_RETRY)) == 1
    assert said(events, "turns_out_large")[1:] == ["In a pod of its own: it is tried again."]


def test_what_was_at_work_when_the_run_before_ended_has_a_pod(play: Stage) -> None:
    """The end of the first run is taken out of its log: as if its pod had been killed within the second step."""
    before = play(two_small)
    run_id = play.instance.get_runs()[0].run_id
    records = placed_steps.DagsterInstance.get_records_for_run

    def without_end(self: dg.DagsterInstance, run: str, *args: Any, **named: Any) -> Any:
        found = records(self, run, *args, **named)
        if run != run_id:
            return found
        kept = [
            each
            for each in found.records
            if (each.event_log_entry.step_key, each.event_log_entry.dagster_event.event_type)
            != ("second", K.STEP_SUCCESS)
        ]
        return found._replace(records=kept) if hasattr(found, "_replace") else type(found)(kept, found.cursor, False)

    assert len(told(before, K.STEP_SUCCESS)) == 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(placed_steps.DagsterInstance, "get_records_for_run", without_end)
        of = run_id
        for _ in range(2):  # the second one's parent has begun the step in no process
            again = dg.ReexecutionOptions(parent_run_id=of)
            events = play(two_small, ended(OOM), reexecution_options=again)
            assert said(events, "first") == ["In the run's own pod: 1 MiB to read."]
            assert said(events, "second") == [
                "In a pod of its own: it was still at work when a run before this one ended."
            ]
            of = play.instance.get_runs()[0].run_id


def test_an_interrupt_reaches_the_step(play: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = tmp_path / "started"
    monkeypatch.setenv("STEP_STARTED", str(started))
    looked = placed_steps.PlacedSteps.check_step_health

    def check(self: PlacedSteps, context: Any) -> Any:
        if started.exists():
            os.kill(os.getpid(), signal.SIGINT)
            started.unlink()
        return looked(self, context)

    monkeypatch.setattr(placed_steps.PlacedSteps, "check_step_health", check)
    at = time.monotonic()
    (failure,) = told(play(slow), K.STEP_FAILURE)
    assert time.monotonic() - at < 30
    assert "DagsterExecutionInterruptedError" in str(failure.event_specific_data.error)
