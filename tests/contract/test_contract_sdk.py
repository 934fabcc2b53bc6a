"""The vendor's own SDK (`cekura` 1.6.7) at the sandbox; and what it does that a job on production data must not.

Each test of the second sort names a fact about it: should one fail after an update, the fact has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from cekura import AsyncCekura, Cekura
from cekura._exceptions import APIError, NotFoundError, RateLimitError, ServerError
from cekura.cli._output import fetch_all_pages

from tests.service import Sandbox, running

V1 = "/test_framework/v1"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """One for each test: they change it."""
    with running("--results=250", "--evaluation-time=20ms") as started:
        yield started


@pytest.fixture
def client(sandbox: Sandbox) -> Iterator[Any]:
    """The SDK with the sandbox's key."""
    with Cekura(api_key=sandbox.key, base_url=sandbox.url) as opened:
        yield opened


async def posts(sandbox: Sandbox) -> list[int | None]:
    """The statuses of everything that was to change something."""
    return [status for _, method, _, status in await sandbox.audit("/requests") if method == "POST"]


async def test_it_lists_gets_and_deletes_runs(sandbox: Sandbox, client: Any) -> None:
    """As its users do; the sandbox answers as the service does."""
    page = client.results.list(page=2, page_size=100)
    assert (page["count"], len(page["results"])) == (250, 100)
    row = next(row for row in page["results"] if len(row["runs"]) > 1)
    result = client.results.get(row["id"])
    assert result["id"] == row["id"]
    assert set(result["runs"]) == set(row["runs"])
    first, *others = sorted(map(int, result["runs"]))
    assert client.results.delete_runs(row["id"], run_ids=[first]) == {}
    assert sorted(map(int, client.results.get(row["id"])["runs"])) == others
    assert (await sandbox.audit())["deletions"] == {"results": 0, "runs": 1}


async def test_its_asynchronous_client_does_the_same(sandbox: Sandbox) -> None:
    """List, get, delete."""
    async with AsyncCekura(api_key=sandbox.key, base_url=sandbox.url) as client:
        page = await client.results.list(page_size=1)
        (row,) = page["results"]
        assert (await client.results.get(row["id"]))["id"] == row["id"]
        assert await client.results.delete_runs(row["id"], run_ids=[int(run) for run in row["runs"]]) == {}
    assert (await sandbox.audit())["deletions"]["runs"] == len(row["runs"])


def test_what_is_not_there_and_what_is_wrong_is_told_by_its_errors(client: Any) -> None:
    """A 404 and a 400 of the sandbox are what the SDK expects of the service."""
    with pytest.raises(NotFoundError):
        client.results.get(5)
    with pytest.raises(APIError):
        client.results.delete_runs(client.results.list(page_size=1)["results"][0]["id"], run_ids=["x"])


def test_fact_it_asks_for_several_runs_by_another_name_than_the_service_takes(client: Any) -> None:
    """`ids` in place of `run_ids`: never answered."""
    with pytest.raises(APIError):
        client.results.get_runs([1, 2])


def test_fact_it_has_no_bulk_deletion_and_no_bulk_evaluation(client: Any) -> None:
    """One result at a time."""
    assert not [name for name in dir(client.results) if name in {"bulk_delete", "bulk_evaluate_metrics"}]


async def test_fact_it_sends_a_write_again_that_was_carried_out(sandbox: Sandbox, client: Any) -> None:
    """Lost answers of a request without an idempotency key: three times, where we read back first."""
    row = client.results.list(page_size=1)["results"][0]
    await sandbox.change(errors_after="100%", only="writes")
    with pytest.raises(ServerError):
        client.results.delete_runs(row["id"], run_ids=[int(run) for run in row["runs"]])
    assert len(await posts(sandbox)) == 3


async def test_fact_it_gives_up_when_it_is_throttled(sandbox: Sandbox, client: Any) -> None:
    """`Retry-After` is told, and not kept."""
    await sandbox.change(rate="1/m")
    client.results.list()
    with pytest.raises(RateLimitError) as told:
        client.results.list()
    assert told.value.retry_after is not None


async def test_fact_a_part_of_a_list_is_given_for_all_of_it(sandbox: Sandbox, client: Any) -> None:
    """A page that fails ends the list, and nobody is told."""
    await sandbox.change(rate="2/m")
    assert len(fetch_all_pages(client, "results.list", page_size=100)) == 200


async def test_fact_it_follows_whatever_address_a_page_names_with_the_key(sandbox: Sandbox) -> None:
    """`next` echoes the Host header: to another origin the key goes, too."""
    with (
        running("--results=3", "--key=other") as elsewhere,
        Cekura(api_key=sandbox.key, base_url=sandbox.url) as client,
    ):
        first = client.results.list(page_size=100)

        class Pages:
            """A first page whose `next` points elsewhere."""

            _http = client._http

            class results:  # noqa: N801 - the name that the SDK looks for
                """As the client has them."""

                @staticmethod
                def list(**_params: Any) -> dict[str, Any]:
                    return {**first, "next": f"{elsewhere.url}{V1}/results/"}

        fetch_all_pages(Pages, "results.list")
        assert [path for _, _, path, _ in await elsewhere.audit("/requests")] == [f"{V1}/results/"]
    assert client._http._client.headers["X-CEKURA-API-KEY"] == sandbox.key
