"""How the nodes of a local cluster are watched. With real nodes:
tests/integration/test_supervisor.py."""

from __future__ import annotations

import asyncio
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from quorumcache.node.errors import StartupError
from quorumcache.node.process.child import Child
from quorumcache.node.process.local_cluster import LocalNode, Plan
from quorumcache.node.process.supervisor import BACKOFF_MAX_S, Supervisor
from quorumcache.node.storage.identity import LOCK_FILE
from tests.simulation.loop import VirtualLoop


class FakeChild:
    """Dies as it is told."""

    def __init__(self, lives: list[float]) -> None:
        self.node = LocalNode("n1", 1, 2, 3)
        self.log_path = "n1/node.log"
        self.data_path = "n1/data"
        self.pid = 17
        self.started_at = 0.0
        self.is_running = True
        self.is_restarting = False
        self.restarted = asyncio.Event()
        self.gone = asyncio.Event()
        self.is_marked_left = False
        self.lives = lives
        """Seconds of each life; the last one does not end."""
        self.starts: list[float] = []
        self.start_error: BaseException | None = None
        self.data_is_there = True

    def has_data(self) -> bool:
        return self.data_is_there

    def has_left(self) -> bool:
        return self.is_marked_left

    def is_member(self) -> bool:
        return True

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self.started_at = loop.time()
        self.starts.append(loop.time())
        if self.start_error is not None:
            error, self.start_error = self.start_error, None
            raise error

    async def wait_start_line(self) -> None:
        pass

    async def wait_end(self) -> str:
        if not self.lives:
            await asyncio.get_running_loop().create_future()
        await asyncio.sleep(self.lives.pop(0))
        return "exit status 1"


def watched(child: FakeChild, seconds: float, *, restart: bool = True) -> list[str]:
    said: list[str] = []
    plan = Plan("d", 4, (child.node,))
    supervisor = Supervisor(plan, passed_on=[], restart=restart, say=said.append)

    supervisor._children = [child]  # type: ignore[list-item]

    async def main() -> None:
        child.started_at = asyncio.get_running_loop().time()
        watching = asyncio.ensure_future(supervisor._watch(child))  # type: ignore[arg-type]
        await asyncio.wait((watching,), timeout=seconds)
        if watching.done():
            watching.result()
        watching.cancel()

    loop = VirtualLoop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    return said


def test_a_node_that_died_is_started_again() -> None:
    child = FakeChild([5.0])
    said = watched(child, 100)
    assert said == [
        "node n1 died (exit status 1); starting it again in 0.5 s",
        "node n1 is back (pid 17)",
    ]
    assert len(child.starts) == 1


def test_one_that_dies_again_and_again_is_started_ever_later() -> None:
    child = FakeChild([0.0] * 12)
    watched(child, 10_000)
    pauses = [later - earlier for earlier, later in pairwise(child.starts)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, *[BACKOFF_MAX_S] * 6]


def test_one_that_ran_for_long_is_started_soon() -> None:
    child = FakeChild([*[0.0] * 8, 1000.0])
    said = watched(child, 10_000)
    assert said[-2] == "node n1 died (exit status 1); starting it again in 0.5 s"


def test_without_restart_it_is_told() -> None:
    child = FakeChild([1.0])
    assert watched(child, 100, restart=False) == [
        "node n1 died (exit status 1); its log is n1/node.log"
    ]
    assert child.starts == []


def test_one_without_its_data_is_not_started_on_an_empty_directory() -> None:
    child = FakeChild([1.0])
    child.data_is_there = False
    said = watched(child, 100)
    assert "its data directory n1/data is gone" in said[-1]
    assert child.starts == []


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (StartupError("node n1 did not start: port in use"), "port in use"),
        (PermissionError(13, "Permission denied"), "node n1 cannot be started"),
    ],
)
def test_a_start_that_fails_is_told_and_tried_again(error: BaseException, told: str) -> None:
    child = FakeChild([0.0, 0.0])
    child.start_error = error
    said = watched(child, 100)
    assert any(told in line for line in said)
    assert said[-1] == "node n1 is back (pid 17)"
    assert len(child.starts) == 2


