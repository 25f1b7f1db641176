"""Wall clocks that leap and return, and settings that change over restarts: clusters under these
faults alone, and what the checks say when a rule is broken by hand.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from quorumcache.node.cluster_time import ClusterTime
from quorumcache.node.store.store import ShardStore
from tests.simulation.cluster_times import ClusterTimes
from tests.simulation.gaps import Gaps
from tests.simulation.network import MS, Link
from tests.simulation.process import PROCESS
from tests.simulation.schedule import Fault, Schedule
from tests.simulation.world import SimulationFailure, World, WorldConfig

HOUR_MS = 3_600_000
TEN_YEARS_MS = 87_600 * HOUR_MS
ORIGIN_MS = 1_800_000_000_000
EXPIRING = {"expiring": 0.5, "registers": 3, "counters": 1, "pause_seconds": 0.008}
SETTINGS = {
    "graceful": True,
    "segment_bytes_max": 64 << 10,
    "snapshot_bytes_min": 256 << 10,
    "session_idle_ms": 3_600_000,
}


def run(seed: int, *faults: Fault, nodes: int = 3, seconds: float = 6.0, **workload: Any) -> World:
    ordered = tuple(sorted(faults, key=lambda fault: fault.at_ms))
    schedule = Schedule(seed=seed, nodes=nodes, shards=2, fault_seconds=seconds, faults=ordered)
    config = WorldConfig.of(schedule)
    config.workload = {**EXPIRING, **workload}
    world = World(config)
    world.run()
    return world


def glitch(at_ms: int, who: str, by_ms: int, seconds: float) -> Fault:
    return Fault(at_ms, "wall_glitch", {"who": who, "by_ms": by_ms, "seconds": seconds})


def power_cut(at_ms: int) -> Fault:
    cut = {"nodes": ["n2", "n3", "n1"], "stagger_ms": 50, "seconds": 0.5}
    return Fault(at_ms, "power_cut_all", cut)


@pytest.mark.parametrize("by_ms", [HOUR_MS, -HOUR_MS, TEN_YEARS_MS])
def test_a_clock_that_leaps_alone_is_never_used(by_ms: int) -> None:
    """Not while it is wrong, nor by a new leader, nor after a restart of all in the middle."""
    world = run(
        11,
        glitch(200, "n1", by_ms, 2.5),
        Fault(900, "kill", {"who": "n2", "seconds": 0.3}),
        Fault(3000, "wall_jump", {"who": "n1", "by_ms": by_ms}),
        power_cut(4000),
    )
    assert world.times.largest_leap_ms < 1000
    assert world.times.worst_wall_error_ms(ORIGIN_MS) < 1500


@pytest.mark.parametrize("nodes", [1, 3])
def test_all_clocks_may_leap_without_a_span_being_cut(nodes: int) -> None:
    names = [f"n{number}" for number in range(1, nodes + 1)]
    leaps = [
        Fault(at_ms + 37 * place, "wall_jump", {"who": name, "by_ms": by_ms})
        for at_ms, by_ms in ((500, TEN_YEARS_MS), (2500, -HOUR_MS - TEN_YEARS_MS))
        for place, name in enumerate(names)
    ]
    assert run(12, *leaps, nodes=nodes).times.largest_leap_ms < 100


def test_a_restart_of_all_counts_the_time_between() -> None:
    world = run(13, power_cut(1000), power_cut(3500))
    assert world.times.largest_leap_ms < 1000
    assert world.times.worst_wall_error_ms(ORIGIN_MS) < 1500


def bridged_by_a_leader_that_has_not_heard(seed: int) -> int:
    """A node with a wrong wall clock comes back and stands with one other that knows the time. The
    connection from that one loses what comes behind its hello, three times in a row; its datagrams
    arrive.
    """
    world = Gaps(seed, nodes=3, shards=1)
    network = world.network
    plain = network._latency_ns
    late: list[Link] = []
    bridged = []

    def latency_ns(link: Link) -> int:
        return plain(link) + (1_200 * MS if link in late else 0)

    network._latency_ns = latency_ns  # type: ignore[method-assign]

    async def play() -> None:
        await world.stop_probing()  # so that the log of the node that comes back can win
        await asyncio.sleep(0.5)
        leader = world.leader(0)
        back, other = (node for node in world.nodes if node is not leader)
        back.crash()
        await asyncio.sleep(0.5)
        leader.crash()
        back.clock.jump_wall(HOUR_MS)
        back.start()
        while not (  # noqa: ASYNC110 (there is no event for it)
            back.node and back.node.peers and back.node.peers.is_heard(other.node.node_id)
        ):
            await asyncio.sleep(0.00005)
        late.append(network.link(other.name, back.name))
        while not back.node.time.is_settled:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        bridged.append(back.node.time.bridged_ms)

    world.run(play)
    return bridged[0]


def test_a_vote_does_not_overtake_the_time() -> None:
    """The node that came back stands first with two of these seeds. With the vote of a datagram it
    led before it had heard the time, and added an hour by its own clock alone.
    """
    assert [bridged_by_a_leader_that_has_not_heard(seed) for seed in range(1, 7)] == [0] * 6


@pytest.mark.parametrize("seed", [1, 2])
def test_settings_that_change_while_all_are_down_change_no_state(seed: int) -> None:
    """Many values are as large as the smaller limit, so what append makes of them hangs on it."""
    limits = (2 << 10, 64 << 10, 2 << 10)
    changes = [
        Fault(1200 * number, "change_settings", {**SETTINGS, "item_bytes_max": limit})
        for number, limit in enumerate(limits, 1)
    ]
    large = {"oversize": 0.4, "item_bytes_max": 2 << 10, "expiring": 0.0}
    assert len(run(seed, *changes, **large).item_limits) >= 2


# -- rules broken by hand -------------------------------------------------------------------------


def test_a_stamp_by_the_wall_clock_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def stamp(self: ClusterTime) -> tuple[int, int]:
        return self._clock.wall_ms() - ORIGIN_MS, self.wall_ms()

    monkeypatch.setattr(ClusterTime, "stamp", stamp)
    with pytest.raises(SimulationFailure, match="the cluster's time is wrong"):
        run(11, glitch(200, "leader", HOUR_MS, 1.5))


def test_a_bridge_by_one_clock_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def offsets(self: ClusterTime) -> list[int]:
        return [self._clock.wall_ms() - self.now_ms()]

    monkeypatch.setattr(ClusterTime, "_offsets", offsets)
    leaps = []
    for who in ("n2", "n3", "n1"):  # One of them leads first.
        leap = Fault(900, "wall_jump", {"who": who, "by_ms": HOUR_MS})
        leaps.append(run(14, leap, power_cut(1000), seconds=2.0).times.largest_leap_ms)
    assert max(leaps) > HOUR_MS // 2, leaps


def test_an_apply_that_asks_a_setting_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = ShardStore.apply
    limits: dict[str, int] = {}

    def by_setting(self: ShardStore, index: int, now_ms: int, commands: Any, *batch: Any) -> Any:
        process = PROCESS.get()
        assert process is not None
        limit = limits.get(process.name, 8 << 10)
        return apply(self, index, now_ms, commands, batch[0], limit)

    monkeypatch.setattr(ShardStore, "apply", by_setting)
    limits.update(n1=8 << 10, n2=200, n3=8 << 10)
    with pytest.raises(SimulationFailure):
        run(1)


def test_a_time_that_stands_still_is_found() -> None:
    times = ClusterTimes()
    for at_ms, reading in ((0, 0), (5, 5), (20_000, 20_000)):
        times._judge(at_ms * 1_000_000, reading, reading)
        times._at_ns.append(at_ms * 1_000_000)
        times._greatest.append(reading)
    assert times.problem == ""
    times._judge(40_000_000_000, 20_005, 20_005)
    assert "20005 ms after 40000" in times.problem
