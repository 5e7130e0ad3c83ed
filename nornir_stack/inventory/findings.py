"""Where checks write what they find, at the line of the file that holds the datum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nornir_stack.inventory.source import Problem, Source
from nornir_stack.settings import dotted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir.core.inventory import Host, Inventory

    from nornir_stack.inventory.entries import Sources
    from nornir_stack.schema import Path


@dataclass
class Findings:
    """The problems and warnings found in an inventory that was built from `sources`."""

    sources: Sources
    inventory: Inventory
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def at(self, source: Source, path: Path, text: str, host: str = "", *, warning: bool = False) -> None:
        """Something about what stands at `path` of one file; the key that `text` speaks of is put before it."""
        where = [step for step in path[1:] if step != "data"] if source is not self.sources.defaults else path[1:]
        said = ": ".join(filter(None, (dotted(*where), text)))
        (self.warnings if warning else self.problems).append(Problem(source.file, source.line(path), said, host))

    def of(self, host: Host, path: Path, text: str, *, warning: bool = False) -> None:
        """Something about the settings of a host at `path`, wherever they were inherited from."""
        source, line = self.place(host, path)
        said = f"{dotted(*path)}: {text}"
        (self.warnings if warning else self.problems).append(Problem(source.file, line, said, host.name))

    def place(self, host: Host, path: Path) -> tuple[Source, int]:
        """The file and line of a host's datum: where it stands, or the nearest thing around it, or the host itself."""
        for length in range(len(path), 0, -1):
            for source, base in self._layers(host):
                if (*base, *path[:length]) in source.lines:
                    return source, source.lines[(*base, *path[:length])]
        return self.sources.hosts, self.sources.hosts.line((host.name,))

    def stands(self, host: Host, path: Path) -> bool:
        """Whether the files hold this datum for the host, its groups or the defaults."""
        return any((*base, *path) in source.lines for source, base in self._layers(host))

    def _layers(self, host: Host) -> Iterator[tuple[Source, Path]]:
        yield self.sources.hosts, (host.name, "data")
        for group in host.extended_groups():
            yield self.sources.groups, (group.name, "data")
        yield self.sources.defaults, ("data",)
