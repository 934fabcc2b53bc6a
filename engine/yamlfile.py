"""YAML with places: plain values, and for each path of keys and indexes its line and column.

ruamel.yaml reads YAML 1.2, where `no` and `on` are words. Aliases are refused: nobody needs them in a spec, and nine
lines of them make a billion values.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import ConstructorError
from ruamel.yaml.error import MarkedYAMLError, StringMark, YAMLError
from ruamel.yaml.events import AliasEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from .where import Path, Problem

MAX_BYTES = 1024 * 1024
MAX_DEPTH = 40
Place = tuple[int, int]  # line and column, from 1


@dataclass(slots=True)
class Document:
    """A YAML document: its value, and the place of each value and each key by path."""

    value: Any = None
    values: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)

    def place(self, problem: Problem) -> Place:
        """Where a problem is; what is missing is reported at what should contain it."""
        if problem.at_key and problem.path in self.keys:
            return self.keys[problem.path]
        path = problem.path
        while path and path not in self.values:
            path = path[:-1]
        return self.values.get(path, (1, 1))


class YamlError(Exception):
    """The text is not the YAML that we read. `place` is the line and column, from 1."""

    def __init__(self, message: str, place: Place) -> None:
        """`message` needs no place in it."""
        super().__init__(message)
        self.place = place


def parse_yaml(text: str) -> Document:
    """Read one document. Raises YamlError."""
    if len(text) > MAX_BYTES:
        raise YamlError(f"a spec of more than {MAX_BYTES >> 10} KiB is no spec", (1, 1))
    yaml = YAML(typ="safe", pure=True)
    try:
        for event in _guarded(yaml.parse(text)):
            if isinstance(event, AliasEvent):
                raise YamlError("aliases (*name) are not read; write the value out", _place(event.start_mark))
        node = yaml.compose(text)
        document = Document()
        document.value = _Builder(yaml, document).build(node, ()) if node is not None else None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = str(error.problem or error.context)
        if "alphabetic or numeric" in said:  # it was taken for an alias: the stars of a cron expression are
            said += "; put what begins with a star into quotes"
        raise YamlError(said, _place(mark) if mark else (1, 1)) from None
    except (YAMLError, ValueError) as error:
        raise YamlError(str(error).splitlines()[0], (1, 1)) from None
    return document


def _guarded(events: Iterator[Any]) -> Iterator[Any]:
    """The events of a text, as long as it is not nested beyond reason."""
    depth = 0
    for event in events:
        depth += {
            "MappingStartEvent": 1,
            "SequenceStartEvent": 1,
            "MappingEndEvent": -1,
            "SequenceEndEvent": -1,
        }.get(type(event).__name__, 0)
        if depth > MAX_DEPTH:
            raise YamlError("nested too deeply", _place(event.start_mark))
        yield event


class _Builder:
    def __init__(self, yaml: YAML, document: Document) -> None:
        self._constructor = yaml.constructor
        self._document = document

    def build(self, node: Node, path: Path) -> Any:
        self._document.values[path] = _place(node.start_mark)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: MappingNode, path: Path) -> dict[Any, Any]:
        built: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                raise YamlError("a key must be a word", _place(key_node.start_mark))
            key = str(self._scalar(key_node))
            if key in built:
                raise YamlError(f"“{key}” is given twice", _place(key_node.start_mark))
            self._document.keys[*path, key] = _place(key_node.start_mark)
            built[key] = self.build(value_node, (*path, key))
        return built

    def _scalar(self, node: Node) -> Any:
        try:
            return self._constructor.construct_object(node)
        except ConstructorError:
            raise YamlError(f"the tag {node.tag} is not read", _place(node.start_mark)) from None
        except (KeyError, IndexError, ValueError) as error:
            said = str(error) if isinstance(error, ValueError) else f"it is not of the tag {node.tag}"
            raise YamlError(f"“{node.value}” cannot be read: {said}", _place(node.start_mark)) from None


def _place(mark: StringMark) -> Place:
    return mark.line + 1, mark.column + 1
