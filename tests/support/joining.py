"""Members of a scripted cluster that take nodes in, on a virtual network."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from random import Random
from types import SimpleNamespace
from typing import Any

from quorumcache.node.alarms import Alarms
from quorumcache.node.errors import PeerError
from quorumcache.node.founding.admission import Admission, Verdict
from quorumcache.node.founding.joining import JoiningPhase
from quorumcache.node.peers.codec import FrameDecoder
from quorumcache.node.storage.founding_record import FoundingRecord
from quorumcache.node.system.tasks import Tasks
from quorumcache.node.telemetry.counters import Counters
from quorumcache.ring import ClusterMap, NodeInfo
from quorumcache.ring.node_info import JOINING
from quorumcache.ring.secret import Secret
from tests.simulation.loop import VirtualLoop
from tests.support.founding import disk_id, record_of

SECRET = Secret("the secret of the cluster")
RECORD = record_of("a", "b")
SETTINGS = {**dict(RECORD.settings), "heartbeat_ms": "50", "durability": "fsync"}


def newest_map(record: FoundingRecord = RECORD) -> ClusterMap:
    """A map that can name nodes that join."""
    return replace(record.first_map(), form=2, directory=record.directory_voters)


def newcomer(name: str = "d", number: int = 9) -> NodeInfo:
    """What a new node says of itself; its host is its name."""
    return NodeInfo(1, name, f"{name}:1", f"{name}:2", "", "z", 2.0, disk_id(number))


class MemberEnd:
    """A member on the host of its name: its admission behind a listener, and a directory that takes
    everybody in, or says what `verdict` says."""

    def __init__(self, loop: VirtualLoop, name: str = "a", secret: Secret | None = SECRET) -> None:
        self.loop = loop
        self.own = replace(RECORD.founders[0], name=name, peer_address=f"{name}:1")
        self.map: ClusterMap | None = newest_map()
        self.secret = secret
        self.settings = dict(SETTINGS)
        self.verdict: Verdict | None = None
        self.asked: list[NodeInfo] = []
        self.waits_longer = 0
        counters, alarms = Counters(), Alarms()
        clock: Any = SimpleNamespace(monotonic_ns=lambda: int(loop.time() * 1e9))
        self.admission = Admission(
            loop=loop,
            clock=clock,
            entropy=Random(name),
            tasks=Tasks(loop, alarms=alarms, counters=counters, fatal=_raise),
            record=RECORD,
            settings=self.settings,
            own=lambda: self.own,
            current_map=lambda: self.map,
            secret=lambda: self.secret,
            decide=self.decide,
        )

    def decide(self, info: NodeInfo, done: Callable[[Verdict], None]) -> None:
        self.asked.append(info)
        done(self.verdict or Verdict(self.with_node(info).to_bytes()))

    def with_node(self, info: NodeInfo) -> ClusterMap:
        """The same answer again for the same disk."""
        assert self.map is not None
        if all(node.disk_id != info.disk_id for node in self.map.nodes):
            named = replace(info, node_id=self.map.next_node_id, state=JOINING)
            self.map = self.map.with_node(named)
        return self.map

    async def listen(self) -> None:
        host, _, port = self.own.peer_address.rpartition(":")
        await self.loop.create_server(lambda: _Connection(self), host, int(port))


def _raise(error: BaseException) -> None:
    raise error


class _Connection(asyncio.Protocol):
    """As a `PeerLink` that is asked."""

    def __init__(self, member: MemberEnd) -> None:
        self.nonces: tuple[bytes, bytes] | None = None
        self._member = member
        self._decoder = FrameDecoder()
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        try:
            for payload in self._decoder.feed(data):
                assert self._member.admission.question(self, payload)
        except PeerError:
            self._transport.close()

    def answer(self, frame: bytes, *, is_last: bool = True) -> None:
        self._transport.write(frame)
        if is_last:
            self._transport.close()

    def wait_longer(self) -> None:
        self._member.waits_longer += 1


def joining_phase(
    loop: VirtualLoop,
    *seeds: str,
    own: NodeInfo | None = None,
    secret: Secret = SECRET,
    settings: dict[str, str] | None = None,
    waits: list[str] | None = None,
) -> JoiningPhase:
    """The join of a node that is new."""
    return JoiningPhase(
        loop=loop,
        random=Random(1),
        entropy=Random(2),
        own=own or newcomer(),
        settings=settings or {"heartbeat_ms": "50"},
        secret=secret,
        seeds=seeds or ("a:1",),
        on_waiting=(waits if waits is not None else []).append,
    )


async def listening(phase: JoiningPhase, loop: VirtualLoop, own: NodeInfo | None = None) -> None:
    """Where the members dial the new node."""
    host, _, port = (own or newcomer()).peer_address.rpartition(":")
    await loop.create_server(phase.accept, host, int(port))
