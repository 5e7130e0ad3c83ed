"""What an inventory says about the dashboard: the key `horizon` of controllers."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from nornir_stack.settings import AbsolutePath, form

Url = Annotated[str, form(r"https?://\S+", "a URL")]


@dataclass(frozen=True, kw_only=True)
class Horizon:
    """The dashboard behind Apache. Everything may be left out."""

    key: ClassVar[str] = "horizon"

    login: Url | None = None  # as the node itself reaches it; by default where the family's package has it
    mpm: Literal["event", "worker", "prefork"] = "event"
    config: AbsolutePath | None = None  # the file with its WSGIDaemonProcess
