"""A node as a member of its cluster: what it is made of once it has accepted a founding record."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING

from quorumcache.node.consensus.api import ConsensusConfig
from quorumcache.node.directory.address_book import TELL_MS
from quorumcache.node.directory.desk import NO_LEADER, TOO_MANY
from quorumcache.node.directory.follower import MapFollower
from quorumcache.node.directory.mover import Mover
from quorumcache.node.directory.office import DirectoryOffice
from quorumcache.node.directory.question import OK, REFUSED
from quorumcache.node.directory.seat import DirectorySeat
from quorumcache.node.directory.starts import REPORT_MS
from quorumcache.node.errors import ConfigError
from quorumcache.node.founding.admission import Admission, Verdict
from quorumcache.node.founding.introduction import own_hello, peer_specs
from quorumcache.node.founding.progress import FoundingProgress
from quorumcache.node.founding.seeking import Seeker
from quorumcache.node.housekeeping.disk_keeper import DiskKeeper
from quorumcache.node.housekeeping.fitness import LOOK_MS, Fitness
from quorumcache.node.housekeeping.hot_keys import LOOK_MS as HOT_KEYS_LOOK_MS
from quorumcache.node.housekeeping.hot_keys import HotKeysTeller
from quorumcache.node.housekeeping.housekeeper import Housekeeper
from quorumcache.node.housekeeping.leases import LOOK_MS as LEASES_LOOK_MS
from quorumcache.node.housekeeping.leases import Leases
from quorumcache.node.housekeeping.memory_round import ROUND_MS, MemoryRound
from quorumcache.node.housekeeping.packing import Packing
from quorumcache.node.inbox import Inbox
from quorumcache.node.peers.items import FOUNDED, MAP_EPOCH
from quorumcache.node.peers.peer import PeerSpec
from quorumcache.node.replica.handover import hand_over
from quorumcache.node.replica.removal import ReplicaRemover
from quorumcache.node.replica.starter import ReplicaStarter
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring.secret import SECRET_REQUIRED, SECRET_SETTING

if TYPE_CHECKING:
    from collections.abc import Callable

    from quorumcache.node.basics import Basics
    from quorumcache.node.consensus.values import Configuration
    from quorumcache.node.founding.durable_state import DurableState
    from quorumcache.node.operations.coordinator import Coordinator
    from quorumcache.node.peers.network import PeerNetwork
    from quorumcache.ring import ClusterMap, NodeInfo

log = get_logger("node")

ELECTION_STAGGER_MS = 30
"""Distance between the elections of two replicas that saw their leader go: the first can win."""

FAREWELL_SECONDS = 1.0
"""So long are the links of a node that has left kept: it hears of the new map on them, asks for it
and ends. Nothing depends on it; a node that misses it is refused when it comes again."""


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
        self.fitness = Fitness(
            clock=basics.clock,
            election_ms=basics.config.election_ms,
            tick_ms=basics.config.tick_ms,
            alarms=basics.alarms,
            peers=basics.network,
            flush_soon=host.flush_soon,
        )
        self.memory = MemoryRound(host, basics.memory, basics.network, basics.clock)
        self._hot_keys = HotKeysTeller(host, basics.network, basics.clock)
        self._leases = Leases(host, basics.counters, coordinator.serving.lock_waits.wake)
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
                on_slow=self._disk_slow,
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
        starter = self._starter = ReplicaStarter(
            _consensus_config(basics, self.node_id),
            host=host,
            random=basics.random,
            life=basics.incarnation,
            recovered=durable.recovered,
            snapshots=durable.snapshots_found,
            new_store=ShardStore,
            promised=durable.local_state.promised,
        )
        self._seat = DirectorySeat(
            self.node_id,
            durable.member.record,
            births=durable.local_state.births,
            leaving=durable.local_state.leaving,
            starter=starter,
        )
        self.office = DirectoryOffice(
            durable.own_config,
            clock=basics.clock,
            alarms=basics.alarms,
            counters=basics.counters,
            incarnation=basics.incarnation,
            members=members,
            peers=basics.network,
            host=host,
            seat=self._seat,
            moving=lambda: self.mover.reports(),
            on_left=basics.on_left,
            memory_bytes=lambda: basics.memory.memory_bytes,
            known_nodes=durable.known_nodes,
        )
        self.office.addresses.on_news = self._update_peers
        self.follower = MapFollower(
            founding=self.founding,
            local_state=durable.local_state,
            host=host,
            on_map=self._map_learned,
            start_replica=self._start_replica,
            on_started=self._seat.started,
            on_fatal=basics.on_fatal,
            send=basics.network.send,
            alarms=basics.alarms,
            remembered=starter.remembered,
            remove_replica=self._remove_replica,
        )
        self._seat.on_map = self.follower.arrived
        self.admission = Admission(
            loop=basics.loop,
            clock=basics.clock,
            entropy=basics.entropy,
            tasks=basics.tasks,
            record=durable.member.record,
            settings={n: str(v) for n, v in basics.config.cluster_settings.as_dict().items()},
            own=lambda: members.told[self.node_id],
            current_map=lambda: members.map,
            secret=lambda: durable.secret,
            decide=self._decide_join,
        )
        self.inbox = Inbox(
            host=host,
            transport=basics.transport,
            coordinator=coordinator,
            follower=self.follower,
            office=self.office,
            founding=self.founding,
            timekeeper=basics.timekeeper,
            time=basics.time,
            members=members,
            fitness=self.fitness,
            memory=self.memory,
            hot_keys=self._hot_keys,
            on_told=self._update_peers,
            on_join=self.admission.question,
        )
        self.housekeeper = Housekeeper(
            node_id=self.node_id,
            config=basics.config,
            host=host,
            wal=durable.wal,
            snapshots=durable.snapshots,
            counters=basics.counters,
            preferred_leader=members.preferred_leader_of,
            stand_in=members.stand_in_of,
            is_up=basics.network.is_up,
            fitness=self.fitness,
            memory=basics.memory,
            give_back=basics.give_back_memory,
        )
        self.remover = ReplicaRemover(
            host=host,
            local_state=durable.local_state,
            forget=self._forget_replica,
            on_fatal=basics.on_fatal,
        )
        self.mover = Mover(
            node_id=self.node_id,
            election_ms=basics.config.election_ms,
            host=host,
            newest_map=lambda: self.follower.map,
            adopted=self.follower.adopted_by,
            is_up=basics.network.is_up,
            may_lead=self.fitness.may_lead,
            transfer=self.housekeeper.leadership.transfer,
            on_reached=self.office.reporter.tell,
            on_bug=self.office.bug,
        )
        self.peers: PeerNetwork | None = None
        """None for a node that is alone and has no address for others."""
        self._specs: dict[int, PeerSpec] = {}
        """The other nodes, as the network knows them."""
        self._departed: dict[int, PeerSpec] = {}
        """Of them, those that have left and may still ask for the map that says so."""

    async def join(self, info: NodeInfo) -> None:
        """Meet the peers, start what the disk remembers, and follow the map. `info`: what this node
        tells of itself. Raises `ConfigError` if it has peers and no address for them.
        """
        tasks = self._basics.tasks
        self._plan_rounds()
        if self._durable.map_found is not None:
            self.follower.arrived(self._durable.map_found)
        else:
            self.follower.epoch_min = self.office.addresses.stored.epoch
        await self._start_peers(info)
        if self.disk_keeper is not None:
            self.disk_keeper.start()
        self._own_tasks.append(tasks.restart("housekeeper", self.housekeeper.run))
        self._own_tasks.append(tasks.end("replica removals", self._let_go))
        if self.founding.is_complete:
            self._seat.take(self.follower.map)
            await self.follower.adopt()
        self._own_tasks.append(tasks.end("map follower", self.follower.follow))

    def _plan_rounds(self) -> None:
        rounds, watch = self._basics.rounds, self._basics.peer_watch
        rounds.in_every_tick(self.fitness.tick)
        leadership = self.housekeeper.leadership
        rounds.in_sweeps(self.fitness.look, leadership.give_up, every_ms=LOOK_MS)
        office = self.office
        rounds.in_sweeps(self._seat.tick, office.sweep, self.mover.tick, on_bug=office.bug)
        rounds.in_sweeps(
            *(office.reporter.tell, self.follower.tell_adopted),
            every_ms=REPORT_MS,
            on_bug=office.bug,
        )
        rounds.in_sweeps(self.memory.tidy, Packing(self._host).look)
        rounds.in_sweeps(self._hot_keys.look, every_ms=HOT_KEYS_LOOK_MS, on_bug=self.office.bug)
        rounds.in_sweeps(self.memory.decide, every_ms=ROUND_MS)
        rounds.in_sweeps(self._leases.look, every_ms=LEASES_LOOK_MS)
        rounds.in_sweeps(office.addresses.tell, every_ms=TELL_MS, on_bug=office.bug)
        if self._durable.peer_starts is not None:
            rounds.in_sweeps(self._durable.peer_starts.store_if_due)
        rounds.in_sweeps(lambda: watch.look(self.founding, self.peers))

    def _disk_slow(self) -> None:
        """The disk has not answered for a while, as of this tick."""
        if self.fitness.disk_waits():
            self.housekeeper.leadership.give_up()

    # -- replicas --------------------------------------------------------------------------

    def _start_replica(self, group_id: int, birth: Configuration, stands: bool) -> None:
        if group_id == DIRECTORY_GROUP_ID:
            self._seat.start(birth, stands=stands)
        else:
            self._starter.start_shard(group_id, birth, stands)

    async def _let_go(self) -> None:
        """Go on with the removals that the last process had begun, then with those of the map."""
        await self.remover.finish()
        await self.follower.let_go()

    async def _remove_replica(self, group_id: int) -> None:
        await self.remover.remove(group_id)

    def _forget_replica(self, group_id: int) -> None:
        self.housekeeper.forget(group_id)
        self._leases.forget(group_id)
        self.memory.forget(group_id)
        self._starter.forget(group_id)
        if group_id == DIRECTORY_GROUP_ID:
            self._seat.let_go()

    # -- the other nodes -----------------------------------------------------------------

    async def _start_peers(self, info: NodeInfo) -> None:
        basics, config = self._basics, self._basics.config
        self._members.told[self.node_id] = info
        others = self._peer_specs()
        if not others and not config.peer:
            return
        if not config.peer:
            raise ConfigError(
                "peer",
                f"a cluster of {len(others) + 1} nodes needs an address that the others reach",
            )
        starts, epoch = self._durable.starts, self.follower.epoch
        hello = own_hello(config, info, self.founding, basics.incarnation, starts, epoch)
        self.peers = self.inbox.peers = basics.network
        self._specs = others
        self.peers.join(
            *(hello, others, self.inbox, self._durable.peer_starts),
            secret=self._durable.secret,
            entropy=basics.entropy,
        )
        self._follow_map(self._members.map)
        await self.peers.start()
        if config.seeds:
            self._own_tasks.append(basics.tasks.restart("seeds", self._new_seeker().run))

    def _new_seeker(self) -> Seeker:
        basics, network = self._basics, self._basics.network

        def found(name: str, seed: str) -> None:
            named = [n for n, spec in self._specs.items() if spec.name == name]
            if named and not network.is_up(named[0]):
                self.office.addresses.hint(named[0], seed)

        return Seeker(
            loop=basics.loop,
            random=Random(basics.random.getrandbits(64)),
            cluster_id=self.cluster_id,
            seeds=basics.config.seeds,
            is_missing=lambda: not all(map(network.is_up, self._specs)),
            found=found,
        )

    def _peer_specs(self) -> dict[int, PeerSpec]:
        members, addresses = self._members, self.office.addresses
        return peer_specs(
            *(self._basics.config, self.founding, members.map, members.told),
            *(addresses.places, addresses.stored.nodes),
        )

    def _update_peers(self) -> None:
        if self.peers is None:
            return
        specs = self._peer_specs()
        for node_id in self._specs.keys() - specs.keys():
            self._departed[node_id] = self._specs[node_id]
            self._basics.loop.call_later(FAREWELL_SECONDS, self._forget, node_id)
        self._specs = specs
        self.peers.update_peers({**self._departed, **specs})

    def _forget(self, node_id: int) -> None:
        """A node that has left has had its time to learn of it."""
        self._departed.pop(node_id, None)
        self._members.forget(node_id)
        if self.peers is not None and not self.inbox.is_stopping:
            self.peers.update_peers({**self._departed, **self._specs})

    def _map_learned(self, cluster_map: ClusterMap) -> None:
        """The follower has a newer map."""
        self._members.learned(cluster_map)
        self._host.may_use_new_ops = cluster_map.form > 1
        self.office.learned(cluster_map)
        if self.peers is not None:
            self._update_peers()
            self._follow_map(cluster_map)
            self.peers.send_to_all((MAP_EPOCH, cluster_map.epoch))
            self._host.flush_soon()

    def _follow_map(self, cluster_map: ClusterMap | None) -> None:
        """Ask of the peers what the map says."""
        if self.peers is not None and cluster_map is not None:
            named = frozenset(node.node_id for node in cluster_map.nodes)
            self.peers.set_map(cluster_map.epoch, cluster_map.form, named)
            self.peers.require_proofs(cluster_map.setting(SECRET_SETTING) == SECRET_REQUIRED)

    def _decide_join(self, info: NodeInfo, done: Callable[[Verdict], None]) -> None:
        """Have the directory decide about a new node."""

        def answered(code: int, payload: bytes) -> None:
            if code == OK:
                done(Verdict(payload))
            else:
                is_final = code == REFUSED and payload not in (NO_LEADER, TOO_MANY)
                done(Verdict(b"", payload.decode(errors="replace"), is_final=is_final))

        self.office.desk.join(info, answered)

    def _founded(self) -> None:
        """All founders have accepted, and this is stored: group 0 may start."""
        event(log, "info", "founding_complete", cluster=self.cluster_id)
        if self.peers is not None:
            self.peers.set_founded()
            self.peers.send_to_all((FOUNDED, 1))
            self._host.flush_soon()
        self._seat.take(self.follower.map)

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
                may_lead=self.fitness.may_lead,
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
