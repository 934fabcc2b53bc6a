"""`rebatch serve`: real minutes, a real service, a real receiver of notices, and processes that are killed."""

from __future__ import annotations

import json
import re
import signal
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from engine.lock import owner
from engine.schedule.entry import Tick, TickFate
from tests.e2e.nightly import EVERY_MINUTE, TICK_S, Inbox, jobs_made, just_due, kept_before, not_due, ticks
from tests.e2e.rig import DELETE, EVALUATE, Live, Rebatch, World, assert_each_once, eligible, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

NIGHTLY = {**EVALUATE, "limits": {**EVALUATE["limits"], "timeout": "4s"}}


def greeted(live: Live) -> None:
    """Wait until it looks after its schedules."""
    until(lambda: "Looking after " in live.said, f"serve keeps schedules: {live.said}")


def at_work(world: World, latency: str = "3s") -> None:
    """Wait until a job has sent chunks, each of which takes so long from then on."""
    until(lambda: world.count("POST") >= 1, "the first chunk", TICK_S)
    world.change(latency=latency)
    until(lambda: world.count("POST") >= 4, "chunks that are in flight for long")


def with_fate(rebatch: Rebatch, fate: TickFate, name: str = "evaluate") -> list[Tick]:
    """The ticks that have this fate."""
    return [tick for tick in ticks(rebatch, name) if tick.fate is fate]


def asked(url: str, host: str | None = None) -> tuple[int, str]:
    """The status and the body that an address answers."""
    try:
        with urlopen(Request(url, headers={"Host": host} if host else {}), timeout=30) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with closing(error):
            return error.code, error.read().decode()


def drained(live: Live) -> str:
    """Stop it with SIGTERM; what it said."""
    live.send(signal.SIGTERM)
    done = live.wait()
    assert done.code == 143, done.err
    return done.err


def refused_before(rebatch: Rebatch, inbox: Inbox) -> str:
    """A job that a person has run, and that could not be told of: the receiver was away for a moment."""
    notify = [{"on": ["guard"], "urls": [f"{inbox.url}/hook"]}]
    inbox.answer = lambda _path: 503
    rebatch("run", rebatch.spec(DELETE, notify=notify, guards={"max_items": 1}, name="once.yaml"), "--yes", code=5)
    inbox.answer = lambda _path: 200
    return rebatch.job()


def killed_at_work(rebatch: Rebatch, world: World, spec: Path) -> Tick:
    """The tick whose job was at work when its `serve` was killed."""
    live = rebatch.start("serve", spec)
    world.change(latency="100ms")
    at_work(world)
    assert live.kill().code == -signal.SIGKILL
    (tick,) = with_fate(rebatch, TickFate.RUNNING)
    return tick


def assert_each_tick_counted_once(rebatch: Rebatch, world: World, wanted: dict[int, set[int]]) -> list[Tick]:
    """Every tick that ran has a job of its own, and each eligible run was evaluated once by each; those ticks."""
    ran = with_fate(rebatch, TickFate.RAN)
    assert [tick.outcome for tick in ran] == ["success"] * len(ran)
    assert len({tick.job for tick in ran}) == len(ran) > 0
    assert all(tick.at % 60 == 0 for tick in ran)
    runs = {run for some in wanted.values() for run in some}
    assert world.evaluations() == dict.fromkeys(runs, len(ran))
    return ran


