"""The leader's view of one member: transitions, window, and which refusals count."""

from __future__ import annotations

import pytest

from quorumcache.node.consensus.progress import (
    PROBE,
    REPLICATE,
    SNAPSHOT,
    SNAPSHOT_SILENT_CHECKS,
    Progress,
)
from quorumcache.node.consensus.values import Configuration, SnapshotMeta, SnapshotSource


def replicating(match_index: int = 5) -> Progress:
    p = Progress(2, match_index + 1)
    p.acknowledged(match_index)
    p.become_replicate()
    return p


def test_starts_by_probing() -> None:
    p = Progress(2, 11)
    assert p.status()[:4] == (0, 11, "probe", True)
    assert not p.paused


def test_sending_moves_on_and_acknowledgements_free_the_window() -> None:
    p = replicating(5)
    p.sent(6, 100)
    p.sent(8, 50)
    assert (p.next_index, p.inflight_bytes) == (9, 150)
    assert not p.has_room(2, 1000)
    assert not p.has_room(9, 150)
    assert p.acknowledged(7)
    assert (p.match_index, p.next_index, p.inflight_bytes) == (7, 9, 50)
    assert p.has_room(2, 1000)
    assert p.acknowledged(8)
    assert (p.inflight_bytes, p.inflight_count) == (0, 0)


def test_the_window_counts_what_is_under_way_whatever_is_acknowledged_together() -> None:
    p = replicating(0)
    under_way: list[tuple[int, int]] = []
    for sent, matched in ((1, 0), (3, 0), (4, 2), (6, 3), (9, 8), (10, 10), (12, 10), (13, 13)):
        p.sent(sent, 10 * sent)
        under_way.append((sent, 10 * sent))
        p.acknowledged(matched)
        under_way = [each for each in under_way if each[0] > matched]
        assert p.inflight_count == len(under_way)
        assert p.inflight_bytes == sum(size for _, size in under_way)


def test_old_acknowledgements_are_no_news() -> None:
    p = replicating(5)
    assert not p.acknowledged(5)
    assert not p.acknowledged(3)
    assert (p.match_index, p.next_index) == (5, 6)


def test_an_acknowledgement_beyond_next_index_moves_it() -> None:
    """After going back to a probe, the answers to what was sent before may still arrive."""
    p = replicating(5)
    p.sent(9, 1)
    p.become_probe()
    assert p.next_index == 6
    assert p.acknowledged(9)
    assert p.next_index == 10


def test_a_refusal_while_replicating_leads_to_a_probe_from_the_match() -> None:
    p = replicating(5)
    p.sent(9, 1)
    assert p.rejected(9, 2)
    assert (p.state, p.next_index, p.paused) == (PROBE, 6, False)
    assert not p.inflight_count


def test_a_refusal_overtaken_by_an_acknowledgement_is_ignored() -> None:
    p = replicating(5)
    p.sent(9, 1)
    p.acknowledged(9)
    assert not p.rejected(9, 2)
    assert p.state is REPLICATE


@pytest.mark.parametrize(("retry", "expected"), [(3, 3), (10, 10), (50, 10), (0, 1)])
def test_a_refused_probe_backs_up(retry: int, expected: int) -> None:
    p = Progress(2, 11)
    p.paused = True
    assert p.rejected(10, retry)
    assert (p.next_index, p.paused) == (expected, False)


def test_a_probe_never_backs_up_below_the_match() -> None:
    p = Progress(2, 6)
    p.acknowledged(5)
    p.next_index = 9
    assert p.rejected(8, 1)
    assert p.next_index == 6


def test_only_the_probe_under_way_can_be_refused() -> None:
    p = Progress(2, 11)
    for old in (3, 9, 11, 20):
        assert not p.rejected(old, 1)
    assert p.next_index == 11


def test_a_snapshot_is_asked_for_and_sent_once() -> None:
    p = Progress(2, 3)
    p.become_snapshot(40)
    assert (p.state, p.snapshot, p.snapshot_asked_tick) == (SNAPSHOT, None, 40)
    assert not p.rejected(2, 1)
    snapshot = SnapshotSource(SnapshotMeta(9, 1, Configuration((1,))), [])
    p.start_snapshot(snapshot)
    with pytest.raises(AssertionError):
        p.start_snapshot(snapshot)
    p.acknowledged(9)
    p.become_replicate()
    assert (p.next_index, p.snapshot) == (10, None)


def test_a_snapshot_for_a_silent_member_is_not_kept_for_ever() -> None:
    progress = Progress(2, 1)
    progress.become_snapshot(0)
    snapshot = SnapshotSource(SnapshotMeta(5, 1, Configuration((1, 2, 3))), [b"state"])
    progress.start_snapshot(snapshot)
    for _ in range(SNAPSHOT_SILENT_CHECKS):
        progress.recent_active = False
        progress.checked()
        progress.recent_active = True
        progress.checked()
    assert progress.snapshot is snapshot, "it was heard from in between"
    for _ in range(SNAPSHOT_SILENT_CHECKS):
        assert progress.snapshot is snapshot
        progress.checked()
    assert progress.snapshot is None
