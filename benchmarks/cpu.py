"""What a request costs in CPU when the service is fast: `python -m benchmarks.cpu`.

Each contestant does a small and a large job; the difference, divided by the requests that it is more, is free of start-up.
`--only CLIENT` measures one of them, beside the bare loop.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .results import again
from .service import REBATCH, evaluation, measured, stub, tally
from .without import OF_PAGES, OPTIMISATIONS

ROUNDS = 5
PEERS = Path(__file__).parent / "peers"
JOB = evaluation(at_once=32)
REFUSED = JOB + "    guards: {max_items: 1}\n"  # the list is walked, decoded and stored, and that is all
GUARD = 5  # the exit code of a refused plan
BARE, LEAST = "bare aiohttp loop, tuned", "bare loop that keeps the books"
NOTE = (
    "By the pages that the list has: rebatch asks for about a sixth more, which overlap. The bare loop gets a page and drops it; "
    "the one that keeps the books decodes the fields in use and stores them, or makes an intent and an outcome durable "
    "(`benchmarks/peers/least.py`): whoever promises what rebatch does has at least that to do."
)
LIST = "/test_framework/v1/results"


@dataclass(frozen=True, slots=True)
class Row:
    """CPU of one request in µs, of all threads of the client: the median of the rounds, the least and the most."""

    request: str
    client: str
    median: float
    least: float
    most: float
    times_bare: float


Measure = Callable[[], float]


def measure(only: Collection[str] = (), rounds: int = ROUNDS) -> list[Row]:
    """Let all take turns, round by round, or `only` some clients and the bare loop."""
    contestants = {key: each for key, each in _contestants() if not only or key[1] in {BARE, *only}}
    figures: dict[tuple[str, str], list[float]] = {key: [] for key in contestants}
    for _ in range(rounds):
        for key, contestant in contestants.items():
            figures[key].append(contestant())
    bare = {request: statistics.median(figures[request, BARE]) for request, _ in figures}
    found = [
        Row(request, client, (middle := statistics.median(each)), min(each), max(each), middle / bare[request])
        for (request, client), each in figures.items()
    ]
    return sorted(found, key=lambda row: (row.request, row.median))


def table(rows: list[Row]) -> str:
    """As Markdown."""
    lines = [
        "| request | client | CPU µs, median (least–most) | × bare loop | again |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    lines += [
        f"| {row.request} | {row.client} | {row.median:,.0f} ({row.least:,.0f}–{row.most:,.0f}) | {row.times_bare:.2f} "
        f"| {again('cpu', row.client)} |"
        for row in rows
    ]
    return "\n".join([*lines, "", NOTE])


def _contestants() -> Iterator[tuple[tuple[str, str], Measure]]:
    page, chunk = "page of 100 rows", "chunk of 100 ids"
    yield (page, BARE), lambda: _peer("bare.py", "pages", 500, 3_500)
    yield (page, "bare loop, and orjson decodes"), lambda: _peer("bare.py", "decoded", 500, 2_500)
    yield (page, LEAST), lambda: _peer("least.py", "pages", 500, 3_500)
    yield (page, "rebatch: walk, decode, select, store, certify"), _rebatch_walk
    yield (page, "rebatch: walk, and freeze the plan"), _rebatch_plan
    yield (page, "vendor SDK, one by one"), lambda: _peer("sdk_requests.py", "pages", 20, 220)
    yield (page, "vendor SDK, async, 32 at once"), lambda: _peer("sdk_requests.py", "pages", 50, 450, "async")
    yield (chunk, BARE), lambda: _peer("bare.py", "chunks", 2_000, 12_000)
    yield (chunk, LEAST), lambda: _peer("least.py", "chunks", 2_000, 12_000)
    yield (chunk, "rebatch: durable intent, send, durable outcome"), _rebatch_run
    yield (chunk, "vendor SDK, one by one"), lambda: _peer("sdk_requests.py", "chunks", 50, 550)
    yield (chunk, "vendor SDK, async, 32 at once"), lambda: _peer("sdk_requests.py", "chunks", 50, 450, "async")
    for each in OPTIMISATIONS:
        command = [sys.executable, "-m", "benchmarks.without", each]
        yield (page, f"rebatch without {each}"), partial(_rebatch_walk, command)
        if each not in OF_PAGES:
            yield (chunk, f"rebatch without {each}"), partial(_rebatch_run, each)
    if shutil.which("wrk"):
        yield (page, "wrk, the limit of the machine"), lambda: _wrk(f"{LIST}/?page=1&page_size=100")
        yield (
            (chunk, "wrk, the limit of the machine"),
            lambda: _wrk(f"{LIST}/bulk_evaluate_metrics/", PEERS / "post.lua"),
        )


def _peer(script: str, what: str, few: int, many: int, *how: str) -> float:
    with stub("--results=10000") as url:
        commands = ([sys.executable, str(PEERS / script), what, str(number), *how] for number in (few, many))
        cpu = [measured(command, url).cpu_s for command in commands]
    return 1e6 * (cpu[1] - cpu[0]) / (many - few)


def _rebatch_walk(command: Sequence[str] = (str(REBATCH),)) -> float:
    def work(url: str, folder: Path) -> tuple[float, int]:
        return _did(url, folder, REFUSED, *command, "plan", ends=(GUARD,)), _pages(url)

    return _slope(work)


def _rebatch_plan() -> float:
    return _slope(lambda url, folder: (_did(url, folder, JOB, str(REBATCH), "plan"), _pages(url)))


def _pages(url: str) -> int:
    """Those that the list has: rebatch asks for about a sixth more, which overlap."""
    return int(tally(url)["never"]) // 100


def _rebatch_run(*without: str) -> float:
    def work(url: str, folder: Path) -> tuple[float, int]:
        said = json.loads(measured([sys.executable, "-m", "benchmarks.running", str(folder), *without], url).said)
        return said["cpu_s"], said["chunks"]

    return _slope(work)


def _slope(work: Callable[[str, Path], tuple[float, int]], few: int = 20_000, many: int = 220_000) -> float:
    """CPU µs of one more request; `work` answers with its CPU seconds and requests."""
    found = []
    for results in (few, many):
        with stub(f"--results={results}") as url, tempfile.TemporaryDirectory() as folder:
            found.append(work(url, Path(folder)))
    (cpu_few, few), (cpu_many, many) = found
    return 1e6 * (cpu_many - cpu_few) / (many - few)


def _did(url: str, folder: Path, spec: str, *command: str, ends: Collection[int] = (0,)) -> float:
    """CPU seconds of a command on a spec."""
    path = folder / "spec.yaml"
    path.write_text(spec, encoding="utf-8")
    return measured([*command, str(path), "-q", f"--state-dir={folder}"], url, ends=ends).cpu_s


def _wrk(target: str, script: Path | None = None) -> float:
    with stub("--results=10000") as url:
        command = ["wrk", "-t1", "-c32", "-d2s", *(["-s", str(script)] if script else []), url + target]
        cost = measured(command, url)
    found = re.search(r"(\d+) requests in", cost.said)
    assert found, cost.said
    return 1e6 * cost.cpu_s / int(found[1])


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    clients = sorted({client for (_, client), _ in _contestants()})
    parser.add_argument("--only", action="append", choices=clients, default=[], metavar="CLIENT")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args(arguments)
    print(table(measure(options.only, options.rounds)))


if __name__ == "__main__":
    main()
