"""Goal: the compiled form runs only when it is of the sources at hand, and whoever asks is told.

Method: a package directory is laid out in a temporary place, then damaged one way at a time; what
an environment variable decides is looked at in processes of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from quorumcache.node import compiled

SUFFIX = EXTENSION_SUFFIXES[0]
SOURCES = {"a.py": b"A = 1\n", "sub/b.py": b"B = 2\n", "../other/c.py": b"C = 3\n"}
BINARIES = [f"a{SUFFIX}", f"sub/b{SUFFIX}", f"native__mypyc{SUFFIX}"]


@pytest.fixture
def package(tmp_path: Path) -> Path:
    root = tmp_path / "node"
    (root / "sub").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for path, source in SOURCES.items():
        (root / path).write_bytes(source)
    for path in BINARIES:
        (root / path).touch()
    (root / compiled.MANIFEST).write_text(compiled.manifest(SOURCES, BINARIES, SUFFIX))
    return root


def test_what_was_compiled_of_these_sources_can_be_used(package: Path) -> None:
    assert compiled.why_not(str(package)) == ""


def test_an_edit_is_never_without_effect(package: Path) -> None:
    (package / "sub/b.py").write_bytes(b"B = 3\n")
    assert compiled.why_not(str(package)) == "node/sub/b.py has changed since it was compiled"


def test_an_edit_of_what_is_not_compiled_itself_counts_too(package: Path) -> None:
    """Compiled code holds copies of other modules' constants."""
    (package / "../other/c.py").write_bytes(b"C = 4\n")
    assert compiled.why_not(str(package)) == "other/c.py has changed since it was compiled"


def test_without_a_manifest_nothing_was_compiled(package: Path) -> None:
    (package / compiled.MANIFEST).unlink()
    assert compiled.why_not(str(package)) == "it was not compiled"


def test_a_part_that_is_missing(package: Path) -> None:
    (package / BINARIES[-1]).unlink()
    assert compiled.why_not(str(package)) == f"{BINARIES[-1]} is missing"
    (package / "a.py").unlink()
    assert compiled.why_not(str(package)) == "a.py is missing"


def test_another_python(package: Path) -> None:
    other = compiled.manifest(SOURCES, BINARIES, ".cpython-39-other.so")
    (package / compiled.MANIFEST).write_text(other)
    assert "compiled for another Python" in compiled.why_not(str(package))


@pytest.mark.parametrize("text", ["", "{", "[]", '{"suffix": 1}', '{"suffix": "", "sources": 3}'])
def test_a_damaged_manifest(package: Path, text: str) -> None:
    (package / compiled.MANIFEST).write_text(text)
    assert compiled.why_not(str(package)) != ""


def run(value: str | None) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k != compiled.VARIABLE}
    if value is not None:
        environment[compiled.VARIABLE] = value
    code = (
        "from quorumcache.node import cluster_time as c, compiled; print(compiled.form, c.__file__)"
    )
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60
    )


def test_the_sources_can_be_asked_for() -> None:
    done = run("0")
    form, path = done.stdout.split()
    assert (done.returncode, form, Path(path).name) == (0, "source", "cluster_time.py"), done.stderr


def test_the_compiled_form_is_taken_where_it_fits() -> None:
    done = run(None)
    form, path = done.stdout.split()
    assert done.returncode == 0, done.stderr
    assert form == ("compiled" if compiled.why_not() == "" else "source")
    assert path.endswith(".so") == (form == "compiled")


def test_insisting_on_what_is_not_there_is_one_clear_line() -> None:
    done = run("1")
    if compiled.why_not() == "":
        assert done.stdout.startswith("compiled ")
    else:
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert "there is no compiled form: " in done.stderr


def test_another_value_is_one_clear_line() -> None:
    done = run("yes")
    assert done.returncode == 1
    assert done.stderr == (
        "quorumcached: QUORUMCACHE_COMPILED is 'yes': set it to 0 or 1, or not at all\n"
    )
