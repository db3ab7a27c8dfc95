"""One server of an engine for the whole run, a lake of its own for each test.

Tests run on Sail, which needs no JVM, but for those that override `engine`: what is about Spark, and what is promised
for both.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import DataFrame, SparkSession
from xdist.scheduler import LoadScopeScheduling

import affirm_assets.collector  # noqa: F401  (before what it is for)
from affirm_assets.declare.carry import Carry
from affirm_assets.declare.contract import Contract
from affirm_assets.declare.dataset import Audit, Dataset
from affirm_assets.declare.inputs import Input, SameWindow
from affirm_assets.declare.partitions import Partitions
from affirm_assets.engines.sail import SailEngine
from affirm_assets.engines.spark import SparkEngine
from affirm_assets.settings import SAIL, SPARK, EngineSettings
from affirm_assets.steps.engine import Engine
from affirm_assets.steps.request import RESULT_SETTINGS
from resources.iceberg import IcebergCatalog
from resources.jars import LOCAL, REMOTE
from resources.landing import LandingZone
from resources.sail import SailSessions
from resources.spark import LOCAL_NATIVE_MIB, SparkSessions, java_problem, local_sessions
from tests.servers import SECRETS, Postgres, S3Server, postgres, postgres_missing, s3_missing, s3_server
from tests.storage import Keep, NewStorage, Opens, Steps, StorageWithEngine

QUICK_JVM = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""JVM options: the second compiler takes a third of the CPU of a run of minutes, collecting side by side a tenth, and
neither earns it back in that time."""

_FOR_FEW_ROWS = {
    # Compiling a plan costs more than running it over a few rows. The commands' tests and `make demo` do compile.
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    # Describes what was compiled, and so nothing: as text, plans take longer than their jobs.
    "spark.sql.ui.explainMode": "codegen",
    "spark.sql.shuffle.partitions": "2",
}


class _ByFileAndEngine(LoadScopeScheduling):
    """A file's tests go to one worker, and all that is about Spark to the same, so that one JVM is started and not two.

    Files go out in the order of `testpaths`, the slow ones first.
    """

    def __init__(self, config: pytest.Config, log: Any) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return SPARK if file.startswith("tests/spark/") or f"[{SPARK}" in nodeid else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling:
    return _ByFileAndEngine(config, log)


@pytest.fixture(scope="session")
def secrets() -> Iterator[None]:
    """The passwords of the tests' servers, as a deployment has them: in the environment, from before Spark starts."""
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "PGPASSFILE"):
            environment.delenv(name, raising=False)
        for name, value in SECRETS.items():
            environment.setenv(name, value)
        yield


@pytest.fixture(scope="session")
def database(secrets: None) -> Iterator[Postgres]:
    if missing := postgres_missing():
        pytest.skip(missing)
    with postgres() as server:
        yield server


@pytest.fixture(scope="session")
def s3(secrets: None) -> Iterator[S3Server]:
    if missing := s3_missing():
        pytest.skip(missing)
    with s3_server() as server:
        yield server


@pytest.fixture(scope="session")
def spark_if_needed(secrets: None) -> SparkSessions:
    """Starts a JVM with its first session. For tests of which no step should need one."""
    # The jars for S3 are large: fetched only where a test can use them.
    remote = () if postgres_missing() or s3_missing() else REMOTE
    return sessions_for_few_rows("1536m", sorted({*LOCAL, *remote}))


def sessions_for_few_rows(memory: str, packages: Sequence[str]) -> SparkSessions:
    """AFFIRM_SPARK_NATIVE=on: every test that is about Spark is about Spark with native operators."""
    native = LOCAL_NATIVE_MIB if EngineSettings.of(os.environ).native else 0
    conf = local_sessions(memory, packages, native).spark_config
    options = {"spark.driver.extraJavaOptions": f"{conf['spark.driver.extraJavaOptions']} {QUICK_JVM}"}
    return SparkSessions(spark_config={**conf, **_FOR_FEW_ROWS, **options})


@pytest.fixture(scope="session")
def sessions(spark_if_needed: SparkSessions) -> SparkSessions:
    """Of classic Spark, for what needs a JVM."""
    if problem := java_problem():
        pytest.skip(f"needs a JVM: {problem}")
    return spark_if_needed


@pytest.fixture(scope="session")
def engine() -> str:
    """The engine that the tests run on. A folder or a module that is about another one overrides this."""
    return SAIL


def opens_engine(
    name: str, conf: Mapping[str, str], request: pytest.FixtureRequest, sail: SailSessions | None = None
) -> Opens:
    """Opens the engine of that name; `conf` tells Spark where the tables are."""
    if name == SAIL:
        return partial(SailEngine, (sail or SailSessions()).open, WHY)
    session = partial(request.getfixturevalue("sessions").session, {**conf, **RESULT_SETTINGS})
    return lambda: SparkEngine(session(), "lake", WHY)


WHY = "the test asks for it"


@pytest.fixture(scope="module")
def at_work(engine: str, request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine for the tests of a module that make frames without a step: while they run, functions are its own."""
    opened = opens_engine(engine, {}, request)()
    with opened.active():
        yield opened
    opened.close()


@pytest.fixture(scope="module")
def spark(at_work: Engine) -> SparkSession:
    return at_work.session


@pytest.fixture(scope="module")
def keep(at_work: Engine) -> Keep:
    """Computes a frame once, for all tests of a module."""
    return at_work.keep


@pytest.fixture
def catalog(tmp_path: Path) -> IcebergCatalog:
    return IcebergCatalog(uri=f"sqlite:///{tmp_path}/catalog.db", warehouse=f"file://{tmp_path}/warehouse")


@pytest.fixture
def new_storage(
    engine: str, catalog: IcebergCatalog, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[NewStorage]:
    """Each call is another step's view of the same tables."""
    landing = LandingZone(str(tmp_path / "landing"))
    opens = opens_engine(engine, catalog.spark_conf(), request)
    made: list[StorageWithEngine] = []

    def make() -> StorageWithEngine:
        made.append(StorageWithEngine(catalog.load(), landing, catalog.name, opens=opens))
        return made[-1]

    yield make
    for storage in made:
        storage.close()


@pytest.fixture
def storage(new_storage: NewStorage) -> Iterator[StorageWithEngine]:
    """Its engine is at work: pyspark.sql.functions are its own."""
    made = new_storage()
    with made.own.active():
        yield made


def declare(
    function: Callable[..., DataFrame],
    contract: type[Contract],
    partitions: Partitions | None,
    *,
    inputs: Mapping[str, Input] | None = None,
    audits: tuple[Audit, ...] = (),
    name: str | None = None,
    ranges: bool = True,
    carry: Carry | None = None,
) -> Dataset:
    """A dataset without a file of its own; parameters that `inputs` does not map name upstream datasets."""
    carried = carry.inputs(name or function.__name__) if carry else {}
    named = [n for n in function.__code__.co_varnames[: function.__code__.co_argcount] if n != "window"]
    return Dataset(
        name=name or function.__name__,
        domain="tests",
        contract=contract,
        partitions=partitions,
        inputs={**{n: (inputs or {}).get(n, SameWindow(n)) for n in named}, **carried},
        function=function,
        owner="team:tests",
        description="",
        source=Path(__file__),
        audits=audits,
        ranges=ranges,
        carry=carry,
    )


@pytest.fixture
def steps(new_storage: NewStorage) -> Steps:
    return Steps(new_storage)
