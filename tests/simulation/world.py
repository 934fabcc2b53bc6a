"""A whole world in one process and in virtual time: the real service over loopback, the real engine, real files.

A kill is what SIGKILL leaves behind: the checkpoint's files as they are at that instant, and nothing else.
"""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import anyio
from aiohttp import web

from engine import job as stages
from engine.client import Client
from engine.errors import RebatchError
from engine.flight import Flight
from engine.jobledger import JobLedger
from engine.ledger import PLAN_TTL_S
from engine.pace import Pacer
from engine.spec import JobSpec, parse_spec
from engine.tasks import task_group
from engine.transport import connect
from engine.work import Work
from jobs import kinds
from jobs.api import KEY_HEADER
from jobs.sandbox.audit import evaluations, summary
from jobs.sandbox.listing import OURS
from jobs.sandbox.server import application
from jobs.sandbox.settings import Settings
from jobs.sandbox.sql import column
from jobs.sandbox.state import Sandbox, build
from jobs.sandbox.world import ELIGIBLE
from tests.requests_check import checking

EPOCH = 1_780_000_000.0


@dataclass
class World:
    """A service and a place for checkpoints. `dice` decides everything that is left to chance."""

    folder: Path
    sandbox: Sandbox
    origin: str
    dice: Random
    eligible: set[str]  # runs of completed and failed results that an evaluation reaches, by id
    path: Path | None = None
    kills: int = 0
    attempts: int = 50
    clock_s: float = EPOCH  # what the wall clock shows at the beginning; it may be set
    plan_ttl_s: float = PLAN_TTL_S
    key: str = "own"  # what tells the key in use from another
    wait: bool = True  # --wait
    spec: JobSpec = field(init=False)

    def read(self, spec: str) -> None:
        """Take the only job of a spec."""
        (self.spec,) = parse_spec(spec, kinds.find())

    async def plan(self) -> None:
        """One process that plans and ends."""
        await self.live(carry_out=False)

    async def live(
        self,
        until: Callable[[], Awaitable[object]] | None = None,
        *,
        carry_out: bool = True,
        first: Callable[[Work], Awaitable[None]] | None = None,
    ) -> dict[str, int] | None:
        """One process: begin the job or resume it, and go on to its end; None if killed when `until()` was over.

        `first` is done before anything else.
        """
        ended: list[dict[str, int]] = []
        async with task_group() as process:
            process.start_soon(self._process, ended, process.cancel_scope, carry_out, first)
            if until is not None:
                await until()
                self._remains()
                process.cancel_scope.cancel()
        if not ended and self.path is not None:
            self._bury()
        return ended[0] if ended else None

    async def _process(
        self,
        ended: list[dict[str, int]],
        whole: anyio.CancelScope,
        carry_out: bool,  # noqa: FBT001 - start_soon knows no keywords
        first: Callable[[Work], Awaitable[None]] | None,
    ) -> None:
        ledger = await self._open()
        async with connect(
            self.origin, {KEY_HEADER: self.sandbox.key}, connections=16, timeout_s=self.spec.limits.timeout
        ) as transport:
            limits = self.spec.limits
            client = Client(
                transport,
                Pacer(limits.rate, dice=self.dice),
                progress=ledger.progress,
                attempts=self.attempts,
                dice=self.dice,
                patience_s=limits.patience,
                flight=Flight(limits.concurrency),
            )
            wall = lambda: self.clock_s + anyio.current_time()  # noqa: E731 - the world's clock
            work = Work(self.spec, client, ledger, wall, plan_ttl_s=self.plan_ttl_s, key=self.key)
            try:
                if first:
                    await first(work)
                await stages.plan(work)
                if carry_out:
                    await stages.carry_out(work, wait=self.wait)
            except RebatchError:
                ledger.checkpoint.close()  # as the command does; a kill closes nothing
                raise
        ended.append(await ledger.counts())
        ledger.checkpoint.close()
        whole.cancel()

    async def _open(self) -> JobLedger:
        if self.path is not None and self.path.exists():
            return JobLedger.resume(self.path)
        ledger = await stages.create(self.folder / str(self.kills), self.spec, origin=self.origin, source="simulation")
        self.path = ledger.checkpoint.path
        return ledger

    def _remains(self) -> None:
        """Copy what is on the disk now: SIGKILL takes the process, not what it wrote."""
        self.kills += 1
        if self.path is None:
            return
        after = self.folder / str(self.kills)
        after.mkdir()
        for suffix in ("", "-wal"):
            if (file := self.path.with_name(self.path.name + suffix)).exists():
                shutil.copy(file, after / file.name)

    def _bury(self) -> None:
        """Go on with the copy."""
        assert self.path is not None
        after = self.folder / str(self.kills) / self.path.name
        try:
            JobLedger.look(after).checkpoint.close()
            self.path = after
        except Exception:
            self.path = None
            raise

    def audit(self) -> dict[str, Any]:
        """What really happened."""
        return summary(self.sandbox.store.db, self.sandbox.arrivals, self.sandbox.store.balance)

    def evaluated(self) -> dict[str, int]:
        """How often each run was evaluated."""
        return evaluations(self.sandbox.store.db, None, None)


def _eligible(sandbox: Sandbox) -> set[str]:
    ours = f"SELECT id FROM result WHERE {OURS} AND status IN ('completed', 'failed')"
    reached = (
        f"SELECT CAST(id AS TEXT) FROM run WHERE result IN ({ours}) AND deleted_us IS NULL AND status IN {ELIGIBLE}"
    )
    return set(column(sandbox.store.db, reached))


@asynccontextmanager
async def world(folder: Path, seed: int, results: int, **settings: Any) -> AsyncIterator[World]:
    """Open a world that behaves in the same way for the same seed."""
    sandbox = build(results=results, seed=seed, settings=Settings(**settings), monotonic=anyio.current_time)
    app = application(sandbox)
    wrong: list[str] = []
    app.middlewares.append(checking(wrong))  # inside the sandbox's own: what was throttled is not looked at
    runner = web.AppRunner(app, handle_signals=False, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr] # aiohttp offers no other way
    try:
        yield World(folder, sandbox, f"http://127.0.0.1:{port}", Random(seed), _eligible(sandbox))
    finally:
        await runner.cleanup()
        assert wrong == [], "a request that does not keep to the contract"
