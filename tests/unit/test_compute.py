"""What a dataset's profile gives its step: pods, executors, and the words that say why."""

import json
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

import affirm_assets.datasets
from affirm_assets.declare.dataset import Compute
from affirm_assets.declare.registry import Registry
from affirm_assets.definitions import build_defs
from affirm_assets.errors import DeclarationError
from affirm_assets.orchestration.compute import op_tags, profile_of
from affirm_assets.orchestration.engines import StepEngines
from affirm_assets.settings import SPARK, EngineSettings, Settings
from affirm_assets.steps.scan_size import ScanSize
from resources.compute import PROFILES, Decision, Memory, Pod, Profile, decide, profile
from resources.sail import SailSessions

MIB = 1 << 20
REGISTRY = Registry.walk(affirm_assets.datasets)


def with_compute(compute: Compute) -> Registry:
    """The project's datasets, of which `loans` has this."""
    return Registry.of(replace(each, compute=compute) if each.name == "loans" else each for each in REGISTRY.in_order())


each_profile = pytest.mark.parametrize("name", PROFILES)


@each_profile
def test_heap_the_jvm_s_other_memory_and_python_are_the_pod_s_limit(name: str) -> None:
    base = PROFILES[name]
    for pod in (base.step, base.executor):
        memory = pod.memory
        assert memory.heap + memory.overhead + memory.python + memory.native == memory.limit
        # Spark's own floor for what a JVM needs beside its heap, and room for a Python worker of each core.
        assert memory.overhead >= max(384, 0.1 * memory.heap)
        assert memory.python >= 192 * pod.cores
    assert base.step.memory.python >= base.executor.memory.python / base.executor.cores + 512


@each_profile
def test_native_operators_take_half_of_the_heap_and_nothing_else(name: str) -> None:
    with_them, without = profile(name, native=True), profile(name, native=False)
    assert with_them.native
    assert not without.native
    for ours, theirs in ((with_them.step, without.step), (with_them.executor, without.executor)):
        assert ours.memory.limit == theirs.memory.limit
        assert (ours.memory.overhead, ours.memory.python) == (theirs.memory.overhead, theirs.memory.python)
        assert ours.memory.heap + ours.memory.native == theirs.memory.heap
        assert abs(ours.memory.heap - ours.memory.native) <= 1
        assert f", native operators {ours.memory.native}Mi), scratch " in ours.text
        assert "native" not in theirs.text


def test_the_deployment_decides_on_native_operators_before_the_declaration() -> None:
    declared = with_compute(Compute("small", native=True))["loans"]
    assert profile_of(declared).native
    assert not profile_of(declared, native=False).native
    assert profile_of(with_compute(Compute("small"))["loans"], native=True).native


def test_profiles_grow() -> None:
    small, medium, large = (PROFILES[name] for name in ("small", "medium", "large"))
    for lesser, greater in ((small, medium), (medium, large)):
        assert lesser.step.memory.limit < greater.step.memory.limit
        assert lesser.executor.memory.limit < greater.executor.memory.limit
        assert lesser.max_executors < greater.max_executors


DECISIONS: dict[str, tuple[dict[str, Any], int, int, str]] = {
    "nothing": ({}, 0, 0, "0.0 MiB to read: the step's pod alone takes up to 512 MiB."),
    "as much as the driver takes": ({}, 512 * MIB, 0, "512.0 MiB to read: the step's pod alone takes up to 512 MiB."),
    "a byte more": ({}, 512 * MIB + 1, 1, "512.0 MiB to read: executors for 1,024 MiB each, so 1."),
    "two executors' worth": ({}, 2048 * MIB, 2, "2,048.0 MiB to read: executors for 1,024 MiB each, so 2."),
    "a byte more than that": ({}, 2048 * MIB + 1, 3, "2,048.0 MiB to read: executors for 1,024 MiB each, so 3."),
    "more than the bound": (
        {"max_executors": 3},
        9000 * MIB,
        3,
        "9,000.0 MiB to read: executors for 1,024 MiB each, so 9; within 0 to 3, 3.",
    ),
    "less than the bound": (
        {"min_executors": 2},
        1 * MIB,
        2,
        "1.0 MiB to read: executors for 1,024 MiB each, so 1; within 2 to 8, 2.",
    ),
    "never any": (
        {"max_executors": 0},
        9000 * MIB,
        0,
        "9,000.0 MiB to read: executors for 1,024 MiB each, so 9; within 0 to 0, 0.",
    ),
}


