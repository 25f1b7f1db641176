"""The commands of a store: one table of what each carries and how it may be used.

The form of every command, `(session, sequence, floor, op, key, *args)`, is `state_machine.py`'s.
`COMMANDS` below says of each op what its arguments are, whether one node may forward it to another,
and whether it makes the store grow. Session 0 is no session: such a command is never deduplicated.

To add a command:

1. Here: its number, the places of its arguments, its row in `COMMANDS`. From the row follow the
   check of what other nodes forward, the refusal when memory is short, and for a command with a
   data block the word that the parser takes.
2. `effects.py`: a function that runs it, and its line in the table there.
3. `results.py`, only if it answers what no command answered before; then also the line of
   `protocol/responses.py`.
4. A command of clients without a data block: its parser in `protocol/lines.py`, a request type in
   `protocol/requests.py` unless one of those fits, and a handler in `clients/handlers.py`. A
   command of the leader alone: the code that proposes it.

So a command with a data block takes two files, and another one of clients five.

Log, peers and snapshots hold ops and arguments as they stand here. A number never gets another
meaning; another form of arguments, or another effect, is a new number or a new `BATCH_VERSION`.
"""

from typing import Any, Final, NamedTuple

from quorumcache.node.state_machine import ARGS, KEY, OP, Command

OP_SET: Final = 1
OP_ADD: Final = 2
OP_REPLACE: Final = 3
OP_CAS: Final = 4
OP_APPEND: Final = 5
OP_PREPEND: Final = 6
OP_DELETE: Final = 7
OP_INCR: Final = 8
OP_DECR: Final = 9
OP_TOUCH: Final = 10
OP_GAT: Final = 11
OP_FLUSH: Final = 12
OP_EXPIRE: Final = 13
OP_TICK: Final = 14
OP_SESSION_OPEN: Final = 15
OP_SESSION_EXPIRE: Final = 16
OP_REFUSE: Final = 17
OP_EVICT: Final = 18
OP_META_GET: Final = 19
OP_META_SET: Final = 20
OP_META_DELETE: Final = 21
OP_META_ARITHMETIC: Final = 22
OP_PIECE: Final = 23
OP_STORE_PIECES: Final = 24
OP_DROP_PIECES: Final = 25

OP_LOCK_ACQUIRE: Final = 26
OP_LOCK_RENEW: Final = 27
OP_LOCK_RELEASE: Final = 28
OP_LOCK_EXPIRE: Final = 29
OP_FENCED: Final = 30
OP_TXN_PREPARE: Final = 31
OP_TXN_COMMIT: Final = 32
OP_TXN_ABORT: Final = 33
OP_TXN_RESOLVE: Final = 34
OP_TXN_FORGET: Final = 35

OP_COUNT: Final = 36
"""One more than the largest op. An op below it without a row in `COMMANDS` is reserved."""

# Where the arguments of a command stand in its tuple. `COMMANDS` names them in this order; the
# numbers are written out so that a look costs what it would with a bare number.
STORE_DATA: Final = 5
STORE_EXPTIME: Final = 6
CAS_UNIQUE: Final = 7
EXTEND_VALUE: Final = 5
COUNT_DELTA: Final = 5
TOUCH_EXPTIME: Final = 5
FLUSH_DELAY: Final = 5
EXPIRE_PAIRS: Final = 5
EVICT_PAIRS: Final = 5
EXPIRE_SESSIONS: Final = 5
EXPIRE_IDLE_MS: Final = 6
PIECE_UPLOAD: Final = 5
PIECE_POSITION: Final = 6
PIECE_TOTAL: Final = 7
PIECE_DATA: Final = 8
PIECES_UPLOAD: Final = 5
PIECES_INNER: Final = 6
DROP_UPLOAD: Final = 5
DROP_IDLE_MS: Final = 6
LOCK_OWNER: Final = 5
ACQUIRE_TTL_MS: Final = 6
ACQUIRE_KIND: Final = 7
ACQUIRE_LIMIT: Final = 8
ACQUIRE_QUEUES: Final = 9
LOCK_TOKEN: Final = 6
RENEW_TTL_MS: Final = 7
EXPIRE_LOCKS: Final = 5
FENCE_LOCK: Final = 5
FENCE_TOKEN: Final = 6
FENCED_INNER: Final = 7
TXN_ID: Final = 5
PREPARE_RECORD_GROUP: Final = 6
PREPARE_DEADLINE_MS: Final = 7
PREPARE_CHECKS: Final = 8
PREPARE_WRITES: Final = 9
COMMIT_DEADLINE_MS: Final = 6
COMMIT_PARTICIPANTS: Final = 7
COMMIT_CHECKS: Final = 8
COMMIT_WRITES: Final = 9
ABORT_DEADLINE_MS: Final = 6
RESOLVE_DEADLINE_MS: Final = 6
RESOLVE_COMMITTED: Final = 7
META_FLAGS: Final = 5
META_GET_EXPTIME: Final = 6
META_GET_VIVIFY: Final = 7
META_GET_RECACHE: Final = 8
META_GET_UNIQUE: Final = 9
META_SET_MODE: Final = 6
META_SET_DATA: Final = 7
META_SET_EXPTIME: Final = 8
META_SET_VIVIFY: Final = 9
META_SET_COMPARE: Final = 10
META_SET_UNIQUE: Final = 11
META_SET_CLIENT_FLAGS: Final = 12
META_DELETE_COMPARE: Final = 6
META_DELETE_UNIQUE: Final = 7
META_DELETE_EXPTIME: Final = 8
META_DELETE_CLIENT_FLAGS: Final = 9
META_COUNT_DELTA: Final = 6
META_COUNT_INITIAL: Final = 7
META_COUNT_VIVIFY: Final = 8
META_COUNT_EXPTIME: Final = 9
META_COUNT_COMPARE: Final = 10
META_COUNT_UNIQUE: Final = 11


