"""The steps of a durable set in a cluster of three, each with what the step before has made."""

from __future__ import annotations

from typing import Any, Final

from quorumcache.bench.micro.consensus import _pump, _replicas
from quorumcache.bench.micro.stand_ins import (
    NOW_MS,
    SHARDS,
    VALUE,
    Outbox,
    filled_store,
    item_in,
    key_of,
)
from quorumcache.bench.micro.steps import Step
from quorumcache.node.clients.set_reader import new_set_reader
from quorumcache.node.consensus.runs import Run
from quorumcache.node.consensus.transport import Held
from quorumcache.node.consensus.values import Entry, Message
from quorumcache.node.peers.codec import FrameDecoder
from quorumcache.node.peers.consensus_transport import ConsensusTransport
from quorumcache.node.protocol.responses import render
from quorumcache.node.state_machine import ITEM_BYTES_MAX, NOT_USUAL, encode_batch
from quorumcache.node.store.commands import OP_SESSION_OPEN, OP_SET
from quorumcache.node.wal.format import WalRecord, encode_frame

GROUP: Final = 7
SESSION: Final = 1
LEADER, FOLLOWER, OTHER = 1, 2, 3
_COMPACT_EVERY: Final = 500
_LOG_OFFSET: Final = 1 << 20


class SetBudget:
    """One write: it is alone in its entry, its frame and its record, the dearest case. Node 2 goes
    all the way of a follower; of node 3 only the acknowledgement is there.
    """

    def __init__(self) -> None:
        self._reader = new_set_reader(SHARDS)
        self._replicas = _replicas(3)
        self._leader, self._follower = self._replicas[LEADER], self._replicas[FOLLOWER]
        self._leader.campaign()
        _pump(self._replicas)
        self._out, self._back = Outbox(), Outbox()
        self._leads = ConsensusTransport(self._out, life=1)
        self._follows = ConsensusTransport(self._back, life=2)
        self._to_follower, self._to_leader = FrameDecoder(), FrameDecoder()
        self._store = filled_store()
        self._store.apply(0, NOW_MS, [(SESSION, 0, 0, OP_SESSION_OPEN, b"")])
        self._number = 0
        self._data = self._payload = b""
        self._fields: list[Any] = []
        self._run: Any = None
        self._bundle: tuple[int, int, list[Run]] = (0, 0, [])
        self._held: list[Held] = []
        self._committed: list[Entry] = []

    def steps(self) -> list[Step]:
        """In the order in which they are taken."""
        return [
            Step("client: read the set", self._read, before=self._begin),
            Step("leader: encode the entry", self._encode),
            Step("leader: take it into the log", self._extend),
            Step("leader: into two bundles", self._send),
            Step("leader: item, two frames", self._leads.flush),
            Step("leader: log record", self._record_led),
            Step("follower: frame, entries", self._receive, 2),
            Step("follower: take them into the log", self._follow, 2),
            Step("follower: log record", self._record_followed, 2),
            Step("follower: answer, frame", self._answer, 2),
            Step("leader: frame, acknowledgement", self._hear, 2),
            Step("leader: its own copy counts", self._persisted),
            Step("leader: a follower's counts, commit", self._commit),
            Step("leader: the other follower's counts", self._other),
            Step("all: apply, session table", self._apply, 3),
            Step("client: render", self._render),
        ]

    def _begin(self) -> None:
        self._number += 1
        if self._number % _COMPACT_EVERY == 0:
            for raft in self._replicas.values():
                raft.compact(raft.commit_index)
            self._leads.peer_down(OTHER)  # It answers no bundle.
        self._data = b"set %b 0 0 100\r\n%b\r\n" % (key_of(self._number), VALUE)

    def _read(self) -> None:
        found = self._reader.read(self._data, 0, ITEM_BYTES_MAX)
        assert found is not None
        self._fields = found[0]

    def _encode(self) -> None:
        key, (block, exptime), number = self._fields[0], self._fields[1], self._number
        command = (SESSION, number, number, OP_SET, key, block, exptime)
        self._payload = encode_batch(NOW_MS + number, [command], NOW_MS, ITEM_BYTES_MAX)

    def _extend(self) -> None:
        self._run = self._leader.extend(self._payload)

    def _send(self) -> None:
        self._leads.send_run(GROUP, self._leader.followers, self._run)

    def _record_led(self) -> None:
        encode_frame([WalRecord(GROUP, None, self._run[4])], _LOG_OFFSET, 12345)

    def _receive(self) -> None:
        item = item_in(self._to_follower, self._out.frames[FOLLOWER])
        self._bundle = self._follows.bundle(item)

    def _follow(self) -> None:
        ((_, term, prev_index, prev_term, commit_index, entries),) = self._bundle[2]
        took = self._follower.follow(LEADER, term, prev_index, prev_term, commit_index, entries)
        assert took
        self._follower.take_committed()

    def _record_followed(self) -> None:
        entries = self._bundle[2][0][5]
        encode_frame([WalRecord(GROUP, None, entries)], _LOG_OFFSET, 12345)

    def _answer(self) -> None:
        life, number, _ = self._bundle
        self._follows.answer_bundle(LEADER, life, number, [], 1)
        self._follows.flush()

    def _hear(self) -> None:
        item = item_in(self._to_leader, self._back.frames[LEADER])
        self._held = self._leads.answered(FOLLOWER, item, is_last=True)

    def _persisted(self) -> None:
        run: Message = self._run
        self._leader.persisted(run[1] + 1, run[0])

    def _commit(self) -> None:
        ((_, term, match_index),) = self._held
        self._leader.acknowledged(FOLLOWER, term, match_index)
        self._committed = self._leader.take_committed()

    def _other(self) -> None:
        ((_, term, match_index),) = self._held
        self._leader.acknowledged(OTHER, term, match_index)

    def _apply(self) -> None:
        (entry,) = self._committed
        assert self._store.apply_usual(entry.index, entry.payload) != NOT_USUAL

    def _render(self) -> None:
        assert render(self._store.usual_result) == b"STORED\r\n"
