"""A node follows the cluster map: its file, a replica of each of its shards, the addresses of
peers.

A map comes from the directory's log or from a peer; only a newer epoch of the own cluster counts.
Each new epoch is told to all peers at once, and a peer that is behind asks for the map. So nodes
that do not vote in the directory learn it as fast as the others. What is lost on the way is told
again: when a connection is ready, since its hello may be older than the newest map, and with each
`ADOPTED`.

The order of adopting one: the founding is complete, the births of new replicas are durable, the map
is durable, and only then do replicas start, and those that it places nowhere here any more go, one
at a time. A map of form 1 takes no replica away.

An adopted map is told to all nodes again and again (`ADOPTED`). A leader of a group waits for that
before it counts on a replica that the map has given to this node: this node never removes it then
because of an older map.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Final

from quorumcache.node.alarms import Alarms
from quorumcache.node.consensus.values import Configuration
from quorumcache.node.errors import DiskRefused, NodeError, PeerError
from quorumcache.node.founding.progress import FoundingProgress
from quorumcache.node.peers.items import (
    ADOPTED,
    FOUNDED,
    MAP_EPOCH,
    MAP_REPLY,
    MAP_REQUEST,
    STARTED,
    check_map_item,
)
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID
from quorumcache.node.storage.local_state import LocalState
from quorumcache.node.telemetry.logs import event, get_logger
from quorumcache.ring import ClusterMap, MapError

if TYPE_CHECKING:
    from quorumcache.node.replica.host import ReplicaHost

log = get_logger("node")

FULL_RETRY_SECONDS: Final = 1.0
"""Pause before a map that a full disk did not take is stored again."""


class MapFollower:
    """See the module. `map`: the newest one known, which may not be adopted yet."""

    def __init__(
        self,
        *,
        founding: FoundingProgress,
        local_state: LocalState,
        host: ReplicaHost,
        on_map: Callable[[ClusterMap], None],
        start_replica: Callable[[int, Configuration, bool], None],
        on_started: Callable[[int], None],
        on_fatal: Callable[[BaseException], None],
        send: Callable[[int, tuple[Any, ...]], bool],
        alarms: Alarms,
        remembered: Callable[[], Iterable[int]] = tuple,
        remove_replica: Callable[[int], Awaitable[None]] | None = None,
    ) -> None:
        """`on_map` hears of each newer map at once, `on_started` of groups that have started (a bit
        per shard). `start_replica(group_id, birth, stands)` starts a replica; `stands`: it is the
        preferred leader and may call an election right away. `send` sends an item to a peer.
        `remembered`: groups that the disk holds and that have not been started. `remove_replica`
        removes one, running or not; before its first wait it has stopped.
        """
        self.map: ClusterMap | None = None
        self.epoch_min = 0
        """A map of an older epoch is not taken: this node has lost the newer one that it had. By an
        older one it would remove replicas that count on it."""
        self._founding = founding
        self._local_state = local_state
        self._host = host
        self._on_map = on_map
        self._start_replica = start_replica
        self._on_started = on_started
        self._on_fatal = on_fatal
        self._send = send
        self._alarms = alarms
        self._remembered = remembered
        self._remove_replica = remove_replica
        self._learned = asyncio.Event()
        self._adopted: ClusterMap | None = None
        self._has_adopted = asyncio.Event()
        self.adopted_by: dict[int, int] = {}
        """Epoch of the map that each other node has stored, as far as it told."""

    @property
    def epoch(self) -> int:
        """Of the newest map known; 0 before there is one."""
        return self.map.epoch if self.map is not None else 0

    def arrived(self, cluster_map: ClusterMap) -> None:
        """A map came, of this cluster."""
        if cluster_map.epoch <= self.epoch or cluster_map.epoch < self.epoch_min:
            return
        if cluster_map.cluster_id != self._founding.record.cluster_id:
            raise AssertionError("the directory holds the map of another cluster")
        self.map = cluster_map
        known = {node.node_id for node in cluster_map.nodes}
        for node_id in self.adopted_by.keys() - known:
            del self.adopted_by[node_id]  # It has left.
        self._on_map(cluster_map)
        self._learned.set()

    # -- between nodes --------------------------------------------------------------------

    def on_item(self, node_id: int, item: tuple[Any, ...]) -> None:
        """An item of one of the kinds about the map. `PeerError` if it means nothing."""
        check_map_item(item)
        kind = item[0]
        if kind == MAP_REQUEST:
            if self.map is not None and self.map.epoch > item[1]:
                self._send(node_id, (MAP_REPLY, self.map.to_bytes()))
                self._host.flush_soon()
        elif kind == MAP_EPOCH:
            self.heard_of(node_id, item[1])
        elif kind == ADOPTED:
            self.adopted_by[node_id] = max(item[1], self.adopted_by.get(node_id, 0))
            self.heard_of(node_id, item[1])
        elif kind == STARTED:
            self._on_started(int.from_bytes(item[1], "little"))
        elif kind == FOUNDED:
            self._founding.accepted(node_id, is_complete=True)
        else:
            try:
                cluster_map = ClusterMap.from_bytes(item[1])
            except MapError as error:
                raise PeerError(f"an invalid cluster map: {error}") from error
            if cluster_map.cluster_id != self._founding.record.cluster_id:
                raise PeerError(f"the map of another cluster, {cluster_map.cluster_id}")
            self.arrived(cluster_map)

    def heard_of(self, node_id: int, epoch: int) -> None:
        """A peer has a map of this epoch."""
        if epoch > self.epoch:
            self._send(node_id, (MAP_REQUEST, self.epoch))
            self._host.flush_soon()

    def peer_up(self, node_id: int) -> None:
        """A connection to a peer is ready: ask for its map, if that is newer, and tell what this
        node knows. Its hello said the same, but that was before the peer answered.
        """
        self._send(node_id, (MAP_REQUEST, self.epoch))
        if self.epoch:
            self._send(node_id, (MAP_EPOCH, self.epoch))
        if self._founding.is_complete:
            self._send(node_id, (FOUNDED, 1))
        self._host.flush_soon()

    def tell_adopted(self) -> None:
        """Tell all nodes which map is in force here."""
        adopted = self._adopted
        if adopted is None or adopted.form == 1:
            return
        for node in adopted.nodes:
            if node.node_id != self._founding.identity.node_id:
                self._send(node.node_id, (ADOPTED, adopted.epoch))
        self._host.flush_soon()

    # -- adopting -------------------------------------------------------------------------

    async def follow(self) -> None:
        """Keep what the map asks of this node, for ever."""
        while True:
            await self._learned.wait()
            self._learned.clear()
            if not await self.adopt():
                await asyncio.sleep(FULL_RETRY_SECONDS)
                self._learned.set()

    async def adopt(self) -> bool:
        """Make the newest map durable here, then start the groups that it places on this node.

        False, to be tried again: the disk is full, or a group that is to start is still being
        removed. With a full disk nothing new starts, and what runs goes on with the map in memory.
        """
        cluster_map = self.map
        if cluster_map is None or cluster_map is self._adopted:
            return True
        await self._founding.completed.wait()
        births = self._missing_births(cluster_map)
        state = self._local_state
        is_whole = state.leaving.isdisjoint(births)
        for group_id in state.leaving:
            births.pop(group_id, None)
        try:
            if births.keys() - state.births.keys():
                await state.add_births(births)
            await state.save_map(cluster_map)
        except DiskRefused as error:
            why = f"map {cluster_map.epoch} cannot be stored, and is not in force here: {error}"
            self._alarms.raise_alarm("map_not_stored", why)
            return False
        except NodeError as error:
            self._on_fatal(error)
            return True
        self._alarms.clear("map_not_stored")
        for group_id, birth in births.items():
            if group_id in state.leaving:  # Since a newer map came, a moment ago.
                is_whole = False
                continue
            replicas = cluster_map.replica_set(group_id)
            self._start_replica(group_id, birth, replicas[0] == self._founding.identity.node_id)
        if not is_whole:
            return False
        self._adopted = cluster_map
        self._has_adopted.set()
        self.tell_adopted()
        event(
            log,
            "info",
            "map_adopted",
            epoch=cluster_map.epoch,
            shards_here=sum(group_id != 0 for group_id in self._host.groups),
        )
        return True

    def _missing_births(self, cluster_map: ClusterMap) -> dict[int, Configuration]:
        """The groups that the map places here and that do not run yet, with their births.

        One that this node has had before is born as it was then. A new one is born with the
        founding set while the group has committed nothing. After that it is born empty: it neither
        votes nor stands, and learns the configuration from the log.
        """
        births: dict[int, Configuration] = {}
        for group_id in self._placed_here(cluster_map) - self._host.groups.keys():
            birth = self._local_state.births.get(group_id)
            if birth is None:
                shard = group_id - 1
                is_new = group_id != DIRECTORY_GROUP_ID and not cluster_map.is_started(shard)
                birth = Configuration(cluster_map.founding_sets[shard] if is_new else ())
            births[group_id] = birth
        return dict(sorted(births.items()))

    def _placed_here(self, cluster_map: ClusterMap) -> set[int]:
        """The groups that a map wants on this node. Group 0 only if the map says where that is."""
        node_id = self._founding.identity.node_id
        placed = {s + 1 for s, nodes in enumerate(cluster_map.replica_sets) if node_id in nodes}
        if node_id in cluster_map.directory:
            placed.add(DIRECTORY_GROUP_ID)
        return placed

    # -- letting go -----------------------------------------------------------------------

    async def let_go(self) -> None:
        """Remove what the newest map no longer places here, one replica at a time, for ever."""
        while True:
            await self._has_adopted.wait()
            self._has_adopted.clear()
            while (group_id := self._unplaced()) is not None:
                assert self._remove_replica is not None
                await self._remove_replica(group_id)

    def _unplaced(self) -> int | None:
        """A group of which this node has a replica that neither the map in force places here nor a
        newer one that is known already; None if there is none.
        """
        adopted, newest = self._adopted, self.map
        if adopted is None or newest is None or adopted.form == 1:
            return None
        held = {*self._host.groups, *self._remembered()}
        # One that was to vote but has no log yet would be born a voter again.
        held.update(g for g, birth in self._local_state.births.items() if birth.voters)
        unplaced = held - self._placed_here(adopted) - self._placed_here(newest)
        return min(unplaced - self._local_state.leaving, default=None)
