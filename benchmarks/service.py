"""The service that the benchmarks work on, and the command under test as a measured process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

KEY = "sk_live_4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c"  # as long as real ones: every answer is searched for it
PROCESSORS = os.sched_getaffinity(0)
ON_THE_FIRST = ("taskset", "--cpu-list", str(min(PROCESSORS)))
REBATCH = Path(sys.executable).with_name("rebatch")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a finished process took: seconds on the clock, seconds of CPU (all its threads), MiB at its peak."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    said: str = ""  # on stdout and stderr
    ended: int = 0  # its exit code


def limits(*, at_once: int, rate: int = 10_000, settle: str = "1s") -> dict[str, str | int]:
    """So many requests a second, so many under way, and no looking back."""
    return {"rate": f"{rate}/s", "concurrency": at_once, "settle": settle, "verify": "0s"}


def evaluation(*, at_once: int, rate: int = 10_000, settle: str = "1s") -> str:
    """A spec that evaluates a metric on every result, within these limits."""
    return f"""\
version: 1
jobs:
  - name: benchmark
    resource: results
    action: {{type: evaluate_metrics, metrics: [11]}}
    limits: {json.dumps(limits(at_once=at_once, rate=rate, settle=settle))}
"""


@contextmanager
def sandbox(*options: str) -> Iterator[str]:
    """A sandbox process of its own; its address."""
    command = [str(REBATCH), "sandbox", "--port=0", "--json", "--die-with-parent", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        facts = json.loads(process.stdout.readline())
        yield facts["url"]
        process.stdin.close()


@contextmanager
def stub(*options: str) -> Iterator[str]:
    """A process that does nothing but answer, on the other processor where there are two; its address."""
    command = [sys.executable, "-m", "benchmarks.stub", f"--cpu={max(PROCESSORS)}", *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        yield process.stdout.readline().strip()
        process.stdin.close()


def tally(url: str) -> dict[str, Any]:
    """What the stub was asked."""
    with urlopen(f"{url}/tally", timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def audit(url: str) -> dict[str, Any]:
    """What really happened at the sandbox."""
    with urlopen(f"{url}/sandbox/audit", timeout=60) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def rebatch(url: str, spec: str, state_dir: Path, *command: str) -> Cost:
    """Run the command on a spec against the sandbox at `url`, and measure the process."""
    path = state_dir / "spec.yaml"
    path.write_text(spec, encoding="utf-8")
    return measured([str(REBATCH), command[0], str(path), *command[1:], "-q", f"--state-dir={state_dir}"], url)


def environment(url: str) -> dict[str, str]:
    """What the command is told of the service at `url`."""
    return {**os.environ, "CEKURA_API_URL": url, "CEKURA_API_KEY": KEY}


def measured(command: list[str], url: str, *, ends: Collection[int] = (0,)) -> Cost:
    """Run a command to its end, on the first processor. Raises CalledProcessError when it ends otherwise than with `ends`."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            [*ON_THE_FIRST, *command], env=environment(url), stdout=said, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.monotonic() - began
        said.seek(0)
        if process.returncode not in ends:
            raise subprocess.CalledProcessError(process.returncode, command, said.read())
        return Cost(wall_s, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, said.read(), process.returncode)