def test_a_killed_serve_goes_on_with_its_job_before_anything_new_and_each_tick_counts_once(
    rebatch: Rebatch, open_world: Open, inbox: Inbox
) -> None:
    """The next real minute has one job, of two that wait for it. All is told, also what a command before could not tell."""
    world = open_world("--results=400")
    wanted = eligible(world.results())
    refused_job = refused_before(rebatch.at(world.url), inbox)
    notify = inbox.notify("success", "failure", "held")
    spec = rebatch.spec(NIGHTLY, schedule=EVERY_MINUTE, notify=notify)
    kept_before(rebatch, spec, 60)
    tick = killed_at_work(rebatch, world, spec)

    both = [rebatch.start("serve", spec) for _ in range(2)]
    until(lambda: any("goes on" in each.said for each in both), "the job goes on")
    world.change(latency="0s")
    until(lambda: len(with_fate(rebatch, TickFate.RAN)) > 1, "the job of the next minute ends", TICK_S)
    until(lambda: len(inbox.told) > 2, "all of it is told", TICK_S)
    said = sorted(drained(each) for each in both)

    ran = assert_each_tick_counted_once(rebatch, world, wanted)
    assert (ran[0].at, ran[0].job) == (tick.at, tick.job)
    begun = [re.findall(r"evaluate: job (\w+) (begins|was interrupted, and goes on)", each) for each in said]
    assert sorted(each[0] for some in begun for each in some) == sorted(str(each.job) for each in ran)
    (went_on,) = [each for each in begun if (tick.job, "was interrupted, and goes on") in each]
    assert went_on[0][0] == tick.job, "before anything new"
    assert {each.job for each in ran} | {refused_job} == set(jobs_made(rebatch)), "no tick has two jobs"
    told = [(each["job"], each["event"]) for each in inbox.told]
    assert sorted(told) == sorted([(refused_job, "guard"), *((str(each.job), "success") for each in ran)])
    refused, again_told = (each for each in inbox.of("/hook") if each.json["job"] == refused_job)
    assert (refused.status, refused.body, again_told.status) == (503, again_told.body, 200)
    assert refused.headers["Idempotency-Key"] == again_told.headers["Idempotency-Key"]
    rids = Counter(each.query["rid"][0] for each in inbox.arrivals if each.path in {"/beat/start", "/beat"})
    assert sorted(rids.values()) == [2] * len(ran), "a start and its end belong together"
    assert Counter(inbox.beats) == {"start": len(ran), "success": len(ran)}


def test_of_two_serves_one_has_the_job_and_the_other_goes_on_for_it(rebatch: Rebatch, open_world: Open) -> None:
    """On one state directory: whoever has the job of the tick is killed, and the other brings it to its end."""
    world = open_world("--results=400")
    wanted = eligible(world.results())
    spec = rebatch.at(world.url).spec(NIGHTLY, schedule=just_due())
    kept_before(rebatch, spec, 120)
    world.change(latency="100ms")
    both = [rebatch.start("serve", spec) for _ in range(2)]
    at_work(world)
    (path,) = rebatch.checkpoints
    for live in both:
        greeted(live)
    (holder,) = [live for live in both if live.process.pid == owner(path)]
    (other,) = [live for live in both if live is not holder]
    assert f"job {path.stem} begins" in holder.said
    assert path.stem not in other.said
    holder.kill()
    until(lambda: f"job {path.stem} was interrupted, and goes on" in other.said, "the other goes on with it")
    world.change(latency="0s")
    until(lambda: with_fate(rebatch, TickFate.RAN), "the job ends")
    drained(other)
    (tick,) = ticks(rebatch)
    assert jobs_made(rebatch) == [tick.job]
    assert_each_once(world, wanted)


def test_sigterm_drains_and_the_next_serve_goes_on(rebatch: Rebatch, open_world: Open) -> None:
    """Exit 143, nothing in doubt, the job as resumable as its tick is open; a later `serve` brings it to its end."""
    world = open_world("--results=400")
    wanted = eligible(world.results())
    spec = rebatch.at(world.url).spec(NIGHTLY, schedule=just_due())
    kept_before(rebatch, spec, 120)
    world.change(latency="100ms")
    live = rebatch.start("serve", spec)
    at_work(world, latency="500ms")
    said = drained(live)
    assert "Stopping: what is in flight finishes first (again to force)." in said
    (tick,) = ticks(rebatch)
    assert (tick.fate, tick.job) == (TickFate.RUNNING, rebatch.job())
    report = rebatch("report", rebatch.job(), "--format", "json").json
    assert (report["state"], report["counts"]["unsettled"]) == ("interrupted", 0)
    assert report["counts"]["accepted"] > 0
    assert report["counts"]["not_attempted"] > 0
    world.change(latency="0s")
    again = rebatch.start("serve", spec)
    until(lambda: with_fate(rebatch, TickFate.RAN), "the job ends")
    assert f"job {tick.job} was interrupted, and goes on" in drained(again)
    assert jobs_made(rebatch) == [tick.job]
    assert_each_once(world, wanted)


