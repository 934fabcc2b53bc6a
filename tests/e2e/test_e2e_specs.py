"""`rebatch check`, `init`, `schema`: specs before anything is sent."""

from __future__ import annotations

import json
import time
from pathlib import Path

from jsonschema import Draft202012Validator

from tests.e2e.rig import Rebatch

WRONG = """\
version: 1
jobs:
  - name: first
    resource: results
    scop: {agent_id: 101}
    where:
      statsu: failed
      created_at: {older_then: 30d}
      status: [compleeted]
    action: {type: evaluate_metric, metrics: [11]}
    guards: {max_item: 5}
    limits: {rate: fast}
  - name: first
    resource: results
    scope: {agent: 101}
    action: {type: evaluate_metrics, metrics: []}
"""
MISTAKES = [
    "{}:5:5: unknown field “scop”; did you mean “scope”?",
    "{}:10:20: unknown kind “evaluate_metric”; did you mean “evaluate_metrics”?",
    "{}:11:14: unknown field “max_item”; did you mean “max_items”?",
    "{}:12:20: “fast” is not a rate; write requests per s, m or h, such as 20/s or 60/m (at most 10,000/s)",
    "{}:13:11: the name “first” is taken by an earlier job",
    "{}:15:13: unknown field “agent”; did you mean “agent_id”?",
    "{}:16:47: list should have at least 1 item after validation, not 0",
]
IN_WHERE = [
    "{}:7:7: unknown field “statsu”; did you mean “status”?",
    "{}:8:20: “older_then” does not apply to a time; did you mean “older_than”?",
    "{}:9:16: “compleeted” is no value of this field; did you mean “completed”?",
]


def test_all_mistakes_of_a_spec_are_told_at_once_each_at_its_place(rebatch: Rebatch) -> None:
    """In the order of the file, with suggestions, on stderr; exit 2."""
    path = rebatch.home / "wrong.yaml"
    path.write_text(WRONG)
    done = rebatch("check", path, code=2)
    assert done.out == ""
    assert set(done.err.splitlines()) >= {line.format(path) for line in MISTAKES}
    assert [tuple(map(int, line.removeprefix(str(path)).split(":")[1:3])) for line in done.err.splitlines()] == sorted(
        tuple(map(int, line.removeprefix(str(path)).split(":")[1:3])) for line in done.err.splitlines()
    )


def test_mistakes_in_where_are_told_too(rebatch: Rebatch) -> None:
    """Unknown fields, operators that do not fit, values that do not exist: also beside other mistakes."""
    path = rebatch.home / "wrong.yaml"
    path.write_text(WRONG.replace("evaluate_metric,", "evaluate_metrics,"))
    assert set(rebatch("check", path, code=2).err.splitlines()) >= {line.format(path) for line in IN_WHERE}


def test_mistakes_in_where_are_told_although_the_kind_is_unknown(rebatch: Rebatch) -> None:
    """The resource is named, so its fields are known: *all* errors at once."""
    path = rebatch.home / "wrong.yaml"
    path.write_text(WRONG)
    assert set(rebatch("check", path, code=2).err.splitlines()) >= {line.format(path) for line in IN_WHERE}


def test_a_spec_with_mistakes_is_neither_planned_nor_run(rebatch: Rebatch) -> None:
    """It is not even asked for a key."""
    path = rebatch.home / "wrong.yaml"
    path.write_text(WRONG)
    for command in ("plan", "run"):
        done = rebatch(command, path, code=2)
        assert f"{path}:5:5: unknown field “scop”" in done.err
    assert rebatch.checkpoints == []


def test_good_specs_pass(rebatch: Rebatch) -> None:
    """The examples that `init` writes, several at once; and `init` overwrites nothing unasked."""
    assert "reevaluate.yaml" in rebatch("init", "examples").err
    examples = sorted((rebatch.home / "examples").glob("*.yaml"))
    done = rebatch("check", *examples)
    assert done.out == ""
    assert done.err.splitlines() == [f"{path}: 1 job, no mistakes" for path in examples]
    assert "exists already. Overwrite with --force." in rebatch("init", "examples", code=2).err


def test_of_several_specs_each_gets_its_verdict(rebatch: Rebatch) -> None:
    """What cannot be read, or is no spec, is one line each, with exit 2 and never a traceback."""
    rebatch("init", ".", "-q")
    texts: dict[str, bytes] = {
        "empty": b"",
        "binary": bytes(range(256)),
        "nul": b"version: 1\0",
        "alias": b"version: 1\na: &a [1]\njobs: [*a, *a]\n",
        "huge": b"# " + b"x" * 2_000_000,
        "deep": b"[" * 5000,
        "text": b"hello",
        "list": b"- 1\n",
        "twice": b"version: 1\nversion: 1\n",
        "tag": b"version: !!python/object:os.system 1\n",
        "open": b"version: [1\n",
        "tabs": b"version:\t1\n\tjobs: []\n",
        "number": b"version: " + b"9" * 5000,
        "utf16": "version: 1".encode("utf-16"),
        "two": b"version: 1\n---\nversion: 1\n",
        "surrogate": b'version: 1\njobs: [{name: "\\ud800", resource: results, action: {type: "\\ud800"}}]\n',
        "escape": b'version: 1\njobs: [{name: "\\e[31mred", "\\e]0;title\\a": 1, resource: results, action: {type: 1}}]\n',
    }
    (rebatch.home / "folder").mkdir()
    for name, content in texts.items():
        (rebatch.home / name).write_bytes(content)
    done = rebatch("check", "missing", "folder", *texts, "cleanup.yaml", code=2)
    verdicts = done.err.splitlines()
    for name in ("missing", "folder", *texts):
        assert any(line.startswith(f"{name}:") for line in verdicts), name
    assert verdicts[-1] == "cleanup.yaml: 1 job, no mistakes"
    assert "\x1b" not in done.err


def test_numbers_that_are_too_large_are_mistakes(rebatch: Rebatch) -> None:
    """Not a failure later on, when the plan is to be written down."""
    job = {"name": "a", "resource": "results", "action": {"type": "delete_results"}, "scope": {"agent_id": 10**20}}
    spec = rebatch.home / "large.yaml"
    spec.write_text(json.dumps({"version": 1, "jobs": [job]}))
    assert "large.yaml:1:" in rebatch("check", "large.yaml", code=2).err


def test_a_large_spec_is_read_in_time(rebatch: Rebatch) -> None:
    """A list of some ten thousand ids, as a script may write it, takes seconds at most."""
    path = rebatch.home / "large.yaml"
    ids = ", ".join(str(20_000 + number) for number in range(20_000))
    path.write_text(
        "version: 1\njobs:\n  - name: many\n    resource: results\n    action: {type: delete_results}\n"
        f"    where: {{id: [{ids}]}}\n"
    )
    began = time.monotonic()
    rebatch("check", path)
    assert time.monotonic() - began < 15


def test_the_schema_agrees_with_check(rebatch: Rebatch) -> None:
    """It is a JSON Schema, and takes what the examples have."""
    schema = rebatch("schema").json
    Draft202012Validator.check_schema(schema)
    good = {"version": 1, "jobs": [{"name": "a", "resource": "results", "action": {"type": "delete_results"}}]}
    assert Draft202012Validator(schema).is_valid(good)
    assert not Draft202012Validator(schema).is_valid({**good, "job": 1})


def test_a_folder_that_cannot_be_written_is_said(rebatch: Rebatch) -> None:
    """In one sentence."""
    Path(rebatch.home / "file").write_text("")
    assert "cannot be written" in rebatch("init", "file/below", code=2).err
