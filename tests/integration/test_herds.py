"""A herd of clients asks all nodes for items that are to be made anew, while leaders die or stand
still: of each item, one client at most is told that it has won.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.processes import Cluster, running_cluster
from tests.support.wire import DEADLINE_S, Wire

KEYS = 48
ROUNDS = 2
"""First the items are not there, then they are stores that end soon, and stale ones."""
ASKERS_PER_NODE = 3
DEPTH = 4
"""Keys that an asker asks for at once."""
ASK = b"mg %b c N600 R500"
"""Wins an item that is not there, that ends within 500 seconds, or that is stale."""
LIVES_S = 400


class Asker(threading.Thread):
    """One client. It asks for each key once; when its node dies, it goes on at the next one, and
    asks again for what it had no answer to.
    """

    def __init__(self, herd: Herd, number: int) -> None:
        super().__init__(name=f"asker-{number}", daemon=True)
        self.herd = herd
        first = number % len(herd.ports)
        self.ports = herd.ports[first:] + herd.ports[:first]
        self.answers: dict[bytes, list[bytes]] = {}
        """The words of the answer to each key."""
        self.unheard: set[bytes] = set()
        """Keys that were asked for in vain: it may have won them and not know."""

    def run(self) -> None:
        left = list(self.herd.keys)
        while left:
            with self._connect() as wire:
                try:
                    while left:
                        self._ask(wire, left)
                except ConnectionError:
                    self.unheard.update(left[:DEPTH])

    def _ask(self, wire: Wire, left: list[bytes]) -> None:
        batch = left[:DEPTH]
        wire.send(b"".join(ASK % key + b"\r\n" for key in batch))
        for key in batch:
            words = wire.line().split()
            if words[0] == b"SERVER_ERROR":
                self.unheard.add(key)
            else:
                self.answers[key] = words
            left.remove(key)
            self.herd.answered()

    def _connect(self) -> Wire:
        deadline_s = time.monotonic() + DEADLINE_S
        while True:
            try:
                return Wire(self.ports[0])
            except OSError:
                assert time.monotonic() < deadline_s, "no node takes connections"
                self.ports = self.ports[1:] + self.ports[:1]
                time.sleep(0.02)


class Herd:
    """Askers at all nodes, and what they were told."""

    def __init__(self, ports: list[int], keys: list[bytes]) -> None:
        self.ports = ports
        self.keys = keys
        self._answers = 0
        self._progress = threading.Condition()
        self.askers = [Asker(self, number) for number in range(ASKERS_PER_NODE * len(ports))]

    def answered(self) -> None:
        with self._progress:
            self._answers += 1
            self._progress.notify_all()

    def wait_part(self, part: float) -> None:
        """Until so much of all answers has come."""
        goal = part * len(self.askers) * len(self.keys)
        with self._progress:
            assert self._progress.wait_for(lambda: self._answers >= goal, DEADLINE_S)

    def winners(self) -> dict[bytes, bytes]:
        """The keys that somebody knows to have won, and the uniques of the items. Fails if two have
        won one item, or nobody though all were answered.
        """
        found: dict[bytes, bytes] = {}
        for key in self.keys:
            answers = [(asker, asker.answers[key]) for asker in self.askers if key in asker.answers]
            told = {asker.name: words for asker, words in answers}
            uniques = {words[1] for _, words in answers}
            assert len(uniques) < 2, f"{key!r} is several items: {told}"
            won = [asker.name for asker, words in answers if b"W" in words]
            assert len(won) < 2, f"{key!r} has several winners: {told}"
            assert all(b"W" in words or b"Z" in words for _, words in answers), told
            if won:
                found[key] = uniques.pop()[1:]
            else:
                assert any(key in asker.unheard for asker in self.askers), f"none won: {told}"
        return found


@contextmanager
def herd_at_work(cluster: Cluster, keys: list[bytes]) -> Iterator[Herd]:
    herd = Herd([node.port for node in cluster], keys)
    for asker in herd.askers:
        asker.start()
    yield herd
    for asker in herd.askers:
        asker.join(DEADLINE_S)
        assert not asker.is_alive(), f"{asker.name} hangs"


def store_or_mark(wire: Wire, herd: Herd, seen: dict[bytes, set[bytes]]) -> None:
    """The winners store, so that there is another item of each key; where nobody knows that it has
    won, or one time in three, it is marked as stale instead.
    """
    winners = herd.winners()
    for number, key in enumerate(herd.keys):
        unique = winners.get(key)
        if unique is not None:
            assert unique not in seen[key], f"{key!r}, {unique!r} was won before"
            seen[key].add(unique)
        if unique is not None and number % 3:
            assert wire.ask(b"ms %b 3 C%b T%d\r\nnew" % (key, unique, LIVES_S)) == b"HD\r\n"
        else:
            reply = wire.ask(b"md %b I T%d" % (key, LIVES_S))
            assert reply == b"HD\r\n" or unique is None, (key, reply)


def fresh_keys() -> tuple[list[bytes], dict[bytes, set[bytes]]]:
    keys = [b"herd-%d" % number for number in range(KEYS)]
    return keys, {key: set() for key in keys}


@pytest.mark.parametrize("nodes", [1, 3, 5])
def test_one_winner_while_leaders_are_killed(tmp_path: Path, nodes: int) -> None:
    with running_cluster(tmp_path, nodes=nodes, shards=4) as cluster:
        keys, seen = fresh_keys()
        for _ in range(ROUNDS):
            victim = cluster[cluster.busiest()]
            with herd_at_work(cluster, keys) as herd:
                herd.wait_part(0.3)
                victim.kill()
                victim.start()
            with victim.wire() as wire:
                store_or_mark(wire, herd, seen)
            cluster.wait_led()


def test_one_winner_while_leaders_stand_still(tmp_path: Path) -> None:
    with running_cluster(tmp_path, shards=4) as cluster:
        keys, seen = fresh_keys()
        for _ in range(ROUNDS):
            name = cluster.busiest()
            with herd_at_work(cluster, keys) as herd:
                herd.wait_part(0.2)
                cluster[name].pause()
                try:
                    cluster.wait_led(without=name)
                finally:
                    cluster[name].resume()
            with cluster[name].wire() as wire:
                store_or_mark(wire, herd, seen)
