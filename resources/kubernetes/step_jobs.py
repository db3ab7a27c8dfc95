"""The jobs of a run's steps: made, watched, ended. Imported in run pods only: dagster_k8s imports `kubernetes`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from dagster import DagsterEvent, DagsterEventType, MetadataValue
from dagster._core.events import EngineEventData
from dagster._core.execution.plan.objects import StepFailureData, UserFailureData
from dagster._core.executor.step_delegating import CheckStepHealthResult, StepHandlerContext
from dagster._core.storage.compute_log_manager import CapturedLogContext
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.executor import K8sStepHandler
from dagster_k8s.job import OwnerReference, UserDefinedDagsterK8sConfig, construct_dagster_k8s_job
from dagster_shared.error import SerializableErrorInfo

from resources.kubernetes.diagnosis import (
    STEP_CONTAINER,
    Manifest,
    Patience,
    Verdict,
    asked,
    diagnose,
    is_ended,
    out_of_memory,
    seconds_between,
    waiting,
)
from resources.kubernetes.labels import IMAGE, RUN_ID, STEP, step_labels
from resources.kubernetes.logs import VARIABLE, LogStore, log_files, with_shipping

_GRACE_SECONDS = 5
"""From a step's SIGTERM to its SIGKILL. It has nothing to save: what it staged is on no reader's path."""

_KEPT_SECONDS = 6 * 3600
"""For which a job that has ended can be looked at, unless the reaper comes first."""

_SECONDS_BEFORE_TOLD = 15
"""For which a pod may wait before the run's log says so: most get their place at once."""

_TAIL_LINES = 20


@dataclass(frozen=True)
class StepAccounts:
    """Service accounts: of the steps, which make pods, and of their executors, which may nothing."""

    step: str
    executor: str


