"""Guards before the first write: exit 5, words in the report, and a service to which nothing happened."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import apsw
import pytest

from tests.e2e.rig import DELETE, EVALUATE, METRIC, Rebatch, World

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

TWICE_DEAR = {"type": "evaluate_metrics", "metrics": [METRIC, 12], "prices": {"12": 0.5}}


def effects(world: World) -> dict[str, Any]:
    """Everything that ever happened to the service but reading."""
    audit = world.audit()
    happened = {name: audit[name] for name in ("evaluations", "deletions", "phone_numbers_released", "slots_freed")}
    return {**happened, "balance": audit["totals"]["balance"], "results": audit["totals"]["results"]}


GUARDS = {
    "max_items": ({"max_items": 5}, r"The plan has [\d,]+ items; `guards: max_items` allows 5\."),
    "max_percent": ({"max_percent": 1.5}, r"of the 600 items in scope, .* %; `guards: max_percent` allows 1\.5\."),
    "min_remaining": ({"min_remaining": 599}, r"of the 600 items in scope alone; `guards: min_remaining` asks for 599\."),
}  # fmt: skip


@pytest.mark.parametrize("job", [DELETE, EVALUATE], ids=["delete", "evaluate"])
@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_that_trips_refuses_before_anything_is_changed(
    rebatch: Rebatch, quiet_world: World, job: dict[str, Any], guard: str
) -> None:
    """From `plan` and from `run --yes` alike, and for good."""
    quiet_world.results()
    before = effects(quiet_world)
    guards, words = GUARDS[guard]
    spec = rebatch.at(quiet_world.url).spec(job, guards=guards)
    done = rebatch("run", spec, "--yes", "--format", "json", code=5)
    assert re.search(words, done.err)
    assert "Nothing was changed." in done.err
    again = rebatch("resume", rebatch.job(), "--yes", "--format", "json", code=5).json
    report = rebatch("report", rebatch.job(), "--format", "json").json
    assert re.search(words, report["refused_because"])
    assert again == done.json == report
    assert report["state"] == "refused"
    assert quiet_world.count("POST") == 0
    assert effects(quiet_world) == before


def test_credits_are_a_guard(rebatch: Rebatch, quiet_world: World) -> None:
    """The estimate is in the plan; a credit less than it trips, the estimate itself does not."""
    quiet_world.results()
    before = effects(quiet_world)
    rebatch.at(quiet_world.url)
    plan = rebatch("plan", rebatch.spec(EVALUATE, action=TWICE_DEAR), "--format", "json").json
    estimate = plan["credits_estimated"]
    assert estimate > 100
    assert plan["credits_untold"] == 0
    kept = rebatch("plan", rebatch.spec(EVALUATE, action=TWICE_DEAR, guards={"max_credits": estimate}))
    assert f"  credits   about {estimate:,.10g}; 0.7 for each completed or failed run\n" in kept.out
    assert f"guards    max_credits {estimate:,.10g} kept" in kept.out
    spec = rebatch.spec(EVALUATE, action=TWICE_DEAR, guards={"max_credits": estimate - 0.1})
    refused = rebatch("run", spec, "--yes", "--format", "json", code=5)
    assert f"The plan costs about {estimate:,.10g} credits; `guards: max_credits` allows" in refused.err
    assert (refused.json["credits_estimated"], refused.json["state"]) == (estimate, "refused")
    assert "`guards: max_credits`" in refused.json["refused_because"]
    assert (quiet_world.count("POST"), effects(quiet_world)) == (0, before)


def test_the_estimate_is_what_the_evaluation_costs(rebatch: Rebatch, open_world: Open) -> None:
    """To the tenth of a credit, by the service's own balance."""
    world = open_world("--results=400", "--balance=5000")
    rebatch.at(world.url)
    report = rebatch("run", rebatch.spec(EVALUATE), "--yes", "--format", "json").json
    spent = 5000 - world.audit()["totals"]["balance"]
    assert spent == pytest.approx(report["credits_estimated"])
    assert spent == pytest.approx(0.2 * len(world.evaluations()))


def test_every_guard_that_trips_is_told_at_once(rebatch: Rebatch, quiet_world: World) -> None:
    """One round of mending, not three."""
    guards = {"max_items": 5, "max_percent": 1, "min_remaining": 600, "max_credits": 1}
    done = rebatch.at(quiet_world.url)("plan", rebatch.spec(EVALUATE, guards=guards), code=5)
    assert [name for name in guards if f"`guards: {name}`" in done.err] == list(guards)


def test_a_deletion_of_an_unproven_list_is_refused(rebatch: Rebatch, open_world: Open) -> None:
    """By itself; with words of what to do, which then works. An evaluation may go on, and may be told not to."""
    world = open_world("--results=120", "--max-page-size=10")
    world.results()
    before = effects(world)
    done = rebatch.at(world.url)("run", rebatch.spec(DELETE), "--yes", "--format", "json", code=5)
    for words in ("pages are too small", "`guards: require_complete`", "set `guards: {require_complete: false}`"):
        assert words in done.err
    assert "pages are too small" in done.json["refused_because"]
    asked = rebatch.spec(EVALUATE, guards={"require_complete": True})
    assert "require_complete" in rebatch("run", asked, "--yes", code=5).err
    assert (world.count("POST"), effects(world)) == (0, before)
    assert "unproven: pages are too small" in rebatch("plan", rebatch.spec(EVALUATE)).out
    accepted = rebatch.spec(DELETE, guards={"require_complete": False})
    report = rebatch("run", accepted, "--yes", "--format", "json").json
    assert (report["state"], report["completeness"]) == ("finished", "unproven")
    assert report["counts"]["confirmed"] == report["counts"]["planned"] > 0


