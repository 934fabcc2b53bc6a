"""From rows of the database to what the API shows: the shapes of seeds 003 and 004."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypedDict

from .population import HOSTILE

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LENGTHS = [timedelta(seconds=each) for each in range(40)]
_PERSONALITIES = ("Calm", "Hurried", "Confused")


class Result(NamedTuple):
    """The stored part of a result, in the order of `COLUMNS`."""

    id: int
    agent: int
    name: str
    status: str
    run_type: str | None
    run_as_text: int
    is_cronjob: int
    created_us: int
    updated_us: int
    total_runs: int
    completed_runs: int
    failed_runs: int
    success_runs: int


class Run(NamedTuple):
    """The stored part of a run."""

    id: int
    result: int
    scenario: int
    status: str
    success: int
    at_us: int


class Agent(NamedTuple):
    """What of an agent is shown."""

    name: str
    inbound: bool


class Named(TypedDict):
    """A scenario or a metric, as it is shown."""

    id: int
    name: str


RESULT_COLUMNS = ", ".join(Result._fields)
RUN_COLUMNS = ", ".join(f"run.{name}" for name in Run._fields)


def moment(us: int) -> datetime:
    """Microseconds since 1970 as what orjson writes like DRF: ISO 8601 with microseconds and Z."""
    return _EPOCH + timedelta(0, 0, us)  # by place: a third quicker than by name, and a page has hundreds


def result(row: Result, scenarios: list[Named], agent: Agent) -> dict[str, Any]:
    """A result without its runs: counts and `is_cronjob` are strings, by the contract.

    Of the two readings of `success_runs_count` in seed 004 this is the field's own: "marked as successful".
    """
    completed, success = str(row.completed_runs), str(row.success_runs)
    return {
        "id": row.id,
        "name": row.name,
        "agent": row.agent,
        "agent_name": agent.name,
        "agent_inbound": agent.inbound,
        "status": row.status,
        "success_rate": row.success_runs / row.completed_runs if row.completed_runs else 0.0,
        "run_as_text": bool(row.run_as_text),
        "is_cronjob": "true" if row.is_cronjob else "false",
        "met_expected_outcome_count": success,
        "total_expected_outcome_count": completed,
        "total_runs_count": str(row.total_runs),
        "completed_runs_count": completed,
        "success_runs_count": success,
        "failed_runs_count": str(row.failed_runs),
        "scenarios": scenarios,
        "run_type": row.run_type,
        "created_at": moment(row.created_us),
        "updated_at": moment(row.updated_us),
    }


def listed(runs: list[Run], runs_as: str) -> dict[str, object]:
    """What a listed result has of its runs: an `object` or `array` of summaries, little more than `ids`, or `none`."""
    if runs_as == "none":
        return {}
    if runs_as == "array":
        return {"runs": [summary(run) for run in runs]}
    if runs_as == "ids":
        return {"runs": {str(run.id): {"id": run.id, "status": run.status} for run in runs}}
    return {"runs": {str(run.id): summary(run) for run in runs}}


def summary(run: Run) -> dict[str, Any]:
    """A run as a listed result shows it."""
    at = moment(run.at_us)
    return {
        "id": run.id,
        "status": run.status,
        "success": bool(run.success),
        "scenario": run.scenario,
        "timestamp": at,
        "executed_at": at + _LENGTHS[run.id % 40],
    }


def full(run: Run, agent: int, scenario_name: str, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of seed 003; what isn't stored follows from the id. One transcript in 200 is hostile."""
    spoken = HOSTILE[run.id % len(HOSTILE)] if run.id % 200 == 0 else "I would like to ask about my booking."
    turns = [("agent", "Good morning, how can I help?"), ("caller", spoken)]
    return summary(run) | {
        "provider_call_id": f"call-{run.id:012x}",
        "scenario_name": scenario_name,
        "personality": 700 + run.id % 3,
        "personality_name": _PERSONALITIES[run.id % 3],
        "agent": agent,
        "expected_outcome_prompt": "The caller gets a clear answer.",
        "expected_outcome": {"met": bool(run.success), "score": 100 if run.success else 40},
        "evaluation": evaluation,
        "transcript": "\n".join(f"{who}: {words}" for who, words in turns),
        "transcript_object": {"messages": [{"role": who, "content": words} for who, words in turns]},
        "duration": f"00:{1 + run.id % 9:02}:{run.id % 60:02}",
        "voice_recording_url": f"https://recordings.example/{run.id}.wav",
        "metadata": {"attempt": 1},
        "feedback": "",
        "critical_categories": "" if run.success else "outcome",
        "error_message": "Connection error" if run.status == "failed" else "",
        "scenario_instructions": f"{scenario_name}, and stay polite.",
    }
