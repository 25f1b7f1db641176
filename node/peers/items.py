"""The kinds of item that peers put into each other's frames.

An item is a tuple whose first member is its kind. Kinds below `CONSENSUS_KINDS` are the message
types of the consensus protocol (`consensus_items.py`), as (kind, group_id, message); the others are
listed here. The forms of forwards, which carry commands, are checked in
`operations/forward_forms.py`.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.errors import PeerFrameError
from quorumcache.ring.hashing import SHARD_COUNT_MAX

CONSENSUS_KINDS: Final = 32
"""Kinds in [0, CONSENSUS_KINDS) are consensus message types."""

HEARTBEATS: Final = 30
"""(kind, ((group_id, *members of a Heartbeat), ...)): those of all groups in one item."""

HEARTBEAT_REPLIES: Final = 31
"""(kind, ((group_id, *members of a HeartbeatReply), ...))."""

FORWARD_WRITE: Final = 32
"""(kind, request_id, group_id, size, retry, command): run this command as the group's
leader. `retry`: an earlier attempt may have been executed, so nothing but the session table may
refuse it."""

FORWARD_READ: Final = 33
"""(kind, request_id, group_id, keys): read these keys linearizably as the group's leader. With a
fifth member, staleness_ns: any replica that is behind by no more than that may answer."""

FORWARD_RESULT: Final = 34
"""(kind, request_id, result): the write's result."""

FORWARD_ITEMS: Final = 35
"""(kind, request_id, items): the packed items of the read's first keys, None for a miss. One or
more; fewer than were asked for when they would make too long a frame."""

FORWARD_REFUSED: Final = 36
"""(kind, request_id, leader_node_id, why): certainly not executed; 0 = leader unknown here."""

FORWARD_LOST: Final = 37
"""(kind, request_id): leadership went while the write was in the log; it may be executed."""

FORWARD_RELAY: Final = 38
"""(kind, request_id, item): a FORWARD_WRITE or FORWARD_READ of this request, for a node that leads
the group or reaches its leader. It is passed on once at most."""

LEADERS_REQUEST: Final = 44
"""(kind, group_ids): which node leads these groups, as far as this one knows?"""

LEADERS_REPLY: Final = 45
"""(kind, ((group_id, leader_node_id, term), ...)): 0 = no leader that this node reaches. Groups
without a replica here are left out."""

MAP_REQUEST: Final = 40
"""(kind, known_epoch): send the cluster map if it is newer."""

MAP_REPLY: Final = 41
"""(kind, map_bytes)."""

MAP_EPOCH: Final = 42
"""(kind, epoch): the sender has just learned this epoch of the map."""

FOUNDED: Final = 43
"""(kind, 1): the sender knows durably that all founders have accepted the founding record."""

STARTED: Final = 47
"""(kind, bits): groups that the sender leads have started; shard 0 is the lowest bit of the first
byte."""

STARTED_BYTES_MAX: Final = SHARD_COUNT_MAX // 8

MAP_KINDS: Final = (MAP_REQUEST, MAP_REPLY, MAP_EPOCH, FOUNDED, STARTED)
"""What the follower of the map takes."""

TIME: Final = 46
"""(kind, settled, cluster_ms, wall_ms, trusted_ms): what the sender's clocks show, see
`cluster_time.py`. Every `TELL_MS`, and first of all on a new connection."""

FITNESS: Final = 52
"""(kind, late_ms, rest_ms): the sender's loop is so late, and it wants no leadership for so long
(`housekeeping/fitness.py`). To nodes of form 2 or more only."""

RARE_KINDS: Final = frozenset((*MAP_KINDS, TIME, FITNESS))
"""What concerns neither consensus nor forwards."""

_MAP_FORMS: Final[dict[int, tuple[type, ...]]] = {
    MAP_REQUEST: (int, int),
    MAP_REPLY: (int, bytes),
    MAP_EPOCH: (int, int),
    FOUNDED: (int, int),
    STARTED: (int, bytes),
}
"""Types of the members of each item of `MAP_KINDS`."""


def check_map_item(item: tuple[Any, ...]) -> None:
    """Raise `PeerFrameError` unless `item` has the form of its kind, one of the MAP kinds."""
    fits = tuple(map(type, item)) == _MAP_FORMS[item[0]]
    if not fits or (item[0] == STARTED and len(item[1]) > STARTED_BYTES_MAX):
        raise PeerFrameError(f"an item of kind {item[0]} of an unknown form")
