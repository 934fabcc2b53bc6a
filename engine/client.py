"""A transport behind the gate: reads that are retried, writes that are sent exactly once."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import anyio
import structlog

from .control import Control
from .errors import ServiceError, StoppedError
from .exchange import Reply, Request
from .fates import Fate, Outcome, decipher
from .pace import Pacer
from .progress import Progress
from .retry import THROTTLED, Next, Verdict, decide
from .transport import Transport

log = structlog.get_logger("rebatch")
NOT_FOUND = 404


@dataclass(slots=True)
class Client:
    """Everything that is sent to one origin with one key goes through here, at one pace."""

    transport: Transport
    pacer: Pacer
    control: Control = field(default_factory=Control)
    progress: Progress = field(default_factory=Progress)
    attempts: int = 8
    dice: Random = field(default_factory=Random)

    async def admit(self) -> bool:
        """Wait for the gate, and as long as the job is paused; False if draining began first."""
        return await self.control.wait(self._pass)

    async def admit_write(self) -> bool:
        """The same before a request that changes something; False also if the job was cancelled first."""
        admitted = False
        if not self.control.cancelled:
            with self.control.until_cancelled():
                admitted = await self.admit()
        return admitted and not self.control.cancelled

    async def _pass(self) -> None:
        while True:
            await self.control.unpaused()
            await self.pacer.wait()
            if not self.control.paused:
                return  # else the pause began while we queued; the slot is lost, and nothing bursts when it is over

    async def send(self, request: Request) -> Reply:
        """Send once; whoever calls has passed the gate and has written down the intent."""
        self.progress.requests += 1
        reply = await self.transport.send(request)
        log.debug("exchange", method=request.method, path=request.path, status=reply.status, failure=reply.failure)
        return reply

    def judge(self, outcome: Outcome, *, repeatable: bool, attempt: int, attempts: int | None = None) -> Verdict:
        """Decide what follows, and obey at once when the service asks for silence."""
        allowed = attempts or self.attempts
        verdict = decide(outcome, repeatable=repeatable, attempt=attempt, attempts=allowed, dice=self.dice)
        if verdict.hold_s:
            self.pacer.hold(verdict.hold_s)
            self.progress.held_until = anyio.current_time() + verdict.hold_s
            log.info("asked to wait", status=outcome.status, seconds=round(verdict.hold_s, 1))
        return verdict

    async def read(self, request: Request, dials: int | None = None) -> Reply:
        """Send a request that changes nothing until it is answered 200 or 404; try to connect `dials` times at most.

        Raises ServiceError when it keeps failing, CredentialsError when the key is refused, StoppedError when draining.
        """
        attempt = 0
        while True:
            if not await self.admit():
                raise self.control.reason or StoppedError("Stopped.")
            attempt += 1
            reply = await self.send(request)
            outcome = _outcome_of_read(reply)
            if outcome.fate is Fate.APPLIED or outcome.status == NOT_FOUND:
                return reply
            attempts = dials if outcome.fate is Fate.NEVER_SENT else None
            verdict = self.judge(outcome, repeatable=True, attempt=attempt, attempts=attempts)
            if verdict.next is not Next.AGAIN:
                raise verdict.error or ServiceError(f"{request.method} {request.path} failed: {outcome.error}.")
            if outcome.status == THROTTLED:
                attempt -= 1  # not the request's fault
            self.progress.retries += 1
            await self.control.sleep(verdict.wait_s)


def _outcome_of_read(reply: Reply) -> Outcome:
    """A read whose body broke has not been answered, whatever its status line said."""
    if reply.failure and reply.sent:
        return Outcome(Fate.UNKNOWN, reply.status, reply.failure)
    return decipher(reply)