def test_a_second_signal_does_not_wait_and_the_next_serve_settles_what_was_in_flight(
    rebatch: Rebatch, open_world: Open
) -> None:
    """What was in flight is read back, and nothing is sent twice."""
    world = open_world("--results=400")
    wanted = eligible(world.results())
    spec = rebatch.at(world.url).spec(NIGHTLY, schedule=just_due())
    kept_before(rebatch, spec, 120)
    world.change(latency="100ms")
    live = rebatch.start("serve", spec)
    at_work(world)
    live.send(signal.SIGTERM)
    until(lambda: "again to force" in live.said, "the first signal's message")
    assert live.process.poll() is None
    live.send(signal.SIGTERM)
    assert live.wait().code == 143
    assert rebatch("report", rebatch.job(), "--format", "json").json["counts"]["unsettled"] > 0
    world.change(latency="0s")
    calls = world.count("POST")
    until(lambda: world.audit()["evaluations"]["calls"] == calls, "what was in flight has been carried out")
    again = rebatch.start("serve", spec)
    until(lambda: with_fate(rebatch, TickFate.RAN), "the job ends")
    drained(again)
    assert_each_once(world, wanted)


def test_a_spec_is_read_again_when_it_changes_and_a_broken_one_stays_in_force(
    rebatch: Rebatch, open_world: Open
) -> None:
    """Also one that is broken from the beginning: it is told, the others are kept, and mended it counts."""
    world = open_world("--results=100")
    good = rebatch.at(world.url).spec(EVALUATE, schedule=not_due())
    bad = rebatch.home / "bad.yaml"
    bad.write_text("version: 1\njobs: [{name: later, schedule: {cron: never}}]\n")
    live = rebatch.start("serve", good, bad, "--listen", "0")
    greeted(live)
    assert f"{bad}:1:1" not in live.said
    assert f"{bad}:2:" in live.said
    assert "Looking after 1 schedule in" in live.said
    (health,) = [word.rstrip(",") for word in live.said.split() if word.endswith("/healthz,")]

    status, metrics = asked(health.replace("/healthz", "/metrics"))
    assert status == 200
    assert 'rebatch_schedule_ticks_total{fate="ran",schedule="evaluate"} 0.0' in metrics
    assert asked(health, host="rebatch.example")[0] == 403
    assert listed(rebatch) == {"evaluate": None}
    rebatch.spec(EVALUATE, schedule=not_due(), name="later")
    bad.write_text((rebatch.home / "later").read_text().replace('"evaluate"', '"later"', 1))
    until(lambda: f"{bad} was read again; its schedules: later" in live.said, "the mended one is read")
    assert listed(rebatch) == {"evaluate": None, "later": None}
    assert asked(health)[0] == 200

    was = good.read_text()
    good.write_text(was.replace("evaluate_metrics", "evaluate_metric"))
    until(lambda: f"{good} is broken, and what it said before stays in force: {good}:1:" in live.said, "it is told")
    why = listed(rebatch)["evaluate"]
    assert why is not None
    assert "unknown kind “evaluate_metric”" in why
    assert "evaluate: its spec cannot be read, so what it said before is in force" in rebatch("schedule", "ls").out
    status, body = asked(health)
    assert (status, [each["what"] for each in json.loads(body)["because"]]) == (503, ["broken"])
    good.unlink()
    until(lambda: "cannot be read: No such file" in live.said, "its absence is told, too")

    deletion = {**DELETE, "guards": {"max_items": 500}, "schedule": just_due()}
    rebatch.spec({**EVALUATE, "schedule": not_due()}, deletion)
    until(lambda: f"{good} was read again; its schedules: evaluate, delete" in live.said, "the new one is read")
    assert listed(rebatch) == {"evaluate": None, "later": None, "delete": None}
    assert asked(health)[0] == 200
    assert ticks(rebatch, "delete") == [], "its ticks count from when it was first seen"

    good.write_text(was)
    until(lambda: live.said.count(f"{good} was read again; its schedules: evaluate\n") == 1, "one is taken out")
    assert listed(rebatch) == {"evaluate": None, "later": None}
    drained(live)
    assert world.count("POST") == 0


