"""The lines of `cluster txn`, and the block of a commit.

    cluster txn begin [<limit_ms>]
    cluster txn get <key>*
    cluster txn snapshot <limit_ms> <key>*
    cluster txn commit <id> <deadline_ms> <bytes>

The block of a commit holds the whole transaction, one line for each thing that it asks:

    check <key> <version>                      the item is still the one that was read; 0: none
    present <key>                              there is an item
    set <key> <flags> <exptime> <bytes>        a line of data follows, of so many bytes
    delete <key>

A block is swallowed whole, whatever is wrong in it.
"""

from hashlib import blake2b
from typing import Final

from quorumcache.node.protocol.numbers import (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    strict_number,
    unsigned32,
    unsigned64,
)
from quorumcache.node.protocol.requests import (
    Cluster,
    Immediate,
    Request,
    TransactionBegin,
    TransactionCommit,
    TransactionGet,
    TransactionHead,
    TransactionSnapshot,
)
from quorumcache.node.protocol.responses import (
    BAD_DATA_CHUNK_LINE,
    BAD_FORMAT_LINE,
    TOO_LARGE_LINE,
)
from quorumcache.node.store.commands import OP_DELETE, OP_SET
from quorumcache.node.store.item import (
    ITEM_DATA,
    KEY_BYTES_MAX,
    fingerprint,
    item_fits,
    wire_data,
)
from quorumcache.node.store.large import LARGE_VALUE_BYTES
from quorumcache.node.store.transaction_forms import TXN_ID_BYTES
from quorumcache.node.store.transactions import PRESENT, TXN_BYTES_MAX, TXN_KEYS_MAX

LIMIT_MS_MIN: Final = 100
LIMIT_MS_MAX: Final = 60_000
LIMIT_MS: Final = 5_000
"""How much time a transaction has: the least, the most, and what `begin` gives without a number."""

GET_KEYS_MAX: Final = 64
"""Keys of one `cluster txn get`: what a line of other commands may be long."""

BLOCK_BYTES_MAX: Final = TXN_BYTES_MAX + 2 * TXN_KEYS_MAX * 64
"""Keys and values of a transaction, and the words and numbers of its lines."""

TXN_GET: Final = b"cluster txn get "
TXN_SNAPSHOT: Final = b"cluster txn snapshot "
"""How the lines begin that may name many keys, and so be long."""

USAGE_LINE: Final = (
    b"CLIENT_ERROR usage: cluster txn [begin [<limit_ms>] | get <key>* | "
    b"snapshot <limit_ms> <key>* | commit <id> <deadline_ms> <bytes>]\r\n"
)
LIMIT_LINE: Final = b"CLIENT_ERROR the limit of a transaction must be %d to %d ms\r\n" % (
    LIMIT_MS_MIN,
    LIMIT_MS_MAX,
)
GET_KEYS_LINE: Final = b"CLIENT_ERROR at most %d keys in one cluster txn get\r\n" % GET_KEYS_MAX
SNAPSHOT_KEYS_LINE: Final = (
    b"CLIENT_ERROR at most %d keys in one cluster txn snapshot\r\n" % TXN_KEYS_MAX
)
SNAPSHOT_LIMIT_LINE: Final = b"CLIENT_ERROR the limit of a snapshot must be %d to %d ms\r\n" % (
    LIMIT_MS_MIN,
    LIMIT_MS_MAX,
)
ID_LINE: Final = (
    b"CLIENT_ERROR a transaction needs the id and the deadline of cluster txn begin\r\n"
)
BYTES_LINE: Final = (
    b"CLIENT_ERROR transaction too large: at most %d bytes of keys and values\r\n" % TXN_BYTES_MAX
)
KEYS_LINE: Final = b"CLIENT_ERROR transaction too large: at most %d keys\r\n" % TXN_KEYS_MAX
EMPTY_LINE: Final = b"CLIENT_ERROR the transaction is empty\r\n"
CHECKED_TWICE_LINE: Final = b"CLIENT_ERROR the transaction checks a key twice\r\n"
WRITTEN_TWICE_LINE: Final = b"CLIENT_ERROR the transaction writes a key twice\r\n"
LARGE_VALUE_LINE: Final = (
    b"CLIENT_ERROR large value: transactions read no values above %d bytes\r\n" % LARGE_VALUE_BYTES
)
BLOCK_USAGE_LINE: Final = (
    b"CLIENT_ERROR the lines of a transaction are: check <key> <version> | present <key> | "
    b"set <key> <flags> <exptime> <bytes> | delete <key>\r\n"
)


