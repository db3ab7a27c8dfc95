"""The life of a step is the same on every engine."""

from typing import Any

import pytest

from affirm_assets.settings import SAIL, SPARK


@pytest.fixture(scope="session", params=[SAIL, SPARK])
def engine(request: Any) -> str:
    name: str = request.param
    return name
