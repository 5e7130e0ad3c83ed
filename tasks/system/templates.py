"""Files from Jinja2 templates, in which nothing may be missing."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FunctionLoader, StrictUndefined, TemplateError, TemplateSyntaxError

from nornir_stack.errors import UsageError
from nornir_stack.node import Node
from nornir_stack.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir.core.task import Task

    from nornir_stack.results import Result


def template(
    task: Task,
    *,
    path: str,
    text: str,
    values: Mapping[str, Any],
    source: str = "",
    mode: str = "",
    owner: str = "",
    backup: bool = False,
) -> Result[bool]:
    """Make the file `path` what the template `text` gives with `values` and `host`; the value says whether it changed.

    Secrets among the values are written as they are and masked in the diff. Raises UsageError, which names the template
    (`source`, else the path) and the line, for a variable that is missing, before the node is touched.
    """
    content = render(source or path, text, {"host": task.host, **values})
    node = Node(task)
    return node.done(node.write_file(path, content, mode=mode, owner=owner, backup=backup))


def render(name: str, text: str, values: Mapping[str, Any]) -> str:
    """What the template gives. Raises UsageError, `haproxy.cfg.j2:12: 'port' is undefined`, for whatever is wrong in it."""
    environment = Environment(
        loader=FunctionLoader(lambda wanted: (text, name, None) if wanted == name else None),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701  configuration files, not HTML
        finalize=lambda value: value.reveal() if isinstance(value, Secret) else value,
    )
    try:
        return environment.get_template(name).render(values)
    except TemplateSyntaxError as error:
        raise UsageError(f"{name}:{error.lineno}: {error.message}") from None
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
        line = frames[-1].lineno if frames else 0
        raise UsageError(f"{name}:{line}: {error}") from None
