"""What is told of victims: as it was when they were chosen, and only of those that went."""

from __future__ import annotations

from quorumcache.node.clients.events import ClientEvents, Watcher
from quorumcache.node.clients.victim_lines import victim_log
from quorumcache.node.protocol.admin_lines import EVICTIONS
from quorumcache.node.store.commands import OP_EVICT, OP_SET
from quorumcache.node.store.item import cas_unique
from quorumcache.node.store.store import ShardStore
from quorumcache.node.telemetry.counters import Counters
from tests.support.item_tables import item_of


class World:
    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.events = ClientEvents(Counters(), lambda: 0, lambda: 1_700_000_000_000)
        self.events.add(Watcher(EVICTIONS, self._take))
        self.store = ShardStore()
        self.index = 0

    def _take(self, line: bytes) -> bool:
        self.lines.append(line.partition(b" type=")[2])
        return True

    def set(self, key: bytes, value: bytes, now_s: int, exptime: int = 0) -> None:
        data = b" 0 %d\r\n%b\r\n" % (len(value), value)
        self.apply((0, 0, 0, OP_SET, key, data, exptime), now_s)

    def evict(self, *keys: bytes) -> None:
        pairs = tuple((key, cas_unique(item_of(self.store.items, key))) for key in keys)
        self.apply((0, 0, 0, OP_EVICT, b"", pairs), 200)

    def apply(self, command: tuple[object, ...], now_s: int) -> None:
        self.index += 1
        self.store.tick(now_s * 1000)
        self.store.apply(self.index, now_s * 1000, [command])


def test_victims_are_told_when_they_have_gone_as_they_were_when_they_were_chosen() -> None:
    world = World()
    world.set(b"cold", b"abc", 100)
    world.set(b"hit", b"defgh", 150, exptime=90)
    world.store.note_hit(b"hit")
    tell = victim_log(world.events)(world.store, (b"cold", b"hit"))
    assert not world.lines
    world.evict(b"cold", b"hit")
    tell(2)
    assert world.lines == [
        b"eviction key=cold fetch=no ttl=-1 la=50 clsid=1 size=3\n",
        b"eviction key=hit fetch=yes ttl=90 la=0 clsid=1 size=5\n",
    ]


def test_a_victim_that_was_written_anew_is_not_told() -> None:
    world = World()
    for key in (b"a", b"b"):
        world.set(key, b"x", 100)
    tell = victim_log(world.events)(world.store, (b"a", b"b", b"never was"))
    world.evict(b"a")
    tell(1)
    assert world.lines == [b"eviction key=a fetch=no ttl=-1 la=0 clsid=1 size=1\n"]
