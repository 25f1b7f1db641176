"""Goal: whatever becomes of gets that are forwarded together, each is answered once, in its place,
with nothing older than what was committed when it was asked, and a client never sees time run
backwards.

Method: random schedules over the real connections, coordinators, serving and groups of three nodes
(`tests/support/toy_cluster.py`). Clients ask for one counter and increment it, pipelined. Leaders
have leases, lose them and change; answers are late, lost, cut short, given twice, in another order,
or tell that something has to be asked again.
"""

from collections import deque
from random import Random
from typing import Any

import pytest

from quorumcache.node.clients.connection import MemcachedConnection
from quorumcache.node.clients.context import ClientContext, Controls
from quorumcache.node.clients.forwarded_answers import ForwardedAnswers
from quorumcache.node.consensus.values import Role
from quorumcache.node.operations.transactions import Transactions
from quorumcache.node.peers.items import FORWARD_FOUND, NOT_LED, UNANSWERED
from tests.support.fake_server import FakeTransport
from tests.support.item_tables import item_of
from tests.support.manual_loop import ManualLoop
from tests.support.toy_cluster import KEY, NODES, ToyCluster, ToyNode

STEPS = 250
SEEDS_AT_ONCE = 60
LEASE_NS = 400_000_000


class Asker:
    """A client of one node: what it has asked, and what it must see."""

    def __init__(self, world: "World", node: ToyNode) -> None:
        self.world = world
        self.node = node
        loop: Any = world.loop
        groups: Any = node.groups
        coordinator: Any = node.coordinator
        context = ClientContext(
            loop=loop,
            monotonic_ns=world.clock.monotonic_ns,
            coordinator=coordinator,
            counters=coordinator.counters,
            groups=groups,
            shards=1,
            item_bytes_max=1 << 20,
            stats=lambda args: b"",
            cluster=lambda settings, args: b"",
            moved_line=lambda group_id: b"",
            operator=lambda settings, address, args, done: None,
            controls=Controls(
                wall_ms=lambda: 0,
                set_verbosity=lambda level: None,
                limit_memory=lambda limit: True,
                shut_down=None,
            ),
            transactions=Transactions(coordinator, Random(1)),
        )
        node.coordinator.bundles.receiver = ForwardedAnswers()
        owner: Any = self
        self.connection = MemcachedConnection(context, owner, 1, watched_ns=0)
        self.transport = FakeTransport()
        self.transport.protocol = self.connection
        transport: Any = self.transport
        self.connection.connection_made(transport)
        self.asked: deque[tuple[bytes, int]] = deque()
        """The kind of each request without a reply, and what was committed when it was asked."""
        self.seen = 0
        self.answers = self.failures = 0

    def admit(self, connection: MemcachedConnection) -> bool:
        return True

    def left(self, connection: MemcachedConnection) -> None:
        """It never leaves."""

    def ask(self) -> None:
        """Some requests at once."""
        random = self.world.random
        if not self.transport.is_reading:
            return
        lines = b""
        for _ in range(random.choice((1, 1, 2, 6))):
            kind = random.choices((b"get n", b"get n m", b"incr n 1"), (8, 2, 1))[0]
            self.asked.append((kind, self.world.value()))
            lines += kind + b"\r\n"
        self.connection.data_received(lines)

    def hear(self) -> None:
        """Look at what has come."""
        lines = self.transport.drain().split(b"\r\n")
        assert lines.pop() == b"", "a reply is cut"
        while lines:
            kind, floor = self.asked.popleft()
            line = lines.pop(0)
            if line.startswith(b"SERVER_ERROR"):
                self.failures += 1
                continue
            if kind.startswith(b"get"):
                assert line.startswith(b"VALUE n 0 "), line
                value = int(lines.pop(0))
                assert lines.pop(0) == b"END"
                assert value >= self.seen, f"{kind!r} saw {value} after {self.seen}"
            else:
                value = int(line)
                assert value > self.seen, f"{kind!r} made {value} after {self.seen}"
            assert floor <= value <= self.world.value(), f"{kind!r}: {floor}, {value}"
            self.seen = value
            self.answers += 1


