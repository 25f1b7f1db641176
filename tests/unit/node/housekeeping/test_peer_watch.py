"""Alarms about how this node stands with the others."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

from quorumcache.node.alarms import Alarms
from quorumcache.node.housekeeping.peer_watch import (
    FOUNDING,
    FOUNDING_GRACE_NS,
    PEERS_REFUSE,
    PeerWatch,
    log_alarm,
)
from tests.support.scripted_log import ManualClock

STARTED_NS = 7
"""When the node started."""


class World:
    """A node with four others; the test says who is up, who refuses and who is waited for."""

    def __init__(self) -> None:
        self.alarms = Alarms()
        self.clock = ManualClock()
        self.clock.ns = STARTED_NS
        self.watch = PeerWatch("a", self.alarms, self.clock, STARTED_NS)
        self.up: set[int] = set()
        self.refused: dict[int, str] = {}
        self.waiting: list[str] = []
        self.stores_tried = 0
        self.peers: Any = SimpleNamespace(
            node_ids=(2, 3, 4, 5),
            is_up=lambda node_id: node_id in self.up,
            refusals=lambda: self.refused,
        )

    def look(self, *, has_peers: bool = True) -> dict[str, str]:
        """The sentences of the alarms that are raised after a look."""

        def store_if_due() -> None:
            self.stores_tried += 1

        founding: Any = SimpleNamespace(
            store_if_due=store_if_due,
            waiting_for=lambda: self.waiting,
            is_complete=not self.waiting,
            record=SimpleNamespace(cluster_id="c7"),
        )
        self.watch.look(founding, self.peers if has_peers else None)
        return self.raised()

    def raised(self) -> dict[str, str]:
        return {alarm.name: alarm.sentence for alarm in self.alarms.raised()}


def test_a_founding_that_takes_too_long_names_who_is_waited_for() -> None:
    world = World()
    world.waiting = ["b", "c"]
    world.clock.ns = STARTED_NS + FOUNDING_GRACE_NS
    assert world.look() == {}, "it is not late yet"
    world.clock.ns += 1
    raised = world.look()
    assert "c7" in raised[FOUNDING]
    assert "waits for b, c" in raised[FOUNDING]
    world.waiting = []
    assert world.look() == {}
    assert world.stores_tried == 3


def test_a_new_node_that_waits_says_why_once_and_raises_an_alarm_when_it_is_late(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    world = World()
    world.watch.founding_waits("waits for b")
    world.watch.founding_waits("waits for b")
    assert [record.message for record in caplog.records] == ["founding_waits"]
    assert world.raised() == {}
    world.clock.ns = STARTED_NS + FOUNDING_GRACE_NS + 1
    world.watch.founding_waits("waits for c")
    assert world.raised() == {FOUNDING: "node a is new and waits for c"}
    assert len(caplog.records) == 2


@pytest.mark.parametrize(
    ("up", "refusing", "is_cut_off"),
    [
        ({2, 3}, {4}, False),  # a majority of five with this node
        ({2, 3}, {4, 5}, False),
        ({2}, {3}, True),  # two of five reach nothing together
        ({2, 3}, {4, 5, 2}, True),  # more than half of the others
        ({2}, set(), False),  # down, but nobody refuses
    ],
)
def test_refusals_raise_an_alarm_when_they_cut_the_node_off(
    up: set[int], refusing: set[int], is_cut_off: bool
) -> None:
    world = World()
    world.up = up
    world.refused = {node_id: f"why of {node_id}" for node_id in sorted(refusing)}
    raised = world.look()
    assert (PEERS_REFUSE in raised) == is_cut_off
    if is_cut_off:
        sentence = raised[PEERS_REFUSE]
        assert f"{len(refusing)} of 4 other nodes do not accept this node" in sentence
        assert f"why of {min(refusing)}" in sentence
    world.refused = {}
    assert world.look() == {}


def test_before_there_are_peers_nobody_refuses() -> None:
    world = World()
    world.refused = {2: "why"}
    assert world.look(has_peers=False) == {}


def test_alarms_are_logged_when_they_come_and_go(caplog: pytest.LogCaptureFixture) -> None:
    alarms = Alarms(log_alarm)
    caplog.set_level(logging.INFO)
    alarms.raise_alarm(PEERS_REFUSE, "nobody accepts it")
    alarms.clear(PEERS_REFUSE)
    assert [record.message for record in caplog.records] == ["alarm_raised", "alarm_cleared"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    caplog.clear()
    for name in ("stopping", "disk_full"):
        alarms.raise_alarm(name, "why")
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR"], "it was asked for"
