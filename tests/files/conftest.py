"""Rows of a list, and a real object store in a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

BUCKET = "exports"


def _answers(url: str, method: str = "GET") -> bool:
    try:
        urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=5).close()
    except urllib.error.URLError:
        return False
    return True


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of an S3 over HTTP with one bucket; it is told its port as an open socket would have it, so it is free."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", url.rpartition(":")[2]]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:  # it says where it runs as soon as it listens
                if "Running on" in line:
                    break
            Thread(target=process.stderr.read, daemon=True).start()  # or it would wait for us with a full pipe
            assert _answers(f"{url}/{BUCKET}", "PUT")
            yield url
        finally:
            process.kill()


@pytest.fixture
def store(s3: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of that store, which the environment names, as it names its credentials."""
    for name, value in {
        "AWS_ENDPOINT": s3,
        "AWS_ALLOW_HTTP": "true",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    return s3
