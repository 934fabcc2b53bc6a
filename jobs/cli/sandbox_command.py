"""`rebatch sandbox`: a local Cekura for rehearsal, in a process of its own."""

import asyncio
import errno
import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

import rich_click as click

from jobs.cli.options import global_options
from jobs.sandbox.settings import Settings, amount, changed

if TYPE_CHECKING:
    from jobs.sandbox.state import Sandbox

_BANNER = """\
Sandbox of {results:,} results, {runs:,} runs (seed {seed}) at {url}
  key    {key}
  audit  {url}/sandbox/audit

In another terminal:
  export CEKURA_API_URL={url} CEKURA_API_KEY={quoted_key}
  rebatch init
  rebatch plan reevaluate.yaml
Ctrl-C stops it."""


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for each setting that can also be changed while the sandbox works."""
    for each in reversed(fields(Settings)):
        flag = f"--{each.name.replace('_', '-')}"
        click.option(flag, metavar="VALUE", callback=_read, help=each.metadata["meaning"])(command)
    return command


def _read(_context: click.Context, parameter: click.Parameter, text: str | None) -> str | None:
    if text is not None and parameter.name is not None:
        try:
            changed(Settings(), {parameter.name: text})
        except ValueError as error:
            raise click.BadParameter(str(error).partition(": ")[2]) from None
    return text


def _loopback(_context: click.Context, _parameter: click.Parameter, host: str) -> str:
    if host != "127.0.0.1":
        raise click.BadParameter("the sandbox listens on 127.0.0.1 only, it is no service for others.")
    return host


def _moment(_context: click.Context, _parameter: click.Parameter, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a time: write it like 2026-01-31T12:00:00Z.") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _credits(_context: click.Context, _parameter: click.Parameter, text: str | None) -> float | None:
    try:
        return None if text is None else amount(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}.") from None


@click.command(name="sandbox")
@click.option(
    "--results",
    type=click.IntRange(0, 10_000_000),
    default=5000,
    show_default=True,
    help="How many to begin with.",
)
@click.option(
    "--seed",
    type=int,
    default=7,
    show_default=True,
    help="The same seed, the same world and the same mishaps.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8410, show_default=True, help="0 is any free one.")
@click.option("--host", default="127.0.0.1", show_default=True, callback=_loopback, help="Loopback only.")
@click.option("--key", default="sandbox-key", show_default=True, help="The API key that is let in.")
@click.option("--db", "path", type=click.Path(dir_okay=False, path_type=Path), help="Keep the world in this file.")
@click.option("--now", callback=_moment, metavar="TIME", help="When the world begins (ISO 8601); default: now.")
@click.option("--balance", callback=_credits, metavar="CREDITS", help="Credits of the account; default: plenty.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON instead of the banner.")
@click.option("--die-with-parent", is_flag=True, hidden=True, help="Stop when standard input closes.")
@_with_settings
@global_options
def sandbox_command(
    *,
    results: int,
    seed: int,
    port: int,
    host: str,
    key: str,
    path: Path | None,
    now: datetime | None,
    balance: float | None,
    as_json: bool,
    die_with_parent: bool,
    **settings: str | None,
) -> None:
    """Run a local Cekura to rehearse against, with an audit of what really happened to it.

    Every mishap is off by default. All from --latency on can be changed while it runs, and --balance:
    curl -X PATCH -d '{"errors_after": "5%"}' URL/sandbox/faults
    """
    from jobs.sandbox import server, state  # noqa: PLC0415 - aiohttp and apsw are for those who start it

    _stop_quietly(die_with_parent=die_with_parent)
    listening = _listen(server.listen, host, port)
    wanted = changed(Settings(), {name: text for name, text in settings.items() if text is not None})
    try:
        built = state.build(
            results=results,
            seed=seed,
            key=key,
            balance=balance,
            now=now,
            path=path,
            settings=wanted,
        )
    except state.NotASandboxError as error:
        raise _RefusedError(f"{error}.") from None

    def announce() -> None:
        print(_announcement(built, f"http://{host}:{listening.getsockname()[1]}", as_json=as_json), flush=True)

    asyncio.run(server.serve(server.application(built), listening, announce))


def _announcement(built: "Sandbox", url: str, *, as_json: bool) -> str:
    results, runs = built.size()
    facts: dict[str, Any] = {
        "url": url,
        "key": built.key,
        "results": results,
        "runs": runs,
        "seed": built.seed,
    }
    if as_json:
        return json.dumps(facts | {"pid": os.getpid()})
    return _BANNER.format(**facts, quoted_key=quote(built.key))


def _listen(listen: Callable[[str, int], socket.socket], host: str, port: int) -> socket.socket:
    try:
        return listen(host, port)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise _RefusedError(f"Port {port} cannot be opened: {error.strerror}.") from None
        raise _RefusedError(f"Port {port} is taken: name another with --port, or --port 0 for any free one.") from None


class _RefusedError(click.ClickException):
    """The sandbox cannot be started as asked; no usage lines, one sentence."""

    exit_code = 2


def _stop_quietly(*, die_with_parent: bool) -> None:
    """Exit with 0 on SIGINT and SIGTERM, also while the world is being made; a closed stdin may count as one."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, lambda *_: sys.exit(0))
    if die_with_parent:
        threading.Thread(target=_watch_stdin, daemon=True).start()


def _watch_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sandbox_command()
