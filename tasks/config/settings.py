"""What an inventory says about configuration files of its hosts: the key `config`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias, Union

from nornir_stack.secret import Secret
from nornir_stack.settings import AbsolutePath, Text

# What a key may be: one value, several (MultiOpt), or nothing (null: the key is taken out, and its default counts).
# Union: these are evaluated, on Python 3.10 too.
Plain: TypeAlias = Union[bool, int, str, tuple[str, ...], None]  # noqa: UP007
Value: TypeAlias = Union[Secret, bool, int, str, tuple[str, ...], None]  # noqa: UP007
Sections: TypeAlias = Mapping[Text, Mapping[Text, Value]]


@dataclass(frozen=True, kw_only=True)
class Config:
    """File to section to key to value. What stands in the files beside that is nobody's business here."""

    key: ClassVar[str] = "config"

    files: Mapping[AbsolutePath, Sections] = field(default_factory=dict)
