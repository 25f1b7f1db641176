"""The budget of a get and of a durable set: nanoseconds and allocated blocks of each step.

    python -m quorumcache.bench.micro.budget [rounds]

One request goes through all steps, one after the other, again and again; the median of a step's
times is told, and how often a cluster of three takes the step for one request. Each step is the
node's own code on real values. What is between the steps is in none of them: the loop, lanes and
slots of replies, the lists of a turn, the disk; what `quorumcache-bench race` tells as CPU us has
all of it. A set is alone in its entry, its frame and its record: the dearest case.
"""

from __future__ import annotations

import socket
import statistics
import sys
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any, Final, NamedTuple

from quorumcache.bench.micro.allocations import Counter, counting
from quorumcache.bench.micro.consensus import _pump, _replicas
from quorumcache.node.consensus.values import Message
from quorumcache.node.peers.codec import FrameDecoder, decode_items, encode_items, pack_item
from quorumcache.node.peers.consensus_items import decode_message, encode_message
from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import Store
from quorumcache.node.protocol.responses import END_LINE, render
from quorumcache.node.state_machine import decode_batch, encode_batch
from quorumcache.node.store.commands import OP_SESSION_OPEN, OP_SET
from quorumcache.node.store.item import ITEM_DATA, wire_data
from quorumcache.node.store.store import ShardStore
from quorumcache.node.wal.format import WalRecord, encode_frame
from quorumcache.ring.hashing import shard_of

SHARDS: Final = 64
KEYS: Final = 1000
VALUE: Final = b"x" * 100
GROUP: Final = 7
SESSION: Final = 1
_COMPACT_EVERY: Final = 500


class Step(NamedTuple):
    """`times`: how often a cluster of three takes it for one request."""

    name: str
    run: Callable[[], object]
    times: int = 1


class Cost(NamedTuple):
    """Of one step, once."""

    name: str
    ns: float
    blocks: float
    times: int


