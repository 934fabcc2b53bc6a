"""Where an export goes: a path with placeholders, whose suffix tells the format."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from engine.errors import UsageError

from .naming import check_apart, check_placeholders, check_suffix, check_text, encoded, split

SUFFIXES = (".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv", ".csv.gz", ".csv.zst", ".parquet")
SCHEMES = ("s3", "gs", "az")
_OURS = ("job", "date", "part")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Target:
    """A path as it was written, taken apart. `root` is `scheme://bucket/` of an object store, empty for a local file."""

    root: str
    stem: str  # after the root, without the suffix
    suffix: str
    partition_by: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether it is a file here, and not an object of a store."""
        return not self.root

    @property
    def format(self) -> str:
        """`jsonl`, `csv` or `parquet`."""
        return self.suffix.split(".")[1]

    @property
    def packing(self) -> str:
        """`gz`, `zst`, or nothing."""
        return "".join(self.suffix.split(".")[2:])

    @property
    def folders(self) -> tuple[str, ...]:
        """The fields that become folders `field=value/`: those of `partition_by` that are no placeholder."""
        placed = set(split(self.stem)[1::2])
        return tuple(field for field in self.partition_by if field not in placed)

    @property
    def fixed(self) -> str:
        """The folder, with the root, below which everything of this target is: up to the first placeholder."""
        head, slash, _ = split(self.stem)[0].rpartition("/")
        return self.root + head + slash

    def path(self, *, job: str, date: str, number: int, parts: int, values: Sequence[Any] = ()) -> str:
        """The path of one file of part `number` of `parts`; `values` are those of `partition_by`, in its order."""
        by_field = dict(zip(self.partition_by, values, strict=True))
        folder, slash, name = self._filled({**by_field, "job": job, "date": date, "part": f"{number:05}"}).rpartition(
            "/"
        )
        if parts > 1 and "part" not in split(self.stem)[1::2]:
            name += f"-{number:05}"
        hive = "".join(f"{encoded(field)}={hive_value(by_field[field])}/" for field in self.folders)
        return f"{self.root}{folder}{slash}{hive}{name}{self.suffix}"

    def paths(
        self, *, job: str, date: str, number: int, parts: int, partitions: Iterable[Sequence[Any]] = ((),)
    ) -> list[str]:
        """The paths of all files of a part, once each, in the order of `partitions`."""
        made = (self.path(job=job, date=date, number=number, parts=parts, values=values) for values in partitions)
        return list(dict.fromkeys(made))

    def _filled(self, values: dict[str, Any]) -> str:
        pieces = split(self.stem)
        filled = [
            encoded(values[name], following or self.suffix)
            for name, following in zip(pieces[1::2], pieces[2::2], strict=True)
        ]
        pieces[1::2] = filled
        return "".join(pieces)


def hive_value(value: Any) -> str:
    """A value after `field=`, where it may be empty."""
    return "" if value == "" else encoded(value)


def read_target(path: str, partition_by: Sequence[str] = ()) -> Target:
    """Read a path such as `runs/{date}/{part}.parquet` or `s3://bucket/runs.jsonl.zst`. Raises ValueError.

    `file:///…` is the local file of that name.
    """
    check_text(path)
    suffix = check_suffix(path, SUFFIXES)
    root, rest = _rooted(path)
    _check_fields(partition_by, rest)
    check_placeholders(rest, (*_OURS, *partition_by))
    check_apart(rest, partition_by)
    return Target(root, rest.removesuffix(suffix), suffix, tuple(partition_by))


def must_be_available(target: Target) -> None:
    """Raise UsageError when the target needs what is not installed."""
    needed = [("pyarrow", "parquet", "Parquet")] if target.format == "parquet" else []
    needed += [] if target.is_local else [("obstore", "objects", "An object store")]
    for module, extra, what in needed:
        if find_spec(module) is None:
            raise UsageError(f"{what} needs {module}, which is not installed.", f"pip install 'rebatch[{extra}]'")


def _rooted(path: str) -> tuple[str, str]:
    match = _SCHEME.match(path)
    if match is None:
        return "", path
    scheme, rest = match[1].lower(), path[match.end() :]
    if scheme == "file":
        if not rest.startswith("/"):
            raise ValueError(f"“{path}” names another machine; a local file is file:///folder/name")
        return "", rest
    if scheme not in SCHEMES:
        raise ValueError(
            f"“{match[0]}” is no store that is known; there are {', '.join(f'{each}://' for each in SCHEMES)}"
        )
    bucket, _, key = rest.partition("/")
    if not key or not _BUCKET.fullmatch(bucket):  # and so there is no room for a password in it
        raise ValueError(f"“{match[0]}” must be followed by the plain name of a bucket and a path in it")
    if any(segment in {"", "."} for segment in key.split("/")):
        raise ValueError(f"“{path}” has an empty folder or “.” in it; an object's path is folder/name")
    return f"{scheme}://{bucket}/", key


def _check_fields(partition_by: Sequence[str], path: str) -> None:
    for field in partition_by:
        if partition_by.count(field) > 1:
            raise ValueError(f"“{field}” stands twice in partition_by")
        if field in _OURS and f"{{{field}}}" in path:
            raise ValueError(
                f"“{{{field}}}” could be the field or our own {field}; leave it out, and it becomes a folder"
            )
