"""`quorumcached up add` and `quorumcached up remove`: change a local cluster while it runs.

They ask the `quorumcached up` of the data directory for its part, and run the `quorumcache` command
for what any cluster does: showing moves, draining or removing a node. Ctrl-C ends both while they
wait; what was decided goes on.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from quorumcache.node.process.child import child_environment
from quorumcache.node.process.options import OneLineParser
from quorumcache.node.process.signals import release
from quorumcache.node.telemetry.streams import write_line
from quorumcache.ring.local_control import DATA_DIR, ControlError, ask
from quorumcache.ring.node_info import LOST

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def add(argv: Sequence[str]) -> int:
    """Run `quorumcached up add`. Returns the exit status."""
    flags = _parser("add", "Start further nodes of the cluster that runs, and let them join it.")
    flags.add_argument("--nodes", type=int, default=1, metavar="N", help="how many (default: 1)")
    if _is_help(argv):
        print(flags.format_help(), end="")
        return 0
    options = flags.parse_all(argv)
    try:
        release()  # Nothing else takes signals here, and the command inherits what is held.
        answer = _ask(options.data_dir, {"do": "add", "nodes": options.nodes})
        if not options.wait:
            return 0
        names = ",".join(answer["names"])
        return _quorumcache(answer["seeds"], "moves", "--wait-for", names)
    except ControlError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def remove(argv: Sequence[str]) -> int:
    """Run `quorumcached up remove`. Returns the exit status."""
    flags = _parser("remove", "Move everything away from a node, and take it out of the cluster.")
    flags.add_argument("name", metavar="NAME", help="the node's name")
    flags.add_argument("--secret-file", metavar="FILE", help="the cluster's secret")
    flags.add_argument(
        "--force",
        action="store_true",
        help="the node is lost: rebuild on the other nodes what it held (refused while it runs)",
    )
    if _is_help(argv):
        print(flags.format_help(), end="")
        return 0
    options = flags.parse_all(argv)
    try:
        release()  # Nothing else takes signals here, and the command inherits what is held.
        nodes = dict(_ask(options.data_dir, {"do": "nodes"})["nodes"])
        if options.name not in nodes:
            return _fail(f"there is no node {options.name}: the nodes are {' '.join(nodes)}")
        secret = [] if options.secret_file is None else ["--secret-file", options.secret_file]
        wait = [] if options.wait else ["--no-wait"]
        # The other nodes first: this one is going to end.
        seeds = [address for name, address in nodes.items() if name != options.name]
        if options.force and not seeds:
            # Without seeds the command would ask whatever cluster is at the usual address.
            return _fail(
                f"node {options.name} cannot be removed: it is the only node of this cluster"
            )
        if options.force:
            return _remove_lost(options, seeds, secret)
        seeds.append(nodes[options.name])
        status = _quorumcache(seeds, "node", "drain", options.name, *wait, *secret)
        if status == 0 and options.wait:
            _ask(options.data_dir, {"do": "left", "name": options.name})
        return status
    except ControlError as error:
        return _fail(str(error))
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _remove_lost(options: argparse.Namespace, seeds: Sequence[str], secret: Sequence[str]) -> int:
    """Remove a node that is lost. It is given up here as soon as the cluster has decided that: what
    moves then needs nothing of it.
    """
    if options.name in _members(seeds):
        status = _quorumcache(
            seeds, "node", "remove", options.name, "--force", "--no-wait", *secret
        )
        if status != 0:
            return status
    _ask(options.data_dir, {"do": "give-up", "name": options.name})
    return _quorumcache(seeds, "moves", "--wait") if options.wait else 0


def _members(seeds: Sequence[str]) -> list[str]:
    """The names of the nodes that count: `node remove` may have been asked for before."""
    done = subprocess.run(
        [*_command(seeds), "node", "list", "--json"],
        env=child_environment(),
        stdout=subprocess.PIPE,
        check=False,
    )
    try:
        nodes = json.loads(done.stdout)
        return [str(node["name"]) for node in nodes if node["state"] != LOST]
    except (ValueError, KeyError, TypeError):
        raise ControlError("the other nodes do not say which nodes the cluster has") from None


def _is_help(argv: Sequence[str]) -> bool:
    """Asked before the words are read: help needs no name of a node."""
    return "--help" in argv or "-h" in argv


def _parser(name: str, description: str) -> OneLineParser:
    parser = OneLineParser(
        prog=f"quorumcached up {name}",
        allow_abbrev=False,
        add_help=False,
        description=description,
    )
    parser.add_argument(
        "--data-dir", default=DATA_DIR, metavar="DIR", help="of the cluster (default: %(default)s)"
    )
    parser.add_argument(
        "--no-wait", dest="wait", action="store_false", help="do not wait for the moves of shards"
    )
    parser.add_argument("--help", "-h", action="store_true", help="print this and exit")
    return parser


def _ask(data_dir: str, question: dict[str, Any]) -> dict[str, Any]:
    """The answer, if it is a good one. ControlError."""
    answer = ask(data_dir, question, lambda line: print(line, flush=True))
    if answer["code"] != 0:
        raise ControlError(str(answer.get("error", "it did not succeed")))
    return answer


def _quorumcache(seeds: Sequence[str], *words: str) -> int:
    """Run the command, which shows on this terminal what it does. Returns its exit status."""
    command = [*_command(seeds), *words]
    return subprocess.run(command, env=child_environment(), check=False).returncode


def _command(seeds: Sequence[str]) -> list[str]:
    # As the installed script begins: Ctrl-C reaches it, too, also while it loads.
    begin = "import sys; from quorumcache.commands import quorumcache; sys.exit(quorumcache())"
    return [sys.executable, "-P", "-c", begin, "--seeds", ",".join(seeds)]


def _fail(line: str) -> int:
    write_line(sys.stderr, "quorumcached: " + " ".join(line.split()))
    return EXIT_FAILED
