"""How an elastic cluster has to come to rest once nothing fails any more. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


def unfinished(told: Mapping[str, Mapping[str, Any] | None], shards: int) -> list[str]:
    """What is not yet as it has to be; [] when everything is.

    `told`: by name of each node that shall be a member, its answer to `cluster moves`; None when
    it gives none. All nodes are taken to have the same weight and no zone.
    """
    left = [f"node {name} does not tell" for name, document in told.items() if document is None]
    views = {name: view for name, view in told.items() if view is not None}
    if not views:
        return left or ["there are no nodes"]
    newest = max(views.values(), key=lambda view: view["epoch"])
    left += [
        f"node {name} has map {view['epoch']}, not {newest['epoch']}"
        for name, view in views.items()
        if view["epoch"] != newest["epoch"]
    ]
    left += [f"group {move['group']} moves ({move['state']})" for move in newest["moves"]]
    if newest["change"]:
        left.append(f"the change {newest['change']!r} is under way")
    if newest["paused"]:
        left.append("moves are paused")
    nodes = newest["nodes"]
    names = Counter(node["name"] for node in nodes)
    left += [f"node {name} is not in the map" for name in told if not names[name]]
    left += [f"node {name} is in the map" for name in names if name not in told]
    left += [f"node {n['name']} is {n['state']}" for n in nodes if n["state"] != "active"]
    left += [f"node {n['name']} is not heard" for n in nodes if not n["heard"]]
    replicas = shards * min(int(newest["settings"]["replication"]), len(nodes))
    held = sum(node["shards"] for node in nodes)
    if held != replicas:
        left.append(f"the nodes hold {held} replicas of {shards} shards, not {replicas}")
    if nodes:
        low, high = replicas // len(nodes), -(-replicas // len(nodes))
        left += [
            f"node {node['name']} holds {node['shards']} shards, its share is {low} to {high}"
            for node in nodes
            if not low <= node["shards"] <= high
        ]
    count = sum(node["directory"] for node in nodes)
    if not min(3, len(nodes)) <= count <= 5:
        left.append(f"the directory has {count} replicas")
    return left


def misplaced(found: Mapping[str, Mapping[str, str]], shards: int, replication: int) -> list[str]:
    """The same of the replicas that run: `found` is by name of node what `stats shards` says."""
    left = []
    for group in ["directory", *(f"shard:{shard}" for shard in range(shards))]:
        roles = [told[f"{group}:role"] for told in found.values() if f"{group}:role" in told]
        if roles.count("leader") != 1:
            left.append(f"{group} has {roles.count('leader')} leaders")
        if group != "directory" and len(roles) != min(replication, len(found)):
            left.append(f"{group} runs on {len(roles)} nodes")
    return left
