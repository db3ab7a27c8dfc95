"""Payments, made of numbers, and a step that works on them: what several benchmarks measure."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, Money, column, key
from affirm_assets.declare.dataset import Dataset
from affirm_assets.declare.partitions import Daily, Window

DAY = date(2025, 1, 2)
WINDOW = Window(DAY, DAY)
WHY = "the benchmark asks for it"
"""Of the engine."""


class Payment(Contract):
    """A payment."""

    transaction_id: str = key("Transaction", pattern="^T[0-9]{12}$")
    posted_on: date = column("Business date")
    loan_id: str = column("Loan", min_length=1)
    kind: str = column("Kind")
    amount: Money = column("Amount", gt=0)


class PaymentWithFee(Payment):
    """A payment and its fee."""

    fee: Money = column("Fee, half up to the cent", ge=0)


def with_fees(payments: DataFrame) -> DataFrame:
    return payments.withColumn(
        "fee", F.round(F.col("amount") * F.lit("0.029").cast("decimal(4,3)"), 2).cast("decimal(18,2)")
    )


def payments_of(rows: int) -> Callable[[], DataFrame]:
    def payments() -> DataFrame:
        numbers = SparkSession.active().range(rows)
        return numbers.select(
            _numbered("T", F.col("id") * 7919 % rows, 12).alias("transaction_id"),
            F.lit(DAY).alias("posted_on"),
            _numbered("L", F.col("id") % 700_001, 9).alias("loan_id"),
            F.when(F.col("id") % 9 == 0, "refund").otherwise("payment").alias("kind"),
            ((F.col("id") % 99_991 + 1) * F.lit(Decimal("0.01"))).cast("decimal(18,2)").alias("amount"),
        )

    return payments


def _numbered(letter: str, number: Column, digits: int) -> Column:
    return F.concat(F.lit(letter), F.lpad(number.cast("string"), digits, "0"))


def bench_dataset(name: str, contract: type[Contract], function: Any, inputs: dict[str, Any]) -> Dataset:
    return Dataset(name, "bench", contract, Daily("posted_on"), inputs, function, "team:bench", "", Path(__file__))
