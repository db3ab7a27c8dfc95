"""What the faulty datasets would hold."""

from datetime import date

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, key
from affirm_assets.declare.partitions import Window

ROWS = 100


class Numbered(Contract):
    """A numbered row of a day."""

    day: date = key("Business date")
    number: int = key("From 0 on")


def rows(window: Window, tasks: int = 1) -> DataFrame:
    """ROWS rows of the window's first day, made by so many tasks."""
    spark = SparkSession.active()
    return spark.range(0, ROWS, 1, tasks).select(F.lit(window.first).alias("day"), F.col("id").alias("number"))


def slow_rows(window: Window, seconds_each: float, tasks: int) -> DataFrame:
    """The same, in tasks that sleep in the JVM, wherever it is, so long for each row."""
    pause = F.expr(f"java_method('java.lang.Thread', 'sleep', {int(1000 * seconds_each)}L)")
    slept = rows(window, tasks).withColumn("slept", pause)
    # Used, or Spark would leave it out.
    return slept.where("slept IS NULL OR slept = 'null'").drop("slept")


def say(text: str) -> None:
    """What a test looks for in the logs."""
    print(f"fault: {text}", flush=True)
