"""The platform with its catalog behind REST: on Iceberg's own server, with what stands between it and us where it must
be made to fail.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException

import affirm_assets.datasets
from affirm_assets.close import CLOSES, Ledger, close_month, closes_of
from affirm_assets.declare.registry import Registry
from affirm_assets.errors import DatesDiffer
from affirm_assets.orchestration import closed_date
from affirm_assets.orchestration.closed_date import CLOSED, CLOSED_DATE, close_of_business, load_closed
from affirm_assets.restate import CHANGES, begin, end, under_way
from affirm_assets.steps import publish
from affirm_assets.steps.audits_failed import AuditsFailed
from affirm_assets.steps.closed import CLOSED_MONTH, TAG
from affirm_assets.steps.request import Run
from affirm_assets.steps.rollback import roll_back
from affirm_assets.steps.tables import main_snapshot
from affirm_assets.steps.together import Change, as_loaded, commit_together, set_properties, set_ref
from affirm_assets.steps.upkeep import keep_up
from resources import rest
from resources.iceberg import CatalogError, CatalogUnreachable, CommitUnknown, IcebergCatalog
from resources.landing import LandingZone
from resources.spark import SparkSessions
from tests.between import TRANSACTION, Acts, Answer, Asks, between, without_transactions
from tests.conftest import opens_engine
from tests.integration.books import LOANS, Books, jsonl, loan, range_tags
from tests.servers import RestCatalogServer, rest_catalog, rest_catalog_missing
from tests.steps.amounts import D1, D2, amounts_of, one
from tests.storage import Steps, StorageWithEngine

FIRST, END = date(2025, 1, 1), date(2025, 1, 31)
LENT, FEBRUARY = date(2025, 1, 2), date(2025, 2, 1)
NOW = datetime(2025, 2, 3, 9, 30, tzinfo=UTC)
MONTHLY = "portfolio/originations_monthly"
DATASETS = {
    each.name: each
    for each in Registry.walk(affirm_assets.datasets).in_order()
    if str(each) in (*LOANS.split(","), MONTHLY)
}
DAILY_TABLES = [each.table for each in DATASETS.values() if str(each) != MONTHLY]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestCatalogServer]:
    if missing := rest_catalog_missing():
        pytest.skip(missing)
    with rest_catalog(tmp_path_factory.mktemp("rest")) as server:
        yield server


def january(folder: Path, sessions: SparkSessions, uri: str = "") -> Books:
    """A loan of the 2nd, all of January published, and the file of the next day."""
    books = Books(folder, sessions, FIRST, catalog_uri=uri)
    for number in range(32):
        day = FIRST + timedelta(days=number)
        books.land("loans", day, {"part.jsonl": jsonl([loan()] if day == LENT else [])})
    assert books.materialize(LOANS, FIRST, END).success
    assert books.materialize(MONTHLY, FIRST).success
    return books


def ledger(books: Books) -> Ledger:
    return Ledger(books.catalog, DATASETS, FIRST)


def test_books_are_published_closed_restated_rolled_back_and_kept_up(
    server: RestCatalogServer, tmp_path: Path, spark_if_needed: SparkSessions
) -> None:
    books = january(tmp_path / "rest", spark_if_needed, server.uri)
    local = january(tmp_path / "sqlite", spark_if_needed)
    for name in (each.table for each in DATASETS.values()):
        assert books.rows(name) == local.rows(name), name

    assert close_of_business(books.catalog, DATASETS, FIRST) == END
    assert books.materialize(LOANS, FEBRUARY).success
    shown = load_closed(books.catalog, DAILY_TABLES)
    assert {each.properties[CLOSED_DATE] for each in shown.values()} == {str(END)}
    assert shown["loans.loans"].metadata.refs[CLOSED].snapshot_id != main_snapshot(shown["loans.loans"])
    assert close_of_business(books.catalog, DATASETS, FIRST) == FEBRUARY

    close = close_month(ledger(books), FIRST, "E0007", NOW)
    assert closes_of(books.catalog.load_table(CLOSES)) == [close]
    assert {books.catalog.load_table(each.table).properties[CLOSED_MONTH] for each in close.tables} == {"2025-01"}
    assert not run(books, LENT, END).success

    begun = begin(ledger(books), LENT, "The partner sent another amount", "E0008", NOW)
    assert under_way(ledger(books)) == begun
    before = books.rows("loans.loans")
    published = run_of(books, "loans.loans")
    books.land("loans", LENT, {"part.jsonl": jsonl([loan(principal="900.00")])})
    assert run(books, LENT, FEBRUARY, **{TAG: begun.id}).success
    assert replace(books, restatement=begun.id).materialize(MONTHLY, FIRST).success
    ended = end(ledger(books), "E0008", NOW)
    assert [(each.number, each.restatement) for each in ended.closes] == [(2, "R1")]
    told = {(each.table, each.of, each.name, each.column): (each.before, each.after) for each in ended.changes}
    assert told["loans.loans", "loan", "L1", "principal"] == (Decimal("1000.00"), Decimal("900.00"))
    assert len(books.rows(CHANGES)) == len(ended.changes)
    assert under_way(ledger(books)) is None

    again = begin(ledger(books), LENT, "The first amount was right", "E0008", NOW)
    by = Run("", "", restatement=again.id)
    assert roll_back(books.catalog, DATASETS["loans"], published, by, NOW).undone == ("2025-01-02...2025-02-01",)
    assert books.rows("loans.loans") == before

    dataset = DATASETS["borrowers"]
    done = keep_up(dataset, books.catalog, datetime.now(UTC) + timedelta(days=400))
    table = books.catalog.load_table(dataset.table)
    refs = {each.snapshot_id for each in table.metadata.refs.values()}
    assert done.expired > 0
    assert {each.snapshot_id for each in table.snapshots()} == refs
    assert done.files
    assert not [path for path in done.files if table.io.new_input(path).exists()]
    assert len(books.rows(dataset.table)) == 1


def test_what_carries_a_restatement_is_refused_after_its_end(
    tmp_path: Path, spark_if_needed: SparkSessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends between the last look of a publish and its commit."""
    if missing := rest_catalog_missing():
        pytest.skip(missing)
    with rest_catalog(tmp_path) as own:
        books = january(tmp_path / "books", spark_if_needed, own.uri)
        close_month(ledger(books), FIRST, "E0007", NOW)
        begun = begin(ledger(books), LENT, "The partner sent another amount", "E0008", NOW)
        books.land("loans", LENT, {"part.jsonl": jsonl([loan(principal="900.00")])})
        assert run(books, LENT, END, **{TAG: begun.id}).success
        assert replace(books, restatement=begun.id).materialize(MONTHLY, FIRST).success
        closed = books.catalog.load_table("loans.loans").current_snapshot()
        commit, ended = publish._commit, Event()

        def ends_before(table: Any, *asked: Any) -> None:
            if table.name()[-1] == "loans" and not ended.is_set():
                ended.set()
                end(ledger(books), "E0008", NOW)
            commit(table, *asked)

        monkeypatch.setattr(publish, "_commit", ends_before)
        late = books.job("loans/loans").execute_in_process(
            instance=books.instance, raise_on_error=False, tags={**range_tags(LENT, END), TAG: begun.id}
        )
        assert ended.is_set()
        assert not late.success
        assert books.catalog.load_table("loans.loans").current_snapshot() == closed


