"""The command line of `quorumcache`: commands, options, help."""

from __future__ import annotations

import argparse
from typing import TypeAlias

from quorumcache.ring.local_control import DATA_DIR
from quorumcache.ring.secret import SECRET_FILE, SECRET_VARIABLE
from quorumcache.router.commands import changes, keys, local, locks, looks, transaction
from quorumcache.router.commands.basics import DEFAULT_SEEDS, DEFAULT_TIMEOUT_S, SEEDS_VARIABLE
from quorumcache.router.commands.words import duration_ms_of, seconds_of
from quorumcache.router.fencing import LOCK_VARIABLE, TOKEN_VARIABLE
from quorumcache.router.locks import TTL_MS
from quorumcache.router.streams import Parser

Commands: TypeAlias = "argparse._SubParsersAction[Parser]"
"""What commands are added to."""


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
        made: Parser = commands.add_parser(
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
    txn = command(
        "txn",
        transaction.txn,
        "Run a file of commands as one transaction: all of it happens, or nothing",
        "One command a line, words quoted as in a shell: get KEY...; set, add or replace KEY VALUE "
        "[ttl=SECONDS] [flags=N]; delete KEY; incr or decr KEY [N]; and conditions: check KEY "
        "VALUE, present KEY, absent KEY. Lines that begin with # are comments. A condition that "
        "does not hold, an add of a key that is there, a replace, incr or decr of one that is not: "
        "nothing is done, exit code 1. After a conflict with others it is run again.",
    )
    txn.add_argument("file", metavar="FILE", help="the file, or - to read standard input")
    txn.add_argument(
        "--dry-run", action="store_true", help="read and check, but change nothing; show what would"
    )
    command("map", looks.print_map, "Print the cluster map: nodes, and the replicas of each shard")
    status = command(
        "status",
        looks.status,
        "Show nodes, leaders, balance, and what is wrong",
        "Exit code 0: all nodes are up, every shard has a leader and all its replicas; 1: "
        "anything else; 3: no node answers.",
    )
    status.add_argument(
        "--watch",
        nargs="?",
        type=seconds_of,
        const=1.0,
        metavar="SECONDS",
        help="show it again and again, with moves and lag, until Ctrl-C (default: every second)",
    )
    ring = command(
        "ring", looks.ring, "Show how shards and leaders are spread over nodes and zones"
    )
    ring.add_argument(
        "--svg",
        metavar="FILE",
        help="draw it: a picture for any browser, with the moves that are under way (-: standard "
        "output)",
    )
    route = command(
        "route",
        keys.route,
        "Print where keys live",
        "One line per key, separated by single spaces: KEY SHARD LEADER REPLICA... with the "
        "nodes' client addresses, the preferred leader's first; LEADER is - without a leader. "
        "Without KEY, keys are read from standard input, one per line.",
    )
    route.add_argument("keys", nargs="*", metavar="KEY")
    lock = command(
        "lock",
        locks.lock,
        "Run a command while holding a lock",
        f"The command finds the lock's name and its token in ${LOCK_VARIABLE} and "
        f"${TOKEN_VARIABLE}. SIGTERM, SIGINT and SIGHUP are passed on to it. When the lock is "
        "lost it is ended. Exit code: the "
        f"command's, 128 and its number after a signal; {locks.NOT_FREE}: the lock was not free "
        f"in time, the command was not run; {locks.LOST}: the lock was lost; 126, 127: the command "
        "cannot be run, is not there.",
        has_json=False,
    )
    lock.usage = "quorumcache lock NAME [options] -- COMMAND [ARGUMENTS]"
    lock.add_argument("keys", nargs=1, metavar="NAME")
    lock.add_argument(
        "--ttl",
        type=duration_ms_of,
        default=TTL_MS,
        metavar="SPAN",
        help="when the lock ends if it is not renewed, as it is all the time: 500ms, 10s, 1m "
        "(default: 10s)",
    )
    lock.add_argument(
        "--wait",
        type=duration_ms_of,
        default=None,
        metavar="SPAN",
        help="how long to wait while others hold it; 0: not at all (default: without limit)",
    )
    lock.add_argument(
        "--owner",
        default="",
        metavar="NAME",
        help="how others see this holder (default: host and process id)",
    )
    lock.add_argument(
        "--grace",
        type=duration_ms_of,
        default=5_000,
        metavar="SPAN",
        help="time from SIGTERM to SIGKILL for a command whose lock is lost (default: 5s)",
    )
    shown = command(
        "locks",
        locks.locks,
        "Show who holds a lock, and who waits for it",
        "One line each: holder OWNER TOKEN MODE LEFT ms left; waiter OWNER PLACE MODE. Exit code "
        "1: nobody holds it.",
    )
    shown.add_argument("keys", nargs=1, metavar="NAME")
    _add_changes(commands, common)
    restart = commands.add_parser(
        "rolling-restart",
        help="Restart the nodes of a local cluster, one after another",
        description="Restart the nodes of a cluster that `quorumcached up` runs on this machine, "
        "one after another. The next one waits until all nodes are well and the one before leads "
        "its shards again; it ends at the first node that is not well.",
    )
    restart.set_defaults(run_alone=local.rolling_restart)
    restart.add_argument(
        "--data-dir", default=DATA_DIR, metavar="DIR", help="of the cluster (default: %(default)s)"
    )
    return parser


def _add_changes(commands: Commands, common: Parser) -> None:
    """The commands for operators. Each that changes the cluster has the options of `_ask`."""

    def add(
        to: Commands, name: str, run: object, summary: str, detail: str = ""
    ) -> argparse.ArgumentParser:
        made: Parser = to.add_parser(
            name, parents=[common], help=summary, description=f"{summary}. {detail}".strip()
        )
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true", help="print JSON")
        return made

    def family(name: str, summary: str) -> Commands:
        made = commands.add_parser(name, parents=[common], help=summary, description=f"{summary}.")
        actions: Commands = made.add_subparsers(dest="action", metavar="ACTION", required=True)
        return actions

    node = family("node", "List the nodes, and have them drained, removed or changed")
    add(node, "list", changes.node_list, "Show the nodes and their states")
    drain = add(
        node,
        "drain",
        changes.drain,
        "Move everything away from a node, which then leaves the cluster",
        "The node passes on its clients' requests until they have left, and then ends by itself.",
    )
    remove = add(
        node,
        "remove",
        changes.remove,
        "Take a node that will not come back out of the cluster",
        "Its replicas are rebuilt on other nodes. It is refused for a node that still runs.",
    )
    remove.add_argument("--force", action="store_true", help="yes, the node is lost")
    replace = add(
        node,
        "replace",
        changes.replace,
        "Give a node with a lost disk a new one",
        "The next node that joins under this name takes the place of the lost one.",
    )
    set_ = add(node, "set", changes.set_node, "Change a node's weight or zone")
    for made in (drain, remove, replace, set_):
        made.add_argument("name", metavar="NAME", help="the node's name")
        _ask(made)
    set_.add_argument("pairs", nargs="+", metavar="weight=NUMBER|zone=NAME|new-zone=NAME")
    cluster = family("cluster", "Show the cluster's settings, or change them")
    add(cluster, "settings", changes.settings, "Show the settings that all nodes share")
    change = add(
        cluster,
        "set",
        changes.set_cluster,
        "Change settings that all nodes share",
        "For example replication=5 dead-after-ms=30000 move-rate=50m.",
    )
    change.add_argument("pairs", nargs="+", metavar="NAME=VALUE")
    _ask(change)
    _ask(add(commands, "rebalance", changes.rebalance, "Spread shards and leaders evenly again"))
    moves = add(
        commands,
        "moves",
        changes.moves,
        "Show the moves of shards that are under way, or steer them",
        "pause: no further move is started; resume: go on; cancel: what has not begun is dropped, "
        "what has begun turns back.",
    )
    moves.add_argument("action", nargs="?", choices=("pause", "resume", "cancel"))
    _ask(moves)
    moves.set_defaults(wait=False)
    moves.add_argument("--wait", action="store_true", help="show the moves until none is left")
    moves.add_argument(
        "--wait-for",
        metavar="NAME[,...]",
        default="",
        help="as --wait, and until these nodes, which join, are active",
    )


def _ask(parser: argparse.ArgumentParser) -> None:
    """The options of a change."""
    parser.add_argument(
        "--dry-run", action="store_true", help="say what would be done, and change nothing"
    )
    parser.add_argument(
        "--no-wait",
        dest="wait",
        action="store_false",
        help="return once the change is decided, and do not show its moves",
    )
    parser.add_argument(
        "--secret-file",
        metavar="FILE",
        help=f"the cluster's secret (default: ${SECRET_VARIABLE}, or {SECRET_FILE} of a node on "
        "this machine)",
    )


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
