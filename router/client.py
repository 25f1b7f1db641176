"""`AsyncClient`: memcached's verbs over a QuorumCache cluster, for asyncio."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from random import Random
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from quorumcache.ring import ClusterMap
from quorumcache.router import batches, requests
from quorumcache.router.arguments import (
    exptime_of,
    flags_of,
    items_of,
    keys_of,
    level_of,
    shown,
    truth_of,
    unsigned_of,
)
from quorumcache.router.cluster_calls import ClusterCalls
from quorumcache.router.codec import key_bytes, keys_bytes
from quorumcache.router.config import ClientConfig
from quorumcache.router.dispatcher import ANY_NODE, Dispatcher
from quorumcache.router.errors import InvalidArgument, PartialFailure, RouterError
from quorumcache.router.fencing import FencingToken, fenced, fenced_level
from quorumcache.router.levels import ReadLevel
from quorumcache.router.lock_calls import LockCalls
from quorumcache.router.transaction_calls import TransactionCalls

K = TypeVar("K", str, bytes)


class Item(NamedTuple):
    """A value with what `gets` tells about it."""

    value: bytes
    flags: int
    cas_unique: int


class CasResult(Enum):
    """How a `cas` ended; true only if it stored."""

    STORED = "stored"
    EXISTS = "exists"
    """Somebody changed the item since it was read: nothing was stored."""
    NOT_FOUND = "not found"

    def __bool__(self) -> bool:
        return self is CasResult.STORED


class AsyncClient(ClusterCalls, LockCalls, TransactionCalls):
    """Talks to every node of a cluster, and sends each key straight to the leader of its shard;
    reads below `Linearizable` go to its replicas in turn.

    Safe for any number of tasks of one event loop at once; a cancelled call disturbs no other.
    Keys are str (sent as UTF-8) or bytes, 1 to 250 bytes without space, CR or LF; values are bytes.
    Every call has one deadline, `timeout_ms` (1 to 86,400,000) or else the configured one, over all
    its attempts. Arguments are checked before anything is sent: `InvalidKey` and `InvalidArgument`
    name the one that is wrong. Numbers are whole; a fraction is refused and never cut.

    Reads and writes are repeated until the deadline. A repeated write is executed once: it has a
    number in a session of its shard, and returns its first result (`sessions.py`). Every write ends
    in one of three ways: it returns (done), it raises a `NotDone` error (certainly not executed),
    or it raises `OutcomeUnknown` when no answer could be had in time.

    `exptime` is memcached's: 0 never, 1 to 2,592,000 seconds from now, above that a Unix time,
    negative at once.

    `fence`: the token of a lock that is held. The shard does not execute the request once it has
    seen a newer token of this lock: `StaleFence`.
    """

    def __init__(
        self,
        seeds: Iterable[str],
        config: ClientConfig | None = None,
        *,
        random: Random | None = None,
    ) -> None:
        """`seeds`: addresses "host:port" or "unix:/path" of some nodes; any one that answers is
        enough.

        `random` draws the jitter of pauses and the owner words of locks; hand in a seeded one for
        repeatable runs, and another seed for each client: those that draw the same are one owner.
        """
        if config is not None and not isinstance(config, ClientConfig):
            raise InvalidArgument(f"config must be a ClientConfig, not {shown(config)}")
        if random is not None and not isinstance(random, Random):
            raise InvalidArgument(f"random must be a random.Random, not {shown(random)}")
        random = random or Random()
        engine = Dispatcher(seeds, config or ClientConfig(), random)
        ClusterCalls.__init__(self, engine)
        LockCalls.__init__(self, engine, random)
        self._read_level = self._engine.config.read_level

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def connect(self, *, timeout_ms: int | None = None, once: bool = False) -> ClusterMap:
        """Fetch the cluster map. Optional: the first call of any kind does it, too.

        `once`: raise after one pass over the seeds, instead of trying until the deadline.
        Raises `ClusterUnreachable`, `NotACluster`, `NotDone` (no map yet) or `DeadlineExceeded`.
        """
        once = truth_of("once", once)
        table = await self._engine.start(self._engine.deadline(timeout_ms), once)
        return table.cluster_map

    async def close(self) -> None:
        """Give locks back that are held, and close all connections. Calls under way end as if
        their connection had broken."""
        await self._locks.close()
        await self._engine.close()

    async def get(
        self,
        key: str | bytes,
        *,
        level: ReadLevel | None = None,
        fence: FencingToken | None = None,
        timeout_ms: int | None = None,
    ) -> bytes | None:
        """The value of `key`, or None. `level`: how old the answer may be; the configured one."""
        sent = key_bytes(key)
        level = level_of(level, self._read_level) if fence is None else fenced_level(level)
        request = requests.get(sent, level)
        if fence is not None:
            request = fenced(request, fence)
        return await self._engine.call_key(sent, request, timeout_ms)

    async def gets(
        self,
        key: str | bytes,
        *,
        level: ReadLevel | None = None,
        fence: FencingToken | None = None,
        timeout_ms: int | None = None,
    ) -> Item | None:
        """Value, flags and `cas_unique` of `key`, or None. A `cas` with the unique of an old item
        ends in `EXISTS` and does no harm.
        """
        sent = key_bytes(key)
        level = level_of(level, self._read_level) if fence is None else fenced_level(level)
        request = requests.gets(sent, level)
        if fence is not None:
            request = fenced(request, fence)
        hit = await self._engine.call_key(sent, request, timeout_ms)
        return Item(hit.value, hit.flags, hit.cas_unique) if hit else None

    async def get_many(
        self,
        keys: Iterable[K],
        *,
        level: ReadLevel | None = None,
        timeout_ms: int | None = None,
    ) -> dict[K, bytes]:
        """The values of those `keys` that exist, by key as given, in their order. A key that is
        there as str and as bytes is asked for once, and returned as both.

        Raises `PartialFailure`, with what was found in its `values`, if some shards gave no answer.
        """
        given = keys_of(keys)
        asked = keys_bytes(given)
        level = level_of(level, self._read_level)
        deadline = self._engine.deadline(timeout_ms)
        found, failed = await batches.get_many(
            self._engine, list(dict.fromkeys(asked)), level, deadline
        )
        values = {key: found[sent] for key, sent in zip(given, asked, strict=True) if sent in found}
        if failed:
            errors: dict[str | bytes, RouterError] = {}
            seen: dict[str | bytes, bytes] = {}
            for key, sent in zip(given, asked, strict=True):
                if sent in failed:
                    errors[key] = failed[sent]
                elif sent in found:
                    seen[key] = found[sent]
            raise PartialFailure(errors, seen)
        return values

    async def set(
        self,
        key: str | bytes,
        value: bytes,
        *,
        exptime: int = 0,
        flags: int = 0,
        fence: FencingToken | None = None,
        timeout_ms: int | None = None,
    ) -> None:
        """Store `value`. Raises `ValueTooLarge` over the item limit; the old value is then gone."""
        await self._store(b"set", key, value, exptime, flags, fence, timeout_ms)

    async def set_many(
        self,
        values: Mapping[K, bytes],
        *,
        exptime: int = 0,
        flags: int = 0,
        timeout_ms: int | None = None,
    ) -> None:
        """Store each value. Not one transaction: raises `PartialFailure` with an error per failed
        key if any failed; all other keys are stored.
        """
        exptime, flags = exptime_of(exptime), flags_of(flags)
        given = items_of(values)
        stores: dict[bytes, requests.Request[bytes]] = {}
        for key, value in given:
            sent = key_bytes(key)
            if sent in stores:
                raise InvalidArgument(f"values has the key {shown(key)} twice: as str and as bytes")
            stores[sent] = requests.store(b"set", sent, value, flags, exptime)
        deadline = self._engine.deadline(timeout_ms)
        table = await self._engine.start(deadline)
        calls = [(table.shard_of(sent), request) for sent, request in stores.items()]
        results = await batches.write_many(self._engine, calls, deadline)
        errors: dict[str | bytes, RouterError] = {
            key: result
            for (key, _), result in zip(given, results, strict=True)
            if isinstance(result, RouterError)
        }
        if errors:
            raise PartialFailure(errors)

    async def add(
        self,
        key: str | bytes,
        value: bytes,
        *,
        exptime: int = 0,
        flags: int = 0,
        fence: FencingToken | None = None,
        timeout_ms: int | None = None,
    ) -> bool:
        """Store only if the key does not exist; False if it does."""
        return await self._store(b"add", key, value, exptime, flags, fence, timeout_ms) == b"STORED"

    async def replace(
        self,
        key: str | bytes,
        value: bytes,
        *,
        exptime: int = 0,
        flags: int = 0,
        fence: FencingToken | None = None,
        timeout_ms: int | None = None,
    ) -> bool:
        """Store only if the key exists; False if it does not."""
        return (
            await self._store(b"replace", key, value, exptime, flags, fence, timeout_ms)
            == b"STORED"
        )

    async def append(
        self,
        key: str | bytes,
        value: bytes,
        *,
        fence: FencingToken | None = None,
        timeout_ms: int | None = None,
    ) -> bool:
        """Add bytes behind the value; False if the key does not exist or the result is too big."""
        return await self._store(b"append", key, value, 0, 0, fence, timeout_ms) == b"STORED"

    async def prepend(
        self,
        key: str | bytes,
        value: bytes,
        *,
        fence: FencingToken | None = None,
        timeout_ms: int | None = None,
    ) -> bool:
        """Add bytes before the value; False if the key does not exist or the result is too big."""
        return await self._store(b"prepend", key, value, 0, 0, fence, timeout_ms) == b"STORED"

    async def cas(
        self,
        key: str | bytes,
        value: bytes,
        cas_unique: int,
        *,
        exptime: int = 0,
        flags: int = 0,
        fence: FencingToken | None = None,
        timeout_ms: int | None = None,
    ) -> CasResult:
        """Store only if the item is still the one whose `cas_unique` `gets` told."""
        unique = unsigned_of("cas_unique", cas_unique)
        word = await self._store(b"cas", key, value, exptime, flags, fence, timeout_ms, unique)
        return _CAS_RESULTS[word]

    async def delete(
        self,
        key: str | bytes,
        *,
        fence: FencingToken | None = None,
        timeout_ms: int | None = None,
    ) -> bool:
        """Remove the key; False if it did not exist."""
        sent = key_bytes(key)
        request = fenced(requests.delete(sent), fence)
        return await self._engine.call_key(sent, request, timeout_ms)

    async def incr(
        self,
        key: str | bytes,
        delta: int = 1,
        *,
        fence: FencingToken | None = None,
        timeout_ms: int | None = None,
    ) -> int | None:
        """Add to an unsigned 64-bit decimal, wrapping at 2**64: the new number, or None if the key
        does not exist. Raises `NotANumber`.
        """
        return await self._arithmetic(b"incr", key, delta, fence, timeout_ms)

    async def decr(
        self,
        key: str | bytes,
        delta: int = 1,
        *,
        fence: FencingToken | None = None,
        timeout_ms: int | None = None,
    ) -> int | None:
        """As `incr`, downwards; stops at 0."""
        return await self._arithmetic(b"decr", key, delta, fence, timeout_ms)

    async def touch(
        self,
        key: str | bytes,
        exptime: int,
        *,
        fence: FencingToken | None = None,
        timeout_ms: int | None = None,
    ) -> bool:
        """Give the item a new expiry; False if it does not exist."""
        sent = key_bytes(key)
        request = fenced(requests.touch(sent, exptime), fence)
        return await self._engine.call_key(sent, request, timeout_ms)

    async def flush_all(self, delay: int = 0, *, timeout_ms: int | None = None) -> None:
        """Make every item of the cluster disappear, now or after `delay` seconds; above 2,592,000
        it is a Unix time.

        `OutcomeUnknown` also means: perhaps in some shards only. Repeating it does no harm.
        """
        request = requests.flush_all(delay)
        deadline = self._engine.deadline(timeout_ms)
        await self._engine.start(deadline)
        await self._engine.call(request, ANY_NODE, deadline)

    async def _arithmetic(
        self,
        verb: bytes,
        key: str | bytes,
        delta: int,
        fence: FencingToken | None,
        timeout_ms: int | None,
    ) -> int | None:
        sent = key_bytes(key)
        request = fenced(requests.arithmetic(verb, sent, delta), fence)
        return await self._engine.call_key(sent, request, timeout_ms)

    async def _store(
        self,
        verb: bytes,
        key: str | bytes,
        value: bytes,
        exptime: int,
        flags: int,
        fence: FencingToken | None,
        timeout_ms: int | None,
        cas_unique: int | None = None,
    ) -> bytes:
        sent = key_bytes(key)
        request = fenced(requests.store(verb, sent, value, flags, exptime, cas_unique), fence)
        return await self._engine.call_key(sent, request, timeout_ms)


_CAS_RESULTS = {
    b"STORED": CasResult.STORED,
    b"EXISTS": CasResult.EXISTS,
    b"NOT_FOUND": CasResult.NOT_FOUND,
}
