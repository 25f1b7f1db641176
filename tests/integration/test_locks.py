"""Locks over real processes, by lines on a socket: leaders are killed, holders are stopped."""

from __future__ import annotations

import threading
from pathlib import Path

from tests.support.processes import Cluster, running_cluster, wait_until
from tests.support.wire import Wire

TTL_MS = 600_000
WAIT_MS = 60_000


def acquire(owner: bytes, wait_ms: int = 0, ttl_ms: int = TTL_MS) -> bytes:
    return b"cluster lock acquire lock %b %d %d" % (owner, ttl_ms, wait_ms)


def token_of(reply: bytes) -> int:
    word, token = reply.split()
    assert word == b"LOCKED", reply
    return int(token)


class Waiter(threading.Thread):
    """A client that waits for the lock, adds its name under the fence, and lets go. It asks again,
    through any node, until it has the lock.
    """

    def __init__(self, cluster: Cluster, owner: bytes, names: list[str]) -> None:
        super().__init__(daemon=True)
        self.owner = owner
        self._cluster = cluster
        self._names = names
        self.token = 0
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with self._cluster[self._names[0]].wire() as wire:
                reply = b"WAITING 1"
                while reply.startswith((b"WAITING ", b"SERVER_ERROR ")):
                    reply = wire.ask(acquire(self.owner, WAIT_MS))
                self.token = token_of(reply)
                wire.send(b"cluster fence lock %d\r\nget names\r\n" % self.token)
                names = wire.value(b"names") or b""
                wire.send(b"cluster fence lock %d\r\n" % self.token)
                assert wire.set(b"names", names + self.owner + b";") == b"STORED\r\n"
                release = b"cluster lock release lock %b %d" % (self.owner, self.token)
                while (reply := wire.ask(release)).startswith(b"SERVER_ERROR "):
                    pass
                assert reply in (b"RELEASED\r\n", b"NOT_HELD\r\n")
        except BaseException as failure:
            self.failure = failure


def has_waiters(wire: Wire, count: int) -> None:
    def look() -> bool:
        wire.send(b"cluster lock show lock\r\n")
        waiters = 0
        while (line := wire.line()) != b"END\r\n":
            waiters += line.startswith(b"WAITER ")
        return waiters == count

    wait_until(f"{count} clients wait", look)


def test_those_who_wait_keep_their_order_while_the_leader_is_killed(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster:
        leader = cluster.leader_of(b"lock", seen_by="a")
        others = [node.name for node in cluster.others(leader)]
        with cluster[others[0]].wire() as wire:
            first = token_of(wire.ask(acquire(b"first")))
            waiters = []
            for number in range(6):
                waiter = Waiter(cluster, b"o%d" % number, [others[number % 2]])
                waiter.start()
                waiters.append(waiter)
                has_waiters(wire, number + 1)
            cluster[leader].kill()
            release = b"cluster lock release lock first %d" % first
            while (reply := wire.ask(release)).startswith(b"SERVER_ERROR "):
                pass
            assert reply == b"RELEASED\r\n"
            for waiter in waiters:
                waiter.join(WAIT_MS / 1000)
                assert waiter.failure is None
            names = wire.get(b"names")
        assert names == b"".join(b"o%d;" % number for number in range(6))
        tokens = [first, *(waiter.token for waiter in waiters)]
        assert tokens == sorted(set(tokens))
        cluster[leader].start()


def test_a_client_whose_process_ends_gives_up_its_place(cluster: Cluster) -> None:
    first, second, third = [node.wire() for node in cluster]
    with first, second, third:
        token = token_of(first.ask(acquire(b"holder")))
        second.send(acquire(b"dies", WAIT_MS) + b"\r\n")
        has_waiters(first, 1)
        second.close()  # As the kernel does for a process that is killed.
        has_waiters(first, 0)
        assert third.ask(acquire(b"other", 1)) == b"WAITING 1\r\n"
        assert first.ask(b"cluster lock release lock holder %d" % token) == b"RELEASED\r\n"
        assert token_of(third.ask(acquire(b"other"))) > token
        assert third.ask(b"cluster lock release lock other") == b"RELEASED\r\n"


def test_a_holder_that_stood_still_changes_nothing_after_it(cluster: Cluster) -> None:
    """The holder is this test, which is as good as stopped between its two lines."""
    with cluster["a"].wire() as first, cluster["b"].wire() as second:
        old = token_of(first.ask(acquire(b"sleeps", ttl_ms=200)))
        new = token_of(second.ask(acquire(b"wakes", WAIT_MS)))
        assert new > old
        second.send(b"cluster fence lock %d\r\nget work\r\n" % new)
        assert second.value(b"work") is None
        first.send(b"cluster fence lock %d\r\n" % old)
        reply = first.set(b"work", b"late")
        assert reply == b"CLIENT_ERROR stale fence: the newest token seen here is %d\r\n" % new
        second.send(b"cluster fence lock %d\r\n" % new)
        assert second.set(b"work", b"right") == b"STORED\r\n"
        assert first.get(b"work") == b"right"
        assert first.ask(b"cluster lock renew lock sleeps %d 1000" % old) == b"NOT_HELD\r\n"
        assert second.ask(b"cluster lock release lock wakes") == b"RELEASED\r\n"
        assert second.ask(b"delete work") == b"DELETED\r\n"
