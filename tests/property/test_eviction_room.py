"""Goal: an item leaves only while its shard is over its share, and no more of them than have to.

Method: a leader whose log does what a seed says. Stores come in batches, entries are applied late,
the share changes, the leadership is lost and won. What is counted here shares nothing with the plan
but the cost of an item.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from quorumcache.node.housekeeping.evictions import Evictions
from quorumcache.node.replica.evicting import SLACK_PARTS
from quorumcache.node.state_machine import decode_batch
from quorumcache.node.store.commands import EVICT_PAIRS, OP_EVICT
from quorumcache.node.store.item import item_cost
from quorumcache.node.store.store import ShardStore
from tests.support.item_tables import item_of
from tests.unit.node.replica.test_evicting import GROUP, World


class Leader(World):
    """Entries that were proposed wait in `log.proposed`; `mirror` applies what is committed."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.mirror = ShardStore()
        self.mirror.apply(0, 0, [])
        self.seen = 0
        self.evicted = 0
        self.evictions = Evictions(self.host)
        self.group.share_bytes = 100_000
        self.group.lease_until_ns = self.log.lease_until_ns = 1 << 60

    def write(self) -> int:
        """A batch of stores. At most so many bytes does it add."""
        added = 0
        for _ in range(self.random.randint(1, 6)):
            size = self.random.choice((10, 500, 3_000))
            self.put(b"key-%d" % self.random.randrange(120), size)
            added += size + 300
        return added

    def sweep(self) -> None:
        """What the housekeeper does."""
        before = self.ahead
        self.evictions.sweep()
        self.propose(0, before)

    def propose(self, added: int, before: int) -> None:
        """End the turn, and look at what it evicts. `before`: what was ahead when it began."""
        for command in self._new_commands():
            if command[3] != OP_EVICT or not command[EVICT_PAIRS]:
                continue
            costs = [
                item_cost(key, item_of(self.store.items, key)) for key, _ in command[EVICT_PAIRS]
            ]
            share = self.group.share_bytes
            over = before + added - share
            assert over > 0, "there was room"
            assert sum(costs[:-1]) < over + share // SLACK_PARTS, "more than has to leave"
            assert len(set(command[EVICT_PAIRS])) == len(costs)
            self.evicted += len(costs)

    def _new_commands(self) -> list[Any]:
        self.turn()
        new = [entry for entry in self.log.proposed if entry.index > self.seen]
        self.seen = self.log.last_index
        return [command for entry in new for command in decode_batch(entry.payload)[1]]

    def apply_some(self, count: int) -> None:
        entries = self.log.proposed[:count]
        del self.log.proposed[:count]
        if entries:
            self.log.commit(entries)
            self.turn(GROUP)
            for entry in entries:
                now_ms, commands, wall_ms, item_bytes_max = decode_batch(entry.payload)
                self.mirror.apply(entry.index, now_ms, commands, wall_ms, item_bytes_max)
            assert self.mirror.digest() == self.store.digest()
        self.store.tidy()

    def lose_and_lead(self) -> None:
        self.lose()
        self.seen = self.log.last_index
        self.group.lease_until_ns = 1 << 60
        assert (self.group.growing_bytes, self.store.planned_bytes) == (0, 0)


@pytest.mark.parametrize("seed", range(30))
def test_items_leave_only_while_there_are_too_many_bytes(seed: int) -> None:
    random = Random(seed)
    leader = Leader(random)
    for _ in range(150):
        action = random.random()
        if action < 0.6:
            leader.propose(leader.write(), leader.ahead)
        elif action < 0.9:
            leader.apply_some(random.randint(1, 4))
        elif action < 0.95:
            leader.group.share_bytes = random.choice((40_000, 60_000, 100_000))
            leader.sweep()
        else:
            leader.lose_and_lead()
    leader.apply_some(1000)
    leader.propose(leader.write(), leader.ahead)
    leader.apply_some(1000)
    leader.sweep()
    while leader.store.planned_bytes:
        leader.apply_some(1000)
        leader.sweep()
    assert leader.evicted > 20
    assert (leader.group.growing_bytes, leader.store.planned_bytes) == (0, 0)
    assert leader.store.memory_bytes <= leader.group.share_bytes
