"""`rebatch schedule`: what is due, what ran, when it is due next, and what a person can do about it; and `check`."""

from __future__ import annotations

import re
import signal
import time
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from engine.schedule.entry import TickFate
from tests.e2e.nightly import Inbox, jobs_made, just_due, kept_before, not_due, ticks
from tests.e2e.rig import EVALUATE, Rebatch, assert_each_once, eligible, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

BERLIN = {"cron": "30 2 * * *", "timezone": "Europe/Berlin"}


def test_next_times_are_shown_in_the_zone_of_the_schedule_and_here(rebatch: Rebatch) -> None:
    """Of a spec that nobody keeps yet as of a schedule that somebody does; the second clock only where it differs."""
    spec = rebatch.spec(EVALUATE, schedule=BERLIN)
    head, *lines = rebatch("schedule", "next", spec, TZ="America/New_York").out.splitlines()
    assert head == "evaluate  30 2 * * * Europe/Berlin"
    assert len(lines) == 5
    for line in lines:
        berlin, here = re.fullmatch(r"  (\w{3} \S+ \S+) CES?T  \((\w{3} \S+ \S+) E[SD]T here\)", line).groups()  # type: ignore[union-attr] # else the test fails
        own, other = (
            datetime.strptime(text, "%a %Y-%m-%d %H:%M").replace(tzinfo=ZoneInfo(zone))
            for text, zone in ((berlin, "Europe/Berlin"), (here, "America/New_York"))
        )
        assert own.timestamp() == other.timestamp() > time.time()
        assert (own.hour, own.minute) in {(2, 30), (3, 0)}
    (_, line) = rebatch("schedule", "next", spec, "-n", "1", TZ="Europe/Paris").out.splitlines()
    assert line.startswith(lines[0].partition("  (")[0])
    assert "here" not in line
    kept_before(rebatch, spec, 0)
    assert rebatch("schedule", "next", "evaluate", TZ="America/New_York").out.splitlines() == [head, *lines]
    assert rebatch("schedule", "next", TZ="America/New_York").out.splitlines() == [head, *lines]


def test_what_does_not_exist_is_named_with_what_does(rebatch: Rebatch) -> None:
    """Exit 2: first there is no schedule at all, then none of this name."""
    assert "No schedules in" in rebatch("schedule", "ls").err
    assert rebatch("schedule", "ls", "--check", "--format", "json").json == []
    for command in ("next", "run", "pause", "resume"):
        said = rebatch("schedule", command, "nobody", code=2).err
        assert "There is no schedule “nobody”" in said
        assert "Begin with: rebatch serve SPEC" in said
    kept_before(rebatch, rebatch.spec(EVALUATE, schedule=BERLIN), 0)
    assert "There are: evaluate." in rebatch("schedule", "run", "nobody", code=2).err
    unscheduled = rebatch.spec(EVALUATE, name="unscheduled.yaml")
    assert "none of its jobs has a schedule" in rebatch("schedule", "next", unscheduled, code=2).err


