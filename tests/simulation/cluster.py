"""A simulated node: a host with its clock and disk, and the production `Node` that runs on it, or
does not.

A start is a new process and a new `Node` on the old disk. Whatever ends a node (a kill, a power
cut, a failed disk) leaves the disk, the clock and the address.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any

from quorumcache.node.errors import DiskFailed, DiskRefused, NodeError, SnapshotCorrupt, WalCorrupt
from quorumcache.node.node import Node
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.settings.users import Users
from quorumcache.node.telemetry.counters import COUNTER_NAMES
from tests.simulation.disk import DiskConfig, SimulatedDisk
from tests.simulation.loop import VirtualLoop
from tests.simulation.network import Network
from tests.simulation.process import HostClock, Process, ProcessExit
from tests.support.fake_disk import PowerLoss

USERS = Users([(b"ann", b"secret")])
"""Of the nodes that have an `auth_file`."""
CLIENT_PORT = 11211
PEER_PORT = 7400


class SimulatedNode:
    """`incarnation` counts the starts. `problems` collects ends that nothing injected explains."""

    def __init__(
        self,
        loop: VirtualLoop,
        network: Network,
        config: NodeConfig,
        random: Random,
        *,
        clock_rate_ppm: int,
        disk_config: DiskConfig,
        consensus_bounds: dict[str, int],
        host: str = "",
    ) -> None:
        """`host`: the machine's name, if it is not the node's."""
        self.loop = loop
        self.network = network
        self.config = config
        self.configs: list[NodeConfig] = [config]
        """All that it ever ran with, or will."""
        self.consensus_bounds = consensus_bounds
        self.random = random
        self.name = config.name
        self.host = host or config.name
        # As the proposer of the founding gives them; one that joins hears its id later.
        self._node_id = [*config.members].index(config.name) + 1 if config.members else 0
        self.is_due = True
        """It is meant to run: one that has not joined yet, or has left, is not started."""
        self.clock = HostClock(
            loop,
            rate_ppm=clock_rate_ppm,
            origin_ns=random.randrange(10**15),
            wall_origin_ms=1_800_000_000_000 + random.randrange(-200, 200),
        )
        self.disk = SimulatedDisk(loop, Random(random.getrandbits(64)), disk_config)
        self.incarnation = 0
        self.process: Process = Process(loop, self.name, host=self.host, clock=self.clock)
        self.node: Node | None = None
        self.problems: list[str] = []
        self.refusals = 0
        """Starts that were refused because of a bit that had turned."""
        self.on_recovered: Callable[[SimulatedNode, Node], None] = _ignore
        """Called when a node has read its disk, before it does anything else."""
        self.totals: Counter[str] = Counter()
        self.directory_is_refused = False
        """It runs on a directory with which it may not promise anything."""
        self._is_stopping = False
        self._syncs_failed = 0
        """Of its disk, when the present process began."""
        self._sends_left = 0
        self._on_send: Callable[[], None] | None = None

    @property
    def node_id(self) -> int:
        """In the cluster; 0 while it has none."""
        if not self._node_id and self.node is not None and self.disk.is_own:
            self._node_id = self.node.node_id
        return self._node_id

    @property
    def address(self) -> tuple[str, int]:
        return self.name, int(self.config.listen.rpartition(":")[2])

    @property
    def is_up(self) -> bool:
        """A process runs, or is being started, or stands still."""
        return self.incarnation > 0 and not self.process.is_dead

    @property
    def is_serving(self) -> bool:
        """A process runs, or stands still, that was not told to end."""
        return self.is_up and not self._is_stopping

    def groups(self) -> list[Any]:
        """The replicas of the live node; also those of a paused one, which may come back."""
        if self.node is None or self.process.is_dead:
            return []
        return list(self.node.host.groups.values())

    # -- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Boot the host if it is off and run a new process; it starts in the background."""
        assert not self.is_up, f"{self.name} is up"
        self.network.host_up(self.host)
        self.incarnation += 1
        self.process = Process(self.loop, self.name, host=self.host, clock=self.clock)
        self.process.is_charged = True
        self._is_stopping = False
        self._syncs_failed = self.disk.syncs_failed
        self.process.spawn(self._main(), name=f"{self.name} main")

    async def _main(self) -> None:
        try:
            node = self.node = self.process_node()
            await node.start()
            error = await node.failed
            # One that is no member yet may end for it, as at any start.
            may_wait = node.member is not None and not self.process.is_dead
            if isinstance(error, DiskRefused) and may_wait:
                self.problems.append(f"{self.name} ended itself for want of room: {error!r}")
        except PowerLoss:
            return  # In the middle of its recovery.
        except (DiskRefused, DiskFailed) as disk_error:
            error = disk_error
        except NodeError as refusal:
            damage = refusal
            if self.directory_is_refused or self._may_end(refusal):
                self.refusals += 1
                self._die(power=False)
                return
            if not isinstance(damage, WalCorrupt | SnapshotCorrupt):
                self.problems.append(f"{self.name} could not start: {damage!r}")
                return
            rotten = self.disk.rotten
            if rotten is None or damage.file != rotten.path:
                self.problems.append(f"{self.name} could not start: {damage!r}, rotten: {rotten}")
                return
            self.refusals += 1
            error = damage
        except Exception as startup_error:
            if not self.process.is_dead:
                self.problems.append(f"{self.name} could not start: {startup_error!r}")
            return
        if self.process.is_dead:
            return
        if self.directory_is_refused:
            self.refusals += 1
        elif not isinstance(
            error, DiskRefused | DiskFailed | WalCorrupt | SnapshotCorrupt
        ) and not self._may_end(error):
            self.problems.append(f"{self.name} ended itself: {error!r}")
        self._die(power=False)

    def _may_end(self, error: BaseException) -> bool:
        """Whether this is a good reason to end, beside those that every node may have."""
        return False

    def process_node(self) -> Node:
        node = Node(
            self.config,
            clock=self.clock,
            disk=self.disk.mount(),
            random=Random(self.random.getrandbits(64)),
            loop=self.loop,
            consensus_bounds=self.consensus_bounds,
            **self._more_arguments(),
        )
        self.on_recovered(self, node)
        return node

    def _more_arguments(self) -> dict[str, Any]:
        """For `Node`, besides what every simulated node has."""
        return {"users": USERS} if self.config.auth_file else {}

    # -- crashes that wait for a moment ------------------------------------------------------------

    def arm_events(self, events: int, crash: Callable[[], None]) -> None:
        """`crash` before the `events`-th callback of its process from now on."""
        self.process.arm(events, crash)

    def arm_sends(self, sends: int, crash: Callable[[], None]) -> None:
        """`crash` in the `sends`-th write to a connection from now on."""
        self._sends_left, self._on_send = sends, crash

    def arm_steps(self, steps: int, crash: Callable[[], None]) -> None:
        """`crash` before the `steps`-th step of its disk from now on."""
        self.disk.arm(steps, crash)

    def disarm(self) -> None:
        """Whatever it waits for: it does not."""
        self.process.disarm()
        self.disk.disarm()
        self._on_send = None

    def on_write(self) -> None:
        """A process of this host writes to a connection."""
        if self._on_send is not None:
            self._sends_left -= 1
            if self._sends_left <= 0:
                crash, self._on_send = self._on_send, None
                crash()
                raise ProcessExit

    def crash(self, *, silent: bool = False) -> None:
        """Kill -9, or a power cut when `silent`, which also loses what the disk had not synced."""
        if silent:
            self.network.host_down(self.host)
        self._die(power=silent)

    def count(self) -> None:
        """Add what the present node has counted to `totals`; once, when it ends."""
        if self.node is not None:
            counters = self.node.counters
            self.totals.update({name: getattr(counters, name) for name in COUNTER_NAMES})

    def _die(self, *, power: bool) -> None:
        self.count()
        self.node = None
        if not self.process.is_dead:
            self.disarm()
            self.process.crash(silent=power)
            self.disk.crash(power=power)

    async def stop(self) -> None:
        """SIGTERM: the node stops by itself, and its process ends. It may be killed meanwhile."""
        node, process = self.node, self.process
        if node is None or not process.is_running:
            return
        self._is_stopping = True
        stopping = process.spawn(node.stop(), name=f"{self.name} stop")
        while not stopping.done() and not process.is_dead:
            await asyncio.wait([stopping], timeout=0.01)
        if not process.is_dead and self.process is process:
            await stopping  # An error of it is an error of the run.
            self._die(power=False)

    def change_settings(self, **settings: Any) -> None:
        """What the next process is started with, by the names of `NodeConfig`."""
        self.config = replace(self.config, **settings)
        self.configs.append(self.config)

    # -- directories -------------------------------------------------------------------------------

    @property
    def has_own_directory(self) -> bool:
        return self.disk.is_own

    def may_lose_directory(self) -> bool:
        """It has one, which nobody else has meddled with."""
        return self.incarnation > 0 and self.disk.is_own and self.disk.rotten is None

    def exchange_directory(self, files: dict[str, bytes]) -> None:
        """It finds other files at its next start, with which it may not promise anything."""
        self.disk.exchange(files)
        self.directory_is_refused = True

    def bring_directory_back(self) -> None:
        """It finds its own files at its next start."""
        self.disk.bring_back()
        self.directory_is_refused = False

    def thief(self) -> SimulatedNode:
        """A node that calls itself like this one, on another machine with an empty disk."""
        host = f"{self.name}-thief"
        config = replace(self.config, listen=f"{host}:{CLIENT_PORT}", peer=f"{host}:{PEER_PORT}")
        thief = SimulatedNode(
            self.loop,
            self.network,
            config,
            Random(self.random.getrandbits(64)),
            clock_rate_ppm=self.clock.rate_ppm,
            disk_config=self.disk.config,
            consensus_bounds=self.consensus_bounds,
            host=host,
        )
        thief.directory_is_refused = True
        return thief

    def leave_for_good(self, how: str) -> None:
        """It is gone, until `recover`."""
        self.disarm()
        if how == "paused":
            self.process.pause()
        elif how != "cut off" and self.is_up:
            self.crash(silent=how == "powered off")

    def recover(self) -> None:
        """Undo all faults of the host; start it if it is down, or on its way there."""
        self.disarm()
        if self.disk.rotten is not None and self.is_up:
            self.crash()
        self._mend_host()
        # One whose sync has failed is about to end itself, and need not have heard of it yet.
        if self._is_stopping or (self.is_up and self.disk.syncs_failed != self._syncs_failed):
            self.crash()
        if self.process.is_dead:
            self.start()

    def _mend_host(self) -> None:
        if not self.disk.is_own:
            if self.is_up:
                self.crash()
            self.bring_directory_back()
        self.disk.repair()
        self.process.resume(fully=True)


def _ignore(simulated: SimulatedNode, node: Node) -> None:
    """Nobody wants to know."""
