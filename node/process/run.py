"""The life of one node process: event loop, garbage collector, signals, clean stop.

Reading order: `run_node` (what the command line calls), `_live` (start, wait, stop), then the
small helpers. Everything that is a matter of the process, not of the node, is here, so that a
`Node` can live in a simulated process as well.

The first SIGTERM, SIGINT or SIGHUP stops the node cleanly, within `stop_timeout_ms`; a second one
ends the process at once. Neither depends on the loop: see `signals.py`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from random import Random, SystemRandom
from typing import Any

from quorumcache.node.clock import SystemClock
from quorumcache.node.consensus.errors import ConsensusError
from quorumcache.node.errors import ConfigError, DiskFull, NodeError, NodeLeft
from quorumcache.node.node import Node
from quorumcache.node.process.event_loop import explain_call, make_loop
from quorumcache.node.process.given_secret import given_secret, kept_secret
from quorumcache.node.process.launch import NO_LAUNCH, PID_FILE, Launched
from quorumcache.node.process.signals import StopRequests, hold
from quorumcache.node.settings.config import NodeConfig
from quorumcache.node.settings.users import Users
from quorumcache.node.storage.disk_calls import is_full
from quorumcache.node.storage.real_disk import RealDisk
from quorumcache.node.system.descriptors import raise_limit
from quorumcache.node.system.heap import give_back_free_memory
from quorumcache.node.system.unix_sockets import remove_files
from quorumcache.node.telemetry.logs import configure, event, flush, get_logger, say
from quorumcache.node.telemetry.streams import write_line
from quorumcache.node.telemetry.timings import Histogram
from quorumcache.ring.forbidden import is_forbidden

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_REMOVED = 3
"""The cluster has removed this node: starting it again is of no use."""

# How often the loop's lag is measured: often enough to see a stall, too rarely to cost
# anything.
LAG_INTERVAL_S = 0.1
# Young objects before a collection. What survives one is log entries and sessions: it is taken
# out of the collector's sight at once, so that no collection ever looks at it again. A pause is
# then the time of two thousand objects, under 2 ms; with thresholds of 50,000 it was 40 ms.
# Freed they are all the same, by their reference counts. Only garbage in cycles stays; requests
# leave none, and a connection breaks its own when it closes.
GC_THRESHOLDS = (2_000, 1_000_000, 1_000_000)
# How soon the loop's thread gives way to the thread that syncs the log. With turns of 2 ms an
# append and its sync took 2.1 ms at an interval of 0.5 ms, and 7.4 at the default of 5 ms; a
# shorter one was no worse.
SWITCH_INTERVAL_S = 0.0001
# Other nodes of a cluster that a node joins, or that others join: it cannot know, and more than
# these take room from clients only when descriptors are scarce.
PEERS_EXPECTED = 16
# How long a node that is alone may take to elect itself before it is announced anyway.
ALONE_READY_S = 10.0
# Before it is ready nothing was promised: a node that reads its log, and so does not hear of the
# stop, may be ended soon.
START_PATIENCE_S = 2.0
NO_THREAD = (
    "the system lets this process start none, and its log and its disk each need one. Look for a"
    " limit of tasks (ulimit -u, TasksMax in systemd, pids.max), and for a seccomp profile that"
    " forbids clone or clone3"
)
NO_ROOM = (
    ". Free some space on that disk, then start the node again: a start writes the end of its log"
    " anew, which takes room on some file systems"
)
# Beyond stop_timeout_ms, for a loop that is late.
STOP_GRACE_S = 5.0

_log = get_logger("process")


class Stopped(Exception):
    """A signal came before the node was ready."""


def run_node(
    config: NodeConfig,
    *,
    stop_on_stdin_eof: bool = False,
    launched: Launched | None = None,
    ignored: Sequence[tuple[str, str]] = (),
    users: Users | None = None,
) -> int:
    """Run one node until it is told to stop. `launched`: what is still to be done once it is ready.
    `ignored`: flags without effect, and why. `users`: who may use the cache; None = everybody.

    Returns the exit status; never raises for what the world does.
    """
    hold()
    try:
        configure(level=config.log_level, log_format=config.log_format, node=config.name)
    except RuntimeError as error:  # Of `threading`.
        return fail(f"{error}: {NO_THREAD}", EXIT_FAILED)
    threading.excepthook = _thread_failed
    sys.unraisablehook = _unraisable
    for flag, why in ignored:
        event(_log, "warning", "flag_ignored", flag=flag, why=why)
    try:
        return _run(_live(config, stop_on_stdin_eof, launched or Launched(NO_LAUNCH), users))
    except Stopped:
        return EXIT_OK
    except ConfigError as error:
        return fail(str(error), EXIT_USAGE)
    except (NodeError, ConsensusError, OSError) as error:
        return fail(explain(error, config), EXIT_FAILED)
    except Exception as error:
        # Our own bug: the one line for the user, the trace as one field of a log event.
        _log.exception("internal_error")
        return fail(f"internal error: {error!r}; the log holds the details", EXIT_FAILED)
    finally:
        threading.excepthook = threading.__excepthook__
        sys.unraisablehook = sys.__unraisablehook__
        PID_FILE.remove()
        remove_files()
        flush()


def fail(line: str, status: int) -> int:
    """Say in one line why the process ends, and return its exit status."""
    one_line = " ".join(line.split())
    say(f"quorumcached: {one_line}")
    return status


def _thread_failed(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        _log.error("internal_error", exc_info=args.exc_value)


def _unraisable(args: sys.UnraisableHookArgs) -> None:
    if args.exc_value is not None:
        _log.error("internal_error", exc_info=args.exc_value)


def _run(main: Coroutine[Any, Any, int]) -> int:
    try:
        loop = make_loop()
    except NodeError:
        main.close()
        raise
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        return runner.run(main)


async def _live(
    config: NodeConfig, stop_on_stdin_eof: bool, launched: Launched, users: Users | None
) -> int:
    loop = asyncio.get_running_loop()
    wanted = config.connections_max
    share = raise_limit(wanted, _peers_expected(config))
    config = replace(config, connections_max=share.connections_max)
    stop, requests = _stop_request(loop, stop_on_stdin_eof)
    _tune_collector()
    try:
        clock = SystemClock()
        random = Random(os.urandom(16))
        node = Node(
            config,
            clock=clock,
            disk=RealDisk(loop),
            random=random,
            loop=loop,
            given_secret=given_secret(config.secret_file, os.environ),
            entropy=SystemRandom(),
            secret_path=kept_secret(config.data_dir),
            give_back_memory=give_back_free_memory,
            users=users,
        )
        if config.connections_max < wanted:
            node.alarms.raise_alarm(
                "connections_limited",
                f"max-connections is {config.connections_max} instead of {wanted}: the process"
                f" may open no more than {share.limit} files. Raise that limit (ulimit -n, or"
                " LimitNOFILE in systemd), or lower max-connections",
            )
        node.controls.ask_stop = requests.ask
        loop.set_exception_handler(lambda _, context: node.tasks.loop_error(context))
        await _start(node, stop)
        requests.be_patient(
            config.stop_timeout_ms / 1000 + STOP_GRACE_S, EXIT_FAILED, _too_late(config)
        )
        return await _serve(node, stop, launched)
    finally:
        requests.close()


def _peers_expected(config: NodeConfig) -> int:
    """Other nodes to have descriptors for. Only the initial cluster tells how many there are."""
    if config.initial_cluster:
        return len(config.members) - 1
    return PEERS_EXPECTED if config.peer else 0


async def _serve(node: Node, stop: asyncio.Future[str], launched: Launched) -> int:
    """From the start line to the end of a clean stop."""
    config = node.config
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    _time_collector(node.timings.gc_pause_seconds)
    give_back_free_memory()  # That of the files which were read: at rest it would be a stall.
    lag = LagProbe(node.loop, node.timings.loop_lag_seconds)
    launched.note_pid()
    _announce(node)
    flush()
    launched.ready()
    await _first(stop, node.failed)
    lag.stop()
    if node.failed.done():
        error = node.failed.result()
        if isinstance(error, NodeLeft):
            return await _leave(node, error)
        event(_log, "error", "node_failed", error=str(error))
        fail(explain(error, config), EXIT_FAILED)
        # What is not durable must not be acknowledged by anything that still runs.
        _exit_now(EXIT_FAILED)
    event(_log, "info", "stopping", reason=stop.result())
    if not await _finished(node.stop(), config.stop_timeout_ms / 1000 + 1.0):
        fail(_too_late(config), EXIT_FAILED)
        _exit_now(EXIT_FAILED)
    event(_log, "info", "stopped")
    return EXIT_OK


async def _leave(node: Node, error: NodeLeft) -> int:
    """The node is no member any more: answer what is under way, and end."""
    status = EXIT_OK if error.was_drained else EXIT_REMOVED
    if not await _finished(node.stop(), node.config.stop_timeout_ms / 1000 + 1.0):
        fail(_too_late(node.config), status)
        _exit_now(status)
    return fail(str(error), status)


def _too_late(config: NodeConfig) -> str:
    return f"not stopped after {config.stop_timeout_ms} ms, ending at once"


async def _start(node: Node, stop: asyncio.Future[str]) -> None:
    """Start the node; a stop request meanwhile ends the process without ceremony:

    nothing was promised.
    """
    starting = asyncio.ensure_future(_ready(node))
    await _first(starting, stop)
    if not starting.done():
        starting.cancel()
        await asyncio.wait({starting}, timeout=1.0)
        raise Stopped
    await starting


async def _ready(node: Node) -> None:
    """Listening. A node that is alone also waits for its own election, some milliseconds, and a
    node that joins until it is a member.

    A founder of a cluster does not wait for the others: they may be started one after another,
    each when the one before it is ready. Requests are held until there is a leader.
    """
    await node.start()
    if node.config.join:
        await node.wait_member()
    elif node.is_alone:
        await node.wait_serving(ALONE_READY_S)


def _announce(node: Node) -> None:
    """The start line:

    the only thing a node ever writes to stdout. A closed stdout is ignored.
    """
    line = (
        f"quorumcached: node {node.config.name} ready: memcached {node.listen_address}"
        f" peer {node.peer_address or '-'} http {node.http_address or '-'}"
    )
    error = write_line(sys.stdout, line)
    if error is not None:
        event(_log, "warning", "start_line_lost", line=line, why=error.strerror or error)
    event(
        _log,
        "info",
        "ready",
        listen=node.listen_address,
        peer=node.peer_address or "-",
        http=node.http_address or "-",
        cluster=node.cluster_id,
        durability=node.config.durability,
    )


def _stop_request(
    loop: asyncio.AbstractEventLoop, stop_on_stdin_eof: bool
) -> tuple[asyncio.Future[str], StopRequests]:
    """A future that holds the reason once the process is asked to stop, and who asks it."""
    stop: asyncio.Future[str] = loop.create_future()

    def ask(reason: str) -> None:
        if not stop.done():
            stop.set_result(reason)

    def pass_on(reason: str) -> None:
        try:
            loop.call_soon_threadsafe(ask, reason)
        except RuntimeError:  # The loop has ended: so does the process.
            return

    def end(status: int, line: str) -> None:
        if line:
            fail(line, status)
        _exit_now(status)

    requests = StopRequests(pass_on, end)
    requests.start(patience_s=START_PATIENCE_S, status=EXIT_OK, line="")
    if stop_on_stdin_eof:
        watcher = threading.Thread(target=_watch_stdin, args=(requests.ask,), daemon=True)
        watcher.start()
    return stop, requests


def _watch_stdin(ask: Callable[[str], None]) -> None:
    """Until stdin ends, or cannot be read: the parent process has gone."""
    try:
        while os.read(0, 4096):
            pass
    except OSError as error:
        event(_log, "warning", "stdin_lost", why=error.strerror)
    ask("parent_gone")


async def _first(*futures: asyncio.Future[Any]) -> None:
    await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)


async def _finished(work: Coroutine[Any, Any, None], timeout_s: float) -> bool:
    """Whether `work` ended in time.

    Its error is raised; a task that does not end is left behind.
    """
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=timeout_s)
    if not done:
        return False
    await task
    return True


def _exit_now(status: int) -> None:
    PID_FILE.remove()
    remove_files()
    flush()
    os._exit(status)


def _tune_collector() -> None:
    """Keep the collector from stopping the loop: what has survived a collection is not looked at
    again. Before anything is read from the disk, of which it would look at all.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
    gc.callbacks.append(_freeze)


