"""The commands as a user types them, in processes of their own."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test
from dagster._daemon.types import DaemonHeartbeat

import affirm_assets.datasets
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Daily
from affirm_assets.declare.registry import Registry
from affirm_assets.lender.sample_data import Business
from affirm_assets.local_instance import prepare_instance
from affirm_assets.resume import run_resume
from affirm_assets.sample import write_sample
from affirm_assets.settings import Settings
from affirm_assets.steps.published import PUBLISHED_PROPERTY
from affirm_assets.steps.tables import load_if_exists, main_snapshot
from affirm_assets.stores import catalog_of
from tests.conftest import QUICK_JVM
from tests.integration.books import Books, jsonl, loan
from tests.services import wait_for

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DATASETS = Registry.walk(affirm_assets.datasets).in_order()
MONTHLY = {str(each) for each in DATASETS if not isinstance(each.partitions, Daily)}


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return of_its_own(tmp_path)


def of_its_own(folder: Path) -> dict[str, str]:
    """The environment of a lake and an instance in the folder."""
    (folder / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    prepare_instance(folder)
    folders = {"AFFIRM_LAKE": str(folder / "lake"), "DAGSTER_HOME": str(folder / ".dagster")}
    return {**os.environ, **folders, "JDK_JAVA_OPTIONS": QUICK_JVM}


def run(environ: dict[str, str], *command: str) -> subprocess.CompletedProcess[str]:
    """In the folder whose .env names the instance, since what it says goes before the environment."""
    program, cwd = str(BIN / command[0]), Path(environ["DAGSTER_HOME"]).parent
    return subprocess.run([program, *command[1:]], cwd=cwd, env=environ, capture_output=True, text=True, check=False)


def test_the_demo_shows_what_it_did_and_the_business_goes_on(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run(environ, "affirm", "demo", "--start", "2025-01-29", "--loans", "150", "--days", "3")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "The first business date of this lake is 2025-01-29" in done.stdout
    assert "The first run of this lake" in done.stdout
    assert "The books on 2025-01-31:" in done.stdout
    assert "affirm sample-data --next" in done.stdout
    table = [line.split() for line in done.stdout.splitlines() if line.startswith(("loans/", "portfolio/"))]
    loans = next(row for row in table if row[0] == "loans/loans")
    assert loans[:3] == ["loans/loans", "150", "3"]
    assert loans[4] == loans[6]  # audits passed: 17 of 17
    monkeypatch.setenv("DAGSTER_HOME", environ["DAGSTER_HOME"])
    with dg.DagsterInstance.get() as instance:
        assert [each.status for each in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS] * 2

    # The next date lands, with a file that nobody can read. It keeps back what reads it: the exit status says so.
    landed = run(environ, "affirm", "sample-data", "--next")
    assert landed.returncode == 0, landed.stderr
    assert landed.stdout.startswith("2025-02-01 has landed: ")
    lake = Path(environ["AFFIRM_LAKE"])
    files = {file: file.read_bytes() for file in (lake / "landing/transactions/2025-02-01").glob("*.csv")}
    for file, content in files.items():
        file.write_bytes(content.replace(b",", b";") * 3)
    failed = run(environ, "affirm", "resume")
    assert failed.returncode == 1
    assert "few_are_refused" in failed.stdout
    assert "Not everything could be computed. Mend what is said above, then run this again." in failed.stdout
    catalog = catalog_of(Settings.local(lake, date(2025, 1, 29))).load()
    assert catalog.load_table("loans.loans").properties[PUBLISHED_PROPERTY] == "2025-01-29...2025-02-01"
    assert catalog.load_table("servicing.loan_balances").properties[PUBLISHED_PROPERTY] == "2025-01-29...2025-01-31"

    # Once it is mended, what is missing is computed, and nothing else.
    for file, content in files.items():
        file.write_bytes(content)
    resumed = run(environ, "affirm", "resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert [line for line in resumed.stdout.splitlines() if " 2025-02-01: " in line][:2] == [
        "1 dataset, 2025-02-01: late file: transactions of 2025-02-01 changed after it was read",
        "14 datasets, 2025-02-01: transactions/transactions of 2025-02-01 is not published",
    ]
    assert "waits for adjustments and loans and transactions of 2025-02-02" in resumed.stdout
    nothing = run(environ, "affirm", "resume")
    assert (nothing.returncode, ", 2025-" in nothing.stdout) == (0, False)


class TestResumeBesideADaemon:
    """It and the sensors would compute the same at once. What failed counts no more, and they are left to it."""

    @pytest.fixture
    def instance(self, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
        monkeypatch.setenv("DAGSTER_HOME", environ["DAGSTER_HOME"])
        with dg.DagsterInstance.get() as instance:
            yield instance

    @pytest.fixture
    def settings(self, environ: dict[str, str]) -> Settings:
        """Of a lake in which a date waits for its books."""
        settings = Settings.local(Path(environ["AFFIRM_LAKE"]), date(2025, 1, 1))
        write_sample(settings, Business(20, date(2025, 1, 1), 1, 1))
        return settings

    def live(self, instance: dg.DagsterInstance, kind: str, since: timedelta) -> None:
        then = datetime.now(UTC) - since
        instance.add_daemon_heartbeat(DaemonHeartbeat(then.timestamp(), kind, "uuid", []))

    @pytest.fixture
    def computed(self, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many datasets each run had that would have been started."""
        started: list[int] = []
        monkeypatch.setattr("affirm_assets.resume.materialize", lambda *with_: started.append(len(with_[2])))
        return started

    @pytest.mark.parametrize("deployment", ["local", "kubernetes"])
    @pytest.mark.parametrize("minutes", [0, 5], ids=["at rest", "at work for minutes"])
    def test_its_sensors_go_on(
        self,
        instance: dg.DagsterInstance,
        settings: Settings,
        computed: list[int],
        deployment: str,
        minutes: int,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        self.live(instance, "SENSOR", timedelta(minutes=minutes))
        self.live(instance, "SCHEDULER", timedelta(seconds=30))
        assert run_resume(replace(settings, deployment=deployment, ui_url="http://ui")) == 0
        said = capsys.readouterr().out
        assert "A daemon is running: its sensors <feed>_landing, books and months ask for what is missing" in said
        assert "http://ui/automation" in said
        assert "issing or out of date.\n" not in said
        assert computed == []
        assert is_resumed(instance)

    def test_on_kubernetes_nothing_else_may_start_runs(
        self,
        instance: dg.DagsterInstance,
        settings: Settings,
        computed: list[int],
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        assert run_resume(replace(settings, deployment="kubernetes", ui_url="http://ui")) == 1
        assert "found no sign of life. They do once it runs: see http://ui/deployment" in capsys.readouterr().out
        assert computed == []
        assert is_resumed(instance)

    @pytest.mark.parametrize(("sensors", "others"), [(3, 3), (11, 0)], ids=["process gone", "sensors stand still"])
    def test_one_that_was_stopped_is_none(
        self, instance: dg.DagsterInstance, settings: Settings, computed: list[int], sensors: int, others: int
    ) -> None:
        self.live(instance, "SENSOR", timedelta(minutes=sensors))
        self.live(instance, "SCHEDULER", timedelta(minutes=others))
        assert run_resume(settings) == 1  # since nothing was computed
        assert computed
        assert is_resumed(instance)

    def test_where_nothing_is_to_be_computed_it_says_so(
        self, environ: dict[str, str], instance: dg.DagsterInstance, capsys: pytest.CaptureFixture[str]
    ) -> None:
        (lake := Path(environ["AFFIRM_LAKE"])).joinpath("landing").mkdir(parents=True)
        key = dg.AssetKey(["loans", "loans"])
        tags = {"dagster/partition": "2025-01-02"}
        run = create_run_for_test(instance, status=dg.DagsterRunStatus.STARTED, tags=tags, asset_selection={key})
        assert run_resume(Settings.local(lake, date(2025, 1, 1))) == 0
        *_, left, waits, last = capsys.readouterr().out.splitlines()
        assert left == f"1 dataset, 2025-01-02: left to run {run.run_id[:8]}, which has not ended"
        assert "of 2025-01-01" in waits
        assert last == "Nothing was computed: beside what is said above, nothing is missing or out of date."


def is_resumed(instance: dg.DagsterInstance) -> bool:
    return bool(instance.daemon_cursor_storage.get_cursor_values({"affirm/resumed"}))


DAILY = [each for each in DATASETS if isinstance(each.partitions, Daily)]
RANGE = (
    *("dagster", "asset", "materialize", "-m", "affirm_assets.definitions"),
    *("--select", ",".join(map(str, DAILY)), "--partition-range", "2025-01-30...2025-02-01"),
)


@pytest.fixture(scope="module")
def unstopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lake in which that range was run."""
    environ = of_its_own(tmp_path_factory.mktemp("unstopped"))
    for command in (("affirm", "sample-data", "--loans", "60", "--start", "2025-01-30", "--days", "3"), RANGE):
        done = run(environ, *command)
        assert done.returncode == 0, done.stdout + done.stderr
    return Path(environ["AFFIRM_LAKE"])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
def test_a_range_that_is_stopped_in_its_middle_is_resumed(
    environ: dict[str, str], unstopped: Path, how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By nobody but the command: what was published stays, the rest is computed, and it is what it would have been."""
    monkeypatch.setenv("DAGSTER_HOME", environ["DAGSTER_HOME"])
    lake = Path(environ["AFFIRM_LAKE"])
    shutil.copytree(unstopped / "landing", lake / "landing")
    (lake / "first_business_date").write_text((unstopped / "first_business_date").read_text())
    process = subprocess.Popen(
        [BIN / RANGE[0], *RANGE[1:]],
        cwd=lake.parent,
        env=environ,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: "loans.loans" in snapshots(lake), "the loans to be published", 120)
    process.send_signal(how)
    assert process.wait(60) != 0
    before = snapshots(lake)
    missing = {str(each) for each in DAILY if each.table not in before}
    assert 0 < len(missing) < len(DAILY)

    resumed = run(environ, "affirm", "resume")
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    with dg.DagsterInstance.get() as instance:
        *later, stopped = instance.get_runs()
        assert stopped.is_finished
        keys = [key.to_user_string() for each in later for key in each.asset_selection or ()]
    assert sorted(key for key in keys if key not in MONTHLY) == sorted(missing)
    assert {table: snapshot for table, snapshot in snapshots(lake).items() if table in before} == before

    for each in DAILY:
        assert rows(lake, each) == rows(unstopped, each), each


def snapshots(lake: Path) -> dict[str, int]:
    """By table of which something is published: what its readers see."""
    catalog = catalog_of(Settings.local(lake, date(2025, 1, 30))).load()
    tables = {each.table: load_if_exists(catalog, each.table) for each in DATASETS} if lake.exists() else {}
    return {name: seen for name, table in tables.items() if (seen := main_snapshot(table)) is not None}


def rows(lake: Path, dataset: Dataset) -> list[str]:
    table = catalog_of(Settings.local(lake, date(2025, 1, 30))).load().load_table(dataset.table)
    return sorted(map(str, table.scan().to_arrow().to_pylist()))


def test_the_demo_refuses_dates_that_have_not_begun(environ: dict[str, str]) -> None:
    done = run(environ, "affirm", "demo", "--start", "9000-01-01")
    assert done.returncode == 1
    assert "180 business dates from 9000-01-01: expected the last one to have begun" in done.stderr
    assert not Path(environ["AFFIRM_LAKE"]).exists()


def test_dagster_materializes_a_day_and_a_range(environ: dict[str, str], tmp_path: Path) -> None:
    books = Books(tmp_path / "lake", sessions=None)  # type: ignore[arg-type]
    for day in (2, 3):
        row = loan(loan_id=f"L{day}", originated_on=f"2025-01-0{day}", first_due_on="2025-02-02")
        books.land("loans", date(2025, 1, day), {"part.jsonl": jsonl([row])})
    command = ("dagster", "asset", "materialize", "-m", "affirm_assets.definitions", "--select")
    one = run(environ, *command, "landing/loan_rows,loans/loans", "--partition", "2025-01-02")
    assert one.returncode == 0, one.stderr
    assert [row["loan_id"] for row in books.rows("loans.loans", "loan_id")] == ["L2"]
    more = run(environ, *command, "landing/loan_rows,loans/loans", "--partition-range", "2025-01-02...2025-01-03")
    assert more.returncode == 0, more.stderr
    assert [row["loan_id"] for row in books.rows("loans.loans", "loan_id")] == ["L2", "L3"]


def test_sample_data_says_what_it_wrote(environ: dict[str, str]) -> None:
    done = run(environ, "affirm", "sample-data", "--loans", "20", "--start", "2025-01-01", "--days", "3", "--seed", "5")
    assert done.returncode == 0, done.stderr
    assert "20 loans" in done.stdout
    assert (Path(environ["AFFIRM_LAKE"]) / "landing/loans/2025-01-03/_SUCCESS").exists()


def test_an_unknown_setting_is_one_line_that_lists_the_known_ones(environ: dict[str, str]) -> None:
    done = run({**environ, "AFFIRM_DEPLOYMENT": "mars"}, "affirm", "demo")
    assert done.returncode == 1
    assert done.stderr.strip() == (
        "Error: AFFIRM_DEPLOYMENT: expected one of local, kubernetes; found 'mars'. "
        "Mend AFFIRM_DEPLOYMENT in the environment."
    )


def test_nonsense_arguments_are_refused(environ: dict[str, str]) -> None:
    done = run(environ, "affirm", "sample-data", "--loans", "0", "--start", "2025-01-01", "--days", "3")
    assert done.returncode == 1
    assert "loans" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected --loans, --start and --days, or --next"),
        (("--next", "--seed", "0"), "--next goes on with the sample that is there"),
    ],
)
def test_sample_data_says_what_it_needs(environ: dict[str, str], options: tuple[str, ...], message: str) -> None:
    done = run(environ, "affirm", "sample-data", *options)
    assert done.returncode == 2
    assert message in done.stderr
