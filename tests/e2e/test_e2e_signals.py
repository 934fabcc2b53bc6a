"""Ctrl-C, SIGTERM, and two processes at one job."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.e2e.rig import EVALUATE, Rebatch, assert_all_confirmed, assert_each_once, eligible, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143)]


def test_a_signal_while_dispatching_lets_what_is_in_flight_finish(rebatch: Rebatch, open_world: Open) -> None:
    """Nothing is left in doubt; the message names the command that goes on; and that ends the job."""
    world = open_world("--results=900", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(latency="200ms")
    live = rebatch.at(world.url).start("run", rebatch.spec(EVALUATE), "--yes", "--format", "json")
    until(lambda: world.count("POST") >= 5, "some chunks")
    live.send(signal.SIGINT)
    done = live.wait()
    assert done.code == 130
    assert "Stopping: what is in flight finishes first (again to force)." in done.err
    assert f"go on with: rebatch resume {rebatch.job()}" in done.err
    stopped = done.json
    assert (stopped["state"], stopped["counts"]["unsettled"]) == ("interrupted", 0)
    assert stopped["counts"]["accepted"] > 0
    assert stopped["counts"]["not_attempted"] > 0
    world.change(latency="0s")
    report = rebatch("resume", rebatch.job(), "--format", "json", "--items").json
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)


@pytest.mark.parametrize(("stage", "number", "code"), [("planning", *SIGNALS[0]), ("verifying", *SIGNALS[1])])
def test_a_signal_while_reading_stops_at_once(
    rebatch: Rebatch, open_world: Open, stage: str, number: signal.Signals, code: int
) -> None:
    """Also while the list is read for the plan, and while it is read back at the end."""
    world = open_world("--results=900", "--evaluation-time=1m")
    world.change(latency="50ms" if stage == "verifying" else "150ms")
    live = rebatch.at(world.url).start("run", rebatch.spec(EVALUATE), "--yes")
    if stage == "planning":
        until(lambda: world.count("GET") >= 4, "some pages")
    else:
        until(lambda: "verifying" in live.said, "the last stage")
    live.send(number)
    done = live.wait()
    assert f"go on with: rebatch resume {rebatch.job()}" in done.err
    assert done.code == code


def test_a_second_signal_does_not_wait_for_what_is_in_flight(rebatch: Rebatch, open_world: Open) -> None:
    """What was in flight has an unknown fate then; resuming reads it back."""
    world = open_world("--results=400", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(latency="100ms")
    spec = rebatch.at(world.url).spec(EVALUATE, limits={**EVALUATE["limits"], "timeout": "30s"})
    live = rebatch.start("run", spec, "--yes")
    until(lambda: world.count("POST") >= 1, "the first chunk")
    world.change(latency="2500ms")
    until(lambda: world.count("POST") >= 5, "chunks that will be in flight for long")
    live.send(signal.SIGINT)
    until(lambda: "again to force" in live.said, "the first signal's message")
    assert live.process.poll() is None
    live.send(signal.SIGINT)
    done = live.wait()
    assert done.code == 130
    assert f"go on with: rebatch resume {rebatch.job()}" in done.err
    assert rebatch("report", rebatch.job(), "--format", "json").json["counts"]["unsettled"] > 0
    world.change(latency="0s")
    calls = world.count("POST")
    until(lambda: world.audit()["evaluations"]["calls"] == calls, "what was in flight has been carried out")
    report = rebatch("resume", rebatch.job(), "--format", "json", "--items").json
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)


def test_a_second_process_is_refused_and_onlookers_are_not(rebatch: Rebatch, open_world: Open) -> None:
    """Exit 11 with the owner's pid; `status`, `list` and `report` work meanwhile; the first finishes untroubled."""
    world = open_world("--results=400", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(latency="100ms")
    limits = {**EVALUATE["limits"], "timeout": "60s"}
    spec = rebatch.at(world.url).spec(EVALUATE, limits=limits)
    first = rebatch.start("run", spec, "--yes", "--format", "json", "--items")
    until(lambda: world.count("POST") >= 1, "the first chunk")
    first.send(signal.SIGSTOP)
    job = rebatch.job()
    second = rebatch.start("resume", job, "--yes")
    looking = [rebatch.start(*command, "--format", "json") for command in (["status"], ["list"], ["report", job])]
    refused = second.wait()
    assert refused.code == 11
    assert f"{job}: process {first.process.pid} works on this job." in refused.err
    status, listed, report = (onlooker.wait().json for onlooker in looking)
    assert first.process.poll() is None
    assert (status["state"], status["pid"]) == ("working", first.process.pid)
    assert [(entry["job"], entry["state"]) for entry in listed] == [(job, "working")]
    assert report["state"] == "working"
    first.send(signal.SIGCONT)
    done = first.wait()
    assert_each_once(world, wanted)
    assert_all_confirmed(done.json, wanted)
