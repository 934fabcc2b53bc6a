"""What a person sees of items that are held or refused, and what can be done about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.rig import EVALUATE, Rebatch, assert_each_once, eligible

if TYPE_CHECKING:
    from tests.e2e.conftest import Open


def test_held_items_are_listed_and_retried_at_a_word(rebatch: Rebatch, open_world: Open) -> None:
    """No answer ever came: nothing is sent again by itself, each id is told, and a person lets it be sent again."""
    world = open_world("--results=40")
    wanted = eligible(world.results())
    rebatch.at(world.url)
    spec = rebatch.spec(EVALUATE)
    rebatch("plan", spec)
    world.change(reset_before="1", only="writes")
    done = rebatch("run", rebatch.job(), "--yes", "--format", "json", "--items", code=3)
    held = {item["id"] for item in done.json["items"] if item["fate"] == "held"}
    assert held == wanted.keys()
    assert set(done.json["held"]) <= held
    shown = rebatch("report", rebatch.job()).out
    assert f"{len(held)}" in shown
    assert "--retry-held" in shown
    assert "--release-held" in shown
    assert str(done.json["held"][0]) in shown
    assert rebatch("resume", rebatch.job(), "--yes", code=3).out, "finished as it is: nothing is sent by itself"
    assert world.evaluations() == {}
    world.change(reset_before="0")
    retried = rebatch("resume", rebatch.job(), "--retry-held", "--yes", "--format", "json")
    assert retried.json["counts"]["confirmed"] == len(wanted)
    assert_each_once(world, wanted)
    refused = rebatch("resume", rebatch.job(), "--retry-held", "--yes", code=2)
    assert "no item is held" in refused.err


def test_held_items_that_were_done_are_released_and_read_back(rebatch: Rebatch, open_world: Open) -> None:
    """A person has looked and says that they were done: they count as taken, and nothing is sent."""
    world = open_world("--results=40")
    world.results()
    rebatch.at(world.url)
    rebatch("plan", rebatch.spec(EVALUATE))
    world.change(reset_before="1", only="writes")
    rebatch("run", rebatch.job(), "--yes", code=3)
    world.change(reset_before="0")
    posts = world.count("POST")
    released = rebatch("resume", rebatch.job(), "--release-held", "--yes", "--format", "json")
    assert released.json["counts"]["held"] == 0
    (reason,) = released.json["reasons"]
    assert reason["error"].startswith("released by a person, but unchanged")
    assert world.count("POST") == posts


def test_a_bad_id_fails_alone_with_the_words_of_the_service(rebatch: Rebatch, open_world: Open) -> None:
    """Refusals that name nobody are narrowed down; the exit code tells that some failed."""
    world = open_world("--results=400", "--poison=1%", "--poison-said=not")
    rebatch.at(world.url)
    done = rebatch("run", rebatch.spec(EVALUATE), "--yes", "--format", "json", "--items", code=3)
    counts = done.json["counts"]
    assert 0 < counts["failed"] < 10
    assert counts["confirmed"] + counts["failed"] == counts["planned"]
    assert {item["error"] for item in done.json["items"] if item["fate"] == "failed"} == {
        "400 Bad Request: A result of the batch can not be processed."
    }


def test_a_decision_needs_a_job(rebatch: Rebatch) -> None:
    """Which items are meant is never guessed."""
    assert "Name the JOB" in rebatch.at(None, None)("resume", "--retry-held", code=2).err


def test_contrary_decisions_are_refused(rebatch: Rebatch) -> None:
    """That it was done and that it was not: which of them counts is never guessed."""
    done = rebatch.at(None, None)("resume", "abcdefgh", "--retry-held", "--release-held", code=2)
    assert "say one of them" in done.err
