"""Archive before delete: what goes is in it first, in full, whatever befalls requests and processes."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import job as stages
from engine.archiver import archiving
from engine.errors import RebatchError, UsageError
from engine.fates import ItemFate
from engine.files.archive import read
from engine.jobledger import JobLedger
from engine.proof import Proof, prove
from engine.spec import parse_spec
from jobs import kinds
from jobs.sandbox.sql import column
from tests.simulation.test_runs import FAULTS, alive, finish
from tests.simulation.world import World, world
from tests.virtual_time import run


def spec(resource: str, folder: Path, where: str = "{status: [failed, timeout]}") -> str:
    """A job that deletes what it keeps first."""
    action = f"{{type: delete_{resource}, backup: '{folder}/{{job}}-{{date}}.jsonl.zst'}}"
    limits = "{rate: 50/s, concurrency: 8, timeout: 5s, settle: 20s, verify: 60s}"
    return f"""
version: 1
jobs:
  - name: prune
    resource: {resource}
    where: {where}
    action: {action}
    limits: {limits}
"""


def archive_of(folder: Path) -> Path:
    """The only archive there is."""
    (path,) = folder.glob("*.jsonl.zst")
    return path


async def proof_of(here: World, path: Path) -> Proof:
    """What `rebatch archive verify` finds."""
    assert here.path
    ledger = JobLedger.look(here.path)
    try:
        return await prove(path, ledger, here.spec.kind.resource)
    finally:
        ledger.checkpoint.close()


def gone(here: World, resource: str) -> set[int]:
    """What was deleted."""
    noun = resource.removesuffix("s")
    return set(column(here.sandbox.store.db, f"SELECT {noun} FROM effect WHERE kind = 'delete_{noun}' AND {noun} > 0"))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("resource", ["runs", "results"])
def test_whatever_goes_is_in_the_archive_in_full(resource: str, seed: int, tmp_path: Path) -> None:
    """Among faults and kills; and the archive proves it against the job."""

    async def story() -> None:
        async with world(tmp_path / "world", seed, results=300, **FAULTS) as here:
            (tmp_path / "world").mkdir(exist_ok=True)
            here.read(spec(resource, tmp_path / "kept"))
            counts = await finish(here, kills=seed % 4)
            path = archive_of(tmp_path / "kept")
            header, *lines = read(path)
            assert here.path
            assert header["job"] == here.path.stem
            kept = {line["id"]: line["row"] for line in lines}
            assert kept.keys() >= gone(here, resource) != set()
            assert counts[ItemFate.CONFIRMED] == sum(counts.values())
            assert all(_is_full(row, resource) for row in kept.values())
            proof = await proof_of(here, path)
            assert (proof.holds, proof.sent) == (True, sum(counts.values()))

    run(story)


def _is_full(row: dict[str, Any], resource: str) -> bool:
    runs = [row] if resource == "runs" else list(row["runs"].values())
    return all({"transcript", "evaluation"} <= run.keys() for run in runs)


def test_at_any_instant_what_is_gone_is_kept(tmp_path: Path) -> None:
    """Kill after kill: the file as it lies there holds all that the service has deleted by then."""

    async def story() -> None:
        async with world(tmp_path / "world", 11, results=300, latency=0.2) as here:
            (tmp_path / "world").mkdir(exist_ok=True)
            here.read(spec("runs", tmp_path / "kept"))
            await here.plan()
            for _ in range(12):
                if await here.live(lambda: anyio.sleep(here.dice.uniform(0, 3))):
                    break
                deleted = gone(here, "runs")
                if deleted:
                    copy = tmp_path / "copy.jsonl.zst"
                    shutil.copy(archive_of(tmp_path / "kept"), copy)
                    assert deleted <= _kept(copy)
            await finish(here)
            assert (await proof_of(here, archive_of(tmp_path / "kept"))).holds

    run(story)


def _kept(path: Path) -> set[int]:
    """The ids in a file whose last append may have been cut off."""
    found: set[int] = set()
    try:
        for line in read(path):
            found.add(line.get("id", 0))
    except UsageError:
        pass
    return found


@pytest.mark.parametrize("change", ["cut", "remove"])
def test_a_job_whose_archive_is_not_what_it_was_goes_no_further(change: str, tmp_path: Path) -> None:
    """What it held can be had nowhere else."""

    async def story() -> None:
        async with world(tmp_path / "world", 12, results=300, latency=0.2) as here:
            (tmp_path / "world").mkdir(exist_ok=True)
            here.read(spec("runs", tmp_path / "kept"))
            await here.plan()

            async def until_some_are_gone() -> None:
                while not gone(here, "runs"):  # noqa: ASYNC110 - time is virtual
                    await anyio.sleep(0.1)

            assert await here.live(until_some_are_gone) is None
            before = alive(here)
            path = archive_of(tmp_path / "kept")
            data = path.read_bytes()
            path.write_bytes(data[:-200]) if change == "cut" else path.unlink()
            with pytest.raises(UsageError, match=r"kept/"):
                await here.live()
            assert alive(here) == before
            path.write_bytes(data)
            await finish(here)
            assert (await proof_of(here, path)).holds

    run(story)


def test_what_cannot_be_kept_is_not_deleted(tmp_path: Path) -> None:
    """A disk that takes nothing: nothing goes, and the job can be resumed when it does."""

    async def story() -> None:
        async with world(tmp_path / "world", 13, results=60) as here:
            (tmp_path / "world").mkdir(exist_ok=True)
            (tmp_path / "kept").write_text("a file where a folder should be", encoding="utf-8")
            here.read(spec("results", tmp_path / "kept"))
            with pytest.raises(RebatchError, match="kept"):
                await here.live()
            assert here.audit()["deletions"] == {"results": 0, "runs": 0}
            (tmp_path / "kept").unlink()
            counts = await finish(here)
            assert counts[ItemFate.CONFIRMED] == sum(counts.values()) > 0

    run(story)


def test_an_archive_that_lacks_what_was_sent_proves_nothing(tmp_path: Path) -> None:
    """Nor does one of another job."""

    async def story() -> None:
        async with world(tmp_path / "world", 14, results=100) as here:
            (tmp_path / "world").mkdir(exist_ok=True)
            here.read(spec("runs", tmp_path / "kept"))
            await finish(here)
            path = archive_of(tmp_path / "kept")
            first, here.path = here.path, None
            here.read(spec("runs", tmp_path / "other", where="{status: completed}"))
            await finish(here)
            with pytest.raises(UsageError, match="archive of job"):
                await proof_of(here, path)
            here.path = first
            assert (await proof_of(here, path)).holds

    run(story)


async def test_looks_that_end_at_once_do_not_tear_the_file(tmp_path: Path) -> None:
    """Several workers may look; the file has one end, and the checkpoint one length of it. In real threads."""
    text = spec("runs", tmp_path / "kept")
    (job,) = parse_spec(text, kinds.find())
    ledger = await stages.create(tmp_path / "state", job, origin="http://127.0.0.1", source="test")
    async with archiving(job, ledger) as archive:
        assert archive
        async with anyio.create_task_group() as looks:
            for look in range(40):
                rows: dict[int, Any] = {1 + look * 50 + item: {"id": 1, "text": "x" * 500} for item in range(50)}
                looks.start_soon(archive.keep, rows, dict.fromkeys(rows, 7))
    lines = list(read(archive_of(tmp_path / "kept")))[1:]
    assert sorted(line["id"] for line in lines) == list(range(1, 2001))
    assert ledger.job["archived"] == 2000
    assert ledger.job["archive_length"] == archive_of(tmp_path / "kept").stat().st_size
    ledger.checkpoint.close()
