"""`affirm replay`: a step computed again gives its rows; what has changed since is said, or is an error."""

from pathlib import Path

import pyarrow as pa
import pytest
from click.testing import CliRunner, Result
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

import affirm_assets.datasets
from affirm_assets.auditor.errors import FilesGone, ReportGone, RunHasNotPublished, SnapshotExpired
from affirm_assets.auditor.replay import run
from affirm_assets.auditor.replay.compare import Comparison
from affirm_assets.auditor.replay.show import lines
from affirm_assets.cli import main
from affirm_assets.declare.registry import Registry
from affirm_assets.settings import SAIL, SPARK
from affirm_assets.steps.request import RESULT_SETTINGS
from affirm_assets.steps.storage import Storage
from affirm_assets.stores import catalog_of, landing_zone_of
from resources.sail import SailSessions
from tests.auditor.conftest import Lake
from tests.integration.books import Books

REGISTRY = Registry.walk(affirm_assets.datasets)


def replayed(books: Books, run_id: str, dataset: str, engine: str | None = None) -> tuple[run.Replayed, list[str]]:
    catalog = catalog_of(books.settings)
    storage = Storage(catalog.load(), landing_zone_of(books.settings), catalog.name)
    opens = run.Opens(books.sessions, catalog.spark_conf(), SailSessions(None, None, RESULT_SETTINGS))
    ((found, table, publication),) = run.publications(REGISTRY, storage.catalog, run_id, [dataset])
    each = run.replay(REGISTRY, storage, opens, found, table, publication, engine)
    return each, list(lines(found, each))


@pytest.fixture
def fork(lake: Lake, tmp_path: Path) -> Books:
    """Its tables can be changed; its files are those of all."""
    return lake.books.fork(tmp_path)


@pytest.mark.parametrize("dataset", ["transaction_rows", "loan_balances", "suspense", "ledger/trial_balance"])
def test_a_step_gives_its_rows_again_though_others_were_published_since(lake: Lake, dataset: str) -> None:
    before = {name: each.metadata_location for name, each in _tables(lake.books).items()}
    each, said = replayed(lake.books, lake.first_run, dataset)
    assert each.comparison.is_same
    assert each.comparison.published == each.comparison.computed > 0
    assert (each.engine, each.code) == (SAIL, each.code_now)
    assert said == [
        f"{each.dataset} {each.window}: the same {each.comparison.computed:,} rows, on sail, in {each.seconds:.1f} s"
    ]
    assert {name: each.metadata_location for name, each in _tables(lake.books).items()} == before  # fmt: skip


@pytest.mark.usefixtures("sessions")
def test_the_other_engine_gives_the_same_rows(lake: Lake) -> None:
    each, said = replayed(lake.books, lake.first_run, "loan_schedules", SPARK)
    assert each.comparison.is_same
    assert each.comparison.computed > 0
    assert "on spark, and not on sail as when it was published" in said[0]