def _freeze(phase: str, info: dict[str, int]) -> None:
    if phase == "stop":
        gc.freeze()


def _time_collector(pauses: Histogram) -> None:
    """Measure how long the collector stops the loop."""
    started = 0.0

    def watch(phase: str, info: dict[str, int]) -> None:
        nonlocal started
        if phase == "start":
            started = time.perf_counter()
        else:
            pauses.observe(time.perf_counter() - started)

    gc.callbacks.append(watch)


class LagProbe:
    """Measures how late the loop runs a timer: what every client waits at least."""

    def __init__(self, loop: asyncio.AbstractEventLoop, lags: Histogram) -> None:
        self._loop = loop
        self._lags = lags
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._arm()

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _arm(self) -> None:
        self._due = time.monotonic() + LAG_INTERVAL_S
        self._timer = self._loop.call_later(LAG_INTERVAL_S, self._fire)

    def _fire(self) -> None:
        self._lags.observe(max(0.0, time.monotonic() - self._due))
        self._arm()


def explain(error: BaseException, config: NodeConfig) -> str:
    """What went wrong and what to do about it, in one line."""
    if isinstance(error, OSError) and is_forbidden(error):
        return explain_call(error)
    if isinstance(error, PermissionError):
        what = error.filename or error.strerror
        return f"not permitted: {what}. Run as a user with this permission, or choose another place"
    if isinstance(error, IsADirectoryError):
        return (
            f"{error.filename} is a directory where a file belongs: put the file back, or keep the"
            " data directory aside and leave this node stopped"
        )
    if isinstance(error, OSError):
        at = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror or error}{at}{NO_ROOM if is_full(error) else ''}"
    if isinstance(error, DiskFull):
        return f"{error}{NO_ROOM}"
    return str(error) or repr(error)