def run(books: Books, first: date, last: date, **tags: str) -> Any:
    return books.job(LOANS).execute_in_process(
        instance=books.instance, raise_on_error=False, tags={**range_tags(first, last), **tags}
    )


def run_of(books: Books, table: str) -> str:
    snapshot = books.catalog.load_table(table).current_snapshot()
    assert snapshot
    assert snapshot.summary
    return str(snapshot.summary["affirm.run-id"])


@pytest.mark.parametrize("engine", ["sail", "spark"])
def test_what_an_audit_refuses_is_kept_and_no_reader_sees_it(
    server: RestCatalogServer, tmp_path: Path, engine: str, request: pytest.FixtureRequest
) -> None:
    """By a step on either engine: Spark asks the catalog by itself."""
    catalog = IcebergCatalog(uri=server.uri, warehouse=f"file://{tmp_path}/warehouse")
    opens = opens_engine(engine, catalog.spark_conf(), request)
    storage = StorageWithEngine(catalog.load(), LandingZone(str(tmp_path / "landing")), catalog.name, opens=opens)
    steps, amounts = Steps(lambda: storage), partial(amounts_of, name=f"amounts_of_{engine}")
    steps.run(amounts(("a", D1, "1.00")), one(D1))
    steps.run(amounts(("b", D2, "2.00")), one(D2), run="second")
    with pytest.raises(AuditsFailed, match="amount_ge: 1 of 1 failed") as caught:
        steps.run(amounts(("bad", D2, "-1.00")), one(D2), run="bad")
    assert [row[0] for row in steps.rows(amounts())] == ["a", "b"]
    kept = storage.read(amounts(), caught.value.staged_snapshot)
    assert "bad" in [row["id"] for row in kept.collect()]
    storage.close()


