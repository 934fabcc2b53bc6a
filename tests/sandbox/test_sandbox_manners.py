"""How the sandbox refuses: in Django REST Framework's words."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

if TYPE_CHECKING:
    from tests.service import Sandbox

DELETE = "/test_framework/v1/results/bulk_delete/"
INTEGER = ["A valid integer is required."]


@pytest.mark.parametrize(
    ("headers", "detail"),
    [
        ({}, "Authentication credentials were not provided."),
        ({"X-CEKURA-API-KEY": "guess"}, "Invalid API key."),
    ],
)
async def test_a_request_without_the_key_is_refused(sandbox: Sandbox, headers: dict[str, str], detail: str) -> None:
    """401, and the two cases are told apart as DRF does."""
    answer = await sandbox.send("GET", "/test_framework/v1/results/", headers=headers)
    assert (answer.status, answer.json) == (401, {"detail": detail})


async def test_the_sandboxs_own_paths_need_no_key(sandbox: Sandbox) -> None:
    """They are for tests and for looking on."""
    assert (await sandbox.send("GET", "/sandbox/audit", headers={})).status == 200


@pytest.mark.parametrize(
    "path",
    [
        "/test_framework/v1/result/",
        "/test_framework/v1/results/20011/runs/",
        "/test_framework/v1/results/abc/",
        "/test_framework/v2/results/",
        "/",
    ],
)
async def test_a_path_that_is_not_there_is_a_404_in_json(sandbox: Sandbox, path: str) -> None:
    """The slash at the end is part of the path: the service does not append it."""
    answer = await sandbox.send("GET", path)
    assert (answer.status, answer.json) == (404, {"detail": "Not found."})


async def test_a_wrong_method_is_a_405_in_json(sandbox: Sandbox) -> None:
    """Also where the path could be read as a result with a strange id."""
    answer = await sandbox.send("GET", DELETE)
    assert (answer.status, answer.json) == (405, {"detail": 'Method "GET" not allowed.'})
    assert answer.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "answer"),
    [
        ({}, {"result_ids": ["This field is required."]}),
        ({"result_ids": None}, {"result_ids": ["This field may not be null."]}),
        ({"result_ids": []}, {"result_ids": ["This list may not be empty."]}),
        ({"result_ids": "1,2"}, {"result_ids": ['Expected a list of items but got type "str".']}),
        (
            {"result_ids": [1, 2, 3, "x", 5.5, True]},
            {"result_ids": {"3": INTEGER, "4": INTEGER, "5": INTEGER}},
        ),
        ({"result_ids": [1, None]}, {"result_ids": {"1": ["This field may not be null."]}}),
        (
            {"result_ids": list(range(101))},
            {"result_ids": ["Ensure this field has no more than 100 elements."]},
        ),
        ([1, 2], {"non_field_errors": ["Invalid data. Expected a dictionary, but got list."]}),
    ],
)
async def test_a_wrong_body_is_explained_field_by_field(sandbox: Sandbox, body: Any, answer: Any) -> None:
    """A field's messages are a list, or for items of a list a dict by their place."""
    refused = await sandbox.post("/results/bulk_delete/", body)
    assert (refused.status, refused.json) == (400, answer)


async def test_every_wrong_field_is_named_at_once(sandbox: Sandbox) -> None:
    """DRF collects the errors of all fields before it answers."""
    refused = await sandbox.post("/results/bulk_evaluate_metrics/", {"metric_ids": []})
    assert refused.json == {
        "result_ids": ["This field is required."],
        "metric_ids": ["This list may not be empty."],
    }


async def test_malformed_json_is_a_parse_error(sandbox: Sandbox) -> None:
    """What is JSON but no object is another error than what is no JSON."""
    headers = {"X-CEKURA-API-KEY": sandbox.key, "Content-Type": "application/json"}
    refused = await sandbox.send("POST", DELETE, data=b"null", headers=headers)
    assert refused.json == {"non_field_errors": ["This field may not be null."]}
    refused = await sandbox.send("POST", DELETE, data=b"{oops", headers=headers)
    assert refused.status == 400
    assert refused.json["detail"].startswith("JSON parse error - ")


async def test_forms_are_read_like_json(sandbox: Sandbox) -> None:
    """Bodies may be urlencoded or multipart (seed 000); a field given again is a list."""
    multipart = aiohttp.MultipartWriter("form-data")
    multipart.append("1").set_content_disposition("form-data", name="result_ids")
    multipart.append("x").set_content_disposition("form-data", name="result_ids")
    for data in ([("result_ids", "1"), ("result_ids", "x")], multipart):
        refused = await sandbox.send("POST", DELETE, data=data)
        assert (refused.status, refused.json) == (400, {"result_ids": {"1": INTEGER}})
    assert (await sandbox.send("POST", DELETE, data={"result_ids": "1"})).status == 204


async def test_another_content_type_is_a_415(sandbox: Sandbox) -> None:
    """The contract names three content types."""
    headers = {"X-CEKURA-API-KEY": sandbox.key, "Content-Type": "text/plain"}
    refused = await sandbox.send("POST", DELETE, data=b"result_ids=1", headers=headers)
    assert (refused.status, refused.json) == (
        415,
        {"detail": 'Unsupported media type "text/plain" in request.'},
    )


PART = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n%s\r\n5\r\n'


@pytest.mark.parametrize(
    ("status", "kind", "body"),
    [
        (415, b"text/\xff", b"5"),
        (413, b"application/json", b" " * (2**20 + 1)),
        (400, b"application/json", b"[" * 100_000),
        (400, b"application/x-www-form-urlencoded; charset=unheard-of", b"result_ids=5"),
        (400, b"application/x-www-form-urlencoded", b"result_ids=\xff"),
        (400, b"multipart/form-data; \xff", b"5"),
        (400, b"multipart/form-data; boundary=x", PART % (b"\x06", b"") + b"--x--\r\n"),
        *(
            (
                400,
                b"multipart/form-data; boundary=x",
                PART % (b"a", header) + PART % (b"result_ids", b"") + b"--x--\r\n",
            )
            for header in (b"Content-Type: text/plain; charset=unheard-of\r\n", b"Content-Transfer-Encoding: odd\r\n")
        ),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused_in_json(
    sandbox: Sandbox, status: int, kind: bytes, body: bytes
) -> None:
    """Never an error of the server's, and never a part of it taken for the whole."""
    headers = {"X-CEKURA-API-KEY": sandbox.key, "Content-Type": kind.decode("utf-8", "surrogateescape")}
    refused = await sandbox.send("POST", DELETE, data=BytesIO(body), headers=headers)
    assert (refused.status, list(refused.json)) == (status, ["detail"])


async def test_a_body_that_cannot_be_decompressed_is_refused_in_json(sandbox: Sandbox) -> None:
    """As what it is, the client's mistake."""
    kind = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    refused = await sandbox.send("POST", DELETE, data=b"{}", headers={"X-CEKURA-API-KEY": sandbox.key} | kind)
    assert (refused.status, refused.json) == (400, {"detail": "The body cannot be decompressed."})


@pytest.mark.parametrize("path", ["/results/20011/delete_runs/", "/results/bulk_evaluate_metrics/"])
async def test_more_than_a_hundred_ids_are_refused_everywhere(sandbox: Sandbox, path: str) -> None:
    """For `delete_runs` the schema forgets the maximum; the text has it (seed 001)."""
    ids = list(range(101))
    refused = await sandbox.post(path, {"run_ids": ids, "result_ids": ids, "metric_ids": [11]})
    assert refused.status == 400
    assert ["Ensure this field has no more than 100 elements."] in refused.json.values()
