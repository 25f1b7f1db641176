"""Connections that go on: all of a turn in one call of the loop, each of them once."""

from typing import Any

import pytest

from quorumcache.node.clients.get_routes import REPLIES_BYTES_MAX
from quorumcache.node.clients.pumps import READ_BYTES_MIN, TURN_BYTES_MAX, Pumped, Pumps
from quorumcache.node.clients.replies import WRITE_CHUNK_BYTES
from quorumcache.node.store.results import STORED
from tests.support.fake_server import Client, FakeServer, item, set_line
from tests.support.manual_loop import ManualLoop


class Noted(Pumped):
    def __init__(self, name: str, noted: list[str]) -> None:
        super().__init__()
        self.name = name
        self.noted = noted

    def pump(self) -> None:
        self.noted.append(self.name)
        if self.name == "bad":
            raise ValueError("a bug")


def make() -> tuple[Pumps, ManualLoop]:
    manual = ManualLoop()
    loop: Any = manual
    return Pumps(loop), manual


def test_all_that_ask_in_a_turn_are_pumped_in_one_call_in_their_order() -> None:
    pumps, loop = make()
    noted: list[str] = []
    for name in "abc":
        pumps.add(Noted(name, noted))
    assert noted == []
    assert loop.run() == 1
    assert noted == ["a", "b", "c"]
    assert loop.run() == 0
    pumps.add(Noted("d", noted))
    assert loop.run() == 1
    assert noted == ["a", "b", "c", "d"]


def test_who_asks_while_others_are_pumped_waits_for_the_next_turn() -> None:
    """Or one that always has more to do would keep the loop for itself."""
    pumps, loop = make()
    noted: list[str] = []

    class Again(Noted):
        def pump(self) -> None:
            super().pump()
            pumps.add(self)

    pumps.add(Again("a", noted))
    pumps.add(Noted("b", noted))
    loop.run(steps_max=1)
    assert noted == ["a", "b"]
    loop.run(steps_max=1)
    assert noted == ["a", "b", "a"]


def test_a_failure_of_one_is_told_and_keeps_no_other_back() -> None:
    pumps, loop = make()
    noted: list[str] = []
    for name in ("a", "bad", "b", "c"):
        pumps.add(Noted(name, noted))
    with pytest.raises(ValueError, match="a bug"):
        loop.run()
    loop.run()
    assert noted == ["a", "bad", "b", "c"]


def test_replies_of_many_clients_leave_in_one_call_each_with_one_write() -> None:
    server = FakeServer()
    clients = [Client(server=server) for _ in range(3)]
    for client in clients:
        client.send(set_line(b"a") + set_line(b"b") + set_line(b"c"))
    written: list[bytes] = []
    for client in clients:
        client.transport.write = written.append  # type: ignore[method-assign, assignment]
    clients[0].coordinator.end_all()
    loop: Any = server.loop
    assert loop.run() == 1
    assert written == [b"STORED\r\n" * 3] * 3


def test_those_that_have_spent_a_turn_go_on_in_their_order_and_hold_up_nobody_else() -> None:
    pumps, loop = make()
    noted: list[str] = []

    class Greedy(Noted):
        def pump(self) -> None:
            super().pump()
            pumps.made(TURN_BYTES_MAX)
            pumps.wait(self)

    for name in "abc":
        pumps.wait(Greedy(name, noted))
    for turn, first in enumerate("abcabc"):
        pumps.add(Noted(f"small-{turn}", noted))
        loop.run(steps_max=1)
        assert noted == [first, f"small-{turn}"]
        assert pumps.is_spent, "what comes before the next call has to know it"
        noted.clear()


def test_what_waits_twice_goes_on_once() -> None:
    pumps, loop = make()
    noted: list[str] = []
    one = Noted("a", noted)
    pumps.wait(one)
    pumps.wait(one)
    loop.run()
    assert noted == ["a"]


def test_a_spent_turn_ends_though_nobody_waits() -> None:
    """Or all would have to take the long way for ever."""
    pumps, loop = make()
    pumps.made(TURN_BYTES_MAX - 1)
    assert not pumps.is_spent
    assert loop.run() == 0
    pumps.made(1)
    assert pumps.is_spent
    assert loop.run() == 1
    assert not pumps.is_spent
    pumps.made(TURN_BYTES_MAX - 1)
    assert not pumps.is_spent


