"""Runs: found in results, deleted result by result, never twice on a guess; and what is kept of each agent."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.errors import UsageError
from engine.fates import ItemFate
from jobs.sandbox.listing import OURS
from jobs.sandbox.sql import as_json, column, select
from tests.simulation.world import World, world
from tests.virtual_time import run

FAULTS = {
    "latency": 0.1,
    "jitter": 0.3,
    "errors": 0.04,
    "errors_after": 0.06,
    "reset_before": 0.04,
    "reset_after": 0.06,
    "hang_after": 0.03,
    "truncate": 0.04,
}
ALIVE = f"SELECT run.id FROM run JOIN result ON result.id = run.result WHERE run.deleted_us IS NULL AND {OURS.replace('deleted_us', 'result.deleted_us')}"


def spec(where: str = "{status: [failed, timeout]}", **more: str) -> str:
    """A job that deletes runs."""
    said = {"scope": "{}", "where": where, "action": "{type: delete_runs}", **more}
    lines = "".join(f"    {name}: {value}\n" for name, value in said.items() if value)
    limits = "{rate: 50/s, concurrency: 8, timeout: 5s, settle: 20s, verify: 60s}"
    return f"version: 1\njobs:\n  - name: prune\n    resource: runs\n{lines}    limits: {limits}\n"


def alive(here: World, condition: str = "1") -> set[int]:
    """Runs that can be seen."""
    return set(column(here.sandbox.store.db, f"{ALIVE} AND {condition}"))


def calls(here: World) -> dict[int, int]:
    """How many deletions were carried out at each result."""
    found = select(
        here.sandbox.store.db, "SELECT result, count(*) FROM effect WHERE kind = 'delete_call' GROUP BY result"
    )
    return dict(found)


async def finish(here: World, kills: int = 0) -> dict[str, int]:
    """Processes that are killed, then one that is left alone."""
    for _ in range(kills):
        if counts := await here.live(lambda: anyio.sleep(here.dice.uniform(0, 6))):
            return counts
    counts = await here.live()
    assert counts is not None
    return counts


@pytest.mark.parametrize("seed", range(8))
def test_no_trouble_and_no_kill_deletes_another_run_or_deletes_twice(seed: int, tmp_path: Path) -> None:
    """Exactly what was selected goes, by one deletion for each result: each makes the service evaluate it anew."""

    async def story() -> None:
        async with world(tmp_path, seed, results=500, **FAULTS) as here:
            here.read(spec())
            before, wanted = alive(here), alive(here, "run.status IN ('failed', 'timeout')")
            counts = await finish(here, kills=seed % 4)
            assert before - alive(here) == wanted
            assert counts[ItemFate.CONFIRMED] == sum(counts.values()) == len(wanted) > 50
            assert set(calls(here).values()) == {1}

    run(story)


def test_of_each_result_one_request_is_under_way_at_a_time(tmp_path: Path) -> None:
    """Each makes the service evaluate the result anew; those of other results go on meanwhile."""

    async def story() -> None:
        async with world(tmp_path, 5, 30, latency=2.0) as here:
            results = column(here.sandbox.store.db, f"SELECT id FROM result WHERE {OURS} ORDER BY id LIMIT 3")
            rows = "SELECT ? * 100000 + value, ?, 24270, 'completed', 1, 1, NULL, NULL FROM json_each(?)"
            for result in results:
                here.sandbox.store.db.execute(f"INSERT INTO run {rows}", (result, result, as_json(range(450))))
            here.read(spec(where=f"{{result: {results}}}"))
            counts = await finish(here)
            assert counts[ItemFate.CONFIRMED] == sum(counts.values()) > 1350
            times: defaultdict[str, list[float]] = defaultdict(list)
            for arrival in here.sandbox.arrivals.last:
                if arrival.method == "POST":
                    times[arrival.path].append(arrival.at_s)
            assert all(later - earlier >= 2.0 for some in times.values() for earlier, later in pairwise(some))
            assert min(map(len, times.values())) >= 5
            first, second, third = (some[1] for some in times.values())
            assert max(first, second, third) - min(first, second, third) < 2.0, "the results do not wait for each other"

    run(story)


@pytest.mark.parametrize("shape", ["object", "array", "none", "ids"])
def test_runs_are_taken_from_wherever_the_service_tells_of_them(shape: str, tmp_path: Path) -> None:
    """From the list's summaries, from details where it has none, from runs/bulk where a summary tells too little."""

    async def story() -> None:
        async with world(tmp_path, 6, 200, runs_as=shape) as here:
            here.read(spec(where="{status: [failed, timeout], error_message: {ne: nothing}}"))
            before, wanted = alive(here), alive(here, "run.status IN ('failed', 'timeout')")
            counts = await finish(here)
            assert before - alive(here) == wanted
            assert counts[ItemFate.CONFIRMED] == sum(counts.values()) == len(wanted)

    run(story)


