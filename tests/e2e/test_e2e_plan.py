"""`rebatch plan`: shows what would be done and changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.rig import DELETE, EVALUATE, Rebatch, World, eligible, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open


def test_a_plan_changes_nothing_and_is_kept_as_a_job(rebatch: Rebatch, quiet_world: World) -> None:
    """The plan is on stdout, what to do next on stderr, and the service has seen nothing but reads."""
    wanted = eligible(quiet_world.results())
    done = rebatch.at(quiet_world.url)("plan", rebatch.spec(EVALUATE))
    job = rebatch.job()
    assert done.out.startswith(f"Plan {job} · evaluate\n")
    assert f"Re-evaluate metric 11 on {len(wanted)} results, in " in done.out
    assert f"selected  {len(wanted)} of 600 in scope (" in done.out
    assert "complete  yes; " in done.out
    assert quiet_world.url in done.out
    assert f"Nothing has been changed. Carry it out: rebatch run {job}" in done.err
    assert {method for method, _, _ in quiet_world.requests()} == {"GET"}
    assert rebatch.state() == "planned"


def test_a_deletion_is_announced_as_irreversible(rebatch: Rebatch, quiet_world: World) -> None:
    """And the guards that hold are listed."""
    done = rebatch.at(quiet_world.url)("plan", rebatch.spec(DELETE, guards={"max_percent": 25}))
    assert "This cannot be undone." in done.out
    assert "guards    max_percent 25 kept" in done.out


def test_the_detailed_exit_code_tells_whether_there_is_something_to_do(rebatch: Rebatch, quiet_world: World) -> None:
    """8 if there is, 0 if not."""
    rebatch.at(quiet_world.url)("plan", rebatch.spec(DELETE), "--detailed-exitcode", code=8)
    nothing = rebatch.spec(DELETE, scope={"search": "no result is called this"})
    assert "Nothing to do" in rebatch("plan", nothing, "--detailed-exitcode").out


def test_a_plan_as_json_is_one_object(rebatch: Rebatch, quiet_world: World) -> None:
    """With the groups by agent, which the items add up to."""
    plan = rebatch.at(quiet_world.url)("plan", rebatch.spec(EVALUATE), "--format", "json").json
    assert plan["job"] == rebatch.job()
    assert (plan["spec"], plan["kind"], plan["state"]) == ("evaluate", "evaluate_metrics", "planned")
    assert (plan["completeness"], plan["in_scope"], plan["origin"]) == ("complete", 600, quiet_world.url)
    assert sum(group["items"] for group in plan["groups"]) == plan["planned"] == len(eligible(quiet_world.results()))


def test_one_job_of_a_spec_can_be_picked(rebatch: Rebatch, quiet_world: World) -> None:
    """By its name; a name that is not there is a usage error that lists those that are."""
    spec = rebatch.spec(EVALUATE, DELETE)
    plan = rebatch.at(quiet_world.url)("plan", spec, "--job", "delete", "--format", "json").json
    assert plan["spec"] == "delete"
    refused = rebatch("plan", spec, "--job", "clean", code=2)
    assert "there is no job “clean”. It has: evaluate, delete." in refused.err
    assert len(rebatch.checkpoints) == 1


def test_without_a_terminal_and_without_yes_nothing_is_done(rebatch: Rebatch, quiet_world: World) -> None:
    """Exit 2 before anything is planned or kept."""
    before = len(quiet_world.requests())
    done = rebatch.at(quiet_world.url)("run", rebatch.spec(EVALUATE), "--format", "json", code=2)
    assert done.out == ""
    assert "A confirmation is needed, and there is no terminal to ask at; nothing was changed." in done.err
    assert rebatch.checkpoints == []
    assert len(quiet_world.requests()) == before


def test_a_planned_job_is_not_carried_out_without_a_word_either(rebatch: Rebatch, quiet_world: World) -> None:
    """It stays planned."""
    rebatch.at(quiet_world.url)("plan", rebatch.spec(DELETE))
    assert "A confirmation is needed" in rebatch("resume", rebatch.job(), code=2).err
    assert quiet_world.count("POST") == 0
    assert rebatch.state() == "planned"


def test_the_plan_is_whole_although_the_list_moves(rebatch: Rebatch, open_world: Open) -> None:
    """Results come and go while it is read: every result that was there throughout is in the plan."""
    world = open_world("--results=1500")
    before = world.results()
    world.change(latency="50ms", churn="5")
    spec = rebatch.spec(EVALUATE, where=None, limits={"rate": "50/s", "concurrency": 4})
    rebatch.at(world.url)("plan", spec)
    world.change(churn="0", latency="0s")
    churn = world.audit()["churn"]
    report = rebatch("report", rebatch.job(), "--format", "json", "--items").json
    after = world.results()
    throughout = before.keys() & after.keys()
    assert churn["inserted"] > 0
    assert churn["deleted"] > 0
    assert len(throughout) < len(before)
    assert throughout - {item["id"] for item in report["items"]} == set()
    assert len({item["id"] for item in report["items"]}) == len(report["items"])
    assert report["completeness"] == "complete"


def test_duplicate_rows_of_the_scenarios_filter_are_planned_once(rebatch: Rebatch, quiet_world: World) -> None:
    """The service lists a result once for each matching run."""
    rows = quiet_world.results(scenarios="24270,24271,24272")
    spec = rebatch.spec(EVALUATE, where=None, scope={"scenarios": [24270, 24271, 24272]})
    rebatch.at(quiet_world.url)("plan", spec)
    report = rebatch("report", rebatch.job(), "--format", "json", "--items").json
    assert sorted(item["id"] for item in report["items"]) == sorted(rows)


def test_a_server_that_gives_short_pages_is_read_whole(rebatch: Rebatch, open_world: Open) -> None:
    """The page size is cut in silence; it is found out."""
    world = open_world("--results=300", "--max-page-size=20")
    plan = rebatch.at(world.url)("plan", rebatch.spec(EVALUATE, where=None), "--format", "json").json
    assert (plan["planned"], plan["in_scope"], plan["completeness"]) == (300, 300, "complete")


def test_something_is_to_be_seen_at_once(rebatch: Rebatch, open_world: Open) -> None:
    """A slow service leaves nobody before a dead screen: the first line comes long before the first answer."""
    world = open_world("--results=10", "--latency=3s")
    live = rebatch.at(world.url).start("plan", rebatch.spec(EVALUATE))
    until(lambda: live.said, "a first word", deadline_s=3)
    assert live.said.startswith("planning")
    assert live.kill().out == ""
