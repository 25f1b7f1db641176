"""The `quorumcache` command: single operations, and a look at the cluster.

Exit codes: 0 ok; 1 miss, certainly not done, or (of `status`) something is wrong in the cluster;
2 usage; 3 cannot reach the cluster; 4 the outcome of a write is unknown; 5 the output could not be
written. Results go to standard output; everything else, one line each, to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import sys
from collections.abc import Sequence
from random import Random

from quorumcache.ring.streams import open_standard_streams, run_command
from quorumcache.router import requests
from quorumcache.router.cli_words import seconds_of, take_value_out
from quorumcache.router.client import AsyncClient
from quorumcache.router.codec import key_bytes
from quorumcache.router.config import ClientConfig
from quorumcache.router.errors import (
    ClusterUnreachable,
    ConnectFailed,
    DeadlineExceeded,
    InvalidRequest,
    NodeBusy,
    NotACluster,
    NotDone,
    OutcomeUnknown,
    PartialFailure,
    RouterError,
    ValueTooLarge,
    WrongCluster,
)
from quorumcache.router.levels import ReadLevel, parse_level
from quorumcache.router.report import (
    Look,
    is_healthy,
    map_json,
    map_lines,
    overview_json,
    ring_lines,
    status_lines,
)
from quorumcache.router.streams import Parser, note

OK, MISS, USAGE, UNREACHABLE, UNKNOWN = range(5)
OUTPUT_FAILED = 5
INTERRUPTED = 130
SEEDS_VARIABLE = "QUORUMCACHE_SEEDS"
DEFAULT_SEEDS = "127.0.0.1:11211"
DEFAULT_TIMEOUT_S = 6.0


class _Failure(Exception):
    """One line for standard error, and the exit code."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    open_standard_streams()
    return run_command(lambda: _main(argv), name="quorumcache", failed=OUTPUT_FAILED, tell=note)


def _main(argv: Sequence[str] | None) -> int:
    words, value = take_value_out(sys.argv[1:] if argv is None else argv)
    options = _parser().parse_args(words)
    if value is not None:
        options.value = value
    try:
        return asyncio.run(_run(options))
    except KeyboardInterrupt:
        return INTERRUPTED
    except _Failure as failure:
        return _fail(failure.code, str(failure))
    except RouterError as error:
        return _fail(*_explain(error))


async def _run(options: argparse.Namespace, random: Random | None = None) -> int:
    """Run the parsed command. `random` draws the jitter of pauses."""
    seeds_text = getattr(options, "seeds", "") or os.environ.get(SEEDS_VARIABLE) or DEFAULT_SEEDS
    seeds = [seed for seed in seeds_text.replace(",", " ").split() if seed]
    # Whatever is wrong with the arguments is said before anybody is bothered with them.
    options.keys = [_key(os.fsencode(key)) for key in getattr(options, "keys", None) or ()]
    if options.command == "set":
        options.value = _value(options.value)
        requests.store(b"set", options.keys[0], options.value, options.flags, options.ttl)
    if options.command == "get":
        options.level = parse_level(options.read)
    if options.command == "route" and not options.keys:
        options.keys = _keys_from_stdin()
    timeout_s = getattr(options, "timeout", DEFAULT_TIMEOUT_S)
    options.deadline = asyncio.get_running_loop().time() + timeout_s
    timeout_ms = round(1000 * timeout_s)
    client = AsyncClient(seeds, ClientConfig(timeout_ms=timeout_ms), random=random)
    try:
        try:
            await client.connect(once=True)
        except DeadlineExceeded as error:
            raise ClusterUnreachable(str(error)) from error
        except NotDone as error:
            if type(error) is not NotDone:
                raise
            hint = "the cluster is not founded yet; are all of its nodes started?"
            raise _Failure(UNREACHABLE, f"{error}: {hint}") from error
        code: int = await options.run(client, options)
        return code
    finally:
        await client.close()


def _left_ms(options: argparse.Namespace) -> int:
    """What is left of the time for the whole operation; connecting has taken some of it."""
    left_s: float = options.deadline - asyncio.get_running_loop().time()
    return max(1, round(1000 * left_s))


async def _get(client: AsyncClient, options: argparse.Namespace) -> int:
    keys: list[bytes] = options.keys
    level: ReadLevel = options.level
    timeout_ms = _left_ms(options)
    values: dict[str | bytes, bytes] = {}
    failure: PartialFailure | None = None
    if len(keys) > 1:
        try:
            values = dict((await client.get_many(keys, timeout_ms=timeout_ms, level=level)).items())
        except PartialFailure as error:  # What was found is printed all the same.
            failure, values = error, error.values
    else:
        value = await client.get(keys[0], timeout_ms=timeout_ms, level=level)
        values = {} if value is None else {keys[0]: value}
    if options.json:
        _print_json([_json_item(key, values.get(key)) for key in keys])
    for key in keys:
        value = values.get(key)
        if failure is not None and key in failure.errors:
            continue
        if value is None:
            _note(f"{_show(key)}: not found")
        elif not options.json:
            prefix = key + b" " if len(keys) > 1 else b""
            sys.stdout.buffer.write(prefix + value + (b"" if options.no_newline else b"\n"))
    if failure is not None:
        raise failure
    return OK if all(key in values for key in keys) else MISS


