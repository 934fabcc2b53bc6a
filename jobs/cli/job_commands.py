"""Commands that work: `plan`, `run`, `resume`. What they do is in `carrying`; here is what a person can say to them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import rich_click as click

from engine import statedir
from engine.errors import UsageError
from engine.ledger import ENDED

from .how import FORMAT, Decision, How, how_options
from .options import Settings, global_options, settings_of

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
    from .carrying import plan  # noqa: PLC0415 - heavy

    ctx.exit(plan(settings_of(ctx), spec, names, style, detailed_exitcode=detailed_exitcode))


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
    from .carrying import carry_on, run  # noqa: PLC0415 - heavy

    settings = settings_of(ctx)
    if scheduled:
        _scheduled(ctx, target, names, how, textfile)
        return
    if textfile:
        raise UsageError("--textfile tells of schedules: it goes with --scheduled.")
    if not statedir.names_spec(settings.checkpoints, target):
        if names:
            raise UsageError("--job chooses from a spec; a JOB is one already.")
        ctx.exit(carry_on(settings, statedir.find(settings.checkpoints, target), how))
    ctx.exit(run(settings, target, names, how))


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
    from .carrying import carry_on  # noqa: PLC0415 - heavy

    settings = settings_of(ctx)
    if release_held and retry_held:
        raise UsageError(
            "--release-held says that what is held was done, --retry-held that it was not: say one of them."
        )
    if (release_held or retry_held) and not job:
        raise UsageError("Whose held items? Name the JOB.")
    path = statedir.find(settings.checkpoints, job) if job else _unfinished(settings, last=last)
    decide: Decision | None = "release" if release_held else "retry" if retry_held else None
    ctx.exit(carry_on(settings, path, replace(how, decide=decide)))


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
