"""The command line of `quorumcached up`."""

from __future__ import annotations

from pathlib import Path

import pytest

from quorumcache.node.errors import ConfigError, DataDirLocked
from quorumcache.node.process import up as module


def test_two_clusters_never_share_a_directory(tmp_path: Path) -> None:
    held = module._lock(str(tmp_path))
    with pytest.raises(DataDirLocked):
        module._lock(str(tmp_path))
    held.close()
    module._lock(str(tmp_path)).close()


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
