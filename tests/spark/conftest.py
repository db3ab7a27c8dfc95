"""What is about Spark: its plans, its readers and writers of Iceberg, its settings."""

import pytest

from affirm_assets.settings import SPARK


@pytest.fixture(scope="session")
def engine() -> str:
    return SPARK