def parse_transaction(words: list[bytes]) -> Request:
    """The request of a line `cluster txn ...` that no block follows."""
    if len(words) == 2:
        return Cluster((b"txn",))
    word = words[2]
    if word == b"begin" and len(words) <= 4:
        if len(words) == 3:
            return TransactionBegin(LIMIT_MS)
        limit_ms = strict_number(words[3], LIMIT_MS_MIN, LIMIT_MS_MAX)
        return Immediate(LIMIT_LINE) if limit_ms is None else TransactionBegin(limit_ms)
    if word == b"get" and len(words) > 3:
        keys = words[3:]
        if max(map(len, keys)) > KEY_BYTES_MAX:
            return Immediate(BAD_FORMAT_LINE)
        if len(keys) > GET_KEYS_MAX:
            return Immediate(GET_KEYS_LINE)
        return TransactionGet(tuple(dict.fromkeys(keys)))
    if word == b"snapshot" and len(words) > 4:
        limit_ms = strict_number(words[3], LIMIT_MS_MIN, LIMIT_MS_MAX)
        if limit_ms is None:
            return Immediate(SNAPSHOT_LIMIT_LINE)
        if max(map(len, words[4:])) > KEY_BYTES_MAX:
            return Immediate(BAD_FORMAT_LINE)
        if len(words) - 4 > TXN_KEYS_MAX:
            return Immediate(SNAPSHOT_KEYS_LINE)
        return TransactionSnapshot(limit_ms, tuple(dict.fromkeys(words[4:])))
    return Immediate(USAGE_LINE)


def commit_words(line: bytes) -> list[bytes] | None:
    """The words of a line that begins with `cluster`, if a block follows it."""
    words = [word for word in line.split(b" ") if word]
    return words if words[1:3] == [b"txn", b"commit"] else None


def parse_commit(words: list[bytes]) -> tuple[TransactionHead | Immediate, int]:
    """What the line of a commit says, or what is wrong with it; and how many bytes follow it."""
    length = strict_number(words[5], 0, INT32_MAX - 2) if len(words) == 6 else None
    if length is None:
        return Immediate(USAGE_LINE), 0
    stop = length + 2
    txn = _id(words[3])
    deadline_ms = unsigned64(words[4])
    if txn is None or deadline_ms is None or deadline_ms > INT64_MAX:
        return Immediate(ID_LINE), stop
    if length > BLOCK_BYTES_MAX:
        return Immediate(BYTES_LINE), stop
    return TransactionHead(txn, deadline_ms), stop


def _id(word: bytes) -> bytes | None:
    if len(word) != 2 * TXN_ID_BYTES:
        return None
    try:
        txn = bytes.fromhex(word.decode("ascii"))
    except ValueError:
        return None
    return txn if len(txn) == TXN_ID_BYTES else None


def parse_block(head: TransactionHead, block: bytes, item_bytes_max: int) -> Request:
    """The transaction of a whole block, its line end included, or what is wrong with it."""
    if not block.endswith(b"\r\n"):
        return Immediate(BAD_DATA_CHUNK_LINE)
    reader = _BlockReader(block[:-2], item_bytes_max)
    error = reader.read()
    if error:
        return Immediate(error)
    checks, writes = tuple(reader.checks.items()), tuple(reader.writes.values())
    txn = _identity(head, block)
    return TransactionCommit(txn, head.deadline_ms, checks, writes, reader.size)


