"""What servers tell of their memory: ours all parts of it, memcached two."""

from __future__ import annotations

from types import TracebackType
from typing import Self

import pytest

from quorumcache.bench import memory_parts
from quorumcache.bench.addresses import Address
from quorumcache.bench.memory_parts import Parts, parts_of

CLUSTER = b"""STAT cluster:name quorumcache
STAT memory:limit 1073741824
STAT memory:used 2000
STAT memory:items 1500
STAT memory:index 300
STAT memory:sessions 90
STAT memory:retired 7
STAT memory:free 40
STAT memory:log 600
STAT node:a:up yes"""
PLAIN = b"""STAT version 1.6.18
STAT rusage_user 0.5
STAT hash_bytes 524288
STAT bytes 1730
STAT curr_items 10"""


class Server:
    """Stands in for a connection. `is_ours`: it has a map."""

    def __init__(self, is_ours: bool) -> None:
        self.is_ours = is_ours

    def __call__(self, address: Address) -> Self:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def cluster_map(self) -> object:
        return self if self.is_ours else None

    def lines(self, command: bytes) -> list[bytes]:
        return {b"stats cluster": CLUSTER, b"stats": PLAIN}[command].split(b"\n")


def test_a_node_tells_all_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_parts, "TextClient", Server(is_ours=True))
    assert parts_of(("127.0.0.1", 1)) == Parts(
        items=1500, index=300, sessions=90, tables=110, free=47, log=600
    )


def test_a_memcached_tells_its_items_and_its_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_parts, "TextClient", Server(is_ours=False))
    assert parts_of(("127.0.0.1", 1)) == Parts(items=1730, index=524288)


def test_parts_grow_each_for_itself() -> None:
    now, before = Parts(100, 20, 3, 4, 5, 60), Parts(10, 20, 1, 0, 6, 10)
    assert now.since(before) == Parts(90, 0, 2, 4, -1, 50)
