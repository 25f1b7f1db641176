"""A real node that wants passwords, over TCP and a Unix socket, on both loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from quorumcache.bench.processes import repository_environment
from quorumcache.router import AsyncClient, ClientConfig, PasswordNeeded
from tests.support.processes import last_line, run_to_end, running_node
from tests.support.wire import DEADLINE_S, Wire


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


def test_our_own_client_gives_the_password_where_it_is_wanted(tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("ann:secret\n")

    async def use(seed: str, credentials: str) -> object:
        async with AsyncClient([seed], ClientConfig(credentials=credentials)) as client:
            await client.set("k", b"v")
            return await client.get("auth")

    with (
        running_node(tmp_path, "-Y", str(users)) as closed,
        running_node(tmp_path, name="b") as open_for_all,
    ):
        seed = f"127.0.0.1:{closed.port}"
        assert asyncio.run(use(seed, "ann:secret")) is None
        for credentials, words in (("", "none was given"), ("ann:no", "given are wrong")):
            with pytest.raises(PasswordNeeded, match=words):
                asyncio.run(use(seed, credentials))
        # A node that wants none would store it.
        assert asyncio.run(use(f"127.0.0.1:{open_for_all.port}", "ann:secret")) is None
        for credentials, status, words in (
            ("", 3, "set $QUORUMCACHE_CREDENTIALS to user:password"),
            ("ann:secret", 0, ""),
            ("ann", 2, "must be user:password"),
        ):
            done = subprocess.run(
                [sys.executable, "-P", "-m", "quorumcache.router.cli", "-s", seed, "status"],
                capture_output=True,
                text=True,
                timeout=DEADLINE_S,
                env={**repository_environment(), "QUORUMCACHE_CREDENTIALS": credentials},
                check=False,
            )
            assert (done.returncode, words in done.stderr) == (status, True), done.stderr
