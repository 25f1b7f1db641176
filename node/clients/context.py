"""What all client connections of a node share, and what one client has chosen for itself.

This is all that a request sees of the node. The replies to `stats` and `cluster` are made by
functions that `node.py` hands in: they look at the whole node, and nothing here does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from mmh3 import mmh3_x64_128_digest

from quorumcache.node.clients.events import ClientEvents
from quorumcache.node.clients.failures import failure_line
from quorumcache.node.clients.get_routes import GetRoutes, new_get_routes
from quorumcache.node.clients.pumps import Pumps
from quorumcache.node.clients.set_reader import SetReader, new_set_reader
from quorumcache.node.clients.write_room import WriteRoom
from quorumcache.node.operations.coordinator import Coordinator
from quorumcache.node.operations.failure import Failure
from quorumcache.node.operations.read_levels import LINEARIZABLE_NS
from quorumcache.node.operations.transactions import Transactions
from quorumcache.node.protocol.responses import version_line
from quorumcache.node.protocol.value_blocks import ValueLimits
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.store.store import shard_store
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.node.version import WIRE_VERSION

log = get_logger("server")

REPLY_BYTES_MAX: Final = 4 << 20
"""Bytes of answers of one connection that wait for their turn, or for the transport. One more may
exceed it."""


class ClientSettings:
    """What a client has chosen for its connection (`cluster redirect`, `read`, `form`), and whether
    it may change the cluster (`cluster auth`).
    """

    __slots__ = ("form", "has_proven", "nonce", "redirect", "staleness_ns", "wrong_proofs")

    def __init__(self) -> None:
        self.redirect = False
        """Answer misrouted keys with MOVED instead of forwarding them."""
        self.staleness_ns: int = LINEARIZABLE_NS
        """How old an answer to a read may be (`operations/read_levels.py`)."""
        self.form = 1
        """The newest form of a map that it reads; clients of form 1 do not say so."""
        self.nonce = ""
        """What its next proof has to be made with, in hexadecimal digits; "" = it has none."""
        self.has_proven = False
        """It has proven that it knows the cluster's secret."""
        self.wrong_proofs = 0


Operator = Callable[[ClientSettings, str, tuple[bytes, ...], Callable[[bytes], None]], None]
"""Answers an operator's words: the client's settings, its address, the words, and who hears the
whole reply, now or later."""


_digest: Final = mmh3_x64_128_digest


def _shift_of(shards: int) -> int:
    """By how much the first 16 bits of a token are shifted to the right for its shard."""
    return 16 - (shards.bit_length() - 1)


def _nothing_runs() -> bool:
    return False


class Controls:
    """What clients may do to the process, as `node.py` hands it in."""

    __slots__ = ("limit_memory", "may_dump", "may_watch", "set_verbosity", "shut_down", "wall_ms")

    def __init__(
        self,
        *,
        wall_ms: Callable[[], int],
        set_verbosity: Callable[[int], None],
        limit_memory: Callable[[int], bool],
        shut_down: Callable[[], None] | None,
        may_dump: bool = True,
        may_watch: bool = True,
    ) -> None:
        """`wall_ms`: Unix time. `set_verbosity`: by memcached's level. `limit_memory`: to so many
        bytes; False if that cannot be. `shut_down`: stop as at SIGTERM; None where clients may not.
        `may_dump`, `may_watch`: whether they may list keys, and see what other clients do.
        """
        self.wall_ms = wall_ms
        self.set_verbosity = set_verbosity
        self.limit_memory = limit_memory
        self.shut_down = shut_down
        self.may_dump = may_dump
        self.may_watch = may_watch