def test_one_that_has_left_is_not_started_again_and_is_forgotten(tmp_path: Path) -> None:
    child, other = FakeChild([1.0]), LocalNode("n2", 4, 5, 6)
    child.is_marked_left = True
    said: list[str] = []
    plan = Plan(str(tmp_path), 4, (child.node, other))
    supervisor = Supervisor(plan, passed_on=[], restart=True, say=said.append)
    supervisor._children[0] = child  # type: ignore[call-overload]

    async def main() -> None:
        await supervisor._watch(child)  # type: ignore[arg-type]
        assert child.gone.is_set()

    loop = VirtualLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 100))
    finally:
        loop.close()
    assert said == ["node n1 has left the cluster; its data is still in n1/data"]
    assert child.starts == []
    remembered = json.loads((tmp_path / "cluster.json").read_text())
    assert [row["name"] for row in remembered["nodes"]] == ["n2"]
    assert remembered["founders"] == "n1=127.0.0.1:3,n2=127.0.0.1:6"


@pytest.mark.parametrize("has_said_line", [True, False])
def test_one_that_leaves_while_the_cluster_starts_does_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, has_said_line: bool
) -> None:
    """It was drained before the cluster was stopped, and its last clients are gone."""
    child, other = FakeChild([]), FakeChild([])
    other.node = LocalNode("n2", 4, 5, 6)
    child.is_running, child.is_marked_left = False, True

    async def no_line() -> None:
        raise StartupError("node n1 did not start: it was drained and has left")

    async def healthy(address: str) -> list[str]:
        assert address == other.node.http
        return []

    if not has_said_line:
        monkeypatch.setattr(child, "wait_start_line", no_line)
    monkeypatch.setattr("quorumcache.node.process.supervisor.read_health", healthy)
    said: list[str] = []
    plan = Plan(str(tmp_path), 4, (child.node, other.node))
    supervisor = Supervisor(plan, passed_on=[], restart=True, say=said.append)
    supervisor._children = [child, other]  # type: ignore[list-item]

    loop = VirtualLoop()
    try:
        loop.run_until_complete(asyncio.wait_for(supervisor._wait_ready(), 100))
    finally:
        loop.close()
    assert said == ["node n1 has left the cluster; its data is still in n1/data"]
    assert supervisor._children == [other]


def test_one_that_is_restarted_is_nobody_elses_business() -> None:
    child = FakeChild([1.0])
    child.is_restarting = True
    child.restarted.set()
    assert watched(child, 100) == []
    assert child.starts == []


def test_one_that_did_not_come_back_from_a_restart_is_started_again() -> None:
    child = FakeChild([1.0])
    child.is_restarting, child.is_running = True, False
    child.restarted.set()
    said = watched(child, 100)
    assert said[0] == "node n1 died (it did not come back); starting it again in 0.5 s"


class FakeCaller:
    def __init__(self) -> None:
        self.said: list[str] = []
        self.has_gone = False

    def say(self, line: str) -> None:
        self.said.append(line)


def asked(supervisor: Supervisor, *questions: dict[str, Any]) -> list[Any]:
    async def main() -> list[Any]:
        caller: Any = FakeCaller()
        return await asyncio.gather(
            *(supervisor._handle(question, caller) for question in questions),
            return_exceptions=True,
        )

    return asyncio.run(main())


def test_questions_while_it_runs(tmp_path: Path) -> None:
    plan = Plan(str(tmp_path), 4, (LocalNode("a", 1, 2, 3), LocalNode("b", 4, 5, 6)))
    supervisor = Supervisor(plan, passed_on=[], restart=True, say=lambda _: None)
    nodes, left, unknown, nothing, few = asked(
        supervisor,
        {"do": "nodes"},
        {"do": "left", "name": "z"},
        {"do": "dance"},
        {"do": "add", "nodes": 0},
        {"do": "rolling-restart"},
    )
    assert nodes == {"code": 0, "nodes": [("a", "127.0.0.1:1"), ("b", "127.0.0.1:4")]}
    assert left == {"code": 0}
    assert "does not know 'dance'" in str(unknown)
    assert str(nothing) == "0 nodes cannot be added: give --nodes a number from 1 on"
    assert few == {"code": 1}


def test_one_thing_at_a_time(tmp_path: Path) -> None:
    plan = Plan(str(tmp_path), 4, (LocalNode("a", 1, 2, 3),))
    supervisor = Supervisor(plan, passed_on=[], restart=True, say=lambda _: None)
    supervisor._job = "rolling restart"
    (answer,) = asked(supervisor, {"do": "add", "nodes": 1})
    assert isinstance(answer, StartupError)
    assert "rolling restart is under way" in str(answer)


def test_a_node_that_does_not_start_is_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start(_: Child) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Child, "start", start)
    plan = Plan(str(tmp_path), 4, (LocalNode("a", 1, 2, 3),))
    supervisor = Supervisor(plan, passed_on=[], restart=True, say=lambda _: None)
    (answer,) = asked(supervisor, {"do": "add", "nodes": 2})
    assert "Permission denied" in str(answer)
    remembered = json.loads((tmp_path / "cluster.json").read_text())
    assert [row["name"] for row in remembered["nodes"]] == ["a"]


