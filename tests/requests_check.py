"""Whether a request keeps to the document that the sandbox publishes: path, method, query, key, body."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from jsonschema import Draft202012Validator

from jobs.sandbox.openapi import document

DOCUMENT = document()
_PATHS = {re.compile(re.sub(r"\{\w+\}", r"\\d+", path) + r"\Z"): item for path, item in DOCUMENT["paths"].items()}


def faults(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: bytes) -> list[str]:
    """What is wrong with a request; nothing if it keeps to the document."""
    operations = [item for pattern, item in _PATHS.items() if pattern.match(path)]
    operation = operations[0].get(method.lower()) if operations else None
    if operation is None:
        return [f"{method} {path} is not in the document"]
    wrong = [] if headers.get("X-CEKURA-API-KEY") else ["there is no key"]
    wrong += _of_query(operation.get("parameters", []), query)
    wrong += _of_body(operation.get("requestBody"), headers.get("Content-Type", ""), body)
    return [f"{method} {path}: {each}" for each in wrong]


def _of_query(parameters: list[dict[str, Any]], query: Mapping[str, str]) -> list[str]:
    known = {each["name"]: each for each in parameters if each["in"] == "query"}
    wrong = [f"{name} is no parameter" for name in query if name not in known]
    wrong += [f"{name} is missing" for name, each in known.items() if each["required"] and name not in query]
    for name, text in query.items():
        schema = known.get(name, {}).get("schema", {})
        value = int(text) if schema.get("type") == "integer" and re.fullmatch(r"-?\d+", text) else text
        wrong += [f"{name}: {error.message}" for error in Draft202012Validator(schema).iter_errors(value)]
    return wrong


def _of_body(expected: dict[str, Any] | None, content_type: str, body: bytes) -> list[str]:
    if expected is None:
        return ["a body that nobody asked for"] if body else []
    if content_type not in expected["content"]:
        return [f"the body is of the type “{content_type}”"]
    schema = expected["content"][content_type]["schema"] | {"components": DOCUMENT["components"]}
    return [error.message for error in Draft202012Validator(schema).iter_errors(json.loads(body))]


def checking(found: list[str]) -> Any:
    """A middleware that notes what is wrong with every request of the API into `found`."""

    @web.middleware
    async def check(request: web.Request, handler: Any) -> web.StreamResponse:
        if request.path.startswith("/test_framework/"):
            body = await request.read()
            found.extend(faults(request.method, request.path, request.query, request.headers, body))
        response: web.StreamResponse = await handler(request)
        return response

    return check
