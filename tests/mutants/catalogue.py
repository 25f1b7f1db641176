"""The mutants as the TOML files beside this module tell of them, one file per area.

    [vote_not_durable]
    story = "One sentence: which promise this breaks, and how the field has seen it."
    file = "node/replica/host.py"
    old = '''text that stands in the file exactly once'''
    new = '''what stands there instead'''
    finders = [
        "tests/unit/node/replica/test_host.py::test_a_vote_waits_for_its_hard_state",
        "simulation --seeds 1..40",
    ]

A finder is a pytest node id or a range of simulation seeds; the cheapest comes first. A fault that
takes more than one edit (most often because an assertion stands beside the rule) has the others in
`[[vote_not_durable.also]]`, each with file, old and new.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]

SIMULATION = "simulation "
"""What the finders begin with that are arguments of `python -m tests.simulation`."""

_EDIT_FIELDS = ("file", "old", "new")
_FIELDS = ("story", *_EDIT_FIELDS, "finders")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,43}")
_SEEDS = re.compile(r"simulation( --elastic)? --seeds \d+\.\.\d+( --[a-z-]+ [\w.,=]+)*")


class MutantError(Exception):
    """A mutant that cannot be used; the text says which, why, and what to do."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One place that a mutant changes."""

    file: str
    """Path below the root of the tree."""
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault, and who should find it."""

    name: str
    area: str
    """Name of its file, without the suffix."""
    story: str
    edits: tuple[Edit, ...]
    finders: tuple[str, ...]

    @property
    def modules(self) -> list[str]:
        """Import names of the mutated files."""
        return [f"quorumcache.{file.removesuffix('.py').replace('/', '.')}" for file in self.files]

    @property
    def files(self) -> list[str]:
        return list(dict.fromkeys(edit.file for edit in self.edits))

    def patched(self, sources: Mapping[str, str]) -> dict[str, str]:
        """The mutated files, made of `sources` by path.

        Raises `MutantError` when the mutant is stale or leaves no Python.
        """
        texts = {file: sources.get(file, "") for file in self.files}
        for edit in self.edits:
            count = texts[edit.file].count(edit.old)
            if count != 1:
                raise MutantError(
                    f"{self.name} is stale: {edit.old!r} stands {count} times in {edit.file}, "
                    f"expected once; mend tests/mutants/{self.area}.toml"
                )
            texts[edit.file] = texts[edit.file].replace(edit.old, edit.new)
        for file, text in texts.items():
            try:
                ast.parse(text)
            except SyntaxError as error:
                raise MutantError(f"{self.name} leaves no Python in {file}: {error}") from error
        return texts


def load(directory: Path = HERE) -> list[Mutant]:
    """All mutants, by area and in the order of their files. Raises `MutantError`."""
    mutants: list[Mutant] = []
    for path in sorted(directory.glob("*.toml")):
        try:
            tables = tomllib.loads(path.read_text())
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise MutantError(f"{path}: {error}") from error
        mutants += [_mutant(path, name, table) for name, table in tables.items()]
    names = [mutant.name for mutant in mutants]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise MutantError(f"two mutants have the name {', '.join(twice)}")
    return mutants


def _mutant(path: Path, name: str, table: object) -> Mutant:
    where = f"{path}: {name}"
    if not _NAME.fullmatch(name) or not isinstance(table, dict):
        raise MutantError(f"{where}: expected a table [lower_case_name]")
    also = table.pop("also", [])
    _check_texts(where, table, _FIELDS)
    finders = table["finders"]
    for finder in finders:
        if not (_SEEDS.fullmatch(finder) if finder.startswith(SIMULATION) else "::" in finder):
            raise MutantError(f"{where}: {finder!r} is neither a pytest node id nor seeds")
    edits: list[Edit] = []
    for edit in (table, *also):
        if edit is not table:
            _check_texts(f"{where}.also", edit, _EDIT_FIELDS)
        if edit["old"] == edit["new"]:
            raise MutantError(f"{where}: old and new are the same")
        edits.append(Edit(edit["file"], edit["old"], edit["new"]))
    return Mutant(name, path.stem, table["story"], tuple(edits), tuple(finders))


def _check_texts(where: str, table: object, fields: tuple[str, ...]) -> None:
    """Every one of the fields, no other, and texts that say something."""
    if not isinstance(table, dict) or set(table) != set(fields):
        raise MutantError(f"{where}: expected {', '.join(fields)}")
    for field, value in table.items():
        texts = value if field == "finders" else [value]
        if not isinstance(texts, list) or not texts:
            raise MutantError(f"{where}: {field} must be a list that is not empty")
        if not all(isinstance(text, str) and (text or field == "new") for text in texts):
            raise MutantError(f"{where}: {field} must be text, and only new may be empty")


def choose(mutants: Sequence[Mutant], words: Iterable[str]) -> list[Mutant]:
    """Those whose name or area is among `words`, which may hold `*`; all when there are none."""
    words = list(words)
    for word in words:
        if not any(fnmatchcase(name, word) for m in mutants for name in (m.name, m.area)):
            raise MutantError(f"there is no mutant or area {word!r}; --list shows all")
    return [
        mutant
        for mutant in mutants
        if not words
        or any(fnmatchcase(name, word) for word in words for name in (mutant.name, mutant.area))
    ]
