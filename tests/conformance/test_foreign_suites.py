"""Other people's tests of a memcached server: pymemcache's, which come with it.

libmemcached's are in `test_client_tools.py`.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.support.clients import library
from tests.support.processes import Cluster
from tests.support.wire import DEADLINE_S


def test_pymemcache_integration_tests(empty_cluster: Cluster, tmp_path: Path) -> None:
    file = Path(library("pymemcache").__file__).parent / "test" / "test_integration.py"
    words = ["-q", "-p", "no:cacheprovider", "-c", "/dev/null", "-W", "ignore", "-m", "integration"]
    server = ["--server=127.0.0.1", f"--port={empty_cluster['b'].port}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words, f"--rootdir={tmp_path}", str(file), *server],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=4 * DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed
    assert int(passed[1]) >= 90
