"""`make demo`, as it is typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_demo_ends_with_the_right_count(tmp_path: Path) -> None:
    """It is killed in the middle, resumes, and the sandbox counts every eligible run once."""
    done = subprocess.run(
        [sys.executable, "-m", "jobs.demo"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Killed." in done.stdout
    assert "Every eligible run was evaluated once." in done.stdout
