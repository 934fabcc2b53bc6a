"""What the writing endpoints do, seen in the listing and in the audit."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.service import Sandbox, Start

FOREIGN = 20012
ELIGIBLE = ("completed", "failed")


@pytest.fixture
def world(start: Start) -> Sandbox:
    """A world of the test's own, in which an evaluation takes 300 ms."""
    return start("--results=400", "--evaluation-time=300ms", "--balance=1000")


def eligible(rows: list[dict[str, Any]]) -> list[int]:
    """The ids of the runs that an evaluation takes."""
    return [run["id"] for row in rows for run in row["runs"].values() if run["status"] in ELIGIBLE]


async def test_deleting_takes_results_with_their_runs(world: Sandbox) -> None:
    """Gone from the list, the detail and the runs, and in the audit by number."""
    rows = (await world.results())[:30]
    runs = sum(len(row["runs"]) for row in rows)
    answer = await world.post("/results/bulk_delete/", {"result_ids": [row["id"] for row in rows]})
    assert (answer.status, answer.body) == (204, b"")
    audit = await world.audit()
    assert audit["deletions"] == {"results": 30, "runs": runs}
    assert audit["totals"]["results"] == 370
    assert not {row["id"] for row in rows} & {row["id"] for row in await world.results()}
    assert (await world.get(f"/results/{rows[0]['id']}/")).status == 404
    assert (await world.get("/runs/bulk/", run_ids=next(iter(rows[0]["runs"])))).json == []


async def test_what_cannot_be_deleted_is_skipped_in_silence(world: Sandbox) -> None:
    """Deleted, unknown and foreign ids: "the response is 204 even when no results are deleted" (seed 000)."""
    before = await world.audit()
    mine = (await world.results())[0]["id"]
    answers = [
        await world.post("/results/bulk_delete/", {"result_ids": ids}) for ids in ([FOREIGN, 1, mine], [mine, 10**30])
    ]
    assert [answer.status for answer in answers] == [204, 204]
    after = await world.audit()
    assert after["deletions"]["results"] == 1
    assert after["agents"]["901"] == before["agents"]["901"]


async def test_deleting_counts_down_sessions_and_slots_but_never_below_zero(world: Sandbox) -> None:
    """In aggregate over the batch (seed 000), and for no agent but those concerned."""
    before = await world.audit()
    assert before["agents"]["101"]["active_sessions"] > 0
    assert before["agents"]["108"]["active_sessions"] == 0, "a counter that has drifted"
    for _ in range(4):
        await world.post("/results/bulk_delete/", {"result_ids": [row["id"] for row in await world.results()]})
    after = await world.audit()
    assert after["totals"]["results"] == 0
    for name in ("101", "105", "108"):
        assert after["agents"][name]["active_sessions"] == after["agents"][name]["pending_demand"] == 0
    assert after["slots_freed"] >= sum(agent["active_sessions"] for agent in before["agents"].values())
    assert after["agents"]["901"] == before["agents"]["901"]


async def test_a_phone_number_is_released_with_its_last_queued_run(start: Start, tmp_path: Path) -> None:
    """Not before: "when no queued runs remain" (seed 000)."""
    world = start("--results=2000", f"--db={tmp_path / 'world'}")
    with closing(sqlite3.connect(tmp_path / "world")) as db:
        number, results = db.execute(
            """SELECT phone_number, group_concat(DISTINCT result) FROM run WHERE status IN ('in_queue', 'pending')
              AND phone_number IS NOT NULL GROUP BY phone_number HAVING count(DISTINCT result) = 2"""
        ).fetchone()
        held = []
        for result in map(int, results.split(",")):
            held += db.execute("SELECT held FROM phone_number WHERE id = ?", (number,)).fetchone()
            await world.post("/results/bulk_delete/", {"result_ids": [result]})
        held += db.execute("SELECT held FROM phone_number WHERE id = ?", (number,)).fetchone()
        released = db.execute("SELECT count(*) FROM phone_number WHERE NOT held").fetchone()[0]
    assert held == [1, 1, 0]
    assert (await world.audit())["phone_numbers_released"] == released


async def test_deleting_runs_recounts_the_result(world: Sandbox) -> None:
    """The result is re-evaluated (seed 001); another result's runs are not touched."""
    row = next(row for row in await world.results() if len(row["runs"]) >= 4 and row["status"] == "completed")
    other = next(each for each in await world.results() if each["id"] != row["id"])
    gone = [int(run) for run in list(row["runs"])[:2]]
    answer = await world.post(f"/results/{row['id']}/delete_runs/", {"run_ids": [*gone, *map(int, other["runs"])]})
    assert (answer.status, answer.body) == (204, b"")
    running = (await world.get(f"/results/{row['id']}/")).json
    assert running["status"] == "running"
    assert running["updated_at"] > row["updated_at"]
    await world.change(latency="700ms")
    completed = (await world.get(f"/results/{row['id']}/")).json
    assert completed["status"] == "completed"
    assert completed["updated_at"] > running["updated_at"]
    assert completed["total_runs_count"] == str(len(row["runs"]) - 2)
    assert sorted(completed["runs"]) == sorted(set(row["runs"]) - {str(run) for run in gone})
    assert (await world.get(f"/results/{other['id']}/")).json["total_runs_count"] == other["total_runs_count"]
    assert (await world.audit())["deletions"] == {"results": 0, "runs": 2}


