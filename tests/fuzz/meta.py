"""Fuzz target for the meta commands: lines to requests, requests to replies.

`data` is the lines of a pipeline, without commands' data blocks.
"""

from __future__ import annotations

from random import Random

from quorumcache.node.protocol.lines import LINE_BYTES_MAX, parse_line
from quorumcache.node.protocol.meta_flags import OPAQUE_BYTES_MAX
from quorumcache.node.protocol.meta_lines import (
    ARITHMETIC_LETTERS,
    DELETE_LETTERS,
    GET_LETTERS,
    plain_meta_get,
)
from quorumcache.node.protocol.meta_replies import (
    DONE,
    EXISTS,
    meta_counted,
    meta_debug,
    meta_hit,
    meta_miss,
    meta_status,
    meta_stored,
)
from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.requests import (
    Immediate,
    MetaArithmetic,
    MetaDebug,
    MetaDelete,
    MetaGet,
    MetaSet,
    RefusedMetaSet,
    Request,
)
from quorumcache.node.protocol.storage_lines import (
    SET_LETTERS,
    MetaSetLine,
    RefusedLine,
    parse_meta_set,
    plain_meta_set,
)
from quorumcache.node.store.item import KEY_BYTES_MAX, pack_header, wire_data

NOW_MS = 1_000_000

META_KINDS = (MetaGet, MetaSet, RefusedMetaSet, MetaDelete, MetaArithmetic, MetaDebug)
"""Requests with a key and a MetaReply."""


UNSIGNED_64 = ("compare", "explicit_cas", "delta", "initial")
"""Their fields of so many bits."""


def meta_lines(data: bytes) -> None:
    """The short ways read a line as the long ones do; what comes out is in its ranges, and is
    answered with one line that names nothing but what was asked for."""
    if data.startswith(b"mg "):
        _check_pipeline(data)
    for line in data.split(b"\n"):
        _check_line(line.removesuffix(b"\r"))


def _check_pipeline(data: bytes) -> None:
    instance = Parser()
    instance.feed(b"version\r\n")
    plain = instance.plain_meta_gets(data)
    if plain is None:
        return
    keys, flags = plain
    requests = instance.feed(data)
    assert len(requests) == len(keys), (requests, keys)
    for request, key in zip(requests, keys, strict=True):
        assert request == plain_meta_get([b"mg", key, flags.end[1:-2]]), (request, plain)
        assert type(request) is MetaGet


def _check_line(line: bytes) -> None:
    words = line.split(b" ", 2)
    if len(line) > LINE_BYTES_MAX:
        return
    if words[0] == b"ms":
        short_set, long_set = plain_meta_set(words), parse_meta_set(line)
        assert short_set is None or short_set == long_set, (short_set, long_set)
        if type(long_set) is RefusedLine:
            assert type(long_set.answer) is Immediate
            _check_line_of(long_set.answer.reply, b"")
            return
        assert type(long_set) is MetaSetLine
        check_meta_request(long_set.request)
    elif words[0] in (b"mg", b"md", b"ma", b"me"):
        request = parse_line(line, len(line) + 2)
        if words[0] == b"mg":
            short = plain_meta_get(words)
            assert short is None or short == request, (short, request)
        check_meta_request(request)


def check_meta_request(request: Request) -> None:
    """Numbers in their ranges, keys within their limit, and replies of one line."""
    if type(request) is Immediate:
        _check_line_of(request.reply, b"")
        return
    assert isinstance(request, META_KINDS), request
    reply = request.reply
    assert 0 < len(request.key) <= KEY_BYTES_MAX
    assert 0 < len(reply.key) <= KEY_BYTES_MAX
    assert reply.is_base64 or reply.key == request.key
    assert len(reply.opaque) <= OPAQUE_BYTES_MAX
    assert reply.opaque == b"" or b"O" in reply.letters or type(request) is MetaDebug
    assert len(set(reply.letters)) == len(reply.letters)
    for field in ("exptime", "vivify", "recache"):
        time = getattr(request, field, None)
        assert time is None or -(1 << 31) <= time < 1 << 31, request
    for field, bits in {**dict.fromkeys(UNSIGNED_64, 64), "flags": 32}.items():
        number = getattr(request, field, None)
        assert number is None or 0 <= number < 1 << bits, request
    known, replies = _replies(request)
    assert set(reply.letters) <= set(known), request
    for text in replies:
        _check_line_of(text, reply.letters)


def _replies(request: Request) -> tuple[bytes, list[bytes]]:
    """The flags that the command may show, and a few of its replies, values left out."""
    random = Random(repr(request))
    item = pack_header(random.randrange(8), NOW_MS + 5000, 42) + wire_data(7, b"v")
    if isinstance(request, MetaGet):
        won = bool(item[0] & 4 and random.randrange(2))
        shown = request._replace(with_value=False)
        hit = meta_hit(shown, item, NOW_MS, NOW_MS + 9000, won, won, True, 3)
        return GET_LETTERS, [hit, meta_miss(request.reply)]
    if isinstance(request, MetaDelete):
        return DELETE_LETTERS, [meta_status(request.reply, DONE)]
    if isinstance(request, MetaArithmetic):
        counted = meta_counted(request.reply, False, 7, 42, NOW_MS, NOW_MS + 5000, 0, True)
        return ARITHMETIC_LETTERS, [counted, meta_status(request.reply, EXISTS)]
    if isinstance(request, MetaDebug):
        return b"", [meta_debug(request.reply, item, NOW_MS, True, 3, 99)]
    assert isinstance(request, MetaSet | RefusedMetaSet)
    return SET_LETTERS, [meta_stored(request.reply, code, 42, 1) for code in (DONE, EXISTS)]


def _check_line_of(text: bytes, letters: bytes) -> None:
    if not text:
        return  # A quiet one.
    assert text.endswith(b"\r\n"), text
    assert text.count(b"\n") == 1, text
    if text.startswith((b"CLIENT_ERROR ", b"ME ")):
        return
    code, *flags = text[:-2].split(b" ")
    assert code in (b"HD", b"EN", b"EX", b"NF", b"NS"), text
    while flags and flags[-1] in (b"W", b"X", b"Z"):
        flags.pop()
    expected = [letter for letter in letters if letter not in b"TNR"]
    if code == b"HD":
        assert [flag[0] for flag in flags if flag != b"b"] == expected, (text, letters)
    else:
        assert {flag[0] for flag in flags} <= {*expected, ord("b")}, (text, letters)
