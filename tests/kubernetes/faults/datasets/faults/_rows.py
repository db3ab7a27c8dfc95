"""What the faulty datasets would hold."""

import os
import signal
import time
from datetime import date
from typing import Any

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from affirm_assets.declare.contract import Contract, key
from affirm_assets.declare.partitions import Window
from affirm_assets.steps import run

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


def take_all_memory() -> None:
    """Of the container in which Python runs, and more."""
    say("python takes all memory")
    taken = []
    for _ in range(1000):
        taken.append(b"x" * (64 << 20))


def sleep_a_little() -> None:
    """Long enough for a test to end the process from outside."""
    say("sleeping")
    time.sleep(10)
    say("awake")


def die_after_the_commit() -> None:
    """Have the process killed once the rows of this step are published, before it has told Dagster.

    Another try of the same run finds what was published, and does not come here.
    """
    publish = run.publish

    def publish_and_die(*args: Any, **more: Any) -> None:
        publish(*args, **more)
        say("killed after the commit")
        os.kill(os.getpid(), signal.SIGKILL)

    run.publish = publish_and_die  # type: ignore[assignment]
