"""Schemathesis reads the sandbox's document and tries to find where it does not keep to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from jobs.sandbox.openapi import document
from tests.service import Sandbox, running

# The key is given with each request, not made up. The checks try without it and with a wrong one.
CONFIG = SchemathesisConfig.from_dict({"generation": {"with-security-parameters": False}})
API = schemathesis.openapi.from_dict(document(), config=CONFIG)
BOUNDED = settings(
    max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


def _not_expected(case: schemathesis.Case[Any]) -> list[Any]:
    """What is not expected of a request, and why; everything else that Schemathesis checks is."""
    if case.media_type not in {None, "application/json"}:
        # On the wire of a form 5 and [5] are the same, and a list without elements is nothing at all.
        return [positive_data_acceptance, negative_data_rejection]
    if case.path.endswith("/bulk_evaluate_metrics/"):
        return [positive_data_acceptance]  # no schema tells which ids there are: unknown ones are a 400
    if case.path.endswith("/results/") and _forgiven(case.query or {}):
        return [negative_data_rejection]
    return []


def _forgiven(query: dict[str, Any]) -> bool:
    """Django REST Framework takes a junk page size for the default, and an empty filter for none."""
    return any(name == "page_size" or value in ("", [], {}) for name, value in query.items())


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One for all: whatever is asked of it, it goes on."""
    with running("--results=200", "--evaluation-time=50ms") as started:
        yield started


def test_every_operation_is_tried() -> None:
    """None is left out because the document could not be read."""
    assert [type(each).__name__ for each in API.get_all_operations()] == ["Ok"] * 6


@API.parametrize()
@BOUNDED
def test_every_answer_keeps_to_the_document(case: schemathesis.Case[Any], sandbox: Sandbox) -> None:
    """Status, content type, body, for what is right and for what is wrong; no key, no answer; no fault of the server."""
    key = {"X-CEKURA-API-KEY": sandbox.key}
    case.call_and_validate(base_url=sandbox.url, headers=key, excluded_checks=_not_expected(case))


def test_a_document_that_promises_something_else_is_found_out(sandbox: Sandbox) -> None:
    """The same checks, against a document in which a count is text."""
    wrong = document()
    wrong["components"]["schemas"]["Page"]["properties"]["count"] = {"type": "string"}
    case = schemathesis.openapi.from_dict(wrong)["/test_framework/v1/results/"]["GET"].Case(query={"page": 1})
    with pytest.raises(FailureGroup, match="schema"):
        case.call_and_validate(base_url=sandbox.url, headers={"X-CEKURA-API-KEY": sandbox.key})
