"""Goal: moves start within the bounds, the most urgent first, and only where they can end."""

from __future__ import annotations

from dataclasses import replace

from quorumcache.ring import ClusterView, GroupReport, Move
from quorumcache.ring.draft import Draft
from quorumcache.ring.pacing import (
    MOVES_IN_MAX,
    MOVES_MAX,
    MOVES_OUT_MAX,
    gets_on,
    sender,
    start_moves,
)
from tests.support.clusters import make_nodes
from tests.support.moving_world import founded

NODES = make_nodes(40)
ALL = ClusterView(heard=frozenset(range(1, 41)))


def draft_of(*moves: tuple[tuple[int, ...], tuple[int, ...]]) -> Draft:
    """Group 1, 2, ... with these origins and targets."""
    base = founded(NODES, 16, 3, (1, 2, 3))
    sets = [origin for origin, _ in moves] + [(38, 39, 40)] * (16 - len(moves))
    draft = Draft(replace(base, replica_sets=tuple(sets)))
    for group_id, (_, target) in enumerate(moves, 1):
        draft.aim(group_id, target)
    return draft


def started(draft: Draft, view: ClusterView = ALL) -> list[int]:
    """Groups whose moves have started."""
    start_moves(draft, view)
    draft.finish()
    return [group_id for group_id, move in sorted(draft.moves.items()) if move.decided]


def test_a_node_receives_so_many_at_once() -> None:
    draft = draft_of(*(((i, i + 1, i + 2), (i, i + 1, 35)) for i in range(1, 20, 4)))
    assert started(draft) == [1, 2]
    assert MOVES_IN_MAX == 2


def test_a_node_sends_so_many_at_once() -> None:
    draft = draft_of(*(((1, 2, 3), (1, 2, i)) for i in range(10, 15)))
    assert started(draft) == [1, 2]
    assert MOVES_OUT_MAX == 2


def test_so_many_move_in_all() -> None:
    draft = draft_of(*(((i, 20, 21), (i, 20, i + 21)) for i in range(1, 13)))
    assert started(draft) == list(range(1, MOVES_MAX + 1))
    assert started(draft) == list(range(1, MOVES_MAX + 1))


def test_what_copies_nothing_only_counts_in_all() -> None:
    draft = draft_of(*(((1, 2, 3, i), (1, 2, 3)) for i in range(10, 22)))
    assert len(started(draft)) == MOVES_MAX


def test_groups_with_the_fewest_living_replicas_come_first() -> None:
    draft = draft_of(
        *[((1, 2, 30, 4), (1, 2, 4))],  # only loses one
        *(((i, 5, 6), (i, 5, i + 10)) for i in range(7, 14)),  # exchanges, all whole
        *[((20, 31, 32), (20, 21, 22)), ((23, 24, 31), (23, 24, 25))],  # 1 and 2 are left
    )
    for node_id, state in ((31, "down"), (32, "lost")):
        draft.set_state(draft.nodes[node_id], state)
    view = ClusterView(heard=frozenset(range(1, 41)) - {31})
    assert started(draft, view) == [*range(2, MOVES_MAX), 9, 10]
    order = [m.group_id for m in draft.moves.values() if m.decided]
    assert len(order) == MOVES_MAX


def test_while_paused_nothing_starts() -> None:
    draft = draft_of(((1, 2, 3), (1, 2, 4)))
    draft.is_paused = True
    assert started(draft) == []
    draft.is_paused = False
    assert started(draft) == [1]


def test_a_move_waits_for_its_newcomer_and_for_a_majority_on_both_sides() -> None:
    def starts(heard: set[int], target: tuple[int, ...] = (1, 2, 4)) -> bool:
        draft = draft_of(((1, 2, 3), target))
        return started(draft, ClusterView(heard=frozenset(heard))) == [1]

    assert starts({1, 2, 4})
    assert starts({1, 3, 4})
    assert not starts({1, 2, 3})  # The newcomer is silent.
    assert not starts({1, 4})  # No majority decides.
    assert not starts({2, 3, 4, 5}, (1,))  # Nobody would be left to decide.


