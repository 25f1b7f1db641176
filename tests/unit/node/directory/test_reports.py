"""What nodes tell the directory, and what its leader makes of it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

from quorumcache.node.directory.members import Members
from quorumcache.node.directory.reports import (
    FRESH_NS,
    LATELY_FULL_NS,
    LOOK_MS_MAX,
    SIZES_REPORTS,
    Ledger,
    Reporter,
)
from quorumcache.node.peers.items import REPORT, STARTED, check_directory_item
from quorumcache.ring.cluster_view import GroupReport
from quorumcache.ring.move import Move
from tests.support.fake_node import FakeClock
from tests.support.founding import record_of

RECORD = record_of("a", "b", "c", "d")
MAP = RECORD.first_map()
MOVING = GroupReport(3, 7, 12, (1, 2), (4,), 100, 4000)

MEMORY_BYTES = 1 << 30


class World:
    """The ledger of node 1, which hears those of `heard` itself."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.heard: set[int] = set()
        self.ledger = Ledger(1, self.clock, lambda node_id: node_id in self.heard)

    def pass_ms(self, ms: int) -> None:
        self.clock.now_ns += ms * 1_000_000

    def look(self, *, leads: bool = True) -> None:
        self.ledger.look(MAP, leads=leads)

    def told(self, node_id: int, *heard: int, **fields: Any) -> None:
        sizes = fields.get("sizes", ())
        moving = tuple(tuple(report) for report in fields.get("moving", ()))
        own = (fields.get("full", False), fields.get("memory_bytes", MEMORY_BYTES))
        self.ledger.told(node_id, (REPORT, heard, b"", moving, sizes, *own))


