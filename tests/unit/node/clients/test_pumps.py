"""Connections that go on: all of a turn in one call of the loop, each of them once."""

from typing import Any

import pytest

from quorumcache.node.clients.pumps import Pumped, Pumps
from tests.support.fake_server import Client, FakeServer, set_line
from tests.support.manual_loop import ManualLoop


class Noted(Pumped):
    def __init__(self, name: str, noted: list[str]) -> None:
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
