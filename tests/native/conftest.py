"""Spark with native operators, beside Spark without: a JVM has them from its start, and a session turns them off.

Skipped unless AFFIRM_SPARK_NATIVE=on, as `make native-test` says.
"""

import os

import pytest
from pyspark.sql import SparkSession

from affirm_assets.settings import SPARK, EngineSettings
from affirm_assets.steps.request import RESULT_SETTINGS
from resources.iceberg import IcebergCatalog
from resources.spark import SparkSessions

OFF = {"spark.comet.enabled": "false"}


@pytest.fixture(scope="session")
def engine() -> str:
    return SPARK


@pytest.fixture(scope="session")
def sessions(sessions: SparkSessions) -> SparkSessions:
    if not EngineSettings.of(os.environ).native:
        pytest.skip("needs AFFIRM_SPARK_NATIVE=on from the start of its JVM: make native-test")
    return sessions


@pytest.fixture
def native(sessions: SparkSessions, catalog: IcebergCatalog) -> SparkSession:
    session = sessions.session({**catalog.spark_conf(), **RESULT_SETTINGS})
    session.sql("CREATE NAMESPACE lake.tests")
    return session


@pytest.fixture
def stock(native: SparkSession, sessions: SparkSessions, catalog: IcebergCatalog) -> SparkSession:
    return sessions.session({**catalog.spark_conf(), **RESULT_SETTINGS, **OFF})
