"""`quorumcache rolling-restart`, without a cluster."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quorumcache.router import cli
from quorumcache.router.commands import local
from quorumcache.router.commands.basics import INTERRUPTED, MISS, OK, UNREACHABLE


def test_its_lines_and_exit_codes(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    answers: list[Any] = [{"code": 0}, {"code": 1}, KeyboardInterrupt()]
    asked: list[Any] = []

    def ask(data_dir: str, question: Any, say: Callable[[str], object]) -> Any:
        asked.append((data_dir, question))
        say("node a is back")
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(local, "ask", ask)
    assert cli.main(["rolling-restart", "--data-dir", "x"]) == OK
    assert asked == [("x", {"do": "rolling-restart"})]
    assert capsys.readouterr().out == "node a is back\ndone: all nodes were restarted\n"
    assert cli.main(["rolling-restart"]) == MISS
    assert "not all nodes were restarted" in capsys.readouterr().err
    assert cli.main(["rolling-restart"]) == INTERRUPTED
    assert "it ends after the node" in capsys.readouterr().err


def test_no_cluster(tmp_path: Path, capsys: Any) -> None:
    assert cli.main(["rolling-restart", "--data-dir", str(tmp_path)]) == UNREACHABLE
    assert "start it with `quorumcached up`" in capsys.readouterr().err