def make_data(child: Child) -> None:
    Path(child.data_path).mkdir(parents=True, exist_ok=True)
    (Path(child.data_path) / LOCK_FILE).touch()


def test_a_node_that_was_not_taken_in_is_tried_first_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be known to the cluster already: its directory and its name are kept."""
    starts: list[str] = []

    async def start(child: Child) -> None:
        make_data(child)
        starts.append(child.node.name)

    async def refused(child: Child) -> None:
        raise StartupError(f"node {child.node.name} did not start: the name is taken")

    monkeypatch.setattr(Child, "start", start)
    monkeypatch.setattr(Child, "wait_start_line", refused)
    plan = Plan(str(tmp_path), 4, (LocalNode("a", 1, 2, 3),))
    said: list[str] = []
    supervisor = Supervisor(plan, passed_on=[], restart=True, say=said.append)
    for _ in range(2):
        (answer,) = asked(supervisor, {"do": "add", "nodes": 1})
        assert "the name is taken" in str(answer)
    assert starts == ["b", "b"]
    remembered = json.loads((tmp_path / "cluster.json").read_text())
    assert [row["name"] for row in remembered["nodes"]] == ["a", "b"]
    asyncio.run(supervisor._join_again())
    assert said[-1].endswith("`quorumcached up add` tries it again")


def test_a_lost_node_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be started again and again."""
    starts: list[str] = []

    async def start(child: Child) -> None:
        starts.append(child.node.name)
        raise StartupError("the log is damaged")

    async def died(child: Child) -> str:
        if child.node.name == "a":
            await asyncio.get_running_loop().create_future()
        return "exit status 1"

    monkeypatch.setattr(Child, "start", start)
    monkeypatch.setattr(Child, "wait_end", died)
    nodes = (LocalNode("a", 1, 2, 3), LocalNode("b", 4, 5, 6))
    said: list[str] = []
    supervisor = Supervisor(
        Plan(str(tmp_path), 4, nodes), passed_on=[], restart=True, say=said.append
    )
    child = supervisor._children[1]
    make_data(child)
    caller = FakeCaller()

    async def main() -> dict[str, Any]:
        async with asyncio.TaskGroup() as group:
            supervisor._watching = group
            for each in supervisor._children:
                supervisor._watches[each.node.name] = group.create_task(supervisor._watch(each))
            await asyncio.sleep(2)
            answer = await supervisor._handle({"do": "give-up", "name": "b"}, caller)  # type: ignore[arg-type]
            begun = len(starts)
            await asyncio.sleep(100)
            assert len(starts) == begun
            supervisor._watches["a"].cancel()
        return answer

    loop = VirtualLoop()
    try:
        assert loop.run_until_complete(main()) == {"code": 0}
    finally:
        loop.close()
    assert set(starts) == {"b"}
    assert caller.said == [f"node b was removed; what is left of it is in {child.directory}"]
    remembered = json.loads((tmp_path / "cluster.json").read_text())
    assert [row["name"] for row in remembered["nodes"]] == ["a"]
    assert child.gone.is_set()


def test_a_node_joins_and_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(child: Child) -> None:
        make_data(child)

    async def never(child: Child) -> str:
        await asyncio.get_running_loop().create_future()
        return ""

    monkeypatch.setattr(Child, "start", at_once)
    monkeypatch.setattr(Child, "wait_start_line", at_once)
    monkeypatch.setattr(Child, "wait_end", never)
    monkeypatch.setattr(Child, "pid", 17)
    plan = Plan(str(tmp_path), 4, (LocalNode("a", 1, 2, 3),))
    supervisor = Supervisor(plan, passed_on=[], restart=True, say=lambda _: None)
    caller = FakeCaller()

    async def main() -> dict[str, Any]:
        async with asyncio.TaskGroup() as supervisor._watching:
            answer = await supervisor._handle({"do": "add", "nodes": 2}, caller)  # type: ignore[arg-type]
            watching = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            assert len(watching) == 2
            for task in watching:
                task.cancel()
        return answer

    answer = asyncio.run(main())
    assert (answer["code"], answer["names"], len(answer["seeds"])) == (0, ["b", "c"], 3)
    assert caller.said[0] == "starting node b, which joins"
    assert caller.said[1].startswith("node b has joined: memcached 127.0.0.1:")
    assert supervisor._idle == []
