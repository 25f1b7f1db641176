"""Watches how this node stands with the others, and raises the alarms about it; logs all alarms."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from quorumcache.node.peers.line_log import LineLog
from quorumcache.node.telemetry.logs import event, get_logger

if TYPE_CHECKING:
    from quorumcache.node.alarms import Alarm, Alarms
    from quorumcache.node.clock import Clock
    from quorumcache.node.founding.progress import FoundingProgress
    from quorumcache.node.peers.network import PeerNetwork

log = get_logger("node")

FOUNDING = "founding"
PEERS_REFUSE = "peers_refuse"
STOPPING = "stopping"

FOUNDING_GRACE_NS: Final = 2_000_000_000
"""So long may a founding take before it is an alarm that it is not complete."""


class PeerWatch:
    """See the module. `name`: of this node. The founding counts from `started_ns` on."""

    def __init__(self, name: str, alarms: Alarms, clock: Clock, started_ns: int) -> None:
        self._name = name
        self._alarms = alarms
        self._clock = clock
        self._late_from_ns = started_ns + FOUNDING_GRACE_NS
        self._lines = LineLog(clock, log)

    @property
    def _is_late(self) -> bool:
        return self._clock.monotonic_ns() > self._late_from_ns

    def founding_waits(self, why: str) -> None:
        """This node is new, and this is why it is not a member yet. Called in every round."""
        if self._is_late:
            self._alarms.raise_alarm(FOUNDING, f"node {self._name} is new and {why}")
        self._lines.event("info", "founding_waits", why=why)

    def look(self, founding: FoundingProgress, peers: PeerNetwork | None) -> None:
        """Raise or clear both alarms of a member. Called every few ticks."""
        alarms = self._alarms
        founding.store_if_due()
        missing = founding.waiting_for()
        if missing and self._is_late:
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
        if alarm.name == STOPPING:  # Serious for whoever asks /health, and what was asked for.
            level = "info"
        event(log, level, "alarm_raised", alarm=alarm.name, why=alarm.sentence)
    else:
        event(log, "info", "alarm_cleared", alarm=alarm.name)
