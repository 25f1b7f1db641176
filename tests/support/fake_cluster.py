"""A scripted stand-in for a cluster, for tests of the client: asyncio, loopback, port 0.

All nodes share one dictionary, and answer as a real cluster does: a key whose shard is led by
another node gets MOVED. A test breaks things by moving leaders, stopping nodes, and by `faults`:

    cluster.node(1).faults.append(Fault(b"set ", CLOSE_AFTER))

hits the first command that starts with the prefix, once.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.secret import Secret
from tests.support.clusters import with_replicas
from tests.support.fake_locks import FakeLocks
from tests.support.fake_transactions import FakeTransactions

T = TypeVar("T")

CLOSE_BEFORE = "close before"  # the connection breaks, and the command was not executed
CLOSE_AFTER = "close after"  # it was executed, but its reply is lost
HANG_AFTER = "hang after"  # it was executed, then as HANG
HANG = "hang"  # no reply to this one, nor to any later one of the connection
DEADLINE_S = 30


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run an async test; far beyond its usual time it fails instead of hanging."""

    async def bounded() -> T:
        async with asyncio.timeout(DEADLINE_S):
            return await main

    return asyncio.run(bounded())


@dataclass
class Fault:
    """What happens to the next command that starts with `prefix`: one of the words above, or reply
    bytes instead of the real ones. `event` is set when it was hit, `closed` when its connection
    ended after a HANG.
    """

    prefix: bytes
    action: str | bytes
    event: asyncio.Event = field(default_factory=asyncio.Event)
    closed: asyncio.Event = field(default_factory=asyncio.Event)


