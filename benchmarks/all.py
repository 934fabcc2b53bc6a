"""`make bench`: every benchmark, one after the other; what they find goes into `RESULTS.md` and `growth.svg`."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from . import cpu, growth, makespan, startup
from .results import PAGE, Section, facts, page

LARGEST = 10_000_000


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--largest", type=int, default=LARGEST, metavar="ITEMS", help="of the jobs that grow")
    sections = []
    for section in _sections(parser.parse_args().largest):
        print(f"\n## {section.title}\n\n{section.found}", flush=True)
        sections.append(section)
    PAGE.write_text(page(sections, facts()), encoding="utf-8")
    print(f"\nWritten into {PAGE}.")


def _sections(largest: int) -> Iterator[Section]:
    yield Section("Start-up", "python -m benchmarks.startup", startup.table(startup.measure()))
    yield Section("What a request costs when the service is fast", "python -m benchmarks.cpu", cpu.table(cpu.measure()))
    yield Section("Makespan", "python -m benchmarks.makespan", makespan.table(makespan.measure()))
    rows = growth.measure_all(largest)
    growth.PLOT.write_text(growth.picture(rows), encoding="utf-8")
    shown = f"![CPU for each item and peak memory, by the number of items]({growth.PLOT.name})"
    command = f"python -m benchmarks.growth --largest {largest} --plot"
    yield Section("How cost grows", command, f"{shown}\n\n{growth.table(rows)}")


if __name__ == "__main__":
    main()
