"""Sizes as servers' configuration files write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic_core import core_schema

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler

_FORM = re.compile(r"(?P<number>[0-9]+)(?P<unit>[KMGTkmgt]?)")
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Size(int):
    """A number of bytes: `Size.parse("512M")`. As text it is the shortest exact form, `512M`. Units are powers of 1024."""

    @classmethod
    def parse(cls, value: str | int) -> Size:
        """From bytes, or from text such as `20M` or `1G`. Raises ValueError that says how to write it."""
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return cls(value)
        found = _FORM.fullmatch(value.strip()) if isinstance(value, str) else None
        if found is None:
            raise ValueError(f"{value!r} is not a size: write bytes, or a whole number with K, M, G or T, such as 512M")
        return cls(int(found["number"]) * _UNITS[found["unit"].upper()])

    def __str__(self) -> str:
        for unit, factor in reversed(_UNITS.items()):
            if self >= factor and self % factor == 0:
                return f"{self // factor}{unit}"
        return "0"

    def __repr__(self) -> str:
        return f"Size({str(self)!r})"

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.parse)
