"""The library as a program uses it: against a real sandbox, in this process."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from engine import GuardError, SpecError
from jobs import Account, Event, job
from tests.e2e.rig import KEY, assert_each_once, eligible

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

LIMITS = {"rate": "200/s", "timeout": "2s", "settle": "1s"}
DOCUMENT = Path(__file__).parents[2] / "docs" / "library.md"


async def test_a_job_is_planned_run_and_reported(open_world: Open, tmp_path: Path) -> None:
    """Nothing is changed by the plan; events come; every item is confirmed or had nothing to do; none is done twice."""
    world = open_world("--results=400", "--latency=200ms")
    rows = world.results()
    where = {
        "status": ["completed", "failed"],
        "any": [{"completed_runs_count": {"gt": 0}}, {"failed_runs_count": {"gt": 0}}],
    }
    spec = job("nightly", "evaluate_metrics", metrics=[11], where=where, limits=LIMITS)
    events: list[Event] = []
    async with Account(key=KEY, api_url=world.url, state_dir=tmp_path) as account, account.plan(spec) as planned:
        assert world.audit()["evaluations"]["calls"] == 0
        report = await planned.run(agreed=planned.items, on_event=events.append)
        fates = {item["fate"] async for item in planned.each()}
    assert (report["state"], fates) == ("finished", {"confirmed"})
    assert {event.stage for event in events} >= {"working", "verifying"}
    assert_each_once(world, eligible(rows))


async def test_a_job_that_was_left_is_resumed(open_world: Open, tmp_path: Path) -> None:
    """Leaving the events early lets what is in flight finish; whoever resumes does the rest, and nothing twice."""
    world = open_world("--results=2000", "--latency=100ms")
    rows = world.results()
    async with Account(key=KEY, api_url=world.url, state_dir=tmp_path) as account:
        spec = job("nightly", "delete_results", where={"status": "completed"}, limits={**LIMITS, "rate": "20/s"})
        async with account.plan(spec) as planned, planned.running(agreed=planned.items) as events:
            async for event in events:
                if event.stage == "working" and event.done:
                    break
        async with account.resume(planned.id) as again:
            assert again.facts["state"] == "working"
            report = await again.run(agreed=again.items)
    gone = {row["id"] for row in rows.values() if row["status"] == "completed"}
    assert report["counts"]["confirmed"] == len(gone)
    assert world.results().keys() == rows.keys() - gone


async def test_whoever_does_not_take_the_events_holds_nothing_up_and_breaks_nothing(
    open_world: Open, tmp_path: Path
) -> None:
    """Leaving while one waits to be taken lets what is in flight finish, too."""
    world = open_world("--results=2000", "--latency=300ms")
    async with Account(key=KEY, api_url=world.url, state_dir=tmp_path) as account:
        spec = job("nightly", "evaluate_metrics", metrics=[11], limits={**LIMITS, "rate": "20/s"})
        async with account.plan(spec) as planned, planned.running(agreed=planned.items):
            while world.count("POST") < 4:  # noqa: ASYNC110 - a fact of the world
                await anyio.sleep(0.05)
        async with account.resume(planned.id) as again:
            counts = (await again.report())["counts"]
            assert counts["unsettled"] == 0
            assert counts["accepted"] + counts["confirmed"] > 0


async def test_what_was_not_agreed_to_is_not_done(open_world: Open, tmp_path: Path) -> None:
    """The number of items is what a person would type."""
    world = open_world("--results=50")
    spec = job("all", "delete_results", limits=LIMITS)
    async with Account(key=KEY, api_url=world.url, state_dir=tmp_path) as account, account.plan(spec) as planned:
        with pytest.raises(GuardError, match="Nothing was changed"):
            await planned.run(agreed=planned.items - 1)
    assert world.audit()["deletions"]["results"] == 0


def test_a_job_with_mistakes_tells_them_all_with_their_paths() -> None:
    """As a spec does, without lines."""
    with pytest.raises(SpecError) as told:
        job("x", "evaluate_metrics", metrics=[], where={"statuz": "failed"})
    assert [line.split(":")[0] for line in told.value.lines] == ["action.metrics", "where.statuz"]


async def test_the_example_of_the_documentation_works(
    open_world: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As it stands there."""
    world = open_world("--results=300")
    for name, value in {"CEKURA_API_URL": world.url, "CEKURA_API_KEY": KEY, "REBATCH_STATE_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    (code,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)[:1]
    scope: dict[str, object] = {"__name__": "example"}
    exec(compile(code, str(DOCUMENT), "exec"), scope)
    await scope["main"]()  # type: ignore[operator] # the example's
    assert "finished" in capsys.readouterr().out
