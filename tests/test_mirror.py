"""Goal: the tests of a module are found without a search, and nobody forgets to write them.

Method: the names of files are compared; nothing is imported. Three rules:

1. A module `node/wal/queue.py` is tested by `tests/unit/node/wal/test_queue.py`. The modules that
   are tested under another name stand in `ELSEWHERE`, with the tests and the reason.
2. A file of `tests/unit` that is not named after a module stands in `THEMES`, with what it tests.
3. Both lists name what is there, and nothing that the first sentence of rule 1 covers already.

The `__init__` of a package counts as no module: it only hands out names of others.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

import pytest

from tests.test_layering import PROJECT, ROOT, modules

UNIT = "tests/unit/"

_RAFT = "tests/unit/node/consensus/raft/test_raft_"
_PAPER, _SAFETY, _FLOW = f"{_RAFT}paper.py", f"{_RAFT}safety.py", f"{_RAFT}flow.py"
_CATCH_UP = f"{_RAFT}catch_up.py"
_TIMING, _STALENESS, _BIRTH = f"{_RAFT}timing.py", f"{_RAFT}staleness.py", f"{_RAFT}birth.py"
_ONLY_TYPES = "declares types and runs no code; this tests what implements them"
_ONLY_CLASSES = "classes of errors without code; this tests when they are raised"

_STATS = "tests/unit/node/admin/test_stats.py"

ELSEWHERE: dict[str, tuple[tuple[str, ...], str]] = {
    "node/operations/forwarded.py": (
        ("tests/property/test_forwarded_once.py",),
        "the answers of `Serving` to other nodes",
    ),
    "node/protocol/lock_requests.py": (
        ("tests/unit/node/protocol/test_lock_lines.py",),
        _ONLY_TYPES,
    ),
    "node/admin/stat_general.py": ((_STATS,), "read as a client reads them: by the command"),
    "node/admin/stat_items.py": ((_STATS,), "read as a client reads them: by the command"),
    "node/admin/stat_locks.py": ((_STATS,), "read as a client reads them: by the command"),
    "node/admin/stat_cluster.py": ((_STATS,), "read as a client reads them: by the command"),
    # A rule of Raft is kept by several of its modules together, so the tests are by theme.
    "node/consensus/raft/core.py": ((_PAPER, _SAFETY), "every theme of Raft passes it"),
    "node/consensus/raft/state.py": ((_PAPER, _SAFETY), "what the other modules of Raft share"),
    "node/consensus/raft/roles.py": ((_PAPER, _TIMING), "who becomes what, and when"),
    "node/consensus/raft/election.py": ((_PAPER, _TIMING, _SAFETY), "elections"),
    "node/consensus/raft/proposals.py": ((_PAPER, _SAFETY), "what a leader takes into its log"),
    "node/consensus/raft/replication.py": (
        (_PAPER, _FLOW, _CATCH_UP),
        "appends, and how many at a time",
    ),
    "node/consensus/raft/commit.py": ((_PAPER, _SAFETY), "which entries are committed"),
    "node/consensus/raft/heartbeats.py": ((_STALENESS, _TIMING), "beats and stamps"),
    "node/consensus/raft/reads.py": ((_PAPER, _SAFETY), "reads that wait for a confirmation"),
    "node/consensus/raft/snapshots.py": ((_FLOW, _PAPER), "snapshots for those who are behind"),
    "node/consensus/raft/membership.py": ((_PAPER, _BIRTH), "changes of the configuration"),
    "node/consensus/raft/transfer.py": ((_PAPER, _TIMING), "leadership that is handed on"),
    "node/consensus/raft/messages.py": (
        ("tests/unit/node/consensus/raft/test_wire.py",),
        "values only: they are tested where they are packed",
    ),
    # Commands: tested as processes, from outside.
    "node/__main__.py": (("tests/unit/node/test_main.py",), "the same without the underscores"),
    "bench/__main__.py": (
        (
            "tests/integration/test_signals.py",
            "tests/integration/test_streams.py",
            "tests/integration/test_decoys.py",
        ),
        "the command as a process: its signals, its output, what it imports",
    ),
    "router/commands/keys.py": (
        ("tests/unit/router/test_cli.py",),
        "the commands as processes: what they print, and their exit codes",
    ),
    "router/commands/parser.py": (("tests/unit/router/test_cli.py",), "as keys.py"),
    "ring/local_control.py": (
        ("tests/unit/node/process/test_control.py",),
        "both ends of a socket, tested together",
    ),
    "node/clients/large_handlers.py": (
        ("tests/unit/node/clients/test_uploads.py",),
        "a large value from its line to its end, with what brings it into its shard",
    ),
    # Nothing in them runs.
    "node/operations/reply_room.py": (
        ("tests/unit/node/clients/test_retrievals.py",),
        _ONLY_TYPES,
    ),
    "node/consensus/transport.py": (
        ("tests/unit/node/peers/test_consensus_transport.py",),
        _ONLY_TYPES,
    ),
    "node/consensus/wire.py": (("tests/unit/node/consensus/raft/test_wire.py",), _ONLY_TYPES),
    "node/peers/sender.py": (("tests/unit/node/peers/test_network.py",), _ONLY_TYPES),
    "node/storage/disk.py": (("tests/unit/node/storage/test_real_disk.py",), _ONLY_TYPES),
    "node/consensus/errors.py": ((_PAPER, _BIRTH), _ONLY_CLASSES),
    "ring/errors.py": (
        ("tests/unit/ring/test_address.py", "tests/unit/ring/test_cluster_map.py"),
        _ONLY_CLASSES,
    ),
    "bench/errors.py": (("tests/unit/bench/test_workload.py",), _ONLY_CLASSES),
}
"""Modules that are tested under another name: the files, and why."""

THEMES: dict[str, str] = {
    _PAPER: "each claim of the Raft paper that is implemented",
    _SAFETY: "the rules of Raft that go beyond the paper",
    _FLOW: "how much a leader sends at a time, and what it forgets",
    _CATCH_UP: "what the leaders of a node send to one that was away",
    _TIMING: "when replicas stand for election",
    _STALENESS: "stamps of heartbeats, from the leader to the replica and back",
    _BIRTH: "replicas that are born empty, and those that have lost entries",
    "tests/unit/node/clients/test_once_prefix.py": "`cluster once`, from the connection to the log",
    "tests/unit/node/core/test_wire.py": "what makes and reads bytes in C, and its twins in Python",
    "tests/unit/node/store/test_holds.py": "what held keys mean to everything else in a store",
    "tests/unit/node/test_main.py": "the command `quorumcached` as a process",
    "tests/unit/node/test_operations_document.py": "docs/operations.md names all that there is",
    "tests/unit/router/test_virtual_time.py": "the whole client on a virtual loop",
    "tests/unit/test_commands.py": "quorumcache/commands.py, which stands beside the packages",
    "tests/unit/test_face.py": "what `import quorumcache` hands out",
    "tests/unit/test_setup.py": "setup.py",
}
"""Files of tests/unit that are not named after a module, and what they test."""


def test_of(module: str) -> str:
    """The test file of a module's name."""
    folder, _, name = module.rpartition("/")
    return f"{UNIT}{folder}/test_{name}"


