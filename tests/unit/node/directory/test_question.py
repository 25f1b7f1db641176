"""What a question means for the map, and what is said about it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from quorumcache.node.directory import question as module
from quorumcache.node.directory.question import Question, info_of_joiner, joiner_texts
from quorumcache.ring import ClusterMap, Move, NodeInfo
from quorumcache.ring.changes import Changed
from quorumcache.ring.cluster_view import ClusterView
from quorumcache.ring.errors import ChangeRefused
from quorumcache.ring.estimate import Estimate
from tests.support.founding import record_of

MAP = replace(record_of("a", "b", "c").first_map(), form=2, directory=(1, 2, 3))
VIEW = ClusterView(frozenset(), {}, {}, {}, {})
INFO = NodeInfo(1, "d", "hostd:1", "hostd:2", "", "z", 0.5, "d" * 32)

ESTIMATE = Estimate(replicas_moved=1, bytes=7, seconds=2, received={"d": 1}, leaders_changed=0)


def ask(*words: str) -> Question:
    return Question(words, lambda code, payload: None)


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The words that `change` got; it pauses the moves."""
    heard: list[tuple[str, ...]] = []

    def change(present: ClusterMap, words: tuple[str, ...], view: ClusterView) -> Changed:
        heard.append(words)
        paused = replace(present, epoch=present.epoch + 5, is_paused=words[0] == "pause")
        return Changed(paused, "moves are paused", ESTIMATE)

    monkeypatch.setattr(module, "change", change)
    return heard


def test_a_change_leads_to_the_next_epoch_and_its_report_is_json(
    words: list[tuple[str, ...]],
) -> None:
    wanted, payload = ask("pause").answer(MAP, VIEW)
    assert words == [("pause",)]
    assert wanted == replace(MAP, epoch=MAP.epoch + 1, is_paused=True)
    document = json.loads(payload)
    assert document["summary"] == "moves are paused"
    assert (document["epoch"], document["dry"]) == (MAP.epoch + 1, False)
    assert document["estimate"] == ESTIMATE


def test_dry_says_what_would_be_done_and_does_nothing(words: list[tuple[str, ...]]) -> None:
    question = ask("pause", "dry")
    wanted, payload = question.answer(MAP, VIEW)
    assert words == [("pause",)]
    assert wanted is None
    assert json.loads(payload)["dry"] is True
    assert question.may_repeat
    assert not ask("pause").may_repeat


def test_a_change_that_is_there_already_is_not_proposed(words: list[tuple[str, ...]]) -> None:
    wanted, payload = ask("resume").answer(MAP, VIEW)
    assert wanted is None
    assert json.loads(payload)["epoch"] == MAP.epoch


def test_a_change_that_aims_a_move_anew_at_once_is_proposed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The move is decided by the next map, which the present one could not say."""
    move = Move(1, (1, 2, 3), (2, 1, 3), MAP.epoch + 1)

    def change(present: ClusterMap, words: tuple[str, ...], view: ClusterView) -> Changed:
        sets = (move.replica_set, *present.replica_sets[1:])
        moved = replace(present, epoch=present.epoch + 1, replica_sets=sets, moves=(move,))
        return Changed(moved, "", ESTIMATE)

    monkeypatch.setattr(module, "change", change)
    wanted, _ = ask("drain", "a").answer(MAP, VIEW)
    assert wanted is not None
    assert wanted.moves == (move,)


@pytest.mark.parametrize("weight", [1.0, 0.1, 0.0, 1e6])
def test_what_a_joining_node_tells_travels_as_texts(weight: float) -> None:
    info = replace(INFO, weight=weight)
    texts = joiner_texts(info)
    assert all(type(text) is str for text in texts)
    assert info_of_joiner(texts) == info


@pytest.mark.parametrize("texts", [(), ("d",), (*joiner_texts(INFO)[:5], "much", "d" * 32)])
def test_what_is_no_joining_node_is_refused(texts: tuple[str, ...]) -> None:
    with pytest.raises(ChangeRefused):
        info_of_joiner(texts)


def test_a_join_is_answered_with_the_map_that_names_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def join(present: ClusterMap, info: NodeInfo, view: ClusterView) -> Any:
        known = present.node_named(info.name)
        if known is not None:
            return Changed(present, "again", {})
        return Changed(present.with_node(replace(info, node_id=4, state="joining")), "d", {})

    monkeypatch.setattr(module, "join", join)
    question = Question(joiner_texts(INFO), lambda code, payload: None, asks_to_join=True)
    wanted, payload = question.answer(MAP, VIEW)
    assert wanted is not None
    assert ClusterMap.from_bytes(payload) == wanted
    assert wanted.node(4).name == "d"
    assert question.may_repeat
    assert question.answer(wanted, VIEW) == (None, payload), "it asks again: the same answer"
