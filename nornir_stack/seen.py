"""What all hosts answered to one look."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

T = TypeVar("T")


@dataclass(frozen=True)
class Seen(Generic[T]):
    """Host to value, in declared order, plus `missing`, host to reason (unreachable, failed, under maintenance...).

    `hosts` are all that were asked, in the order of the inventory. `host in seen` means: it answered.
    """

    values: Mapping[str, T]
    missing: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.hosts:
            object.__setattr__(self, "hosts", (*self.values, *self.missing))

    def __getitem__(self, host: str) -> T:
        return self.values[host]

    def __contains__(self, host: object) -> bool:
        return host in self.values

    def __iter__(self) -> Iterator[str]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def items(self) -> Iterator[tuple[str, T]]:
        return iter(self.values.items())
