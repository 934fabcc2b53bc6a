"""Where finished files become visible: a folder here, or an object store. Whole or not at all, and never over another."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import gettempdir, mkdtemp

from engine.private import sync_folder

from .disk import TEMPORARY, File, digest_of, disk, hidden_head, taken, temporary
from .target import Target

SPILL = ".spill"  # rows of a file that wait for their turn
Pair = tuple[Path, File]  # where it waits, and what it will be


class Place(ABC):
    """Methods raise OutputError."""

    @abstractmethod
    def temporary(self, path: str, sort: str = "") -> Path:
        """Where the file that will be `path` is written until it is whole."""

    @abstractmethod
    def must_be_free(self, path: str) -> None:
        """Raise OutputError when there is something of that name."""

    @abstractmethod
    def publish(self, pairs: Sequence[Pair]) -> None:
        """Make each file visible under its own name. If one cannot be, none is."""

    @abstractmethod
    def forget(self) -> None:
        """Remove what was only needed until now."""

    @abstractmethod
    def remove(self, path: str, known: File | None) -> None:
        """Remove a published file; one that is not what is `known` of it is somebody else's and stays."""

    @abstractmethod
    def sweep(self, fixed: str) -> None:
        """Remove the job's temporary files of a target; `fixed` is the folder that they are all below."""


class Folder(Place):
    """The file system. A hard link makes a name that did not exist, or fails: no other call does both everywhere."""

    def __init__(self, job: str) -> None:
        """`job` is part of temporary names."""
        self._job = job
        self._ends = (f".{job}{TEMPORARY}", f".{job}{SPILL}{TEMPORARY}") if job else (TEMPORARY,)

    def temporary(self, path: str, sort: str = "") -> Path:
        """Beside it: a link cannot lead to another file system."""
        return temporary(Path(path), self._job, sort)

    def must_be_free(self, path: str) -> None:
        """A link that leads nowhere is something, too."""
        if os.path.lexists(path):
            raise taken(path)

    def publish(self, pairs: Sequence[Pair]) -> None:
        """Link all, then remove the temporary names, then make sure of the folders."""
        linked: list[Path] = []
        try:
            for waiting, file in pairs:
                with disk(file.path):
                    os.link(waiting, file.path, follow_symlinks=False)
                linked.append(Path(file.path))
        except BaseException:
            for path in linked:
                path.unlink(missing_ok=True)
            raise
        for waiting, _ in pairs:
            with disk(waiting):
                waiting.unlink()
        for folder in dict.fromkeys(path.parent for path in linked):
            with disk(folder):
                sync_folder(folder)

    def forget(self) -> None:
        """Nothing is left."""

    def remove(self, path: str, known: File | None) -> None:
        """And the temporary files that were to become it."""
        final = Path(path)
        with disk(path), suppress(FileNotFoundError, NotADirectoryError):
            if known is None or (final.stat().st_size == known.bytes and digest_of(final) == known.sha256):
                final.unlink()
        with disk(path), suppress(FileNotFoundError, NotADirectoryError):
            for each in final.parent.iterdir():
                if each.name.startswith(hidden_head(final)) and each.name.endswith(self._ends):
                    each.unlink(missing_ok=True)

    def sweep(self, fixed: str) -> None:
        """Everything below that bears the job's mark."""
        for folder, _, names in os.walk(fixed or "."):
            for name in names:
                if name.startswith(".") and name.endswith(self._ends):
                    leftover = Path(folder, name)
                    with disk(leftover):
                        leftover.unlink(missing_ok=True)


class Store(Place):
    """An object store: files are made whole here, in the folder for temporary files, and then sent."""

    def __init__(self, root: str, job: str) -> None:
        """Needs obstore."""
        from .objects import Objects  # noqa: PLC0415 - only who wants a store has obstore

        self._objects = Objects(root)
        self._job = job
        self._folder: Path | None = None
        self._count = 0

    def temporary(self, path: str, sort: str = "") -> Path:  # noqa: ARG002 - a number tells them apart
        """In a folder of our own, for the owner alone."""
        if self._folder is None:
            with disk(gettempdir()):
                self._folder = Path(mkdtemp(prefix=_prefix(self._job)))
        self._count += 1
        return self._folder / f"{self._count}{TEMPORARY}"

    def must_be_free(self, path: str) -> None:
        """One request."""
        if self._objects.size(path) is not None:
            raise taken(path)

    def publish(self, pairs: Sequence[Pair]) -> None:
        """Send one after the other."""
        sent: list[str] = []
        try:
            for waiting, file in pairs:
                if self._objects.place(waiting, file, self._job):
                    sent.append(file.path)
        except BaseException:
            for path in sent:
                self._objects.delete(path)
            raise
        self.forget()

    def forget(self) -> None:
        """The folder with what was sent."""
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def remove(self, path: str, known: File | None) -> None:
        """And what a large one was sent as, before it got its name."""
        if known is None or self._objects.is_same(known):
            self._objects.delete(path)
        if self._job:
            self._objects.delete_leftover(path, self._job)

    def sweep(self, fixed: str) -> None:  # noqa: ARG002 - they are all here
        """The folders of earlier processes; one that is another user's is none of ours."""
        for folder in Path(gettempdir()).glob(f"{_prefix(self._job)}*"):
            if folder.lstat().st_uid == os.geteuid():
                shutil.rmtree(folder, ignore_errors=True)


def place_of(target: Target, job: str) -> Place:
    """Where the files of this target are."""
    return Folder(job) if target.is_local else Store(target.root, job)


def _prefix(job: str) -> str:
    return f"rebatch-{job}-"
