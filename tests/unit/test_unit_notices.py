"""What is told of a job, to whom, in which words; and which addresses may stand in a spec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
import pytest
from pydantic import ValidationError

from engine.errors import Exit
from engine.notices.message import LISTED, End, Notice, Signal, of_end, of_missed, of_start
from engine.notices.notify import Event, Notify, UnsetError, resolve, secrets

TICK = 1_767_225_600  # 2026-01-01T00:00:00Z
ALL = list(Event)
HOOK, OTHER, PING = "https://example.com/hook", "https://example.com/other", "https://example.com/ping"
HOOK_UUID = "0b1c2d3e-4f50-4617-8293-a4b5c6d7e8f9"


def report(**counts: int) -> dict[str, Any]:
    """As much of a report as notices read."""
    return {"job": "k3v9x2", "counts": {"planned": sum(counts.values()), **counts}}


def end(code: Exit, error: str | None = None, **counts: int) -> End:
    """The end of a job with these items."""
    return End(code, error, report(**counts))


def told(end_: End, *, notify: Sequence[Notify] = (), before: str | None = None) -> list[Notice]:
    """What is told of it, by default to one who asked for everything."""
    notify = notify or [Notify(on=ALL, urls=[HOOK])]
    return list(of_end(notify, "nightly", end_, tick=TICK, before=before, at=TICK + 60))


def text_of(error: str) -> str:
    """The words for a job that this error stopped."""
    [notice] = told(end(Exit.STOPPED, error))
    return str(notice.body["text"])


@pytest.mark.parametrize(
    ("ended", "before", "events"),
    [
        (end(Exit.DONE, confirmed=3), None, ["success"]),
        (end(Exit.DONE, confirmed=3), "success", ["success"]),
        (end(Exit.DONE, confirmed=3), "held", ["success", "changed"]),
        (end(Exit.ITEMS_FAILED, failed=1), "failure", ["failure"]),
        (end(Exit.ITEMS_FAILED, held=1), None, ["held"]),
        (end(Exit.ITEMS_FAILED, held=1, failed=1), "success", ["held", "failure", "changed"]),
        (end(Exit.STOPPED, "No answer.", held=1), None, ["held", "failure"]),
        (end(Exit.STOPPED, "No answer."), None, ["failure"]),
        (end(Exit.UNEXPECTED, "A fault."), None, ["failure"]),
        (End(Exit.CREDENTIALS, "The key was refused.", {}), None, ["failure"]),
        (end(Exit.GUARD, "max_items"), None, ["guard"]),
        (end(Exit.GUARD, "canary", failed=2, held=1), None, ["guard", "held", "failure"]),
    ],
)
def test_each_end_is_told_as_all_that_it_is(ended: End, before: str | None, events: list[str]) -> None:
    """First what it is foremost; whoever asked only for something else that is true of it is told as well."""
    assert [str(event) for event in ended.events(before)] == events
    for event in ALL:
        notices = told(ended, notify=[Notify(on=[event], urls=[HOOK])], before=before)
        assert len(notices) == (event in events)
        assert all((notice.body["event"], notice.body["events"]) == (events[0], events) for notice in notices)


def test_a_receiver_is_told_once_however_often_it_is_named() -> None:
    """In one entry, in several, for several events."""
    notify = [
        Notify(on=[Event.HELD, Event.FAILURE], urls=[HOOK, HOOK, OTHER], ping=PING),
        Notify(on=[Event.HELD, Event.SUCCESS], urls=[HOOK], ping=PING),
    ]
    notices = told(end(Exit.ITEMS_FAILED, held=1, failed=1), notify=notify)
    assert [(notice.target, notice.signal) for notice in notices] == [
        (HOOK, Signal.TELL),
        (OTHER, Signal.TELL),
        (PING, Signal.FAIL),
    ]


def test_a_ping_is_told_of_each_beginning_and_each_end() -> None:
    """Whatever the events; a hook is not told of a beginning."""
    notify = [Notify(on=[Event.MISSED], urls=[HOOK], ping=PING)]
    [start] = of_start(notify, "nightly", "k3v9x2", TICK, TICK + 1)
    [success] = told(end(Exit.DONE, confirmed=1), notify=notify)
    [failure] = told(end(Exit.ITEMS_FAILED, held=1), notify=notify)
    assert [each.signal for each in (start, success, failure)] == [Signal.START, Signal.SUCCESS, Signal.FAIL]
    assert {each.target for each in (start, success, failure)} == {PING}
    assert start.of == success.of == str(UUID(failure.of))


def test_missed_ticks_are_one_notice_and_one_failed_beat() -> None:
    """However many they were, no more are listed than a receiver can take."""
    ticks = [TICK + 60 * number for number in range(LISTED + 20)]
    notices = list(of_missed([Notify(on=[Event.MISSED], urls=[HOOK], ping=PING)], "nightly", ticks, "Down.", TICK))
    assert [(notice.target, notice.signal) for notice in notices] == [(HOOK, Signal.TELL), (PING, Signal.FAIL)]
    body = notices[0].body
    assert (body["missed"], len(body["ticks"])) == (LISTED + 20, LISTED)
    assert body["text"].endswith("had no job: Down.")
    [one] = of_missed([Notify(on=[Event.MISSED], urls=[HOOK])], "nightly", ticks[:1], "nobody was there", TICK)
    assert one.body["text"] == "nightly: the tick of 2026-01-01T00:00:00+00:00 had no job: nobody was there."


def every_notice() -> list[Notice]:
    """Of all sorts, for several specs, ticks and receivers, one of which is a hook and a ping."""
    notify = [Notify(on=ALL, urls=[HOOK, OTHER], ping=PING), Notify(ping=HOOK)]
    found: list[Notice] = []
    for spec in ("nightly", "weekly"):
        for tick, job in ((TICK, "a1"), (TICK + 60, "a2"), (None, "a3")):
            found += of_start(notify, spec, job, tick, TICK)
            ended = End(Exit.DONE, None, {"job": job})
            found += of_end(notify, spec, ended, tick=tick, before=None, at=TICK)
        found += of_missed(notify, spec, [TICK - 60], "down", TICK)
    return found


def test_keys_are_the_same_again_and_tell_everything_apart() -> None:
    """A notice that is made again after a crash is known for the same; no other is taken for it."""
    first, again = every_notice(), every_notice()
    assert [(notice.key, notice.id) for notice in first] == [(notice.key, notice.id) for notice in again]
    assert len({notice.key for notice in first}) == len({notice.id for notice in first}) == len(first)
    assert all(len(notice.id) == 32 and "example" not in notice.id for notice in first)


def test_a_job_that_a_person_resumes_may_end_again_and_is_told_of_again() -> None:
    """Its second failure, and the beat of its success after the one of its failure."""
    notify = [Notify(on=ALL, urls=[HOOK], ping=PING)]
    ends = [(end(Exit.STOPPED, "Down."), TICK), (end(Exit.STOPPED, "Down."), TICK + 60), (end(Exit.DONE), TICK + 90)]
    found = [one for each, at in ends for one in of_end(notify, "nightly", each, tick=None, before=None, at=at)]
    assert len({notice.key for notice in found}) == len(found) == 6


def test_more_that_was_missed_from_the_same_tick_on_is_told_too() -> None:
    """As when the clock was set forward, back, and nobody was there then."""
    notify = [Notify(on=ALL, urls=[HOOK])]
    found = [one for many in (1, 2) for one in of_missed(notify, "nightly", [TICK, TICK + 60][:many], "down", TICK)]
    assert len({notice.key for notice in found}) == 2


def test_every_body_can_be_sent_and_says_what_it_is() -> None:
    """The fields that `docs/reference.md` promises of all of them."""
    for notice in every_notice():
        body = orjson.loads(orjson.dumps(notice.body))
        assert {"version", "event", "text", "spec", "job", "tick", "at"} <= body.keys()
        assert body["version"] == 1
        assert body["text"].startswith(f"{body['spec']}: ")


def test_the_text_of_an_end_says_how_much_why_and_where_to_look() -> None:
    """In one line of whole sentences."""
    [notice] = told(end(Exit.ITEMS_FAILED, "Two are held", confirmed=1_200, not_attempted=1, held=2), before="success")
    assert notice.body["text"] == (
        "nightly: job k3v9x2 needs a decision: items are held (1,200 confirmed, 1 not attempted, 2 held of 1,203); "
        "the one before: success. Two are held. Look at it: rebatch report k3v9x2"
    )
    [quiet] = told(end(Exit.DONE, confirmed=1))
    assert quiet.body["text"] == "nightly: job k3v9x2 finished (1 confirmed of 1)."


def test_a_job_that_was_never_made_is_not_named() -> None:
    """There is nothing to look at."""
    [notice] = told(End(Exit.CREDENTIALS, "The key was refused.", {}))
    assert notice.body["text"] == "nightly: its job failed. The key was refused."


@pytest.mark.parametrize(
    "hostile",
    [
        "@channel @everyone @here",
        "<!here> <!channel> <@U123> <#C123>",
        "<https://evil.example|click> [click](https://evil.example) ![x](http://evil.example)",
        "see https://evil.example/x, //evil.example and www.evil.example",
        "mailto:x@evil.example",
        "`code` *bold* _it_ ~strike~ ||spoiler|| # head \\* &lt;b&gt; <b>",
        "bell\a escape\x1b[31m return\r\nline \u202eright\u202c nul\0 zero\u200bwidth \ud800",
        "#town-square ~town-square",
    ],
)
def test_what_a_service_says_calls_nobody_and_draws_nothing(hostile: str) -> None:
    """No mention, link, picture, tag or control character is left of it."""
    text = text_of(hostile).removesuffix(" Look at it: rebatch report k3v9x2")
    assert text.isprintable()
    assert not set(text) & set("<>@#&`*_~|[]\\")
    assert "://" not in text
    assert "evil.example" not in text


def test_an_error_is_cut_in_a_text_and_stays_whole_beside_it() -> None:
    """Chats have limits; programs read `error`, in which nothing moves a cursor."""
    [notice] = told(end(Exit.STOPPED, "x" * 5_000 + "\x1b\ud800"))
    assert len(notice.body["text"]) < 500
    assert notice.body["error"] == "x" * 5_000 + "<001b><d800>"
    assert orjson.dumps(notice.body)


def test_an_export_of_many_files_still_fits() -> None:
    """Receivers take about a megabyte; the report has them all."""
    files = [{"path": f"runs/{number}.parquet"} for number in range(LISTED + 1)]
    [many] = told(End(Exit.DONE, None, {**report(confirmed=1), "files": files}))
    assert (len(many.body["report"]["files"]), many.body["report"]["files_left_out"]) == (LISTED, 1)
    [few] = told(End(Exit.DONE, None, {**report(confirmed=1), "files": files[:LISTED]}))
    assert few.body["report"] == {**report(confirmed=1), "files": files[:LISTED]}


@pytest.mark.parametrize(
    "address",
    [
        "https://example.com",
        "http://127.0.0.1:9000/hook?channel=ops&from=rebatch",
        "https://example.com/reevaluate-support-agent-2/notify",
        "https://example.com/internationalization/1234567890123456789",
        "https://example.com/${TOKEN}?key=${KEY}",
        "https://hooks.slack.com/services/${SLACK}",
        "https://hc-ping.com/${CHECK}?create=1",
        "https://rebatch:${PASSWORD}@example.com/x",
        "https://${TOKEN}@example.com/x",
        "https://${HOST}:${PORT}/x",
        "https://[::1]:8080/x",
        "${SLACK_WEBHOOK_URL}",
        "${BASE}/hooks/rebatch?channel=ops",
        "${A}${B}",
    ],
)
def test_an_address_without_a_secret_is_accepted(address: str) -> None:
    """As it is, for hooks and for pings."""
    assert Notify(on=[Event.HELD], urls=[address], ping=address).urls == [address]


SECRET_ADDRESSES = [
    "https://user:hunter2@example.com/x",
    "https://ghp_abc@example.com/x",
    "https://user:hunter2@example.com/${X}",
    "https://user:hunter2${X}@example.com/",
    "https://hooks.slack.com/services/T0/B0/abc",
    "https://hooks.slack.com/services/T00000000/B00000000/Xq3vR9fT2kLm8NpWz5Yc?x=${X}",
    "https://HOOKS.slack.com/services/T0/B0/abc",
    "https://acme.webhook.office.com/webhookb2/a",
    "https://api.telegram.org/bot1:abc/sendMessage",
    "https://chat.googleapis.com/v1/spaces/A/messages",
    f"https://hc-ping.com/{HOOK_UUID}",
    f"https://example.com/webhook/{HOOK_UUID}",
    "https://mattermost.example.com/hooks/7yxq3c9fobnkjr8mtgh5e4wzda",
    "https://example.com/x?token=abc",
    "https://example.com/x?channel=a&Access_Token=abc",
    "https://example.com/x?channel=${C}&sig=abc",
    "https://example.com/x?key=${K}&token=abc",
    "https://xq3vr9ft2klm8npw.m.example.net/",
    "${BASE}/hooks/7yxq3c9fobnkjr8mtgh5e4wzda",
    "${BASE}?token=abc",
    "${USER}:hunter2@example.com",
]


@pytest.mark.parametrize("address", SECRET_ADDRESSES)
def test_an_address_that_holds_a_secret_is_refused_unsaid(address: str) -> None:
    """Specs are kept, shown and committed; the refusal does not repeat it either."""
    for fields in ({"on": ["held"], "urls": [address]}, {"ping": address}):
        with pytest.raises(ValidationError, match=r"holds a secret, and specs are kept: write \${NAME}") as refused:
            Notify.model_validate(fields)
        assert address not in refused.value.errors()[0]["msg"]


@pytest.mark.parametrize(
    "address",
    [
        "",
        "example.com/x",
        "//example.com/x",
        "https://",
        "https:///x",
        "https://example.com:99999/",
        "https://[::1/x",
        "ftp://example.com",
        "file:///etc/passwd",
        "slack://a/b/c",
        "javascript:alert(1)",
        "https://example.com/a b",
        "https://example.com/\n",
        "https://exämple.com/",
        "https://example.com/$TOKEN",
        "https://example.com/${TOKEN",
        "https://example.com/${1}",
        "https://example.com/$$",
        "${SCHEME}://example.com/x",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    """With words, not with a traceback."""
    with pytest.raises(ValidationError) as refused:
        Notify(ping=address)
    assert refused.value.errors()[0]["type"] == "value_error"


@pytest.mark.parametrize("fields", [{}, {"on": ["held"]}, {"urls": [HOOK]}, {"on": ["held"], "ping": PING}])
def test_a_wish_that_would_tell_nobody_is_refused(fields: Mapping[str, Any]) -> None:
    """`on` and `urls` belong together; `ping` needs neither."""
    with pytest.raises(ValidationError):
        Notify.model_validate(fields)


def test_variables_are_filled_in_once() -> None:
    """What the environment holds is no template; space around it, as files leave it, is not meant."""
    assert resolve("${A}/x/${B}", {"A": " https://h\n", "B": "${A}"}) == "https://h/x/${A}"
    for environment in ({}, {"A": ""}, {"A": " "}):
        with pytest.raises(UnsetError, match=r"^A is not set$"):
            resolve("${A}", environment)


def test_secrets_are_what_the_environment_holds_and_what_is_secret_in_it() -> None:
    """A library may name only a path, or a password as it was before it went into an address."""
    hook = "https://me:pa%40ssword@hooks.slack.com/services/T0/B0/Xq3vR9fT2kLm8NpWz5Yc?code=1&sig=abc%2Fdefgh"
    found = secrets(["${HOOK}", "https://h/${TOKEN}?${UNSET}"], {"HOOK": hook + "\n", "TOKEN": "t", "OTHER": "o"})
    assert found == {hook, "t", "pa%40ssword", "pa@ssword", "Xq3vR9fT2kLm8NpWz5Yc", "abc%2Fdefgh"}
    assert secrets(["${A}"], {"A": "https://[::1"}) == {"https://[::1"}
