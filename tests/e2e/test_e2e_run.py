"""`rebatch run`: plans, carries out, reports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.e2e.rig import DELETE, EVALUATE, METRIC, Rebatch, assert_all_confirmed, assert_each_once, eligible, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

FIELDS = {
    "job", "spec", "kind", "state", "completeness", "counts", "requests", "retries", "started_at", "finished_at",
}  # fmt: skip
COUNTS = {"planned", "confirmed", "accepted", "failed", "held", "skipped", "not_attempted"}


def test_a_run_evaluates_every_eligible_run_once_and_reports_it(rebatch: Rebatch, open_world: Open) -> None:
    """There is one object on stdout with all that a script needs; `report` gives the same; stderr has the words for people."""
    world = open_world("--results=500")
    wanted = eligible(world.results())
    done = rebatch.at(world.url)("run", rebatch.spec(EVALUATE), "--yes", "--format", "json", "--items")
    report = done.json
    assert report.keys() >= FIELDS
    assert report["counts"].keys() >= COUNTS
    assert (report["spec"], report["kind"], report["job"]) == ("evaluate", "evaluate_metrics", rebatch.job())
    assert report["started_at"] < report["finished_at"]
    assert report["requests"] == len(world.requests())
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)
    for item in report["items"]:
        told = {"fate": "confirmed", "http_status": 200, "error": None, "attempts": 1}
        assert item == {"id": item["id"], **told, "before": item["before"], "after": item["after"]}
    assert f"Plan {report['job']}" in done.err
    assert "verifying" in done.err
    assert rebatch("report", report["job"], "--format", "json", "--items").json == report


def test_a_run_may_take_several_jobs(rebatch: Rebatch, open_world: Open) -> None:
    """One after another; with JSON, one object on a line for each."""
    world = open_world("--results=200")
    other = {**EVALUATE, "name": "other", "action": {"type": "evaluate_metrics", "metrics": [12]}}
    lines = rebatch.at(world.url)("run", rebatch.spec(EVALUATE, other), "--yes", "--format", "json").out.splitlines()
    assert [json.loads(line)["spec"] for line in lines] == ["evaluate", "other"]
    runs = {run for some in eligible(world.results()).values() for run in some}
    assert world.evaluations(11) == world.evaluations(12) == dict.fromkeys(runs, 1)


def test_a_planned_job_is_run_as_planned(rebatch: Rebatch, open_world: Open) -> None:
    """What came after the plan is not touched."""
    world = open_world("--results=150")
    wanted = eligible(world.results())
    rebatch.at(world.url)("plan", rebatch.spec(EVALUATE))
    world.change(churn="20")
    until(lambda: world.audit()["churn"]["inserted"] > 3, "some newcomers")
    world.change(churn="0")
    done = rebatch.start("run", rebatch.job(), "--yes", "--format", "json", "--items").wait()
    assert {item["id"] for item in done.json["items"]} == wanted.keys()
    assert world.evaluations().keys() <= {run for runs in wanted.values() for run in runs}


def test_the_rate_of_the_spec_is_kept_in_every_second(rebatch: Rebatch, open_world: Open) -> None:
    """No window of one second carries more than the rate, as the service sees the requests arrive."""
    world = open_world("--results=600", "--latency=10ms")
    limits = {**EVALUATE["limits"], "rate": "20/s", "concurrency": 8}
    rebatch.at(world.url)("run", rebatch.spec(EVALUATE, limits=limits), "--yes")
    times = [at_s for at_s, *_ in world.arrivals()]
    assert len(times) > 25
    assert max(sum(0 <= later - at < 1 for later in times) for at in times) <= 21  # one more where arrivals jitter


def test_a_slower_service_sets_the_pace(rebatch: Rebatch, open_world: Open) -> None:
    """It answers 429 to what comes too fast: all waits as long as asked, nothing fails, nothing is done twice."""
    world = open_world("--results=500", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(rate="10/s")
    limits = {**EVALUATE["limits"], "rate": "50/s"}
    report = rebatch.at(world.url)(
        "run", rebatch.spec(EVALUATE, limits=limits), "--yes", "--format", "json", "--items"
    ).json
    assert world.audit()["throttled"] > 0
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)


def test_a_balance_that_does_not_suffice_stops_the_job_until_it_does(rebatch: Rebatch, open_world: Open) -> None:
    """Exit 6 with the service's words; half a batch is not paid for by chance; topped up, the job is finished."""
    world = open_world("--results=150", "--balance=20", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    done = rebatch.at(world.url)("run", rebatch.spec(EVALUATE), "--yes", code=6)
    assert "Insufficient balance. Required: " in done.err
    assert f"rebatch resume {rebatch.job()}" in done.err
    world.change(balance="1000000")
    report = rebatch("resume", "--last", "--format", "json", "--items").json
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)


def test_a_metric_out_of_scope_spoils_only_the_agents_it_is_foreign_to(rebatch: Rebatch, open_world: Open) -> None:
    """Items travel by agent, so the others are evaluated; exit 3, and each report has the service's words."""
    world = open_world("--results=150")
    rows = world.results()
    spec = rebatch.spec(EVALUATE, action={"type": "evaluate_metrics", "metrics": [METRIC, 13]})
    report = rebatch.at(world.url)("run", spec, "--yes", "--format", "json", "--items", code=3).json
    fates = {item["id"]: item["fate"] for item in report["items"]}
    inside = {result for result in fates if (rows[result]["agent"] + 13) % 3 == 0}
    assert {fates[result] for result in inside} == {"confirmed"}
    refused = [item for item in report["items"] if item["id"] not in inside]
    assert {(item["fate"], item["http_status"]) for item in refused} == {("failed", 400)}
    assert all("] are not in the scope of agent " in item["error"] for item in refused)
    assert report["counts"]["failed"] == len(refused) == sum(reason["items"] for reason in report["reasons"])
    assert "are not in the scope of agent" in rebatch("resume", rebatch.job(), code=3).out
    assert_each_once(world, {result: runs for result, runs in eligible(rows).items() if result in inside})


def test_nothing_to_do_is_no_failure(rebatch: Rebatch, open_world: Open) -> None:
    """Exit 0, and a finished job."""
    world = open_world("--results=20")
    spec = rebatch.spec(DELETE, scope={"search": "no result is called this"})
    report = rebatch.at(world.url)("run", spec, "--yes", "--format", "json").json
    assert (report["state"], report["counts"]["planned"]) == ("finished", 0)
    assert report["finished_at"] is not None
    assert world.count("POST") == 0


def test_a_finished_job_is_not_worked_on_again(rebatch: Rebatch, open_world: Open) -> None:
    """Exit 0, it says so, and no request is sent."""
    world = open_world("--results=60", "--evaluation-time=20ms")
    rebatch.at(world.url)("run", rebatch.spec(EVALUATE), "--yes")
    sent = len(world.requests())
    assert "is finished; there is nothing left to do." in rebatch("resume", rebatch.job()).err
    assert len(world.requests()) == sent
    assert "There is no job to resume." in rebatch("resume", "--last", code=2).err
