"""What the command does, for programs: an account, jobs on it, events while they work, the report at the end.

async with Account() as account:
spec = job("nightly", "evaluate_metrics", metrics=[11], scope={"agent_id": 101})
async with account.plan(spec) as planned:
await planned.run(agreed=planned.items)
print(await planned.report())
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio
import orjson
from anyio.abc import ObjectReceiveStream
from anyio.streams.memory import MemoryObjectSendStream

from engine import job as stages
from engine.control import Control
from engine.errors import GuardError, StoppedError, UsageError
from engine.jobledger import JobLedger
from engine.ledger import ENDED
from engine.log import quiet_unless_configured
from engine.pace import Pacer
from engine.progress import Progress
from engine.redact import Redactor
from engine.report import each_item, summarize
from engine.spec import JobSpec, SpecError, parse_job
from engine.statedir import default, find
from engine.tasks import task_group
from engine.work import Work, working

from . import credentials, kinds

_LOOK_S = 0.1  # how often progress is looked at for whoever follows it


@dataclass(frozen=True, slots=True)
class Event:
    """Where a job stands: `done` of `total` items (rows of the list, while planning); requests are counted over resumes."""

    stage: str
    done: int
    total: int
    requests: int
    retries: int


def job(name: str, kind: str, *, resource: str | None = None, **said: Any) -> JobSpec:
    """A job as a spec would say it: `scope`, `where`, `keep`, `guards` and `limits`; all else belongs to the action.

    Raises SpecError with every mistake, each with its path.
    """
    known = kinds.find()
    raw: dict[str, Any] = {key: said.pop(key) for key in ("scope", "where", "keep", "guards", "limits") if key in said}
    named = known[kind].resource.name if kind in known else ""
    raw |= {"name": name, "resource": resource or named, "action": {"type": kind, **said}}
    spec, problems = parse_job(raw, known)
    if spec is None:
        raise SpecError([f"{'.'.join(map(str, problem.path)) or 'job'}: {problem.message}" for problem in problems])
    return spec


def refuse_key_in(spec: JobSpec, source: str, key: str) -> None:
    """See that a spec does not hold the key, which a checkpoint would keep. Raises UsageError."""
    kept = f"{source}\n{orjson.dumps(spec.raw).decode()}"
    if Redactor([key]).text(kept) != kept:
        raise UsageError(
            f"Job {spec.name}: the spec holds the API key, and a checkpoint would keep it.", "Take it out."
        )


class Account:
    """One account at one origin: all jobs on it pass one gate. Use it with `async with`."""

    def __init__(
        self, *, key: str | None = None, api_url: str | None = None, state_dir: Path | str | None = None
    ) -> None:
        """Without `key` and `api_url` those that the command would use; checkpoints lie in `state_dir`, or where its do.

        Raises CredentialsError without a key, UsageError for an address that must not get it.
        """
        self._credentials = credentials.given(key, api_url) if key else credentials.find(api_url)
        self._state_dir = Path(state_dir) if state_dir else default()
        self._pacer: Pacer | None = None

    async def __aenter__(self) -> Self:
        quiet_unless_configured()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pacer = None

    @asynccontextmanager
    async def plan(self, spec: JobSpec, on_event: Callable[[Event], None] | None = None) -> AsyncIterator[Job]:
        """Begin a job and plan it; nothing is changed by that. Raises GuardError when a guard forbids it, ServiceError."""
        refuse_key_in(spec, spec.name, self._credentials.key)
        origin = self._credentials.origin
        ledger = await stages.create(self._state_dir, spec, origin=origin, source=spec.name)
        async with self._opened(ledger, spec) as planned:
            await planned.plan(on_event)
            yield planned

    @asynccontextmanager
    async def resume(self, name: str) -> AsyncIterator[Job]:
        """Open a job to go on with it: its id, a unique prefix of one, or a path. Raises UsageError, LockedError."""
        ledger = JobLedger.resume(find(self._state_dir, name))
        spec, problems = parse_job(ledger.job["raw"], kinds.find())
        if spec is None:
            ledger.checkpoint.close()
            raise UsageError(f"Job {ledger.job['job']} cannot be read here: {problems[0].message}.")
        if ledger.job["origin"] != self._credentials.origin:
            ledger.checkpoint.close()
            raise UsageError(f"Job {ledger.job['job']} was planned at {ledger.job['origin']}.", "Use that address.")
        async with self._opened(ledger, spec) as opened:
            yield opened

    @asynccontextmanager
    async def _opened(self, ledger: JobLedger, spec: JobSpec) -> AsyncIterator[Job]:
        async with AsyncExitStack() as stack:
            stack.callback(ledger.checkpoint.close)
            control, gate = Control(), self._gate(spec)
            work = await stack.enter_async_context(working(ledger, spec, self._credentials.headers, gate, control))
            yield Job(work)

    def _gate(self, spec: JobSpec) -> Pacer:
        if self._pacer is None:
            self._pacer = Pacer(spec.limits.rate)
        self._pacer.change(spec.limits.rate)
        return self._pacer


class Job:
    """A job that this process has opened: nobody else works on it meanwhile."""

    def __init__(self, work: Work) -> None:
        """Use `Account.plan` or `Account.resume`."""
        self._work = work
        self._stopped = False

    @property
    def id(self) -> str:
        """What the command knows it by."""
        return str(self.facts["job"])

    @property
    def facts(self) -> Mapping[str, Any]:
        """All that its checkpoint says of it; `docs/reference.md` explains those that stay."""
        return self._work.ledger.job

    @property
    def items(self) -> int:
        """How many items its plan has."""
        return int(self.facts.get("planned", 0))

    async def plan(self, on_event: Callable[[Event], None] | None = None) -> None:
        """Plan it, if that is not done yet. Raises GuardError."""
        await stages.plan(self._work)
        if on_event:
            on_event(_event(self._work.progress))

    async def run(self, *, agreed: int, on_event: Callable[[Event], None] | None = None) -> dict[str, Any]:
        """Carry it out from wherever it is; the answer is the report. `agreed` must be the number of items of its plan.

        Raises GuardError when it is another number or the plan is stale, and whatever stops the job: it can be resumed.
        """
        async with self.running(agreed=agreed) as events:
            async for event in events:
                if on_event:
                    on_event(event)
        return await self.report()

    @asynccontextmanager
    async def running(self, *, agreed: int) -> AsyncIterator[ObjectReceiveStream[Event]]:
        """The same, with what happens as an asynchronous iterator. Leaving the block early stops the job, resumable."""
        await self.plan()
        if agreed != self.items:
            raise GuardError(f"The plan has {self.items:,} items, and {agreed:,} were agreed to. Nothing was changed.")
        await stages.approve(self._work.ledger)
        send, receive = anyio.create_memory_object_stream[Event](1)
        async with task_group() as group, receive:
            group.start_soon(self._carry_out, send)
            try:
                yield receive
            finally:
                if self.facts["state"] not in ENDED:
                    self.stop()

    async def report(self) -> dict[str, Any]:
        """What became of it; the fields are those of `rebatch report --format json`."""
        state = self.facts["state"]
        return await summarize(self._work.ledger, "interrupted" if state in {"working", "verifying"} else state)

    async def each(self) -> AsyncIterator[dict[str, Any]]:
        """What became of each item, in the order of the plan."""
        async for item in each_item(self._work.ledger):
            yield item

    def stop(self) -> None:
        """Let what is in flight finish, and stop; the job can be resumed."""
        self._stopped = True
        self._work.control.drain()

    async def _carry_out(self, send: MemoryObjectSendStream[Event]) -> None:
        async with send, task_group() as group:
            group.start_soon(_follow, self._work.progress, send)
            try:
                await stages.carry_out(self._work)
            except StoppedError:
                if not self._stopped:  # by whoever uses it: no error to them
                    raise
            group.cancel_scope.cancel()


def _event(progress: Progress) -> Event:
    return Event(progress.stage, progress.done, progress.total, progress.requests, progress.retries)


async def _follow(progress: Progress, send: MemoryObjectSendStream[Event]) -> None:
    """Tell of changes, as many as whoever follows takes; the work waits for nobody."""
    last: Event | None = None
    while True:
        if (event := _event(progress)) != last:
            try:
                send.send_nowait(event)
                last = event
            except anyio.WouldBlock:
                pass  # the one before has not been taken yet; the next one tells more
            except anyio.BrokenResourceError:
                return  # nobody follows any more
        await anyio.sleep(_LOOK_S)
