"""The command line of `quorumcached up`.

The cluster does not depend on a reader of our output: lines without a reader are dropped.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import os
import sys
from collections.abc import Sequence
from typing import IO

from quorumcache.node.errors import ConfigError, NodeError, StartupError
from quorumcache.node.process.event_loop import explain_call, plain_loop
from quorumcache.node.process.local_cluster import make_plan, read_plan, save_plan
from quorumcache.node.process.options import OneLineParser
from quorumcache.node.process.setting_table import read_size
from quorumcache.node.process.supervisor import Supervisor
from quorumcache.node.process.up_commands import add, remove
from quorumcache.node.telemetry.streams import LineWriter, write_line
from quorumcache.ring.local_control import DATA_DIR

# For the last lines, when they have no reader.
FLUSH_S = 1.0


def main(argv: Sequence[str]) -> int:
    """Run `quorumcached up`. Returns the exit status."""
    if argv[:1] in (["add"], ["remove"]):
        return (add if argv[0] == "add" else remove)(argv[1:])
    flags = _parser()
    options = flags.parse_all(argv)
    if options.help:
        print(flags.format_help(), end="")  # print_help hides errors.
        return 0
    if options.memory is not None:
        read_size(options.memory, "--memory")
    try:
        os.makedirs(options.data_dir, exist_ok=True)
        lock = _lock(options.data_dir)
        plan, notes = make_plan(
            options.data_dir,
            nodes=options.nodes,
            shards=options.shards,
            base_port=options.base_port,
        )
        save_plan(plan)
    except ConfigError:
        raise
    except NodeError as error:
        return _fail(str(error))
    except OSError as error:  # All of it is in the data directory.
        where = error.filename or options.data_dir
        return _fail(f"{where}: {error.strerror or error}. Choose another place with --data-dir")
    output = LineWriter(sys.stdout.fileno())
    for note in notes:
        output.write(note)
    with lock:
        supervisor = Supervisor(
            plan, passed_on=_passed_on(options), restart=options.restart, say=output.write
        )
        try:
            _share_processors()
            loop = plain_loop()
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                return runner.run(supervisor.run())
        except (NodeError, OSError) as error:
            output.flush(FLUSH_S)
            if isinstance(error, OSError) and not error.filename:
                return _fail(explain_call(error))
            return _fail(str(error))
        finally:
            output.flush(FLUSH_S)
            if output.dropped:
                noun = "line" if output.dropped == 1 else "lines"
                _complain(f"{output.dropped} {noun} of the output could not be written")


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="quorumcached up",
        allow_abbrev=False,
        add_help=False,
        description="Run a whole cluster on this machine until Ctrl-C.",
        epilog="While it runs: `quorumcached up add` starts another node, `quorumcached up"
        " remove NAME` takes one away, `quorumcache rolling-restart` restarts all, one by one.",
    )
    parser.add_argument("--nodes", type=int, metavar="N", help="number of nodes (default: 3)")
    parser.add_argument(
        "--data-dir",
        default=DATA_DIR,
        metavar="DIR",
        help="directory for data and logs (default: %(default)s)",
    )
    parser.add_argument(
        "--shards",
        type=int,
        metavar="N",
        help="number of shards, a power of two (default: 16 for up to 3 nodes, 32 for up to 6, and"
        " so on: 5 or more for each)",
    )
    parser.add_argument(
        "--base-port",
        type=int,
        metavar="PORT",
        help="first memcached port (default: 11211, or the next free range; 0: any)",
    )
    parser.add_argument("--memory", metavar="SIZE", help="memory for items, per node (default: 1g)")
    parser.add_argument(
        "--log-level", metavar="LEVEL", help="level of the nodes' logs (default: info)"
    )
    parser.add_argument(
        "--restart",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="restart a node that has died",
    )
    parser.add_argument("--help", "-h", action="store_true", help="print this and exit")
    return parser


def _passed_on(options: argparse.Namespace) -> list[str]:
    """Flags that every node gets as they are."""
    words = []
    for flag, value in (("--memory", options.memory), ("--log-level", options.log_level)):
        if value is not None:
            words += [flag, value]
    return words


def _lock(data_dir: str) -> IO[str]:
    """Held for the life of this process, so that two clusters never share a directory."""
    path = os.path.join(data_dir, "up.lock")
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 - the caller closes it
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        pid = file.read().strip()
        file.close()
        raise StartupError(_runs_already(data_dir, pid if pid.isdigit() else "")) from None
    except OSError as error:
        file.close()
        raise StartupError(explain_call(error)) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def _runs_already(data_dir: str, pid: str) -> str:
    """Which cluster has the directory, how to use it, and how to end it."""
    try:
        plan = read_plan(data_dir)
    except (StartupError, OSError):
        plan = None
    nodes = plan.nodes if plan is not None else ()
    names = (
        f" with the nodes {', '.join(f'{n.name} at {n.listen}' for n in nodes)}" if nodes else ""
    )
    look = f", `quorumcache -s {nodes[0].listen} status` shows it" if nodes else ""
    end = f" (or `kill {pid}`)" if pid else ""
    return (
        f"the cluster in {data_dir} runs already, in another `quorumcached up`{names}: use it"
        f"{look}; Ctrl-C there{end} ends it. For another cluster give another --data-dir"
    )


def _share_processors() -> None:
    """Let the nodes, which inherit this, take turns where they have no processor each.

    Normally a process that wakes up interrupts another one. Nodes wake each other with every
    message: each would then get the work in small pieces. Three nodes on one processor execute a
    fifth more writes this way.
    """
    with contextlib.suppress(OSError):  # Somebody decided otherwise: so be it.
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _complain(line: str) -> None:
    write_line(sys.stderr, "quorumcached: " + " ".join(line.split()))


def _fail(line: str) -> int:
    _complain(line)
    return 1