def test_the_last_ones_of_each_agent_are_kept_whatever_is_selected(tmp_path: Path) -> None:
    """Counted over all in scope and before anything is selected: of the failed ones only those that are not among the last."""

    async def story() -> None:
        async with world(tmp_path, 7, 400) as here:
            here.read(spec(keep="{last: 40, per: agent_id, by: created_at, among: {success: false}}"))
            query = f"""SELECT run.id, agent, run.status, run.success FROM run JOIN result ON result.id = run.result
                WHERE run.id IN ({ALIVE}) ORDER BY at_us DESC, run.id DESC"""
            rows: list[tuple[Any, ...]] = select(here.sandbox.store.db, query)
            kept: defaultdict[int, list[int]] = defaultdict(list)
            for item, agent, _, success in rows:
                if not success and len(kept[agent]) < 40:
                    kept[agent].append(item)
            safe = {item for some in kept.values() for item in some}
            wanted = {item for item, _, status, _ in rows if status in {"failed", "timeout"}} - safe
            before = alive(here)
            counts = await finish(here)
            assert before - alive(here) == wanted
            assert counts[ItemFate.CONFIRMED] == len(wanted) > 10

    run(story)


@pytest.mark.parametrize("resource", ["results", "runs"])
def test_only_what_the_scope_names_is_touched_and_what_is_missing_is_told(resource: str, tmp_path: Path) -> None:
    """By their ids; each that is named has a fate."""

    async def story() -> None:
        async with world(tmp_path, 8, 900) as here:
            db = here.sandbox.store.db
            every = sorted(alive(here)) if resource == "runs" else column(db, f"SELECT id FROM result WHERE {OURS}")
            named = [*every[10:17], 5, 7]
            here.read(
                spec(where="", scope=f"{{ids: {named}}}", action=f"{{type: delete_{resource}}}").replace(
                    "resource: runs", f"resource: {resource}"
                )
            )
            counts = await finish(here)
            assert (counts[ItemFate.CONFIRMED], counts[ItemFate.SKIPPED]) == (7, 2)
            kind = "delete_run" if resource == "runs" else "delete_result"
            which = "run" if resource == "runs" else "result"
            gone = column(db, f"SELECT {which} FROM effect WHERE kind = '{kind}'")
            assert sorted(gone) == every[10:17]

    run(story)


def test_a_manifest_with_mistakes_plans_nothing(tmp_path: Path) -> None:
    """Told line by line."""
    manifest = tmp_path / "ids.txt"
    manifest.write_text("5\nsix\n7\n", encoding="utf-8")

    async def story() -> None:
        async with world(tmp_path, 9, 20) as here:
            here.read(spec(where="", scope=f"{{ids_from: {manifest}}}"))
            with pytest.raises(UsageError, match=r"ids\.txt:2: "):
                await here.live()
            assert here.audit()["deletions"] == {"results": 0, "runs": 0}

    run(story)
