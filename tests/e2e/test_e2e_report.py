"""Before and after in every format, by the real command; and `--no-wait`."""

from __future__ import annotations

import csv
import io
import json
from statistics import fmean
from typing import TYPE_CHECKING

import pytest

from tests.e2e.rig import DELETE, EVALUATE, Rebatch

if TYPE_CHECKING:
    from tests.e2e.conftest import Open


def test_every_format_says_before_and_after_as_the_service_has_it(rebatch: Rebatch, open_world: Open) -> None:
    """The success rate of each result as it was listed before the job and as it is listed afterwards."""
    world = open_world("--results=400", "--evaluation-time=200ms")
    before = {item: row["success_rate"] for item, row in world.results().items()}
    said = rebatch.at(world.url)("run", rebatch.spec(EVALUATE), "--yes").out
    after = {item: row["success_rate"] for item, row in world.results().items()}
    job = rebatch.job()
    whole = rebatch("report", job, "--format", "json", "--items").json
    items, change = whole["items"], whole["change"]
    assert len(items) == whole["counts"]["confirmed"] == change["items"] > 100
    assert [(item["before"], item["after"]) for item in items] == [
        (before[item["id"]], after[item["id"]]) for item in items
    ]
    assert change["before"] == pytest.approx(fmean(before[item["id"]] for item in items))
    assert change["after"] == pytest.approx(fmean(after[item["id"]] for item in items))
    assert change["improved"] == sum(after[item["id"]] > before[item["id"]] for item in items) > 0
    assert change["fell"] == sum(after[item["id"]] < before[item["id"]] for item in items) > 0
    assert rebatch("report", job, "--format", "json").json["change"] == change
    listed = list(csv.DictReader(io.StringIO(rebatch("report", job, "--format", "csv").out)))
    lines = [json.loads(line) for line in rebatch("report", job, "--format", "ndjson").out.splitlines()]
    assert lines == items
    assert [(float(row["before"]), float(row["after"])) for row in listed] == [(i["before"], i["after"]) for i in items]
    means = f"{change['before']:.3f} → {change['after']:.3f}"
    assert f"success rate  {means} over {change['items']} confirmed: {change['improved']} improved" in said
    assert f"most improved: {change['movers'][0]['id']} " in rebatch("report", job).out
    assert f"| {means} | {change['items']} | {change['improved']} |" in rebatch("report", job, "--format", "md").out


def test_a_deletion_has_nothing_to_compare(rebatch: Rebatch, open_world: Open) -> None:
    """The columns are there, and empty."""
    world = open_world("--results=200")
    report = rebatch.at(world.url)("run", rebatch.spec(DELETE), "--yes", "--format", "json", "--items").json
    assert report["change"] is None
    assert {(item["before"], item["after"]) for item in report["items"]} == {(None, None)}
    assert rebatch("report", rebatch.job(), "--format", "csv").out.splitlines()[1].endswith(",,")


def test_without_waiting_the_report_says_what_is_still_at_work(rebatch: Rebatch, open_world: Open) -> None:
    """The service takes an hour; the command does not, and neither does another look at the finished job."""
    world = open_world("--results=150", "--evaluation-time=60m")
    spec = rebatch.at(world.url).spec(EVALUATE)
    report = rebatch("run", spec, "--yes", "--no-wait", "--format", "json").json
    planned = report["counts"]["planned"]
    assert (report["state"], report["accepted"]["working"]) == ("finished", planned)
    said = rebatch("report", rebatch.job()).out
    assert f"taken by the service; {planned} still at work when last looked at" in said
    assert f"look again with: rebatch resume {rebatch.job()}" in said
    looked, sent = world.count("GET"), world.count("POST")
    again = rebatch("resume", rebatch.job(), "--no-wait", "--format", "json").json
    assert (again["state"], again["accepted"]["working"]) == ("finished", planned)
    assert world.count("GET") > looked
    assert world.count("POST") == sent


def test_a_finished_job_is_done_with(rebatch: Rebatch, open_world: Open) -> None:
    """When nothing was left at work, resuming asks the service for nothing and says so."""
    world = open_world("--results=60", "--evaluation-time=20ms")
    rebatch.at(world.url)("run", rebatch.spec(EVALUATE), "--yes", "--wait")
    asked = len(world.requests())
    assert "there is nothing left to do" in rebatch("resume", rebatch.job()).err
    assert len(world.requests()) == asked
