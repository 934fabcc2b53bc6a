"""What follows an attempt: every row of the decision."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import CredentialsError, Exit, ServiceError
from engine.exchange import Reply
from engine.fates import Fate, Outcome, decipher
from engine.pressure import Standing
from engine.retry import BACKOFF_BASE_S, BACKOFF_CAP_S, Next, Verdict, backoff, decide

REPLIES = st.one_of(
    st.builds(
        Reply,
        status=st.integers(100, 599),
        headers=st.sampled_from([{}, {"retry-after": "7"}, {"retry-after": "0"}, {"retry-after": "x"}]),
    ),
    st.builds(Reply, sent=st.booleans(), failure=st.just("it broke")),
)


def verdict(reply: Reply, *, repeatable: bool = True, attempt: int = 1, attempts: int = 8) -> Verdict:
    """What follows this reply."""
    return decide(decipher(reply), repeatable=repeatable, attempt=attempt, attempts=attempts, dice=Random(7))


UNSENT, LOST = Reply(sent=False, failure="refused"), Reply(sent=True, failure="reset")


@pytest.mark.parametrize(
    ("reply", "repeatable", "attempt", "expected"),
    [
        (Reply(200), False, 1, Next.DONE),
        (Reply(204), True, 8, Next.DONE),
        (Reply(200, failure="the answer broke off"), False, 1, Next.DONE),
        (Reply(400), True, 1, Next.FAIL),
        (Reply(404), False, 1, Next.FAIL),
        (Reply(405), False, 1, Next.FAIL),
        (Reply(413), True, 1, Next.FAIL),
        (Reply(422), False, 8, Next.FAIL),
        (Reply(401), True, 1, Next.STOP),
        (Reply(403), False, 1, Next.STOP),
        (Reply(301), True, 1, Next.STOP),
        (Reply(307), False, 1, Next.STOP),
        (Reply(429), True, 1, Next.AGAIN),
        (Reply(429), False, 1, Next.AGAIN),
        (Reply(429), False, 100, Next.AGAIN),
        (Reply(503), True, 1, Next.AGAIN),
        (Reply(503), False, 1, Next.SETTLE),
        (Reply(503), True, 8, Next.SETTLE),
        (Reply(408), False, 1, Next.SETTLE),
        (Reply(418), False, 1, Next.SETTLE),
        (LOST, True, 1, Next.AGAIN),
        (LOST, False, 1, Next.SETTLE),
        (LOST, True, 8, Next.SETTLE),
        (UNSENT, True, 1, Next.AGAIN),
        (UNSENT, False, 1, Next.AGAIN),
        (UNSENT, True, 8, Next.STOP),
        (UNSENT, False, 8, Next.STOP),
    ],
)
def test_every_row_of_the_decision(reply: Reply, repeatable: bool, attempt: int, expected: Next) -> None:  # noqa: FBT001 - a table
    """By what came back, whether it may be sent twice, and the patience left."""
    assert verdict(reply, repeatable=repeatable, attempt=attempt).next is expected


@given(reply=REPLIES, attempt=st.integers(1, 200), attempts=st.integers(1, 100))
def test_what_costs_money_is_never_sent_again_on_a_guess(reply: Reply, attempt: int, attempts: int) -> None:
    """After an unknown fate a kind that must not be repeated is settled or stops, whatever else holds."""
    outcome = decipher(reply)
    what = decide(outcome, repeatable=False, attempt=attempt, attempts=attempts, dice=Random(1)).next
    if outcome.fate is Fate.UNKNOWN:
        assert what in {Next.SETTLE, Next.STOP}
    if what is Next.AGAIN:
        assert outcome.fate in {Fate.NEVER_SENT, Fate.REJECTED}


@given(reply=REPLIES, repeatable=st.booleans(), attempt=st.integers(1, 200), attempts=st.integers(1, 100))
def test_nothing_but_throttling_goes_on_for_ever(reply: Reply, repeatable: bool, attempt: int, attempts: int) -> None:  # noqa: FBT001 - drawn
    """When the attempts are used up there is no other, except for what the service put off."""
    what = verdict(reply, repeatable=repeatable, attempt=attempt, attempts=attempts).next
    if attempt >= attempts and reply.status != 429:
        assert what is not Next.AGAIN


@given(reply=REPLIES, repeatable=st.booleans(), attempt=st.integers(1, 200))
def test_a_verdict_is_whole(reply: Reply, repeatable: bool, attempt: int) -> None:  # noqa: FBT001 - drawn
    """A stop says why, a wait is bounded, and what is done or has failed waits for nothing."""
    what = verdict(reply, repeatable=repeatable, attempt=attempt)
    assert (what.error is not None) == (what.next is Next.STOP)
    assert 0 <= what.wait_s <= BACKOFF_CAP_S
    assert what.hold_s >= 0
    if what.next in {Next.DONE, Next.FAIL}:
        assert (what.wait_s, what.hold_s) == (0, 0)


@pytest.mark.parametrize(("header", "hold_s"), [({"retry-after": "7"}, 7.0), ({"retry-after": "3600"}, 3600.0)])
def test_throttling_holds_everything_as_long_as_asked(header: dict[str, str], hold_s: float) -> None:
    """The whole origin is silent, not this chunk alone."""
    what = verdict(Reply(429, header))
    assert (what.hold_s, what.wait_s) == (hold_s, 0.0)


@pytest.mark.parametrize("header", [{}, {"retry-after": "0"}, {"retry-after": "soon"}])
def test_throttling_without_a_time_waits_all_the_same(header: dict[str, str]) -> None:
    """A service that throttles and names no time is not asked again at once."""
    assert verdict(Reply(429, header)).hold_s >= BACKOFF_BASE_S


def test_a_service_that_is_down_and_names_a_time_is_obeyed() -> None:
    """Retry-After counts with a 503 too, for what is repeated and for what is settled."""
    down = Reply(503, {"retry-after": "30"})
    assert verdict(down).hold_s == 30
    assert verdict(down, repeatable=False).hold_s == 30


@given(attempt=st.integers(1, 10_000), seed=st.integers())
def test_the_backoff_stays_below_its_doubling_ceiling(attempt: int, seed: int) -> None:
    """Full jitter: from nothing up to a ceiling that doubles to a minute."""
    assert 0 <= backoff(attempt, Random(seed)) <= min(BACKOFF_CAP_S, BACKOFF_BASE_S * 2 ** min(attempt, 60))


def test_the_backoff_uses_all_of_its_range() -> None:
    """Waits that bunch together would arrive together."""
    dice = Random(3)
    waits = [backoff(3, dice) for _ in range(400)]
    assert min(waits) < 0.1
    assert max(waits) > 3.9


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_stops_the_job_as_a_fault_of_credentials(status: int) -> None:
    """Exit code 4, the service's words, and what to do."""
    error = verdict(Reply(status, body=b'{"detail": "Invalid API key."}')).error
    assert isinstance(error, CredentialsError)
    assert error.exit_code is Exit.CREDENTIALS
    assert "Invalid API key." in str(error)
    assert "key" in error.remedy


