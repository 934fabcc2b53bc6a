"""What Django REST Framework says and how it reads requests, as pure functions.

Messages and their order are those of DRF 3.15 (serializers.ListField, IntegerField, pagination.PageNumberPagination).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

MOST_IDS = 100
"""The contract's maximum of ids in one request."""

PAGE_SIZE = 20
BIGGEST = 2**63 - 1
REQUIRED = ["This field is required."]
NO_RESULT = {"detail": "No Result matches the given query."}

Json = dict[str, Any]


class Refused(Exception):  # noqa: N818 - it is an answer, not a fault of ours
    """The request is answered with this status and body, and nothing is done."""

    def __init__(self, body: Json, status: int = HTTPStatus.BAD_REQUEST) -> None:
        super().__init__(body)
        self.body = body
        self.status = status


def echo(text: str) -> str:
    """What a client sent, fit for an answer: what is not UTF-8 becomes question marks."""
    return text.encode(errors="replace").decode()


@dataclass(frozen=True)
class Page:
    """One slice of a list, and the page numbers around it."""

    start: int
    stop: int
    next: int | None
    previous: int | None


def paginate(query: Mapping[str, str], *, count: int, max_page_size: int) -> Page:
    """The slice asked for; a size above the maximum is cut in silence, junk gives the default.

    Raises Refused, 404, for a page that is not there.
    """
    size = _page_size(query.get("page_size", ""), max_page_size)
    pages = max(1, -(-count // size))
    text = query.get("page") or "1"
    try:
        number = pages if text == "last" else int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= pages:
        raise Refused({"detail": "Invalid page."}, HTTPStatus.NOT_FOUND)
    return Page(
        start=(number - 1) * size,
        stop=min(number * size, count),
        next=number + 1 if number < pages else None,
        previous=number - 1 if number > 1 else None,
    )


def _page_size(text: str, maximum: int) -> int:
    try:
        size = int(text)
    except ValueError:
        return PAGE_SIZE
    return min(size, maximum) if size > 0 else PAGE_SIZE


def page_url(base: str, query: Mapping[str, str], page: int | None) -> str | None:
    """The link to a page: the query as it was asked, sorted, with this page; page 1 goes without a number."""
    if page is None:
        return None
    others = {name: value for name, value in query.items() if name != "page"}
    pairs = sorted((others | {"page": str(page)} if page > 1 else others).items())
    return f"{base}?{urlencode(pairs)}" if pairs else base


@dataclass(frozen=True)
class Filters:
    """Which results a listing holds."""

    agent_id: int | None = None
    project_id: int | None = None
    search: str = ""
    scenarios: tuple[int, ...] = ()


def filters(query: Mapping[str, str]) -> Filters:
    """The filters of a listing's query; an empty one is none. Raises Refused for one that is no integer."""
    wrong: Json = {}
    numbers: dict[str, int | None] = {}
    for name in ("agent_id", "project_id"):
        text = query.get(name, "").strip()
        numbers[name] = whole(text)
        if text and numbers[name] is None:
            wrong[name] = ["Enter a whole number."]
    scenarios = comma_separated(query.get("scenarios", ""))
    if scenarios is None:
        wrong["scenarios"] = ["Enter a comma-separated list of integers."]
    if wrong:
        raise Refused(wrong)
    return Filters(numbers["agent_id"], numbers["project_id"], query.get("search", "").strip(), tuple(scenarios or ()))


def run_ids(query: Mapping[str, str]) -> list[int]:
    """The `run_ids` of `runs/bulk/`: "a plain string, not a JSON array"."""
    text = query.get("run_ids", "")
    if not text:
        raise Refused({"run_ids": REQUIRED})
    ids = comma_separated(text)
    if ids is None:
        raise Refused({"run_ids": ["Enter a comma-separated list of integers."]})
    if len(ids) > MOST_IDS:
        raise Refused({"run_ids": [_too_many(MOST_IDS)]})
    return ids


def comma_separated(text: str) -> list[int] | None:
    """Integers from `1,2,3`; nothing from an empty text; None when there is anything else in it."""
    numbers = [whole(part.strip()) for part in text.split(",")] if text else []
    return None if None in numbers else [number for number in numbers if number is not None]


def whole(text: str) -> int | None:
    """An integer, held within SQLite's (where none of our ids is); None if it isn't one."""
    return max(-BIGGEST, min(int(text), BIGGEST)) if re.fullmatch(r"[+-]?[0-9]{1,1000}", text) else None


def lists_of_ids(body: object, limits: Mapping[str, int | None], *, may_be_empty: bool = False) -> list[list[int]]:
    """The integer lists of a body, in the order of `limits` (name: most elements).

    Raises Refused with the messages of every field that is wrong.
    """
    if body is None:
        raise Refused({"non_field_errors": ["This field may not be null."]})
    if not isinstance(body, dict):
        kind = type(body).__name__
        raise Refused({"non_field_errors": [f"Invalid data. Expected a dictionary, but got {kind}."]})
    wrong: Json = {}
    lists = []
    for name, most in limits.items():
        problem = _problem(body, name, most, may_be_empty=may_be_empty)
        if problem:
            wrong[name] = problem
        else:
            lists.append([_integer(each) or 0 for each in body[name]])
    if wrong:
        raise Refused(wrong)
    return lists


def poisonous(ids: Sequence[int], bad: Collection[int], said: str) -> Json:
    """The refusal of a request for some of its ids, named by id, by their place as DRF does, or not at all."""
    message = "This result can not be processed."
    if said == "by-id":
        return {"result_ids": [f"Result {each}: {message}" for each in ids if each in bad]}
    if said == "by-place":
        return {"result_ids": {str(place): [message] for place, each in enumerate(ids) if each in bad}}
    return {"detail": "A result of the batch can not be processed."}


def _problem(body: Json, name: str, most: int | None, *, may_be_empty: bool) -> list[str] | dict[str, list[str]] | None:
    if name not in body:
        return REQUIRED
    value = body[name]
    if value is None:
        return ["This field may not be null."]
    if not isinstance(value, list):
        return [f'Expected a list of items but got type "{type(value).__name__}".']
    if not value and not may_be_empty:
        return ["This list may not be empty."]
    wrong = {str(place): [message] for place, each in enumerate(value) if (message := _not_integer(each))}
    if wrong:
        return wrong
    return [_too_many(most)] if most is not None and len(value) > most else None


def _not_integer(value: object) -> str | None:
    if value is None:
        return "This field may not be null."
    return "A valid integer is required." if _integer(value) is None else None


def _integer(value: object) -> int | None:
    """As IntegerField reads it: of the text of the value, with a `.0` at its end forgiven."""
    return whole(re.sub(r"\.0*\s*$", "", str(value)).strip())


def _too_many(most: int) -> str:
    return f"Ensure this field has no more than {most} elements."


def form(fields: Sequence[tuple[str, object]]) -> dict[str, list[object]]:
    """A form's fields as lists: `ids=1&ids=2`, or `ids[0]=1&ids[1]=2` as DRF allows it too."""
    lists: dict[str, list[object]] = {}
    for name, value in fields:
        lists.setdefault(re.sub(r"\[\d+\]$", "", name), []).append(value)
    return lists
