"""Plain data, as YAML gives it, made into frozen dataclasses: every complaint has a path and a sentence, no secret a value."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple, TypeVar, Union, cast, get_args, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from nornir_stack.secret import Secret
from nornir_stack.select import nearest

S = TypeVar("S")
Path = tuple[Union[str, int], ...]  # noqa: UP007  evaluated when the module is read, on 3.10 too
_MANY = 12
_HOW = "write `!secret env:NAME`, `!secret file:PATH` or `!secret cmd:COMMAND`"
_WORDS = {
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "float_parsing": "expected a number",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "string_type": "expected text",
    "tuple_type": "expected a list",
    "list_type": "expected a list",
    "dict_type": "expected a mapping",
    "mapping_type": "expected a mapping",
    "dataclass_type": "expected a mapping",
}
_LIMITS = {
    "greater_than_equal": "{ge} or more",
    "less_than_equal": "{le} or less",
    "string_too_long": "at most {max_length} characters",
    "string_pattern_mismatch": "text like {pattern}",
}
_WHOLE = {"missing": "missing", "string_too_short": "must not be empty"}


class Complaint(NamedTuple):
    """What is wrong with the data at `path`, keys and list positions from the top."""

    path: Path
    text: str

    def at(self, *above: str | int) -> Complaint:
        return Complaint((*above, *self.path), self.text)


def read(cls: type[S], data: Any) -> tuple[S | None, list[Complaint]]:
    """`data` as a `cls` (a dataclass, nested ones too), or None and every complaint. Unknown keys are refused.

    A ValueError from a `__post_init__` becomes a complaint. Values of secrets never stand in one.
    """
    model = _model(cast("Any", cls))
    try:
        value: S = getattr(model.model_validate({"it": data}), "it")  # noqa: B009  the model is made at run time
    except ValidationError as error:
        return None, _complaints(cls, data, error)
    return value, []


@cache
def _model(cls: Any) -> type[BaseModel]:
    # the configuration of the model reaches the plain dataclasses in it
    strict = ConfigDict(extra="forbid", arbitrary_types_allowed=True)
    return create_model("Settings", __config__=strict, it=(cls, ...))


def _complaints(cls: type, data: Any, error: ValidationError) -> list[Complaint]:
    found: dict[Path, list[str]] = {}
    for one in error.errors(include_url=False):
        kind, loc = one["type"], one["loc"][1:]
        path = _path(data, loc, whole=kind in {"missing", "unexpected_keyword_argument"})
        text = _text(cls, path, kind, one)
        if loc[-1:] == ("[key]",):
            text = f"as a key: {text}"
        if text not in found.setdefault(path, []):
            found[path].append(text)
    return [Complaint(path, " or ".join(_joined(texts))) for path, texts in found.items()]


def _joined(texts: list[str]) -> list[str]:
    """Of a union's arms each complains: say what was found only once, at the end."""
    bare = [text.rpartition(", found ")[0] or text for text in texts[:-1]]
    return [*bare, texts[-1].removeprefix("expected ")] if bare else texts


def _path(data: Any, loc: tuple[str | int, ...], *, whole: bool) -> Path:
    """The part of pydantic's location that lies in the data: it names the arms of unions there as well."""
    path: list[str | int] = []
    for step in loc:
        if _holds(data, step):
            data = data[step]
            path.append(step)
    if whole and (not path or path[-1] != loc[-1]):
        path.append(loc[-1])
    return tuple(path)


def _holds(data: Any, step: str | int) -> bool:
    if isinstance(data, Mapping):
        return step in data
    return isinstance(data, Sequence) and not isinstance(data, str) and isinstance(step, int) and step < len(data)


def _text(cls: type, path: Path, kind: str, error: Any) -> str:
    context, value = error.get("ctx", {}), error["input"]
    if kind == "unexpected_keyword_argument":
        known = sorted(fields_at(cls, path[:-1]))
        hint = nearest(str(path[-1]), known) or (f": known are {', '.join(known)}" if len(known) <= _MANY else "")
        return f"unknown{hint}"
    if kind == "is_instance_of" and context.get("class") == "Secret":
        return f"stands here in plain text: {_HOW}" if isinstance(value, str) else f"expected a secret: {_HOW}"
    if kind == "value_error":
        return str(context["error"])
    return _WHOLE.get(kind) or f"{_expected(kind, error, context)}{_found(value)}"


def _expected(kind: str, error: Any, context: Mapping[str, Any]) -> str:
    if kind == "literal_error":
        return f"expected {context['expected']}"
    if kind in _LIMITS:
        return f"expected {_LIMITS[kind].format(**context)}"
    return _WORDS.get(kind) or str(error["msg"]).replace("Input should", "should").replace("String should", "should")


def _found(value: Any) -> str:
    if isinstance(value, (str, int, float)):
        return f", found {value!r}"
    names = {dict: "a mapping", list: "a list", type(None): "nothing", Secret: "a secret"}
    return f", found {names.get(type(value), type(value).__name__)}"


def fields_at(cls: Any, path: Path) -> set[str]:
    """The keys that may stand at `path` of the data of `cls`."""
    kinds = [cls]
    for step in path:
        kinds = [inner for kind in kinds for inner in _inner(kind, step)]
    return {field.name for kind in kinds for field in dataclasses.fields(kind) if field.init}


def _inner(kind: Any, step: str | int) -> Iterator[Any]:
    hints = get_type_hints(kind)
    if step in hints:
        yield from _dataclasses(hints[str(step)])
    else:
        yield kind  # a position in a list or a key of a mapping: `_dataclasses` has gone through those already


def _dataclasses(hint: Any) -> Iterator[Any]:
    """The dataclasses in a type hint, those in lists, mappings and unions too."""
    if dataclasses.is_dataclass(hint):
        yield hint
    for arm in get_args(hint):
        yield from _dataclasses(arm)
