"""Gets that go to other nodes together: which go where, what is answered, and what falls back."""

from typing import Any

import pytest

from quorumcache.node.errors import PeerFrameError
from quorumcache.node.operations.get_bundles import (
    BUNDLES_MAX,
    PAUSE_NS,
    SILENT_NS,
    Bundle,
    FallenGet,
    GetsReceiver,
    Unanswered,
)
from quorumcache.node.peers.items import FORWARD_FOUND, FORWARD_GETS, GETS_MAX, NOT_LED, UNANSWERED
from tests.support.fake_server import ScriptedWays

THERE, ELSEWHERE = 2, 3
GROUP, OTHER = 5, 6


class Receiver(GetsReceiver):
    """Writes down what comes."""

    def __init__(self) -> None:
        self.answers: list[tuple[Any, Any]] = []
        self.fallen: list[Any] = []
        self.full: set[Any] = set()

    def came(self, bundle: Bundle, items: tuple[Any, ...], left: Unanswered) -> None:
        for index, item in enumerate(items):
            place, client = bundle.places[index], bundle.clients[index]
            group_id = bundle.asked[2 * index]
            if place is None or left.concerns(client, group_id):
                continue
            if type(item) is int:
                left.add(client, group_id, item)
            elif client in self.full:
                left.clients[client] = None
            else:
                self.answers.append((place, item))
                bundle.places[index] = None

    def fell_back(self, gets: list[FallenGet]) -> None:
        self.fallen += [get.place for get in gets]


class World:
    def __init__(self) -> None:
        self.ways = ScriptedWays()
        self.ways.leads = {GROUP: THERE, OTHER: THERE}
        self.bundles = self.ways.bundles
        self.receiver = self.bundles.receiver = Receiver()

    def ask(self, place: str, client: str = "c", group_id: int = GROUP) -> bool:
        bundle = self.bundles.bundle_for(group_id)
        if bundle is not None:
            bundle.add(group_id, place.encode(), place, client, 7)
        return bundle is not None

    def sent(self) -> tuple[Any, ...]:
        ((_, item),) = self.ways.turn()
        return item

    def answer(self, item: tuple[Any, ...], *found: Any, node: int = THERE) -> None:
        self.ways.answer(node, item, *found)

    def take(self) -> tuple[list[Any], list[Any]]:
        answers, fallen = self.receiver.answers, self.receiver.fallen
        self.receiver.answers, self.receiver.fallen = [], []
        return answers, fallen


@pytest.fixture
def world() -> World:
    return World()


def test_all_gets_of_a_turn_go_as_one_item_to_each_node(world: World) -> None:
    world.ways.leads[7] = ELSEWHERE
    assert world.ask("a")
    assert world.ask("b", "d", OTHER)
    assert world.ask("x", "d", 7)
    first, second = sorted(world.ways.turn())
    assert first == (THERE, (FORWARD_GETS, first[1][1], (GROUP, b"a", OTHER, b"b")))
    assert second == (ELSEWHERE, (FORWARD_GETS, second[1][1], (7, b"x")))
    assert world.ways.turn() == []
    assert world.ways.counters.forwarded_out == 3
    world.answer(first[1], b"1", None)
    assert world.take() == ([("a", b"1"), ("b", None)], [])
    world.answer(first[1], b"1", None)
    assert world.take() == ([], []), "it has come already"


def test_an_open_bundle_is_sent_with_the_next_flush(world: World) -> None:
    assert world.ask("a")
    assert world.ways.flushes_wanted == 1
    assert world.ask("b"), "it goes along"
    assert world.ways.flushes_wanted == 1
    world.sent()
    wanted = world.ways.flushes_wanted
    assert world.ask("c")
    assert world.ways.flushes_wanted == wanted + 1


def test_only_what_a_node_of_the_newest_form_leads_goes_so(world: World) -> None:
    assert not world.ask("a", group_id=9), "nobody is known to lead it"
    world.ways.relayed.add(GROUP)
    assert not world.ask("a"), "a relay does not pass it on"
    world.ways.relayed.clear()
    world.ways.forms[THERE] = 2
    assert not world.ask("a"), "the release before does not know such items"
    world.ways.forms.clear()
    assert world.ask("a")


def test_an_answer_of_another_node_or_to_nothing_is_ignored(world: World) -> None:
    world.ask("a")
    item = world.sent()
    world.answer(item, b"1", node=ELSEWHERE)
    world.answer((FORWARD_GETS, item[1] + 1, ()), b"1")
    assert world.take() == ([], [])
    world.answer(item, b"1")
    assert world.take() == ([("a", b"1")], [])


@pytest.mark.parametrize(
    "item",
    [(), (1,), ("x", ()), (1, b"x"), (1, ("text",)), (1, (b"1", b"2", b"3")), (1, (1.5,))],
)
def test_an_answer_of_another_form_ends_the_connection_and_loses_no_get(
    world: World, item: tuple[Any, ...]
) -> None:
    world.ask("a")
    world.ask("b")
    assert world.sent()[1] == 1
    with pytest.raises(PeerFrameError):
        world.bundles.answered(THERE, (FORWARD_FOUND, *item))
    world.bundles.peer_down(THERE)
    assert world.take() == ([], ["a", "b"])


def test_answers_are_taken_in_order_and_what_was_overtaken_falls_back(world: World) -> None:
    world.ask("a")
    world.ask("b", "d")
    first = world.sent()
    world.ask("c")
    world.ask("e", "e")
    second = world.sent()
    world.answer(second, b"3", b"4")
    assert world.take() == ([("e", b"4")], ["a", "b", "c"]), "what is behind `a` may be older"
    world.answer(first, b"1", b"2")
    assert world.take() == ([], [])


