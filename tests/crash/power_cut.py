"""Real power cuts: `python -m tests.crash.power_cut --cuts 20` (root).

Real nodes write to a real ext4, which stands in a file and is mounted through a loop device. In the
middle of the load the file system is stopped by its own ioctl, without flushing its journal:
from then on nothing reaches the device, as when the power fails. (`EXT4_IOC_SHUTDOWN` is how
xfstests cuts the power; device mapper's dm-flakey would do it one layer below.) Then the processes
are killed, the file system is unmounted and mounted again, which replays its journal, and the node
is started on what is left. It has to start, and every write that was acknowledged has to be there.

What this adds to the crash states in memory is the real page cache, the real journal, and the real
system calls; what it lacks is a device that reorders or tears writes.

At the end the same is done to a node whose syncs do nothing, which must lose something: the control
that the cuts are cuts.

Everything that was made is removed at the end: processes, mount, loop device, files. Ends with 0
when all cuts were survived, 1 when one was not, 2 when this machine cannot do it, with the
reason.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from quorumcache.bench.ports import free_ports
from tests.support.interrupts import hear_interrupts

ROOT = Path(__file__).parents[2]
IMAGE_BYTES = 192 << 20
START_SECONDS_MAX = 60.0
SHUTDOWN_IOCTL = 0x8004587D
"""EXT4_IOC_SHUTDOWN, the same number as XFS_IOC_GOINGDOWN."""
NO_LOG_FLUSH = 2
"""EXT4_GOING_FLAGS_NOLOGFLUSH: what is in the journal's memory is lost too."""
WRITERS = 3
CONTROL_CUTS = 5
"""A node whose syncs do nothing has to lose something within so many cuts."""

SETTINGS = """
segment-size = "64k"
log-size = "256k"
snapshot-size = "100k"
"""
"""Small, so that segments and snapshots come and go between two cuts."""

WITHOUT_SYNC = (
    "import os; os.environ['QUORUMCACHE_COMPILED'] = '0'; "
    "os.fsync = os.fdatasync = lambda fd: None; "
    "from quorumcache.node.__main__ import main; import sys; sys.exit(main())"
)
"""A node that breaks the rule: it acknowledges what it has not synced. From the sources, which call
Python for it."""


class CannotCut(Exception):
    """This machine cannot do it; says why."""


class NotSurvived(Exception):
    """A cut lost something, or the node did not start."""


