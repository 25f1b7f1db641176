"""The code of the last nodes that knew no later form than 1, 2, 3 or 4 (`tests/fixtures`)."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

FIXTURES = Path(__file__).parents[1] / "fixtures"


def unpack_sources(directory: Path, form: int = 1) -> Path:
    """The package `quorumcache` of a form, for a PYTHONPATH: below `directory`, once."""
    sources = directory / f"form-{form}"
    if not sources.exists():
        with tarfile.open(FIXTURES / f"form_{form}" / "sources.tar.xz") as archive:
            archive.extractall(sources, filter="data")
    return sources


def old_environment(sources: Path) -> dict[str, str]:
    """The environment of a process that runs these sources, which are not compiled. Start it with
    `python -P`.
    """
    return {**os.environ, "PYTHONPATH": str(sources), "QUORUMCACHE_COMPILED": "0"}
