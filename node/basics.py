"""What a node has from its first moment on, whether it is new or a member."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from quorumcache.node.alarms import Alarms
from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.directory.members import Members
from quorumcache.node.housekeeping.peer_watch import PeerWatch, log_alarm
from quorumcache.node.housekeeping.rounds import Rounds
from quorumcache.node.housekeeping.timekeeper import Timekeeper
from quorumcache.node.peers.consensus_transport import ConsensusTransport
from quorumcache.node.peers.listener import PeerListener
from quorumcache.node.peers.network import PeerNetwork
from quorumcache.node.replica.host import ReplicaHost
from quorumcache.node.replica.memory_room import MemoryRoom
from quorumcache.node.system.tasks import Tasks
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.timings import Timings
from quorumcache.node.wal.memory import MemoryWal

if TYPE_CHECKING:
    import asyncio
    from random import Random

    from quorumcache.node.clock import Clock
    from quorumcache.node.errors import NodeLeft
    from quorumcache.node.settings.config import NodeConfig
    from quorumcache.node.storage.disk import Disk
    from quorumcache.node.storage.secret import Secret


class Basics:
    """See the module."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        clock: Clock,
        disk: Disk | None,
        random: Random,
        loop: asyncio.AbstractEventLoop,
        consensus_bounds: Mapping[str, int],
        on_leader_change: Callable[[int], None],
        on_fatal: Callable[[BaseException], None],
        given_secret: Secret | None,
        entropy: Random,
        give_back_memory: Callable[[], None],
    ) -> None:
        """`on_leader_change` hears of each group whose leader has changed here, `on_fatal` of what
        the node cannot go on with. `give_back_memory`: returns what is free to the system; does
        nothing in a simulation.
        """
        self.config = config
        self.clock = clock
        self.disk = disk if config.data_dir else None
        self.random = random
        self.entropy = entropy
        """For secrets and nonces: numbers that nobody can guess from others of them."""
        self.given_secret = given_secret
        """What the operator gave this node as the cluster's secret; None if nothing."""
        self.loop = loop
        self.consensus_bounds = consensus_bounds
        self.on_fatal = on_fatal
        self.on_left: Callable[[NodeLeft], None] = on_fatal
        """Hears that this node is no member of its cluster any more."""
        self.incarnation = random.getrandbits(63)
        self.started_ns = clock.monotonic_ns()
        self.counters = Counters()
        self.timings = Timings()
        self.alarms = Alarms(log_alarm)
        self.tasks = Tasks(loop, alarms=self.alarms, counters=self.counters, fatal=on_fatal)
        self.time = ClusterTime(clock)
        self.members = Members()
        self.rounds = Rounds(config.tick_ms)
        self.peer_watch = PeerWatch(config.name, self.alarms, clock, self.started_ns)
        self.listener = PeerListener(loop)
        self.network = PeerNetwork(
            loop,
            clock,
            random,
            listen_address=config.peer,
            counters=self.counters,
            tasks=self.tasks,
            listener=self.listener,
        )
        self.transport = ConsensusTransport(self.network, self.incarnation)
        self.memory = MemoryRoom(config.memory_bytes)
        self.give_back_memory = give_back_memory
        self.host = ReplicaHost(
            loop=loop,
            clock=clock,
            wal=MemoryWal(loop),
            snapshots=None,
            transport=self.transport,
            counters=self.counters,
            tick_ms=config.tick_ms,
            on_leader_change=on_leader_change,
            on_fatal=on_fatal,
            give_back=give_back_memory,
            time=self.time,
            item_bytes_max=config.item_bytes_max,
            evicts=config.evicts,
        )
        self.host.borrow = self.memory.borrow
        self.timekeeper = Timekeeper(self.time, self.alarms, self.network, self.members.heard_of)
