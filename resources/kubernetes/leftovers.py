"""What runs have made in a namespace and may have left behind, found by label; and its removal."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from resources.kubernetes.labels import RUN_ID

_BY_STEP = RUN_ID.label
_BY_RUN = "dagster/run-id,app.kubernetes.io/component=run_worker"


@dataclass(frozen=True)
class Made:
    """An object that a run has made.

    `is_living`: it takes room or does something. `is_labelled`: it bears the platform's own label, and not only the one
    that any Dagster gives to its run workers.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    run_id: str
    created: datetime
    is_living: bool
    is_labelled: bool


def made_by_runs(api: "Api", namespace: str) -> Iterator[Made]:
    """The objects with a run's label, those of its run worker included."""
    for kind in api.kinds:
        for selector in (_BY_STEP, f"!{_BY_STEP},{_BY_RUN}"):
            for item in api.list_objects(kind, namespace, selector):
                labels = item.metadata.labels
                yield Made(
                    kind,
                    namespace,
                    item.metadata.name,
                    item.metadata.uid,
                    labels.get(RUN_ID.label) or labels["dagster/run-id"],
                    item.metadata.creation_timestamp,
                    _is_living(kind, item),
                    RUN_ID.label in labels,
                )


class Api:
    """Of the cluster in which this process is a pod: lists and deletes objects of four kinds."""

    kinds = ("pod", "job", "config_map", "persistent_volume_claim")

    def __init__(self) -> None:
        from kubernetes import client, config

        config.load_incluster_config()
        self._groups = dict.fromkeys(self.kinds, client.CoreV1Api()) | {"job": client.BatchV1Api()}

    def list_objects(self, kind: str, namespace: str, selector: str) -> list[Any]:
        items: list[Any] = getattr(self._groups[kind], f"list_namespaced_{kind}")(
            namespace, label_selector=selector
        ).items
        return items

    def remove(self, made: Made) -> None:
        """Delete this very object, not another that has its name by now; no error if it is gone already."""
        from kubernetes.client import ApiException, V1DeleteOptions, V1Preconditions

        options = V1DeleteOptions(propagation_policy="Background", preconditions=V1Preconditions(uid=made.uid))
        try:
            getattr(self._groups[made.kind], f"delete_namespaced_{made.kind}")(made.name, made.namespace, body=options)
        except ApiException as error:
            if error.status not in (404, 409):  # gone, or replaced
                raise


def own_namespace() -> str:
    from dagster_k8s.utils import detect_current_namespace

    namespace: str | None = detect_current_namespace(None)
    if namespace is None:
        raise RuntimeError("expected to run in a pod with a service account's token, found no namespace file")
    return namespace


def _is_living(kind: str, item: Any) -> bool:
    match kind:
        case "pod":
            return item.status.phase not in ("Succeeded", "Failed")
        case "job":
            return bool(item.status.active)
        case _:
            return True
