"""Whole jobs in virtual time that live through trouble by the seed; at the end the service's audit tells what came of them."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import anyio
import apsw

from engine.errors import CheckpointError, UsageError
from engine.fates import ItemFate
from engine.jobledger import JobLedger
from jobs.sandbox.sql import select
from tests import virtual_time
from tests.simulation.world import World, world
from tests.torture.disk import POWER_OFF, Disk, Fault
from tests.torture.images import POWER_CUTS, image
from tests.torture.tally import Tally

SPEC = """
version: 1
jobs:
  - name: tortured
    resource: results
    where: {status: [completed, failed]}
    action: {type: evaluate_metrics, metrics: [11]}
    limits: {rate: 50/s, concurrency: 4, timeout: 5s, settle: 20s, verify: 60s}
"""
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
RESULTS = 400
LONGEST_LIFE_S = 6.0  # of a process that is killed; a quiet job of this size takes about as long
STEPS = 160  # on the disk, of a quiet job of this size: where a fault is aimed
JUMPS_S = (-86_400.0, -3_600.0, -0.5, 0.5, 3_600.0, 86_400.0)
FAILURES = (
    (apsw.SQLITE_IOERR_FSYNC, "sync", 1),
    (apsw.SQLITE_IOERR_FSYNC, "sync", 1 << 30),
    (apsw.SQLITE_FULL, "write", 1 << 30),
    (apsw.SQLITE_FULL, "write", 1),
    (apsw.SQLITE_IOERR_WRITE, "write", 1),
    (apsw.SQLITE_IOERR_TRUNCATE, "truncate", 1),
)


@dataclass
class Machine(World):
    """A world whose processes use a disk that can fail and lose power."""

    ledger: JobLedger | None = None
    disks: list[Disk] = field(default_factory=list)
    refused: str | None = None

    async def _open(self) -> JobLedger:
        self.ledger = await super()._open()
        return self.ledger

    async def life_on(self, fault: Fault, *, power_cut: bool) -> dict[str, int] | None:
        """One process on a disk that fails from some step on; None if that ended it. Then the power is cut, if so wished."""
        folder = (self.path.parent if self.path else self.folder / str(self.kills)).resolve()
        disk = self._disk_of(folder)
        disk.fault, disk.steps, disk.hits = fault, 0, 0
        counts = None
        with disk.installed():
            try:
                counts = await self.live()
            except (CheckpointError, UsageError) as error:
                if isinstance(error, UsageError) or not disk.hits:
                    self.refused = str(error)
                self._end()
        if power_cut and counts is None:
            self._lay_out(image(disk.records, self.dice.choice(POWER_CUTS), self.dice))
        return counts

    def _disk_of(self, folder: Path) -> Disk:
        """The one that the files are on: what a failed sync left there is as uncertain in the next life."""
        if not self.disks or self.disks[-1].folder != folder:
            self.disks.append(Disk(folder))
        return self.disks[-1]

    def _end(self) -> None:
        """What the command does when it was stopped: it closes the file, as far as the disk lets it."""
        if self.ledger is not None:
            with suppress(CheckpointError):
                self.ledger.checkpoint.close()
            with suppress(CheckpointError):
                self.ledger.checkpoint._let_go()
            self.ledger = None
        self._forget_what_never_was()

    def _lay_out(self, files: dict[str, bytes]) -> None:
        self.kills += 1
        after = self.folder / str(self.kills)
        after.mkdir()
        for name, content in files.items():
            (after / name).write_bytes(content)
        if self.path:
            self.path = after / self.path.name
        self._forget_what_never_was()

    def _forget_what_never_was(self) -> None:
        """A job that had not begun is begun anew, as a person would."""
        if self.path is None or not self.path.exists() or self.audit()["evaluations"]["calls"]:
            return
        try:
            JobLedger.look(self.path).checkpoint.close()
        except UsageError:
            self.path = None

    async def tally(self, counts: dict[str, int]) -> Tally:
        """What came of it, by the service's own books."""
        held = await self._held() if counts[ItemFate.HELD] else set()
        happened = self.evaluated()
        lost = self.eligible - happened.keys() - held
        wrong = happened.keys() - self.eligible
        doubled = self.audit()["evaluations"]["evaluated_twice"]
        unaccounted = counts[ItemFate.UNSETTLED] + counts[ItemFate.NOT_ATTEMPTED] + counts[ItemFate.FAILED]
        return Tally(
            1, lost=len(lost) + unaccounted, doubled=doubled + len(wrong), held=counts[ItemFate.HELD],
            corrupt=self.refused is not None,
        )  # fmt: skip

    async def _held(self) -> set[str]:
        assert self.path is not None
        ledger = JobLedger.look(self.path)
        items = {item["id"] for item in await ledger.items(limit=100_000) if item["fate"] == ItemFate.HELD}
        ledger.checkpoint.close()
        runs = select(self.sandbox.store.db, "SELECT CAST(id AS TEXT), result FROM run")
        return {run for run, result in runs if result in items}


@asynccontextmanager
async def machine(folder: Path, seed: int) -> AsyncIterator[Machine]:
    """A world with the faults of the service on."""
    async with world(folder, seed, RESULTS, **FAULTS) as here:
        there = Machine(here.folder, here.sandbox, here.origin, here.dice, here.eligible)
        there.read(SPEC)
        yield there


async def _to_the_end(here: Machine) -> Tally:
    counts = await here.live()
    assert counts is not None
    return await here.tally(counts)


async def killed(here: Machine) -> Tally:
    """Processes killed at any instant, none to three of them."""
    for _ in range(here.dice.randint(0, 3)):
        if counts := await here.live(lambda: anyio.sleep(here.dice.uniform(0, LONGEST_LIFE_S))):
            return await here.tally(counts)
    return await _to_the_end(here)


async def powerless(here: Machine) -> Tally:
    """The power is cut at any step on the disk, one to three times."""
    for _ in range(here.dice.randint(1, 3)):
        fault = Fault(here.dice.randint(1, STEPS), POWER_OFF)
        if counts := await here.life_on(fault, power_cut=True):
            return await here.tally(counts)
    return await _to_the_end(here)


async def on_a_failing_disk(here: Machine) -> Tally:
    """A sync, a write or a truncation fails, once or from then on; after some of these the power is cut too."""
    for _ in range(here.dice.randint(1, 3)):
        code, only, times = here.dice.choice(FAILURES)
        fault = Fault(here.dice.randint(1, STEPS), code, only, times)
        if counts := await here.life_on(fault, power_cut=here.dice.random() < 0.5):
            return await here.tally(counts)
    return await _to_the_end(here)


async def with_jumping_clock(here: Machine) -> Tally:
    """The wall clock jumps at any instant, and between kill and resume; the machine may sleep in between."""

    async def jump() -> None:
        while True:
            await anyio.sleep(here.dice.uniform(0.1, 3))
            here.clock_s += here.dice.choice(JUMPS_S)

    async with anyio.create_task_group() as beside:
        beside.start_soon(jump)
        tally = await killed(here)
        beside.cancel_scope.cancel()
    return tally


SORTS = {
    "kills": killed,
    "power": powerless,
    "disk": on_a_failing_disk,
    "clocks": with_jumping_clock,
}


def live(sort: str, seed: int, folder: Path) -> Tally:
    """One job by its seed."""

    async def story() -> Tally:
        async with machine(folder, seed) as here:
            here.dice = Random(f"{sort}/{seed}")
            return await SORTS[sort](here)

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return virtual_time.run(story)