def _identity(head: TransactionHead, block: bytes) -> bytes:
    """Who the transaction is for the shards: only a repetition of the same bytes is the same one.

    Each shard knows its own part of a transaction alone. Two that differ, under one identity, would
    take the prepared part of the other one for their own, and be executed in part.
    """
    digest = blake2b(head.txn, digest_size=TXN_ID_BYTES)
    digest.update(head.deadline_ms.to_bytes(8, "big"))
    digest.update(block)
    return digest.digest()


class _BlockReader:
    """Reads the lines of a block until one is wrong."""

    __slots__ = ("_block", "_item_bytes_max", "_keys", "_position", "checks", "size", "writes")

    def __init__(self, block: bytes, item_bytes_max: int) -> None:
        self._block = block
        self._item_bytes_max = item_bytes_max
        self._position = 0
        self._keys: set[bytes] = set()
        self.checks: dict[bytes, int] = {}
        self.writes: dict[bytes, tuple[object, ...]] = {}
        self.size = 0
        """Keys and values."""

    def read(self) -> bytes:
        """What is wrong, or nothing."""
        block = self._block
        while self._position < len(block):
            end = block.find(b"\n", self._position)
            if end < 0:
                return BLOCK_USAGE_LINE
            line = block[self._position : end].removesuffix(b"\r")
            self._position = end + 1
            error = self._line([word for word in line.split(b" ") if word])
            if error:
                return error
        return b"" if self._keys else EMPTY_LINE

    def _line(self, words: list[bytes]) -> bytes:
        if len(words) < 2:
            return BLOCK_USAGE_LINE
        word, key = words[0], words[1]
        if len(key) > KEY_BYTES_MAX:
            return BAD_FORMAT_LINE
        self.size += len(key)
        self._keys.add(key)
        if len(self._keys) > TXN_KEYS_MAX:
            return KEYS_LINE
        if word == b"set" and len(words) == 5:
            error = self._set(key, words)
        elif word == b"delete" and len(words) == 2:
            error = self._write(key, (key, OP_DELETE))
        elif word == b"check" and len(words) == 3:
            version = unsigned64(words[2])
            error = BLOCK_USAGE_LINE if version is None else self._check(key, version)
        elif word == b"present" and len(words) == 2:
            error = self._check(key, PRESENT)
        else:
            error = BLOCK_USAGE_LINE
        if not error and self.size > TXN_BYTES_MAX:
            return BYTES_LINE
        return error

    def _check(self, key: bytes, version: int) -> bytes:
        if key in self.checks:
            return CHECKED_TWICE_LINE
        self.checks[key] = version
        return b""

    def _set(self, key: bytes, words: list[bytes]) -> bytes:
        flags = unsigned32(words[2])
        exptime = strict_number(words[3], INT32_MIN, INT32_MAX)
        length = strict_number(words[4], 0, INT32_MAX)
        if flags is None or exptime is None or length is None:
            return BLOCK_USAGE_LINE
        start, stop = self._position, self._position + length
        if self._block[stop : stop + 2] != b"\r\n":
            return BAD_DATA_CHUNK_LINE
        self._position = stop + 2
        if not item_fits(len(key), flags, length, self._item_bytes_max):
            return TOO_LARGE_LINE
        self.size += length
        return self._write(key, (key, OP_SET, wire_data(flags, self._block[start:stop]), exptime))

    def _write(self, key: bytes, write: tuple[object, ...]) -> bytes:
        if key in self.writes:
            return WRITTEN_TWICE_LINE
        self.writes[key] = write
        return b""


def version_line(key: bytes, item: bytes) -> bytes:
    """One hit of a `cluster txn get`, header line and block."""
    end = item.index(b"\r\n", ITEM_DATA)
    return b"VALUE %b%b %d%b" % (key, item[ITEM_DATA:end], fingerprint(item), item[end:])
