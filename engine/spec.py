"""A spec: what to select, what to do, within which limits and guards. Read completely or refused with every mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from math import isfinite
from pathlib import Path as FilePath
from typing import Any, get_args

from pydantic import BaseModel, Field, ValidationError

from .errors import UsageError
from .keep import Keep, Keeping, read_keep
from .kind import LARGEST, Kind, Page, Resource, Strict
from .notices.notify import Notify
from .schedule.fitness import unfit
from .schedule.when import Schedule
from .text import harmless
from .units import parse_rate
from .values import Duration, Failures, Rate
from .where import Path, Predicate, Problem, named, parse_where, suggest
from .yamlfile import MAX_BYTES, Document, YamlError, parse_yaml

VERSION = 1


class Limits(Strict):
    """How hard and how long to try. All durations are in seconds once read."""

    rate: Rate = Field(parse_rate("5/s"), description="Requests sent at most, over all workers: 20/s, 60/m.")
    concurrency: int = Field(8, ge=1, le=64, description="Requests under way at once.")
    timeout: Duration = Field(30.0, gt=0, description="Longest wait for one answer.")
    attempts: int = Field(
        8, ge=1, le=100, description="How often one request is sent at most; throttling and outages do not count."
    )
    patience: Duration = Field(
        3600.0,
        ge=0,
        description="When the service does not answer at all: how long to go on trying before the job stops.",
    )
    settle: Duration = Field(
        150.0,
        ge=0,
        description="When an answer was lost: how long the service may still be working on the request.",
    )
    verify: Duration = Field(
        600.0, ge=0, description="How long to wait, at the end, for the service to finish its work; 0s: do not look."
    )


class Guards(Strict):
    """What a plan must keep to, checked before anything is changed; and what makes its execution stop."""

    max_items: int | None = Field(None, ge=0, description="Most items a plan may hold.")
    max_percent: float | None = Field(None, ge=0, le=100, description="Most items, as a percentage of all in scope.")
    min_remaining: int | None = Field(None, ge=0, description="Items in scope that the plan must leave alone.")
    max_credits: float | None = Field(None, ge=0, description="Most credits that the plan may be estimated to cost.")
    require_complete: bool | None = Field(
        None,
        description="Refuse a plan whose list could not be proven complete; without it: if the job cannot be undone.",
    )
    stop_on_failures: Failures | None = Field(
        None, description="Stop when more than this has failed: 2% of the plan, or a number of items."
    )
    canary: int | None = Field(
        None, ge=1, description="The first so many items go alone and are verified, then the rest."
    )

    def must_be_complete(self, *, irreversible: bool) -> bool:
        """Whether an unproven list is refused, for a kind of job that can be undone or not."""
        return irreversible if self.require_complete is None else self.require_complete


class _Head(Strict):
    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$", description="Names the job; unique within the file."
    )
    resource: str = Field(description="What is listed.")
    scope: dict[str, Any] = Field({}, description="The service's own filters.")
    where: Any = Field(None, description="Conditions on each row; without them everything in scope is selected.")
    keep: Keep | None = Field(None, description="What is left alone whatever `where` says: the last few of each.")
    action: dict[str, Any] = Field(description="What to do: `type` names the kind, the rest belongs to it.")
    guards: Guards = Guards()
    limits: Limits = Limits()
    schedule: Schedule | None = Field(None, description="When it comes round, under `rebatch serve` or a timer.")
    notify: list[Notify] = Field([], description="Who is told of what.")
    retention: Duration | None = Field(
        None, gt=0, description="How long the checkpoints of jobs that are over are kept; unfinished ones always are."
    )


@dataclass(frozen=True)
class JobSpec:
    """One job of a spec, checked. `raw` is what the file said, as JSON has it: the checkpoint keeps that."""

    name: str
    kind: Kind
    scope: Any
    action: Any
    guards: Guards
    limits: Limits
    raw: dict[str, Any]
    keep: Keep | None = None
    schedule: Schedule | None = None
    notify: Sequence[Notify] = ()
    retention_s: float | None = None

    def where(self, now: datetime) -> Predicate:
        """The condition on rows, with ages counted back from `now`."""
        return _where(self.raw, self.kind.resource, now)[0]

    def keeping(self, now: datetime) -> Keeping | None:
        """What is to be kept of each row, with ages counted back from `now`; None when nothing is."""
        return read_keep(self.keep, self.kind.resource, now)[0] if self.keep else None

    @property
    def fields(self) -> set[str]:
        """The fields that it takes to tell what is selected and what is kept."""
        return named(self.raw.get("where")) | (self.keep.fields if self.keep else set())

    @property
    def reader(self) -> Callable[[bytes], Page]:
        """What decodes pages for the plan, and for looking at items again: of each row no more than is needed for that."""
        reads, resource = self.kind.reads, self.kind.resource
        return resource.read_page if reads is None else resource.reader({*self.fields, *reads})


class SpecError(UsageError):
    """A spec has mistakes. `lines` has one `file:line:column: message` for each, in the order of the file."""

    def __init__(self, lines: list[str]) -> None:
        """`lines` are ready to be printed."""
        super().__init__("\n".join(lines))
        self.lines = lines


def load_spec(path: FilePath, kinds: Mapping[str, Kind]) -> list[JobSpec]:
    """Read a spec file. Raises SpecError with every mistake, UsageError when it cannot be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)  # it may be a device that never ends
        if len(data) > MAX_BYTES:
            raise UsageError(f"{path}: it is larger than {MAX_BYTES >> 10} KiB; no spec is.", "Is it the right file?")
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"{path}: cannot be read: {reason}.", "Examples: rebatch init") from None
    return parse_spec(text, kinds, str(path))


