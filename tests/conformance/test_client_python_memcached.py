"""python-memcached: the oldest client, which spreads keys and takes replies line by line."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.clients import library
from tests.support.processes import Cluster
from tests.support.wire import DEADLINE_S

memcache = library("memcache")


def connect(cluster: Cluster, **options: Any) -> Any:
    servers = [f"127.0.0.1:{node.port}" for node in cluster]
    return memcache.Client(servers, socket_timeout=DEADLINE_S, **options)


def test_every_command(empty_cluster: Cluster) -> None:
    client = connect(empty_cluster, cache_cas=True)
    assert client.get("k") is None
    assert client.set("k", "schön")
    assert client.get("k") == "schön"
    assert client.add("k", "x") == 0
    assert client.add("new", "x")
    assert client.replace("k", "one")
    assert client.replace("absent", "x") == 0
    assert client.append("k", "-after")
    assert client.prepend("k", "before-")
    assert client.get("k") == "before-one-after"
    assert client.gets("k") == "before-one-after"
    assert client.cas("k", "two")
    assert not client.cas("k", "three")  # It keeps the CAS unique of its `gets`.
    assert client.gets("k") == "two"
    client.set("n", "10")
    assert client.incr("n", 5) == 15
    assert client.decr("n", 20) == 0
    assert client.incr("absent") is None
    assert client.touch("n", 100)
    assert client.delete("n")
    assert client.get("n") is None
    client.flush_all()
    assert client.get("k") is None
    client.disconnect_all()


def test_many_keys_and_values_of_any_type(empty_cluster: Cluster) -> None:
    client = connect(empty_cluster)
    values: dict[str, object] = {f"key-{n}": n for n in range(300)}
    values |= {"bytes": bytes(range(256)), "text": "äöü", "dict": {"a": [1, None]}, "true": True}
    assert client.set_multi(values, time=1000, min_compress_len=100) == []
    assert client.get_multi([*values, "absent"]) == values
    assert client.set_multi({"1": "x"}, key_prefix="pre-") == []
    assert client.get_multi(["1"], key_prefix="pre-") == {"1": "x"}
    assert client.delete_multi(list(values))
    assert client.get_multi(list(values)) == {}
    client.disconnect_all()


def test_large_and_compressed_values(empty_cluster: Cluster) -> None:
    client = connect(empty_cluster, server_max_value_length=2 << 20)
    largest = b"x" * ((1 << 20) - 1024)
    assert client.set("large", largest)
    assert client.get("large") == largest
    assert client.set("large", b"x" * ((1 << 20) + 1024)) == 0  # The server refuses it.
    assert client.get("large") is None
    assert client.set("large", b"x" * (8 << 20), min_compress_len=1)
    assert client.get("large") == b"x" * (8 << 20)
    client.disconnect_all()


def test_noreply(empty_cluster: Cluster) -> None:
    client = connect(empty_cluster)
    for number in range(100):
        client.set("quiet", str(number), noreply=True)
        client.incr("quiet", 1, noreply=True)
    assert client.get("quiet") == "100"
    client.delete("quiet", noreply=True)
    assert client.get("quiet") is None
    client.disconnect_all()


def test_statistics(empty_cluster: Cluster) -> None:
    client = connect(empty_cluster)
    client.set("k", "v")
    stats = client.get_stats()
    assert len(stats) == 3
    for _, found in stats:
        assert int(found["pid"]) > 0
        assert int(found["curr_connections"]) >= 1
    assert len(client.get_stats("settings")) == 3
    client.get_slab_stats()
    client.disconnect_all()


def test_keys_that_it_refuses_itself(empty_cluster: Cluster) -> None:
    client = connect(empty_cluster)
    with pytest.raises(memcache.Client.MemcachedKeyLengthError):
        client.set("k" * 251, "x")
    assert client.set("k" * 250, "x")
    assert client.get("k" * 250) == "x"
    client.disconnect_all()
