"""The schedule is a function of its arguments, and covers what it was asked for."""

from __future__ import annotations

import pytest

from tests.chaos.run import events
from tests.chaos.schedule import KINDS, VARIANTS, draw


def test_the_same_seed_gives_the_same_schedule() -> None:
    assert draw(7, 60.0, 3) == draw(7, 60.0, 3)
    assert draw(7, 60.0, 3) != draw(8, 60.0, 3)


@pytest.mark.parametrize("seed", range(30))
def test_faults_end_in_time_and_in_range(seed: int) -> None:
    faults = draw(seed, 90.0, 5)
    assert [fault.number for fault in faults] == list(range(1, len(faults) + 1))
    for fault in faults:
        assert fault.at_s + fault.seconds <= 90.01
        assert 0 <= fault.node < 5
        assert fault.seconds > 0
        assert all(0 < flap < fault.seconds for flap in fault.flaps)
        assert bool(fault.amount) == (fault.kind in ("loss", "slow"))
        assert bool(fault.flaps) == (fault.variant == "flapping")


def test_every_kind_and_variant_comes() -> None:
    names = {fault.name for fault in draw(1, 600.0, 3)}
    assert names == {f"{kind} {variant}" for kind in KINDS for variant in VARIANTS[kind]}


def test_every_kind_comes_before_any_comes_again() -> None:
    faults = draw(3, 600.0, 3)
    assert {fault.kind for fault in faults[: len(KINDS)]} == set(KINDS)


def test_only_the_kinds_asked_for() -> None:
    assert {fault.kind for fault in draw(1, 60.0, 3, ["kill", "disk"])} == {"kill", "disk"}


def test_a_short_schedule_has_one_fault() -> None:
    assert len(draw(1, 1.0, 3, ["disk"])) == 1


@pytest.mark.parametrize(
    ("nodes", "kinds", "text"),
    [
        (3, ["kil"], "there is no fault 'kil': choose from kill, pause"),
        (3, [], "no faults"),
        (2, ["kill"], "2 nodes: at least 3"),
    ],
)
def test_what_cannot_be_drawn(nodes: int, kinds: list[str], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        draw(1, 60.0, nodes, kinds)


def test_events_are_in_order_and_every_begin_has_its_end() -> None:
    schedule = draw(5, 300.0, 3)
    found = events(schedule)
    assert [at for at, _, _ in found] == sorted(at for at, _, _ in found)
    for number in range(len(schedule)):
        own = [what for _, what, index in found if index == number]
        assert own[0] == "begin"
        assert own[-1] == "end"
        # A flapping partition begins cut.
        assert own[1:-1] == ["whole", "cut", *["whole", "cut"] * 99][: len(own) - 2]