async def _set(client: AsyncClient, options: argparse.Namespace) -> int:
    await client.set(
        options.keys[0],
        options.value,
        exptime=options.ttl,
        flags=options.flags,
        timeout_ms=_left_ms(options),
    )
    print("stored")
    return OK


async def _delete(client: AsyncClient, options: argparse.Namespace) -> int:
    code = OK
    for key in options.keys:
        if await client.delete(key, timeout_ms=_left_ms(options)):
            print(f"{_show(key)}: deleted" if len(options.keys) > 1 else "deleted")
        else:
            _note(f"{_show(key)}: not found")
            code = MISS
    return code


async def _map(client: AsyncClient, options: argparse.Namespace) -> int:
    cluster_map = await client.connect(timeout_ms=_left_ms(options))
    if options.json:
        _print_json(map_json(cluster_map))
    else:
        print("\n".join(map_lines(cluster_map, _look())))
    return OK


async def _status(client: AsyncClient, options: argparse.Namespace) -> int:
    view = await client.overview(timeout_ms=_left_ms(options))
    if options.json:
        _print_json(overview_json(view))
    else:
        lines = status_lines if options.command == "status" else ring_lines
        print("\n".join(lines(view, _look())))
    return OK if is_healthy(view) or options.command != "status" else MISS


async def _route(client: AsyncClient, options: argparse.Namespace) -> int:
    """One line per key. Tens of thousands are usual here, so the tail is made once per shard."""
    cluster_map = await client.connect(timeout_ms=_left_ms(options))
    tails: dict[int, bytes] = {}
    lines: list[bytes] = []
    for key in options.keys:
        shard = cluster_map.shard_of(key)
        tail = tails.get(shard)
        if tail is None:
            route = await client.route(key, timeout_ms=_left_ms(options))
            if options.json:
                fields = {"shard": shard, "leader": route.leader, "replicas": route.replicas}
                tail = (", " + json.dumps(fields)[1:] + "\n").encode()
            else:
                words = (str(shard), route.leader or "-", *route.replicas)
                tail = f" {' '.join(words)}\n".encode()
            tails[shard] = tail
        head = b'{"key": ' + json.dumps(_show(key)).encode() if options.json else key
        lines.append(head + tail)
    sys.stdout.buffer.write(b"".join(lines))
    return OK


def _parser() -> argparse.ArgumentParser:
    # Accepted before and after the command: suppressed defaults keep the later parser from
    # overwriting what the earlier one has read.
    common = Parser(add_help=False)
    common.add_argument(
        "-s",
        "--seeds",
        metavar="HOST:PORT[,...]",
        default=argparse.SUPPRESS,
        help=f"some nodes of the cluster (default: ${SEEDS_VARIABLE} or {DEFAULT_SEEDS})",
    )
    common.add_argument(
        "--timeout",
        type=seconds_of,
        metavar="SECONDS",
        default=argparse.SUPPRESS,
        help=f"time for the whole operation (default: {DEFAULT_TIMEOUT_S:g})",
    )
    parser = Parser(
        prog="quorumcache",
        description="Talk to a QuorumCache cluster, and look at it.",
        epilog="Exit codes: 0 ok; 1 miss or not done, for status: something is wrong; 2 usage; "
        "3 cannot reach the cluster; 4 outcome of a write unknown; 5 output cannot be "
        "written. Put -- before a key that begins with -.",
        parents=[common],
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, run: object, summary: str, detail: str = "", has_json: bool = True
    ) -> argparse.ArgumentParser:
        made: argparse.ArgumentParser = commands.add_parser(
            name, parents=[common], help=summary, description=f"{summary}. {detail}".strip()
        )
        made.set_defaults(run=run)
        if has_json:
            made.add_argument("--json", action="store_true", help="print JSON")
        return made

    get = command(
        "get", _get, "Print the values of keys", "With several keys: one line KEY VALUE per hit."
    )
    get.add_argument("keys", nargs="+", metavar="KEY")
    get.add_argument(
        "--read",
        default="linearizable",
        metavar="LEVEL",
        help="how old the answer may be: linearizable (default), bounded:MS or local; the last two "
        "come from any replica",
    )
    get.add_argument("-n", "--no-newline", action="store_true", help="print the bare value")
    set_ = command(
        "set",
        _set,
        "Store a value",
        "A VALUE that begins with - is stored as it is, unless it is one of the options below.",
        has_json=False,
    )
    set_.add_argument("keys", nargs=1, metavar="KEY")
    set_.add_argument("value", metavar="VALUE", help="the value, or - to read standard input")
    set_.add_argument(
        "--ttl",
        type=int,
        default=0,
        metavar="SECONDS",
        help="expiry as memcached counts it: 0 never, above 30 days a Unix time (default: 0)",
    )
    set_.add_argument("--flags", type=int, default=0, help="client flags (default: 0)")
    delete = command("delete", _delete, "Remove keys", has_json=False)
    delete.add_argument("keys", nargs="+", metavar="KEY")
    command("map", _map, "Print the cluster map: nodes, and the replicas of each shard")
    command(
        "status",
        _status,
        "Show nodes, leaders, balance, and what is wrong",
        "Exit code 0: all nodes are up, every shard has a leader and all its replicas; 1: "
        "anything else; 3: no node answers.",
    )
    command("ring", _status, "Show how shards and leaders are spread over nodes and zones")
    route = command(
        "route",
        _route,
        "Print where keys live",
        "One line per key, separated by single spaces: KEY SHARD LEADER REPLICA... with the "
        "nodes' client addresses, the preferred leader's first; LEADER is - without a leader. "
        "Without KEY, keys are read from standard input, one per line.",
    )
    route.add_argument("keys", nargs="*", metavar="KEY")
    return parser


