"""Meta lines without a block: requests, errors, and the short way that agrees with the long one."""

import pytest

from quorumcache.node.protocol import meta_lines
from quorumcache.node.protocol.lines import LINE_BYTES_MAX, parse_line
from quorumcache.node.protocol.meta_flags import (
    BAD_KEY_LINE,
    BAD_TOKEN_LINE,
    DUPLICATE_FLAG_LINE,
    INVALID_FLAG_LINE,
    OPAQUE_TOO_LONG_LINE,
    TOO_MANY_WORDS_LINE,
)
from quorumcache.node.protocol.meta_lines import (
    INVALID_OR_DUPLICATE_LINE,
    MODE_OF_ARITHMETIC_LINE,
    TAIL_BYTES_MAX,
    get_flags,
    plain_meta_get,
)
from quorumcache.node.protocol.requests import (
    Immediate,
    MetaArithmetic,
    MetaDebug,
    MetaDelete,
    MetaGet,
    MetaNoop,
    MetaReply,
    Quit,
    Request,
)
from quorumcache.node.protocol.responses import BAD_FORMAT_LINE


def parsed(line: bytes) -> Request:
    return parse_line(line, len(line) + 2)


def plain(letters: bytes = b"", opaque: bytes = b"", *, quiet: bool = False) -> MetaReply:
    return MetaReply(letters, opaque, b"a", False, quiet)


CODED = MetaReply(b"k", b"", b"Zm9v", True, False)


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        (b"mg a", MetaGet(b"a", False, False, None, None, None, None, None, plain())),
        (b"mg a v", MetaGet(b"a", True, False, None, None, None, None, None, plain())),
        (
            b"mg a t T30 N-1 R5 C7 E8 u q v k O9 M x I F1 D2 J3",
            MetaGet(b"a", True, True, 30, -1, 5, 7, 8, plain(b"tTNRkO", b"9", quiet=True)),
        ),
        (
            b"mg Zm9v b k",
            MetaGet(b"foo", False, False, None, None, None, None, None, CODED),
        ),
        (b"md a", MetaDelete(b"a", None, None, False, None, False, 0, plain())),
        (
            b"md a q C1 E2 I T3 x F4 k O5 c t s",
            MetaDelete(b"a", 1, 2, True, 3, True, 4, plain(b"kO", b"5", quiet=True)),
        ),
        (b"md Zm9v b k", MetaDelete(b"foo", None, None, False, None, False, 0, CODED)),
        (
            b"ma a",
            MetaArithmetic(b"a", True, 1, 0, None, None, None, None, False, plain()),
        ),
        (
            b"ma a MD D5 J6 N7 T8 C9 E10 v q t c k s f O1",
            MetaArithmetic(
                b"a", False, 5, 6, 7, 8, 9, 10, True, plain(b"NTtckO", b"1", quiet=True)
            ),
        ),
        (
            b"ma Zm9v b k",
            MetaArithmetic(b"foo", True, 1, 0, None, None, None, None, False, CODED),
        ),
        (b"me a", MetaDebug(b"a", plain())),
        (b"me a q k zz zz", MetaDebug(b"a", plain())),
        (b"me a" + b" q" * 30, MetaDebug(b"a", plain())),
        (b"me Zm9v b", MetaDebug(b"foo", CODED._replace(letters=b""))),
        (b"me Zm9v q b", MetaDebug(b"Zm9v", MetaReply(b"", b"", b"Zm9v", False, False))),
        (b"mn", MetaNoop()),
        (b"mn a b c", MetaNoop()),
        (b"mg  a  v ", MetaGet(b"a", True, False, None, None, None, None, None, plain())),
    ],
)
def test_lines(line: bytes, request_: Request) -> None:
    request = parsed(line)
    assert request == request_
    assert type(request) is type(request_)


@pytest.mark.parametrize("mode", [b"MI", b"M+", b"MD", b"M-", b"MIx", b"M-5"])
def test_modes_of_arithmetic(mode: bytes) -> None:
    """Only the first letter counts."""
    request = parsed(b"ma a " + mode)
    assert type(request) is MetaArithmetic
    assert request.increments == (mode[1:2] in b"I+")


@pytest.mark.parametrize("mode", [b"M", b"Mi", b"MX", b"M\xff", b"M1"])
def test_bad_modes_of_arithmetic(mode: bytes) -> None:
    assert parsed(b"ma a " + mode) == Immediate(MODE_OF_ARITHMETIC_LINE)
    assert type(parsed(b"mg a " + mode)) is MetaGet, "it is a flag of another command"
    assert type(parsed(b"md a " + mode)) is MetaDelete


