"""Specs: read completely or refused with every mistake, and the same again from a checkpoint."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.errors import UsageError
from engine.spec import JobSpec, SpecError, load_spec, parse_job, parse_spec
from engine.units import Tolerance
from engine.yamlfile import MAX_BYTES, YamlError, parse_yaml
from jobs import kinds

KINDS = kinds.find()
SPECS = Path(__file__).parents[2] / "jobs" / "specs"
NOW = datetime(2026, 2, 15, tzinfo=UTC)


def job(*lines: str, action: str = "{type: delete_results}", name: str = "a") -> str:
    """A spec of one job with further lines."""
    head = f"version: 1\njobs:\n  - name: {name}\n    resource: results\n    action: {action}\n"
    return head + "".join(f"    {line}\n" for line in lines)


def mistakes(text: str) -> list[str]:
    """The lines of the refusal, without the file's name."""
    with pytest.raises(SpecError) as refused:
        parse_spec(text, KINDS, "f")
    assert all(line.startswith("f:") for line in refused.value.lines)
    return [line[2:] for line in refused.value.lines]


def from_checkpoint(spec: JobSpec) -> JobSpec:
    """The spec as a checkpoint gives it back."""
    again, problems = parse_job(orjson.loads(orjson.dumps(spec.raw)), KINDS)
    assert problems == []
    assert again is not None
    return again


