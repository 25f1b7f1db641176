"""Fixtures of the tests with real processes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.processes import Cluster, NodeProcess, running_cluster, running_node


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes for tests that leave them as they were: running, and with nothing to remember."""
    with running_cluster(tmp_path_factory.mktemp("shared"), shards=16) as shared:
        yield shared


@pytest.fixture(scope="package")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeProcess]:
    """A node without any flag but its port."""
    with running_node(tmp_path_factory.mktemp("alone")) as node:
        yield node
