"""The parts of chaos that decide something: rules, partitions, histories on disk, the report."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import directory as directories
from tests.chaos.clients import TIME_ORIGIN_NS
from tests.chaos.commands import CannotRun, run, what_is_missing
from tests.chaos.faults import Outcome, partition
from tests.chaos.history_file import HistoryError, Recorder, parse_history, read_history
from tests.chaos.namespaces import Drop, ruleset
from tests.chaos.report import NO_FAULT, Report, gaps, longest_gaps
from tests.chaos.schedule import Fault
from tests.chaos.workload import hot_keys
from tests.simulation.history import History
from tests.simulation.linearizability import ILLEGAL, check_history

SECOND = 1_000_000_000
KEY = hot_keys(0, 1)[0]


def ns(seconds: float) -> int:
    return TIME_ORIGIN_NS + int(seconds * SECOND)


# -- the network -----------------------------------------------------------------------------------


def test_rules_drop_what_arrives_at_the_target_only() -> None:
    drops = [Drop("a", "b"), Drop("c", "b", 20), Drop("b", "a")]
    script = ruleset(drops, "b", {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"})
    rules = [line.strip() for line in script.splitlines() if line.strip().endswith("drop")]
    assert rules == ["ip saddr 10.0.0.1 drop", "ip saddr 10.0.0.3 numgen random mod 100 < 20 drop"]


@pytest.mark.parametrize(
    ("variant", "lost"),
    [
        ("cut-off", {"ab", "ba", "ac", "ca"}),
        ("flapping", {"ab", "ba", "ac", "ca"}),
        ("isolate", {"ab", "ba", "ac", "ca", "aclients", "clientsa"}),
        ("deaf", {"ba", "ca"}),
        ("mute", {"ab", "ac"}),
        ("bridge", {"ab", "ba"}),
    ],
)
def test_partitions(variant: str, lost: set[str]) -> None:
    assert {d.source + d.target for d in partition(variant, "a", ["a", "b", "c"])} == lost


# -- histories on disk -----------------------------------------------------------------------------


def recorded() -> str:
    file = io.StringIO()
    history = Recorder(file)
    one = history.invoke("t0", "set", KEY, b"\xff;", now_ns=ns(1))
    two = history.invoke("t1", "gets", KEY, now_ns=ns(1.1))
    history.ok(one, "STORED", now_ns=ns(1.2))
    history.ok(two, ("hit", b"\xff;", 4), now_ns=ns(1.3))
    three = history.invoke("t0", "cas", KEY, b"x", unique=4, after=one.number, now_ns=ns(2))
    history.fail(three, "not done", now_ns=ns(2.1))
    history.ok(history.invoke("t0", "incr", KEY, 5, now_ns=ns(3)), ("number", 5), now_ns=ns(3.1))
    history.ok(history.invoke("t0", "get", KEY, now_ns=ns(3)), ("miss",), now_ns=ns(3.1))
    history.invoke("t0", "append", KEY, b"y", now_ns=ns(4))
    again = parse_history(file.getvalue().splitlines())
    assert again.operations == history.operations
    return file.getvalue()


def test_a_history_comes_back_as_it_was(tmp_path: Path) -> None:
    text = recorded()
    path = tmp_path / "history.jsonl"
    path.write_text(text[:-5])  # torn in its last line, the append
    assert len(read_history(path).operations) == 5


@pytest.mark.parametrize(
    "line",
    [
        "no json",
        "{}",
        "[]",
        '{"ok": 9, "result": "STORED", "ns": 1}',
        '{"op": 5, "client": "t", "kind": "get", "key": "k", "ns": 1}',
    ],
)
def test_what_is_no_history(line: str) -> None:
    with pytest.raises(HistoryError, match="line 1 is no event"):
        parse_history([line])


# -- the report ------------------------------------------------------------------------------------


def history_of(*answers: tuple[float, float]) -> History:
    """Gets of the one key, each from and to."""
    history = History()
    for begin, end in answers:
        operation = history.invoke("t0", "get", KEY, now_ns=ns(begin))
        history.ok(operation, ("miss",), now_ns=ns(end))
    return history


def outcome(kind: str, begin: float, end: float, number: int = 1) -> Outcome:
    fault = Fault(number, kind, "any", begin, end - begin, 0)
    return Outcome(fault, ["a"], ns(begin), ns(end))


def test_gaps_are_between_answers() -> None:
    found = gaps(history_of((0.0, 0.5), (1.0, 3.0), (3.0, 3.1)), 1)
    assert [round(gap.seconds, 3) for gap in found] == [0.5, 2.5, 0.1, 0.0]


def test_gaps_are_charged_to_the_faults_in_force_or_just_over() -> None:
    history = history_of((0.0, 1.0), (1.0, 4.0), (4.0, 4.5), (5.0, 5.3), (9.0, 9.9))
    faults = [outcome("kill", 1.5, 4.2), outcome("pause", 3.0, 3.5, 2)]
    worst = longest_gaps(gaps(history, 1), faults)
    assert {name: round(gap.seconds, 3) for name, gap in worst.items()} == {
        "kill any": 4.6,  # begins at 5.3, less than SETTLE_S after it
        "pause any": 3.0,
        NO_FAULT: 1.0,
    }
    alone = longest_gaps(gaps(history, 1), faults, alone=True)
    assert {name: round(gap.seconds, 3) for name, gap in alone.items()} == {
        "kill any": 4.6,
        NO_FAULT: 1.0,
    }


def report_of(history: History, **more: object) -> Report:
    options: dict[str, object] = {
        "seed": 7,
        "seconds": 10.0,
        "nodes": 3,
        "shards": 1,
        "history": history,
        "verdicts": check_history(history),
        "outcomes": [outcome("kill", 1.0, 2.0)],
        "replay": "python -m tests.chaos --seed 7",
    }
    return Report(**(options | more))  # type: ignore[arg-type]


def test_a_good_report() -> None:
    report = report_of(history_of((0.0, 0.5), (1.0, 3.0)))
    assert report.is_good
    text = report.text(every_key=True)
    assert "2 operations: 2 answered, 0 not done, 0 of unknown outcome" in text
    assert re.search(r"kill any +1 x +2500 ms  shard 0 at 0.5 s$", text, re.MULTILINE)
    assert "1 keys: 1 linearizable, 0 not, 0 undecided" in text
    assert "--seed" not in text


def test_a_stale_read_is_shown_with_its_faults_and_its_command() -> None:
    history = history_of((0.0, 0.5))
    write = history.invoke("t0", "set", KEY, b"new", now_ns=ns(1.0))
    history.ok(write, "STORED", now_ns=ns(1.2))
    stale = history.invoke("t1", "get", KEY, now_ns=ns(1.5))
    history.ok(stale, ("miss",), now_ns=ns(1.6))
    report = report_of(history)
    assert not report.is_good
    assert report.verdicts[KEY].kind == ILLEGAL
    text = report.text()
    assert f"key {KEY.decode()} is not linearizable" in text
    assert "faults in this window:\n  [   1.0000   2.0000] kill any: a" in text
    assert "The same schedule again:\n    python -m tests.chaos --seed 7" in text


def test_a_problem_is_a_failure() -> None:
    report = report_of(history_of((0.0, 0.5)), problems=["node a: Traceback"])
    assert not report.is_good
    assert "FAULT: node a: Traceback" in report.text()


# -- the workload ----------------------------------------------------------------------------------


def test_hot_keys_are_one_for_each_shard_and_new_in_each_generation() -> None:
    from quorumcache.ring import shard_of

    assert [shard_of(key, 8) for key in hot_keys(0, 8)] == list(range(8))
    assert not {*hot_keys(0, 8)} & {*hot_keys(1, 8)}


# -- directories -----------------------------------------------------------------------------------


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def gone_pid() -> int:
    """The number of a process that was there and is not."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_leftovers_are_removed_and_nothing_else(temporary: Path) -> None:
    own = directories.create()
    names = {
        "killed": (f"{directories.PREFIX}{gone_pid()}", f"{gone_pid()} 123\n"),
        "pid used again": (f"{directories.PREFIX}{os.getpid()}-7", f"{os.getpid()} 1\n"),
        "kept": (f"{directories.PREFIX}5-1", f"{gone_pid()} 123\n"),
        "no owner": (f"{directories.PREFIX}6", None),
        "other name": (f"{directories.PREFIX}mine", f"{gone_pid()} 123\n"),
    }
    paths = {}
    for what, (name, owner) in names.items():
        paths[what] = temporary / name
        paths[what].mkdir()
        if owner is not None:
            (paths[what] / "owner").write_text(owner)
    directories.keep(paths["kept"])
    removed = directories.remove_leftovers()
    assert set(removed) == {paths["killed"], paths["pid used again"]}
    assert own.exists()
    assert all(paths[what].exists() for what in ("kept", "no owner", "other name"))
    directories.remove(own)


def test_a_kept_directory_is_not_used_again(temporary: Path) -> None:
    first = directories.create()
    directories.keep(first)
    second = directories.create()
    assert first != second


# -- what is missing -------------------------------------------------------------------------------


def test_what_is_missing_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert what_is_missing() == "network namespaces and mounts need root: run it with sudo"


def test_what_is_missing_without_the_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda name: None if name in ("nft", "tc") else name)
    text = what_is_missing()
    assert text == ("tc, nft not found: on Debian or Ubuntu, apt-get install iproute2 nftables")


def test_a_command_that_fails_is_one_line() -> None:
    with pytest.raises(CannotRun, match=r"^sh -c echo a; echo b >&2; exit 3: b$"):
        run("sh", "-c", "echo a; echo b >&2; exit 3")
    with pytest.raises(CannotRun, match="No such file"):
        run("no-such-program-here")