test_of.__test__ = False  # type: ignore[attr-defined]


def faults(
    modules: Iterable[str],
    files: Mapping[str, str],
    elsewhere: Mapping[str, tuple[tuple[str, ...], str]],
    themes: Mapping[str, str],
) -> Iterator[str]:
    """A sentence for each fault. `files`: the text of each test file, by path."""
    modules = set(modules)
    named = {test_of(module): module for module in modules}
    for module in sorted(modules - set(elsewhere)):
        if test_of(module) not in files:
            yield f"{module} has no {test_of(module)}"
    for path in sorted(files):
        if path.startswith(UNIT) and path not in named and path not in themes:
            yield f"{path} is named after no module"
    for module, (tests, why) in elsewhere.items():
        if module not in modules:
            yield f"ELSEWHERE: there is no {module}"
        if test_of(module) in files:
            yield f"ELSEWHERE: {module} has a test file of its name"
        if not tests or not why:
            yield f"ELSEWHERE: {module} names no test, or no reason"
        package = f"{PROJECT}.{module.rpartition('/')[0].replace('/', '.')}"
        for path in tests:
            if path not in files:
                yield f"ELSEWHERE: {module}: there is no {path}"
            elif not re.search(rf"{re.escape(package)}\b", files[path]):
                yield f"ELSEWHERE: {path} says nothing of {package}, so not of {module}"
    for path, theme in themes.items():
        if path not in files:
            yield f"THEMES: there is no {path}"
        if path in named:
            yield f"THEMES: {path} is named after {named[path]}"
        if not theme:
            yield f"THEMES: {path} has no theme"


