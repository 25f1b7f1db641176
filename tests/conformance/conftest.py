"""One cluster for the tests with other people's clients."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.processes import Cluster, running_cluster


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes. A test may end one of them, if it starts it again."""
    with running_cluster(tmp_path_factory.mktemp("clients"), shards=16) as shared:
        yield shared


@pytest.fixture
def empty_cluster(cluster: Cluster) -> Cluster:
    with next(iter(cluster)).wire() as wire:
        assert wire.ask(b"flush_all") == b"OK\r\n"
    return cluster
