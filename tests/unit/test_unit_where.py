"""Conditions: every operator on every type, missing values, and every mistake told at once."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.where import OPERATORS, Field, Problem, Type, parse_where, read_time, suggest

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def plain(name: str, kind: Type, *values: str) -> Field:
    """A field that is in the row as it is."""
    return Field(kind, lambda row: row.get(name), values)


FIELDS = {
    "number": plain("number", Type.NUMBER),
    "whole": plain("whole", Type.WHOLE),
    "text": plain("text", Type.TEXT),
    "status": plain("status", Type.TEXT, "completed", "failed", "running"),
    "truth": plain("truth", Type.TRUTH),
    "at": Field(Type.TIME, lambda row: read_time(row.get("at"))),
    "names": plain("names", Type.LIST),
}


def matches(condition: Any, row: dict[str, Any]) -> bool:
    """Whether a sound condition holds for a row."""
    predicate, problems = parse_where(condition, FIELDS, NOW)
    assert not problems
    return predicate(row)


def problems(condition: Any) -> list[Problem]:
    """The mistakes of a condition."""
    return parse_where(condition, FIELDS, NOW)[1]


ROW = {
    "number": 0.5,
    "whole": 3,
    "text": "Nightly smoke",
    "status": "failed",
    "truth": True,
    "at": "2026-01-01T00:00:00Z",
    "names": ["Refund", "Cancel"],
}


@pytest.mark.parametrize(
    ("field", "test", "expected"),
    [
        ("number", 0.5, True), ("number", {"eq": 0.5}, True), ("number", {"ne": 0.5}, False),
        ("number", {"lt": 0.5}, False), ("number", {"le": 0.5}, True), ("number", {"gt": 0.4}, True),
        ("number", {"ge": 0.6}, False), ("number", [0.1, 0.5], True), ("number", {"in": [1]}, False),
        ("number", {"not_in": [1]}, True), ("number", {"gt": 0, "lt": 1}, True), ("number", {"gt": 0, "lt": 0.5}, False),
        ("whole", 3, True), ("whole", {"eq": 4}, False), ("whole", {"ne": 4}, True), ("whole", {"lt": 4}, True),
        ("whole", {"le": 2}, False), ("whole", {"gt": 3}, False), ("whole", {"ge": 3}, True), ("whole", [3], True),
        ("whole", {"not_in": [3]}, False),
        ("text", "Nightly smoke", True), ("text", {"eq": "nightly smoke"}, False), ("text", {"ne": "x"}, True),
        ("text", {"contains": "smoke"}, True), ("text", {"contains": "Smoke"}, False), ("text", {"matches": "^N.*e$"}, True),
        ("text", {"matches": "(?i)^nightly"}, True), ("text", {"matches": "^smoke"}, False), ("text", ["a", "b"], False),
        ("text", {"in": ["Nightly smoke"]}, True), ("text", {"not_in": ["Nightly smoke"]}, False),
        ("status", "failed", True), ("status", ["completed", "failed"], True), ("status", {"ne": "failed"}, False),
        ("truth", True, True), ("truth", {"eq": False}, False), ("truth", {"ne": False}, True),
        ("at", "2026-01-01", True), ("at", {"eq": "2026-01-01T01:00:00+01:00"}, True), ("at", {"ne": "2026-01-01"}, False),
        ("at", {"lt": "2026-01-02"}, True), ("at", {"le": "2026-01-01T00:00:00Z"}, True), ("at", {"gt": "2026-01-01"}, False),
        ("at", {"ge": date(2026, 1, 1)}, True), ("at", {"lt": datetime(2026, 1, 1, 0, 0, 1)}, True),  # noqa: DTZ001 - that is the case
        ("at", {"older_than": "30d"}, True), ("at", {"older_than": "31d"}, False), ("at", {"newer_than": "31d"}, True),
        ("at", {"newer_than": "12h"}, False), ("at", {"newer_than": "31d", "older_than": "30d"}, True),
        ("names", "Refund", True), ("names", {"contains": "Refund"}, True), ("names", {"contains": "Ref"}, False),
    ],
)  # fmt: skip
def test_every_operator_does_what_it_says(field: str, test: Any, expected: bool) -> None:  # noqa: FBT001 - a table
    """One row against each operator of each type."""
    assert matches({field: test}, ROW) is expected


def test_every_operator_of_every_type_is_accepted() -> None:
    """The table of operators has no entry that cannot be used."""
    operand: dict[str, Any] = {
        "number": 1.5, "whole": 1, "text": "a", "truth": True, "at": "2026-01-01", "names": "a",
    }  # fmt: skip
    for name, value in operand.items():
        for operator in OPERATORS[FIELDS[name].type]:
            raw = [value] if operator in {"in", "not_in"} else "5d" if operator.endswith("er_than") else value
            assert problems({name: {operator: raw}}) == []


@pytest.mark.parametrize(
    "test",
    [
        {"number": {"lt": 9e9}}, {"number": {"le": 9e9}}, {"number": {"gt": -9e9}}, {"number": {"ge": -9e9}},
        {"whole": {"lt": 99}}, {"text": {"contains": ""}}, {"text": {"matches": ""}}, {"at": {"lt": "2999-01-01"}},
        {"at": {"gt": "1970-01-01"}}, {"at": {"older_than": "0s"}}, {"at": {"newer_than": "9999d"}}, {"names": "Refund"},
        {"status": ["failed"]}, {"text": "x"}, {"truth": True}, {"truth": False},
    ],
)  # fmt: skip
def test_a_missing_value_matches_no_test_of_what_it_is(test: dict[str, Any]) -> None:
    """Nothing is neither less nor more than anything, and contains nothing."""
    assert matches(test, {}) is False
    assert matches(test, dict.fromkeys(FIELDS)) is False


def test_a_missing_value_can_be_asked_for() -> None:
    """Null is equal to null, is in a list with null, and differs from everything else."""
    assert matches({"number": None}, {})
    assert matches({"number": {"eq": None}}, {})
    assert matches({"text": ["a", None]}, {})
    assert matches({"text": {"ne": "a"}}, {})
    assert not matches({"number": {"ne": None}}, {})
    assert not matches({"text": {"not_in": [None]}}, {})


def test_a_time_that_cannot_be_read_counts_as_missing() -> None:
    """A row whose date is nonsense is not older than anything: it is not deleted for its age."""
    assert not matches({"at": {"older_than": "1d"}}, {"at": "yesterday"})


def test_fields_and_tests_are_all_required() -> None:
    """A mapping is an AND."""
    assert matches({"status": "failed", "number": {"lt": 0.6}}, ROW)
    assert not matches({"status": "failed", "number": {"lt": 0.4}}, ROW)


def test_conditions_combine() -> None:
    """`any` needs one, `all` needs each, `not` turns round, and they nest."""
    low, failed = {"number": {"lt": 0.1}}, {"status": "failed"}
    assert matches({"any": [low, failed]}, ROW)
    assert not matches({"all": [low, failed]}, ROW)
    assert matches({"not": low}, ROW)
    assert not matches({"not": {"any": [low, {"not": {"not": failed}}]}}, ROW)
    assert matches({"status": "failed", "any": [low, {"whole": 3}], "not": {"truth": False}}, ROW)


def test_ages_count_back_from_the_frozen_now() -> None:
    """The same condition read at another time has another edge, and `now` itself never moves."""
    row = {"at": "2026-01-01T12:00:00Z"}
    older = {"at": {"older_than": "30d"}}
    assert not parse_where(older, FIELDS, NOW)[0](row)
    assert parse_where(older, FIELDS, NOW + timedelta(seconds=1))[0](row)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2021-01-01 00:00:00", datetime(2021, 1, 1, tzinfo=UTC)),
        ("2026-01-31T12:00:00Z", NOW),
        ("2026-01-31T14:00:00+02:00", NOW),
        (date(2026, 1, 31), datetime(2026, 1, 31, tzinfo=UTC)),
        (datetime(2026, 1, 31, 12), NOW),  # noqa: DTZ001 - that is the case
        (datetime(2026, 1, 31, 14, tzinfo=timezone(timedelta(hours=2))), NOW),
        ("", None), ("soon", None), (5, None), (None, None), (True, None), (["2026-01-31"], None),
    ],
)  # fmt: skip
def test_times_without_a_zone_are_utc(value: Any, expected: datetime | None) -> None:
    """Text, dates and datetimes alike; anything else is no time."""
    assert read_time(value) == expected


@pytest.mark.parametrize(
    ("condition", "path", "message"),
    [
        (5, (), "expected conditions"),
        ([], (), "expected conditions"),
        ({"statsu": "failed"}, ("statsu",), "did you mean “status”?"),
        ({"an": []}, ("an",), "did you mean “any”?"),
        ({"status": "complete"}, ("status",), "did you mean “completed”?"),
        ({"status": "nothing"}, ("status",), "one of completed, failed, running"),
        ({"status": ["failed", "fialed"]}, ("status", 1), "did you mean “failed”?"),
        ({"number": "0.5"}, ("number",), "expected a number, not “0.5”"),
        ({"number": True}, ("number",), "expected a number, not true"),
        ({"number": {"lt": None}}, ("number", "lt"), "expected a number, not nothing"),
        ({"number": {"lt": [1]}}, ("number", "lt"), "expected a number, not a list"),
        ({"whole": 1.5}, ("whole",), "expected a whole number, not “1.5”"),
        ({"text": 1}, ("text",), "expected text, not “1”"),
        ({"text": 0}, ("text",), "expected text, not “0”"),
        ({"truth": 1}, ("truth",), "expected true or false, not “1”"),
        ({"text": False}, ("text",), "expected text, not false"),
        ({"at": "soon"}, ("at",), "expected a time"),
        ({"at": {"older_than": 30}}, ("at", "older_than"), "“30” is not a duration"),
        ({"at": {"older_than": "999999999d"}}, ("at", "older_than"), ""),
        ({"number": {"contains": 1}}, ("number", "contains"), "does not apply to a number"),
        ({"number": {"lte": 1}}, ("number", "lte"), "did you mean “l"),
        ({"number": {}}, ("number",), "expected a test"),
        ({"text": {"in": "a"}}, ("text", "in"), "“in” takes a list"),
        ({"text": {"matches": "("}}, ("text", "matches"), "not a regular expression"),
        ({"text": {"matches": 5}}, ("text", "matches"), "not a regular expression"),
        ({"any": {}}, ("any",), "takes a list of conditions"),
        ({"all": []}, ("all",), "takes a list of conditions"),
        ({"any": [{"x": 1}]}, ("any", 0, "x"), "unknown field"),
        ({"not": [1]}, ("not",), "expected conditions"),
        ({"not": {"not": {"y": 1}}}, ("not", "not", "y"), "unknown field"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_with_its_path(condition: Any, path: tuple[str | int, ...], message: str) -> None:
    """One mistake, one problem, at its place, with a way out."""
    (problem,) = problems(condition)
    assert problem.path == ("where", *path)
    assert message in problem.message


def test_all_mistakes_are_told_at_once() -> None:
    """Nothing hides behind the first."""
    found = problems(
        {"x": 1, "number": "a", "any": [{"status": "faild"}, {"at": {"older_than": "x"}}], "not": {"y": 2}}
    )
    assert [problem.path[-1] for problem in found] == ["x", "number", "status", "older_than", "y"]


def test_a_suggestion_is_made_only_for_what_is_near() -> None:
    """A far guess would mislead."""
    assert suggest("statu", ["status"]) == "; did you mean “status”?"
    assert suggest("colour", ["status"]) == ""


# -- properties

ATOMS = st.one_of(
    st.builds(
        lambda op, v: {"number": {op: v}}, st.sampled_from(["eq", "ne", "lt", "le", "gt", "ge"]), st.integers(-2, 2)
    ),
    st.builds(lambda v: {"status": v}, st.lists(st.sampled_from(["completed", "failed", "running", None]), min_size=1)),
    st.builds(lambda v: {"text": {"contains": v}}, st.sampled_from(["", "a", "b"])),
    st.builds(lambda op, v: {"at": {op: f"{v}d"}}, st.sampled_from(["older_than", "newer_than"]), st.integers(0, 5)),
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.builds(lambda many: {"any": many}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda many: {"all": many}, st.lists(inner, min_size=1, max_size=3)),
        st.builds(lambda one: {"not": one}, inner),
    ),
    max_leaves=8,
)
ROWS = st.fixed_dictionaries(
    {},
    optional={
        "number": st.none() | st.integers(-2, 2) | st.just(math.nan),
        "status": st.none() | st.sampled_from(["completed", "failed", "running"]),
        "text": st.none() | st.text("ab", max_size=3),
        "at": st.none() | st.sampled_from(["2026-01-31T11:00:00Z", "2026-01-28", "nonsense"]),
    },
)


@given(condition=CONDITIONS, row=ROWS)
def test_not_is_the_complement(condition: dict[str, Any], row: dict[str, Any]) -> None:
    """Every row is in exactly one of a condition and its negation, also where values are missing."""
    assert matches(condition, row) is not matches({"not": condition}, row)


@given(one=CONDITIONS, other=CONDITIONS, row=ROWS)
def test_the_laws_of_de_morgan_hold(one: dict[str, Any], other: dict[str, Any], row: dict[str, Any]) -> None:
    """Not any is all not."""
    assert matches({"not": {"any": [one, other]}}, row) is matches({"all": [{"not": one}, {"not": other}]}, row)


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.binary(max_size=3), st.dates(),
    st.datetimes(), st.sampled_from(["30d", "failed", "eq", "any", "not", "9" * 30 + "d"]),
)  # fmt: skip
KEYS = st.sampled_from([*FIELDS, "any", "all", "not", *OPERATORS[Type.TIME], *OPERATORS[Type.TEXT]]) | st.text(
    max_size=5
)
ANYTHING = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)


@settings(max_examples=500)
@given(raw=ANYTHING | st.dictionaries(KEYS, ANYTHING, max_size=4))
def test_reading_never_raises(raw: Any) -> None:
    """Whatever a file may hold, the answer is a predicate or problems that lie inside it."""
    predicate, found = parse_where(raw, FIELDS, NOW)
    for problem in found:
        assert problem.path[0] == "where"
        assert problem.message
    if not found:
        assert predicate(ROW) in {True, False}
        assert predicate({}) in {True, False}
