"""Dagster's executor for runs on Kubernetes: small steps in the run's own pod, the others in pods of their own."""

from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import multiple_process_executor_requirements
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.base import Executor
from dagster._core.executor.init import InitExecutorContext
from dagster._core.executor.step_delegating import StepDelegatingExecutor

from resources.kubernetes.diagnosis import Patience
from resources.kubernetes.places import Places

_LOOK_SECONDS = 0.25
"""Between two looks at what the steps have said and what has become of them: a step may start this much later than the
one before it ended. A look is a query of the run's events; the cluster's API is asked less often."""

_DEFAULT = Patience()

_CONFIG: dict[str, Any] = {
    "service_account": dg.Field(
        dg.StringSource, default_value="affirm-step", description="Account of step pods, which make executor pods."
    ),
    "executor_service_account": dg.Field(
        dg.StringSource, default_value="affirm-executor", description="Account of executor pods, which may nothing."
    ),
    "max_concurrent": dg.Field(
        dg.Noneable(int), default_value=None, description="Steps of one run at the same time; none: no limit."
    ),
    "run_pod_steps": dg.Field(
        int,
        default_value=2,
        description="Of them, those that the run's own pod executes at the same time; 0: each has a pod of its own.",
    ),
    "pod_patience_seconds": dg.Field(
        float, default_value=_DEFAULT.pod, description="How long a step's job may take to make its pod."
    ),
    "room_patience_seconds": dg.Field(
        float, default_value=_DEFAULT.room, description="How long a step may wait for a node; then it fails."
    ),
    "start_patience_seconds": dg.Field(
        float,
        default_value=_DEFAULT.start,
        description="How long a step may wait on its node for its image and containers; then it fails.",
    ),
}


def step_executor(places: Places) -> dg.ExecutorDefinition:
    """Executes each step where `places` says. Runs are a K8sRunLauncher's, whose pod settings steps inherit."""

    @dg.executor(name="affirm_steps", config_schema=_CONFIG, requirements=multiple_process_executor_requirements())
    def affirm_steps(init_context: InitExecutorContext) -> Executor:
        return _executor(init_context, places)

    return affirm_steps


def _executor(init_context: InitExecutorContext, places: Places) -> Executor:
    from dagster_k8s import K8sRunLauncher

    from resources.kubernetes.placed_steps import PlacedSteps
    from resources.kubernetes.step_jobs import StepAccounts, StepJobs

    launcher = init_context.instance.run_launcher
    if not isinstance(launcher, K8sRunLauncher):
        raise dg.DagsterInvariantViolationError(
            "affirm_steps: expected the instance's run launcher to be K8sRunLauncher, found "
            f"{type(launcher).__name__}. Launch the run from the UI or the API of the platform on Kubernetes."
        )
    config: Any = init_context.executor_config
    if config["run_pod_steps"] < 0:
        raise dg.DagsterInvariantViolationError(
            f"affirm_steps: expected run_pod_steps to be 0 or more, found {config['run_pod_steps']}."
        )
    pods = StepJobs(
        StepAccounts(config["service_account"], config["executor_service_account"]),
        Patience(config["pod_patience_seconds"], config["room_patience_seconds"], config["start_patience_seconds"]),
        load_incluster_config=launcher.load_incluster_config,
        kubeconfig_file=launcher.kubeconfig_file,
    )
    return StepDelegatingExecutor(
        PlacedSteps(places, pods, config["run_pod_steps"]),
        retries=RetryMode.ENABLED,
        sleep_seconds=_LOOK_SECONDS,
        max_concurrent=config["max_concurrent"],
        # At each look: the handler says how often it asks the cluster.
        check_step_health_interval_seconds=0,
        # A job makes one pod only, and one that died before it said that it had started may be tried again.
        should_verify_step=False,
    )
