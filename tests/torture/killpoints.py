"""Kill points of the real command: it kills itself at a step of its journal or of HTTP, `resume` goes on, the audit tells.

The service runs in this process, on real time; the command in processes of its own, as a person starts it. Which steps
there are is counted by a run that is left alone. Real processes race: a seed replays the point, not each instant.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import anyio
import apsw
from aiohttp import web

from engine.errors import Exit
from jobs.sandbox.audit import evaluations
from jobs.sandbox.listing import OURS
from jobs.sandbox.server import application
from jobs.sandbox.settings import Settings
from jobs.sandbox.sql import column, select
from jobs.sandbox.state import Sandbox, build
from jobs.sandbox.world import ELIGIBLE
from tests.torture.tally import Tally

RESULTS = 300
TRIES = 4  # of the command to bring a job to its end; one is enough
_FAULTS = {"errors": 0.05, "errors_after": 0.1, "reset_before": 0.05, "reset_after": 0.1, "only": "writes"}
_ACTIONS = {
    "evaluate": (["completed", "failed"], {"type": "evaluate_metrics", "metrics": [11]}),
    "delete": (["completed", "failed"], {"type": "delete_results"}),
}
_DISK = frozenset({"write", "sync", "truncate", "delete"})


@dataclass(frozen=True, slots=True)
class Point:
    """Where a command is struck: `how` is kill, or by what the disk fails from there on."""

    action: str
    how: str
    step: int
    seed: int

    @property
    def replay(self) -> str:
        """The command that strikes there again."""
        return f"python -m tests.torture points --replay {self.action}:{self.how}:{self.step}:{self.seed}"


@dataclass
class Place:
    """A service of its own, and a home for the command."""

    folder: Path
    sandbox: Sandbox
    origin: str
    action: str

    async def command(self, *words: str) -> tuple[int, str, str]:
        """Run the command, or a module with `-m`, to its end: its exit code and what it said."""
        program = (
            [sys.executable, *words] if words[0] == "-m" else [str(Path(sys.executable).with_name("rebatch")), *words]
        )
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "HOME": str(self.folder),
            "REBATCH_STATE_DIR": str(self.folder / "state"),
            "CEKURA_API_URL": self.origin,
            "CEKURA_API_KEY": self.sandbox.key,
        }
        with anyio.fail_after(120):
            done = await anyio.run_process(program, env=environment, check=False, cwd=self.folder)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    async def strike(self, how: str, step: int, log: str = "-") -> tuple[int, str]:
        """Begin the job with a command that is struck; its exit code, and what it said."""
        killer = ["-m", "tests.torture.killer", how, str(step), log]
        code, _, said = await self.command(*killer, "run", str(self.spec), "--yes", "--format", "json")
        return code, said

    @property
    def spec(self) -> Path:
        """The spec of the job."""
        status, action = _ACTIONS[self.action]
        limits = {"rate": "500/s", "concurrency": 3, "timeout": "1s", "settle": "1s", "verify": "20s"}
        job = {"name": "struck", "resource": "results", "where": {"status": status}, "action": action, "limits": limits}
        path = self.folder / "spec.yaml"
        path.write_text(json.dumps({"version": 1, "jobs": [job]}), encoding="utf-8")
        return path

    async def finish(self) -> tuple[int, dict[str, Any], str]:
        """Resume as a person would, or begin again what had not begun: the last exit code, the report, what was said."""
        code, report, said = 0, {}, ""
        for _ in range(TRIES):
            code, out, said = await self.command("resume", "--last", "--yes", "--format", "json")
            if code == Exit.USAGE and "There is no job to resume" in said:
                paths = [path for path in self.checkpoints if not _finished(path)]
                for path in paths:
                    path.unlink()  # “stopped before it began”: remove the file
                if self.checkpoints:
                    code, out, said = await self.command("report", self.checkpoints[0].stem, "--format", "json")
                else:
                    code, out, said = await self.command("run", str(self.spec), "--yes", "--format", "json")
            if code in {Exit.DONE, Exit.ITEMS_FAILED}:
                report = json.loads(out)
                break
        return code, report, said

    @property
    def checkpoints(self) -> list[Path]:
        """The jobs there are."""
        return sorted((self.folder / "state").glob("*.rebatch"))


@asynccontextmanager
async def place(folder: Path, seed: int, action: str, *, faults: bool = True) -> AsyncIterator[Place]:
    """A service that behaves by the seed, until the block ends."""
    settings = Settings(latency=0.005, jitter=0.02, evaluation_time=0.1, **(_FAULTS if faults else {}))  # type: ignore[arg-type]
    sandbox = build(results=RESULTS, seed=seed, settings=settings)
    runner = web.AppRunner(application(sandbox), handle_signals=False, shutdown_timeout=0, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr] # aiohttp offers no other way
    folder = folder / f"{action}-{seed}-{port}"
    folder.mkdir(parents=True)
    try:
        yield Place(folder, sandbox, f"http://127.0.0.1:{port}", action)
    finally:
        await runner.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


async def steps(folder: Path, action: str, seed: int) -> list[str]:
    """The names of the steps of a job that is left alone."""
    async with place(folder, seed, action) as here:
        log = here.folder / "steps"
        code, said = await here.strike("count", 0, str(log))
        assert code == 0, said
        return log.read_text(encoding="utf-8").split("\n")[:-1]


def choose(names: Sequence[str], number: int, dice: Random, action: str) -> list[Point]:
    """Kill points spread evenly: half of them over the steps on the disk, half over those of HTTP."""
    disk = [place for place, name in enumerate(names, 1) if name in _DISK]
    http = [place for place, name in enumerate(names, 1) if name not in _DISK]
    of_disk = number // 2
    picked = [*_spread(disk, of_disk, dice), *_spread(http, number - of_disk, dice)]
    return [Point(action, "kill", step, dice.randrange(1 << 16)) for step in picked]


def _spread(steps: Sequence[int], number: int, dice: Random) -> list[int]:
    return [steps[int((place + dice.random()) * len(steps) / number)] for place in range(number)]


def choose_failures(names: Sequence[str], number: int, dice: Random) -> list[Point]:
    """Steps on the disk at which it fails for good, spread evenly."""
    last = sum(name in _DISK for name in names)
    return [
        Point("evaluate", ("sync", "full", "write")[place % 3], int((place + dice.random()) * last / number) + 1, dice.randrange(1 << 16))
        for place in range(number)
    ]  # fmt: skip


async def trial(point: Point, folder: Path) -> Tally:
    """Strike once, resume to the end, compare with the audit."""
    async with place(folder, point.seed, point.action) as here:
        db = here.sandbox.store.db
        ours = f"SELECT id FROM result WHERE {OURS} AND status IN ('completed', 'failed')"
        wanted_results = set(column(db, ours))
        wanted = set(
            column(
                db,
                f"SELECT CAST(id AS TEXT) FROM run WHERE result IN ({ours}) AND status IN {ELIGIBLE} AND deleted_us IS NULL",
            )
        )
        code, said = await here.strike(point.how, point.step)
        ended = {-signal.SIGKILL, Exit.DONE} if point.how == "kill" else {Exit.STOPPED, Exit.DONE}
        struck = code != Exit.DONE  # else it had fewer steps this time: real processes race
        wrong = [] if code in ended else [f"ended with {code}: {said[-300:]}"]
        code, report, said = await here.finish()
        if code not in {Exit.DONE, Exit.ITEMS_FAILED}:
            wrong.append(f"resume ended with {code}: {said[-300:]}")
        counts = report.get("counts", {})
        held = int(counts.get("held", 0))
        if point.action == "evaluate":
            happened = evaluations(db, None, 11)
            lost = len(wanted - happened.keys()) if not held else 0
            doubled = sum(times > 1 for times in happened.values()) + len(happened.keys() - wanted)
        else:
            gone = {row[0] for row in select(db, "SELECT id FROM result WHERE deleted_us IS NOT NULL")} & _ours(db)
            lost, doubled = len(wanted_results - gone), len(gone - wanted_results)
        if not held and counts.get("confirmed", 0) + counts.get("accepted", 0) != len(wanted_results):
            wrong.append(f"the report counts {counts}")
        corrupt = sum(not _whole(path) for path in here.checkpoints) + len(wrong)
    tally = Tally(int(struck), lost=lost, doubled=doubled, corrupt=corrupt, held=held)
    if wrong or not tally.whole:
        tally.replays.append(f"{point.replay}  # {'; '.join(wrong)}")
    return tally


def _ours(db: apsw.Connection) -> set[int]:
    return set(column(db, f"SELECT id FROM result WHERE {OURS.replace('deleted_us IS NULL', '1')}"))


def _finished(path: Path) -> bool:
    try:
        db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
        return bool(column(db, "SELECT 1 FROM job WHERE key = 'state' AND value = '\"finished\"'"))
    except apsw.Error:
        return False


def _whole(path: Path) -> bool:
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    verdict = column(db, "PRAGMA integrity_check")
    db.close()
    return bool(verdict == ["ok"])


async def strike_all(points: Sequence[Point], folder: Path, together: int = 4) -> Tally:
    """All trials, some at a time."""
    tally, queue = Tally(), iter(points)

    async def worker() -> None:
        nonlocal tally
        for point in queue:
            tally += await trial(point, folder)

    async with anyio.create_task_group() as group:
        for _ in range(together):
            group.start_soon(worker)
    return tally
