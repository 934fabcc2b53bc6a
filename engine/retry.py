"""What to do after an attempt: one pure function for writes, one for reads, both over the same outcome."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from random import Random

from .errors import CredentialsError, RebatchError, ServiceError
from .fates import Fate, Outcome
from .units import show_duration

BACKOFF_BASE_S = 0.5
BACKOFF_CAP_S = 60.0
LONGEST_HOLD_S = 3600.0  # a job that is asked to be silent for longer had better be resumed later
THROTTLED = 429


class Next(Enum):
    """What follows an attempt."""

    DONE = auto()
    AGAIN = auto()  # send it again after `wait_s`
    SETTLE = auto()  # it may have been done: read back first
    FAIL = auto()  # its items have failed
    STOP = auto()  # the job cannot go on; `error` says why


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do next. `hold_s` stops *everything* sent to this origin for so many seconds: the service asked for it."""

    next: Next
    wait_s: float = 0.0
    hold_s: float = 0.0
    error: RebatchError | None = None


def backoff(attempt: int, dice: Random) -> float:
    """Full jitter: anything up to a ceiling that doubles (“Exponential Backoff And Jitter”, AWS, 2015). In seconds."""
    return dice.uniform(0, min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** min(attempt, 16)))


def decide(outcome: Outcome, *, repeatable: bool, attempt: int, attempts: int, dice: Random) -> Verdict:
    """Decide what follows the `attempt`-th sending (from 1) of something that may be sent `attempts` times.

    Being throttled is no failure of the chunk: it waits as long as asked and uses up no attempt.
    """
    if outcome.fate is Fate.APPLIED:
        return Verdict(Next.DONE)
    if (outcome.retry_after_s or 0) > LONGEST_HOLD_S:
        asks = f"The service asks to wait {show_duration(outcome.retry_after_s or 0)} ({outcome.error})."
        return Verdict(Next.STOP, error=ServiceError(asks))
    if outcome.status == THROTTLED:
        hold = outcome.retry_after_s or backoff(attempt, dice) + BACKOFF_BASE_S
        return Verdict(Next.AGAIN, hold_s=hold)
    if stop := _stops_the_job(outcome):
        return Verdict(Next.STOP, error=stop)
    if outcome.fate is Fate.REJECTED:
        return Verdict(Next.FAIL)
    return _after_trouble(outcome, repeatable=repeatable, tired=attempt >= attempts, wait_s=backoff(attempt, dice))


def _after_trouble(outcome: Outcome, *, repeatable: bool, tired: bool, wait_s: float) -> Verdict:
    """The network or the service failed: once more while there is patience, but never on a guess."""
    hold = outcome.retry_after_s or 0.0
    if outcome.fate is Fate.UNKNOWN and (tired or not repeatable):
        return Verdict(Next.SETTLE, hold_s=hold)
    if tired:
        return Verdict(Next.STOP, error=ServiceError(f"The service cannot be reached: {outcome.error}."))
    return Verdict(Next.AGAIN, wait_s=wait_s, hold_s=hold)


def _stops_the_job(outcome: Outcome) -> RebatchError | None:
    """A refused key or a redirect concerns every chunk alike."""
    if outcome.status in {401, 403}:
        return CredentialsError(f"The service refused the API key ({outcome.error}).", "Check the key.")
    if outcome.status is not None and 300 <= outcome.status < 400:  # noqa: PLR2004 - the class of redirects
        return ServiceError(f"The service answered {outcome.error}.", "Check the API address.")
    return None