@pytest.mark.parametrize("name", DECISIONS)
def test_executors_come_from_the_bytes_to_read(name: str) -> None:
    overrides, scan_bytes, executors, why = DECISIONS[name]
    decision = decide(profile("medium", **overrides), scan_bytes)
    assert (decision.executors, decision.why) == (executors, why)


def test_a_shuffle_has_a_few_partitions_for_each_core_and_none_is_large() -> None:
    def partitions(scan_bytes: int) -> int:
        return decide(PROFILES["medium"], scan_bytes).shuffle_partitions

    assert partitions(0) == 8
    assert partitions(2048 * MIB) == 4 * 2 * 4
    assert partitions(100 * 1024 * MIB) == 100 * 1024 / 64


def test_overrides_change_what_they_name() -> None:
    base = PROFILES["medium"]
    assert profile("medium") == base
    changed = profile("medium", memory="6Gi", executor_memory="12Gi", scratch="500Mi", min_executors=1, max_executors=4)
    assert changed.step.memory.limit == 6 * 1024
    assert changed.step.memory.python == base.step.memory.python
    assert changed.executor.memory.limit == 12 * 1024
    assert (changed.step.scratch, changed.executor.scratch) == (500, 500)
    assert (changed.min_executors, changed.max_executors) == (1, 4)


