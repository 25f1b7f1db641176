"""`quorumcached up`: a whole cluster on this machine, each node a child process.

For trying things out and for development: real processes, real sockets and disks, one command,
nothing left behind. Each child is started with `--stop-on-stdin-eof` and holds the reading end
of a pipe of this process, so that children stop with it however it ends, kill -9 included.
Children run in sessions of their own: Ctrl-C reaches this process only, which then stops them
in order. The cluster does not depend on a reader of our output: lines without a reader are dropped.

Reading order: `main` (command line), `Supervisor.run`, then the helpers; `child.py` is one node.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import fcntl
import importlib.util
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from typing import IO

from quorumcache.node.errors import ConfigError, DataDirLocked, NodeError, StartupError
from quorumcache.node.process.child import STOP_S, Child
from quorumcache.node.process.local_cluster import Plan, make_plan, save_plan
from quorumcache.node.process.options import OneLineParser, read_size
from quorumcache.node.process.signals import IGNORED_SIGNALS, STOP_SIGNALS, is_ignored, release
from quorumcache.node.telemetry.streams import LineWriter, write_line
from quorumcache.ring.address import parse_address

DATA_DIR = "./quorumcache-data"
# How long a child may take to its start line, and the cluster to leaders for all shards.
READY_S = 60.0
HEALTH_INTERVAL_S = 0.1
# So often a start that takes long says what it waits for.
WAITING_S = 5.0
HEALTH_REPLY_S = 5.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
# A child that ran for this long starts its next back-off from the beginning.
BACKOFF_FORGOTTEN_S = 60.0
# For the last lines, when they have no reader.
FLUSH_S = 1.0


def main(argv: Sequence[str]) -> int:
    """Run `quorumcached up`. Returns the exit status."""
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
    except (NodeError, OSError) as error:
        return _fail(str(error))
    output = LineWriter(sys.stdout.fileno())
    for note in notes:
        output.write(note)
    with lock:
        supervisor = Supervisor(
            plan, passed_on=_passed_on(options), restart=options.restart, say=output.write
        )
        try:
            _share_processors()
            return asyncio.run(supervisor.run())
        except (NodeError, OSError) as error:
            output.flush(FLUSH_S)
            return _fail(str(error))
        finally:
            output.flush(FLUSH_S)
            if output.dropped:
                _complain(f"{_count(output.dropped, 'line')} of the output could not be written")


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="quorumcached up",
        allow_abbrev=False,
        add_help=False,
        description="Run a whole cluster on this machine until Ctrl-C.",
    )
    parser.add_argument("--nodes", type=int, metavar="N", help="number of nodes (default: 3)")
    parser.add_argument(
        "--data-dir",
        default=DATA_DIR,
        metavar="DIR",
        help="directory for data and logs (default: %(default)s)",
    )
    parser.add_argument("--shards", type=int, metavar="N", help="number of shards (default: 64)")
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
    except OSError:
        file.seek(0)
        pid = file.read().strip()
        file.close()
        raise DataDirLocked(data_dir, int(pid) if pid.isdigit() else 0) from None
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


class Supervisor:
    """Starts the nodes of a plan, watches them, and stops them."""

    def __init__(
        self,
        plan: Plan,
        *,
        passed_on: Sequence[str],
        restart: bool,
        say: Callable[[str], object],
    ) -> None:
        """`say` prints a line without ever waiting for its reader."""
        self._plan = plan
        self._say = say
        self._restart = restart
        self._children = [Child(plan, node, passed_on) for node in plan.nodes]

    async def run(self) -> int:
        """Run the cluster until a signal. Returns the exit status."""
        stop = _stop_signal(self._kill_all, self._say)
        release()  # The children inherit what is blocked.
        work = asyncio.ensure_future(self._work())
        await asyncio.wait({stop, work}, return_when=asyncio.FIRST_COMPLETED)
        try:
            if work.done():
                work.result()
            else:
                self._say("stopping")
                work.cancel()
                await asyncio.wait({work})
        finally:
            clean = await asyncio.gather(*(child.stop() for child in self._children))
        for child, was_clean in zip(self._children, clean, strict=True):
            if not was_clean:
                self._say(f"node {child.node.name} did not stop in {STOP_S:.0f} s and was killed")
        return 0 if all(clean) else 1

    async def _work(self) -> None:
        names = ", ".join(child.node.name for child in self._children)
        self._say(
            f"starting the nodes {names}" if len(self._children) > 1 else f"starting node {names}"
        )
        for child in self._children:
            await child.start()
        await self._wait_ready()
        self._say(self._welcome())
        async with asyncio.TaskGroup() as group:
            for child in self._children:
                group.create_task(self._watch(child))
        raise StartupError("all nodes have died")

    async def _wait_ready(self) -> None:
        """Every node has said its start line, and every node sees leaders for all its shards."""
        problems = ["a node is not ready yet"]
        loop = asyncio.get_running_loop()
        tell_at = loop.time() + WAITING_S
        try:
            async with asyncio.timeout(READY_S):
                for child in self._children:
                    await child.wait_start_line()
                while True:
                    problems = await self._problems()
                    if not problems:
                        return
                    if loop.time() >= tell_at:
                        tell_at = loop.time() + 2 * WAITING_S
                        self._say(f"not ready yet: {problems[0]}")
                    await asyncio.sleep(HEALTH_INTERVAL_S)
        except TimeoutError:
            raise StartupError(
                f"not ready after {READY_S:.0f} s ({problems[0]}); the nodes' logs are"
                f" {self._plan.data_dir}/*/node.log"
            ) from None

    async def _problems(self) -> list[str]:
        problems = []
        for child in self._children:
            if not child.is_running:
                # Its start line was seen: what ended it is in its log.
                raise StartupError(f"node {child.node.name} died; its log is {child.log_path}")
            try:
                found = await read_health(child.node.http)
                problems += [f"node {child.node.name}: {problem}" for problem in found]
            except (OSError, ValueError, TimeoutError) as error:
                problems.append(f"node {child.node.name} does not answer: {error!r}")
        return problems

    async def _watch(self, child: Child) -> None:
        """Report a node that died; start it again with growing delays."""
        loop = asyncio.get_running_loop()
        backoff_s = BACKOFF_FIRST_S
        name = child.node.name
        while True:
            how = await child.wait_end()
            if not self._restart:
                self._say(f"node {name} died ({how}); its log is {child.log_path}")
                return
            if loop.time() - child.started_at > BACKOFF_FORGOTTEN_S:
                backoff_s = BACKOFF_FIRST_S
            self._say(f"node {name} died ({how}); starting it again in {backoff_s:g} s")
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_MAX_S)
            if not child.has_data():
                # On a new directory it would found an empty cluster, or wait for ever.
                self._say(
                    f"node {name} is not started again: its data directory {child.data_path} is"
                    " gone. Stop the cluster, bring the directory back, and start the cluster again"
                )
                return
            try:
                await child.start()
                async with asyncio.timeout(READY_S):
                    await child.wait_start_line()
            except (StartupError, TimeoutError) as error:
                self._say(str(error) or f"node {name} is not ready after {READY_S:.0f} s")
                continue
            except OSError as error:  # Of its log or of the fork: the other nodes go on.
                self._say(f"node {name} cannot be started: {error}")
                continue
            self._say(f"node {name} is back (pid {child.pid})")

    def _kill_all(self) -> None:
        for child in self._children:
            child.kill()

    def _welcome(self) -> str:
        rows = [("node", "memcached", "http", "pid")]
        rows += [
            (c.node.name, c.node.listen, f"http://{c.node.http}", str(c.pid))
            for c in self._children
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        table = [
            "  " + "  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        first = self._children[0].node
        lines = [
            f"The cluster is ready: {_count(len(self._children), 'node')},"
            f" {_count(self._plan.shards, 'shard')}, data in {self._plan.data_dir}.",
            "",
            *table,
            "",
            "Any memcached client of the text protocol works with any node. Try:",
            *(f"  {line}" for line in _things_to_try(first.listen)),
            "",
            f"Logs: {self._plan.data_dir}/<node>/node.log. Ctrl-C stops the cluster; the same"
            " command brings it back.",
        ]
        return "\n".join(lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _things_to_try(address: str) -> list[str]:
    """Commands that work as they are in the shell that this cluster was started from."""
    command = _from_here("quorumcache")
    host, port = parse_address(address)
    lines = [
        f"{command} --seeds {address} set k hello",
        f"{command} --seeds {address} get k",
        f"{command} --seeds {address} status",
    ]
    if shutil.which("nc") is not None:
        lines.append(
            f"printf 'set k 0 0 5\\r\\nhello\\r\\nget k\\r\\nquit\\r\\n' | nc {host} {port}"
        )
    if importlib.util.find_spec("pymemcache") is not None:
        lines.append(
            f'{_from_here("python")} -c "from pymemcache import Client;'
            f" c = Client('{address}', default_noreply=False); c.set('k', 'hello');"
            " print(c.get('k'))\""
        )
    return lines


def _from_here(command: str) -> str:
    """The program beside our Python: its name where the shell finds the same, else its path."""
    path = os.path.join(os.path.dirname(sys.executable), command)
    found = shutil.which(command)
    if not os.path.exists(path) or (found and os.path.abspath(found) == os.path.abspath(path)):
        return command
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative


async def read_health(address: str) -> list[str]:
    """The problems that a node's /health names; empty when it is well."""
    host, port = parse_address(address)
    async with asyncio.timeout(HEALTH_REPLY_S):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(b"GET /health HTTP/1.0\r\n\r\n")
            reply = await reader.read()
        finally:
            writer.close()
    document = json.loads(reply.partition(b"\r\n\r\n")[2])
    if not isinstance(document, dict) or not isinstance(document.get("problems"), list):
        raise ValueError(f"not a health report: {document!r}")
    return [str(problem) for problem in document["problems"]]


def _stop_signal(
    kill_all: Callable[[], None], say: Callable[[str], object]
) -> asyncio.Future[None]:
    """Done at the first SIGTERM, SIGINT or SIGHUP; a second one kills the children at once."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[None] = loop.create_future()

    def ask() -> None:
        if stop.done():
            kill_all()
        else:
            stop.set_result(None)

    for number in STOP_SIGNALS:
        if number != signal.SIGHUP or not is_ignored(number):  # As nohup wants it.
            loop.add_signal_handler(number, ask)
    for number in IGNORED_SIGNALS:
        loop.add_signal_handler(number, say, f"{number.name} is ignored")
    return stop


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