class CommandKind(NamedTuple):
    """A row of the table."""

    op: int
    name: str
    """memcached's word, where there is one."""
    args: tuple[tuple[str, type], ...] = ()
    """Name and type of each argument."""
    by_leader: bool = False
    """Only the leader proposes it, on its own account; no node forwards it to another."""
    has_block: bool = False
    """It comes with a data block, and makes the store grow: it is refused when memory is short."""


_STORE: Final = (("data", bytes), ("exptime", int))
_EXTEND: Final = (("value", bytes),)
_COUNT: Final = (("delta", int),)
_TOUCH: Final = (("exptime", int),)
_META_GET: Final = (
    *(("flags", bytes), ("exptime", int), ("vivify", int), ("recache", int), ("unique", int)),
)
_META_SET: Final = (
    *(("flags", bytes), ("mode", int), ("data", bytes), ("exptime", int), ("vivify", int)),
    *(("compare", int), ("unique", int), ("client_flags", int)),
)
_META_DELETE: Final = (
    *(("flags", bytes), ("compare", int), ("unique", int), ("exptime", int)),
    ("client_flags", int),
)
_META_ARITHMETIC: Final = (
    *(("flags", bytes), ("delta", int), ("initial", int), ("vivify", int), ("exptime", int)),
    *(("compare", int), ("unique", int)),
)