class StepJobs(K8sStepHandler):
    """Dagster's own handler, with more to say about what died, and owners, labels and log shipping on what it makes."""

    def __init__(self, accounts: StepAccounts, patience: Patience, **dagster_k8s: Any) -> None:
        super().__init__(image=None, container_context=K8sContainerContext(), **dagster_k8s)
        self._accounts = accounts
        self._patience = patience
        self._told: set[tuple[str, str]] = set()

    @property
    def name(self) -> str:
        return "StepJobs"

    def launch_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        step = self._get_step_key(step_handler_context)
        manifest = self._manifest(step_handler_context)
        name = manifest["metadata"]["name"]
        yield DagsterEvent.step_worker_starting(
            step_handler_context.get_step_context(step),
            message=f'Executing step "{step}" in Kubernetes job {name}.',
            metadata={"Kubernetes job": MetadataValue.text(name), "asked": asked(manifest["spec"]["template"])},
        )
        self._api_client.create_namespaced_job_with_retries(
            body=manifest, namespace=self._namespace(step_handler_context)
        )

    def check_step_health(self, step_handler_context: StepHandlerContext) -> CheckStepHealthResult:
        """A step that cannot be helped by another try is failed here and now; another is left to its retry policy."""
        namespace, name = self._namespace(step_handler_context), self._get_k8s_step_job_name(step_handler_context)
        job = self._found(self._api_client.batch_api.read_namespaced_job, name=name, namespace=namespace)
        pod = self._newest_pod(name, namespace)
        events = self._events(name, namespace) if job and pod is None else []
        verdict = diagnose(job, pod, events, datetime.now(UTC), self._patience)
        if verdict is None:
            if pod:
                self._tell_if_waiting(step_handler_context, "Step pod", pod)
                self._tell_of_executors(step_handler_context, pod, namespace)
            return CheckStepHealthResult.healthy()
        # Read after the pod's end was seen: what it reported before is there by now.
        if has_reported(step_handler_context):
            return CheckStepHealthResult.healthy()
        if pod is None or not is_ended(pod):
            self._delete(name, namespace)
        message = verdict.message + (self._last_lines(pod, namespace) if pod else "")
        if verdict.may_retry:
            return CheckStepHealthResult.unhealthy(message)
        self._fail(step_handler_context, verdict, message)
        return CheckStepHealthResult.healthy()

    def terminate_step(self, step_handler_context: StepHandlerContext) -> Iterator[DagsterEvent]:
        name = self._get_k8s_step_job_name(step_handler_context)
        yield DagsterEvent.engine_event(
            step_handler_context.get_step_context(self._get_step_key(step_handler_context)),
            message=f"Deleting Kubernetes job {name} for step",
            event_specific_data=EngineEventData(),
        )
        self._delete(name, self._namespace(step_handler_context))

    def _manifest(self, context: StepHandlerContext) -> dict[str, Any]:
        run, step = context.dagster_run, self._get_step_key(context)
        name = self._get_k8s_step_job_name(context)
        store = LogStore.of(context.instance.compute_log_manager)
        settings = self._get_container_context(context).merge(self._ours(run.run_id, step, store))
        config = settings.get_k8s_job_config(self._executor_image, context.instance.run_launcher)
        if not config.job_image:
            config = config._replace(job_image=context.execute_step_args.job_origin.repository_origin.container_image)
        owner = self._detect_current_name_and_uid()
        job = construct_dagster_k8s_job(
            job_config=config,
            args=context.execute_step_args.get_command_args(skip_serialized_namedtuple=True),
            job_name=name,
            pod_name=name,
            component="step_worker",
            user_defined_k8s_config=settings.run_k8s_config,
            labels={"dagster/job": run.job_name, "dagster/op": step, "dagster/run-id": run.run_id},
            env_vars=[
                *context.execute_step_args.get_command_env(),
                {"name": "DAGSTER_RUN_JOB_NAME", "value": run.job_name},
                {"name": "DAGSTER_RUN_STEP_KEY", "value": step},
            ],
            owner_references=[OwnerReference(kind="Pod", name=owner[0], uid=owner[1])] if owner else None,
        )
        return finished_manifest(self._json(job), store)

    def _ours(self, run_id: str, step: str, store: LogStore | None) -> K8sContainerContext:
        """What every step pod of the platform has, whatever its dataset asks for."""

        def of_the_pod(path: str) -> dict[str, Any]:
            return {"field_ref": {"field_path": path}}

        environment = [
            {"name": "POD_IP", "value_from": of_the_pod("status.podIP")},
            {"name": "POD_NAME", "value_from": of_the_pod("metadata.name")},
            {"name": "POD_NAMESPACE", "value_from": of_the_pod("metadata.namespace")},
            {"name": "AFFIRM_EXECUTOR_SERVICE_ACCOUNT", "value": self._accounts.executor},
            {"name": RUN_ID.variable, "value": run_id},
            {"name": STEP.variable, "value": step},
            *([{"name": VARIABLE, "value": store.to_json()}] if store else []),
        ]
        labels = step_labels(run_id, step)
        return K8sContainerContext(
            service_account_name=self._accounts.step,
            labels=labels,
            run_k8s_config=UserDefinedDagsterK8sConfig(
                container_config={"name": STEP_CONTAINER, "env": environment},
                pod_spec_config={"termination_grace_period_seconds": _GRACE_SECONDS},
                job_spec_config={"backoff_limit": 0, "ttl_seconds_after_finished": _KEPT_SECONDS},
            ),
        )

    def _fail(self, context: StepHandlerContext, verdict: Verdict, message: str) -> None:
        step = context.get_step_context(self._get_step_key(context))
        DagsterEvent.step_failure_event(
            step,
            StepFailureData(  # type: ignore[no-untyped-call]
                error=SerializableErrorInfo(message, stack=[], cls_name=None),
                user_failure_data=UserFailureData(verdict.cause, message),  # type: ignore[no-untyped-call]
            ),
            message=f'Execution of step "{step.step.key}" failed: {message}',
        )

    def _tell_of_executors(self, context: StepHandlerContext, driver: Manifest, namespace: str) -> None:
        """Log, once each: where an executor's output goes, that it waits for its place, that it was out of memory."""
        step = context.get_step_context(self._get_step_key(context))
        for pod in self._pods(namespace, "spark-role=executor"):
            if not any(
                owner["uid"] == driver["metadata"]["uid"] for owner in pod["metadata"].get("ownerReferences", ())
            ):
                continue
            name = pod["metadata"]["name"]
            if self._is_news(name, "logs"):
                key = log_files(context.execute_step_args.run_id, name).split("/")
                DagsterEvent.capture_logs(step, [step.step.key], key, CapturedLogContext(key))
            self._tell_if_waiting(context, "Executor pod", pod)
            if (killed := out_of_memory(pod)) and self._is_news(name, killed):
                _log(step, f"Executor pod {name} out of memory: {killed}.")

    def _tell_if_waiting(self, context: StepHandlerContext, what: str, pod: Manifest) -> None:
        held, name = waiting(pod), pod["metadata"]["name"]
        if held is None or seconds_between(held.since, datetime.now(UTC)) <= _SECONDS_BEFORE_TOLD:
            return
        if self._is_news(name, held.message):
            step = context.get_step_context(self._get_step_key(context))
            _log(step, f"{what} {name}: {held.cause}: {held.message.rstrip('.')}. Asked: {asked(pod)}.")

    def _is_news(self, pod: str, what: str) -> bool:
        is_news = (pod, what) not in self._told
        self._told.add((pod, what))
        return is_news

    def _delete(self, job: str, namespace: str) -> None:
        """The job and, at once, its pods, which the API's garbage collector would find a moment later."""
        pods = self._pods(namespace, f"job-name={job}")
        self._found(
            self._api_client.batch_api.delete_namespaced_job,
            name=job,
            namespace=namespace,
            propagation_policy="Background",
        )
        for pod in pods:
            self._found(
                self._api_client.core_api.delete_namespaced_pod, name=pod["metadata"]["name"], namespace=namespace
            )

    def _last_lines(self, pod: Manifest, namespace: str) -> str:
        """What the step printed last: what fails before Dagster captures it is in no compute log."""
        from kubernetes.client import ApiException

        try:
            response = self._api_client.core_api.read_namespaced_pod_log(
                pod["metadata"]["name"],
                namespace,
                container=STEP_CONTAINER,
                tail_lines=_TAIL_LINES,
                _preload_content=False,  # the client would make a text of the bytes: b'...'
            )
        except ApiException:  # it never started, or its node is gone
            return ""
        text = response.data.decode(errors="replace").strip()
        return f"\nIts last lines:\n{text}" if text else ""

    def _newest_pod(self, job: str, namespace: str) -> Manifest | None:
        pods = self._pods(namespace, f"job-name={job}")
        return max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"], default=None)

    def _pods(self, namespace: str, selector: str) -> list[Manifest]:
        found = self._api_client.core_api.list_namespaced_pod(namespace, label_selector=selector)
        return [self._json(pod) for pod in found.items]

    def _events(self, job: str, namespace: str) -> list[Manifest]:
        found = self._api_client.core_api.list_namespaced_event(
            namespace, field_selector=f"involvedObject.kind=Job,involvedObject.name={job}"
        )
        return [self._json(event) for event in found.items]

    def _found(self, call: Any, **arguments: Any) -> Manifest | None:
        """What a call returns; None if there is no such object."""
        from kubernetes.client import ApiException

        try:
            return self._json(call(**arguments))
        except ApiException as error:
            if error.status != 404:
                raise
            return None

    def _json(self, model: Any) -> dict[str, Any]:
        value: dict[str, Any] = self._api_client.core_api.api_client.sanitize_for_serialization(model)
        return value

    def _namespace(self, context: StepHandlerContext) -> str:
        namespace: str | None = self._get_container_context(context).namespace
        assert namespace is not None  # the run launcher has a default
        return namespace


