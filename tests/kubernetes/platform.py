"""The platform as a test brings it up on a cluster: its servers, its deployments, its API, its tables."""

import json
import shutil
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

from affirm_assets.lender.sample_data import write_sample_data
from resources.landing.files import SUCCESS
from resources.landing.stores import Bucket
from tests.kubernetes.cluster import IMAGE, NAMESPACE, ROOT, Tools, forwarded, kubectl, objects
from tests.servers import (
    ACCESS_KEY,
    PASSWORD,
    REGION,
    SECRET_KEY,
    SECRETS,
    USER,
    Postgres,
    S3Server,
    postgres,
    s3_server,
)

DEPLOYMENTS = ("affirm-webserver", "affirm-daemon", "affirm-code-location")
LOCATION = "affirm_assets"
START = date(2025, 1, 1)
DAYS = 10
LAKE, LOGS = "lake", "logs"
"""Buckets."""

_SECONDS_TO_COME_UP = 240
_FINISHED = ("SUCCESS", "FAILURE", "CANCELED")


@dataclass(frozen=True)
class Platform:
    """`landed`: the local folder of the sample; its days lie in the landing zone once they are landed."""

    database: Postgres
    store: S3Server
    landed: Path
    url: str

    def land(self, first: date, last: date) -> None:
        """Let the files of these days arrive, those that say that a day is complete last."""
        bucket = Bucket(LAKE, "landing", make_client=lambda *_: self.store.client())
        files = [
            each for each in self.landed.glob("*/????-??-??/*") if first <= date.fromisoformat(each.parent.name) <= last
        ]
        for file in sorted(files, key=lambda each: each.name == SUCCESS):
            bucket.put(file.relative_to(self.landed).as_posix(), file.read_bytes())

    def stop_sensors(self) -> None:
        """So that nobody but who launches a run asks for one."""
        repository = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__"}
        for each in self.ask(_SENSORS, repository=repository)["sensorsOrError"]["results"]:
            stopped = self.ask(_STOP_SENSOR, sensor=each["id"])["stopSensor"]
            assert stopped["__typename"] == "StopSensorMutationResult", stopped

    def runs_of_sensors(self) -> list[str]:
        """The ids of the runs that sensors asked for, that succeeded."""
        found = self.ask(_RUNS)["runsOrError"]["results"]
        return [each["runId"] for each in found if any(tag["key"] == "dagster/sensor_name" for tag in each["tags"])]

    def runs_tagged(self, key: str, value: str) -> list[str]:
        """The ids of all runs with this tag."""
        found = self.ask(_TAGGED, tags=[{"key": key, "value": value}])["runsOrError"]["results"]
        return [each["runId"] for each in found]

    def tags(self, run_id: str) -> dict[str, str]:
        found = self.ask(_TAGS, run=run_id)["runOrError"]["tags"]
        return {each["key"]: each["value"] for each in found}

    def reported(self, feed: str) -> int:
        """How many materializations the instance was told of a feed."""
        path = {"path": ["feeds", feed]}
        return len(self.ask(_MATERIALIZATIONS, key=path)["assetOrError"]["assetMaterializations"])

    def ask(self, query: str, **variables: Any) -> Any:
        """The answer of the webserver's GraphQL API. Raises AssertionError with its errors."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def launch(
        self,
        *assets: str,
        first: date = START,
        last: date | None = None,
        tags: Mapping[str, str] | None = None,
        config: Mapping[str, Any] | None = None,
    ) -> str:
        """Launch a run of these assets (`loans/loans`) for a day, or a range of days; its id. `config`: run config."""
        if last is None:
            window = {"dagster/partition": str(first)}
        else:
            window = {
                "dagster/asset_partition_range_start": str(first),
                "dagster/asset_partition_range_end": str(last),
            }
        parameters = {
            "selector": {
                "repositoryLocationName": LOCATION,
                "repositoryName": "__repository__",
                "jobName": "__ASSET_JOB",
                "assetSelection": [{"path": each.split("/")} for each in assets],
            },
            "mode": "default",
            "runConfigData": config or {},
            "executionMetadata": {
                "tags": [{"key": key, "value": value} for key, value in {**window, **(tags or {})}.items()]
            },
        }
        launched = self.ask(_LAUNCH, parameters=parameters)["launchRun"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        run_id: str = launched["run"]["runId"]
        return run_id

    def status(self, run_id: str) -> str:
        status: str = self.ask(_STATUS, run=run_id)["runOrError"]["status"]
        return status

    def wait(self, run_id: str, seconds: float = 300, until: Sequence[str] = _FINISHED) -> str:
        """The run's status once it is one of these. Raises AssertionError with its last events if it takes longer."""
        deadline = time.monotonic() + seconds
        while (status := self.status(run_id)) not in until:
            assert time.monotonic() < deadline, f"run {run_id} is {status} after {seconds:.0f} s: {self.tail(run_id)}"
            assert status not in _FINISHED, f"run {run_id} ended as {status}: {self.tail(run_id)}"
            time.sleep(1)
        return status

    def materialize(self, *assets: str, seconds: float = 300, **launch: Any) -> str:
        """Launch a run and see it succeed; its id."""
        run_id = self.launch(*assets, **launch)
        status = self.wait(run_id, seconds)
        assert status == "SUCCESS", f"run {run_id} ended as {status}: {self.tail(run_id)}"
        return run_id

    def terminate(self, run_id: str) -> None:
        done = self.ask(_TERMINATE, run=run_id)["terminateRun"]
        assert done["__typename"] == "TerminateRunSuccess", done

    def events(self, run_id: str) -> list[dict[str, Any]]:
        """Of a run, in order, each with eventType, message, stepKey, timestamp (ms), and error or metadata if any."""
        events: list[dict[str, Any]] = []
        cursor = None
        while True:
            page = self.ask(_EVENTS, run=run_id, cursor=cursor)["logsForRun"]
            events.extend(page["events"])
            cursor = page["cursor"]
            if not page["hasMore"]:
                return events

    def tail(self, run_id: str) -> str:
        """The last events, for a failed test's message."""
        return "\n".join(
            f"{each['eventType']} {each['stepKey']}: {each['message']} {each.get('error') or ''}"
            for each in self.events(run_id)[-12:]
        )

    def pods_of(self, run_id: str) -> list[dict[str, Any]]:
        """Of a run: its own and its steps'."""
        return objects("pods", f"dagster/run-id={run_id}")

    def logs(self) -> dict[str, str]:
        """All compute logs: key in the bucket -> text."""
        client = self.store.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=LOGS)
        keys = [each["Key"] for page in pages for each in page.get("Contents", ())]
        return {key: client.get_object(Bucket=LOGS, Key=key)["Body"].read().decode(errors="replace") for key in keys}

    def catalog(self) -> Catalog:
        """PyIceberg's view of the tables, from here; the password comes from the environment of the tests."""
        return SqlCatalog(
            LAKE,
            uri=f"postgresql+psycopg2://{USER}:{quote(PASSWORD)}@{self.database.host}:{self.database.port}/lake",
            warehouse=f"s3://{LAKE}/warehouse",
            **{
                "s3.endpoint": self.store.endpoint,
                "s3.region": REGION,
                "s3.access-key-id": ACCESS_KEY,
                "s3.secret-access-key": SECRET_KEY,
            },
        )

    def table(self, name: str) -> pa.Table:
        return self.catalog().load_table(name).scan().to_arrow()


