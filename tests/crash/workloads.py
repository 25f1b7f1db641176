"""Lives of a node's data directory, to be recorded.

A life is a generator over a `Life`: it uses `life.host` and yields how many timers of the loop may
run (None: until everything is durable). `life.restart()` ends the process, not the power.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

from tests.crash.contract import NodeHost, TaskLoop
from tests.crash.recorder import MemoryFiles, RecordedDisk, pause_for_turn


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is recorded. The same workload gives the same recording."""

    name: str
    steps: Callable[[Life], Iterator[int | None]]
    seed: int = 0
    """Decides how the two workers of the disk interleave."""
    segment_bytes_max: int = 400
    payload_bytes: int = 10
    zero_ahead_bytes: int = 0
    joins: bool = False
    """The directory becomes a member by a join; else it is a founder's."""
    nested_every: int = 1
    """In the full search, recoveries of one distinct state in so many are crashed as well."""


class Life:
    """The process that is recorded: one after the other, on the same files."""

    def __init__(self, workload: Workload, files: MemoryFiles) -> None:
        self.workload = workload
        self.files = files
        self.random = Random(workload.seed)
        files.pause = pause_for_turn
        self.loop = TaskLoop()
        self.host = NodeHost(
            self._disk(),
            self.loop,
            segment_bytes_max=workload.segment_bytes_max,
            payload_bytes=workload.payload_bytes,
            joins=workload.joins,
        )

    def _disk(self) -> RecordedDisk:
        return RecordedDisk(
            self.files,
            self.loop,
            zero_ahead_bytes=self.workload.zero_ahead_bytes,
            random=Random(self.random.getrandbits(32)),
        )

    def restart(self) -> None:
        """The process ends wherever it is; the next one finds what it wrote, synced or not."""
        self.host.disk.kill()
        self.loop.end()
        self.loop = TaskLoop()
        self.host = self.host.copy(self._disk())
        self.host.start()

    def run(self) -> None:
        """From the first start to the last callback."""
        self.host.start()
        for timers in self.workload.steps(self):
            if timers is None:
                self.loop.run()
            else:
                self.loop.run(timers)
        self.loop.run()
        assert not self.host.log.failed, self.host.log.failed


def everything(life: Life) -> Iterator[int | None]:
    """Groups, segments, overwrites, both kinds of snapshots, a farewell, maps, a restart."""
    log = life.host.log
    life.host.save_map(1)
    log.append(1, 2)
    log.append(2)
    yield None
    life.host.add_birth(1)
    log.vote(1)
    log.overwrite(1, 1, 2)
    log.append(2, 3)
    yield 4
    log.snapshot(1, 1)
    log.append(1)
    life.host.save_map(2)
    yield None
    log.install(2, 4)
    log.append(1, 2)
    yield 9
    life.host.add_birth(2)
    log.append(1)
    yield 5
    life.restart()
    log = life.host.log
    log.append(2, 2)
    log.snapshot(2)
    log.snapshot(1)
    yield None
    log.install(1, -1)
    yield None
    log.append(1)
    log.forget(2)
    yield None
    log.append(2)
    life.host.save_map(3)
    yield None
    log.append(2)
    yield None


def joins(life: Life) -> Iterator[int | None]:
    """A node that joins is given a shard, and is started again."""
    life.host.save_map(50)
    yield 3
    life.host.add_birth(1)
    life.host.log.append(1)
    yield None
    life.restart()
    life.host.log.append(1)
    yield None


def rolling(life: Life) -> Iterator[int | None]:
    """Small segments that come and go: appends, snapshots, marks, removal, over and over."""
    log = life.host.log
    for turn in range(4):
        for group in (1, 2, 3):
            log.append(group, 1 + (turn + group) % 3)
        yield 3
        log.vote(1 + turn % 3)
        yield None
        log.snapshot(1, 1)
        log.snapshot(2 + turn % 2)
        yield 6
        log.append(1)
        yield None


