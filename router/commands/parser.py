"""The command line of `quorumcache`: commands, options, help."""

from __future__ import annotations

import argparse

from quorumcache.router.commands import keys, looks
from quorumcache.router.commands.basics import DEFAULT_SEEDS, DEFAULT_TIMEOUT_S, SEEDS_VARIABLE
from quorumcache.router.commands.words import seconds_of
from quorumcache.router.streams import Parser


def make_parser() -> argparse.ArgumentParser:
    """The whole command line. What it parses has `run`, the coroutine function of the command."""
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
        "get",
        keys.get,
        "Print the values of keys",
        "With several keys: one line KEY VALUE per hit.",
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
        keys.set_,
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
    delete = command("delete", keys.delete, "Remove keys", has_json=False)
    delete.add_argument("keys", nargs="+", metavar="KEY")
    command("map", looks.print_map, "Print the cluster map: nodes, and the replicas of each shard")
    command(
        "status",
        looks.status,
        "Show nodes, leaders, balance, and what is wrong",
        "Exit code 0: all nodes are up, every shard has a leader and all its replicas; 1: "
        "anything else; 3: no node answers.",
    )
    command("ring", looks.status, "Show how shards and leaders are spread over nodes and zones")
    route = command(
        "route",
        keys.route,
        "Print where keys live",
        "One line per key, separated by single spaces: KEY SHARD LEADER REPLICA... with the "
        "nodes' client addresses, the preferred leader's first; LEADER is - without a leader. "
        "Without KEY, keys are read from standard input, one per line.",
    )
    route.add_argument("keys", nargs="*", metavar="KEY")
    return parser


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
