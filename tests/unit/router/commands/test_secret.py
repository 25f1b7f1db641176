"""Where the cluster's secret is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from quorumcache.ring.secret import SECRET_FILE, SECRET_VARIABLE
from quorumcache.router.commands.basics import MISS, USAGE, Failure
from quorumcache.router.commands.secret import secret_source


def test_a_named_file_goes_before_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "s"
    file.write_text("out of the named file\n")
    monkeypatch.setenv(SECRET_VARIABLE, "from the environment")
    assert secret_source(str(file))("").text == "out of the named file"
    assert secret_source(None)("/elsewhere/cluster.secret").text == "from the environment"


def test_a_node_on_this_machine_names_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SECRET_VARIABLE, raising=False)
    path = tmp_path / SECRET_FILE
    path.write_text("beside the node of here\n")
    assert secret_source(None)(str(path)).text == "beside the node of here"
    other = tmp_path / "passwords"
    other.write_text("something else that is long enough")
    for told in ("", "-", str(other), SECRET_FILE, str(tmp_path / "gone" / SECRET_FILE)):
        with pytest.raises(Failure, match="give it with --secret-file FILE") as caught:
            secret_source(None)(told)
        assert caught.value.code == MISS


@pytest.mark.parametrize("content", [None, b"", b"\n", b"short\n", b"\xff" * 20])
def test_a_file_without_a_secret_is_told_at_once(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "s"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(Failure, match=str(path)) as caught:
        secret_source(str(path))
    assert caught.value.code == USAGE


def test_a_bad_one_in_the_environment_is_told_and_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SECRET_VARIABLE, "hush")
    with pytest.raises(Failure, match="has 4 characters") as caught:
        secret_source(None)
    assert "hush" not in str(caught.value)