def has_reported(context: StepHandlerContext) -> bool:
    """Whether the end of the step's present attempt is in the event log already."""
    args = context.execute_step_args
    assert args.step_keys_to_execute is not None
    (step,) = args.step_keys_to_execute
    attempts = args.known_state.get_retry_state().get_attempt_count(step) if args.known_state else 0
    ends = {DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE, DagsterEventType.STEP_UP_FOR_RETRY}
    records = context.instance.get_records_for_run(args.run_id, of_type=ends).records
    return sum(each.event_log_entry.step_key == step for each in records) > attempts


def finished_manifest(job: Mapping[str, Any], store: LogStore | None) -> dict[str, Any]:
    """A step's job with its image named to the step, whose executors have the same, and with its logs shipped."""
    spec = job["spec"]["template"]["spec"]
    step = next(each for each in spec["containers"] if each["name"] == STEP_CONTAINER)
    environment = {"env": step.get("env", []), "envFrom": step.get("envFrom", [])}
    named = {**step, "env": [*environment["env"], {"name": IMAGE, "value": step["image"]}]}
    spec = {**spec, "containers": [named if each is step else each for each in spec["containers"]]}
    if store:
        spec = with_shipping(spec, STEP_CONTAINER, store, step["image"], environment)
    return {**job, "spec": {**job["spec"], "template": {**job["spec"]["template"], "spec": spec}}}


def _log(step: Any, message: str) -> None:
    DagsterEvent.engine_event(step, message=message, event_specific_data=EngineEventData())
