"""Carrying a job through its stages in front of a person: signals, progress, questions, the report."""

from __future__ import annotations

import signal
import sys
import termios
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import anyio
import rich_click as click

from engine import held
from engine import job as stages
from engine.control import Control
from engine.errors import CredentialsError, Exit, PausedError, RebatchError, SignalledError, StoppedError, UsageError
from engine.jobledger import JobLedger
from engine.kind import Export
from engine.ledger import ENDED
from engine.log import configure
from engine.orders import known
from engine.pace import Pacer
from engine.plan import refuse_stale
from engine.report import summarize
from engine.spec import JobSpec, parse_job
from engine.tasks import task_group
from engine.verify import worth_another_look
from engine.work import Work, working

from .. import kinds
from ..account import refuse_key_in
from ..credentials import Credentials
from .how import How
from .loop import run
from .options import Settings, attended
from .progress import shown
from .show_plan import plan_text

_CODES = {signal.SIGINT: Exit.SIGINT, signal.SIGTERM: Exit.SIGTERM}


class Runner:
    """Works on one job after another: with one set of credentials, one gate, and one ear for signals."""

    def __init__(self, settings: Settings, credentials: Credentials, how: How) -> None:
        """Carries jobs out as `how` says."""
        self.settings, self.credentials, self.how = settings, credentials, how
        self._control = Control()
        self._pacer: Pacer | None = None
        self._at_work: JobLedger | None = None
        configure(settings.verbosity, settings.log_format, [credentials.key], color=settings.colors(sys.stderr))

    def run(self, main: Callable[[], Awaitable[int]]) -> int:
        """Run a command to its exit code; the first signal drains, the second forces."""
        return run(self._supervised, main)

    async def begin(self, spec: JobSpec, source: str) -> JobLedger:
        """Begin a job; --yes agrees beforehand to whatever its plan will be. Raises what stopped the job before it."""
        self._go_on()
        refuse_key_in(spec, source, self.credentials.key)
        state_dir, origin = self.settings.checkpoints, self.credentials.origin
        return await stages.create(state_dir, spec, origin=origin, source=source, approved=self.how.yes)

    async def plan(self, ledger: JobLedger, spec: JobSpec) -> None:
        """Plan a job and go no further."""
        async with self._working(ledger, spec) as work:
            await self._stage(work, stages.plan)
            if ledger.job["state"] == "cancelled":
                raise StoppedError(f"Job {ledger.job['job']} was cancelled while it was planned.")

    async def carry_on(self, ledger: JobLedger, spec: JobSpec) -> None:
        """Bring a job to its end from wherever it is, asking first if nobody has agreed to it yet."""
        self._same_origin(ledger)
        async with self._working(ledger, spec) as work:
            if self.how.decide:
                await self._stage(work, held.release if self.how.decide == "release" else held.retry)
            await self._stage(work, stages.plan)
            state = ledger.job["state"]
            if state == "cancelled" or (state == "finished" and not await worth_another_look(ledger)):
                return
            if ledger.job["state"] == "planned":
                refuse_stale(work)  # before a person is asked, not only after
                await self._show_plan(ledger, spec)
            if not ledger.job["approved_at"]:
                self._ask(ledger, spec)
                await stages.approve(ledger)
            await self._stage(work, partial(stages.carry_out, wait=self.how.wait))

    @asynccontextmanager
    async def _working(self, ledger: JobLedger, spec: JobSpec) -> AsyncIterator[Work]:
        self._at_work = ledger
        try:
            async with working(ledger, spec, self.credentials.headers, self._gate(spec), self._control) as work:
                work.plan_ttl_s = self.how.plan_ttl_s
                yield work
        except RebatchError as error:
            _add_way_on(error, ledger)
            raise

    async def _stage(self, work: Work, stage: Callable[[Work], Awaitable[None]]) -> None:
        async with shown(work.progress, self.settings):
            await stage(work)
        if work.ledger.job["state"] not in ENDED:
            self._go_on()

    def _go_on(self) -> None:
        """A signal that came while something else was ending still counts."""
        if self._control.draining:
            raise self._control.reason or SignalledError(Exit.SIGINT)

    def _gate(self, spec: JobSpec) -> Pacer:
        """The one gate, at this job's rate; silence and pauses are kept from job to job."""
        if self._pacer is None:
            self._pacer = Pacer(spec.limits.rate)
        self._pacer.change(spec.limits.rate)
        return self._pacer

    async def _supervised(self, main: Callable[[], Awaitable[int]]) -> int:
        codes: list[int] = []
        async with task_group() as group:
            group.start_soon(_listen, self._control, group.cancel_scope, self.settings)
            codes.append(await main())
            group.cancel_scope.cancel()
        if not codes:  # forced: everything was cancelled
            stop = self._control.reason or SignalledError(Exit.SIGINT)
            if self._at_work:
                _add_way_on(stop, self._at_work)
            raise stop
        return codes[0]

    async def _show_plan(self, ledger: JobLedger, spec: JobSpec) -> None:
        text = plan_text(
            spec,
            ledger.job,
            await ledger.groups(),
            await ledger.chunks(),
            ttl_s=self.how.plan_ttl_s,
            ordered=known(ledger.checkpoint.path).rate_per_s,
        )
        self.settings.say(text, important=not self.how.yes)

    def _ask(self, ledger: JobLedger, spec: JobSpec) -> None:
        if self.how.yes or isinstance(spec.kind, Export):  # which changes nothing
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
                f"Job {ledger.job['job']} was planned at {planned_at}; the address in use is {self.credentials.origin}.",
                "Set CEKURA_API_URL or --api-url to where it was planned.",
            )


def _add_way_on(error: RebatchError, ledger: JobLedger) -> None:
    """After whatever stopped the job, the one thing that a person needs to know."""
    if ledger.job["state"] == "planning" and isinstance(error, CredentialsError):
        return  # nothing worth keeping: see `_reported`
    if isinstance(error, PausedError) or ledger.job["state"] in ENDED:
        return  # it says so itself; or there is no way on
    if error.exit_code in {Exit.STOPPED, Exit.CREDENTIALS, Exit.SIGINT, Exit.SIGTERM}:
        job = ledger.job["job"]
        first = f"rebatch unpause {job}, then: " * known(ledger.checkpoint.path).paused
        saved = f"The job is saved as far as it came; go on with: {first}rebatch resume {job}"
        unasked = ledger.job["state"] == "planned" and not ledger.job["approved_at"]
        planned = f"The plan is kept; carry it out with: {first}rebatch run {job}"
        error.remedy = f"{error.remedy} {planned if unasked else saved}".strip()


def _agrees(spec: JobSpec, planned: int) -> bool:
    if not spec.kind.irreversible:
        return bool(click.confirm("Go on?", default=False, err=True))
    typed = click.prompt(f"Type the number of items ({planned}) to go on", default="", show_default=False, err=True)
    return str(typed).replace(",", "").strip() == str(planned)


def _terminated(_number: int, _frame: object) -> None:
    raise SignalledError(Exit.SIGTERM)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let signals end a question: asyncio's own handlers would wait for the answer first."""
    before = {number: signal.getsignal(number) for number in _CODES}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, _terminated)
    termios.tcflush(sys.stdin, termios.TCIFLUSH)  # what was typed before the question is no answer to it
    try:
        yield
    except click.Abort:
        click.echo(err=True)
        raise SignalledError(Exit.SIGINT) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
