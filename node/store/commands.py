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
with the batch's time. Session 0 is no session: such a command is never deduplicated.

    batch = msgpack [ now_ms, [ command, ... ] ]
"""

from collections.abc import Sequence
from typing import Any, Final

import msgpack

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


class CommandError(ValueError):
    """A batch that is no batch: bytes of another format, or of a newer version with ops this one
    does not know.
    """


_pack = msgpack.Packer(use_bin_type=True, autoreset=True).pack


def encode_batch(now_ms: int, commands: Sequence[Command]) -> bytes:
    """The log payload of `commands`; the leader stamps it with `now_ms` (Unix milliseconds)."""
    payload: bytes = _pack((now_ms, commands))
    return payload


def decode_batch(payload: bytes) -> tuple[int, tuple[Command, ...]]:
    """`(now_ms, commands)` of a payload made by `encode_batch`.

    Raises CommandError when the bytes are anything else. The contents of a command are trusted: the
    log's checksum covers them, and only the leader writes them.
    """
    try:
        batch = msgpack.unpackb(payload, use_list=False)
    except Exception as error:
        raise CommandError(f"batch of {len(payload)} bytes is not msgpack: {error}") from error
    if type(batch) is not tuple or len(batch) != 2:
        raise CommandError("batch is not a pair of time and commands")
    now_ms, commands = batch
    if type(now_ms) is not int or type(commands) is not tuple:
        raise CommandError("batch is not a pair of time and commands")
    for command in commands:
        if (
            type(command) is not tuple
            or len(command) < 5
            or type(command[3]) is not int
            or not 0 < command[3] < OP_COUNT
        ):
            raise CommandError(f"batch holds what is no command: {command!r:.100}")
    return now_ms, commands
