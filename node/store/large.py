"""Large items: their values are tuples of pieces beside the items, and never joined.

To join a value of 16 MiB takes several milliseconds on every replica, and as long again for each
copy of the whole, so nothing here makes one. A value gets its number when it is made; the item ends
with that number in place of the value (`item.py`), and the bytes of a number never change. So a
reader that knows it can ask any replica for the pieces.

An upload (`staging.py`) ends with OP_STORE_PIECES, which runs another command, its *inner* one, on
the value: that sees wire data which ends with a number, and decides as always. What places an item
(`changes.py`) tells such data by its last byte, and sets the bit PIECES.
"""

from typing import Final

from quorumcache.node.state_machine import (
    KEY,
    OP,
    WHOLE_ITEM_BYTES_MAX,
    Command,
    Result,
)
from quorumcache.node.store.commands import (
    META_SET_DATA,
    OP_FENCED,
    OP_META_SET,
    OP_STORE_PIECES,
    PIECE_DATA,
    PIECE_POSITION,
    PIECE_TOTAL,
    PIECE_UPLOAD,
    PIECES_INNER,
    PIECES_UPLOAD,
    STORE_DATA,
    extends,
    unfenced,
)
from quorumcache.node.store.item import (
    ITEM_DATA,
    PIECES,
    VALUE_ID_BYTES,
    item_fits,
    value_bytes,
    value_id,
)
from quorumcache.node.store.state import ShardState

LARGE_VALUE_BYTES: Final = 1 << 20
"""An append that makes a value longer than this makes a large item. Values of clients that are
longer travel in pieces: a log entry holds about as much at once anyway (`BATCH_BYTES_MAX`), and
with the default item limit no value is larger."""

PIECE_BYTES: Final = 128 << 10
"""Length of all pieces of a value but the last. Whatever is done with one takes well below a
millisecond."""

LINE_FEED: Final = 10
"""What the data of all items ends with that are not large."""


def is_large(state: ShardState, data: bytes) -> bool:
    """Whether data that does not end with LINE_FEED are those of a large item."""
    return int.from_bytes(data[-VALUE_ID_BYTES:], "big") in state.values


def stage_piece(state: ShardState, command: Command, now_ms: int) -> Result:
    """OP_PIECE."""
    return state.staging.stage(
        command[PIECE_UPLOAD],
        command[PIECE_POSITION],
        command[PIECE_TOTAL],
        command[PIECE_DATA],
        now_ms,
    )


def drop_upload(state: ShardState, upload_id: int, now_ms: int, idle_ms: int) -> None:
    """Forget an upload that has been idle for so long; 0 = in any case."""
    if idle_ms > 0:
        state.staging.drop_idle(upload_id, now_ms, idle_ms)
    else:
        state.staging.drop(upload_id)


def drop_repeated(state: ShardState, command: Command, now_ms: int) -> None:
    """A command is not run, or not again: if it was to store pieces, they go. A client that repeats
    it has uploaded the value once more.
    """
    if command[OP] == OP_FENCED:
        command = unfenced(command)
    if command[OP] == OP_STORE_PIECES:
        drop_upload(state, command[PIECES_UPLOAD], now_ms, 0)


def inner_of(state: ShardState, command: Command) -> Command | None:
    """The command that an OP_STORE_PIECES runs: its data ends with the number of the uploaded
    value, which is `state.incoming`. None: pieces are missing, and what was there is dropped.

    `incoming_done` has to follow once it has run.
    """
    value = state.staging.take(command[PIECES_UPLOAD])
    inner = (*command[:OP], command[PIECES_INNER][0], command[KEY], *command[PIECES_INNER][1:])
    place = META_SET_DATA if inner[OP] == OP_META_SET else STORE_DATA
    if not value or (inner[place] if extends(inner) else not _fits(inner[place], value)):
        return None
    state.incoming = value
    return (*inner[:place], inner[place] + state.new_value(value), *inner[place + 1 :])


def _fits(header: bytes, value: tuple[bytes, ...]) -> bool:
    """Whether the data of an inner command are `b" <flags> <length>\\r\\n"` with the length of its
    value. For append and prepend there are none.
    """
    flags = header[1 : header.find(b" ", 1)]
    return flags.isdigit() and header == b" %b %d\r\n" % (flags, sum(map(len, value)))


def incoming_done(state: ShardState, key: bytes, number: int) -> None:
    """The inner command has run. Its value stays if an item has it."""
    state.incoming = ()
    item = state.items.get(key)
    if item is None or not item[0] & PIECES or value_id(item) != number:
        del state.values[number]


def made_data(state: ShardState, flags: int, data: bytes) -> bytes:
    """The data of an item that an append or prepend of `data` makes where there is none."""
    value = state.incoming
    if value:
        return b" %d %d\r\n%b" % (flags, sum(map(len, value)), data)
    return b" %d %d\r\n%b\r\n" % (flags, len(data), data)


def extended(
    state: ShardState, key: bytes, item: bytes, added: bytes, *, before: bool
) -> bytes | None:
    """The data of an item with `added` before or behind its value; None if it would be too large.

    While `incoming` holds a value, that is what is added. Flags stay. Data of a large item has to
    be placed at once.
    """
    space = item.index(b" ", ITEM_DATA + 1)
    line_end = item.index(b"\r\n", space)
    is_large = item[0] & PIECES
    length = value_bytes(item) if is_large else len(item) - line_end - 4
    incoming = state.incoming
    length += sum(map(len, incoming)) if incoming else len(added)
    flags = int(item[ITEM_DATA + 1 : space])
    item_bytes_max = state.batch_item_bytes_max
    if not item_fits(len(key), flags, length, item_bytes_max):
        return None
    if not (
        is_large
        or incoming
        or (length > LARGE_VALUE_BYTES and item_bytes_max > WHOLE_ITEM_BYTES_MAX)
    ):
        value = item[line_end + 2 : -2]
        value = added + value if before else value + added
        return b"%b %d\r\n%b\r\n" % (item[ITEM_DATA:space], length, value)
    old = state.values[value_id(item)] if is_large else (item[line_end + 2 : -2],)
    more = incoming or (added,)
    pieces = joined(more, old) if before else joined(old, more)
    return b"%b %d\r\n%b" % (item[ITEM_DATA:space], length, state.new_value(pieces))


def joined(first: tuple[bytes, ...], second: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Two values as one. Its pieces are at most PIECE_BYTES long, and two neighbours that meet here
    become one if that is not longer, so that many small appends do not make many small pieces.
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