def test_a_failure_of_one_that_waits_keeps_no_other_back() -> None:
    pumps, loop = make()
    noted: list[str] = []
    pumps.wait(Noted("bad", noted))
    pumps.wait(Noted("a", noted))
    pumps.add(Noted("b", noted))
    with pytest.raises(ValueError, match="a bug"):
        loop.run()
    loop.run()
    assert noted == ["bad", "a", "b"]


class Crowd:
    """Clients that ask for much at the same time, and take whatever comes at once."""

    def __init__(self, count: int, value: bytes, request: bytes) -> None:
        self.server = FakeServer()
        self.clients = [Client(server=self.server, high=1 << 40) for _ in range(count)]
        self.clients[0].lead_all()
        for key in (b"k", b"l"):
            self.clients[0].put(key, value)
        # What is not answered on the spot.
        self.clients[0].coordinator.answer = lambda read: [item(value)] * len(read.keys)
        for client in self.clients:
            client.greet()
        self.taken = [0] * count
        for client in self.clients:
            client.connection.data_received(request)

    def turn(self) -> int:
        """What they were given in a turn of the loop; in the first one, for what they sent."""
        given = [len(client.transport.drain()) for client in self.clients]
        self.taken = [had + got for had, got in zip(self.taken, given, strict=True)]
        loop: Any = self.server.loop
        loop.run(steps_max=1)
        return sum(given)


@pytest.mark.parametrize("value_bytes", [1_000, 50_000, 300_000])
@pytest.mark.parametrize(
    "line",
    [
        b"get k\r\n",
        b"gets k\r\n",
        b"get k l\r\n",
        b"mg k v\r\n",
        b"mg k v s\r\n",
        b"touch\r\nget k\r\n",
    ],
    ids=["get", "gets", "many", "mg", "mg-flags", "among-others"],
)
def test_many_who_ask_for_much_are_given_it_in_shares(line: bytes, value_bytes: int) -> None:
    """However many they are, a turn makes its bytes and a little for each; and all are answered."""
    lines = 2_000_000 // value_bytes
    crowd = Crowd(12, bytes(value_bytes), line * lines)
    wanted = lines * value_bytes * (2 if b" l" in line else 1)
    most = turns = 0
    while min(crowd.taken) < wanted:
        most = max(most, crowd.turn())
        turns += 1
        assert turns < 100, "they wait for ever"
    # What is made of one read, or by one line, before it is looked at whether all is spent.
    once = WRITE_CHUNK_BYTES + 2 * (value_bytes + 100)
    assert most <= TURN_BYTES_MAX + len(crowd.clients) * once
    assert turns > 2


def test_a_window_of_many_keys_waits_for_its_share() -> None:
    request = b"get " + b"k l " * 150 + b"\r\n"
    crowd = Crowd(12, bytes(20_000), request)
    most = 0
    for _ in range(60):
        most = max(most, crowd.turn())
    assert min(crowd.taken) > 300 * 20_000
    assert most <= TURN_BYTES_MAX + 2 * 64 * 20_100


def test_who_asks_for_little_is_answered_at_once_while_others_have_spent_the_turn() -> None:
    crowd = Crowd(12, bytes(50_000), b"get k\r\n" * 100)
    other = Client(server=crowd.server)
    crowd.server.pumps.made(TURN_BYTES_MAX)
    other.connection.data_received(b"get none\r\nversion\r\nget none\r\n")
    assert other.transport.drain() == b"END\r\nVERSION 1\r\nEND\r\n"
    assert other.transport.is_reading


def test_a_large_value_is_not_copied_on_its_way() -> None:
    crowd = Crowd(1, bytes(REPLIES_BYTES_MAX), b"version\r\n")
    (client,) = crowd.clients
    written: list[type] = []
    client.transport.write = lambda data: written.append(type(data))  # type: ignore[method-assign, assignment]
    for line in (b"get k\r\n", b"gets k\r\n", b"get k l k l\r\n"):
        client.send(line)
        assert written.count(memoryview) == line.count(b"k") + line.count(b"l"), line
        written.clear()


