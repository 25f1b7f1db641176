"""Gets at the start of what a client has sent, that the items alone answer."""

from typing import Any

from quorumcache.node.clients.pumps import FREE_BYTES, TURN_BYTES_MAX
from quorumcache.node.clients.routed_gets import answer_routed_gets
from tests.support.fake_server import Client, value_lines


def leading_client() -> Client:
    client = Client(high=1 << 40)
    client.lead_all()
    client.put(b"k", b"x")
    client.put(b"l", bytes(100_000))
    client.greet()
    return client


def answered(client: Client, data: bytes) -> int:
    sender: Any = client.transport
    return answer_routed_gets(client.connection.conversation, client.server.routes, sender, data)


def test_what_the_items_answer_is_answered_up_to_what_is_no_get() -> None:
    client = leading_client()
    gets = b"get k\r\nget none k\r\n"
    assert answered(client, gets + b"version\r\n") == len(gets)
    assert client.read() == value_lines(b"k") + b"END\r\n" + value_lines(b"k") + b"END\r\n"
    counters = client.server.counters
    assert (counters.cmd_get, counters.get_hits, counters.get_misses) == (3, 2, 1)
    assert answered(client, b"version\r\n") == 0


def test_it_stops_once_the_connection_is_spent() -> None:
    """A client of its own may be read for as long as it sends."""
    client = leading_client()
    line = b"get l\r\n"
    client.server.pumps.made(TURN_BYTES_MAX)
    assert answered(client, line * 20) == 2 * len(line), "what one call makes"
    assert client.connection.replies.gone_bytes >= FREE_BYTES


def test_keys_count_as_well_as_bytes() -> None:
    """A miss costs a look-up, and has the shortest of replies."""
    client = leading_client()
    before = client.connection.replies.gone_bytes
    answered(client, b"get none\r\n" * 100)
    assert client.connection.replies.gone_bytes - before > 100 * 200
