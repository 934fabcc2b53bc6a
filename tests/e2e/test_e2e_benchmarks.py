"""What the benchmarks rest on: a stub that is as strict as it says, scripts beside rebatch that do their work, pages that can be read."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from benchmarks import check, cpu, growth, makespan, results, startup
from benchmarks.service import Cost, environment, stub, tally
from benchmarks.stub import FIRST_ID, Service

PEERS = Path(cpu.__file__).parent / "peers"


def _service(**options: float) -> Service:
    return Service(
        argparse.Namespace(**{"results": 100, "rate": 0, "lose": 0.0, "latency": 0.0, "jitter": 0.0, **options})
    )


def test_the_stub_lets_no_second_have_more_than_the_rate() -> None:
    """A window that slides: what was refused does not count, and a second after the first one there is room again."""
    service = _service(rate=3)
    assert [service.throttles(at) for at in (0.0, 0.5, 0.9, 0.99, 1.0, 1.01, 1.5)] == [False] * 3 + [
        True,
        False,
        True,
        False,
    ]


def test_the_stub_carries_out_what_it_does_not_answer() -> None:
    """As a service does whose answer is lost."""
    body = json.dumps({"result_ids": [FIRST_ID], "metric_ids": [11]}).encode()
    with stub("--results=100", "--lose=1") as url:
        target = f"{url}/test_framework/v1/results/bulk_evaluate_metrics/"
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            urllib.request.urlopen(urllib.request.Request(target, body, method="POST"), timeout=30)
        told = tally(url)
    assert (told["never"], told["post"]["lost"]) == (99, 1)


@pytest.mark.parametrize("command", makespan.PEERS.values(), ids=lambda command: command[0])
def test_each_script_beside_rebatch_does_the_work(command: tuple[str, ...]) -> None:
    """At a service that is neither strict nor loses anything."""
    with stub("--results=250") as url:
        script = [sys.executable, str(PEERS / f"{command[0]}.py"), *command[1:]]
        done = subprocess.run(script, env=environment(url), capture_output=True, text=True, check=False, timeout=120)
        told = tally(url)
    assert done.returncode == 0, done.stderr
    assert (told["never"], told["twice"], told["post"]["requests"]) == (0, 0, 3)


@pytest.mark.parametrize(
    ("script", "how"), [("bare.py", ()), ("least.py", ()), ("sdk_requests.py", ()), ("sdk_requests.py", ("async",))]
)
@pytest.mark.parametrize("what", ["pages", "chunks"])
def test_loops_that_do_nothing_else_send_as_many_requests_as_they_are_told(
    script: str, how: tuple[str, ...], what: str
) -> None:
    """Else their cost would be divided by a wrong number."""
    with stub("--results=10000") as url:
        subprocess.run(
            [sys.executable, str(PEERS / script), what, "40", *how], env=environment(url), check=True, timeout=120
        )
        told = tally(url)
    assert told["get" if what == "pages" else "post"]["requests"] == 40


def test_results_are_pages_that_can_be_read() -> None:
    """Tables of Markdown and a picture of XML, from rows that nobody had to measure."""
    cost = Cost(1.0, 0.5, 70.0)
    grown = [growth.Row(items, cost, cost, 100 * items, 0.5, 0.1, 0.2) for items in (1, 1_000, 10_000)]
    assert ET.fromstring(growth.picture(grown)).tag.endswith("svg")
    sections = [
        results.Section("Start-up", "python -m a", startup.table([startup.Row("rebatch --help", 90, 80, 99, 80)])),
        results.Section("CPU", "python -m b", cpu.table([cpu.Row("page", "rebatch", 1000, 900, 1100, 1.5)])),
        results.Section("Growth", "python -m c", growth.table(grown)),
    ]
    page = results.page(sections, results.facts())
    assert "| `rebatch --help` | 90 (80–99) | 80 | `python -m benchmarks.startup --only 'rebatch --help'` |" in page
    assert "| page | rebatch | 1,000 (900–1,100) | 1.50 | `python -m benchmarks.cpu --only rebatch` |" in page
    assert "| `python -m benchmarks.growth --only 10000` |" in page
    assert "## Growth\n\n`python -m c`\n\n| items |" in page


def test_a_job_that_has_become_dearer_is_found_out(capsys: pytest.CaptureFixture[str]) -> None:
    """And one that is a little dearer is not: a new version of a library may cost that."""
    assert [check.compared("job", count, 1_000) for count in (900, 1_020, 1_040)] == [0, 0, 1]
    assert "1.040 × the committed 1,000: dearer by more than 3%" in capsys.readouterr().out