class ClientContext:
    """See the module docstring. A class and no `Protocol`: each request looks at it, and mypyc
    reads the attributes of a class directly.
    """

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        monotonic_ns: Callable[[], int],
        coordinator: Coordinator,
        counters: Counters,
        groups: dict[int, ReplicaGroup],
        shards: int,
        item_bytes_max: int,
        stats: Callable[[tuple[bytes, ...]], bytes],
        cluster: Callable[[ClientSettings, tuple[bytes, ...]], bytes],
        moved_line: Callable[[int], bytes],
        operator: Operator,
        controls: Controls,
        transactions: Transactions,
        flush_enabled: bool = True,
    ) -> None:
        """`shards`: their number, a power of two. `stats`, `cluster`: the whole reply to such a
        command, by its words. `operator`: likewise, for those of `operator_words.py`. `moved_line`:
        the reply to a client that routes by itself, by the group that this node does not lead.
        `flush_enabled` False: `flush_all` is refused.
        """
        self.loop = loop
        self.pumps = Pumps(loop)
        self.monotonic_ns = monotonic_ns
        self.coordinator = coordinator
        self.transactions = transactions
        self.counters = counters
        self.groups = groups
        """This node's replicas, by group id."""
        self.quick_groups: dict[int, ReplicaGroup] = groups
        """Those whose gets connections answer on the spot: none while reads are watched."""
        self.routes: GetRoutes = new_get_routes(shards)
        """To the items of those, as far as somebody has asked for any: see `open_route`."""
        self.set_reader: SetReader = new_set_reader(shards)
        self.shard_count = shards
        self._shift = _shift_of(shards)
        self.item_bytes_max = item_bytes_max
        self.stats = stats
        self.cluster = cluster
        self.moved_line = moved_line
        self.operator = operator
        self.flush_enabled = flush_enabled
        self.version_line = version_line(WIRE_VERSION)
        self.reply_bytes_max: int = REPLY_BYTES_MAX
        """The present share of each connection in what all may hold, see `server.py`."""
        self.write_room = WriteRoom()
        self.value_limits = ValueLimits(coordinator.new_ops.may_begin)
        """Which values of clients go in pieces."""
        self.controls = controls
        self.events = ClientEvents(counters, monotonic_ns, controls.wall_ms)
        self.is_dumping: Callable[[], bool] = _nothing_runs
        """Is a dump of keys under way?"""

    def use_shards(self, shards: int) -> None:
        """The cluster has so many. Before this node takes any clients in."""
        self.shard_count = shards
        self._shift = _shift_of(shards)
        self.routes = new_get_routes(shards)
        self.set_reader = new_set_reader(shards)

    def watch_reads(self, is_watched: bool) -> None:
        """Have all gets go the general way, which tells of them, or no longer. Connections have to
        hear of it."""
        self.quick_groups = {} if is_watched else self.groups
        self.routes = new_get_routes(self.shard_count)

    def open_route(self, shard: int) -> bool:
        """Let gets of a shard find the replica that is here now; False: there is none."""
        group = self.quick_groups.get(shard + 1)
        if group is None:
            return False
        gate = shard_store(group.machine).gate
        self.routes.set(shard, gate)
        return gate.table is not None

    def go_on(self, now_ms: int) -> int:
        """Why did the routes answer no more? The cluster time with which to ask them again, once
        what they did not know is known; -1: it would be of no use. `now_ms`: as they were told.
        """
        routes = self.routes
        if routes.missing >= 0:
            return now_ms if self.open_route(routes.missing) else -1
        if routes.timed < 0 or now_ms:
            return -1
        group = self.quick_groups.get(routes.timed + 1)
        return -1 if group is None else max(1, group.now_ms())

    def group_of(self, key: bytes) -> int:
        """Group of the key's shard, which is `ring.shard_of` it.

        Each request passes here, so it is done by compiled code, and by two bytes of the digest:
        the token as a whole is a large integer.
        """
        digest = _digest(key, 0)
        return ((digest[7] << 8 | digest[6]) >> self._shift) + 1

    def leads(self, group_id: int) -> bool:
        """Does this node lead the group?"""
        group = self.groups.get(group_id)
        return group is not None and group.is_leader

    def is_fresh(self, group_id: int, staleness_ns: int) -> bool:
        """May the replica here, if there is one, answer a read with such a bound?"""
        group = self.groups.get(group_id)
        return group is not None and self.coordinator.serving.is_fresh(group, staleness_ns)

    def failed(self, failure: Failure) -> bytes:
        """The reply for an operation that has no result."""
        if failure.outcome_known:
            self.counters.requests_failed += 1
        else:
            self.counters.requests_unknown += 1
        return failure_line(failure)

    def note_binary_client(self, client_address: str) -> None:
        """Count a client of memcached's binary protocol; log the first one."""
        if not self.counters.since_start("binary_clients"):
            event(log, "warning", "binary_client", client=client_address)
        self.counters.binary_clients += 1
