"""Schemathesis reads the sandbox's document and tries to find where it does not keep to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from jobs.sandbox.openapi import document
from tests.service import Sandbox, running


def operations() -> dict[str, Any]:
    """Every operation of the document, by method and path."""
    found: list[Any] = list(schemathesis.openapi.from_dict(document()).get_all_operations())
    return {each.ok().label: each.ok() for each in found}


OPERATIONS = operations()
# What is not expected of an operation, and why; everything else that Schemathesis checks is.
EXCEPT: dict[str, list[Any]] = {
    # Junk in `page_size` gives the default, and what is no parameter is passed over, as in Django REST Framework.
    "GET": [negative_data_rejection],
    # No schema tells which ids there are, nor that a list without elements is nothing at all in a form. And what a form
    # calls 1 is text and a number at once, so that what violates the schema before it is written may be right after it.
    "POST": [positive_data_acceptance, negative_data_rejection],
}
BOUNDED = settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One for all: whatever is asked of it, it goes on."""
    with running("--results=200", "--evaluation-time=50ms") as started:
        yield started


def test_every_operation_is_tried() -> None:
    """None is left out because the document could not be read."""
    assert len(OPERATIONS) == 6


@pytest.mark.parametrize("mode", GenerationMode)
@pytest.mark.parametrize("label", sorted(OPERATIONS))
def test_every_answer_keeps_to_the_document(label: str, mode: GenerationMode, sandbox: Sandbox) -> None:
    """Status, content type and body, for what is right and for what is wrong; no key, no answer; no fault of the server."""

    @BOUNDED
    @given(case=OPERATIONS[label].as_strategy(generation_mode=mode))
    def keeps_to_it(case: Any) -> None:
        case.call_and_validate(
            base_url=sandbox.url,
            headers={"X-CEKURA-API-KEY": sandbox.key},
            excluded_checks=EXCEPT[label.split(maxsplit=1)[0]],
        )

    keeps_to_it()


def test_a_document_that_promises_something_else_is_found_out(sandbox: Sandbox) -> None:
    """The same checks, against a document in which a count is text."""
    wrong = document()
    wrong["components"]["schemas"]["Page"]["properties"]["count"] = {"type": "string"}
    case = schemathesis.openapi.from_dict(wrong)["/test_framework/v1/results/"]["GET"].Case(query={"page": 1})
    with pytest.raises(FailureGroup, match="schema"):
        case.call_and_validate(base_url=sandbox.url, headers={"X-CEKURA-API-KEY": sandbox.key})
