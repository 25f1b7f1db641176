"""What a client may ask: one tuple type per kind of request.

The ops of `Store`, `RefusedStore` and `Arithmetic` are those of `node.store.commands`. Keys are
1 to 250 bytes, numbers are within the range the protocol gives them.
"""

from typing import Final, NamedTuple

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
    | Immediate
    | BinaryClient
    | Quit
)
