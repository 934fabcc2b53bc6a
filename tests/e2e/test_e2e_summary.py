"""The summary of a step of GitHub Actions, by the real command: however a job ends, its report is there."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from tests.e2e.rig import DELETE, EVALUATE, Rebatch, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open


def test_a_finished_job_is_in_the_summary_of_its_step(rebatch: Rebatch, open_world: Open) -> None:
    """As `report --format md` has it; a second command of the step adds its own."""
    world = open_world("--results=100", "--evaluation-time=20ms")
    step = rebatch.home / "step.md"
    backup = {"type": "delete_results", "backup": "{job}.jsonl"}
    spec = rebatch.at(world.url).spec(DELETE, action=backup)
    rebatch("run", spec, "--yes", GITHUB_STEP_SUMMARY=str(step))
    job = rebatch.job()
    told = rebatch("report", job, "--format", "md").out
    assert step.read_text() == told
    assert told.startswith("## delete: finished\n")
    assert f"Archive `{rebatch.home}/{job}.jsonl`, " in told
    rebatch("run", rebatch.spec(EVALUATE, name="second.yaml"), "--yes", GITHUB_STEP_SUMMARY=str(step))
    assert step.read_text().startswith(f"{told}\n## evaluate: finished\n")


def test_a_refused_job_is_in_the_summary(rebatch: Rebatch, open_world: Open) -> None:
    """With the guard that refused it; its exit code is the same."""
    world = open_world("--results=100")
    step = rebatch.home / "step.md"
    spec = rebatch.at(world.url).spec(DELETE, guards={"max_items": 1})
    rebatch("run", spec, "--yes", code=5, GITHUB_STEP_SUMMARY=str(step))
    lines = step.read_text().splitlines()
    assert lines[0] == "## delete: refused"
    assert [line for line in lines if line.startswith("Stopped: `") and "max_items" in line]


def test_a_stopped_job_is_in_the_summary(rebatch: Rebatch, open_world: Open) -> None:
    """With what stopped it and the way on."""
    world = open_world("--results=100", "--evaluation-time=60m")
    step = rebatch.home / "step.md"
    spec = rebatch.at(world.url).spec(EVALUATE)
    live = rebatch.start("run", spec, "--yes", GITHUB_STEP_SUMMARY=str(step))
    until(lambda: world.count("POST"), "a first request")
    live.send(signal.SIGTERM)
    assert live.wait().code == 143
    lines = step.read_text().splitlines()
    assert lines[0] == "## evaluate: interrupted"
    (why,) = [line for line in lines if line.startswith("Stopped: ")]
    assert f"rebatch resume {rebatch.job()}`" in why


def test_a_summary_that_cannot_be_written_changes_nothing(rebatch: Rebatch, open_world: Open) -> None:
    """The job ends as it would; the words are on stderr, and stdout is still JSON."""
    world = open_world("--results=60")
    spec = rebatch.at(world.url).spec(DELETE)
    done = rebatch("run", spec, "--yes", "--format", "json", GITHUB_STEP_SUMMARY=str(rebatch.home / "no" / "step.md"))
    assert done.json["state"] == "finished"
    assert "Nothing was added to the summary of the step (GITHUB_STEP_SUMMARY=" in done.err
