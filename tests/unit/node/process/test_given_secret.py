"""Goal: a node is given the secret that its operator means, or says in one line what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from quorumcache.node.errors import ConfigError
from quorumcache.node.process.given_secret import FILE_BYTES_MAX, given_secret, kept_secret
from quorumcache.ring.secret import SECRET_CHARS_MAX, SECRET_VARIABLE, Secret

IN_FILE, IN_ENVIRONMENT = "secret of the file", "secret of the environment"


def test_the_file_goes_before_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text(IN_FILE + "\n")
    environ = {SECRET_VARIABLE: IN_ENVIRONMENT}
    assert given_secret(str(path), environ) == Secret(IN_FILE)
    assert given_secret("", environ) == Secret(IN_ENVIRONMENT)
    assert given_secret("", {}) is None


def test_the_longest_secret_fits(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    longest = "\N{SLIGHTLY SMILING FACE}" * SECRET_CHARS_MAX
    path.write_text(longest + "\n")
    assert given_secret(str(path), {}) == Secret(longest)
    path.write_bytes(b"x" * (FILE_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="at most"):
        given_secret(str(path), {})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"too short\n", "has 9 characters"),
        (b"\xff" * 30, "not one line"),
        (None, "cannot read"),
    ],
)
def test_a_file_without_a_secret_is_named(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "secret"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=why) as caught:
        given_secret(str(path), {SECRET_VARIABLE: IN_ENVIRONMENT})
    assert str(caught.value).startswith("--secret-file: ")
    assert str(path) in str(caught.value)
    assert "too short" not in str(caught.value)


@pytest.mark.parametrize(("text", "why"), [("", "is empty"), ("too short", "has 9 characters")])
def test_a_variable_without_a_secret_is_named(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"{SECRET_VARIABLE}: the secret {why}") as caught:
        given_secret("", {SECRET_VARIABLE: text})
    assert "too short" not in str(caught.value)


def test_what_a_node_keeps_is_found_from_every_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert kept_secret("data/a") == str(tmp_path / "data" / "a" / "cluster.secret")
    assert kept_secret(None) == ""
