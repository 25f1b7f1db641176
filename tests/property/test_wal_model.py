"""The log against lists: any sequence of uses, crashes, full disks and lacks of descriptors."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quorumcache.node.wal.format import WalRecord
from tests.support.fake_disk import FakeDisk
from tests.support.log_host import LogHost
from tests.support.manual_loop import ManualLoop

GROUPS = st.integers(0, 2)

STEPS = st.one_of(
    st.tuples(st.just("append"), GROUPS, st.integers(1, 3)),
    st.tuples(st.just("append"), GROUPS, st.integers(1, 3)),
    st.tuples(st.just("overwrite"), GROUPS, st.integers(0, 3), st.integers(1, 2)),
    st.tuples(st.just("vote"), GROUPS),
    st.tuples(st.just("snapshot"), GROUPS, st.integers(0, 3)),
    st.tuples(st.just("install"), GROUPS, st.integers(-3, 4)),
    st.tuples(st.just("forget"), GROUPS),
    st.tuples(st.just("run"), st.integers(1, 30)),
    st.tuples(st.just("run"), st.integers(1, 30)),
    st.tuples(st.just("crash"), st.booleans()),
    st.tuples(st.just("fill"), st.integers(0, 200)),
    st.tuples(st.just("free")),
    st.tuples(st.just("descriptors"), st.sampled_from([0, 1000])),
    st.tuples(st.just("descriptors"), st.sampled_from([0, 1000])),
    st.tuples(st.just("tell_the_log"), st.sampled_from(["make_room", "retry", "settle"])),
)


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(STEPS, min_size=5, max_size=80),
    st.integers(0, 1 << 32),
    st.sampled_from([200, 600, 3000]),
    st.sampled_from([0, 100, 700]),
    st.sampled_from([1.0, 0.02]),
)
def test_any_use_with_crashes_recovers_what_was_durable(
    steps: list[tuple], seed: int, segment_bytes_max: int, zero_ahead_bytes: int, slowness: float
) -> None:
    """Random use by a host that checks every restart (see `LogHost`), on a disk that loses and
    tears what is not synced. At the end everything becomes durable, in order."""
    loop = ManualLoop()
    disk = FakeDisk(
        loop,
        Random(seed),
        delay=lambda random: slowness * random.random(),
        zero_ahead_bytes=zero_ahead_bytes,
    )
    host = LogHost(disk, loop, segment_bytes_max=segment_bytes_max)
    host.start()
    for name, *arguments in steps:
        if name == "run":
            loop.run(*arguments)
        elif name == "crash":
            disk.crash(power=arguments[0])
            host.start()
        elif name == "fill":
            used_bytes = sum(len(disk.read(path)) for path in disk.paths())
            disk.capacity_bytes = used_bytes + arguments[0]
        elif name == "free":
            disk.capacity_bytes = None
        elif name == "descriptors":
            disk.descriptors_left = arguments[0]
        elif name == "tell_the_log":
            getattr(host.wal, arguments[0])()
        else:
            getattr(host, name)(*arguments)
    disk.capacity_bytes = None
    disk.descriptors_left = 1000
    loop.run()
    assert host.failed == []
    assert not host.full or host.full[-1] is False
    with_callback = [n for n, item in enumerate(host.items, 1) if isinstance(item, WalRecord)]
    assert host.durable_count >= max(with_callback, default=0)
    disk.crash()
    host.start()


@pytest.mark.parametrize("block", range(10))
def test_a_disk_that_refuses_now_and_then_leaves_a_log_that_starts(block: int) -> None:
    """Small segments, a disk that is quick beside the pause between two tries, and descriptors or
    room that come and go meanwhile. However the log gets its next segment, it starts again."""
    for seed in range(12 * block, 12 * block + 12):
        random = Random(seed)
        loop = ManualLoop()
        disk = FakeDisk(loop, random, delay=lambda random: 0.02 * random.random())
        host = LogHost(disk, loop, segment_bytes_max=200)
        host.start()
        for _ in range(40):
            match random.randrange(8):
                case 0:
                    disk.descriptors_left = 0
                case 1:
                    disk.capacity_bytes = disk.used_bytes() + random.randrange(200)
                case 2:
                    disk.descriptors_left, disk.capacity_bytes = 1000, None
                case 3:
                    getattr(host.wal, random.choice(["make_room", "retry", "settle"]))()
                case 4:
                    host.vote(random.randrange(2))
                case _:
                    host.append(random.randrange(2), random.randrange(1, 4))
            loop.run(until=loop.now + random.choice([0.01, 0.1, 0.1, 0.6]))
            again = disk.copy(ManualLoop(), disk.survival)
            again.crash(power=random.random() < 0.5)
            host.copy(again).start()
        disk.descriptors_left, disk.capacity_bytes = 1000, None
        loop.run()
        assert host.failed == []
        assert host.durable_count == len(host.items)
