"""What becomes of ticks: each policy as a story, and for whatever comes together, what always holds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.schedule.due import MOST, Decision, Situation, decide
from engine.schedule.entry import TickFate
from engine.schedule.when import Schedule

DAY = 86_400
NIGHT = 200 * DAY + 2 * 3600  # a tick of "0 2 * * *" in UTC
RUNNING, WAITING, SKIPPED, MISSED = TickFate.RUNNING, TickFate.WAITING, TickFate.SKIPPED, TickFate.MISSED


def situation(now: float, decided: float = NIGHT - DAY, cron: str = "0 2 * * *", **known: Any) -> Situation:
    """A schedule that is due each night at two, UTC, unless told otherwise."""
    schedule = {name: known.pop(name) for name in ("overlap", "catch_up", "catch_up_window", "jitter") if name in known}
    return Situation("nightly", Schedule.model_validate({"cron": cron, **schedule}), decided, now, **known)


def fates(decision: Decision) -> dict[int, TickFate]:
    """By night, counted from the first one."""
    return {(verdict.at - NIGHT) // DAY: verdict.fate for verdict in decision.verdicts}


def test_what_is_due_begins() -> None:
    """At its second, not one before."""
    assert not decide(situation(NIGHT - 1)).verdicts
    assert fates(decide(situation(NIGHT))) == {0: RUNNING}


def test_jitter_is_waited_for() -> None:
    """Nothing is decided of a tick before its own start."""
    late = situation(NIGHT, jitter="1h")
    start = late.schedule.start("nightly", NIGHT)
    assert start > NIGHT
    assert fates(decide(situation(start - 1, jitter="1h"))) == {}
    assert fates(decide(situation(start, jitter="1h"))) == {0: RUNNING}


@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [
        ("none", {0: MISSED, 1: MISSED, 2: MISSED}),
        ("once", {0: MISSED, 1: MISSED, 2: RUNNING}),
        ("all", {0: RUNNING, 1: WAITING, 2: WAITING}),
    ],
)
def test_nights_without_anybody_are_caught_up_as_the_spec_says(catch_up: str, expected: dict[int, TickFate]) -> None:
    """None, one for all, or each in its turn."""
    assert fates(decide(situation(NIGHT + 2 * DAY + 3600, catch_up=catch_up, catch_up_window="7d"))) == expected


def test_what_is_later_than_the_window_is_missed() -> None:
    """By the second."""
    late: dict[str, Any] = {"catch_up": "all", "catch_up_window": "12h"}
    assert fates(decide(situation(NIGHT + DAY // 2, **late))) == {0: RUNNING}
    assert fates(decide(situation(NIGHT + DAY // 2 + 1, **late))) == {0: MISSED}


def test_one_that_is_on_time_covers_what_is_late() -> None:
    """With `once`: two jobs in one night would do the same thing twice."""
    assert fates(decide(situation(NIGHT + DAY, catch_up="once", catch_up_window="7d"))) == {0: MISSED, 1: RUNNING}


@pytest.mark.parametrize(
    ("overlap", "waiting", "expected", "cancels"),
    [
        ("skip", [], {0: SKIPPED}, False),
        ("queue", [], {0: WAITING}, False),
        ("queue", [NIGHT - DAY], {0: SKIPPED}, False),
        ("cancel_other", [], {0: WAITING}, True),
        ("cancel_other", [NIGHT - 3600], {-1: SKIPPED, 0: WAITING}, True),
    ],
)
def test_a_job_at_work_is_treated_as_the_spec_says(
    overlap: str,
    waiting: list[int],
    expected: dict[int, TickFate],
    cancels: bool,  # noqa: FBT001 - a column
) -> None:
    """Leave out, wait, or cancel it."""
    decision = decide(situation(NIGHT, overlap=overlap, running=NIGHT - DAY, waiting=waiting, catch_up_window="7d"))
    assert (fates(decision), decision.cancel) == (expected, cancels)


def test_what_waited_begins_when_the_other_has_ended() -> None:
    """Unless that took too long."""
    waited: dict[str, Any] = {"overlap": "queue", "decided": NIGHT, "waiting": [NIGHT]}
    assert fates(decide(situation(NIGHT + 3600, **waited))) == {0: RUNNING}
    assert fates(decide(situation(NIGHT + 13 * 3600, **waited))) == {0: MISSED}


@pytest.mark.parametrize("overlap", ["skip", "queue", "cancel_other"])
@pytest.mark.parametrize(
    ("catch_up", "expected"),
    [("none", [MISSED, MISSED, RUNNING]), ("once", [MISSED, MISSED, RUNNING]), ("all", [RUNNING, WAITING, WAITING])],
)
def test_of_several_that_are_due_at_once_the_newest_has_the_job_unless_each_gets_one(
    overlap: str, catch_up: str, expected: list[TickFate]
) -> None:
    """Also within the ten minutes that are on time: what the next one has overtaken is late."""
    minutely = situation(NIGHT + 120, NIGHT - 1, "* * * * *", overlap=overlap, catch_up=catch_up)
    assert [verdict.fate for verdict in decide(minutely).verdicts] == expected
    assert not decide(minutely).cancel


def test_a_paused_schedule_begins_nothing() -> None:
    """What comes meanwhile is skipped, what waited too; and nothing of it is caught up later."""
    paused = situation(NIGHT + DAY, paused=True, waiting=[NIGHT - DAY])
    assert fates(decide(paused)) == {-1: SKIPPED, 0: SKIPPED, 1: SKIPPED}
    assert decide(paused).decided == NIGHT + DAY


def test_what_ran_before_the_clock_was_turned_back_does_not_run_again() -> None:
    """It is passed over, and the schedule goes on behind it."""
    decision = decide(situation(NIGHT + 60, fated=frozenset({NIGHT})))
    assert (list(decision.verdicts), decision.decided) == ([], NIGHT)


def test_a_schedule_that_stood_still_for_long_is_decided_on_in_portions() -> None:
    """A year of minutes is half a million ticks."""
    decision = decide(situation(NIGHT + 365 * DAY, NIGHT, "* * * * *"))
    assert len(decision.verdicts) == MOST
    assert decision.decided == NIGHT + MOST * 60


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["0 2 * * *", "*/5 * * * *", "0 */3 * * *"]),
    st.sampled_from(["skip", "queue", "cancel_other"]),
    st.sampled_from(["none", "once", "all"]),
    st.sampled_from(["0s", "1h", "30h"]),
    st.integers(0, 40 * 3600),
    st.tuples(st.booleans(), st.booleans()),
    st.integers(0, 3),
)
def test_every_tick_that_is_due_gets_one_verdict_and_one_job_begins_at_most(
    cron: str, overlap: str, catch_up: str, window: str, behind: int, state: tuple[bool, bool], waits: int
) -> None:
    """Whatever comes together."""
    paused, busy = state
    waiting = [NIGHT - (each + 1) * 3600 for each in range(waits)]
    now = situation(
        NIGHT + behind, NIGHT - 1, cron, overlap=overlap, catch_up=catch_up, catch_up_window=window,
        paused=paused, running=NIGHT - 5 * 3600 if busy else None, waiting=waiting,
    )  # fmt: skip
    decision = decide(now)
    decided = [verdict.at for verdict in decision.verdicts]
    assert len(set(decided)) == len(decided)
    assert set(now.passed) <= set(decided) <= {*now.passed, *waiting}
    assert decision.decided == max([NIGHT - 1, *now.passed])
    begun = [verdict for verdict in decision.verdicts if verdict.fate is RUNNING]
    assert len(begun) == (0 if busy or paused else min(1, len(begun)))
    left = {verdict.at for verdict in decision.verdicts if verdict.fate in {SKIPPED, MISSED}}
    if not busy and not paused and set(now.passed) | set(waiting) != left:
        assert len(begun) == 1, "somebody is in the line, and nobody at work"
    assert not decision.cancel or (busy and overlap == "cancel_other")
    assert all(verdict.why for verdict in decision.verdicts if verdict.fate in {SKIPPED, MISSED})


def test_what_is_caught_up_waits_for_its_turn_and_cancels_nothing() -> None:
    """Where the next one on time cancels: it does, and takes the place of none that is caught up."""
    known: dict[str, Any] = {"overlap": "cancel_other", "catch_up": "all", "catch_up_window": "7d"}
    caught_up = situation(NIGHT + 2 * DAY + 3600, NIGHT + 2 * DAY, running=NIGHT, waiting=[NIGHT + DAY], **known)
    assert not decide(caught_up).cancel
    with_next = situation(NIGHT + 2 * DAY, NIGHT + DAY, running=NIGHT, waiting=[NIGHT + DAY], **known)
    assert decide(with_next).cancel
    assert fates(decide(with_next)) == {2: WAITING}
