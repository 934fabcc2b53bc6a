"""The nightly example of the README, as it is typed there, against the sandbox."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.yamlfile import parse_yaml
from tests.e2e.rig import Live, Rebatch, until

if TYPE_CHECKING:
    from tests.e2e.conftest import Open

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
CHAPTER = README.partition("## Every night")[2].partition("\n## ")[0]
COMMANDS = [shlex.split(line) for line in re.findall(r"^    \$ rebatch (.*)$", CHAPTER, re.MULTILINE)]


def test_the_example_of_the_readme_is_that_of_init(rebatch: Rebatch) -> None:
    """What is shown is what is written."""
    rebatch("init")
    written = parse_yaml((rebatch.home / "nightly.yaml").read_text(encoding="utf-8")).value["jobs"][0]
    (shown,) = re.findall(r"```yaml\n(.*?)```", CHAPTER, re.DOTALL)
    for name, value in parse_yaml(shown).value.items():
        assert written[name] == value


def test_the_nightly_example_works_as_typed(rebatch: Rebatch, open_world: Open) -> None:
    """Each command in its turn, `serve` in a terminal of its own."""
    world = open_world("--results=5000", "--seed=7")
    rebatch.at(world.url)("init")
    served: list[Live] = []
    said = {}
    for command in COMMANDS:
        if command[0] == "serve":
            served.append(rebatch.start(*command))
            until(lambda: "next" in served[0].said, "what it says when it is ready")
        else:
            said[" ".join(command[:2])] = rebatch(*command).out
    assert said["schedule next"].startswith("nightly-reevaluation  30 2 * * * Europe/Berlin\n  ")
    assert re.search(r"nightly-reevaluation · finished in \d+s\n  confirmed +\d+ ", said["schedule run"])
    assert re.search(r"^nightly-reevaluation +on time +\S+ \S+ \S+ +success ", said["schedule ls"], re.MULTILINE)
    assert len(served) == 1
    assert set(world.evaluations().values()) == {1}


@pytest.mark.parametrize("command", ["schedule next", "serve", "schedule run", "schedule ls", "schedule install"])
def test_the_chapter_shows_the_commands_that_matter(command: str) -> None:
    """So that the test above cannot become empty."""
    assert f"rebatch {command}" in CHAPTER
