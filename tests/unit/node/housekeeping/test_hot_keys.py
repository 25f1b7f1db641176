"""What the replicas of a shard hear of its reads."""

from typing import Any

import pytest

from quorumcache.node.consensus.values import Role
from quorumcache.node.errors import PeerFrameError
from quorumcache.node.housekeeping.hot_keys import KEYS_PER_LOOK, ROUND_NS, HotKeysTeller
from quorumcache.node.peers.items import HOT_KEYS
from quorumcache.node.store.hot_keys import HotKeys
from quorumcache.ring import key_token
from tests.support.housekeeping import FakePeers
from tests.unit.node.replica.test_evicting import GROUP, World

LEADER = 1


class Telling(World):
    """A group that leads and whose memory is short; node 3 is of an older form."""

    def __init__(self, items: int = 10) -> None:
        super().__init__(items)
        self.group.share_bytes = self.ahead + 1
        self.others = FakePeers({2: 2, 3: 1})
        self.teller = HotKeysTeller(self.host, self.others, self.clock)

    def told(self, looks: int = 1) -> list[tuple[int, tuple[Any, ...]]]:
        for _ in range(looks):
            self.teller.look()
        sent, self.others.sent = self.others.sent, []
        return sent


def test_a_leader_tells_what_was_hit_to_nodes_that_understand_it() -> None:
    world = Telling()
    world.store.note_hit(b"old-3")
    ((node_id, (kind, group_id, bits)),) = world.told()
    assert (node_id, kind, group_id) == (2, HOT_KEYS, GROUP)
    sketch = HotKeys(bytearray(bits))
    assert sketch.has(key_token(b"old-3"))
    assert sum(sketch.has(key_token(b"old-%d" % number)) for number in range(10)) < 4


def test_it_is_told_again_every_few_seconds() -> None:
    world = Telling()
    assert len(world.told()) == 1
    assert world.told(5) == []
    world.clock.ns += ROUND_NS
    assert len(world.told(5)) == 1


def test_a_large_shard_is_looked_at_bit_by_bit() -> None:
    """The native table names some thousands more than it is asked for."""
    world = Telling(5 * KEYS_PER_LOOK + 1)
    world.store.note_hit(b"old-0")
    assert world.told() == []
    world.store.remove(b"old-1")
    sent: list[tuple[int, tuple[Any, ...]]] = []
    while not sent:
        sent = world.told()
    ((_, (_, _, bits)),) = sent
    assert HotKeys(bytearray(bits)).has(key_token(b"old-0"))


@pytest.mark.parametrize("why_not", ["room", "follower", "no-evict", "removed", "follower now"])
def test_nothing_is_told_when_it_is_no_use(why_not: str) -> None:
    world = Telling(KEYS_PER_LOOK + 1)
    if why_not == "room":
        world.group.share_bytes *= 2
    elif why_not == "no-evict":
        world.host.evicts = False
    elif why_not == "removed":
        world.group.is_removed = True
    else:
        if why_not == "follower now":
            world.told()
        world.log.become(Role.FOLLOWER, 7, LEADER)
        world.turn(GROUP)
    assert world.told(3) == []


def test_a_follower_keeps_what_its_leader_says() -> None:
    world = Telling()
    world.log.become(Role.FOLLOWER, 7, 2)
    world.turn(GROUP)
    sketch = HotKeys(bytearray(64))
    sketch.add(key_token(b"old-1"))
    item = (HOT_KEYS, GROUP, sketch.bits)
    world.teller.heard(3, item)  # It does not lead.
    world.teller.heard(2, (HOT_KEYS, 99, sketch.bits))
    assert world.store.plan_eviction(1).keys == [b"old-0"]  # type: ignore[union-attr]
    world.store.queue.spare([b"old-0"])
    world.teller.heard(2, item)
    eviction = world.store.plan_eviction(world.store.bytes_used)
    assert eviction is not None
    assert eviction.keys[-2:] == [b"old-0", b"old-1"]


def test_a_leader_does_not_listen() -> None:
    world = Telling()
    bits = b"\xff" * 64
    world.teller.heard(1, (HOT_KEYS, GROUP, bits))
    assert world.store.plan_eviction(1).keys == [b"old-0"]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "item", [(HOT_KEYS, GROUP), (HOT_KEYS, GROUP, bytes(7)), (HOT_KEYS, "x", bytes(8))]
)
def test_an_item_of_another_form_is_refused(item: tuple[Any, ...]) -> None:
    with pytest.raises(PeerFrameError):
        Telling().teller.heard(2, item)
