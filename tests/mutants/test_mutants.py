"""The mutants fit the present sources, a few of them are really found, and the runner is honest:
on a tree of one function, where it is known what has to come out.

All of them, which takes minutes: `make mutants`.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.mutants.catalogue import ROOT, SIMULATION, Edit, Mutant, MutantError, choose, load
from tests.mutants.finders import failing_tests
from tests.mutants.processes import Processes, Stopped
from tests.mutants.trial import Verdict, examine
from tests.mutants.workshop import Workshop
from tests.support.interrupts import ignore_interrupts

MUTANTS = load()

SAMPLE = (
    "vote_not_durable",
    "crc_not_checked",
    "write_repeated_blindly",
    "reply_before_apply",
)

DEADLINE_SECONDS = 300.0


# -- the list ------------------------------------------------------------------------------


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_fits_the_present_sources(mutant: Mutant) -> None:
    """Each old text stands exactly once, and what comes out is Python and another text."""
    sources = {file: (ROOT / file).read_text() for file in mutant.files}
    mutated = mutant.patched(sources)
    assert all(mutated[file] != sources[file] for file in mutant.files)
    assert all(file.startswith(("node/", "ring/", "router/")) for file in mutant.files)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_its_finders_exist(mutant: Mutant) -> None:
    for finder in mutant.finders:
        if not finder.startswith(SIMULATION):
            path, _, test = finder.partition("::")
            name = re.escape(test.partition("[")[0])
            assert re.search(rf"^def {name}\(", (ROOT / path).read_text(), re.MULTILINE), finder


def test_there_are_enough() -> None:
    """Of all areas; and some that the simulation is said to find."""
    assert len(MUTANTS) >= 36
    assert len({mutant.area for mutant in MUTANTS}) >= 10
    by_seeds = [m for m in MUTANTS if any(f.startswith(SIMULATION) for f in m.finders)]
    assert len(by_seeds) >= 8


def test_a_few_are_really_found() -> None:
    """By tests and by seeds, with the command that also `make mutants` runs."""
    assert {m.finders[0].startswith(SIMULATION) for m in choose(MUTANTS, SAMPLE)} == {True, False}
    done = run(*SAMPLE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(SAMPLE)} of {len(SAMPLE)} mutants found" in done.stdout


# -- the command ---------------------------------------------------------------------------


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.mutants", *words]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("no_such_mutant",), "mutants: there is no mutant or area 'no_such_mutant'"),
        (("--jobs", "0"), "--jobs must be in 1..64, got 0"),
        (("--timeout", "-1"), "--timeout must be above 0 s, got -1.0"),
    ],
)
def test_wrong_words_are_one_clear_line(words: tuple[str, ...], said: str) -> None:
    done = run(*words)
    assert done.returncode == 2
    assert said in done.stderr.splitlines()[-1]


def test_the_list_shows_every_story() -> None:
    done = run("--list")
    assert done.returncode == 0
    for mutant in MUTANTS:
        assert f"  {mutant.name} " in done.stdout
        assert mutant.story in done.stdout


def test_names_areas_and_patterns_choose() -> None:
    assert choose(MUTANTS, []) == MUTANTS
    assert [m.name for m in choose(MUTANTS, ["no_pre_vote"])] == ["no_pre_vote"]
    assert {m.area for m in choose(MUTANTS, ["ring", "wal"])} == {"ring", "wal"}
    assert {m.name for m in choose(MUTANTS, ["lease_*"])} >= {"lease_counts_from_receipt"}


def test_an_interrupt_leaves_nothing_running(tmp_path: Path) -> None:
    """Neither a process nor a copy of the tree."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.mutants", "no_pre_vote"],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # the interrupt is for it alone; the rest it has to see to
        preexec_fn=ignore_interrupts,  # As in the background of a shell.
    ) as process:
        try:
            while not working_in(tmp_path):
                assert process.poll() is None, process.communicate()
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=DEADLINE_SECONDS)
        finally:
            process.kill()
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "mutants: interrupted"
    assert working_in(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def working_in(directory: Path) -> list[str]:
    """Ids of the processes whose working directory is below this one."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                where = os.readlink(entry / "cwd")
            except OSError:
                continue  # gone, or not ours
            if where.startswith(f"{directory}/"):
                found.append(entry.name)
    return found


# -- the runner, on a tree of one function --------------------------------------------------

DOUBLES = "tests/test_thing.py::test_doubles"
POSITIVE = "tests/test_thing.py::test_positive"


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    tree = tmp_path / "tree"
    (tree / "tests").mkdir(parents=True)
    (tree / "thing.py").write_text("def double(number):\n    return 2 * number\n")
    (tree / "tests" / "test_thing.py").write_text(
        "from thing import double\n\n"
        "def test_doubles():\n    assert double(3) == 6\n\n"
        "def test_positive():\n    assert double(2) > 0\n\n"
        "def test_wrong():\n    assert double(2) == 5\n\n"
        "def test_endless():\n    while double(1) != 2:\n        pass\n"
    )
    return Workshop(tmp_path / "copy", tree)


def mutant(new: str, *finders: str, old: str = "2 * number") -> Mutant:
    return Mutant("m", "area", "Story.", (Edit("thing.py", old, new),), finders)


def look(it: Mutant, workshop: Workshop, *, every: bool = False, timeout: float = 60.0) -> Verdict:
    return examine(
        it,
        workshop,
        Processes(),
        timeout=timeout,
        every=every,
        smoke=(
            "-c",
            "import sys, thing; assert sys.argv[1:] == ['quorumcache.thing']; thing.double(1)",
        ),
    )


def test_a_mutant_is_found_by_the_first_test_that_fails(workshop: Workshop) -> None:
    verdict = look(mutant("3 * number", POSITIVE, DOUBLES, DOUBLES), workshop)
    assert verdict.state == "found"
    assert [search.found_by for search in verdict.searches] == ["", DOUBLES]
    assert "assert 9 == 6" in verdict.finds[0].why
    assert workshop.directory.joinpath("thing.py").read_text().endswith("2 * number\n")


def test_every_finder_is_run_when_asked_for(workshop: Workshop) -> None:
    verdict = look(mutant("-2 * number", DOUBLES, POSITIVE), workshop, every=True)
    assert [search.found_by for search in verdict.searches] == [DOUBLES, POSITIVE]


def test_one_mutant_after_the_other_of_equal_length(workshop: Workshop) -> None:
    """The second changes nothing, so it survives; a cached form of the first must not stand in
    for it.
    """
    for new, state in (("3 * number", "found"), ("number * 2", "SURVIVED")):
        assert look(mutant(new, DOUBLES), workshop).state == state


def test_an_unfair_mutant_is_refused(workshop: Workshop) -> None:
    verdict = look(mutant("nothing * number", DOUBLES), workshop)
    assert verdict.state == "UNUSABLE"
    assert "NameError" in verdict.unusable
    assert verdict.searches == []


@pytest.mark.parametrize(("old", "times"), [("5 * number", 0), ("number", 2)])
def test_a_stale_mutant_is_refused(workshop: Workshop, old: str, times: int) -> None:
    verdict = look(mutant("3 * number", DOUBLES, old=old), workshop)
    assert verdict.state == "UNUSABLE"
    assert f"stands {times} times in thing.py, expected once" in verdict.unusable


def test_a_mutant_that_is_no_python_is_refused(workshop: Workshop) -> None:
    assert "leaves no Python in thing.py" in look(mutant("2 *", DOUBLES), workshop).unusable


def test_a_finder_that_cannot_run_finds_nothing(workshop: Workshop) -> None:
    """Not even by failing: that says nothing about the mutant."""
    verdict = look(mutant("3 * number", "tests/test_thing.py::test_that_is_not_there"), workshop)
    assert verdict.survived
    assert verdict.searches[0].broken.startswith("exit status 4")


def test_a_finder_without_an_end_finds_nothing(workshop: Workshop) -> None:
    endless = mutant("3 * number", "tests/test_thing.py::test_endless")
    verdict = look(endless, workshop, timeout=2.0)
    assert verdict.survived
    assert verdict.searches[0].broken.startswith("no end within ")


def test_the_control_names_finders_that_fail_anyway(workshop: Workshop) -> None:
    wrong = "tests/test_thing.py::test_wrong"
    assert failing_tests([DOUBLES, POSITIVE], workshop, Processes(), 60.0) == {}
    assert list(failing_tests([DOUBLES, wrong], workshop, Processes(), 60.0)) == [wrong]
    missing = failing_tests([DOUBLES + "_not"], workshop, Processes(), 60.0)
    assert "not found" in str(missing)


def test_after_a_stop_nothing_begins(workshop: Workshop) -> None:
    processes = Processes()
    processes.stop()
    with pytest.raises(Stopped):
        examine(mutant("3 * number", DOUBLES), workshop, processes, timeout=1.0)


# -- the files ----------------------------------------------------------------------------

WHOLE = """[m]
story = "s"
file = "f"
old = "a"
new = ""
finders = ["t::x"]
"""


def test_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "area.toml").write_text(WHOLE)
    assert load(tmp_path) == [Mutant("m", "area", "s", (Edit("f", "a", ""),), ("t::x",))]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("[m]", "[m", "Expected ']'"),
        ("[m]", "[Big]", "lower_case_name"),
        ("story", "tale", "expected story, file, old, new, finders"),
        ('"s"', "1", "story must be text"),
        ('old = "a"', 'old = ""', "old must be text"),
        ('new = ""', 'new = "a"', "old and new are the same"),
        ('["t::x"]', "[]", "finders must be a list"),
        ("t::x", "t", "neither a pytest node id nor seeds"),
        ("t::x", "simulation --seed 1", "neither a pytest node id nor seeds"),
        ('"t::x"]', '"t::x"]\n[[m.also]]\nfile = "f"', "also: expected file, old, new"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, before: str, after: str, said: str) -> None:
    (tmp_path / "area.toml").write_text(WHOLE.replace(before, after))
    with pytest.raises(MutantError, match=re.escape(said)) as caught:
        load(tmp_path)
    assert "area.toml" in str(caught.value)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    for area in ("one", "two"):
        (tmp_path / f"{area}.toml").write_text(WHOLE)
    with pytest.raises(MutantError, match="two mutants have the name m"):
        load(tmp_path)
