"""A node as a member of its cluster: what it is made of once it has accepted a founding record."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from quorumcache.node.consensus.api import ConsensusConfig
from quorumcache.node.directory.follower import MapFollower
from quorumcache.node.directory.seat import DirectorySeat
from quorumcache.node.directory.starts import REPORT_MS
from quorumcache.node.errors import ConfigError
from quorumcache.node.founding.introduction import own_hello, peer_specs
from quorumcache.node.founding.progress import FoundingProgress
from quorumcache.node.housekeeping.disk_keeper import DiskKeeper
from quorumcache.node.housekeeping.housekeeper import Housekeeper
from quorumcache.node.inbox import Inbox
from quorumcache.node.peers.items import FOUNDED, MAP_EPOCH
from quorumcache.node.peers.peer import PeerSpec
from quorumcache.node.replica.handover import hand_over
from quorumcache.node.replica.removal import ReplicaRemover
from quorumcache.node.replica.starter import ReplicaStarter
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring.secret import SECRET_REQUIRED, SECRET_SETTING

if TYPE_CHECKING:
    from quorumcache.node.basics import Basics
    from quorumcache.node.founding.durable_state import DurableState
    from quorumcache.node.operations.coordinator import Coordinator
    from quorumcache.node.peers.network import PeerNetwork
    from quorumcache.ring import ClusterMap, NodeInfo

log = get_logger("node")

ELECTION_STAGGER_MS = 30
"""Distance between the elections of two replicas that saw their leader go: the first can win."""


class Member:
    """See the module. Made of a durable state that is a member's; `join` begins."""

    def __init__(self, basics: Basics, durable: DurableState, coordinator: Coordinator) -> None:
        assert durable.member is not None
        self._basics = basics
        self._durable = durable
        self._own_tasks: list[asyncio.Task[None]] = []
        self.node_id = durable.identity.node_id
        self.cluster_id = durable.identity.cluster_id
        members = self._members = basics.members
        members.own_id = self.node_id
        members.record = durable.member.record
        coordinator.use_node_id(self.node_id)
        host = self._host = basics.host
        host.wal = durable.wal
        host.snapshots = durable.snapshots
        durable.wal.on_failed = basics.on_fatal
        durable.wal.observe_sync = basics.timings.sync_seconds.observe
        self.disk_keeper: DiskKeeper | None = None
        """None where nothing is kept."""
        if durable.disk is not None and durable.plan is not None:
            self.disk_keeper = DiskKeeper(
                config=basics.config,
                clock=basics.clock,
                disk=durable.disk,
                plan=durable.plan,
                wal=durable.wal,
                host=host,
                alarms=basics.alarms,
                counters=basics.counters,
                on_lost=basics.on_fatal,
            )
            durable.wal.on_full = self.disk_keeper.refused
        self.founding = FoundingProgress(
            durable.member,
            disk=durable.disk,
            directory=durable.directory,
            on_complete=self._founded,
            on_failed=basics.on_fatal,
            secret=durable.secret,
            was_given=basics.given_secret is not None,
        )
        starter = ReplicaStarter(
            _consensus_config(basics, self.node_id),
            host=host,
            random=basics.random,
            life=basics.incarnation,
            recovered=durable.recovered,
            snapshots=durable.snapshots_found,
            new_store=ShardStore,
        )
        self._seat = DirectorySeat(
            self.node_id,
            durable.member.record,
            births=durable.local_state.births,
            starter=starter,
            told=members.told,
        )
        self.follower = MapFollower(
            founding=self.founding,
            local_state=durable.local_state,
            host=host,
            on_map=self._map_learned,
            start_replica=starter.start_shard,
            on_started=self._seat.started,
            on_fatal=basics.on_fatal,
            send=basics.network.send,
            alarms=basics.alarms,
        )
        self._seat.on_map = self.follower.arrived
        self.inbox = Inbox(
            host=host,
            transport=basics.transport,
            coordinator=coordinator,
            follower=self.follower,
            founding=self.founding,
            timekeeper=basics.timekeeper,
            time=basics.time,
            members=members,
            on_told=self._update_peers,
        )
        self.housekeeper = Housekeeper(
            node_id=self.node_id,
            config=basics.config,
            host=host,
            wal=durable.wal,
            snapshots=durable.snapshots,
            counters=basics.counters,
            preferred_leader=members.preferred_leader_of,
            is_up=basics.network.is_up,
        )
        self.remover = ReplicaRemover(
            host=host,
            local_state=durable.local_state,
            forget=self.housekeeper.forget,
            on_fatal=basics.on_fatal,
        )
        self.peers: PeerNetwork | None = None
        """None for a node that is alone."""

    async def join(self, info: NodeInfo) -> None:
        """Meet the peers, start what the disk remembers, and follow the map. `info`: what this node
        tells of itself. Raises `ConfigError` if it has peers and no address for them.
        """
        tasks = self._basics.tasks
        self._plan_rounds()
        if self._durable.map_found is not None:
            self.follower.arrived(self._durable.map_found)
        await self._start_peers(info)
        if self.disk_keeper is not None:
            self.disk_keeper.start()
        self._own_tasks.append(tasks.restart("housekeeper", self.housekeeper.run))
        self._own_tasks.append(tasks.end("replica removals", self.remover.finish))
        if self.founding.is_complete:
            self._seat.take()
            await self.follower.adopt()
        self._own_tasks.append(tasks.end("map follower", self.follower.follow))

    def _plan_rounds(self) -> None:
        rounds, watch = self._basics.rounds, self._basics.peer_watch
        rounds.in_sweeps(self._seat.tick)
        rounds.in_sweeps(self.follower.report_started, every_ms=REPORT_MS)
        if self._durable.peer_starts is not None:
            rounds.in_sweeps(self._durable.peer_starts.store_if_due)
        rounds.in_sweeps(lambda: watch.look(self.founding, self.peers))

    # -- the other nodes -----------------------------------------------------------------

    async def _start_peers(self, info: NodeInfo) -> None:
        basics, config = self._basics, self._basics.config
        self._members.told[self.node_id] = info
        others = self._peer_specs()
        if not others:
            return
        if not config.peer:
            raise ConfigError(
                "peer",
                f"a cluster of {len(others) + 1} nodes needs an address that the others reach",
            )
        starts, epoch = self._durable.starts, self.follower.epoch
        hello = own_hello(config, info, self.founding, basics.incarnation, starts, epoch)
        self.peers = self.inbox.peers = basics.network
        self.peers.join(
            *(hello, others, self.inbox, self._durable.peer_starts),
            secret=self._durable.secret,
            entropy=basics.entropy,
        )
        self._require_proofs(self._members.map)
        await self.peers.start()

    def _peer_specs(self) -> dict[int, PeerSpec]:
        members = self._members
        return peer_specs(self._basics.config, self.founding, members.map, members.told)

    def _update_peers(self) -> None:
        if self.peers is not None:
            self.peers.update_peers(self._peer_specs())

    def _map_learned(self, cluster_map: ClusterMap) -> None:
        """The follower has a newer map."""
        self._members.map = cluster_map
        if self.peers is not None:
            self.peers.set_map_epoch(cluster_map.epoch)
            self._update_peers()
            self._require_proofs(cluster_map)
            self.peers.send_to_all((MAP_EPOCH, cluster_map.epoch))
            self._host.flush_soon()

    def _require_proofs(self, cluster_map: ClusterMap | None) -> None:
        if self.peers is not None and cluster_map is not None:
            self.peers.require_proofs(cluster_map.setting(SECRET_SETTING) == SECRET_REQUIRED)

    def _founded(self) -> None:
        """All founders have accepted, and this is stored: group 0 may start."""
        event(log, "info", "founding_complete", cluster=self.cluster_id)
        if self.peers is not None:
            self.peers.set_founded()
            self.peers.send_to_all((FOUNDED, 1))
            self._host.flush_soon()
        self._seat.take()

    # -- the end -------------------------------------------------------------------------

    def rest(self) -> None:
        """Begin nothing new."""
        self.inbox.is_stopping = True
        for task in self._own_tasks:
            task.cancel()

    async def hand_over(self, deadline: float) -> None:
        """Give the leaderships away, until `deadline` in the loop's time."""
        if self.peers is not None:
            await hand_over(
                self.node_id,
                self._host.groups.values,
                is_up=self.peers.is_up,
                transfer=self.housekeeper.leadership.transfer,
                deadline=deadline,
                pause_seconds=self._basics.config.heartbeat_ms / 1000,
            )

    async def leave(self) -> None:
        """Send what is left to the peers, and close the connections to them."""
        if self.peers is not None:
            await self.peers.stop()

    def abort(self) -> None:
        """Close the connections to the peers at once."""
        if self.peers is not None:
            self.peers.abort()


def _consensus_config(basics: Basics, node_id: int) -> ConsensusConfig:
    config = basics.config
    return ConsensusConfig(
        replica_id=node_id,
        tick_ms=config.tick_ms,
        heartbeat_ticks=config.heartbeat_ticks,
        election_ticks=config.election_ticks,
        stagger_ticks=max(1, ELECTION_STAGGER_MS // config.tick_ms),
        **basics.consensus_bounds,
    )
