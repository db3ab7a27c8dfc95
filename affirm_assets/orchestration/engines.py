"""Which engine a step gets, and why; opens it, and remembers what was chosen."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from pyspark.sql import SparkSession

from affirm_assets.declare.contract import spark_schema
from affirm_assets.declare.dataset import UNIQUE_KEY, Dataset
from affirm_assets.declare.partitions import Window
from affirm_assets.engines.sail import SailEngine, condition_problem
from affirm_assets.engines.spark import SparkEngine
from affirm_assets.errors import EngineFailed, EngineMissing, NoOtherEngine, UnfitForEngine
from affirm_assets.orchestration.compute import compute_metadata
from affirm_assets.settings import SAIL, SPARK, EngineSettings
from affirm_assets.steps.audit import unique_columns, value_rules
from affirm_assets.steps.engine import Engine
from affirm_assets.steps.scan_size import ScanSize
from resources.compute import Decision, Profile
from resources.memory import usable_memory
from resources.sail import SailSessions, sail_problem
from resources.spark import java_problem, locale_problem
from resources.spark_on_kubernetes import NeedsOwnPod

_log = logging.getLogger(__name__)


class StepSpark(Protocol):
    """Makes Spark for a step that will read so much."""

    def open(self, conf: Mapping[str, str], profile: Profile, scan_bytes: int) -> tuple[SparkSession, Decision | None]:
        """A session of the step's own with these settings; None: in this process, which was there before."""


@dataclass(frozen=True)
class Choice:
    """An engine, and why that one. `is_fixed`: by a declaration or a setting, and not by how much there is to read."""

    engine: str
    why: str
    is_fixed: bool = False
    otherwise: str = (
        "AFFIRM_ENGINE for all steps, engine= of the dataset, or AFFIRM_SAIL_MIB for how much sail may read"
    )
    """How to choose another one."""


def choose(declared: str | None, settings: EngineSettings, scan_bytes: int, memory: int) -> Choice:
    """The environment decides before the declaration, and the declaration before what there is to read.

    `memory`: bytes that the step's process may use.
    """
    most = settings.most_for_sail(memory)
    to_read, limit = f"{scan_bytes / 2**20:,.1f} MiB to read", f"{most:,} MiB"
    if settings.engine:
        return Choice(settings.engine, f"AFFIRM_ENGINE={settings.engine} ({to_read})", True, "AFFIRM_ENGINE")
    if declared:
        why = f"the dataset is declared with engine={declared!r} ({to_read})"
        return Choice(declared, why, True, "engine= of the dataset, or AFFIRM_ENGINE for all steps")
    if scan_bytes <= most << 20:
        return Choice(SAIL, f"{to_read}, of at most {limit} for sail")
    return Choice(SPARK, f"{to_read}, more than the {limit} for sail")


def lacks(
    datasets: Iterable[Dataset], settings: EngineSettings, java: Callable[[], str | None] = java_problem
) -> Iterator[str]:
    """A line for each dataset whose engine is fixed and cannot compute it: what is known before anything is called.

    What a transform or an audit uses is known once its plan is made, in the step.
    """
    problems: dict[str, str | None] = {}
    for each in datasets:
        engine = settings.engine or each.engine
        if engine is None:
            continue
        if engine not in problems:
            problems[engine] = sail_problem() if engine == SAIL else java()
        if problem := problems[engine]:
            yield f"{each.source}: {each} is for {engine}, which cannot run here: {problem}"
        elif engine == SAIL:
            schema = spark_schema(each.contract)
            conditions = {f"constraint {rule.name}": rule.violation for rule in value_rules(each)}
            # The audit of the key compares hashes of it.
            keys = ", ".join(f"`{name}`" for name in unique_columns(each))
            conditions[f"audit {UNIQUE_KEY}"] = f"xxhash64({keys}) = 0"
            for what, condition in conditions.items():
                if problem := condition_problem(condition, schema):
                    yield f"{each.source}: {each} is for sail, which cannot compute its {what}: {problem}"


@dataclass
class StepEngines:
    """Opens a step's engine. `metadata` says what was chosen: nothing, if the step needed none."""

    spark: StepSpark
    spark_conf: Mapping[str, str]
    catalog: str
    sail: SailSessions
    profile: Profile
    settings: EngineSettings
    java_problem: Callable[[], str | None] = java_problem
    memory: Callable[[], int] = usable_memory

    def __post_init__(self) -> None:
        self.metadata: Mapping[str, Any] = {}

    def open(self, dataset: Dataset, window: Window | None, size: ScanSize) -> Engine:
        choice = choose(dataset.engine, self.settings, size.bytes, self.memory())
        if choice.engine == SAIL and not choice.is_fixed and (problem := sail_problem()):
            choice = Choice(SPARK, f"{choice.why}, but {problem.rstrip('.')}")
        return self._open(choice, dataset, window, size)

    def instead(self, dataset: Dataset, window: Window | None, size: ScanSize, error: UnfitForEngine) -> Engine:
        choice = choose(dataset.engine, self.settings, size.bytes, self.memory())
        of_days = "" if window is None else f" {window}"
        if choice.is_fixed and isinstance(error, EngineFailed):
            raise UnfitForEngine(
                f"{dataset.source}: {dataset}{of_days}: {str(error).rstrip('.')}. Mend it if it is a mistake; else "
                f"choose spark (AFFIRM_ENGINE, or engine= of the dataset): sail was chosen since {choice.why}."
            ) from error
        if choice.is_fixed:
            raise UnfitForEngine(
                f"{dataset.source}: {dataset}{of_days} cannot be computed by sail, which was chosen since "
                f"{choice.why}: {error} Choose spark (AFFIRM_ENGINE, or engine= of the dataset), or write it in what "
                "is proven."
            ) from error
        if problem := self._spark_problem():
            raise NoOtherEngine(f"{dataset.source}: {dataset}", window, error, problem) from error
        _log.warning("%s%s is computed by spark and not by sail: %s", dataset, of_days, error)
        unfit = f"{choice.why}, but {dataset.source} is not fit for it: {str(error).rstrip('.')}"
        return self._open(Choice(SPARK, unfit), dataset, window, size)

    def _open(self, choice: Choice, dataset: Dataset, window: Window | None, size: ScanSize) -> Engine:
        decision = None
        engine: Engine
        if choice.engine == SAIL:
            if problem := sail_problem():
                raise EngineMissing(str(dataset), window, SAIL, choice.why, problem, choice.otherwise)
            engine = SailEngine(self.sail.open, choice.why)
        else:
            if problem := self._spark_problem():
                problem = f"spark cannot start here: {problem}"
                raise EngineMissing(str(dataset), window, SPARK, choice.why, problem, choice.otherwise)
            try:
                session, decision = self.spark.open(self.spark_conf, self.profile, size.bytes)
            except NeedsOwnPod as error:
                raise NeedsOwnPod(f"{dataset} is for spark, since {choice.why}. {error}") from error
            engine = SparkEngine(session, self.catalog, choice.why)
        self.metadata = compute_metadata(self.profile, decision, size)
        return engine

    def _spark_problem(self) -> str | None:
        return self.java_problem() or locale_problem(self.spark_conf)
