"""`quorumcached up add` and `up remove`: what they ask for, and which command they run."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from quorumcache.node.process import up, up_commands
from quorumcache.node.process.signals import hold, release
from quorumcache.ring.local_control import ControlError


class Asked:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.questions: list[dict[str, Any]] = []
        self.answers: list[Any] = []
        self.commands: list[tuple[str, ...]] = []
        self.members = ["a", "b"]
        self.status = 0
        monkeypatch.setattr(up_commands, "ask", self._ask)
        monkeypatch.setattr(up_commands, "_quorumcache", self._run)
        monkeypatch.setattr(up_commands, "_members", lambda seeds: self.members)

    def _ask(
        self, data_dir: str, question: dict[str, Any], say: Callable[[str], object]
    ) -> dict[str, Any]:
        self.questions.append({"in": data_dir, **question})
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        say("a line")
        return answer  # type: ignore[no-any-return]

    def _run(self, seeds: list[str], *words: str) -> int:
        self.commands.append((",".join(seeds), *words))
        return self.status


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def test_add_starts_nodes_and_shows_what_moves(asked: Asked, capsys: Any) -> None:
    asked.answers = [{"code": 0, "names": ["d", "e"], "seeds": ["h:1", "h:2"]}]
    assert up.main(["add", "--nodes", "2", "--data-dir", "x"]) == 0
    assert asked.questions == [{"in": "x", "do": "add", "nodes": 2}]
    assert asked.commands == [("h:1,h:2", "moves", "--wait-for", "d,e")]
    assert capsys.readouterr().out == "a line\n"
    asked.answers = [{"code": 0, "names": ["f"], "seeds": ["h:1"]}]
    assert up.main(["add", "--no-wait"]) == 0
    assert len(asked.commands) == 1


def test_remove_drains_and_waits_until_the_node_has_ended(asked: Asked) -> None:
    nodes = {"code": 0, "nodes": [["a", "h:1"], ["b", "h:2"]]}
    asked.answers = [nodes, {"code": 0}]
    assert up.main(["remove", "a", "--secret-file", "s"]) == 0
    assert asked.commands == [("h:2,h:1", "node", "drain", "a", "--secret-file", "s")]
    assert [question["do"] for question in asked.questions] == ["nodes", "left"]
    asked.answers, asked.status = [nodes], 1
    assert up.main(["remove", "a"]) == 1, "a refused drain waits for nothing"
    asked.answers, asked.status = [nodes], 0
    assert up.main(["remove", "a", "--no-wait"]) == 0
    assert asked.commands[-1][-1] == "--no-wait"


def test_a_lost_node_is_removed_and_given_up_before_anything_moves(asked: Asked) -> None:
    nodes = {"code": 0, "nodes": [["a", "h:1"], ["b", "h:2"]]}
    asked.answers = [nodes, {"code": 0}]
    assert up.main(["remove", "a", "--force", "--secret-file", "s"]) == 0
    assert asked.commands == [
        ("h:2", "node", "remove", "a", "--force", "--no-wait", "--secret-file", "s"),
        ("h:2", "moves", "--wait"),
    ]
    assert [question["do"] for question in asked.questions] == ["nodes", "give-up"]
    asked.answers = [nodes, {"code": 0}]
    assert up.main(["remove", "a", "--force", "--no-wait"]) == 0
    assert len(asked.commands) == 3


def test_a_node_that_is_not_lost_is_not_given_up(asked: Asked) -> None:
    """The cluster refuses it: the node is heard."""
    asked.answers, asked.status = [{"code": 0, "nodes": [["a", "h:1"], ["b", "h:2"]]}], 1
    assert up.main(["remove", "a", "--force"]) == 1
    assert [question["do"] for question in asked.questions] == ["nodes"]


def test_a_node_that_was_removed_from_the_cluster_before_is_given_up(asked: Asked) -> None:
    asked.members = ["b"]
    asked.answers = [{"code": 0, "nodes": [["a", "h:1"], ["b", "h:2"]]}, {"code": 0}]
    assert up.main(["remove", "a", "--force", "--no-wait"]) == 0
    assert asked.commands == []
    assert asked.questions[-1] == {"in": "./quorumcache-data", "do": "give-up", "name": "a"}


def test_the_only_node_is_not_given_up_by_what_another_cluster_says(
    asked: Asked, capsys: Any
) -> None:
    """Without seeds the command asks the usual address, where another cluster may be."""
    for members in (["a"], ["z"]):
        asked.members = members
        asked.answers = [{"code": 0, "nodes": [["a", "h:1"]]}]
        assert up.main(["remove", "a", "--force"]) == 1
        said = "quorumcached: node a cannot be removed: it is the only node of this cluster\n"
        assert capsys.readouterr().err == said
    assert asked.commands == []
    assert [question["do"] for question in asked.questions] == ["nodes", "nodes"]


def test_what_goes_wrong_is_one_line(asked: Asked, capsys: Any) -> None:
    asked.answers = [{"code": 0, "nodes": [["a", "h:1"]]}]
    assert up.main(["remove", "z"]) == 1
    assert capsys.readouterr().err == "quorumcached: there is no node z: the nodes are a\n"
    asked.answers = [ControlError("no `quorumcached up` can be reached")]
    assert up.main(["add"]) == 1
    asked.answers = [{"code": 1, "error": "rolling restart is under way"}]
    assert up.main(["add"]) == 1
    assert "rolling restart is under way" in capsys.readouterr().err
    assert asked.commands == []


@pytest.mark.parametrize(
    "words", [["add", "--help"], ["remove", "-h"], ["remove", "--help"], ["remove", "x", "--help"]]
)
def test_help(words: list[str], asked: Asked, capsys: Any) -> None:
    """Also without the name that the command itself needs."""
    assert up.main(words) == 0
    shown = capsys.readouterr().out
    assert "--data-dir" in shown
    assert ("--force" in shown) == (words[0] == "remove")


@pytest.mark.parametrize("words", [["add"], ["remove", "a"]])
def test_an_interrupt_ends_a_command_that_waits(
    words: list[str], asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals are held from the first line of the program on: here nobody else takes them. One that
    has come before has its effect, too. They go to this thread, since the others hold nothing."""

    def interrupted(data_dir: str, question: dict[str, Any], say: object) -> dict[str, Any]:
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("it went on")

    monkeypatch.setattr(up_commands, "ask", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # It may be ignored.
    hold()
    try:
        assert up.main(words) == up_commands.EXIT_INTERRUPTED
        hold()
        signal.raise_signal(signal.SIGINT)
        assert up.main(words) == up_commands.EXIT_INTERRUPTED
    finally:
        release()
        signal.signal(signal.SIGINT, before)
    assert asked.commands == []
