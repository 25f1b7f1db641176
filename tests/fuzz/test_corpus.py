"""The kept corpus, replayed: seeds, inputs that reached something new, inputs that once failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
FILES = sorted(path for path in CORPUS.glob("*/*") if path.is_file())
FILE_BYTES_MAX = 4096


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_input_of_the_corpus_keeps_the_promises(path: Path) -> None:
    data = path.read_bytes()
    assert len(data) <= FILE_BYTES_MAX, "the corpus is of small files"
    TARGETS[path.parent.name](data)


def test_every_target_has_its_seeds_in_the_corpus() -> None:
    """`python -m tests.fuzz --write-seeds` renews them."""
    assert SEEDS.keys() == TARGETS.keys()
    for target, inputs in SEEDS.items():
        kept = [path.read_bytes() for path in sorted((CORPUS / target).glob("seed-*"))]
        assert kept == inputs(), target
