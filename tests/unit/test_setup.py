"""Goal: what `setup.py` leaves behind is never taken for what it did not make.

Method: its build command runs on a small package whose only extension cannot be built, or whose
compiler is replaced.
"""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
import sys
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

from tests.support.native_core import MODULES

ROOT = Path(__file__).parents[2]

INTERPRETED = """
    clients/admin_words clients/get_routes clients/operator_words clients/set_reader clock
    errors founding/introduction peers/dialer peers/founding_frames
    peers/handshake peers/line_log peers/listener peers/proofs storage/disk storage/log_writer
    storage/start_record storage/starts system/kernel_timing system/senders system/tasks
    telemetry/logs version
    wal/newest wal/recovery
"""
"""What compiled modules import, and is not compiled: errors, constants, protocols, what starts and
connects, what is rare, and the twin of what is native."""


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module, in a directory with a package of an old build."""
    spec = spec_from_file_location("quorumcache_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    monkeypatch.chdir(ROOT)
    spec.loader.exec_module(module)
    monkeypatch.chdir(tmp_path)
    package = tmp_path / "src/quorumcache/node"
    package.mkdir(parents=True)
    shutil.copy(ROOT / "node/compiled.py", package)
    for file in ("../__init__.py", "__init__.py"):
        (package / file).touch()
    (package / "compiled.json").write_text("of an old build")
    (package / f"cluster_time{EXTENSION_SUFFIXES[0]}").touch()
    (package / "store").mkdir()
    (package / f"store/no_longer_compiled{EXTENSION_SUFFIXES[0]}").touch()
    (package / f"store/folder{EXTENSION_SUFFIXES[0]}").mkdir()
    module.CompileAndTell.sources = module.read_sources()
    return module


def command_of(build: type[build_ext], *, inplace: bool) -> build_ext:
    """The build of one module, from a C file that is not there."""
    extension = Extension("quorumcache.node.cluster_time", ["no-such-file.c"], optional=True)
    fields = {"name": "x", "ext_modules": [extension], "package_dir": {"": "src"}}
    command = build(Distribution(fields))
    command.inplace = inplace
    command.ensure_finalized()
    return command


def test_binaries_of_an_old_build_do_not_outlive_a_failed_one(
    setup: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command_of(setup.CompileAndTell, inplace=True).run()
    package = tmp_path / "src/quorumcache/node"
    left = sorted(path.name for path in package.rglob("*") if path.is_file())
    assert left == ["__init__.py", "compiled.py"]
    assert "not compiled" in capsys.readouterr().out


def test_what_an_earlier_build_left_to_copy_is_not_taken_for_new(
    setup: ModuleType, tmp_path: Path
) -> None:
    """`build_ext --inplace` copies what stands in the directory of the build."""
    command = command_of(setup.CompileAndTell, inplace=True)
    old = Path(command.build_lib, "quorumcache/node", f"cluster_time{EXTENSION_SUFFIXES[0]}")
    old.parent.mkdir(parents=True)
    old.touch()
    command.run()
    assert not old.exists()
    assert not (tmp_path / "src/quorumcache/node" / old.name).exists()
    assert not (tmp_path / "src/quorumcache/node/compiled.json").exists()


def test_a_source_that_changes_during_a_build_was_not_compiled(
    setup: ModuleType, tmp_path: Path
) -> None:
    source = tmp_path / "src/quorumcache/node/cluster_time.py"
    source.write_text("before = 1\n")
    setup.CompileAndTell.sources = setup.read_sources()

    class Slow(setup.CompileAndTell):  # type: ignore[name-defined, misc]
        def build_extensions(self) -> None:
            source.write_text("after = 1\n")
            binary = Path(self.get_ext_fullpath(self.extensions[0].name))
            binary.parent.mkdir(parents=True)
            binary.touch()

    command = command_of(Slow, inplace=False)
    command.run()
    manifest = json.loads(Path(command.build_lib, "quorumcache/node/compiled.json").read_text())
    assert manifest["sources"]["cluster_time.py"] == sha256(b"before = 1\n").hexdigest()


def test_nothing_is_compiled_for_metadata_or_when_it_was_declined(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["setup.py", "dist_info"])
    assert setup.extensions() == []
    monkeypatch.setattr(sys, "argv", ["setup.py", "editable_wheel"])
    monkeypatch.setenv("QUORUMCACHE_COMPILED", "0")
    assert setup.extensions() == []


def test_what_a_request_passes_is_compiled(setup: ModuleType) -> None:
    for path in (
        "node/clients/connection.py",
        "node/operations/read_levels.py",
        "node/store/store.py",
    ):
        assert f"src/quorumcache/{path}" in setup.COMPILED
    assert not any("__init__" in path for path in setup.COMPILED)


def test_the_native_core_is_built_of_all_its_files(setup: ModuleType) -> None:
    core = ROOT / "node/core"
    assert set(setup.CORE) == {path.stem for path in core.glob("*.pyx")}
    named = {file for files in setup.CORE.values() for file in files}
    assert named == {path.name for path in core.glob("*.c")}
    assert not {name + ".c" for name in setup.CORE} & named, "Cython writes files of these names"
    assert setup.CORE == MODULES
    assert {path.stem for path in core.glob("*.pyi")} == set(setup.CORE)


def test_a_tree_without_its_links_says_so_and_installs_nothing(tmp_path: Path) -> None:
    """As some ways to unpack leave it: each link has become a file with the link's target."""
    copied = ["pyproject.toml", "setup.py", "README.md", "LICENSE", "quorumcache", "src", "node"]
    subprocess.run(["cp", "-a", *copied, str(tmp_path)], cwd=ROOT, check=True)
    for link in [tmp_path / "src/quorumcache", *(tmp_path / "quorumcache").iterdir()]:
        if link.is_symlink():
            target = link.readlink()
            link.unlink()
            link.write_text(str(target))
    done = subprocess.run(
        [sys.executable, "-c", "from setuptools import build_meta; build_meta.build_wheel('.')"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "has no bench, node, ring, router" in done.stderr
    assert "symbolic links" in done.stderr
    assert "Traceback" not in done.stderr


def test_every_room_of_the_compiled_form_has_what_is_named(setup: ModuleType) -> None:
    """A module that was moved would be left out without a word, and run from its source."""
    for room, names in setup.ROOMS.items():
        for name in names.split():
            assert list((ROOT / "node" / room).glob(f"{name}.py")), f"node/{room} has no {name}.py"


def test_what_is_hot_is_compiled(setup: ModuleType) -> None:
    """A module that was moved would be optimised less without a word."""
    hot = [f"src/quorumcache/node/{name}.py" for name in setup.HOT.split()]
    assert len(set(hot)) == len(hot)
    assert set(hot) <= set(setup.COMPILED)
    assert setup.is_hot("build/__native_quorumcache___node___store___store.c")
    assert setup.is_hot("build/int_ops.c"), "what mypyc gives to all modules"
    assert not setup.is_hot("build/__native_quorumcache___node___store___locks.c")
    assert not setup.is_hot("build/quorumcache/node/__native_native.c")


def test_files_are_put_together_up_to_a_size(
    setup: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(setup, "CHUNK_BYTES", 10)
    sizes = {"a": 4, "b": 12, "c": 3, "d": 4, "e": 5}
    for name, size in sizes.items():
        (tmp_path / f"{name}.c").write_text("x" * size)
    made = setup.together([f"{name}.c" for name in sizes], "cold")
    assert made == [f"build/chunks/cold_{number}.c" for number in range(3)]
    included = [
        [Path(line.split('"')[1]).stem for line in (tmp_path / path).read_text().splitlines()]
        for path in made
    ]
    assert included == [["b"], ["e", "a"], ["d", "c"]]


SHIM = """
#include <Python.h>
static struct PyModuleDef made_NAME = {PyModuleDef_HEAD_INIT, "NAME", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_NAME(void) { return PyModule_Create(&made_NAME); }
PyMODINIT_FUNC PyInit___init__(void) { return PyInit_NAME(); }
"""


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_modules_of_a_room_share_what_python_finds(setup: ModuleType, tmp_path: Path) -> None:
    names = ["quorumcache.node.cluster_time", "quorumcache.node.inbox", "quorumcache.node.wal.wal"]
    extensions = []
    for name in names:
        source = tmp_path / "build" / f"{name.replace('.', '/')}.c"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_text(SHIM.replace("NAME", name.rpartition(".")[2]))
        extensions.append(Extension(name, [str(source.relative_to(tmp_path))]))
    (tmp_path / "src/quorumcache/node/wal").mkdir()
    assert all(map(setup.is_shim, extensions))
    assert not setup.is_shim(Extension("quorumcache.node.inbox", ["build/core/inbox.c"]))
    fields = {"name": "x", "ext_modules": extensions, "package_dir": {"": "src"}}
    command = setup.CompileAndTell(Distribution(fields))
    command.inplace = True
    command.ensure_finalized()
    command.run()
    node = tmp_path / "src/quorumcache/node"
    suffix = EXTENSION_SUFFIXES[0]
    first, second = (node / f"{name}{suffix}" for name in ("cluster_time", "inbox"))
    assert first.read_bytes() == second.read_bytes()
    assert (node / "compiled.json").exists()
    for path in (first, second, node / f"wal/wal{suffix}"):
        name = path.name.removesuffix(suffix)
        spec = spec_from_file_location(name, path)
        assert spec is not None
        assert module_from_spec(spec).__name__ == name


def test_what_a_compiled_module_imports_is_compiled_or_known_not_to_be(setup: ModuleType) -> None:
    """A new module of the data path would run from its source without a word."""
    compiled = {path.removeprefix("src/quorumcache/") for path in setup.COMPILED}
    found = {
        path.removeprefix("node/").removesuffix(".py")
        for importer in compiled
        for path in top_imports_of(ast.parse((ROOT / importer).read_text()))
        if path not in compiled and (ROOT / path).exists()
    }
    assert found == set(INTERPRETED.split()), "see ROOMS in setup.py"


def test_no_interpreted_class_inherits_from_a_compiled_one(setup: ModuleType) -> None:
    """It could not be instantiated, and only in the compiled form. Protocols and tuples are
    interpreted wherever they stand."""
    compiled = {path.removeprefix("src/quorumcache/") for path in setup.COMPILED}
    assert "node/clients/connection.py" in compiled
    trees = {
        str(path.relative_to(ROOT)): ast.parse(path.read_text())
        for path in sorted((ROOT / "node").rglob("*.py"))
    }
    native = {
        (path, found.name)
        for path in compiled
        for found in ast.walk(trees[path])
        if isinstance(found, ast.ClassDef)
        and not {"Protocol", "NamedTuple", "Enum", "IntEnum"} & {*map(ast.unparse, found.bases)}
        and not any("Error" in ast.unparse(base) for base in found.bases)
    }
    wrong = [
        f"{path}: {found.name}({ast.unparse(base)})"
        for path, tree in trees.items()
        if path not in compiled
        for found in ast.walk(tree)
        if isinstance(found, ast.ClassDef)
        for base in found.bases
        if (imports_of(tree).get(ast.unparse(base)), ast.unparse(base)) in native
    ]
    assert not wrong, f"add their modules to COMPILED in setup.py: {wrong}"


def top_imports_of(tree: ast.Module) -> set[str]:
    """The files of `node/` that a module imports as it is run, not for type checkers."""
    return {
        statement.module.removeprefix("quorumcache.").replace(".", "/") + ".py"
        for statement in tree.body
        if isinstance(statement, ast.ImportFrom)
        and statement.module
        and statement.module.startswith("quorumcache.node.")
    }


def imports_of(tree: ast.Module) -> dict[str, str]:
    """The names that a module imports from the package, and the files where they are."""
    return {
        name.asname or name.name: statement.module.removeprefix("quorumcache.").replace(".", "/")
        + ".py"
        for statement in ast.walk(tree)
        if isinstance(statement, ast.ImportFrom) and statement.module
        for name in statement.names
    }
