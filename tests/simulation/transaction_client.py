"""A client of transactions, by the wire: transfers, snapshots, anything over several
keys, and plain commands on the same keys.

It may lose its connection, or its patience, at every step. A commit of unknown outcome is sent
again, with the same id, through any node: all answers have to agree. It also sends one twice at
once, or goes away while it is executed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from tests.simulation.client import (
    LOST,
    NOT_DONE,
    OUTCOME_UNKNOWN,
    TOO_MANY_CONNECTIONS,
    UnexpectedReply,
)
from tests.simulation.dealings import OPENING, Dealings, balance
from tests.simulation.serializability import PRESENT, Transaction, Value
from tests.simulation.talk import Host, Talk

ATTEMPTS_MAX = 6
GET_KEYS_MAX = 64
"""In one `cluster txn get`."""
DONE, NEVER, NOT_YET, IN_DOUBT = "done", "never", "not yet", "in doubt"
"""What the answer to one attempt of a commit says."""
WORDS = (b"END", b"STORED", b"NOT_STORED", b"DELETED", b"NOT_FOUND", b"TOUCHED")
"""How the reply to a plain command ends that was executed."""


class Seen(NamedTuple):
    """A key as `cluster txn get` tells it."""

    value: Value
    version: int


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as it is sent, the same in each attempt."""

    record: Transaction
    request: bytes


