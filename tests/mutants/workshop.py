"""Copies of the tree in which mutants are made; the tree itself is never touched."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mutants.catalogue import ROOT, Mutant

_LEFT_OUT = shutil.ignore_patterns(
    ".*",
    "__pycache__",
    "*.so",
    "*.egg-info",
    "compiled.json",
    "build",
    "dist",
    "quorumcache-data*",
    "bench-results*",
)


class Workshop:
    """One copy, for one mutant at a time."""

    def __init__(self, directory: Path, root: Path = ROOT) -> None:
        self.directory = directory
        shutil.copytree(root, directory, symlinks=True, ignore=_LEFT_OUT)

    @property
    def environment(self) -> dict[str, str]:
        """Runs the copy's sources, whatever is installed."""
        return {
            **os.environ,
            "PYTHONPATH": str(self.directory),
            "QUORUMCACHE_COMPILED": "0",
            "PYTHONHASHSEED": "0",
            "PYTHONUNBUFFERED": "1",
            "COLUMNS": "240",  # pytest cuts its lines to this
        }

    def python(self, *words: str) -> list[str]:
        """A command line of this interpreter."""
        return [sys.executable, *words]

    @contextmanager
    def holding(self, mutant: Mutant) -> Iterator[None]:
        """Meanwhile the fault is in the copy. Raises `MutantError`."""
        sources = {
            file: (self.directory / file).read_text()
            for file in mutant.files
            if (self.directory / file).is_file()
        }
        mutated = mutant.patched(sources)
        try:
            for file, text in mutated.items():
                self._write(self.directory / file, text)
            yield
        finally:
            for file, text in sources.items():
                self._write(self.directory / file, text)

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        # A cached form is taken for current by the second of the change and the size: both can be
        # those of the mutant before.
        for cached in (path.parent / "__pycache__").glob(f"{path.stem}.*"):
            cached.unlink()
