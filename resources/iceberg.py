"""The catalog of tables: one description gives PyIceberg's properties and Spark's settings."""

from pathlib import Path

from dagster import ConfigurableResource
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import SqlCatalog

SPARK_LINE = "4.1"
"""The Spark line that the Iceberg runtime is built for: the newest that has one. PySpark is pinned to it."""

ICEBERG_VERSION = "1.12.0"

PACKAGES = (
    f"org.apache.iceberg:iceberg-spark-runtime-{SPARK_LINE}_2.13:{ICEBERG_VERSION}",
    "org.xerial:sqlite-jdbc:3.50.3.0",
)
"""Maven coordinates of the jars that Spark needs for an Iceberg catalog in a SQLite file."""


class IcebergCatalog(ConfigurableResource[Catalog]):
    """A catalog in a SQLite file. `database`: absolute path of the file; `warehouse`: absolute folder of the tables."""

    name: str = "lake"
    database: str
    warehouse: str

    def load(self) -> Catalog:
        Path(self.warehouse).mkdir(parents=True, exist_ok=True)
        return SqlCatalog(self.name, uri=f"sqlite:///{self.database}", warehouse=f"file://{self.warehouse}")

    def spark_conf(self) -> dict[str, str]:
        """Settings of a Spark session that see the same tables under the same catalog name."""
        prefix = f"spark.sql.catalog.{self.name}"
        return {
            prefix: "org.apache.iceberg.spark.SparkCatalog",
            f"{prefix}.type": "jdbc",
            f"{prefix}.uri": f"jdbc:sqlite:{self.database}",
            f"{prefix}.warehouse": f"file://{self.warehouse}",
            # The schema of the catalog's own tables that PyIceberg makes.
            f"{prefix}.jdbc.schema-version": "V1",
            # A cached table misses the commits of other processes ("Cannot find snapshot").
            f"{prefix}.cache-enabled": "false",
        }
