"""What the tests are made with: the real command in a process, a real sandbox in another, and facts to wait for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from engine.jobledger import JobLedger
from tests.service import Sandbox

COMMAND = Path(sys.executable).with_name("rebatch")
KEY = "ck-e2e-7c41d2-must-not-be-seen"
METRIC = 11  # in the scope of every agent
DEADLINE_S = 60.0
V1 = "/test_framework/v1"
FINISHED = ("completed", "failed")

# Results with something to evaluate: those without are accepted by the service, but never move.
WITH_RUNS: dict[str, Any] = {
    "status": list(FINISHED),
    "any": [{"completed_runs_count": {"gt": 0}}, {"failed_runs_count": {"gt": 0}}],
}
EVALUATE: dict[str, Any] = {
    "name": "evaluate",
    "resource": "results",
    "where": WITH_RUNS,
    "action": {"type": "evaluate_metrics", "metrics": [METRIC]},
    "limits": {"rate": "200/s", "concurrency": 4, "timeout": "2s", "settle": "1s"},
}
DELETE: dict[str, Any] = {
    "name": "delete",
    "resource": "results",
    "where": {"status": ["failed", "timeout", "cancelled"]},
    "action": {"type": "delete_results"},
    "limits": {"rate": "200/s", "concurrency": 4, "timeout": "2s", "settle": "1s"},
}
Row = dict[str, Any]


def until(fact: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
    """Wait until `fact()` is true; the answer is what it gave. Fails after the deadline with `what` was waited for."""
    ends = time.monotonic() + deadline_s
    while not (found := fact()):
        assert time.monotonic() < ends, f"never came about: {what}"
        time.sleep(0.02)
    return found


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value on stdout."""
        return json.loads(self.out)