def test_a_node_counts_as_heard_if_one_that_reports_hears_it() -> None:
    """A link between two nodes that does not stand kills neither of them."""
    world = World()
    world.heard = {2}
    world.told(2, 1, 3)
    world.look()
    assert world.ledger.view().heard == {1, 2, 3}
    world.pass_ms(FRESH_NS // 1_000_000 + 1)
    world.look()
    assert world.ledger.view().heard == {1, 2}, "what it said is too old to count"


def test_silence_counts_from_when_this_node_came_to_lead() -> None:
    world = World()
    for _ in range(100):
        world.pass_ms(500)
        world.look(leads=False)
    world.look()
    assert world.ledger.view().silent_ms == {2: 0, 3: 0, 4: 0}
    world.pass_ms(500)
    world.heard = {2}
    world.look()
    view = world.ledger.view()
    assert (view.silent_ms, view.heard_ms) == ({3: 500, 4: 500}, {1: 500, 2: 0})
    world.look(leads=False)
    world.pass_ms(500)
    world.look()
    assert world.ledger.view().silent_ms == {3: 0, 4: 0}


def test_a_node_that_is_heard_again_starts_from_zero_each_time() -> None:
    world = World()
    world.look()
    counts = []
    for is_heard in (True, True, False, True):
        world.pass_ms(400)
        world.heard = {2} if is_heard else set()
        world.look()
        view = world.ledger.view()
        counts.append((view.heard_ms.get(2), view.silent_ms.get(2)))
    assert counts == [(0, None), (400, None), (None, 0), (0, None)]


def test_time_in_which_this_node_stood_still_is_nobodys_silence() -> None:
    """A process that was stopped for minutes would find everybody dead."""
    world = World()
    world.look()
    world.pass_ms(300_000)
    world.look()
    assert world.ledger.view().silent_ms == dict.fromkeys((2, 3, 4), LOOK_MS_MAX)


def test_of_two_leaders_the_one_of_the_later_term_is_believed() -> None:
    world = World()
    world.told(2, moving=[MOVING])
    world.told(3, moving=[MOVING._replace(term=6, bytes_done=50)])
    assert world.ledger.report_of(3) == MOVING
    newer = MOVING._replace(term=7, bytes_done=200)
    world.told(2, moving=[newer], sizes=((3, 4000),))
    assert world.ledger.report_of(3) == newer
    view = world.ledger.view()
    assert (view.reports, view.bytes) == ({3: newer}, {3: 4000})


def test_what_the_map_does_not_name_any_more_is_forgotten() -> None:
    world = World()
    world.told(4, 2, moving=[MOVING])
    move = Move(3, MAP.replica_set(3), MAP.replica_set(3)[::-1])
    moving = replace(MAP, form=2, directory=(1, 2, 3), moves=(move,))
    world.ledger.learned(moving)
    assert world.ledger.hears(2)
    assert world.ledger.report_of(3) == MOVING
    three = record_of("a", "b", "c").first_map()
    world.ledger.learned(three)
    assert not world.ledger.hears(2), "the node that said so has left"
    assert world.ledger.report_of(3) is None


# -- telling -------------------------------------------------------------------------------------


def group(*, leads: bool = True, started: bool = True, size: int = 10) -> Any:
    log = SimpleNamespace(term_start_index=5)
    return SimpleNamespace(
        is_leader=leads,
        applied_index=5 if started else 4,
        log=log,
        machine=SimpleNamespace(bytes_used=size),
    )


class Telling:
    """The reporter of node 1 of a to d; d holds no replica of group 0."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, tuple[Any, ...]]] = []
        self.forms = {2: 2, 3: 2, 4: 2}
        self.heard = {2, 4}
        self.started: list[int] = []
        self.moving: list[GroupReport] = []
        self.is_full = False
        members = self.members = Members()
        members.own_id, members.record = 1, RECORD
        self.ledger = Ledger(1, FakeClock(), lambda node_id: False)
        self.groups = {0: group(size=0), 1: group(size=77), 2: group(leads=False)}
        self.reporter = Reporter(
            1,
            groups=self.groups,
            members=members,
            peers=self,
            ledger=self.ledger,
            moving=lambda: self.moving,
            is_full=lambda: self.is_full,
            memory_bytes=lambda: MEMORY_BYTES,
            on_started=self.started.append,
            flush=lambda: None,
        )

    node_ids = (2, 3, 4)

    def is_heard(self, node_id: int) -> bool:
        return node_id in self.heard

    def form_of(self, node_id: int) -> int:
        return self.forms[node_id]

    def send(self, node_id: int, item: tuple[Any, ...]) -> bool:
        self.sent.append((node_id, item))
        return True

    def tell(self) -> list[tuple[int, tuple[Any, ...]]]:
        self.sent = []
        self.reporter.tell()
        return self.sent


def test_the_nodes_of_the_directory_hear_it_twice_a_second() -> None:
    telling = Telling()
    assert not telling.tell(), "there is no map yet"
    telling.members.map = replace(MAP, form=2, directory=(1, 2, 3))
    item = (REPORT, (2, 4), b"\1", (), ((0, 0), (1, 77)), False, MEMORY_BYTES)
    check_directory_item(item)
    assert telling.tell() == [(2, item), (3, item)]
    assert telling.started == [1]
    assert telling.ledger.bytes_of(1) == 77, "its own ledger has it, too"


def test_how_long_a_disk_has_been_full_is_counted_while_its_node_is_heard() -> None:
    world = World()
    world.heard = {2, 3}
    world.told(2, full=True)
    world.told(3)
    world.look()
    assert world.ledger.view().full_ms == {2: 0}
    world.pass_ms(700)
    world.told(2, full=True)
    world.look()
    assert world.ledger.view().full_ms == {2: 700}
    world.heard = {3}
    world.pass_ms(FRESH_NS // 1_000_000 + 1)
    world.look()
    assert world.ledger.view().full_ms == {}
    world.heard = {2, 3}
    world.told(2)
    world.pass_ms(300)
    world.look()
    assert world.ledger.view().full_ms == {}, "there is room again"


def test_what_a_node_that_left_said_of_its_disk_is_forgotten() -> None:
    world = World()
    world.heard = {2, 3, 4}
    world.told(4, full=True)
    world.look()
    assert world.ledger.view().full_ms == {4: 0}
    world.ledger.learned(replace(MAP, replica_sets=((1, 2, 3),) * 4).without_node(4))
    assert world.ledger.view().full_ms == {}


def test_a_node_that_was_away_is_not_full_before_it_says_so_again() -> None:
    """It was stopped to get a larger disk: no move to it is aimed elsewhere when it is back."""
    world = World()
    world.heard = {2}
    world.told(2, full=True)
    world.look()
    world.heard.clear()
    world.pass_ms(60_000)
    world.look()
    world.heard.add(2)
    world.pass_ms(500)
    world.look()
    assert world.ledger.view().full_ms == {}
    world.told(2, full=True)
    assert world.ledger.view().full_ms == {2: 0}


def test_a_disk_that_has_room_again_was_full_lately() -> None:
    world = World()
    world.heard = {2, 3}
    world.told(3)
    world.told(2, full=True)
    world.look()
    assert world.ledger.view().lately_full == frozenset()
    world.told(2)
    world.pass_ms(LATELY_FULL_NS // 1_000_000 - 1)
    world.told(2)
    assert world.ledger.view().lately_full == {2}
    world.pass_ms(1)
    assert world.ledger.view().lately_full == frozenset()
    world.told(2, full=True)
    world.told(2)
    assert world.ledger.view().lately_full == {2}
    world.heard.clear()
    world.pass_ms(5000)
    world.look()
    assert world.ledger.view().lately_full == frozenset(), "it may have another disk by now"


def test_a_full_disk_is_told() -> None:
    telling = Telling()
    telling.members.map = replace(MAP, form=2, directory=(1, 2, 3))
    for telling.is_full in (True, False):
        assert [item[5] for _, item in telling.tell()] == [telling.is_full] * 2
        assert set(telling.ledger._full_since_ns) == ({1} if telling.is_full else set())


def test_what_each_node_may_hold_is_known_while_it_is_in_the_map() -> None:
    world = World()
    world.told(2)
    world.told(4, memory_bytes=7)
    assert world.ledger.view().memory_bytes == {2: MEMORY_BYTES, 4: 7}
    world.ledger.learned(replace(MAP, replica_sets=((1, 2, 3),) * 4).without_node(4))
    assert world.ledger.view().memory_bytes == {2: MEMORY_BYTES}


def test_sizes_are_told_now_and_then() -> None:
    telling = Telling()
    telling.members.map = MAP
    told = [telling.tell()[0][1][4] for _ in range(2 * SIZES_REPORTS)]
    assert [number for number, sizes in enumerate(told) if sizes] == [0, SIZES_REPORTS]


def test_all_nodes_hear_of_moves_so_that_each_can_show_them() -> None:
    telling = Telling()
    telling.members.map = replace(MAP, form=2, directory=(1, 2, 3))
    telling.moving = [MOVING]
    sent = telling.tell()
    assert [node_id for node_id, _ in sent] == [2, 3, 4]
    assert sent[0][1][3] == (tuple(MOVING),)


def test_a_node_of_the_first_form_hears_what_it_knows() -> None:
    telling = Telling()
    telling.members.map = MAP
    telling.forms = {2: 1, 3: 1, 4: 1}
    assert telling.tell() == [(2, (STARTED, b"\1")), (3, (STARTED, b"\1")), (4, (STARTED, b"\1"))]
    telling.members.map = MAP.with_started([0])
    assert not telling.tell()