def parse_spec(text: str, kinds: Mapping[str, Kind], source: str = "spec") -> list[JobSpec]:
    """Read the text of a spec. Raises SpecError with every mistake, placed in `source`."""
    try:
        document = parse_yaml(text)
    except YamlError as error:
        raise SpecError([f"{source}:{error.place[0]}:{error.place[1]}: {harmless(str(error))}"]) from None
    jobs, problems = _read_document(document.value, kinds)
    if problems:
        raise SpecError(_lines(source, document, problems))
    return jobs


def parse_job(raw: Any, kinds: Mapping[str, Kind]) -> tuple[JobSpec | None, list[Problem]]:
    """Check one job given as plain values; the paths of the problems start at the job."""
    head, problems = _validate(_Head, raw, ())
    raw = raw if isinstance(raw, dict) else {}
    kind, kind_problems = _kind(raw, kinds)
    problems += kind_problems
    if kind is None:
        return None, problems + _without_kind(raw, kinds)
    scope, scope_problems = _validate(kind.resource.Scope, raw.get("scope", {}), ("scope",))
    action_raw = {key: value for key, value in raw["action"].items() if key != "type"}
    action, action_problems = _validate(kind.Action, action_raw, ("action",))
    _, where_problems = _where(raw, kind.resource, datetime.now(UTC))
    keep = head.keep if head else None
    keep_problems = read_keep(keep, kind.resource, datetime.now(UTC))[1] if keep else []
    problems += scope_problems + action_problems + where_problems + keep_problems
    told = {problem.path for problem in problems}
    problems += [problem for problem in _unkeepable(raw, ()) if problem.path not in told]
    if problems or head is None:
        return None, problems
    if head.schedule and (unfitting := list(unfit(head.schedule, kind, scope, action, head.guards))):
        return None, unfitting
    more = {"keep": head.keep, "schedule": head.schedule, "notify": head.notify, "retention_s": head.retention}
    return JobSpec(head.name, kind, scope, action, head.guards, head.limits, _plain(raw), **more), []


def _without_kind(raw: dict[str, Any], kinds: Mapping[str, Kind]) -> list[Problem]:
    """What can be told of a job although its kind is unknown, if its resource is not."""
    for kind in kinds.values():
        if kind.resource.name == raw.get("resource"):
            scope_problems = _validate(kind.resource.Scope, raw.get("scope", {}), ("scope",))[1]
            return scope_problems + _where(raw, kind.resource, datetime.now(UTC))[1]
    return []


def _where(raw: dict[str, Any], resource: Resource, now: datetime) -> tuple[Predicate, list[Problem]]:
    """Only a spec without `where` selects everything: an empty one is a slip of the hand."""
    if "where" not in raw:
        return (lambda _row: True), []
    return parse_where(raw["where"], resource.fields, now)


