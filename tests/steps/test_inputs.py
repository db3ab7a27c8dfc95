"""What a step reads."""

from dataclasses import replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, Money, column, key
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.inputs import before, landing, through
from affirm_assets.declare.partitions import Daily, Monthly, Window
from affirm_assets.errors import (
    SchemaChangeRefused,
)
from affirm_assets.orchestration.tables import Tables
from affirm_assets.steps.request import Request, Run, pin
from resources.iceberg import CatalogLost
from tests.conftest import declare
from tests.steps.amounts import D1, D2, Amount, amounts_of, downstream, frame, noted, one
from tests.storage import NewStorage, Steps


def test_inputs_are_read_at_their_pinned_snapshot(steps: Steps, new_storage: NewStorage) -> None:
    source = amounts_of(("a", D1, "1.00"))
    steps.run(source, one(D1))
    storage = new_storage()
    pinned = pin(downstream(), {"amounts": source}, one(D1), Run("r", "r"), "v1", storage)
    steps.run(amounts_of(("changed", D1, "2.00")), one(D1), run="later")
    replayed = replace(pinned, request=Request.from_json(pinned.request.to_json()))
    frames = storage.frames(downstream(), {"amounts": source}, replayed)
    assert [row["id"] for row in frames.call(downstream().function).collect()] == ["a"]


def test_a_history_that_was_never_published_is_empty(steps: Steps) -> None:
    copies = downstream({"amounts": before("amounts")})
    assert steps.run(copies, one(D1), upstream=(amounts_of(),)).rows == {D1: 0}


def test_an_input_that_the_catalog_has_lost_is_no_empty_one(steps: Steps, new_storage: NewStorage) -> None:
    source, copies = amounts_of(("a", D1, "1.00")), downstream({"amounts": through("amounts")})
    steps.run(source, one(D1))
    steps.run(copies, one(D1), upstream=(source,))
    catalog = new_storage().catalog
    catalog.drop_table(source.table)
    with pytest.raises(CatalogLost, match=r"tests\.amounts: the catalog does not know it"):
        steps.run(copies, one(D1), upstream=(source,), run="again")
    tables = Tables.of({each.name: each for each in (source, copies)}, catalog)
    assert list(tables.refused) == ["amounts"]
    assert tables.records["copies"].windows == (one(D1),)


class Note(Contract):
    """A record of a file."""

    id: str = key("Id")
    day: date = column("Date of the folder")
    note: str = column("Note")
    file: str = column("File")
    problem: str | None = column("Why it is none")
    raw: str | None = column("Its text then")


def test_files_are_read_with_the_delimiter_of_their_feed(steps: Steps, tmp_path: Path) -> None:
    folder = tmp_path / "landing" / "notes" / str(D1)
    folder.mkdir(parents=True)
    (folder / "a.CSV").write_text('id;note\na;x,y\nb;"x;y"\n')
    (folder / "_SUCCESS").touch()

    def notes(records: DataFrame) -> DataFrame:
        return records.select("id", F.col("business_date").alias("day"), "note", "file", "problem", "raw")

    feed = landing("notes", {"id": "text", "note": "text"}, delimiter=";")
    read = declare(notes, Note, Daily("day"), inputs={"records": feed})
    steps.run(read, one(D1))
    assert [row[:3] for row in steps.rows(read)] == [("a", D1, "x,y"), ("b", D1, "x;y")]


def test_a_range_is_one_call_of_the_transform(steps: Steps) -> None:
    calls: list[Window] = []

    def amounts(window: Window) -> DataFrame:
        calls.append(window)
        return frame(*((f"id{day}", date(2025, 1, day), "1.00") for day in range(1, 31)))

    result = steps.run(declare(amounts, Amount, Daily("day")), Window(D1, date(2025, 1, 30)))
    assert calls == [Window(D1, date(2025, 1, 30))]
    assert set(result.rows.values()) == {1}


class MonthTotal(Contract):
    """The total of a month."""

    month: date = key("Month")
    amount: Money = column("Total")


def test_a_month_reads_its_days(steps: Steps) -> None:
    days = amounts_of(("a", D1, "1.00"), ("b", date(2025, 1, 31), "2.00"), ("c", date(2025, 2, 1), "4.00"))
    steps.run(days, Window(D1, date(2025, 2, 1)))

    def totals(amounts: DataFrame) -> DataFrame:
        months = amounts.groupBy(F.trunc("day", "month").alias("month"))
        return months.agg(F.sum("amount").cast("decimal(18,2)").alias("amount"))

    monthly = declare(totals, MonthTotal, Monthly("month"))
    assert steps.run(monthly, one(D1), upstream=(days,)).rows == {D1: 1}
    assert steps.rows(monthly, order="month") == [(D1, Decimal("3.00"))]


def test_a_dataset_without_partitions_is_replaced_whole(steps: Steps) -> None:
    def whole(ids: tuple[str, ...]) -> Dataset:
        def amounts() -> DataFrame:
            return frame(*((name, D1, "1.00") for name in ids))

        return declare(amounts, Amount, None)

    assert steps.run(whole(("a", "b")), None).rows == {None: 2}
    assert steps.run(whole(("c",)), None, run="second").rows == {None: 1}
    assert steps.run(whole(("c",)), None, run="second").already_published
    assert [row[0] for row in steps.rows(whole(()))] == ["c"]


def test_a_required_column_that_a_snapshot_lacks_is_refused(steps: Steps, new_storage: NewStorage) -> None:
    class AmountWithCurrency(Amount):
        """An amount of a day in a currency."""

        currency: str = column("Currency")

    first = steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    source, storage = noted(AmountWithCurrency), new_storage()
    pinned = pin(downstream(), {"amounts": source}, one(D1), Run("r", "r"), "v1", storage)
    assert pinned.request.inputs == {"amounts": first.snapshot}
    with pytest.raises(SchemaChangeRefused, match="column currency is not in snapshot"):
        storage.frames(downstream(), {"amounts": source}, pinned).call(downstream().function)


def test_an_older_snapshot_reads_with_the_new_column_null(steps: Steps, new_storage: NewStorage) -> None:
    first = steps.run(amounts_of(("a", D1, "1.00")), one(D1))
    steps.run(noted(), one(D2), run="second")
    rows = new_storage().read(noted(), first.snapshot).collect()
    assert [tuple(row) for row in rows] == [("a", D1, Decimal("1.00"), None)]