def listed(rebatch: Rebatch) -> dict[str, str | None]:
    """The schedules that are not gone, and why the spec of each cannot be read."""
    found = rebatch("schedule", "ls", "--format", "json").json
    return {each["schedule"]: each["broken"] for each in found if each["state"] != "gone"}


def test_serve_needs_a_schedule_and_tells_every_mistake(rebatch: Rebatch, open_world: Open) -> None:
    """Exit 2 when there is nothing to look after, with the place of the mistake if there is one."""
    rebatch.at(open_world("--results=0").url)
    without = rebatch.spec(EVALUATE)
    assert "No job of these specs has a schedule." in rebatch("serve", without, code=2).err
    wrong = rebatch.spec(EVALUATE, schedule={"cron": "60 * * * *"}, name="wrong.yaml")
    assert f"{wrong}:1:" in rebatch("serve", wrong, code=2).err


def test_health_is_told_to_this_machine_alone(rebatch: Rebatch, open_world: Open) -> None:
    """An address that is not loopback is refused before anything is begun."""
    spec = rebatch.at(open_world("--results=0").url).spec(EVALUATE, schedule=just_due())
    for address in ("0.0.0.0:0", "[::]:0", "10.1.2.3:8000", "example.com:80"):
        said = rebatch("serve", spec, "--listen", address, code=2).err
        assert "is not this machine's own address, and health is told to nobody else" in said
    assert "is no address to listen at" in rebatch("serve", spec, "--listen", "loud", code=2).err
    assert ticks(rebatch) == []


def test_a_name_is_kept_by_one_spec_of_a_state_directory(rebatch: Rebatch, open_world: Open) -> None:
    """Two specs with the same name would be one schedule: the second is refused, and names the first."""
    rebatch.at(open_world("--results=0").url)
    one, other = (rebatch.spec(EVALUATE, schedule=not_due(), name=name) for name in ("one.yaml", "other.yaml"))
    live = rebatch.start("serve", one, other)
    greeted(live)
    until(lambda: f"{other}: there is a schedule “evaluate” of {one}" in live.said, "the second is refused")
    drained(live)


def test_what_nobody_was_there_for_is_told_as_missed(rebatch: Rebatch, open_world: Open, inbox: Inbox) -> None:
    """After a day without anybody one job covers the hours that it may; the ticks that are left out are told."""
    world = open_world("--results=60")
    schedule = {**just_due(), "catch_up_window": "6h"}
    spec = rebatch.at(world.url).spec(EVALUATE, schedule=schedule, notify=inbox.notify("missed", "success"))
    kept_before(rebatch, spec, 25 * 3600)
    live = rebatch.start("serve", spec)
    until(lambda: {each["event"] for each in inbox.told} == {"missed", "success"}, "all of it is told")
    drained(live)
    fates = Counter(tick.fate for tick in ticks(rebatch))
    assert fates[TickFate.RAN] == 1
    assert fates[TickFate.MISSED] + 1 == sum(fates.values()) in {25, 26}
    missed = [each for each in inbox.told if each["event"] == "missed"]
    assert sum(each["missed"] for each in missed) == fates[TickFate.MISSED]
    assert "fail" in inbox.beats
