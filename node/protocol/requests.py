"""What a client may ask: one tuple type per kind of request.

The ops of `Store`, `RefusedStore` and `Arithmetic` are those of `node.store.commands`. Keys are
1 to 250 bytes, numbers are within the range the protocol gives them.
"""

from typing import Final, NamedTuple

from quorumcache.node.protocol.lock_requests import (
    Fence,
    LockAcquire,
    LockRelease,
    LockRenew,
    LockShow,
)

SLAB_CLASS_MAX: Final = 63
"""memcached's slab classes are 1 to 63."""

ITEM_CLASS: Final = 1
"""The class that all items are told to be in, so that tools which walk classes find them."""


class Get(NamedTuple):
    """`get`, `gets`: one or more keys; the same key may be named repeatedly."""

    keys: tuple[bytes, ...]
    with_cas: bool


class GetAndTouch(NamedTuple):
    """`gat`, `gats`: a new exptime (signed 32 bits) for the hits."""

    exptime: int
    keys: tuple[bytes, ...]
    with_cas: bool


class Store(NamedTuple):
    """`set`, `add`, `replace`, `cas`, `append`, `prepend` with their complete data block."""

    op: int
    key: bytes
    data: bytes
    """Wire form `b" <flags> <length>\\r\\n<value>\\r\\n"`; for append and prepend the bare value.
    """
    exptime: int
    """Signed 32 bits, as received; 0 for append and prepend, which ignore it."""
    cas_unique: int
    """Of `cas`; otherwise 0."""
    noreply: bool


class RefusedStore(NamedTuple):
    """A storage command beyond the item limit; its block was swallowed.

    A set (op OP_SET) has to delete the old value before `reply` goes out, the others leave it.
    """

    op: int
    key: bytes
    reply: bytes
    noreply: bool


class Delete(NamedTuple):
    """`delete`."""

    key: bytes
    noreply: bool


class Arithmetic(NamedTuple):
    """`incr`, `decr`; `delta` is unsigned, 64 bits."""

    op: int
    key: bytes
    delta: int
    noreply: bool


class Touch(NamedTuple):
    """`touch`; `exptime` is signed, 32 bits."""

    key: bytes
    exptime: int
    noreply: bool


class MetaReply(NamedTuple):
    """How a meta command wants to be answered."""

    letters: bytes
    """The flags that the reply shows, in the order of the request, with T, N and R between them
    where they stand: a `t` before a T shows the old time, one after it the new. Only those that
    the command knows, see `meta_lines.py`; `O` has its token in `opaque`.
    """
    opaque: bytes
    """The token of `O`, without the letter; at most 31 bytes."""
    key: bytes
    """The key as it was written, which `k` shows."""
    is_base64: bool
    """Whether it was written in base64: `b` then follows it."""
    is_quiet: bool
    """Whether the usual answer is not sent (`q`). Errors are sent all the same."""


class MetaGet(NamedTuple):
    """`mg`. Numbers that were not given are None."""

    key: bytes
    with_value: bool
    """`v`."""
    no_bump: bool
    """`u`: the read does not count as a use of the item."""
    exptime: int | None
    """`T`: the hit gets this exptime. Signed 32 bits, as in all meta commands."""
    vivify: int | None
    """`N`: a miss makes an empty item with this exptime, and wins."""
    recache: int | None
    """`R`: of those who find less time left than this, one wins."""
    compare: int | None
    """`C`: no value is sent if the CAS unique is this one. Unsigned 64 bits, as in all of them."""
    explicit_cas: int | None
    """`E`: the CAS unique of an item that `N` makes."""
    reply: MetaReply


class MetaSet(NamedTuple):
    """`ms` with its complete data block."""

    key: bytes
    mode: int
    """OP_SET, OP_ADD, OP_REPLACE, OP_APPEND or OP_PREPEND (`M`)."""
    data: bytes
    """As in Store; for append and prepend the bare value."""
    flags: int
    """`F`, 32 bits, 0 when not given. They are in `data` as well, but for append and prepend, which
    need them to make an item (`N`)."""
    exptime: int | None
    """`T`."""
    vivify: int | None
    """`N`: append and prepend make a missing item, with this exptime."""
    compare: int | None
    """`C`."""
    explicit_cas: int | None
    """`E`: the CAS unique that the item gets."""
    invalidates: bool
    """`I`: where `C` is lower than the item's unique, store and mark as stale."""
    reply: MetaReply


class RefusedMetaSet(NamedTuple):
    """An `ms` beyond the item limit; its block was swallowed.

    Whatever its mode, the old value has to be deleted before `answer` goes out.
    """

    key: bytes
    answer: bytes
    reply: MetaReply
    value_bytes: int
    """Of the block."""


class MetaDelete(NamedTuple):
    """`md`."""

    key: bytes
    compare: int | None
    """`C`."""
    explicit_cas: int | None
    """`E`: the CAS unique of the item that stays, stale or emptied."""
    invalidates: bool
    """`I`: the item stays and is marked as stale."""
    exptime: int | None
    """`T`, of use with `I` and `x`."""
    empties: bool
    """`x`: the item stays, its value becomes empty."""
    flags: int
    """`F`, 32 bits: the flags of the emptied item; 0 when not given."""
    reply: MetaReply