TABLES = [f"lake.table{number}" for number in range(3)]


@pytest.fixture
def tables(server: RestCatalogServer) -> Iterator[Catalog]:
    catalog: Catalog = catalog_at(server)
    catalog.create_namespace_if_not_exists("lake")
    for name in TABLES:
        catalog.create_table(name, pa.schema([("day", pa.int32())]))
    yield catalog
    for name in TABLES:
        catalog.drop_table(name)


def catalog_at(server: RestCatalogServer) -> Any:
    return IcebergCatalog(uri=server.uri, warehouse="file:///tmp/not-used").load()


def moves(catalog: Catalog, value: str) -> list[Change]:
    loaded = [catalog.load_table(name) for name in TABLES]
    return [
        Change(each, (set_properties({"moved": value}),), as_loaded(each, properties=("moved",))) for each in loaded
    ]


def moved(catalog: Catalog) -> list[str | None]:
    return [catalog.load_table(name).properties.get("moved") for name in TABLES]


def on_transaction(answers: Callable[[Asks], Answer | None]) -> Acts:
    return lambda method, path, asks: answers(asks) if path == TRANSACTION else asks()


def test_one_table_s_requirement_keeps_all_as_they_were(server: RestCatalogServer, tables: Catalog) -> None:
    changes = moves(tables, "yes")
    tables.load_table(TABLES[-1]).append(pa.table({"day": pa.array([1], pa.int32())}))
    with pytest.raises(CommitFailedException, match="branch main was created concurrently"):
        catalog_at(server).commit_together(changes)
    assert moved(tables) == [None, None, None]
    assert commit_together(tables, lambda: moves(tables, "yes"))
    assert moved(tables) == ["yes", "yes", "yes"]


def done_and_lost(asks: Asks) -> None:
    assert asks().status == 204


def done_and_busy(asks: Asks) -> Answer:
    done_and_lost(asks)
    return Answer(504)


def done_and_odd(asks: Asks) -> Answer:
    done_and_lost(asks)
    return Answer(501, b"<html>")


@pytest.mark.parametrize("answers", [done_and_lost, done_and_busy, done_and_odd], ids=["connection lost", "504", "501"])
def test_a_commit_whose_answer_is_lost_is_found(
    server: RestCatalogServer, tables: Catalog, answers: Callable[[Asks], Answer | None]
) -> None:
    asked: list[None] = []

    def once(asks: Asks) -> Answer | None:
        asked.append(None)
        return answers(asks)

    with between(server, on_transaction(once)) as lossy:
        catalog = catalog_at(lossy)
        assert commit_together(catalog, lambda: moves(catalog, "yes"))
    assert len(asked) == 1
    assert moved(tables) == ["yes", "yes", "yes"]


@pytest.mark.parametrize("status", [None, 302, 408, 429, 500, 501, 502, 503, 504])
def test_a_commit_that_may_still_come_is_unknown(
    server: RestCatalogServer, tables: Catalog, status: int | None
) -> None:
    """It was never carried out, or not yet: whoever asked cannot tell."""
    with between(server, on_transaction(lambda asks: Answer(status) if status else None)) as lossy:
        catalog = catalog_at(lossy)
        with pytest.raises(
            CommitUnknown, match=r"(?s)3 tables \(such as lake\.table0\).*Not seen in 3 of 3: .*come later"
        ):
            commit_together(catalog, lambda: moves(catalog, "yes"))
    assert moved(tables) == [None, None, None]
    assert commit_together(tables, lambda: moves(tables, "yes"))