REFUSED = {
    "an unknown profile": (Compute("huge"), "expected compute to be one of small, medium, large; found 'huge'."),
    "a number without a unit": (
        Compute("small", memory="4"),
        "memory: expected a quantity such as 512Mi or 4Gi; found '4'.",
    ),
    "a decimal unit": (
        Compute("small", executor_memory="4G"),
        "executor_memory: expected a quantity such as 512Mi or 4Gi; found '4G'.",
    ),
    "no quantity": (Compute("small", scratch=""), "scratch: expected a quantity such as 512Mi or 4Gi; found ''."),
    "too little memory": (
        Compute("small", memory="1Gi"),
        "memory 1024Mi: expected 512Mi or more for the JVM's heap, 384Mi beside it; found 89Mi and 39Mi once Python "
        "has its 896Mi. Give it more.",
    ),
    "too little memory for native operators": (
        Compute("small", memory="2Gi", native=True),
        "memory 2048Mi: expected 512Mi or more for the JVM's heap, 384Mi beside it; found 403Mi and 346Mi once Python "
        "has its 896Mi, native operators 403Mi. Give it more.",
    ),
    "bounds the wrong way round": (
        Compute("small", min_executors=3),
        "executors: expected 0 <= min_executors <= max_executors; found 3 and 2.",
    ),
    "fewer than none": (
        Compute("small", max_executors=-1),
        "executors: expected 0 <= min_executors <= max_executors; found 0 and -1.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_is_refused_when_the_code_location_is_loaded(name: str) -> None:
    compute, error = REFUSED[name]
    registry = with_compute(compute)
    with pytest.raises(DeclarationError) as caught:
        build_defs(Settings.of({}), registry)
    assert str(caught.value) == f"{registry['loans'].source}: dataset 'loans': {error}"


def test_the_step_s_pod_asks_for_its_profile() -> None:
    from dagster_k8s.job import get_user_defined_k8s_config

    tags = op_tags(profile("small", memory="4Gi", scratch="5Gi"), cpu_request_scale=0.1)
    # Dagster checks it, in its own spelling of Kubernetes' fields.
    config = get_user_defined_k8s_config({key: json.dumps(value) for key, value in tags.items()})
    assert config.container_config == {
        "resources": {"requests": {"cpu": "200m", "memory": "4096Mi"}, "limits": {"memory": "4096Mi"}},
        "env": [{"name": "SPARK_LOCAL_DIRS", "value": "/scratch"}],
        "volume_mounts": [{"name": "scratch", "mount_path": "/scratch"}],
    }
    assert config.pod_spec_config == {"volumes": [{"name": "scratch", "empty_dir": {"size_limit": "5120Mi"}}]}


def test_each_step_has_the_tag_of_its_own_profile_on_this_deployment_s_nodes() -> None:
    registry = with_compute(Compute("medium", memory="5Gi"))
    definitions = build_defs(replace(Settings.of({}), cpu_request_scale=0.25), registry)
    requests = {}
    for each in definitions.assets or ():
        if isinstance(each, dg.AssetsDefinition):
            config = json.loads(each.op.tags["dagster-k8s/config"])
            requests[each.op.name] = config["container_config"]["resources"]["requests"]
    assert requests["loans__loans"] == {"cpu": "500m", "memory": "5120Mi"}
    assert requests["loans__borrowers"] == {"cpu": "500m", "memory": "3072Mi"}
    assert requests["servicing__loan_balances"] == {"cpu": "500m", "memory": "4096Mi"}
    (spec,) = (each for each in definitions.resolve_all_asset_specs() if each.key == dg.AssetKey(["loans", "loans"]))
    assert spec.metadata["compute"].startswith("medium: the step's pod 2 cores, 5120Mi (JVM heap ")


class FakeSpark:
    """Decides as a cluster's would, and makes no session."""

    def __init__(self, on_a_cluster: bool) -> None:
        self.on_a_cluster = on_a_cluster

    def open(self, conf: Any, profile: Profile, scan_bytes: int) -> tuple[Any, Decision | None]:
        return "session", decide(profile, scan_bytes) if self.on_a_cluster else None


SMALL_POD = Pod(2, Memory(1000, 400, 600), 100)
SMALL_POD_TEXT = "2 cores, 2000Mi (JVM heap 1000Mi, other 400Mi, Python 600Mi), scratch 100Mi"
BOOKS = Profile("books", SMALL_POD, SMALL_POD, max_executors=2)


@pytest.mark.parametrize(
    ("on_a_cluster", "size", "executors", "compute"),
    [
        pytest.param(
            True,
            600 * MIB,
            2,
            {
                "profile": "books",
                "why": "600.0 MiB to read: executors for 512 MiB each, so 2.",
                "step": SMALL_POD_TEXT,
                "executor": SMALL_POD_TEXT,
            },
            id="with executors",
        ),
        pytest.param(
            True,
            3,
            0,
            {
                "profile": "books",
                "why": "0.0 MiB to read: the step's pod alone takes up to 512 MiB.",
                "step": SMALL_POD_TEXT,
            },
            id="in the step's pod",
        ),
        pytest.param(
            False,
            3,
            0,
            {
                "profile": "books",
                "why": "Computed without executors; the profile is for a step that has a pod of its own.",
            },
            id="on a laptop",
        ),
    ],
)
def test_a_materialization_says_what_was_chosen_and_why(
    on_a_cluster: bool, size: int, executors: int, compute: dict[str, str]
) -> None:
    spark: Any = FakeSpark(on_a_cluster)
    settings = EngineSettings(engine=SPARK)
    engines = StepEngines(spark, {}, "lake", SailSessions(), BOOKS, settings, java_problem=lambda: None)
    dataset: Any = SimpleNamespace(engine=None)
    assert engines.metadata == {}
    engine = engines.open(dataset, None, ScanSize(size, 7))
    assert (engine.name, engine.session, engine.why) == (
        SPARK,
        "session",
        f"AFFIRM_ENGINE=spark ({size / 2**20:,.1f} MiB to read)",
    )
    assert engines.metadata == {
        "scan_bytes": size,
        "scan_files": 7,
        "executors": executors,
        "compute": dg.MetadataValue.json(compute),
    }
