"""What a log drives, and what passes between it and the log. Knows no store.

A *state machine* is a shard's store or the directory. Its log carries batches of *commands*, its
answers are *results*; waiters are told them.

A command is a flat tuple `(session, sequence, floor, op, key, *args)`; the ops and their arguments
are the state machine's (`store/commands.py`). It goes into msgpack as it is. Its members are read
by the constants below, which compiled code takes for the bare numbers that they are.

    batch = msgpack [ version, now_ms, wall_ms, item_bytes_max, [ command, ... ] ]

A batch holds everything that its effect depends on beside the state: the leader's times, and its
limit on what an append may make of an item. So a log has the same effect wherever, whenever and
under whatever settings it is applied. `version` stands for the rules of `apply`: it goes up when a
batch of before would have another effect, be it by a new format or by another bound of
`store/sessions.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from typing import Any, Final, NamedTuple, Protocol

import msgpack

from quorumcache.node.errors import CommandError

DIRECTORY_GROUP_ID: Final = 0
"""The group whose state is the cluster map; shard n is group n + 1."""

ITEM_BYTES_MAX: Final = 1 << 20
"""Default of the item limit, memcached's `-I 1m`."""

WHOLE_ITEM_BYTES_MAX: Final = 8 << 20
"""The largest limit on items in a cluster with nodes that know no values in pieces: there an item
travels whole, and a larger one would hold up heartbeats until leaders fall."""

BATCH_VERSION: Final = 2
"""See the module docstring. Version 1 was `[ now_ms, [ command, ... ] ]`."""

# The arguments are ints, bytes or nested tuples of them, by op; a union would have to be narrowed
# by hand at each use.
Command = tuple[Any, ...]

SESSION: Final = 0
SEQUENCE: Final = 1
FLOOR: Final = 2
OP: Final = 3
KEY: Final = 4
ARGS: Final = 5
"""Places in a command; the arguments begin at ARGS."""

Result = int | tuple[int, int | bytes]
"""What `apply` answers to one command: a small int, or a pair of a small int and what it carries.
The numbers are the state machine's (`store/results.py`).
"""

ANY_OP: Final = 1 << 16
"""Instead of an op count, where commands are not applied."""


class Batch(NamedTuple):
    """The content of one log entry."""

    now_ms: int
    """The leader's cluster time (see `cluster_time.py`)."""
    commands: Sequence[Command]
    wall_ms: int
    """Unix milliseconds by the cluster's wall clock at the same moment; what absolute exptimes are
    compared with.
    """
    item_bytes_max: int
    """The leader's limit on an item, for append and prepend."""


def _packer() -> Callable[[Any], bytes]:
    try:
        from quorumcache.node.core.packer import pack
    except ImportError:  # The sources run: `compiled.py` hides what was compiled.
        return msgpack.Packer(autoreset=True).pack  # type: ignore[no-any-return]
    return pack


_pack: Final = _packer()


def encode_batch(
    now_ms: int,
    commands: Sequence[Command],
    wall_ms: int | None = None,
    item_bytes_max: int = ITEM_BYTES_MAX,
) -> bytes:
    """The log payload of `commands`; the leader's stamp is `now_ms` and `wall_ms` (None: the same).

    `item_bytes_max` is the leader's limit.
    """
    if wall_ms is None:
        wall_ms = now_ms
    return _pack((BATCH_VERSION, now_ms, wall_ms, item_bytes_max, commands))


def decode_batch(payload: bytes, op_count: int = ANY_OP) -> Batch:
    """The batch of a payload made by `encode_batch`.

    `op_count`: one more than the largest op that its state machine knows. Raises CommandError when
    the bytes are anything else. The contents of a command are trusted: the
    log's checksum covers them, and only the leader writes them.
    """
    return Batch(*batch_fields(payload, op_count))


