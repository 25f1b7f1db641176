"""What a local cluster is asked for: items, changes of its nodes, and whether these are complete.

A change is asked for over a connection of our own where its time counts: the command would need
half a second of a processor just to start.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from quorumcache.bench import processes
from quorumcache.bench.cluster import LocalCluster, LocalNode, wait_for
from quorumcache.bench.errors import TargetError
from quorumcache.bench.text_client import TextClient
from quorumcache.ring.errors import SecretError
from quorumcache.ring.secret import CLIENT, Secret

ITEM_BYTES = 100
MOVE_SECONDS = 300.0
"""Bound of every wait for moves: a move that takes longer hangs."""
LOOK_SECONDS = 0.25
"""Between two looks at a change under load: each costs the node and the load some processor time,
and a look by the thread beside the load's holds that one up."""
LEAVE_SECONDS = 90.0
"""A drained node waits up to a minute for its clients."""
ANSWER_SECONDS = 60.0
_STORED_AT_A_TIME = 2_000
"""In flight: enough to keep every shard busy."""
_READ_AT_A_TIME = 500
"""Keys of one request: its line stays far below what a node takes."""


def item(number: int) -> tuple[bytes, bytes]:
    """Key and value of a stored item."""
    return b"item:%d" % number, b"%0*d" % (ITEM_BYTES, number)


def fill(address: tuple[str, int], items: int) -> None:
    """Store items through one node. `TargetError` if one is refused."""
    with TextClient(address, ANSWER_SECONDS) as client:
        for numbers in _pieces(items, _STORED_AT_A_TIME):
            client.set_many([item(n) for n in numbers])


def count_missing(address: tuple[str, int], items: int) -> int:
    """Stored items that are gone, or hold something else."""
    missing = 0
    with TextClient(address, ANSWER_SECONDS) as client:
        for numbers in _pieces(items, _READ_AT_A_TIME):
            wanted = dict(map(item, numbers))
            found = client.get_many(list(wanted))
            missing += sum(found.get(key) != value for key, value in wanted.items())
    return missing


def _pieces(items: int, size: int) -> list[range]:
    return [range(start, min(start + size, items)) for start in range(0, items, size)]


def change(node: LocalNode, secret_path: Path, *words: str) -> None:
    """Ask one node for a change of the cluster, such as `drain b`. Returns when it is decided, not
    when it is complete. `TargetError` if it is refused.
    """
    try:
        secret = Secret.from_bytes(secret_path.read_bytes())
    except (OSError, SecretError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise TargetError(f"{secret_path}: {why}") from None
    with TextClient(node.address, ANSWER_SECONDS) as client:
        challenge = client.line(b"cluster auth").split(b" ", 2)
        if len(challenge) != 3:
            raise TargetError(f"cluster auth: {b' '.join(challenge)[:100]!r}")
        proof = secret.proof(CLIENT, bytes.fromhex(challenge[1].decode()))
        said = client.line(b"cluster auth " + proof.hex().encode())
        if said != b"OK":
            raise TargetError(f"cluster auth: {said.decode('utf-8', 'replace')}")
        client.block(b"cluster change " + " ".join(words).encode())


def admin(cluster: LocalCluster, *words: str) -> str:
    """Run `quorumcache` against the cluster; what it printed. `TargetError` if it fails."""
    seeds = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
    command = [sys.executable, "-P", "-m", "quorumcache.router.cli", *words, "--seeds", seeds]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=MOVE_SECONDS,
            check=False,
            env=processes.repository_environment(),
        )
    except subprocess.TimeoutExpired:
        raise TargetError(
            f"quorumcache {' '.join(words)} took more than {MOVE_SECONDS:g} s"
        ) from None
    if done.returncode:
        raise TargetError(f"quorumcache {' '.join(words)}: {done.stderr.strip()}")
    return done.stdout


def moves_of(address: tuple[str, int]) -> dict[str, Any]:
    """What `cluster moves` tells."""
    with TextClient(address, 5.0) as client:
        found: dict[str, Any] = json.loads(client.block(b"cluster moves"))
    return found


def wait_until_joined(cluster: LocalCluster, names: Sequence[str]) -> None:
    """Until all these nodes are active members and no replica moves."""

    def settled() -> bool:
        for node in cluster.nodes:
            node.check_alive()
        found = moves_of(cluster.nodes[0].address)
        left = _left_to_do(found, names)
        if left:
            raise TargetError(left)
        return True

    wait_for(f"the join of {', '.join(names)}", settled, MOVE_SECONDS, every_seconds=LOOK_SECONDS)


def _left_to_do(found: dict[str, Any], names: Sequence[str]) -> str:
    """What is missing until these nodes are active members and nothing moves; "" if nothing is.
    `found`: see `moves_of`.
    """
    states = {node["name"]: node["state"] for node in found["nodes"]}
    found_states = [(name, states.get(name, "no member")) for name in names]
    left = [f"node {name} is {state}" for name, state in found_states if state != "active"]
    left += [f"group {move['group']} is {move['state']}" for move in found["moves"]]
    silent = [f"node {node['name']} is not heard" for node in found["nodes"] if not node["heard"]]
    return ", ".join([*left, *silent]) if left else ""


def take_out(cluster: LocalCluster, name: str) -> None:
    """Wait until a drained node has ended by itself, and forget it."""
    wait_for(f"node {name} ending by itself", cluster.node(name).has_ended, LEAVE_SECONDS)
    cluster.remove_node(name)


def is_whole_without(address: tuple[str, int], name: str) -> bool:
    """Whether the map counts on this node for nothing any more, and no shard lacks a replica."""
    with TextClient(address, 5.0) as client:
        cluster_map = client.cluster_map()
    if cluster_map is None or cluster_map.moves:
        return False
    node = cluster_map.node_named(name)
    node_id = node.node_id if node is not None else 0
    others = sum(one.node_id != node_id for one in cluster_map.nodes)
    wanted = min(cluster_map.replication, others)
    return all(
        node_id not in replicas and len(replicas) >= wanted for replicas in cluster_map.replica_sets
    )