def _key(key: bytes, where: str = "") -> bytes:
    try:
        return key_bytes(key)
    except InvalidRequest as error:
        raise _Failure(USAGE, f"{where}{error}") from error


def _keys_from_stdin() -> list[bytes]:
    """Keys, one per line; blank lines are skipped."""
    if sys.stdin.isatty():
        _note("reading keys from the terminal, one per line; end with Ctrl-D")
    lines = _standard_input().split(b"\n")
    return [
        _key(line.rstrip(b"\r"), f"line {number}: ")
        for number, line in enumerate(lines, 1)
        if line.strip(b"\r")
    ]


def _value(text: str) -> bytes:
    return _standard_input() if text == "-" else os.fsencode(text)


def _standard_input() -> bytes:
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise _Failure(USAGE, f"cannot read the standard input: {error.strerror}") from None


def _explain(error: RouterError) -> tuple[int, str]:
    """Exit code and one line that says what to do."""
    text = str(error)
    if isinstance(error, InvalidRequest):
        return USAGE, text
    if isinstance(error, OutcomeUnknown) or not error.outcome_known:
        return (
            UNKNOWN,
            f"outcome unknown: {text}; read the key later to see what happened",
        )
    if isinstance(error, NotACluster):
        return UNREACHABLE, f"{text}; give the address of a quorumcached node with --seeds"
    if isinstance(error, NodeBusy):
        return UNREACHABLE, f"{text}; try again, or give another node with --seeds"
    if isinstance(error, ClusterUnreachable | ConnectFailed | WrongCluster):
        hint = f"is quorumcached running there? Other addresses: --seeds or ${SEEDS_VARIABLE}"
        return UNREACHABLE, f"cannot reach the cluster: {text}; {hint}"
    if isinstance(error, ValueTooLarge):
        return MISS, f"not stored: {text}; an older value of this key is gone"
    if isinstance(error, DeadlineExceeded):
        return MISS, f"{text}; try again, or give more time with --timeout"
    if type(error) is NotDone:
        return MISS, f"not done: {text}; try again, `quorumcache status` shows what is wrong"
    return MISS, f"not done: {text}"


def _fail(code: int, text: str) -> int:
    _note(text)
    return code


def _note(text: str) -> None:
    note(f"quorumcache: {' '.join(text.split())}")


def _show(key: bytes) -> str:
    return key.decode("utf-8", "backslashreplace")


def _json_item(key: bytes, value: bytes | None) -> dict[str, object]:
    shown: dict[str, object] = {"key": _show(key), "found": value is not None}
    if value is not None:
        try:
            shown["value"] = value.decode()
        except UnicodeDecodeError:
            shown["value_base64"] = base64.b64encode(value).decode()
    return shown


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2))


def _look() -> Look:
    """Colour on a terminal only, and not if NO_COLOR is set; blocks only where they can print."""
    has_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    return Look(has_colour, "█" if encoding == "utf8" else "#")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: that takes as long as a whole `get`."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib import metadata

        try:
            version = metadata.version("quorumcache")
        except metadata.PackageNotFoundError:
            version = "(not installed)"
        print(f"quorumcache {version}")
        parser.exit()


if __name__ == "__main__":
    sys.exit(main())
