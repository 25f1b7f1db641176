"""The directory's own step: the map that follows from the present one and from what is heard.

Its leader calls this twice a second. Whatever is lost on the way (a report, a proposal, the leader
itself) is only late, since each step starts from the map alone. Nothing is ever remembered here.
"""

from __future__ import annotations

from quorumcache.ring.cluster_map import ClusterMap
from quorumcache.ring.cluster_view import ClusterView, GroupReport
from quorumcache.ring.detours import leave_full_nodes
from quorumcache.ring.draft import Draft, same_nodes
from quorumcache.ring.healing import follow_nodes, let_nodes_leave
from quorumcache.ring.move import WAITING, Move
from quorumcache.ring.pacing import start_moves
from quorumcache.ring.plan import Soundness, make_plan


def next_map(present: ClusterMap, view: ClusterView) -> ClusterMap | None:
    """The next map; None if the present one is right, or is of form 1, which has no moves."""
    if present.form < 2:
        return None
    draft = Draft(present)
    for move in present.moves:
        if is_complete(move, view.reports.get(move.group_id)):
            draft.complete(move)
    is_plan_needed, heirs = follow_nodes(draft, view)
    if is_plan_needed or not Soundness(draft).allows_plan(draft, view):
        make_plan(draft, view, heirs)
    if view.full_ms:
        leave_full_nodes(draft, view)
    start_moves(draft, view)
    let_nodes_leave(draft, view)
    if not draft.moves and draft.awaited() is None:
        draft.change = ""
    wanted = draft.finish()
    return None if wanted is present else wanted


def is_complete(move: Move, report: GroupReport | None) -> bool:
    """Whether the group has come to its target, by this very decision.

    The decision is what makes it final: a leader that knows only an older map cannot change the
    group any more.
    """
    return (
        report is not None
        and move.decided != WAITING
        and report.decision == move.decided
        and same_nodes(report.voters, move.target)
        and not report.learners
    )
