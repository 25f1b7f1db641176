"""How moves are told: counts, bytes, rate and time left, as text."""

from __future__ import annotations

from typing import Any

import pytest

from quorumcache.router.commands.progress import ROWS_MAX, Progress, size_text, time_text
from quorumcache.router.report import Look

PLAIN = Look(False, "#")
MIB = 1 << 20


def move(
    shard: int | None, state: str, done: int = 0, size: int = 0, add: str = "d", remove: str = "c"
) -> dict[str, Any]:
    group = 0 if shard is None else shard + 1
    return {
        "group": group,
        "shard": shard,
        "add": add.split(),
        "remove": remove.split(),
        "state": state,
        "bytes_done": done,
        "bytes": size,
        "decided": 3,
    }


def answer(
    *moves: dict[str, Any], done: int = 0, change: str = "drain c", paused: bool = False
) -> dict[str, Any]:
    total = done + len(moves)
    return {
        "epoch": 4,
        "form": 2,
        "change": change,
        "paused": paused,
        "settings": {},
        "nodes": [],
        "moves": list(moves),
        "done": done,
        "total": total,
    }


def fed(*answers: tuple[float, dict[str, Any]]) -> Progress:
    progress = Progress()
    for at, each in answers:
        progress.feed(each, at)
    return progress


def test_a_picture_of_moves_under_way() -> None:
    first = answer(
        move(None, "copying", 0, 0),
        move(3, "copying", 0, 10 * MIB),
        move(4, "copying", 0, 10 * MIB),
        move(12, "waiting", 0, 10 * MIB),
    )
    later = answer(
        move(None, "leaving", 0, 0),
        move(4, "copying", 5 * MIB, 10 * MIB),
        move(12, "waiting", 0, 10 * MIB),
        done=1,
    )
    progress = fed((0.0, first), (5.0, later))
    assert progress.lines(PLAIN) == [
        "drain c: 1 of 4 moves done, 2 under way, 1 waiting",
        "  ###############...............  50%   15 MiB of 30 MiB   3.0 MiB/s   about 5 s left",
        "  directory  +d -c  leaving  ########## 100%",
        "  shard 4    +d -c  copying  #####.....  50%  5.0 MiB of 10 MiB",
    ]
    assert progress.line() == (
        "drain c: 1 of 4 moves done, 15 MiB of 30 MiB, 3.0 MiB/s, about 5 s left"
    )


def test_empty_shards_are_counted_by_moves() -> None:
    progress = fed(
        (0.0, answer(*(move(shard, "copying") for shard in range(4)), change="")),
        (4.0, answer(move(3, "copying"), done=3, change="")),
    )
    assert progress.fraction == 0.75
    assert progress.line() == "moves: 3 of 4 moves done, about 1 s left"


def test_what_is_done_never_becomes_less() -> None:
    """Another node may be asked, which knows less than the one before."""
    progress = fed(
        (0.0, answer(move(1, "copying", 4, 10), move(2, "copying", 0, 10))),
        (1.0, answer(move(1, "copying", 0, 0), move(2, "copying", 0, 0))),
    )
    assert progress.fraction == 0.2
    assert progress.bytes_per_s >= 0


def test_a_first_look_in_the_middle_counts_what_was_before() -> None:
    """Of moves that are complete no node tells the size: a mean one is taken."""
    halfway = answer(move(7, "waiting", 0, 10), move(8, "waiting", 0, 10), done=2)
    progress = fed((0.0, halfway))
    assert progress.fraction == 0.5
    progress.feed(answer(change=""), 1.0)
    assert (progress.done_moves, progress.total_moves) == (4, 4)


def test_paused_moves_promise_nothing() -> None:
    progress = fed(
        (0.0, answer(move(1, "waiting", 0, MIB), paused=True)),
        (5.0, answer(move(1, "waiting", 0, MIB), paused=True)),
    )
    assert progress.lines(PLAIN) == [
        "drain c: 0 of 1 moves done, 0 under way, 1 waiting  (paused)",
        "  ..............................   0%   0 B of 1.0 MiB   paused",
    ]


def test_all_bytes_there_is_not_the_end() -> None:
    progress = fed((0.0, answer(move(1, "leaving", 10, 10))))
    assert not progress.is_done
    assert progress.fraction == 0.99
    progress.feed(answer(done=1, change=""), 1.0)
    assert progress.is_done
    assert progress.fraction == 1.0
    assert progress.lines(PLAIN) == ["no moves under way"]
    assert fed((0.0, answer(change="", paused=True))).lines(PLAIN) == [
        "no moves under way, and none starts before `quorumcache moves resume`"
    ]
    assert (progress.done_moves, progress.total_moves) == (1, 1)


def test_many_moves_are_counted_and_not_listed() -> None:
    moves = [move(shard, "copying", 0, 1) for shard in range(ROWS_MAX + 3)]
    lines = fed((0.0, answer(*moves))).lines(PLAIN)
    assert lines[-1] == "  and 3 more under way"
    assert len(lines) == 2 + ROWS_MAX + 1


def test_a_move_of_the_leader_alone() -> None:
    lines = fed((0.0, answer(move(1, "leaving", add="", remove="")))).lines(PLAIN)
    assert "other leader" in lines[2]


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 KiB"), (12 * MIB, "12 MiB"), (5 << 40, "5.0 TiB")],
)
def test_sizes(count: int, text: str) -> None:
    assert size_text(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (59, "59 s"), (60, "1 min"), (125, "2 min 5 s"), (11_400, "3 h 10 min")],
)
def test_times(seconds: float, text: str) -> None:
    assert time_text(seconds) == text