# `data` is the wire form of a value, `b" <flags> <length>\r\n<value>\r\n"`; `value` is the bare
# bytes. `exptime` and `delay` are the numbers of the memcached line: the times of the batch give
# them their meaning. Commands that concern no key in particular have the key b"".
COMMANDS: Final[dict[int, CommandKind]] = {
    kind.op: kind
    for kind in (
        CommandKind(OP_SET, "set", _STORE, has_block=True),
        CommandKind(OP_ADD, "add", _STORE, has_block=True),
        CommandKind(OP_REPLACE, "replace", _STORE, has_block=True),
        CommandKind(OP_CAS, "cas", (*_STORE, ("unique", int)), has_block=True),
        CommandKind(OP_APPEND, "append", _EXTEND, has_block=True),
        CommandKind(OP_PREPEND, "prepend", _EXTEND, has_block=True),
        CommandKind(OP_DELETE, "delete"),
        CommandKind(OP_INCR, "incr", _COUNT),
        CommandKind(OP_DECR, "decr", _COUNT),
        CommandKind(OP_TOUCH, "touch", _TOUCH),
        CommandKind(OP_GAT, "gat", _TOUCH),
        CommandKind(OP_FLUSH, "flush_all", (("delay", int),)),
        # Remove the items of these (key, cas unique) that have ended.
        CommandKind(OP_EXPIRE, "expire", (("pairs", tuple),), by_leader=True),
        # Nothing but the time of its batch, which carries out a delayed flush.
        CommandKind(OP_TICK, "tick", by_leader=True),
        # Open the session that the command names.
        CommandKind(OP_SESSION_OPEN, "session_open"),
        # Forget the sessions that have been idle for so long. A command may end before `idle_ms`.
        CommandKind(
            OP_SESSION_EXPIRE,
            "session_expire",
            (("sessions", tuple), ("idle_ms", int)),
            by_leader=True,
        ),
        # Stands in for a command that the leader had no room for.
        CommandKind(OP_REFUSE, "refuse", by_leader=True),
        # Remove the items of these (key, cas unique), so that there is room.
        CommandKind(OP_EVICT, "evict", (("pairs", tuple),), by_leader=True),
        # The meta commands, as far as they change something; see `meta_effects.py`.
        CommandKind(OP_META_GET, "mg", _META_GET),
        CommandKind(OP_META_SET, "ms", _META_SET),
        CommandKind(OP_META_DELETE, "md", _META_DELETE),
        CommandKind(OP_META_ARITHMETIC, "ma", _META_ARITHMETIC),
        # One piece of a large value, to be stored later: `staging.py`.
        CommandKind(
            OP_PIECE,
            "piece",
            (("upload", int), ("position", int), ("total_bytes", int), ("piece", bytes)),
        ),
        # Run the command `inner`, one with a data block, on the value of an upload: `large.py`.
        CommandKind(OP_STORE_PIECES, "store_pieces", (("upload", int), ("inner", tuple))),
        # Drop an upload, unless a piece of it has come within `idle_ms`.
        CommandKind(OP_DROP_PIECES, "drop_pieces", (("upload", int), ("idle_ms", int))),
        # Locks: `locks.py`. The key is the lock's name.
        CommandKind(
            OP_LOCK_ACQUIRE,
            "lock_acquire",
            (("owner", bytes), ("ttl_ms", int), ("kind", int), ("limit", int), ("queues", int)),
        ),
        CommandKind(
            OP_LOCK_RENEW, "lock_renew", (("owner", bytes), ("token", int), ("ttl_ms", int))
        ),
        CommandKind(OP_LOCK_RELEASE, "lock_release", (("owner", bytes), ("token", int))),
        # End the leases of these locks that are over.
        CommandKind(OP_LOCK_EXPIRE, "lock_expire", (("names", tuple),), by_leader=True),
        # Run the command `inner` under the fencing token of a lock: `fences.py`.
        CommandKind(OP_FENCED, "fenced", (("lock", bytes), ("token", int), ("inner", tuple))),
        # Transactions: `transactions.py`. `deadline_ms`: cluster time after which no step of the
        # transaction has an effect any more.
        CommandKind(
            OP_TXN_PREPARE,
            "txn_prepare",
            (
                *(("txn", bytes), ("record_group", int), ("deadline_ms", int)),
                *(("checks", tuple), ("writes", tuple)),
            ),
        ),
        CommandKind(
            OP_TXN_COMMIT,
            "txn_commit",
            (
                *(("txn", bytes), ("deadline_ms", int), ("participants", tuple)),
                *(("checks", tuple), ("writes", tuple)),
            ),
        ),
        CommandKind(OP_TXN_ABORT, "txn_abort", (("txn", bytes), ("deadline_ms", int))),
        CommandKind(
            OP_TXN_RESOLVE,
            "txn_resolve",
            (("txn", bytes), ("deadline_ms", int), ("committed", int)),
        ),
        CommandKind(OP_TXN_FORGET, "txn_forget", (("txn", bytes),)),
    )
}
"""By op."""

BLOCK_OPS: Final = frozenset(op for op, kind in COMMANDS.items() if kind.has_block)
"""Classic commands with a data block: those that make a store grow."""

GROWING_OPS: Final = frozenset(
    (
        *(*BLOCK_OPS, OP_META_GET, OP_META_SET, OP_META_ARITHMETIC, OP_PIECE),
        *(OP_FENCED, OP_TXN_PREPARE, OP_TXN_COMMIT),
    )
)
"""Commands that may make a store grow; of some only those that may make an item (`grows`). What
stores pieces that are there already is not among them, nor is the end of a prepared transaction."""

INNER_OPS: Final = BLOCK_OPS | {OP_META_SET}
"""Commands that OP_STORE_PIECES may run on a value in pieces."""

FENCED_OPS: Final = frozenset(
    (
        *(*INNER_OPS, OP_DELETE, OP_INCR, OP_DECR, OP_TOUCH, OP_GAT, OP_STORE_PIECES),
        *(OP_META_GET, OP_META_DELETE, OP_META_ARITHMETIC),
    )
)
"""Commands that OP_FENCED may run: those of one key. OP_META_GET is a read through the log."""

HELD_OPS: Final = FENCED_OPS | {OP_FENCED}
"""Commands that read or change the item under their key: not run while a transaction holds it."""