def test_what_is_not_answered_falls_back_with_what_its_client_asked_behind_it(world: World) -> None:
    world.ask("a")
    world.ask("b")
    world.ask("x", "d")
    world.ask("y", group_id=OTHER)
    first = world.sent()
    world.ask("c")
    second = world.sent()
    world.ask("e")
    world.answer(first, UNANSWERED, b"2", b"3", b"4")
    assert world.take() == ([("x", b"3"), ("y", b"4")], ["a", "b", "c", "e"])
    world.answer(second, b"5")
    third = world.sent()
    world.answer(third, b"6")
    assert world.take() == ([], [])
    assert world.ways.counters.gets_fallen_back == 4


def test_half_an_answer_is_taken_and_the_rest_falls_back(world: World) -> None:
    for place in ("a", "b", "c"):
        world.ask(place, place)
    world.answer(world.sent(), b"1")
    assert world.take() == ([("a", b"1")], ["b", "c"])


def test_gets_of_a_client_without_room_fall_back(world: World) -> None:
    world.receiver.full.add("c")
    world.ask("a")
    world.ask("b", "d")
    item = world.sent()
    world.ask("y", group_id=OTHER)
    world.answer(item, b"1", b"2")
    assert world.take() == ([("b", b"2")], ["a", "y"])


def test_a_group_that_is_not_led_there_falls_back_for_all_and_is_asked_later(world: World) -> None:
    world.ask("a")
    world.ask("y", group_id=OTHER)
    item = world.sent()
    world.ask("b", "d")
    world.answer(item, NOT_LED, b"1")
    assert world.take() == ([("y", b"1")], ["a", "b"])
    assert not world.ask("c"), "not before the next look"
    assert world.bundles.look(0) == {}
    world.ways.leads[GROUP] = ELSEWHERE
    assert world.ask("c")
    assert ELSEWHERE in dict(world.ways.turn())


def test_with_another_leader_the_gets_of_the_group_fall_back(world: World) -> None:
    """Otherwise some would be with the one, and others with the other."""
    world.ask("a")
    world.ask("y", group_id=OTHER)
    item = world.sent()
    world.ask("b", "d")
    world.ways.leads[GROUP] = ELSEWHERE
    world.bundles.changed(GROUP)
    assert world.take() == ([], ["a", "b"])
    world.answer(item, b"1", b"2")
    assert world.take() == ([("y", b"2")], [])
    world.bundles.changed(GROUP)
    assert world.ask("c")
    assert ELSEWHERE in dict(world.ways.turn())


def test_with_the_connection_all_that_is_there_falls_back(world: World) -> None:
    world.ask("a")
    item = world.sent()
    world.ask("b")
    world.bundles.peer_down(ELSEWHERE)
    assert world.take() == ([], [])
    world.bundles.peer_down(THERE)
    assert world.take() == ([], ["a", "b"])
    world.answer(item, b"1")
    assert world.take() == ([], [])
    assert world.ways.turn() == []


def test_what_cannot_be_sent_falls_back(world: World) -> None:
    world.ask("a")
    world.ways.is_up = False
    assert world.ways.turn() == []
    assert world.take() == ([], ["a"])
    for _ in range(GETS_MAX):
        assert world.ask("a")
    assert not world.ask("b"), "the full bundle could not leave"
    assert world.take() == ([], ["a"] * GETS_MAX)


def test_without_an_answer_they_fall_back_and_the_node_rests(world: World) -> None:
    world.ask("a")
    item = world.sent()
    world.ways.now_ns = SILENT_NS - 1
    assert world.bundles.look(SILENT_NS - 1) == {}
    world.ask("b", "d", OTHER)
    world.ways.now_ns = SILENT_NS
    assert world.bundles.look(SILENT_NS) == {GROUP: None}
    assert world.take() == ([], ["a", "b"])
    world.answer(item, b"1")
    assert world.take() == ([], [])
    assert not world.ask("c")
    world.ways.now_ns = SILENT_NS + PAUSE_NS
    assert world.ask("c")


def test_gets_under_way_are_bounded(world: World) -> None:
    count = 0
    while count <= GETS_MAX * BUNDLES_MAX and world.ask(f"p{count}"):
        count += 1
    assert count == GETS_MAX * BUNDLES_MAX
    sent = [item for _, item in world.ways.turn()]
    assert [len(item[2]) for item in sent] == [2 * GETS_MAX] * BUNDLES_MAX
    assert not world.ask("one more"), "none of them has an answer"
    world.answer(sent[0], *[None] * GETS_MAX)
    assert world.ask("one more")


def test_gets_that_belong_together_go_in_one_bundle(world: World) -> None:
    for number in range(GETS_MAX - 2):
        assert world.ask(f"p{number}")
    bundle = world.bundles.bundle_for(GROUP, 3)
    assert bundle is not None
    assert not bundle.places
    assert len(world.ways.sent) == 1


def test_how_long_they_took_is_told(world: World) -> None:
    world.ways.now_ns = 3_000_000_000
    world.bundles.took(1_000_000_000, 5)
    assert (world.ways.timings.forward_seconds.count, world.ways.timings.forward_seconds.total) == (
        5,
        10.0,
    )
    assert world.bundles.deadline_ns(1) == 5_000_000_001
