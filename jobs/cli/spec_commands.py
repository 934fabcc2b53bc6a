"""Commands about specs: `init`, `check`, `schema`; and `version`."""

from __future__ import annotations

from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import rich_click as click

from engine.errors import Exit, UsageError

from .options import global_options, settings_of


@click.command("init")
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path), default=".")
@click.option("--force", is_flag=True, help="Overwrite what is there.")
@global_options
@click.pass_context
def init_command(ctx: click.Context, directory: Path, *, force: bool) -> None:
    """Write example specs into DIRECTORY, the current one if none is given."""
    settings = settings_of(ctx)
    examples = [entry for entry in files("jobs.specs").iterdir() if entry.name.endswith(".yaml")]
    if (taken := [entry.name for entry in examples if (directory / entry.name).exists()]) and not force:
        raise UsageError(f"{directory}: {', '.join(sorted(taken))} exists already.", "Overwrite with --force.")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for entry in sorted(examples, key=lambda entry: entry.name):
            (directory / entry.name).write_text(entry.read_text(encoding="utf-8"), encoding="utf-8")
            settings.say(f"{directory / entry.name}")
    except OSError as error:
        raise UsageError(f"{directory}: cannot be written: {error.strerror}.") from None


@click.command("check")
@click.argument("specs", nargs=-1, required=True, type=click.Path(path_type=Path))
@global_options
@click.pass_context
def check_command(ctx: click.Context, specs: tuple[Path, ...]) -> None:
    """Check SPECS and tell every mistake as file:line:column. Needs no network and no key."""
    from engine.spec import load_spec  # noqa: PLC0415 - heavy

    from .. import kinds  # noqa: PLC0415 - heavy

    settings, known, wrong = settings_of(ctx), kinds.find(), False
    for spec in specs:
        try:
            jobs = load_spec(spec, known)
            settings.say(f"{spec}: {len(jobs)} job{'s' * (len(jobs) != 1)}, no mistakes")
        except UsageError as error:  # a SpecError has a line for each mistake
            settings.say(str(error), important=True)
            wrong = True
    if wrong:
        ctx.exit(Exit.USAGE)


@click.command("schema")
@global_options
def schema_command() -> None:
    """Print the JSON Schema of specs; editors complete specs with it."""
    import orjson  # noqa: PLC0415 - heavy

    from engine.schema import spec_schema  # noqa: PLC0415 - heavy

    from .. import kinds  # noqa: PLC0415 - heavy

    click.echo(orjson.dumps(spec_schema(kinds.find()), option=orjson.OPT_INDENT_2).decode())


@click.command("version")
@global_options
def version_command() -> None:
    """Print the version."""
    click.echo(f"rebatch {version('rebatch')}")
