"""What the lines mean that come in place of an answer. Those of all requests: test_requests.py."""

from __future__ import annotations

import pytest

from quorumcache.router.codec import Line, Values
from quorumcache.router.error_lines import text_of, unexpected
from quorumcache.router.errors import (
    BadReply,
    FenceOfAnotherLock,
    LockOfAnotherKind,
    Moved,
    NotDone,
    Refused,
    RouterError,
    StaleFence,
)


@pytest.mark.parametrize(
    ("line", "kind", "said"),
    [
        (
            b"CLIENT_ERROR stale fence: the newest token seen here is 12",
            StaleFence,
            "the newest token seen here is 12",
        ),
        (
            b"CLIENT_ERROR fence of another lock: this key is guarded by another one",
            FenceOfAnotherLock,
            "guarded by another one",
        ),
        (
            b"CLIENT_ERROR lock of another kind: it is a semaphore of 3",
            LockOfAnotherKind,
            "it is a semaphore of 3",
        ),
        (b"SERVER_ERROR not done: too many locks", NotDone, "too many locks"),
        (b"CLIENT_ERROR fence: usage is", Refused, "fence: usage is"),
        (b"MOVED 1 2 3 h:1", Moved, "shard 2 is led by h:1"),
        (b"LOCKED 5", BadReply, "LOCKED 5"),
    ],
)
def test_lines(line: bytes, kind: type[RouterError], said: str) -> None:
    with pytest.raises(kind, match=said) as caught:
        unexpected(Line(line))
    assert type(caught.value) is kind


@pytest.mark.parametrize(("tail", "newest"), [(b"12", 12), (b"?", 0)])
def test_a_stale_fence_names_the_newest_token(tail: bytes, newest: int) -> None:
    with pytest.raises(StaleFence) as stale:
        unexpected(Line(b"CLIENT_ERROR stale fence: the newest token seen here is " + tail))
    assert stale.value.newest == newest


def test_another_kind_of_reply_is_out_of_step() -> None:
    with pytest.raises(BadReply, match="a Values reply"):
        unexpected(Values(()))


def test_text_of_any_bytes() -> None:
    assert text_of(b"a\xff") == "a\N{REPLACEMENT CHARACTER}"
