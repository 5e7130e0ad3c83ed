"""The signature is the command line: `name=value` words into the keyword arguments of a chain or task function."""

from __future__ import annotations

import ast
import builtins
import collections.abc
import importlib
import inspect
import sys
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from nornir_stack.errors import SecretError, UsageError
from nornir_stack.secret import Secret
from nornir_stack.select import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_MANY = (
    list,
    tuple,
    set,
    frozenset,
    collections.abc.Sequence,
    collections.abc.Collection,
    collections.abc.Iterable,
    collections.abc.Set,
)
_NAMES: dict[Any, str] = {bool: "yes|no", Secret: "secret"}
_ONLY_PYTHON = {"callable_type", "is_instance_of"}
_REQUIRED: Any = inspect.Parameter.empty


@dataclass(frozen=True)
class Parameter:
    """One keyword of a chain or task; `default` is `inspect.Parameter.empty` where it must be given."""

    name: str
    annotation: Any
    default: Any

    @property
    def required(self) -> bool:
        return self.default is _REQUIRED

    @property
    def type(self) -> str:
        """The type as people read it: `str`, `int`, `soft | hard`, `str,str,...`, `secret`."""
        return type_name(self.annotation)

    @property
    def shown_default(self) -> str:
        """The default as it would be typed; nothing where there is none."""
        if self.required or self.default is None or self.default in ((), "") or isinstance(self.default, Secret):
            return ""
        if isinstance(self.default, (list, tuple)):
            return ",".join(map(str, self.default))
        if isinstance(self.default, bool):
            return "yes" if self.default else "no"
        return str(self.default)


def parameters(function: Callable[..., Any]) -> tuple[Parameter, ...]:
    """What can be given to a chain or task by name, in order; a task's own first argument is left out."""
    hints = _hints(function)
    found = list(inspect.signature(function).parameters.values())
    if found and found[0].name == "task":
        found = found[1:]
    named = [one for one in found if one.kind in {one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY}]
    return tuple(Parameter(one.name, hints.get(one.name, str), one.default) for one in named)


def arguments(function: Callable[..., Any], words: Sequence[str], *, name: str = "") -> dict[str, Any]:
    """The keyword arguments that `name=value` words mean.

    A list is given with commas or by repeating the name. A secret is given as a reference, `env:NAME` or `file:PATH`.
    Raises UsageError for an unknown name (with the nearest), a wrong type, or one that is missing.
    """
    name = name or getattr(function, "__name__", "it")
    known = {one.name: one for one in parameters(function)}
    given: dict[str, list[str]] = {}
    for word in words:
        key, equals, text = word.partition("=")
        key = key.replace("-", "_")
        if not equals:
            raise UsageError(f"{word!r} is no parameter: parameters of {name} are given as name=value{_all(known)}")
        if key not in known:
            raise UsageError(f"{name} has no parameter {key!r}{nearest(key, known) or _all(known)}")
        given.setdefault(key, []).append(text)
    for one in known.values():
        if one.required and one.name not in given:
            raise UsageError(f"{name} needs {one.name}=... ({one.type})")
    return {key: _parsed(known[key], texts) for key, texts in given.items()}


def type_name(annotation: Any) -> str:
    """A type in an operator's words."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation]
    if origin is Annotated:
        return type_name(args[0])
    if origin is Literal:
        return "|".join(map(str, args))
    if _is_union(origin):
        return "|".join(dict.fromkeys(type_name(arg) for arg in args if arg is not type(None)))
    if _is_many(annotation):
        return f"{type_name(args[0]) if args else 'str'},..."
    return str(getattr(annotation, "__name__", annotation))


# Parsing


def _parsed(parameter: Parameter, texts: list[str]) -> Any:
    annotation = parameter.annotation
    many = next((kind for kind in _alternatives(annotation) if _is_many(kind)), None)
    if many is None and len(texts) > 1:
        raise UsageError(f"{parameter.name} is given {len(texts)} times, and takes one value")
    if many is None or texts[0].startswith("["):
        return _one(parameter.name, annotation, texts[0])
    element = (get_args(many) or (str,))[0]
    parts = [part.strip() for text in texts for part in text.split(",") if part.strip()]
    values = [_one(parameter.name, element, part) for part in parts]
    kind = get_origin(many) or many
    return kind(values) if kind in {list, set, frozenset} else tuple(values)


def _one(name: str, annotation: Any, text: str) -> Any:
    kinds = _alternatives(annotation)
    if not text and type(None) in get_args(annotation):
        return None
    if Secret in kinds and (kinds == [Secret] or text.partition(":")[0] in {"env", "file", "cmd"}):
        return _secret(name, text)
    from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError  # noqa: PLC0415  slow

    plain = [kind for kind in kinds if kind is not Secret]
    try:
        union: Any = Union[tuple(plain)]  # noqa: UP007  made of a list
        adapter: TypeAdapter[Any] = TypeAdapter(union)
        return adapter.validate_json(text) if text.startswith(("{", "[")) else adapter.validate_strings(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] not in _ONLY_PYTHON:
            raise UsageError(f"{name}={text}: {first['msg'].lower()} (wanted: {type_name(annotation)})") from None
    except (PydanticSchemaGenerationError, PydanticUserError):
        pass  # a type that pydantic knows nothing of
    raise UsageError(f"{name} is a {type_name(annotation)}, which only Python code can give")


def _secret(name: str, text: str) -> Secret:
    if text.partition(":")[0] not in {"env", "file", "cmd"}:
        raise UsageError(
            f"{name} is a secret and never given as it is (everyone on this machine could read it): "
            f"say {name}=env:NAME or {name}=file:PATH"
        )
    try:
        return Secret(text)
    except SecretError as error:
        raise UsageError(f"{name}: {error}") from None


def _alternatives(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _alternatives(get_args(annotation)[0])
    if _is_union(get_origin(annotation)):
        return [kind for arg in get_args(annotation) if arg is not type(None) for kind in _alternatives(arg)]
    return [annotation]


def _is_union(origin: Any) -> bool:
    return origin is Union or origin is types.UnionType


def _is_many(annotation: Any) -> bool:
    return annotation in _MANY or get_origin(annotation) in _MANY


def _all(known: Iterable[str]) -> str:
    return f"; it takes: {', '.join(known)}" if known else "; it takes none"


# Annotations


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations as types. Those whose names stand under `if TYPE_CHECKING:` are imported here, where they are needed."""
    function = inspect.unwrap(function)
    texts = [text for text in getattr(function, "__annotations__", {}).values() if isinstance(text, str)]
    wanted = {node.id for text in texts for node in ast.walk(ast.parse(text, mode="eval")) if isinstance(node, ast.Name)}
    present = vars(sys.modules[function.__module__])
    lacking = {name for name in wanted if name not in present and not hasattr(builtins, name)}
    try:
        return get_type_hints(function, localns=_imported_for_types(function.__module__, lacking), include_extras=True)
    except NameError as error:
        raise UsageError(f"{function.__module__}:{function.__qualname__}: an annotation cannot be read: {error}") from None


def _imported_for_types(module: str, names: set[str]) -> dict[str, Any]:
    if not names:
        return {}
    found: dict[str, Any] = {}
    for node in ast.walk(ast.parse(inspect.getsource(sys.modules[module]))):
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) in names:
                    found[alias.asname or alias.name] = getattr(importlib.import_module(node.module), alias.name)
    return found
