"""The platform on the cluster that KUBECONFIG points at, brought up once for all tests (`make kubernetes-test`)."""

import os
from collections.abc import Iterator

import pytest

from tests.kubernetes.cluster import Tools
from tests.kubernetes.platform import Platform, running_platform
from tests.servers import postgres_missing, s3_missing


@pytest.fixture(scope="session")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    try:
        tools = Tools.of(os.environ)
    except LookupError as missing:
        pytest.exit(str(missing), returncode=2)
    for missing_server in (postgres_missing(), s3_missing()):
        if missing_server:
            pytest.exit(f"The tests on a cluster need servers: {missing_server}", returncode=2)
    tools.provide_image()
    with running_platform(tools, tmp_path_factory.mktemp("platform")) as platform:
        yield platform