class FakeNode:
    """One listener. `is_plain`: answers ERROR to `cluster`, as memcached does. `knows_sessions`:
    takes `cluster once`; otherwise it is a node of an older version. `knows_transactions`: the same
    for `cluster txn`.
    """

    def __init__(self, cluster: FakeCluster, node_id: int) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.port = 0
        self.is_plain = False
        self.knows_sessions = cluster.sessions is not None
        self.knows_locks = True
        self.knows_transactions = cluster.transactions is not None
        self.faults: list[Fault] = []
        self.delays: dict[bytes, float] = {}  # by prefix: seconds until it is answered
        self.log: list[bytes] = []  # command lines received
        self.executed: list[bytes] = []  # command lines of writes executed
        self.reads: list[tuple[bytes, bytes]] = []  # (level, line) of reads answered, not moved
        self.is_behind = False  # too far for any bound, as a replica
        self.connection_count = 0
        self._server: asyncio.Server | None = None
        self._handlers: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def is_up(self) -> bool:
        return self._server is not None

    async def start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=1 << 22
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """As after kill -9: the listener and all connections are gone."""
        if self._server is not None:
            self._server.close()
            self._server = None
        await self.drop_connections()

    async def drop_connections(self) -> None:
        handlers = dict(self._handlers)
        for task, writer in handlers.items():
            writer.transport.abort()
            task.cancel()
        if handlers:
            await asyncio.wait(handlers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._handlers[task] = writer
        self.connection_count += 1
        try:
            await self._converse(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            del self._handlers[task]
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        redirects = False
        once: tuple[int, ...] = ()
        fence: tuple[bytes, ...] = ()
        level = b"linearizable"
        while line := await reader.readline():
            words = line.split()
            if words[:2] == [b"cluster", b"fence"]:
                fence = tuple(words[2:])
                self.log.append(line.rstrip())
                continue
            if self.knows_sessions and words[:2] == [b"cluster", b"once"]:
                once = tuple(map(int, words[2:]))
                self.log.append(line.rstrip())
                continue
            self.log.append(line.rstrip())
            data = b""
            if words[0] in (b"set", b"add", b"replace", b"append", b"prepend", b"cas"):
                data = (await reader.readexactly(int(words[4]) + 2))[:-2]
            if self.knows_transactions and words[:3] == [b"cluster", b"txn", b"commit"]:
                data = (await reader.readexactly(int(words[5]) + 2))[:-2]
            if words[:2] == [b"cluster", b"redirect"] and not self.is_plain:
                redirects = words[2] == b"on"
            if words[:2] == [b"cluster", b"read"]:
                level = b" ".join(words[2:])
            fault = next((f for f in self.faults if line.startswith(f.prefix)), None)
            if fault is not None:
                self.faults.remove(fault)
                if fault.action == CLOSE_AFTER:
                    self._execute(words, data, redirects, level, once, fence)
                fault.event.set()
                if fault.action in (CLOSE_BEFORE, CLOSE_AFTER):
                    return
                if fault.action == HANG_AFTER:
                    self._execute(words, data, redirects, level, once, fence)
                if fault.action in (HANG, HANG_AFTER):
                    await reader.read()
                    fault.closed.set()
                    return
                assert isinstance(fault.action, bytes)
                writer.write(fault.action)
            else:
                answer = self._execute(words, data, redirects, level, once, fence)
                if answer.startswith(b"WAITING ") and int(words[6]):
                    answer = await self.cluster.locks.wait(words[3], words[4], int(words[6]))
                for prefix, seconds in list(self.delays.items()):
                    if line.startswith(prefix):
                        await asyncio.sleep(seconds)
                writer.write(answer)
            once, fence = (), ()
            await writer.drain()

    def _may_answer(self, shard: int, is_read: bool, level: bytes) -> bool:
        if self.cluster.leader(shard) == self.node_id:
            return True
        if not is_read or self.node_id not in self.cluster.map.replicas_of(shard):
            return False
        return level == b"local" or (level.startswith(b"bounded ") and not self.is_behind)

    def _moved_of(self, keys: list[bytes]) -> bytes:
        for key in keys:
            shard = self.cluster.map.shard_of(key)
            if self.cluster.leader(shard) != self.node_id:
                return self.cluster.moved(shard)
        return b""

    def _execute(
        self,
        words: list[bytes],
        data: bytes,
        redirects: bool,
        level: bytes,
        once: tuple[int, ...],
        fence: tuple[bytes, ...],
    ) -> bytes:
        if words[:2] == [b"cluster", b"session"] and self.knows_sessions:
            if words[2:3] != [b"open"]:
                return b"OK\r\n"
            shard = int(words[3])
            if redirects and self.cluster.leader(shard) != self.node_id:
                return self.cluster.moved(shard)
            return self.cluster.open_session(shard)
        if words == [b"cluster", b"lock"] and not self.is_plain:
            return b"OK\r\n" if self.knows_locks else b"CLIENT_ERROR usage: cluster map\r\n"
        if words[:2] == [b"cluster", b"lock"]:
            shard = self.cluster.map.shard_of(words[3])
            if redirects and self.cluster.leader(shard) != self.node_id:
                return self.cluster.moved(shard)
            known = self.cluster.known_result(once)
            if known is None:
                self.executed.append(b" ".join(words))
                known = self.cluster.locks.command(words[2:])
                self.cluster.remember(once, known)
            return known
        if words[:2] == [b"cluster", b"txn"] and self.knows_transactions:
            assert self.cluster.transactions is not None
            return self.cluster.transactions.answer(
                words[2:], data, lambda keys: self._moved_of(keys) if redirects else b""
            )
        if words[0] == b"cluster":
            return b"ERROR\r\n" if self.is_plain else self.cluster.answer(self, words[1:])
        if words == [b"stats", b"shards"]:
            return b"STAT shard:0:staleness_ms 12\r\nSTAT shard:1:staleness_ms 40\r\nEND\r\n"
        if words[0] == b"flush_all":
            self.cluster.items.clear()
            self.executed.append(b" ".join(words))
            return b"OK\r\n"
        is_read = words[0] in (b"get", b"gets")
        keys = words[1:] if is_read else words[1:2]
        if redirects:
            for key in keys:
                shard = self.cluster.map.shard_of(key)
                if not self._may_answer(shard, is_read, level):
                    return self.cluster.moved(shard)
        refused = b""
        known = self.cluster.known_result(once)
        if known is None and fence:
            shard = self.cluster.map.shard_of(keys[0])
            refused = self.cluster.locks.fence(shard, keys[0], fence[0], int(fence[1]))
        if is_read:
            self.reads.append((level, b" ".join(words)))
            return refused or self.cluster.execute(words, data)
        if known is not None:
            return known
        if not refused:
            self.executed.append(b" ".join(words))
        result = refused or self.cluster.execute(words, data)
        self.cluster.remember(once, result)
        return result


@dataclass
class FakeSession:
    """What a shard remembers of a session; as in a real one, each belongs to one shard."""

    floor: int = 0
    results: dict[int, bytes] = field(default_factory=dict)


class FakeOperators:
    """The words for operators. Without a `secret` the nodes are of an older version.

    `changes`: what was asked for, in order. `answers`: what the next changes are answered: a value,
    or a whole reply line. `moves`: what `cluster moves` tells; the first one of several is used up.
    """

    def __init__(self) -> None:
        self.secret = ""
        self.secret_path = "-"
        self.changes: list[str] = []
        self.answers: list[dict[str, Any] | bytes] = []
        self.moves: list[dict[str, Any]] = []
        self._nonces = 0
        self._proven: dict[int, bytes] = {}  # by node: the open nonce; b"": proven

    def answer(self, node_id: int, words: list[bytes]) -> bytes:
        if not self.secret:
            return b"CLIENT_ERROR usage: cluster map [known_epoch] | cluster redirect on|off\r\n"
        if words == [b"moves"]:
            moves = self.moves.pop(0) if len(self.moves) > 1 else self.moves[0]
            return self._document(b"MOVES", moves)
        if words == [b"auth"]:
            self._nonces += 1
            nonce = self._proven[node_id] = b"%032x" % self._nonces
            return b"AUTH %b %b\r\n" % (nonce, self.secret_path.encode())
        if words[0] == b"auth":
            nonce = self._proven.pop(node_id, b"")
            wanted = Secret(self.secret).proof("client", bytes.fromhex(nonce.decode())).hex()
            if not nonce or words[1].decode() != wanted:
                return b"CLIENT_ERROR this is not the cluster's secret\r\n"
            self._proven[node_id] = b""
            return b"OK\r\n"
        if self._proven.get(node_id) != b"":
            return b"CLIENT_ERROR this needs the cluster's secret\r\n"
        self.changes.append(b" ".join(words[1:]).decode())
        answer = self.answers.pop(0)
        return answer if isinstance(answer, bytes) else self._document(b"CHANGE", answer)

    def _document(self, word: bytes, document: dict[str, Any]) -> bytes:
        data = json.dumps(document).encode()
        return b"%b %d\r\n%b\r\n" % (word, len(data), data)


class FakeCluster:
    """`async with FakeCluster() as cluster`: started on entry, all stopped on exit."""

    def __init__(
        self,
        *,
        nodes: int = 3,
        shards: int = 8,
        replication: int = 3,
        zones: bool = False,
        sessions: bool = False,
        transactions: bool = False,
    ) -> None:
        self.transactions = FakeTransactions(self) if transactions else None
        self.sessions: dict[int, FakeSession] | None = {} if sessions else None
        self.sessions_opened = 0
        self.nodes = [FakeNode(self, node_id) for node_id in range(1, nodes + 1)]
        self.items: dict[bytes, tuple[bytes, bytes, int]] = {}  # flags, value, cas_unique
        self.operators = FakeOperators()
        self.locks = FakeLocks()
        self.has_map = True
        self._cas = 0
        self._shape = (shards, min(replication, nodes), zones)
        self._leaders: list[tuple[int, int]] = []  # by shard: term, node id (0: nobody)
        self.map: ClusterMap

    async def __aenter__(self) -> FakeCluster:
        for node in self.nodes:
            await node.start()
        shards, replication, zones = self._shape
        count = len(self.nodes)
        self.map = ClusterMap(
            epoch=1,
            cluster_id="fake-1",
            shard_count=shards,
            replication=replication,
            nodes=tuple(
                self._info(node, "abc"[node.node_id % 3] if zones else "") for node in self.nodes
            ),
            replica_sets=tuple(
                tuple((shard + offset) % count + 1 for offset in range(replication))
                for shard in range(shards)
            ),
        )
        self._leaders = [(1, self.map.preferred_leader(shard)) for shard in range(shards)]
        return self

    async def __aexit__(self, *_: object) -> None:
        for node in self.nodes:
            await node.stop()

    def _info(self, node: FakeNode, zone: str) -> NodeInfo:
        peer = f"10.0.0.{node.node_id}:7400"
        return NodeInfo(node.node_id, f"n{node.node_id}", peer, node.address, "", zone, 1.0)

    @property
    def seeds(self) -> list[str]:
        return [node.address for node in self.nodes]

    def node(self, node_id: int) -> FakeNode:
        return self.nodes[node_id - 1]

    def leader(self, shard: int) -> int:
        return self._leaders[shard][1]

    def lead(self, shard: int, node_id: int) -> None:
        """Another node leads from now on, in a new term; 0: nobody does."""
        self._leaders[shard] = (self._leaders[shard][0] + 1, node_id)

    def fail_over(self, dead_id: int) -> None:
        """All shards of a dead node get another leader."""
        for shard in range(self.map.shard_count):
            if self.leader(shard) == dead_id:
                replicas = self.map.replicas_of(shard)
                self.lead(shard, next(node for node in replicas if node != dead_id))

    def leader_node(self, key: str) -> FakeNode:
        return self.node(self.leader(self.map.shard_of(key.encode())))

    def key_of(self, shard: int, skip: int = 0) -> str:
        """A key that lives in `shard`; with `skip`, a later one."""
        number = 0
        while True:
            key = f"key-{number}"
            if self.map.shard_of(key.encode()) == shard:
                if not skip:
                    return key
                skip -= 1
            number += 1

    async def add_node(self) -> FakeNode:
        """A new node in a new epoch; it holds nothing yet."""
        node = FakeNode(self, len(self.nodes) + 1)
        await node.start()
        self.nodes.append(node)
        self.map = self.map.with_node(self._info(node, ""))
        return node

    def move_shard(self, shard: int, replicas: tuple[int, ...]) -> None:
        """A new epoch, in which `replicas` hold the shard, the first of them leading."""
        self.map = with_replicas(self.map, shard, replicas)
        self.lead(shard, replicas[0])

    def rename(self, cluster_id: str) -> None:
        self.map = replace(self.map, cluster_id=cluster_id, epoch=self.map.epoch + 1)

    def moved(self, shard: int) -> bytes:
        leader = self.leader(shard)
        address = self.node(leader).address if leader else "-"
        return b"MOVED %d %d %d %s\r\n" % (self.map.epoch, shard, leader, address.encode())

    def answer(self, node: FakeNode, words: list[bytes]) -> bytes:
        """The `cluster` words."""
        if words[0] in (b"redirect", b"read", b"form"):
            return b"OK\r\n"
        if words[0] == b"map":
            if not self.has_map:
                return b"SERVER_ERROR not done: no cluster map yet\r\n"
            epoch = self.map.epoch
            if words[1:] == [b"%d" % epoch]:
                return b"MAP %d unchanged\r\n" % epoch
            data = self.map.to_bytes()
            return b"MAP %d %d\r\n%b\r\n" % (epoch, len(data), data)
        if words[0] == b"leaders":
            leaders = enumerate(self._leaders)
            lines = [b"LEADER %d %d %d\r\n" % (shard, *leader) for shard, leader in leaders]
            return b"".join(lines) + b"END\r\n"
        if words[0] in (b"auth", b"change", b"moves"):
            return self.operators.answer(node.node_id, words)
        if words[0] == b"health":
            return b"HEALTH ok\r\nEND\r\n"
        if words[0] == b"nodes":
            return b"".join(map(self._node_line, self.map.nodes)) + b"END\r\n"
        return b"ERROR\r\n"

    def _node_line(self, info: NodeInfo) -> bytes:
        state = "up" if self.node(info.node_id).is_up else "down"
        http, zone = info.http_address or "-", info.zone or "-"
        return (
            f"NODE {info.node_id} {info.name} {info.peer_address} {info.client_address} "
            f"{http} {zone} {info.weight:g} {state}\r\n"
        ).encode()

    def open_session(self, shard: int) -> bytes:
        assert self.sessions is not None
        self.sessions_opened += 1
        session = 1000 + self.sessions_opened
        self.sessions[session] = FakeSession()
        return b"SESSION %d %d\r\n" % (shard, session)

    def known_result(self, once: tuple[int, ...]) -> bytes | None:
        """What a numbered write is answered without being executed; None: execute it."""
        if not once:
            return None
        assert self.sessions is not None
        session, sequence, floor = once
        assert 1 <= floor <= sequence
        state = self.sessions.get(session)
        if state is None:
            return b"SERVER_ERROR session gone: this command was not done\r\n"
        state.floor = max(state.floor, floor)
        if sequence < state.floor:
            return b"SERVER_ERROR stale sequence: this command was not done\r\n"
        return state.results.get(sequence)

    def remember(self, once: tuple[int, ...], result: bytes) -> None:
        if once and self.sessions is not None:
            self.sessions[once[0]].results[once[1]] = result

    def execute(self, words: list[bytes], data: bytes) -> bytes:
        """The commands of memcached that the client uses."""
        verb, key = words[0], words[1]
        if verb in (b"get", b"gets"):
            return b"".join(self._value(verb, key) for key in words[1:]) + b"END\r\n"
        known = self.items.get(key)
        if verb in (b"set", b"add", b"replace", b"cas", b"append", b"prepend"):
            return self._store(verb, key, words, data, known)
        if known is None:
            return b"NOT_FOUND\r\n"
        if verb == b"delete":
            del self.items[key]
            return b"DELETED\r\n"
        if verb == b"touch":
            return b"TOUCHED\r\n"
        if not known[1].isdigit():
            return b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
        sign = 1 if verb == b"incr" else -1
        number = max(0, int(known[1]) + sign * int(words[2]))
        self.put(key, known[0], b"%d" % number)
        return b"%d\r\n" % number

    def _value(self, verb: bytes, key: bytes) -> bytes:
        if key not in self.items:
            return b""
        flags, value, cas = self.items[key]
        tail = b" %d" % cas if verb == b"gets" else b""
        return b"VALUE %b %b %d%b\r\n%b\r\n" % (key, flags, len(value), tail, value)

    def _store(
        self,
        verb: bytes,
        key: bytes,
        words: list[bytes],
        data: bytes,
        known: tuple[bytes, bytes, int] | None,
    ) -> bytes:
        if len(data) > 1 << 20:
            return b"SERVER_ERROR object too large for cache\r\n"
        if verb == b"cas":
            if known is None:
                return b"NOT_FOUND\r\n"
            if known[2] != int(words[5]):
                return b"EXISTS\r\n"
        elif verb != b"set" and (known is None) != (verb == b"add"):
            return b"NOT_STORED\r\n"
        if known is not None and verb in (b"append", b"prepend"):
            data = known[1] + data if verb == b"append" else data + known[1]
        self.put(key, words[2], data)
        return b"STORED\r\n"

    def put(self, key: bytes, flags: bytes, value: bytes) -> None:
        self._cas += 1
        self.items[key] = (flags, value, self._cas)