def test_a_paused_schedule_skips_its_ticks_until_it_is_resumed(rebatch: Rebatch, open_world: Open) -> None:
    """A paused one is not late: somebody wanted it."""
    world = open_world("--results=100", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    spec = rebatch.at(world.url).spec(EVALUATE, schedule=just_due())
    kept_before(rebatch, spec, 2 * 3600)
    rebatch("schedule", "ls", "--check", code=3)
    assert "go on with: rebatch schedule resume evaluate" in rebatch("schedule", "pause", "evaluate").err.lower()
    rebatch("schedule", "ls", "--check")
    rebatch("run", "--scheduled", spec)
    assert world.count("POST") == 0
    skipped = ticks(rebatch)
    assert {(tick.fate, tick.why) for tick in skipped} == {(TickFate.SKIPPED, "the schedule is paused")}
    said = rebatch("schedule", "ls").out
    assert re.search(r"^evaluate +paused .* skipped +- ", said, re.MULTILINE)
    assert "paused, by hand" in said
    assert "evaluate  " in rebatch("schedule", "resume", "evaluate").err
    rebatch("run", "--scheduled", spec)
    assert ticks(rebatch) == skipped, "what was skipped stays so"
    minute = (time.gmtime().tm_min - 2) % 60  # within the ten minutes that a new schedule looks back
    rebatch.spec(EVALUATE, schedule={"cron": f"{minute} * * * *"})
    rebatch("run", "--scheduled", spec)
    (ran,) = [tick for tick in ticks(rebatch) if tick.fate is TickFate.RAN]
    assert (ran.outcome, ran.job) == ("success", rebatch.job())
    assert_each_once(world, wanted)


def test_a_late_schedule_is_seen_by_whoever_watches(rebatch: Rebatch) -> None:
    """`ls --check` exits with 3; without `--check` it only says so, and with somebody there it is not late."""
    spec = rebatch.spec(EVALUATE, schedule=not_due())
    kept_before(rebatch, spec, 0)
    assert re.search(r"^evaluate +on time ", rebatch("schedule", "ls", "--check").out, re.MULTILINE)
    kept_before(rebatch, rebatch.spec(EVALUATE, name="late.yaml", schedule=just_due()), 60)
    rebatch("schedule", "ls", "--check")
    (rebatch.state_dir / "schedules.book").unlink()
    kept_before(rebatch, spec, 2 * 3600)
    said = rebatch("schedule", "ls").out
    assert re.search(r"^evaluate +late ", said, re.MULTILINE)
    assert f"is late: is anybody there? rebatch serve {spec}" in said
    (listed,) = rebatch("schedule", "ls", "--check", "--format", "json", code=3).json
    assert (listed["state"], listed["late"], listed["source"]) == ("late", True, str(spec))
    assert datetime.fromisoformat(listed["overdue"]).timestamp() < time.time() - 1800


def test_a_job_begun_by_hand_is_no_tick_of_its_schedule(rebatch: Rebatch, open_world: Open) -> None:
    """It reports like any, stands in the list as begun by hand, and the next ticks stay as they were."""
    world = open_world("--results=200", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    spec = rebatch.at(world.url).spec(EVALUATE, schedule=not_due())
    rebatch("run", "--scheduled", spec)
    (before,) = rebatch("schedule", "ls", "--format", "json").json
    report = rebatch("schedule", "run", "evaluate", "--format", "json").json
    assert (report["job"], report["state"]) == (rebatch.job(), "finished")
    (listed,) = rebatch("schedule", "ls", "--format", "json").json
    (tick,) = listed["ticks"]
    assert (tick["by_hand"], tick["fate"], tick["outcome"], tick["job"]) == (True, "ran", "success", rebatch.job())
    assert listed["next"] == before["next"]
    assert re.search(r"^evaluate +on time .* success ", rebatch("schedule", "ls").out, re.MULTILINE)
    assert_each_once(world, wanted)
    spec.write_text(spec.read_text().replace('"evaluate"', '"renamed"', 1))
    assert "there is no schedule “evaluate” in it any more" in rebatch("schedule", "run", "evaluate", code=2).err
    assert re.search(r"^evaluate +gone ", rebatch("schedule", "ls").out, re.MULTILINE)


def test_nothing_is_begun_by_hand_while_a_job_of_the_schedule_is_at_work(
    rebatch: Rebatch, open_world: Open, inbox: Inbox
) -> None:
    """Exit 11 with the process that has it; one that was killed is brought to its end before."""
    world = open_world("--results=1200", "--evaluation-time=20ms")
    wanted = eligible(world.results())
    spec = rebatch.at(world.url).spec(EVALUATE, schedule=just_due(), notify=inbox.notify("success"))
    world.change(latency="100ms")
    live = rebatch.start("run", "--scheduled", spec)
    until(lambda: world.count("POST") >= 2, "some chunks")
    world.change(latency="1500ms")
    until(lambda: world.count("POST") >= 4, "chunks that take long")
    until(lambda: inbox.beats == ["start"], "its beat, while it is at work")
    said = rebatch("schedule", "run", "evaluate", code=11).err
    assert f"Job {rebatch.job()} of evaluate is not over (process {live.process.pid})." in said
    assert live.kill().code == -signal.SIGKILL
    world.change(latency="0s")
    (job,) = jobs_made(rebatch)
    said = rebatch("schedule", "run", "evaluate").err
    assert said.index(f"job {job} was interrupted, and goes on") < said.index(f"job {job} ended with success")
    assert said.index(f"job {job} ended with success") < said.rindex(" begins")
    assert [(tick.fate, tick.by_hand, tick.outcome) for tick in ticks(rebatch)] == [
        (TickFate.RAN, False, "success"),
        (TickFate.RAN, True, "success"),
    ]
    assert inbox.beats == ["start", "success"] * 2
    assert world.evaluations() == {run: 2 for some in wanted.values() for run in some}


SPEC = """\
version: 1
jobs:
  - name: nightly
    resource: results
    scope: {agent_id: 101}
    action: {type: evaluate_metrics, metrics: [11]}
    schedule: {cron: "30 2 * * *", timezone: Europe/Berlin, jitter: 10m}
    notify:
      - on: [failure]
        urls: ["${HOOK}"]
"""
EVALUATION = "{type: evaluate_metrics, metrics: [11]}"
MISTAKES = {
    "a deletion without guards": (
        (EVALUATION, "{type: delete_results}"),
        "7:15: what cannot be undone comes round on a schedule only with `guards: max_percent` or `max_items`",
    ),
    "an export into one file": (
        (EVALUATION, "{type: export_results, path: all.jsonl}"),
        "6:42: on a schedule {job} or {date} is needed, so that no two nights share a file",
    ),
    "ids from standard input": (
        ("{agent_id: 101}", '{ids_from: "-"}'),
        "5:23: nobody feeds standard input on a schedule; name a file",
    ),
    "jitter too long": (
        ("jitter: 10m", "jitter: 24h"),
        "7:69: jitter must be shorter than what lies between two ticks",
    ),
    "a time zone": (
        ("Europe/Berlin", "Europe/Brelin"),
        "7:46: “Europe/Brelin” is no time zone; did you mean “Europe/Berlin”?",
    ),
    "an expression": (
        ("30 2 * * *", "30 25 * * *"),
        "7:22: “30 25 * * *” is no cron expression:",
    ),
    "six fields": (
        ("30 2 * * *", "0 30 2 * * *"),
        "7:22: “0 30 2 * * *” is no cron expression: five fields are needed",
    ),
    "a day that never comes": (("30 2 * * *", "0 0 31 2 *"), "7:22: “0 0 31 2 *” is no cron expression:"),
    "an event": (("[failure]", "[failed]"), "9:14: "),
    "an address with a secret": (
        ("${HOOK}", "https://hooks.slack.com/services/T0/B0/abcdefgh12345678"),
        "10:16: this address holds a secret, and specs are kept: write ${NAME}, and set NAME in the environment",
    ),
    "an overlap": (("jitter: 10m", "overlap: wait"), "7:70: "),
    "a field": (("jitter:", "jiter:"), "7:61: unknown field “jiter”; did you mean “jitter”?"),
    "a retention": (("    notify:", "    retention: forever\n    notify:"), "8:16: "),
}


def test_a_mistake_in_a_schedule_is_told_at_its_place(rebatch: Rebatch) -> None:
    """Before the first night; a secret is not repeated."""
    good = rebatch.home / "good.yaml"
    good.write_text(SPEC)
    rebatch("check", good)
    wrong = {f"{what.replace(' ', '-')}.yaml": mistake for what, mistake in MISTAKES.items()}
    for name, (change, _) in wrong.items():
        (rebatch.home / name).write_text(SPEC.replace(*change, 1))
    said = rebatch("check", *wrong, good, code=2).err
    *lines, last = said.splitlines()
    assert last == f"{good}: 1 job, no mistakes"
    for (name, (_, mistake)), line in zip(wrong.items(), lines, strict=True):
        assert line.startswith(f"{name}:{mistake}")
    assert "abcdefgh" not in said
