"""The endpoints of the contract, and beside them /sandbox/ for looking on and for stirring."""

import json
from typing import Any

import orjson
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage

from . import audit, drf, openapi
from .dice import roll
from .state import SANDBOX, Sandbox

V1 = "/test_framework/v1"
ENDS = ("/", "")
_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_PASSTHROUGH_DATACLASS
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_NO_FORM = (ValueError, BadHttpMessage, LookupError, RuntimeError)
"""What aiohttp raises for a form's syntax, its headers, an unknown charset, an unknown transfer encoding."""


def json_response(body: object, status: int = 200) -> web.Response:
    """An answer in JSON."""
    return web.Response(body=orjson.dumps(body, option=_OPTIONS), status=status, content_type="application/json")


def routes() -> list[web.RouteDef]:
    """Every route; ids are digits, so that a wrong method on a bulk route is a 405 as in DRF.

    The contract's paths end in a slash; the vendor's own SDK leaves it out, so either is answered.
    """
    return [
        *(web.get(f"{V1}/results{end}", list_results) for end in ENDS),
        *(web.post(f"{V1}/results/bulk_delete{end}", bulk_delete) for end in ENDS),
        *(web.post(f"{V1}/results/bulk_evaluate_metrics{end}", bulk_evaluate) for end in ENDS),
        *(web.get(V1 + r"/results/{id:\d+}" + end, result_detail) for end in ENDS),
        *(web.post(V1 + r"/results/{id:\d+}/delete_runs" + end, delete_runs) for end in ENDS),
        *(web.get(f"{V1}/runs/bulk{end}", bulk_runs) for end in ENDS),
        web.get("/sandbox/openapi.json", show_openapi),
        web.get("/sandbox/audit", show_audit),
        web.get("/sandbox/audit/evaluations", show_evaluations),
        web.get("/sandbox/audit/requests", show_requests),
        web.get("/sandbox/requests/count", count_requests),
        web.get("/sandbox/faults", show_faults),
        web.patch("/sandbox/faults", change_faults),
    ]


async def list_results(request: web.Request) -> web.Response:
    """GET results/: seed 004."""
    sandbox = request.app[SANDBOX]
    query = _query(request)
    ids = sandbox.store.listing.matching(drf.filters(query))
    page = drf.paginate(query, count=len(ids), max_page_size=sandbox.settings.max_page_size)
    base = f"{request.scheme}://{drf.echo(request.host)}{request.path}"
    rows = sandbox.store.listing.page(ids[page.start : page.stop], runs_as=sandbox.settings.runs_as)
    return json_response(
        {
            "count": len(ids),
            "next": drf.page_url(base, query, page.next),
            "previous": drf.page_url(base, query, page.previous),
            "results": rows,
        }
    )


async def result_detail(request: web.Request) -> web.Response:
    """GET results/{id}/: named by seed 004; `runs` is a dict keyed by run id."""
    found = request.app[SANDBOX].store.listing.detail(_id(request))
    if found is None:
        raise drf.Refused(drf.NO_RESULT, 404)
    return json_response(found)


async def bulk_runs(request: web.Request) -> web.Response:
    """GET runs/bulk/: seed 003."""
    return json_response(request.app[SANDBOX].store.listing.runs(drf.run_ids(_query(request))))


async def bulk_delete(request: web.Request) -> web.Response:
    """POST results/bulk_delete/: seed 000."""
    (ids,) = drf.lists_of_ids(await _body(request), {"result_ids": drf.MOST_IDS})
    _refuse_poison(request.app[SANDBOX], ids)
    request.app[SANDBOX].store.delete_results(ids, request["number"])
    return web.Response(status=204)


async def delete_runs(request: web.Request) -> web.Response:
    """POST results/{id}/delete_runs/: seed 001, where the maximum stands in the text only."""
    (ids,) = drf.lists_of_ids(await _body(request), {"run_ids": drf.MOST_IDS}, may_be_empty=True)
    sandbox = request.app[SANDBOX]
    sandbox.store.delete_runs(_id(request), ids, request["number"], sandbox.evaluation_us)
    return web.Response(status=204)


async def bulk_evaluate(request: web.Request) -> web.Response:
    """POST results/bulk_evaluate_metrics/: seed 002."""
    results, metrics = drf.lists_of_ids(await _body(request), {"result_ids": drf.MOST_IDS, "metric_ids": None})
    sandbox = request.app[SANDBOX]
    _refuse_poison(sandbox, results)
    sandbox.store.evaluate(results, metrics, request["number"], sandbox.evaluation_us)
    return web.Response()


