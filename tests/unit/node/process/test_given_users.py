"""The file of users: read, or told what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from quorumcache.node.errors import ConfigError
from quorumcache.node.process.given_users import given_users
from quorumcache.node.settings.users import FILE_BYTES_MAX


def test_a_file_of_users(tmp_path: Path) -> None:
    assert given_users("") is None
    path = tmp_path / "users"
    path.write_text("ann:secret\n")
    users = given_users(str(path))
    assert users is not None
    assert users.has(b"ann", b"secret")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot read .*: No such file"),
        (b"ann secret", "line 1 is not user:password"),
        (b"x" * (FILE_BYTES_MAX + 1), "is longer than"),
    ],
)
def test_a_file_of_no_use(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "users"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words) as caught:
        given_users(str(path))
    assert caught.value.field == "--auth-file"
    assert str(path) in str(caught.value)
    assert "secret" not in str(caught.value)
