"""Writers that know what was acknowledged to them, to compare with what is there afterwards.

Each `Writer` has one connection, some keys to which only it writes increasing numbers, and some
counters that it increments. It remembers what it sent and what was acknowledged, so that `check`
can tell lost writes and double increments. Each `Reader` reads at some node what the writers wrote
through any node, and notices what is older than was acknowledged before it asked.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from tests.support.wire import DEADLINE_S, Wire

KEYS = 12


class Writer(threading.Thread):
    """Sends `depth` writes at a time, half of them sets, half of them incrs."""

    def __init__(self, name: str, port: int, depth: int) -> None:
        super().__init__(name=f"writer-{name}", daemon=True)
        self.port = port
        self._depth = depth
        self.sets = [f"{name}-set-{number}".encode() for number in range(KEYS)]
        self.counters = [f"{name}-count-{number}".encode() for number in range(KEYS)]
        self.sent = dict.fromkeys([*self.sets, *self.counters], 0)
        self.acked = dict.fromkeys([*self.sets, *self.counters], 0)
        """Of a set: the newest acknowledged number. Of a counter: how many incrs were."""
        self.acks = 0
        self.errors: list[bytes] = []
        """Replies that are not what a healthy cluster gives."""
        self.disconnected = ""
        """How the connection ended, if the node ended it."""
        self.slowest_s = 0.0
        self._stop_asked = threading.Event()
        self._progress = threading.Condition()

    def prepare(self) -> None:
        """Make the counters; incr needs them."""
        with Wire(self.port) as wire:
            for key in self.counters:
                reply = wire.ask(b"add %b 0 0 1\r\n0" % key)
                assert reply == b"STORED\r\n", reply

    def run(self) -> None:
        try:
            with Wire(self.port) as wire:
                turn = 0
                while not self._stop_asked.is_set():
                    self._batch(wire, turn)
                    turn += 1
        except OSError as error:
            self.disconnected = repr(error)
        with self._progress:
            self._progress.notify_all()

    def _batch(self, wire: Wire, turn: int) -> None:
        requests, expected = [], []
        for place in range(self._depth):
            number = (turn * self._depth + place) // 2
            if place % 2 == 0:
                key = self.sets[number % KEYS]
                self.sent[key] += 1
                value = b"%d" % self.sent[key]
                requests.append(b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value))
                expected.append((key, self.sent[key]))
            else:
                key = self.counters[number % KEYS]
                self.sent[key] += 1
                requests.append(b"incr %b 1\r\n" % key)
                expected.append((key, 0))
        began = time.monotonic()
        wire.send(b"".join(requests))
        for key, number in expected:
            reply = wire.line()
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            if number and reply == b"STORED\r\n":
                self.acked[key] = number
            elif not number and reply.strip().isdigit():
                self.acked[key] += 1
            else:
                self.errors.append(reply)
                continue
            self.acks += 1
        with self._progress:
            self._progress.notify_all()

    def wait_acks(self, goal: int) -> None:
        """Until so many writes are acknowledged."""
        with self._progress:
            went_on = self._progress.wait_for(
                lambda: self.acks >= goal or not self.is_alive(), DEADLINE_S
            )
        assert went_on, f"{self.name}: stuck at {self.acks} of {goal}; {self.errors[:3]}"
        assert self.acks >= goal, f"{self.name} ended: {self.disconnected} {self.errors[:3]}"

    def check(self, wire: Wire) -> None:
        """Every acknowledged write is there, and no incr was executed twice."""
        for key in self.sets:
            value = wire.get(key)
            now = int(value) if value is not None else 0
            told = f"{key!r}: acknowledged {self.acked[key]}, sent {self.sent[key]}, found {now}"
            assert self.acked[key] <= now <= self.sent[key], told
        for key in self.counters:
            value = wire.get(key)
            assert value is not None, f"{key!r} is gone"
            told = (
                f"{key!r}: acknowledged {self.acked[key]}, sent {self.sent[key]}, found {value!r}"
            )
            assert self.acked[key] <= int(value) <= self.sent[key], told


class Reader(threading.Thread):
    """Reads the writers' keys one after another on one connection."""

    def __init__(self, port: int, writers: Sequence[Writer]) -> None:
        super().__init__(name=f"reader-{port}", daemon=True)
        self.port = port
        self._writers = writers
        self.reads = 0
        self.errors: list[str] = []
        self.disconnected = ""
        self._stop_asked = threading.Event()

    def run(self) -> None:
        try:
            with Wire(self.port) as wire:
                while not self._stop_asked.is_set():
                    for writer in self._writers:
                        self._read(wire, writer, writer.sets[self.reads % KEYS])
                    self.reads += 1
        except OSError as error:
            self.disconnected = repr(error)
        except (AssertionError, ValueError) as error:
            self.errors.append(repr(error))

    def _read(self, wire: Wire, writer: Writer, key: bytes) -> None:
        acked = writer.acked[key]
        value = wire.get(key)
        if int(value or 0) < acked:
            self.errors.append(f"stale: {key!r} is {value!r}, {acked} was acknowledged before")


