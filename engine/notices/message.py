"""What is told of a job that has ended, and of ticks that were missed. Pure: from what is known to notices.

`docs/reference.md` documents the body of a notice. Its `text` may be shown in a chat, where names in the service's words
could call people or draw links: only our own words stand in it, and what they quote is defused. Other fields are for
programs: no control character is in `error`, but whoever shows it defuses it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from ..errors import Exit
from ..schedule.when import iso
from ..text import harmless
from .notify import Event, Notify

VERSION = 1
CANCELLED = "cancelled"  # an outcome that nobody is told of: somebody wanted it
LISTED = 100  # missed ticks in one notice, and files of a report: receivers take about a megabyte
_LONGEST = 300  # characters of an error in a text for people
# What calls people, draws links and pictures, and sets type, in Slack, Mattermost, Discord, Teams, Telegram and HTML.
_CHAT = str.maketrans("<>@#&`*_~|[]\\", "‹›＠＃＆'∗＿∼｜()⧵")
_LINK = re.compile(r":(?=//)|(?<=\w)\.(?=[^\W\d_]{2})")  # an address, or what a chat takes for one: evil.example


class Signal(StrEnum):
    """What a notice is to its receiver: something told, or a beat of the heart as healthchecks.io defines them."""

    TELL = "tell"
    START = "start"
    SUCCESS = "success"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Notice:
    """One thing for one receiver. `target` is as the spec writes it, without a secret; `key` is the same for every try."""

    key: str
    spec: str
    target: str
    signal: Signal
    body: Mapping[str, Any]

    @property
    def id(self) -> str:
        """The same for every try, so that a receiver can drop repeats; `key` itself names the target."""
        return sha256(self.key.encode()).hexdigest()[:32]

    @property
    def of(self) -> str:
        """What its receiver can tell one job from another by: a UUID that belongs to its tick, or to its job."""
        return str(uuid5(NAMESPACE_URL, f"{self.body['spec']}/{self.body.get('tick') or self.body.get('job')}"))


@dataclass(frozen=True, slots=True)
class End:
    """How a job ended: the exit code that its command has, the error that stopped it, the report of what it did."""

    exit_code: int
    error: str | None
    report: Mapping[str, Any]

    @property
    def outcome(self) -> str:
        """Success, or what it is in place of one; what needs a person's decision comes before what failed."""
        if self.exit_code == Exit.DONE:
            return Event.SUCCESS
        if self.report.get("state") == CANCELLED:
            return CANCELLED
        if self.exit_code == Exit.GUARD:
            return Event.GUARD
        return Event.HELD if self._count("held") else Event.FAILURE

    def events(self, before: str | None) -> list[Event]:
        """Everything that can be told of this end; `before` is the outcome of the job before, None when there was none."""
        ended = self.outcome != CANCELLED  # by a person, or for the one that came after it
        found = [Event(self.outcome)] if ended else []
        if self._count("held"):
            found.append(Event.HELD)
        if ended and (self._count("failed") or self.exit_code not in {Exit.DONE, Exit.GUARD, Exit.ITEMS_FAILED}):
            found.append(Event.FAILURE)
        if ended and before is not None and before != self.outcome:
            found.append(Event.CHANGED)
        return list(dict.fromkeys(found))

    def _count(self, fate: str) -> int:
        return int(self.report.get("counts", {}).get(fate, 0))


def of_start(notify: Sequence[Notify], spec: str, job: str, tick: float | None, at: float) -> Iterator[Notice]:
    """The beats of a beginning."""
    body = {"version": VERSION, "event": "start", "spec": spec, "job": job, "tick": _iso(tick), "at": iso(at)}
    body["text"] = f"{spec}: job {job} begins."
    for ping in _pings(notify):
        yield Notice(_key(body, "ping-start", ping), spec, ping, Signal.START, body)


