"""Durations and rates as people write them."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.units import MAX_RATE, Tolerance, parse_duration, parse_rate, parse_tolerance, show_duration, show_rate


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("150s", 150), ("90m", 5400), ("1h30m", 5400), ("1h 30m", 5400), ("30d", 2_592_000), ("2w", 1_209_600),
     ("50ms", 0.05), ("1.5h", 5400), ("0s", 0), ("1m1ms", 60.001), (" 5 s ", 5)],
)  # fmt: skip
def test_durations_are_read(text: str, seconds: float) -> None:
    """A number and a unit, or several."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    "text", ["", " ", "5", "s", "5x", "-5s", "5s5", "1.s", ".5.s", "5 years", "s5", "1d,2h", "∞", "1e3s", "5S", "inf", "9" * 400 + "d", "9999999999d"]
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    """A ValueError that repeats what was written."""
    with pytest.raises(ValueError, match="“"):
        parse_duration(text)


def test_a_long_row_of_digits_is_refused_at_once() -> None:
    """A spec of a megabyte must not keep the reader busy for minutes."""
    before = time.perf_counter()
    with pytest.raises(ValueError, match="duration"):
        parse_duration("1" * 6_000)
    assert time.perf_counter() - before < 0.3


@given(text=st.text(max_size=30))
def test_a_duration_is_read_or_refused_and_nothing_else(text: str) -> None:
    """No text raises anything but ValueError, and none is negative."""
    with suppress(ValueError):
        assert parse_duration(text) >= timedelta(0)


@pytest.mark.parametrize(
    ("text", "rate"), [("60/m", 1), ("20/s", 20), ("1/h", 1 / 3600), ("1.5/s", 1.5), (" 5 / s ", 5), ("10000/s", MAX_RATE)]
)  # fmt: skip
def test_rates_are_read_in_requests_a_second(text: str, rate: float) -> None:
    """Per second, minute or hour."""
    assert parse_rate(text) == pytest.approx(rate)


@pytest.mark.parametrize(
    "text", ["", "5", "0/s", "-1/s", "5/d", "/s", "5/", "5//s", "10001/s", "9" * 400 + "/s", "nan/s", "5/s x", "5 s"]
)
def test_what_is_no_rate_is_refused(text: str) -> None:
    """None, nothing, too much and nonsense alike."""
    with pytest.raises(ValueError, match="is not a rate"):
        parse_rate(text)


@given(amount=st.integers(1, 10_000), unit=st.sampled_from("smh"))
def test_a_rate_shown_reads_back_as_the_same(amount: int, unit: str) -> None:
    """What a person is shown means what was written."""
    rate = parse_rate(f"{amount}/{unit}")
    assert parse_rate(show_rate(rate)) == pytest.approx(rate, rel=1e-5)


@pytest.mark.parametrize(
    ("rate", "shown"), [(20, "20/s"), (0.5, "30/m"), (1, "1/s"), (1.5, "90/m"), (1 / 3600, "1/h"), (1 / 60, "1/m")]
)
def test_a_rate_is_shown_in_the_unit_a_person_would_choose(rate: float, shown: str) -> None:
    """Whole numbers where they exist."""
    assert show_rate(rate) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (4.4, "4s"), (59.7, "1m 00s"), (150, "2m 30s"), (3600, "1h 00m"), (3900, "1h 05m"), (86_400, "1d 00h"), (90_061, "1d 01h")],
)  # fmt: skip
def test_a_duration_is_shown_in_two_units(seconds: float, shown: str) -> None:
    """Enough for a person."""
    assert show_duration(seconds) == shown


@given(minutes=st.integers(1, 59), seconds=st.integers(0, 59))
def test_a_duration_shown_reads_back_as_the_same(minutes: int, seconds: int) -> None:
    """What is shown could be written in a spec."""
    total = 60 * minutes + seconds
    assert parse_duration(show_duration(total)).total_seconds() == total


@given(failed=st.integers(0, 2000), planned=st.integers(0, 2000), tenths=st.integers(0, 1000))
def test_a_share_is_tripped_by_more_than_it_and_not_by_itself(failed: int, planned: int, tenths: int) -> None:
    """To the item, as it would be reckoned by hand; of nothing, nothing has failed."""
    tolerance = parse_tolerance(f"{tenths / 10}%")
    assert tolerance.trips(failed, planned) is (planned > 0 and 1000 * failed > tenths * planned)


@given(failed=st.integers(0, 50), most=st.integers(0, 50))
def test_a_number_of_failures_is_tripped_by_one_more(failed: int, most: int) -> None:
    """However large the plan is."""
    assert parse_tolerance(most).trips(failed, 7) is (failed > most)


def test_a_tolerance_is_shown_as_it_was_meant() -> None:
    """With its unit."""
    assert [str(parse_tolerance(text)) for text in ("2%", "0.5 %", 2000)] == ["2 %", "0.5 %", "2,000"]
    assert parse_tolerance("100%") == Tolerance(percent=100)


@pytest.mark.parametrize(
    "value", ["", "2", "%", "-1%", "101%", "1e1%", "2%%", "9" * 101 + "%", -1, 1.5, True, None, [], {}]
)
def test_what_is_no_tolerance_is_refused(value: object) -> None:
    """A ValueError that repeats what was written."""
    with pytest.raises(ValueError, match="is not a share"):
        parse_tolerance(value)
