"""When a failing service is asked again: the breaker and the budget, by hand and over any order of events."""

from __future__ import annotations

from math import inf
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.breaker import (
    FAILURES_IN_A_ROW,
    FIRST_PAUSE_S,
    LEASE_S,
    LONGEST_PAUSE_S,
    SPREAD,
    Breaker,
    RetryBudget,
    State,
)


def opened(now: float = 0.0) -> Breaker:
    """A breaker that has just opened."""
    breaker = Breaker(Random(7))
    for _ in range(FAILURES_IN_A_ROW):
        breaker.fail(breaker.begin(), now, affordable=True)
    return breaker


def probe(breaker: Breaker, now: float) -> int:
    """The turn of a probe that is under way."""
    assert breaker.ask(now) == 0
    assert breaker.passed(breaker.turn, now)
    return breaker.begin()


def test_failures_in_a_row_open_it_and_one_less_does_not() -> None:
    """An answer in between begins the row anew."""
    breaker = Breaker(Random(7))
    for answered in (False, True):
        for _ in range(FAILURES_IN_A_ROW - 1):
            assert not breaker.fail(breaker.begin(), 0, affordable=True)
        assert breaker.ask(0) == 0
        if not answered:
            breaker.succeed(breaker.begin())
    assert breaker.fail(breaker.begin(), 0, affordable=True)
    assert (1 - SPREAD) * FIRST_PAUSE_S <= breaker.ask(0) <= FIRST_PAUSE_S


def test_an_empty_budget_opens_it_at_the_first_failure() -> None:
    """What cannot be retried has to wait."""
    breaker = Breaker(Random(7))
    assert breaker.fail(breaker.begin(), 0, affordable=False)
    assert breaker.state is State.OPEN


def test_after_the_pause_exactly_one_passes_and_everybody_else_waits_for_it() -> None:
    """However long it is under way."""
    breaker = opened()
    assert breaker.ask(0.5) > 0
    turn = probe(breaker, 1.0)
    assert [breaker.ask(now) for now in (1.0, 2.0, 1000.0)] == [inf] * 3
    breaker.succeed(turn)
    assert breaker.ask(1000.0) == 0
    assert breaker.state is State.CLOSED


def test_pauses_double_from_a_second_to_a_minute() -> None:
    """Each is a little shorter than its ceiling, by the dice; an answer begins anew."""
    breaker, now = opened(), 0.0
    for power in range(12):
        pause = breaker.ask(now)
        ceiling = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**power)
        assert (1 - SPREAD) * ceiling <= pause <= ceiling
        now += pause
        assert breaker.fail(probe(breaker, now), now, affordable=True)
    now += breaker.ask(now)
    breaker.succeed(probe(breaker, now))
    for _ in range(FAILURES_IN_A_ROW):
        breaker.fail(breaker.begin(), now, affordable=True)
    assert breaker.ask(now) <= FIRST_PAUSE_S


def test_what_was_under_way_when_it_opened_decides_nothing() -> None:
    """Late failures do not lengthen the pause, late answers do not end it, and neither stands for the probe."""
    breaker = Breaker(Random(7))
    late = breaker.begin()
    for _ in range(FAILURES_IN_A_ROW):
        breaker.fail(breaker.begin(), 0, affordable=True)
    until = breaker.until
    breaker.fail(late, 0.5, affordable=False)
    breaker.succeed(late)
    assert (breaker.state, breaker.until) == (State.OPEN, until)
    turn = probe(breaker, 1.0)
    breaker.fail(late, 1.5, affordable=False)
    breaker.succeed(late)
    assert breaker.state is State.PROBING
    breaker.succeed(turn)
    assert breaker.ask(2.0) == 0


def test_what_passed_before_it_opened_and_is_not_sent_yet_has_to_ask_again() -> None:
    """It may have waited for its slot meanwhile."""
    breaker = Breaker(Random(7))
    assert breaker.ask(0) == 0
    turn = breaker.turn
    for _ in range(FAILURES_IN_A_ROW):
        breaker.fail(breaker.begin(), 0, affordable=True)
    assert not breaker.passed(turn, 0)


