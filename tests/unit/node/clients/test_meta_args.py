"""What a meta line becomes in the log: the flags that its effect looks at, in their order."""

from typing import Any

import pytest

from quorumcache.node.clients.meta_args import (
    meta_arithmetic_args,
    meta_delete_args,
    meta_get_args,
    meta_get_asks,
    meta_set_args,
)
from quorumcache.node.operations.meta_read import ASKS_HINT, NO_BUMP
from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import MetaArithmetic, MetaDelete, MetaGet, MetaSet
from quorumcache.node.store.commands import (
    OP_APPEND,
    OP_META_ARITHMETIC,
    OP_META_DELETE,
    OP_META_GET,
    OP_META_SET,
    OP_SET,
    may_be_forwarded,
)

A = b" 0 1\r\na\r\n"


def parsed(line: bytes) -> Any:
    [request] = Parser(item_bytes_max=1 << 20).feed(line + b"\r\n")
    return request


def args_of(request: Any) -> tuple[int, tuple[object, ...]]:
    if isinstance(request, MetaGet):
        return OP_META_GET, meta_get_args(request)
    if isinstance(request, MetaSet):
        return OP_META_SET, meta_set_args(request)
    if isinstance(request, MetaDelete):
        return OP_META_DELETE, meta_delete_args(request)
    assert isinstance(request, MetaArithmetic)
    return OP_META_ARITHMETIC, meta_arithmetic_args(request)


@pytest.mark.parametrize(
    ("line", "args"),
    [
        (b"mg k", (b"", 0, 0, 0, 0)),
        (b"mg k v T30 t N-1 R5 u E7", (b"TNREvu", 30, -1, 5, 7)),
        (b"mg k R5 s N0 c T0", (b"RNT", 0, 0, 5, 0)),
        (b"mg k E0 N1", (b"NE", 0, 1, 0, 0)),
        (b"ms k 1\r\na", (b"", OP_SET, A, 0, 0, 0, 0, 0)),
        (b"ms k 1 T9 C0 E5 I c s\r\na", (b"CEIc", OP_SET, A, 9, 0, 0, 5, 0)),
        (b"ms k 1 N4 s\r\na", (b"", OP_SET, A, 0, 4, 0, 0, 0)),
        (b"ms k 1 MA N4 F3 s\r\na", (b"Nc", OP_APPEND, b"a", 0, 4, 0, 0, 3)),
        (b"md k", (b"", 0, 0, 0, 0)),
        (b"md k I T-1 C8 E9 x F3", (b"CEITx", 8, 9, -1, 3)),
        (b"ma k", (b"", 1, 0, 0, 0, 0, 0)),
        (b"ma k t N6 MD D2 J3 T4 C5 E6 v", (b"NTCE-c", 2, 3, 6, 4, 5, 6)),
        (b"ma k v", (b"", 1, 0, 0, 0, 0, 0)),
    ],
)
def test_arguments(line: bytes, args: tuple[object, ...]) -> None:
    op, found = args_of(parsed(line))
    assert found == args
    assert may_be_forwarded((0, 0, 0, op, b"k", *found))


def test_what_a_read_asks_besides() -> None:
    asks = {line: meta_get_asks(parsed(line)) for line in (b"mg k v t", b"mg k h", b"mg k l u")}
    assert list(asks.values()) == [0, ASKS_HINT, ASKS_HINT | NO_BUMP]
