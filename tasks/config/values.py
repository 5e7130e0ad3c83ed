"""Values as an inventory has them made into what a file holds. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.errors import UsageError
from nornir_stack.secret import Secret
from nornir_stack.tasks.config.ini import parsed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nornir_stack.tasks.config.ini import Dialect
    from nornir_stack.tasks.config.settings import Sections, Value

# oslo_config.types.Boolean
_TRUE = frozenset({"true", "1", "on", "yes"})
_FALSE = frozenset({"false", "0", "off", "no"})


def texts(now: str, sections: Sections, *, dialect: Dialect) -> dict[str, dict[str, tuple[str, ...]]]:
    """What `ini.edited` takes. A switch or number that the file `now` has in another writing (`True`) stays as it is there."""
    there = parsed(now, dialect=dialect)
    return {
        section: {key: _texts(value, _found(there, section, key, dialect), dialect) for key, value in keys.items()}
        for section, keys in sections.items()
    }


def _found(there: Mapping[str, Mapping[str, tuple[str, ...]]], section: str, key: str, dialect: Dialect) -> tuple[str, ...]:
    same = section if dialect == "paste" or section == "DEFAULT" else section.lower()
    return there.get(same, {}).get(key, ())


def _texts(value: Value, found: tuple[str, ...], dialect: Dialect) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, tuple | list):
        return tuple(str(one) for one in value)
    if isinstance(value, Secret):
        return (literally(value.reveal(), dialect),)
    if isinstance(value, bool):
        meant = _TRUE if value else _FALSE
        return found if len(found) == 1 and found[0].lower() in meant else (str(value).lower(),)
    return (str(value),)


def literally(secret: str, dialect: Dialect) -> str:
    """A secret as it has to stand in a file to be read back as it is: other values may refer to options by `$`, it may not.

    >>> literally("pa$$word", "oslo"), literally("pa%(x", "paste")
    ('pa$$$$word', 'pa%%(x')

    Raises UsageError for one that oslo.config cannot read at all.
    """
    if dialect == "oslo":
        if "\\$" in secret:
            raise UsageError(r"a secret holds \$, which oslo.config reads as $ however it is written: choose another")
        written = secret.replace("$", "$$")
    else:
        # Swift and PasteDeploy interpolate only values that hold "%("
        written = secret.replace("%", "%%") if "%(" in secret else secret
    if written != secret:
        Secret(literal=written).reveal()  # known from now on, so that this form of it is masked too
    return written
