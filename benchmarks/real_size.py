"""Two jobs of real size: a million results with three million runs, pruned with a backup, and a month of them exported.

Each is killed in the middle and resumed. What is printed: seconds and peak memory of each process, how long it takes from
`resume` to the first request that goes on with the work, and what the sandbox and DuckDB count in the end.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import duckdb

from .service import REBATCH, audit, sandbox

PRUNE = """\
version: 1
jobs:
  - name: prune
    resource: runs
    {scope}
    where: {{created_at: {{older_than: 30d}}}}
    keep: {{last: 10, per: agent_id, by: created_at}}
    action: {{type: delete_runs, backup: "kept/{{job}}.jsonl.zst"}}
    limits: {{rate: 5000/s, concurrency: 16, settle: 1s}}
"""
EXPORT = """\
version: 1
jobs:
  - name: export
    resource: runs
    {scope}
    where: {{created_at: {{newer_than: 30d}}}}
    action: {{type: export_runs, path: "out/runs.parquet", partition_by: [agent]}}
    limits: {{rate: 5000/s, concurrency: 16}}
"""


class Process:
    """The command under way in a folder of its own, and what it cost when it ended."""

    def __init__(self, folder: Path, url: str, *arguments: str) -> None:
        """Start it."""
        environment = {**os.environ, "CEKURA_API_URL": url, "CEKURA_API_KEY": "sandbox-key"}
        command = [str(REBATCH), *arguments, "--state-dir", str(folder / "state")]
        self.began = time.monotonic()
        self._log = (folder / "log").open("ab")
        self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=self._log, stderr=self._log)

    @property
    def over(self) -> bool:
        """Whether it has ended; what it cost is still to be asked."""
        return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def end(self, kill_after_s: float | None = None) -> str:
        """Wait for its end, or kill it; seconds and MiB as text."""
        deadline = self.began + kill_after_s if kill_after_s else float("inf")
        while True:
            pid, _, usage = os.wait4(self.process.pid, os.WNOHANG)
            if pid:
                self.process.returncode = 0
                return f"{time.monotonic() - self.began:8.1f} s  {usage.ru_maxrss / 1024:6.1f} MiB"
            if time.monotonic() > deadline:
                self.process.kill()
                deadline = float("inf")
            time.sleep(0.05)


def main() -> None:
    """Run both, on as many results as are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=int, default=1_000_000)
    parser.add_argument("--agent", type=int, help="only runs of this agent")
    options = parser.parse_args()
    scope = f"scope: {{agent_id: {options.agent}}}" if options.agent else ""
    began = time.monotonic()
    with sandbox(f"--results={options.results}") as url, tempfile.TemporaryDirectory() as folder:
        print(f"{options.results:,} results made in {time.monotonic() - began:.1f} s", flush=True)
        for name, spec in (("export", EXPORT), ("prune", PRUNE)):
            _job(Path(folder), url, name, spec.format(scope=scope))
        _count(Path(folder), url)


def _job(folder: Path, url: str, name: str, spec: str) -> None:
    path = folder / f"{name}.yaml"
    path.write_text(spec, encoding="utf-8")
    planned = Process(folder, url, "plan", str(path), "-q", "--format", "json")
    print(f"{name}: plan           {planned.end()}", flush=True)
    job = json.loads((folder / "log").read_text(encoding="utf-8").splitlines()[-1])["job"]
    run = Process(folder, url, "run", job, "--yes", "-q")
    print(f"{name}: run, killed    {run.end(20.0)}", flush=True)
    before = _requests(url)
    resumed = Process(folder, url, "resume", job, "--yes", "-q")
    while _requests(url) == before and not resumed.over:
        time.sleep(0.02)
    print(f"{name}: first request {time.monotonic() - resumed.began:8.2f} s after “resume”", flush=True)
    print(f"{name}: resume         {resumed.end()}", flush=True)


def _requests(url: str) -> int:
    with urlopen(f"{url}/sandbox/requests/count", timeout=60) as answer:
        return int(answer.read())


def _count(folder: Path, url: str) -> None:
    found: Any = duckdb.sql(f"SELECT count(*), count(DISTINCT id) FROM read_parquet('{folder}/out/**/*.parquet')")
    print(f"export: rows, different ids   {found.fetchall()[0]}")
    print(f"prune: deleted at the sandbox {audit(url)['deletions']['runs']:,}")
    kept = sorted((folder / "kept").iterdir())
    if kept:
        state = ["--state-dir", str(folder / "state")]
        sys.stdout.flush()
        subprocess.run([str(REBATCH), "archive", "verify", str(kept[0]), *state], check=False)


if __name__ == "__main__":
    main()