def test_a_redirect_stops_the_job_as_a_fault_of_the_address() -> None:
    """Another service answers: resumable, once the address is right."""
    error = verdict(Reply(302)).error
    assert isinstance(error, ServiceError)
    assert "address" in error.remedy


def test_a_service_that_is_not_there_stops_the_job_with_its_reason() -> None:
    """The transport's own words are passed on."""
    error = verdict(UNSENT, attempt=8).error
    assert isinstance(error, ServiceError)
    assert "refused" in str(error)


def test_an_outcome_without_a_status_is_never_taken_for_a_redirect() -> None:
    """None is no number."""
    outcome = Outcome(Fate.NEVER_SENT, error="x")
    assert decide(outcome, repeatable=True, attempt=1, attempts=2, dice=Random(0)).next is Next.AGAIN


DOWN = Standing(down=True, silent_s=100.0)


def in_an_outage(
    reply: Reply, standing: Standing = DOWN, *, repeatable: bool = True, patience_s: float = 600
) -> Verdict:
    """What follows when the attempts are used up and the service does not answer."""
    outcome = decipher(reply)
    return decide(
        outcome,
        repeatable=repeatable,
        attempt=8,
        attempts=8,
        dice=Random(7),
        standing=standing,
        patience_s=patience_s,
    )


@pytest.mark.parametrize(
    ("reply", "repeatable", "expected"),
    [
        (Reply(503), True, Next.AGAIN),
        (Reply(503), False, Next.SETTLE),
        (LOST, True, Next.AGAIN),
        (LOST, False, Next.SETTLE),
        (UNSENT, True, Next.AGAIN),
        (UNSENT, False, Next.AGAIN),
    ],
)
def test_an_outage_uses_up_no_attempt(reply: Reply, repeatable: bool, expected: Next) -> None:  # noqa: FBT001 - a table
    """What costs money is read back all the same; nothing waits but for the gate, and `Retry-After` counts."""
    what = in_an_outage(reply, repeatable=repeatable)
    assert (what.next, what.spared, what.wait_s) == (expected, True, 0.0)
    assert in_an_outage(Reply(503, {"retry-after": "30"}), repeatable=repeatable).hold_s == 30


def test_what_was_answered_in_an_outage_is_taken_as_ever() -> None:
    """A refusal is a refusal."""
    assert in_an_outage(Reply(200)).next is Next.DONE
    assert in_an_outage(Reply(400)).next is Next.FAIL
    assert in_an_outage(Reply(401)).next is Next.STOP


@pytest.mark.parametrize("reply", [Reply(503), UNSENT, LOST])
def test_patience_ends(reply: Reply) -> None:
    """The job stops, says what it met with and which limit that was, and can be resumed."""
    what = in_an_outage(reply, patience_s=100)
    assert what.next is Next.STOP
    assert what.error is not None
    assert what.error.exit_code is Exit.STOPPED
    assert "limits: patience" in str(what.error)
    assert "1m 40s" in str(what.error)


def test_a_write_that_fails_often_and_alone_is_read_back() -> None:
    """It may be the write after all; a service that is not there cannot say."""
    alone = Standing(down=True, alone=8)
    assert in_an_outage(Reply(500), alone).next is Next.SETTLE
    assert in_an_outage(UNSENT, alone).next is Next.AGAIN
    assert in_an_outage(Reply(500), Standing(down=True, alone=7)).next is Next.AGAIN


def test_throttling_is_no_failure_of_the_request() -> None:
    """It uses up no attempt."""
    assert verdict(Reply(429)).spared
    assert not verdict(Reply(503)).spared
