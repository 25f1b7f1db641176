"""A store of one process that knows `cluster txn`, `cluster lock` and `cluster fence`, and can
break their rules.

It answers late, and loses connections before and behind a command, so its clients live through
what they do in a cluster. A rule that it breaks stands in `broken`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import blake2b
from random import Random

RULES = ("check", "all or nothing", "once", "abort", "fence", "token", "one holder")
LOSES = 0.01


class TinyDealer:
    """`now_ms`: its clock. One command after the other; so it is serializable as it stands."""

    def __init__(self, random: Random, now_ms: Callable[[], int], broken: str = "") -> None:
        assert not broken or broken in RULES
        self.random = random
        self.now_ms = now_ms
        self.broken = broken
        self.items: dict[bytes, tuple[bytes, int]] = {}
        """Value and CAS unique."""
        self.decided: dict[bytes, bytes] = {}
        self.locks: dict[bytes, tuple[bytes, int, int]] = {}
        """Owner, token, when it ends."""
        self.newest: dict[bytes, int] = {}
        self._counter = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        fence: tuple[bytes, int] | None = None
        try:
            while True:
                words = (await reader.readuntil(b"\n"))[:-2].split(b" ")
                if words[:2] == [b"cluster", b"fence"]:
                    fence = (words[2], int(words[3]))
                    continue
                data = b""
                length = _length(words)
                if length >= 0:
                    data = (await reader.readexactly(length + 2))[:-2]
                await self._loses()
                reply = self._fenced(fence, words, data)
                fence = None
                await self._loses()
                writer.write(reply + b"\r\n")
        except (EOFError, OSError):
            writer.close()

    async def _loses(self) -> None:
        await asyncio.sleep(self.random.random() * 0.003)
        if self.random.random() < LOSES:
            raise ConnectionResetError

    # -- commands ----------------------------------------------------------------------------------

    def _fenced(self, fence: tuple[bytes, int] | None, words: list[bytes], data: bytes) -> bytes:
        if fence is not None and self.broken != "fence":
            lock, token = fence
            newest = self.newest.get(lock, 0)
            if token < newest:
                return b"CLIENT_ERROR stale fence: the newest token seen here is %d" % newest
            self.newest[lock] = token
        if words[0] == b"cluster":
            return self._cluster(words[1:], data)
        key = words[1]
        there = self.items.get(key)
        match words[0]:
            case b"get" | b"gets":
                return self._values(words[1:], with_unique=words[0] == b"gets")
            case b"add" if there is not None:
                return b"NOT_STORED"
            case b"cas" if there is None or there[1] != int(words[5]):
                return b"EXISTS" if there is not None else b"NOT_FOUND"
            case b"set" | b"add" | b"cas":
                self._put(key, data)
                return b"STORED"
            case b"delete":
                return b"DELETED" if self.items.pop(key, None) else b"NOT_FOUND"
        assert words[0] == b"touch"
        return b"TOUCHED" if there is not None else b"NOT_FOUND"

    def _put(self, key: bytes, value: bytes | None) -> None:
        self._counter += 1
        if value is None:
            self.items.pop(key, None)
        else:
            self.items[key] = (value, self._counter)

    def _values(self, keys: list[bytes], *, with_unique: bool, with_version: bool = False) -> bytes:
        found = b""
        for key in keys:
            if key in self.items:
                value, unique = self.items[key]
                number = self._version(key) if with_version else unique
                last = b" %d" % number if with_unique else b""
                found += b"VALUE %b 0 %d%b\r\n%b\r\n" % (key, len(value), last, value)
        return found + b"END"

    def _version(self, key: bytes) -> int:
        if key not in self.items:
            return 0
        value, unique = self.items[key]
        return int.from_bytes(blake2b(b"%d %b" % (unique, value), digest_size=8).digest()) | 2

    def _cluster(self, words: list[bytes], data: bytes) -> bytes:
        match words[:2]:
            case [b"txn", b"begin"]:
                self._counter += 1
                return b"TXN %032x %d" % (self._counter, self.now_ms() + 5000)
            case [b"txn", b"get"]:
                return self._values(words[2:], with_unique=True, with_version=True)
            case [b"txn", b"commit"]:
                return self._commit(words[2], data)
        return self._lock(words[1:])

    # -- transactions ------------------------------------------------------------------------------

    def _commit(self, txn: bytes, block: bytes) -> bytes:
        if txn in self.decided and self.broken != "once":
            return self.decided[txn]
        conflict, writes = b"", []
        while block:
            line, _, block = block.partition(b"\r\n")
            words = line.split(b" ")
            key = words[1]
            if words[0] == b"check" and self._version(key) != int(words[2]):
                conflict = key if self.broken != "check" else b""
            elif words[0] == b"present" and key not in self.items:
                conflict = key
            elif words[0] == b"set":
                length = int(words[4])
                writes.append((key, block[:length]))
                block = block[length + 2 :]
            elif words[0] == b"delete":
                writes.append((key, None))
        if self.broken == "all or nothing" and self.random.random() < 0.05:
            writes = writes[1:]
        if not conflict or (self.broken == "abort" and self.random.random() < 0.1):
            for key, value in writes:
                self._put(key, value)
        self.decided[txn] = b"CONFLICT %b" % conflict if conflict else b"COMMITTED"
        return self.decided[txn]

    # -- locks -------------------------------------------------------------------------------------

    def _lock(self, words: list[bytes]) -> bytes:
        verb, name, owner = words[:3]
        now_ms = self.now_ms()
        holder, token, ends_ms = self.locks.get(name, (b"", 0, 0))
        if ends_ms <= now_ms or (self.broken == "one holder" and self.random.random() < 0.3):
            holder, token = b"", 0
        if verb == b"acquire":
            if holder and holder != owner:
                return b"BUSY" if words[4] == b"0" else b"WAITING 1"
            if not holder:
                self._counter += 1
                is_old = self.broken == "token" and self.random.random() < 0.2
                token = self._counter - 200 * is_old
            self.locks[name] = (owner, token, now_ms + int(words[3]))
            return b"LOCKED %d" % token
        if holder != owner or (len(words) > 3 and int(words[3]) != token):
            return b"NOT_HELD"
        if verb == b"release":
            del self.locks[name]
            return b"RELEASED"
        self.locks[name] = (owner, token, now_ms + int(words[4]))
        return b"LOCKED %d" % token


def _length(words: list[bytes]) -> int:
    """Of the data behind a line; -1: there is none."""
    if words[0] in (b"set", b"add", b"cas"):
        return int(words[4])
    return int(words[5]) if words[:3] == [b"cluster", b"txn", b"commit"] else -1
