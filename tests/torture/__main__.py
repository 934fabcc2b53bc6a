"""`python -m tests.torture`: everything that could break the promises, by the hundred; prints a table, exits 1 if one broke."""

from __future__ import annotations

import argparse
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from tests.torture.sections import SECTIONS, Sizes, available, replay, trials, work
from tests.torture.tally import Tally

DOCUMENT = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN, END = "<!-- torture: begin -->", "<!-- torture: end -->"


def main() -> None:
    """Run the sections that were asked for, all without a name."""
    asked = _arguments()
    if asked.replay:
        tally = replay(asked.replay)
        print(tally)
        sys.exit(not tally.whole)
    names = asked.sections or available()
    sizes = Sizes(asked.seeds, asked.images, asked.points, asked.schedules)
    tallies, seconds = _all(names, sizes, asked.seed, asked.workers)
    table = _table(names, tallies, seconds)
    print(table)
    if asked.write:
        _write(
            f"{table}\n\nWritten by `python -m tests.torture {' '.join(sys.argv[1:])}`, with {asked.workers} processes."
        )
    sys.exit(not all(tally.whole for tally in tallies.values()))


def _arguments() -> argparse.Namespace:
    sizes = Sizes()
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all without")
    parser.add_argument("--seeds", type=int, default=sizes.seeds, help="jobs in each of kills, power and disk")
    parser.add_argument("--images", type=int, default=sizes.images, help="power-cut images in all")
    parser.add_argument("--points", type=int, default=sizes.points, help="of the real command")
    parser.add_argument("--schedules", type=int, default=sizes.schedules, help="of lists that move")
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--replay", metavar="POINT", help="strike once more where a failure says")
    parser.add_argument("--write", action="store_true", help=f"put the table into {DOCUMENT.name}")
    asked = parser.parse_args()
    if unknown := [name for name in asked.sections if name not in available()]:
        parser.error(f"there is no section {unknown[0]}; there are {', '.join(available())}")
    return asked


def _all(names: list[str], sizes: Sizes, seed: int, workers: int) -> tuple[dict[str, Tally], dict[str, float]]:
    """Section after section, so that the seconds of each are its own."""
    tallies: dict[str, Tally] = defaultdict(Tally)
    seconds: dict[str, float] = {}
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for name in names:
            began = time.monotonic()
            for done in as_completed([pool.submit(work, trial) for trial in trials([name], sizes, seed)]):
                _, tally = done.result()
                tallies[name] += tally
                print("".join(f"{line}\n" for line in tally.replays), end="", file=sys.stderr, flush=True)
            seconds[name] = time.monotonic() - began
            print(f"{name}: {tallies[name].trials:,} in {seconds[name]:.0f} s", file=sys.stderr, flush=True)
    return dict(tallies), seconds


def _table(names: list[str], tallies: dict[str, Tally], seconds: dict[str, float]) -> str:
    lines = [
        "| what | how many | lost | doubled | corrupt | held | seconds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in names:
        tally = tallies[name]
        lines.append(
            f"| {SECTIONS[name].title} | {tally.trials:,} | {tally.lost} | {tally.doubled} | {tally.corrupt} | {tally.held} "
            f"| {seconds[name]:.0f} |"
        )
    return "\n".join(lines)


def _write(table: str) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