class Load:
    """Writers and readers on some nodes."""

    def __init__(self, writers: Sequence[Writer], readers: Sequence[Reader]) -> None:
        self.writers = writers
        self.readers = readers

    def on(self, *ports: int) -> list[Writer]:
        return [writer for writer in self.writers if writer.port in ports]

    def wait_acks(self, more: int, writers: Iterable[Writer] | None = None) -> None:
        """Until each writer has got so many more acknowledgements."""
        chosen = self.writers if writers is None else list(writers)
        for writer, goal in [(writer, writer.acks + more) for writer in chosen]:
            writer.wait_acks(goal)

    def ask_stop(self) -> None:
        for one in (*self.writers, *self.readers):
            one._stop_asked.set()

    def stop(self) -> None:
        """Returns when all have stopped; no reader may have read what was too old."""
        self.ask_stop()
        for one in (*self.writers, *self.readers):
            if one.ident is not None:
                one.join(DEADLINE_S)
                assert not one.is_alive(), f"{one.name} hangs"
        for reader in self.readers:
            assert not reader.errors, f"{reader.name}: {reader.errors[:3]}"

    def check(self, port: int) -> None:
        with Wire(port) as wire:
            for writer in self.writers:
                writer.check(wire)

    def check_no_errors(self, writers: Iterable[Writer] | None = None) -> None:
        """These writers, and the readers of the same ports, noticed at most a pause."""
        chosen = self.writers if writers is None else list(writers)
        ports = {writer.port for writer in chosen}
        for one in (*chosen, *(reader for reader in self.readers if reader.port in ports)):
            assert not one.errors, f"{one.name}: {one.errors[:5]}"
            assert not one.disconnected, f"{one.name}: {one.disconnected}"

    def slowest_s(self) -> float:
        return max(writer.slowest_s for writer in self.writers)


@contextmanager
def load(
    name: str,
    ports: Sequence[int],
    *,
    per_port: int = 2,
    depth: int = 4,
    read_ports: Sequence[int] | None = None,
) -> Iterator[Load]:
    """Writers and a reader per port at work inside the block; they have stopped after it.

    `name` makes their keys new. `read_ports`: where there are readers, if not at all ports.
    """
    writers = [
        Writer(f"{name}-{at}-{number}", port, depth)
        for at, port in enumerate(ports)
        for number in range(per_port)
    ]
    readers = [Reader(port, writers) for port in (ports if read_ports is None else read_ports)]
    everything = Load(writers, readers)
    for writer in writers:
        writer.prepare()
    try:
        for one in (*writers, *readers):
            one.start()
        yield everything
    finally:
        everything.ask_stop()
    everything.stop()


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """`work(0)` to `work(count - 1)` side by side; the first error is raised."""
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_S)
        assert not thread.is_alive(), "a client hangs"
    if errors:
        raise errors[0]
