"""Meta commands that clients have numbered (`cluster once`) run once, through whatever nodes they
are repeated and whichever of these die meanwhile, and are answered as the first time.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from quorumcache.ring import shard_of
from tests.support.load import in_threads
from tests.support.processes import Cluster, NodeProcess, running_cluster
from tests.support.wire import DEADLINE_S

CLIENTS = 6
SHARDS = 4
ROUNDS = 20


class Client:
    """Numbered writes of one client, and the answers to them."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self.name = b"%d" % number
        self.lines: list[bytes] = []
        self.answers: list[bytes] = []
        """The first answers: to all lines, or to those before the one at which a node died."""
        self._sequences = [0] * SHARDS
        with cluster["a"].wire() as wire:
            self._sessions = [
                wire.ask(b"cluster session open %d" % shard).split()[2] for shard in range(SHARDS)
            ]

    def number(self, key: bytes, line: bytes) -> None:
        """Add a write of this key."""
        shard = shard_of(key, SHARDS)
        self._sequences[shard] += 1
        once = b"cluster once %b %d 1" % (self._sessions[shard], self._sequences[shard])
        self.lines.append(b"%b\r\n%b\r\n" % (once, line % key))

    def ask_all(self, node: NodeProcess, answered: threading.Semaphore | None = None) -> None:
        """Send all lines. First answers are kept, later ones have to be the same.

        `answered` hears of each answer. Ends early if the connection does.
        """
        try:
            with node.wire() as wire:
                wire.send(b"".join(self.lines))
                for place, line in enumerate(self.lines):
                    answer = wire.line()
                    assert not answer.startswith(b"SERVER_ERROR"), (line, answer)
                    if place == len(self.answers):
                        self.answers.append(answer)
                    told = f"{line!r}: first {self.answers[place]!r}, now {answer!r}"
                    assert self.answers[place] == answer, told
                    if answered is not None:
                        answered.release()
        except ConnectionError:
            assert answered is not None, f"node {node.name} has ended a connection"


def prepare(cluster: Cluster) -> None:
    """Items that end soon, and stale ones: of each, one client will win."""
    with cluster["b"].wire() as wire:
        for number in range(ROUNDS):
            assert wire.ask(b"ms soon-%d 1 T500\r\nx" % number) == b"HD\r\n"
            assert wire.ask(b"ms old-%d 1 T500\r\nx" % number) == b"HD\r\n"
            assert wire.ask(b"md old-%d I" % number) == b"HD\r\n"


def write_lines(client: Client) -> None:
    own = b"own-" + client.name
    for number in range(ROUNDS):
        client.number(b"count-%d" % (number % 3), b"ma %b N0 J1 c O" + client.name)
        word = b"%b.%d;" % (client.name, number)
        client.number(b"text-%d" % (number % 3), b"ms %%b %d MA N0 s\r\n%b" % (len(word), word))
        client.number(b"new-%d" % number, b"mg %b N600 c k")
        client.number(b"soon-%d" % number, b"mg %b R600 c k")
        client.number(b"old-%d" % number, b"mg %b c k")
        client.number(own, b"ms %b 2 ME c F7\r\nhi")
        client.number(own, b"mg %b T900 c s f")
        client.number(own, b"md %b I T300 k")
        client.number(own, b"md %b k" if number % 2 else b"md %b x k")
        client.number(own, b"mg %b c s f k")
        client.number(own, b"md %b k")


def test_numbered_meta_commands_run_once(tmp_path: Path) -> None:
    with running_cluster(tmp_path, shards=SHARDS) as cluster:
        prepare(cluster)
        clients = [Client(cluster, number) for number in range(CLIENTS)]
        for client in clients:
            write_lines(client)
        nodes = list(cluster)
        victim = cluster[cluster.busiest()]
        answered = threading.Semaphore(0)
        with ThreadPoolExecutor(CLIENTS) as pool:
            asking = [
                pool.submit(client.ask_all, nodes[number % len(nodes)], answered)
                for number, client in enumerate(clients)
            ]
            for _ in range(CLIENTS * len(clients[0].lines) // 4):
                assert answered.acquire(timeout=DEADLINE_S), "no answers"
            victim.kill()
            for done in asking:
                done.result(DEADLINE_S)
        for node in cluster.others(victim.name):
            repeat(clients, node)
        victim.start()
        for node in nodes:
            repeat(clients, node)
        check_answers(clients)
        check_state(cluster, clients)


def repeat(clients: list[Client], node: NodeProcess) -> None:
    """All clients repeat all that they have written, side by side."""
    in_threads(len(clients), lambda number: clients[number].ask_all(node))


def check_answers(clients: list[Client]) -> None:
    """Of each item one client has won; everybody counted, and was told a number of its own."""
    winners: dict[bytes, list[bytes]] = {}
    counted: set[tuple[bytes, bytes]] = set()
    for client in clients:
        for line, answer in zip(client.lines, client.answers, strict=True):
            words = answer.split()
            command, key = line.split(b"\r\n")[1].split()[:2]
            if command == b"ma":
                counted.add((key, words[1]))
            if key.startswith((b"new-", b"soon-", b"old-")):
                winners.setdefault(key, []).extend([client.name] * (b"W" in words))
    assert len(winners) == 3 * ROUNDS
    assert all(len(won) == 1 for won in winners.values()), winners
    assert len(counted) == CLIENTS * ROUNDS, "an ma was told another one's unique"


def check_state(cluster: Cluster, clients: list[Client]) -> None:
    with cluster["c"].wire() as wire:
        counts = [int(wire.get(b"count-%d" % number) or 0) for number in range(3)]
        assert sum(counts) == CLIENTS * ROUNDS
        texts = b"".join(wire.get(b"text-%d" % number) or b"" for number in range(3))
        words = [b"%b.%d" % (c.name, number) for c in clients for number in range(ROUNDS)]
        assert sorted(texts.split(b";")[:-1]) == sorted(words)
        for client in clients:
            assert wire.get(b"own-" + client.name) is None
