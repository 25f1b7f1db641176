"""Users and passwords: what a file holds, and who is one of them."""

from __future__ import annotations

import hmac

import pytest

from quorumcache.node.errors import ConfigError
from quorumcache.node.settings import users as module
from quorumcache.node.settings.users import LINE_BYTES_MAX, USERS_MAX, Users, parse_users


def test_a_file_of_users() -> None:
    users = parse_users(b"ann:secret\n\nbob:p:w\r\n", "users")
    assert users.has(b"ann", b"secret")
    assert users.has(b"bob", b"p:w"), "the first colon ends the name"
    for user, password in (
        (b"ann", b"p:w"),
        (b"ann", b""),
        (b"ann", b"secre"),
        (b"ann", b"secret "),
        (b"", b"secret"),
        (b"ann:secret", b""),
        (b"bob:p", b"w"),
        (b"Ann", b"secret"),
    ):
        assert not users.has(user, password), (user, password)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "users has 0 users, not 1 to"),
        (b"\n\n", "has 0 users"),
        (b"ann:secret\nbob\n", "users, line 2 is not user:password"),
        (b":secret", "line 1 is not"),
        (b"ann:", "line 1 is not"),
        (b"ann:se cret", "line 1 is not"),
        (b"a:" + b"x" * (LINE_BYTES_MAX - 1), "line 1 is not"),
        (b"a:b\n" * (USERS_MAX + 1), f"has {USERS_MAX + 1} users"),
    ],
)
def test_a_wrong_file_is_told_without_its_content(data: bytes, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        parse_users(data, "users")
    assert caught.value.field == "auth_file"
    assert "secret" not in str(caught.value)


def test_every_user_is_compared_whatever_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    users = Users([(b"ann", b"1"), (b"bob", b"2"), (b"eve", b"3")])
    compared: list[bytes] = []

    def compare(given: bytes, kept: bytes) -> bool:
        compared.append(kept)
        assert len(given) == len(kept)
        return hmac.compare_digest(given, kept)

    monkeypatch.setattr(module, "hmac", type("", (), {"compare_digest": staticmethod(compare)}))
    for user, password in ((b"ann", b"1"), (b"x", b"1"), (b"x" * 10_000, b"")):
        compared.clear()
        users.has(user, password)
        assert len(set(compared)) == 3
