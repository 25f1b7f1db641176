"""A node: everything of one process, put together.

Start: lock the data directory, recover the log and the snapshots if it is a member's, bind the
listeners. A node that is new founds its cluster first, together with the others, or is taken in by
one (`Beginning`). Then it meets its peers, joins the group of the directory once the founding is
complete, and, as soon as a cluster map is known, the groups of the shards that the map places here
(`Member`). Stop: hand leaderships over, answer what is under way, close. What others read of it is
in `Observed`. Everything it touches is handed in (loop, clock, disk, randomness), so a whole
cluster also runs inside one simulated process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from random import Random
from typing import TYPE_CHECKING

from quorumcache.node.admin.controls import NodeControls
from quorumcache.node.admin.health_log import HealthLog
from quorumcache.node.admin.server import AdminServer
from quorumcache.node.admin.stats import stats_reply
from quorumcache.node.admin.status import health_problems, health_warnings
from quorumcache.node.basics import Basics
from quorumcache.node.clients.cluster_words import ClusterWords
from quorumcache.node.clients.context import ClientContext, Controls
from quorumcache.node.clients.operator_words import OperatorWords
from quorumcache.node.clients.server import MemcachedServer
from quorumcache.node.clients.victim_lines import victim_log
from quorumcache.node.consensus.api import APPEND_BYTES_MAX
from quorumcache.node.errors import ConfigError, NodeError, NodeLeft, StartupError
from quorumcache.node.founding.arrival import check_seeds
from quorumcache.node.founding.beginning import Beginning
from quorumcache.node.founding.durable_state import DurableState
from quorumcache.node.founding.introduction import own_info
from quorumcache.node.housekeeping.data_dir_watch import DataDirWatch
from quorumcache.node.housekeeping.hold_watch import LOOK_MS as HOLDS_LOOK_MS
from quorumcache.node.housekeeping.hold_watch import HoldWatch
from quorumcache.node.housekeeping.limits import LOOK_MS as LIMITS_LOOK_MS
from quorumcache.node.housekeeping.limits import LimitWatch
from quorumcache.node.member import Member
from quorumcache.node.observed import Observed
from quorumcache.node.operations.coordinator import Coordinator
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.recovery import LOOK_MS as RECOVERY_LOOK_MS
from quorumcache.node.operations.recovery import Recovery
from quorumcache.node.operations.serving import REPLY_BYTES_MAX, Serving
from quorumcache.node.operations.transactions import Transactions
from quorumcache.node.peers.codec import FRAME_BYTES_MAX
from quorumcache.node.replica.group import BATCH_BYTES_MAX, ENTRY_BYTES_MAX
from quorumcache.node.settings.checks import check_config
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.settings.users import Users
from quorumcache.node.state_machine import WHOLE_ITEM_BYTES_MAX
from quorumcache.node.storage.secret import Secret
from quorumcache.node.store.item_table import use_hash_seed
from quorumcache.ring import NodeInfo
from quorumcache.ring.address import parse_addresses

if TYPE_CHECKING:
    from quorumcache.node.clock import Clock
    from quorumcache.node.storage.disk import Disk

assert BATCH_BYTES_MAX + 2 * WHOLE_ITEM_BYTES_MAX <= ENTRY_BYTES_MAX
assert ENTRY_BYTES_MAX + APPEND_BYTES_MAX <= FRAME_BYTES_MAX * 3 // 4
assert REPLY_BYTES_MAX + 2 * WHOLE_ITEM_BYTES_MAX <= FRAME_BYTES_MAX // 2
# An item that travels whole is at most twice that long, whatever is packed around it. So every
# entry, append and answer fits a frame.


class Node(Observed):
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
        give_back_memory: Callable[[], None] = lambda: None,
        users: Users | None = None,
    ) -> None:
        """`consensus_bounds` replaces bounds of `ConsensusConfig`, by name: a simulation draws
        small ones, so that windows and batches fill up. `given_secret`: what the operator gave the
        node as the cluster's secret. `entropy`: for secrets, nonces and the hash of keys in
        memory, numbers that nobody can guess who has seen others of them; None in a simulation:
        `random` has them, and the hash has no seed. `secret_path`: where an operator on this
        machine finds the secret that this node keeps; "" if nowhere.
        `give_back_memory`: returns what is free to the system, and takes a while for it. `users`:
        who may use the cache, by the file of `auth_file`.

        Locks and reads the data directory; raises NodeError or OSError with what is wrong with it.
        """
        check_config(config)
        if entropy is not None:
            use_hash_seed(entropy.getrandbits(64))
        if config.auth_file and users is None:
            raise ConfigError("auth_file", "its users were not handed to the node")
        basics = Basics(
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
            give_back_memory=give_back_memory,
        )
        basics.on_left = self._left
        super().__init__(basics, loop.create_future())
        self._secret_path = secret_path
        self._users = users
        self._stopping = False
        self._admin: AdminServer | None = None
        self._beginning: Beginning | None = None
        """Of a node that was new when it started."""
        self.tasks = basics.tasks
        self.coordinator = Coordinator(
            Serving(
                node_id=0,
                host=self.host,
                peers=basics.network,
                clock=clock,
                counters=self.counters,
                memory=basics.memory,
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
        basics.transport.before_flush = self.coordinator.before_flush
        self.commits = Transactions(self.coordinator, random)
        self.recovery = Recovery(self.coordinator)
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
        self.controls = NodeControls(self.config, self._use_memory)
        self.server = self._new_server()
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
            leader_node=self.coordinator.leaders.node_of,
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
            transactions=self.commits,
            counters=self.counters,
            groups=self.host.groups,
            shards=config.shards,
            item_bytes_max=config.item_bytes_max,
            stats=lambda args: stats_reply(self, args),
            cluster=words.reply,
            moved_line=words.moved_line,
            operator=operator.begin,
            flush_enabled=config.flush_enabled,
            controls=Controls(
                wall_ms=self.clock.wall_ms,
                set_verbosity=self.controls.set_verbosity,
                limit_memory=self.controls.limit_memory,
                shut_down=self.controls.shut_down if config.shutdown_enabled else None,
                may_dump=config.dump_enabled,
                may_watch=config.watch_enabled,
            ),
        )
        context.events.on_evictions_watched = self._watch_evictions
        server = MemcachedServer(
            context,
            connections_max=config.connections_max,
            slow_client_ms=config.slow_client_ms,
            idle_timeout_ms=config.idle_timeout_ms,
            listen_backlog=config.listen_backlog,
            unix_path=config.unix_path,
            unix_mask=config.unix_mask,
            is_user=None if self._users is None else self._users.has,
        )
        if config.prefix_delimiter:
            context.events.delimit_prefixes(config.prefix_delimiter.encode())
            context.events.count_prefixes(True)
        return server

    def _watch_evictions(self, is_watched: bool) -> None:
        self.host.victim_log = victim_log(self.client_events) if is_watched else None

    def _use_memory(self, memory_bytes: int) -> None:
        self._basics.memory.memory_bytes = memory_bytes

    def _become_member(self) -> Member:
        self._data_dir_watch = None
        config = self.config = self._basics.config = self.durable.config
        self._words.shards = config.shards
        self.server.context.use_shards(config.shards)
        member = self.member = Member(self._basics, self.durable, self.coordinator)
        member.office.on_item_bytes_max = self.server.limit_items
        departure = member.office.departure
        departure.stop_accepting = self.server.stop_accepting
        departure.count_clients = self.server.count_dependent
        departure.serve = self._let_clients_in
        return member

    def _let_clients_in(self) -> None:
        if not self._stopping:
            self.tasks.end("clients are let in", self.server.serve)

    # -- start -------------------------------------------------------------------------

    async def start(self) -> None:
        """Listen, join, and begin to serve. Raises NodeError or OSError with what is wrong.

        A node that is new returns once it listens; its founding, or its join, goes on in the
        background. A node that joins takes no clients in before it is a member (`wait_member`): it
        does not know the shards. One that was drained takes none in at all.
        """
        config, basics = self.config, self._basics
        joins = self.member is None and bool(config.join)
        serves = not joins
        if self.member is not None:
            serves = self.member.office.departure.may_serve(self.durable.map_found)
        listen = parse_addresses(config.listen) if config.listen else ()
        self.listen_address = await self.server.start(listen, serves=serves)
        if config.http:
            self._admin = AdminServer(self, self.loop, self.tasks)
            self.http_address = await self._admin.start(parse_addresses(config.http))
        self._plan_rounds()
        if self.member is not None and config.join:
            random = Random(basics.random.getrandbits(64))
            await check_seeds(config, self.durable, loop=self.loop, random=random)
        if config.peer and (config.join or config.is_alone):
            # Its address may have a port of the system's choice.
            await basics.listener.start(config.peer)
        if self.member is not None:
            await self.member.join(self._own_info())
        else:
            self._beginning = self._new_beginning()
            await self._beginning.start()
        self.host.start_ticking([basics.rounds.tick])

    def _own_info(self) -> NodeInfo:
        return own_info(
            *(self.config, self.node_id or 1, self.disk_id),
            *(self.listen_address, self.http_address, self.peer_address),
        )

    def _new_beginning(self) -> Beginning:
        basics = self._basics
        return Beginning(
            self.config,
            self.durable,
            loop=self.loop,
            random=basics.random,
            entropy=basics.entropy,
            given_secret=basics.given_secret,
            listener=basics.listener,
            tasks=basics.tasks,
            on_waiting=basics.peer_watch.founding_waits,
            on_failed=self._fatal,
            own_info=self._own_info,
            become_member=self._become_member,
            serve=self.server.serve,
        )

    async def wait_member(self) -> None:
        """Wait until this node belongs to a cluster and serves it. Raises what it failed with."""
        if self._beginning is not None:
            await self._beginning.wait(self.failed)
        if self.failed.done():
            raise self.failed.result()

    def _plan_rounds(self) -> None:
        config, rounds, now_ns = self.config, self._basics.rounds, self.clock.monotonic_ns
        limits = LimitWatch(
            self.alarms,
            self.counters,
            memory=self._basics.memory,
            connections_max=config.connections_max,
        )
        health_log = HealthLog(self)
        holds = HoldWatch(self.alarms, self.recovery.overdue)
        rounds.in_every_tick(self._look_at_disk)
        rounds.in_every_tick(self.commits.snapshots.tick)
        rounds.in_sweeps(
            self.coordinator.sweep,
            self.server.sweep,
            self._basics.timekeeper.sweep,
            lambda: health_log.look(now_ns()),
        )
        rounds.in_sweeps(
            lambda: limits.look(now_ns(), self.host.bytes_used, evicts=self.host.may_evict),
            every_ms=LIMITS_LOOK_MS,
        )
        rounds.in_sweeps(self.recovery.look, every_ms=RECOVERY_LOOK_MS)
        rounds.in_sweeps(holds.look, every_ms=HOLDS_LOOK_MS)

    def _look_at_disk(self) -> None:
        if self._data_dir_watch is not None:
            self._data_dir_watch.tick()
        elif self.member is not None and self.member.disk_keeper is not None:
            self.member.disk_keeper.tick()

    def _leader_changed(self, group_id: int) -> None:
        self.coordinator.leader_changed(group_id)
        self._leaders_changed.set()

    # -- stop ------------------------------------------------------------------------------

    async def stop(self) -> None:
        """Hand leaderships over, answer what is under way, close everything."""
        if self._stopping:
            return
        self._stopping = True
        self.alarms.raise_alarm("stopping", "the node is stopping: it takes no new clients")
        deadline = self.loop.time() + self.config.stop_timeout_ms / 1000
        self.server.stop_accepting()
        if self._beginning is not None:
            self._beginning.stop()
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
        if self._beginning is not None:
            self._beginning.close()


__all__ = ["Node", "NodeError", "StartupError"]