@pytest.mark.parametrize("cut_off", [True, False])
def test_a_probe_that_is_never_sent_leaves_its_place_to_the_next(cut_off: bool) -> None:  # noqa: FBT001 - a table
    """At once when it says so, else after the lease."""
    breaker = opened()
    assert breaker.ask(1.0) == 0
    turn = breaker.turn
    assert breaker.passed(turn, 1.0)
    if cut_off:
        breaker.give_up(turn, 1.0)
    assert breaker.ask(1.0) == (0.0 if cut_off else LEASE_S)
    assert breaker.ask(1.0 + LEASE_S) == (inf if cut_off else 0.0)
    assert not breaker.passed(turn, 1.0 + LEASE_S)


EVENTS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "send", "drop", "good", "bad", "bad", "bad", "wait", "wait"]),
        st.integers(0, 99),
        st.booleans(),
    ),
    max_size=200,
)


class Story:
    """A breaker, requests that were let through, and requests that are under way; each step keeps the rules."""

    def __init__(self, seed: int) -> None:
        """Nothing has happened."""
        self.breaker, self.now = Breaker(Random(seed)), 0.0
        self.waiting: list[int] = []
        self.sent: list[tuple[int, bool]] = []  # with whether it is the probe

    def step(self, what: str, number: int, *, affordable: bool) -> None:
        """One event; an impossible one is none."""
        if what == "wait":
            self.now += number / 3
        elif what == "ask":
            state, until = self.breaker.state, self.breaker.until
            if self.breaker.ask(self.now) == 0:
                assert state is State.CLOSED or self.now >= until
                self.waiting.append(self.breaker.turn)
        elif what in {"send", "drop"} and self.waiting:
            self._leave_gate(self.waiting.pop(number % len(self.waiting)), drop=what == "drop")
        elif what in {"good", "bad"} and self.sent:
            self._end(self.sent.pop(number % len(self.sent))[0], good=what == "good", affordable=affordable)

    def check(self) -> None:
        """No two probes are out; and there is a way on: somebody is out, or the next may go in a minute."""
        breaker = self.breaker
        assert sum(is_probe for turn, is_probe in self.sent if turn == breaker.turn) <= 1
        out = breaker.turn in self.waiting or breaker.turn in {turn for turn, _ in self.sent}
        assert breaker.state is not State.PROBING or out or breaker.until <= self.now + LEASE_S
        assert breaker.state is not State.OPEN or breaker.until <= self.now + LONGEST_PAUSE_S

    def _leave_gate(self, turn: int, *, drop: bool) -> None:
        if drop:
            self.breaker.give_up(turn, self.now)
        elif self.breaker.passed(turn, self.now):
            self.sent.append((self.breaker.begin(), self.breaker.state is State.PROBING))

    def _end(self, turn: int, *, good: bool, affordable: bool) -> None:
        if good:
            self.breaker.succeed(turn)
        elif self.breaker.fail(turn, self.now, affordable=affordable):
            assert FIRST_PAUSE_S * (1 - SPREAD) <= self.breaker.ask(self.now) <= LONGEST_PAUSE_S


@given(events=EVENTS, seed=st.integers(0, 1000))
def test_in_any_order_of_events_no_two_probes_are_out_and_nothing_waits_for_ever(
    events: list[tuple[str, int, bool]], seed: int
) -> None:
    """Requests pass, are sent or dropped, and end in any order; pauses are kept, and a way through is always left."""
    story = Story(seed)
    for what, number, affordable in events:
        story.step(what, number, affordable=affordable)
        story.check()


def test_the_budget_pays_for_one_failure_in_ten_and_not_for_one_in_four() -> None:
    """After the reserve is used up, retries are at most a fifth of what is answered."""

    def paid(every: int) -> bool:
        budget = RetryBudget()
        for number in range(1, 2000):
            if number % every:
                budget.earn()
            elif not budget.spend():
                return False
        return True

    assert paid(10)
    assert not paid(4)


@given(failed=st.lists(st.booleans(), max_size=400))
def test_retries_never_exceed_the_reserve_and_a_fifth_of_the_answers(failed: list[bool]) -> None:
    """Whatever the order: what the budget pays for was earned."""
    budget, paid = RetryBudget(), 0
    for each in failed:
        if not each:
            budget.earn()
        elif budget.spend():
            paid += 1
        assert 0 <= budget.tokens <= budget.MOST
    assert paid <= budget.RESERVE + budget.EARNED * failed.count(False)