class Loop:
    """An ext4 in a file."""

    def __init__(self, directory: Path) -> None:
        self.mount_point = directory / "mnt"
        self._image = directory / "image"
        self._device = ""
        self._is_mounted = False

    def make(self) -> None:
        """Create, format, mount. `CannotCut` says which step failed."""
        self.mount_point.mkdir()
        with open(self._image, "wb") as file:
            file.truncate(IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        self._device = _run("losetup", "--find", "--show", str(self._image)).strip()
        self.mount()

    def mount(self) -> None:
        """Mount; replays the journal after a cut."""
        _run("mount", "-t", "ext4", self._device, str(self.mount_point))
        self._is_mounted = True

    def cut(self) -> None:
        """From here on nothing reaches the device."""
        fd = os.open(self.mount_point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, SHUTDOWN_IOCTL, struct.pack("I", NO_LOG_FLUSH))
        except OSError as error:
            raise CannotCut(f"this kernel's ext4 has no shutdown: {error}") from error
        finally:
            os.close(fd)

    def unmount(self) -> None:
        """After the processes have ended."""
        if self._is_mounted:
            _run("umount", str(self.mount_point))
            self._is_mounted = False

    def remove(self) -> None:
        """End everything that `make` made."""
        with contextlib.suppress(CannotCut):
            self.unmount()
        if self._device:
            _run("losetup", "--detach", self._device)
            self._device = ""


def _run(*command: str) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise CannotCut(f"{command[0]} is not installed") from None
    if result.returncode:
        why = result.stderr.strip().splitlines() or [f"code {result.returncode}"]
        raise CannotCut(f"{' '.join(command)}: {why[-1]}")
    return result.stdout


class NodeProcess:
    """One real node whose data is on the file system that is cut."""

    def __init__(self, data_dir: Path, directory: Path, program: tuple[str, ...]) -> None:
        """`program`: arguments of the interpreter that make it a node."""
        self.port = free_ports(1)[0]
        self._data_dir = data_dir
        self._log_path = directory / "node.log"
        self._config = directory / "node.toml"
        self._config.write_text(SETTINGS)
        self._program = program
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the node serves; `NotSurvived` when it does not."""
        command = [
            *(sys.executable, *self._program, "--config", str(self._config)),
            *("--name", "a", "--data-dir", str(self._data_dir)),
            *("--listen", f"127.0.0.1:{self.port}", "--shards", "2"),
        ]
        with open(self._log_path, "ab") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                last = self._log_path.read_text(errors="replace").splitlines()[-3:]
                raise NotSurvived("the node did not start:\n  " + "\n  ".join(last))
            with contextlib.suppress(OSError), Connection(self.port) as connection:
                if connection.set(b"started", b"yes"):
                    return
            time.sleep(0.1)
        raise NotSurvived(f"the node did not serve within {START_SECONDS_MAX:.0f} s")

    def kill(self) -> None:
        """At once, as the power does."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


class Connection:
    """A client that knows what was acknowledged to it."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def set(self, key: bytes, value: bytes) -> bool:
        """Whether the node said STORED. OSError when the connection is gone."""
        self._socket.sendall(b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value))
        return self._line() == b"STORED\r\n"

    def get(self, key: bytes) -> bytes | None:
        """The value; None for a miss."""
        self._socket.sendall(b"get %b\r\n" % key)
        line = self._line()
        if line == b"END\r\n":
            return None
        if not line.startswith(b"VALUE "):
            raise OSError(f"{line!r}")
        value = self._file.read(int(line.split()[3]) + 2)[:-2]
        self._line()
        return value

    def _line(self) -> bytes:
        line = self._file.readline()
        if not line.endswith(b"\n"):
            raise OSError("the connection is gone")
        return line


class Writer(threading.Thread):
    """Writes one key after the other, with growing numbers, until its connection is gone."""

    def __init__(self, number: int, port: int, acknowledged: dict[bytes, int], start: int) -> None:
        super().__init__(daemon=True)
        self.handed_in: dict[bytes, int] = {}
        self._number = number
        self._port = port
        self._acknowledged = acknowledged
        self._at = start

    def run(self) -> None:
        with contextlib.suppress(OSError), Connection(self._port) as connection:
            while True:
                self._at += 1
                key = b"w%d-%d" % (self._number, self._at % 50)
                value = b"%d " % self._at + b"x" * (self._at * 37 % 3000)
                self.handed_in[key] = self._at
                if connection.set(key, value):
                    self._acknowledged[key] = self._at


def check(port: int, acknowledged: dict[bytes, int], handed_in: dict[bytes, int]) -> None:
    """Every key has the number that was acknowledged, or one that was handed in after it."""
    with Connection(port) as connection:
        for key, number in sorted(acknowledged.items()):
            value = connection.get(key)
            found = int(value.split()[0]) if value is not None else None
            if found is None or not number <= found <= max(number, handed_in.get(key, 0)):
                raise NotSurvived(f"{key.decode()}: {number} was acknowledged, {found} is there")
            acknowledged[key] = found


def cut_again_and_again(
    cuts: int, seed: int, directory: Path, program: tuple[str, ...] = ("-m", "quorumcache.node")
) -> None:
    """The whole test, in `directory`. Prints one line per cut."""
    chance = random.Random(seed)
    loop = Loop(directory)
    node = NodeProcess(loop.mount_point / "a", directory, program)
    acknowledged: dict[bytes, int] = {}
    handed_in: dict[bytes, int] = {}
    start = 0
    try:
        loop.make()
        for number in range(1, cuts + 1):
            node.start()
            check(node.port, acknowledged, handed_in)
            writers = [Writer(w, node.port, acknowledged, start) for w in range(WRITERS)]
            for writer in writers:
                writer.start()
            time.sleep(chance.uniform(0.2, 2.0))
            loop.cut()
            node.kill()
            for writer in writers:
                writer.join()
                handed_in.update(writer.handed_in)
                start = max(start, *writer.handed_in.values(), 0)
            loop.unmount()
            loop.mount()
            print(f"cut {number}: after {start} writes by each client", flush=True)
        node.start()
        check(node.port, acknowledged, handed_in)
    finally:
        node.kill()
        loop.remove()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A directory that is removed at the end."""
    directory = Path(tempfile.mkdtemp(prefix="quorumcache-power-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def main(arguments: list[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash.power_cut", description=__doc__)
    parser.add_argument("--cuts", type=int, default=20, help="how often the power fails (20)")
    parser.add_argument("--seed", type=int, default=1, help="decides when")
    options = parser.parse_args(arguments)
    if options.cuts < 1:
        parser.error(f"--cuts {options.cuts}: must be at least 1")
    try:
        if os.geteuid() != 0:
            raise CannotCut("mounting a file system needs root")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        with scratch() as directory:
            cut_again_and_again(options.cuts, options.seed, directory)
        print("control: a node whose syncs do nothing", flush=True)
        try:
            with scratch() as directory:
                cut_again_and_again(CONTROL_CUTS, options.seed, directory, ("-c", WITHOUT_SYNC))
        except NotSurvived as error:
            print(f"  lost, as it must: {str(error).splitlines()[0]}")
        else:
            raise NotSurvived(f"the control lost nothing in {CONTROL_CUTS} cuts: these are no cuts")
    except CannotCut as error:
        print(f"no power cuts on this machine: {error}", file=sys.stderr)
        return 2
    except NotSurvived as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(f"{options.cuts} power cuts: nothing that was acknowledged is lost")
    return 0


if __name__ == "__main__":
    hear_interrupts()
    sys.exit(main())
