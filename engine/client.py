"""A transport behind the gate: reads that are retried, writes that are sent exactly once."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random

import anyio
import structlog

from .control import Control
from .errors import RebatchError, StoppedError, UnreadableError
from .exchange import Reply, Request
from .fates import Fate, Outcome, decipher
from .flight import Flight
from .pace import Pacer
from .pressure import THROTTLED, Lane, Standing, troubled
from .progress import Progress
from .retry import FIRST_CONTACT_DIALS, Next, Verdict, decide
from .transport import Transport, WithheldError

log = structlog.get_logger("rebatch")
NOT_FOUND = 404
WORTH_TELLING_S = 10.0  # a pause as long as this is told to whoever did not ask for a log, once in an outage


@dataclass(slots=True)
class Client:
    """Everything that is sent to one origin with one key goes through here, at one pace."""

    transport: Transport
    pacer: Pacer
    control: Control = field(default_factory=Control)
    progress: Progress = field(default_factory=Progress)
    attempts: int = 8
    dice: Random = field(default_factory=Random)
    patience_s: float = 3600.0  # longest time without an answer
    flight: Flight = field(default_factory=Flight)  # of reads; the number of writes under way is that of the workers
    _told: bool = False
    _log: structlog.typing.FilteringBoundLogger = field(
        default_factory=log.bind
    )  # once: the module's is made up anew each time

    async def admit(self, lane: Lane | None = None) -> bool:
        """Wait for the gate, as a write if no lane is named, and as long as the job is paused; False if draining began first."""
        through = lane or self.pacer.pressure.writes
        return await self.control.wait(lambda: self._pass(through))

    async def admit_write(self) -> bool:
        """The same before a request that changes something; False also if the job was cancelled first."""
        return await self.control.wait(lambda: self._pass(self.pacer.pressure.writes), unless_cancelled=True)

    async def _pass(self, lane: Lane) -> None:
        while True:
            if self.control.paused:
                await self.control.unpaused()
                self.pacer.pressure.rested()
            await self.pacer.wait(lane)
            if not self.control.paused:
                return  # else the pause began while we queued; the slot is lost, and nothing bursts when it is over

    async def send(self, request: Request) -> Reply | None:
        """Send once; whoever calls has passed the gate and has written down the intent. None: it was not sent after all.

        If silence was asked for since, it is kept: a read waits, and is given up when draining begins; a write is given
        back at once, since what was seen of its items gets old.
        """
        lane = self.pacer.pressure.lane(request)
        while True:
            with suppress(WithheldError):
                return await self._send(request, lane)
            if not (lane is self.pacer.pressure.reads and await self.control.wait(self.pacer.silence)):
                return None

    async def _send(self, request: Request, lane: Lane) -> Reply:
        pressure, turn = self.pacer.pressure, lane.breaker.begin()
        try:
            reply = await self.transport.send(request, self._leave)
        except BaseException:
            pressure.give_up(lane, turn)
            raise
        self._log.debug(
            "exchange", method=request.method, path=request.path, status=reply.status, failure=reply.failure
        )
        self._note(request, turn, _outcome_of_read(reply) if lane is pressure.reads else decipher(reply))
        return reply

    async def _leave(self) -> bool:
        leaves = await self.pacer.leave()
        self.progress.requests += leaves
        return leaves

    def judge(self, outcome: Outcome, *, repeatable: bool, attempt: int) -> Verdict:
        """Decide what follows a write, and obey at once when the service asks for silence."""
        return self._judge(self.pacer.pressure.writes, outcome, repeatable=repeatable, attempt=attempt)

    async def read(self, request: Request, dials: int | None = None) -> Reply:
        """Send a request that changes nothing until it is answered 200 or 404; try to connect `dials` times at most.

        Raises ServiceError when the service keeps failing, UnreadableError when this alone does, CredentialsError when the key is refused, StoppedError when draining.
        """
        attempt, lane = 0, self.pacer.pressure.reads
        with self.pacer.pressure.reading():
            while True:
                attempt += 1
                reply = await self._send_read(request)
                outcome = _outcome_of_read(reply)
                if outcome.fate is Fate.APPLIED or (reply.status == NOT_FOUND and not reply.failure):
                    return reply
                verdict = self._judge(lane, outcome, repeatable=True, attempt=attempt, dials=dials)
                if verdict.next is not Next.AGAIN:
                    raise verdict.error or UnreadableError(f"{request.method} {request.path} failed: {outcome.error}.")
                attempt -= verdict.spared
                self.progress.retries += 1
                await self.control.sleep(verdict.wait_s)

    async def _send_read(self, request: Request) -> Reply:
        """Send a read when there is a place for it. Retrying is outside: whoever waits for another try keeps no place."""
        if not await self.control.wait(self.flight.enter):
            raise self._stopped()
        began = self.flight.round
        try:
            if not await self.admit(self.pacer.pressure.reads):
                raise self._stopped()
            reply = await self.send(request)
            if reply is None:
                raise self._stopped()
            outcome = _outcome_of_read(reply)
            self.flight.learn(began, well=outcome.status != THROTTLED and not troubled(outcome))
        finally:
            self.flight.leave()
        return reply

    def _judge(
        self, lane: Lane, outcome: Outcome, *, repeatable: bool, attempt: int, dials: int | None = None
    ) -> Verdict:
        pressure, attempts = self.pacer.pressure, self.attempts
        standing: Standing | None = pressure.standing(lane)
        if outcome.fate is Fate.NEVER_SENT and (dials or not pressure.contacted):
            # Nobody there at the first request: an address mistyped, most likely, and no outage to be patient with.
            standing, attempts = None, dials or FIRST_CONTACT_DIALS
            attempt = max(attempt, 0 if pressure.contacted else lane.failures)
        verdict = decide(
            outcome,
            repeatable=repeatable,
            attempt=attempt,
            attempts=attempts,
            dice=self.dice,
            standing=standing,
            patience_s=self.patience_s,
        )
        if verdict.hold_s:
            self.pacer.hold(verdict.hold_s)
            self.progress.held_until = anyio.current_time() + verdict.hold_s
            log.info("asked to wait", status=outcome.status, seconds=round(verdict.hold_s, 1))
        return verdict

    def _note(self, request: Request, turn: int, outcome: Outcome) -> None:
        lane = self.pacer.pressure.lane(request)
        waiting = lane.open
        if self.pacer.pressure.note(request, turn, outcome):
            self._tell(lane.breaker.until, outcome)
        elif waiting and not lane.open:
            self.progress.down_until, self._told = 0.0, False
            log.info("the service answers again")

    def _tell(self, until: float, outcome: Outcome) -> None:
        pause_s = until - anyio.current_time()
        self.progress.down_until = until
        at = (datetime.now(UTC) + timedelta(seconds=pause_s)).astimezone()
        loud = pause_s >= WORTH_TELLING_S and not self._told
        self._told = self._told or loud
        say = log.warning if loud else log.info
        say(f"paused until {at:%H:%M:%S}: the service is not answering ({outcome.error})", seconds=round(pause_s, 1))

    def _stopped(self) -> RebatchError:
        return self.control.reason or StoppedError("Stopped.")


def _outcome_of_read(reply: Reply) -> Outcome:
    """A read whose body broke has not been answered, whatever its status line said."""
    if reply.failure and reply.sent:
        return Outcome(Fate.UNKNOWN, reply.status, reply.failure)
    return decipher(reply)
