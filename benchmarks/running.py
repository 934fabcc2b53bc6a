"""What it takes to run a plan: `python -m benchmarks.running FOLDER` plans a job, runs it, and prints what the second took.

Both in one process: what another one has seen counts as old, and would be looked at again before it is sent.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from jobs.account import Account, job
from jobs.cli import loop

from .service import limits
from .without import OPTIMISATIONS


async def main(folder: Path) -> None:
    """Plan, run; print CPU seconds of all threads, and chunks."""
    async with Account(state_dir=folder) as account:
        spec = job("benchmark", "evaluate_metrics", metrics=[11], limits=limits(at_once=32))
        async with account.plan(spec) as planned:
            before = time.process_time()
            await planned.run(agreed=planned.items)
            print(json.dumps({"cpu_s": time.process_time() - before, "chunks": -(-planned.items // 100)}))


if __name__ == "__main__":
    for optimisation in sys.argv[2:]:
        OPTIMISATIONS[optimisation]()
    loop.run(main, Path(sys.argv[1]))