class MetaArithmetic(NamedTuple):
    """`ma`."""

    key: bytes
    increments: bool
    """False: decrements (`M`)."""
    delta: int
    """`D`, unsigned 64 bits; 1 when not given."""
    initial: int
    """`J`: the number of an item that `N` makes, unsigned 64 bits; 0 when not given."""
    vivify: int | None
    """`N`: a missing item is made, with this exptime."""
    exptime: int | None
    """`T`."""
    compare: int | None
    """`C`; 0 is no comparison here."""
    explicit_cas: int | None
    """`E`: the CAS unique that the item gets."""
    with_value: bool
    """`v`."""
    reply: MetaReply


class MetaDebug(NamedTuple):
    """`me`."""

    key: bytes
    reply: MetaReply


class MetaNoop(NamedTuple):
    """`mn`: answered when everything before it is."""


class ValueBegins(NamedTuple):
    """A storage command with a large value, whose pieces follow: any number of `ValuePiece`, then
    `ValueEnds`.
    """

    store: Store | MetaSet
    """`data` is the wire form as far as it goes before the value: `b" <flags> <length>\\r\\n"`; for
    append and prepend it is empty."""
    value_bytes: int
    noreply: bool


class ValuePiece(NamedTuple):
    """The next bytes of a large value."""

    piece: bytes


class ValueEnds(NamedTuple):
    """The block of a large value is complete."""

    is_whole: bool
    """False: what followed the value was no line end, so nothing may be stored."""


class FlushAll(NamedTuple):
    """`flush_all`; `delay` is signed, 32 bits, 0 when none was given."""

    delay: int
    noreply: bool


class Version(NamedTuple):
    """`version`."""


class Verbosity(NamedTuple):
    """`verbosity`, with a level of 32 bits."""

    level: int
    noreply: bool


class CacheMemlimit(NamedTuple):
    """`cache_memlimit`: 8 megabytes or more."""

    megabytes: int
    noreply: bool


class Shutdown(NamedTuple):
    """`shutdown` and `shutdown graceful`; `is_known` is False for any other words."""

    is_known: bool
    noreply: bool


class Watch(NamedTuple):
    """`watch`: the bits of `admin_lines.py` for what the client wants to see."""

    kinds: int


class KeyDump(NamedTuple):
    """`lru_crawler metadump`, or `mgdump` (`is_meta`)."""

    is_meta: bool
    has_items: bool
    """False: of slab classes that hold no items here."""


class Stats(NamedTuple):
    """`stats` and the words after it."""

    args: tuple[bytes, ...]


class Cluster(NamedTuple):
    """`cluster` and the words after it."""

    args: tuple[bytes, ...]


class Once(NamedTuple):
    """`cluster once`: the identity of the next command. It has no reply of its own: what is wrong
    with it, in `error`, is the reply of that command, which is not executed.
    """

    session: int
    sequence: int
    floor: int
    error: bytes
    """Empty when all is well; otherwise the numbers are 0."""


class TransactionBegin(NamedTuple):
    """`cluster txn begin`."""

    limit_ms: int


class TransactionGet(NamedTuple):
    """`cluster txn get`: one or more keys, each once."""

    keys: tuple[bytes, ...]


class TransactionSnapshot(NamedTuple):
    """`cluster txn snapshot`: one or more keys, each once."""

    limit_ms: int
    keys: tuple[bytes, ...]


class TransactionHead(NamedTuple):
    """The line of a `cluster txn commit`, whose block is to come. Never handed out."""

    txn: bytes
    deadline_ms: int


class TransactionCommit(NamedTuple):
    """`cluster txn commit` with its block."""

    txn: bytes
    """16 bytes: the client's identity, deadline and block in one."""
    deadline_ms: int
    """Cluster time."""
    checks: tuple[tuple[bytes, int], ...]
    """Keys, each once, with the version of the item that was read; 0: there must be none, -1: there
    must be one."""
    writes: tuple[tuple[object, ...], ...]
    """Each key once: (key, OP_SET, data, exptime) or (key, OP_DELETE)."""
    size: int
    """Bytes of keys and values."""


class Immediate(NamedTuple):
    """Nothing to do: `reply` is finished and takes its place among the replies."""

    reply: bytes
    """Empty for a line that is wrong and silent by its `noreply`: it was a command all the same."""


class BinaryClient(NamedTuple):
    """The connection began with a request of memcached's binary protocol. A Quit follows."""

    reply: bytes
    """What such a client reads as an error, in its own protocol."""


class Quit(NamedTuple):
    """Send the replies of what came before, and close. The parser answers nothing after it."""


Request = (
    Get
    | GetAndTouch
    | Store
    | RefusedStore
    | Delete
    | Arithmetic
    | Touch
    | MetaGet
    | MetaSet
    | RefusedMetaSet
    | MetaDelete
    | MetaArithmetic
    | MetaDebug
    | MetaNoop
    | ValueBegins
    | ValuePiece
    | ValueEnds
    | FlushAll
    | Version
    | Verbosity
    | CacheMemlimit
    | Shutdown
    | Watch
    | KeyDump
    | Stats
    | Cluster
    | Once
    | TransactionBegin
    | TransactionGet
    | TransactionSnapshot
    | TransactionCommit
    | Fence
    | LockAcquire
    | LockRenew
    | LockRelease
    | LockShow
    | Immediate
    | BinaryClient
    | Quit
)