@pytest.mark.parametrize("answer", [None, Answer(501), Answer(200, b"<html>"), Answer(429)], ids=str)
def test_a_commit_to_one_table_whose_answer_is_lost_is_found(
    server: RestCatalogServer, tables: Catalog, answer: Answer | None
) -> None:
    """What the snapshot names would be deleted, if this was taken for a commit that failed."""

    def loses(method: str, path: str, asks: Asks) -> Answer | None:
        truth = asks()
        return answer if method == "POST" else truth

    with between(server, loses) as lossy:
        catalog_at(lossy).load_table(TABLES[0]).append(pa.table({"day": pa.array([1], pa.int32())}))
    assert tables.load_table(TABLES[0]).scan().to_arrow().num_rows == 1


def test_a_commit_after_which_no_table_can_be_read_is_unknown(
    server: RestCatalogServer, tables: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "_BETWEEN_LOOKS", 0.0)
    asked = Event()

    def acts(method: str, path: str, asks: Asks) -> Answer | None:
        if path == TRANSACTION:
            asked.set()
            return asks()
        return Answer(403) if asked.is_set() else asks()

    with between(server, acts) as closing:
        catalog = catalog_at(closing)
        with pytest.raises(CommitUnknown, match=r"expected to read the table after it, found CatalogUnreachable"):
            commit_together(catalog, lambda: moves(catalog, "yes"))
    assert moved(tables) == ["yes", "yes", "yes"]


def test_what_a_server_says_it_has_committed_and_has_not_is_committed_again(
    server: RestCatalogServer, tables: Catalog
) -> None:
    """Iceberg's own server does so to a table that somebody else commits to at the same moment."""
    with between(server, on_transaction(lambda asks: Answer(204))) as lying:
        catalog = catalog_at(lying)
        assert commit_together(catalog, lambda: moves(catalog, "yes"))
    assert moved(tables) == ["yes", "yes", "yes"]


def test_what_a_server_has_lost_to_somebody_else_is_told(server: RestCatalogServer, tables: Catalog) -> None:
    def acts(asks: Asks) -> Answer:
        tables.load_table(TABLES[1]).append(pa.table({"day": pa.array([1], pa.int32())}))
        return Answer(204)

    with between(server, on_transaction(acts)) as lying:
        catalog = catalog_at(lying)
        with pytest.raises(
            CommitUnknown, match=r"lake\.table0, lake\.table1, lake\.table2 without it, and changed by some"
        ):
            commit_together(catalog, lambda: moves(catalog, "yes"))


def edited(path_ends: str, edit: Callable[[dict[str, Any]], None]) -> Acts:
    """The server with the answers for a path edited."""

    def acts(method: str, path: str, asks: Asks) -> Answer:
        answer = asks()
        if answer.status != 200 or not path.partition("?")[0].endswith(path_ends) or method == "HEAD":
            return answer
        body = json.loads(answer.body)
        edit(body)
        return Answer(answer.status, json.dumps(body).encode())

    return acts


def test_a_server_that_keeps_no_branches_of_tables_is_told(server: RestCatalogServer, tables: Catalog) -> None:
    """As Nessie 0.99 answers: main alone, which is at whatever snapshot came last."""

    def keeps_main_alone(body: dict[str, Any]) -> None:
        metadata = body["metadata"]
        if metadata["snapshots"]:
            last = metadata["snapshots"][-1]["snapshot-id"]
            metadata |= {"refs": {"main": {"snapshot-id": last, "type": "branch"}}, "current-snapshot-id": last}

    row = pa.table({"day": pa.array([1], pa.int32())})
    tables.load_table(TABLES[0]).append(row)
    with between(server, edited(TABLES[0].replace(".", "/tables/"), keeps_main_alone)) as simple:
        catalog = catalog_at(simple)
        with pytest.raises(CommitUnknown, match=r"lake\.table0 with the branches and tags .* found no closed\. The s"):
            catalog.load_table(TABLES[0]).manage_snapshots().create_branch(head_of(tables), CLOSED).commit()
        with pytest.raises(CommitUnknown, match=r"found no staged, main at a snapshot that was not for it"):
            catalog.load_table(TABLES[0]).append(row, branch="staged")


