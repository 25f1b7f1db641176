"""`quorumcached up`: a whole cluster on this machine, each node a child process.

For trying things out and for development: real processes, real sockets and disks, one command,
nothing left behind. Each child is started with `--stop-on-stdin-eof` and holds the reading end
of a pipe of this process, so that children stop with it however it ends, kill -9 included.
Children run in sessions of their own: Ctrl-C reaches this process only, which then stops them
in order.

Reading order: `Supervisor.run`, `_work`, what it is asked for while it runs (`_handle`), then the
helpers. `child.py` is one node, `up.py` the command line, `control.py` the socket of the questions.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import shutil
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from quorumcache.node.errors import StartupError
from quorumcache.node.process.child import READY_S, STOP_S, Child
from quorumcache.node.process.control import Caller, Control
from quorumcache.node.process.local_cluster import Plan, add_nodes, save_plan, without_node
from quorumcache.node.process.node_http import no_answer, read_health
from quorumcache.node.process.rolling import rolling_restart
from quorumcache.node.process.signals import IGNORED_SIGNALS, STOP_SIGNALS, is_ignored, release
from quorumcache.ring.address import parse_address

HEALTH_INTERVAL_S = 0.1
# So often a start that takes long says what it waits for.
WAITING_S = 5.0
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
# A child that ran for this long starts its next back-off from the beginning.
BACKOFF_FORGOTTEN_S = 60.0


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
        self._passed_on = passed_on
        self._restart = restart
        children = [Child(plan, node, passed_on) for node in plan.nodes]
        self._children = [child for child in children if child.is_member()]
        self._idle = [child for child in children if not child.is_member()]
        """Nodes of the plan that are to join, and do not run."""
        self._watching: asyncio.TaskGroup | None = None
        self._watches: dict[str, asyncio.Task[None]] = {}
        """By node."""
        self._job = ""
        """What is done now of what was asked for; one thing at a time."""

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
            children = [*self._children, *self._idle]
            clean = await asyncio.gather(*(child.stop() for child in children))
        for child, was_clean in zip(children, clean, strict=True):
            if not was_clean:
                self._say(f"node {child.node.name} did not stop in {STOP_S:.0f} s and was killed")
        return 0 if all(clean) else 1

    async def _work(self) -> None:
        for child in self._children.copy():
            if child.has_left():  # This process ended before it had heard of it.
                self._forget(child)
        names = ", ".join(child.node.name for child in self._children)
        self._say(
            f"starting the nodes {names}" if len(self._children) > 1 else f"starting node {names}"
        )
        for child in self._children:
            await child.start()
        await self._wait_ready()
        async with Control(self._plan.data_dir, self._handle):
            self._say(self._welcome())
            async with asyncio.TaskGroup() as group:
                self._watching = group
                for child in self._children:
                    self._watches[child.node.name] = group.create_task(self._watch(child))
                group.create_task(self._join_again())
        raise StartupError("all nodes have died")

    async def _wait_ready(self) -> None:
        """Every node has said its start line, and every node sees leaders for all its shards."""
        problems = ["a node is not ready yet"]
        loop = asyncio.get_running_loop()
        tell_at = loop.time() + WAITING_S
        try:
            async with asyncio.timeout(READY_S):
                for child in self._children.copy():
                    try:
                        await child.wait_start_line()
                    except StartupError:
                        if not child.has_left():
                            raise
                        self._say_left(child)
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
        for child in self._children.copy():
            if not child.is_running and child.has_left():
                self._say_left(child)  # It was drained or removed before the last stop.
                continue
            if not child.is_running:
                # Its start line was seen: what ended it is in its log.
                raise StartupError(f"node {child.node.name} died; its log is {child.log_path}")
            try:
                found = await read_health(child.node.http)
                problems += [f"node {child.node.name}: {problem}" for problem in found]
            except (OSError, ValueError, TimeoutError) as error:
                problems.append(no_answer(child.node.name, error))
        return problems

    async def _watch(self, child: Child) -> None:
        """Report a node that died; start it again with growing delays."""
        loop = asyncio.get_running_loop()
        backoff_s = BACKOFF_FIRST_S
        name = child.node.name
        while True:
            how = await child.wait_end()
            if child.is_restarting:
                await child.restarted.wait()
                if child.is_running:
                    continue
                how = "it did not come back"
            if child.has_left():
                self._say_left(child)
                return
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

    # What is asked for while the cluster runs.

    async def _handle(self, question: dict[str, Any], caller: Caller) -> dict[str, Any]:
        match question.get("do"):
            case "nodes":
                nodes = [(child.node.name, child.node.listen) for child in self._children]
                return {"code": 0, "nodes": nodes}
            case "left":
                return await self._left(str(question.get("name")), caller)
            case "give-up":
                return await self._alone("up remove", self._give_up(str(question["name"]), caller))
            case "add":
                return await self._alone("up add", self._add(int(question["nodes"]), caller))
            case "rolling-restart":
                return await self._alone("rolling restart", self._rolling_restart(caller))
            case other:
                raise StartupError(f"this `quorumcached up` does not know {other!r}")

    async def _alone(self, name: str, work: Coroutine[Any, Any, dict[str, Any]]) -> dict[str, Any]:
        if self._job:
            work.close()
            raise StartupError(f"{self._job} is under way: try again when it is done")
        self._job = name
        try:
            return await work
        finally:
            self._job = ""

    async def _add(self, count: int, caller: Caller) -> dict[str, Any]:
        """Start more nodes, which join. The plan is remembered before: a node that has joined is
        started again with the cluster, whatever happens here. Those that have failed to join come
        first."""
        if count < 1:
            raise StartupError(f"{count} nodes cannot be added: give --nodes a number from 1 on")
        more = count - len(self._idle)
        if more > 0:
            known = len(self._plan.nodes)
            self._plan = add_nodes(self._plan, more)
            save_plan(self._plan)
            self._idle += [
                Child(self._plan, node, self._passed_on) for node in self._plan.nodes[known:]
            ]

        def say(line: str) -> None:
            self._say(line)
            caller.say(line)

        added = self._idle[:count]
        try:
            for child in added:
                await self._join(child, say)
        finally:
            for child in self._idle.copy():
                if not child.has_data():  # It was never heard of.
                    self._idle.remove(child)
                    self._plan = without_node(self._plan, child.node.name)
                    save_plan(self._plan)
        names = [child.node.name for child in added]
        return {"code": 0, "names": names, "seeds": [c.node.listen for c in self._children]}

    async def _join(self, child: Child, say: Callable[[str], object]) -> None:
        """Start a node that is no member yet, and watch it. StartupError if it is not taken in."""
        name = child.node.name
        say(f"starting node {name}, which joins")
        try:
            await child.start()
            async with asyncio.timeout(READY_S):
                await child.wait_start_line()
        except (StartupError, OSError, TimeoutError) as error:
            await child.stop()
            late = f"node {name} is not ready after {READY_S:.0f} s; its log is {child.log_path}"
            raise StartupError(str(error) or late) from None
        self._idle.remove(child)
        self._children.append(child)
        assert self._watching is not None
        self._watches[name] = self._watching.create_task(self._watch(child))
        say(
            f"node {name} has joined: memcached {child.node.listen}, http"
            f" http://{child.node.http}, pid {child.pid}"
        )

    async def _join_again(self) -> None:
        """Nodes that had not joined when the cluster was stopped."""
        for child in self._idle.copy():
            try:
                await self._join(child, self._say)
            except StartupError as error:
                self._say(f"{error}. `quorumcached up add` tries it again")

    async def _left(self, name: str, caller: Caller) -> dict[str, Any]:
        """Wait until a node has left."""
        for child in self._children:
            if child.node.name == name:
                await child.gone.wait()
        caller.say(f"node {name} has ended; it is not started again")
        return {"code": 0}

    async def _give_up(self, name: str, caller: Caller) -> dict[str, Any]:
        """A lost node was removed from the cluster: it is not started again."""
        for child in self._children.copy():
            if child.node.name != name:
                continue
            watching = self._watches.pop(name, None)
            if watching is not None:
                watching.cancel()
            await child.stop()
            if child in self._children:  # Else it was the first to notice.
                line = f"node {name} was removed; what is left of it is in {child.directory}"
                self._say(line)
                caller.say(line)
                self._forget(child)
        return {"code": 0}

    async def _rolling_restart(self, caller: Caller) -> dict[str, Any]:
        def say(line: str) -> None:
            self._say(line)
            caller.say(line)

        names = " ".join(child.node.name for child in self._children)
        say(f"restarting, one after another: {names}")
        is_done = await rolling_restart(self._children.copy(), say, lambda: not caller.has_gone)
        return {"code": 0 if is_done else 1}

    def _say_left(self, child: Child) -> None:
        self._say(
            f"node {child.node.name} has left the cluster; its data is still in {child.data_path}"
        )
        self._forget(child)

    def _forget(self, child: Child) -> None:
        """A node has left: it is not started again, now or with the cluster."""
        self._children.remove(child)
        self._watches.pop(child.node.name, None)
        self._plan = without_node(self._plan, child.node.name)
        save_plan(self._plan)
        child.gone.set()

    def _kill_all(self) -> None:
        for child in (*self._children, *self._idle):
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
