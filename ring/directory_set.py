"""Which nodes hold the directory: an odd number of them, in as many zones as possible. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from quorumcache.ring.node_info import NodeInfo

DIRECTORY_NODES_MAX: Final = 5
"""Any two of five may be lost. More would make each decision slower and add little."""


def directory_size(node_count: int) -> int:
    """How many of so many nodes hold it. Of two, both: the map must not be lost with one disk."""
    if node_count >= DIRECTORY_NODES_MAX:
        return DIRECTORY_NODES_MAX
    return 3 if node_count >= 3 else node_count


def choose_directory(
    fit: Sequence[NodeInfo],
    kept: Sequence[NodeInfo],
    current: Sequence[int],
    size: int,
) -> tuple[int, ...]:
    """Ids of `size` nodes, or fewer if there are not as many; the first should lead.

    `fit`: nodes that may hold it. `kept`: nodes that hold it and may stay where `fit` is too few,
    the best first. Those of `current` stay while zones allow it, in their order.
    """
    left = sorted(fit, key=lambda node: (node.node_id not in current, node.node_id))
    chosen: list[int] = []
    zones = {node.zone: 0 for node in left}
    while left and len(chosen) < size:
        # `min` takes the first of equals: a present holder before others.
        best = min(left, key=lambda node: zones[node.zone])
        zones[best.zone] += 1
        chosen.append(best.node_id)
        left.remove(best)
    chosen += [node.node_id for node in kept][: size - len(chosen)]
    staying = [node_id for node_id in current if node_id in chosen]
    return (*staying, *(node_id for node_id in chosen if node_id not in staying))
