"""Carrying a job through its stages in front of a person: signals, progress, questions, the report."""

from __future__ import annotations

import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import anyio
import rich_click as click

from engine import job as stages
from engine.control import Control
from engine.errors import CredentialsError, Exit, RebatchError, SignalledError, StoppedError, UsageError
from engine.ledger import JobLedger
from engine.log import configure
from engine.report import summarize
from engine.spec import JobSpec, parse_job
from engine.tasks import task_group
from engine.work import Work, working

from .. import kinds
from ..credentials import Credentials
from .options import Settings, attended
from .progress import shown
from .show import plan_text

_CODES = {signal.SIGINT: Exit.SIGINT, signal.SIGTERM: Exit.SIGTERM}


class Runner:
    """Works on one job after another with the same settings and credentials."""

    def __init__(self, settings: Settings, credentials: Credentials, *, yes: bool) -> None:
        """`yes` answers every question."""
        self.settings, self.credentials, self.yes = settings, credentials, yes
        configure(settings.verbosity, settings.log_format, [credentials.key], color=settings.colors(sys.stderr))

    async def plan(self, spec: JobSpec, source: str) -> JobLedger:
        """Begin a job and plan it. A job whose plan never came to be for want of a key leaves nothing behind."""
        ledger = await stages.create(self.settings.checkpoints, spec, origin=self.credentials.origin, source=source)
        try:
            await self._stage(ledger, spec, stages.plan)
        except CredentialsError:
            ledger.checkpoint.discard()
            raise
        except RebatchError as error:
            _add_way_on(error, ledger)
            raise
        return ledger

    async def carry_on(self, ledger: JobLedger, spec: JobSpec) -> None:
        """Bring a job to its end from wherever it is, asking first if nobody has agreed to it yet."""
        self._same_origin(ledger)
        try:
            await self._stage(ledger, spec, stages.plan)
            if ledger.job["state"] == "finished":
                return
            if not ledger.job["approved_at"]:
                await self.show_plan(ledger, spec)
                self._ask(ledger, spec)
                await stages.approve(ledger)
            await self._stage(ledger, spec, stages.carry_out)
        except RebatchError as error:
            _add_way_on(error, ledger)
            raise

    async def show_plan(self, ledger: JobLedger, spec: JobSpec) -> None:
        """Show the plan as a message."""
        text = plan_text(spec, ledger.job, await ledger.groups(), await ledger.chunks())
        self.settings.say(text, important=not self.yes)

    async def _stage(self, ledger: JobLedger, spec: JobSpec, stage: Callable[[Work], Awaitable[None]]) -> None:
        control = Control()
        async with task_group() as group, working(ledger, spec, self.credentials.headers, control) as work:
            group.start_soon(_listen, control, group.cancel_scope, self.settings)
            async with shown(work.progress, self.settings):
                await stage(work)
            group.cancel_scope.cancel()
        if control.forced:
            raise control.reason or SignalledError(Exit.SIGINT)

    def _ask(self, ledger: JobLedger, spec: JobSpec) -> None:
        if self.yes:
            return
        if not attended():
            raise confirmation_needed()
        with _interruptible():
            agreed = _agrees(spec, ledger.job["planned"])
        if not agreed:
            raise StoppedError("Nothing was changed.")

    def _same_origin(self, ledger: JobLedger) -> None:
        planned_at = ledger.job["origin"]
        if planned_at != self.credentials.origin:
            raise UsageError(
                f"Job {ledger.job['job']} was planned at {planned_at}, and the address in use is {self.credentials.origin}.",
                "Set CEKURA_API_URL or --api-url to where it was planned.",
            )


def _add_way_on(error: RebatchError, ledger: JobLedger) -> None:
    """After whatever stopped the job, the one thing that a person needs to know."""
    if error.exit_code in {Exit.STOPPED, Exit.CREDENTIALS, Exit.SIGINT, Exit.SIGTERM}:
        job = ledger.job["job"]
        error.remedy = f"{error.remedy} The job is saved as far as it came; go on with: rebatch resume {job}".strip()


def _agrees(spec: JobSpec, planned: int) -> bool:
    if not spec.kind.irreversible:
        return bool(click.confirm("Go on?", default=False, err=True))
    typed = click.prompt(f"Type the number of items ({planned}) to go on", default="", show_default=False, err=True)
    return str(typed).replace(",", "").strip() == str(planned)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C end a question: asyncio's own handler would wait for the answer first."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except click.Abort:
        click.echo(err=True)
        raise SignalledError(Exit.SIGINT) from None
    finally:
        signal.signal(signal.SIGINT, before)


def confirmation_needed() -> UsageError:
    """There is nobody to ask."""
    return UsageError(
        "A confirmation is needed, and there is no terminal to ask at; nothing was changed.",
        "Look at it with “rebatch plan”, then add --yes.",
    )


def spec_of(ledger: JobLedger) -> JobSpec:
    """The spec that a checkpoint keeps. Raises UsageError when its kind is not installed here."""
    spec, problems = parse_job(ledger.job["raw"], kinds.find())
    if spec is None:
        raise UsageError(f"Job {ledger.job['job']} cannot be read here: {problems[0].message}.")
    return spec


async def finish(ledger: JobLedger) -> dict[str, object]:
    """The report of a job that this process has just worked on."""
    state = ledger.job["state"]
    return await summarize(ledger, "interrupted" if state in {"planning", "working", "verifying"} else state)


async def _listen(control: Control, everything: anyio.CancelScope, settings: Settings) -> None:
    """The first signal drains, the second forces."""
    with anyio.open_signal_receiver(*_CODES) as signals:
        async for number in signals:
            if control.draining:
                control.forced = True
                everything.cancel()
                return
            control.drain(SignalledError(_CODES[number]))
            settings.say("\nStopping: what is in flight finishes first (again to force).", important=True)
