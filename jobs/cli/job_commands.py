"""Commands that work: `plan`, `run`, `resume`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import rich_click as click

from engine import held, statedir
from engine.errors import CredentialsError, Exit, GuardError, RebatchError, UsageError
from engine.job import cancelled_for_good
from engine.jobledger import JobLedger
from engine.kind import Export
from engine.ledger import ENDED
from engine.report import exit_code
from engine.retention import clear_away
from engine.spec import JobSpec, load_spec
from engine.verify import worth_another_look

from .. import credentials, kinds
from .how import FORMAT, How, how_options
from .options import Settings, attended, global_options, settings_of
from .print import print_report
from .print_plan import print_plan
from .runner import Runner, confirmation_needed, finish, spec_of
from .summary import tell_step
from .telling import tell_end

NAMES = click.option(
    "--job", "names", multiple=True, metavar="NAME", help="Only this job of the spec; may be repeated."
)


@click.command("plan")
@click.argument("spec", type=click.Path(path_type=Path))
@NAMES
@FORMAT
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 8 when there is something to do.")
@global_options
@click.pass_context
def plan_command(
    ctx: click.Context, spec: Path, names: tuple[str, ...], style: str, *, detailed_exitcode: bool
) -> None:
    """Show what the jobs of SPEC would do, and keep each plan as a job to be run. Changes nothing."""
    settings = settings_of(ctx)
    jobs = _chosen(spec, names)
    runner = _runner(settings, How())

    async def work() -> int:
        todo = 0
        for job in jobs:
            ledger = await runner.begin(job, str(spec))
            async with closing(ledger):
                await runner.plan(ledger, job)
                await print_plan(ledger, job, style)
            todo += ledger.job["planned"]
            if ledger.job["planned"]:
                settings.say(f"Nothing has been changed. Carry it out: rebatch run {ledger.job['job']}")
        return Exit.SOMETHING_TO_DO if todo and detailed_exitcode else Exit.DONE

    ctx.exit(runner.run(work))


@click.command("run")
@click.argument("target", metavar="SPEC|JOB")
@NAMES
@click.option("--scheduled", is_flag=True, help="Only what its schedules say is due: for timers. Asks nothing.")
@click.option(
    "--textfile",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE.prom",
    help="With --scheduled: where the schedules stand, for node_exporter.",
)
@how_options
@global_options
@click.pass_context
def run_command(
    ctx: click.Context, target: str, names: tuple[str, ...], how: How, *, scheduled: bool, textfile: Path | None
) -> None:
    """Plan the jobs of SPEC (or take the planned JOB), ask, carry out, report."""
    settings = settings_of(ctx)
    if scheduled:
        _scheduled(ctx, target, names, how, textfile)
        return
    if textfile:
        raise UsageError("--textfile tells of schedules: it goes with --scheduled.")
    if not statedir.names_spec(settings.checkpoints, target):
        if names:
            raise UsageError("--job chooses from a spec; a JOB is one already.")
        _carry_on(ctx, statedir.find(settings.checkpoints, target), how)
        return
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

    ctx.exit(runner.run(work))


def _scheduled(ctx: click.Context, target: str, names: tuple[str, ...], how: How, textfile: Path | None) -> None:
    from .scheduled_run import run_scheduled  # noqa: PLC0415 - heavy, and seldom needed

    if not statedir.names_spec(settings_of(ctx).checkpoints, target):
        raise UsageError(f"--scheduled wants a spec, and “{target}” is none.")
    run_scheduled(ctx, Path(target), names, how.style, textfile)


@click.command("resume")
@click.argument("job", required=False)
@click.option("--last", is_flag=True, help="The newest job that was agreed to and is not finished.")
@click.option("--release-held", is_flag=True, help="What is held was done: count it as accepted.")
@click.option("--retry-held", is_flag=True, help="What is held was not done: send it again.")
@how_options
@global_options
@click.pass_context
def resume_command(
    ctx: click.Context, job: str | None, how: How, *, last: bool, release_held: bool, retry_held: bool
) -> None:
    """Go on with JOB where it was interrupted: an id, a unique prefix of one, or the path of its checkpoint.

    A finished one is looked at again if the service was still at work on some of its items.
    """
    settings = settings_of(ctx)
    if release_held and retry_held:
        raise UsageError(
            "--release-held says that what is held was done, --retry-held that it was not: say one of them."
        )
    if (release_held or retry_held) and not job:
        raise UsageError("Whose held items? Name the JOB.")
    path = statedir.find(settings.checkpoints, job) if job else _unfinished(settings, last=last)
    decide = held.release if release_held else held.retry if retry_held else None
    _carry_on(ctx, path, replace(how, decide=decide))


def _carry_on(ctx: click.Context, path: Path, how: How) -> None:
    settings = settings_of(ctx)

    async def work() -> int:
        ledger = JobLedger.resume(path)
        return await _reported(ledger, partial(runner.carry_on, ledger, spec_of(ledger)), how, settings)

    look = JobLedger.look(path)
    over = look.job["state"] == "finished" and not how.decide and not anyio.run(worth_another_look, look)
    look.checkpoint.close()
    if over:
        settings.say(f"Job {look.job['job']} is finished; there is nothing left to do.")
        ctx.exit(anyio.run(_reported, JobLedger.look(path), None, how, settings))
    if look.job["state"] == "cancelled":
        raise cancelled_for_good(look)
    runner = _runner(settings, how)
    ctx.exit(runner.run(work))


async def _reported(ledger: JobLedger, work: Callable[[], Awaitable[None]] | None, how: How, settings: Settings) -> int:
    """Do the work, and report whether or not it came to its end. What stopped it is raised after the report."""
    stopped: RebatchError | None = None
    summary: dict[str, Any] = {}
    async with closing(ledger):
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
async def closing(ledger: JobLedger) -> AsyncIterator[None]:
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


def _unfinished(settings: Settings, *, last: bool) -> Path:
    """The job that a bare `resume` means: the only one, or with --last the newest, that is not finished."""
    jobs = statedir.jobs(settings.checkpoints)
    open_jobs = [ledger for ledger in jobs if ledger.job["state"] not in ENDED and ledger.job["approved_at"]]
    if not open_jobs:
        planned = ", ".join(str(ledger.job["job"]) for ledger in jobs if ledger.job["state"] == "planned")
        wait = f"These are planned, and nobody has agreed to them: {planned}. Carry one out with: rebatch run JOB"
        raise UsageError("There is no job to resume.", wait if planned else "See: rebatch list")
    if len(open_jobs) > 1 and not last:
        listed = ", ".join(str(ledger.job["job"]) for ledger in open_jobs)
        raise UsageError(f"Several jobs are not finished: {listed}.", "Name one, or take the newest: --last")
    return open_jobs[0].checkpoint.path


def _runner(settings: Settings, how: How) -> Runner:
    found = credentials.find(settings.api_url)
    if settings.verbosity:
        settings.say(f"Key of {found.source}, at {found.origin}")
    return Runner(settings, found, how)
