"""SIGKILL at many moments, alone and among faults of the service: resuming ends as a quiet job would have."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.e2e.rig import EVALUATE, Live, Rebatch, World, assert_all_confirmed, assert_each_once, eligible, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

FAULTS = {
    "errors_after": "5%",
    "reset_after": "5%",
    "reset_before": "5%",
    "errors": "5%",
    "hang_after": "2%",
    "only": "writes",
}

# What has reached the service when the blow falls: pages while planning, chunks, pages while verifying. The world below
# has 12 pages and about 10 chunks, 4 in flight.
PLANNING = [("pages", number) for number in (1, 5, 9)]
DISPATCHING = [("chunks", number) for number in (1, 2, 3, 4, 6, 7)]
VERIFYING = [("looks", number) for number in (1, 4, 8)]


def reached(world: World, what: str, number: int) -> bool:
    """Whether so many pages, chunks or, after the last chunk, looks have reached the service."""
    methods = [method for method, _, _ in world.requests()]
    if what == "chunks":
        return methods.count("POST") >= number
    if what == "looks":
        return "POST" in methods and methods[methods.index("POST") :].count("GET") >= number
    return len(methods) >= number


def kill_when(live: Live, fact: Callable[[], bool]) -> bool:
    """SIGKILL as soon as the fact holds; False if the command had ended by then."""
    until(lambda: fact() or live.process.poll() is not None, "the moment to kill")
    return live.kill().code == -signal.SIGKILL


@pytest.mark.parametrize(("what", "number"), [*PLANNING, *DISPATCHING, *VERIFYING])
def test_a_job_killed_at_any_moment_is_resumed_to_the_same_end(
    rebatch: Rebatch, open_world: Open, what: str, number: int
) -> None:
    """Every eligible run is evaluated, none twice, and the report accounts for every planned item."""
    evaluation_time = "1s" if what == "looks" else "20ms"  # so that the job cannot end before the blow
    world = open_world("--results=900", f"--seed={number}", f"--evaluation-time={evaluation_time}")
    wanted = eligible(world.results())
    world.change(latency="40ms", jitter="20ms")
    live = rebatch.at(world.url).start("run", rebatch.spec(EVALUATE), "--yes")
    assert kill_when(live, lambda: reached(world, what, number)), live.said
    report = rebatch("resume", rebatch.job(), "--yes", "--format", "json", "--items").json
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)


def test_a_job_killed_again_and_again_is_finished_all_the_same(rebatch: Rebatch, open_world: Open) -> None:
    """Every resume gets some chunks further; each chunk that was in flight is read back, not sent on a guess."""
    world = open_world("--results=900", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(latency="60ms")
    live = rebatch.at(world.url).start("run", rebatch.spec(EVALUATE), "--yes")
    kills = 0
    for number in (1, 3, 5, 7):
        kills += kill_when(live, lambda least=number: reached(world, "chunks", least))  # type: ignore[misc]
        live = rebatch.start("resume", "--last", "--yes", "--format", "json", "--items")
    report = live.wait().json
    assert kills == 4
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_job_killed_among_faults_of_the_service_loses_nothing_and_doubles_nothing(
    rebatch: Rebatch, open_world: Open, seed: int
) -> None:
    """Answers lost after the effect, before it, errors with and without effect, and two kills."""
    world = open_world("--results=1800", f"--seed={seed}", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(latency="30ms", **FAULTS)
    limits = {**EVALUATE["limits"], "timeout": "1s", "settle": "1s"}
    live = rebatch.at(world.url).start("run", rebatch.spec(EVALUATE, limits=limits), "--yes")
    kills = 0
    for number in (6, 15):
        kills += kill_when(live, lambda least=number: reached(world, "chunks", least))  # type: ignore[misc]
        live = rebatch.start("resume", "--last", "--yes", "--format", "json", "--items")
    report = live.wait().json
    assert kills == 2
    assert sum(world.audit()["faults"].values()) > 0
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)


def test_faults_of_reads_do_no_harm(rebatch: Rebatch, open_world: Open) -> None:
    """Broken pages, lost ones and errors are read again; nothing is missing from the plan."""
    world = open_world("--results=500", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(errors="10%", reset_before="10%", truncate="10%", only="reads")
    report = rebatch.at(world.url)("run", rebatch.spec(EVALUATE), "--yes", "--format", "json", "--items").json
    assert report["retries"] > 0
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)
