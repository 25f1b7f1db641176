"""Where the cluster's secret is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from quorumcache.router.commands.basics import MISS, USAGE, Failure
from quorumcache.router.commands.secret import SECRET_NAME, SECRET_VARIABLE, secret_source


def test_a_named_file_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s"
    file.write_text("from the file\n")
    monkeypatch.setenv(SECRET_VARIABLE, "from the environment")
    assert secret_source(str(file))("") == b"from the file"
    assert secret_source(None)("/elsewhere/cluster.secret") == b"from the environment"


def test_a_node_on_this_machine_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    path = tmp_path / SECRET_NAME
    path.write_text("beside the node\n")
    assert secret_source(None)(str(path)) == b"beside the node"
    other = tmp_path / "passwords"
    other.write_text("something else")
    for told in ("", "-", str(other), SECRET_NAME, str(tmp_path / "gone" / SECRET_NAME)):
        with pytest.raises(Failure, match="give it with --secret-file FILE") as caught:
            secret_source(None)(told)
        assert caught.value.code == MISS


@pytest.mark.parametrize("content", [None, b"", b" \n"])
def test_a_file_without_a_secret_is_told_at_once(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "s"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Failure, match=str(path)) as caught:
        secret_source(str(path))
    assert caught.value.code == USAGE
