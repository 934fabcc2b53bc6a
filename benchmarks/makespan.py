"""How long a whole job takes at a strictly limited service, and what is lost on the way, beside a naive script."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from .service import Cost, audit, measured, rebatch, sandbox

RATE, CONCURRENCY, RESULTS, ROUNDS = 50, 16, 10_000, 3
SPEC = f"""\
version: 1
jobs:
  - name: makespan
    resource: results
    action: {{type: evaluate_metrics, metrics: [11]}}
    limits: {{rate: {RATE}/s, concurrency: {CONCURRENCY}, verify: 0s}}
"""


def main() -> None:
    """Interleave rounds of both on fresh sandboxes; print a row for each."""
    contestants: dict[str, Callable[[str], Cost]] = {"rebatch": _rebatch, "naive script": _naive}
    rows: dict[str, list[tuple[float, int, int]]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            rows[name].append(_round(run))
    print(f"\nA job at {RATE} requests/s, strictly limited, 50 ms ± 10 ms (python -m benchmarks.makespan)\n")
    print(f"{'':14} {'time / ideal':>22} {'429s':>6} {'runs not evaluated':>22}")
    for name, rounds in rows.items():
        times = sorted(ratio for ratio, _, _ in rounds)
        spread = f"{statistics.median(times):.2f} ({times[0]:.2f}–{times[-1]:.2f})"
        throttled, lost = max(row[1] for row in rounds), max(row[2] for row in rounds)
        print(f"{name:14} {spread:>22} {throttled:>6} {lost:>22,}", flush=True)


def _round(run: Callable[[str], Cost]) -> tuple[float, int, int]:
    """One job: its time over requests / rate, the 429s it drew, the eligible runs that it missed."""
    options = (f"--results={RESULTS}", "--latency=50ms", "--jitter=10ms", f"--rate={RATE}/s", "--evaluation-time=10m")
    with sandbox(*options) as url:
        cost, after = run(url), audit(url)
    own = [agent for agent in after["agents"].values() if agent["evaluated_results"]]
    missed = sum(agent["eligible_runs"] - agent["evaluated_runs"] for agent in own)
    ideal = 2 * RESULTS / 100 / RATE
    return cost.wall_s / ideal, after["throttled"], missed


def _rebatch(url: str) -> Cost:
    with tempfile.TemporaryDirectory() as folder:
        return rebatch(url, SPEC, Path(folder), "run", "--yes")


def _naive(url: str) -> Cost:
    script = Path(__file__).with_name("naive.py")
    return measured([sys.executable, str(script), str(RATE), str(CONCURRENCY)], url)


if __name__ == "__main__":
    main()
