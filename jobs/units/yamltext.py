"""Plain values as YAML that reads the same by its rules of 1.1 and of 1.2: Kubernetes' readers still keep to 1.1."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

_PLAIN = re.compile(r"[A-Za-z/](?:[A-Za-z0-9_./@() -]*[A-Za-z0-9_/)])?")
_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}  # no text in YAML 1.1


def yaml_text(documents: Sequence[Any], comments: Sequence[str]) -> str:
    """The documents, below a comment line for each of `comments`."""
    yaml = YAML()
    yaml.explicit_start = len(documents) > 1  # so that other manifests may go before these
    yaml.width = 4096  # a long command stays on its line
    yaml.indent(mapping=2, sequence=4, offset=2)
    stream = io.StringIO()
    yaml.dump_all([_styled(document) for document in documents], stream)
    return "".join(f"# {line}\n" for line in comments) + stream.getvalue().rstrip("\n") + "\n"


def _styled(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _styled(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_styled(inner) for inner in value]
    return _text(value) if isinstance(value, str) else value


def _text(value: str) -> Any:
    if _PLAIN.fullmatch(value) and value.lower() not in _WORDS:
        return value
    lines = value.split("\n")
    if len(lines) > 1 and all(line.isprintable() for line in lines):
        return LiteralScalarString(value)
    return DoubleQuotedScalarString(value)