def test_what_ends_its_backlog_and_the_turns_share_is_read_again() -> None:
    """Nothing waits then but its socket."""
    server = FakeServer()
    client = Client(server=server, high=1 << 40)
    client.lead_all()
    client.put(b"k", bytes(50_000))
    client.greet()

    class Other(Pumped):
        def pump(self) -> None:
            server.pumps.made(TURN_BYTES_MAX - 60_000)

    server.pumps.made(TURN_BYTES_MAX)
    server.pumps.wait(Other())
    client.connection.data_received(b"touch\r\n" + b"get k\r\n" * 4)
    assert client.transport.drain().count(b"VALUE") == 2
    loop: Any = server.loop
    loop.run(steps_max=1)
    assert client.transport.drain().count(b"VALUE") == 2
    assert server.pumps.is_spent
    assert not client.transport.is_reading
    loop.run()
    assert client.transport.is_reading


@pytest.mark.parametrize(
    "line",
    [
        b"version\r\n",
        b"mn\r\n",
        b"nonsense\r\n",
        b"get none\r\n",
        b"mg none\r\n",
        b"stats\r\n",
        set_line(b"k", noreply=True),
    ],
)
def test_many_requests_of_many_clients_are_begun_in_shares(line: bytes) -> None:
    """Each is short, and together they would take the loop for seconds."""
    server = FakeServer()
    clients = [Client(server=server, high=1 << 40) for _ in range(40)]
    clients[0].lead_all()
    clients[0].coordinator.answer = lambda operation: STORED if operation.is_write else None
    for client in clients:
        client.greet()
    lines = 60_000 // len(line)
    begun = []
    for client in clients:
        client.connection.data_received(line * lines)
        begun.append(client.connection.replies.gone_bytes)
    late = [client for client in clients if not client.transport.is_reading]
    assert len(late) > len(clients) // 2, "those that came when all was spent"
    assert sum(begun) < 2 * TURN_BYTES_MAX
    loop: Any = server.loop
    turns = loop.run()
    assert turns > 3
    assert all(client.transport.is_reading for client in clients)
    replies = [client.transport.drain() for client in clients]
    assert len(set(replies)) == 1, "all were answered alike"
    assert server.counters.reads_paused >= len(late)


def test_what_was_put_off_is_begun_in_its_order_and_before_the_end_of_its_client() -> None:
    server = FakeServer()
    client = Client(server=server)
    client.greet()
    long = b"x" * 300 + b"\r\n"
    server.pumps.made(TURN_BYTES_MAX)
    client.connection.data_received(long * 4 + b"version\r\n")
    assert client.transport.drain() == b""
    assert not client.transport.is_reading
    client.connection.eof_received()
    assert client.read() == b"ERROR\r\n" * 4 + b"VERSION 1\r\n"
    client.turn()
    assert client.transport.closed


def test_what_was_put_off_of_a_client_that_is_gone_or_closed_is_not_begun() -> None:
    for ends in ("connection_lost", "finish"):
        server = FakeServer()
        client = Client(server=server)
        client.greet()
        server.pumps.made(TURN_BYTES_MAX)
        client.connection.data_received(set_line(b"k", bytes(2_000)))
        if ends == "finish":
            client.connection.finish()
        else:
            client.connection.connection_lost(None)
        client.turn()
        assert not client.coordinator.started


def test_short_reads_are_not_put_off() -> None:
    server = FakeServer()
    client = Client(server=server)
    client.greet()
    server.pumps.made(TURN_BYTES_MAX)
    client.connection.data_received(set_line(b"k"))
    assert len(client.coordinator.started) == 1


def test_nothing_overtakes_what_was_put_off() -> None:
    """A loop may hand over one more read after it was told to stop."""
    server = FakeServer()
    client = Client(server=server)
    client.lead_all()
    client.greet()
    server.pumps.made(TURN_BYTES_MAX)
    client.connection.data_received(set_line(b"first", b"x" * READ_BYTES_MIN))
    client.connection.data_received(set_line(b"second"))
    assert not client.coordinator.started
    loop: Any = server.loop
    loop.run()
    assert [operation.keys for operation in client.coordinator.started] == [
        (b"first",),
        (b"second",),
    ]
