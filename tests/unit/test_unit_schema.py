"""The JSON Schema says the same as the reader."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from engine.schema import spec_schema
from engine.spec import SpecError, parse_spec
from engine.yamlfile import parse_yaml
from jobs import kinds

KINDS = kinds.find()
SCHEMA = spec_schema(KINDS)
VALIDATOR = Draft202012Validator(SCHEMA)
SPECS = Path(__file__).parents[2] / "jobs" / "specs"
HEAD = "version: 1\njobs:\n  - name: a\n    resource: results\n"
DELETE = HEAD + "    action: {type: delete_results}\n"
EVALUATE = HEAD + "    action: {type: evaluate_metrics, metrics: [11]}\n"


def test_entry_points_offer_our_kinds() -> None:
    """Our own kinds are found as anybody's are."""
    assert set(KINDS) == {"delete_results", "delete_runs", "evaluate_metrics", "export_results", "export_runs"}
    assert all(kind.name == name for name, kind in KINDS.items())


def test_the_schema_is_a_schema() -> None:
    """Valid by the meta-schema of JSON Schema 2020-12."""
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("path", sorted(SPECS.glob("*.yaml")), ids=lambda path: path.name)
def test_the_schema_accepts_the_examples(path: Path) -> None:
    """An editor shows no error in what ships."""
    VALIDATOR.validate(parse_yaml(path.read_text(encoding="utf-8")).value)


@pytest.mark.parametrize(
    "line",
    [
        "", "where: {status: failed}", "where: {status: [failed, completed]}", "where: {status: {ne: failed}}",
        "where: {success_rate: {lt: 0.5, gt: 0}}", "where: {success_rate: null}", "where: {created_at: {older_than: 1h30m}}",
        "where: {any: [{name: a}, {not: {is_cronjob: true}}]}", "where: {name: {matches: '^a'}}", "where: {scenarios: Refund}",
        "where: {scenarios: {contains: Refund}}", "where: {id: {in: [1, 2]}}", "scope: {agent_id: 1, scenarios: [1, 2], search: x}",
        "guards: {max_items: 0, max_percent: 100}", "guards: {min_remaining: 0, max_credits: 0.5, require_complete: false, canary: 1}",
        "guards: {stop_on_failures: 2%}", "guards: {stop_on_failures: 0.5 %}", "guards: {stop_on_failures: 100%}",
        "guards: {stop_on_failures: 0}", "guards: {stop_on_failures: null, require_complete: null}", "limits: {rate: 60/m, concurrency: 64, timeout: 1.5s, attempts: 1}",
    ],
)  # fmt: skip
def test_both_accept_what_is_right(line: str) -> None:
    """A table of sound jobs."""
    text = EVALUATE + f"    {line}\n"
    parse_spec(text, KINDS)
    VALIDATOR.validate(parse_yaml(text).value)


@pytest.mark.parametrize(
    "text",
    [
        "version: 2\njobs: [{name: a, resource: results, action: {type: delete_results}}]", "version: 1\njobs: []", "version: 1",
        "x: 1\n" + DELETE, HEAD, HEAD + "    action: {}\n", HEAD + "    action: {type: destroy}\n",
        HEAD + "    action: {type: evaluate_metrics}\n", HEAD + "    action: {type: evaluate_metrics, metrics: []}\n",
        *(HEAD + f"    action: {{type: evaluate_metrics, metrics: [11], prices: {prices}}}\n" for prices in (
            "{11: -1}", "{11: dear}", "{x: 1}", "{'011': 1}", "5", "{11: 1000001}",
        )),
        HEAD + "    action: {type: evaluate_metrics, metrics: [0]}\n", HEAD + "    action: {type: delete_results, metrics: [1]}\n",
        DELETE.replace("results\n", "runs\n", 1), DELETE.replace("name: a", "name: -a"), DELETE.replace("name: a", "name: 5"),
        *(DELETE + f"    {line}\n" for line in (
            "extra: 1", "scope: {agentid: 1}", "scope: {agent_id: '1'}", "scope: {agent_id: 0}", "scope: {scenarios: []}",
            "scope: []", "where: []", "where: {}", "where: {statsu: failed}", "where: {status: complete}", "where: {status: {lt: failed}}",
            "where: {success_rate: '0.5'}", "where: {success_rate: {lt: null}}", "where: {success_rate: {}}",
            "where: {any: {}}", "where: {all: []}", "where: {not: []}", "where: {created_at: [x]}", "where: {name: {in: a}}",
            "where: {created_at: {older_than: 30}}", "where: {created_at: {older_than: 30 years}}", "where: {scenarios: null}",
            "where: {is_cronjob: 'true'}", "where: {id: 1.5}", "guards: {max_items: -1}", "guards: {max_percent: 101}",
            "guards: {most: 1}", "guards: {min_remaining: -1}", "guards: {max_credits: -0.1}", "guards: {max_credits: '5'}",
            "guards: {require_complete: 1}", "guards: {canary: 0}", "guards: {canary: 5%}", "guards: {stop_on_failures: 101%}",
            "guards: {stop_on_failures: 2.5}", "guards: {stop_on_failures: -1}", "guards: {stop_on_failures: '20'}",
            "guards: {stop_on_failures: true}", "guards: {stop_on_failures: few}", "limits: {rate: 60}", "limits: {rate: 60/d}", "limits: {concurrency: 0}",
            "limits: {concurrency: 65}", "limits: {timeout: 30}", "limits: {timeout: soon}", "limits: {attempts: 0}",
        )),
    ],
)  # fmt: skip
def test_both_refuse_what_is_wrong(text: str) -> None:
    """What the reader refuses an editor underlines."""
    with pytest.raises(SpecError):
        parse_spec(text, KINDS)
    assert not VALIDATOR.is_valid(parse_yaml(text).value)


def test_both_accept_prices_of_metrics() -> None:
    """Keys are numbers in YAML and text in JSON."""
    for prices in ("{}", "{11: 0.5}", "{11: 0, 12: 1}"):
        text = EVALUATE.replace("[11]", f"[11, 12], prices: {prices}")
        parse_spec(text, KINDS)
        VALIDATOR.validate(parse_yaml(text).value)


def defaults(schema: Any) -> list[tuple[Any, Any]]:
    """Every default in a schema, with the schema that it should satisfy."""
    if isinstance(schema, list):
        return [pair for part in schema for pair in defaults(part)]
    if not isinstance(schema, dict):
        return []
    own = [(schema["default"], schema)] if "default" in schema else []
    return own + [pair for part in schema.values() for pair in defaults(part)]


def test_every_default_is_a_value_that_may_be_written() -> None:
    """Editors offer defaults for completion; each must be valid where it is offered."""
    wrong = [default for default, schema in defaults(SCHEMA) if not Draft202012Validator(schema).is_valid(default)]
    assert wrong == []


def test_patterns_are_regular_expressions() -> None:
    """Also for JavaScript, which has no named groups of Python's form."""
    patterns = re.findall(r"'pattern': '([^']*)'", repr(SCHEMA))
    assert patterns
    for pattern in patterns:
        re.compile(pattern.encode().decode("unicode_escape"))
        assert "(?P" not in pattern
