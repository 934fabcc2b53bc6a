"""What every simulation needs."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Nothing is logged: the sandbox and the engine share this process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
    structlog.reset_defaults()


@pytest.fixture
def in_memory(tmp_path: Path) -> Iterator[Path]:
    """A folder whose syncs cost nothing, where the system has one: a year of them takes minutes on a disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="rebatch-test-") as folder:
        yield Path(folder)
