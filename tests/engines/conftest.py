"""One server of Sail for the tests of the engine's check."""

from collections.abc import Iterator

import pytest

from tests.engines.connect import CheckedSail, checked_sail


@pytest.fixture(scope="module")
def sail() -> Iterator[CheckedSail]:
    with checked_sail() as made:
        yield made
