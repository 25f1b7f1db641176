"""Large items: their values are tuples of pieces beside the items, and never joined.

To join a value of 16 MiB takes several milliseconds on every replica, and as long again for each
copy of the whole, so nothing here makes one. A value gets its number when it is made; the item ends
with that number (`item.py`), and the bytes of a number never change. So a reader that knows it can
ask any replica for the pieces.

An upload (`staging.py`) ends with OP_STORE_PIECES, which runs another command, its *inner* one, on
the value: that sees wire data which ends with a number instead of a value (`store_pieces`), and
decides as always. If it has placed an item with that number, the item becomes a large one.
"""

from typing import Final

from quorumcache.node.state_machine import KEY, OP, Command, Result
from quorumcache.node.store.commands import (
    PIECE_DATA,
    PIECE_POSITION,
    PIECE_TOTAL,
    PIECE_UPLOAD,
    PIECES_INNER,
    PIECES_UPLOAD,
)
from quorumcache.node.store.item import ENDS, ITEM_DATA, PIECES, item_fits, value_bytes, value_id
from quorumcache.node.store.results import NOT_STORED, STORED
from quorumcache.node.store.state import ShardState, pack_unique, value_cost

LARGE_VALUE_BYTES: Final = 1 << 20
"""Values above it travel in pieces. A log entry holds about as much at once anyway
(`BATCH_BYTES_MAX`), and with the default item limit no value is larger."""

PIECE_BYTES: Final = 128 << 10
"""Length of all pieces of a value but the last. Whatever is done with one takes well below a
millisecond."""

WHOLE_ITEM_BYTES_MAX: Final = 8 << 20
"""The largest limit on items under which a log may hold whole ones of that size: no larger item is
stored in a cluster with nodes that know no pieces. An append that makes a value larger than
LARGE_VALUE_BYTES under a larger limit makes a large item."""


def stage_piece(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_PIECE."""
    staging = state.staging
    before = staging.bytes_used
    result = staging.stage(
        command[PIECE_UPLOAD],
        command[PIECE_POSITION],
        command[PIECE_TOTAL],
        command[PIECE_DATA],
        now_ms,
    )
    state.bytes_used += staging.bytes_used - before
    return result


def drop_upload(state: ShardState, upload_id: int, now_ms: int, idle_ms: int) -> None:
    """Forget an upload that has been idle for so long; 0 = in any case."""
    staging = state.staging
    before = staging.bytes_used
    if idle_ms > 0:
        staging.drop_idle(upload_id, now_ms, idle_ms)
    else:
        staging.drop(upload_id)
    state.bytes_used += staging.bytes_used - before


def inner_of(state: ShardState, command: Command) -> Command | None:
    """The command that an OP_STORE_PIECES runs, with the number of a new value at the end of its
    data. The value is `state.incoming`. None: pieces are missing, and what was there is dropped.
    """
    staging = state.staging
    before = staging.bytes_used
    state.incoming = staging.take(command[PIECES_UPLOAD])
    state.bytes_used += staging.bytes_used - before
    if not state.incoming:
        return None
    inner = command[PIECES_INNER]
    mark = pack_unique(state.next_value_id())
    return (*command[:OP], inner[0], command[KEY], inner[1] + mark, *inner[2:])


def adopt_value(state: ShardState, key: bytes) -> None:
    """An inner command has run. If it has placed an item with the newest number, that gets the
    value.
    """
    value, state.incoming = state.incoming, ()
    number = state.value_counter
    item = state.items.get(key)
    if item is None or item[0] & PIECES or item[-8:] != pack_unique(number):
        return
    state.items[key] = bytes((item[0] | PIECES,)) + item[1:]
    state.add_value(number, value)


def is_extended_large(state: ShardState, item: bytes, length: int) -> bool:
    """Whether the append or prepend that is being applied, which makes a value of `length` of an
    item, is one of this file: `extend_large`.
    """
    return bool(
        item[0] & PIECES
        or state.incoming
        or (length > LARGE_VALUE_BYTES and state.batch_item_bytes_max > WHOLE_ITEM_BYTES_MAX)
    )


def extend_large(
    state: ShardState, key: bytes, item: bytes, added: bytes, *, before: bool
) -> Result:
    """Append, or prepend, to the value of an item, so that it is a large one after that.

    `added` does not count while `incoming` holds a value.
    """
    more = state.incoming or (added,)
    space = item.index(b" ", ITEM_DATA + 1)
    flags = int(item[ITEM_DATA + 1 : space])
    length = value_bytes(item) + sum(map(len, more))
    if not item_fits(len(key), flags, length, state.batch_item_bytes_max):
        return NOT_STORED
    if item[0] & PIECES:
        value = state.values[value_id(item)]
    else:
        value = (item[item.index(b"\r\n", space) + 2 : -2],)
    value = joined(more, value) if before else joined(value, more)
    state.cas_counter = unique = state.cas_counter + 1
    number = state.next_value_id()
    state.put(
        key,
        b"%b%b%b%b %d\r\n%b"
        % (
            bytes((item[0] & ENDS | PIECES,)),
            item[1:9],
            pack_unique(unique),
            item[ITEM_DATA:space],
            length,
            pack_unique(number),
        ),
    )
    state.add_value(number, value)
    return STORED


def joined(first: tuple[bytes, ...], second: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Two values as one. Its pieces are at most PIECE_BYTES long, and of two neighbours that were
    joined here at least one is long, so that many small appends do not make many small pieces.
    """
    pieces: list[bytes] = []
    for value in (first, second):
        for position, piece in enumerate(value):
            if not position and pieces and len(pieces[-1]) + len(piece) <= PIECE_BYTES:
                pieces[-1] += piece
            elif len(piece) <= PIECE_BYTES:
                if piece:
                    pieces.append(piece)
            else:
                starts = range(0, len(piece), PIECE_BYTES)
                pieces += [piece[start : start + PIECE_BYTES] for start in starts]
    return tuple(pieces)


def cost_of(state: ShardState, item: bytes) -> int:
    """What the value of an item takes beside the item; 0 unless it is a large one."""
    return value_cost(state.values[value_id(item)]) if item[0] & PIECES else 0
