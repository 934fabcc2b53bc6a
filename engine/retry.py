"""What to do after an attempt: one pure function for writes, one for reads, both over the same outcome."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from math import inf
from random import Random

from .errors import CredentialsError, RebatchError, ServiceError
from .fates import Fate, Outcome
from .pressure import THROTTLED, Standing
from .units import show_duration

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 60.0
LONGEST_HOLD_S = 3600.0  # a job that is asked to be silent for longer had better be resumed later
FIRST_CONTACT_DIALS = 4  # a service that is not there is told of in seconds, not in minutes


class Next(Enum):
    """What follows an attempt."""

    DONE = auto()
    AGAIN = auto()  # send it again after `wait_s`
    SETTLE = auto()  # it may have been done: read back first
    FAIL = auto()  # its items have failed
    STOP = auto()  # the job cannot go on; `error` says why


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do next. `hold_s` stops *everything* sent to this origin for so many seconds: the service asked for it.

    `spared`: the failure says something of the service and nothing of this request, whose attempts it does not use up.
    """

    next: Next
    wait_s: float = 0.0
    hold_s: float = 0.0
    error: RebatchError | None = None
    spared: bool = False


def backoff(attempt: int, dice: Random) -> float:
    """Full jitter: anything up to a ceiling that doubles (“Exponential Backoff And Jitter”, AWS, 2015). In seconds."""
    return dice.uniform(0, min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** min(attempt, 16)))


def decide(
    outcome: Outcome,
    *,
    repeatable: bool,
    attempt: int,
    attempts: int,
    dice: Random,
    standing: Standing | None = None,
    patience_s: float = inf,
) -> Verdict:
    """Decide what follows the `attempt`-th sending (from 1) of something that may be sent `attempts` times.

    Being throttled is no failure of the chunk: it waits as long as asked and uses up no attempt. Nor is an outage; the
    pauses between two tries are the breaker's then. Of both there is patience for `patience_s`.
    """
    if outcome.fate is Fate.APPLIED:
        return Verdict(Next.DONE)
    if stop := _stops_the_job(outcome):
        return Verdict(Next.STOP, error=stop)
    if outcome.status == THROTTLED:
        hold_s = outcome.retry_after_s or backoff(attempt, dice) + BACKOFF_BASE_S
        return _throttled(outcome, hold_s, standing.throttled_s if standing else 0.0, patience_s)
    if outcome.fate is Fate.REJECTED:
        return Verdict(Next.FAIL)
    if standing and standing.down:
        return _in_an_outage(outcome, standing, repeatable=repeatable, attempts=attempts, patience_s=patience_s)
    return _after_trouble(outcome, repeatable=repeatable, tired=attempt >= attempts, wait_s=backoff(attempt, dice))


def _throttled(outcome: Outcome, hold_s: float, throttled_s: float, patience_s: float) -> Verdict:
    """Silence for everybody, and once more; but not for ever where nothing else is ever answered."""
    if throttled_s < patience_s:
        return Verdict(Next.AGAIN, hold_s=hold_s, spared=True)
    since = f"It has been so for {show_duration(throttled_s)} (`limits: patience`)."
    return Verdict(Next.STOP, error=ServiceError(f"The service takes no request any more: {outcome.error}. {since}"))


def _after_trouble(outcome: Outcome, *, repeatable: bool, tired: bool, wait_s: float) -> Verdict:
    """The network or the service failed: once more while there is patience, but never on a guess."""
    hold = outcome.retry_after_s or 0.0
    if outcome.fate is Fate.UNKNOWN and (tired or not repeatable):
        return Verdict(Next.SETTLE, hold_s=hold)
    if tired:
        return Verdict(Next.STOP, error=ServiceError(f"The service cannot be reached: {outcome.error}."))
    return Verdict(Next.AGAIN, wait_s=wait_s, hold_s=hold)


def _in_an_outage(
    outcome: Outcome, standing: Standing, *, repeatable: bool, attempts: int, patience_s: float
) -> Verdict:
    """Go on trying as long as there is patience; the breaker says when.

    A write that has failed `attempts` times and alone is read back, even if it may be repeated: when that read is
    answered, it is the write that fails and no longer the service.
    """
    if standing.silent_s >= patience_s:
        failed = "cannot be reached" if outcome.fate is Fate.NEVER_SENT else "does not answer"
        since = f"It has been so for {show_duration(standing.silent_s)} (`limits: patience`)."
        return Verdict(Next.STOP, error=ServiceError(f"The service {failed}: {outcome.error}. {since}"))
    settle = outcome.fate is Fate.UNKNOWN and (not repeatable or standing.alone >= attempts)
    return Verdict(Next.SETTLE if settle else Next.AGAIN, hold_s=outcome.retry_after_s or 0.0, spared=True)


def _stops_the_job(outcome: Outcome) -> RebatchError | None:
    """A refused key, a redirect, or being asked to come back another day concerns every chunk alike."""
    if (outcome.retry_after_s or 0) > LONGEST_HOLD_S:
        asks = f"The service asks to wait {show_duration(outcome.retry_after_s or 0)} ({outcome.error})."
        return ServiceError(asks)
    if outcome.status in {401, 403}:
        return CredentialsError(f"The service refused the API key ({outcome.error}).", "Check the key.")
    if outcome.status is not None and 300 <= outcome.status < 400:  # noqa: PLR2004 - the class of redirects
        return ServiceError(f"The service answered {outcome.error}.", "Check the API address.")
    return None
