"""Exports: every row once, whatever befalls requests and processes; a part is announced only when it is whole."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine.errors import RebatchError
from engine.fates import ItemFate
from engine.jobledger import JobLedger
from jobs.sandbox.sql import column
from tests.simulation.test_runs import FAULTS, alive, finish
from tests.simulation.world import World, world
from tests.virtual_time import run


def spec(kind: str, path: Path, *, where: str = "", more: str = "") -> str:
    """A job that exports into small parts."""
    action = f"{{type: {kind}, path: '{path}', rows_per_part: 300{more}}}"
    lines = f"    where: {where}\n" if where else ""
    limits = "{rate: 50/s, concurrency: 8, timeout: 5s}"
    resource = kind.removeprefix("export_")
    return f"version: 1\njobs:\n  - name: out\n    resource: {resource}\n{lines}    action: {action}\n    limits: {limits}\n"


def rows_in(folder: Path) -> list[dict[str, Any]]:
    """Every row of every file that can be seen."""
    files = sorted(path for path in folder.rglob("*.jsonl") if path.is_file())
    return [json.loads(line) for path in files for line in path.read_text(encoding="utf-8").splitlines()]


def announced(here: World) -> list[dict[str, Any]]:
    """The files that the job says it has written."""
    assert here.path
    ledger = JobLedger.look(here.path)
    found = ledger.checkpoint.read_now(
        lambda db: [file for (files,) in db.execute("SELECT files FROM part WHERE whole") for file in json.loads(files)]
    )
    ledger.checkpoint.close()
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["export_runs", "export_results"])
def test_no_trouble_and_no_kill_repeats_or_drops_a_row(kind: str, seed: int, tmp_path: Path) -> None:
    """Each row of the plan is in one file, as the service has it."""

    async def story() -> None:
        async with world(tmp_path / "world", seed, results=400, **FAULTS) as here:
            (tmp_path / "world").mkdir(exist_ok=True)
            here.read(spec(kind, tmp_path / "out" / "rows.jsonl"))
            wanted = alive(here) if kind == "export_runs" else _results(here)
            counts = await finish(here, kills=seed % 4)
            assert Counter(row["id"] for row in rows_in(tmp_path / "out")) == Counter(wanted)
            assert counts[ItemFate.CONFIRMED] == sum(counts.values()) == len(wanted)
            files = announced(here)
            assert sum(file["rows"] for file in files) == len(wanted)
            assert {Path(file["path"]) for file in files} == set((tmp_path / "out").rglob("*.jsonl"))
            assert [path.name for path in (tmp_path / "out").rglob("*") if path.name.startswith(".")] == []

    run(story)


def _results(here: World) -> list[int]:
    return list(here.sandbox.store.listing.matching(_every()))


def _every() -> Any:
    from jobs.sandbox.drf import Filters  # noqa: PLC0415 - of the sandbox's own

    return Filters()


def test_a_run_is_exported_in_full_with_its_result(tmp_path: Path) -> None:
    """With what runs/bulk tells, and the result that only the list knows."""

    async def story() -> None:
        async with world(tmp_path, 3, 30) as here:
            here.read(spec("export_runs", tmp_path / "out" / "rows.jsonl"))
            await finish(here)
            rows = rows_in(tmp_path / "out")
            assert len(rows) == len(alive(here))
            for row in rows:
                assert column(here.sandbox.store.db, "SELECT result FROM run WHERE id = ?", row["id"]) == [
                    row["result"]
                ]
                assert {"transcript", "evaluation", "metadata", "executed_at"} <= row.keys()

    run(story)


def test_files_are_partitioned_by_a_field(tmp_path: Path) -> None:
    """A folder for each value, as DuckDB, Spark and others read them."""

    async def story() -> None:
        async with world(tmp_path, 4, 60) as here:
            here.read(spec("export_runs", tmp_path / "out" / "rows.jsonl", more=", partition_by: [agent, status]"))
            await finish(here)
            for path in (tmp_path / "out").rglob("*.jsonl"):
                agent, status = path.parts[-3].removeprefix("agent="), path.parts[-2].removeprefix("status=")
                rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
                assert {(str(row["agent"]), row["status"]) for row in rows} == {(agent, status)}
            assert len(rows_in(tmp_path / "out")) == len(alive(here))

    run(story)


def test_nothing_of_a_part_is_seen_before_it_is_whole(tmp_path: Path) -> None:
    """At any instant, what lies in its place is announced or about to be, and complete."""

    async def story() -> None:
        async with world(tmp_path, 5, 400, latency=0.2) as here:
            here.read(spec("export_runs", tmp_path / "out" / "rows.jsonl"))
            await here.plan()
            seen: list[int] = []

            async def watch() -> None:
                for _ in range(40):
                    await anyio.sleep(0.25)
                    shown = [path for path in (tmp_path / "out").rglob("*.jsonl") if not path.name.startswith(".")]
                    seen.extend(len(path.read_text(encoding="utf-8").splitlines()) for path in shown)

            await here.live(watch)
            await finish(here)
            assert set(seen) <= {300, len(alive(here)) % 300}
            assert seen

    run(story)


def test_what_lies_there_already_is_not_overwritten(tmp_path: Path) -> None:
    """The job stops, resumable, and says which file it is."""

    async def story() -> None:
        async with world(tmp_path, 6, 20) as here:
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "rows.jsonl").write_text("mine\n", encoding="utf-8")
            here.read(spec("export_results", tmp_path / "out" / "rows.jsonl"))
            with pytest.raises(RebatchError, match=r"rows\.jsonl"):
                await here.live()
            assert (tmp_path / "out" / "rows.jsonl").read_text(encoding="utf-8") == "mine\n"
            (tmp_path / "out" / "rows.jsonl").unlink()
            counts = await finish(here)
            assert counts[ItemFate.CONFIRMED] == sum(counts.values()) == len(rows_in(tmp_path / "out"))

    run(story)


def test_what_is_gone_since_the_plan_is_left_out_and_told(tmp_path: Path) -> None:
    """It has a fate, and no row."""

    async def story() -> None:
        async with world(tmp_path, 7, 100) as here:
            here.read(spec("export_runs", tmp_path / "out" / "rows.jsonl"))
            await here.plan()
            before = alive(here)
            here.sandbox.store.delete_results(_results(here)[:5], 0)
            counts = await finish(here)
            gone = len(before) - len(alive(here))
            assert (counts[ItemFate.SKIPPED], counts[ItemFate.CONFIRMED]) == (gone, len(before) - gone)
            assert {row["id"] for row in rows_in(tmp_path / "out")} == alive(here)

    run(story)
