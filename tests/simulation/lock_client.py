"""A user of locks, by the wire: it acquires, works on guarded keys under the fence, and
releases.

Sometimes it sleeps for longer than its lease in the middle of its work, and goes on as if nothing
had happened; sometimes it goes away without a release. The store has to refuse what comes too late.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.simulation.client import (
    LOST,
    NOT_DONE,
    OUTCOME_UNKNOWN,
    TOO_MANY_CONNECTIONS,
    UnexpectedReply,
)
from tests.simulation.dealings import Dealings
from tests.simulation.lock_watch import Asked
from tests.simulation.serializability import Transaction
from tests.simulation.talk import Host, Talk

STALE = b"CLIENT_ERROR stale fence: the newest token seen here is "
TTLS_MS = (100, 300, 1_000, 5_000)


class LockClient:
    """See the module."""

    def __init__(self, host: Host, dealings: Dealings, *, pause_seconds: float) -> None:
        self.host = host
        self.random = host.random
        self.dealings = dealings
        self.pause_seconds = pause_seconds
        self.reply_seconds = self.random.choice((2.0, 8.0))
        self._made = 0
        self._owner = host.name.encode()
        self._token = 0
        """Of the lock it holds, or believes to hold."""

    async def run(self) -> None:
        """Until its host stops."""
        while not self.host.is_stopping:
            try:
                address = self.random.choice(self.host.addresses)
                talk = await Talk.to(address, reply_seconds=self.reply_seconds)
            except LOST:
                await asyncio.sleep(self.random.random() * 0.2)
                continue
            try:
                while not self.host.is_stopping and self.random.random() < 0.97:
                    await self._once(talk)
                    await asyncio.sleep(self.random.expovariate(1 / self.pause_seconds))
            except LOST:
                pass
            except UnexpectedReply as error:
                self.host.unexpected.append(f"{self.host.name}: {error}")
            talk.close()

    async def _once(self, talk: Talk) -> None:
        """One lock from its acquire to its end."""
        lock = self.random.choice(self.dealings.locks)
        if self.random.random() < 0.3:
            self._made += 1
            self._owner = f"{self.host.name}.{self._made}".encode()
        ttl_ms = self.random.choice(TTLS_MS)
        is_shared = self.random.random() < 0.2
        if not await self._acquire(talk, lock, ttl_ms, is_shared=is_shared):
            return
        for _ in range(self.random.randint(0, 3)):
            if is_shared:
                await self._read(talk, lock, self.random.choice(self.dealings.guarded(lock)))
            else:
                await self._section(talk, lock, ttl_ms)
            if self.random.random() < 0.3 and not await self._renew(
                talk, lock, ttl_ms, is_shared=is_shared
            ):
                return
        if self.random.random() < 0.1:
            raise ConnectionResetError("it goes away, and holds the lock")
        await self._release(talk, lock, with_token=self.random.random() < 0.8)

    # -- the lock ----------------------------------------------------------------------------------

    async def _acquire(self, talk: Talk, lock: bytes, ttl_ms: int, *, is_shared: bool) -> bool:
        wait_ms = self.random.choice((0, 200, 1_000))
        mode = b"shared" if is_shared else b"exclusive"
        words = (lock, self._owner, ttl_ms, wait_ms, mode)
        request = b"cluster lock acquire %b %b %d %d %b\r\n" % words
        for _ in range(self.random.randint(1, 4)):
            ask = self._ask("acquire", lock, ttl_ms=ttl_ms, is_shared=is_shared)
            line = await talk.ask(request)
            word, _, rest = line.partition(b" ")
            if word == b"LOCKED":
                self._token = ask.token = int(rest)
            self._answered(ask, line)
            if ask.token:
                return True
            if line.startswith(b"CLIENT_ERROR lock of another kind: "):
                return False  # This owner has it, or asks for it, in the other mode.
            if word not in (b"WAITING", b"BUSY", b"SERVER_ERROR"):
                raise UnexpectedReply(f"{line!r} to an acquire")
        if self.random.random() < 0.5:
            await self._release(talk, lock, with_token=False)
        return False

    async def _renew(self, talk: Talk, lock: bytes, ttl_ms: int, *, is_shared: bool) -> bool:
        ask = self._ask("renew", lock, ttl_ms=ttl_ms, is_shared=is_shared)
        words = (lock, self._owner, self._token, ttl_ms)
        line = await talk.ask(b"cluster lock renew %b %b %d %d\r\n" % words)
        if line == b"LOCKED %d" % self._token:
            ask.token = self._token
        elif line != b"NOT_HELD" and not line.startswith(b"SERVER_ERROR "):
            raise UnexpectedReply(f"{line!r} to a renewal of {self._token}")
        self._answered(ask, line)
        # Where it is lost, it may go on all the same.
        return line != b"NOT_HELD" or self.random.random() < 0.5

    async def _release(self, talk: Talk, lock: bytes, *, with_token: bool) -> None:
        ask = self._ask("release", lock)
        token = b" %d" % self._token if with_token else b""
        line = await talk.ask(b"cluster lock release %b %b%b\r\n" % (lock, self._owner, token))
        if line not in (b"RELEASED", b"NOT_HELD") and not line.startswith(b"SERVER_ERROR "):
            raise UnexpectedReply(f"{line!r} to a release")
        self._answered(ask, line)

    def _ask(self, verb: str, lock: bytes, **facts: Any) -> Asked:
        return self.dealings.ask(verb, self.host, lock, self._owner, **facts)

    def _answered(self, ask: Asked, line: bytes) -> None:
        word = line.split(b" ")[0].decode().lower()
        self.dealings.counts[f"{ask.verb}_{word}"] += 1
        if not line.startswith(OUTCOME_UNKNOWN):
            history = self.dealings.history
            history.ok(ask.record, line.decode(), now_ns=self.host.now_ns)

    # -- work under the fence ----------------------------------------------------------------------

    async def _section(self, talk: Talk, lock: bytes, ttl_ms: int) -> None:
        """Read, think, write: nobody else writes between, or this write is refused."""
        key = self.random.choice(self.dealings.guarded(lock))
        section = self._invoke("section")
        old = await self._read(talk, lock, key)
        if old is None:
            self.dealings.history.fail(section, "not read", now_ns=self.host.now_ns)
            return
        if self.random.random() < 0.2:
            await asyncio.sleep(ttl_ms / 1000 * self.random.uniform(0.5, 3.0))
        self._made += 1
        value = f"{self._token} {self.host.name}.{self._made}".encode()
        section.reads = {key: old or None}
        section.writes = {key: value}
        write = self._invoke("fenced")
        request = b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value)
        line = await talk.ask(self._fence(lock) + request)
        if line == b"STORED":
            for record in (write, section):
                self.dealings.history.ok(record, now_ns=self.host.now_ns)
            self.dealings.executed(lock, key, self._token, write)
        elif self._refused(line) or line.startswith(NOT_DONE):
            for record in (write, section):
                self.dealings.history.fail(record, line.decode(), now_ns=self.host.now_ns)
        elif not line.startswith(OUTCOME_UNKNOWN):
            raise UnexpectedReply(f"{line!r} to a fenced set")

    async def _read(self, talk: Talk, lock: bytes, key: bytes) -> bytes | None:
        """A fenced read: from here on the store refuses older tokens. b"": there is no item."""
        record = self._invoke("read")
        found, line = await talk.values(self._fence(lock) + b"get %b\r\n" % key)
        if line == b"END":
            value = found[key][0] if key in found else b""
            record.reads = {key: value or None}
            self.dealings.history.ok(record, now_ns=self.host.now_ns)
            self.dealings.executed(lock, key, self._token, record)
            return value
        # Of unknown outcome it may be, as a command of the log; all it changes is the fence.
        if not (self._refused(line) or line.startswith((NOT_DONE, OUTCOME_UNKNOWN))):
            raise UnexpectedReply(f"{line!r} to a fenced get")
        self.dealings.history.fail(record, line.decode(), now_ns=self.host.now_ns)
        return None

    def _fence(self, lock: bytes) -> bytes:
        return b"cluster fence %b %d\r\n" % (lock, self._token)

    def _refused(self, line: bytes) -> bool:
        if line == TOO_MANY_CONNECTIONS:
            raise ConnectionRefusedError(line.decode())
        if not line.startswith(STALE):
            return False
        if int(line.removeprefix(STALE)) <= self._token:
            raise UnexpectedReply(f"{line!r} to the token {self._token}")
        self.dealings.counts["fences_stale"] += 1
        return True

    def _invoke(self, kind: str) -> Transaction:
        return self.dealings.history.invoke(self.host.name, kind, now_ns=self.host.now_ns)
