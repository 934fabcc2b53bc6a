"""Metrics: what Prometheus reads is what is known, whatever files are called; and the file for node_exporter is whole."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from engine.errors import OutputError, UsageError
from engine.fates import ItemFate
from engine.schedule.entry import FOR_GOOD, Entry, Standing, Tick, TickFate
from engine.schedule.metrics import exposition, write_textfile
from engine.schedule.when import Schedule

NOW = 1_790_000_000.0
HOSTILE = 'nightly "1"\n# TYPE evil counter\nevil{a="\\"} 1\r\t\u202e\udcff.yaml'


def entry(name: str = "nightly", source: str = "spec.yaml", **more: Any) -> Entry:
    """A schedule of every night."""
    return Entry(name, source, Schedule(cron="30 2 * * *"), (), decided=NOW, **more)


def ended(**more: Any) -> Tick:
    """A tick whose job has ended with one failed item."""
    counts = dict.fromkeys(ItemFate, 0) | {"planned": 3, "confirmed": 2, "failed": 1}
    report = {"counts": counts, "requests": 9, "retries": 1, "credits_estimated": 1.2}
    tick = Tick("nightly", 1_789_000_000, TickFate.RAN, job="k3w9q2fd", begun_at=1_789_000_010.0, exit_code=3)
    return replace(tick, ended_at=1_789_000_070.5, outcome="failure", report=report, **more)


def standing(of: Entry | None = None, **more: Any) -> Standing:
    """A schedule that stands as `more` says; else it has only just been written."""
    return Standing(of or entry(), NOW, more.pop("next", ()), more.pop("overdue", None), **more)


def read(standings: Sequence[Standing]) -> dict[str, Metric]:
    """The metrics as Prometheus reads them, by name."""
    text = exposition(standings, lambda: NOW).decode()
    assert text.endswith("\n")
    families = list(text_string_to_metric_families(text))
    assert len(families) == len({family.name for family in families})
    return {family.name: family for family in families}


def value(found: dict[str, Metric], name: str, **labels: str) -> float | None:
    """The one sample of these labels; None where there is none. Of counters and gauges alike."""
    family = found[name.removesuffix("_total")]
    values = [sample.value for sample in family.samples if sample.name == name and sample.labels == labels]
    assert len(values) < 2, "the same series twice"
    return values[0] if values else None


def test_everything_that_is_known_is_told() -> None:
    """A number for each fact of a schedule that has had a job."""
    tick = ended()
    before = replace(tick, at=1_788_000_000, ended_at=1_788_000_100.0)
    found = read(
        [
            standing(
                next=[1_790_100_000, 1_790_200_000],
                last=tick,
                last_ran=tick,
                last_success=before,
                running=[tick],
                waiting=[tick, tick],
                totals={"ran": 7, "missed": 2},
                undelivered=4,
            )
        ]
    )
    told = {
        name.removeprefix("rebatch_schedule_"): value(found, name, schedule="nightly")
        for name in found
        if {"schedule"} == {label for sample in found[name].samples for label in sample.labels}
    }
    assert told == {
        "next_tick_timestamp_seconds": 1_790_100_000,
        "last_tick_timestamp_seconds": 1_789_000_000,
        "last_end_timestamp_seconds": 1_789_000_070.5,
        "last_success_timestamp_seconds": 1_788_000_100,
        "late": 0,
        "paused": 0,
        "running_jobs": 1,
        "waiting_ticks": 2,
        "undelivered_notices": 4,
        "last_job_duration_seconds": 60.5,
        "last_job_requests": 9,
        "last_job_retries": 1,
        "last_job_credits_estimated": 1.2,
        "last_job_exit_code": 3,
    }
    ticks = {
        fate: value(found, "rebatch_schedule_ticks_total", schedule="nightly", fate=fate.value) for fate in FOR_GOOD
    }
    assert ticks == {"ran": 7, "skipped": 0, "missed": 2}
    assert found["rebatch_schedule_ticks"].type == "counter"
    items = {
        fate: value(found, "rebatch_schedule_last_job_items", schedule="nightly", fate=fate.value) for fate in ItemFate
    }
    assert items == dict.fromkeys(ItemFate, 0) | {"confirmed": 2, "failed": 1}
    assert value(found, "rebatch_spec_broken", file="spec.yaml") == 0
    assert all(family.documentation for family in found.values())


def test_what_is_not_known_is_left_out() -> None:
    """No 0, which would be a moment in 1970 or a success."""
    found = read([standing()])
    silent = {name for name, family in found.items() if not family.samples}
    each = "rebatch_schedule_"
    assert silent == {
        *(f"{each}{name}_timestamp_seconds" for name in ("next_tick", "last_tick", "last_end", "last_success")),
        *(f"{each}last_job_{name}" for name in ("duration_seconds", "requests", "retries", "items")),
        *(f"{each}last_job_{name}" for name in ("credits_estimated", "exit_code")),
    }
    missed = Tick("nightly", 1_789_000_000, TickFate.MISSED, why="nobody was there")
    found = read([standing(last=missed, last_ran=ended())])
    assert value(found, f"{each}last_tick_timestamp_seconds", schedule="nightly")
    assert value(found, f"{each}last_job_exit_code", schedule="nightly") == 3, "a missed tick hides no failure"
    unpriced = replace(ended(), report={"credits_estimated": None, "requests": "many"}, ended_at=1.0)
    found = read([standing(last_ran=unpriced)])
    for name in ("credits_estimated", "requests", "retries", "duration_seconds"):
        assert not found[f"{each}last_job_{name}"].samples


def test_late_paused_and_broken_are_ones() -> None:
    """A spec is one file, however many schedules are in it."""
    paused = standing(entry("a", "x.yaml", paused_because="failure"), overdue=1, broken="no such file")
    late = standing(entry("b", "x.yaml"), overdue=1)
    found = read([late, paused, standing(entry("c", "y.yaml"))])
    for name, number in (("late", {"a": 0, "b": 1, "c": 0}), ("paused", {"a": 1, "b": 0, "c": 0})):
        assert {each: value(found, f"rebatch_schedule_{name}", schedule=each) for each in number} == number
    assert value(found, "rebatch_spec_broken", file="x.yaml") == 1
    assert value(found, "rebatch_spec_broken", file="y.yaml") == 0


def test_a_schedule_that_is_gone_is_left_out() -> None:
    """It would be late for ever; what is told of everything stays."""
    found = read([standing(entry(gone=True), last_ran=ended(), broken="gone")])
    assert {name for name, family in found.items() if family.samples} == {
        "rebatch_heartbeat_timestamp_seconds",
        "rebatch_build_info",
    }
    assert value(found, "rebatch_heartbeat_timestamp_seconds") == NOW
    (sample,) = found["rebatch_build_info"].samples
    assert sample.labels["version"]


def test_file_names_cannot_write_metrics() -> None:
    """Neither with quotes nor with line breaks; and a name that is not UTF-8 does no harm."""
    found = read([standing(entry(source=HOSTILE))])
    assert "evil" not in found
    assert value(found, "rebatch_spec_broken", file=HOSTILE.replace("\udcff", "\\udcff")) == 0


@given(st.lists(st.text(st.characters(), max_size=12), unique=True, max_size=6))
def test_no_two_files_become_one(files: list[str]) -> None:
    """Each file has a series of its own: node_exporter refuses a whole file for one series that is there twice."""
    found = read([standing(entry(str(number), file)) for number, file in enumerate(files)])
    labels = [sample.labels["file"] for sample in found["rebatch_spec_broken"].samples]
    assert len(labels) == len(set(labels)) == len(files)


def test_names_follow_the_conventions() -> None:
    """In base units, by promtool where it is installed."""
    found = read([standing(last_ran=ended())])
    units = [name for name in found if "timestamp" in name or "duration" in name]
    assert len(units) == 6
    assert all(name.endswith("_seconds") for name in units)
    if promtool := shutil.which("promtool"):
        data = exposition([standing(last_ran=ended(), next=[1])], lambda: NOW)
        checked = subprocess.run([promtool, "check", "metrics"], input=data, capture_output=True, check=False)
        assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")


def test_the_library_is_imported_when_it_is_needed() -> None:
    """It costs 50 ms, and most commands need none of it."""
    script = (
        "import sys, engine.schedule.metrics as m; print('prometheus_client' in sys.modules, len(m.exposition([])))"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.startswith("False ")


def test_the_file_is_put_in_place_whole(tmp_path: Path) -> None:
    """For everybody to read, whatever the umask; nothing stays beside it, nor of a process killed before."""
    path = tmp_path / "rebatch.prom"
    path.write_text("old")
    (tmp_path / f".rebatch.prom.{os.getpid()}.tmp").write_text("of one that was killed")
    before = os.umask(0o077)
    try:
        write_textfile(path, [standing()], lambda: NOW)
    finally:
        os.umask(before)
    assert path.read_bytes() == exposition([standing()], lambda: NOW)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["rebatch.txt", "rebatch", "rebatch.prom.tmp", "x\n"])
def test_a_name_that_node_exporter_passes_over_is_refused(tmp_path: Path, name: str) -> None:
    """It would be written night after night, and read by nobody."""
    with pytest.raises(UsageError, match=r"end in \.prom") as refused:
        write_textfile(tmp_path / name, [])
    assert "\n" not in str(refused.value)
    assert not list(tmp_path.iterdir())


def test_what_the_disk_does_is_told(tmp_path: Path) -> None:
    """No folder, or a folder in its place; the name in one harmless line, and nothing left behind."""
    with pytest.raises(OutputError, match="cannot be written: No such file or directory"):
        write_textfile(tmp_path / "no" / "such\n.prom", [])
    (tmp_path / "x.prom").mkdir()
    with pytest.raises(OutputError, match="cannot be written: Is a directory") as refused:
        write_textfile(tmp_path / "x.prom", [])
    assert "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["x.prom"]


def test_a_link_in_place_of_the_temporary_file_is_not_followed(tmp_path: Path) -> None:
    """A folder for such files may be one that others write to."""
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / f".x.prom.{os.getpid()}.tmp").symlink_to(other)
    write_textfile(tmp_path / "x.prom", [])
    assert other.read_text() == "mine"
