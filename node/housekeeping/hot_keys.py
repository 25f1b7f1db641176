"""Tells the other replicas of a shard which of its items are asked for, while memory is short.

A leader goes through its items bit by bit, makes a sketch (`store/hot_keys.py`) of those that were
hit, and sends it to the nodes that hold the shard. It is a hint: a sketch that is lost, late or old
costs hits and nothing else, so nothing is sent again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.peers.items import HOT_KEYS
from quorumcache.node.store.hot_keys import HotKeys, hits_to_be_hot, is_sketch, new_sketch
from quorumcache.node.store.store import ShardStore, shard_store
from quorumcache.ring.hashing import key_token

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.replica.host import ReplicaHost

LOOK_MS: Final = 100
"""Time between two looks."""

KEYS_PER_LOOK: Final = 2000
"""Items of one look: it holds up the loop for a millisecond, and takes a hundredth of a processor.
So a node that leads 100,000 items tells them in five seconds, one with a million in 50.
"""

ROUND_NS: Final = 3_000_000_000
"""A new round over all shards begins so long after the last one began, or when that has ended."""

SHORT_PARTS: Final = 8
"""Memory is short when less than one part of so many of the share is free."""

HOT_KEYS_FORM: Final = 2
"""Nodes of this form, or a later one, know the item."""


class Peers(Protocol):
    """Of the peer network."""

    def form_of(self, node_id: int) -> int: ...
    def send(self, node_id: int, item: tuple[Any, ...]) -> bool: ...


class HotKeysTeller:
    """See the module. `look` is called every `LOOK_MS`."""

    def __init__(self, host: ReplicaHost, peers: Peers, clock: Clock) -> None:
        self._host = host
        self._peers = peers
        self._clock = clock
        self._round_ns = -ROUND_NS
        self._groups: list[ReplicaGroup] = []
        """Those of this round that are to come."""
        self._group: ReplicaGroup | None = None
        self._store: ShardStore | None = None
        self._cursor = 0
        """Where the scan of the group under way goes on; 0 = it begins."""
        self._sketch = HotKeys(bytearray(1))
        self._hits = 1

    def look(self) -> None:
        """Go through the next items."""
        if self._group is None:
            self._begin()
        group, store = self._group, self._store
        if group is None or store is None:
            return
        if not group.evicts or group.is_removed or shard_store(group.machine) is not store:
            self._group = None
            return
        sketch, queue = self._sketch, store.queue
        self._cursor, keys = store.items.keys_after(self._cursor, KEYS_PER_LOOK)
        for key in keys:
            if queue.hits(key) >= self._hits:
                sketch.add(key_token(key))
        if not self._cursor:
            self._group = None
            self._tell(group)

    def _begin(self) -> None:
        """Take the next group whose memory is short."""
        now_ns = self._clock.monotonic_ns()
        if not self._groups and now_ns - self._round_ns >= ROUND_NS:
            self._round_ns = now_ns
            self._groups = list(self._host.groups.values())
        while self._groups:
            group = self._groups.pop()
            if not group.evicts or group.is_removed:
                continue
            share = group.share_bytes
            if group.machine.memory_bytes < share - share // SHORT_PARTS:
                continue
            store = self._store = shard_store(group.machine)
            count = len(store.items)
            self._cursor = 0
            self._sketch = new_sketch(count)
            self._hits = hits_to_be_hot(count)
            self._group = group
            return

    def _tell(self, group: ReplicaGroup) -> None:
        item = (HOT_KEYS, group.group_id, self._sketch.bits)
        own_id = group.leader_id
        for node_id in group.log.configuration.members():
            if node_id != own_id and self._peers.form_of(node_id) >= HOT_KEYS_FORM:
                self._peers.send(node_id, item)
        self._host.flush_soon()

    def heard(self, node_id: int, item: tuple[Any, ...]) -> None:
        """A leader's sketch. `PeerFrameError` if the item has another form."""
        if tuple(map(type, item)) != (int, int, bytes) or not is_sketch(item[2]):
            raise PeerFrameError(f"an item of kind {HOT_KEYS} of an unknown form")
        group = self._host.groups.get(item[1])
        if group is None or group.is_leader or group.leader_id != node_id:
            return  # It was moved, or the sender does not lead any more.
        machine = group.machine
        if isinstance(machine, ShardStore):
            machine.queue.hear_hot(HotKeys(bytearray(item[2])))
