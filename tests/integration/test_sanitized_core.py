"""Goal: the native core reads and writes nothing but its own memory, and leaves nothing undefined.

Method: its modules are built with the address and the undefined behaviour sanitizer of the C
compiler, and the tests that run over every form run over them in a process of their own. A fault
ends that process with a report. A module with a fault that was put in on purpose shows that. The
table alone walks beside a model in C, with memory that runs out at each place, and so do the slabs
in which blocks of items lie where there is no sanitizer.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.native_core import (
    MODULES,
    SANITIZERS,
    build,
    build_library,
    environment,
    native,
)
from tests.test_layering import ROOT

TESTS = (
    "tests/unit/node/store/test_item_table.py",
    "tests/unit/node/store/test_read_gate.py",
    "tests/unit/node/store/test_set_batches.py",
    "tests/unit/node/clients/test_get_routes.py",
    "tests/unit/node/clients/test_set_reader.py",
    "tests/unit/node/core/test_wire.py",
    "tests/unit/node/storage/test_log_file.py",
    "tests/unit/node/storage/test_log_writer.py",
    "tests/unit/node/storage/test_real_disk.py",
    "tests/unit/node/system/test_senders.py",
    "tests/property/test_short_memory.py",
    "tests/unit/node/peers/test_codec.py",
    "tests/unit/node/wal/test_groups.py",
)
"""What runs over every form of something that the core has."""

ONLY_THE_CORE = ("-k", "not plain] and not PlainItemTable and not PlainSender and not forked")
"""The twins in Python run with the sources' tests, and no sanitizer sees them. Nor does it see a
forked child: its allocator may be locked for good there, by a thread that the child does not have.
Those tests run over the compiled form.
"""

pytestmark = [
    pytest.mark.skipif(not shutil.which("cc"), reason="SKIPPED: there is no C compiler (cc)"),
    pytest.mark.skipif(native("items") is not None, reason="runs with the sources' tests"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("Cython", reason="SKIPPED: there is no Cython")
    directory = tmp_path_factory.mktemp("core")
    build(directory)
    return directory


def run(built: Path, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env=environment(built),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_the_tests_of_all_forms_pass_over_the_sanitized_core(built: Path) -> None:
    done = run(built, "-m", "pytest", "-v", "-p", "no:cacheprovider", *ONLY_THE_CORE, *TESTS)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    for form in ("ItemTable", "Sender", "gets", "sets", "wire", "log_writer"):
        names = rf"\[(.*-)?(native_{form}|(senders)?{form})(-.*)?\] PASSED"
        assert re.search(names, done.stdout), form


@pytest.fixture(scope="module")
def short_of_memory(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], Path]:
    """Builds `tests/support/short_memory.c` over the core of a directory."""
    return lambda core: made_of("short_memory", core, tmp_path_factory.mktemp("short"))


def made_of(walk: str, core: Path, directory: Path, *flags: str) -> Path:
    """A program of `tests/support`, with the sanitizers."""
    target = directory / walk
    source = str(ROOT / f"tests/support/{walk}.c")
    flags = ("-std=c11", "-O1", "-g", *SANITIZERS, *flags, f"-I{core}")
    subprocess.run(["cc", *flags, source, "-o", str(target)], check=True)
    return target


def walk(program: Path, seed: int) -> subprocess.CompletedProcess[str]:
    command = [str(program), str(seed), "120000"]
    # It counts its memory itself: the sanitizer may not look for leaks in every container.
    options = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    return subprocess.run(
        command, env=options, capture_output=True, text=True, timeout=600, check=False
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_the_table_stays_as_it_is_when_there_is_no_memory(
    short_of_memory: Callable[[Path], Path], seed: int
) -> None:
    """Each request for memory fails once, in a walk of puts, removals, images and flushes beside a
    model. At the end nothing is left."""
    done = walk(short_of_memory(ROOT / "node/core"), seed)
    assert done.returncode == 0, done.stderr[-6000:]
    assert int(done.stdout.split()[0]) > 1000


@pytest.mark.parametrize(
    ("file", "right", "wrong", "why"),
    [
        (
            "table",
            "if (s == NULL) {\n        item_discard(t->slabs, made, parts, key_length);",
            "if (s == NULL) {",
            "memory is left",
        ),
        ("table", "it->born < t->epoch", "it->born + 1 < t->epoch", "heap-use-after-free"),
        (
            "index",
            "        if (one != NULL)\n            release_segment(x, one);\n",
            "",
            "other bytes",
        ),
        (
            "table",
            "at = s == NULL ? 0 : segment_find(s, key, key_length, hash);",
            "",
            "heap-use-after-free",
        ),
    ],
)
def test_what_a_failure_leaves_behind_is_reported(
    short_of_memory: Callable[[Path], Path],
    tmp_path: Path,
    file: str,
    right: str,
    wrong: str,
    why: str,
) -> None:
    done = walk(short_of_memory(broken_core(tmp_path, f"item_{file}.c", right, wrong)), 1)
    assert done.returncode != 0
    assert why in done.stderr


def broken_core(directory: Path, file: str, right: str, wrong: str) -> Path:
    """A copy of the core in which something is wrong."""
    broken = directory / "core"
    shutil.copytree(ROOT / "node/core", broken)
    source = broken / file
    text = source.read_text()
    assert right in text
    source.write_text(text.replace(right, wrong))
    return broken


@pytest.mark.parametrize("name", ["slab_walk", "short_memory"])
def test_blocks_in_slabs_neither_overlap_nor_get_lost(name: str, tmp_path: Path) -> None:
    """The slabs alone, and the table over them: one that gives a block back as one of another size
    is found by what the slabs count."""
    program = made_of(name, ROOT / "node/core", tmp_path, "-DITEM_SLABS_ALWAYS")
    done = walk(program, 3)
    assert done.returncode == 0, done.stderr[-6000:]
    assert int(done.stdout.split()[0]) > 1000


@pytest.mark.parametrize(
    ("name", "file", "right", "wrong", "why"),
    [
        (
            "slab_walk",
            "slabs",
            "s->given = block->next;",
            "s->given = block;",
            "blocks lie in no slab",
        ),
        (
            "slab_walk",
            "slabs",
            "(SLAB_BYTES - head) / s->block_bytes",
            "SLAB_BYTES / s->block_bytes",
            "a block leaves its slab",
        ),
        ("slab_walk", "slabs", "if (s == r->slabs) {", "if (0) {", "heads are given back"),
        (
            "slab_walk",
            "slabs",
            "> SPARE_SLABS_MAX",
            "> 9 * SPARE_SLABS_MAX",
            "too many empty slabs are kept",
        ),
        (
            "slab_walk",
            "slabs",
            "        munmap(r, REGION_BYTES);\n",
            "",
            "a slab is lost",
        ),
        (
            "slab_walk",
            "slabs",
            "if (s->used)\n        return;",
            "return;",
            "a slab is in a wrong list",
        ),
        (
            "short_memory",
            "block",
            "item_chunk(it) - 8);",
            "item_chunk(it) + 24);",
            "another content",
        ),
    ],
)
def test_slabs_with_a_mistake_are_reported(
    tmp_path: Path, name: str, file: str, right: str, wrong: str, why: str
) -> None:
    broken = broken_core(tmp_path, f"item_{file}.c", right, wrong)
    done = walk(made_of(name, broken, tmp_path, "-DITEM_SLABS_ALWAYS"), 1)
    assert done.returncode != 0
    assert why in done.stderr, done.stderr[-3000:]


def test_a_read_beyond_a_block_is_reported(built: Path, tmp_path: Path) -> None:
    """The check bites: with a length one too long the same kind of test fails."""
    right, wrong = "item_tail(it), it->length);", "item_tail(it), it->length + 64);"
    broken = broken_core(tmp_path, "item_block.c", f"memcpy(at, {right}", f"memcpy(at, {wrong}")
    made = tmp_path / "items.so"
    subprocess.run(
        ["cc", "-O1", "-g", "-shared", "-fPIC", "-fsanitize=address", f"-I{broken}"]
        + [str(broken / file) for file in MODULES["items"]]
        + ["-o", str(made)],
        check=True,
    )
    script = f"""
