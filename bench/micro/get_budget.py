"""The steps of a get: at the node that leads its shard, and by way of another node."""

from __future__ import annotations

from typing import Any, Final

from quorumcache.bench.micro.consensus import _replicas
from quorumcache.bench.micro.stand_ins import (
    SHARDS,
    Outbox,
    StillClock,
    StillLoop,
    filled_store,
    item_in,
    key_of,
)
from quorumcache.bench.micro.steps import Step
from quorumcache.node.clients.forwarded_answers import ForwardedAnswers
from quorumcache.node.clients.get_routes import new_get_routes
from quorumcache.node.clients.slots import Slot
from quorumcache.node.consensus.values import Configuration, SnapshotMeta
from quorumcache.node.operations.found_items import answer_gets
from quorumcache.node.operations.get_bundles import Bundle, GetBundles
from quorumcache.node.operations.leaders import Leaders
from quorumcache.node.operations.serving import Serving
from quorumcache.node.peers.codec import FrameDecoder
from quorumcache.node.peers.consensus_transport import ConsensusTransport
from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.responses import END_LINE
from quorumcache.node.replica.group import ReplicaGroup
from quorumcache.node.replica.host import ReplicaHost
from quorumcache.node.replica.memory_room import MemoryRoom
from quorumcache.node.store.item import ITEM_DATA
from quorumcache.node.telemetry.counters import Counters
from quorumcache.node.telemetry.timings import Timings
from quorumcache.node.wal.memory import MemoryWal
from quorumcache.ring.hashing import shard_of

NEVER_NS: Final = 1 << 60
ASKED, LEADER = 1, 2


class GetBudget:
    """A get of a key whose shard the node leads."""

    def __init__(self) -> None:
        self._line = b"get %b\r\n" % key_of(5)
        self._routes = new_get_routes(SHARDS)
        self._stores = [filled_store() for _ in range(SHARDS)]
        for shard, store in enumerate(self._stores):
            store.lend(NEVER_NS)
            self._routes.set(shard, store.gate)
        self._busy: dict[int, Any] = {}

    def steps(self) -> list[Step]:
        """There is one: from the bytes of the request to those of the reply."""
        return [Step("parse, route, look-up, reply", self._answer)]

    def _answer(self) -> None:
        answered = self._routes.answer(self._line, 0, 1, 0, self._busy)
        assert answered is not None


class AnyGetBudget:
    """A get of a key whose shard another node leads; it is alone in its bundle and in its frames:
    the dearest case.
    """

    def __init__(self) -> None:
        self._key = key_of(5)
        self._line = b"get %b\r\n" % self._key
        self._group_id = shard_of(self._key, SHARDS) + 1
        self._parser = Parser()
        self._parser.feed(b"version\r\n")
        self._out, self._back = Outbox(), Outbox()
        self._to_leader, self._to_asked = FrameDecoder(), FrameDecoder()
        here = self._serving(ASKED, self._out)
        leaders = Leaders(ASKED, {}, self._out, lambda group: LEADER, lambda group: (LEADER,))
        self._bundles = GetBundles(here, leaders, Timings(), 1, NEVER_NS)
        self._bundles.receiver = ForwardedAnswers()
        self._there = self._serving(LEADER, self._back)
        self._lead(self._there.host)
        self._item: tuple[Any, ...] = ()
        self.reply = b""
        self._bundle: Bundle | None = None

    @staticmethod
    def _serving(node_id: int, outbox: Outbox) -> Serving:
        clock, counters = StillClock(), Counters()
        loop: Any = StillLoop()
        host = ReplicaHost(
            loop=loop,
            clock=clock,
            wal=MemoryWal(loop),
            snapshots=None,
            transport=ConsensusTransport(outbox),
            counters=counters,
            tick_ms=25,
            on_leader_change=lambda group_id: None,
            on_fatal=lambda error: None,
            give_back=lambda: None,
        )
        return Serving(
            node_id=node_id,
            host=host,
            peers=outbox,
            clock=clock,
            counters=counters,
            memory=MemoryRoom(1 << 30),
        )

    def _lead(self, host: Any) -> None:
        snapshot = SnapshotMeta(0, 0, Configuration((1,)))
        log = _replicas(1)[1]
        group = ReplicaGroup(self._group_id, log, filled_store(), host, snapshot)
        group.lease_until_ns = NEVER_NS
        host.groups[self._group_id] = group

    def steps(self) -> list[Step]:
        """In the order in which they are taken."""
        return [
            Step("asked node: parse", self._parse),
            Step("asked node: into a bundle", self._ask),
            Step("asked node: item, frame", self._send),
            Step("leader: frame, item", self._hear),
            Step("leader: look-up, item", self._answer),
            Step("leader: frame", self._back.flush),
            Step("asked node: frame, item", self._hear_answer),
            Step("asked node: answer, reply", self._take, before=self._leave_out),
        ]

    def _leave_out(self) -> None:
        """The place among the replies of a client: see `budget.py`."""
        assert self._bundle is not None
        self._bundle.places[0] = None

    def _parse(self) -> None:
        assert self._parser.plain_gets(self._line) == [self._key]

    def _ask(self) -> None:
        group_id = shard_of(self._key, SHARDS) + 1
        self._bundle = bundle = self._bundles.bundle_for(group_id)
        assert bundle is not None
        bundle.add(group_id, self._key, Slot(), None, 0)

    def _send(self) -> None:
        self._bundles.send()
        self._out.flush()

    def _hear(self) -> None:
        self._item = item_in(self._to_leader, self._out.frames[LEADER])

    def _answer(self) -> None:
        answer_gets(self._there, ASKED, self._item)

    def _hear_answer(self) -> None:
        self._item = item_in(self._to_asked, self._back.frames[ASKED])

    def _take(self) -> None:
        self._bundles.answered(LEADER, self._item)
        self.reply = b"VALUE " + self._key + self._item[2][0][ITEM_DATA:] + END_LINE
