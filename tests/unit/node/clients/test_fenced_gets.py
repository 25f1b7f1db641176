"""get and gets behind a fence: what they show, and what they leave alone."""

import pytest

from quorumcache.node.clients.fenced_gets import PLAIN_GET_ARGS
from quorumcache.node.operations.failure import Failure
from quorumcache.node.store.commands import OP_META_GET
from quorumcache.node.store.item import ENDS, STALE, WON, pack_header
from quorumcache.node.store.meta_effects import meta_get
from quorumcache.node.store.results import META_HIT, NOT_FOUND
from quorumcache.node.store.state import ShardState
from tests.support.fake_server import Client, item, value_lines
from tests.support.item_tables import item_of

FENCE = b"cluster fence lock 8\r\n"


@pytest.mark.parametrize("with_cas", [True, False])
def test_a_hit_is_shown_as_a_get_shows_it(with_cas: bool) -> None:
    client = Client()
    found = item()
    client.send(FENCE + (b"gets k\r\n" if with_cas else b"get k\r\n"))
    client.coordinator.take().end((META_HIT, bytes(8) + found))
    client.turn()
    lines = value_lines(b"k")
    if with_cas:
        lines = lines.replace(b"1\r\n", b"1 7\r\n", 1)
    assert client.read() == lines + b"END\r\n"
    assert (client.server.counters.cmd_get, client.server.counters.get_hits) == (1, 1)


def test_a_miss_and_a_failure() -> None:
    client = Client()
    client.send(FENCE + b"get k\r\n")
    client.coordinator.take().end(NOT_FOUND)
    client.send(FENCE + b"get k\r\n")
    client.coordinator.take().end(Failure("why", outcome_known=False))
    client.turn()
    assert client.read() == b"END\r\nSERVER_ERROR outcome unknown: why\r\n"
    assert client.server.counters.get_misses == 1


def test_a_client_that_routes_by_itself_is_sent_to_the_leader_of_the_key() -> None:
    client = Client()
    client.send(b"cluster redirect on\r\n" + FENCE + b"get k\r\n")
    assert not client.coordinator.started
    assert client.read().startswith(b"OK\r\nMOVED ")


def test_a_stale_item_keeps_its_win_for_those_who_ask_for_it() -> None:
    state = ShardState()
    unique = 7
    data = b" 0 1\r\nx\r\n"
    state.put(b"k", pack_header(STALE, 0, unique) + data)
    result = meta_get(state, (0, 0, 0, OP_META_GET, b"k", *PLAIN_GET_ARGS), 1000)
    assert result[0] == META_HIT  # type: ignore[index]
    assert item_of(state.items, b"k")[0] & (STALE | WON | ENDS) == STALE
