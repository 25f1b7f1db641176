"""Scripted clusters with expected transcripts: `raft_*.txt`, in the language of `raft_script`.

Goal: show, in readable form, what replicas say to each other in the situations that matter, and
notice any change of it. `REWRITE_SCENARIOS=1 pytest tests/scenarios` accepts what they say now.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.support.raft_script import rerun

FILES = sorted(Path(__file__).parent.glob("raft_*.txt"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path) -> None:
    text = path.read_text()
    result = rerun(text)
    if os.environ.get("REWRITE_SCENARIOS"):
        path.write_text(result)
    else:
        assert result == text


def test_there_are_scenarios() -> None:
    assert len(FILES) >= 10
