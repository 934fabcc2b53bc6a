"""`rebatch run --scheduled`: what is due, once, however often a timer fires; and what a timer sees of it."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest

from engine.schedule.entry import TickFate
from tests.e2e.nightly import Inbox, jobs_made, just_due, not_due, ticks
from tests.e2e.rig import (
    DELETE,
    EVALUATE,
    KEY,
    Rebatch,
    assert_each_once,
    eligible,
    until,
)

if TYPE_CHECKING:
    from tests.e2e.conftest import Open


def test_what_is_due_is_done_once(rebatch: Rebatch, open_world: Open) -> None:
    """The report is on stdout, in the summary of the step, and in the textfile; a second pass sends nothing at all."""
    world = open_world("--results=200", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    spec = rebatch.at(world.url).spec(EVALUATE, schedule=just_due())
    step, metrics = rebatch.home / "step.md", rebatch.home / "node" / "rebatch.prom"
    metrics.parent.mkdir()
    done = rebatch("run", "--scheduled", spec, "--textfile", metrics, GITHUB_STEP_SUMMARY=str(step))
    assert f"evaluate: job {rebatch.job()} begins, due " in done.err
    assert rebatch("report", rebatch.job()).out == done.out
    assert step.read_text().startswith("## evaluate: finished\n")
    assert 'rebatch_schedule_ticks_total{fate="ran",schedule="evaluate"} 1.0' in metrics.read_text()
    assert_each_once(world, wanted)

    sent, told, seen = len(world.requests()), step.read_text(), metrics.read_text()
    again = rebatch("run", "--scheduled", spec, "--textfile", metrics, GITHUB_STEP_SUMMARY=str(step))
    assert (again.out, again.err) == ("", "")
    assert len(world.requests()) == sent
    assert step.read_text() == told
    assert metrics.read_text() != seen, "its heartbeat is that of the second pass"
    (tick,) = ticks(rebatch)
    assert (tick.fate, tick.outcome, tick.job) == (TickFate.RAN, "success", rebatch.job())


def test_the_report_of_a_pass_can_be_json(rebatch: Rebatch, open_world: Open) -> None:
    """A value for each job that ended, as `report` gives it; and only the schedules that were named."""
    world = open_world("--results=200", "--evaluation-time=20ms")
    rebatch.at(world.url)
    others = {**EVALUATE, "name": "others"}
    spec = rebatch.spec(EVALUATE, others, schedule=just_due())
    report = rebatch("run", "--scheduled", spec, "--job", "evaluate", "--format", "json").json
    assert report == rebatch("report", rebatch.job(), "--format", "json").json
    assert (report["spec"], report["state"]) == ("evaluate", "finished")
    assert ticks(rebatch, "others") == []
    rest = rebatch("run", "--scheduled", spec, "--format", "json").json
    assert rest["spec"] == "others"


def test_a_schedule_that_is_not_due_does_nothing(rebatch: Rebatch, open_world: Open) -> None:
    """It is entered in the book, and its next tick is known."""
    world = open_world("--results=60")
    done = rebatch.at(world.url)("run", "--scheduled", rebatch.spec(EVALUATE, schedule=not_due()))
    assert (done.out, done.err) == ("", "")
    assert world.requests() == []
    (listed,) = rebatch("schedule", "ls", "--format", "json").json
    assert (listed["state"], listed["ticks"], len(listed["next"])) == ("on_time", [], 5)


def test_two_passes_at_the_same_moment_make_one_job(rebatch: Rebatch, open_world: Open) -> None:
    """Whoever comes second finds the tick taken, and has nothing to do."""
    world = open_world("--results=200", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(latency="150ms")
    spec = rebatch.at(world.url).spec(EVALUATE, schedule=just_due())
    passes = [rebatch.start("run", "--scheduled", spec, "--format", "json").wait for _ in range(3)]
    done = [wait() for wait in passes]
    assert [each.code for each in done] == [0, 0, 0]
    assert sorted(bool(each.out) for each in done) == [False, False, True]
    (tick,) = ticks(rebatch)
    assert tick.job == rebatch.job()
    assert_each_once(world, wanted)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_an_interrupted_pass_is_gone_on_with_by_the_next(
    rebatch: Rebatch, open_world: Open, number: signal.Signals
) -> None:
    """The same job, to the same end."""
    world = open_world("--results=400", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(latency="200ms")
    spec = rebatch.at(world.url).spec(EVALUATE, schedule=just_due())
    live = rebatch.start("run", "--scheduled", spec)
    until(lambda: world.count("POST") >= 3, "some chunks")
    live.send(number)
    assert live.wait().code == (143 if number == signal.SIGTERM else -number)
    job = rebatch.job()
    world.change(latency="0s")
    done = rebatch("run", "--scheduled", spec)
    assert f"evaluate: job {job} was interrupted, and goes on" in done.err
    assert jobs_made(rebatch) == [job]
    (tick,) = ticks(rebatch)
    assert (tick.fate, tick.outcome) == (TickFate.RAN, "success")
    assert_each_once(world, wanted)


ENDS: dict[str, tuple[int, str, list[str], dict[str, Any], str]] = {
    "items that failed": (3, "failure", ["--poison=2%"], {}, KEY),
    "a guard that trips": (5, "guard", [], {"guards": {"max_items": 1}}, KEY),
    "a key that is refused": (4, "failure", [], {}, "another-key"),
    "nothing to do": (0, "success", [], {"where": {"id": 1}}, KEY),
}


@pytest.mark.parametrize("case", ENDS)
def test_a_pass_has_the_exit_code_of_its_job_and_tells_how_it_ended(
    rebatch: Rebatch, open_world: Open, inbox: Inbox, case: str
) -> None:
    """Its outcome is in the book and told, its beats in their order; the next pass has nothing to do."""
    code, outcome, options, changes, key = ENDS[case]
    world = open_world("--results=300", "--evaluation-time=20ms", *options)
    inbox.slow = "/beat/start"
    notify = inbox.notify("success", "failure", "guard", "held")
    spec = rebatch.at(world.url, key).spec(EVALUATE, schedule=just_due(), notify=notify, **changes)
    rebatch("run", "--scheduled", spec, code=code)
    (tick,) = ticks(rebatch)
    assert (tick.fate, tick.outcome, tick.exit_code) == (TickFate.RAN, outcome, code)
    (told,) = inbox.told
    assert (told["event"], told["exit_code"], told["job"], told["spec"]) == (outcome, code, tick.job, "evaluate")
    assert inbox.beats == ["start", "success" if code == 0 else "fail"]
    rebatch("run", "--scheduled", spec)
    assert len(inbox.told) == 1
    assert len(ticks(rebatch)) == 1


def test_a_pass_without_a_schedule_is_refused(rebatch: Rebatch, open_world: Open) -> None:
    """Exit 2, nothing sent: a spec with none, a name that has none, a job in place of a spec, a mistake in the spec."""
    world = open_world("--results=60")
    spec = rebatch.at(world.url).spec(EVALUATE)
    assert "none of its jobs has a schedule" in rebatch("run", "--scheduled", spec, code=2).err
    spec = rebatch.spec({**EVALUATE, "schedule": just_due()}, {**EVALUATE, "name": "unscheduled"})
    said = rebatch("run", "--scheduled", spec, "--job", "unscheduled", code=2).err
    assert "there is no schedule “unscheduled”. It has: evaluate." in said
    assert "--scheduled wants a spec" in rebatch("run", "--scheduled", "7f3a", code=2).err
    assert "--textfile" in rebatch("run", spec, "--textfile", "a.prom", "--yes", code=2).err
    wrong = rebatch.spec(EVALUATE, schedule={"cron": "2 30 * *"}, name="wrong.yaml")
    assert f"{wrong}:1:" in rebatch("run", "--scheduled", wrong, code=2).err
    assert world.requests() == []
    assert rebatch.checkpoints == []


def test_a_job_past_its_deadline_is_stopped_told_and_can_be_resumed(
    rebatch: Rebatch, open_world: Open, inbox: Inbox
) -> None:
    """What is in flight finishes first; a person goes on with it, or nobody."""
    world = open_world("--results=400", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(latency="1s")
    limits = {**EVALUATE["limits"], "concurrency": 1, "timeout": "5s"}
    schedule = {**just_due(), "deadline": "3s"}
    spec = rebatch.at(world.url).spec(
        EVALUATE, schedule=schedule, notify=inbox.notify("failure", "success"), limits=limits
    )
    said = rebatch("run", "--scheduled", spec, code=6).err
    assert "It was at work for longer than its deadline of 3s and was stopped." in said
    (told,) = inbox.told
    assert (told["event"], told["report"]["state"], told["report"]["counts"]["unsettled"]) == (
        "failure",
        "interrupted",
        0,
    )
    assert f"rebatch resume {rebatch.job()}" in told["error"]
    rebatch("run", "--scheduled", spec)
    assert len(ticks(rebatch)) == 1, "its tick is over"
    world.change(latency="0s")
    assert rebatch("resume", rebatch.job(), "--format", "json").json["state"] == "finished"
    assert_each_once(world, wanted)
    assert [each["event"] for each in inbox.told] == ["failure", "success"]
    assert inbox.beats == ["start", "fail", "success"]


def test_a_failure_pauses_a_schedule_that_wants_it(rebatch: Rebatch, open_world: Open) -> None:
    """Nothing more is begun, `ls --check` wakes somebody, and `schedule resume` ends it."""
    world = open_world("--results=100", "--evaluation-time=20ms")
    rows = world.results()
    schedule = {**just_due(), "pause_on_failure": True}
    spec = rebatch.at(world.url).spec(DELETE, schedule=schedule, guards={"max_items": 1})
    said = rebatch("run", "--scheduled", spec, code=5).err
    assert "delete: the schedule is paused; go on with: rebatch schedule resume delete" in said
    listed = rebatch("schedule", "ls", "--check", code=3).out
    assert f"delete: paused, job {rebatch.job()} ended with guard; go on with:" in listed
    rebatch("schedule", "resume", "delete")
    rebatch("schedule", "ls", "--check")
    assert world.results().keys() == rows.keys()


def test_a_pass_of_an_export_writes_a_file_of_its_own(rebatch: Rebatch, open_world: Open) -> None:
    """Each job into a file with its id in the name, by hand or by a tick."""
    world = open_world("--results=60")
    action = {"type": "export_results", "path": str(rebatch.home / "out" / "{job}.jsonl")}
    spec = rebatch.at(world.url).spec({"name": "export", "resource": "results", "action": action}, schedule=just_due())
    rebatch("run", "--scheduled", spec)
    rebatch("schedule", "run", "export")
    files = sorted((rebatch.home / "out").rglob("*.jsonl"))
    assert sorted(path.name.removesuffix(".jsonl") for path in files) == sorted(jobs_made(rebatch))
    ids = [[json.loads(line)["id"] for line in path.read_text().splitlines()] for path in files]
    assert [len(each) for each in ids] == [60, 60]
