"""The command line of `quorumcached up`."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest

from quorumcache.node.errors import ConfigError, StartupError
from quorumcache.node.process import up as module
from quorumcache.node.process.local_cluster import LocalNode, Plan, save_plan


def test_two_clusters_never_share_a_directory(tmp_path: Path) -> None:
    held = module._lock(str(tmp_path))
    with pytest.raises(StartupError, match="runs already, in another `quorumcached up`: use it;"):
        module._lock(str(tmp_path))
    held.close()
    module._lock(str(tmp_path)).close()


def test_a_directory_in_use_is_told_with_the_cluster_that_runs_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nodes = (LocalNode("a", 4001, 4002, 4003), LocalNode("b", 5001, 5002, 5003))
    save_plan(Plan(str(tmp_path), 4, nodes))
    held = module._lock(str(tmp_path))
    try:
        assert module.main(["--data-dir", str(tmp_path)]) == 1
    finally:
        held.close()
    assert capsys.readouterr().err == (
        f"quorumcached: the cluster in {tmp_path} runs already, in another `quorumcached up` with"
        " the nodes a at 127.0.0.1:4001, b at 127.0.0.1:5001: use it,"
        " `quorumcache -s 127.0.0.1:4001 status` shows it;"
        f" Ctrl-C there (or `kill {os.getpid()}`) ends it."
        " For another cluster give another --data-dir\n"
    )


def test_a_directory_in_use_is_told_where_its_plan_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "cluster.json").write_text("{")
    held = module._lock(str(tmp_path))
    with pytest.raises(StartupError, match=f"runs already.* \\(or `kill {os.getpid()}`\\) ends it"):
        module._lock(str(tmp_path))
    held.close()


def test_a_lock_that_the_system_forbids_is_not_told_as_a_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbid(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(fcntl, "flock", forbid)
    with pytest.raises(StartupError, match=r"the system forbids a call of .*seccomp"):
        module._lock(str(tmp_path))


def test_a_wrong_size_is_told_before_anything_is_made(tmp_path: Path) -> None:
    directory = tmp_path / "d"
    with pytest.raises(ConfigError, match="--memory: 'x' is not a size"):
        module.main(["--data-dir", str(directory), "--memory", "x"])
    assert not directory.exists()


def test_a_place_where_no_directory_can_be_is_told_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "file"
    taken.touch()
    assert module.main(["--data-dir", str(taken)]) == 1
    said = f"quorumcached: {taken}: File exists. Choose another place with --data-dir\n"
    assert capsys.readouterr().err == said
