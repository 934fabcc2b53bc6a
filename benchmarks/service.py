"""The service that the benchmarks work on, and the command under test as a measured process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

REBATCH = Path(sys.executable).with_name("rebatch")


@dataclass(frozen=True, slots=True)
class Cost:
    """What a finished process took: seconds on the clock, seconds of CPU, MiB at its peak."""

    wall_s: float
    cpu_s: float
    peak_mib: float


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


def measured(command: list[str], url: str) -> Cost:
    """Run a command to its end. Raises CalledProcessError when it fails."""
    environment = {**os.environ, "CEKURA_API_URL": url, "CEKURA_API_KEY": "sandbox-key"}
    began = time.monotonic()
    with tempfile.TemporaryFile() as sink:
        process = subprocess.Popen(command, env=environment, stdout=sink)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
