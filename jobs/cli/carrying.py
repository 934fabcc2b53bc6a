"""Carrying jobs out for the commands `plan`, `run` and `resume`. Apart from these, since it needs all that works on a job."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio

from engine import statedir
from engine.errors import CredentialsError, Exit, GuardError, RebatchError, UsageError
from engine.job import cancelled_for_good
from engine.jobledger import JobLedger
from engine.kind import Export
from engine.report import exit_code
from engine.retention import clear_away
from engine.spec import JobSpec, load_spec
from engine.verify import worth_another_look

from .. import credentials, kinds
from .how import How
from .options import Settings, attended
from .print import print_report
from .print_plan import print_plan
from .runner import Runner, confirmation_needed, finish, spec_of
from .summary import tell_step
from .telling import tell_end


def plan(settings: Settings, spec: Path, names: tuple[str, ...], style: str, *, detailed_exitcode: bool) -> int:
    """Plan the jobs of a spec and print each plan; the exit code."""
    jobs = _chosen(spec, names)
    runner = _runner(settings, How())

    async def work() -> int:
        todo = 0
        for job in jobs:
            ledger = await runner.begin(job, str(spec))
            async with _closing(ledger):
                await runner.plan(ledger, job)
                await print_plan(ledger, job, style)
            todo += ledger.job["planned"]
            if ledger.job["planned"]:
                settings.say(f"Nothing has been changed. Carry it out: rebatch run {ledger.job['job']}")
        return Exit.SOMETHING_TO_DO if todo and detailed_exitcode else Exit.DONE

    return runner.run(work)


def run(settings: Settings, target: str, names: tuple[str, ...], how: How) -> int:
    """Carry out the jobs of a spec, one after the other; the exit code."""
    jobs = _chosen(Path(target), names)
    if not (how.yes or attended() or all(isinstance(job.kind, Export) for job in jobs)):
        raise confirmation_needed()
    runner = _runner(settings, how)

    async def work() -> int:
        worst: int = Exit.DONE
        for job in jobs:
            _warn_of_unfinished(settings, job.name)
            ledger = await runner.begin(job, target)
            code = await _reported(ledger, partial(runner.carry_on, ledger, job), how, settings)
            worst = worst or code
            if ledger.job["state"] == "cancelled":  # whoever cancels wants less to happen, not the next job
                if job is not jobs[-1]:
                    settings.say("The jobs that come after it in the spec were not begun.", important=True)
                break
        return worst

    return runner.run(work)


def carry_on(settings: Settings, path: Path, how: How) -> int:
    """Bring the job of a checkpoint to its end from wherever it is; the exit code."""

    async def work() -> int:
        ledger = JobLedger.resume(path)
        return await _reported(ledger, partial(runner.carry_on, ledger, spec_of(ledger)), how, settings)

    look = JobLedger.look(path)
    over = look.job["state"] == "finished" and not how.decide and not anyio.run(worth_another_look, look)
    look.checkpoint.close()
    if over:
        settings.say(f"Job {look.job['job']} is finished; there is nothing left to do.")
        return anyio.run(_reported, JobLedger.look(path), None, how, settings)
    if look.job["state"] == "cancelled":
        raise cancelled_for_good(look)
    runner = _runner(settings, how)
    return runner.run(work)


async def _reported(ledger: JobLedger, work: Callable[[], Awaitable[None]] | None, how: How, settings: Settings) -> int:
    """Do the work, and report whether or not it came to its end. What stopped it is raised after the report."""
    stopped: RebatchError | None = None
    summary: dict[str, Any] = {}
    async with _closing(ledger):
        try:
            if work:
                await work()
        except RebatchError as error:
            stopped = error
        try:
            summary = await finish(ledger)
            tell_step(summary, stopped)
            tripped_midway = isinstance(stopped, GuardError) and ledger.job["started_at"]
            if stopped is None or how.style == "json" or tripped_midway:
                await print_report(ledger, summary, how.style, items=how.items)
        except RebatchError as error:  # the disk that stopped the job may not be readable either
            stopped = stopped or error
        if work:
            await tell_end(settings, ledger, summary, stopped)
        if stopped:
            raise stopped
    if work:
        await clear_away(settings.checkpoints, ledger.job, time.time())
    return exit_code(summary)


@asynccontextmanager
async def _closing(ledger: JobLedger) -> AsyncIterator[None]:
    """Close a job at the end. One that the key was refused for before it had a plan leaves nothing behind."""
    try:
        yield
    except CredentialsError:
        if ledger.job["state"] == "planning":
            ledger.checkpoint.discard()
        raise
    finally:
        ledger.checkpoint.close()


def _warn_of_unfinished(settings: Settings, name: str) -> None:
    """Whoever runs a spec again while its last job is interrupted may mean to resume."""
    for ledger in statedir.jobs(settings.checkpoints):
        if ledger.job["spec"] == name and ledger.job["state"] in {"working", "verifying"}:
            job = ledger.job["job"]
            settings.say(f"Job {job} of the same name is not finished; to go on with it instead: rebatch resume {job}")


def _chosen(path: Path, names: tuple[str, ...]) -> list[JobSpec]:
    """The jobs of a spec that were asked for, all without a name."""
    jobs = load_spec(path, kinds.find())
    known = [job.name for job in jobs]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"{path}: there is no job “{unknown[0]}”.", f"It has: {', '.join(known)}.")
    return [job for job in jobs if not names or job.name in names]


def _runner(settings: Settings, how: How) -> Runner:
    found = credentials.find(settings.api_url)
    if settings.verbosity:
        settings.say(f"Key of {found.source}, at {found.origin}")
    return Runner(settings, found, how)
