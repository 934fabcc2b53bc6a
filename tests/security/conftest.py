"""The command among enemies: a hostile service, and a trap that nothing must ever connect to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

pytest.register_assert_rewrite("tests.security.canary")

from tests.security.canary import KEY, TOKENS, harmful, leaks  # noqa: E402 - only now: see above
from tests.security.hostile import Hostile, listening  # noqa: E402 - as above

ROOT = Path(__file__).parents[2]
DELETE: dict[str, Any] = {
    "name": "delete",
    "resource": "results",
    "action": {"type": "delete_results"},
    "guards": {"require_complete": False},  # the lists of these services follow no rule
    "limits": {"rate": "500/s", "attempts": 1, "timeout": "5s", "settle": "0s", "verify": "0s"},
}
EVALUATE: dict[str, Any] = {**DELETE, "name": "evaluate", "action": {"type": "evaluate_metrics", "metrics": [11]}}


@dataclass(frozen=True)
class Done:
    """How a command ended, what it said, and how much memory it took at most, in MiB."""

    code: int
    out: str
    err: str
    memory: float


@dataclass
class Command:
    """The command. Whatever it says and writes, it never says the key nor a harmful character; nothing reaches the trap."""

    home: Path
    url: str
    trap: Hostile
    _zygote: subprocess.Popen[str]
    environment: dict[str, str] = field(default_factory=dict)
    births: Path | None = None
    umask: int = 0o022

    @property
    def state_dir(self) -> Path:
        """Where its checkpoints are."""
        return self.home / "state"

    def __call__(self, *arguments: str | Path, checked: bool = True, **environment: str) -> Done:
        """Run it to its end; `checked` looks for the key at once."""
        out, err = self.home / "out", self.home / "err"
        order = {
            "arguments": [str(word) for word in arguments],
            "environment": {**self._usual(), **self.environment, **environment},
            "in": "/dev/null",
            "out": str(out),
            "err": str(err),
            "cwd": str(self.home),
            "umask": self.umask,
            "births": self.births and str(self.births),
        }
        assert self._zygote.stdin is not None
        assert self._zygote.stdout is not None
        self._zygote.stdin.write(json.dumps(order) + "\n")
        self._zygote.stdin.flush()
        answer = json.loads(self._zygote.stdout.readline())
        done = Done(
            answer["code"], out.read_text(errors="replace"), err.read_text(errors="replace"), answer["maxrss"] / 1024
        )
        if checked:
            self.check(done)
        return done

    def check(self, done: Done) -> None:
        """Nothing got out: not on the screen, not into a file, not to another place."""
        assert leaks(done.out.encode()) == [], done.out
        assert leaks(done.err.encode()) == [], done.err
        assert harmful(done.out + done.err) == [], done.out + done.err
        kept = [path for path in self.state_dir.rglob("*") if path.is_file()]
        assert {path.name: found for path in kept if (found := leaks(path.read_bytes()))} == {}
        assert self.trap.connections == 0

    def spec(self, *jobs: Mapping[str, Any], **changes: Any) -> Path:
        """Write a spec of these jobs; JSON is YAML."""
        path = self.home / "spec.yaml"
        path.write_text(json.dumps({"version": 1, "jobs": [{**job, **changes} for job in jobs]}), encoding="utf-8")
        return path

    def forget(self) -> None:
        """Remove all jobs."""
        for path in self.state_dir.glob("*"):
            path.unlink()

    def _usual(self) -> dict[str, str]:
        """With every variable that could lead elsewhere leading to the trap."""
        proxies = dict.fromkeys(
            ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"), self.trap.url
        )
        return {
            **proxies,
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "LC_ALL": "C.UTF-8",
            "REBATCH_STATE_DIR": str(self.state_dir),
            "CEKURA_API_URL": self.url,
            "CEKURA_API_KEY": KEY,
            "NETRC": str(self.home / ".netrc"),
        }


@pytest.fixture(scope="session")
def zygote() -> Iterator[subprocess.Popen[str]]:
    """What commands are forked from."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.security.zygote"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="session")
def service() -> Iterator[Hostile]:
    """The hostile service."""
    with listening() as hostile:
        yield hostile


@pytest.fixture(scope="session")
def trap() -> Iterator[Hostile]:
    """Where nothing must ever come."""
    with listening() as hostile:
        yield hostile


@pytest.fixture
def command(tmp_path: Path, zygote: subprocess.Popen[str], service: Hostile, trap: Hostile) -> Command:
    """The command in a home of its own, with a login file and a .netrc."""
    home = tmp_path / "home"
    (home / ".cekura").mkdir(parents=True)
    login = f'access_token = "{TOKENS[0]}"\napi_key = "{KEY}"\napi_url = "{trap.url}"\nrefresh_token = "{TOKENS[1]}"\n'
    (home / ".cekura" / "config.toml").write_text(login)
    (home / ".netrc").write_text("machine 127.0.0.1 login netrc-user password netrc-password\n")
    (home / ".netrc").chmod(0o600)
    service.be()
    trap.be()
    return Command(home, service.url, trap, zygote)
