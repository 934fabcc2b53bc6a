"""Results: the list that jobs select from. What a row means is told by the vendor's “List Results”."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Required, TypedDict

import msgspec
import orjson
from annotated_types import Len
from pydantic import Field as Option

from engine.exchange import Request
from engine.kind import LARGEST, Id, NamedScope, Page, Resource, Strict
from engine.where import Field, Row, Type, read_time

from .api import RESULTS

MAX_DIGITS = 18
_ALIASES = {"agent_id": "agent"}  # fields that the service calls otherwise
_MARK = ("status", "updated_at", "success_rate")
_PLAIN = (str, float)  # a tuple: `str | float` would be made anew for each of millions of values
_ALWAYS_PLAIN = frozenset({str, float, bool, type(None)})
_Id = Annotated[int, msgspec.Meta(ge=1, le=LARGEST - 1)]

STATUSES = (
    "running", "completed", "failed", "pending", "in_progress", "evaluating", "in_queue", "timeout", "cancelled", "scaling_up",
)  # fmt: skip
BUSY = frozenset({"running", "pending", "in_progress", "evaluating", "in_queue", "scaling_up"})


class Scope(NamedScope):
    """The filters that the service itself applies, and ids; all are optional."""

    agent_id: Id | None = Option(None, description="Results of this agent.")
    project_id: Id | None = Option(None, description="Results of this project.")
    search: Annotated[str, Len(min_length=1)] | None = Option(None, description="Results whose name contains this.")
    scenarios: Annotated[list[Id], Len(min_length=1)] | None = Option(
        None, description="Results with runs of these scenarios."
    )


def checked(value: Any, noun: str = "result") -> Row:
    """The row, if it is one with an id. Raises ValueError."""
    item_id = value.get("id") if isinstance(value, dict) else None
    if type(item_id) is not int or not 0 < item_id < LARGEST:
        raise ValueError(f"a {noun} without an id")
    row: Row = value
    return row


def plain(value: Any) -> Any:
    """A value that any JSON can hold; what is nested, perhaps too deeply to be written, is known by its type alone."""
    if value is None or isinstance(value, _PLAIN) or (isinstance(value, int) and abs(value) < LARGEST):
        return value
    return type(value).__name__


def is_busy(status: object) -> bool:
    """Whether the service is still at work on a result of this status."""
    return isinstance(status, str) and status in BUSY


def text(name: str) -> Callable[[Row], Any]:
    """Text, or None."""
    return lambda row: value if isinstance(value := row.get(name), str) else None


def whole(name: str) -> Callable[[Row], Any]:
    """Counts come as text: “10”."""

    def read(row: Row) -> int | None:
        value = row.get(name)
        if type(value) is str and len(value) <= MAX_DIGITS and value.isdecimal():
            return int(value)
        return value if type(value) is int and abs(value) < LARGEST else None

    return read


def number(name: str) -> Callable[[Row], Any]:
    """A number, or None."""

    def read(row: Row) -> float | None:
        value = row.get(name)
        if type(value) is float:
            return value
        return float(value) if type(value) is int and abs(value) < LARGEST else None

    return read


def _share(name: str) -> Callable[[Row], Any]:
    """0.0 to 1.0 by “List Results”; the vendor's public OpenAPI has percentages, so what is above 1 is taken for one."""
    plain_number: Callable[[Row], float | None] = number(name)

    def read(row: Row) -> float | None:
        share = row.get(name)
        if type(share) is float and share <= 1:
            return share
        found = plain_number(row)
        return found / 100 if found is not None and found > 1 else found

    return read


def truth(name: str) -> Callable[[Row], Any]:
    """`is_cronjob` comes as text: “true”."""

    def read(row: Row) -> bool | None:
        value = row.get(name)
        if isinstance(value, str):
            return {"true": True, "false": False}.get(value.lower())
        return value if isinstance(value, bool) else None

    return read


def time(name: str) -> Callable[[Row], Any]:
    """A time with its zone, or None."""
    return lambda row: read_time(row.get(name))


def _scenario_names(row: Row) -> list[str] | None:
    """A list of {id, name}, or a mapping of such."""
    scenarios = row.get("scenarios")
    if isinstance(scenarios, dict):
        scenarios = list(scenarios.values())
    entries = scenarios if isinstance(scenarios, list) else []
    return [str(entry.get("name")) for entry in entries if isinstance(entry, dict)]


