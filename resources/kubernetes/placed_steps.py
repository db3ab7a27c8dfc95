"""Where a run's steps are executed: what is small in the run's own pod, one step after another; the rest in their own.

Imported in run pods only: dagster_k8s imports `kubernetes`.
"""

import os
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field
from typing import Any

from dagster import DagsterEvent, DagsterEventType, DagsterInstance, DagsterRun, MetadataValue
from dagster._cli.api import _execute_step_command_body
from dagster._core.events import EngineEventData
from dagster._core.executor.step_delegating import CheckStepHealthResult, StepHandler, StepHandlerContext
from dagster._grpc.types import ExecuteStepArgs
from dagster._serdes import deserialize_value, serialize_value
from dagster._utils.interrupts import capture_interrupts

from resources.kubernetes.places import Places
from resources.kubernetes.step_jobs import StepJobs, has_reported
from resources.memory import SHARE, usable_memory
from resources.warm import Died, Done, WarmPool, WarmProcess

_OWN_MIB = 512
"""Of the run's pod, for the process that plans the run and waits."""

_GRACE_SECONDS = 3
"""From the interrupt of a step in the run's pod to its kill: several are ended one after the other in the pod's own."""

_POD_CHECK_SECONDS = 5.0
"""A dead pod is noticed this soon. Each check asks the API for a job and its pods."""


class PlacedSteps(StepHandler):
    """A step begins in the run's pod only once: each later try has a pod of its own.

    So what its memory was not enough for, or what ended with the whole run's pod, does not end another.
    """

    def __init__(
        self, places: Places, pods: StepJobs, processes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__()
        self._places = places
        self._pods = pods
        self._clock = clock
        self._processes = processes
        self._here = WarmPool(processes, lambda: WarmProcess(_Work(places), {SHARE: str(_share(processes))}))
        self._checked: dict[str, float] = {}
        self._left_at_work: Set[str] | None = None

    @property
    def name(self) -> str:
        return "PlacedSteps"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        step = _key(step_handler_context)
        if why := self._why_own_pod(step, step_handler_context):
            yield from self._launch_pod(step, why, step_handler_context)
        else:
            self._here.add(step, serialize_value(step_handler_context.execute_step_args))

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        step = _key(step_handler_context)
        if step in self._checked or step not in self._here:
            return self._pod_health(step, step_handler_context)
        match self._here.ended(step):
            case Done(answer=str(why)):
                list(self._launch_pod(step, why, step_handler_context))
            case Died() as died if not has_reported(step_handler_context):
                return CheckStepHealthResult.unhealthy(_said_of(died))
        return CheckStepHealthResult.healthy()

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        step = _key(step_handler_context)
        if step in self._here and step not in self._checked:
            yield _told(step_handler_context, "Interrupting the step in the run's own pod.")
            self._here.stop(step, _GRACE_SECONDS)
        else:
            yield from self._pods.terminate_step(step_handler_context)

    def _why_own_pod(self, step: str, context: StepHandlerContext) -> str | None:
        if not self._processes:
            return "the run is configured so (run_pod_steps: 0)"
        known = context.execute_step_args.known_state
        if known and known.get_retry_state().get_attempt_count(step):
            return "it is tried again"
        if self._left_at_work is None:
            self._left_at_work = _left_at_work(context)
        if step in self._left_at_work:
            return "it was still at work when a run before this one ended"
        return self._places.beforehand(step)

    def _launch_pod(self, step: str, why: str, context: StepHandlerContext) -> Iterator[DagsterEvent]:
        yield _told(context, f"In a pod of its own: {why}.")
        self._checked[step] = self._clock()
        yield from self._pods.launch_step(context)

    def _pod_health(self, step: str, context: StepHandlerContext) -> CheckStepHealthResult:
        now = self._clock()
        if now - self._checked.get(step, 0.0) < _POD_CHECK_SECONDS:
            return CheckStepHealthResult.healthy()
        self._checked[step] = now
        return self._pods.check_step_health(context)


@dataclass
class _Work:
    """What a warm process does of a step, given as ExecuteStepArgs: it measures, and executes what is small."""

    places: Places
    instance: DagsterInstance | None = field(default=None, init=False)

    def __call__(self, task: str) -> str | None:
        """Why it was left for a pod of its own; None: it was executed, and the run's log has its events."""
        args = deserialize_value(task, ExecuteStepArgs)
        # Not the parent's, whose connections are not to be shared.
        self.instance = self.instance or DagsterInstance.from_ref(_known(args.instance_ref))
        with capture_interrupts():
            run = _known(self.instance.get_run_by_id(args.run_id))
            (step,) = _known(args.step_keys_to_execute)
            place = self.places.now(step, run.tags)
            if not place.in_run_pod:
                return place.why
            self.instance.report_engine_event(
                f"In the run's own pod: {place.why}.",
                run,
                EngineEventData({"pid": MetadataValue.text(str(os.getpid()))}),
                step_key=step,
            )
            for _ in _execute_step_command_body(args, self.instance, run):
                pass
        return None


def _share(processes: int) -> int:
    """Bytes of the run's pod that each of so many steps may use."""
    return (usable_memory() - (_OWN_MIB << 20)) // processes


def _said_of(died: Died) -> str:
    what = f"the process of the run's own pod that executed it {died.text}"
    return f"out of memory: {what}" if died.out_of_memory is not None else f"{what} without reporting how it ended"


def _left_at_work(context: StepHandlerContext) -> Set[str]:
    """The steps that were still at work when one of the runs ended that this one repeats."""
    ends = {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE}
    left: set[str] = set()
    run: DagsterRun | None = context.dagster_run
    while run and (before := run.parent_run_id):
        records = context.instance.get_records_for_run(before, of_type={DagsterEventType.STEP_START, *ends}).records
        events = [event for each in records if (event := each.event_log_entry.dagster_event)]
        last = {str(each.step_key): each.event_type for each in events}
        left |= {step for step, event in last.items() if event not in ends}
        run = context.instance.get_run_by_id(before)
    return left


def _told(context: StepHandlerContext, message: str) -> DagsterEvent:
    step = context.get_step_context(_key(context))
    return DagsterEvent.engine_event(step, message=message, event_specific_data=EngineEventData())


def _key(context: StepHandlerContext) -> str:
    (step,) = _known(context.execute_step_args.step_keys_to_execute)
    return str(step)


def _known(value: Any) -> Any:
    assert value is not None
    return value
