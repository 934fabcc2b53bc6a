"""Commands that only look: `status`, `list`, `report`. They work while another process works on the job."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import rich_click as click

from engine import statedir
from engine.errors import UsageError
from engine.jobledger import JobLedger
from engine.lock import owner
from engine.orders import read
from engine.report import shown_state, summarize_now

from .options import global_options, settings_of
from .print import print_report
from .show import jobs_table, status_text

FORMAT = click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "ndjson"]),
    default="table",
    help="Of what is printed on stdout.",
)


@click.command("status")
@click.argument("job", required=False)
@FORMAT
@click.option("-w", "--watch", is_flag=True, help="Go on showing it, as long as somebody works on it.")
@global_options
@click.pass_context
def status_command(ctx: click.Context, job: str | None, style: str, *, watch: bool) -> None:
    """Show where JOB stands; without one, the newest job."""
    import orjson  # noqa: PLC0415 - needed for one format only

    die_quietly()
    settings = settings_of(ctx)
    if job is None:
        known = statedir.jobs(settings.checkpoints)
        if not known:
            click.echo(f"No jobs in {settings.checkpoints}." if style == "table" else "null")
            return
        job = str(known[0].checkpoint.path)
    path = statedir.find(settings.checkpoints, job)
    if watch:
        from .watch import watch as watched  # noqa: PLC0415 - needed for this alone

        watched(path, style)
        return
    summary, pid = look_at(path)
    try:
        read(path)
    except UsageError as error:  # the job is what was asked for
        settings.say(str(error), important=True)
    if style != "table":
        click.echo(orjson.dumps({**summary, "pid": pid}).decode())
        return
    click.echo(status_text(summary, pid))


def look_at(path: Path) -> tuple[dict[str, Any], int | None]:
    """The report of a job without its items, and the process that works on it."""
    pid = owner(path.resolve())  # before the state: what has ended meanwhile is not taken for interrupted
    ledger = JobLedger.look(path)
    try:
        return summarize_now(ledger), pid
    finally:
        ledger.checkpoint.close()


@click.command("list")
@FORMAT
@global_options
@click.pass_context
def list_command(ctx: click.Context, style: str) -> None:
    """List all jobs, newest first."""
    import orjson  # noqa: PLC0415 - needed for one format only

    die_quietly()
    settings = settings_of(ctx)

    def unreadable(why: str) -> None:
        settings.say(f"Passed over: {why}", important=True)

    jobs = [_entry(ledger) for ledger in statedir.jobs(settings.checkpoints, unreadable)]
    if style == "json":
        click.echo(orjson.dumps(jobs).decode())
    elif style == "ndjson":
        for job in jobs:
            click.echo(orjson.dumps(job).decode())
    elif jobs:
        click.echo(jobs_table(jobs))
    else:
        settings.say(f"No jobs in {settings.checkpoints}.")


@click.command("report")
@click.argument("job")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "ndjson", "csv", "md"]),
    default="table",
    help="csv and ndjson list the items.",
)
@click.option("--items", is_flag=True, help="With table and json: every item, too.")
@global_options
@click.pass_context
def report_command(ctx: click.Context, job: str, style: str, *, items: bool) -> None:
    """Show what became of JOB: an id, a unique prefix of one, or the path of its checkpoint."""
    die_quietly()
    ledger = JobLedger.look(statedir.find(settings_of(ctx).checkpoints, job))
    anyio.run(partial(print_report, ledger, summarize_now(ledger), style, items=items))


def die_quietly() -> None:
    """When whoever reads our output has gone, as `| head` does, end as every filter does."""
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _entry(ledger: JobLedger) -> dict[str, Any]:
    job = ledger.job
    facts = {name: job[name] for name in ("job", "spec", "kind", "created_at", "finished_at", "origin")}
    return {
        **facts,
        "state": shown_state(ledger),
        "planned": job.get("planned", 0),
        "path": str(ledger.checkpoint.path),
    }
