"""The tests on a cluster, as far as they need none: whose platform they delete."""

import pytest

from tests.kubernetes import platform
from tests.kubernetes.cluster import IMAGE


@pytest.mark.parametrize("found", ["", IMAGE])
def test_a_platform_of_tests_may_be_deleted(monkeypatch: pytest.MonkeyPatch, found: str) -> None:
    monkeypatch.setattr(platform, "kubectl", lambda *_: found)
    platform.refuse_anothers()


def test_anothers_platform_is_not_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(platform, "kubectl", lambda *arguments: asked.append(arguments) or "registry/affirm:7")
    with pytest.raises(AssertionError, match="registry/affirm:7"):
        platform.refuse_anothers()
    assert [arguments[0] for arguments in asked] == ["get"]
