"""A node: everything of one process, put together.

Start: lock the data directory, recover the log and the snapshots if it is a member's, bind the
listeners. A node that is new founds its cluster first, together with the others. Then it meets its
peers, joins the group of the directory once the founding is complete, and, as soon as a cluster
map is known, the groups of the shards that the map places here (`Member`). Stop: hand leaderships
over, answer what is under way, close. Everything it touches is handed in (loop, clock, disk,
randomness), so a whole cluster also runs inside one simulated process.

Long: everything of a process is put together in one place.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from random import Random
from typing import TYPE_CHECKING, Any

from quorumcache.node.admin.health_log import HealthLog
from quorumcache.node.admin.server import AdminServer
from quorumcache.node.admin.stats import stats_reply
from quorumcache.node.admin.status import health_problems, health_warnings
from quorumcache.node.basics import Basics
from quorumcache.node.clients.cluster_words import ClusterWords
from quorumcache.node.clients.context import ClientContext
from quorumcache.node.clients.operator_words import OperatorWords
from quorumcache.node.clients.server import MemcachedServer
from quorumcache.node.config import GATEWAY_FOUNDS, ITEM_BYTES_LIMIT, NodeConfig
from quorumcache.node.consensus.api import APPEND_BYTES_MAX
from quorumcache.node.errors import ConfigError, NodeError, NodeLeft, StartupError
from quorumcache.node.founding.arrival import check_seeds, new_joining_phase
from quorumcache.node.founding.durable_state import DurableState
from quorumcache.node.founding.introduction import own_info
from quorumcache.node.founding.phase import FoundingPhase
from quorumcache.node.housekeeping.data_dir_watch import DataDirWatch
from quorumcache.node.housekeeping.limits import LimitWatch
from quorumcache.node.member import Member
from quorumcache.node.operations.coordinator import Coordinator
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.serving import REPLY_BYTES_MAX, Serving
from quorumcache.node.peers.codec import FRAME_BYTES_MAX
from quorumcache.node.peers.founding_frames import Blank
from quorumcache.node.peers.founding_secret import with_secret
from quorumcache.node.replica.group import BATCH_BYTES_MAX, ENTRY_BYTES_MAX
from quorumcache.node.storage.disk import DiskSpace
from quorumcache.node.storage.founding_record import propose
from quorumcache.node.storage.secret import Secret, make_secret
from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.address import parse_addresses

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.founding.joining import JoiningPhase
    from quorumcache.node.founding.progress import FoundingProgress
    from quorumcache.node.peers.network import PeerNetwork
    from quorumcache.node.storage.disk import Disk

assert BATCH_BYTES_MAX + 2 * ITEM_BYTES_LIMIT <= ENTRY_BYTES_MAX
assert ENTRY_BYTES_MAX + APPEND_BYTES_MAX <= FRAME_BYTES_MAX * 3 // 4
assert REPLY_BYTES_MAX + 2 * ITEM_BYTES_LIMIT <= FRAME_BYTES_MAX // 2
# An item is at most twice its limit long, whatever is packed around it. So every entry, append and
# answer fits a frame.


class Node:
    """One process of the cluster: `start`, then `stop`, or `abort` to leave as a crash would."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        clock: Clock,
        disk: Disk | None,
        random: Random,
        loop: asyncio.AbstractEventLoop,
        consensus_bounds: Mapping[str, int] | None = None,
        given_secret: Secret | None = None,
        entropy: Random | None = None,
        secret_path: str = "",
    ) -> None:
        """`consensus_bounds` replaces bounds of `ConsensusConfig`, by name: a simulation draws
        small ones, so that windows and batches fill up. `given_secret`: what the operator gave the
        node as the cluster's secret. `entropy`: for secrets and nonces, numbers that nobody can
        guess who has seen others of them; `random` in a simulation. `secret_path`: where an
        operator on this machine finds the secret that this node keeps; "" if nowhere.

        Locks and reads the data directory; raises NodeError or OSError with what is wrong with it.
        """
        config.validate()
        self._secret_path = secret_path
        self.failed: asyncio.Future[BaseException] = loop.create_future()
        """Resolved with the reason when the node cannot go on; the process has to end."""
        self.listen_address = ""
        self.http_address = ""
        self._leaders_changed = asyncio.Event()
        self._stopping = False
        self._admin: AdminServer | None = None
        self._phase: FoundingPhase | JoiningPhase | None = None
        self._founding_task: asyncio.Task[None] | None = None

        basics = self._basics = Basics(
            config,
            clock=clock,
            disk=disk,
            random=random,
            loop=loop,
            consensus_bounds=dict(consensus_bounds or {}),
            given_secret=given_secret,
            entropy=entropy if entropy is not None else random,
            on_leader_change=self._leader_changed,
            on_fatal=self._fatal,
        )
        basics.on_left = self._left
        self.clock = clock
        self.loop = loop
        self.started_ns = basics.started_ns
        self.counters = basics.counters
        self.timings = basics.timings
        self.alarms = basics.alarms
        """What is wrong right now, for `/health`, `/status`, `/metrics` and the log."""
        self.tasks = basics.tasks
        self.time = basics.time
        self.members = basics.members
        self.host = basics.host
        self.coordinator = Coordinator(
            Serving(
                node_id=0,
                host=self.host,
                peers=basics.network,
                clock=clock,
                counters=self.counters,
                memory_bytes=config.memory_bytes,
            ),
            Leaders(
                0,
                self.host.groups,
                basics.network,
                self.members.preferred_leader_of,
                self.members.replicas_of,
                self.members.leaving,
            ),
            random=random,
            timings=self.timings,
            timeout_ms=config.request_timeout_ms,
        )
        self.durable = DurableState(
            config,
            basics.disk,
            clock=clock,
            random=random,
            loop=loop,
            time=self.time,
            incarnation=basics.incarnation,
            given_secret=given_secret,
        )
        self.config = basics.config = self.durable.config
        self.server = self._new_server()
        self.member: Member | None = None
        """None while this node is new."""
        self._data_dir_watch: DataDirWatch | None = None
        """Of a node that is new and keeps something."""
        if self.durable.member is not None:
            self._become_member()
        elif basics.disk is not None:
            self._data_dir_watch = DataDirWatch(
                clock=clock,
                disk=basics.disk,
                host=self.host,
                files=self.durable.files_when_new,
                on_lost=self._fatal,
            )

    def _new_server(self) -> MemcachedServer:
        config = self.config
        words = self._words = ClusterWords(
            self,
            shards=config.shards,
            groups=self.host.groups,
            leader_node=self.coordinator.leader_node,
            health=lambda: (health_problems(self), health_warnings(self)),
        )
        operator = OperatorWords(
            entropy=self._basics.entropy,
            secret=lambda: self.durable.secret,
            secret_path=self._secret_path,
            desk=lambda: self.member.office.desk if self.member is not None else None,
            cluster_map=lambda: self.map,
        )
        context = ClientContext(
            loop=self.loop,
            monotonic_ns=self.clock.monotonic_ns,
            coordinator=self.coordinator,
            counters=self.counters,
            groups=self.host.groups,
            shards=config.shards,
            item_bytes_max=config.item_bytes_max,
            stats=lambda args: stats_reply(self, args),
            cluster=words.reply,
            moved_line=words.moved_line,
            operator=operator.begin,
        )
        return MemcachedServer(
            context,
            connections_max=config.connections_max,
            slow_client_ms=config.slow_client_ms,
            idle_timeout_ms=config.idle_timeout_ms,
        )

    def _become_member(self) -> Member:
        self._data_dir_watch = None
        config = self.config = self._basics.config = self.durable.config
        self._words.shards = config.shards
        self.server.context.use_shards(config.shards)
        member = self.member = Member(self._basics, self.durable, self.coordinator)
        member.office.on_item_bytes_max = self.server.limit_items
        member.office.departure.stop_accepting = self.server.stop_accepting
        member.office.departure.count_clients = self.server.count_dependent
        return member

    # -- start -------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, join, and begin to serve. Raises NodeError or OSError with what is wrong.

        A node that is new returns once it listens; its founding, or its join, goes on in the
        background. A node that joins takes no clients in before it is a member (`wait_member`): it
        does not know the shards.
        """
        config, basics = self.config, self._basics
        joins = self.member is None and bool(config.join)
        self.listen_address = await self.server.start(
            parse_addresses(config.listen), serves=not joins
        )
        if config.http:
            self._admin = AdminServer(self, self.loop, self.tasks)
            self.http_address = await self._admin.start(parse_addresses(config.http))
        self._plan_rounds()
        if self.member is not None and config.join:
            await check_seeds(config, self.durable, loop=self.loop, random=self._new_random())
        if config.peer and (config.join or config.is_alone):
            # Its address may have a port of the system's choice.
            await basics.listener.start(config.peer)
        if self.member is not None:
            await self.member.join(self._own_info())
        elif joins:
            joining = self._phase = new_joining_phase(
                *(config, self.durable, self._own_info()),
                loop=self.loop,
                random=self._new_random(),
                entropy=basics.entropy,
                on_waiting=basics.peer_watch.founding_waits,
            )
            basics.listener.accept = joining.accept
            self._founding_task = self.tasks.end("join", lambda: self._join(joining))
        elif config.is_alone:
            if config.weight == 0:
                raise ConfigError("--weight", GATEWAY_FOUNDS)
            founders = [self._own_info()]
            record = propose(basics.random, founders, config.fixed_settings)
            self.durable.accept(record, basics.given_secret or self._new_secret())
            await self._become_member().join(self._own_info())
        else:
            await basics.listener.start(config.peer)
            phase = self._phase = self._new_phase()
            basics.listener.accept = phase.accept
            self._founding_task = self.tasks.end("founding", lambda: self._found(phase))
        self.host.start_ticking([basics.rounds.tick])

    def _own_info(self) -> NodeInfo:
        return own_info(
            *(self.config, self.node_id or 1, self.disk_id),
            *(self.listen_address, self.http_address, self.peer_address),
        )

    def _new_random(self) -> Random:
        return Random(self._basics.random.getrandbits(64))

    def _new_phase(self) -> FoundingPhase:
        given = self._basics.given_secret
        return FoundingPhase(
            loop=self.loop,
            random=self._new_random(),
            own=Blank(self._own_info(), with_secret(self.config.founding_settings, given)),
            fixed_settings=self.config.fixed_settings,
            members=self.config.members,
            on_waiting=self._basics.peer_watch.founding_waits,
            given_secret=given,
            new_secret=self._new_secret,
        )

    async def _join(self, phase: JoiningPhase) -> None:
        """Become a member as soon as a member takes this node in."""
        try:
            self.durable.accept_joined(await phase.run())
            member = self._become_member()
            phase.close()
            await member.join(self._own_info())
            await self.server.serve()
        except Exception as error:
            self._fatal(error)

    async def wait_member(self) -> None:
        """Wait until this node belongs to a cluster and serves it. Raises what it failed with."""
        awaited: list[asyncio.Future[Any]] = [self.failed]
        if self._founding_task is not None:
            awaited.append(self._founding_task)
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
        if self.failed.done():
            raise self.failed.result()

    def _new_secret(self) -> Secret | None:
        """For a cluster that was given none; None where nothing keeps it."""
        return make_secret(self._basics.entropy) if self._basics.disk is not None else None

    async def _found(self, phase: FoundingPhase) -> None:
        """Become a member as soon as there is a founding record, and join."""
        try:
            found = await phase.run()
            self.durable.accept(found.record, found.secret)
            member = self._become_member()
            phase.close()
            await member.join(self._own_info())
        except Exception as error:
            self._fatal(error)

    def _plan_rounds(self) -> None:
        config, rounds, now_ns = self.config, self._basics.rounds, self.clock.monotonic_ns
        limits = LimitWatch(
            self.alarms,
            self.counters,
            memory_bytes=config.memory_bytes,
            connections_max=config.connections_max,
        )
        health_log = HealthLog(self)
        rounds.in_every_tick(self._look_at_disk)
        rounds.in_sweeps(
            self.coordinator.sweep,
            self.server.sweep,
            self._basics.timekeeper.sweep,
            lambda: limits.look(now_ns(), self.host.bytes_used),
            lambda: health_log.look(now_ns()),
        )

    def _look_at_disk(self) -> None:
        if self._data_dir_watch is not None:
            self._data_dir_watch.tick()
        elif self.member is not None and self.member.disk_keeper is not None:
            self.member.disk_keeper.tick()

    def _leader_changed(self, group_id: int) -> None:
        self.coordinator.leader_changed(group_id)
        self._leaders_changed.set()

    # -- what observers read --------------------------------------------------------------

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

    # -- stop ------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Hand leaderships over, answer what is under way, close everything."""
        if self._stopping:
            return
        self._stopping = True
        self.alarms.raise_alarm("stopping", "the node is stopping: it takes no new clients")
        deadline = self.loop.time() + self.config.stop_timeout_ms / 1000
        self.server.stop_accepting()
        if self._founding_task is not None:
            self._founding_task.cancel()
        if self.member is not None:
            self.member.rest()
        if not self._is_broken:
            if self.member is not None and not self.failed.done():
                await self.member.hand_over(deadline)
            self.server.close()
            await self.server.wait_empty(deadline - self.loop.time())
        self.server.abort()
        if self._admin is not None:
            await self._admin.close()
        self._close_listener()
        if self.member is not None:
            await self.member.leave()
        self.host.stop()
        self.tasks.cancel()
        await self.tasks.wait()
        if not self._is_broken:
            await self.durable.wal.close()
        if self._basics.disk is not None:
            self._basics.disk.close()

    def abort(self) -> None:
        """Leave at once, as a crash would."""
        self._stopping = True
        self.tasks.cancel()
        if self.member is not None:
            self.member.rest()
        self.host.stop()
        self._close()

    def _fatal(self, error: BaseException) -> None:
        """Nothing may be promised any more."""
        self.host.stop()
        self.durable.failed(error)
        self._close()
        if not self.failed.done():
            self.failed.set_result(error)

    @property
    def _is_broken(self) -> bool:
        """Whether the node has failed, and nothing may be promised any more."""
        return self.failed.done() and not isinstance(self.failed.result(), NodeLeft)

    def _left(self, error: NodeLeft) -> None:
        """The node is no member of its cluster any more: it is to be stopped."""
        self.durable.failed(error)
        if not self.failed.done():
            self.failed.set_result(error)

    def _close(self) -> None:
        self.server.abort()
        self._close_listener()
        if self.member is not None:
            self.member.abort()

    def _close_listener(self) -> None:
        self._basics.listener.close()
        if self._phase is not None:
            self._phase.close()


__all__ = ["Node", "NodeError", "StartupError"]
