"""Kinds from other packages: the worked example of the documentation, and packages that are broken."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.rig import Rebatch

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

DOCUMENT = (Path(__file__).parents[2] / "docs" / "kinds.md").read_text(encoding="utf-8")
ROOT = Path(__file__).parents[2]


def blocks(language: str) -> list[str]:
    """The code blocks of the document."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL)


def install(folder: Path, code: str, entry_points: dict[str, str], package: str = "rebatch-scores") -> None:
    """What an installer leaves behind: the module, and beside it what the package says of itself."""
    folder.mkdir()
    (folder / "rebatch_scores.py").write_text(code, encoding="utf-8")
    about = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", encoding="utf-8")
    lines = "".join(f"{name} = {value}\n" for name, value in entry_points.items())
    (about / "entry_points.txt").write_text(f"[rebatch.kinds]\n{lines}", encoding="utf-8")


def test_the_example_of_the_documentation_is_found_conforms_and_works(
    rebatch: Rebatch, open_world: Open, tmp_path: Path
) -> None:
    """Its entry point, its code, its test and its spec, as they stand there."""
    code, test = blocks("python")
    project = tomllib.loads(blocks("toml")[0])["project"]
    install(tmp_path / "site", code, project["entry-points"]["rebatch.kinds"])
    (tmp_path / "test_rebatch_scores.py").write_text(test, encoding="utf-8")
    own = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_rebatch_scores.py")]
    done = subprocess.run(
        own,
        env={"PYTHONPATH": f"{tmp_path / 'site'}:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert (done.returncode, "1 passed" in done.stdout) == (0, True), done.stdout
    world = open_world("--results=300")
    runs = {run["id"]: run for row in world.results(agent_id=101).values() for run in row["runs"].values()}
    (rebatch.home / "scores.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    rebatch.at(world.url)("check", "scores.yaml", PYTHONPATH=str(tmp_path / "site"))
    report = rebatch("run", "scores.yaml", "--format", "json", PYTHONPATH=str(tmp_path / "site")).json
    rows = [json.loads(line) for line in (rebatch.home / "scores.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["id"] for row in rows} == runs.keys()
    assert report["counts"]["confirmed"] == len(rows) == len(runs)
    assert {score["metric"] for row in rows for score in row["scores"]} >= {11, 12}
    assert "unknown kind “export_scores”" in rebatch("check", "scores.yaml", code=2).err


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nowhere_to_be_found", "cannot be loaded: ModuleNotFoundError"),
        ("x = 1", "cannot be loaded: AttributeError"),
        ("class ExportScores: pass", "is no kind: it must be derived from Change or Export"),
        (
            "class ExportScores:\n    def __init__(self): raise OSError('\\x1b[31m')",
            "cannot be loaded: OSError: <001b>[31m",
        ),
    ],
)
def test_a_package_that_is_broken_is_named(rebatch: Rebatch, tmp_path: Path, code: str, said: str) -> None:
    """One sentence, exit code 2, and no traceback."""
    install(tmp_path / "site", code, {"export_scores": "rebatch_scores:ExportScores"})
    told = rebatch("schema", PYTHONPATH=str(tmp_path / "site"), code=2).err
    assert said in told
    assert "Mend or uninstall rebatch-scores." in told