def test_other_code_is_said_and_what_it_changes_is_shown(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the code of now counted a cent less of each day's payments than the code that published."""
    cash = REGISTRY["cash_daily"]
    good = cash.function

    def other(transactions: DataFrame) -> DataFrame:

        less = F.when(F.col("kind") == "payment", F.col("received") - F.lit("0.01").cast("decimal(18,2)"))
        rows = good(transactions)
        return rows.withColumn("received", F.coalesce(less, F.col("received")).cast("decimal(18,2)"))

    monkeypatch.setattr(run, "code_version_of", lambda _: "0" * 12)
    object.__setattr__(cash, "function", other)
    try:
        each, said = replayed(lake.books, lake.first_run, "cash_daily")
    finally:
        object.__setattr__(cash, "function", good)
    assert not each.comparison.is_same
    assert set(each.comparison.columns) == {"received"}
    assert "this is code 000000000000" in said[1]
    assert said[2] == f"  columns: received in {each.comparison.differing}"
    assert "kind=payment: received=" in said[3]


def test_what_has_expired_or_changed_since_is_an_error_that_names_it(lake: Lake, fork: Books, tmp_path: Path) -> None:
    file = next((fork.landing / "transactions" / "2025-01-29").glob("more.jsonl"))
    good = file.read_bytes()
    file.write_bytes(good.replace(b"100.90", b"100.91"))
    with pytest.raises(FilesGone, match=r"transactions/2025-01-29/more\.jsonl: expected the .* found other bytes"):
        replayed(fork, lake.first_run, "transaction_rows")
    file.unlink()
    with pytest.raises(FilesGone, match="found no such file"):
        replayed(fork, lake.first_run, "transaction_rows")
    table = fork.catalog.load_table("transactions.transactions")
    first = min(table.snapshots(), key=lambda each: each.sequence_number or 0)
    table.maintenance.expire_snapshots().by_id(first.snapshot_id).commit()
    with pytest.raises(SnapshotExpired, match=rf"transactions\.transactions: .*{first.snapshot_id} that the step read"):
        replayed(fork, lake.first_run, "loan_balances")
    with pytest.raises(SnapshotExpired, match="with which run"):
        replayed(fork, lake.first_run, "transactions")


def test_a_report_that_is_gone_is_an_error(lake: Lake, fork: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "read_report", lambda *_: None)
    with pytest.raises(ReportGone, match=r"loans\.loans: expected the report affirm-"):
        replayed(fork, lake.first_run, "loans")


def test_a_dataset_that_the_run_did_not_publish_is_an_error(lake: Lake) -> None:
    with pytest.raises(RunHasNotPublished, match="found originations_monthly; it published landing/adjustment_rows"):
        replayed(lake.books, lake.first_run, "originations_monthly")
    with pytest.raises(RunHasNotPublished, match="found nonsense"):
        replayed(lake.books, lake.first_run, "nonsense")


def test_the_command_says_what_it_did(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AFFIRM_LAKE", str(lake.books.folder))
    monkeypatch.setenv("AFFIRM_DEPLOYMENT", "local")
    monkeypatch.chdir(tmp_path)

    def affirm(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["replay", *arguments])

    done = affirm(lake.second_run, "--dataset", "loans/loan_schedules")
    assert done.exit_code == 0, done.output
    assert "loans/loan_schedules 2025-02-01...2025-02-02: the same" in done.output
    unknown = affirm("nope")
    assert unknown.exit_code == 1
    assert "run nope: expected a run that published" in unknown.output


# The comparison


def table(*rows: tuple[str, int | None, str | None]) -> pa.Table:
    columns = {name: [row[at] for row in rows] for at, name in enumerate(("key", "amount", "text"))}
    return pa.table(columns, pa.schema({"key": pa.string(), "amount": pa.int64(), "text": pa.string()}))


@pytest.mark.parametrize(
    ("computed", "expected"),
    [
        ((("a", 1, "x"), ("b", None, None)), (0, 0, 0, 0)),
        ((("b", None, None), ("a", 1, "x")), (0, 0, 0, 0)),
        ((("a", 2, "x"), ("b", None, None)), (0, 0, 1, 0)),
        ((("a", 1, "x"), ("b", 0, None)), (0, 0, 1, 0)),
        ((("a", 1, "x"),), (1, 0, 0, 0)),
        ((("a", 1, "x"), ("b", None, None), ("c", 1, "x")), (0, 1, 0, 0)),
        ((("a", 1, "x"), ("a", 1, "x"), ("b", None, None)), (0, 0, 0, 1)),
        ((), (2, 0, 0, 0)),
    ],
    ids=["the same", "in another order", "a value", "a null", "one less", "one more", "one twice", "none"],
)
def test_rows_are_compared_by_key(
    computed: tuple[tuple[str, int | None, str | None], ...], expected: tuple[int, int, int, int]
) -> None:
    found = Comparison()
    found.add(table(("a", 1, "x"), ("b", None, None)), table(*computed), ["key"])
    assert (found.only_published, found.only_computed, found.differing, found.doubled) == expected
    assert found.is_same == (expected == (0, 0, 0, 0))


def _tables(books: Books) -> dict[str, object]:
    return {each.table: books.catalog.load_table(each.table) for each in REGISTRY.datasets.values()}