_ENVELOPE: Final = (int, int, int, int, bytes)

_FORWARDED_FORMS: Final[dict[int, tuple[type, ...]]] = {
    op: (*_ENVELOPE, *(type_ for _, type_ in kind.args))
    for op, kind in COMMANDS.items()
    if not kind.by_leader
}
"""Types of the members of each command that one node forwards to another."""


def may_be_forwarded(command: tuple[Any, ...]) -> bool:
    """Whether a tuple of another node is a command that nodes forward, in its form."""
    return (
        len(command) >= ARGS
        and type(command[OP]) is int
        and tuple(map(type, command)) == _FORWARDED_FORMS.get(command[OP])
        and (command[OP] != OP_STORE_PIECES or _is_inner(command[PIECES_INNER]))
        and (command[OP] not in INNER_OPS or _is_whole(command))
        and (command[OP] != OP_FENCED or _is_fenced(command))
    )


def _is_fenced(command: tuple[Any, ...]) -> bool:
    """Whether the inner command of an OP_FENCED is one that it may run, in its form."""
    inner = command[FENCED_INNER]
    if not inner or type(inner[0]) is not int or inner[0] not in FENCED_OPS:
        return False
    return may_be_forwarded(unfenced(command))


def _is_whole(command: tuple[Any, ...]) -> bool:
    """Whether the data of a command with a data block are not those of a large item."""
    if extends(command):
        return True
    data: bytes = command[META_SET_DATA if command[OP] == OP_META_SET else STORE_DATA]
    return data.endswith(b"\r\n") or not data


def extends(command: Command) -> bool:
    """Whether one of INNER_OPS adds to a value: then its data are a bare value."""
    op: int = command[OP]
    if op == OP_META_SET:
        op = command[META_SET_MODE]
    return op in (OP_APPEND, OP_PREPEND)


def _is_inner(inner: tuple[Any, ...]) -> bool:
    """Whether a tuple is the rest of a command with a data block, from its op on."""
    if not inner or type(inner[0]) is not int or inner[0] not in INNER_OPS:
        return False
    return tuple(map(type, inner[1:])) == _FORWARDED_FORMS[inner[0]][ARGS:]


def own_command(op: int, *args: object) -> Command:
    """A command of the leader itself: of no session, and of no key."""
    return (0, 0, 0, op, b"", *args)


def in_place_of(command: Command, op: int) -> Command:
    """The command `op`, which has no arguments, under the identity and with the key of another."""
    return (*command[:OP], op, command[KEY])


def grows(command: Command) -> bool:
    """Whether one of GROWING_OPS makes the store grow, as far as the command tells."""
    if command[OP] == OP_FENCED:
        inner = unfenced(command)
        return inner[OP] in GROWING_OPS and grows(inner)
    if command[OP] in (OP_TXN_PREPARE, OP_TXN_COMMIT):
        return bool(command[COMMIT_WRITES])  # In the same place in both.
    if command[OP] in (OP_META_GET, OP_META_ARITHMETIC):
        return b"N" in command[META_FLAGS]
    return True


def unfenced(command: Command) -> Command:
    """The command that an OP_FENCED runs, under the identity and with the key of the whole."""
    inner: tuple[Any, ...] = command[FENCED_INNER]
    return (*command[:OP], inner[0], command[KEY], *inner[1:])


def refenced(command: Command, inner: Command) -> Command:
    """An OP_FENCED with another command in it, under the same lock and token."""
    return (*command[:FENCED_INNER], (inner[OP], *inner[ARGS:]))


def announced_bytes(command: Command, size: int) -> int:
    """How much a command of `size` bytes of key and value is going to store: the first piece of a
    large value tells of the whole, and the others of nothing more.
    """
    if command[OP] != OP_PIECE:
        return size
    if command[PIECE_POSITION]:
        return 0
    total: int = command[PIECE_TOTAL]
    return total if total > size else size


def without_growth(command: Command) -> Command:
    """An mg or ma that makes no item: it answers OUT_OF_MEMORY where it would have made one."""
    flags = command[META_FLAGS].replace(b"N", b"n")
    return (*command[:META_FLAGS], flags, *command[META_FLAGS + 1 :])


def block_args(op: int, data: bytes, exptime: int, unique: int) -> tuple[object, ...]:
    """The arguments of a command with a data block, of what its line and its block held.

    `data` is the wire form, or the bare value for append and prepend.
    """
    if op == OP_CAS:
        return (data, exptime, unique)
    if op in (OP_APPEND, OP_PREPEND):
        return (data,)
    return (data, exptime)
