"""What a leader does with an operation, of its own clients or forwarded by another node.

A write is refused for lack of memory, or proposed. A read is looked up under the lease or a
confirmed read index; what it finds expired is removed through the log first. A read that
allows some staleness is answered by any replica whose state is known to be fresh enough. The
coordinator decides that an operation belongs here; this file carries it out, and answers the node
that forwarded it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from quorumcache.node.operations.failure import CROWDED, NOT_THE_LEADER
from quorumcache.node.operations.forwarded import Answering, ForwardedRead, ForwardedWrite
from quorumcache.node.operations.hold_waits import HoldWaits
from quorumcache.node.operations.lock_answers import LOCK_ASKS
from quorumcache.node.operations.lock_reads import LockRead
from quorumcache.node.operations.lock_waits import LockWaits, Waking
from quorumcache.node.operations.meta_read import ASKS_HINT, NO_BUMP, Hint, MetaRead
from quorumcache.node.operations.operation import Read
from quorumcache.node.operations.read_levels import ANY_STALENESS_NS
from quorumcache.node.operations.read_values import ReadValues
from quorumcache.node.operations.stand_ins import (
    AfterRemoval,
    OutOfMemory,
    submit_without_growth,
)
from quorumcache.node.peers.items import (
    FORWARD_ITEMS,
    FORWARD_REFUSED,
)
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.state_machine import (
    DIRECTORY_GROUP_ID,
    KEY,
    OP,
    SESSION,
    TIMED,
    Command,
    ReadWaiter,
)
from quorumcache.node.store.commands import (
    GROWING_OPS,
    OP_CAS,
    OP_DELETE,
    OP_FENCED,
    OP_LOCK_ACQUIRE,
    OP_LOCK_RELEASE,
    OP_META_ARITHMETIC,
    OP_META_GET,
    OP_META_SET,
    OP_PIECE,
    OP_REFUSE,
    OP_SET,
    OP_TXN_PREPARE,
    STORE_DATA,
    announced_bytes,
    grows,
    in_place_of,
    without_growth,
)
from quorumcache.node.store.item import PIECES
from quorumcache.node.store.results import (
    OUT_OF_MEMORY,
    STAGING_FULL,
)
from quorumcache.node.store.sessions import CLIENT_SESSION_MIN
from quorumcache.node.store.store import EXPIRED, HELD_KEY, ShardStore, shard_store

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.cluster_time import ClusterTime
    from quorumcache.node.peers.sender import PeerSender
    from quorumcache.node.replica.memory_room import MemoryRoom
    from quorumcache.node.telemetry.counters import Counters

CLOCKS_APART_MS: Final = 250
"""More than clocks of nodes that are settled are apart, and much less than a second."""

REPLY_BYTES_MAX: Final = 4 << 20
"""A forwarded read is answered up to the item that passes this; the reader asks for the rest."""


class ServingHost(Protocol):
    """What serving and routing need of the node."""

    groups: dict[int, ReplicaGroup]
    bytes_used: int
    disk_trouble: str
    may_use_new_ops: bool
    time: ClusterTime

    def flush_soon(self) -> None: ...


class Serving(Answering):
    """See the module docstring."""

    def __init__(
        self,
        *,
        node_id: int,
        host: ServingHost,
        peers: PeerSender,
        clock: Clock,
        counters: Counters,
        memory: MemoryRoom,
    ) -> None:
        self.node_id = node_id
        self.host = host
        self.peers = peers
        self.clock = clock
        self.counters = counters
        self.memory = memory
        self.read_values = ReadValues(host.groups, clock)
        self.hold_waits = HoldWaits(self, clock, counters)
        self.lock_waits = LockWaits(host.groups, clock)

    def sweep(self, now_ns: int) -> None:
        """Forget what nobody has asked for, and look after those that wait. Called every few
        ticks."""
        self.read_values.sweep(now_ns)
        self.hold_waits.sweep(now_ns)
        self.lock_waits.sweep(now_ns)

    def submit(
        self, group: ReplicaGroup, command: Command, size: int, waiter: Any, *, retry: bool
    ) -> bool:
        """Propose a command of a client, here or forwarded, at this leader. False: it was refused,
        or waits, and must not be overtaken by a later one of its client.

        At the memory limit what would grow is refused where nothing is evicted; otherwise only what
        can find no room (`MemoryRoom`). As in memcached, a refused set also removes the old value,
        so that no client reads what was to be replaced. A repeated attempt is never refused for
        memory: the session table has to answer it. What comes under a client's own session may be a
        repetition that only the client knows of, so the table is asked through the log, by a
        command that stands in for the refused one.

        A cas without data is such a command of a client's node, which has refused a store.

        What meets a key that a transaction holds waits first.
        """
        op: int = command[OP]
        if self.hold_waits.concern(group, op):
            waiter = self.hold_waits.take(group, command, size, waiter, retry)
            if waiter is None:
                return op == OP_TXN_PREPARE  # That one has its answer.
        if op == OP_CAS and not command[STORE_DATA]:
            # What it finds under the key would be remembered as the result of the store.
            command = in_place_of(command, OP_REFUSE)
            op = OP_REFUSE
        if (
            not retry
            and op in GROWING_OPS
            and self.memory.refuses(group, announced_bytes(command, size), self.host.bytes_used)
            and grows(command)
        ):
            if op == OP_PIECE and self.memory.waits(group, announced_bytes(command, size)):
                waiter.on_result(STAGING_FULL)
                return True
            self.counters.store_no_memory += 1
            if op == OP_FENCED:
                return submit_without_growth(group, command, size, waiter)
            if op in (OP_META_GET, OP_META_ARITHMETIC):
                return group.submit(without_growth(command), size, waiter)
            if op in (OP_SET, OP_META_SET):
                command = in_place_of(command, OP_DELETE)
                waiter = OutOfMemory(waiter)
            elif command[SESSION] >= CLIENT_SESSION_MIN:
                command = in_place_of(command, OP_REFUSE)
            else:
                waiter.on_result(OUT_OF_MEMORY)
                return True
            size = len(command[KEY])
        elif OP_LOCK_ACQUIRE <= op <= OP_LOCK_RELEASE:
            waiter = Waking(self.lock_waits, group.group_id, command[KEY], waiter)
        return group.submit(command, size, waiter)

    def times(self, group_id: int) -> tuple[int, int]:
        """Cluster time and wall time, in milliseconds, as this node may show them of an item.

        Where another node leads the group its stamps may be ahead of our clock, and an item of 30
        seconds would have 31 left. So much later is it here.
        """
        time = self.host.time
        now_ms = time.now_ms()
        group = self.host.groups.get(group_id)
        if group is not None:
            now_ms = max(now_ms, group.machine.last_now_ms)
        if group is None or not group.is_leader:
            now_ms += CLOCKS_APART_MS
        return now_ms, time.wall_of(now_ms)

    def hint(self, group: ReplicaGroup, key: bytes, asks: int) -> Hint | None:
        """What this replica knows of the use of a key's item before a read that asks so much. One
        that is not there, or has ended, was not used: the read may be about to make another.
        """
        if not asks & ASKS_HINT:
            return None
        store = shard_store(group.machine)
        now_ms = group.now_ms()
        item = store.lookup(key, now_ms)
        if item is None or item is EXPIRED:
            return 0, 0
        was_hit, last_access_s = store.hint(key)
        return int(was_hit), max(0, now_ms // 1000 - last_access_s)

    def read(self, group: ReplicaGroup, read: Read) -> list[bytes | None] | None:
        """`lookup`, for an operation of this node's clients. What a meta command asks besides is
        told before the item counts as read."""
        asks = 0
        if isinstance(read, MetaRead):
            asks = read.asks
            read.hint = self.hint(group, read.keys[0], asks)
        elif isinstance(read, LockRead):
            return self.lock_waits.read(group, read)
        return self.lookup(group, read.keys_left, read, asks)

    def read_stale(self, group: ReplicaGroup, read: Read) -> list[bytes | None] | None:
        """Likewise, `lookup_stale`."""
        asks = 0
        if isinstance(read, MetaRead):
            asks = read.asks
            read.hint = self.hint(group, read.keys[0], asks)
        return self.lookup_stale(group, read.keys_left, read.staleness_ns, asks)

    def lookup(
        self, group: ReplicaGroup, keys: tuple[bytes, ...], waiter: ReadWaiter, asks: int = 0
    ) -> list[bytes | None] | None:
        """Packed items, or None when expired ones have to be removed through the log first, or
        when a transaction holds one of them."""
        store = shard_store(group.machine)
        now_ms = group.now_ms()
        expired: list[bytes] = []
        items: list[bytes | None] = []
        for key in keys:
            item = store.lookup(key, now_ms)
            if item is EXPIRED:
                expired.append(key)
            elif item is HELD_KEY:
                self.hold_waits.park_read(group, key, waiter)
                return None
            else:
                items.append(item)
                if item is not None and not asks & NO_BUMP:
                    store.note_hit(key)
        if not expired:
            return items
        self._count_ended(store, now_ms, len(expired))
        removal = store.removal_of(expired, now_ms)
        group.submit(removal, 64 * len(expired), AfterRemoval(waiter, self.counters))
        return None

    def is_fresh(self, group: ReplicaGroup, staleness_ns: int) -> bool:
        """May this replica, leader or not, answer a read that allows such a staleness?

        Asked after the request's bytes were read: the bound counts back from a moment at which the
        client was waiting.
        """
        return group.staleness_ns(self.clock.monotonic_ns()) <= staleness_ns

    def lookup_stale(
        self, group: ReplicaGroup, keys: tuple[bytes, ...], staleness_ns: int, asks: int = 0
    ) -> list[bytes | None] | None:
        """Packed items as this replica has them; None when it has to be read the linearizable way.

        What has ended is a miss at once, although no log says so yet: a follower cannot log it,
        and one that is cut off would never answer.
        """
        if group.group_id == DIRECTORY_GROUP_ID:
            return None
        store = shard_store(group.machine)
        if staleness_ns < ANY_STALENESS_NS:
            if group.has_lease():
                return None  # As fast, and what has ended leaves through the log.
            if not self.is_fresh(group, staleness_ns):
                self.counters.bounded_too_stale += 1
                return None
        now_ms = group.now_ms()
        items: list[bytes | None] = []
        ended = 0
        for key in keys:
            item = store.lookup(key, now_ms)
            if item is HELD_KEY:
                # Only the group of the decision knows which value is the right one.
                if staleness_ns < ANY_STALENESS_NS:
                    return None
                item = store.lookup_before(key, now_ms)
            if item is EXPIRED:
                ended += 1
                item = None
            elif item is not None and not asks & NO_BUMP:
                store.note_hit(key)
            items.append(item)
        if ended:
            self._count_ended(store, now_ms, ended)
        self.counters.replica_reads += 1
        return items

    def _count_ended(self, store: ShardStore, now_ms: int, ended: int) -> None:
        """Note that so many items were found at `now_ms` that no reader may see any more."""
        if store.flush_due(now_ms):
            self.counters.get_flushed += ended
        else:
            self.counters.get_expired += ended

    # -- for other nodes ---------------------------------------------------------------

    def forwarded_read(self, node_id: int, item: tuple[Any, ...]) -> None:
        """A read that another node forwarded; its form was checked."""
        self.counters.forwarded_in += 1
        _, request_id, group_id, keys, *level = item
        if len(level) > 2:
            self._forwarded_piece_read(node_id, request_id, group_id, level[1], level[2])
            return
        asks = level[1] if len(level) > 1 else 0
        if asks & LOCK_ASKS:
            self.lock_waits.forwarded(self, node_id, item)
            return
        if level and level[0] > 0:
            replica = self.host.groups.get(group_id)
            if replica is not None and group_id != DIRECTORY_GROUP_ID:
                hint = self.hint(replica, keys[0], asks)
                items = self.lookup_stale(replica, keys, level[0], asks)
                if items is not None:
                    self.reply_first_items(node_id, request_id, group_id, items, hint)
                    return
        group = self.led_here(group_id)
        if group is None:
            self.refuse(node_id, request_id, group_id, NOT_THE_LEADER)
            return
        forwarded = ForwardedRead(self, node_id, request_id, group, keys, asks)
        if group.has_lease():
            self.counters.lease_reads += 1
            forwarded.on_readable()
        else:
            self.counters.index_reads += 1
            group.when_readable(forwarded)

    def _forwarded_piece_read(
        self, node_id: int, request_id: int, group_id: int, value_id: int, position: int
    ) -> None:
        piece = self.read_values.piece(group_id, value_id, position)
        if piece is None and self.led_here(group_id) is None:
            self.refuse(node_id, request_id, group_id, NOT_THE_LEADER)
        else:
            self.reply_items(node_id, request_id, (piece,))

    def forwarded_write(self, node_id: int, item: tuple[Any, ...]) -> None:
        """A write that another node forwarded; its form was checked."""
        self.counters.forwarded_in += 1
        _, request_id, group_id, size, retry, command = item
        group = self.led_here(group_id)
        if group is None:
            self.refuse(node_id, request_id, group_id, NOT_THE_LEADER)
            return
        waiter = ForwardedWrite(self, node_id, request_id, group_id)
        self.submit(group, command, size, waiter, retry=retry)

    def read_at_once(self, node_id: int, item: tuple[Any, ...]) -> bool:
        """What most forwarded reads are: one key, of a shard led here, which cannot have expired.

        False, and nothing has happened, if it is anything else.
        """
        if len(item) != 4:
            return False
        _, request_id, group_id, keys = item
        if type(group_id) is not int or type(keys) is not tuple or len(keys) != 1:
            return False
        key = keys[0]
        group = self.host.groups.get(group_id)
        if type(key) is not bytes or group is None or not group.has_lease():
            return False
        found = group.machine.serve(key)
        if found is TIMED:
            return False
        self.counters.forwarded_in += 1
        self.counters.lease_reads += 1
        self.reply_items(node_id, request_id, (found,))
        return True

    def led_here(self, group_id: int) -> ReplicaGroup | None:
        """The group, if it is a shard's and this node leads it."""
        group = self.host.groups.get(group_id)
        if group is None or not group.is_leader or group_id == DIRECTORY_GROUP_ID:
            return None
        return group

    def refuse(self, node_id: int, request_id: int, group_id: int, why: str) -> None:
        """Certainly not executed here; the leader, if this node knows it, may."""
        group = self.host.groups.get(group_id)
        leader = 0
        if group is not None:
            leader = self.node_id if group.is_leader else group.leader_id
        self.reply(node_id, (FORWARD_REFUSED, request_id, leader, why))

    def reply(self, node_id: int, item: tuple[Any, ...]) -> None:
        """Answer another node. An answer that cannot be sent is the loss of a connection there."""
        self.peers.send(node_id, item)
        self.host.flush_soon()

    def reply_first_items(
        self,
        node_id: int,
        request_id: int,
        group_id: int,
        items: Sequence[bytes | None],
        hint: Hint | None = None,
    ) -> None:
        """Answer a read of another node with as many of its items as one answer may hold."""
        size = 0
        for count, item in enumerate(items, 1):
            if item is not None and item[0] & PIECES:
                self.read_values.keep(group_id, item)
            size += len(item) if item is not None else 1
            if size > REPLY_BYTES_MAX:
                items = items[:count]
                break
        self.reply_items(node_id, request_id, items, hint)

    def reply_items(
        self,
        node_id: int,
        request_id: int,
        items: Sequence[bytes | None],
        hint: Hint | None = None,
    ) -> None:
        """Answer a read of another node; refuse it if too many values are queued for that node."""
        answer: tuple[Any, ...] = (FORWARD_ITEMS, request_id, items)
        if hint is not None:
            answer = (*answer, hint)
        if not self.peers.send_bulk(node_id, answer):
            self.peers.send(node_id, (FORWARD_REFUSED, request_id, self.node_id, CROWDED))
        self.host.flush_soon()
