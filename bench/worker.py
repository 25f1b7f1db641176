"""A load process: `python -m quorumcache.bench.worker`.

`driver.py` starts it, and speaks to it over its pipes.

    parent: one line of JSON, the job                       worker: {"phase": "fill", ...} lines
                                                            {"phase": "filled", "keys": n}
    parent: connect                                         {"phase": "ready"}
    parent: go <monotonic ns>                               {"phase": "run", "completed": n, ...}
                                                            {"phase": "done", ...}
At any time {"phase": "failed", "why": text}. The end of its input ends the worker, so it does not
outlive its parent.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import time
from typing import Any

import uvloop

from quorumcache.bench.errors import BenchError
from quorumcache.bench.loadgen import Job, LoadGenerator, LoadResult


def say(**message: Any) -> None:
    """One message to the parent."""
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def result_message(result: LoadResult) -> dict[str, Any]:
    """Everything the parent needs to merge results of several processes."""
    stats = result.stats
    return {
        "phase": "done",
        "seconds": result.seconds,
        "completed": result.completed,
        "timeline": result.timeline,
        "errors": stats.errors,
        "error_kinds": stats.error_kinds,
        "misses": stats.misses,
        "lost_connections": stats.lost_connections,
        "unsent": stats.unsent,
        "unanswered": stats.unanswered,
        "read": stats.read.to_dict(),
        "write": stats.write.to_dict(),
        "send_lag": stats.send_lag.to_dict(),
    }


def _command(name: str) -> str:
    line = sys.stdin.readline()
    if not line:
        raise SystemExit(0)
    word, _, rest = line.strip().partition(" ")
    if word != name:
        raise BenchError(f"load process: {name} expected, not {word[:50]!r}")
    return rest


def _give_up(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """An error within a callback is ours: end, loudly, instead of measuring half a load."""
    say(phase="failed", why=f"load process: {context['message']}: {context.get('exception')!r}")
    os._exit(1)


def work(job: Job) -> None:
    """Run one job to its end."""
    if job.cpus:
        os.sched_setaffinity(0, job.cpus)
    loop = uvloop.new_event_loop()
    loop.set_exception_handler(_give_up)
    try:
        generator = LoadGenerator(
            job,
            loop,
            time.monotonic_ns,
            lambda phase, done, errors: say(phase=phase, completed=done, errors=errors),
        )
        if job.workload.fill:
            say(phase="filled", keys=loop.run_until_complete(generator.fill()))
        else:
            say(phase="filled", keys=0)
        _command("connect")
        loop.run_until_complete(generator.connect())
        # Nothing of the run makes cycles; a collection in the middle would look like a slow reply.
        gc.collect()
        gc.freeze()
        gc.disable()
        say(phase="ready")
        start_ns = int(_command("go"))
        say(**result_message(loop.run_until_complete(generator.run(start_ns))))
    finally:
        loop.close()


def main() -> int:
    """Entry of the process."""
    try:
        line = sys.stdin.readline()
        if line:
            work(Job.from_dict(json.loads(line)))
    except BenchError as error:
        say(phase="failed", why=str(error))
        return 1
    except (BrokenPipeError, KeyboardInterrupt):
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