def of_end(
    notify: Sequence[Notify], spec: str, end: End, *, tick: float | None, before: str | None, at: float
) -> Iterator[Notice]:
    """What is told of the end of a job, and to whom."""
    events = end.events(before)
    body = {
        "version": VERSION,
        "event": events[0] if events else CANCELLED,
        "events": events,
        "text": _end_text(spec, end, before),
        "spec": spec,
        "job": end.report.get("job"),
        "tick": _iso(tick),
        "before": before,
        "exit_code": end.exit_code,
        "error": end.error and harmless(end.error),
        "report": _shortened(end.report),
        "at": iso(at),
    }
    yield from _told(notify, spec, body, events)
    beat = Signal.SUCCESS if end.outcome == Event.SUCCESS else Signal.FAIL
    for ping in _pings(notify) if end.outcome != CANCELLED else ():
        yield Notice(_key(body, "ping-end", ping), spec, ping, beat, body)


def of_missed(notify: Sequence[Notify], spec: str, ticks: Sequence[int], why: str, at: float) -> Iterator[Notice]:
    """What is told of ticks that no job was made for."""
    times = (
        f"the tick of {iso(ticks[0])}"
        if len(ticks) == 1
        else f"{len(ticks):,} ticks, {iso(ticks[0])} to {iso(ticks[-1])},"
    )
    body = {
        "version": VERSION,
        "event": Event.MISSED,
        "events": [Event.MISSED],
        "text": f"{spec}: {times} had no job: {_sentence(why)}",
        "spec": spec,
        "job": None,
        "tick": iso(ticks[0]),
        "missed": len(ticks),
        "ticks": [iso(tick) for tick in ticks[:LISTED]],
        "error": harmless(why),
        "at": iso(at),
    }
    yield from _told(notify, spec, body, [Event.MISSED])
    for ping in _pings(notify):
        yield Notice(_key(body, "ping-missed", ping), spec, ping, Signal.FAIL, body)


def _told(notify: Sequence[Notify], spec: str, body: dict[str, Any], events: Sequence[Event]) -> Iterator[Notice]:
    """One notice for each receiver who asked for any of the events, however often it is named."""
    asked = [each for each in notify if any(event in each.on for event in events)]
    for target in dict.fromkeys(target for each in asked for target in each.urls):
        yield Notice(_key(body, str(events[0]), target), spec, target, Signal.TELL, body)


def _pings(notify: Sequence[Notify]) -> Iterator[str]:
    yield from dict.fromkeys(each.ping for each in notify if each.ping)


def _key(body: Mapping[str, Any], what: str, target: str) -> str:
    """A tick ends once; a job that a person resumes may end often. What was missed from a tick on may grow."""
    when, missed = body["tick"] or body["at"], body.get("missed", "")
    return f"{body['spec']}/{when}/{missed}/{body['job'] or ''}/{what}/{target}"


_WORDS: dict[str, str] = {
    CANCELLED: "was cancelled",
    Event.SUCCESS: "finished",
    Event.FAILURE: "failed",
    Event.HELD: "needs a decision: items are held",
    Event.GUARD: "was stopped by a guard",
}


def _end_text(spec: str, end: End, before: str | None) -> str:
    counts, job = end.report.get("counts", {}), end.report.get("job")
    told = [f"{counts[fate]:,} {fate.replace('_', ' ')}" for fate in counts if fate != "planned" and counts[fate]]
    said = f"{spec}: {f'job {job}' if job else 'its job'} {_WORDS[end.outcome]}"
    if told:
        said += f" ({', '.join(told)} of {counts['planned']:,})"
    if before is not None and before != end.outcome:
        said += f"; the one before: {before}"
    why = f" {_sentence(end.error)}" if end.error else ""
    look = f" Look at it: rebatch report {job}" if job and end.outcome != Event.SUCCESS else ""
    return f"{said}.{why}{look}"


def _shortened(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """A report as it is, but for the files of an export beyond the first: `files_left_out` counts those."""
    files = report.get("files") or []
    if len(files) <= LISTED:
        return report
    return {**report, "files": files[:LISTED], "files_left_out": len(files) - LISTED}


def _sentence(text: str) -> str:
    quoted = _quoted(text)
    return quoted if quoted.endswith((".", "!", "?", "…")) else quoted + "."


def _quoted(text: str) -> str:
    cut = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return _LINK.sub(lambda found: "∶" if found[0] == ":" else "․", harmless(cut).translate(_CHAT))


def _iso(moment: float | None) -> str | None:
    return None if moment is None else iso(moment)
