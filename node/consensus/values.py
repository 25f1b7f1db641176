"""The values that a replicated log takes and gives. Nothing here belongs to one protocol.

Those that cross the wire or are made per request are NamedTuples: they are cheap to create and are
msgpack arrays as they stand.
"""

from __future__ import annotations

from bisect import bisect_right
from enum import IntEnum
from itertools import accumulate
from typing import Any, NamedTuple, Protocol

from quorumcache.node.consensus.errors import ConfigurationRefused

Term = int
"""A leader's reign; grows without gaps being meaningful. 0 = before any election."""
Index = int
"""Position in the log, from 1. 0 = before the first entry."""
ReplicaId = int
"""Member of a group, from 1. 0 = no replica."""


class EntryKind(IntEnum):
    """What the payload of an entry is."""

    NORMAL = 0
    """A state machine command, opaque here."""
    NOOP = 1
    """Empty; the first entry of a leader's term (Raft thesis 6.4)."""
    CONFIG = 2
    """A `Configuration`, in force from the moment it is appended (Raft thesis 4.1)."""


class Entry(NamedTuple):
    """One entry of the replicated log. Two entries of equal index and term are equal (log
    matching)."""

    index: Index  # type: ignore[assignment]  # shadows tuple.index, which nobody needs
    term: Term
    kind: int
    payload: bytes


class HardState(NamedTuple):
    """What a replica must never lose: the newest term it has seen, and the replica it voted for in
    that term (0 = none)."""

    term: Term
    voted_for: ReplicaId


class Role(IntEnum):
    """A replica's part in its term."""

    FOLLOWER = 0
    PRE_CANDIDATE = 1
    CANDIDATE = 2
    LEADER = 3


class Configuration(NamedTuple):
    """The members of a group.

    The order of `voters` is meaningful: it is the order in which replicas stand for election after
    their leader was seen to be gone. `voters_outgoing` is non-empty during a joint change (Raft
    thesis 4.3): decisions then need a majority of `voters` and a majority of `voters_outgoing`.
    Learners receive the log and count in no quorum.

    `decision` numbers what was decided about the group from outside, and never falls along a log:
    a leader that acts for an older decision than the newest configuration carries is too late. 0 =
    nothing was decided since the group's birth.
    """

    voters: tuple[ReplicaId, ...]
    learners: tuple[ReplicaId, ...] = ()
    voters_outgoing: tuple[ReplicaId, ...] = ()
    decision: int = 0

    def is_voter(self, replica: ReplicaId) -> bool:
        """True if `replica` counts in one of the quorums."""
        return replica in self.voters or replica in self.voters_outgoing

    def members(self) -> tuple[ReplicaId, ...]:
        """All replicas that receive the log, each once, ascending."""
        return tuple(sorted({*self.voters, *self.learners, *self.voters_outgoing}))

    def validate(self) -> None:
        """Raise `ConfigurationRefused` if this cannot be the configuration of a group."""
        for name, ids in (
            ("voters", self.voters),
            ("learners", self.learners),
            ("voters_outgoing", self.voters_outgoing),
        ):
            if len(set(ids)) != len(ids):
                raise ConfigurationRefused(f"{name} names a replica twice: {ids}")
            if any(replica < 1 for replica in ids):
                raise ConfigurationRefused(f"{name} must be positive replica ids: {ids}")
        if not self.voters:
            raise ConfigurationRefused("voters must not be empty")
        both = sorted({*self.voters} & {*self.learners})
        if both:
            raise ConfigurationRefused(f"replicas cannot be voters and learners: {both}")
        if self.decision < 0:
            raise ConfigurationRefused(f"decision must not be negative: {self.decision}")

    def form(self) -> tuple[Any, ...]:
        """The array that stands for it in files and messages.

        Without a decision it has three members, as in files and messages older than decisions.
        """
        replicas = (self.voters, self.learners, self.voters_outgoing)
        return (*replicas, self.decision) if self.decision else replicas


