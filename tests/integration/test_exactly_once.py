"""kill -9 of the very nodes that clients talk to: every call of ours returns, and ran once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from pathlib import Path

from quorumcache.router import AsyncClient, ClientConfig
from tests.support.processes import Cluster, running_cluster, wait_until
from tests.support.wire import DEADLINE_S

COUNTERS = 8
WORKERS = 12
CALLS_BETWEEN = 150
"""Calls that have to end between two events."""


class Callers:
    """Tasks that share one client: incr of some counters and append to some texts. Nothing that
    they are told is forgotten, and any error ends the test.
    """

    def __init__(self, client: AsyncClient) -> None:
        self.client = client
        self.counts = [0] * COUNTERS
        self.results: list[list[int]] = [[] for _ in range(COUNTERS)]
        self.appended: list[list[bytes]] = [[] for _ in range(COUNTERS)]
        self.calls = 0
        self._stopping = False
        self._called = asyncio.Condition()

    async def prepare(self) -> None:
        for number in range(COUNTERS):
            assert await self.client.add(f"count-{number}", b"0")
            assert await self.client.add(f"text-{number}", b"")

    async def run(self, story: Callable[[Callers], Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as group:
            for worker in range(WORKERS):
                group.create_task(self._work(worker))
            try:
                await story(self)
            finally:
                self._stopping = True

    async def _work(self, worker: int) -> None:
        turn = 0
        while not self._stopping:
            turn += 1
            number = (worker + turn) % COUNTERS
            if turn % 2:
                result = await self.client.incr(f"count-{number}")
                assert result is not None
                self.results[number].append(result)
            else:
                word = b"%d.%d;" % (worker, turn)
                assert await self.client.append(f"text-{number}", word) is True
                self.appended[number].append(word)
            async with self._called:
                self.calls += 1
                self._called.notify_all()

    async def more_calls(self) -> None:
        """Until so many more calls have ended."""
        goal = self.calls + CALLS_BETWEEN
        async with asyncio.timeout(DEADLINE_S), self._called:
            await self._called.wait_for(lambda: self.calls >= goal)

    async def check(self) -> None:
        for number in range(COUNTERS):
            results = self.results[number]
            # Each incr was told a number of its own, and none was counted twice.
            assert sorted(results) == list(range(1, len(results) + 1))
            assert await self.client.get(f"count-{number}") == b"%d" % len(results)
            text = await self.client.get(f"text-{number}")
            assert text is not None
            assert sorted(text.split(b";")[:-1]) == sorted(w[:-1] for w in self.appended[number])


def run_story(cluster: Cluster, story: Callable[[Callers], Awaitable[None]]) -> None:
    async def main() -> None:
        seeds = [f"127.0.0.1:{node.port}" for node in cluster]
        config = ClientConfig(timeout_ms=int(1000 * DEADLINE_S))
        async with AsyncClient(seeds, config) as client:
            callers = Callers(client)
            await callers.prepare()
            await callers.run(story)
            await callers.check()

    asyncio.run(main())


def test_each_node_is_killed_in_turn_under_incr_and_append(tmp_path: Path) -> None:
    """The client is connected to all of them, and has writes under way at the one that dies."""
    with running_cluster(tmp_path) as cluster:

        async def story(callers: Callers) -> None:
            for name in list(cluster.nodes):
                await callers.more_calls()
                await asyncio.to_thread(cluster[name].kill)
                await callers.more_calls()
                await asyncio.to_thread(cluster[name].start)
                await asyncio.to_thread(cluster.wait_led)

        run_story(cluster, story)


def test_all_nodes_are_killed_at_once_and_come_back(tmp_path: Path) -> None:
    """Sessions are on the disks, too."""
    with running_cluster(tmp_path, shards=2) as cluster:

        async def story(callers: Callers) -> None:
            await callers.more_calls()
            for node in cluster:
                node.kill()
            await asyncio.to_thread(cluster.start)
            await callers.more_calls()

        run_story(cluster, story)


def test_a_stopped_leader_costs_attempts_and_no_call(tmp_path: Path) -> None:
    with running_cluster(tmp_path, shards=2) as cluster:
        name = cluster.busiest()

        async def story(callers: Callers) -> None:
            await callers.more_calls()
            cluster[name].pause()
            try:
                await callers.more_calls()
            finally:
                cluster[name].resume()
            await callers.more_calls()

        run_story(cluster, story)


def configured(directory: Path, line: str) -> AbstractContextManager[Cluster]:
    """A cluster of one shard with a line in its configuration file."""
    path = directory / "node.toml"
    path.write_text(f"{line}\n")
    return running_cluster(directory, shards=1, flags=("--config", str(path)))


def test_a_plain_connection_repeats_at_another_node(tmp_path: Path) -> None:
    """By hand, as a client in another language would: the first result, through any node, also
    after all have restarted.
    """
    with configured(tmp_path, 'snapshot-size = "4k"') as cluster:
        leader = cluster[cluster.leader_of(b"n", seen_by="a")]
        first, other = cluster.others(leader.name)
        with first.wire() as wire:
            assert wire.set(b"n", b"0") == b"STORED\r\n"
            word, shard, session = wire.ask(b"cluster session open 0").split()
            assert (word, shard) == (b"SESSION", b"0")
            write = b"cluster once %b 1 1\r\nincr n 5" % session
            wire.send(write + b"\r\n")
            first.kill()
        with other.wire() as wire:
            assert wire.ask(write) == b"5\r\n"
            assert wire.ask(write) == b"5\r\n"
            assert (
                wire.ask(b"cluster once %b 2 1\r\nappend n 0 0 1\r\n1" % session) == b"STORED\r\n"
            )
            for number in range(40):  # Enough for snapshots.
                assert wire.set(b"filler", b"%d" % number * 200) == b"STORED\r\n"
        first.start()
        leader.kill()
        cluster.wait_led(without=leader.name)
        for node in (first, other):
            with node.wire() as wire:
                assert wire.ask(write) == b"5\r\n"
                assert wire.get(b"n") == b"51"
        wait_until("a snapshot", lambda: bool(list(cluster.data_dirs[other.name].rglob("*snap*"))))
        first.kill()
        other.kill()
        cluster.start()
        for node in cluster:
            with node.wire() as wire:
                assert wire.ask(write) == b"5\r\n"
                assert wire.ask(b"cluster once %b 3 3\r\nincr n 1" % session)[-2:] == b"\r\n"
                assert wire.get(b"n") == b"52"
                stale = b"SERVER_ERROR stale sequence: this command was not done\r\n"
                assert wire.ask(write) == stale
                break
        with other.wire() as wire:
            assert wire.ask(b"cluster once %b 3 3\r\nincr n 1" % session) == b"52\r\n"
            gone = b"SERVER_ERROR session gone: this command was not done\r\n"
            assert wire.ask(b"cluster once %d 1 1\r\nincr n 1" % (1 << 62)) == gone
            assert wire.get(b"n") == b"52"


def test_an_idle_session_expires_through_the_log(tmp_path: Path) -> None:
    with configured(tmp_path, "session-idle-ms = 1000") as cluster:
        node = cluster["a"]
        with node.wire() as wire:
            deadline = time.monotonic() + DEADLINE_S
            first = b""
            while first != b"1\r\n":  # On a busy machine, a session may expire before its use.
                assert time.monotonic() < deadline, first
                assert wire.set(b"n", b"0") == b"STORED\r\n"
                session = wire.ask(b"cluster session open 0").split()[2]
                write = b"cluster once %b 1 1\r\nincr n 1" % session
                first = wire.ask(write)
            for pause_s in range(2, 12):
                # To ask keeps it alive: so ask ever more rarely.
                time.sleep(pause_s)
                again = wire.ask(write)
                if again != b"1\r\n":
                    break
            assert again == b"SERVER_ERROR session gone: this command was not done\r\n"
            assert wire.get(b"n") == b"1"
