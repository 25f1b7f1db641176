"""The kinds of item that peers put into each other's frames.

An item is a tuple whose first member is its kind. Kinds below `CONSENSUS_KINDS` are the message
types of the consensus protocol (`consensus_items.py`), as (kind, group_id, message); the others are
listed here. The forms of forwards, which carry commands, are checked in
`operations/forward_forms.py`.
"""

from __future__ import annotations

from typing import Any, Final

from quorumcache.node.errors import PeerFrameError
from quorumcache.ring.address import parse_address
from quorumcache.ring.cluster_map import NODES_MAX
from quorumcache.ring.errors import AddressError
from quorumcache.ring.hashing import SHARD_COUNT_MAX
from quorumcache.ring.map_form import MAP_BYTES_MAX

CONSENSUS_KINDS: Final = 32
"""Kinds in [0, CONSENSUS_KINDS) are consensus message types."""

BEATS: Final = 26
"""(kind, life, number, sent_ns, stamp, copied, (group_id, term, commit_index, read_context, lead,
...)): heartbeats of many groups at one moment (`beats.py`), to nodes of form 4 or more."""

BEATS_HEARD: Final = 27
"""(kind, life, number, stamp, but): the answer to all of them, but to those at these positions."""

BUNDLE: Final = 28
"""(kind, life, number, runs): entries of many groups (`bundles.py`), to nodes of form 3 or more."""

BUNDLE_HELD: Final = 29
"""(kind, life, number, but): all runs of a bundle are durable, but those at these positions."""

BUNDLE_FORM: Final = 3
"""A node of this form understands bundles."""

BEATS_FORM: Final = 4
"""A node of this form understands heartbeats as `BEATS`."""

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
fifth member, staleness_ns: any replica that is behind by no more than that may answer. With a
sixth, asks: what a meta command asks besides (`operations/meta_read.py`), of one key; to nodes of
form 2 or more only. With 4 or 8 for asks (`operations/lock_answers.py`) it is about a lock: the
names of a lock and of an owner who waits for it, or that of a lock, stand in place of keys, and
milliseconds for which the leader may keep the read in place of the staleness."""

FORWARD_RESULT: Final = 34
"""(kind, request_id, result): the write's result."""

FORWARD_ITEMS: Final = 35
"""(kind, request_id, items): the packed items of the read's first keys, None for a miss. One or
more; fewer than were asked for when they would make too long a frame. With a fourth member, if the
read asked for it: (was_hit, idle_seconds) of the one key."""

FORWARD_REFUSED: Final = 36
"""(kind, request_id, leader_node_id, why): certainly not executed; 0 = leader unknown here."""

FORWARD_LOST: Final = 37
"""(kind, request_id): leadership went while the write was in the log; it may be executed."""

FORWARD_RELAY: Final = 38
"""(kind, request_id, item): a FORWARD_WRITE or FORWARD_READ of this request, for a node that leads
the group or reaches its leader. It is passed on once at most."""

FORWARD_GETS: Final = 39
"""(kind, request_id, (group_id, key, group_id, key, ...)): gets of one key each, of shards that the
receiver leads as far as the sender knows. GETS_MAX at most; to nodes of form 3 or more only."""

FORWARD_WRITES: Final = 57
"""(kind, ((request_id, group_id, size, retry, command), ...)): FORWARD_WRITE many times, in the
order in which they are to stand in their logs. What the leader does not take, it takes nothing of
the same group behind. WRITES_MAX at most; to nodes of form 5 or more only."""

WRITES_MAX: Final = 512
"""Writes in one FORWARD_WRITES."""

WRITES_FORM: Final = 5
"""A node of this form understands FORWARD_WRITES."""

FORWARD_FOUND: Final = 56
"""(kind, request_id, items): the answers to the gets of a FORWARD_GETS, in their order: a packed
item, None for a miss, UNANSWERED, or NOT_LED. If there are fewer the rest is unanswered, too."""

UNANSWERED: Final = 0
"""In place of an item: the key has to be read with a FORWARD_READ."""