@contextmanager
def running_platform(tools: Tools, folder: Path) -> Iterator[Platform]:
    """The platform on the cluster, with servers and a sample of its own, from `kubectl apply -k` until it is removed.

    `folder`: an empty one, for the rendered overlay and the sample.
    """
    landed = folder / "landing"
    write_sample_data(landed, loans=60, start=START, days=DAYS, seed=1)
    with postgres(tools.host, ["dagster", "lake"]) as database, s3_server(tools.host, [LAKE, LOGS]) as store:
        _apply(folder / "kubernetes", database, store)
        try:
            _wait_until_ready()
            with forwarded("affirm-webserver", 3000) as port:
                yield Platform(database, store, landed, f"http://127.0.0.1:{port}/graphql")
        finally:
            kubectl("delete", "namespace", NAMESPACE, "--timeout=180s")


def _apply(manifests: Path, database: Postgres, store: S3Server) -> None:
    """Apply the overlay with the servers' addresses, on a cluster without the platform."""
    refuse_anothers()
    kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=180s")
    shutil.copytree(ROOT / "deploy" / "kubernetes", manifests)
    overlay = manifests / "overlays" / "test"
    endpoints = {
        "AFFIRM_CATALOG_URI": database.catalog_uri("lake"),
        "AFFIRM_WAREHOUSE": f"s3://{LAKE}/warehouse",
        "AFFIRM_LANDING": f"s3://{LAKE}/landing",
        "AFFIRM_LOGS_BUCKET": LOGS,
        "AFFIRM_S3_ENDPOINT": store.endpoint,
        "AWS_ENDPOINT_URL_S3": store.endpoint,
        "AWS_REGION": REGION,
        "AFFIRM_FIRST_BUSINESS_DATE": str(START),
        "DAGSTER_PG_HOST": database.host,
        "DAGSTER_PG_PORT": str(database.port),
        "DAGSTER_PG_DB": "dagster",
        "DAGSTER_PG_USERNAME": USER,
    }
    (overlay / "endpoints.env").write_text("".join(f"{key}={value}\n" for key, value in endpoints.items()))
    kubectl("apply", "--filename", str(manifests / "base" / "namespace.yaml"))
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "affirm-secrets"},
        "stringData": {**SECRETS, "DAGSTER_PG_PASSWORD": PASSWORD},
    }
    kubectl("apply", "--filename", "-", stdin=json.dumps(secret))
    kubectl("apply", "--kustomize", str(overlay))


