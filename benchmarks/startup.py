"""How long the command takes to begin: each command beside a Python that does nothing, in interleaved rounds."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from .results import again
from .service import REBATCH, evaluation, rebatch, stub

ROUNDS = 15
BARE = "python -c pass"
COMMANDS = {
    BARE: [sys.executable, "-c", "pass"],
    "rebatch --help": [str(REBATCH), "--help"],
    "rebatch version": [str(REBATCH), "version"],
    "rebatch status": [str(REBATCH), "status"],
    "rebatch list": [str(REBATCH), "list"],
}
SPEC = evaluation(at_once=16)


@dataclass(frozen=True, slots=True)
class Row:
    """What a command took in all rounds, in milliseconds on the clock; `over` is what it took over Python itself."""

    command: str
    median: float
    least: float
    most: float
    over: float


def measure(only: Collection[str] = (), rounds: int = ROUNDS) -> list[Row]:
    """Every command in every round, looking at a folder with one finished job, all of Python's bytecode cached.

    Or `only` some commands, and Python.
    """
    commands = {name: command for name, command in COMMANDS.items() if not only or name in {BARE, *only}}
    with tempfile.TemporaryDirectory() as folder:
        with stub("--results=1000") as url:
            rebatch(url, SPEC, Path(folder), "run", "--yes")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        environment["REBATCH_STATE_DIR"] = folder
        took: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(1 + rounds):
            for name, command in commands.items():
                took[name].append(_once(command, environment, folder))
    bare = statistics.median(took[BARE][1:])
    return [_row(name, times[1:], bare) for name, times in took.items()]  # the first round fills the caches


def _once(command: list[str], environment: dict[str, str], folder: str) -> float:
    """The command from its start to its end, in milliseconds."""
    began = time.perf_counter()
    subprocess.run(command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, check=True)
    return 1000 * (time.perf_counter() - began)


def _row(command: str, times: list[float], bare: float) -> Row:
    median = statistics.median(times)
    return Row(command, median, min(times), max(times), median - bare)


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    lines = ["| command | ms, median (least–most) | over Python | again |", "| --- | ---: | ---: | --- |"]
    lines += [
        f"| `{row.command}` | {row.median:.0f} ({row.least:.0f}–{row.most:.0f}) | {row.over:.0f} | {again('startup', row.command)} |"
        for row in rows
    ]
    return "\n".join([*lines, "", f"{ROUNDS} interleaved rounds, looking at a folder with one finished job."])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=COMMANDS, default=[], metavar="COMMAND")
    print(table(measure(parser.parse_args(arguments).only)))


if __name__ == "__main__":
    main()
