"""What the nodes' nova.conf say of screens, whether they agree, and whether a screen answers through the proxy."""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from nornir_stack.command import sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.config.ini import values
from nornir_stack.tasks.openstack.plane import CONTROLLER, console_at
from nornir_stack.tasks.openstack.settings import OpenStack
from nornir_stack.websocket import first_answer

if TYPE_CHECKING:
    from nornir.core.inventory import Inventory
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.openstack.files import Console
    from nornir_stack.websocket import Heard

NOVA = "/etc/nova/nova.conf"
_EVERY = frozenset({"0.0.0.0", "::"})  # noqa: S104  compared, not bound
_TRUE = frozenset({"true", "1", "yes", "on"})
_NAMED = re.compile(r"\$(?:(?P<twice>\$)|\{(?P<braced>[_a-z][._a-z0-9]*)\}|(?P<plain>[_a-z][._a-z0-9]*))", re.IGNORECASE)
# The first message of a SPICE client (spice-protocol, SpiceLinkHeader and SpiceLinkMess): magic, version 2.2, size; then
# connection 0, the main channel, no capabilities of its own but one common word that says authentication is chosen.
_BODY = struct.pack("<IBBIII", 0, 1, 0, 1, 0, 18) + struct.pack("<I", 0b1001)
SPICE = b"REDQ" + struct.pack("<III", 2, 2, len(_BODY)) + _BODY


@dataclass(frozen=True)
class Screens:
    """What a node's nova.conf says: SPICE on or off, where QEMU listens and is asked, the URL that users get.

    `tls`: a certificate and its key are named there. `own` are the node's addresses, `wanted` is the URL that the inventory
    stands for; `runs`: it has instances, `proxies`: it has the proxy.
    """

    enabled: bool
    listen: str
    asked: str
    url: str
    tls: bool = False
    own: tuple[str, ...] = ()
    wanted: str = ""
    runs: bool = True
    proxies: bool = False


def screens_seen(task: Task) -> Result[Screens]:
    """Observe what this node's nova.conf says of screens. Raises Refused where there is no such file."""
    node = Node(task)
    text = node.read_file(NOVA)
    if text is None:
        raise Refused(f"{node.name} has no {NOVA}")
    lines = node.read(sh("ip -o address show up scope global", label="look at addresses")).lines
    return node.done(
        replace(
            said(text, str(settings_of(task.host, OpenStack).address or "")),
            own=tuple(line.split()[3].partition("/")[0] for line in lines),
            wanted=controller(task.nornir.inventory).url,
            runs=task.host.has_parent_group("compute"),
            proxies=task.host.has_parent_group("controller"),
        )
    )


def controller(inventory: Inventory) -> Console:
    """The proxy that the users reach, on the controller. Raises UsageError where there is not one."""
    names = CONTROLLER.hosts(inventory)
    if len(names) != 1:
        raise UsageError(f"the console's proxy is on one host of the role controller, and the inventory has {len(names)}")
    return console_at(inventory.hosts[names[0]])


def said(text: str, own: str = "") -> Screens:
    """What a nova.conf says; Nova's own defaults for what is not there. `own` is the node's address, my_ip's default. Pure."""

    def last(key: str, default: str, section: str = "spice") -> str:
        return replaced(text, section, (values(text, section, key) or (default,))[-1], own)

    return Screens(
        last("enabled", "false").lower() in _TRUE,
        last("server_listen", "127.0.0.1"),
        last("server_proxyclient_address", "127.0.0.1"),
        last("html5proxy_base_url", "http://127.0.0.1:6082/spice_auto.html"),
        bool(last("cert", "", "DEFAULT")) and bool(last("key", "", "DEFAULT")),
    )


def replaced(text: str, section: str, value: str, own: str, depth: int = 4) -> str:
    """A value with what it names of other options put in, as oslo.config does: `$my_ip`, `${my_ip}`, `$section.key`. Pure.

    A name stands for an option of the value's own section, else of DEFAULT; one that is nowhere stays as it is written.
    """

    def of(match: re.Match[str]) -> str:
        name = match["braced"] or match["plain"] or ""
        group, _, key = name.rpartition(".")
        found = values(text, group or section, key) or values(text, "DEFAULT", name)
        if not found and name == "my_ip" and own:
            found = (own,)
        if match["twice"] or not found or not depth:
            return match[0].replace("$$", "$")
        return replaced(text, section, found[-1], own, depth - 1)

    return _NAMED.sub(of, value)


def disagreeing(seen: Seen[Screens]) -> list[str]:
    """Why screens would not be seen, a sentence for each thing. Pure."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    asked: dict[str, str] = {}
    for host, one in seen.items():
        if not one.enabled:
            problems.append(f"{host}: [spice] enabled is not true, so its instances have no such screen")
            continue
        if one.url != one.wanted:
            problems.append(f"{host}: users get {one.url} (html5proxy_base_url), not {one.wanted}")
        if one.proxies and one.url.startswith("https:") and not one.tls:
            problems.append(f"{host}: users get an https URL, and the proxy has no certificate ([DEFAULT] cert and key)")
        if one.runs:
            problems += _of_node(host, one)
            if one.asked in asked:
                problems.append(f"{asked[one.asked]} and {host} are both asked at {one.asked}: one shows the other's screens")
            asked.setdefault(one.asked, host)
    return problems


def _of_node(host: str, one: Screens) -> list[str]:
    found = []
    if one.own and one.asked not in one.own:
        found.append(
            f"{host}: the proxy asks for its screens at {one.asked} (server_proxyclient_address), which is none of its"
            f" addresses ({', '.join(one.own)})"
        )
    if one.listen not in {*_EVERY, one.asked}:
        found.append(f"{host}: QEMU listens at {one.listen} (server_listen) and is asked at {one.asked}")
    return found


def shown(url: str) -> Heard:
    """What the screen behind a console's URL answers, asked as a browser asks: the proxy's WebSocket, with the URL's word."""
    parts = urlsplit(url)
    token = (parse_qs(parts.query).get("token") or [""])[0]
    at = f"{parts.scheme}://{parts.netloc}"
    return first_answer(f"{at}/websockify?token={token}", SPICE, headers={"Origin": at, "Cookie": f"token={token}"})


def screen_fails(heard: Heard, host: str) -> str:
    """Why there is no picture, or nothing: a SPICE server's answer begins with its magic word. Pure."""
    if heard.data.startswith(b"REDQ"):
        return ""
    if heard.data:
        return f"what answers behind the console's proxy is no SPICE server: {heard.data[:16]!r}"
    return (
        f"the console's page comes, and no screen behind it: {heard.why or 'nothing was said'}. The proxy does not reach QEMU:"
        f" look at [spice] server_proxyclient_address in nova.conf on {host}, and into nova-spicehtml5proxy's log"
    )