def configuration_of(form: Any) -> Configuration:
    """Inverse of `Configuration.form`; raises TypeError or ValueError if it is none. Whether the
    configuration makes sense is not asked."""
    if type(form) is not tuple:
        raise TypeError(f"{type(form).__name__} where a configuration belongs")
    if len(form) not in (3, 4):
        raise ValueError(f"a configuration of {len(form)} members")
    for ids in form[:3]:
        if type(ids) is not tuple or any(type(replica) is not int for replica in ids):
            raise TypeError("a configuration that is not of replica ids")
    decision = form[3] if len(form) == 4 else 0
    if type(decision) is not int:
        raise TypeError(f"{type(decision).__name__} where a decision belongs")
    if len(form) == 4 and decision < 1:
        raise ValueError(f"a configuration of decision {decision}")
    return Configuration(form[0], form[1], form[2], decision)


class SnapshotMeta(NamedTuple):
    """Which prefix of the log a snapshot stands for, and the configuration in force at its end."""

    last_index: Index
    last_term: Term
    configuration: Configuration


class Snapshot(NamedTuple):
    """A snapshot with its state machine data (opaque here)."""

    meta: SnapshotMeta
    data: bytes


class SnapshotSource:
    """A replica's state as of `meta.last_index`, encoded, to be read in bounded parts.

    It stays as it is while the state goes on. So several readers may share it, each at an offset of
    its own and in any thread: the disk's writes `pieces` into a file, the leader reads chunks for
    followers. No reader joins the whole. It takes `total_bytes` of memory until the last reader
    lets go of it; nothing else keeps it.
    """

    __slots__ = ("_ends", "meta", "pieces", "total_bytes")

    def __init__(self, meta: SnapshotMeta, pieces: list[bytes]) -> None:
        self.meta = meta
        self.pieces = pieces
        self._ends = list(accumulate(map(len, pieces)))
        self.total_bytes = self._ends[-1] if pieces else 0

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on; fewer at the end only (or where the source is paced:
        what is read again later)."""
        at = bisect_right(self._ends, offset)
        start = offset - (self._ends[at - 1] if at else 0)
        found: list[bytes] = []
        while size > 0 and at < len(self.pieces):
            part = self.pieces[at][start : start + size]
            found.append(part)
            size -= len(part)
            start = 0
            at += 1
        return b"".join(found)


class SendBudget(Protocol):
    """How much may be sent to learners now: a bound from outside, for all groups of a node
    together. `doublings`: 2 to the power of it bytes count as one.
    """

    def take(self, wanted: int, now_ns: int, doublings: int = 0) -> int:
        """How many of `wanted` bytes may go now; they count as gone. 0: none before some time."""

    def give_back(self, size: int, doublings: int = 0) -> None:
        """So many of the bytes taken did not go; below 0, more did."""


class ReadState(NamedTuple):
    """The read registered as `context` may be served once the state machine has applied
    `read_index`."""

    context: int
    read_index: Index


Message = tuple[Any, ...]
"""What replicas send each other: of a shape that only their protocol knows (`raft/messages.py`)."""


class Outbound(NamedTuple):
    """A message and the replica it is for."""

    to: ReplicaId
    message: Message


class SoftState(NamedTuple):
    """Volatile facts worth telling the shell when they change. `leader_id` 0 = unknown."""

    role: Role
    leader_id: ReplicaId
    term: Term


class PeerStatus(NamedTuple):
    """A leader's view of one replica (itself included).

    `match_index`: known to be durable there. `next_index`: next entry to send. `state`: "probe",
    "replicate" or "snapshot". `recent_active`: heard from since the last check of the quorum.
    `echo_ns`: when the newest heartbeat that it has answered was sent, by the leader's clock.
    `snapshot_bytes`: what it holds of a snapshot that is being sent to it.
    """

    match_index: Index
    next_index: Index
    state: str
    recent_active: bool
    echo_ns: int
    snapshot_bytes: int = 0