class World(ToyCluster):
    """Nodes with clients, leases and reads."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.loop = ManualLoop()
        self.askers = [Asker(self, node) for node in self.nodes.values()]
        self.lease_ns = self.random.choice((0, LEASE_NS, LEASE_NS))
        self.trouble = self.random.choice((0.0, 0.3, 1.0))
        """How likely an answer is not what it was."""

    def value(self) -> int:
        """What is committed."""
        items: Any = self.nodes[self.leader].group.machine
        return int(item_of(items.items, KEY).split()[-1])

    def elect(self, leader: int = 0) -> None:
        """The old leader may not hear of it: then it only has no lease any more."""
        self.clock.ns = max(
            self.clock.ns, *(node.group.lease_until_ns for node in self.nodes.values())
        )
        old = self.nodes[self.leader]
        is_deaf = old.log.role is Role.LEADER and self.random.random() < 0.5
        if is_deaf:
            old.log.role = Role.FOLLOWER
            leader = self.random.choice([n for n in NODES if n != self.leader])
        term = old.log.term
        hearing, self.hearing = self.hearing, 0.3
        super().elect(leader)
        self.hearing = hearing
        if is_deaf and old.log.term == term:
            old.log.role = Role.LEADER
        self.renew()

    def commit(self) -> None:
        if self.committed < len(self.entries):
            self.committed += 1
        self.nodes[self.leader].apply(self.committed)
        for node in self.nodes.values():
            if self.random.random() < 0.3:
                node.apply(self.committed)

    def renew(self) -> None:
        """The leader's lease begins again."""
        group = self.nodes[self.leader].group
        group.lease_until_ns = self.clock.ns + self.lease_ns

    def confirm(self) -> None:
        """A majority confirms the leader: reads that wait for it run."""
        node = self.nodes[self.leader]
        reads, node.log.reads = node.log.reads, []
        for context, index in reads:
            node.group.reads_confirmed(context, index)

    def pass_time(self) -> None:
        """Seldom so long that requests fail."""
        self._wait(self.random.choice((10, 50, 50, 300, 1100)))

    def ask(self) -> None:
        self.random.choice(self.askers).ask()

    def turn(self) -> None:
        """A node's turn ends."""
        self.nodes[self.random.choice(NODES)].coordinator.before_flush()

    def propose(self) -> None:
        super().propose()
        for node in self.nodes.values():
            node.coordinator.before_flush()

    def spoil(self) -> None:
        """An answer on its way is lost, cut, repeated, later than the next, or tells less."""
        found = [
            (queue, place)
            for queue in self.queues.values()
            for place, item in enumerate(queue)
            if item[0] == FORWARD_FOUND
        ]
        if not found or self.random.random() >= self.trouble:
            return
        queue, place = self.random.choice(found)
        kind, request_id, items = queue[place]
        what = self.random.randrange(5)
        if what == 0:
            del queue[place]
        elif what == 1:
            queue[place] = (kind, request_id, items[: self.random.randint(0, len(items))])
        elif what == 2:
            queue.insert(self.random.randint(place, len(queue)), queue[place])
        elif what == 3:
            late = queue[place]
            del queue[place]
            queue.insert(self.random.randint(place, len(queue)), late)
        else:
            less = [
                self.random.choice((UNANSWERED, NOT_LED)) if self.random.random() < 0.3 else item
                for item in items
            ]
            queue[place] = (kind, request_id, tuple(less))

    def play(self) -> None:
        usual = [
            (self.ask, 16),
            (self.turn, 8),
            (lambda: self.begin(self.random.choice(NODES)), 6),
            (self.deliver, 24),
            (self.propose, 8),
            (self.commit, 8),
            (self.confirm, 4),
            (self.renew, 4),
        ]
        unusual = [(self.spoil, 12), (self.elect, 2), (self.hear, 3), (self.cut, 1)]
        unusual.append((self.pass_time, 2))
        actions = [*usual, *unusual]
        weights = [
            *(weight * self.random.choice((1, 1, 3)) for _, weight in usual),
            *(weight * self.random.choice((0, 1, 1, 3)) for _, weight in unusual),
        ]
        self.elect()
        for action, _ in self.random.choices(actions, weights, k=STEPS):
            action()
            self.look()
        self.trouble = 0.0
        for pair in list(self.cuts):
            self._mend(pair)
        for _ in range(400):
            self.elect()
            for node in self.nodes.values():
                node.follow(self.term, self.leader)
            while any(self.queues.values()):
                self.deliver()
            self.propose()
            self.confirm()
            self.committed = len(self.entries)
            for node in self.nodes.values():
                node.apply(self.committed)
            self.look()
            if not any(asker.asked for asker in self.askers):
                return
            self._wait(50)
        raise AssertionError(f"{[list(asker.asked) for asker in self.askers]} have no answer")

    def look(self) -> None:
        """All that a turn of the loop does, and what clients see of it."""
        self.loop.run()
        for asker in self.askers:
            asker.hear()
        leader = self.nodes[self.leader]
        assert leader.log.role is Role.LEADER


@pytest.mark.parametrize("first", range(0, 8 * SEEDS_AT_ONCE, SEEDS_AT_ONCE))
def test_each_get_is_answered_in_its_place_and_never_from_the_past(first: int) -> None:
    for seed in range(first, first + SEEDS_AT_ONCE):
        try:
            World(seed).play()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_the_schedules_reach_what_they_are_for() -> None:
    """Gets are answered together, and fall back; few requests fail."""
    answers = failures = fallen = together = 0
    for seed in range(60):
        world = World(seed)
        world.play()
        answers += sum(asker.answers for asker in world.askers)
        failures += sum(asker.failures for asker in world.askers)
        for node in world.nodes.values():
            fallen += node.coordinator.counters.gets_fallen_back
            together += node.coordinator.timings.forward_seconds.count
    assert answers > 10 * failures
    assert fallen > 200
    assert together > 1000