NOT_LED: Final = 1
"""Likewise, and so have all others of its group: the sender may not answer for it now."""

GETS_MAX: Final = 256
"""Gets in one FORWARD_GETS."""

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
"""(kind, epoch): the newest map that the sender knows. Told when it learns one, and on a connection
that has become ready. Who has an older one asks for it."""

FOUNDED: Final = 43
"""(kind, 1): the sender knows durably that all founders have accepted the founding record."""

STARTED: Final = 47
"""(kind, bits): groups that the sender leads have started; shard 0 is the lowest bit of the first
byte."""

STARTED_BYTES_MAX: Final = SHARD_COUNT_MAX // 8

GROUPS_MAX: Final = SHARD_COUNT_MAX + 1
"""Groups of a cluster: its shards, and the directory."""

PROOF: Final = 48
"""(kind, proof): the sender knows the cluster's secret (`proof.py`)."""

REPORT: Final = 49
"""(kind, heard, started, moving, sizes, is_full, memory_bytes), what a node tells of itself and of
the groups that it leads. heard: ids of the nodes whose items come here. started: bits as in
STARTED. moving: ((group_id, term, decision, voters, learners, bytes_done, bytes), ...), the
committed configuration of each group that moves, and how far its learners are. sizes: ((group_id,
bytes), ...), now and then, the state of each group. is_full: its disk takes no new replica.
memory_bytes: what its items may take."""

CHANGE_REQUEST: Final = 50
"""(kind, request_id, asks_to_join, texts): the leader of group 0 is to change the cluster. texts:
the words of an operator's change, or what a joining node tells of itself (`JOIN_FIELDS`)."""

CHANGE_REPLY: Final = 51
"""(kind, request_id, code, payload): what became of it (`directory/question.py`)."""

WORDS_MAX: Final = 64
"""Words of a change: a name, and each setting that there is."""

WORD_CHARS_MAX: Final = 300
"""Of one of them: a text of the map with the name of a setting before it."""

PAYLOAD_BYTES_MAX: Final = MAP_BYTES_MAX
"""Longest payload of a reply: a map."""

ADOPTED: Final = 52
"""(kind, epoch): the sender has stored the map of this epoch, and never goes back to what an older
one wanted of it. Told again and again, of maps of form 2 only. Who has an older one asks for it."""

MAP_KINDS: Final = (MAP_REQUEST, MAP_REPLY, MAP_EPOCH, FOUNDED, STARTED, ADOPTED)
"""What the follower of the map takes."""

TIME: Final = 46
"""(kind, settled, cluster_ms, wall_ms, trusted_ms): what the sender's clocks show, see
`cluster_time.py`. Every `TELL_MS`, and first of all on a new connection."""

FITNESS: Final = 53
"""(kind, late_ms, rest_ms): the sender's loop is so late, and it wants no leadership for so long
(`housekeeping/fitness.py`). To nodes of form 2 or more only."""

ADDRESSES: Final = 54
"""(kind, ((node_id, version, peer_address), ...)): what nodes have told of themselves otherwise
than the sender's map says. version: the start of its data directory in which the node told it
(`directory/address_book.py`)."""

ADDRESSES_MAX: Final = 64
"""Addresses in one item: some KiB. The others come with the next one."""

MEMORY: Final = 55
"""(kind, lendable_bytes, most_bytes, free_bytes, grants, wanted), every second, to nodes of form 2
or more in a cluster whose map is of form 2. lendable_bytes: what the receiver may lend shards that
have a replica at the sender. most_bytes: the most that a replica there can ever be granted.
free_bytes: what the receiver may still store there where nothing is evicted. grants: ((group_id,
bytes), ...), what items may take there of each group that the receiver leads or has a replica of.
wanted: ((group_id, bytes), ...), what groups that the sender leads want to be able to hold
(`housekeeping/memory_round.py`)."""

HOT_KEYS: Final = 58
"""(kind, group_id, bits), every few seconds while memory is short, to the replicas of a group that
the sender leads and that are on nodes of form 2 or more, in a cluster whose map is of form 2. bits:
which of its items were hit lately (`store/hot_keys.py`)."""

