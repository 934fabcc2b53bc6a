"""Makespan against the ideal, and what is lost on the way: rebatch beside five scripts that one might write instead.

Everybody lists 20,000 results (200 pages) and evaluates them (200 chunks) at a service that answers after 50 ms ± 10 ms
and takes 50 requests in any second; beyond that it answers 429. Ideal: requests / rate. Then the same while 5 % of the
answers are lost: the request is carried out and the connection is cut.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .results import again
from .service import REBATCH, evaluation, measured, stub, tally

RATE, AT_ONCE, PAGES = 50, 16, 200  # as many chunks as pages
SERVICE = (f"--results={100 * PAGES}", "--latency=0.05", "--jitter=0.01", f"--rate={RATE}")
LOSE = 0.05
SPEC = evaluation(rate=RATE, at_once=AT_ONCE, settle="2s")
PEERS = {
    "SDK, in a loop": ("sdk_loop",),
    "SDK, async, 10 at a time": ("sdk_async",),
    "aiometer + httpx": ("aiometer_httpx", str(RATE), str(AT_ONCE)),
    "aiohttp + aiolimiter": ("naive", str(RATE), str(AT_ONCE)),
    "as the OpenAI cookbook does": ("cookbook", str(RATE)),
}
OURS = "rebatch"
SLOW = {"as the OpenAI cookbook does"}  # minutes a round: one round does
ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Round:
    """What one contestant did at a fresh service. Times are over the ideal, as the service saw them."""

    walk: float  # first list request to last answer, over the pages that the list has
    walk_made: float  # over the requests that were made
    evaluate: float
    whole: float  # the process from start to end, over pages and chunks
    throttled: int
    lost: int  # never evaluated
    twice: int
    held: int | None  # reported as not known; None for those who report nothing
    failed: bool  # whether it said by its exit code that something was wrong


@dataclass(frozen=True, slots=True)
class Row:
    """A contestant's rounds at the service as it should be, and at one that loses answers."""

    name: str
    quiet: tuple[Round, ...]
    losing: tuple[Round, ...]

    @property
    def command(self) -> str:
        """What gives this row again."""
        return again("makespan", self.name)


def measure(only: Sequence[str] = (), rounds: int = ROUNDS) -> list[Row]:
    """Interleave rounds of all contestants, or of some: the slow ones have one; with answers lost everybody has one."""
    names = [name for name in (OURS, *PEERS) if not only or name in only]
    quiet: dict[str, list[Round]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names:
            if number == 0 or name not in SLOW:
                quiet[name].append(_round(name, 0.0))
    return [Row(name, tuple(quiet[name]), (_round(name, LOSE),)) for name in names]


def table(rows: Iterable[Row]) -> str:
    """Both tables in Markdown."""
    rows = list(rows)
    return "\n".join([_quiet(rows), "", _losing(rows)])


def _quiet(rows: list[Row]) -> str:
    lines = [
        f"### Makespan against the ideal: {PAGES} pages and {PAGES} chunks at {RATE}/s",
        "",
        "Time / ideal: median (least–most) of interleaved rounds; one number is one round.",
        "",
        "| | walk | evaluate | whole process | 429s in a round, at most | items never evaluated, at most | again |",
        "| --- | --: | --: | --: | --: | --: | --- |",
    ]
    lines += [
        f"| {row.name} | {_spread(each.walk for each in row.quiet)} | {_spread(each.evaluate for each in row.quiet)} "
        f"| {_spread(each.whole for each in row.quiet)} | {max(each.throttled for each in row.quiet)} "
        f"| {max(each.lost for each in row.quiet):,} | {row.command} |"
        for row in rows
    ]
    lines += [
        "",
        *(
            "rebatch reads overlapping pages, which proves that nothing is missing. Of the time that the requests of its "
            f"walk take at {RATE}/s, it took {_spread(each.walk_made for each in row.quiet)}."
            for row in rows
            if row.name == OURS
        ),
        "Who loses requests to 429s and does not send them again is done early: a time below the ideal is no merit.",
    ]
    return "\n".join(lines)


def _losing(rows: list[Row]) -> str:
    lines = [
        f"### The same, while {LOSE:.0%} of the answers are lost",
        "",
        "| | never evaluated | evaluated twice | held | ended | again |",
        "| --- | --: | --: | --: | --- | --- |",
    ]
    for row in rows:
        worst = max(row.losing, key=lambda each: (each.lost, each.twice))
        held = "–" if worst.held is None else f"{worst.held:,}"
        ended = "with an error" if worst.failed else "well"
        lines.append(f"| {row.name} | {worst.lost:,} | {worst.twice:,} | {held} | {ended} | {row.command} |")
    return "\n".join(lines)


def _spread(values: Iterable[float]) -> str:
    times = sorted(values)
    if len(times) == 1:
        return f"{times[0]:.3f}"
    return f"{statistics.median(times):.3f} ({times[0]:.3f}–{times[-1]:.3f})"


def _round(name: str, lose: float) -> Round:
    with stub(*SERVICE, f"--lose={lose}") as url, tempfile.TemporaryDirectory() as folder:
        cost = measured(_command(name, Path(folder)), url, ends=range(10))
        seen = tally(url)
    walk, evaluate = seen["get"], seen["post"]
    return Round(
        walk=_over(walk, PAGES),
        walk_made=_over(walk, walk["requests"]),
        evaluate=_over(evaluate, PAGES),
        whole=cost.wall_s * RATE / (2 * PAGES),
        throttled=walk["throttled"] + evaluate["throttled"],
        lost=seen["never"],
        twice=seen["twice"],
        held=json.loads(cost.said)["counts"]["held"] if name == OURS and cost.said else None,
        failed=cost.ended != 0,
    )


def _over(phase: dict[str, float], requests: float) -> float:
    """How long a phase took, over its ideal."""
    return (phase["answered"] - phase["first"]) * RATE / requests


def _command(name: str, folder: Path) -> list[str]:
    if name == OURS:
        spec = folder / "spec.yaml"
        spec.write_text(SPEC, encoding="utf-8")
        return [str(REBATCH), "run", str(spec), "--yes", "-q", "--format", "json", f"--state-dir={folder}"]
    script, *arguments = PEERS[name]
    return [sys.executable, str(Path(__file__).parent / "peers" / f"{script}.py"), *arguments]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", action="append", choices=[OURS, *PEERS], default=[])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    print(table(measure(options.only, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
