"""A canary key down every path that an enemy can open: it is in nothing that is said, logged, written or sent elsewhere."""

from __future__ import annotations

import csv
import io
import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.security.canary import CORE, HOSTILE, KEY, TOKENS, forms, leaks
from tests.security.conftest import DELETE, EVALUATE, Command
from tests.security.hostile import Answer, Asked, Hostile, always, echo, page, reply
from tests.security.plugin import MODES, install

HASTY = {**DELETE["limits"], "timeout": "500ms"}  # an answer of unknown fate is waited for so long
LOUD = (("-v",), ("-vv", "--log-format", "json"), ("--debug",), ("--debug", "--log-format", "json"))


def _status(status: int) -> Answer:
    """The key in body, headers and reason phrase."""
    return lambda asked: reply(
        status,
        echo(asked),
        f"X-Key: {asked.key}\r\nRetry-After: {asked.key}\r\nWWW-Authenticate: {asked.key}\r\n",
        reason=asked.key,
    )


def _chunked(asked: Asked) -> bytes:
    return b"HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n" + asked.key.encode() + b"\r\n" + echo(asked)


ANSWERS: dict[str, Answer] = {
    **{f"status {status}": _status(status) for status in (400, 401, 403, 404, 409, 418, 422, 500, 503, 599)},
    "html": lambda asked: reply(400, b"<html>" + asked.head + "".join(forms(asked.key).values()).encode(), "Content-Type: text/html\r\n"),
    "html that is fine": lambda asked: reply(200, b"<html>" + asked.head),
    "json that is no page": lambda asked: reply(200, echo(asked)),
    "truncated": lambda asked: reply(400, echo(asked)).replace(b"Content-Length: ", b"Content-Length: 9"),
    "truncated in the key": lambda asked: reply(400, echo(asked))[: -len(echo(asked)) + echo(asked).index(CORE.encode()) + 4],
    "a chunk of no length": _chunked,
    "continue": lambda asked: f"HTTP/1.1 103 {asked.key}\r\nLink: <{asked.key}>\r\n\r\n".encode() + reply(400, echo(asked)),
    "a status line of nonsense": lambda asked: f"HTTP/9 {asked.key}\r\n{asked.key}\r\n\r\n".encode(),
    "a status of nonsense": lambda asked: f"HTTP/1.1 {asked.key} x\r\n\r\n".encode(),
    "a huge header": lambda asked: reply(400, echo(asked), f"X-Key: {asked.key * 9000}\r\n"),
    "many headers": lambda asked: reply(400, echo(asked), f"X-Key: {asked.key}\r\n" * 5000),
    "headers that are no text": lambda asked: reply(400, echo(asked)).replace(b"Connection:", b"Retry-After: \xff\xfe" + asked.key.encode() + b"\r\nX:"),
    "a body that is no text": lambda asked: reply(400, b'{"detail": "\xff' + asked.key.encode() + b'"}'),
    "a length of nonsense": lambda asked: f"HTTP/1.1 400 x\r\nContent-Length: {asked.key}\r\n\r\n".encode(),
    "an encoding of nonsense": lambda asked: reply(400, echo(asked), f"Content-Encoding: {asked.key}\r\n"),
    "a charset of nonsense": lambda asked: reply(400, echo(asked), f"Content-Type: {asked.key}; charset={asked.key}\r\n"),
    "nothing": lambda _asked: b"",
    "half a status line": lambda asked: f"HTTP/1.1 400 {asked.key}".encode(),
    "an upgrade": lambda asked: reply(101, echo(asked), f"Upgrade: {asked.key}\r\n"),
    "cookies": lambda asked: reply(400, echo(asked), f"Set-Cookie: key={asked.key}; Domain=localhost\r\nSet-Cookie: {asked.key}\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("batch", range(4))
def test_the_key_is_nowhere_whatever_a_read_is_answered(command: Command, service: Hostile, batch: int) -> None:
    """The command says one clear sentence; each time as loud as it can be."""
    for number, (name, answer) in enumerate(list(ANSWERS.items())[batch::4]):
        service.be(reads=answer)
        done = command(*LOUD[number % len(LOUD)], "plan", command.spec(DELETE))
        assert done.code in {4, 6}, f"{name}: {done.code}: {done.err}"
        assert "Traceback" not in done.err, f"{name}: {done.err}"
        assert any(asked.key == KEY for asked in service.asked), "the key was sent, so there was something to repeat"


@pytest.mark.parametrize("batch", range(4))
def test_the_key_is_nowhere_whatever_a_write_is_answered(command: Command, service: Hostile, batch: int) -> None:
    """Here errors are kept: in the checkpoint and in every report of it."""
    for number, (name, answer) in enumerate(list(ANSWERS.items())[batch::4]):
        service.be(writes=answer)
        loud = LOUD[(number + 2) % len(LOUD)]
        done = command(
            *loud, "run", command.spec((DELETE, EVALUATE)[number % 2], limits=HASTY), "--yes", "--format", "json"
        )
        assert done.code in {0, 3, 4, 6}, f"{name}: {done.code}: {done.err}"
        assert "Traceback" not in done.err, f"{name}: {done.err}"
    for number, path in enumerate(command.state_dir.glob("*.rebatch")):
        style = ("table", "json", "ndjson", "csv", "md")[number % 5]
        assert command("report", path, "--items", "--format", style, "--debug").code == 0
    command("status", "--debug")
    command("--debug", "resume", "--last", "--yes")
    command("list")


def test_the_key_is_nowhere_when_rows_hold_it(command: Command, service: Hostile) -> None:
    """What a row says becomes a fingerprint, and that is kept: name, status and times, in every form."""
    for form in forms(KEY).values():
        fields = ("name", "status", "updated_at", "agent_name", "success_rate", form)
        more: dict[str, Any] = dict.fromkeys(fields, f"{form}{HOSTILE}")
        service.be(reads=partial(page, **more))
        assert command("plan", command.spec(EVALUATE)).code == 0
    escaped = "".join(f"\\u{ord(char):04x}" for char in KEY).encode()
    body = page(Asked("GET", "/results/", b""), status="ESCAPED").partition(b"\r\n\r\n")[2].replace(b"ESCAPED", escaped)
    service.be(reads=always(reply(200, body)))
    assert command("run", command.spec(EVALUATE), "--yes", "--debug").code in {0, 3, 6}


def test_what_an_enemy_says_is_harmless_in_every_format(command: Command, service: Hostile) -> None:
    """No formula in CSV, one code span in Markdown; that there is no control or bidi character the rig looks at."""
    for said in ("=cmd|x;=1+1", HOSTILE, "|`</td><script>alert(1)</script>[a](javascript:1)\\"):
        command.forget()
        service.be(writes=always(reply(400, json.dumps({"detail": said}).encode())))
        assert command("run", command.spec(DELETE), "--yes").code == 3
        (path,) = command.state_dir.glob("*.rebatch")
        for line in csv.reader(io.StringIO(command("report", path, "--format", "csv").out)):
            assert not [
                cell for text in line for cell in text.split(";") if cell.lstrip().startswith(("=", "+", "-", "@"))
            ]
        for row in command("report", path, "--format", "md").out.splitlines():
            outside = "".join(row.split("`")[::2])
            assert "<" not in outside
            assert row.count("`") % 2 == 0
        command("report", path, "--items")


@contextmanager
def _tls(folder: Path) -> Iterator[str]:
    """A server whose certificate nobody has signed."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", "key.pem", "-out",
         "cert.pem", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with suppress(OSError), connection, context.wrap_socket(connection, server_side=True) as secured:
                        received.append(secured.recv(9999))

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(10)
    assert b"".join(received) == b"", "whom nobody vouches for gets nothing"


def test_the_key_goes_to_no_server_without_a_certificate_and_says_so(command: Command, tmp_path: Path) -> None:
    """A certificate of one's own making; nobody there at all."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with _tls(tmp_path) as unsigned:
        for url, words in (
            (unsigned, "certificate"),
            (nobody, "refused"),
        ):
            done = command("--debug", "plan", command.spec(DELETE), "--api-url", url)
            assert (done.code, words in done.err) == (6, True), done.err


@pytest.mark.parametrize("style", ["console", "json"])
def test_the_key_is_nowhere_when_something_unexpected_happens(
    command: Command, service: Hostile, tmp_path: Path, style: str
) -> None:
    """A kind of another package that says the request's headers in an error, a warning, a log line, a task that fails."""
    command.environment["PYTHONPATH"] = f"{install(tmp_path / 'site')}"
    spec = command.spec(DELETE, action={"type": "hostile"})
    for mode in MODES:
        for loud in ((), ("--debug",)) if style == "console" else (("-vv",), ("--debug",)):
            service.be()
            done = command(
                *loud,
                "--log-format",
                style,
                "run",
                spec,
                "--yes",
                HOSTILE=mode,
                PYTHONWARNINGS="always",
                PYTHONASYNCIODEBUG="1",
            )
            assert done.err, mode
            if mode in {"load", "group_of_errors", "recursion"}:
                theirs = mode == "load"  # a package that cannot be imported is no mistake of rebatch
                assert done.code == (2 if theirs else 1), f"{mode}: {done.err}"
                assert ("Traceback" in done.err) == ("--debug" in loud), f"{mode} {loud}: {done.err}"
                assert ("Mend or uninstall" if theirs else "This is a mistake in rebatch") in done.err


def test_debug_tells_where_an_error_came_from_with_its_causes_and_every_member_of_a_group(
    command: Command, tmp_path: Path
) -> None:
    """That is what it is for; the secrets are cut out, the rest stays."""
    command.environment["PYTHONPATH"] = f"{install(tmp_path / 'site')}"
    done = command(
        "run", command.spec(DELETE, action={"type": "hostile"}), "--yes", "--debug", HOSTILE="group_of_errors"
    )
    for wanted in (
        "group_of_errors",
        "hostile_kind.py",
        "KeyError",
        "direct cause",
        "ValueError",
        "inner",
        "OSError",
        "exchange",
        "(secret)",
    ):
        assert wanted in done.err, wanted
    said = command(
        "--debug",
        "--log-format",
        "json",
        "run",
        command.spec(DELETE, action={"type": "hostile"}),
        "--yes",
        HOSTILE="group_of_errors",
    )
    events = [json.loads(line) for line in said.err.splitlines() if line.startswith("{")]
    assert "direct cause" in events[-1]["exception"]


@pytest.mark.parametrize("key", [f"{KEY} {KEY}", f"{KEY}\n{KEY}", f"{KEY}\té", f"\x7f{KEY}", f"{KEY}\u202e"])
def test_a_key_that_is_none_is_refused_without_showing_it(command: Command, service: Hostile, key: str) -> None:
    """Exit 4; nothing is sent."""
    assert command("--debug", "plan", command.spec(DELETE), CEKURA_API_KEY=key).code == 4
    assert service.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "https://me:{}@127.0.0.1",
        "https://{}@127.0.0.1",
        "http://127.0.0.1/?key={}",
        "https://127.0.0.1/#{}",
        "{}",
        "https://{}.example/{}",
    ],
)
def test_a_key_in_an_address_is_refused_without_showing_it(command: Command, address: str) -> None:
    """Whether it is the key in use, or one that nobody else knows of."""
    spec = command.spec(DELETE)
    for secret in (KEY, TOKENS[0]):
        url = address.format(secret, secret)
        assert command("--debug", "plan", spec, CEKURA_API_URL=url).code == 2
        assert command("-v", "plan", spec, "--api-url", url).code == 2


