"""A real node that wants passwords, over TCP and a Unix socket, on both loops."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.processes import last_line, run_to_end, running_node
from tests.support.wire import Wire


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_clients_give_a_password_first(
    tmp_path: Path, loop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if loop == "asyncio":
        (tmp_path / "uvloop.py").write_text("raise ImportError('not here')\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    users = tmp_path / "users"
    users.write_text("ann:secret\n")
    path = str(tmp_path / "q.sock")
    with running_node(tmp_path, "-Y", str(users), "--unix-path", path) as node:
        for place in (node.port, path):
            with Wire(place) as wire:
                assert wire.ask(b"get k") == b"CLIENT_ERROR unauthenticated\r\n"
                assert wire.set(b"k", b"ann wrong") == b"CLIENT_ERROR authentication failure\r\n"
                # The rest comes with the password, and is answered all the same.
                wire.send(b"set k 0 0 10\r\nann secret\r\nset k 0 0 1\r\nx\r\n")
                assert [wire.line(), wire.line()] == [b"STORED\r\n"] * 2
                assert wire.get(b"k") == b"x"
                big = b"v" * 500_000
                assert wire.set(b"big", big) == b"STORED\r\n"
                assert wire.get(b"big") == big
                stats = wire.stats()
                assert wire.stats(b"settings")["auth_enabled_ascii"] != "no"
        assert (stats["auth_cmds"], stats["auth_errors"]) == ("4", "2")


def test_a_file_of_no_use_is_told(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("ann:secret\nnonsense\n")
    status, _, err = run_to_end("-p", "-1", "-Y", str(users))
    assert status == 2
    assert f"--auth-file: {users}, line 2 is not user:password" in last_line(err)
    status, _, err = run_to_end("-p", "-1", "-Y", str(tmp_path / "none"))
    assert status == 2
    assert "--auth-file: cannot read" in last_line(err)
