"""What a node does for the directory and asks of it, put together: reports, the desk, the settings
in the map, the addresses of the others, its own departure. Every member has one, whether it holds a
replica of group 0 or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, Protocol

from quorumcache.node.directory.address_book import AddressBook
from quorumcache.node.directory.departure import Departure
from quorumcache.node.directory.desk import ChangeDesk, DeskPeers
from quorumcache.node.directory.map_settings import MapSettings, first_settings
from quorumcache.node.directory.moves_view import MovesView
from quorumcache.node.directory.reports import Ledger, Reporter, ReportPeers
from quorumcache.node.directory.steward import Steward
from quorumcache.node.peers.items import (
    ADDRESSES,
    CHANGE_REPLY,
    CHANGE_REQUEST,
    REPORT,
    check_directory_item,
)
from quorumcache.node.state_machine import DIRECTORY_GROUP_ID

if TYPE_CHECKING:
    from quorumcache.node.alarms import Alarms
    from quorumcache.node.clock import Clock
    from quorumcache.node.directory.members import Members
    from quorumcache.node.directory.seat import DirectorySeat
    from quorumcache.node.directory.state import DirectoryState
    from quorumcache.node.errors import NodeLeft
    from quorumcache.node.replica.group import ReplicaGroup
    from quorumcache.node.replica.host import ReplicaHost
    from quorumcache.node.settings.config import NodeConfig
    from quorumcache.node.storage.known_nodes import KnownNodesFile
    from quorumcache.node.telemetry.counters import Counters
    from quorumcache.ring import ClusterMap
    from quorumcache.ring.cluster_view import GroupReport


class OfficePeers(DeskPeers, ReportPeers, Protocol):
    """The peer network, as far as the office needs it."""

    def proven(self) -> set[int]: ...


DISK_TAKES_NOTHING: Final = ("disk_full", "map_not_stored")
"""Alarms of a node that cannot take a new replica: the map that asks for it is not even stored."""


class DirectoryOffice:
    """See the module."""

    def __init__(
        self,
        config: NodeConfig,
        *,
        clock: Clock,
        alarms: Alarms,
        counters: Counters,
        incarnation: int,
        members: Members,
        peers: OfficePeers,
        host: ReplicaHost,
        seat: DirectorySeat,
        moving: Callable[[], Iterable[GroupReport]],
        on_left: Callable[[NodeLeft], None],
        memory_bytes: Callable[[], int],
        known_nodes: KnownNodesFile | None = None,
    ) -> None:
        """`known_nodes`: None where nothing is kept. `config`: what this node was told itself.
        `moving`: reports of the groups that move under leaders of this node. `on_left` hears that
        this node is no member any more. `memory_bytes`: what items may take on this node.
        """
        own_id = members.own_id
        self._config = config
        self._members = members
        self._counters = counters
        self._peers = peers
        self._host = host
        self._seat = seat
        self.settings = MapSettings(own_id, config, alarms)
        self.settings.on_item_bytes_max = self._limit_items
        host.copy_rate.bytes_per_second = config.move_bytes_per_s
        self.on_item_bytes_max: Callable[[int], None] = _unheard
        """Hears of each other limit on items; the host has it already."""
        self.ledger = Ledger(own_id, clock, peers.is_heard)
        self.moves_view = MovesView(self.ledger)
        self.addresses = AddressBook(members, peers=peers, flush=host.flush_soon, file=known_nodes)
        self.reporter = Reporter(
            own_id,
            groups=host.groups,
            members=members,
            peers=peers,
            ledger=self.ledger,
            moving=moving,
            is_full=lambda: alarms.is_raised(*DISK_TAKES_NOTHING),
            memory_bytes=memory_bytes,
            on_started=seat.started,
            flush=host.flush_soon,
        )
        self.desk = ChangeDesk(
            own_id,
            clock=clock,
            first_id=incarnation & ((1 << 48) - 1),
            peers=peers,
            directory=members.directory,
            leader=self._leader,
            decide=seat.ask,
            flush=host.flush_soon,
            moves_json=self.moves_view.to_json,
        )
        self.departure = Departure(
            own_id,
            config.name,
            clock=clock,
            alarms=alarms,
            timeout_ms=config.drain_timeout_ms,
            leave=lambda done: self.desk.ask(("leave", str(own_id)), done),
            on_left=on_left,
        )
        seat.make_steward = self._make_steward

    def _make_steward(self, group: ReplicaGroup, state: DirectoryState) -> Steward:
        record = self._members.record
        assert record is not None
        return Steward(
            own_id=self._members.own_id,
            record=record,
            group=group,
            state=state,
            known=self._members.told,
            ledger=self.ledger,
            form_of=self._peers.form_of,
            proven=self._peers.proven,
            first_settings=first_settings(self._config),
            counters=self._counters,
            on_bug=self.bug,
        )

    def bug(self, text: str, error: Exception) -> None:
        """Something failed here by a bug. It is logged and counted, and the node goes on."""
        self._host.loop.call_exception_handler({"message": text, "exception": error})

    def learned(self, cluster_map: ClusterMap) -> None:
        """The follower has a newer map."""
        self.addresses.learned(cluster_map)
        self.ledger.learned(cluster_map)
        self.moves_view.learned(cluster_map)
        self.settings.learned(cluster_map)
        self._host.copy_rate.bytes_per_second = self.settings.move_bytes_per_s
        self.departure.learned(cluster_map)

    def sweep(self) -> None:
        """Called every few ticks."""
        self.desk.sweep()
        self.departure.look()

    def on_item(self, node_id: int, item: tuple[Any, ...]) -> None:
        """An item of `DIRECTORY_KINDS` from a peer. `PeerFrameError` if it means nothing."""
        check_directory_item(item)
        kind = item[0]
        if kind == REPORT:
            self.ledger.told(node_id, item)
            self._seat.started(int.from_bytes(item[2], "little"))
        elif kind == ADDRESSES:
            self.addresses.heard(item)
        elif kind == CHANGE_REQUEST:
            self.desk.on_request(node_id, *item[1:])
        else:
            assert kind == CHANGE_REPLY
            self.desk.on_reply(node_id, *item[1:])

    def _leader(self) -> int:
        group = self._host.groups.get(DIRECTORY_GROUP_ID)
        return group.leader_id if group is not None else 0

    def _limit_items(self, item_bytes_max: int) -> None:
        self._host.item_bytes_max = item_bytes_max
        self.on_item_bytes_max(item_bytes_max)


def _unheard(item_bytes_max: int) -> None:
    """There are no clients."""
