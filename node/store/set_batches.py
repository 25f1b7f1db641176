"""Batches that are all plain sets, from the payload of a log entry to the items, without detours.

Most entries of a busy shard are such. They need none of the choices that other commands do, so no
object is made of a command. What they leave, in the items, the sessions and the answers, is what
the general way leaves of the same payload (`ShardStore.apply`): replicas may take either way, and
one of the two forms of this or the other. A batch that is not plain goes the general way as a
whole, and nothing has changed before that is known.

A batch is *plain* if each command is an OP_SET of a key of 1 to 250 bytes, with a text that ends
with a line feed, and whose exptime is 0 or a span (`exptime.py`). Commands of one session follow
each other without a gap, none has a floor above the first of them, and there are SESSIONS_MAX
sessions or fewer. All numbers are below 2**63, and times up to TIME_MS_MAX. Whether the sessions
are known, and the commands new, is their table's to say (`SessionTable.take_runs`).

There are two forms, which behave alike; the native one goes with the native table.
"""

from typing import Any, Final, Protocol

import msgpack

from quorumcache.node.state_machine import (
    BATCH_VERSION,
    FLOOR,
    KEY,
    OP,
    SEQUENCE,
    SESSION,
    Command,
)
from quorumcache.node.store.commands import OP_SET, STORE_DATA, STORE_EXPTIME
from quorumcache.node.store.exptime import RELATIVE_SECONDS_MAX
from quorumcache.node.store.item import ENDS, KEY_BYTES_MAX, pack_header
from quorumcache.node.store.item_table import ItemTable
from quorumcache.node.store.read_gate import ReadGate

SESSIONS_MAX: Final = 8
"""Sessions of a plain batch."""

TIME_MS_MAX: Final = 1 << 60
"""The latest time of a plain batch."""

NUMBER_MAX: Final = (1 << 63) - 1

LINE_FEED: Final = 0x0A

PlainBatch = tuple[int, int, int, int, bool, list[int]]
"""What is to know of a plain batch: its times and its limit, as in `Batch`; how many commands it
has; whether one has an exptime; and the run of each session (`sessions.RUN_FIELDS`), in the order
of their last commands."""

_Run = tuple[int, int, int, int]


class SetBatches(Protocol):
    """See the module. It keeps nothing."""

    def read(self, payload: bytes, table: ItemTable) -> PlainBatch | None:
        """What a payload holds; None: it is not plain. Of session 0, which is none, nothing is
        said. `table`: a hint of where its items are going to be placed, nothing depends on it."""

    def place(
        self,
        payload: bytes,
        table: ItemTable,
        gate: ReadGate,
        unique: int,
        now_ms: int,
        now_s: int,
        ending: list[tuple[int, bytes]] | None,
        replaced: list[bytes] | None,
        added: list[bytes] | None,
    ) -> int:
        """Place the items of a payload that `read` has called plain, and tell the gate of it.
        Answers by how much the table's `bytes_used` grew.

        `unique`: the CAS unique handed out last. `now_ms`: what the state takes for the present,
        `now_s` as for `ItemTable.put`. Into the lists come the ends of items, with their keys; the
        large items that were replaced; and keys that had no item. `ending` is None only if no
        command has an exptime, and `replaced` only if the table has no large item.
        """


class PlainSetBatches:
    """See `SetBatches`."""

    __slots__ = ()

    def read(self, payload: bytes, table: ItemTable) -> PlainBatch | None:
        """See `SetBatches.read`."""
        try:
            batch = msgpack.unpackb(payload, use_list=False)
        except Exception:  # The general way will say what is wrong with it.
            return None
        if type(batch) is not tuple or len(batch) != 5 or type(batch[4]) is not tuple:
            return None
        version, now_ms, wall_ms, item_bytes_max, commands = batch
        if not (
            _is_number(version)
            and version == BATCH_VERSION
            and _is_number(now_ms)
            and now_ms <= TIME_MS_MAX
            and _is_number(wall_ms)
            and wall_ms <= TIME_MS_MAX
            and _is_number(item_bytes_max)
            and commands
        ):
            return None
        runs: dict[int, _Run] = {}
        has_ends = False
        for command in commands:
            if not _is_plain(command):
                return None
            session = command[SESSION]
            if session:
                run = _longer(runs.pop(session, None), command)
                if run is None:
                    return None
                runs[session] = run
            has_ends = has_ends or command[STORE_EXPTIME] > 0
        if len(runs) > SESSIONS_MAX:
            return None
        fields = [field for run in runs.values() for field in run]
        return now_ms, wall_ms, item_bytes_max, len(commands), has_ends, fields

    def place(
        self,
        payload: bytes,
        table: ItemTable,
        gate: ReadGate,
        unique: int,
        now_ms: int,
        now_s: int,
        ending: list[tuple[int, bytes]] | None,
        replaced: list[bytes] | None,
        added: list[bytes] | None,
    ) -> int:
        """See `SetBatches.place`."""
        before = table.bytes_used
        for command in msgpack.unpackb(payload, use_list=False)[4]:
            unique += 1
            key = command[KEY]
            ends_ms = now_ms + command[STORE_EXPTIME] * 1000 if command[STORE_EXPTIME] else 0
            head = pack_header(ENDS if ends_ms else 0, ends_ms, unique)
            old = table.put(key, head + command[STORE_DATA], now_s)
            if old:
                assert replaced is not None
                replaced.append(old)
            elif old is None and added is not None:
                added.append(key)
            if ends_ms:
                assert ending is not None
                ending.append((ends_ms, key))
        gate.applied(now_ms, now_s, True)
        return table.bytes_used - before


def _is_number(value: Any) -> bool:
    return type(value) is int and 0 <= value <= NUMBER_MAX


def _is_plain(command: Any) -> bool:
    """Whether a command of a payload is a plain set."""
    return (
        type(command) is tuple
        and len(command) == STORE_EXPTIME + 1
        and _is_number(command[SESSION])
        and _is_number(command[SEQUENCE])
        and _is_number(command[FLOOR])
        and type(command[OP]) is int
        and command[OP] == OP_SET
        and type(command[KEY]) is bytes
        and 0 < len(command[KEY]) <= KEY_BYTES_MAX
        and type(command[STORE_DATA]) is bytes
        and len(command[STORE_DATA]) > 0
        and command[STORE_DATA][-1] == LINE_FEED
        and _is_number(command[STORE_EXPTIME])
        and command[STORE_EXPTIME] <= RELATIVE_SECONDS_MAX
    )


def _longer(run: _Run | None, command: Command) -> _Run | None:
    """The commands of a session with one more; None: it does not go with them."""
    sequence, floor = command[SEQUENCE], command[FLOOR]
    if run is None:
        return (command[SESSION], sequence, 1, floor) if floor <= sequence else None
    session, first, count, highest = run
    if sequence != first + count or floor > first:
        return None
    return session, first, count + 1, max(floor, highest)


def new_set_batches() -> SetBatches:
    """Of the form that this process runs."""
    try:
        from quorumcache.node.core.sets import SetBatches as NativeSetBatches
    except ImportError:  # The sources run: `compiled.py` hides what was compiled.
        return PlainSetBatches()
    return NativeSetBatches()