class TransactionClient:
    """See the module."""

    def __init__(self, host: Host, dealings: Dealings, *, pause_seconds: float) -> None:
        self.host = host
        self.random = host.random
        self.dealings = dealings
        self.pause_seconds = pause_seconds
        self.reply_seconds = self.random.choice((0.5, 2.0, 8.0))
        self._values_made = 0
        self._jobs: tuple[tuple[int, Callable[[Talk], Awaitable[None]]], ...] = (
            (6, self._transfer),
            (3, self._look_at_the_bank),
            (6, self._mix),
            (4, self._plain),
        )

    async def run(self) -> None:
        """Until its host stops."""
        while not self.host.is_stopping:
            try:
                talk = await self._connect()
            except LOST:
                await asyncio.sleep(self.random.random() * 0.2)
                continue
            try:
                await self._use(talk)
            except LOST:
                pass
            except UnexpectedReply as error:
                self.host.unexpected.append(f"{self.host.name}: {error}")
            talk.close()

    async def _connect(self) -> Talk:
        address = self.random.choice(self.host.addresses)
        return await Talk.to(address, reply_seconds=self.reply_seconds)

    async def _use(self, talk: Talk) -> None:
        weights = [weight for weight, _ in self._jobs]
        while not self.host.is_stopping:
            ((_, job),) = self.random.choices(self._jobs, weights)
            await job(talk)
            await asyncio.sleep(self.random.expovariate(1 / self.pause_seconds))
            if self.random.random() < 0.03:
                return

    def _value(self, word: str = "") -> bytes:
        """One that nobody has written before."""
        self._values_made += 1
        return f"{word} {self.host.name}.{self._values_made}".strip().encode()

    # -- what it does ------------------------------------------------------------------------------

    async def _transfer(self, talk: Talk) -> None:
        begun = await self._begin(talk)
        both = self.random.sample(self.dealings.accounts, 2)
        seen = await self._read(talk, both) if begun else None
        if begun is None or seen is None:
            return
        source, target = (seen[key].value for key in both)
        if source is None or target is None:
            await self._open_the_bank(talk)
            return
        amount = self.random.randint(1, 20)
        writes: dict[bytes, Value] = {
            both[0]: self._value(str(balance(source) - amount)),
            both[1]: self._value(str(balance(target) + amount)),
        }
        await self._commit(talk, "transfer", begun, seen, writes)

    async def _open_the_bank(self, talk: Talk) -> None:
        begun = await self._begin(talk)
        if begun is None:
            return
        absent = {key: Seen(None, 0) for key in self.dealings.accounts}
        writes: dict[bytes, Value] = {key: self._value(str(OPENING)) for key in absent}
        await self._commit(talk, "opening", begun, absent, writes)

    async def _look_at_the_bank(self, talk: Talk) -> None:
        begun = await self._begin(talk)
        seen = await self._read(talk, self.dealings.accounts) if begun else None
        if begun is None or seen is None:
            return
        if await self._commit(talk, "snapshot", begun, seen, {}) == DONE:
            wrong = self.dealings.wrong_sum({key: item.value for key, item in seen.items()})
            if wrong:
                self.host.unexpected.append(f"{self.host.name}: {wrong}")

    async def _mix(self, talk: Talk) -> None:
        """Reads and writes of any registers; some are written without having been read."""
        random, registers = self.random, self.dealings.registers
        begun = await self._begin(talk)
        read = random.sample(registers, random.randint(0, min(3, len(registers))))
        seen = await self._read(talk, read) if begun and read else {}
        if begun is None or seen is None:
            return
        written = random.sample(registers, random.randint(0 if read else 1, len(registers)))
        writes = {key: None if random.random() < 0.1 else self._value() for key in written[:3]}
        if random.random() < 0.1:  # Only that it is there.
            seen = {key: item._replace(version=min(1, item.version)) for key, item in seen.items()}
        await self._commit(talk, "mix", begun, seen, writes)

    async def _plain(self, talk: Talk) -> None:
        """One command of memcached."""
        random, dealings = self.random, self.dealings
        kind = random.choice(("get", "get", "set", "add", "delete", "cas", "cas", "touch"))
        on_account = kind in ("get", "cas", "touch") and random.random() < 0.5
        key = random.choice(dealings.accounts if on_account else dealings.registers)
        if kind == "cas":
            await self._cas(talk, key, on_account=on_account)
            return
        record = self._invoke(kind)
        if kind == "get":
            found, line = await talk.values(b"get %b\r\n" % key)
            record.reads = {key: found[key][0] if key in found else None}
        elif kind == "touch":
            line = await talk.ask(b"touch %b 0\r\n" % key)
            record.reads = {key: PRESENT if line == b"TOUCHED" else None}
        elif kind == "delete":
            record.writes = {key: None}
            line = await talk.ask(b"delete %b\r\n" % key)
            if line == b"DELETED":
                record.reads = {key: PRESENT}
            elif line == b"NOT_FOUND":
                record.reads, record.writes = {key: None}, {}
        else:
            value = self._value()
            record.writes = {key: value}
            record.reads = {key: None} if kind == "add" else {}
            words = (kind.encode(), key, len(value), value)
            line = await talk.ask(b"%b %b 0 0 %d\r\n%b\r\n" % words)
            if line == b"NOT_STORED":
                record.reads, record.writes = {key: PRESENT}, {}
        self._ended(record, line)

    async def _cas(self, talk: Talk, key: bytes, *, on_account: bool) -> None:
        """An account keeps its balance: only who wrote it changes."""
        record = self._invoke("gets")
        found, end = await talk.values(b"gets %b\r\n" % key)
        record.reads = {key: found[key][0] if key in found else None}
        self._ended(record, end)
        if key not in found:
            return
        old, unique = found[key]
        value = self._value(str(balance(old)) if on_account else "")
        record = self._invoke("cas")
        record.reads, record.writes = {key: old}, {key: value}
        line = await talk.ask(b"cas %b 0 0 %d %d\r\n%b\r\n" % (key, len(value), unique, value))
        if line in (b"EXISTS", b"NOT_FOUND"):
            self._fail(record, line)
        else:
            self._ended(record, line)

    # -- the parts of a transaction ----------------------------------------------------------------

    async def _begin(self, talk: Talk) -> tuple[bytes, int] | None:
        """Its id and its deadline."""
        limit = self.random.choice((b"", b" 100", b" 500", b" 2000", b" 10000"))
        line = await talk.ask(b"cluster txn begin%b\r\n" % limit)
        if line == TOO_MANY_CONNECTIONS:
            raise ConnectionRefusedError(line.decode())
        words = line.split(b" ")
        if words[0] == b"SERVER_ERROR":
            return None
        if words[0] != b"TXN" or len(words) != 3 or len(words[1]) != 32:
            raise UnexpectedReply(f"{words} to begin")
        return words[1], int(words[2])

    async def _read(self, talk: Talk, keys: list[bytes]) -> dict[bytes, Seen] | None:
        """Each key by itself is linearizable; together they are not one snapshot."""
        seen: dict[bytes, Seen] = {}
        for at in range(0, len(keys), GET_KEYS_MAX):
            part = keys[at : at + GET_KEYS_MAX]
            records = [self._invoke("read") for _ in part]
            found, end = await talk.values(b"cluster txn get %b\r\n" % b" ".join(part))
            for record, key in zip(records, part, strict=True):
                record.reads = {key: found[key][0] if key in found else None}
                self._ended(record, end)
            if end != b"END":
                return None
            seen |= {key: Seen(*found.get(key, (None, 0))) for key in part}
        return seen

    async def _commit(
        self,
        talk: Talk,
        kind: str,
        begun: tuple[bytes, int],
        seen: dict[bytes, Seen],
        writes: dict[bytes, Value],
    ) -> str:
        """Attempts until it is decided, or until nobody wants to know any more."""
        record = self._invoke(kind)
        record.reads = {key: _claimed(item) for key, item in seen.items()}
        record.writes = writes
        commit = Commit(record, _request(begun, seen, writes))
        if self.random.random() < 0.04:
            talk.send(commit.request[: self.random.randrange(1, len(commit.request) + 1)])
            raise ConnectionResetError("it goes away")
        return await self._until_decided(talk, commit)

    async def _until_decided(self, talk: Talk, commit: Commit) -> str:
        answers = await self._first_attempts(talk, commit)
        while True:
            words = [answer if isinstance(answer, str) else IN_DOUBT for answer in answers]
            if DONE in words and NEVER in words:
                raise UnexpectedReply(f"{commit.record.describe()}: {answers}, which disagree")
            known = next((word for word in (DONE, NEVER) if word in words), "")
            # Sometimes it asks once more, although it knows.
            if self.random.random() < (0.9 if known else 0.2) or len(answers) >= ATTEMPTS_MAX:
                break
            await asyncio.sleep(self.random.choice((0.0, 0.05, 0.5, 2.0)) * self.random.random())
            answers.append(await self._attempt_elsewhere(commit))
        now_ns = self.host.now_ns
        if known == DONE:
            self.dealings.history.ok(commit.record, now_ns=now_ns)
        elif known == NEVER or IN_DOUBT not in words:
            self.dealings.history.fail(commit.record, known or NOT_YET, now_ns=now_ns)
        for answer in answers:
            if not isinstance(answer, str):
                raise ConnectionResetError("an attempt was lost") from answer
        return known

    async def _first_attempts(self, talk: Talk, commit: Commit) -> list[str | BaseException]:
        attempts = [self._attempt(talk, commit)]
        if self.random.random() < 0.1:
            attempts.append(self._attempt_elsewhere(commit))
        return list(await asyncio.gather(*attempts))

    async def _attempt(self, talk: Talk, commit: Commit) -> str | BaseException:
        try:
            line = await talk.ask(commit.request)
        except LOST as error:
            return error
        return self._meaning(commit, line)

    async def _attempt_elsewhere(self, commit: Commit) -> str | BaseException:
        try:
            talk = await self._connect()
        except LOST:
            return NOT_YET
        try:
            return await self._attempt(talk, commit)
        finally:
            talk.close()

    def _meaning(self, commit: Commit, line: bytes) -> str:
        if line == b"COMMITTED":
            return DONE
        if line.startswith(b"CONFLICT ") or line == b"ABORTED":
            return NEVER
        if line == b"TOO_LATE" or line.startswith(NOT_DONE) or line == TOO_MANY_CONNECTIONS:
            # That attempt has changed nothing. What others have done, it does not say.
            return NOT_YET
        if line.startswith(OUTCOME_UNKNOWN):
            return IN_DOUBT
        raise UnexpectedReply(f"{commit.record.describe()}: {line!r}")

    # -- the history -------------------------------------------------------------------------------

    def _invoke(self, kind: str) -> Transaction:
        return self.dealings.history.invoke(self.host.name, kind, now_ns=self.host.now_ns)

    def _fail(self, record: Transaction, why: bytes) -> None:
        self.dealings.history.fail(record, why.decode(), now_ns=self.host.now_ns)

    def _ended(self, record: Transaction, line: bytes) -> None:
        """The last line of a reply to a plain command, or to a read."""
        if line in WORDS:
            self.dealings.history.ok(record, line.decode(), now_ns=self.host.now_ns)
        elif line.startswith(NOT_DONE):
            self._fail(record, line)
        elif line == TOO_MANY_CONNECTIONS:
            raise ConnectionRefusedError(line.decode())
        elif not line.startswith(OUTCOME_UNKNOWN) or record.kind in ("get", "gets", "read"):
            raise UnexpectedReply(f"{record.describe()}: {line!r}")
        elif record.kind == "touch":
            self._fail(record, line)  # It says nothing of the item.


def _claimed(item: Seen) -> Value:
    """What a commit with this check says of the key."""
    return item.value if item.version > 1 or item.version == 0 else PRESENT


def _request(
    begun: tuple[bytes, int], seen: dict[bytes, Seen], writes: dict[bytes, Value]
) -> bytes:
    lines = [
        b"present %b\r\n" % key if item.version == 1 else b"check %b %d\r\n" % (key, item.version)
        for key, item in seen.items()
    ]
    for key, value in writes.items():
        if value is None:
            lines.append(b"delete %b\r\n" % key)
        else:
            lines.append(b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value))
    block = b"".join(lines)
    return b"cluster txn commit %b %d %d\r\n%b\r\n" % (*begun, len(block), block)
