"""Goal: what is asked of a cluster is asked once and rightly, and a refusal is said.

Changes of a real cluster: tests/integration/test_elastic.py and test_moving.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.bench.changes import (
    ITEM_BYTES,
    change,
    count_missing,
    fill,
    is_whole_without,
    item,
    moves_of,
    wait_until_joined,
)
from quorumcache.bench.cluster import LocalNode
from quorumcache.bench.errors import StartError, TargetError
from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.secret import CLIENT, Secret
from tests.support.tiny_memcached import TinyMemcached

SECRET = "a secret of a test"
NONCE = "00ff"
NODES = tuple(NodeInfo(n, f"n{n}", f"h:{n}", f"h:{n + 10}", "", "", 1.0) for n in (1, 2, 3, 4))


def test_items_that_are_gone_or_wrong_are_missing() -> None:
    with TinyMemcached() as server:
        fill(server.address, 2001)
        assert len(server.items) == 2001
        assert {len(value) for value in server.items.values()} == {ITEM_BYTES}
        assert count_missing(server.address, 2001) == 0
        del server.items[b"item:2000"]
        server.items[b"item:7"] = item(8)[1]
        assert count_missing(server.address, 2001) == 2


def test_an_item_that_is_refused_is_named() -> None:
    why = pytest.raises(TargetError, match="set item:0: SERVER_ERROR full")
    with TinyMemcached(lambda line: b"SERVER_ERROR full\r\n") as server, why:
        fill(server.address, 3)


class Asked:
    """A node that has the secret, and what it was asked."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.lines: list[bytes] = []

    def __call__(self, line: bytes) -> bytes:
        self.lines.append(line)
        if line == b"cluster auth":
            return b"AUTH %b /some path/cluster.secret\r\n" % NONCE.encode()
        if line.startswith(b"cluster auth "):
            proof = Secret(SECRET).proof(CLIENT, bytes.fromhex(NONCE)).hex().encode()
            return b"OK\r\n" if line.split()[2] == proof else b"CLIENT_ERROR wrong proof\r\n"
        return self.answer


@pytest.mark.parametrize(
    ("secret", "answer", "why"),
    [
        (SECRET, b"CHANGE 2\r\n{}\r\n", ""),
        (SECRET, b"CLIENT_ERROR refused: no node b\r\n", "drain b: CLIENT_ERROR refused"),
        (SECRET + "!", b"CHANGE 2\r\n{}\r\n", "cluster auth: CLIENT_ERROR wrong proof"),
    ],
)
def test_a_change_is_asked_for_with_a_proof(
    tmp_path: Path, secret: str, answer: bytes, why: str
) -> None:
    path = tmp_path / "cluster.secret"
    path.write_text(secret + "\n")
    asked = Asked(answer)
    with TinyMemcached(asked) as server:
        node = LocalNode("a", [], tmp_path / "log", server.address[1])
        if why:
            with pytest.raises(TargetError, match=why):
                change(node, path, "drain", "b")
        else:
            change(node, path, "drain", "b")
            assert asked.lines[-1] == b"cluster change drain b"


def test_a_secret_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    node = LocalNode("a", [], tmp_path / "log", 1)
    with pytest.raises(TargetError, match=r"cluster\.secret: No such file"):
        change(node, tmp_path / "cluster.secret", "drain", "b")


def test_moves_are_read() -> None:
    with TinyMemcached(lambda line: b'MOVES 12\r\n{"moves":[]}\r\n') as server:
        assert moves_of(server.address) == {"moves": []}


def moves_reply(
    nodes: Sequence[tuple[str, str, bool]], moves: Sequence[tuple[int, str]] = ()
) -> bytes:
    found = {
        "nodes": [{"name": n, "state": state, "heard": heard} for n, state, heard in nodes],
        "moves": [{"group": group, "state": state} for group, state in moves],
    }
    data = json.dumps(found).encode()
    return b"MOVES %d\r\n%b\r\n" % (len(data), data)


def test_a_join_that_takes_too_long_tells_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quorumcache.bench.changes.MOVE_SECONDS", 0.1)
    a = ("a", "active", True)
    replies = {
        "the join of d took more than 0.1 s (node d is no member)": moves_reply([a]),
        "(node d is joining, node d is not heard)": moves_reply([a, ("d", "joining", False)]),
        "(group 3 is copying, group 0 is waiting)": moves_reply(
            [a, ("d", "active", True)], [(3, "copying"), (0, "waiting")]
        ),
    }
    for why, reply in replies.items():
        with TinyMemcached(lambda line, reply=reply: reply) as server:  # type: ignore[misc]
            cluster: Any = SimpleNamespace(
                nodes=[LocalNode("a", [], tmp_path / "log", server.address[1])]
            )
            with pytest.raises(StartError, match=re.escape(why)):
                wait_until_joined(cluster, ["d"])


def test_a_join_is_complete_when_the_node_is_active_and_nothing_moves(tmp_path: Path) -> None:
    reply = moves_reply([("a", "active", True), ("b", "down", False), ("d", "active", True)])
    with TinyMemcached(lambda line: reply) as server:
        node = LocalNode("a", [], tmp_path / "log", server.address[1])
        cluster: Any = SimpleNamespace(nodes=[node])
        wait_until_joined(cluster, ["d"])


@pytest.mark.parametrize(
    ("replicas", "name", "is_whole"),
    [
        ((1, 3, 4), "n2", True),
        ((1, 2, 3), "n2", False),  # Still counted on.
        ((1, 3), "n2", False),  # Not yet rebuilt.
        ((1, 2, 3), "gone", True),  # It is not in the map any more.
    ],
)
def test_a_cluster_is_whole_when_nothing_counts_on_the_dead_and_nothing_lacks(
    replicas: tuple[int, ...], name: str, is_whole: bool
) -> None:
    made = ClusterMap(1, "test", 1, 3, NODES, (replicas,)).to_bytes()
    reply = b"MAP 1 %d\r\n%b\r\n" % (len(made), made)
    answers = {b"cluster map": reply}
    with TinyMemcached(answers.get) as server:
        assert is_whole_without(server.address, name) == is_whole


def test_what_has_no_map_is_not_whole() -> None:
    with TinyMemcached() as server:
        assert not is_whole_without(server.address, "n2")
