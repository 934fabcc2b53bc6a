"""The sandbox's document beside the vendor's, and requests beside the document."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from jobs.sandbox.openapi import document
from tests.requests_check import faults
from tests.service import running

CONTRACT = Path(__file__).parents[3] / "shared/contract/openapi.yaml"
KEY = {"X-CEKURA-API-KEY": "k"}
JSON = {**KEY, "Content-Type": "application/json"}
V1 = "/test_framework/v1"
OURS = document()

# Where the sandbox's document says more, or otherwise, than the vendor's, and why.
MORE_STATUSES = {"401", "415", "429"}  # of the service as a whole: no key, another media type, too many requests
MORE_BY_PATH = {
    f"{V1}/results/": {"400", "404"}
}  # of Django REST Framework: a filter that is no number, “Invalid page.”
SEVERAL_SHAPES = {"runs", "scenarios"}  # “object” by the schema, arrays by the text; the sandbox can be told to do both
TEXT_ONLY = {("DeleteRuns", "run_ids"): {"maxItems": 100}}  # “Maximum 100 run IDs per request”, in words


def contract() -> dict[str, Any]:
    """The vendor's, as one document."""
    from ruamel.yaml import YAML  # noqa: PLC0415 - only where the contract is

    found: dict[str, Any] = YAML(typ="safe", pure=True).load(CONTRACT.read_text(encoding="utf-8"))
    return found


def resolved(schema: dict[str, Any], of: dict[str, Any]) -> dict[str, Any]:
    """The schema that a reference means."""
    if "$ref" not in schema:
        return schema
    found: dict[str, Any] = of["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return found


def shape(schema: dict[str, Any], of: dict[str, Any]) -> Any:
    """What matters of a schema: types, bounds, values, and the same of what is in it."""
    schema = resolved(schema, of)
    kept: dict[str, Any] = {
        name: schema[name] for name in ("format", "minItems", "maxItems", "maxLength") if name in schema
    }
    kept["type"] = _types(schema)
    if "enum" in schema:
        kept["enum"] = set(schema["enum"])
    if "items" in schema:
        kept["items"] = shape(schema["items"], of)
    if "properties" in schema:
        kept["properties"] = {name: shape(each, of) for name, each in schema["properties"].items()}
        kept["required"] = set(schema.get("required", ()))
    return kept


def _types(schema: dict[str, Any]) -> set[str]:
    said = schema.get("type", [])
    return {*([said] if isinstance(said, str) else said), *(["null"] if schema.get("nullable") else [])}


def operations(of: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """By path and method."""
    return {(path, method): each for path, item in of["paths"].items() for method, each in item.items()}


needs_contract = pytest.mark.skipif(not CONTRACT.exists(), reason="the contract is not on this machine")


@needs_contract
def test_the_operations_are_those_of_the_contract() -> None:
    """Path by path, method by method."""
    assert operations(OURS).keys() == operations(contract()).keys()


@needs_contract
@pytest.mark.parametrize("place", sorted(operations(OURS)), ids=lambda place: f"{place[1]} {place[0]}")
def test_an_operation_is_that_of_the_contract(place: tuple[str, str]) -> None:
    """Its parameters, its body in every form, its answers, its key: field by field."""
    vendors = contract()
    mine, theirs = operations(OURS)[place], operations(vendors)[place]
    assert _parameters(mine) == _parameters(theirs)
    assert _bodies(mine, OURS) == _bodies(theirs, vendors)
    more = MORE_STATUSES | MORE_BY_PATH.get(place[0], set())
    assert mine["responses"].keys() - more == theirs["responses"].keys() - more
    assert theirs["responses"].keys() <= mine["responses"].keys()
    assert (mine["security"], mine["operationId"]) == (theirs["security"], theirs["operationId"])
    for status in ("200", "204"):
        if status in theirs["responses"]:
            assert _answer(mine, OURS, status) == _answer(theirs, vendors, status)


def _parameters(operation: dict[str, Any]) -> set[tuple[str, str, bool, str]]:
    return {
        (each["in"], each["name"], bool(each.get("required")), each["schema"]["type"])
        for each in operation.get("parameters", [])
    }


def _bodies(operation: dict[str, Any], of: dict[str, Any]) -> Any:
    content = operation.get("requestBody", {}).get("content", {})
    found = {media: shape(each["schema"], of) for media, each in content.items()}
    for (_, field), bounds in TEXT_ONLY.items():
        for each in found.values():
            if of is OURS and field in each["properties"]:
                each["properties"][field] = {
                    key: value for key, value in each["properties"][field].items() if key not in bounds
                }
    return found


def _answer(operation: dict[str, Any], of: dict[str, Any], status: str) -> Any:
    content = operation["responses"][status].get("content", {})
    found = {media: shape(each["schema"], of) for media, each in content.items()}
    for each in found.values():
        _forget_shapes(each)
    return found


def _forget_shapes(of: dict[str, Any]) -> None:
    """Leave out what is known to differ: several shapes, and what is required of an answer, which the vendor leaves open."""
    of.pop("required", None)
    if of.get("format") == "double":
        of.pop("format")
    for name, each in of.get("properties", {}).items():
        if name in SEVERAL_SHAPES:
            each["type"] = {"object"}
        _forget_shapes(each)
    if "items" in of:
        _forget_shapes(of["items"])


async def test_the_document_is_published() -> None:
    """Without a key: tools read it."""
    with running("--results=5") as sandbox:
        async with ClientSession() as session, session.get(f"{sandbox.url}/sandbox/openapi.json") as answer:
            assert await answer.json() == document()


@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "body", "said"),
    [
        ("GET", "/results/", {"page": "1", "page_size": "100"}, KEY, b"", ""),
        ("GET", "/results/", {"page": "one"}, KEY, b"", "page: 'one' is not of type 'integer'"),
        ("GET", "/results/", {"status": "failed"}, KEY, b"", "status is no parameter"),
        ("GET", "/results/", {}, {}, b"", "there is no key"),
        ("GET", "/results/7/", {}, KEY, b"", ""),
        ("GET", "/results/7", {}, KEY, b"", "is not in the document"),
        ("DELETE", "/results/7/", {}, KEY, b"", "is not in the document"),
        ("GET", "/runs/bulk/", {"ids": "1,2"}, KEY, b"", "ids is no parameter"),
        ("GET", "/runs/bulk/", {"run_ids": "[1,2]"}, KEY, b"", "does not match"),
        ("POST", "/results/bulk_delete/", {}, JSON, b'{"result_ids": [1]}', ""),
        ("POST", "/results/bulk_delete/", {}, JSON, b'{"result_ids": []}', "[]"),
        ("POST", "/results/bulk_delete/", {}, JSON, b'{"ids": [1]}', "'result_ids' is a required property"),
        ("POST", "/results/bulk_delete/", {}, KEY, b'{"result_ids": [1]}', "the body is of the type"),
        ("POST", "/results/7/delete_runs/", {}, JSON, b'{"run_ids": ["1"]}', "'1' is not of type 'integer'"),
    ],
)
def test_a_request_that_does_not_keep_to_the_document_is_found_out(
    method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes, said: str
) -> None:
    """Every request of every simulation is looked at in this way."""
    found = faults(method, V1 + path, query, headers, body)
    assert bool(found) == bool(said)
    assert said in " ".join(found)
