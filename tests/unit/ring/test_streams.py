"""What becomes of output that cannot be written. Closed streams of real processes:
tests/integration/test_streams.py."""

from __future__ import annotations

import io
import sys

import pytest

from quorumcache.ring.streams import discard, run_command


class Broken(io.StringIO):
    """Output on a full disk."""

    def flush(self) -> None:
        raise OSError(28, "No space left on device")


def test_exit_status_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    assert run_command(lambda: 7, name="x", failed=1, tell=print) == 7
    with pytest.raises(SystemExit, match="3"):
        run_command(lambda: sys.exit(3), name="x", failed=1, tell=print)
    monkeypatch.setattr(sys, "stdout", Broken())
    assert run_command(lambda: 0, name="x", failed=9, tell=told.append) == 9
    assert told == ["x: cannot write the output: No space left on device"]
    discard(Broken())  # Without a descriptor: nothing to do.


def test_the_error_of_a_file_names_the_file() -> None:
    """It is no error of the output."""
    told: list[str] = []

    def command() -> int:
        raise FileNotFoundError(2, "No such file or directory", "values.bin")

    assert run_command(command, name="x", failed=1, tell=told.append) == 1
    assert told == ["x: values.bin: No such file or directory"]


def test_a_reader_that_has_had_enough_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def flush(self) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Gone())
    told: list[str] = []
    assert run_command(lambda: 3, name="x", failed=1, tell=told.append) == 0
    assert told == []
