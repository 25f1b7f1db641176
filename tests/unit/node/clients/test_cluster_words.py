"""The words of `cluster`, against a node that is only what they look at."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.clients.cluster_words import NO_MAP, READ_USAGE, USAGE, ClusterWords
from quorumcache.node.clients.context import ClientSettings
from quorumcache.node.operations.read_levels import ANY_STALENESS_NS, LINEARIZABLE_NS
from quorumcache.ring import ClusterMap, NodeInfo, place

NODES = tuple(
    NodeInfo(n, f"n{n}", f"h{n}:1", f"h{n}:2", "" if n == 2 else f"h{n}:3", "east", 1.5)
    for n in (1, 2, 3)
)
MAP = ClusterMap(
    epoch=7,
    cluster_id="c",
    shard_count=2,
    replication=3,
    nodes=NODES,
    replica_sets=tuple(tuple(r) for r in place(NODES, 2, 3)),
)


class FakeNode:
    """What the words look at. Group 1 is replicated here, group 2 is not."""

    def __init__(self, cluster_map: ClusterMap | None = MAP) -> None:
        self.map = cluster_map
        self.node_id = 1
        self.leaders = {1: 1, 2: 3}

    def peers_up(self) -> dict[int, bool]:
        return {2: True, 3: False}

    def client_address_of(self, node_id: int) -> str:
        return f"h{node_id}:2"


def words_of(node: FakeNode, health: tuple[list[str], list[str]] = ([], [])) -> ClusterWords:
    groups: Any = {1: SimpleNamespace(term=4)}
    return ClusterWords(
        node,
        shards=2,
        groups=groups,
        leader_node=node.leaders.__getitem__,
        health=lambda: health,
    )


def ask(
    *words: bytes, node: FakeNode | None = None, settings: ClientSettings | None = None
) -> bytes:
    return words_of(node or FakeNode()).reply(settings or ClientSettings(), words)


def test_the_map_is_sent_unless_it_is_known() -> None:
    data = MAP.to_bytes()
    whole = b"MAP 7 %d\r\n%b\r\n" % (len(data), data)
    assert ask(b"map") == whole
    assert ask(b"map", b"6") == whole
    assert ask(b"map", b"7") == b"MAP 7 unchanged\r\n"


def test_a_client_that_names_no_form_gets_a_map_of_form_1() -> None:
    """One of the release before form 2 goes on to find its way."""
    node = FakeNode(replace(MAP, form=2, directory=(1, 2, 3), next_node_id=4))
    settings = ClientSettings()

    def form() -> int:
        reply = ask(b"map", node=node, settings=settings)
        return ClusterMap.from_bytes(reply.partition(b"\r\n")[2][:-2]).form

    assert form() == 1
    assert ask(b"form", b"3", settings=settings) == b"OK\r\n"
    assert form() == 2
    assert ask(b"form", b"1", settings=settings) == b"OK\r\n"
    assert form() == 1


@pytest.mark.parametrize("form", [b"0", b"-1", b"x", b"99999", b""])
def test_a_form_that_is_none_changes_nothing(form: bytes) -> None:
    settings = ClientSettings()
    assert ask(b"form", form, settings=settings) == USAGE
    assert ask(b"form", settings=settings) == USAGE
    assert settings.form == 1


@pytest.mark.parametrize("word", [b"map", b"leaders", b"nodes"])
def test_before_there_is_a_map(word: bytes) -> None:
    node = FakeNode(None)
    assert ask(word, node=node) == NO_MAP == b"SERVER_ERROR not done: no cluster map yet\r\n"


def test_redirect_is_a_state_of_the_connection() -> None:
    settings = ClientSettings()
    assert not settings.redirect
    assert ask(b"redirect", b"on", settings=settings) == b"OK\r\n"
    assert settings.redirect
    assert ask(b"redirect", b"off", settings=settings) == b"OK\r\n"
    assert not settings.redirect


def test_the_read_level_is_a_state_of_the_connection() -> None:
    settings = ClientSettings()
    assert settings.staleness_ns == LINEARIZABLE_NS
    for words, staleness_ns in (
        ((b"bounded", b"500"), 500_000_000),
        ((b"local",), ANY_STALENESS_NS),
        ((b"bounded", b"86400000"), 86_400_000_000_000),
        ((b"linearizable",), LINEARIZABLE_NS),
    ):
        assert ask(b"read", *words, settings=settings) == b"OK\r\n"
        assert settings.staleness_ns == staleness_ns


@pytest.mark.parametrize(
    "words",
    [
        (),
        (b"bounded",),
        (b"bounded", b"0"),
        (b"bounded", b"-1"),
        (b"bounded", b"1.5"),
        (b"bounded", b"86400001"),
        (b"bounded", b"9" * 30),
        (b"bounded", b"5", b"5"),
        (b"local", b"5"),
        (b"Local",),
    ],
)
def test_a_level_that_is_none_changes_nothing(words: tuple[bytes, ...]) -> None:
    settings = ClientSettings()
    settings.staleness_ns = 7
    assert ask(b"read", *words, settings=settings) == READ_USAGE
    assert settings.staleness_ns == 7


def test_leaders_of_all_shards_with_the_terms_known_here() -> None:
    assert ask(b"leaders") == b"LEADER 0 4 1\r\nLEADER 1 0 3\r\nEND\r\n"


def test_health_in_lines() -> None:
    settings = ClientSettings()
    assert ask(b"health") == b"HEALTH ok\r\nEND\r\n"
    warned = words_of(FakeNode(), ([], ["node c: no connection to it"]))
    assert warned.reply(settings, (b"health",)) == (
        b"HEALTH ok\r\nWARNING node c: no connection to it\r\nEND\r\n"
    )
    ill = words_of(FakeNode(), (["shard 0: no leader\n known"], ["node c: no connection to it"]))
    assert ill.reply(settings, (b"health",)) == (
        b"HEALTH unavailable\r\n"
        b"PROBLEM shard 0: no leader known\r\n"
        b"WARNING node c: no connection to it\r\n"
        b"END\r\n"
    )


def test_a_session_is_refused_in_a_shard_that_is_not() -> None:
    assert ask(b"session") == b"OK\r\n"
    refusal = b"CLIENT_ERROR no such shard: it must be 0 to 1\r\n"
    assert ask(b"session", b"open", b"2") == refusal


def test_nodes_as_seen_from_here() -> None:
    assert ask(b"nodes") == (
        b"NODE 1 n1 h1:1 h1:2 h1:3 east 1.5 up\r\n"
        b"NODE 2 n2 h2:1 h2:2 - east 1.5 up\r\n"
        b"NODE 3 n3 h3:1 h3:2 h3:3 east 1.5 down\r\n"
        b"END\r\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        (),
        (b"mop",),
        (b"map", b"-1"),
        (b"map", b"9" * 20),
        (b"map", b"\xb2"),
        (b"map", b"1", b"2"),
        (b"redirect",),
        (b"redirect", b"ON"),
        (b"leaders", b"1"),
    ],
)
def test_anything_else_is_answered_with_the_usage(words: tuple[bytes, ...]) -> None:
    assert ask(*words) == USAGE


def test_moved_names_the_leader_and_never_this_node() -> None:
    node = FakeNode()
    words = words_of(node)
    assert words.moved_line(2) == b"MOVED 7 1 3 h3:2\r\n"
    assert words.moved_line(1) == b"MOVED 7 0 0 -\r\n"
    node.map = None
    node.leaders[2] = 0
    assert words.moved_line(2) == b"MOVED 0 1 0 -\r\n"
