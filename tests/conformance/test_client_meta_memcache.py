"""meta-memcache, which speaks meta commands only: leases, stale values, base64 keys."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.conformance.test_transcripts import needs_memcached, running_memcached
from tests.support.clients import library
from tests.support.processes import Cluster
from tests.support.wire import DEADLINE_S

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
"""It leaves connections to the garbage collector."""


@pytest.fixture(autouse=True)
def collect_garbage() -> Iterator[None]:
    yield
    gc.collect()


def connect(ports: Sequence[int]) -> Any:
    meta = library("meta_memcache")
    pool = meta.connection_pool_factory_builder(
        connection_timeout=DEADLINE_S, recv_timeout=DEADLINE_S
    )
    addresses = [meta.ServerAddress("127.0.0.1", port) for port in ports]
    return meta.CacheClient.cache_client_from_servers(addresses, pool)


@needs_memcached
def test_memcached_itself() -> None:
    """Guards the scenario: it is one of memcached's."""
    with running_memcached() as port:
        everything(connect([port]))


def test_cluster(empty_cluster: Cluster) -> None:
    everything(connect([node.port for node in empty_cluster]))


def everything(client: Any) -> None:
    meta = library("meta_memcache")
    key, other = meta.Key("k"), meta.Key("schön mit Leerzeichen")
    assert client.get(key) is None
    assert client.set(key, {"a": [1]}, ttl=1000)
    assert client.get(key) == {"a": [1]}
    assert client.set(other, "x" * 5000, ttl=1000)
    assert client.multi_get([key, other, meta.Key("absent")]) == {
        key: {"a": [1]},
        other: "x" * 5000,
        meta.Key("absent"): None,
    }
    _, unique = client.get_cas(key)
    assert client.set(key, "two", ttl=1000, cas_token=unique)
    assert not client.set(key, "three", ttl=1000, cas_token=unique)
    assert client.touch(key, ttl=50)
    assert client.delta_initialize_and_get(meta.Key("n"), delta=1, initial_value=10, initial_ttl=60)
    assert client.delta_and_get(meta.Key("n"), delta=5) == 15
    assert client.delta_and_get(meta.Key("n"), delta=-20) == 0
    lease = meta.LeasePolicy(ttl=30, miss_retries=1, miss_retry_wait=0.01)
    assert client.get_or_lease(meta.Key("lease"), lease_policy=lease) is None
    assert client.set(meta.Key("lease"), "made", ttl=60)
    assert client.get_or_lease(meta.Key("lease"), lease_policy=lease) == "made"
    stale = meta.StalePolicy(mark_stale_on_deletion_ttl=30)
    assert client.invalidate(key, stale_policy=stale)
    assert client.get(key) is None  # It won, and is to store.
    assert client.get(key) == "two"
    assert client.delete(other)
    assert client.get(other) is None
