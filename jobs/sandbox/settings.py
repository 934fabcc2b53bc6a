"""How the sandbox behaves, and misbehaves: one table read by the command line and by `PATCH /sandbox/faults`."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, NamedTuple

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "": 1.0}


class Rate(NamedTuple):
    """At most `limit` requests in any `window_s` seconds."""

    limit: int
    window_s: float

    def __str__(self) -> str:
        return f"{self.limit}/{'m' if self.window_s > 1 else 's'}"


def duration(text: str) -> float:
    """Seconds, from `50ms`, `2s`, `1m` or a bare number of seconds."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write it like 50ms, 2s or 1m")
    return float(match[1]) * _UNITS_S[match[2]]


def share(text: str) -> float:
    """A probability, from `5%` or `0.05`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(%|)", text)
    value = float(match[1]) / (100 if match[2] else 1) if match else 2.0
    if value > 1:
        raise ValueError(f"{text!r} is not a share: write it like 5% or 0.05")
    return value


def limit(text: str) -> Rate | None:
    """A limit, from `50/s` or `600/m`; `off` is none."""
    if text == "off":
        return None
    match = re.fullmatch(r"([1-9]\d*)/([sm])", text)
    if match is None:
        raise ValueError(f"{text!r} is not a rate: write it like 50/s or 600/m, or off")
    return Rate(int(match[1]), _UNITS_S[match[2]])


def amount(text: str) -> float:
    """A number that is not negative."""
    if re.fullmatch(r"\d+(\.\d+)?", text) is None:
        raise ValueError(f"{text!r} is not a number")
    return float(text)


def size(text: str) -> int:
    """A whole number above zero."""
    if re.fullmatch(r"[1-9]\d*", text) is None:
        raise ValueError(f"{text!r} is not a whole number above zero")
    return int(text)


def _one_of(*words: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is none of {', '.join(words)}")
        return text

    return read


def _read_by(read: Callable[[str], object], meaning: str) -> dict[str, object]:
    return {"read": read, "meaning": meaning}


@dataclass(frozen=True)
class Settings:
    """What can be changed while the sandbox works; at most one of the seven faults befalls a request."""

    latency: float = field(default=0.0, metadata=_read_by(duration, "How long an answer takes, e.g. 50ms."))
    jitter: float = field(default=0.0, metadata=_read_by(duration, "Up to this much longer, by the dice."))
    rate: Rate | None = field(
        default=None,
        metadata=_read_by(limit, "A strict limit over any second or minute, e.g. 50/s or 600/m."),
    )
    reset_before: float = field(default=0.0, metadata=_read_by(share, "Reset the connection, nothing done."))
    hang: float = field(default=0.0, metadata=_read_by(share, "Never answer, nothing done."))
    errors: float = field(default=0.0, metadata=_read_by(share, "Answer 500, 502 or 503, nothing done."))
    reset_after: float = field(default=0.0, metadata=_read_by(share, "Do it, then reset the connection."))
    hang_after: float = field(default=0.0, metadata=_read_by(share, "Do it, and never answer."))
    errors_after: float = field(default=0.0, metadata=_read_by(share, "Do it, then answer 500, 502 or 503."))
    truncate: float = field(default=0.0, metadata=_read_by(share, "Cut the answer's body off midway."))
    only: str = field(
        default="all",
        metadata=_read_by(_one_of("all", "reads", "writes"), "Which requests the seven above befall."),
    )
    churn: float = field(
        default=0.0,
        metadata=_read_by(amount, "Results inserted at the head, and deleted anywhere, each second."),
    )
    max_page_size: int = field(default=100, metadata=_read_by(size, "Longer pages are cut to this in silence."))
    evaluation_time: float = field(default=2.0, metadata=_read_by(duration, "How long a result stays running."))
    poison: float = field(
        default=0.0,
        metadata=_read_by(share, "Results, by their ids, that every request to change anything is refused for."),
    )
    poison_said: str = field(
        default="by-id",
        metadata=_read_by(_one_of("by-id", "by-place", "not"), "Whether the refusal names them."),
    )
    runs_as: str = field(
        default="object",
        metadata=_read_by(
            _one_of("object", "array", "ids", "none"),
            "What the runs of a listed result are; ids: an object of ids and statuses; none: they are left out.",
        ),
    )


def changed(settings: Settings, texts: Mapping[str, object]) -> Settings:
    """These settings with some changed; a name may be written `reset-after` or `reset_after`, `None` is the default.

    Raises ValueError with a sentence that names the setting.
    """
    known = {each.name: each for each in fields(settings)}
    values: dict[str, Any] = {}
    for written, text in texts.items():
        name = written.replace("-", "_")
        if name not in known:
            raise ValueError(f"{written}: no such setting; there are {', '.join(known)}")
        try:
            values[name] = known[name].default if text is None else known[name].metadata["read"](str(text))
        except ValueError as error:
            raise ValueError(f"{written}: {error}") from None
    return replace(settings, **values)
