"""Flags of the meta commands: every flag, every error, keys in base64."""

from base64 import b64encode

import pytest

from quorumcache.node.protocol.meta_flags import (
    BAD_DELTA_LINE,
    BAD_INITIAL_LINE,
    BAD_KEY_LINE,
    BAD_TOKEN_LINE,
    DUPLICATE_FLAG_LINE,
    INVALID_FLAG_LINE,
    META_WORDS_MAX,
    NO_MODE,
    OPAQUE_BYTES_MAX,
    OPAQUE_TOO_LONG_LINE,
    TOO_MANY_WORDS_LINE,
    MetaFlags,
    beyond_limits,
    decoded_key,
    encoded_key,
    read_flags,
    shown,
    without_opaque,
)
from quorumcache.node.protocol.responses import BAD_FORMAT_LINE

NOTHING = MetaFlags(
    letters=b"",
    opaque=b"",
    is_base64=False,
    is_quiet=False,
    with_value=False,
    no_bump=False,
    invalidates=False,
    empties=False,
    mode=NO_MODE,
    client_flags=0,
    exptime=None,
    vivify=None,
    recache=None,
    compare=None,
    explicit_cas=None,
    initial=0,
    delta=1,
)


def read(text: bytes, key: bytes = b"Zm9v") -> MetaFlags | bytes:
    return read_flags(text.split(b" "), key)


@pytest.mark.parametrize(
    ("word", "change"),
    [
        (b"b", {"is_base64": True}),
        (b"q", {"is_quiet": True}),
        (b"v", {"with_value": True}),
        (b"u", {"no_bump": True}),
        (b"I", {"invalidates": True}),
        (b"x", {"empties": True}),
        (b"c", {"letters": b"c"}),
        (b"f", {"letters": b"f"}),
        (b"h", {"letters": b"h"}),
        (b"k", {"letters": b"k"}),
        (b"l", {"letters": b"l"}),
        (b"s", {"letters": b"s"}),
        (b"t", {"letters": b"t"}),
        (b"O123", {"letters": b"O", "opaque": b"123"}),
        (b"O", {"letters": b"O"}),
        (b"T30", {"letters": b"T", "exptime": 30}),
        (b"N0", {"letters": b"N", "vivify": 0}),
        (b"R-1", {"letters": b"R", "recache": -1}),
        (b"C0", {"compare": 0}),
        (b"E18446744073709551615", {"explicit_cas": 2**64 - 1}),
        (b"F4294967295", {"client_flags": 2**32 - 1}),
        (b"J7", {"initial": 7}),
        (b"D0", {"delta": 0}),
        (b"MA", {"mode": ord("A")}),
        (b"M+", {"mode": ord("+")}),
        (b"P", {}),
        (b"Lwhatever", {}),
    ],
)
def test_every_flag(word: bytes, change: dict[str, object]) -> None:
    assert read(word) == NOTHING._replace(**change)


@pytest.mark.parametrize("word", [b"b", b"q", b"v", b"u", b"I", b"x", b"c", b"f", b"h", b"k", b"s"])
def test_a_token_of_a_flag_that_has_none_is_ignored(word: bytes) -> None:
    assert read(word + b"7x") == read(word)


def test_letters_come_in_the_order_of_the_request() -> None:
    flags = read(b"v t q T5 k O9 N1 R2 s u h l c f C7 P")
    assert type(flags) is MetaFlags
    assert flags.letters == b"tTkONRshlcf"
    assert shown(flags.letters, b"Okcs") == b"kOsc"


@pytest.mark.parametrize("letter", b"TNR")
def test_times_are_read_as_classic_exptimes_are(letter: int) -> None:
    def time(text: bytes) -> int | None:
        flags = read(bytes([letter]) + text)
        if type(flags) is bytes:
            assert flags == BAD_TOKEN_LINE
            return None
        assert type(flags) is MetaFlags
        return {84: flags.exptime, 78: flags.vivify, 82: flags.recache}[letter]

    assert [time(text) for text in (b"0", b"+5", b"-5", b"007", b"\t9", b"9\tx")] == [
        *(0, 5, -5, 7, 9, 9)
    ]
    assert time(b"%d" % 2**32) == 0, "cut to 32 bits"
    assert time(b"%d" % (2**31)) == -(2**31)
    for text in (b"", b"x", b"5x", b"-", b"1_0", b"\xb2", b"%d" % 2**63):
        assert time(text) is None