def batch_fields(payload: bytes, op_count: int) -> tuple[int, tuple[Command, ...], int, int]:
    """`decode_batch` for each entry that is applied: mypyc returns a plain tuple without making it.

    The fields, and their order, are those of `Batch`.
    """
    try:
        batch = msgpack.unpackb(payload, use_list=False)
    except Exception as error:
        raise CommandError(f"batch of {len(payload)} bytes is not msgpack: {error}") from error
    if type(batch) is not tuple or not batch:
        raise CommandError("batch is not an array")
    if len(batch) == 2 or batch[0] != BATCH_VERSION:
        version = 1 if len(batch) == 2 else batch[0]
        raise CommandError(
            f"the log holds a batch of version {version!r:.20}, which only development versions of "
            f"0.1.0 read; this quorumcached reads version {BATCH_VERSION}"
        )
    if len(batch) != 5:
        raise CommandError("batch is not version, times, limit and commands")
    version, now_ms, wall_ms, item_bytes_max, commands = batch
    if (
        type(version) is not int
        or type(now_ms) is not int
        or type(wall_ms) is not int
        or type(item_bytes_max) is not int
        or type(commands) is not tuple
    ):
        raise CommandError("batch is not version, times, limit and commands")
    for command in commands:
        if (
            type(command) is not tuple
            or len(command) < ARGS
            or type(command[OP]) is not int
            or not 0 < command[OP] < op_count
        ):
            raise CommandError(f"batch holds an invalid command: {command!r:.100}")
    return now_ms, commands, wall_ms, item_bytes_max


NOT_USUAL: Final = -1 << 62
"""Answer of `apply_usual`: it has done nothing."""


class _Timed(Enum):
    TIMED = "timed"


TIMED: Final = _Timed.TIMED
"""Answer of `peek`: what the key holds depends on the time."""

Peeked = bytes | _Timed | None


class Eviction(NamedTuple):
    """Victims that a leader has chosen, and the command that removes them."""

    command: Command
    keys: Sequence[bytes]
    cost_bytes: int
    """What their items take."""


