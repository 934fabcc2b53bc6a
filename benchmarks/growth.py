"""How cost grows with the number of results: time, CPU, memory, the checkpoint, and how soon a killed job goes on.

`python -m benchmarks.growth --largest 10000000` plans and evaluates every result of lists of up to ten million, `--only 10000`
those of one. What a process takes to start is measured with a job of one item, and taken off what is shown for each item.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from engine.ledger import CHUNK

from .plot import Curve, Panel, svg
from .results import again
from .service import ON_THE_FIRST, REBATCH, Cost, environment, evaluation, measured, stub, tally

SIZES = (1, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SMALL, ROUNDS = 10_000, 9  # sizes at which the start is most of the cost: the medians of some rounds count
FOLDER = "/var/tmp"
FEWEST = 10_000  # items of a job that can be killed in the middle: of fewer, all requests are under way at once
SPEC = evaluation(at_once=16)
PLOT = Path(__file__).with_name("growth.svg")


@dataclass(frozen=True, slots=True)
class Row:
    """What a job of so many items cost: to plan it, to run it, to keep it, to go on with it, to be told of it."""

    items: int
    plan: Cost
    run: Cost
    stored: int  # bytes of the checkpoint
    resume_s: float | None  # from `resume` to the first request, after a kill in the middle
    status_s: float
    report_s: float


def measure(items: int, folder: Path) -> Row:
    """Plan a job of so many items and run it; run a copy of it, too, which is killed in the middle and resumed."""
    spec, whole, killed = folder / "growth.yaml", folder / "whole", folder / "killed"
    spec.write_text(SPEC, encoding="utf-8")
    with stub(f"--results={items}") as url:
        plan = measured(_command(whole, "plan", str(spec), "-q"), url)
        (checkpoint,) = whole.glob("*.rebatch")
        killed.mkdir()
        shutil.copy(checkpoint, killed)
        run = measured(_command(whole, "run", checkpoint.stem, "--yes", "-q"), url)
        status, report = (measured(_command(whole, told, checkpoint.stem), url) for told in ("status", "report"))
    stored = sum(path.stat().st_size for path in whole.glob("*.rebatch*"))
    shutil.rmtree(whole)
    resume_s = None
    if items >= FEWEST:
        with stub(f"--results={items}", f"--port={urlsplit(url).port}") as url:  # a job goes on where it was planned
            resume_s = _resume_s(url, killed, checkpoint.stem, items // CHUNK)
    shutil.rmtree(killed)
    return Row(items, plan, run, stored, resume_s, status.wall_s, report.wall_s)


def _command(folder: Path, *arguments: str) -> list[str]:
    return [str(REBATCH), *arguments, f"--state-dir={folder}"]


def _resume_s(url: str, folder: Path, job: str, chunks: int) -> float:
    """Kill a run when half of its chunks have been sent; seconds from `resume` to the first request."""
    with _under_way(url, _command(folder, "run", job, "--yes", "-q")) as until:
        until(lambda: _asked(url, "post") > chunks // 2)
    before = _asked(url, "get", "post")
    began = time.monotonic()
    with _under_way(url, _command(folder, "resume", job, "-q")) as until:
        until(lambda: _asked(url, "get", "post") > before)
        return time.monotonic() - began


@contextmanager
def _under_way(url: str, command: list[str]) -> Iterator[Callable[[Callable[[], bool]], None]]:
    """A process that is killed in the end; what is given waits until something is so."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen([*ON_THE_FIRST, *command], env=environment(url), stdout=quiet, stderr=quiet) as process:

        def until(so: Callable[[], bool]) -> None:
            while not so():
                if process.poll() is not None:
                    raise RuntimeError(f"{command[1]} ended with {process.returncode} before it was killed")
                time.sleep(0.01)

        try:
            yield until
        finally:
            process.kill()


def _asked(url: str, *methods: str) -> int:
    told = tally(url)
    return sum(told[method]["requests"] for method in methods)


