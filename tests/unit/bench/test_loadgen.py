"""The load generator against a tiny server in the same loop."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from itertools import accumulate, takewhile
from random import Random

import pytest

from quorumcache.bench.errors import TargetError
from quorumcache.bench.loadgen import Job, LoadGenerator, Routes, keys_by_node
from quorumcache.bench.workload import GET, Workload, arrival_gaps_ns, key_of
from quorumcache.ring import shard_of


class TinyServer(asyncio.Protocol):
    """Enough of memcached: get, set, incr. `refuse(line)` may give an error line instead."""

    def __init__(self, items, refuse, asked):
        self.items, self.refuse, self.asked = items, refuse, asked
        self.buffer = b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        out = []
        while (end := self.buffer.find(b"\r\n")) >= 0:
            line = self.buffer[:end]
            words = line.split()
            used = end + 2
            if words[0] == b"set":
                size = int(words[4])
                if len(self.buffer) < used + size + 2:
                    break
                value = self.buffer[used : used + size]
                used += size + 2
            self.asked[words[1]] += 1
            error = self.refuse(line)
            if error is not None:
                out.append(error)
            elif words[0] == b"set":
                self.items[words[1]] = value
                out.append(b"STORED\r\n")
            elif words[0] == b"incr":
                self.items[words[1]] = b"%d" % (int(self.items[words[1]]) + 1)
                out.append(self.items[words[1]] + b"\r\n")
            elif words[1] in self.items:
                value = self.items[words[1]]
                out.append(b"VALUE %b 0 %d\r\n%b\r\nEND\r\n" % (words[1], len(value), value))
            else:
                out.append(b"END\r\n")
            self.buffer = self.buffer[used:]
        self.transport.write(b"".join(out))


class Load:
    """One generator and its servers, run to the end."""

    def __init__(self, workload, *, servers=1, owners=(), refuse=lambda line: None, **job):
        self.items, self.asked = [{} for _ in range(servers)], [Counter() for _ in range(servers)]
        self.workload, self.owners, self.refuse, self.job = workload, owners, refuse, job
        self.filled = 0
        self.before_run = lambda: None

    def run(self):
        async def whole():
            loop = asyncio.get_running_loop()
            servers = []
            for items, asked in zip(self.items, self.asked, strict=True):

                def make(items=items, asked=asked):
                    return TinyServer(items, self.refuse, asked)

                servers.append(await loop.create_server(make, "127.0.0.1", 0))
            addresses = tuple(server.sockets[0].getsockname() for server in servers)
            job = Job(
                workload=self.workload,
                routes=Routes(addresses, tuple(self.owners)),
                connections=self.workload.connections,
                rate=self.workload.rate,
                warmup_seconds=0.02,
                seconds=self.job.pop("seconds", 0.1),
                **self.job,
            )
            generator = LoadGenerator(job, loop, time.monotonic_ns)
            try:
                self.filled = await generator.fill()
                self.before_run()
                await generator.connect()
                return await generator.run(time.monotonic_ns())
            finally:
                for server in servers:
                    server.close()

        return asyncio.run(asyncio.wait_for(whole(), 30))


def test_reads_of_written_keys_hit_and_are_counted():
    load = Load(Workload(get=1, keys=100, connections=3, depth=4))
    result = load.run()
    assert load.filled == 100
    assert len(load.items[0]) == 100
    assert result.completed == sum(result.timeline) <= result.stats.read.count
    assert result.stats.read.count > 0
    assert (result.stats.misses, result.stats.errors) == (0, 0)
    assert result.stats.write.count == 0


def test_the_timeline_has_a_step_for_each_part_of_the_time():
    load = Load(Workload(get=1, keys=10, connections=2), seconds=0.25, step_seconds=0.1)
    result = load.run()
    assert 1 <= len(result.timeline) <= 3, "fewer only when the machine held it up"
    assert sum(result.timeline) == result.completed


def test_misses_are_counted_and_are_no_errors():
    load = Load(Workload(get=1, keys=10, connections=2))
    load.before_run = load.items[0].clear
    result = load.run()
    assert result.stats.misses == result.stats.read.count > 0
    assert result.stats.errors == 0


def test_a_value_of_another_key_is_an_error():
    load = Load(Workload(get=1, keys=10, connections=1))

    def confuse():
        items = load.items[0]
        items.update(dict.fromkeys(items, b"something else"))

    load.before_run = confuse
    result = load.run()
    assert result.stats.errors > 0
    assert list(result.stats.error_kinds) == ["value that was never written under this key"]


def test_errors_are_counted_by_their_text():
    load = Load(Workload(set=1, keys=10, connections=1))
    switch = {"on": False}

    def refuse(line):
        return b"SERVER_ERROR outcome unknown: tired\r\n" if switch["on"] else None

    load.refuse = refuse
    load.before_run = lambda: switch.update(on=True)
    result = load.run()
    assert result.completed == 0
    assert result.stats.errors > 0
    assert list(result.stats.error_kinds) == ["SERVER_ERROR outcome unknown: tired"]


def test_a_fill_that_fails_says_why():
    load = Load(Workload(get=1, keys=10), refuse=lambda line: b"SERVER_ERROR out of memory\r\n")
    with pytest.raises(TargetError, match=r"10 errors.*out of memory"):
        load.run()


def test_nobody_there_is_a_clear_error():
    job = Job(workload=Workload(get=1, fill=False), routes=Routes((("127.0.0.1", 1),)))

    async def connect():
        await LoadGenerator(job, asyncio.get_running_loop(), time.monotonic_ns).connect()

    with pytest.raises(TargetError, match=r"cannot connect to 127\.0\.0\.1:1"):
        asyncio.run(connect())


def test_counters_count():
    load = Load(Workload(incr=1, keys=5, connections=2))
    result = load.run()
    assert result.stats.errors == 0
    assert sum(int(value) for value in load.items[0].values()) >= result.stats.write.count > 0


def test_routed_connections_ask_only_for_keys_of_their_node():
    owners = (0, 1, 1, 0)
    load = Load(
        Workload(get=0.5, set=0.5, keys=200, connections=4, depth=4), servers=2, owners=owners
    )
    result = load.run()
    assert result.stats.errors == result.stats.misses == 0
    for node, asked in enumerate(load.asked):
        assert asked
        assert {owners[shard_of(key, 4)] for key in asked} == {node}


def test_any_node_mode_asks_every_node_for_every_key():
    load = Load(Workload(get=1, keys=20, connections=4, depth=4), servers=2)
    load.before_run = lambda: [asked.clear() for asked in load.asked]
    load.run()
    assert all(len(asked) == 20 for asked in load.asked)


def test_nodes_that_own_nothing_get_nothing():
    routes = Routes((("a", 1), ("b", 2), ("c", 3)), (2, 0))
    assert routes.used_nodes() == [0, 2]
    keys = keys_by_node(Workload(get=1, keys=100), routes, GET)
    assert sorted([*keys[0], *keys[2]]) == list(range(100))
    assert all(routes.node_of(key_of(GET, index)) == 2 for index in keys[2])


@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
def test_an_open_loop_offers_its_rate(arrivals):
    workload = Workload(get=1, keys=10, connections=2, depth=64, rate=500.0, arrivals=arrivals)
    load = Load(workload, seconds=0.4)
    load.before_run = lambda: [a.clear() for a in load.asked]
    result = load.run()
    # However slow the machine is, the number is the same: nothing is left out, only late.
    asked = sum(load.asked[0].values())
    gaps = arrival_gaps_ns(workload, 500, Random("1/arrivals/0"))
    due = takewhile(lambda at: at < 420_000_000, accumulate(gaps))
    assert asked == len(list(due))
    assert result.stats.unsent == result.stats.unanswered == 0
    assert result.stats.send_lag.count > 0


def test_a_stalled_server_cannot_hold_up_the_end():
    load = Load(Workload(get=1, keys=10, connections=2), drain_seconds=0.1)
    silent = {"on": False}
    load.refuse = lambda line: b"" if silent["on"] else None
    load.before_run = lambda: silent.update(on=True)
    result = load.run()
    assert result.completed == 0
    assert result.stats.unanswered == 2


def test_a_job_comes_back_from_json():
    job = Job(workload=Workload(get=1), routes=Routes((("h", 1),), (0, 0)), cpus=(1,))
    assert Job.from_dict(job.to_dict()) == job
