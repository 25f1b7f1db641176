"""The words of `cluster`: what a client that routes by itself asks a node (docs/protocol.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumcache.node.admin.status import health_problems, health_warnings
from quorumcache.node.operations.read_levels import BOUND_MS_MAX, parse_level
from quorumcache.node.protocol.responses import moved, not_done

if TYPE_CHECKING:
    from quorumcache.node.clients.connection import MemcachedConnection
    from quorumcache.node.node import Node
    from quorumcache.node.operations.coordinator import Coordinator

NO_MAP = not_done("no cluster map yet")
USAGE = (
    b"CLIENT_ERROR usage: cluster map [known_epoch] | cluster redirect on|off | "
    b"cluster read linearizable|bounded <ms>|local | cluster leaders | cluster nodes | "
    b"cluster health | cluster session [open <shard>] | "
    b"cluster once <session> <sequence> <floor>\r\n"
)
READ_USAGE = (
    b"CLIENT_ERROR usage: cluster read linearizable|bounded <ms>|local, ms from 1 to %d\r\n"
    % BOUND_MS_MAX
)


def cluster_command(node: Node, connection: MemcachedConnection, args: tuple[bytes, ...]) -> bytes:
    """The whole reply to `cluster <args>`."""
    match args:
        case (b"map",):
            return _map(node, 0)
        case (b"map", epoch) if epoch.isdigit() and len(epoch) < 20:
            return _map(node, int(epoch))
        case (b"redirect", b"on" | b"off"):
            connection.redirect = args[1] == b"on"
            return b"OK\r\n"
        case (b"read", *level):
            staleness_ns = parse_level(tuple(level))
            if staleness_ns is None:
                return READ_USAGE
            connection.staleness_ns = staleness_ns
            return b"OK\r\n"
        case (b"leaders",):
            return _leaders(node)
        case (b"nodes",):
            return _nodes(node)
        case (b"health",):
            return _health(node)
        case (b"session",):
            return b"OK\r\n"
        case (b"session", b"open", _):
            # Where there is such a shard its log has the answer: see `handlers.py`.
            return no_shard(node)
        case _:
            return USAGE


def _health(node: Node) -> bytes:
    """What `/health` says, for those who reach this port only."""
    problems, warnings = health_problems(node), health_warnings(node)
    lines = [f"HEALTH {'unavailable' if problems else 'ok'}"]
    lines += [f"PROBLEM {' '.join(sentence.split())}" for sentence in problems]
    lines += [f"WARNING {' '.join(sentence.split())}" for sentence in warnings]
    return "".join(f"{line}\r\n" for line in [*lines, "END"]).encode()


def no_shard(node: Node) -> bytes:
    """The reply to a `cluster session open` that names none of the cluster's shards."""
    return b"CLIENT_ERROR no such shard: it must be 0 to %d\r\n" % (node.config.shards - 1)


def moved_line(node: Node, coordinator: Coordinator, group_id: int) -> bytes:
    """`MOVED <epoch> <shard> <leader node id> <client address>`; 0 and - while it is unknown."""
    cluster_map = node.map
    epoch = cluster_map.epoch if cluster_map is not None else 0
    leader = coordinator.leader_node(group_id)
    if leader == node.node_id:
        leader = 0  # We have just lost it: say so, rather than send the client in a circle.
    address = node.client_address_of(leader) if leader else ""
    return moved(epoch, group_id - 1, leader, address)


def _map(node: Node, known_epoch: int) -> bytes:
    cluster_map = node.map
    if cluster_map is None:
        return NO_MAP
    if cluster_map.epoch == known_epoch:
        return b"MAP %d unchanged\r\n" % known_epoch
    data = cluster_map.to_bytes()
    return b"MAP %d %d\r\n%b\r\n" % (cluster_map.epoch, len(data), data)


def _leaders(node: Node) -> bytes:
    cluster_map = node.map
    if cluster_map is None:
        return NO_MAP
    lines = []
    for shard in range(cluster_map.shard_count):
        group = node.host.groups.get(shard + 1)
        term = group.term if group is not None else 0
        leader = node.coordinator.leader_node(shard + 1)
        lines.append(f"LEADER {shard} {term} {leader}\r\n")
    lines.append("END\r\n")
    return "".join(lines).encode()


def _nodes(node: Node) -> bytes:
    cluster_map = node.map
    if cluster_map is None:
        return NO_MAP
    up = node.peers_up()
    lines = []
    for info in cluster_map.nodes:
        is_up = info.node_id == node.node_id or up.get(info.node_id, False)
        lines.append(
            f"NODE {info.node_id} {info.name} {info.peer_address or '-'} "
            f"{node.client_address_of(info.node_id) or '-'} {info.http_address or '-'} "
            f"{info.zone or '-'} {info.weight:g} {'up' if is_up else 'down'}\r\n"
        )
    lines.append("END\r\n")
    return "".join(lines).encode()
