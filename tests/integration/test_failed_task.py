"""A background task and a callback that fail in a running node: everybody hears of it."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import urllib.error
import urllib.request
from pathlib import Path

from quorumcache.bench.processes import repository_environment
from tests.support.processes import HOST, NodeProcess, free_ports, wait_until
from tests.support.wire import DEADLINE_S, ask

BROKEN = textwrap.dedent(
    """
    import sys
    from quorumcache.node import member
    from quorumcache.node.housekeeping import housekeeper
    from quorumcache.node.process import run
    from quorumcache.node.__main__ import main

    class Housekeeper(housekeeper.Housekeeper):
        lives = 0

        async def run(self):
            Housekeeper.lives += 1
            if Housekeeper.lives == 1:
                raise ZeroDivisionError("of the housekeeper")
            print("housekeeper runs again", file=sys.stderr, flush=True)
            await super().run()

    member.Housekeeper = Housekeeper
    announce = run._announce

    def then_break(one):
        announce(one)
        one.loop.call_soon(lambda: 1 // 0)

    run._announce = then_break
    sys.exit(main())
    """
)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=DEADLINE_S) as reply:
            return reply.status, reply.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_failures_are_told_and_the_node_serves_on(tmp_path: Path) -> None:
    port, http = free_ports(2)
    node = NodeProcess("a", tmp_path, (), port)
    try:
        with node.log_path.open("ab") as log:
            node.process = subprocess.Popen(
                [
                    *(sys.executable, "-P", "-c", BROKEN),
                    *("--listen", f"{HOST}:{port}", "--http", f"{HOST}:{http}"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**repository_environment(), "QUORUMCACHE_COMPILED": "0"},
            )
        node.wait_ready()
        node.wait_log("housekeeper runs again")
        wait_until(
            "both counted",
            lambda: "quorumcache_tasks_failed_total 2.0" in get(http, "/metrics")[1],
        )
        assert 'quorumcache_alarm{alarm="task_failed"} 1.0' in get(http, "/metrics")[1]
        status, text = get(http, "/health")
        assert status == 503
        problems = json.loads(text)["problems"]
        assert [one for one in problems if "failed (ZeroDivisionError(" in one], problems
        assert ask(port, b"set k 0 0 1\r\nx") == b"STORED\r\n"
        assert node.terminate() == 0
        assert len(node.log_lines(" event=task_failed ")) == 2
        (told,) = node.log_lines(" event=task_failed ", "task=housekeeper")
        assert "of the housekeeper" in told
        assert "Traceback" in told
        assert node.log_lines(" event=task_failed ", "task=callback")
    finally:
        node.end()
