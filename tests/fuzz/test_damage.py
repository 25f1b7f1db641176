"""One byte of what is durable is another one: refused, harmless, or the very last frame is cut.

`tests/property/test_wal_crash.py` turns over every bit of one life; here the lives are random, and
so are place and value.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quorumcache.node.errors import SnapshotCorrupt, WalCorrupt, WrongDataDir
from tests.crash.broken_rules import BROKEN_RULES
from tests.support.fake_disk import FakeDisk, Nothing
from tests.support.log_host import LogHost
from tests.support.manual_loop import ManualLoop

REFUSED = (WalCorrupt, SnapshotCorrupt, WrongDataDir)


def live(host: LogHost, loop: ManualLoop, random: Random, steps: int) -> Iterator[None]:
    """Anything a node does; yields when all of it is durable."""
    for _ in range(steps):
        group = random.randrange(3)
        action = random.randrange(8)
        if action < 3:
            host.append(group, random.randint(1, 3))
        elif action == 3:
            host.overwrite(group, random.randrange(4), random.randint(1, 2))
        elif action == 4:
            host.vote(group)
        elif action == 5:
            host.snapshot(group, random.randrange(3))
        elif action == 6:
            host.install(group, random.randint(-3, 4))
        else:
            host.forget(group)
        if random.random() < 0.7:
            loop.run()
            yield
    loop.run()
    yield


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 1 << 32), st.integers(1, 25), st.sampled_from([200, 600, 3000]))
def test_a_changed_byte_never_passes_for_another_value(
    seed: int, steps: int, segment_bytes_max: int
) -> None:
    random = Random(seed)
    loop = ManualLoop()
    disk = FakeDisk(loop, survival=Nothing())
    host = LogHost(disk, loop, segment_bytes_max=segment_bytes_max)
    host.start()
    for _ in live(host, loop, random, steps):
        pass
    for _ in range(20):
        copy = disk.copy(ManualLoop(), Nothing())
        path = random.choice([path for path in copy.paths() if copy.read(path)])
        at = random.randrange(len(copy.read(path)))
        pattern = random.randrange(1, 256)
        for bit in range(8):
            if pattern >> bit & 1:
                copy.flip_bit(path, 8 * at + bit)
        damaged = host.copy(copy)
        try:
            damaged.start()
        except REFUSED:
            continue
        except AssertionError:
            # Nothing vouches for the last frame: it may be cut off, and nothing before it.
            newest = max(path for path in disk.paths() if path.endswith(".wal"))
            assert path in (newest, previous(newest)), (path, newest)
            again = host.copy(copy)
            again.durable_count = host.durable_before_last_sync
            again.start()


def previous(path: str) -> str:
    """The segment before: the newest one may have been created ahead."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/{int(name.partition('.')[0]) - 1:010}.wal"


def damage_many_lives() -> None:
    """The test above, on seeds of its own, in the log alone."""
    check = test_a_changed_byte_never_passes_for_another_value.hypothesis.inner_test
    with patch.object(Random, "choice", first_segment):
        for seed in range(20):
            check(seed, 20, 3000)


def test_the_check_sees_a_value_that_was_changed() -> None:
    """The control: a log whose checksums are not looked at lets changed bytes through."""
    damage_many_lives()
    (rule,) = [rule for rule in BROKEN_RULES if rule.name == "torn_tail_accepted"]
    with rule.broken(), pytest.raises(AssertionError):
        damage_many_lives()


def first_segment(self: Random, options: list[str]) -> str:
    """Damage the log, not the snapshots."""
    return next(path for path in options if path.endswith(".wal"))


def test_the_record_of_an_installed_snapshot_is_damaged() -> None:
    """The log goes on behind a snapshot in entries that the snapshot had replaced."""
    check = test_a_changed_byte_never_passes_for_another_value.hypothesis.inner_test
    check(2_501_470_029, 25, 600)