@pytest.mark.parametrize(
    ("letter", "error"),
    [
        (b"C", BAD_TOKEN_LINE),
        (b"E", BAD_TOKEN_LINE),
        (b"F", BAD_FORMAT_LINE),
        (b"D", BAD_DELTA_LINE),
        (b"J", BAD_INITIAL_LINE),
    ],
)
def test_bad_numbers(letter: bytes, error: bytes) -> None:
    for text in (b"", b"x", b"-1", b"5x", b"1_0", b"\xb2", b"%d" % 2**64, b"9" * 200):
        assert read(letter + text) == error
    assert type(read(letter + b"%d" % (2**64 - 1))) is MetaFlags


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"v v", DUPLICATE_FLAG_LINE),
        (b"T1 T1", DUPLICATE_FLAG_LINE),
        (b"O1 k O2", DUPLICATE_FLAG_LINE),
        (b"P1 P2", DUPLICATE_FLAG_LINE),
        (b"\x7f", DUPLICATE_FLAG_LINE),
        (b"\xff1", DUPLICATE_FLAG_LINE),
        (b"S100", INVALID_FLAG_LINE),
        (b"noreply", INVALID_FLAG_LINE),
        (b"0", INVALID_FLAG_LINE),
        (b"\x01", INVALID_FLAG_LINE),
        (b"V", INVALID_FLAG_LINE),
        # Bad tokens are told when the rest was read, and the last one wins.
        (b"Tx v v", DUPLICATE_FLAG_LINE),
        (b"Tx y", INVALID_FLAG_LINE),
        (b"y v v", INVALID_FLAG_LINE),
        (b"Tx Dx", BAD_DELTA_LINE),
        (b"Dx Tx", BAD_TOKEN_LINE),
        (b"Jx Fx", BAD_INITIAL_LINE),
        (b"Fx Jx", BAD_INITIAL_LINE),
        (b"Tx b", BAD_TOKEN_LINE),
    ],
)
def test_which_error_is_told(text: bytes, error: bytes) -> None:
    assert read(text) == error


def test_opaques_have_a_limit() -> None:
    assert type(read(b"O" + b"x" * OPAQUE_BYTES_MAX)) is MetaFlags
    assert read(b"O" + b"x" * (OPAQUE_BYTES_MAX + 1)) == OPAQUE_TOO_LONG_LINE
    assert read(b"Tx O" + b"x" * 99) == BAD_TOKEN_LINE


def test_lines_have_limits() -> None:
    words = [b"mg", b"k" * 250, *[b"v"] * (META_WORDS_MAX - 2)]
    assert beyond_limits(words) == b""
    assert beyond_limits([*words, b"v"]) == TOO_MANY_WORDS_LINE
    assert beyond_limits([b"mg", b"k" * 251]) == BAD_FORMAT_LINE
    assert beyond_limits([b"mg", b"k" * 251, *words]) == BAD_FORMAT_LINE


def test_a_key_in_base64_is_looked_at_where_its_flag_stands() -> None:
    assert read(b"b", b"Zm9") == BAD_KEY_LINE
    assert read(b"Tx b", b"Zm9") == BAD_KEY_LINE
    assert read(b"b Tx", b"Zm9") == BAD_TOKEN_LINE
    assert read(b"v", b"Zm9") == NOTHING._replace(with_value=True)


@pytest.mark.parametrize("key", [b"f", b"fo", b"foo", b"\0\r\n \xff", bytes(range(256))[:187]])
def test_keys_in_base64(key: bytes) -> None:
    assert encoded_key(key) == b64encode(key)
    assert decoded_key(encoded_key(key)) == key


@pytest.mark.parametrize(
    ("word", "key"),
    [
        (b"Zm9v*", b"foo"),
        (b"Z\tm9v", b"foo"),
        (b"Zm9vZh==", b"foof"),
        (b"Zm9vZg==Zm9v", b"foof"),
        (b"Zg==Zm9v", b"f"),
        (b"Zm8=Zg==", b"fo"),
    ],
)
def test_what_memcached_puts_up_with_in_base64(word: bytes, key: bytes) -> None:
    assert decoded_key(word) == key


@pytest.mark.parametrize(
    "word", [b"*", b"Zg", b"Zg=", b"Z===", b"====", b"=", b"Z=9v", b"Zm9vZ", b"\xff" * 8, b"foo/+"]
)
def test_what_is_no_base64(word: bytes) -> None:
    assert decoded_key(word) is None
    assert read(b"b", word) == BAD_KEY_LINE


@pytest.mark.parametrize(
    ("tail", "parts"),
    [
        (b"v k", (b"v k", b"")),
        (b"O", (b"O", b"")),
        (b"O12", (b"O", b"12")),
        (b"O12 v", (b"O v", b"12")),
        (b"v O12", (b"v O", b"12")),
        (b"v O12 k", (b"v O k", b"12")),
        (b"v  O12  k", (b"v  O  k", b"12")),
        (b"PO1 v", (b"PO1 v", b"")),
        (b"O1 O2", (b"O O2", b"1")),
        (b"v O" + b"x" * OPAQUE_BYTES_MAX, (b"v O", b"x" * OPAQUE_BYTES_MAX)),
        (b"v O" + b"x" * (OPAQUE_BYTES_MAX + 1), None),
    ],
)
def test_the_opaque_is_taken_out(tail: bytes, parts: tuple[bytes, bytes] | None) -> None:
    assert without_opaque(tail) == parts