def test_a_plan_that_has_nothing_to_do_trips_no_guard(rebatch: Rebatch, quiet_world: World) -> None:
    """A clean-up every night must not be refused because yesterday's was thorough."""
    scope = {"search": "no result is called this"}
    spec = rebatch.spec(DELETE, scope=scope, guards={"min_remaining": 5, "max_percent": 0, "max_items": 0})
    assert "Nothing to do" in rebatch.at(quiet_world.url)("plan", spec).out
    assert rebatch("run", spec, "--yes", "--format", "json").json["state"] == "finished"


def test_the_plan_shows_what_it_is_held_to(rebatch: Rebatch, quiet_world: World) -> None:
    """All guards, the hash, and until when it is valid."""
    guards = {"max_items": 2000, "min_remaining": 10, "stop_on_failures": "2%", "canary": 10}
    done = rebatch.at(quiet_world.url)("plan", rebatch.spec(DELETE, guards=guards))
    assert (
        "  guards    max_items 2,000 kept, min_remaining 10 kept, require_complete kept, "
        "stops when more than 2 % failed, the first 10 go alone\n"
    ) in done.out
    assert re.search(r"\n  plan      sha256 [0-9a-f]{8}…, valid until \d{4}-\d\d-\d\d \d\d:\d\d\n", done.out)
    assert "credits" not in done.out
    plan = rebatch("plan", rebatch.spec(EVALUATE), "--format", "json").json
    assert re.fullmatch("[0-9a-f]{64}", plan["plan_hash"])
    assert (plan["canary"], plan["planned_at"][:4] >= "2026") == (0, True)


def test_the_canary_is_cut_off_from_the_rest(rebatch: Rebatch, quiet_world: World) -> None:
    """In a chunk of its own: one request more."""
    rebatch.at(quiet_world.url)
    spec = rebatch.spec(EVALUATE, where=None, scope={"agent_id": 101})
    whole = rebatch("plan", spec, "--format", "json").json
    cut = rebatch.spec(EVALUATE, where=None, scope={"agent_id": 101}, guards={"canary": 1})
    parts = rebatch("plan", cut, "--format", "json").json
    assert (parts["planned"], parts["canary"]) == (whole["planned"], 1)
    assert parts["chunks"] == 1 + -(-(whole["planned"] - 1) // 100)


def _write(rebatch: Rebatch, statement: str) -> None:
    (path,) = rebatch.checkpoints
    db = apsw.Connection(str(path))
    db.execute(statement)
    db.close()


@pytest.mark.parametrize("command", ["run", "resume"])
def test_a_stale_plan_is_not_begun_unless_it_is_meant(rebatch: Rebatch, open_world: Open, command: str) -> None:
    """Exit 5, nothing changed, with a command that does it anyway: and that command does."""
    world = open_world("--results=100")
    job = rebatch.at(world.url)("plan", rebatch.spec(DELETE), "--format", "json").json["job"]
    _write(rebatch, "UPDATE job SET value = '\"2026-01-01T00:00:00+00:00\"' WHERE key = 'planned_at'")
    world.results()
    before = effects(world)
    stale = rebatch(command, job, "--yes", code=5)
    assert re.search(r"The plan is [\d.]+ days old; plans are valid for 24 h\. Nothing was changed\.", stale.err)
    assert "Plan again: rebatch plan " in stale.err
    assert (world.count("POST"), effects(world), rebatch.state()) == (0, before, "planned")
    meant = re.search(rf"rebatch run {job} --plan-ttl \d+d", stale.err)
    assert meant is not None
    _, *words = meant[0].split()
    rebatch(command, *words[1:], "--yes")
    assert effects(world)["deletions"]["results"] > 0


def test_a_stale_plan_is_told_before_anybody_is_asked(rebatch: Rebatch, quiet_world: World) -> None:
    """Not after the number has been typed."""
    job = rebatch.at(quiet_world.url)("plan", rebatch.spec(DELETE), "--format", "json").json["job"]
    stale = rebatch("run", job, "--plan-ttl", "0s", code=5)
    assert "The plan is " in stale.err
    assert "confirmation" not in stale.err


def test_a_plan_that_was_tampered_with_is_not_begun(rebatch: Rebatch, open_world: Open) -> None:
    """Not even with --yes: what was agreed to is something else."""
    world = open_world("--results=100")
    rebatch.at(world.url)("plan", rebatch.spec(DELETE))
    rows = world.results()
    kept = max(number for number, row in rows.items() if row["status"] == "completed")
    _write(rebatch, f"UPDATE item SET id = {kept} WHERE seq = 1")
    before = effects(world)
    refused = rebatch("run", rebatch.job(), "--yes", "--format", "json", code=5)
    assert "The plan in the checkpoint is not the one that was made. Nothing was changed." in refused.err
    assert refused.json["state"] == "planned"
    assert (world.count("POST"), effects(world)) == (0, before)


@pytest.mark.parametrize("command", ["run", "resume"])
@pytest.mark.parametrize("text", ["soon", "24", "", "-1h"])
def test_a_validity_that_is_no_duration_is_a_usage_error(rebatch: Rebatch, command: str, text: str) -> None:
    """Told with an example."""
    assert "is not a duration" in rebatch(command, "x", "--plan-ttl", text, code=2).err
