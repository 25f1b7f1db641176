"""What a node counts of its memory, of all replicas together."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.node.admin import memory_use
from quorumcache.node.admin.memory_use import memory_of
from quorumcache.node.store.sessions import SESSION_BYTES
from tests.support.fake_node import FakeNode


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


def test_each_part_is_the_sum_over_all_replicas(
    node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_use, "slab_free_bytes", lambda: 77)
    first, second = node.store(0), node.store(1)
    first.put(b"a", b"value")
    second.put(b"b", b"another value")
    first.sessions.open(1, 1000)
    second.sessions.open(1, 1000)
    second.sessions.open(2, 1000)
    found = memory_of(node)
    assert found.items == first.bytes_used + second.bytes_used
    assert found.tables == 2 * 1000, "the fake store's"
    assert found.index == first.items.memory_bytes + second.items.memory_bytes > 0
    assert found.sessions == 3 * SESSION_BYTES
    assert found.retired == 0
    assert found.free == 77


def test_items_that_are_gone_count_apart(node: FakeNode) -> None:
    store: Any = node.store(0)
    store.items = Retired()
    assert memory_of(node).retired == 500


def test_the_log_is_that_of_all_groups_and_of_the_directory(node: FakeNode) -> None:
    logs: list[Any] = [group.log for group in node.host.groups.values()]
    assert memory_of(node).log == 100 * len(logs) == 300
    logs[0].log_bytes = 1000
    assert memory_of(node).log == 1200


class Retired:
    """A table that keeps what has gone."""

    memory_bytes = 0
    retired_bytes = 500

    def __len__(self) -> int:
        return 0
