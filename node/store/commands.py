"""Replicated commands and the batch that carries them in one log entry.

A command is a flat tuple `(session, sequence, floor, op, key, *args)`. It goes into msgpack as it
is.

| op | key | args |
|---|---|---|
| OP_SET, OP_ADD, OP_REPLACE | key | data, exptime |
| OP_CAS | key | data, exptime, cas unique |
| OP_APPEND, OP_PREPEND | key | value |
| OP_DELETE | key | |
| OP_INCR, OP_DECR | key | delta |
| OP_TOUCH, OP_GAT | key | exptime |
| OP_FLUSH | `b""` | delay |
| OP_EXPIRE | `b""` | ((key, cas unique), ...) |
| OP_TICK | `b""` | |
| OP_SESSION_OPEN | `b""` | (opens the session named in the first field) |
| OP_SESSION_EXPIRE | `b""` | (session, ...), [idle_ms] |
| OP_REFUSE | key | (stands in for a command that its leader had no room for) |

`data` is the wire form of a value, `b" <flags> <length>\\r\\n<value>\\r\\n"`; `value` is the bare
bytes. `exptime` and `delay` are the numbers of the memcached line; `apply` gives them a meaning
with the batch's times. Session 0 is no session: such a command is never deduplicated.

    batch = msgpack [ version, now_ms, wall_ms, item_bytes_max, [ command, ... ] ]

A batch holds everything that its effect depends on beside the state: the leader's times, and its
limit on what an append may make of an item. So a log has the same effect wherever, whenever and
under whatever settings it is applied. `version` stands for the rules of `apply`: it goes up when a
batch of before would have another effect, be it by a new format or by another bound of
`store/sessions.py`.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgpack

from quorumcache.node.errors import CommandError
from quorumcache.node.store.item import ITEM_BYTES_MAX

BATCH_VERSION: Final = 2
"""See the module docstring. Version 1 was `[ now_ms, [ command, ... ] ]`."""

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

OP_COUNT: Final = 18
"""One more than the largest op."""

# The arguments are ints, bytes or nested tuples of them, by op; a union would have to be narrowed
# by hand at each use.
Command = tuple[Any, ...]


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


_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


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
    payload: bytes = _pack((BATCH_VERSION, now_ms, wall_ms, item_bytes_max, commands))
    return payload


def decode_batch(payload: bytes) -> Batch:
    """The batch of a payload made by `encode_batch`.

    Raises CommandError when the bytes are anything else. The contents of a command are trusted: the
    log's checksum covers them, and only the leader writes them.
    """
    return Batch(*batch_fields(payload))


def batch_fields(payload: bytes) -> tuple[int, tuple[Command, ...], int, int]:
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
            or len(command) < 5
            or type(command[3]) is not int
            or not 0 < command[3] < OP_COUNT
        ):
            raise CommandError(f"batch holds an invalid command: {command!r:.100}")
    return now_ms, commands, wall_ms, item_bytes_max