def _refuse_poison(sandbox: Sandbox, ids: list[int]) -> None:
    settings = sandbox.settings
    bad = {each for each in ids if settings.poison and roll(sandbox.seed, each, "poison") < settings.poison}
    if bad:
        raise drf.Refused(drf.poisonous(ids, bad, settings.poison_said))


async def show_openapi(_request: web.Request) -> web.Response:
    """What this API is, for tools that read such documents."""
    return json_response(openapi.document())


async def show_audit(request: web.Request) -> web.Response:
    """What really happened, in sum."""
    sandbox = request.app[SANDBOX]
    sandbox.advance()
    return json_response(audit.summary(sandbox.store.db, sandbox.arrivals, sandbox.store.balance))


async def show_evaluations(request: web.Request) -> web.Response:
    """How often each run was evaluated: `?agent_id=101&metric_id=11`."""
    agent, metric = (drf.whole(request.query.get(name, "")) for name in ("agent_id", "metric_id"))
    return json_response(audit.evaluations(request.app[SANDBOX].store.db, agent, metric))


async def show_requests(request: web.Request) -> web.Response:
    """The last arrivals, for judging a client's pace."""
    return json_response(request.app[SANDBOX].arrivals.listed())


async def count_requests(request: web.Request) -> web.Response:
    """How many requests have arrived, quickly: a million results take a second to audit."""
    return web.Response(text=str(request.app[SANDBOX].arrivals.total))


async def show_faults(request: web.Request) -> web.Response:
    """The settings as they are, with the balance."""
    return json_response(_settings(request.app[SANDBOX]))


async def change_faults(request: web.Request) -> web.Response:
    """Change settings while the sandbox works: a JSON object of the options' names; `null` is the default."""
    body = await _json(request)
    if not isinstance(body, dict):
        raise drf.Refused({"detail": "Send a JSON object of settings."})
    sandbox = request.app[SANDBOX]
    try:
        sandbox.change(body)
    except ValueError as error:
        raise drf.Refused({"detail": str(error)}) from None
    return json_response(_settings(sandbox))


def _settings(sandbox: Sandbox) -> dict[str, Any]:
    rate = sandbox.settings.rate
    return vars(sandbox.settings) | {"rate": str(rate) if rate else None, "balance": sandbox.store.balance}


def _query(request: web.Request) -> dict[str, str]:
    """The query; of a name given twice the last counts, as in Django."""
    return dict(request.query.items())


def _id(request: web.Request) -> int:
    return drf.whole(request.match_info["id"]) or 0


async def receive(request: web.Request) -> None:
    """Take in the whole body: from here on it does not matter whether the client stays.

    Raises Refused for one that is too big, or compressed and broken.
    """
    try:
        if request.content_type == "multipart/form-data":
            await request.post()
        else:
            await request.read()
    except _NO_FORM as error:
        request["no_form"] = str(error)  # said when the form is asked for: a key that is missing comes first
    except web.HTTPRequestEntityTooLarge as big:
        raise drf.Refused({"detail": str(big.text)}, big.status) from None
    except web.RequestPayloadError:
        raise drf.Refused({"detail": "The body cannot be decompressed."}) from None


async def _body(request: web.Request) -> object:
    """The body by its content type, as DRF's parsers read it; no body at all is an empty object."""
    if not request.body_exists:
        return {}
    if request.content_type == "application/json":
        return await _json(request)
    if request.content_type not in _FORMS:
        kind = drf.echo(request.headers.get("Content-Type", ""))
        raise drf.Refused({"detail": f'Unsupported media type "{kind}" in request.'}, 415)
    return await _form(request)


async def _form(request: web.Request) -> object:
    problem = request.get("no_form")
    if problem is None:
        try:
            return drf.form(list((await request.post()).items()))
        except _NO_FORM as error:
            problem = str(error)
    raise drf.Refused({"detail": f"Multipart form parse error - {drf.echo(' '.join(problem.split()))}"})


async def _json(request: web.Request) -> object:
    try:
        return json.loads(await request.read())
    except (ValueError, RecursionError, web.RequestPayloadError) as error:
        raise drf.Refused({"detail": f"JSON parse error - {error}"}) from None
