"""Misbehaviour: what befalls a request, and whether it was carried out all the same."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.service import Sandbox, Start

CALM = dict.fromkeys(
    (
        "latency",
        "rate",
        "errors",
        "errors_after",
        "reset_before",
        "reset_after",
        "hang",
        "hang_after",
        "truncate",
        "only",
        "churn",
    )
)


@pytest.fixture(autouse=True)
async def _calm_again(sandbox: Sandbox) -> AsyncIterator[None]:
    yield
    assert (await sandbox.change(**CALM)).status == 200


async def delete_one(sandbox: Sandbox, **settings: object) -> tuple[int | str, bool, str | None]:
    """Delete a result under these settings: the status or the failure seen, whether it is gone, the fault counted."""
    before = await sandbox.audit()
    target = (await sandbox.results())[0]["id"]
    await sandbox.change(**settings)
    seen: int | str
    try:
        seen = (await sandbox.post("/results/bulk_delete/", {"result_ids": [target]}, timeout_s=0.3)).status
    except (aiohttp.ClientError, TimeoutError) as failure:
        seen = type(failure).__name__
    await sandbox.change(**CALM)
    after = await sandbox.audit()
    faults = [name for name, times in after["faults"].items() if times > before["faults"].get(name, 0)]
    return seen, after["deletions"]["results"] > before["deletions"]["results"], faults[0] if faults else None


async def test_an_error_before_has_no_effect(sandbox: Sandbox) -> None:
    """500, 502 or 503, and the result is still there."""
    status, gone, fault = await delete_one(sandbox, errors="100%")
    assert (status in {500, 502, 503}, gone, fault) == (True, False, "errors")


async def test_an_error_after_has_the_effect(sandbox: Sandbox) -> None:
    """The same answers, and the result is gone."""
    status, gone, fault = await delete_one(sandbox, errors_after="100%")
    assert (status in {500, 502, 503}, gone, fault) == (True, True, "errors_after")


async def test_a_reset_before_has_no_effect(sandbox: Sandbox) -> None:
    """The client sees a reset connection."""
    seen, gone, fault = await delete_one(sandbox, reset_before="100%")
    assert (seen, gone, fault) == ("ClientOSError", False, "reset_before")


async def test_a_reset_after_has_the_effect(sandbox: Sandbox) -> None:
    """The client sees the same."""
    seen, gone, fault = await delete_one(sandbox, reset_after="100%")
    assert (seen, gone, fault) == ("ClientOSError", True, "reset_after")


async def test_a_hang_has_no_effect_and_no_answer(sandbox: Sandbox) -> None:
    """Only the client can end it."""
    seen, gone, _ = await delete_one(sandbox, hang="100%")
    assert (seen, gone) == ("TimeoutError", False)


async def test_a_hang_after_has_the_effect_and_no_answer(sandbox: Sandbox) -> None:
    """The client sees the same."""
    seen, gone, _ = await delete_one(sandbox, hang_after="100%")
    assert (seen, gone) == ("TimeoutError", True)


async def test_an_empty_answer_cannot_be_truncated(sandbox: Sandbox) -> None:
    """A 204 comes whole."""
    assert await delete_one(sandbox, truncate="100%") == (204, True, None)


async def test_a_truncated_answer_has_its_status_and_half_its_body(sandbox: Sandbox) -> None:
    """The length announced is that of the whole."""
    await sandbox.change(truncate=1)
    async with aiohttp.ClientSession(headers={"X-CEKURA-API-KEY": sandbox.key}) as session:
        response = await session.get(f"{sandbox.url}/test_framework/v1/results/")
        assert response.status == 200
        assert int(response.headers["Content-Length"]) > 1000
        with pytest.raises(aiohttp.ClientPayloadError):
            await response.read()


async def test_a_gateway_error_is_html(sandbox: Sandbox) -> None:
    """As a proxy says it; the others are JSON."""
    await sandbox.change(errors=1)
    answers = [await sandbox.get("/results/") for _ in range(20)]
    kinds = {answer.status: answer.headers["Content-Type"].split(";")[0] for answer in answers}
    assert kinds == {500: "application/json", 502: "text/html", 503: "application/json"}


async def test_faults_can_befall_writes_only(sandbox: Sandbox) -> None:
    """Or reads only."""
    await sandbox.change(errors=1, only="writes")
    assert (await sandbox.get("/results/")).status == 200
    assert (await sandbox.post("/results/bulk_delete/", {"result_ids": [1]})).status >= 500
    await sandbox.change(only="reads")
    assert (await sandbox.get("/results/")).status >= 500
    assert (await sandbox.post("/results/bulk_delete/", {"result_ids": [1]})).status == 204


async def test_an_effect_is_not_undone_by_a_client_that_leaves(sandbox: Sandbox) -> None:
    """What was received is carried out."""
    before = (await sandbox.audit())["deletions"]["results"]
    target = (await sandbox.results())[0]["id"]
    await sandbox.change(latency="300ms")
    with pytest.raises(TimeoutError):
        await sandbox.post("/results/bulk_delete/", {"result_ids": [target]}, timeout_s=0.05)
    assert (await sandbox.get(f"/results/{target}/")).status == 404
    assert (await sandbox.audit())["deletions"]["results"] == before + 1


async def test_the_rate_is_strict_over_any_second(sandbox: Sandbox) -> None:
    """Five a second: of twenty at once five pass, and the refused ones count for nothing."""
    await sandbox.change(rate="5/s")
    throttled = (await sandbox.audit())["throttled"]
    answers = await asyncio.gather(*(sandbox.get("/results/", page_size=1) for _ in range(20)))
    assert sorted(answer.status for answer in answers) == [200] * 5 + [429] * 15
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.headers["Retry-After"] == "1"
    assert refused.json == {"detail": "Request was throttled. Expected available in 1 seconds."}
    await asyncio.sleep(1)
    answers = await asyncio.gather(*(sandbox.get("/results/", page_size=1) for _ in range(6)))
    assert sorted(answer.status for answer in answers) == [200] * 5 + [429]
    assert (await sandbox.audit())["throttled"] == throttled + 16


async def test_a_rate_a_minute_says_how_long_to_wait(sandbox: Sandbox) -> None:
    """Retry-After is whole seconds, rounded up."""
    await sandbox.change(rate="1/m")
    answers = [await sandbox.get("/results/", page_size=1) for _ in range(2)]
    assert 55 <= int(answers[-1].headers["Retry-After"]) <= 60


async def test_arrivals_are_kept_with_their_times(sandbox: Sandbox) -> None:
    """For tests of pace."""
    await sandbox.get("/results/")
    at, method, path, status = (await sandbox.audit("/requests"))[-1]
    assert (method, path, status) == ("GET", "/test_framework/v1/results/", 200)
    assert at > 0


async def test_under_churn_results_come_and_go_while_a_client_pages(sandbox: Sandbox) -> None:
    """Newcomers have consistent counts and the greatest ids."""
    before = (await sandbox.results())[0]["id"]
    await sandbox.change(churn=100, latency="100ms")
    await sandbox.results()
    await sandbox.change(latency=None)
    rows = await sandbox.results()
    churn = (await sandbox.audit())["churn"]
    assert churn["inserted"] == churn["deleted"] >= 10
    assert rows[0]["id"] > before
    assert rows[0]["name"].startswith("Newcomer")
    assert len(rows[0]["runs"]) == int(rows[0]["total_runs_count"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"errors": "150%"},
        {"latency": "soon"},
        {"rate": "fast"},
        {"no_such": 1},
        {"balance": -1},
        {"only": "some"},
    ],
)
async def test_a_wrong_setting_is_explained_and_changes_nothing(sandbox: Sandbox, wrong: dict[str, object]) -> None:
    """Nor does a right one beside it."""
    before = (await sandbox.send("GET", "/sandbox/faults")).json
    answer = await sandbox.change(churn=5, **wrong)
    assert answer.status == 400
    assert "is no" in answer.json["detail"] or "no such setting" in answer.json["detail"]
    assert (await sandbox.send("GET", "/sandbox/faults")).json == before


async def test_the_same_seed_makes_the_same_mishaps(start: Start) -> None:
    """Request by request."""
    options = ("--results=10", "--errors=30%", "--errors-after=20%")
    runs = [[(await each.get("/results/")).status for _ in range(40)] for each in (start(*options), start(*options))]
    assert runs[0] == runs[1]
    assert 8 <= sum(status >= 500 for status in runs[0]) <= 30
