"""How cost grows with the number of results: CPU for each, peak memory, size of the checkpoint."""

from __future__ import annotations

import tempfile
from pathlib import Path

from .service import rebatch, sandbox

SIZES = (1_000, 10_000, 100_000, 1_000_000)
SPEC = """\
version: 1
jobs:
  - name: growth
    resource: results
    action: {type: evaluate_metrics, metrics: [11]}
    limits: {rate: 5000/s, concurrency: 16, settle: 1s, verify: 0s}
"""


def main() -> None:
    """Plan and run a job on worlds of every size; print a row for each."""
    print("\nHow cost grows: plan and evaluate every result (python -m benchmarks.growth)\n")
    print(f"{'results':>10} {'wall s':>8} {'CPU µs/result':>14} {'peak MiB':>9} {'checkpoint B/result':>20}")
    for size in SIZES:
        with sandbox(f"--results={size}") as url, tempfile.TemporaryDirectory() as folder:
            cost = rebatch(url, SPEC, Path(folder), "run", "--yes")
            stored = sum(path.stat().st_size for path in Path(folder).glob("*.rebatch"))
        print(
            f"{size:>10,} {cost.wall_s:>8.1f} {1e6 * cost.cpu_s / size:>14.1f} {cost.peak_mib:>9.1f} {stored / size:>20.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
