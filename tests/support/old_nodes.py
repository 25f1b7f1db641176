"""The code of the last nodes that knew form 1 only (`tests/fixtures/form_1`), to run it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

FORM_1 = Path(__file__).parents[1] / "fixtures" / "form_1"


def unpack_sources(directory: Path) -> Path:
    """The package `quorumcache` of form 1, for a PYTHONPATH: below `directory`, once."""
    sources = directory / "form-1"
    if not sources.exists():
        with tarfile.open(FORM_1 / "sources.tar.xz") as archive:
            archive.extractall(sources, filter="data")
    return sources


def old_environment(sources: Path) -> dict[str, str]:
    """The environment of a process that runs these sources, which are not compiled. Start it with
    `python -P`.
    """
    return {**os.environ, "PYTHONPATH": str(sources), "QUORUMCACHE_COMPILED": "0"}
