"""`make demo`: the main job from end to end against the sandbox, killed in the middle, and counted by the sandbox itself."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

REBATCH = Path(sys.executable).with_name("rebatch")
HOME = Path(".demo")
AGENT, METRICS = 101, [11, 12]
KILL_AFTER = 12  # requests that the service has carried out

SPEC = f"""\
version: 1
jobs:
  - name: reevaluate-support-agent
    resource: results
    scope: {{agent_id: {AGENT}}}
    action: {{type: evaluate_metrics, metrics: {METRICS}}}
    guards: {{max_items: 10000}}
    limits: {{rate: 15/s, concurrency: 4, timeout: 3s, settle: 2s}}
"""


def main() -> int:
    """Run the demo; the answer is 0 only if the sandbox counts every eligible run exactly once."""
    shutil.rmtree(HOME, ignore_errors=True)
    HOME.mkdir()
    (HOME / "spec.yaml").write_text(SPEC, encoding="utf-8")
    with _sandbox() as sandbox:
        os.environ |= {
            "CEKURA_API_URL": sandbox["url"],
            "CEKURA_API_KEY": sandbox["key"],
            "REBATCH_STATE_DIR": str(HOME / "state"),
        }
        _tell(f"A local Cekura of {sandbox['results']:,} results and {sandbox['runs']:,} runs is up. This is the spec:")
        print(SPEC)
        _tell("First the plan. Nothing is changed by it.")
        _rebatch("plan", str(HOME / "spec.yaml"), "--state-dir", str(HOME / "rehearsal"))
        _tell("Now for real, and after some requests: kill -9.")
        _run_and_kill(sandbox["url"])
        _rebatch("status")
        _tell("Resume. What was in flight is read back before anything is sent again.")
        code = _rebatch("resume", "--last")
        _tell("The sandbox's own count:")
        return _count(sandbox["url"]) or code


@contextmanager
def _sandbox() -> Iterator[dict[str, Any]]:
    command = [
        str(REBATCH),
        "sandbox",
        "--results",
        "16000",
        "--seed",
        "7",
        "--port",
        "0",
        "--latency",
        "200ms",
        "--json",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own command
        try:
            assert process.stdout is not None  # noqa: S101 - it is a pipe
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def _run_and_kill(url: str) -> None:
    with subprocess.Popen([REBATCH, "run", str(HOME / "spec.yaml"), "--yes"]) as process:  # noqa: S603 - our own command
        while _audit(url)["evaluations"]["calls"] < KILL_AFTER and process.poll() is None:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    print(
        "\nKilled."
        if process.returncode == -signal.SIGKILL
        else f"\nIt ended before it was killed: {process.returncode}."
    )


def _count(url: str) -> int:
    audit = _audit(url)
    agent, evaluations = audit["agents"][str(AGENT)], audit["evaluations"]
    print(f"  eligible runs of agent {AGENT}       {agent['eligible_runs']:>7,}")
    print(f"  evaluated                        {agent['evaluated_runs']:>7,}")
    print(f"  evaluations (run × metric)       {evaluations['run_metric_pairs']:>7,}")
    print(f"  of these done more than once     {evaluations['evaluated_twice']:>7,}")
    right = (
        agent["evaluated_runs"] == agent["eligible_runs"] > 0
        and evaluations["run_metric_pairs"] == agent["eligible_runs"] * len(METRICS)
        and evaluations["evaluated_twice"] == 0
    )
    _tell("Every eligible run was evaluated once." if right else "THE COUNT IS WRONG.")
    return 0 if right else 1


def _audit(url: str) -> dict[str, Any]:
    with urlopen(f"{url}/sandbox/audit", timeout=10) as answer:  # noqa: S310 - the sandbox on this machine
        audit: dict[str, Any] = json.load(answer)
    return audit


def _rebatch(*arguments: str) -> int:
    print(f"$ rebatch {' '.join(arguments)}", flush=True)
    return subprocess.run([REBATCH, *arguments], check=False).returncode  # noqa: S603 - our own command


def _tell(text: str) -> None:
    print(f"\n── {text}\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
