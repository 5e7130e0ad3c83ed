"""A YAML file as plain data, with the line of every key and value, and every problem in it.

The node graph of ruamel.yaml is read, not its finished data: so all duplicate keys are found, not only the first.
`!secret env:NAME`, `!secret file:PATH` and `!secret cmd:COMMAND` become Secret objects.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from nornir_stack.errors import SecretError
from nornir_stack.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ruamel.yaml.nodes import Node

    from nornir_stack.schema import Path as DataPath

_MERGE = "tag:yaml.org,2002:merge"
_CORE = "tag:yaml.org,2002:"


@dataclass(frozen=True)
class Problem:
    """Something wrong at a line (from 1; 0: in the file as a whole). As text: `inventory/hosts.yaml:14: db2: ...`."""

    file: str
    line: int
    text: str
    host: str = ""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return ": ".join(filter(None, (where, self.host, self.text)))


@dataclass
class Source:
    """A file that was read. `lines` holds the line of each key and list item by its path from the top."""

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    lines: dict[DataPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unreadable: bool = False

    def line(self, path: DataPath) -> int:
        """The line of what stands at `path`, or of the nearest thing around it."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 0)

    def complain(self, path: DataPath, text: str, host: str = "") -> None:
        self.problems.append(Problem(self.file, self.line(path), text, host))


def read_source(path: Path) -> Source:
    """The file at `path`; a file that is not there is empty. Never raises for what is in it."""
    source = Source(str(path))
    if not path.exists():
        return source
    try:
        root = YAML(typ="safe", pure=True).compose(path.read_text(encoding="utf-8"))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = ", ".join(filter(None, (error.context, error.problem)))
        return _unreadable(source, mark.line + 1 if mark else 0, f"YAML: {what}")
    except (OSError, ValueError, YAMLError) as error:  # ValueError: bytes that are not UTF-8
        return _unreadable(source, 0, f"cannot be read: {error}")
    if root is None:
        return source
    if not isinstance(root, MappingNode):
        return _unreadable(source, root.start_mark.line + 1, "expected a mapping at the top")
    source.data = _Reader(source).value(root, ())
    return source


def _unreadable(source: Source, line: int, text: str) -> Source:
    source.unreadable = True
    source.problems.append(Problem(source.file, line, " ".join(text.split())))
    return source


class _Reader:
    """Turns nodes into plain data, and notes lines and problems in the source."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.constructor = YAML(typ="safe", pure=True).constructor
        self.open: list[int] = []  # the nodes around: an alias may lead back into one

    def value(self, node: Node, path: DataPath) -> Any:
        self.source.lines.setdefault(path, node.start_mark.line + 1)
        if id(node) in self.open:
            self.complain(node, "an alias that stands inside its own anchor")
            return None
        self.open.append(id(node))
        try:
            return self._value(node, path)
        finally:
            self.open.pop()

    def _value(self, node: Node, path: DataPath) -> Any:
        tag = str(node.tag)
        if tag == "!secret":
            return self._secret(node)
        if not tag.startswith(_CORE):
            self.complain(node, f"unknown tag {tag}: the only one is !secret")
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: MappingNode, path: DataPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == _MERGE:
                for part in self._merged(value_node, path):
                    merged = {**part, **merged}
                continue
            key = self._key(key_node)
            if key in result:
                first = self.source.lines[(*path, key)]
                self.complain(key_node, f"the key {key!r} stands here a second time, first in line {first}")
                continue
            self.source.lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, (*path, key))
        return {**merged, **result}

    def _merged(self, node: Node, path: DataPath) -> Iterator[dict[str, Any]]:
        """What `<<:` brings in: its lines are those of the anchor."""
        for part in node.value if isinstance(node, SequenceNode) else [node]:
            value = self.value(part, path)
            if isinstance(value, dict):
                yield value
            else:
                self.complain(part, "<< takes a mapping or a list of mappings")

    def _key(self, node: Node) -> str:
        if not isinstance(node, ScalarNode):
            self.complain(node, "a key must be plain text")
            return "?"
        return str(node.value)

    def _scalar(self, node: Node) -> Any:
        try:
            return self.constructor.construct_object(node, deep=True)
        except (ValueError, YAMLError):
            self.complain(node, f"{node.value!r} cannot be read as {str(node.tag).removeprefix(_CORE)}")
            return None

    def _secret(self, node: Node) -> Secret | None:
        try:
            where = f"{self.source.file}:{node.start_mark.line + 1}"
            return Secret(str(node.value) if isinstance(node, ScalarNode) else "", where=where)
        except SecretError:
            # what is no reference may be the secret itself: only the form is told
            self.complain(node, "!secret: expected env:NAME, file:PATH or cmd:COMMAND")
            return None

    def complain(self, node: Node, text: str) -> None:
        self.source.problems.append(Problem(self.source.file, node.start_mark.line + 1, text))
