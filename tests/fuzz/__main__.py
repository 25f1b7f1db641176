"""Coverage-guided fuzzing: `python -m tests.fuzz parser --seconds 60`.

Mutates the kept corpus (`tests/fuzz/corpus/TARGET/`) and what earlier runs found to be new
(`build/fuzz/TARGET/corpus/`), guided by the lines that an input reaches. An input that breaks a
promise is written to `build/fuzz/TARGET/`, with the command that replays it. `--replay FILE` runs
one input, without the fuzzer. Needs the extra `fuzz` (`pip install -e '.[fuzz]'`).

Ends with 0 when nothing was found, 1 when something was, 2 for bad arguments or a missing fuzzer.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from tests.support.interrupts import hear_interrupts

ROOT = Path(__file__).parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
FOUND = ROOT / "build" / "fuzz"
INPUT_BYTES_MAX = 4096
SECONDS_PER_INPUT_MAX = 20
RSS_MEGABYTES_MAX = 1024

os.environ.setdefault("QUORUMCACHE_COMPILED", "0")  # Only the sources can be instrumented.


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="?", help="what to fuzz; see --list")
    parser.add_argument("--seconds", type=int, default=60, help="how long (60)")
    parser.add_argument("--replay", metavar="FILE", type=Path, help="run one input and end")
    parser.add_argument("--list", action="store_true", help="name the targets and end")
    parser.add_argument("--write-seeds", action="store_true", help="renew the seeds of the corpus")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside:
        return _fuzz(options.target, options.seconds)

    from tests.fuzz.targets import TARGETS

    if options.list:
        for name, function in TARGETS.items():
            words = " ".join((function.__doc__ or "").split())
            print(f"{name:16} {words}")
        return 0
    if options.write_seeds:
        return _write_seeds()
    if options.target not in TARGETS:
        named = options.target or "no target"
        print(f"{named}: the targets are {', '.join(TARGETS)}", file=sys.stderr)
        return 2
    if options.replay is not None:
        return _replay(options.target, options.replay)
    if importlib.util.find_spec("atheris") is None:
        print(
            "atheris is not installed: .venv/bin/pip install -e '.[fuzz]' (Python 3.11 to 3.13)",
            file=sys.stderr,
        )
        return 2
    if options.seconds < 1:
        print(f"--seconds {options.seconds}: must be at least 1", file=sys.stderr)
        return 2
    return _supervise(options.target, options.seconds)


def _replay(target: str, path: Path) -> int:
    from tests.fuzz.targets import TARGETS

    try:
        data = path.read_bytes()
    except OSError as error:
        print(f"{path}: {error.strerror}", file=sys.stderr)
        return 2
    TARGETS[target](data)  # A traceback is what one replays for.
    print(f"{path}: {target} keeps its promises on these {len(data)} bytes")
    return 0


def _write_seeds() -> int:
    from tests.fuzz.seeds import SEEDS

    for target, inputs in SEEDS.items():
        directory = CORPUS / target
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.glob("seed-*"):
            old.unlink()
        for number, data in enumerate(inputs(), 1):
            (directory / f"seed-{number:02}").write_bytes(data)
    return 0


def _supervise(target: str, seconds: int) -> int:
    """Run the fuzzer, which ends its own process, in another one; say what came of it."""
    directory = FOUND / target
    (directory / "corpus").mkdir(parents=True, exist_ok=True)
    before = _inputs_found(directory)
    command = [sys.executable, "-m", "tests.fuzz", target, "--seconds", str(seconds), "--inside"]
    try:
        code = subprocess.run(command, cwd=ROOT, check=False).returncode
    except KeyboardInterrupt:
        code = 0
    found = sorted(_inputs_found(directory) - before)
    for path in found:
        name = path.relative_to(ROOT)
        print(f"FOUND {name}; again: .venv/bin/python -m tests.fuzz {target} --replay {name}")
    if found:
        return 1
    if code:
        print(f"the fuzzer ended with code {code} and left no input", file=sys.stderr)
        return 1
    kept = len(list((directory / "corpus").iterdir()))
    print(f"{target}: nothing found; {kept} inputs in {(directory / 'corpus').relative_to(ROOT)}")
    return 0


def _inputs_found(directory: Path) -> set[Path]:
    return {path for path in directory.iterdir() if path.is_file()}


def _fuzz(target: str, seconds: int) -> int:
    """In the process of the fuzzer: it never returns."""
    import atheris

    import quorumcache.node  # noqa: F401  (it arranges how its modules are found, which has to come first)

    with atheris.instrument_imports(include=["quorumcache"]):
        from tests.fuzz.targets import TARGETS

    directory = FOUND / target
    corpora = [directory / "corpus"]
    if (CORPUS / target).is_dir():
        corpora.append(CORPUS / target)
    arguments = [
        target,
        f"-max_total_time={seconds}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-timeout={SECONDS_PER_INPUT_MAX}",
        f"-rss_limit_mb={RSS_MEGABYTES_MAX}",
        f"-artifact_prefix={directory}/",
        "-print_final_stats=1",
        *map(str, corpora),
    ]
    atheris.Setup(arguments, TARGETS[target])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    hear_interrupts()
    sys.exit(main())