@dataclass
class Live:
    """A command under way, writing to files so that what it said can be read meanwhile."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def said(self) -> str:
        """What it has said on stderr so far."""
        return self.err.read_text(encoding="utf-8")

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self) -> Done:
        """Wait for its end."""
        code = self.process.wait(DEADLINE_S)
        return _checked(Done(code, self.out.read_text(encoding="utf-8"), self.said))

    def kill(self) -> Done:
        """SIGKILL, unless it has ended already: the code tells."""
        self.process.kill()
        return self.wait()


@dataclass
class Rebatch:
    """The command, in an environment of its own below `home`. Whatever it says, it never says the key nor a traceback."""

    home: Path
    environment: dict[str, str]
    _number: int = 0
    _live: list[Live] = field(default_factory=list)

    @property
    def state_dir(self) -> Path:
        """Where its checkpoints are."""
        return Path(self.environment["REBATCH_STATE_DIR"])

    @property
    def checkpoints(self) -> list[Path]:
        """The checkpoints there are."""
        return sorted(self.state_dir.glob("*.rebatch"))

    def at(self, url: str | None, key: str | None = KEY) -> Rebatch:
        """Use this service from now on; None takes the variable out of the environment."""
        for name, value in (("CEKURA_API_URL", url), ("CEKURA_API_KEY", key)):
            self.environment.pop(name, None)
            if value is not None:
                self.environment[name] = value
        return self

    def __call__(self, *arguments: str | Path, code: int = 0, **environment: str) -> Done:
        """Run a command to its end, which must be `code`; there is no terminal."""
        done = self.start(*arguments, **environment).wait()
        assert done.code == code, f"exit {done.code}, not {code}\n{done.out}\n{done.err}"
        return done

    def start(self, *arguments: str | Path, **environment: str) -> Live:
        """Start a command."""
        return self._start([COMMAND, *arguments], environment)

    def shell(self, script: str) -> Done:
        """Run a shell script in which `rebatch` is the command."""
        path = f"{COMMAND.parent}:{os.environ['PATH']}"
        return self._start(["/bin/sh", "-c", script], {"PATH": path}).wait()

    def _start(self, command: Iterable[str | Path], environment: Mapping[str, str]) -> Live:
        self._number += 1
        out, err = (self.home / f"{self._number}.{stream}" for stream in ("out", "err"))
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.home,
                env={**self.environment, **environment},
            )
        live = Live(process, out, err)
        self._live.append(live)
        return live

    def spec(self, *jobs: Mapping[str, Any], name: str = "spec.yaml", **changes: Any) -> Path:
        """Write a spec of these jobs, each with the changes, of which None takes a key out; JSON is YAML."""
        written = [{key: value for key, value in {**job, **changes}.items() if value is not None} for job in jobs]
        path = self.home / name
        path.write_text(json.dumps({"version": 1, "jobs": written}), encoding="utf-8")
        return path

    def job(self) -> str:
        """The id of the only job there is."""
        (path,) = self.checkpoints
        return path.stem

    def state(self) -> str:
        """The state of the only job, by its checkpoint."""
        (path,) = self.checkpoints
        return str(JobLedger.look(path).job["state"])

    def close(self) -> None:
        """End what still runs, and see that the key is in no file."""
        for live in self._live:
            if live.process.poll() is None:
                live.process.kill()
                live.process.wait()
        holding = [path for path in self.home.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
        assert [path for path in holding if path.name != "config.toml"] == []


def _checked(done: Done) -> Done:
    assert "Traceback" not in done.err + done.out, done.err
    assert KEY not in done.err + done.out
    return done


@dataclass
class World:
    """A sandbox as a test sees it: what there is, and what really happened to it."""

    sandbox: Sandbox
    before: int = 0  # requests of the test's own

    @property
    def url(self) -> str:
        """Where it is."""
        return self.sandbox.url

    def audit(self) -> Any:
        """What really happened, in sum."""
        return self._ask("GET", "/sandbox/audit")

    def requests(self) -> list[tuple[str, str, int | None]]:
        """Method, path and status of every request since the world was last surveyed."""
        return [(method, path, status) for _, method, path, status in self.arrivals()]

    def count(self, method: str) -> int:
        """How many requests of this method have come."""
        return sum(request[0] == method for request in self.requests())

    def change(self, **settings: str) -> None:
        """Change settings."""
        self._ask("PATCH", "/sandbox/faults", json.dumps(settings).encode())

    def evaluations(self, metric: int = METRIC) -> dict[int, int]:
        """How often each run was evaluated."""
        found = self._ask("GET", f"/sandbox/audit/evaluations?metric_id={metric}")
        return {int(run): times for run, times in found.items()}

    def results(self, **scope: Any) -> dict[int, Row]:
        """All results there are, by id. Forgets the requests so far."""
        rows: dict[int, Row] = {}
        number, more = 1, True
        while more:
            query = urlencode({**scope, "page": number, "page_size": 100})
            page = self._ask("GET", f"{V1}/results/?{query}")
            rows |= {row["id"]: row for row in page["results"]}
            number, more = number + 1, page["next"] is not None
        self.before = len(self._all_arrivals())
        return rows

    def arrivals(self) -> list[Any]:
        """The same, each with the second of its arrival before it."""
        return self._all_arrivals()[self.before :]

    def _all_arrivals(self) -> list[Any]:
        return list(self._ask("GET", "/sandbox/audit/requests"))

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        request = Request(self.url + path, body, {"X-CEKURA-API-KEY": self.sandbox.key}, method=method)
        with urlopen(request, timeout=30) as answer:
            return json.loads(answer.read())


def eligible(rows: Mapping[int, Row]) -> dict[int, set[int]]:
    """By result, the runs that an evaluation of what `WITH_RUNS` selects must take."""
    found = {
        row["id"]: {run["id"] for run in row["runs"].values() if run["status"] in FINISHED}
        for row in rows.values()
        if row["status"] in FINISHED
    }
    return {result: runs for result, runs in found.items() if runs}


def assert_each_once(world: World, wanted: Mapping[int, set[int]]) -> None:
    """Every eligible run of these results was evaluated, none twice, and no other run at all."""
    runs = {run for some in wanted.values() for run in some}
    happened = world.evaluations()
    twice = {run: times for run, times in happened.items() if times > 1}
    lost, foreign = runs - happened.keys(), happened.keys() - runs
    assert (len(runs) > 0, twice, len(lost), len(foreign)) == (True, {}, 0, 0)


def assert_all_confirmed(report: Mapping[str, Any], wanted: Iterable[int]) -> None:
    """The report has an item for each of these, none else, each confirmed, and says so in sum."""
    fates = Counter(item["fate"] for item in report["items"])
    assert sorted(item["id"] for item in report["items"]) == sorted(wanted)
    assert dict(fates) == {"confirmed": report["counts"]["planned"]}
    assert report["counts"]["confirmed"] == report["counts"]["planned"]
    assert (report["state"], report["completeness"]) == ("finished", "complete")
