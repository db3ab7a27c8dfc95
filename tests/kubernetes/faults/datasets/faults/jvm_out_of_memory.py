"""Spark's JVM takes more memory than the step's container may, beside its heap."""

from typing import Any

from pyspark.sql import DataFrame, SparkSession

from affirm_assets.declare.dataset import dataset
from affirm_assets.declare.partitions import Daily, Window
from tests.kubernetes.faults.datasets.faults._rows import Numbered, rows, say


@dataset(Numbered, partitions=Daily("day"), owner="team:tests", starts="by_hand", engine="spark")
def jvm_out_of_memory(window: Window) -> DataFrame:
    """Never comes to its rows."""
    spark: Any = SparkSession.active()
    memory = spark._jvm.org.apache.spark.unsafe.Platform
    say("the JVM takes all memory")
    size = 64 << 20
    for _ in range(1000):
        memory.setMemory(memory.allocateMemory(size), 1, size)
    return rows(window)
