"""`keep`, ids and exports in a spec: every mistake at its place, and what a keep tells of a row."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from engine.job import create
from engine.ledger import Seen, Tally
from engine.spec import JobSpec, SpecError, parse_spec
from jobs import kinds

KINDS = kinds.find()
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def read(lines: str, resource: str = "runs", action: str = "{type: delete_runs}") -> JobSpec:
    """The only job of a spec."""
    text = f"version: 1\njobs:\n  - name: a\n    resource: {resource}\n    action: {action}\n    {lines}\n"
    return parse_spec(text, KINDS)[0]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("keep: {}", "6:11: “last” is needed"),
        ("keep: {last: 0}", "6:18: input should be greater than or equal to 1"),
        ("keep: {last: 5, per: agnt}", "6:26: unknown field “agnt”; did you mean “agent”?"),
        ("keep: {last: 5, by: status}", "6:25: “status” has no order: a number or a time is needed"),
        ("keep: {last: 5, by: soon}", "6:25: unknown field “soon”"),
        ("keep: {last: 5, among: {statuz: failed}}", "6:29: unknown field “statuz”; did you mean “status”?"),
        ("keep: {last: 5, amongst: {}}", "6:21: unknown field “amongst”; did you mean “among”?"),
        ("scope: {ids: []}", "6:18: list should have at least 1 item after validation, not 0"),
        ("scope: {ids: [0]}", "6:19: input should be greater than or equal to 1"),
        ("scope: {ids: [1], ids_from: a.csv}", "6:12: “ids” and “ids_from” cannot both be given"),
        ("scope: {ids_from: ''}", "6:23: string should have at least 1 character"),
    ],
)
def test_a_mistake_is_told_at_its_place(lines: str, told: str) -> None:
    """With its column."""
    with pytest.raises(SpecError) as error:
        read(lines)
    assert error.value.lines == [f"spec:{told}"]


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ("{type: export_runs}", "“path” is needed"),
        ("{type: export_runs, path: a.xlsx}", "a.xlsx"),
        ("{type: export_runs, path: a.jsonl, partition_by: [agnt]}", "did you mean “agent”?"),
        ("{type: export_runs, path: a.jsonl, rows_per_part: 0}", "greater than or equal to 1"),
        ("{type: delete_runs, backup: a.jsonl.zst}", "needs {job} in it"),
        ("{type: delete_runs, backup: 's3://bucket/{job}.jsonl'}", "no local file"),
    ],
)
def test_a_path_that_cannot_be_written_to_is_told_beforehand(action: str, told: str) -> None:
    """When the spec is checked, not when everything has been read."""
    with pytest.raises(SpecError) as error:
        read("limits: {}", action=action)
    assert told in error.value.lines[0]


def test_a_keep_tells_of_what_a_row_is_one_and_where_it_stands() -> None:
    """By the service's fields; a time counts in microseconds; what is missing has no place."""
    keeping = read("keep: {last: 5, per: agent_id, among: {status: completed}}").keeping(NOW)
    assert keeping
    row = {"id": 1, "agent": 101, "status": "completed", "timestamp": "1970-01-01T00:00:01.000002Z"}
    assert keeping.of(row) == (True, 101, 1_000_002)
    assert keeping.of({**row, "status": "failed"}) == (False, 101, 1_000_002)
    assert keeping.of({"id": 1, "status": "completed", "timestamp": "soon"}) == (True, None, None)


def test_a_spec_knows_which_fields_it_takes_to_tell() -> None:
    """Of where, keep and among, through every combiner."""
    where = "{any: [{status: failed}, {not: {duration: x}}], all: [{success: true}]}"
    spec = read(f"where: {where}\n    keep: {{last: 1, per: scenario, by: executed_at, among: {{feedback: x}}}}")
    assert spec.fields == {"status", "duration", "success", "scenario", "executed_at", "feedback"}
    assert read("limits: {}").fields == set()


async def test_where_it_is_not_known_whose_last_ones_they_are_all_are_kept(tmp_path: Path) -> None:
    """Those without `by`, and those without `per`: that they are among the last cannot be told, nor that they are not."""
    spec = read("keep: {last: 1, per: agent_id}")
    ledger = await create(tmp_path, spec, origin="http://127.0.0.1", source="test")
    places = [(1, 101, 5), (2, 101, 6), (3, 102, 7), (4, None, 8), (5, None, 9), (6, 101, None)]
    await ledger.begin_walk()
    await ledger.see([Seen(item, 0, '["x"]', among=True, per=per, by=by) for item, per, by in places])
    assert await ledger.keep(1, each=True) == 5
    assert await ledger.tally() == Tally(in_scope=6, selected=1)
    await ledger.see([Seen(item, 0, '["x"]', among=True, per=None, by=item) for item in range(1, 7)])
    assert await ledger.keep(2, each=False) == 2
    ledger.checkpoint.close()
