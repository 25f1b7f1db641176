"""Watches how this node stands with the others, and raises the alarms about it; logs all alarms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from quorumcache.node.founding.progress import FoundingProgress
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.alarms import Alarm, Alarms
    from quorumcache.node.peers.network import PeerNetwork

log = get_logger("node")

FOUNDING = "founding"
PEERS_REFUSE = "peers_refuse"


def look(
    alarms: Alarms, founding: FoundingProgress, peers: PeerNetwork | None, *, is_late: bool
) -> None:
    """Raise or clear both alarms. Called every few ticks. `is_late`: a founding should be over."""
    founding.store_if_due()
    missing = founding.waiting_for()
    if missing and is_late:
        alarms.raise_alarm(
            FOUNDING,
            f"the founding of cluster {founding.record.cluster_id} is not complete: waits for "
            f"{', '.join(missing)}. Start these nodes with the directories that they have",
        )
    elif founding.is_complete:
        alarms.clear(FOUNDING)
    refusals = peers.refusals() if peers is not None else {}
    if peers is not None and refusals and _is_cut_off(peers, len(refusals)):
        first = next(iter(refusals.values()))
        alarms.raise_alarm(
            PEERS_REFUSE,
            f"{len(refusals)} of {len(peers.node_ids)} other nodes do not accept this node. The"
            f" first reason: {first}",
        )
    else:
        alarms.clear(PEERS_REFUSE)


def _is_cut_off(peers: PeerNetwork, refusals: int) -> bool:
    """More than half of the others refuse this node, or without those that do it is no majority
    together with the others that it reaches.
    """
    others = len(peers.node_ids)
    up = sum(peers.is_up(node_id) for node_id in peers.node_ids)
    return 2 * refusals > others or 2 * (up + 1) <= others + 1


def log_alarm(alarm: Alarm, raised: bool) -> None:
    """An alarm came or went."""
    if raised:
        level = "error" if alarm.serious else "warning"
        event(log, level, "alarm_raised", alarm=alarm.name, why=alarm.sentence)
    else:
        event(log, "info", "alarm_cleared", alarm=alarm.name)