def test_tests_mirror_the_packages() -> None:
    files = {
        str(path.relative_to(ROOT)): path.read_text()
        for path in (ROOT / "tests").rglob("test_*.py")
    }
    tested = [module for module in modules() if not module.endswith("/__init__.py")]
    assert {module.split("/")[0] for module in tested} == {"node", "ring", "router", "bench"}
    found = list(faults(tested, files, ELSEWHERE, THEMES))
    assert not found, "\n" + "\n".join(found)


A, B = "node/wal/a.py", "node/wal/b.py"
TEST_A, TEST_B = "tests/unit/node/wal/test_a.py", "tests/unit/node/wal/test_b.py"
BOTH = "tests/unit/node/wal/test_both.py"
SAYS = "from quorumcache.node.wal.a import a"


@pytest.mark.parametrize(
    ("files", "elsewhere", "themes", "fault"),
    [
        ([TEST_A], {}, {}, f"{B} has no {TEST_B}"),
        (["tests/property/test_b.py", TEST_A], {}, {}, f"{B} has no {TEST_B}"),
        ([TEST_A, TEST_B, BOTH], {}, {}, f"{BOTH} is named after no module"),
        ([TEST_A, TEST_B], {}, {BOTH: "both"}, f"THEMES: there is no {BOTH}"),
        ([TEST_A, TEST_B], {}, {TEST_A: "a"}, f"THEMES: {TEST_A} is named after {A}"),
        ([TEST_A, TEST_B, BOTH], {}, {BOTH: ""}, f"THEMES: {BOTH} has no theme"),
        (
            [TEST_A, TEST_B],
            {B: ((TEST_A,), "why")},
            {},
            f"ELSEWHERE: {B} has a test file of its name",
        ),
        ([TEST_A], {B: ((TEST_B,), "why")}, {}, f"ELSEWHERE: {B}: there is no {TEST_B}"),
        ([TEST_A], {B: ((), "why")}, {}, f"ELSEWHERE: {B} names no test, or no reason"),
        ([TEST_A], {B: ((TEST_A,), "")}, {}, f"ELSEWHERE: {B} names no test, or no reason"),
        (
            [TEST_A, TEST_B],
            {"node/wal/c.py": ((TEST_A,), "why")},
            {},
            "ELSEWHERE: there is no node/wal/c.py",
        ),
    ],
)
def test_each_fault_is_found(
    files: list[str],
    elsewhere: dict[str, tuple[tuple[str, ...], str]],
    themes: dict[str, str],
    fault: str,
) -> None:
    assert list(faults([A, B], dict.fromkeys(files, SAYS), elsewhere, themes)) == [fault]


def test_a_test_that_does_not_even_name_the_package_is_no_test_of_the_module() -> None:
    files = {TEST_A: "from quorumcache.node.wallet import a"}
    found = list(faults([A, B], files, {B: ((TEST_A,), "why")}, {}))
    assert found == [f"ELSEWHERE: {TEST_A} says nothing of quorumcache.node.wal, so not of {B}"]
