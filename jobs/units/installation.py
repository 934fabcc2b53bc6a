"""What the units of a spec file must know: the command that they start, and what that needs around it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.errors import UsageError
from engine.files.target import Target, read_target
from engine.kind import Change, Export, NamedScope
from engine.notices.notify import variables
from engine.schedule.when import Schedule
from engine.spec import JobSpec
from engine.text import harmless

KEY = "CEKURA_API_KEY"
_DRAIN_S = 60.0  # after the longest wait for an answer: to write down what came, and to close the files
_PLACEHOLDER = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class File:
    """A file to be made of an installation: its name, what it holds, and how it is put to use."""

    name: str
    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Installation:
    """A spec file that a timer is to start. All paths are absolute; `jobs` are those of the spec that come round."""

    name: str
    spec: Path
    text: str  # of the spec
    jobs: Sequence[JobSpec]
    command: Path
    state_dir: Path
    environment: Path  # the file that holds the key
    version: str
    whole_hours: bool = True  # whether the clocks of the machine are so far from UTC
    api_url: str | None = None
    image: str = ""

    @property
    def schedules(self) -> list[Schedule]:
        """The schedules of its jobs."""
        return [job.schedule for job in self.jobs if job.schedule]

    @property
    def variables(self) -> list[str]:
        """The environment's variables that it takes: the key, and those that its notices name."""
        addresses = [address for job in self.jobs for each in job.notify for address in [*each.urls, each.ping or ""]]
        return list(dict.fromkeys([KEY, *variables(addresses)]))

    @property
    def drain_s(self) -> int:
        """How long the command may need to stop: what is in flight finishes first."""
        return int(max(job.limits.timeout for job in self.jobs) + _DRAIN_S)

    @property
    def extras(self) -> list[str]:
        """The extras of the package that it takes."""
        targets = list(self.targets)
        urls = [url for job in self.jobs for each in job.notify for url in each.urls]
        needed = {
            "apprise": any(url.startswith("${") for url in urls),  # may be anything that apprise knows
            "objects": any(not target.is_local for target in targets),
            "parquet": any(target.format == "parquet" for target in targets),
        }
        return [extra for extra, need in needed.items() if need]

    @property
    def targets(self) -> Iterator[Target]:
        """Where its jobs write to."""
        for job in self.jobs:
            if isinstance(job.kind, Export):
                yield job.kind.target(job.action)
            elif isinstance(job.kind, Change) and (path := job.kind.backup(job.action)):
                yield read_target(path, [])

    @property
    def written(self) -> list[str]:
        """What its jobs write to the disk: folders, and patterns of files, as seen from where they work."""
        found = (
            target.fixed.rstrip("/") or _PLACEHOLDER.sub("*", "/".join([*target.folders, target.stem])) + "*"
            for target in self.targets
            if target.is_local
        )
        return list(dict.fromkeys(found))

    @property
    def read(self) -> list[str]:
        """The files that its jobs read ids from."""
        files = [job.scope.ids_from for job in self.jobs if isinstance(job.scope, NamedScope)]
        return [file for file in files if file]

    def words(self, command: str, spec: str, *options: str) -> list[str]:
        """The command line: one pass over what is due."""
        address = ["--api-url", self.api_url] if self.api_url else []
        return [command, *options, *address, "run", "--scheduled", spec]


def name_of(spec: Path) -> str:
    """A name for units from that of a spec file: small letters, digits and hyphens, as Kubernetes wants them."""
    return re.sub(r"[^a-z0-9]+", "-", spec.stem.lower()).strip("-")[:40].strip("-") or "spec"


def check_text(text: str) -> None:
    """Raises UsageError for what cannot be written into a unit: a line's end in a path, or what is not text."""
    if harmless(text) != text:
        raise UsageError(f"“{harmless(text)}” cannot be written into units.", "Give it another name.")