DIRECTORY_KINDS: Final = (REPORT, CHANGE_REQUEST, CHANGE_REPLY, ADDRESSES)
"""What `directory/office.py` takes. They are sent to nodes that speak form 2 only."""

RARE_KINDS: Final = frozenset((*MAP_KINDS, *DIRECTORY_KINDS, TIME, FITNESS, MEMORY, HOT_KEYS))
"""What concerns neither consensus nor forwards."""

_MAP_FORMS: Final[dict[int, tuple[type, ...]]] = {
    MAP_REQUEST: (int, int),
    MAP_REPLY: (int, bytes),
    MAP_EPOCH: (int, int),
    FOUNDED: (int, int),
    STARTED: (int, bytes),
    ADOPTED: (int, int),
}
"""Types of the members of each item of `MAP_KINDS`."""


def check_map_item(item: tuple[Any, ...]) -> None:
    """Raise `PeerFrameError` unless `item` has the form of its kind, one of the MAP kinds."""
    fits = tuple(map(type, item)) == _MAP_FORMS[item[0]]
    if not fits or (item[0] == STARTED and len(item[1]) > STARTED_BYTES_MAX):
        raise PeerFrameError(f"an item of kind {item[0]} of an unknown form")


_DIRECTORY_FORMS: Final[dict[int, tuple[type, ...]]] = {
    REPORT: (int, tuple, bytes, tuple, tuple, bool, int),
    CHANGE_REQUEST: (int, int, bool, tuple),
    CHANGE_REPLY: (int, int, int, bytes),
    ADDRESSES: (int, tuple),
}
"""Types of the members of each item of `DIRECTORY_KINDS`."""

_MOVING_FORM: Final = (int, int, int, tuple, tuple, int, int)


def check_directory_item(item: tuple[Any, ...]) -> None:
    """Raise `PeerFrameError` unless `item` has the form of its kind, one of `DIRECTORY_KINDS`."""
    kind = item[0]
    fits = tuple(map(type, item)) == _DIRECTORY_FORMS[kind]
    if fits and kind == REPORT:
        fits = _is_report(*item[1:5]) and item[6] >= 0
    elif fits and kind == CHANGE_REQUEST:
        texts = item[3]
        fits = 0 < len(texts) <= WORDS_MAX and all(
            type(text) is str and len(text) <= WORD_CHARS_MAX for text in texts
        )
    elif fits and kind == ADDRESSES:
        fits = len(item[1]) <= ADDRESSES_MAX and all(_is_address(each) for each in item[1])
    elif fits:
        fits = len(item[3]) <= PAYLOAD_BYTES_MAX
    if not fits:
        raise PeerFrameError(f"an item of kind {kind} of an unknown form")


def _is_address(told: Any) -> bool:
    if type(told) is not tuple or tuple(map(type, told)) != (int, int, str):
        return False
    node_id, version, address = told
    try:
        parse_address(address)
    except AddressError:
        return False
    return bool(node_id > 0 and version > 0)


def _is_report(
    heard: tuple[Any, ...], started: bytes, moving: tuple[Any, ...], sizes: tuple[Any, ...]
) -> bool:
    return (
        _are_numbers(heard, NODES_MAX)
        and len(started) <= STARTED_BYTES_MAX
        and len(moving) <= GROUPS_MAX
        and all(_is_moving(each) for each in moving)
        and len(sizes) <= GROUPS_MAX
        and all(type(each) is tuple and len(each) == 2 and _are_numbers(each, 2) for each in sizes)
    )


def _is_moving(report: Any) -> bool:
    return (
        type(report) is tuple
        and tuple(map(type, report)) == _MOVING_FORM
        and _are_numbers(report[3], NODES_MAX)
        and _are_numbers(report[4], NODES_MAX)
        and all(number >= 0 for number in (*report[:3], *report[5:]))
    )


def _are_numbers(values: tuple[Any, ...], length_max: int) -> bool:
    return len(values) <= length_max and all(type(n) is int and n >= 0 for n in values)
