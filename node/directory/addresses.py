"""What nodes tell of themselves otherwise than the map. Pure.

In a map of form 1 the zone and the weight of a node are what it says itself. In form 2 they are the
map's, since they can be changed there; a node tells only where it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.node_info import LOST


def follow_addresses(
    present: ClusterMap, known: Mapping[int, NodeInfo], complain: Callable[[str, str], None]
) -> list[NodeInfo]:
    """The nodes that have told something new: all of them at once, since a node may have the
    address that another one has just left.

    An address that still belongs to a node that has not told a new one is not given away: the
    change of the node that claims it waits until the other one is heard of. `complain` hears of
    that, and what to do.
    """
    changed = {}
    for node in present.nodes:
        told = known.get(node.node_id)
        if told is None or node.state == LOST:
            continue
        wanted = replace(told, weight=told.weight or node.weight)  # 0 is for form 2 to say.
        if present.form > 1:
            wanted = replace(
                node,
                peer_address=told.peer_address,
                client_address=told.client_address,
                http_address=told.http_address,
            )
        if wanted != node:
            changed[node.node_id] = wanted
    while changed:
        conflict = _conflict(present, changed, complain)
        if conflict is None:
            return [changed[node_id] for node_id in sorted(changed)]
        del changed[conflict]
    return []


def _conflict(
    present: ClusterMap, changed: Mapping[int, NodeInfo], complain: Callable[[str, str], None]
) -> int | None:
    """A changed node whose address another node of the map has, too; None if there is none."""
    nodes = [node for node in present.nodes if node.state != LOST]
    for field in ("peer_address", "client_address"):
        holders: dict[str, int] = {}
        for node in nodes:
            address = getattr(changed.get(node.node_id, node), field)
            other = holders.setdefault(address, node.node_id)
            if other == node.node_id:
                continue
            late = node.node_id if node.node_id in changed else other
            names = {n.node_id: n.name for n in nodes}
            complain(
                f"nodes {names[other]} and {names[node.node_id]} both have {address}",
                "start each node on an address of its own",
            )
            return late
    return None
