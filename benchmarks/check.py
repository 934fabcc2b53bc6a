"""`make bench-check`: has a fixed small job become dearer? Counts instructions, which other work on the machine does not change.

A job of 1,000 items and one of 6,000 are planned and run under callgrind, or under `perf stat` where the machine counts; the
difference is what 100 items more cost: a page and a bit, their rows, a chunk, its intent and outcome. What is committed in
`instructions.json` holds for the versions named there; `--write` counts anew.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .service import KEY, REBATCH, evaluation, stub

FEW, MANY = 1_000, 6_000
ALLOWED = 0.03  # above the committed figure; the same job counted twice differs by less than 0.001
FIGURES = Path(__file__).with_name("instructions.json")
LOCK = Path(__file__).parents[1] / ".ci" / "requirements.txt"
SPEC = evaluation(at_once=32)
PERF = ("perf", "stat", "-e", "instructions:u", "-x", ",")
CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")


def main() -> int:
    """Count, and compare or write; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="commit to what is counted now")
    options = parser.parse_args()
    if (counter := _counter()) is None:
        print("Nothing here counts instructions: sudo apt-get install valgrind")
        return 2
    with ThreadPoolExecutor(2) as pool:
        few, many = pool.map(lambda items: _instructions(counter, items), (FEW, MANY))
    found = {f"job of {FEW:,} items": few, "100 items more": (many - few) * 100 // (MANY - FEW)}
    known = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    if options.write:
        FIGURES.write_text(json.dumps({"with": _versions(counter), "instructions": found}, indent=2) + "\n", "utf-8")
    if options.write or known.get("with") != _versions(counter):
        print("\n".join(f"{name}: {count:,} instructions" for name, count in found.items()))
        told = f"Not to be compared: committed with {known.get('with')}. If this is as it should be: --write"
        print("Written." if options.write else told)
        return 0 if options.write else 2
    return max(compared(name, count, known["instructions"][name]) for name, count in found.items())


def compared(name: str, count: int, committed: int) -> int:
    """Say how a count compares with the committed one; 1 when it is dearer by more than is allowed."""
    times = count / committed
    verdict = f"dearer by more than {ALLOWED:.0%}" if times > 1 + ALLOWED else "as it was"
    print(f"{name}: {count:,} instructions, {times:.3f} × the committed {committed:,}: {verdict}")
    return int(times > 1 + ALLOWED)


def _counter() -> tuple[str, ...] | None:
    """How instructions are counted here."""
    if shutil.which("perf"):
        tried = subprocess.run([*PERF, "true"], capture_output=True, text=True, check=False)
        if tried.returncode == 0 and tried.stderr[:1].isdigit():
            return PERF
    return CALLGRIND if shutil.which("valgrind") else None


def _instructions(counter: tuple[str, ...], items: int) -> int:
    with stub(f"--results={items}") as url, tempfile.TemporaryDirectory() as folder:
        spec = Path(folder) / "small.yaml"
        spec.write_text(SPEC, encoding="utf-8")
        command = [*counter, sys.executable, str(REBATCH), "run", str(spec), "--yes", "-q", f"--state-dir={folder}"]
        ours = {"CEKURA_API_URL": url, "CEKURA_API_KEY": KEY, "PYTHONHASHSEED": "0"}
        done = subprocess.run(command, env={**os.environ, **ours}, capture_output=True, text=True, check=True)
    counted = re.search(
        r"^(\d+),.*instructions" if counter is PERF else r"Collected : (\d+)", done.stderr, re.MULTILINE
    )
    assert counted, done.stderr
    return int(counted[1])


def _versions(counter: tuple[str, ...]) -> dict[str, str]:
    """What else the figure depends on."""
    lock = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    return {"counter": counter[0], "python": platform.python_version(), "machine": platform.machine(), "lock": lock}


if __name__ == "__main__":
    sys.exit(main())
