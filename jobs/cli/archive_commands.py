"""`rebatch archive`: what was kept in full before it was deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import rich_click as click

from engine import statedir
from engine.errors import Exit, UsageError
from engine.text import harmless

from .options import global_options, settings_of

FILE = click.argument("file", type=click.Path(path_type=Path))


@click.group("archive")
def archive_command() -> None:
    """Look into the archive of a deletion (`action: {backup: …}`)."""


@archive_command.command("verify")
@FILE
@click.option("--job", "name", metavar="JOB", help="Instead of the one that the archive names.")
@global_options
@click.pass_context
def verify_command(ctx: click.Context, file: Path, name: str | None) -> None:
    """Prove FILE against its job: undamaged, and everything that was sent is in it as it was planned. Needs no network."""
    from engine.jobledger import JobLedger  # noqa: PLC0415 - heavy
    from engine.proof import prove  # noqa: PLC0415 - heavy

    from .runner import spec_of  # noqa: PLC0415 - heavy

    settings = settings_of(ctx)
    ledger = JobLedger.look(statedir.find(settings.checkpoints, name or _job_of(file)))
    try:
        proof = anyio.run(prove, file, ledger, spec_of(ledger).kind.resource)
    finally:
        ledger.checkpoint.close()
    job = ledger.job["job"]
    if proof.holds:
        click.echo(f"{file}: undamaged, {proof.rows:,} rows; all {proof.sent:,} items that job {job} sent are in it.")
        return
    ids = ", ".join(map(str, proof.examples))
    lacks = f"{proof.missing:,} are missing, {proof.differing:,} are not as they were planned"
    settings.say(f"{file}: of {proof.sent:,} items that job {job} sent, {lacks}: {ids}", important=True)
    ctx.exit(Exit.ITEMS_FAILED)


@archive_command.command("show")
@FILE
@click.argument("item", type=int, required=False)
@global_options
def show_command(file: Path, item: int | None) -> None:
    """Print what FILE kept of ITEM, an id, as JSON; without one, what the archive is and which ids it holds."""
    from engine.files.archive import read  # noqa: PLC0415 - heavy

    lines = iter(read(file))
    header = next(lines, {})
    if item is None:
        _print(header)
        for line in lines:
            click.echo(line["id"])
        return
    found = [line for line in lines if line["id"] == item]
    if not found:
        raise UsageError(f"{file}: it holds no item {item}.", f"See: rebatch archive show {harmless(str(file))}")
    _print(found[-1]["row"])  # the latest: it was looked at again before it went


def _print(value: Any) -> None:
    import orjson  # noqa: PLC0415 - heavy

    click.echo(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())


def _job_of(file: Path) -> str:
    from engine.files.archive import read  # noqa: PLC0415 - heavy

    job = next(iter(read(file)), {}).get("job")
    if not isinstance(job, str) or not job:
        raise UsageError(f"{file}: it does not say of which job it is.", "Name the job: --job JOB")
    return job