def test_a_group_that_has_not_started_does_not_move() -> None:
    draft = Draft(replace(founded(NODES, 16, 3, (1, 2, 3)), started=0b10))
    draft.sets[1] = draft.sets[2] = (1, 2, 3)
    draft.aim(0, (1, 2, 7))
    draft.aim(1, (1, 2, 8))
    draft.aim(2, (1, 2, 9))
    start_moves(draft, ALL)
    assert [move.group_id for move in draft.moves.values() if move.decided] == [0, 2]


def test_a_group_without_a_majority_holds_up_nobody() -> None:
    draft = draft_of(*(((i, 20, 21), (i, 20, i + 21)) for i in range(1, 13)))
    assert started(draft) == list(range(1, MOVES_MAX + 1))
    silent = ClusterView(heard=frozenset(range(1, 41)) - {1, 2, 20})
    assert started(draft, silent) == list(range(1, MOVES_MAX + 3))


def test_the_first_that_stays_sends() -> None:
    assert sender(Move(1, (1, 2, 3), (4, 3, 2))) == 3
    assert sender(Move(1, (1,), (2,))) == 1


def test_a_move_to_a_full_disk_does_not_start_and_one_that_has_does_not_count() -> None:
    """Four nodes whose disks become full hold no place that others need."""
    stuck = range(1, MOVES_MAX + 1)
    late = range(MOVES_MAX + 1, MOVES_MAX + 5)
    moves = [((i, 20, 21), (i, 20, 30 + i % 4)) for i in stuck]
    draft = draft_of(*moves, *(((i, 22, 23), (i, 22, 24 + i % 4)) for i in late))
    for group_id in late:
        del draft.moves[group_id]
    assert started(draft) == [*stuck]
    for group_id in late:
        draft.aim(group_id, (group_id, 22, 24 + group_id % 4))
    assert started(draft) == [*stuck], "the cluster has no more places"
    full = replace(ALL, full_ms=dict.fromkeys(range(30, 34), 0))
    assert started(draft, full) == [*stuck, *late]
    for group_id in stuck:
        draft.moves[group_id] = draft.moves[group_id]._replace(decided=0)
        draft.sets[group_id] = draft.moves[group_id].replica_set
    assert started(draft, full) == [*late]


def test_groups_whose_majority_has_full_disks_hold_up_nobody() -> None:
    """Two nodes with full disks are drained. Groups that have both of them decide nothing until one
    has room; those that have one of them make it."""
    both = [((1, 2, i), (i, i + 10, i + 20)) for i in range(3, 13)]
    draft = draft_of(*both, ((1, 33, 34), (33, 34, 35)), ((2, 36, 37), (36, 37, 38)))
    full = replace(ALL, full_ms={1: 60_000, 2: 60_000})
    first = list(range(1, MOVES_MAX + 1))
    assert started(draft, full) == [*first, 11, 12]
    assert started(draft, full) == [*first, 11, 12], "they have bounds, too"
    assert started(draft) == [*first, 11, 12], "with room again they count like all others"


def test_a_move_counts_until_only_a_full_disk_is_left_to_wait_for() -> None:
    """No old replica goes while one that is to stay cannot write: but the new one is copied."""
    draft = draft_of(((1, 2, 3), (1, 2, 4)))
    started(draft)
    move = draft.moves[1]
    stays = replace(ALL, full_ms={2: 0})
    copied = {1: GroupReport(1, 5, draft.epoch, (1, 2, 3, 4))}
    assert gets_on(move, stays)
    assert not gets_on(move, replace(stays, reports=copied))
    assert gets_on(move, replace(ALL, reports=copied))
    assert gets_on(move, replace(ALL, full_ms={3: 0}, reports=copied)), "it goes anyway"


def test_a_group_whose_real_voters_are_dead_counts_for_nothing_however_it_was_aimed() -> None:
    """Its move comes from nodes that were only tried, and most of those live."""
    draft = draft_of(((1, 2, 3), (4, 5, 6)))
    started(draft)
    draft.aim(1, (7, 8, 9))
    move = draft.moves[1]
    assert move.origin == (1, 2, 3, 4, 5, 6)
    view = ClusterView(heard=frozenset(range(1, 41)) - {1, 2})
    assert gets_on(move, view), "nothing is known of it"
    voters = GroupReport(1, 5, draft.epoch - 1, (1, 2, 3), (4,))
    assert not gets_on(move, replace(view, reports={1: voters}))
    assert gets_on(move, replace(ALL, reports={1: voters}))
