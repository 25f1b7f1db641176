"""The first process inside of a run's namespaces: `python -m tests.chaos.inside OPTIONS`.

`tests.chaos` starts it; by hand it would take the machine's own network for a toy, so it refuses.
"""

from __future__ import annotations

import json
import os
import sys

from tests.chaos.cluster import ClusterError
from tests.chaos.commands import CannotRun
from tests.chaos.run import Options, Run, Stopped

GOOD = 0
FAILED = 1
CANNOT_RUN = 2
STOPPED = 3


def main() -> int:
    if os.getpid() != 1:
        print("chaos: this is a part of python -m tests.chaos, run that", file=sys.stderr)
        return CANNOT_RUN
    options = Options(**json.loads(sys.argv[1]))
    try:
        report = Run(options).report()
    except CannotRun as error:
        print(f"chaos: {error}", file=sys.stderr)
        return CANNOT_RUN
    except ClusterError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return FAILED
    except Stopped:
        return STOPPED
    print(report.text(every_key=options.every_key), flush=True)
    return GOOD if report.is_good else FAILED


if __name__ == "__main__":
    sys.exit(main())
