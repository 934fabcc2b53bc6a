"""What the sandbox shows: pages, filters, results and runs in the shapes of seeds 003 and 004."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.service import Sandbox, Start

RESULT_FIELDS = [
    "id",
    "name",
    "agent",
    "agent_name",
    "agent_inbound",
    "status",
    "success_rate",
    "run_as_text",
    "is_cronjob",
    "runs",
    "met_expected_outcome_count",
    "total_expected_outcome_count",
    "total_runs_count",
    "completed_runs_count",
    "success_runs_count",
    "failed_runs_count",
    "scenarios",
    "run_type",
    "created_at",
    "updated_at",
]
RUN_FIELDS = [
    "id",
    "provider_call_id",
    "scenario",
    "scenario_name",
    "personality",
    "personality_name",
    "agent",
    "expected_outcome_prompt",
    "expected_outcome",
    "success",
    "evaluation",
    "transcript",
    "transcript_object",
    "duration",
    "voice_recording_url",
    "status",
    "metadata",
    "feedback",
    "timestamp",
    "executed_at",
    "critical_categories",
    "error_message",
    "scenario_instructions",
]
FOREIGN = 20012


@pytest.fixture(autouse=True)
async def _as_it_was(sandbox: Sandbox) -> AsyncIterator[None]:
    yield
    await sandbox.change(max_page_size=None, runs_as=None)


async def test_the_pages_hold_everything_once_newest_first(sandbox: Sandbox) -> None:
    """Ids have gaps, some of them foreign results, and fall with the date."""
    rows = [row for page in range(1, 11) for row in await sandbox.results(page=page)]
    ids = [row["id"] for row in rows]
    assert len(ids) == 1000
    assert ids == sorted(set(ids), reverse=True)
    created = [row["created_at"] for row in rows]
    assert created == sorted(created, reverse=True)
    assert ids[0] - ids[-1] > 2000, "ids have gaps"
    assert FOREIGN not in ids


async def test_a_row_has_the_fields_and_types_of_the_contract(sandbox: Sandbox) -> None:
    """Counts and `is_cronjob` are strings, `success_rate` a share (seed 004)."""
    for row in await sandbox.results():
        assert sorted(row) == sorted(RESULT_FIELDS)
        assert {type(row[name]) for name in RESULT_FIELDS if name.endswith("_count")} == {str}
        assert row["is_cronjob"] in {"true", "false"}
        assert 0.0 <= row["success_rate"] <= 1.0
        assert row["created_at"].endswith("Z")
        assert datetime.fromisoformat(row["created_at"]).microsecond
        assert sorted(row["runs"]) == sorted(str(run["id"]) for run in row["runs"].values())
        assert {run["scenario"] for run in row["runs"].values()} == {each["id"] for each in row["scenarios"]}


async def test_the_counts_are_those_of_the_runs(sandbox: Sandbox) -> None:
    """The stored aggregates agree with what they are aggregates of."""
    for row in await sandbox.results():
        runs = list(row["runs"].values())
        completed = sum(run["status"] == "completed" for run in runs)
        success = sum(run["success"] for run in runs)
        assert row["total_runs_count"] == str(len(runs))
        assert row["completed_runs_count"] == str(completed)
        assert row["failed_runs_count"] == str(sum(run["status"] == "failed" for run in runs))
        assert row["success_rate"] == (success / completed if completed else 0)


async def test_listed_runs_can_be_an_array(sandbox: Sandbox) -> None:
    """The seed says object, the public specification array; the detail has a dict always."""
    await sandbox.change(runs_as="array")
    row = (await sandbox.results())[0]
    assert isinstance(row["runs"], list)
    assert isinstance((await sandbox.get(f"/results/{row['id']}/")).json["runs"], dict)


async def test_listed_runs_can_be_left_out(sandbox: Sandbox) -> None:
    """Who wants to know of them must ask for the detail, which has them always."""
    rows = await sandbox.results()
    await sandbox.change(runs_as="none")
    bare = await sandbox.results()
    assert bare == [{name: value for name, value in row.items() if name != "runs"} for row in rows]
    detail = (await sandbox.get(f"/results/{bare[0]['id']}/")).json
    assert list(detail["runs"]) == list(rows[0]["runs"])
    assert all(sorted(run) == sorted(RUN_FIELDS) for run in detail["runs"].values())


async def test_listed_runs_can_be_little_more_than_ids(sandbox: Sandbox) -> None:
    """An object of `id` and `status`; the rest must be had in bulk."""
    rows = await sandbox.results()
    await sandbox.change(runs_as="ids")
    for row, brief in zip(rows, await sandbox.results(), strict=True):
        runs = {name: {"id": run["id"], "status": run["status"]} for name, run in row["runs"].items()}
        assert brief == row | {"runs": runs}


@pytest.mark.parametrize(
    ("asked", "rows"), [("7", 7), ("0", 20), ("-1", 20), ("many", 20), ("", 20), ("100", 100), ("5000", 100)]
)
async def test_a_page_has_the_size_asked_for_within_bounds(sandbox: Sandbox, asked: str, rows: int) -> None:
    """Nothing, zero or junk is the default of 20."""
    assert len((await sandbox.get("/results/", page_size=asked)).json["results"]) == rows


async def test_a_page_is_cut_in_silence_and_next_shows_the_size_asked_for(sandbox: Sandbox) -> None:
    """So `next` says nothing of the real size."""
    await sandbox.change(max_page_size=40)
    page = (await sandbox.get("/results/", page_size=100, page=2)).json
    assert len(page["results"]) == 40
    assert page["next"] == f"{sandbox.url}/test_framework/v1/results/?page=3&page_size=100"
    assert page["previous"] == f"{sandbox.url}/test_framework/v1/results/?page_size=100"


async def test_next_echoes_the_host_header(sandbox: Sandbox) -> None:
    """A reason never to follow it with the key."""
    headers = {"X-CEKURA-API-KEY": sandbox.key, "Host": "elsewhere.example:81"}
    page = (await sandbox.send("GET", "/test_framework/v1/results/", headers=headers)).json
    assert page["next"] == "http://elsewhere.example:81/test_framework/v1/results/?page=2"


@pytest.mark.parametrize("page", ["0", "-1", "51", "x", "1.5"])
async def test_a_page_that_is_not_there_is_a_404(sandbox: Sandbox, page: str) -> None:
    """Past the end and junk alike."""
    answer = await sandbox.get("/results/", page=page)
    assert (answer.status, answer.json) == (404, {"detail": "Invalid page."})


async def test_the_last_page_has_no_next_and_a_name(sandbox: Sandbox) -> None:
    """DRF takes `page=last`."""
    last = (await sandbox.get("/results/", page="last")).json
    assert last["next"] is None
    assert last["results"] == (await sandbox.get("/results/", page="50")).json["results"]


async def test_filters_narrow_the_list(sandbox: Sandbox) -> None:
    """By agent, by project, by a part of the name in any case; what is foreign is nobody."""
    everything = [row for page in range(1, 11) for row in await sandbox.results(page=page)]
    wanted: list[tuple[dict[str, Any], list[int]]] = [
        ({"agent_id": 101}, [row["id"] for row in everything if row["agent"] == 101]),
        ({"project_id": 43}, [row["id"] for row in everything if row["agent"] > 104]),
        ({"search": "sMOKE"}, [row["id"] for row in everything if "Smoke" in row["name"]]),
        ({"agent_id": 101, "search": "%"}, []),
        ({"agent_id": 901}, []),
        ({"project_id": 99}, []),
        ({"agent_id": 10**30}, []),
        ({"agent_id": ""}, [row["id"] for row in everything]),
    ]
    for query, ids in wanted:
        page = (await sandbox.get("/results/", page_size=100, **query)).json
        assert page["count"] == len(ids), query
        assert [row["id"] for row in page["results"]] == ids[:100], query
    assert 150 < len(wanted[0][1]) < 250, "about a fifth belongs to agent 101"


async def test_the_scenarios_filter_repeats_a_result_for_each_matching_run(sandbox: Sandbox) -> None:
    """Seed 004: it "may return duplicate result rows"."""
    rows = await sandbox.results(scenarios="24270,24271", page="1")
    ids = [row["id"] for row in rows]
    for row in rows[:-5]:
        matching = sum(run["scenario"] in {24270, 24271} for run in row["runs"].values())
        assert ids.count(row["id"]) == matching
    assert len(ids) > len(set(ids))


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"agent_id": "x"}, "agent_id"),
        ({"project_id": "1.5"}, "project_id"),
        ({"scenarios": "[1,2]"}, "scenarios"),
        ({"scenarios": "1,,2"}, "scenarios"),
    ],
)
async def test_a_filter_that_is_no_integer_is_a_400(sandbox: Sandbox, query: dict[str, str], field: str) -> None:
    """The messages are under the name of the filter; a JSON array is no list of integers."""
    answer = await sandbox.get("/results/", **query)
    assert answer.status == 400
    assert [type(messages) for name, messages in answer.json.items() if name == field] == [list]


async def test_the_detail_has_full_runs_by_id(sandbox: Sandbox) -> None:
    """Every field of seed 003, in a dict keyed by run id."""
    row = (await sandbox.results())[0]
    detail = (await sandbox.get(f"/results/{row['id']}/")).json
    assert list(detail["runs"]) == list(row["runs"])
    for name, run in detail["runs"].items():
        assert str(run["id"]) == name
        assert sorted(run) == sorted(RUN_FIELDS)
    assert detail | {"runs": 0} == row | {"runs": 0}


@pytest.mark.parametrize("result_id", [1, FOREIGN, 10**30])
async def test_an_unknown_or_foreign_result_is_a_404(sandbox: Sandbox, result_id: int) -> None:
    """The two cannot be told apart."""
    answer = await sandbox.get(f"/results/{result_id}/")
    assert (answer.status, answer.json) == (404, {"detail": "No Result matches the given query."})


async def test_runs_come_in_bulk_and_unknown_or_foreign_ones_are_left_out(sandbox: Sandbox) -> None:
    """No error for those that are missing."""
    ids = [int(run) for row in (await sandbox.results())[:5] for run in row["runs"]]
    answer = await sandbox.get("/runs/bulk/", run_ids=",".join(map(str, [*ids, 1, FOREIGN * 6])))
    assert sorted(run["id"] for run in answer.json) == sorted(ids)
    assert all(sorted(run) == sorted(RUN_FIELDS) for run in answer.json)


@pytest.mark.parametrize(
    "query", [{}, {"run_ids": ""}, {"run_ids": "[1,2]"}, {"run_ids": ",".join(["1"] * 101)}, {"ids": "1"}]
)
async def test_runs_in_bulk_take_up_to_a_hundred_ids_as_a_plain_string(sandbox: Sandbox, query: dict[str, str]) -> None:
    """A JSON array is refused, and so is the parameter `ids` that the SDK sends."""
    answer = await sandbox.get("/runs/bulk/", **query)
    assert answer.status == 400
    assert "run_ids" in answer.json


async def test_some_names_are_hostile(sandbox: Sandbox) -> None:
    """A client must render these harmlessly."""
    names = [row["name"] for page in range(1, 11) for row in await sandbox.results(page=page)]
    hostile = [name for name in names if not name.isprintable() or name.startswith(("=", "<", "["))]
    assert 1 <= len(hostile) <= 15


async def test_the_same_seed_makes_the_same_world(start: Start) -> None:
    """Given the same `now`, to the last byte."""
    options = ("--results=200", "--now=2026-01-31T12:00:00Z")
    same, again, other = start(*options, "--seed=3"), start(*options, "--seed=3"), start(*options, "--seed=4")
    assert await same.results() == await again.results()
    assert await same.results() != await other.results()
    assert (await same.results())[0]["created_at"] < "2026-01-31T12:00:00Z"


async def test_a_world_can_be_empty(start: Start) -> None:
    """Page 1 of nothing is a page."""
    page = (await start("--results=0").get("/results/")).json
    assert page == {"count": 0, "next": None, "previous": None, "results": []}
