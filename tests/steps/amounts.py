"""Datasets of amounts, for the tests of a step."""

from datetime import date
from decimal import Decimal
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, Money, column, key, spark_schema
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Daily, Window
from tests.conftest import declare

D1, D2, D3, D4 = (date(2025, 1, day) for day in (1, 2, 3, 4))


class Amount(Contract):
    """An amount of a day."""

    id: str = key("Id")
    day: date = column("Business date")
    amount: Money = column("Amount", ge=0)


def one(day: date) -> Window:
    return Window(day, day)


def frame(*rows: tuple[str, date, str | None], contract: type[Contract] = Amount) -> DataFrame:
    spark = SparkSession.active()
    typed = [(name, day, None if amount is None else Decimal(amount)) for name, day, amount in rows]
    schema = spark_schema(contract)
    for field in schema.fields:
        field.nullable = True  # what a transform's result mostly is
    return spark.createDataFrame(typed, schema)


def amounts_of(*rows: tuple[str, date, str | None], **over: Any) -> Dataset:
    """A dataset `amounts` whose transform gives these rows, whatever the window."""

    def amounts() -> DataFrame:
        return frame(*rows)

    return declare(amounts, Amount, Daily("day"), **over)


class Person(Contract):
    """A person."""

    id: str = key("Id")
    day: date = column("Business date")
    email: str = column("E-mail", pii="direct", pattern="@")


class AmountWithNote(Amount):
    """An amount of a day, with a note."""

    note: str | None = column("Note")


def noted(contract: type[Contract] = AmountWithNote, note: str = "hello") -> Dataset:
    def amounts() -> DataFrame:
        return frame(("n", D2, "2.00")).withColumn("note", F.lit(note))

    return declare(amounts, contract, Daily("day"))


def downstream(over_input: Any = None) -> Dataset:
    def copies(amounts: DataFrame) -> DataFrame:
        return amounts

    return declare(copies, Amount, Daily("day"), inputs=over_input)
