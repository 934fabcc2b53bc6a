"""`action: {backup: "backups/{job}-{date}.jsonl.zst"}`: what a deletion takes away is kept in full first."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator
from pydantic import Field as Option

from engine.files.archive import check_archive_path
from engine.kind import Strict


def _path(text: str) -> str:
    check_archive_path(text)
    return text


class Backup(Strict):
    """Where what is deleted is kept."""

    backup: Annotated[str, AfterValidator(_path)] | None = Option(
        None,
        description="Keep each item in full in this file (.jsonl.zst, .jsonl) before it is deleted; {job}, {date} stand for themselves.",
    )
