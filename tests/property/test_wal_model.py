"""The log against lists: any sequence of uses, crashes and full disks."""

from __future__ import annotations

from random import Random

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
)


@settings(max_examples=1000, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(STEPS, min_size=5, max_size=80),
    st.integers(0, 1 << 32),
    st.sampled_from([200, 600, 3000]),
    st.sampled_from([0, 100, 700]),
)
def test_any_use_with_crashes_recovers_what_was_durable(
    steps: list[tuple], seed: int, segment_bytes_max: int, zero_ahead_bytes: int
) -> None:
    """Random use by a host that checks every restart (see `LogHost`), on a disk that loses and
    tears what is not synced. At the end everything becomes durable, in order."""
    loop = ManualLoop()
    disk = FakeDisk(
        loop, Random(seed), delay=lambda random: random.random(), zero_ahead_bytes=zero_ahead_bytes
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
        else:
            getattr(host, name)(*arguments)
    disk.capacity_bytes = None
    loop.run()
    assert host.failed == []
    assert not host.full or host.full[-1] is False
    with_callback = [n for n, item in enumerate(host.items, 1) if isinstance(item, WalRecord)]
    assert host.durable_count >= max(with_callback, default=0)
    disk.crash()
    host.start()
