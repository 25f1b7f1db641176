"""What every command says when something went wrong, and with which exit code."""

from __future__ import annotations

import pytest

from quorumcache.router.commands.basics import (
    MISS,
    UNKNOWN,
    UNREACHABLE,
    USAGE,
    Failure,
    explain,
    parse_key,
    show_key,
)
from quorumcache.router.errors import (
    ClusterUnreachable,
    DeadlineExceeded,
    InvalidKey,
    NotACluster,
    NotDone,
    OutcomeUnknown,
    Refused,
    RouterError,
)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (InvalidKey("the key is empty"), USAGE, "the key is empty"),
        (OutcomeUnknown("no reply"), UNKNOWN, "outcome unknown: no reply; read the key later"),
        (ClusterUnreachable("no node"), UNREACHABLE, "cannot reach the cluster: no node"),
        (NotACluster("h:1", "ERROR"), UNREACHABLE, "give the address of a quorumcached node"),
        (DeadlineExceeded("late"), MISS, "give more time with --timeout"),
        (NotDone("no leader"), MISS, "`quorumcache status` shows what is wrong"),
        (Refused("the node refused"), MISS, "not done: the node refused"),
    ],
)
def test_each_error_is_one_line_and_an_exit_code(error: RouterError, code: int, text: str) -> None:
    found, line = explain(error)
    assert found == code
    assert text in line


def test_a_bad_key_is_told_with_its_place() -> None:
    assert parse_key(b"k") == b"k"
    with pytest.raises(Failure, match="line 3: the key is empty") as caught:
        parse_key(b"", "line 3: ")
    assert caught.value.code == USAGE


def test_any_bytes_can_be_shown() -> None:
    assert show_key(b"\xff\xc3\xa9") == "\\xffé"