@pytest.mark.parametrize("command", [b"mg", b"md", b"ma", b"me"])
def test_a_key_is_needed_and_has_a_limit(command: bytes) -> None:
    bad = Immediate(BAD_FORMAT_LINE)
    assert parsed(command) == bad
    assert parsed(command + b"  ") == bad
    assert parsed(command + b" " + b"k" * 251) == bad
    assert parsed(command + b" " + b"k" * 251 + b" q") == bad
    assert parsed(command + b" " + b"k" * LINE_BYTES_MAX) == Quit()
    assert type(parsed(command + b" " + b"k" * 250)) is not Immediate
    # The limit counts what is written.
    assert type(parsed(command + b" " + b"Zm9v" * 62 + b" b")) is not Immediate
    assert parsed(command + b" " + b"Zm9v" * 63 + b" b") == bad


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (b"v v", DUPLICATE_FLAG_LINE),
        (b"S1", INVALID_FLAG_LINE),
        (b"Tx", BAD_TOKEN_LINE),
        (b"C", BAD_TOKEN_LINE),
        (b"Fx", BAD_FORMAT_LINE),
        (b"b", BAD_KEY_LINE),
        (b"O" + b"x" * 32, OPAQUE_TOO_LONG_LINE),
        (b"v " * 19, TOO_MANY_WORDS_LINE),
    ],
)
@pytest.mark.parametrize("quiet", [b"", b" q"])
def test_errors_are_told_however_quiet_the_command_is(
    flags: bytes, error: bytes, quiet: bytes
) -> None:
    for command in (b"mg", b"md"):
        assert parsed(command + b" a " + flags + quiet) == Immediate(error)
    if error not in (OPAQUE_TOO_LONG_LINE, TOO_MANY_WORDS_LINE):
        error = INVALID_OR_DUPLICATE_LINE
    assert parsed(b"ma a " + flags + quiet) == Immediate(error)


@pytest.mark.parametrize(
    "tail",
    [
        *(b"", b"v", b"v k", b"v  k ", b" v", b"q t c s f h l u k", b"T30 t N60 R5 C1 E2", b"PO1"),
        *(b"O1 v", b"v k O12 q", b"O", b"v O", b"OO", b"O1 k t", b"M", b"MO O7"),
    ],
)
def test_the_short_way_reads_a_line_as_the_long_one_does(tail: bytes) -> None:
    line = b"mg key " + tail
    request = plain_meta_get(line.split(b" ", 2))
    assert request is not None
    assert type(request) is MetaGet
    assert type(request.reply) is MetaReply
    assert request == parsed(line)


@pytest.mark.parametrize(
    "line",
    [
        *(b"mg", b"mg ", b"mg  key v", b"mg key v v", b"mg key S", b"mg Zm9v b", b"mg key Tx"),
        *(b"mg key O1 O2", b"mg key O" + b"x" * 32, b"mg " + b"k" * 251 + b" v"),
        *(b"mg key " + b"L" * TAIL_BYTES_MAX + b"v", b"mg key q v k t c s f h l u x I P L M b"),
        b"mg key q v k t c s f h l u x I P L M D1 J F",
    ],
)
def test_the_short_way_leaves_the_unusual_to_the_long_one(line: bytes) -> None:
    assert plain_meta_get(line.split(b" ", 2)) is None


@pytest.mark.parametrize(
    ("tail", "is_plain"),
    [
        *((b"", True), (b"v k q t c s f u C7", True), (b"E5 MS D1", True)),
        *((b"T1", False), (b"v N1", False), (b"R1 k", False), (b"h", False), (b"v l", False)),
    ],
)
def test_what_the_item_alone_answers_is_known_as_such(tail: bytes, is_plain: bool) -> None:
    flags = get_flags(tail)
    assert flags is not None
    assert flags.is_plain == is_plain


def test_few_flags_are_remembered() -> None:
    known = meta_lines._known
    known.clear()
    for number in range(meta_lines._GET_FLAGS_MAX + 1):
        assert get_flags(b"v C%d" % number) is not None
        assert len(known) <= meta_lines._GET_FLAGS_MAX
    assert get_flags(b"v C0") is get_flags(b"v C0")
    for tail in (b"v v", b"b", b"O1", b"S", b"v " + b" " * TAIL_BYTES_MAX):
        assert get_flags(tail) is None
        assert tail not in known