import ctypes
table = ctypes.create_string_buffer(4096)
parts = ctypes.create_string_buffer(256)
old = ctypes.c_void_p()
core = ctypes.CDLL({str(made)!r})
core.item_table_find.restype = ctypes.c_void_p
core.item_table_init(table, ctypes.create_string_buffer(1 << 16), ctypes.c_uint64(1))
packed = bytes(17) + b" 0 100\\r\\n" + b"x" * 100 + b"\\r\\n"
core.item_parse(packed, ctypes.c_size_t(len(packed)), parts)
core.item_table_put(table, b"k", ctypes.c_size_t(1), parts, 1, ctypes.byref(old))
found = core.item_table_find(table, b"k", ctypes.c_size_t(1))
out = ctypes.create_string_buffer(4096)
core.item_pack(ctypes.c_void_p(found), out)
"""
    done = run(built, "-c", script)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "finder"),
    [
        ("job->error = sync_data(calls, job->fd);", ";", "one_write_and_then_one_sync"),
        ("} else if (was_refused", "}\n    if (was_refused", "never_called_full and 28"),
        ("int failed = cut_back(calls, job->fd, job->start);", "int failed = 0;", "refused and 28"),
        ("if (job == NULL && writer", "if (writer", "finishes_what"),
    ],
)
def test_a_log_writer_with_a_mistake_is_found(
    built: Path, tmp_path: Path, right: str, wrong: str, finder: str
) -> None:
    """No sync; a failed sync that is called full; a refusal that leaves its bytes; a thread that
    ends with work left. Without a mistake they pass, above."""
    broken = broken_core(tmp_path, "log_writer_thread.c", right, wrong)
    target = shutil.copytree(built, tmp_path / "built")
    build_library("log_writer", broken, target)
    tests = "tests/unit/node/storage/test_log_writer.py"
    select = ("-p", "no:cacheprovider", "-k", f"native_log_writer and {finder}")
    done = run(target, "-m", "pytest", "-q", tests, *select)
    assert done.returncode == 1, done.stdout[-3000:] + done.stderr[-3000:]


def log_walk(core: Path, directory: Path, sanitizers: str) -> subprocess.CompletedProcess[str]:
    """`tests/support/log_walk.c` over the core of a directory."""
    program = directory / "log_walk"
    flags = ["-std=c11", "-O1", "-g", "-pthread", f"-fsanitize={sanitizers}", f"-I{core}"]
    source = str(ROOT / "tests/support/log_walk.c")
    subprocess.run(["cc", *flags, source, "-o", str(program)], check=True)
    return subprocess.run(
        [str(program), str(directory / "written")],
        env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.parametrize("sanitizers", ["thread", "address,undefined"])
def test_the_thread_of_the_log_shares_nothing_without_its_lock(
    tmp_path: Path, sanitizers: str
) -> None:
    """Writers that are used, ended, and given up with work left."""
    done = log_walk(ROOT / "node/core", tmp_path, sanitizers)
    assert done.returncode == 0, done.stderr[-6000:]
    assert done.stdout == "40 writers\n"


def test_a_log_writer_that_is_freed_beside_its_thread_is_reported(tmp_path: Path) -> None:
    right, wrong = "bool is_last = !--writer->users;", "bool is_last = --writer->users;"
    broken = broken_core(tmp_path, "log_writer_thread.c", right, wrong)
    done = log_walk(broken, tmp_path, "address")
    assert done.returncode != 0
    assert "heap-use-after-free" in done.stderr, done.stderr[-3000:]
