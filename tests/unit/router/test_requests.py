"""What each reply means, and what becomes of replies that fit no request."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.router import requests
from quorumcache.router.codec import Document, Line, Listing, MapReply, Value, Values
from quorumcache.router.errors import (
    BadReply,
    Moved,
    NodeBusy,
    NotANumber,
    NotDone,
    OutcomeUnknown,
    OutOfMemory,
    Refused,
    SessionForgotten,
    SessionGone,
    ValueTooLarge,
)
from quorumcache.router.levels import Local
from quorumcache.router.requests import HealthAnswer, LeaderLine, MapAnswer, NodeLine
from tests.support.clusters import make_map, make_nodes

MAP = make_map(make_nodes(3), [[1, 2, 3]] * 4)


def value(key: bytes) -> Value:
    return Value(key, 0, b"x", 0)


ANSWERS: list[tuple[Any, Any, Any]] = [
    (requests.get(b"a"), Values((value(b"a"),)), b"x"),
    (requests.get(b"a"), Values(()), None),
    (requests.get_many([b"a", b"b"], Local()), Values((value(b"b"),)), (value(b"b"),)),
    (requests.delete(b"a"), Line(b"DELETED"), True),
    (requests.delete(b"a"), Line(b"NOT_FOUND"), False),
    (requests.touch(b"a", 1), Line(b"TOUCHED"), True),
    (requests.arithmetic(b"incr", b"a", 1), Line(b"12"), 12),
    (requests.arithmetic(b"incr", b"a", 1), Line(b"NOT_FOUND"), None),
    (requests.flush_all(0), Line(b"OK"), None),
    (requests.knows_sessions(), Line(b"OK"), True),
    (requests.knows_sessions(), Line(b"ERROR"), False),
    (requests.open_session(3), Line(b"SESSION 3 17"), 17),
    (requests.cluster_map(), MapReply(1, MAP.to_bytes()), MapAnswer(1, MAP)),
    (requests.cluster_map(1), MapReply(1, None), MapAnswer(1, None)),
    (requests.cluster_leaders(), Listing((b"LEADER 0 7 2",)), (LeaderLine(0, 7, 2),)),
    (requests.cluster_leaders(), Values(()), ()),
    (
        requests.cluster_nodes(),
        Listing((b"NODE 1 n1 p:1 c:1 - - 1 up", b"NODE 2 n2 p:2 c:2 - - 1 down")),
        (NodeLine(1, "n1", True), NodeLine(2, "n2", False)),
    ),
    (
        requests.cluster_health(),
        Listing((b"HEALTH ok", b"PROBLEM the disk is full", b"WARNING it is late")),
        HealthAnswer(("the disk is full",), ("it is late",)),
    ),
]


@pytest.mark.parametrize(("request_", "reply", "result"), ANSWERS)
def test_replies(request_: Any, reply: Any, result: Any) -> None:
    assert request_.decode(reply) == result


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"MOVED 3 1 2 h:1", Moved),
        (b"MOVED 3 1 2", BadReply),
        (b"MOVED 3 x 2 h:1", BadReply),
        (b"SERVER_ERROR not done: no leader", NotDone),
        (b"SERVER_ERROR outcome unknown: no leader", OutcomeUnknown),
        (b"SERVER_ERROR session gone: outcome unknown", SessionGone),
        (b"SERVER_ERROR stale sequence: 3", SessionForgotten),
        (b"ERROR Too many open connections", NodeBusy),
        (b"SERVER_ERROR object too large for cache", ValueTooLarge),
        (b"SERVER_ERROR out of memory storing object", OutOfMemory),
        (b"CLIENT_ERROR cannot increment or decrement non-numeric value", NotANumber),
        (b"CLIENT_ERROR bad data chunk", Refused),
        (b"ERROR", Refused),
        (b"HELLO", BadReply),
    ],
)
@pytest.mark.parametrize(
    "request_",
    [
        requests.get(b"a"),
        requests.delete(b"a"),
        requests.arithmetic(b"incr", b"a", 1),
        requests.cluster_map(),
        requests.cluster_nodes(),
        requests.cluster_health(),
        requests.open_session(1),
    ],
)
def test_errors_mean_the_same_for_every_request(
    request_: Any, line: bytes, kind: type[Exception]
) -> None:
    with pytest.raises(kind) as told:
        request_.decode(Line(line))
    assert type(told.value) is kind


def test_a_redirect_names_the_leader_or_nobody() -> None:
    for line, leader in ((b"MOVED 3 1 2 h:1", (3, 1, 2, "h:1")), (b"MOVED 3 1 0 -", (3, 1, 0, ""))):
        with pytest.raises(Moved) as told:
            requests.get(b"a").decode(Line(line))
        moved = told.value
        assert (moved.epoch, moved.shard, moved.leader_id, moved.address) == leader


@pytest.mark.parametrize(
    ("request_", "reply"),
    [
        (requests.get(b"a"), Values((value(b"b"),))),
        (requests.get(b"a"), Values((value(b"a"), value(b"a")))),
        (requests.get_many([b"a", b"b"], Local()), Values((value(b"b"), value(b"a")))),
        (requests.delete(b"a"), Line(b"STORED")),
        (requests.delete(b"a"), Values(())),
        (requests.open_session(3), Line(b"SESSION 4 17")),
        (requests.open_session(3), Line(b"SESSION 3 x")),
        (requests.cluster_map(), MapReply(1, b"no map")),
        (requests.cluster_leaders(), Listing((b"NODE 1 n1 p:1 c:1 - - 1 up",))),
        (requests.cluster_leaders(), Listing((b"LEADER 0 7",))),
        (requests.cluster_nodes(), Listing((b"NODE x",))),
        (requests.cluster_health(), Listing((b"LEADER 0 7 2",))),
    ],
)
def test_a_reply_to_another_request_is_no_reply(request_: Any, reply: Any) -> None:
    with pytest.raises(BadReply):
        request_.decode(reply)


@pytest.mark.parametrize("line", [b"AUTH 0g -", b"AUTH abc -", b"AUTH  -", b"AUTH 00ff"])
def test_a_challenge_that_is_none_ends_the_connection(line: bytes) -> None:
    with pytest.raises(BadReply):
        requests.cluster_auth().decode(Line(line))


def test_a_challenge_names_a_path_that_may_have_spaces() -> None:
    decode = requests.cluster_auth().decode
    assert decode(Line(b"AUTH 00ff /data of a/cluster.secret")) == (
        *("00ff", "/data of a/cluster.secret"),
    )
    assert decode(Line(b"AUTH 00ff -")).secret_path == ""


@pytest.mark.parametrize("data", [b"", b"[]", b"nonsense"])
def test_a_document_that_is_no_object_ends_the_connection(data: bytes) -> None:
    with pytest.raises(BadReply):
        requests.cluster_moves().decode(Document(b"MOVES", data))
    with pytest.raises(BadReply):
        requests.cluster_moves().decode(Document(b"CHANGE", b"{}"))
