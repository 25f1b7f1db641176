"""A node as others see it: what `/health`, `/status`, `/metrics`, `stats` and tests read of it.

Contracts: reading changes nothing. What observers may read is listed in `admin/view.py`; how a node
comes to be as it is seen, in `node.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from quorumcache.node.storage.disk import DiskSpace
from quorumcache.ring import ClusterMap

if TYPE_CHECKING:
    from quorumcache.node.admin.controls import NodeControls
    from quorumcache.node.basics import Basics
    from quorumcache.node.clients.events import ClientEvents
    from quorumcache.node.clients.server import MemcachedServer
    from quorumcache.node.founding.durable_state import DurableState
    from quorumcache.node.founding.progress import FoundingProgress
    from quorumcache.node.member import Member
    from quorumcache.node.operations.coordinator import Coordinator
    from quorumcache.node.operations.transactions import Transactions
    from quorumcache.node.peers.network import PeerNetwork


class Observed:
    """See the module. What is declared without a value is set by `Node`."""

    durable: DurableState
    server: MemcachedServer
    controls: NodeControls
    coordinator: Coordinator
    commits: Transactions

    def __init__(self, basics: Basics, failed: asyncio.Future[BaseException]) -> None:
        self._basics = basics
        self.failed = failed
        """Resolved with the reason when the node cannot go on; the process has to end."""
        self.config = basics.config
        self.clock = basics.clock
        self.loop = basics.loop
        self.started_ns = basics.started_ns
        self.counters = basics.counters
        self.timings = basics.timings
        self.alarms = basics.alarms
        """What is wrong right now, for `/health`, `/status`, `/metrics` and the log."""
        self.time = basics.time
        self.members = basics.members
        self.host = basics.host
        self.listen_address = ""
        self.http_address = ""
        self.member: Member | None = None
        """None while this node is new."""
        self._leaders_changed = asyncio.Event()

    @property
    def node_id(self) -> int:
        """From the founding record; 0 while this node is new."""
        return self.members.own_id

    @property
    def cluster_id(self) -> str:
        """From the founding record; "" while this node is new."""
        return self.member.cluster_id if self.member is not None else ""

    @property
    def disk_id(self) -> str:
        """Random id of the data directory; of this process where nothing is kept."""
        return self.durable.identity.disk_id

    @property
    def map(self) -> ClusterMap | None:
        """The newest cluster map this node knows."""
        return self.members.map

    @property
    def founding(self) -> FoundingProgress | None:
        """None while this node is new."""
        return self.member.founding if self.member is not None else None

    @property
    def peers(self) -> PeerNetwork | None:
        """None while this node is new, and where it is alone."""
        return self.member.peers if self.member is not None else None

    @property
    def peer_address(self) -> str:
        """Where this node listens to others, as HOST:PORT; "" if it does not."""
        return self._basics.listener.address

    @property
    def connections(self) -> Iterable[Any]:
        """Client connections, for `stats conns`."""
        return self.server.connections.values()

    def leader_of(self, group_id: int) -> int:
        """The node that leads a group as far as this one knows; 0 = unknown."""
        return self.coordinator.leaders.node_of(group_id)

    @property
    def memory_bytes(self) -> int:
        """What items may take; changes with `cache_memlimit`."""
        return self.controls.memory_bytes

    @property
    def verbosity(self) -> int:
        """memcached's level, as a client has set it."""
        return self.controls.verbosity

    @property
    def client_events(self) -> ClientEvents:
        """Who watches what clients do."""
        return self.server.context.events

    @property
    def is_dumping(self) -> bool:
        """A dump of keys is under way."""
        return self.server.context.is_dumping()

    @property
    def lock_waits_kept(self) -> int:
        """Waits for locks that this node keeps, as leader of their shards."""
        return self.coordinator.serving.lock_waits.count

    @property
    def disk_waiting_since_ns(self) -> int:
        """Since when the disk owes an answer to a write or a sync; 0 while it owes none."""
        keeper = self.member.disk_keeper if self.member is not None else None
        return keeper.waiting_since_ns if keeper is not None else 0

    @property
    def disk_space(self) -> DiskSpace:
        """Of the file system of the data directory; zeros while it is not known."""
        keeper = self.member.disk_keeper if self.member is not None else None
        return keeper.space if keeper is not None else DiskSpace(0, 0)

    def name_of(self, node_id: int) -> str:
        """A node's name, by the map, or by the founding record before there is one."""
        return self.members.name_of(node_id)

    def client_address_of(self, node_id: int) -> str:
        """Where clients reach a node; "" if that is not known."""
        return self.members.client_address_of(node_id)

    def peers_up(self) -> Mapping[int, bool]:
        """Other nodes, and whether this one has a connection to them."""
        peers = self.peers
        return {} if peers is None else {each: peers.is_up(each) for each in peers.node_ids}

    def peers_apart(self) -> Mapping[int, str]:
        """Other nodes that refuse this one, or that this one refuses, and why."""
        return self.peers.why_apart() if self.peers is not None else {}

    @property
    def is_serving(self) -> bool:
        """There is a map, and every shard replicated here has a leader."""
        return self.map is not None and all(group.leader_id for group in self.host.groups.values())

    @property
    def is_alone(self) -> bool:
        """Whether it belongs to a cluster that has no other nodes."""
        return self.member is not None and len(self.members.nodes()) == 1

    async def wait_serving(self, seconds: float) -> bool:
        """Wait until `is_serving`; False if that took longer, or the node failed."""
        deadline = self.loop.time() + seconds
        while not self.is_serving:
            left = deadline - self.loop.time()
            if left <= 0 or self.failed.done():
                return False
            self._leaders_changed.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._leaders_changed.wait(), left)
        return True
