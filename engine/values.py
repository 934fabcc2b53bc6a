"""Values as a spec writes them: durations, rates, tolerances; each with its place in the JSON Schema."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from .units import Tolerance, parse_duration, parse_rate, parse_tolerance


def _duration_s(value: Any) -> float:
    if not isinstance(value, str):
        raise ValueError(f"“{value}” is not a duration; write a number and a unit, such as 150s")  # noqa: TRY004 - pydantic collects ValueError
    return parse_duration(value).total_seconds()


def _per_second(value: Any) -> float:
    return parse_rate(str(value))


Duration = Annotated[
    float,
    BeforeValidator(_duration_s),
    WithJsonSchema({"type": "string", "pattern": r"^(\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*)+$", "examples": ["150s", "10m"]}),
]
Rate = Annotated[
    float,
    BeforeValidator(_per_second),
    WithJsonSchema({"type": "string", "pattern": r"^\d+(\.\d+)?\s*/\s*(s|m|h)$", "examples": ["20/s", "60/m"]}),
]
Failures = Annotated[
    Tolerance,
    BeforeValidator(parse_tolerance),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": r"^\s*(\d{1,2}(\.\d+)?|100(\.0+)?)\s*%\s*$"},
            ],
            "examples": ["2%", 20],
        }
    ),
]