def refuse_anothers() -> None:
    """Raises AssertionError if the cluster has a platform that no test brought up: it would be deleted."""
    image = "--output=jsonpath={.data.AFFIRM_IMAGE}"
    found = kubectl("get", "configmap", "affirm-environment", "--ignore-not-found", image).strip()
    assert found in ("", IMAGE), (
        f"the cluster's namespace {NAMESPACE} has a platform of the image {found}, and the tests begin by deleting it. "
        "Expected none, or one that tests have left. Point KUBECONFIG at another cluster."
    )


def _wait_until_ready() -> None:
    deadline = time.monotonic() + _SECONDS_TO_COME_UP
    for name in DEPLOYMENTS:
        left = max(1, deadline - time.monotonic())
        said = kubectl("rollout", "status", f"deployment/{name}", f"--timeout={left:.0f}s", check=False)
        if "successfully rolled out" not in said:
            raise AssertionError(
                f"{name} is not ready after {_SECONDS_TO_COME_UP} s:\n"
                + kubectl("describe", "pods", "--selector", f"app.kubernetes.io/name={name}", check=False)
                + kubectl("logs", f"deployment/{name}", "--tail=40", check=False)
            )


_LAUNCH = """
mutation Launch($parameters: ExecutionParams!) {
  launchRun(executionParams: $parameters) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message stack }
    ... on RunConfigValidationInvalid { errors { message } }
    ... on InvalidSubsetError { message }
    ... on PipelineNotFoundError { message }
    ... on UnauthorizedError { message }
  }
}
"""

_SENSORS = """
query Sensors($repository: RepositorySelector!) {
  sensorsOrError(repositorySelector: $repository) { ... on Sensors { results { id } } }
}
"""

_STOP_SENSOR = """
mutation Stop($sensor: String!) { stopSensor(id: $sensor) { __typename ... on PythonError { message stack } } }
"""

_STATUS = "query Status($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"

_RUNS = "{ runsOrError(filter: {statuses: [SUCCESS]}) { ... on Runs { results { runId tags { key value } } } } }"

_TAGGED = (
    "query Tagged($tags: [ExecutionTag!]!) { runsOrError(filter: {tags: $tags}) { ... on Runs { results { runId } } } }"
)

_TAGS = "query Tags($run: ID!) { runOrError(runId: $run) { ... on Run { tags { key value } } } }"

_MATERIALIZATIONS = """
query Materializations($key: AssetKeyInput!) {
  assetOrError(assetKey: $key) { ... on Asset { assetMaterializations { runId } } }
}
"""

_TERMINATE = """
mutation Terminate($run: String!) {
  terminateRun(runId: $run) {
    __typename
    ... on TerminateRunFailure { message }
    ... on PythonError { message stack }
  }
}
"""

_EVENTS = """
query Events($run: ID!, $cursor: String) {
  logsForRun(runId: $run, afterCursor: $cursor) {
    ... on EventConnection {
      cursor
      hasMore
      events {
        ... on MessageEvent { eventType message stepKey timestamp }
        ... on ErrorEvent { error { message stack causes: errorChain { error { message stack } } } }
        ... on DisplayableEvent { label description metadataEntries { ...Entry } }
      }
    }
  }
}
fragment Entry on MetadataEntry {
  label
  ... on TextMetadataEntry { text }
  ... on IntMetadataEntry { intValue }
  ... on BoolMetadataEntry { boolValue }
  ... on FloatMetadataEntry { floatValue }
  ... on JsonMetadataEntry { jsonString }
}
"""
