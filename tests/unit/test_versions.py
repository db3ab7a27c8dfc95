"""PySpark, the jars and the lock file agree."""

import re
from importlib.metadata import version
from pathlib import Path

import resources
from resources.jars import ICEBERG_VERSION, LOCAL, REMOTE, SPARK_LINE

LOCK = Path(resources.__file__).parents[1] / "requirements.txt"


def line_of(spark: str) -> str:
    """4.1.4 -> 4.1"""
    return ".".join(spark.split(".")[:2])


def test_installed_pyspark_is_of_the_line_that_the_jars_are_for() -> None:
    assert line_of(version("pyspark")) == SPARK_LINE


def test_iceberg_runtime_names_that_line_and_the_iceberg_version() -> None:
    for jars in (LOCAL, REMOTE):
        (runtime,) = [each for each in jars if "iceberg-spark-runtime" in each]
        assert runtime == f"org.apache.iceberg:iceberg-spark-runtime-{SPARK_LINE}_2.13:{ICEBERG_VERSION}"


def test_s3_jars_are_of_the_iceberg_version_too() -> None:
    assert f"org.apache.iceberg:iceberg-aws-bundle:{ICEBERG_VERSION}" in REMOTE


def test_lock_file_pins_one_pyspark_of_that_line() -> None:
    pins = re.findall(r"^pyspark(\S*)", LOCK.read_text(), re.MULTILINE)
    assert [re.fullmatch(r"==\d+\.\d+\.\d+", pin) is not None for pin in pins] == [True], f"pyspark pins found: {pins}"
    assert line_of(pins[0].removeprefix("==")) == SPARK_LINE


def test_installed_pyspark_is_the_one_of_the_lock_file() -> None:
    assert f"pyspark=={version('pyspark')} " in LOCK.read_text()