def table(rows: Sequence[Row]) -> str:
    """Markdown. The first row is the start, which is taken off the others."""
    start, *others = rows
    head = (
        "| items | plan: CPU µs each | wall µs each | run: CPU µs each | wall µs each | peak MiB: plan | run "
        "| checkpoint: bytes each | resume s | status s | report s | again |"
    )
    told = f"A job of one item takes {start.plan.cpu_s:.2f} s of CPU to plan and {start.run.cpu_s:.2f} s to run: taken off."
    rule = "| ---: " * (head.count("|") - 2) + "| --- |"
    return "\n".join([head, rule, *(_line(row, start) for row in others), "", told])


def _line(row: Row, start: Row) -> str:
    cells = [
        f"{row.items:,}",
        *(f"{spent:.1f}" for spent in _each(row, start)),
        f"{row.plan.peak_mib:.0f}",
        f"{row.run.peak_mib:.0f}",
        f"{row.stored / row.items:.0f}",
        "–" if row.resume_s is None else f"{row.resume_s:.2f}",
        f"{row.status_s:.2f}",
        f"{row.report_s:.2f}",
        again("growth", str(row.items)),
    ]
    return f"| {' | '.join(cells)} |"


def _each(row: Row, start: Row) -> tuple[float, ...]:
    """µs for each item beyond the start: CPU and wall of the plan, then of the run."""
    both = ((row.plan, start.plan), (row.run, start.run))
    spent = [used for ours, its in both for used in (ours.cpu_s - its.cpu_s, ours.wall_s - its.wall_s)]
    return tuple(1e6 * used / (row.items - start.items) for used in spent)


def picture(rows: Sequence[Row]) -> str:
    """CPU for each item, and peak memory, as SVG."""
    start, *others = rows
    plan, _, run, _ = zip(*(_each(row, start) for row in others), strict=True)
    peaks = [[row.plan.peak_mib for row in others], [row.run.peak_mib for row in others]]
    cpu = Panel("CPU for each item, µs", (Curve("plan", plan), Curve("run", run)))
    memory = Panel("Peak memory, MiB", (Curve("plan", peaks[0]), Curve("run", peaks[1])))
    return svg([row.items for row in others], "items", (cpu, memory))


def measure_all(largest: int, folder: str = FOLDER, only: Collection[int] = ()) -> list[Row]:
    """Every size up to `largest`, or `only` some, and a job of one item; `folder` is where there is room."""
    sizes = [1, *only] if only else [size for size in SIZES if size <= largest]
    rows: dict[int, list[Row]] = {size: [] for size in sizes}
    for number in range(ROUNDS):
        for size in sizes:
            if size <= SMALL or number == 0:
                rows[size].append(_measured_under(folder, size))
    return [_median(found) for found in rows.values()]


def _measured_under(folder: str, items: int) -> Row:
    with tempfile.TemporaryDirectory(dir=folder) as own:
        return measure(items, Path(own))


def _median(rows: Sequence[Row]) -> Row:
    """The medians of what rows of one size show, each by itself."""

    def of(figure: Callable[[Row], float]) -> float:
        return statistics.median(map(figure, rows))

    return Row(
        rows[0].items,
        Cost(of(lambda row: row.plan.wall_s), of(lambda row: row.plan.cpu_s), of(lambda row: row.plan.peak_mib)),
        Cost(of(lambda row: row.run.wall_s), of(lambda row: row.run.cpu_s), of(lambda row: row.run.peak_mib)),
        rows[0].stored,
        None if rows[0].resume_s is None else of(lambda row: row.resume_s or 0.0),
        of(lambda row: row.status_s),
        of(lambda row: row.report_s),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every size, print the table, and draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=1_000_000, metavar="ITEMS")
    parser.add_argument("--only", type=int, action="append", default=[], metavar="ITEMS")
    parser.add_argument("--folder", default=FOLDER, help="where there is room: 500 bytes for each item, for a while")
    parser.add_argument("--plot", action="store_true", help=f"draw it into {PLOT.name}")
    asked = parser.parse_args(arguments)
    rows = measure_all(asked.largest, asked.folder, asked.only)
    print(table(rows))
    if asked.plot:
        PLOT.write_text(picture(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