class StateMachine:
    """Deterministic: state depends on the applied entries alone.

    A class and no `Protocol`: each entry that is applied needs it, and mypyc calls the methods of a
    class directly.
    """

    __slots__ = ()

    op_count: int
    """One more than the largest op that it knows."""
    usual_result: Result
    """See `apply_usual`."""
    evicted_bytes: int
    """What was evicted in this process ever: a hint of this replica."""
    last_now_ms: int
    last_wall_ms: int

    def apply(
        self,
        index: int,
        now_ms: int,
        commands: Sequence[Command],
        wall_ms: int | None = None,
        item_bytes_max: int = ITEM_BYTES_MAX,
    ) -> list[Result]:
        """Apply one committed batch; results in order of the commands."""
        raise NotImplementedError

    def apply_usual(self, index: int, payload: bytes) -> int:
        """Apply one committed batch from its bytes if it is of the usual kind. Then each command is
        answered `usual_result`, the state is what `apply` would have made of it, and the answer
        here is by how much `bytes_used` grew. NOT_USUAL: nothing was done, `apply` has to.
        """
        return NOT_USUAL

    def is_usual(self, command: Command) -> bool:
        """Whether `apply_usual` is likely to take a batch that begins with this command. Then
        nobody keeps its commands until it is applied: its bytes are there."""
        return False

    @property
    def bytes_used(self) -> int:
        """What the state takes by the same count on all replicas; without its tables."""
        return 0

    @property
    def memory_bytes(self) -> int:
        """What the state takes in this process, with some of its tables as of the last `tidy`.
        Differs between replicas.
        """
        return self.bytes_used

    @property
    def uploading_bytes(self) -> int:
        """What uploads under way have announced. None of it can be evicted."""
        return 0

    @property
    def promised_bytes(self) -> int:
        """What uploads under way have announced, and not brought yet."""
        return 0

    def tidy(self) -> int:
        """Give back what the tables have too much, and measure them. Called about once a second.
        How many entries of tables were moved for it.
        """
        return 0

    def flush_due(self, now_ms: int) -> bool:
        """Whether something delayed is due by `now_ms`, and waits for a batch to carry it out."""
        return False

    def due_expirations(self, now_ms: int, limit: int) -> list[tuple[bytes, int]]:
        """Up to `limit` keys whose items have ended by `now_ms`, each with its item's CAS unique.
        Empty for a state machine whose state does not end by itself.
        """
        return []

    def expired_sessions(self, now_ms: int, idle_ms: int) -> list[int]:
        """Sessions that have been idle for `idle_ms` or more; empty if it has none."""
        return []

    def idle_uploads(self, now_ms: int, idle_ms: int) -> list[int]:
        """Uploads of large values that have been idle for `idle_ms`; empty if it has none."""
        return []

    def peek(self, key: bytes) -> Peeked:
        """What a reader of one key is served when that needs no time: the packed item, or None for
        a miss. TIMED: the time decides, or this state machine has no keys; then the general way
        takes the read.
        """
        return TIMED

    def serve(self, key: bytes) -> Peeked:
        """`peek`, and `note_hit` if that found an item."""
        return TIMED

    def note_hit(self, key: bytes) -> None:
        """A client was served what `peek` or a look-up found under a key: a hint for eviction."""

    def tick(self, now_ms: int) -> None:
        """It is this time, for the hints; no part of the state depends on it."""

    def lend(self, until_ns: int) -> None:
        """Readers may be served until this moment of the node's clock, and not any more from then
        on; 0 = not now. It replaces what was said before."""

    def retire(self) -> None:
        """Nobody reads it any more: its group has left this node."""

    def let_go(self) -> bool:
        """Its group has left this node, and nobody asks it for anything: free the state, some of it
        with each call. Whether there is more."""
        return False

    def lead(self, leads: bool, now_ms: int) -> None:
        """This replica leads its group from now on, or does not: also for the hints alone."""

    @property
    def planned_bytes(self) -> int:
        """Cost of the items that were chosen by `plan_eviction`, and are still there."""
        return 0

    def plan_eviction(self, bytes_wanted: int) -> Eviction | None:
        """Choose items that take so much together, as far as one command may name them. They are
        not chosen again until the command was applied or `spare` was called. None: there is nothing
        to evict.
        """
        return None

    def take_eviction_tallies(self) -> tuple[int, int]:
        """Of the chosen items that were removed since the last call: how many were never hit, and
        how many were hit after they had been chosen.
        """
        return 0, 0

    def spare(self, eviction: Eviction) -> None:
        """The command is in no log, as far as this replica can tell: its items may be chosen
        again.
        """

    def growth(self, command: Command, size: int) -> int:
        """By how much a command makes the state grow, in bytes, at most; `size` is that of its key
        and value.
        """
        return 0

    def view(self) -> Any:
        """An immutable picture of the state. Whoever asked for it ends it (`end_view`)."""
        raise NotImplementedError

    def end_view(self, view: Any) -> None:
        """Nobody reads a view any more, so what is kept for it alone may go. Again does nothing."""

    def encode_view(self, view: Any) -> Iterator[bytes]:
        """The bytes of a snapshot of `view`, in chunks."""
        raise NotImplementedError

    def restoring(self, pieces: Sequence[bytes]) -> Iterator[int]:
        """Become the state that `encode_view` wrote, whose bytes are those of `pieces`, cut
        anywhere.

        Each step takes in a piece, and yields how many bytes have been taken. The state stays as it
        was until the last step, which ends the iteration: if that is never reached, because one
        before it raises or nobody asks for more, nothing has changed.
        """
        raise NotImplementedError

    def restore(self, data: bytes) -> None:
        """The same in one go, for the start of a node."""
        for _ in self.restoring((data,)):
            pass

    def digest(self) -> bytes:
        """Equal states have equal digests."""
        raise NotImplementedError


class Waiter(Protocol):
    """Waits for the outcome of a command: exactly one of the three is called."""

    def on_result(self, result: Result) -> None: ...
    def on_refused(self, why: str) -> None: ...
    def on_lost(self) -> None: ...


class ReadWaiter(Protocol):
    """Waits for a read point: exactly one of the two is called."""

    def on_readable(self) -> None:
        """The state machine now reflects all that was acknowledged before the request."""

    def on_refused(self, why: str) -> None: ...


def group_name(group_id: int) -> str:
    """What a group is called in words for people."""
    return "the directory" if group_id == DIRECTORY_GROUP_ID else f"shard {group_id - 1}"
