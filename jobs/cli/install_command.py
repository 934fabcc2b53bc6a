"""`schedule install`: units for what starts things by the clock where `rebatch serve` does not run."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

import rich_click as click
from platformdirs import user_config_path

from engine.errors import Exit, UsageError
from engine.kind import Kind
from engine.spec import JobSpec, load_spec

from .. import kinds
from ..units.crontab import crontab
from ..units.github import github
from ..units.installation import File, Installation, check_text, name_of
from ..units.kubernetes import kubernetes
from ..units.systemd import systemd
from .options import Command, Settings, global_options, settings_of

_MAKERS = {"systemd": systemd, "cron": crontab, "github": github, "kubernetes": kubernetes}


def _target(name: str, text: str) -> Callable[[Command], Command]:
    return click.option(f"--{name}", f"for_{name}", is_flag=True, help=text)


@click.command("install")
@click.argument("specs", metavar="SPEC...", nargs=-1, required=True, type=click.Path(path_type=Path))
@_target("systemd", "A service and a timer.")
@_target("cron", "Lines of a crontab.")
@_target("github", "A workflow of GitHub Actions.")
@_target("kubernetes", "A CronJob and what it needs.")
@click.option(
    "--image", metavar="IMAGE", help="With --kubernetes: an image that has rebatch.  [default: rebatch:VERSION]"
)
@click.option(
    "--directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path), help="Write the files into DIR."
)
@click.option("--force", is_flag=True, help="With --directory: overwrite what is there.")
@global_options
@click.pass_context
def install_command(
    ctx: click.Context,
    /,
    specs: tuple[Path, ...],
    image: str | None,
    directory: Path | None,
    *,
    force: bool,
    **targets: bool,
) -> None:
    """Print units that carry out the schedules of SPECS without a service of ours that runs all the time.

    They start `rebatch run --scheduled`, which does what is due, resumes what was interrupted, and ends.
    """
    settings = settings_of(ctx)
    chosen = [name for name in _MAKERS if targets[f"for_{name}"]]
    if len(chosen) != 1:
        raise UsageError("What the units are for is needed, once.", f"One of: --{', --'.join(_MAKERS)}")
    if image is not None and chosen != ["kubernetes"]:
        raise UsageError("--image belongs to --kubernetes.")
    if force and directory is None:
        raise UsageError("--force belongs to --directory.")
    installations = [_installation(settings, path, jobs, image) for path, jobs in _read(ctx, settings, specs).items()]
    _check_names(installations)
    now = time.time()
    files = [file for each in installations for file in _MAKERS[chosen[0]](each, now)]
    if directory is not None:
        _write(directory, files, force=force)
    else:
        click.echo("\n".join(_headed(file) for file in files), nl=False)
    for file in files:
        if file.remedy:
            settings.say(f"{file.name}: {file.remedy}")


def _read(ctx: click.Context, settings: Settings, specs: Sequence[Path]) -> dict[Path, list[JobSpec]]:
    """The scheduled jobs of each spec; every mistake of all of them is told first."""
    known, found, wrong = kinds.find(), dict[Path, list[JobSpec]](), False
    for path in specs:
        try:
            found[path] = _scheduled(path, known)
        except UsageError as error:  # a SpecError has a line for each mistake
            settings.say(str(error), important=True)
            wrong = True
    if wrong:
        ctx.exit(Exit.USAGE)
    return found


def _scheduled(path: Path, known: Mapping[str, Kind]) -> list[JobSpec]:
    jobs = [job for job in load_spec(path, known) if job.schedule]
    if not jobs:
        raise UsageError(f"{path}: no job of it has a schedule.", 'Give one: schedule: {cron: "30 2 * * *"}')
    return jobs


def _installation(settings: Settings, path: Path, jobs: list[JobSpec], image: str | None) -> Installation:
    spec, command, state_dir = _absolute(path), _command(), _absolute(settings.checkpoints)
    environment = user_config_path("rebatch") / "environment"
    api_url = settings.api_url or os.environ.get("CEKURA_API_URL")  # what was tried here is what is to be done there
    for text in (spec, command, state_dir, environment, api_url or "", image or ""):
        check_text(str(text))
    release = version("rebatch")
    return Installation(
        name=name_of(spec),
        spec=spec,
        text=path.read_bytes().decode(),
        jobs=jobs,
        command=command,
        state_dir=state_dir,
        environment=environment,
        version=release,
        whole_hours=time.localtime().tm_gmtoff % 3600 == 0,
        api_url=api_url,
        image=image or f"rebatch:{release}",
    )


def _command() -> Path:
    """The command in use, by the path that it was called by: a link to it may outlive what it points to."""
    called = Path(sys.argv[0])
    if called.name == "rebatch" and (found := shutil.which(_absolute(called))):
        return Path(found)
    for name in (str(Path(sys.executable).with_name("rebatch")), "rebatch"):
        if found := shutil.which(name):
            return _absolute(Path(found))
    raise UsageError("The command rebatch is not found, which units must name.", "Install it, or add it to PATH.")


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))  # noqa: PTH100 - `resolve` would follow links, which may lead elsewhere tomorrow


def _check_names(installations: Sequence[Installation]) -> None:
    name, times = Counter(each.name for each in installations).most_common(1)[0]
    if times > 1:
        same = ", ".join(str(each.spec) for each in installations if each.name == name)
        raise UsageError(f"The units of {same} would all be called rebatch-{name}.", "Rename the specs.")


def _headed(file: File) -> str:
    return f"# ──── {file.name}\n{file.text}"


def _write(directory: Path, files: Sequence[File], *, force: bool) -> None:
    if (taken := [file.name for file in files if (directory / file.name).exists()]) and not force:
        raise UsageError(f"{directory}: {', '.join(taken)} exists already.", "Overwrite with --force.")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for file in files:
            (directory / file.name).write_text(file.text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{directory}: cannot be written: {error.strerror}.") from None
