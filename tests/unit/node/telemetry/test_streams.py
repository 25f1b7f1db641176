"""Lines written by a thread: nothing waits for their reader, nothing is lost without a word."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Iterator

import pytest

from quorumcache.node.telemetry import logs
from quorumcache.node.telemetry.streams import LineWriter, write_line

DEADLINE_S = 60.0
PAGE = 4096


class Pipe:
    """A pipe that is full until it is read."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self.filled = 0
        os.set_blocking(self.writing, False)
        for size in (PAGE, 1):
            try:
                while True:
                    self.filled += os.write(self.writing, b"x" * size)
            except BlockingIOError:
                pass
        os.set_blocking(self.writing, True)

    def read_until(self, text: bytes) -> bytes:
        """All that comes, the filling left out, until `text` is in it."""
        seen = b""
        while text not in seen:
            assert select.select([self.reading], [], [], DEADLINE_S)[0], seen[-200:]
            data = os.read(self.reading, 1 << 20)
            assert data, seen[-200:]
            dropped = min(self.filled, len(data))
            self.filled -= dropped
            seen += data[dropped:]
        return seen

    def close(self) -> None:
        for descriptor in (self.reading, self.writing):
            try:
                os.close(descriptor)
            except OSError:
                continue


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    """A full one. What a writer's thread still waits for fails when it is closed."""
    made = Pipe()
    yield made
    made.close()


def test_a_full_pipe_holds_nobody_up_and_what_is_lost_is_told(pipe: Pipe) -> None:
    writer = LineWriter(pipe.writing, bytes_max=100, on_resumed=lambda count: f"lost {count}")
    assert writer.write("a" * 49)
    assert writer.write("b" * 49)
    for _ in range(3):
        assert not writer.write("c")
    assert writer.dropped == 3
    assert not writer.flush(0.01)
    lines = pipe.read_until(b"b\n").splitlines()
    assert lines == [b"a" * 49, b"lost 3", b"b" * 49]
    assert writer.flush(DEADLINE_S)
    assert writer.write("d")
    assert pipe.read_until(b"\n") == b"d\n"
    assert writer.dropped == 3


def test_a_pipe_that_somebody_made_non_blocking(pipe: Pipe) -> None:
    os.set_blocking(pipe.writing, False)
    writer = LineWriter(pipe.writing)
    line = "long" * 100_000
    assert writer.write(line)
    assert pipe.read_until(b"\n") == line.encode() + b"\n"
    assert writer.dropped == 0


def test_a_reader_that_has_gone(pipe: Pipe) -> None:
    os.close(pipe.reading)
    writer = LineWriter(pipe.writing)
    for _ in range(3):
        assert writer.write("x")
    assert writer.flush(DEADLINE_S)
    assert writer.dropped == 3


def test_logging_counts_what_it_loses_and_says_so(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process's own log: events, the sentence at the end, and the count for /metrics."""
    monkeypatch.setattr(logs, "STDERR", pipe.writing)
    monkeypatch.setattr(logs, "_writer", None)
    logs.configure(node="a")
    assert logs.lines_dropped() == 0
    log = logs.get_logger("x")
    logs.event(log, "info", "first")
    log.info("%d", "not a number")  # Cannot even be formatted.
    assert logs.lines_dropped() == 1
    logs.say("quorumcached: the end")
    lines = pipe.read_until(b"the end\n").decode().splitlines()
    assert lines[0].endswith(" info event=first node=a")
    assert lines[1].endswith(" warning event=log_lines_dropped node=a count=1")
    assert lines[2] == "quorumcached: the end"


def test_a_line_for_a_full_pipe_is_not_waited_for(pipe: Pipe) -> None:
    with open(pipe.writing, "w", closefd=False) as stream:
        error = write_line(stream, "ready")
    assert isinstance(error, BlockingIOError)


def test_a_line_that_cannot_be_written_does_not_fail_again_at_the_end(pipe: Pipe) -> None:
    os.close(pipe.reading)
    with open(pipe.writing, "w", closefd=False) as stream:
        assert isinstance(write_line(stream, "ready"), BrokenPipeError)
        assert write_line(stream, "again") is None


def test_the_thread_does_not_keep_a_process_alive() -> None:
    writer = LineWriter(2)
    (thread,) = (one for one in threading.enumerate() if one is writer._thread)
    assert thread.daemon
