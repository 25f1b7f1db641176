"""Goal: what pip installs is one package, `quorumcache`, in every way that there is to install it.

Method: a wheel and a source archive are built with setuptools' own hooks, from sources alone, and
looked into; the wheel is then used from a directory of its own. Compiling is tested by `make test`
itself, which runs on an editable installation.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md")
PARTS = ("bench", "node", "ring", "router")
DEADLINE_S = 300
SOURCES_ONLY = {**os.environ, "QUORUMCACHE_COMPILED": "0"}
"""Also where the tests insist on the compiled form: the wheel here has none."""


def sources() -> set[str]:
    """Python files that have to be in every form, as `quorumcache/ring/errors.py`."""
    return {
        f"quorumcache/{path.relative_to(ROOT)}"
        for part in PARTS
        for path in (ROOT / part).rglob("*.py")
    } | {"quorumcache/__init__.py", "quorumcache/commands.py"}


def build(hook: str, source: Path, target: Path) -> Path:
    """What one of setuptools' hooks for build frontends (PEP 517) makes of a source tree."""
    code = f"from setuptools import build_meta; print(build_meta.{hook}({str(target)!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=source,
        env=SOURCES_ONLY,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return target / done.stdout.split()[-1]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, unpacked. It is built from a copy: builds write beside the sources."""
    place = tmp_path_factory.mktemp("sdist")
    tree = place / "tree"
    tree.mkdir()
    files = ["pyproject.toml", "setup.py", "MANIFEST.in", "LICENSE", "quorumcache", "src", *PARTS]
    files += ["docs", "tests", *DOCUMENTS]
    subprocess.run(["cp", "-a", *files, str(tree)], cwd=ROOT, check=True)
    with tarfile.open(build("build_sdist", tree, place)) as packed:
        packed.extractall(place / "unpacked", filter="data")
    (unpacked,) = (place / "unpacked").iterdir()
    return unpacked


@pytest.fixture(scope="module")
def wheel(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the source archive, as pip makes it, unpacked as pip installs it."""
    place = tmp_path_factory.mktemp("wheel")
    with zipfile.ZipFile(build("build_wheel", archive, place)) as packed:
        packed.extractall(place / "site-packages")
    return place / "site-packages"


def test_the_source_archive_has_all_sources_as_files(archive: Path) -> None:
    found = {str(path.relative_to(archive / "src")) for path in archive.rglob("src/**/*.py")}
    assert found == sources()
    assert not [path for path in archive.rglob("*") if path.is_symlink()]


def test_the_source_archive_has_the_documents_that_the_readme_links(archive: Path) -> None:
    expected = {*DOCUMENTS, *(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))}
    assert {str(path.relative_to(archive)) for path in archive.rglob("*.md")} == expected
    assert not (archive / "tests").exists()


def test_the_wheel_installs_one_package(wheel: Path) -> None:
    top = {path.name for path in wheel.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"quorumcache"}
    assert {str(path.relative_to(wheel)) for path in wheel.rglob("*.py")} == sources()
    assert (wheel / "quorumcache/py.typed").exists()
    assert list((wheel / "quorumcache/bench/scenarios").glob("*.toml"))
    assert list((wheel / "quorumcache/bench/generator").glob("*.[ch]"))


@pytest.mark.parametrize("module", ["node", "router.cli", "bench"])
def test_commands_of_the_wheel_run_the_wheel(wheel: Path, tmp_path: Path, module: str) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(wheel)!r}); import quorumcache, runpy;"
        f"assert quorumcache.__file__.startswith({str(wheel)!r}), quorumcache.__file__;"
        f"sys.argv[1:] = ['--help']; runpy.run_module('quorumcache.{module}', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=tmp_path,
        env=SOURCES_ONLY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "usage: quorumcache" in done.stdout


def test_a_checkout_and_an_editable_installation_add_nothing_else(tmp_path: Path) -> None:
    """From elsewhere only `quorumcache` is found, and `src`, which the path gets, holds no more."""
    names = {path.name for path in (ROOT / "src").iterdir() if not path.name.endswith("egg-info")}
    assert names == {"quorumcache"}
    code = (
        "import importlib.util as u, sys; sys.path[:] = [p for p in sys.path if p != sys.argv[1]];"
        f"print(*[n for n in ('quorumcache', *{PARTS!r}) if u.find_spec(n)])"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(ROOT)],
        cwd=tmp_path,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.split() == ["quorumcache"]
