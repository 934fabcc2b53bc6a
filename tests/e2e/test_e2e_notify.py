"""Telling of a job that a person has run: whom its spec names hears of it, and nothing of it changes the job."""

from __future__ import annotations

import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from engine.schedule.book import Book
from tests.e2e.nightly import Inbox
from tests.e2e.rig import DELETE, EVALUATE, Rebatch, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

EVERYTHING = ("success", "failure", "held", "guard", "changed")
CASES: dict[str, tuple[int, list[str], list[str], dict[str, Any]]] = {
    "success": (0, ["success"], [], {}),
    "failure": (3, ["failure"], ["--poison=2%"], {}),
    "guard": (5, ["guard"], [], {"guards": {"max_items": 1}}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_end_of_a_job_is_told(rebatch: Rebatch, open_world: Open, inbox: Inbox, case: str) -> None:
    """With its exit code, its counts, the way to its report, and a beat that says whether all is well."""
    code, events, options, changes = CASES[case]
    world = open_world("--results=150", "--evaluation-time=20ms", *options)
    spec = rebatch.at(world.url).spec(EVALUATE, notify=inbox.notify(*EVERYTHING), **changes)
    rebatch("run", spec, "--yes", code=code)
    (told,) = inbox.told
    assert (told["version"], told["spec"], told["job"], told["tick"]) == (1, "evaluate", rebatch.job(), None)
    assert (told["exit_code"], told["events"], told["event"]) == (code, events, events[0])
    assert told["report"] == rebatch("report", rebatch.job(), "--format", "json").json
    assert told["text"].startswith(f"evaluate: job {rebatch.job()} ")
    assert (f"rebatch report {rebatch.job()}" in told["text"]) == (code != 0)
    assert inbox.beats == ["success" if code == 0 else "fail"]
    (arrival,) = inbox.of("/hook")
    assert arrival.headers["Content-Type"] == "application/json"
    assert arrival.headers["Idempotency-Key"] == f'"{told["id"]}"'


def test_whoever_did_not_ask_for_an_event_hears_nothing_of_it(rebatch: Rebatch, open_world: Open, inbox: Inbox) -> None:
    """Nor does anybody of a plan, or of a job that a signal has interrupted: it is told when it has ended."""
    world = open_world("--results=400", "--evaluation-time=20ms")
    notify = [{"on": ["failure"], "urls": [f"{inbox.url}/failures"]}, *inbox.notify("success", "failure")]
    spec = rebatch.at(world.url).spec(EVALUATE, notify=notify)
    rebatch("plan", spec)
    world.change(latency="200ms")
    live = rebatch.start("run", rebatch.job(), "--yes")
    until(lambda: world.count("POST") >= 2, "some chunks")
    live.send(signal.SIGTERM)
    assert live.wait().code == 143
    assert inbox.arrivals == []
    world.change(latency="0s")
    rebatch("resume", rebatch.job())
    (told,) = inbox.told
    assert (told["job"], told["event"]) == (rebatch.job(), "success")
    assert inbox.of("/failures") == []
    rebatch("resume", rebatch.job())
    assert len(inbox.told) == 1, "it was over"


def test_a_receiver_that_cannot_be_told_changes_nothing(rebatch: Rebatch, open_world: Open, inbox: Inbox) -> None:
    """Nobody there, an error, an unset variable: the exit code stays, it is said without a secret, and kept to be told."""
    world = open_world("--results=100")
    inbox.answer = lambda path: 500 if path == "/hook/of-mine-51873" else 200
    urls = ["http://127.0.0.1:9/nobody", "${NOT_SET}", "${HOOK}"]
    notify = [{"on": ["success", "guard"], "urls": urls, "ping": "http://127.0.0.1:9/beat"}]
    rebatch.at(world.url)
    for name, guards, code in (("refused.yaml", {"max_items": 1}, 5), ("spec.yaml", {}, 0)):
        spec = rebatch.spec(DELETE, notify=notify, guards=guards, name=name)
        done = rebatch("run", spec, "--yes", "--format", "json", code=code, HOOK=f"{inbox.url}/hook/of-mine-51873")
        assert done.json["job"] in {path.stem for path in rebatch.checkpoints}
        failed = [line for line in done.err.splitlines() if line.startswith("delete: telling ")]
        assert sorted(failed) == [
            "delete: telling ${HOOK} failed: the receiver answered 500",
            "delete: telling ${NOT_SET} failed: NOT_SET is not set",
            "delete: telling http://127.0.0.1:9/beat failed: connection refused",
            "delete: telling http://127.0.0.1:9/nobody failed: connection refused",
        ]
        assert "51873" not in done.err
    assert len(inbox.of("/hook/of-mine-51873")) == 2
    book = Book.look(rebatch.state_dir)
    assert book
    with closing(book):
        assert len(book.undelivered("delete")) == 8
    secret = [path for path in rebatch.home.rglob("*") if path.is_file() and b"51873" in path.read_bytes()]
    assert secret == []


def test_a_book_that_takes_nothing_changes_nothing(rebatch: Rebatch, open_world: Open, inbox: Inbox) -> None:
    """Not even the place to keep what is to be told is needed for a job."""
    world = open_world("--results=60")
    rebatch.state_dir.mkdir(mode=0o700)
    (rebatch.state_dir / "schedules.book").write_bytes(b"no book of schedules" * 500)
    done = rebatch.at(world.url)("run", rebatch.spec(DELETE, notify=inbox.notify("success")), "--yes")
    assert "Telling of it failed: " in done.err
    assert rebatch.state() == "finished"
    assert inbox.arrivals == []