FIELDS: Mapping[str, Field] = {
    "id": Field(Type.WHOLE, whole("id")),
    "name": Field(Type.TEXT, text("name")),
    "agent": Field(Type.WHOLE, whole("agent")),
    "agent_id": Field(Type.WHOLE, whole("agent")),  # as the scope calls it
    "agent_name": Field(Type.TEXT, text("agent_name")),
    "agent_inbound": Field(Type.TRUTH, truth("agent_inbound")),
    "status": Field(Type.TEXT, text("status"), STATUSES),
    "success_rate": Field(Type.NUMBER, _share("success_rate"), most=1.0),
    "run_as_text": Field(Type.TRUTH, truth("run_as_text")),
    "is_cronjob": Field(Type.TRUTH, truth("is_cronjob")),
    "run_type": Field(Type.TEXT, text("run_type")),
    "scenarios": Field(Type.LIST, _scenario_names),
    "met_expected_outcome_count": Field(Type.WHOLE, whole("met_expected_outcome_count")),
    "total_expected_outcome_count": Field(Type.WHOLE, whole("total_expected_outcome_count")),
    "total_runs_count": Field(Type.WHOLE, whole("total_runs_count")),
    "completed_runs_count": Field(Type.WHOLE, whole("completed_runs_count")),
    "success_runs_count": Field(Type.WHOLE, whole("success_runs_count")),
    "failed_runs_count": Field(Type.WHOLE, whole("failed_runs_count")),
    "created_at": Field(Type.TIME, time("created_at")),
    "updated_at": Field(Type.TIME, time("updated_at")),
}


def skimming(fields: Iterable[str]) -> Callable[[bytes], Page]:
    """What decodes pages of the list with these fields of each row, as the service calls them; it raises ValueError.

    A page has some 120 kB, most of it runs: to decode what planning reads takes a quarter of the time of decoding all.
    """
    told: dict[str, Any] = {**dict.fromkeys(fields, Any), "id": Required[_Id]}
    row = TypedDict("row", told, total=False)  # type: ignore[misc] # mypy wants a literal
    page = msgspec.defstruct("page", [("results", list[row] | None, None), ("count", Any, None), ("next", Any, None)])
    decoder = msgspec.json.Decoder(page)

    def read_page(body: bytes) -> Page:
        try:
            found: Any = decoder.decode(body)
        except msgspec.ValidationError as error:
            raise ValueError(f"no list of “results”, each with an id, in it: {error}") from None
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if found.results is None:
            raise ValueError("no “results” in it")
        return _page(found.results, found.count, found.next)

    return read_page


def _page(rows: list[Row], count: object, following: object) -> Page:
    """`following` is a boolean to us: as an address it would carry the key to wherever it points."""
    if not isinstance(count, int) or not 0 <= count < LARGEST:
        raise ValueError("no “count” in it, or one that cannot be")
    return Page(rows, count, following is not None)


class Results(Resource):
    """Cekura's results. Newest first; `page_size` is clamped in silence."""

    name: ClassVar[str] = "results"
    fields: ClassVar[Mapping[str, Field]] = FIELDS
    Scope: ClassVar[type[Strict]] = Scope

    def page(self, scope: Any, number: int, size: int) -> Request:
        """Filters as the service wants them: scenarios as text, not as a JSON array."""
        filters = dict(scope.filters)
        if scope.scenarios:
            filters["scenarios"] = ",".join(map(str, scope.scenarios))
        query = {**filters, "page": number, "page_size": size}
        return Request("GET", RESULTS, {key: str(value) for key, value in query.items()})

    def by_id(self, ids: Sequence[int]) -> Request:
        """The result detail."""
        (result,) = ids
        return Request("GET", f"{RESULTS}{result}/")

    def is_own_404(self, body: bytes) -> bool:
        """`{"detail": "Not found."}`: JSON with a detail; a proxy answers HTML."""
        try:
            said = orjson.loads(body)
        except orjson.JSONDecodeError:
            return False
        return isinstance(said, dict) and isinstance(said.get("detail"), str)

    def lasting(self, scope: Any) -> Any:
        """A result can be renamed, and lose its runs of a scenario; it keeps its agent and its project."""
        return scope.model_copy(update={"search": None, "scenarios": None})

    def read_page(self, body: bytes) -> Page:
        """`{count, next, previous, results}`."""
        page = orjson.loads(body)
        if not isinstance(page, dict) or not isinstance(page.get("results"), list):
            raise ValueError("no “results” in it")  # noqa: TRY004 - one error for whatever is not a page
        return _page([checked(row) for row in page["results"]], page.get("count"), page.get("next"))

    def reader(self, fields: Collection[str]) -> Callable[[bytes], Page]:
        """Without the runs, and whatever else nobody needs."""
        return skimming({*_MARK, *(_ALIASES.get(name, name) for name in fields)})

    def read_by_id(self, body: bytes) -> Sequence[Row]:
        """The same fields as in the list; only `runs` differs."""
        return [checked(orjson.loads(body))]

    def fingerprint(self, row: Row) -> list[Any]:
        """What moves when the service evaluates a result."""
        mark = list(map(row.get, _MARK))
        return mark if _ALWAYS_PLAIN.issuperset(map(type, mark)) else [plain(value) for value in mark]
