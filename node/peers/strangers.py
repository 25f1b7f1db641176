"""Which node is a peer of this one, and why another is a stranger. Pure.

It compares what two nodes say of themselves in their hellos (`codec.py`) with what this node knows
of the other one. `handshake.py` asks it for every connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from quorumcache.node.peers.codec import Hello, other_protocol
from quorumcache.node.peers.proofs import without_extras


class KnownPeer(NamedTuple):
    """What this node knows of another one: the founding record says it, or the newest map."""

    name: str
    disk_id: str


def why_stranger(
    own: Hello,
    other: Hello,
    known: Mapping[int, KnownPeer],
    expected_id: int | None = None,
) -> str | None:
    """A sentence that says why `other` is no peer of `own`, with both values and what to do; None
    if it is one.

    `known` holds the other nodes by id. `expected_id`: whom we dialed, or None if it came to us.
    The sentence reads the same on both sides.
    """
    us, them = f"node {own.name}", f"node {other.name}"
    if own.protocol_version != other.protocol_version:
        return other_protocol(other.protocol_version)
    if own.cluster_id != other.cluster_id:
        return (
            f"{us} is of cluster {own.cluster_id}, {them} is of cluster {other.cluster_id}: two "
            "clusters use the same addresses. Give each node its own data directory and addresses"
        )
    if own.settings_fingerprint != other.settings_fingerprint:
        theirs = without_extras(other.settings)
        unequal = setting_differences(own.name, own.settings, other.name, theirs) or (
            f"fingerprint {own.settings_fingerprint} at {us}, "
            f"{other.settings_fingerprint} at {them}"
        )
        return f"the cluster's settings differ: {unequal}. Set the same value on all nodes"
    if other.node_id == own.node_id:
        if other.incarnation == own.incarnation:
            return (
                f"{us} reached itself: another node is listed with the address of {us}. Correct "
                "that address"
            )
        return (
            f"{us} and {them} both have the id {own.node_id}: two processes run on copies of one "
            "data directory. Stop one of them"
        )
    peer = known.get(other.node_id)
    if peer is None:
        return f"{them} has the id {other.node_id}, which {us} does not know"
    if peer.name != other.name:
        return (
            f"node id {other.node_id} belongs to node {peer.name} in the cluster map, but {them} "
            "uses it. Check --name and --data-dir"
        )
    if peer.disk_id != other.disk_id:
        return (
            f"{them} has data directory {other.disk_id}, but for {us} that name belongs to data "
            f"directory {peer.disk_id}. Start it with the directory that it had, or leave it "
            "stopped"
        )
    if expected_id is not None and other.node_id != expected_id:
        expected = known.get(expected_id)
        name = expected.name if expected is not None else "?"
        return (
            f"{us} dialed node {name} (id {expected_id}) and reached {them}. Check the address of "
            f"node {name}"
        )
    return None


def setting_differences(
    our_name: str,
    our_settings: Iterable[tuple[str, str]],
    their_name: str,
    their_settings: Iterable[tuple[str, str]],
) -> str:
    """How the settings of two nodes differ, in words, in order of name; "" if they are equal."""
    ours, theirs = dict(our_settings), dict(their_settings)
    return "; ".join(
        f"{name} is {ours.get(name, 'unknown')} at node {our_name} "
        f"and {theirs.get(name, 'unknown')} at node {their_name}"
        for name in sorted({**ours, **theirs})
        if ours.get(name) != theirs.get(name)
    )
