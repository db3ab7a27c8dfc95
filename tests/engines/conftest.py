"""One server of Sail for the tests of a module."""

from collections.abc import Iterator

import pytest

from tests.engines.connect import CheckedSail, checked_sail, connect_functions


@pytest.fixture(scope="module")
def sail_server() -> Iterator[CheckedSail]:
    with checked_sail() as made:
        yield made


@pytest.fixture
def sail(sail_server: CheckedSail) -> Iterator[CheckedSail]:
    """The session, and pyspark.sql.functions as its own."""
    with connect_functions():
        yield sail_server
