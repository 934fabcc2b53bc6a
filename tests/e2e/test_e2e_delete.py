"""Deleting: exactly what was selected, proven by reading back; and the guards before it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.rig import DELETE, Rebatch, Row, World, assert_all_confirmed, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open


def selected(rows: dict[int, Row]) -> set[int]:
    """What `DELETE` selects."""
    return {row["id"] for row in rows.values() if row["status"] in DELETE["where"]["status"]}


def assert_exactly_deleted(world: World, rows: dict[int, Row], gone: set[int]) -> None:
    """These results were deleted, with their runs, and no others."""
    audit = world.audit()
    assert audit["deletions"]["results"] == len(gone) > 0
    assert audit["deletions"]["runs"] == sum(len(rows[result]["runs"]) for result in gone)
    assert world.results().keys() == rows.keys() - gone


def test_exactly_what_was_selected_is_deleted_and_read_back(rebatch: Rebatch, open_world: Open) -> None:
    """A 204 proves nothing; the items are confirmed because they are gone."""
    world = open_world("--results=1500")
    rows = world.results()
    gone = selected(rows)
    report = rebatch.at(world.url)("run", rebatch.spec(DELETE), "--yes", "--format", "json", "--items").json
    assert_all_confirmed(report, gone)
    assert {item["http_status"] for item in report["items"]} == {204}
    assert world.requests()[-1][0] == "GET"
    assert_exactly_deleted(world, rows, gone)


def test_a_killed_deletion_is_resumed(rebatch: Rebatch, open_world: Open) -> None:
    """Repeating does no harm, so nothing is waited for; what is gone at the end is what was selected."""
    world = open_world("--results=900")
    rows = world.results()
    where = {"status": ["completed", "failed", "timeout"]}
    gone = {row["id"] for row in rows.values() if row["status"] in where["status"]}
    world.change(latency="100ms")
    live = rebatch.at(world.url).start("run", rebatch.spec(DELETE, where=where), "--yes")
    until(lambda: world.count("POST") >= 3 or live.process.poll() is not None, "the moment to kill")
    assert live.kill().code == -signal.SIGKILL
    report = rebatch("resume", "--last", "--format", "json", "--items").json
    assert_all_confirmed(report, gone)
    assert_exactly_deleted(world, rows, gone)


def test_a_deletion_among_faults_is_complete(rebatch: Rebatch, open_world: Open) -> None:
    """Lost answers are sent again until they are answered."""
    world = open_world("--results=700")
    rows = world.results()
    world.change(errors_after="8%", reset_after="8%", reset_before="8%", errors="8%", only="writes")
    report = rebatch.at(world.url)("run", rebatch.spec(DELETE, where=None), "--yes", "--format", "json", "--items").json
    assert report["retries"] > 0
    assert_all_confirmed(report, rows)
    assert world.results() == {}


@pytest.mark.parametrize(
    ("guards", "words"),
    [
        ({"max_items": 5}, "`guards: max_items` allows 5."),
        ({"max_percent": 2.5}, "`guards: max_percent` allows 2.5."),
    ],
)
def test_a_guard_refuses_the_plan_for_good(
    rebatch: Rebatch, quiet_world: World, guards: dict[str, Any], words: str
) -> None:
    """Exit 5 and nothing changed, from `run`, and again from whatever is tried with the refused job."""
    spec = rebatch.at(quiet_world.url).spec(DELETE, guards=guards)
    done = rebatch("run", spec, "--yes", "--format", "json", code=5)
    assert words in done.err
    assert "Nothing was changed." in done.err
    again = rebatch("resume", rebatch.job(), "--yes", "--format", "json", code=5)
    assert (again.json["state"], words in again.json["refused_because"]) == ("refused", True)
    assert done.json == again.json
    assert quiet_world.count("POST") == 0


def test_a_refused_job_stays_refused(rebatch: Rebatch, quiet_world: World) -> None:
    """Whatever is tried with it; and it is not what `resume --last` means."""
    rebatch.at(quiet_world.url)("plan", rebatch.spec(DELETE, guards={"max_items": 1}), code=5)
    assert "max_items" in rebatch("run", rebatch.job(), "--yes", code=5).err
    assert "There is no job to resume." in rebatch("resume", "--last", code=2).err
    assert rebatch.state() == "refused"
    assert quiet_world.count("POST") == 0


def test_a_guard_that_is_just_kept_lets_the_plan_pass(rebatch: Rebatch, quiet_world: World) -> None:
    """The limit itself is allowed."""
    number = len(selected(quiet_world.results()))
    guards = {"max_items": number, "max_percent": 100}
    plan = rebatch.at(quiet_world.url)("plan", rebatch.spec(DELETE, guards=guards), "--format", "json").json
    assert plan["planned"] == number
