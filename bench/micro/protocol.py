"""What the parser and the replies cost: `python -m quorumcache.bench.micro.protocol`."""

from collections.abc import Callable
from time import process_time
from timeit import repeat
from typing import Final

from quorumcache.node.protocol.meta_lines import get_flags
from quorumcache.node.protocol.meta_replies import meta_hit
from quorumcache.node.protocol.parser import Parser
from quorumcache.node.protocol.responses import render, value_line
from quorumcache.node.store.item import pack_header, wire_data
from quorumcache.node.store.results import STORED

_BATCH: Final = 16
_ROUNDS: Final = 7


def microseconds(run: Callable[[], object], operations: int) -> float:
    """Best of a few rounds: microseconds of processor for one of the `operations` of a `run`."""
    number = max(1, 20_000 // operations)
    best = min(repeat(run, timer=process_time, number=number, repeat=_ROUNDS))
    return best / number / operations * 1e6


def report(name: str, figure: float, unit: str = "us") -> None:
    """One line of figures."""
    print(f"{name:<58} {figure:9.3f} {unit}")


def _fed(parser: Parser, data: bytes) -> Callable[[], object]:
    return lambda: parser.feed(data)


def main() -> None:
    """Print the figures."""
    parser = Parser()
    parser.feed(b"version\r\n")
    keys = [b"user:%08d" % number for number in range(_BATCH)]
    value = b"x" * 100
    gets = b"".join([b"get %b\r\n" % key for key in keys])
    sets = b"".join([b"set %b 0 0 100\r\n%b\r\n" % (key, value) for key in keys])
    timed = b"".join([b"set %b 7 3600 100 noreply\r\n%b\r\n" % (key, value) for key in keys])
    cas = b"".join([b"cas %b 0 0 100 12345\r\n%b\r\n" % (key, value) for key in keys])
    mgs = b"".join([b"mg %b v\r\n" % key for key in keys])
    quiet = b"".join([b"mg %b k v q O%d\r\n" % (key, at) for at, key in enumerate(keys)])
    mss = b"".join([b"ms %b 100 T0\r\n%b\r\n" % (key, value) for key in keys])
    incrs = b"".join([b"incr %b 1\r\n" % key for key in keys])
    report("parse get, 16 pipelined", microseconds(_fed(parser, gets), _BATCH))
    report("parse get, alone", microseconds(_fed(parser, b"get user:00000001\r\n"), 1))
    report(
        "parse get of 16 keys, per key",
        microseconds(_fed(parser, b"get " + b" ".join(keys) + b"\r\n"), _BATCH),
    )
    report("parse mg, 16 pipelined", microseconds(_fed(parser, mgs), _BATCH))
    report("parse mg with an opaque, 16 pipelined", microseconds(_fed(parser, quiet), _BATCH))
    report("parse 16 pipelined gets at once", microseconds(lambda: parser.plain_gets(gets), _BATCH))
    report(
        "parse 16 pipelined mg at once", microseconds(lambda: parser.plain_meta_gets(mgs), _BATCH)
    )
    report("parse ms of 100 bytes, 16 pipelined", microseconds(_fed(parser, mss), _BATCH))
    report("parse set of 100 bytes, 16 pipelined", microseconds(_fed(parser, sets), _BATCH))
    report(
        "parse set of 100 bytes, alone",
        microseconds(_fed(parser, b"set user:00000001 0 0 100\r\n" + value + b"\r\n"), 1),
    )
    report("parse set with flags, exptime, noreply", microseconds(_fed(parser, timed), _BATCH))
    report("parse cas of 100 bytes, 16 pipelined", microseconds(_fed(parser, cas), _BATCH))
    report("parse incr, 16 pipelined", microseconds(_fed(parser, incrs), _BATCH))

    large = b"set k 0 0 1000000\r\n" + b"x" * 1_000_000 + b"\r\n"
    for piece in (65_536, 4096, 256):
        pieces = [large[start : start + piece] for start in range(0, len(large), piece)]

        def feed_pieces(pieces: list[bytes] = pieces) -> None:
            for data in pieces:
                parser.feed(data)

        figure = min(repeat(feed_pieces, number=3, repeat=_ROUNDS)) / 3 * 1e3
        report(f"parse a set of 1 MB in pieces of {piece}", figure, "ms")

    item = pack_header(0, 0, 42) + wire_data(0, value)
    report(
        "render a hit of 100 bytes",
        microseconds(lambda: [value_line(b"user:00000001", item, False) for _ in keys], _BATCH),
    )
    report(
        "render a hit with CAS",
        microseconds(lambda: [value_line(b"user:00000001", item, True) for _ in keys], _BATCH),
    )
    for tail in (b"v", b"k v f c"):
        flags = get_flags(tail)
        assert flags is not None
        request = flags.request(b"user:00000001")
        report(
            f"render a hit of mg {tail.decode()}",
            microseconds(
                lambda request=request: [  # type: ignore[misc]
                    meta_hit(request, item, 0, 0, False, False, False, 0) for _ in keys
                ],
                _BATCH,
            ),
        )
    report("render STORED", microseconds(lambda: [render(STORED) for _ in keys], _BATCH))


if __name__ == "__main__":
    main()
