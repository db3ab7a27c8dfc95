"""Do what a step does, on a table of three rows, so that the JVM archives the classes that this loads when it exits."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from typing import Any

import pyarrow as pa
from py4j.protocol import Py4JJavaError
from pyspark.sql import SparkSession
from pyspark.sql import functions as f


def main(warehouse: str) -> None:
    catalog = "spark.sql.catalog.lake"
    conf = {
        "spark.master": "local[2]",
        "spark.ui.enabled": "false",
        "spark.sql.extensions": "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions",
        "spark.sql.shuffle.partitions": "2",
        catalog: "org.apache.iceberg.spark.SparkCatalog",
        f"{catalog}.type": "hadoop",
        f"{catalog}.warehouse": warehouse,
    }
    spark = SparkSession.builder.config(map=conf).getOrCreate()
    java = spark.sparkContext._gateway
    spark.sql("CREATE TABLE lake.a.b (id STRING, day DATE, money DECIMAL(18,2)) USING iceberg PARTITIONED BY (day)")
    rows = [(f"{n}", Decimal(n)) for n in range(3)]
    made = spark.createDataFrame(rows, "id STRING, money DECIMAL(18,2)")
    made = made.select("id", f.lit("2025-01-01").cast("date").alias("day"), "money")
    made.mapInArrow(_as_they_are, made.schema).writeTo("lake.a.b").overwritePartitions()
    table = spark.table("lake.a.b")
    table.join(table.groupBy("id").agg(f.sum("money"), f.count("*")), "id").orderBy("id").collect()
    spark.table("lake.a.b.files").collect()
    with suppress(Py4JJavaError):
        _ask_a_closed_port(spark._jvm)
    process = java.proc
    spark.stop()
    java.shutdown()
    process.stdin.close()
    if process.wait() != 0:
        raise SystemExit(f"Java ended with {process.returncode}")


def _as_they_are(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield from batches


def _ask_a_closed_port(jvm: Any) -> None:
    """The classes of the S3 client and of PostgreSQL's driver, as far as they go without a server."""
    jvm.java.lang.Class.forName("org.postgresql.Driver")
    properties = jvm.java.util.HashMap()
    for key, value in {
        "s3.endpoint": "http://127.0.0.1:1",
        "s3.access-key-id": "nobody",
        "s3.secret-access-key": "nothing",
        "client.region": "us-east-1",
    }.items():
        properties.put(key, value)
    files = jvm.org.apache.iceberg.aws.s3.S3FileIO()
    files.initialize(properties)
    files.newInputFile("s3://none/none").exists()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(os.fspath(folder))