async def test_deleting_runs_of_an_unknown_or_foreign_result_is_a_404(sandbox: Sandbox) -> None:
    """Unlike `bulk_delete`, which is silent."""
    for result in (1, FOREIGN):
        answer = await sandbox.post(f"/results/{result}/delete_runs/", {"run_ids": [result * 6]})
        assert (answer.status, answer.json) == (404, {"detail": "No Result matches the given query."})


async def test_evaluating_takes_each_eligible_run_once_for_each_metric(world: Sandbox) -> None:
    """Every completed or failed run, no other (seed 002), at 0.2 credits a metric and run."""
    rows = (await world.results(agent_id=101))[:40]
    ids = [row["id"] for row in rows]
    assert len(eligible(rows)) < sum(len(row["runs"]) for row in rows), "some runs are not eligible"
    answer = await world.post(
        "/results/bulk_evaluate_metrics/", {"result_ids": [*ids, ids[0]], "metric_ids": [11, 12, 11]}
    )
    assert (answer.status, answer.body) == (200, b"")
    audit = await world.audit()
    pairs = len(eligible(rows)) * 2
    assert audit["evaluations"] == {
        "calls": 1,
        "run_metric_pairs": pairs,
        "evaluated_twice": 0,
        "max_per_pair": 1,
    }
    assert audit["agents"]["101"]["evaluated_runs"] == len(eligible(rows))
    assert audit["totals"]["balance"] == pytest.approx(1000 - pairs * 0.2)
    evaluated = await world.audit("/evaluations", agent_id=101, metric_id=11)
    assert evaluated == dict.fromkeys(map(str, eligible(rows)), 1)
    assert await world.audit("/evaluations", agent_id=102) == {}


async def test_an_evaluated_result_runs_and_then_completes(world: Sandbox) -> None:
    """`updated_at` moves at both ends; a result without an eligible run stays as it is."""
    rows = await world.results()
    idle = next(row for row in rows if not eligible([row]))
    affected = [row for row in rows[:30] if eligible([row])]
    ids = [row["id"] for row in affected]
    await world.post("/results/bulk_evaluate_metrics/", {"result_ids": [*ids, idle["id"]], "metric_ids": [11]})
    running = {row["id"]: row for row in await world.results()}
    assert {running[each]["status"] for each in ids} == {"running"}
    assert all(running[row["id"]]["updated_at"] > row["updated_at"] for row in affected)
    assert running[idle["id"]] == idle, "a result without an eligible run is not affected"
    await world.change(latency="700ms")
    completed = {row["id"]: row for row in await world.results()}
    assert {completed[each]["status"] for each in ids} == {"completed"}
    assert all(completed[each]["updated_at"] > running[each]["updated_at"] for each in ids)


async def test_an_evaluation_of_unknown_or_foreign_results_is_refused_whole(world: Sandbox) -> None:
    """The ids are named in the order they were given."""
    mine, deleted = (row["id"] for row in (await world.results())[:2])
    await world.post("/results/bulk_delete/", {"result_ids": [deleted]})
    body = {"result_ids": [FOREIGN, mine, 1, deleted], "metric_ids": [11]}
    answer = await world.post("/results/bulk_evaluate_metrics/", body)
    assert (answer.status, answer.json) == (
        400,
        {"result_ids": [f"Invalid result IDs: [{FOREIGN}, 1, {deleted}]"]},
    )
    assert (await world.audit())["evaluations"]["run_metric_pairs"] == 0


async def test_metrics_must_be_in_the_scope_of_every_agent(world: Sandbox) -> None:
    """Each agent whose scope lacks one is named (seed 002)."""
    rows = [(await world.results(agent_id=agent))[0]["id"] for agent in (101, 102)]
    answer = await world.post("/results/bulk_evaluate_metrics/", {"result_ids": rows, "metric_ids": [11, 13, 99]})
    assert answer.status == 400
    assert answer.json == {
        "metric_ids": [
            "Metrics [99] are not in the scope of agent 101.",
            "Metrics [13, 99] are not in the scope of agent 102.",
        ]
    }
    assert (await world.audit())["evaluations"]["calls"] == 0


async def test_the_balance_is_checked_for_the_whole_batch_before_anything_is_done(world: Sandbox) -> None:
    """Twenty results that three credits do not cover are left as they were."""
    rows = (await world.results())[:20]
    await world.change(balance=3)
    body = {"result_ids": [row["id"] for row in rows], "metric_ids": [11, 12]}
    answer = await world.post("/results/bulk_evaluate_metrics/", body)
    required = len(eligible(rows)) * 2 * 200 / 1000
    assert (answer.status, answer.json) == (
        400,
        {"detail": f"Insufficient balance. Required: {required}, available: 3.0."},
    )
    assert (await world.results())[:20] == rows
    audit = await world.audit()
    assert (audit["evaluations"]["run_metric_pairs"], audit["totals"]["balance"]) == (0, 3.0)
