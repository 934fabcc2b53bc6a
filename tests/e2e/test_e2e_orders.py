"""Orders from another terminal: pause, throttle, cancel and watch, while a job is worked on, and while it is not."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.e2e.rig import (
    COMMAND,
    DELETE,
    EVALUATE,
    Live,
    Rebatch,
    World,
    assert_all_confirmed,
    assert_each_once,
    eligible,
    until,
)
from tests.e2e.test_e2e_terminal import Terminal

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

SLOWLY = {**EVALUATE["limits"], "timeout": "30s"}


def at_work(rebatch: Rebatch, world: World, chunks: int = 3, latency: str = "3s", **changes: Any) -> Live:
    """A job of which so many chunks have reached the service, which from then on takes so long over each.

    So there is time for commands, however slow the machine; set `latency` back when they were given.
    """
    world.change(latency="100ms")
    spec = rebatch.at(world.url).spec(EVALUATE, **{"limits": SLOWLY, **changes})
    live = rebatch.start("run", spec, "--yes", "--format", "json", "--items")
    until(lambda: world.count("POST") >= chunks, "some chunks")
    world.change(latency=latency)
    return live


def status(rebatch: Rebatch) -> Any:
    """What `status` says of the only job."""
    return rebatch("status", rebatch.job(), "--format", "json").json


def orders(rebatch: Rebatch) -> Path:
    """The file of orders of the only job."""
    return rebatch.state_dir / f"{rebatch.job()}.rebatch.orders"


def quiet_since_paused(rebatch: Rebatch, world: World) -> int:
    """Wait until what was in flight has finished; the number of requests that have come by then."""
    until(lambda: status(rebatch)["counts"]["unsettled"] == 0, "what was in flight finished")
    return len(world.requests())


def test_a_job_is_paused_and_goes_on(rebatch: Rebatch, open_world: Open) -> None:
    """In-flight chunks finish, nothing arrives any more, and the end is that of a quiet job."""
    world = open_world("--results=4000", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    live = at_work(rebatch, world)
    said = rebatch("pause", rebatch.job()).err
    assert f"(process {live.process.pid})" in said
    until(lambda: "paused" in live.said, "the order has reached it")
    arrived = quiet_since_paused(rebatch, world)
    assert world.audit()["evaluations"]["calls"] == world.count("POST")
    shown = status(rebatch)
    assert (shown["state"], shown["pid"], shown["orders"]["paused"]) == ("paused", live.process.pid, True)
    assert shown["counts"]["not_attempted"] > 0
    assert f"go on with: rebatch unpause {rebatch.job()}" in rebatch("status").out
    assert "paused" in rebatch("list").out
    assert len(world.requests()) == arrived, "these five commands took a second"
    world.change(latency="0s")
    rebatch("unpause", rebatch.job()[:5])
    report = live.wait().json
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)
    assert not orders(rebatch).exists()


def test_a_job_killed_while_paused_stays_paused(rebatch: Rebatch, open_world: Open) -> None:
    """Resuming it sends nothing and does not hang (exit 6); unpaused, it comes to its end."""
    world = open_world("--results=4000", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    live = at_work(rebatch, world)
    rebatch("pause", rebatch.job())
    until(lambda: "paused" in live.said, "the order has reached it")
    live.kill()
    arrived = len(world.requests())
    for command in (["resume", "--last", "--yes"], ["run", rebatch.job(), "--yes"]):
        said = rebatch(*command, code=6).err
        job = rebatch.job()
        assert f"Job {job} is paused. Go on with: rebatch unpause {job}, then: rebatch resume {job}" in said
        assert "The job is saved" not in said
    assert len(world.requests()) == arrived
    assert (status(rebatch)["state"], status(rebatch)["pid"]) == ("paused", None)
    world.change(latency="0s")
    assert f"go on with: rebatch resume {job}" in rebatch("unpause", job).err
    report = rebatch("resume", job, "--format", "json", "--items").json
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)


def test_ctrl_c_ends_a_paused_job_and_names_both_commands(rebatch: Rebatch, open_world: Open) -> None:
    """Whoever stops it need not know that somebody else has paused it."""
    world = open_world("--results=4000")
    live = at_work(rebatch, world)
    job = rebatch.job()
    rebatch("pause", job)
    until(lambda: "paused" in live.said, "the order has reached it")
    live.send(signal.SIGINT)
    done = live.wait()
    assert done.code == 130
    assert f"go on with: rebatch unpause {job}, then: rebatch resume {job}" in done.err


def test_a_job_is_cancelled_while_it_works(rebatch: Rebatch, open_world: Open) -> None:
    """What was sent is evaluated once and confirmed, the rest is skipped with words; exit 6; for good."""
    world = open_world("--results=4000", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    live = at_work(rebatch, world)
    job = rebatch.job()
    assert "is being cancelled" in rebatch("cancel", job).err
    until(lambda: "being cancelled" in live.said, "the order has reached it")
    world.change(latency="0s")
    done = live.wait()
    assert done.code == 6, done.err
    report = done.json
    assert (report["state"], report["counts"]["unsettled"], report["counts"]["not_attempted"]) == ("cancelled", 0, 0)
    assert {item["error"] for item in report["items"] if item["fate"] == "skipped"} == {"cancelled before it was sent"}
    confirmed = {item["id"] for item in report["items"] if item["fate"] == "confirmed"}
    assert len(confirmed) > 0
    assert report["counts"]["skipped"] == report["counts"]["planned"] - len(confirmed) > 0
    assert_each_once(world, {result: wanted[result] for result in confirmed})
    assert "cancelled" in rebatch("list").out
    assert "· cancelled in " in rebatch("report", job).out
    assert "There is no job to resume" in rebatch("resume", code=2).err
    for command in (["resume", job], ["run", job, "--yes"], ["pause", job], ["unpause", job], ["cancel", job]):
        assert "cancelled" in rebatch(*command, code=2).err
    assert "cancelled" in rebatch("throttle", job, "5/s", code=2).err


def test_a_cancelled_job_settles_what_it_does_not_know(rebatch: Rebatch, open_world: Open) -> None:
    """Answers were lost, the process killed, the job cancelled then: nothing is sent again, the truth is found out."""
    world = open_world("--results=4000", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    world.change(errors_after="50%", errors="50%", only="writes")
    live = at_work(rebatch, world, 4, "100ms")
    live.kill()
    job, sent = rebatch.job(), world.count("POST")
    said = rebatch("cancel", job).err
    assert f"find out and end it with: rebatch resume {job}" in said
    assert status(rebatch)["state"] == "interrupted"
    assert f"end it: rebatch resume {job}" in rebatch("status").out
    world.change(latency="0s", errors_after="0", errors="0")
    until(lambda: world.count("POST") == sent, "the service has what was sent")
    report = rebatch("resume", job, "--yes", "--format", "json", "--items", code=6).json
    assert report["state"] == "cancelled"
    assert world.count("POST") == sent
    done = {item["id"] for item in report["items"] if item["fate"] == "confirmed"}
    assert_each_once(world, {result: wanted[result] for result in done})
    assert {item["fate"] for item in report["items"]} == {"confirmed", "skipped"}


def test_a_cancelled_deletion_is_not_repeated_on_a_guess_either(rebatch: Rebatch, open_world: Open) -> None:
    """It could be, without harm; but then more would be deleted after the cancellation than before."""
    world = open_world("--results=6000")
    before = world.results().keys()
    world.change(errors_after="50%", errors="50%", only="writes")
    live = at_work(rebatch, world, 2, **{**DELETE, "limits": SLOWLY})
    rebatch("cancel", rebatch.job())
    until(lambda: "being cancelled" in live.said, "the order has reached it")
    world.change(errors_after="0", errors="0", latency="0s")
    report = live.wait().json
    assert report["state"] == "cancelled"
    gone = before - world.results().keys()
    assert {item["id"] for item in report["items"] if item["fate"] == "confirmed"} == gone
    assert {item["fate"] for item in report["items"] if item["id"] not in gone} == {"skipped"}


def test_a_plan_that_nobody_works_on_is_cancelled_at_once(rebatch: Rebatch, quiet_world: World) -> None:
    """Nothing of it is in flight: it needs neither key nor network."""
    rebatch.at(quiet_world.url)("plan", rebatch.spec(EVALUATE))
    job = rebatch.job()
    rebatch.at(None, None)
    assert f"Job {job} is cancelled." in rebatch("cancel", job).err
    shown = status(rebatch)
    assert (shown["state"], shown["counts"]["skipped"]) == ("cancelled", shown["counts"]["planned"])
    assert not orders(rebatch).exists()
    assert "for good" in rebatch("resume", job, code=2).err


def test_a_cancelled_plan_is_no_plan(rebatch: Rebatch, open_world: Open) -> None:
    """Cancelled while the list is read: it stops at once, exit 6, and the next jobs of the spec do not begin."""
    world = open_world("--results=4000", "--latency=1s")
    live = rebatch.at(world.url).start("plan", rebatch.spec(EVALUATE))
    until(lambda: rebatch.checkpoints and world.count("GET") >= 1, "a page")
    rebatch("cancel", rebatch.job())
    done = live.wait()
    assert (done.code, done.out) == (6, "")
    assert "was cancelled while it was planned" in done.err
    assert "go on with" not in done.err
    rebatch.checkpoints[0].unlink()
    live = rebatch.start("run", rebatch.spec(EVALUATE, {**EVALUATE, "name": "next"}), "--yes")
    until(lambda: rebatch.checkpoints, "the first job")
    rebatch("cancel", rebatch.job())
    done = live.wait()
    assert done.code == 6
    assert "The jobs that come after it in the spec were not begun." in done.err
    assert len(rebatch.checkpoints) == 1
    assert world.count("POST") == 0


def test_a_job_is_throttled_while_it_works_and_when_it_is_resumed(rebatch: Rebatch, open_world: Open) -> None:
    """By the arrivals at the service; `status` and the plan say which pace is in force; `off` lifts it."""
    world = open_world("--results=2000", "--evaluation-time=20ms", "--latency=50ms")
    wanted = eligible(world.results())
    rebatch.at(world.url)("plan", rebatch.spec(EVALUATE, limits={**SLOWLY, "rate": "20/s"}))
    job = rebatch.job()
    assert "when it goes on" in rebatch("throttle", job, "3/s").err
    world.results()
    live = rebatch.start("run", job, "--yes")
    until(lambda: world.count("POST") >= 2, "some chunks")
    assert "at most 3/s (ordered; its spec says 20/s)" in live.said
    rebatch("throttle", job, "60/m")
    until(lambda: "throttled to 60/m" in live.said, "the order has reached it")
    slow = len(world.requests())
    until(lambda: len(world.requests()) >= slow + 3, "requests at the new rate")
    assert status(rebatch)["orders"]["rate"] == "60/m"
    assert f"throttled to 60/m; lift it with: rebatch throttle {job} off" in rebatch("status").out
    arrivals = [at for at, *_ in world.arrivals()]
    assert busiest(arrivals) <= 3
    assert busiest(arrivals[slow + 1 :]) <= 1
    rebatch("throttle", job, "off")
    live.wait()
    assert_each_once(world, wanted)
    for wrong in ("fast", "0/s", "-1/s", "99999/s"):
        assert "is not a rate" in rebatch("throttle", "--", job, wrong, code=2).err


def busiest(times: list[float]) -> int:
    """The most arrivals in any second; a little less of it, since two may overtake each other on their way."""
    return max(len([at for at in times if start <= at < start + 0.95]) for start in times)


def test_junk_in_the_file_of_orders_is_named_and_stops_nothing(rebatch: Rebatch, open_world: Open) -> None:
    """A command says which file to remove; the job at work warns and goes on; nothing is cancelled by accident."""
    world = open_world("--results=4000", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    live = at_work(rebatch, world)
    orders(rebatch).write_text('{"cancelled": "maybe"}')
    until(lambda: "are not obeyed" in live.said, "the warning")
    for command in (["pause"], ["unpause"], ["cancel"]):
        said = rebatch(*command, rebatch.job(), code=2).err
        assert f"{orders(rebatch)}: these are no orders: " in said
        assert "Remove the file" in said
    assert "these are no orders" in rebatch("status").err
    assert status(rebatch)["state"] == "working"
    assert "working" in rebatch("list").out
    world.change(latency="0s")
    report = live.wait().json
    assert_each_once(world, wanted)
    assert_all_confirmed(report, wanted)


def test_status_is_watched_until_the_job_ends(rebatch: Rebatch, open_world: Open) -> None:
    """A line whenever something has changed, for people or as JSON; the last one tells the end."""
    world = open_world("--results=4000", "--evaluation-time=20ms")
    live = at_work(rebatch, world)
    watched = [rebatch.start("status", "--watch", *style) for style in ([], ["--format", "ndjson"])]
    until(lambda: all(len(each.out.read_text().splitlines()) >= 2 for each in watched), "some lines")
    world.change(latency="0s")
    assert live.wait().code == 0
    lines, told = (onlooker.wait() for onlooker in watched)
    assert (lines.code, told.code) == (0, 0)
    said = lines.out.splitlines()
    assert len(said) == len(set(said)) > 2
    assert said[0].startswith("working: ")
    assert said[-1].startswith("finished: ")
    objects = [json.loads(line) for line in told.out.splitlines()]
    assert (objects[0]["pid"], objects[-1]["state"]) == (live.process.pid, "finished")
    assert all(one != other for one, other in pairwise(objects))


def test_watching_ends_when_nobody_works_on_the_job(rebatch: Rebatch, open_world: Open) -> None:
    """At once when nobody does; and when the process that did is killed."""
    world = open_world("--results=4000")
    live = at_work(rebatch, world)
    watching = rebatch.start("status", "-w")
    until(watching.out.read_text, "the first line")
    live.kill()
    assert watching.wait().out.splitlines()[-1].startswith("interrupted: ")
    assert rebatch("status", "--watch").out.startswith("interrupted: ")


def test_ctrl_c_ends_watching_quietly(rebatch: Rebatch, open_world: Open) -> None:
    """Exit 130 and no word; the job goes on untroubled."""
    world = open_world("--results=4000")
    live = at_work(rebatch, world)
    watching = rebatch.start("status", "--watch")
    until(watching.out.read_text, "the first line")
    watching.send(signal.SIGINT)
    done = watching.wait()
    assert (done.code, done.err.strip()) == (130, "")
    assert live.process.poll() is None


@contextmanager
def screen(rebatch: Rebatch, *arguments: str) -> Iterator[Terminal]:
    """Start a command whose output, too, is a terminal."""
    master, slave = pty.openpty()
    environment = rebatch.environment | {"TERM": "xterm-256color"}
    with subprocess.Popen(
        [COMMAND, *arguments], stdin=slave, stdout=slave, stderr=slave, cwd=rebatch.home, env=environment
    ) as process:
        os.close(slave)
        try:
            yield Terminal(process, master)
        finally:
            process.kill()
            os.close(master)


def test_a_terminal_is_redrawn_in_place(rebatch: Rebatch, open_world: Open) -> None:
    """The cursor goes up and lines are cleared; it is shown again at the end, also after a signal."""
    world = open_world("--results=4000")
    at_work(rebatch, world)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with screen(rebatch, "status", "--watch") as watched:
            watched.expect("\x1b[1A")
            assert f"Job {rebatch.job()} · evaluate · working" in watched.seen
            watched.process.send_signal(number)
            assert watched.end() == code
            assert watched.seen.rstrip().endswith("\x1b[?25h") or "\x1b[?25h" in watched.seen[-40:]
            assert "Traceback" not in watched.seen


def test_orders_take_an_id_a_prefix_or_a_path_and_go_with_the_checkpoint(
    rebatch: Rebatch, quiet_world: World, tmp_path: Path
) -> None:
    """A path through a link too; the file is its owner's alone; whoever copies only the checkpoint copies no orders."""
    rebatch.at(quiet_world.url)("plan", rebatch.spec(EVALUATE))
    (checkpoint,) = rebatch.checkpoints
    link = tmp_path / "linked.rebatch"
    link.symlink_to(checkpoint)
    for name in (rebatch.job(), rebatch.job()[:4], str(checkpoint), str(link)):
        rebatch("pause", name)
        assert orders(rebatch).stat().st_mode & 0o777 == 0o600
        rebatch("unpause", name)
        assert not orders(rebatch).exists()
    assert "See: rebatch list" in rebatch("pause", "zzzzzzzz", code=2).err
    assert "there is no such checkpoint" in rebatch("pause", tmp_path / "none.rebatch", code=2).err
