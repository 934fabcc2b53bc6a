"""Runs, exports, archives and lists from files, by the command that a person types."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pandas as pd
import pytest

from tests.e2e.rig import Rebatch, World, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

LIMITS = {"rate": "300/s", "concurrency": 4, "timeout": "2s", "settle": "1s"}
PRUNE: dict[str, Any] = {
    "name": "prune",
    "resource": "runs",
    "where": {"status": ["failed", "timeout"]},
    "keep": {"last": 3, "per": "agent_id", "among": {"status": "failed"}},
    "action": {"type": "delete_runs", "backup": "kept/{job}-{date}.jsonl.zst"},
    "limits": LIMITS,
}
EXPORT: dict[str, Any] = {
    "name": "out",
    "resource": "runs",
    "action": {"type": "export_runs", "path": "out/runs.parquet", "rows_per_part": 500},
    "limits": LIMITS,
}


def runs_of(world: World) -> dict[int, dict[str, Any]]:
    """Every run there is, with its result and agent."""
    return {
        run["id"]: {**run, "result": row["id"], "agent": row["agent"]}
        for row in world.results().values()
        for run in row["runs"].values()
    }


def pruned(runs: dict[int, dict[str, Any]]) -> set[int]:
    """What `PRUNE` selects: not the last three failed ones of each agent."""
    newest = sorted(runs.values(), key=lambda run: (run["timestamp"], run["id"]), reverse=True)
    seen: Counter[int] = Counter()
    kept = set()
    for run in newest:
        if run["status"] == "failed":
            seen[run["agent"]] += 1
            if seen[run["agent"]] <= 3:
                kept.add(run["id"])
    return {run["id"] for run in newest if run["status"] in {"failed", "timeout"}} - kept


def test_runs_are_pruned_with_a_backup_that_is_proven(rebatch: Rebatch, open_world: Open) -> None:
    """Planned, killed, resumed, verified, shown: exactly what was selected is gone, and all of it is in the file."""
    world = open_world("--results=600", "--latency=20ms")
    runs = runs_of(world)
    wanted = pruned(runs)
    live = rebatch.at(world.url).start("run", rebatch.spec(PRUNE), "--yes")
    until(lambda: world.count("POST") >= 20 or live.process.poll() is not None, "the moment to kill")
    assert live.kill().code == -signal.SIGKILL
    report = rebatch("resume", "--last", "--format", "json", "--items").json
    assert (report["state"], report["counts"]["confirmed"]) == ("finished", len(wanted))
    assert runs.keys() - runs_of(world).keys() == wanted
    (archive,) = (rebatch.home / "kept").iterdir()
    assert archive.name.startswith(report["job"])
    assert archive.stat().st_mode & 0o777 == 0o600
    said = rebatch("archive", "verify", archive).out
    assert f"all {len(wanted):,} items that job {report['job']} sent are in it" in said
    one = min(wanted)
    assert rebatch("archive", "show", archive, str(one)).json["transcript"]
    assert {int(line) for line in rebatch("archive", "show", archive).out.split("}\n")[1].split()} >= wanted
    assert "holds no item 5" in rebatch("archive", "show", archive, "5", code=2).err
    archive.write_bytes(archive.read_bytes()[:-50])
    assert str(archive) in rebatch("archive", "verify", archive, code=2).err


def test_an_export_is_read_by_duckdb_and_pandas(rebatch: Rebatch, open_world: Open) -> None:
    """Killed and resumed: each run once, none missing; nothing was asked, since nothing is changed."""
    world = open_world("--results=700", "--latency=20ms")
    runs = runs_of(world)
    live = rebatch.at(world.url).start("run", rebatch.spec(EXPORT))
    folder = rebatch.home / "out"
    until(lambda: len(list(folder.glob("*.parquet"))) > 1 or live.process.poll() is not None, "the moment to kill")
    assert live.kill().code == -signal.SIGKILL
    report = rebatch("resume", "--last", "--format", "json").json
    assert (report["state"], report["counts"]["confirmed"]) == ("finished", len(runs))
    files = sorted(file["path"] for file in report["files"])
    assert files == sorted(map(str, folder.iterdir()))
    found = duckdb.execute(f"SELECT id, result, agent, status FROM read_parquet('{folder}/*.parquet')").fetchall()
    assert Counter(found) == Counter((run["id"], run["result"], run["agent"], run["status"]) for run in runs.values())
    frame = pd.concat(pd.read_parquet(path) for path in files)
    assert len(frame) == sum(file["rows"] for file in report["files"]) == len(runs)
    assert world.count("POST") == 0


@pytest.mark.parametrize("suffix", ["jsonl", "csv.gz", "jsonl.zst"])
def test_results_are_exported_in_every_format(rebatch: Rebatch, quiet_world: World, suffix: str) -> None:
    """With their names, however hostile."""
    action = {"type": "export_results", "path": f"{{date}}/{{job}}.{suffix}"}
    spec = rebatch.at(quiet_world.url).spec(EXPORT, resource="results", action=action)
    report = rebatch("run", spec, "--format", "json").json
    (path,) = (file["path"] for file in report["files"])
    assert Path(path).name == f"{report['job']}.{suffix}"
    reader = "read_csv" if "csv" in suffix else "read_json"
    count, ids = duckdb.execute(f"SELECT count(*), count(DISTINCT id) FROM {reader}('{path}')").fetchall()[0]
    assert count == ids == len(quiet_world.results())


def test_ids_come_from_a_file_or_from_standard_input(rebatch: Rebatch, open_world: Open) -> None:
    """These alone are touched; what is missing is told, and has a fate."""
    world = open_world("--results=300")
    every = sorted(world.results())
    (rebatch.home / "ids.csv").write_text(
        "name,id\n" + "".join(f"x,{item}\n" for item in every[:7]) + "x,5\n", encoding="utf-8"
    )
    job = {"name": "some", "resource": "results", "action": {"type": "delete_results"}, "limits": LIMITS}
    spec = rebatch.at(world.url).spec(job, scope={"ids_from": "ids.csv"})
    report = rebatch("run", spec, "--yes", "--format", "json", "--items").json
    assert {item["id"]: item["fate"] for item in report["items"]} == {
        **dict.fromkeys(every[:7], "confirmed"),
        5: "skipped",
    }
    assert (report["missing"], report["counts"]["planned"]) == (1, 8)
    rebatch.spec(job, scope={"ids_from": "-"}, name="piped.yaml")
    done = rebatch.shell(f"printf '%s\\n' {every[7]} {every[8]} | rebatch run piped.yaml --yes --format json")
    assert (done.code, json.loads(done.out)["counts"]["confirmed"]) == (0, 2)
    assert world.results().keys() == set(every[9:])


def test_a_list_with_mistakes_is_told_line_by_line(rebatch: Rebatch, quiet_world: World) -> None:
    """Exit code 2, and nothing is planned."""
    (rebatch.home / "ids.txt").write_text("5\nsix\n\x1b[31m\n", encoding="utf-8")
    job = {
        "name": "some",
        "resource": "results",
        "action": {"type": "delete_results"},
        "scope": {"ids_from": "ids.txt"},
    }
    said = rebatch.at(quiet_world.url)("plan", rebatch.spec(job), code=2).err
    assert "ids.txt:2: “six” is not a whole number" in said
    assert "ids.txt:3: “<001b>[31m” is not a whole number" in said


def test_what_lies_at_the_path_is_left_alone(rebatch: Rebatch, quiet_world: World) -> None:
    """Exit code 6: the job can go on when the file has gone."""
    (rebatch.home / "mine.jsonl").write_text("mine\n", encoding="utf-8")
    action = {"type": "export_results", "path": "mine.jsonl"}
    spec = rebatch.at(quiet_world.url).spec(EXPORT, resource="results", action=action)
    assert "mine.jsonl" in rebatch("run", spec, code=6).err
    assert (rebatch.home / "mine.jsonl").read_text(encoding="utf-8") == "mine\n"
    (rebatch.home / "mine.jsonl").unlink()
    assert rebatch("resume", "--last", "--format", "json").json["state"] == "finished"
