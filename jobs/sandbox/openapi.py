"""The sandbox's own OpenAPI document: what it answers, and to what. It is published at `/sandbox/openapi.json`."""

from typing import Any

from .drf import MOST_IDS

Schema = dict[str, Any]

RESULT_STATUSES = (
    "running", "completed", "failed", "pending", "in_progress", "evaluating", "in_queue", "timeout", "cancelled", "scaling_up",
)  # fmt: skip
RUN_STATUSES = RESULT_STATUSES[:8]
_FORMS = ("application/json", "application/x-www-form-urlencoded", "multipart/form-data")

_WHOLE: Schema = {"type": "integer"}
_TEXT: Schema = {"type": "string"}
_RUN_IDS = r"^[0-9]{1,18}(,[0-9]{1,18}){0,99}$"  # the contract says so in words only
_SCENARIOS = r"^([0-9]{1,18}(,[0-9]{1,18})*)?$"  # likewise; an empty one filters nothing
_TRUTH: Schema = {"type": "boolean"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_NESTED: Schema = {"type": "object", "additionalProperties": {}}
_SEVERAL: Schema = {"type": ["object", "array"]}  # by `--runs-as`; the contract says object, its text says list

_RESULT: Schema = {
    "type": "object",
    "properties": {
        "id": _WHOLE,
        "name": _TEXT | {"maxLength": 255},
        "agent": _WHOLE,
        "agent_name": _TEXT,
        "agent_inbound": _TRUTH,
        "status": _TEXT | {"enum": list(RESULT_STATUSES)},
        "success_rate": {"type": "number", "format": "double"},
        "run_as_text": _TRUTH,
        "is_cronjob": _TEXT,
        "runs": _SEVERAL,
        **{
            f"{name}_count": _TEXT
            for name in (
                "met_expected_outcome",
                "total_expected_outcome",
                "total_runs",
                "completed_runs",
                "success_runs",
                "failed_runs",
            )
        },
        "scenarios": _SEVERAL,
        "run_type": {"type": ["string", "null"]},
        "created_at": _TIME,
        "updated_at": _TIME,
    },
    "required": ["id", "name"],
}
_RUN_PROPERTIES: Schema = {
    **dict.fromkeys(("id", "scenario", "personality", "agent"), _WHOLE),
    **dict.fromkeys(("provider_call_id", "scenario_name", "personality_name", "expected_outcome_prompt", "transcript", "duration", "voice_recording_url", "feedback", "critical_categories", "error_message", "scenario_instructions"), _TEXT),
    **dict.fromkeys(("expected_outcome", "evaluation", "transcript_object", "metadata"), _NESTED),
    "success": _TRUTH,
    "status": _TEXT | {"enum": list(RUN_STATUSES)},
    "timestamp": _TIME,
    "executed_at": _TIME,
}  # fmt: skip
_PAGE: Schema = {
    "type": "object",
    "required": ["count", "results"],
    "properties": {
        "count": _WHOLE,
        "next": {"type": ["string", "null"], "format": "uri"},
        "previous": {"type": ["string", "null"], "format": "uri"},
        "results": {"type": "array", "items": {"$ref": "#/components/schemas/Result"}},
    },
}


def document() -> Schema:
    """The document, OpenAPI 3.1."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "Cekura API", "version": "v1"},
        "paths": {
            "/test_framework/v1/results/": {"get": _list()},
            "/test_framework/v1/results/{id}/": {"get": _detail()},
            "/test_framework/v1/results/bulk_delete/": {"post": _bulk("bulk-delete-results_2", "BulkDelete", 204)},
            "/test_framework/v1/results/bulk_evaluate_metrics/": {
                "post": _bulk("bulk-evaluate-result-metrics_2", "BulkEvaluate", 200)
            },
            "/test_framework/v1/results/{id}/delete_runs/": {"post": _delete_runs()},
            "/test_framework/v1/runs/bulk/": {"get": _runs()},
        },
        "components": {
            "schemas": {
                "Result": _RESULT,
                "Run": {"type": "object", "properties": _RUN_PROPERTIES, "required": list(_RUN_PROPERTIES)},
                "Page": _PAGE,
                "BulkDelete": _body(result_ids=_ids(1, MOST_IDS)),
                "BulkEvaluate": _body(metric_ids=_ids(1), result_ids=_ids(1, MOST_IDS)),
                "DeleteRuns": _body(run_ids=_ids(most=MOST_IDS)),
            },
            "securitySchemes": {"api_key": {"type": "apiKey", "name": "X-CEKURA-API-KEY", "in": "header"}},
        },
    }


def _ids(least: int | None = None, most: int | None = None) -> Schema:
    bounds = {"minItems": least, "maxItems": most}
    return {"type": "array", "items": _WHOLE} | {name: bound for name, bound in bounds.items() if bound is not None}


def _body(**lists: Schema) -> Schema:
    return {"type": "object", "properties": lists, "required": list(lists)}


def _operation(name: str, status: int, answer: Schema | None, *refusals: int) -> Schema:
    """What all operations have: a key is needed, and whoever asks too often is told so."""
    said = {"application/json": {"schema": {"type": "object"}}}
    answers = {str(code): {"description": "", "content": said} for code in (*refusals, 401, 429)}
    found = {"content": {"application/json": {"schema": answer}}} if answer else {}
    return {
        "operationId": name,
        "responses": {str(status): {"description": "", **found}, **answers},
        "security": [{"api_key": []}],
    }


def _parameter(place: str, name: str, schema: Schema, *, required: bool = False) -> Schema:
    return {"in": place, "name": name, "required": required, "schema": schema}


def _list() -> Schema:
    numbers = [_parameter("query", name, _WHOLE) for name in ("page", "page_size", "agent_id", "project_id")]
    texts = [_parameter("query", "search", _TEXT), _parameter("query", "scenarios", _TEXT | {"pattern": _SCENARIOS})]
    answer = {"$ref": "#/components/schemas/Page"}
    return _operation("results-list", 200, answer, 400, 404) | {"parameters": numbers + texts}


def _detail() -> Schema:
    answer = {"$ref": "#/components/schemas/Result"}
    return _operation("results-retrieve", 200, answer, 404) | {"parameters": [_of_result()]}


def _runs() -> Schema:
    answer = {"type": "array", "items": {"$ref": "#/components/schemas/Run"}}
    wanted = _parameter("query", "run_ids", _TEXT | {"pattern": _RUN_IDS}, required=True)
    return _operation("runs-bulk-retrieve", 200, answer, 400) | {"parameters": [wanted]}


def _bulk(name: str, body: str, status: int) -> Schema:
    schema = {"schema": {"$ref": f"#/components/schemas/{body}"}}
    content = {"required": True, "content": dict.fromkeys(_FORMS, schema)}
    return _operation(name, status, None, 400, 415) | {"requestBody": content}


def _delete_runs() -> Schema:
    operation = _bulk("delete-runs_2", "DeleteRuns", 204)
    operation["responses"]["404"] = operation["responses"]["400"]
    return operation | {"parameters": [_of_result()]}


def _of_result() -> Schema:
    return _parameter("path", "id", _WHOLE, required=True)
