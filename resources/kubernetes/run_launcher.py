"""Dagster's run launcher for pods that execute steps themselves. Named by the instance's dagster.yaml."""

from typing import Any

from dagster import DagsterRun
from dagster_k8s import K8sRunLauncher
from dagster_k8s.container_context import K8sContainerContext
from dagster_k8s.job import UserDefinedDagsterK8sConfig
from dagster_k8s.models import k8s_snake_case_dict

from resources.kubernetes.diagnosis import STEP_CONTAINER
from resources.kubernetes.logs import LogStore, with_shipping


class RunPods(K8sRunLauncher):
    """Dagster's own, with the shipping of logs in each run's pod: what a step printed is kept if the pod is killed."""

    def get_container_context_for_run(self, dagster_run: DagsterRun) -> K8sContainerContext:
        context = super().get_container_context_for_run(dagster_run)
        store = LogStore.of(self._instance.compute_log_manager)
        if store is None:
            return context
        origin = dagster_run.job_code_origin
        image = context.get_k8s_job_config(origin and origin.repository_origin.container_image, self).job_image
        return context.merge(_shipping(context, image or "", store))


def _shipping(context: K8sContainerContext, image: str, store: LogStore) -> K8sContainerContext:
    from kubernetes.client import V1Container, V1PodSpec

    container: dict[str, Any] = {**context.run_k8s_config.container_config}
    image = container.get("image") or image
    served = {"name": STEP_CONTAINER, "securityContext": container.get("security_context")}
    environment = {"env": container.get("env") or [], "envFrom": container.get("env_from") or []}
    spec = with_shipping({"containers": [served]}, STEP_CONTAINER, store, image, environment)
    mounts = {"volumeMounts": spec["containers"][0]["volumeMounts"]}
    around = {"initContainers": spec["initContainers"], "volumes": spec["volumes"]}
    return K8sContainerContext(
        run_k8s_config=UserDefinedDagsterK8sConfig(
            container_config=k8s_snake_case_dict(V1Container, mounts),
            pod_spec_config=k8s_snake_case_dict(V1PodSpec, around),
        )
    )
