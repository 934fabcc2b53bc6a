"""What becomes of an attempt: the whole table, and what the service's own words are turned into."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.exchange import Reply
from engine.fates import MAX_ERROR_TEXT, Fate, decipher, explain

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
REJECTED = {400, 401, 403, 404, 405, 413, 422, 429}


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_its_fate(status: int) -> None:
    """2xx was applied, eight codes were rejected before anything was done, of everything else nobody knows."""
    expected = (
        Fate.APPLIED if 200 <= status < 300 else Fate.REJECTED if status in REJECTED else Fate.UNKNOWN
    )  # the table of the architecture
    assert decipher(Reply(status)).fate is expected


@pytest.mark.parametrize(("sent", "fate"), [(True, Fate.UNKNOWN), (False, Fate.NEVER_SENT)])
def test_without_a_status_it_matters_whether_anything_was_sent(sent: bool, fate: Fate) -> None:  # noqa: FBT001 - a table
    """What never left this machine may be sent again; what may have left it is unknown."""
    outcome = decipher(Reply(sent=sent, failure="it broke"))
    assert (outcome.fate, outcome.status, outcome.error) == (fate, None, "it broke")


def test_a_success_counts_even_if_its_body_broke() -> None:
    """The status line was seen, so it was done."""
    assert decipher(Reply(200, failure="the answer broke off")).fate is Fate.APPLIED


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        ("1.5", 1.5),
        (" 3 ", 3.0),
        ("-5", 0.0),
        ("Sat, 31 Jan 2026 12:01:30 GMT", 90.0),
        ("Sat, 31 Jan 2026 13:01:30 +0100", 90.0),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0.0),
        ("inf", None),
        ("-inf", None),
        ("nan", None),
        ("1e999", None),
        ("soon", None),
        ("", None),
        ("Sat, 99 Jan 2026 12:01:30 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(value: str, seconds: float | None) -> None:
    """Nonsense counts as not given, the past as now (RFC 9110, 10.2.3)."""
    assert decipher(Reply(503, {"retry-after": value}), NOW).retry_after_s == seconds


@pytest.mark.parametrize("value", ["Sat Jan 31 12:01:30 2026", "Sat, 31 Jan 2026 12:01:30 -0000"])
def test_a_retry_after_without_a_zone_is_utc(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP dates are always in GMT, also in the obsolete form of asctime, and wherever this machine stands."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert decipher(Reply(503, {"retry-after": value}), NOW).retry_after_s == 90.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("value", ["Mon, 01 Jan 0001 00:00:00 +1200"])
def test_a_retry_after_beyond_the_calendar_is_nonsense(value: str) -> None:
    """A date that no calendar holds in UTC must not stop the job."""
    assert decipher(Reply(503, {"retry-after": value}), NOW).retry_after_s in {None, 0.0}


@given(value=st.text(max_size=40))
def test_no_retry_after_can_break_the_decision(value: str) -> None:
    """Whatever the header says, the wait is none, or finite and not negative."""
    after = decipher(Reply(429, {"retry-after": value}), NOW).retry_after_s
    assert after is None or 0 <= after < float("inf")


@given(seconds=st.integers(0, 10**6))
def test_dates_and_seconds_mean_the_same(seconds: int) -> None:
    """The two forms of Retry-After agree."""
    date = (NOW + timedelta(seconds=seconds)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    assert decipher(Reply(429, {"retry-after": date}), NOW).retry_after_s == seconds
    assert decipher(Reply(429, {"retry-after": str(seconds)}), NOW).retry_after_s == seconds


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"detail": "Invalid API key."}, "400 Bad Request: Invalid API key."),
        ({"metric_ids": ["Not in scope.", "Unknown."]}, "400 Bad Request: metric_ids: Not in scope.; metric_ids: Unknown."),
        ({"result_ids": {"3": ["A valid integer is required."]}}, "400 Bad Request: result_ids.3: A valid integer is required."),
        ({"non_field_errors": ["No."]}, "400 Bad Request: No."),
        (["No.", "Never."], "400 Bad Request: No.; Never."),
        ("No.", "400 Bad Request: No."),
        ({}, "400 Bad Request"),
    ],
)  # fmt: skip
def test_the_service_s_own_words_are_kept_in_one_line(body: object, words: str) -> None:
    """Each shape of Django REST Framework's errors becomes `field: message`."""
    assert explain(Reply(400, body=orjson.dumps(body))) == words


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"{", b"\xff\xfe", b'{"detail": NaN}'])
def test_what_is_not_json_leaves_the_status(body: bytes) -> None:
    """A gateway's page is no explanation."""
    assert explain(Reply(502, body=body)) == "502 Bad Gateway"


def test_a_status_without_a_name_is_a_number() -> None:
    """Codes that no register knows have no title."""
    assert explain(Reply(599)) == "599"


def test_a_redirect_says_that_it_is_not_followed() -> None:
    """Whatever its body says."""
    assert explain(Reply(302, body=b'{"detail": "x"}')) == "302 Found (redirects are never followed)"


@given(words=st.text(), key=st.text(max_size=20))
def test_hostile_words_become_one_printable_line_of_bounded_length(words: str, key: str) -> None:
    """No escape sequence, line break or change of direction survives, and no length."""
    said = explain(Reply(400, body=orjson.dumps({key.encode("utf-8", "replace").decode(): words})))
    assert "\n" not in said
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert len(said) <= 8 * MAX_ERROR_TEXT


def test_a_long_answer_is_cut() -> None:
    """A few hundred characters tell enough."""
    assert len(explain(Reply(400, body=orjson.dumps({"detail": "x" * 100_000})))) == MAX_ERROR_TEXT


@pytest.mark.parametrize("depth", [10, 300, 1000])
def test_an_answer_nested_deeply_is_still_deciphered(depth: int) -> None:
    """However deep a body is, the attempt has a fate."""
    body = b'{"a":' * depth + b"1" + b"}" * depth
    assert decipher(Reply(400, body=body)).fate is Fate.REJECTED


@given(status=st.integers(100, 599), body=st.binary(max_size=200), after=st.text(max_size=20))
def test_deciphering_never_fails(status: int, body: bytes, after: str) -> None:
    """Every reply has a fate."""
    assert decipher(Reply(status, {"retry-after": after}, body), NOW).fate in Fate


def test_a_date_to_come_back_at_is_of_the_services_own_clock() -> None:
    """Ours may be an hour off."""
    headers = {"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    assert decipher(Reply(429, headers)).retry_after_s == 30
    assert decipher(Reply(429, headers | {"date": "yesterday"})).retry_after_s == 0
