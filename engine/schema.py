"""The JSON Schema of specs, made from the same models and fields that check them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from .keep import ORDERED, Keep
from .kind import Kind, Resource
from .notices.notify import Event, Notify
from .schedule.when import Schedule
from .spec import VERSION, Guards, Limits
from .where import OPERATORS, Field, Type

Schema = dict[str, Any]

_SCALARS: dict[Type, Schema] = {
    Type.WHOLE: {"type": "integer"},
    Type.NUMBER: {"type": "number"},
    Type.TEXT: {"type": "string"},
    Type.TRUTH: {"type": "boolean"},
    Type.TIME: {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}"},
    Type.LIST: {"type": "string"},
}
_DURATION: Schema = {"type": "string", "pattern": r"^(\d+(\.\d+)?\s*(ms|s|m|h|d|w)\s*)+$"}


def spec_schema(kinds: Mapping[str, Kind]) -> Schema:
    """The schema of a spec that may use these kinds (JSON Schema 2020-12)."""
    resources = {kind.resource.name: kind.resource for kind in kinds.values()}
    definitions: Schema = {}
    for name, resource in resources.items():
        definitions[f"where_{name}"] = _where(name, resource)
        definitions[f"scope_{name}"] = _model(resource.Scope)
    jobs = [_job(kind) for kind in kinds.values()]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rebatch spec",
        "type": "object",
        "additionalProperties": False,
        "required": ["version", "jobs"],
        "properties": {
            "version": {"const": VERSION},
            "jobs": {"type": "array", "minItems": 1, "items": {"oneOf": jobs}},
        },
        "$defs": definitions,
    }


def _job(kind: Kind) -> Schema:
    action = _model(kind.Action)
    properties = action.get("properties", {})
    return {
        "title": kind.name,
        "type": "object",
        "additionalProperties": False,
        "required": ["name", "resource", "action"],
        "properties": {
            "name": {"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"},
            "resource": {"const": kind.resource.name},
            "scope": {"$ref": f"#/$defs/scope_{kind.resource.name}"},
            "where": {"$ref": f"#/$defs/where_{kind.resource.name}"},
            "action": {
                **action,
                "properties": {"type": {"const": kind.name}, **properties},
                "required": ["type", *action.get("required", [])],
            },
            "keep": _keep(kind.resource),
            "guards": _model(Guards),
            "limits": _model(Limits),
            "schedule": _model(Schedule),
            "notify": {"type": "array", "items": _notify()},
            "retention": _DURATION,
        },
    }


def _notify() -> Schema:
    """As its model has it, with the events written out."""
    schema = _model(Notify)
    schema["properties"]["on"]["items"] = {"enum": [event.value for event in Event]}
    return schema


def _keep(resource: Resource) -> Schema:
    """As its model has it, with the fields that there are."""
    schema = _model(Keep)
    names = sorted(resource.fields)
    ordered = sorted(name for name, field in resource.fields.items() if field.type in ORDERED)
    properties = schema["properties"]
    properties["per"] = {"enum": names, "description": properties["per"]["description"]}
    properties["by"] = {**properties["by"], "enum": ordered}
    properties["among"] = {"$ref": f"#/$defs/where_{resource.name}"}
    return schema


def _model(model: Any) -> Schema:
    """A model's own schema; our models hold plain values, so there is nothing to refer to."""
    _, schema = models_json_schema([(model, "validation")])
    definition: Schema = schema["$defs"][model.__name__]
    for field in definition.get("properties", {}).values():
        if field.get("type") == "string" and not isinstance(field.get("default"), str):
            field.pop("default", None)  # seconds, once read; what may be written is a duration
    return {key: value for key, value in definition.items() if key != "title"}


def _where(name: str, resource: Resource) -> Schema:
    again = {"$ref": f"#/$defs/where_{name}"}
    several = {"type": "array", "minItems": 1, "items": again}
    fields = {key: _tests(field) for key, field in resource.fields.items()}
    return {
        "type": "object",
        "additionalProperties": False,
        "minProperties": 1,
        "properties": {**fields, "any": several, "all": several, "not": again},
    }


def _tests(field: Field) -> Schema:
    scalar = {"enum": list(field.values)} if field.values else dict(_SCALARS[field.type])
    if field.most is not None:
        scalar |= {"minimum": 0, "maximum": field.most}
    nullable = {"anyOf": [scalar, {"type": "null"}]}
    tests = {operator: _operand(operator, scalar, nullable) for operator in OPERATORS[field.type]}
    alone = nullable if "eq" in tests else scalar
    shapes = [
        alone,
        {"type": "object", "additionalProperties": False, "minProperties": 1, "properties": tests},
    ]
    if "in" in OPERATORS[field.type]:
        shapes.append({"type": "array", "minItems": 1, "items": nullable})
    return {"anyOf": shapes}


def _operand(operator: str, scalar: Schema, nullable: Schema) -> Schema:
    if operator in {"older_than", "newer_than"}:
        return _DURATION
    if operator in {"in", "not_in"}:
        return {"type": "array", "minItems": 1, "items": nullable}
    if operator == "contains":
        return {"type": "string"}
    if operator == "matches":
        return {"type": "string", "format": "regex"}
    return nullable if operator in {"eq", "ne"} else scalar
