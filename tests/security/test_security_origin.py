"""The key goes to one origin: whatever a service, the environment or a spec says, nothing else is ever connected to."""

from __future__ import annotations

import json

import pytest

from tests.security.canary import KEY
from tests.security.conftest import DELETE, Command
from tests.security.hostile import ROWS, Asked, Hostile, always, reply, rows


@pytest.mark.parametrize("status", [300, 301, 302, 303, 305, 307, 308])
def test_no_redirect_is_followed(command: Command, service: Hostile, status: int) -> None:
    """Neither elsewhere nor here, for reads and writes: a redirect would carry the key along, and turn POST into GET."""
    for target in (f"{command.trap.url}/stolen?key={KEY}", f"//127.0.0.1:{command.trap.port}/stolen", "/stolen"):
        headers = f"Location: {target}\r\nRefresh: 0; url={target}\r\nLink: <{target}>; rel=next\r\nContent-Location: {target}\r\n"
        service.be(reads=always(reply(status, b"", headers)))
        done = command("plan", command.spec(DELETE))
        assert (done.code, "redirects are never followed" in done.err) == (6, True)
        service.be(writes=always(reply(status, b"", headers)))
        assert command("run", command.spec(DELETE), "--yes").code == 6
        assert not [asked for asked in service.asked if "stolen" in asked.target]
        command.forget()


def test_next_is_never_an_address(command: Command, service: Hostile) -> None:
    """The list goes on at our own origin, wherever `next`, `Link` and `Alt-Svc` point."""

    def answer(asked: Asked) -> bytes:
        number = int(asked.target.partition("page=")[2].partition("&")[0])
        away = f"{command.trap.url}/?page={number + 1}"
        listed = [row | {"id": 1000 - 3 * number - place} for place, row in enumerate(rows())] if number <= 4 else []
        body = {"count": 4 * ROWS, "next": away if number < 4 else None, "previous": away, "results": listed}
        return reply(
            200, json.dumps(body).encode(), f'Link: <{away}>; rel=next\r\nAlt-Svc: http/1.1=":{command.trap.port}"\r\n'
        )

    service.be(reads=answer)
    done = command("plan", command.spec(DELETE), "--format", "json")
    assert json.loads(done.out)["planned"] == 4 * ROWS
    assert {asked.key for asked in service.asked} == {KEY}


def test_neither_proxies_nor_netrc_are_used(command: Command, service: Hostile) -> None:
    """Every proxy variable names the trap in every test of this folder; here it is the only thing."""
    assert command("run", command.spec(DELETE), "--yes", NO_PROXY="", no_proxy="").code == 0
    assert service.asked
    heads = b"".join(asked.head for asked in service.asked).lower()
    assert b"authorization" not in heads
    assert b"proxy" not in heads
    assert all(asked.target.startswith("/test_framework/") for asked in service.asked)


@pytest.mark.parametrize(
    "field", ["origin", "api_url", "base_url", "url", "host", "headers", "proxy", "path", "CEKURA_API_URL"]
)
def test_a_spec_cannot_name_an_address(command: Command, field: str) -> None:
    """At no place in it; exit 2, and nothing is sent anywhere."""
    away = command.trap.url
    for changes in (
        {field: away},
        {"scope": {field: away}},
        {"where": {field: away}},
        {"action": {"type": "delete_results", field: away}},
        {"guards": {field: 1}},
        {"limits": {field: "1s"}},
        {"resource": f"{away}/results"},
    ):
        assert command("plan", command.spec(DELETE, **changes)).code == 2, changes
    path = command.spec(DELETE)
    path.write_text(json.dumps({**json.loads(path.read_text()), field: away}))
    assert command("run", path, "--yes").code == 2
    assert not command.state_dir.exists()


def test_a_checkpoint_cannot_name_another_address(command: Command, service: Hostile) -> None:
    """A job that says it was planned elsewhere is not carried out with the key of here."""
    import apsw  # noqa: PLC0415 - only to forge

    assert command("plan", command.spec(DELETE)).code == 0
    (path,) = command.state_dir.glob("*.rebatch")
    with apsw.Connection(str(path)) as forged:
        forged.execute("UPDATE job SET value = ? WHERE key = 'origin'", (json.dumps(command.trap.url),))
    forged.close()
    service.be()
    assert command("run", path, "--yes").code == 2
    assert service.asked == []


def test_the_trap_would_notice(command: Command) -> None:
    """Or all of this would prove nothing."""
    assert command("plan", command.spec(DELETE), "--api-url", command.trap.url, checked=False).code == 0
    assert command.trap.connections > 0