def test_a_key_that_was_typed_where_it_does_not_belong_is_not_repeated(command: Command) -> None:
    """As a job, a folder, an option, a field of a spec, a value of one; and a spec that holds it makes no job."""
    for arguments in (
        ("run", KEY, "--yes"),
        ("status", KEY),
        (KEY,),
        ("report", f"{KEY}/x.rebatch"),
        ("check", KEY),
    ):
        assert command(*arguments).code == 2, arguments
    for changes in (
        {KEY: 1},
        {"name": KEY},
        {"where": {KEY: 1}},
        {"where": {"status": KEY}},
        {"scope": {"agent_id": KEY}},
        {"limits": {"rate": KEY}},
    ):
        assert command("check", command.spec(DELETE, **changes)).code == 2, changes
    done = command("plan", command.spec(DELETE, scope={"search": KEY}))
    assert (done.code, "holds the API key" in done.err) == (2, True)
    assert list(command.state_dir.glob("*")) == []


def test_the_login_file_serves_and_nothing_of_it_is_shown(command: Command, service: Hostile) -> None:
    """Neither the key nor the tokens beside it."""
    login = command.home / ".cekura" / "config.toml"
    login.write_text(login.read_text().replace(command.trap.url, service.url))
    service.be(reads=lambda asked: reply(400, echo(asked)[:-1] + f', "tokens": "{TOKENS}"}}'.encode()))
    for loud in LOUD:
        assert (
            command(*loud, "plan", command.spec(DELETE), CEKURA_API_KEY="", CEKURA_API_URL="").code == 4
        )  # set, but empty
    usual: Callable[[], dict[str, str]] = command._usual
    command._usual = lambda: {name: value for name, value in usual().items() if not name.startswith("CEKURA")}  # type: ignore[method-assign]
    for loud in LOUD:
        assert command(*loud, "plan", command.spec(DELETE)).code == 6
    assert {asked.key for asked in service.asked} == {KEY}


def test_the_search_for_the_key_finds_it(command: Command) -> None:
    """Or all of this would prove nothing."""
    for name, form in forms(KEY).items():
        assert leaks(f"… {form} …".encode()), name
    assert leaks(b"..." + KEY.encode()[7:20] + b"...")
    with pytest.raises(AssertionError):
        command.check(command("version").__class__(0, "", f"x{KEY}", 0))
