"""Clients of the binary protocol: what they say when they meet a node, which speaks text only."""

from __future__ import annotations

import pytest

from tests.conformance.test_client_node import run_script
from tests.support.clients import library
from tests.support.processes import Cluster

TEXT = "speaks memcached's text protocol only: switch binary off"


def test_python_binary_memcached_shows_the_reason(cluster: Cluster) -> None:
    bmemcached = library("bmemcached")
    client = bmemcached.Client([f"127.0.0.1:{cluster['a'].port}"])
    with pytest.raises(bmemcached.exceptions.MemcachedException, match=TEXT):
        client.get("k")
    assert client.set("k", "v") is False
    with pytest.raises(bmemcached.exceptions.MemcachedException, match=TEXT):
        client.incr("k", 1)
    client.disconnect_all()


def test_pylibmc_with_binary_true_raises(cluster: Cluster) -> None:
    """Once: libmemcached takes the answer to the first get of a connection for a miss."""
    pylibmc = library("pylibmc")
    client = pylibmc.Client([f"127.0.0.1:{cluster['a'].port}"], binary=True)
    with pytest.raises(pylibmc.Error):
        client.set("k", "v")
    with pytest.raises(pylibmc.Error):
        client.get("k")
    with pytest.raises(pylibmc.Error):
        client.delete("k")


def test_memjs_is_told_that_it_is_not_supported(cluster: Cluster) -> None:
    assert "refused MemJS GET: Not supported" in run_script(
        "memjs.js", f"127.0.0.1:{cluster['a'].port}"
    )