def suffixes(life: Life) -> Iterator[int | None]:
    """New leaders replace what others wrote: truncation of suffixes, across segments."""
    log = life.host.log
    log.append(1, 3)
    log.append(2, 2)
    yield None
    for back in (1, 3, 0, 2):
        log.overwrite(1, back, 2)
        yield 2
        log.overwrite(2, back, 1)
        log.append(1)
        yield None
    life.restart()
    log = life.host.log
    log.overwrite(1, 4)
    log.vote(2)
    yield None


def restarts(life: Life) -> Iterator[int | None]:
    """Processes that die one step later each time, the next on what the one before left unsynced.

    The first ones die while the first segment is created.
    """
    for timers in range(2, 22):
        log = life.host.log
        if timers > 8:
            log.append(1)
            yield None
        log.snapshot(1)
        log.append(1)
        life.host.save_map(timers)
        yield timers
        life.restart()
    life.host.log.append(1)
    yield None


def pinned(life: Life) -> Iterator[int | None]:
    """A quiet group holds back many segments, which then go at once."""
    log = life.host.log
    log.append(3)
    yield None
    for _ in range(5):
        log.append(1, 3)
        log.append(2)
        yield None
        log.snapshot(1)
        log.snapshot(2)
        yield None
    log.snapshot(3)
    yield None
    log.append(1)
    yield None


def installs(life: Life) -> Iterator[int | None]:
    """Snapshots from a leader, within a log that went another way and spans segments."""
    log = life.host.log
    for back in (1, 2, 3):
        for _ in range(6):
            log.append(1)
            yield None
        log.install(1, -back)
        yield None
        log.append(1)
        yield None


def random_life(life: Life) -> Iterator[int | None]:
    """Anything, drawn from the workload's seed."""
    random = life.random
    for _ in range(18):
        host, log = life.host, life.host.log
        group = random.randrange(3)
        action = random.randrange(12)
        if action < 4:
            log.append(group, random.randint(1, 3))
        elif action == 4:
            log.overwrite(group, random.randrange(4), random.randint(1, 2))
        elif action == 5:
            log.vote(group)
        elif action == 6:
            log.snapshot(group, random.randrange(3))
        elif action == 7:
            log.install(group, random.randint(-3, 4))
        elif action == 8:
            log.forget(group)
        elif action == 9:
            newest = host.maps[-1]
            host.save_map(1 + (newest.epoch if newest is not None else 0))
        elif action == 10:
            host.add_birth(max(host.births[-1], default=0) + 1)
        else:
            life.restart()
        if random.random() < 0.8:
            yield random.randint(1, 12)


FIXED = (
    Workload(name="everything", steps=everything),
    Workload(name="rolling", steps=rolling, seed=1),
    Workload(name="suffixes", steps=suffixes, seed=2),
    Workload(name="joins", steps=joins, seed=6, joins=True),
    Workload(name="restarts", steps=restarts, seed=3),
    Workload(name="pinned", steps=pinned, seed=5, segment_bytes_max=200),
    Workload(name="installs", steps=installs, seed=0, segment_bytes_max=350),
    # Frames of several sectors, in files that are filled with zeros ahead.
    Workload(
        name="sectors",
        steps=everything,
        seed=4,
        segment_bytes_max=4000,
        payload_bytes=700,
        zero_ahead_bytes=4096,
        nested_every=20,
    ),
)
"""Lives that are always explored."""


def random_workload(seed: int) -> Workload:
    """A random life, of random sizes."""
    random = Random(f"workload {seed}")
    return Workload(
        name=f"random-{seed}",
        steps=random_life,
        seed=seed,
        segment_bytes_max=random.choice([200, 400, 1000]),
        payload_bytes=random.choice([1, 10, 60]),
        zero_ahead_bytes=random.choice([0, 0, 4096]),
        nested_every=10,
    )