def test_all_mistakes_are_told_at_once_with_their_places() -> None:
    """In the order of the file, each at its line and column, with a suggestion where one is near."""
    text = """\
version: 2
jbos: []
jobs:
  - name: first job
    resource: results
    scope: {agentid: 101, project_id: x}
    where: {statsu: failed, success_rate: {lt: "0.5"}}
    action: {type: evaluate_metrics, metrics: []}
    limits: {rate: 60, concurrency: 100}
    guard: {max_items: 5}
  - name: second
    resource: runs
    action: {type: delete_result}
"""
    found = mistakes(text)
    places = [line.split(": ")[0] for line in found]
    assert places == [
        "1:10", "2:1", "4:11", "6:13", "6:39", "7:13", "7:48", "8:47", "9:20", "9:37", "10:5", "13:20",
    ]  # fmt: skip
    for part, line in zip(
        ["“version: 1” is needed", "did you mean “jobs”?", "pattern", "did you mean “agent_id”?", "integer",
         "did you mean “status”?", "expected a number", "at least 1 item", "“60” is not a rate", "less than or equal to 64",
         "did you mean “guards”?", "did you mean “delete_results”?"], found, strict=True,
    ):  # fmt: skip
        assert part in line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1:1: a spec begins with “version: 1”"),
        ("- a\n", "1:1: a spec begins with"),
        ("version: 1\n", "1:1: “jobs” must be a list"),
        ("version: 1\njobs: []\n", "2:7: “jobs” must be a list with at least one job"),
        ("jobs:\n" + job().split("jobs:\n")[1], "1:1: “version: 1” is needed"),
        (job().replace("version: 1", "version: true"), "1:10: “version: 1” is needed"),
        ("version: 1\njobs:\n  - x\n", "3:5: expected a mapping of fields"),
        ("version: 1\njobs:\n  - {name: a, resource: results}\n", "3:5: “action” is needed"),
        (job(action="{metrics: [1]}"), "5:13: “type” is needed: one of delete_results, delete_runs, evaluate_metrics, export_results, export_runs"),
        (job(action="delete_results"), "5:13: expected a mapping of fields"),
        (job(action="{type: evaluate_metrics}"), "5:13: “metrics” is needed"),
        (job(action="{type: evaluate_metrics, metrics: [1, 1]}"), "5:47: a metric is named twice"),
        (job(action="{type: evaluate_metrics, metrics: [0]}"), "5:48: input should be greater than or equal to 1"),
        (job(action="{type: delete_results, metrics: [1]}"), "5:36: unknown field “metrics”"),
        (job(action='{type: evaluate_metrics, metrics: ["1"]}'), "5:48: input should be a valid integer"),
        (job("limits: {timeout: 30}"), "6:23: “30” is not a duration"),
        (job("limits: {timeout: 0s}"), "6:23: input should be greater than 0"),
        (job("limits: {concurrency: 0}"), "6:27: input should be greater than or equal to 1"),
        (job("limits: {concurrency: 65}"), "6:27: input should be less than or equal to 64"),
        (job("limits: {concurrency: true}"), "6:27: input should be a valid integer"),
        (job("limits: {attempts: 101}"), "6:24: input should be less than or equal to 100"),
        (job("limits: {rate: 0/s}"), "6:20: “0/s” is not a rate"),
        (job("limits: {ratee: 1/s}"), "6:14: unknown field “ratee”; did you mean “rate”?"),
        (job("guards: {max_items: -1}"), "6:25: input should be greater than or equal to 0"),
        (job("guards: {max_percent: 101}"), "6:27: input should be less than or equal to 100"),
        (job("guards: {stop_on_failures: 101%}"), "6:32: “101%” is not a share such as 2% or 0.5% (at most 100%), nor a whole"),
        (job("guards: {canary: 0}"), "6:22: input should be greater than or equal to 1"),
        (job(action="{type: evaluate_metrics, metrics: [1], prices: {2: 1}}"), "5:60: there is a price for 2, which is not among"),
        (job(action="{type: evaluate_metrics, metrics: [1], prices: {x: 1}}"), "5:64: “x” is not the id of a metric"),
        (job(action="{type: evaluate_metrics, metrics: [1], prices: {1: -1}}"), "5:64: input should be greater than or equal to 0"),
        (job("guards: {max_items: 1.5}"), "6:25: input should be a valid integer"),
        (job("scope: {scenarios: []}"), "6:24: "),
        (job("scope: {search: ''}"), "6:21: "),
        (job("scope: {agent_id: '5'}"), "6:23: input should be a valid integer"),
        (job(name="-a"), "3:11: "),
        (job(name="a/b"), "3:11: "),
        (job(name="x" * 101), "3:11: "),
        (job("action: {}"), "6:5: “action” is given twice"),
        (job("x: &a 1", "y: *a"), "7:8: aliases (*name) are not read"),
        (job("x: !mine 1"), "6:8: the tag !mine is not read"),
        (job("? [a]", ": 1"), "6:7: a key must be a word"),
        (job("x: [1"), "7:1: "),
        (job("x: @"), "6:8: "),
        ("a: 1\n---\nb: 2\n", "2:1: "),
        ("x: " + "[" * 60 + "]" * 60, "1:43: nested too deeply"),
        ("x: " + "y" * MAX_BYTES, "1:1: a spec of more than 1024 KiB"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_at_its_place(text: str, expected: str) -> None:
    """One mistake, one line."""
    (line,) = mistakes(text)
    assert line.startswith(expected)


def test_a_mistake_is_told_once() -> None:
    """A scope that is no mapping is wrong for two readers, but it is one mistake."""
    assert mistakes(job("scope: 5")) == ["6:12: expected a mapping of fields"]


def test_a_kind_and_its_resource_must_fit() -> None:
    """A kind acts on one resource, and says so."""
    (line,) = mistakes(job().replace("resource: results", "resource: runs"))
    assert line == "4:15: delete_results acts on “results”, not on “runs”"


def test_names_are_unique_within_a_file() -> None:
    """The second of the same name is refused, at its place."""
    text = job() + job().split("jobs:\n")[1]
    assert mistakes(text) == ["6:11: the name “a” is taken by an earlier job"]


@pytest.mark.parametrize("nothing", ["[]", "''", "0", "false"])
def test_a_where_that_is_no_mapping_is_refused_even_if_it_is_empty(nothing: str) -> None:
    """It would select everything; for a deletion that is no small misunderstanding."""
    assert mistakes(job(f"where: {nothing}"))[0].startswith("6:12: expected conditions")


def test_a_spec_without_conditions_selects_everything() -> None:
    """That is how it is asked for."""
    (spec,) = parse_spec(job(), KINDS)
    assert spec.where(NOW)({"id": 1})


def test_what_is_not_said_has_its_default() -> None:
    """Units are those of the engine: requests a second, seconds."""
    (spec,) = parse_spec(job(), KINDS)
    limits = spec.limits
    assert (limits.rate, limits.concurrency, limits.timeout, limits.attempts, limits.settle) == (5, 8, 30, 8, 150)
    assert (spec.guards.max_items, spec.guards.max_percent) == (None, None)


def test_limits_are_read_in_their_units() -> None:
    """60/m is one a second, 2m30s are 150 seconds."""
    (spec,) = parse_spec(job("limits: {rate: 60/m, concurrency: 64, timeout: 1m, settle: 2m30s, verify: 0s}"), KINDS)
    limits = spec.limits
    assert (limits.rate, limits.concurrency, limits.timeout, limits.settle, limits.verify) == (1, 64, 60, 150, 0)


def test_guards_are_read_and_survive_a_checkpoint() -> None:
    """A share, or a number of items; and what is not said of completeness depends on the kind of job."""
    (spec,) = parse_spec(job("guards: {stop_on_failures: 0.5%, canary: 10, min_remaining: 3, max_credits: 7}"), KINDS)
    assert spec.guards.stop_on_failures == Tolerance(percent=0.5)
    assert (spec.guards.canary, spec.guards.min_remaining, spec.guards.max_credits) == (10, 3, 7)
    assert from_checkpoint(spec).guards == spec.guards
    assert [spec.guards.must_be_complete(irreversible=whether) for whether in (True, False)] == [True, False]
    for said in (True, False):
        (spec,) = parse_spec(job(f"guards: {{require_complete: {str(said).lower()}, stop_on_failures: 20}}"), KINDS)
        assert spec.guards.stop_on_failures == Tolerance(items=20)
        assert {spec.guards.must_be_complete(irreversible=whether) for whether in (True, False)} == {said}


def test_prices_survive_a_checkpoint() -> None:
    """JSON has no keys that are numbers."""
    (spec,) = parse_spec(job(action="{type: evaluate_metrics, metrics: [11, 12], prices: {12: 0.5}}"), KINDS)
    again = from_checkpoint(spec)
    assert again.action == spec.action
    assert (spec.action.price, again.action.price) == (0.7, 0.7)


def test_words_of_yaml_1_1_are_words() -> None:
    """`no` and `on` are text in YAML 1.2, whose reader this is."""
    (spec,) = parse_spec(job("where: {name: {in: [no, on, off, yes]}}"), KINDS)
    assert spec.where(NOW)({"id": 1, "name": "no"})


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_example_specs_are_sound_and_survive_a_checkpoint(path: Path) -> None:
    """What ships is right."""
    for spec in load_spec(path, KINDS):
        again = from_checkpoint(spec)
        assert (again.scope, again.action, again.guards, again.limits) == (
            spec.scope,
            spec.action,
            spec.guards,
            spec.limits,
        )


@pytest.mark.parametrize(
    "when", ["2026-01-31", "2026-01-31T10:00:00", "2026-01-31T10:00:00Z", "2026-01-31 10:00:00+02:00", "'2026-01-31'"]
)
def test_dates_of_yaml_survive_a_checkpoint(when: str) -> None:
    """The condition selects the same rows before and after: YAML has dates, JSON has none."""
    (spec,) = parse_spec(job(f"where: {{created_at: {{lt: {when}}}}}"), KINDS)
    before, after = spec.where(NOW), from_checkpoint(spec).where(NOW)
    for moment in ("2026-01-30T23:59:59Z", "2026-01-31T07:59:59Z", "2026-01-31T09:59:59Z", "2026-01-31T10:00:01Z"):
        row = {"id": 1, "created_at": moment}
        assert before(row) is after(row)
    assert before({"id": 1, "created_at": "2026-01-01"})


@pytest.mark.parametrize(
    "line",
    [
        "where: {success_rate: {lt: .inf}}", "where: {success_rate: {lt: .nan}}", "where: {id: 99999999999999999999999}",
        'where: {name: "\\ud800"}', "where: {name: {matches: !!binary aGVsbG8=}}", "scope: {agent_id: 99999999999999999999999}",
        'scope: {search: "\\ud800"}',
    ],
)  # fmt: skip
def test_what_a_checkpoint_cannot_keep_is_refused_at_once(line: str) -> None:
    """Either a spec is refused where it is read, or it comes back from the checkpoint as it was."""
    try:
        (spec,) = parse_spec(job(line), KINDS)
    except SpecError:
        return
    again = from_checkpoint(spec)
    assert again.raw == spec.raw


@pytest.mark.parametrize(
    "text",
    ["a: !!bool foo", 'a: !!int ""', 'a: !!float ""', 'a: !!int "_"', "a: !!timestamp x", "a: 2026-02-31", "a: 0x_"],
)
def test_a_tag_that_does_not_fit_its_value_is_a_mistake(text: str) -> None:
    """The YAML library's own exceptions do not get out."""
    with pytest.raises(SpecError):
        parse_spec(text, KINDS)


def test_a_file_that_cannot_be_read_is_told_in_one_sentence(tmp_path: Path) -> None:
    """Missing, a directory, or not text."""
    (tmp_path / "latin").write_bytes(b"name: \xff")
    for name, reason in {"none": "No such file", ".": "directory", "latin": "not UTF-8"}.items():
        with pytest.raises(UsageError, match=reason):
            load_spec(tmp_path / name, KINDS)


def test_places_point_at_keys_and_values() -> None:
    """A key's own place and its value's are both known, in flow and in block style."""
    document = parse_yaml("a:\n  b: [1, {c: 2}]\n")
    assert document.keys["a", "b"] == (2, 3)
    assert document.values["a", "b"] == (2, 6)
    assert document.values["a", "b", 1, "c"] == (2, 14)


# -- properties


@settings(max_examples=300)
@given(text=st.text(max_size=80) | st.text("[]{}:,-&*!|>'\"%@#? \n\tab01.", max_size=60))
@example(text="\x00")
@example(text="? ")
@example(text="%YAML 9.9\n---\n")
def test_no_text_raises_anything_but_its_mistakes(text: str) -> None:
    """Arbitrary text is refused in an orderly way; none of it is a spec."""
    with pytest.raises(SpecError) as refused:
        parse_spec(text, KINDS, "f")
    assert refused.value.lines


@settings(max_examples=300)
@given(tag=st.sampled_from(["!!int", "!!float", "!!bool", "!!null", "!!timestamp", "!!str", "!!binary", "!!set", "!x", "!"]),
       value=st.text("0123456789abcdefxo_.:-+ eTZ", max_size=12))  # fmt: skip
def test_no_tag_raises_anything_but_a_mistake(tag: str, value: str) -> None:
    """Explicit tags on values that do not fit them."""
    with suppress(YamlError):
        parse_yaml(f"a: {tag} {value}")


NAMES = [
    "name",
    "resource",
    "scope",
    "where",
    "action",
    "guards",
    "limits",
    "type",
    "metrics",
    "version",
    "jobs",
    "rate",
]
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(["results", "delete_results", "evaluate_metrics", "20/s", "30d", 1, "failed"]),
)  # fmt: skip
TREES = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=25,
)


@settings(max_examples=300)
@given(tree=st.fixed_dictionaries({"version": st.just(1), "jobs": st.lists(TREES, min_size=1, max_size=3)}))
def test_no_tree_of_values_raises_anything_but_its_mistakes(tree: dict[str, Any]) -> None:
    """Arbitrary YAML (JSON is YAML) is a spec or is refused."""
    try:
        text = orjson.dumps(tree).decode()
    except TypeError:
        return
    with suppress(SpecError):
        assert parse_spec(text, KINDS)


@settings(max_examples=300)
@given(raw=TREES)
def test_no_job_of_plain_values_raises(raw: Any) -> None:
    """A checkpoint may hold anything."""
    spec, problems = parse_job(raw, KINDS)
    assert (spec is None) == bool(problems)