def measure(steps: Sequence[Step], rounds: int, counter: Counter) -> list[Cost]:
    """All steps in turn, `rounds` times; medians, without what the measuring itself takes."""
    every = [Step("nothing", lambda: None), *steps]
    ns: list[list[int]] = [[] for _ in every]
    blocks: list[list[int]] = [[] for _ in every]
    for _ in range(rounds):
        for place, step in enumerate(every):
            began = perf_counter_ns()
            step.run()
            ns[place].append(perf_counter_ns() - began)
    with counter:
        for _ in range(max(3, rounds // 10)):
            for place, step in enumerate(every):
                before = counter.now()
                step.run()
                blocks[place].append(counter.now() - before)
    times = [statistics.median(found) for found in ns]
    counts = [statistics.median(found) for found in blocks]
    return [
        Cost(step.name, max(0.0, times[n] - times[0]), max(0.0, counts[n] - counts[0]), step.times)
        for n, step in enumerate(every)
        if n
    ]


def _store() -> ShardStore:
    found = ShardStore()
    for number in range(KEYS):
        found.apply(number, 0, [(0, 0, 0, OP_SET, _key(number), wire_data(0, VALUE), 0)])
    return found


def _parser() -> Parser:
    """One that has taken in the first command of its client."""
    parser = Parser()
    parser.feed(b"version\r\n")
    return parser


def _message(decoder: FrameDecoder, frame: bytes) -> Message:
    (payload,) = decoder.feed(frame)
    item = decode_items(payload)[0]
    assert type(item) is tuple
    return decode_message(item)


def _key(number: int) -> bytes:
    return b"user:%08d" % (number % KEYS)


class GetBudget:
    """A get of a key whose shard the node leads."""

    def __init__(self) -> None:
        self._parser = _parser()
        self._key = _key(5)
        self._line = b"get %b\r\n" % self._key
        self._stores = {shard: _store() for shard in range(SHARDS)}
        self._found: Any = None

    def steps(self) -> list[Step]:
        """In the order in which they are taken."""
        return [
            Step("parse", self._parse),
            Step("route: the hash, the shard", self._route),
            Step("look-up, and it counts as a hit", self._look_up),
            Step("reply", self._reply),
        ]

    def _parse(self) -> None:
        assert self._parser.plain_gets(self._line) == [self._key]

    def _route(self) -> None:
        self._found = self._stores.get(shard_of(self._key, SHARDS))

    def _look_up(self) -> None:
        self._found = self._found.serve(self._key)

    def _reply(self) -> None:
        self._found = b"VALUE " + self._key + self._found[ITEM_DATA:] + END_LINE


class SetBudget:
    """One write of a cluster of three, each part of the way with what the part before has made."""

    def __init__(self) -> None:
        self._parser = _parser()
        self._replicas = _replicas(3)
        self._leader, self._follower = self._replicas[1], self._replicas[2]
        self._leader.campaign()
        _pump(self._replicas)
        self._to_follower, self._to_leader = FrameDecoder(), FrameDecoder()
        self._store = _store()
        self._store.apply(0, 0, [(SESSION, 0, 0, OP_SESSION_OPEN, b"")])
        self._number = 0
        self._made: Any = None
        self._frame = b""

    def steps(self) -> list[Step]:
        """In the order in which they are taken."""
        return [
            Step("client: parse", self._parse),
            Step("leader: encode the entry", self._encode),
            Step("leader: propose, Ready", self._propose),
            Step("leader: append, two frames", self._send),
            Step("leader: log record", self._record),
            Step("follower: frame, message", self._receive, 2),
            Step("follower: step, Ready", self._step, 2),
            Step("follower: log record", self._record, 2),
            Step("follower: acknowledgement", self._acknowledge, 2),
            Step("leader: frame, message", self._hear, 2),
            Step("leader: persisted, step, commit", self._commit),
            Step("apply, session table", self._apply, 3),
            Step("client: render", self._render),
        ]

    def _parse(self) -> None:
        self._number += 1
        if self._number % _COMPACT_EVERY == 0:
            for raft in self._replicas.values():
                raft.compact(raft.commit_index)
        key = _key(self._number)
        (request,) = self._parser.feed(b"set %b 0 0 100\r\n%b\r\n" % (key, VALUE))
        assert isinstance(request, Store)
        self._made = key, request

    def _encode(self) -> None:
        key, number = self._made[0], self._number
        command = (SESSION, number, number - 1, OP_SET, key, wire_data(0, VALUE), 0)
        self._made = encode_batch(number, [command])

    def _propose(self) -> None:
        self._leader.propose(self._made)
        self._ready = self._leader.ready()
        self._written = self._ready

    def _send(self) -> None:
        ((_, message), *_) = self._ready.messages
        packed = pack_item(encode_message(GROUP, message))
        encode_items([packed])
        self._frame = encode_items([packed])

    def _record(self) -> None:
        record = WalRecord(GROUP, self._written.hard_state, self._written.entries)
        encode_frame([record], 1 << 20, 12345)

    def _receive(self) -> None:
        self._made = _message(self._to_follower, self._frame)

    def _step(self) -> None:
        self._follower.step(1, self._made)
        self._answer = self._written = self._follower.ready()

    def _acknowledge(self) -> None:
        answer = self._answer
        self._follower.persisted(answer.last_index, answer.last_term)
        ((_, message),) = answer.messages_after_append
        self._frame = encode_items([pack_item(encode_message(GROUP, message))])

    def _hear(self) -> None:
        self._made = _message(self._to_leader, self._frame)

    def _commit(self) -> None:
        self._leader.persisted(self._ready.last_index, self._ready.last_term)
        self._leader.step(2, self._made)
        (self._entry,) = self._leader.ready().committed_entries

    def _apply(self) -> None:
        batch = decode_batch(self._entry.payload)
        (self._result,) = self._store.apply(self._entry.index, batch.now_ms, batch.commands)

    def _render(self) -> None:
        assert render(self._result) == b"STORED\r\n"


class Wire:
    """A TCP connection over loopback: what the kernel takes for a reply and for a request."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._near = socket.create_connection(server.getsockname())
            self._far, _ = server.accept()
        self._near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def steps(self) -> list[Step]:
        """Each byte that is sent is read, too."""
        reply = b"x" * 135
        return [
            Step("send a reply", lambda: self._near.send(reply)),
            Step("read a request", lambda: self._far.recv(65536)),
        ]

    def close(self) -> None:
        """End it."""
        self._near.close()
        self._far.close()


def lines(title: str, costs: Sequence[Cost], counter: Counter) -> list[str]:
    """The table of one request."""
    found = [f"{title:<40} {'ns':>8} {'blocks':>7} {'times':>6}"]
    for cost in costs:
        blocks = f"{cost.blocks:.0f}" if counter.is_real else "-"
        found.append(f"  {cost.name:<38} {cost.ns:8,.0f} {blocks:>7} {cost.times:>6}")
    total = sum(cost.ns * cost.times for cost in costs)
    blocks = f"{sum(cost.blocks * cost.times for cost in costs):.0f}" if counter.is_real else "-"
    return [*found, f"  {'sum, by the times':<38} {total:8,.0f} {blocks:>7}"]


def budget(rounds: int, say: Callable[[str], None]) -> None:
    """Measure and tell."""
    counter = counting()
    wire = Wire()
    try:
        for title, steps in (
            ("get, to its leader", GetBudget().steps()),
            ("the kernel, at depth 1", wire.steps()),
            ("durable set, three nodes", SetBudget().steps()),
        ):
            say("\n".join(lines(title, measure(steps, rounds, counter), counter)))
    finally:
        wire.close()
    if not counter.is_real:
        say("blocks are not counted: there is no cc, or there are no headers of Python")


def main() -> None:
    """Print the budget."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    budget(rounds, lambda text: print(text, flush=True))


if __name__ == "__main__":
    main()