def _read_document(value: Any, kinds: Mapping[str, Kind]) -> tuple[list[JobSpec], list[Problem]]:
    if not isinstance(value, dict):
        return [], [Problem((), "a spec begins with “version: 1” and a list of jobs")]
    problems = [
        Problem((key,), f"unknown field “{key}”{suggest(key, ['version', 'jobs'])}", at_key=True)
        for key in value
        if key not in {"version", "jobs"}
    ]
    if value.get("version") != VERSION or isinstance(value.get("version"), bool):
        problems.append(Problem(("version",), f"“version: {VERSION}” is needed"))
    entries = value.get("jobs")
    if not isinstance(entries, list) or not entries:
        return [], [*problems, Problem(("jobs",), "“jobs” must be a list with at least one job")]
    jobs = []
    for index, entry in enumerate(entries):
        job, found = parse_job(entry, kinds)
        problems += [Problem(("jobs", index, *problem.path), problem.message, problem.at_key) for problem in found]
        jobs += [job] if job else []
    return jobs, problems + _repeated_names(entries)


def _repeated_names(entries: list[Any]) -> list[Problem]:
    names = [entry.get("name") if isinstance(entry, dict) else None for entry in entries]
    first = {name: index for index, name in reversed(list(enumerate(names))) if isinstance(name, str)}
    return [
        Problem(("jobs", index, "name"), f"the name “{name}” is taken by an earlier job")
        for index, name in enumerate(names)
        if isinstance(name, str) and first[name] < index
    ]


def _kind(raw: dict[str, Any], kinds: Mapping[str, Kind]) -> tuple[Kind | None, list[Problem]]:
    """The kind that the action names, if it acts on the resource that is named."""
    action = raw.get("action")
    if not isinstance(action, dict):
        return None, []  # the head's own check has said so
    name = action.get("type")
    if not isinstance(name, str):
        return None, [Problem(("action",), f"“type” is needed: one of {', '.join(sorted(kinds))}")]
    if name not in kinds:
        hint = suggest(name, kinds) or f"; one of {', '.join(sorted(kinds))}"
        return None, [Problem(("action", "type"), f"unknown kind “{name}”{hint}")]
    kind, resource = kinds[name], raw.get("resource")
    if isinstance(resource, str) and resource != kind.resource.name:
        return kind, [Problem(("resource",), f"{name} acts on “{kind.resource.name}”, not on “{resource}”")]
    return kind, []


def _validate(model: type[Any], raw: Any, prefix: Path) -> tuple[Any, list[Problem]]:
    try:
        return model.model_validate(raw), []
    except ValidationError as error:
        return None, [_problem(model, fault, prefix) for fault in error.errors(include_url=False)]


def _problem(model: type[BaseModel], fault: Any, prefix: Path) -> Problem:
    path: Path = (*prefix, *fault["loc"])
    key = path[-1] if path else ""
    if fault["type"] == "extra_forbidden":
        return Problem(path, f"unknown field “{key}”{suggest(str(key), _known(model, fault['loc'][:-1]))}", at_key=True)
    if fault["type"] == "missing":
        return Problem(path[:-1], f"“{key}” is needed")
    if fault["type"] in {"model_type", "dict_type", "model_attributes_type"}:
        return Problem(path, "expected a mapping of fields")
    message = str(fault["msg"]).removeprefix("Value error, ")
    return Problem(path, message[:1].lower() + message[1:] if not message.startswith("“") else message)


def _known(model: type[BaseModel], path: tuple[Any, ...]) -> list[str]:
    """The fields of the model at a path below `model`."""
    for key in path:
        annotation = model.model_fields[key].annotation if key in model.model_fields else None
        inner = [
            each
            for each in (annotation, *get_args(annotation))
            if isinstance(each, type) and issubclass(each, BaseModel)
        ]
        if not inner:
            return []
        model = inner[0]
    return list(model.model_fields)


def _lines(source: str, document: Document, problems: list[Problem]) -> list[str]:
    placed = sorted({(document.place(problem), problem.message) for problem in problems})
    return [f"{source}:{line}:{column}: {harmless(message)}" for (line, column), message in placed]


def _unkeepable(value: Any, path: Path) -> Iterator[Problem]:
    """Values that the checkpoint's JSON cannot hold, and that no service takes."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _unkeepable(inner, (*path, key))
    elif isinstance(value, bytes) or (isinstance(value, str) and not _encodable(value)):
        yield Problem(path, "this is not text")
    elif isinstance(value, float) and not isfinite(value):
        yield Problem(path, "a finite number is needed")
    elif isinstance(value, int) and abs(value) >= LARGEST:
        yield Problem(path, "this number is too large")


def _encodable(text: str) -> bool:
    return not any("\ud800" <= char <= "\udfff" for char in text)


def _plain(value: Any) -> Any:
    """Values of YAML as JSON has them: times become ISO text, which reads back as the same time."""
    if isinstance(value, dict):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, date | datetime) else value
