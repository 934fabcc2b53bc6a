"""The estimate of the remaining time, in virtual numbers and in what the command says."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.eta import KEPT_STEPS, WINDOW_S, Sample, Window, remaining_s, show_about
from engine.progress import Progress
from jobs.cli.options import Settings
from jobs.cli.progress import shown
from tests import virtual_time


def looks(window: Window, samples: Iterable[Sample], total: int, stage: str = "working") -> list[float | None]:
    """What a window says at each of these looks."""
    return [window.remaining_s(now, stage, done, total) for now, done in samples]


def steady(start_s: int, stop_s: int, done: int, per_second: int) -> list[Sample]:
    """A look each second at even work; at the first nothing of it is done."""
    return [(now, done + (now - start_s) * per_second) for now in range(start_s, stop_s + 1)]


def test_even_work_is_estimated_exactly() -> None:
    """What is left, by the speed."""
    assert looks(Window(), steady(0, 60, 0, 10), 10_000)[-1] == (10_000 - 600) / 10


def test_the_beginning_says_nothing() -> None:
    """Not before three seconds and two steps have been seen, however much was done at once."""
    assert looks(Window(), steady(0, 2, 0, 1000), 10_000) == [None, None, None]
    assert looks(Window(), [(0, 0), (0.1, 100), (0.2, 3000), (1, 3000), (2, 3000)], 10_000) == [None] * 5
    assert looks(Window(), [(0, 0), (10, 100), (20, 100)], 10_000) == [None] * 3
    assert looks(Window(), [(0, 0), (10, 100), (20, 200)], 1000)[-1] == 80


def test_what_was_done_before_a_resume_does_not_count() -> None:
    """A job that begins with 900,000 of a million done is as quick as it is now."""
    assert looks(Window(), steady(1000, 1010, 900_000, 10), 1_000_000)[-1] == (100_000 - 100) / 10


def test_the_window_is_of_late() -> None:
    """Work that has become ten times slower is estimated by what it is now."""
    samples = [*steady(0, 1000, 0, 100), *steady(1000, 1040, 100_000, 10)]
    assert looks(Window(), samples, 200_000)[-1] == pytest.approx((100_000 - 400) / 10)


def test_a_pause_makes_it_longer_and_then_nobody_can_tell() -> None:
    """It rises with each second, and is gone when it has been silent for as long as the window."""
    window = Window()
    before = looks(window, steady(0, 60, 0, 10), 10_000)[-1]
    during = looks(window, [(60 + second, 600) for second in range(1, 41)], 10_000)
    assert before is not None
    rising = [each for each in [before, *during] if each is not None]
    assert rising == sorted(set(rising))
    assert len(rising) == 1 + WINDOW_S
    assert rising[-1] <= 2 * before
    assert during[int(WINDOW_S) :] == [None] * (40 - int(WINDOW_S))


def test_after_a_pause_it_comes_back() -> None:
    """The pause counts as long as it is in the window, and no longer."""
    window = Window()
    looks(window, steady(0, 60, 0, 10), 10_000)
    after = looks(window, steady(660, 720, 600, 10), 10_000)
    assert after[-1] == pytest.approx((10_000 - 1200) / 10)


def test_a_slow_job_has_a_longer_window() -> None:
    """A step of a hundred each minute: five of them are kept, and silence between two steps is no pause."""
    window = Window()
    samples = [(now, now // 60 * 100) for now in range(1201)]
    said = looks(window, samples, 100_000)
    exact = [(100_000 - done) * 60 / 100 for _, done in samples]
    for (now, _), each, right in zip(samples[360:], said[360:], exact[360:], strict=True):
        assert each is not None, now
        assert 1 <= each / right <= 1 + 1 / KEPT_STEPS


def test_each_stage_begins_anew() -> None:
    """And so does a stage whose count is corrected downwards."""
    window = Window()
    looks(window, steady(0, 60, 0, 10), 10_000, "planning")
    assert looks(window, [(61, 700)], 10_000, "working") == [None]
    looks(window, steady(61, 90, 700, 10), 10_000)
    assert looks(window, [(91, 50)], 10_000) == [None]


def test_when_all_is_done_nothing_is_left() -> None:
    """Also when more was done than had been counted."""
    assert looks(Window(), steady(0, 60, 0, 10), 600)[-1] == 0
    assert looks(Window(), steady(0, 60, 0, 10), 500)[-1] == 0


@given(
    steps=st.lists(st.tuples(st.floats(0, 1000), st.integers(0, 1000)), max_size=60),
    total=st.integers(0, 10**9),
)
def test_it_is_never_negative_and_the_window_is_small(steps: list[tuple[float, int]], total: int) -> None:
    """Whatever is seen."""
    window, now, done = Window(), 0.0, 0
    for waited, more in steps:
        now, done = now + waited, done + more
        said = window.remaining_s(now, "working", done, total)
        assert said is None or said >= 0
    kept = [at for at, _ in window._samples]
    assert len([at for at in kept if at < now - WINDOW_S]) <= KEPT_STEPS + 1


def test_it_is_a_pure_function_of_the_samples() -> None:
    """None of too few; the silence after the last one counts."""
    samples = [(0.0, 0), (5.0, 50), (10.0, 100)]
    assert remaining_s(samples[:2], 10, 1000) is None
    assert remaining_s(samples, 10, 1000) == 90
    assert remaining_s(samples, 20, 1000) == 180


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "5s"), (5, "5s"), (41, "45s"), (56, "1m"), (89, "1m"), (170, "3m"), (3590, "1h 00m"), (3900, "1h 05m"), (200_000, "2d 07h")],
)  # fmt: skip
def test_it_is_shown_no_more_exactly_than_it_is(seconds: float, text: str) -> None:
    """One unit below an hour."""
    assert show_about(seconds) == text


def test_the_lines_without_a_terminal_tell_it(capsys: pytest.CaptureFixture[str]) -> None:
    """Not in the first line, then with every one, and no more when the stage is over."""
    progress = Progress()

    async def work() -> None:
        async with shown(progress, Settings()):
            progress.begin("working", 40_000, 1000)
            for _ in range(390):
                await anyio.sleep(1)
                progress.done += 100
                progress.requests += 1
            await anyio.sleep(61)

    virtual_time.run(work)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "working: 1,000 of 40,000, 0 requests"
    assert said[-1] == "working: 40,000 of 40,000, 390 requests"
    between = said[1:-1]
    assert len(between) > 5
    for line in between:
        done = int(line.split()[1].replace(",", ""))
        rest_s = (40_000 - done) / 100
        told = [f" of 40,000, about {show_about(each)} left, " for each in (rest_s, rest_s + 2)]
        assert done == 40_000 or any(each in line for each in told), line
    assert "about 3m left" in "".join(between)