def head_of(catalog: Catalog) -> int:
    head = main_snapshot(catalog.load_table(TABLES[0]))
    assert head is not None
    return head


def test_nessie_is_refused(server: RestCatalogServer) -> None:
    def is_nessie(body: dict[str, Any]) -> None:
        body["defaults"] = {**body["defaults"], "nessie.is-nessie-catalog": "true"}

    with (
        between(server, edited("/v1/config", is_nessie)) as nessie,
        pytest.raises(CatalogError, match=r"found Nessie, .*: readers would see what an audit has refused"),
    ):
        catalog_at(nessie)


def test_what_iceberg_s_own_server_loses_to_a_busy_writer_is_there_in_the_end(
    server: RestCatalogServer, tables: Catalog
) -> None:
    """It commits to one table after another: to another's commit in between it loses its own to that table."""
    for name in TABLES:
        tables.load_table(name).append(pa.table({"day": pa.array([1], pa.int32())}))
    written: list[str] = []
    over = Event()

    def others() -> None:
        catalog = catalog_at(server)
        while not over.is_set():
            written.append(str(len(written)))
            catalog.load_table(TABLES[-1])._do_commit((set_properties({"others": written[-1]}),), ())

    with ThreadPoolExecutor(1) as threads:
        busy = threads.submit(others)
        try:
            for number in range(30):
                day = str(FIRST + timedelta(days=number))
                assert commit_together(tables, lambda day=day: closes(tables, day, TABLES))
                assert {each.properties[CLOSED_DATE] for each in load_closed(tables, TABLES).values()} == {day}
        finally:
            over.set()
        busy.result()
    assert tables.load_table(TABLES[-1]).properties["others"] == written[-1]


def test_a_server_without_the_endpoint_is_asked_for_one_table_after_another(
    server: RestCatalogServer, tables: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A closer that is stopped in between leaves two dates, which a reader notices; and the next one goes on."""
    monkeypatch.setattr(closed_date, "_TRIES", 3)
    with between(server, without_transactions) as simple:
        catalog = catalog_at(simple)
        assert not catalog.commits_together
        for name in TABLES:
            catalog.load_table(name).append(pa.table({"day": pa.array([1], pa.int32())}))
        assert commit_together(catalog, lambda: closes(catalog, "2025-01-01", TABLES))
        assert commit_together(catalog, lambda: closes(catalog, "2025-01-02", TABLES[:1]))
        with pytest.raises(
            DatesDiffer, match=r"found 2025-01-02 in lake\.table0; 2025-01-01 in lake\.table1, lake\.tab"
        ):
            load_closed(catalog, TABLES)
        assert commit_together(catalog, lambda: closes(catalog, "2025-01-02", TABLES))
        assert len(load_closed(catalog, TABLES)) == 3


def closes(catalog: Catalog, day: str, names: Sequence[str]) -> list[Change]:
    loaded = [catalog.load_table(name) for name in names]
    return [
        Change(each, (set_ref(CLOSED, "branch", head), set_properties({CLOSED_DATE: day})), as_loaded(each, CLOSED))
        for each in loaded
        if (head := main_snapshot(each)) is not None
    ]


def test_a_server_that_is_gone_is_named(tmp_path: Path) -> None:
    if missing := rest_catalog_missing():
        pytest.skip(missing)
    with rest_catalog(tmp_path) as server:
        catalog = catalog_at(server)
    with pytest.raises(
        CatalogUnreachable, match=f"catalog {server.uri}/v1/namespaces/.*: expected an answer, found Conn"
    ):
        catalog.load_table(TABLES[0])
    with pytest.raises(CatalogUnreachable, match="Check AFFIRM_CATALOG_URI"):
        catalog_at(server)
