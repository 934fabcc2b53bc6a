"""What the engine relies on in a kind, as checks that the author of one runs: `assert check_kind(MyKind(), …) == []`.

They need no network. Each fault is a sentence that says what is wrong, and so what to do.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from .exchange import Request
from .fates import Evidence, ItemFate
from .kind import LARGEST, Change, Export, Kind, Resource, Strict
from .ledger import CHUNK
from .schema import spec_schema
from .spec import parse_job
from .where import Row, parse_where

ODD: tuple[Any, ...] = (None, True, -1, 10**30, 1.5, float("inf"), "", "x" * 5000, [], [1], {}, {"a": 1})
GARBAGE = (b"", b"{", b"null", b"5", b"[]", b"{}", b'"x"', b"[null]", b"\xff")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

Check = Callable[["_Case"], Iterator[str]]


class _Case:
    """A kind with an action and rows to try it on."""

    def __init__(self, kind: Kind, action: Mapping[str, Any], rows: Sequence[Row]) -> None:
        self.kind, self.raw, self.rows = kind, dict(action), list(rows)
        self.action: Any = None  # once it was read


def check_kind(kind: Kind, *, action: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    """Every fault of a kind, of which `action` is a right action (without its `type`) and `rows` are items as it gets them.

    Two rows or more are needed, with different ids. The answer is empty when the kind conforms.
    """
    case = _Case(kind, action, rows)
    for stage in ((_declared,), (_read,), _CHECKS):
        faults = [fault for check in stage for fault in _tried(check, case)]
        if faults:
            return faults
    return []


def _tried(check: Check, case: _Case) -> Iterator[str]:
    """The faults that a check finds; that it fails is one."""
    try:
        yield from check(case)
    except Exception as error:  # noqa: BLE001 - whatever a kind raises is told of
        yield f"{check.__name__.strip('_')}: {type(error).__name__}: {error}"


def _declared(case: _Case) -> Iterator[str]:
    """What is looked up before anything else: by the spec, by the plan, by a person."""
    kind = case.kind
    if not isinstance(kind, Change | Export):
        yield "it is neither a Change nor an Export: derive it from one of them"
        return
    if not isinstance(getattr(kind, "name", None), str) or not _NAME.fullmatch(kind.name):
        yield "`name` must be a word of small letters, digits and _: specs say it"
    if not isinstance(getattr(kind, "resource", None), Resource):
        yield "`resource` must be an instance of a Resource"
    if not _is_strict(getattr(kind, "Action", None)):
        yield "`Action` must be a class derived from Strict: unknown keys of a spec are mistakes"
    if isinstance(kind, Change) and not isinstance(getattr(kind, "repeatable", None), bool):
        yield "`repeatable` must be true or false: it decides what becomes of a request whose answer was lost"
    if isinstance(kind, Change) and getattr(kind, "unmoved", None) not in {ItemFate.FAILED, ItemFate.ACCEPTED}:
        yield "`unmoved` must be ItemFate.FAILED or ItemFate.ACCEPTED"
    if vars(kind):
        yield f"it keeps state in {', '.join(vars(kind))}: a kind serves many jobs, in any order"
    if len({row.get("id") for row in case.rows}) < 2 or any(not _is_id(row.get("id")) for row in case.rows):  # noqa: PLR2004 - two
        yield "two rows or more with different ids from 1 are needed to try it on"


def _is_strict(model: Any) -> bool:
    return isinstance(model, type) and issubclass(model, Strict)


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 < value < LARGEST


def _read(case: _Case) -> Iterator[str]:
    """The action, as a spec has it and as the checkpoint gives it back."""
    kind = case.kind
    raw = {"name": "conformance", "resource": kind.resource.name, "action": {"type": kind.name, **case.raw}}
    spec, problems = parse_job(json.loads(json.dumps(raw)), {kind.name: kind})
    for problem in problems:
        yield f"the action is refused: {'.'.join(map(str, problem.path))}: {problem.message}"
    if spec is None:
        return
    case.action = spec.action
    wrong = {**raw, "action": {"type": kind.name, **case.raw, "no_such_key": 1}}
    if not parse_job(wrong, {kind.name: kind})[1]:
        yield "an unknown key of the action is not refused"


def _is_described(case: _Case) -> Iterator[str]:
    """A person reads it before agreeing."""
    text: Any = case.kind.describe(case.action)
    if not isinstance(text, str) or not text[:1].isupper() or text.endswith("."):
        yield "`describe` must give the beginning of a sentence, such as “Delete”"


def _has_a_schema(case: _Case) -> Iterator[str]:
    """Editors complete specs with it."""
    json.dumps(spec_schema({case.kind.name: case.kind}))
    yield from ()


def _groups(case: _Case) -> Iterator[str]:
    """Items are stored with the number of their group."""
    for row in case.rows:
        group: Any = case.kind.group(row)
        if type(group) is not int or not 0 <= group < LARGEST:
            yield f"`group` must be a whole number from 0 to 2**63; of item {row['id']} it is {group!r}"
        elif group != case.kind.group(dict(row)):
            yield "`group` must be the same for the same row"


def _reads(case: _Case) -> Iterator[str]:
    """Where a kind says which fields it reads, pages are decoded with no others."""
    kind = case.kind
    if kind.reads is None:
        return
    for row in case.rows:
        part = {key: value for key, value in row.items() if key in {"id", *kind.reads}}
        for told in (kind.group, partial(kind.cost, case.action), kind.measure):
            if told(part) != told(row):
                yield f"`reads` leaves out a field of item {row['id']} that `group`, `cost` or `measure` reads"


def _fingerprints(case: _Case) -> Iterator[str]:
    """They are kept as JSON, and compared with those of rows that were read later."""
    for row in case.rows:
        mark = case.kind.resource.fingerprint(row)
        if json.loads(json.dumps(mark)) != mark or mark != case.kind.resource.fingerprint(dict(row)):
            yield "`fingerprint` must be a list of plain JSON values, and the same for the same row"


def _measures(case: _Case) -> Iterator[str]:
    """Reports take means of them; guards add costs up."""
    for row in case.rows:
        measure, cost = case.kind.measure(row), case.kind.cost(case.action, row)
        if measure is not None and not 0.0 <= measure <= 1.0:
            yield f"`measure` must be from 0.0 to 1.0, or None; of item {row['id']} it is {measure!r}"
        if cost is not None and not 0.0 <= cost < LARGEST:
            yield f"`cost` must be a number from 0, or None; of item {row['id']} it is {cost!r}"


def _bears_odd_rows(case: _Case) -> Iterator[str]:
    """A service may send anything; a row like that is a row like any other, not the end of a plan."""
    row = case.rows[0]
    for key in row.keys() - {"id", *_own_keys(case)}:
        for value in ODD:
            odd = {**row, key: value}
            case.kind.group(odd)
            case.kind.cost(case.action, odd)
            case.kind.measure(odd)
            json.dumps(case.kind.resource.fingerprint(odd))
            for field in case.kind.resource.fields.values():
                field.read(odd)
    yield from ()


def _own_keys(case: _Case) -> set[str]:
    """Keys that the resource itself puts into rows, whatever the service sends: where an item lies."""
    parent = case.kind.resource.parent(case.rows[0])
    return {key for key, value in case.rows[0].items() if parent is not None and value == parent}


def _fields_can_be_asked_for(case: _Case) -> Iterator[str]:
    """`where` may name each of them."""
    for name, field in case.kind.resource.fields.items():
        case.kind.resource.lacks(case.rows[0], {name})
        _, problems = parse_where({name: {"in": [None]}}, {name: field}, datetime.now(UTC))
        if problems and "in" not in problems[0].message and field.values:
            yield f"field “{name}”: {problems[0].message}"


def _pages(case: _Case) -> Iterator[str]:
    """Pages are read in any order and any size; what is no page is never taken for one."""
    resource = case.kind.resource
    scope = resource.Scope()
    first, second = resource.page(scope, 1, CHUNK), resource.page(scope, 2, 57)
    yield from _is_request(first, "page", "GET")
    if first == second:
        yield "`page` must ask for the page and the size that it is told"
    for body in GARBAGE:
        for read in (resource.read_page, resource.reader(()), resource.read_by_id):
            try:
                read(body)
            except ValueError:
                continue
            if not (read == resource.read_by_id and body == b"[]"):
                yield f"`{read.__name__}` must raise ValueError for what it cannot be: {body!r}"


def _by_id(case: _Case) -> Iterator[str]:
    """Items are read back by their ids, as many at once as the resource says."""
    resource = case.kind.resource
    ids = [10**6 + number for number in range(max(1, min(resource.at_once, CHUNK)))]
    request = resource.by_id(ids)
    yield from _is_request(request, "by_id", "GET")
    sent = f"{request.path} {dict(request.query or {})}"
    if lost := [item for item in ids if str(item) not in sent]:
        yield f"`by_id` must ask for every id it is given; {lost[0]} is not in its request"


def _requests(case: _Case) -> Iterator[str]:
    """What goes out for a chunk: it may be one item or a hundred."""
    if not isinstance(case.kind, Change):
        return
    group = case.kind.group(case.rows[0])
    for size in (1, CHUNK):
        ids = tuple(10**6 + number for number in range(size))
        request = case.kind.request(case.action, group, ids)
        yield from _is_request(request, "request", "POST", "PUT", "PATCH", "DELETE")
        if request != case.kind.request(case.action, group, ids):
            yield "`request` must be the same for the same chunk: it may be sent again"
        sent = f"{request.path} {request.query} {request.body!r}"
        if lost := [item for item in ids if str(item) not in sent]:
            yield f"`request` must hold every id of its chunk; {lost[0]} of {size} is not in it"


def _is_request(request: Any, what: str, *methods: str) -> Iterator[str]:
    if not isinstance(request, Request):
        yield f"`{what}` must give a Request"
        return
    if request.method not in methods:
        yield f"`{what}` must be a {' or '.join(methods)}, not a {request.method}"
    if not request.path.startswith("/") or "://" in request.path:
        yield f"`{what}` must have a path that begins with “/”: the key goes to one origin"
    body: Any = request.body
    if body is not None and not isinstance(body, bytes):
        yield f"`{what}` must have a body of bytes"


def _evidence(case: _Case) -> Iterator[str]:
    """It decides whether something is sent again, and whether an item is confirmed."""
    if not isinstance(case.kind, Change):
        return
    for row in case.rows:
        mark = case.kind.resource.fingerprint(row)
        shown = case.kind.evidence(mark, row)
        if shown is not Evidence.UNMOVED:
            yield f"`evidence` of a row that is as it was must be UNMOVED, not {shown}: nothing happened to it"
        gone: Any = case.kind.evidence(mark, None)
        if not isinstance(gone, Evidence) or gone is Evidence.UNMOVED:
            yield "`evidence` of an item that is gone must not be UNMOVED"


def _exports(case: _Case) -> Iterator[str]:
    """Every row goes into a file of one partition, in columns with names of their own."""
    if not isinstance(case.kind, Export):
        return
    names = [column.name for column in case.kind.columns()]
    if not names or len(set(names)) < len(names):
        yield "`columns` must have names, each once"
    target = case.kind.target(case.action)
    for row in case.rows:
        written = case.kind.row(row, case.kind.resource.parent(row))
        if written.get("id") != row["id"]:
            yield "`row` must keep the id of its item"
        if len(case.kind.partition(case.action, written)) != len(target.partition_by):
            yield "`partition` must give a value for each field of the target's `partition_by`"
    if case.kind.rows_per_part(case.action) < 1:
        yield "`rows_per_part` must be 1 or more"


_CHECKS: tuple[Check, ...] = (
    _is_described,
    _has_a_schema,
    _groups,
    _reads,
    _fingerprints,
    _measures,
    _bears_odd_rows,
    _fields_can_be_asked_for,
    _pages,
    _by_id,
    _requests,
    _evidence,
    _exports,
)
