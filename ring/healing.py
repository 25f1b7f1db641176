"""How nodes change state by themselves, and leave the map. Pure.

joining -> active     once it is heard: it gets its share
active  -> down       silent for dead-after-ms: its replicas are rebuilt elsewhere
down    -> active     heard again for `RETURN_MS`
draining -> drained   nothing is left on it
drained, lost, joining -> out of the map: see `let_nodes_leave`
"""

from __future__ import annotations

from typing import Final

from quorumcache.ring.cluster_view import ClusterView
from quorumcache.ring.draft import Draft
from quorumcache.ring.node_info import ACTIVE, DOWN, DRAINED, DRAINING, JOINING, LOST
from quorumcache.ring.settings import dead_after_ms

RETURN_MS: Final = 5000
"""A node that was down counts again once it has been heard for so long: one that comes and goes
would otherwise have replicas copied each time."""

JOINING_MS_MAX: Final = 600_000
"""A node that was taken in and has not been heard for 10 minutes: its process has ended, or
somebody has given up. The name and the addresses are free again then."""


def follow_nodes(draft: Draft, view: ClusterView) -> tuple[bool, dict[int, int]]:
    """Change the states of nodes. (whether a new plan is needed, heirs: see `make_plan`)."""
    bound_ms = dead_after_ms(draft.settings)
    awaited = draft.awaited()
    is_new = False
    heirs: dict[int, int] = {}
    for node in tuple(draft.nodes.values()):
        is_heard = node.node_id in view.heard
        if node.state == JOINING and is_heard:
            draft.set_state(node, ACTIVE)
            if awaited is not None and draft.awaited() is None:
                heirs[awaited.node_id] = node.node_id
                awaited = None
        elif node.state == DOWN and view.heard_ms.get(node.node_id, 0) >= RETURN_MS and is_heard:
            draft.set_state(node, ACTIVE)
        elif node.state == ACTIVE and not is_heard and _silent_ms(view, node.node_id) >= bound_ms:
            draft.set_state(node, DOWN)
        else:
            continue
        is_new = is_new or node.weight > 0
    return is_new, heirs


def let_nodes_leave(draft: Draft, view: ClusterView) -> None:
    """Nodes that hold nothing: draining ones are drained then, and those that will not come back
    leave the map. No node leaves that is in a replica set, or is to be.
    """
    bound_ms = dead_after_ms(draft.settings)
    held = draft.held()
    for node in tuple(draft.nodes.values()):
        silent_ms = _silent_ms(view, node.node_id)
        if node.node_id in held:
            continue
        if node.state == DRAINING:
            draft.set_state(node, DRAINED)
        elif (
            node.state == LOST
            or (node.state == DRAINED and silent_ms >= bound_ms)
            or (node.state == JOINING and silent_ms >= JOINING_MS_MAX)
        ):
            del draft.nodes[node.node_id]


def _silent_ms(view: ClusterView, node_id: int) -> int:
    """0 for a node that is heard, and for one of which nothing is known yet."""
    return 0 if node_id in view.heard else view.silent_ms.get(node_id, 0)
