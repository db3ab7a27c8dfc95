"""The jars that Spark needs beside its own, by Maven coordinates: fetched when it starts, or baked into an image."""

SPARK_LINE = "4.1"
"""The Spark line that the Iceberg runtime is built for: the newest that has one. PySpark is pinned to it."""

ICEBERG_VERSION = "1.12.0"

_RUNTIME = f"org.apache.iceberg:iceberg-spark-runtime-{SPARK_LINE}_2.13:{ICEBERG_VERSION}"

LOCAL = (_RUNTIME, "org.xerial:sqlite-jdbc:3.50.3.0")
"""For tables in folders and a catalog in a SQLite file."""

NATIVE = f"org.apache.datafusion:comet-spark-spark{SPARK_LINE}_2.13:1.2.0"
"""DataFusion Comet (Apache License 2.0): Spark's operators on columns, in Rust. Groups and joins take a third of the
time. Results are tested for this version and for no other: see comet.py."""

REMOTE = (_RUNTIME, f"org.apache.iceberg:iceberg-aws-bundle:{ICEBERG_VERSION}", "org.postgresql:postgresql:42.7.14")
"""For tables on S3 and a catalog in PostgreSQL, AWS Glue or behind REST."""
