"""How commands print: help that cannot be written is told, a note that cannot is given up."""

from __future__ import annotations

import io
import sys

import pytest

from quorumcache.router.streams import Parser, note


class Full(io.StringIO):
    """A disk without room."""

    def write(self, text: str, /) -> int:
        raise OSError(28, "No space left on device")


def test_help_that_cannot_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Full())
    with pytest.raises(OSError, match="No space left on device"):
        Parser(prog="x").parse_args(["--help"])


def test_a_note_that_cannot_be_written_is_given_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    note("x: not found")
    assert capsys.readouterr().err == "x: not found\n"
    monkeypatch.setattr(sys, "stderr", Full())
    note("x: not found")
