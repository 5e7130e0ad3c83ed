"""Swift's proxy on a node: asking today's Keystone by today's keys, and S3 served by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from nornir_stack.command import sh
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.secret import Secret
from nornir_stack.settings import settings_of
from nornir_stack.tasks.openstack import proxy_conf
from nornir_stack.tasks.openstack.applied import applied
from nornir_stack.tasks.openstack.ask import ask, base_of
from nornir_stack.tasks.openstack.settings import Swift
from nornir_stack.tasks.system.selinux import file_context

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.openstack.proxy_conf import Login

CONF = "/etc/swift/proxy-server.conf"
UNITS = ("swift-proxy.service", "openstack-swift-proxy.service")  # Debian's and RDO's
_LOOK = """
test -e "$1" || exit 0
shift
for unit; do
    systemctl show -p Id,LoadState,ActiveState,UnitFileState --value -- "$unit" | tr '\\n' ' '
    echo
done
"""
_PORT = "8080"


@dataclass(frozen=True)
class Proxy:
    """Swift's proxy on a node: the unit ('' where there is none that somebody wants to run), and the port of its file."""

    unit: str = ""
    port: int = 0

    def __bool__(self) -> bool:
        return bool(self.unit)


def proxy(task: Task) -> Result[Proxy]:
    """Observe whether this node runs Swift's proxy, or would at its next boot."""
    node = Node(task)
    return node.done(look(node))


def proxy_keystone(task: Task, *, keystone: str, public: str = "") -> Result[None]:
    """Have the proxy ask Keystone by today's keys, and run with them; Kilo's keys are mapped to those.

    A Keystone that the file names and that answers stays; else it is `keystone`, an URL. `public` is where users are sent
    for a token. Whatever told users apart before (tempauth) makes room for Keystone. Raises Refused where the file has no
    password of Swift's user and the inventory none either.
    """
    node = Node(task)
    unit = look(node).unit
    if not unit:
        return node.skipped("Swift's proxy does not run here")
    text = _text(node)
    url = next((one for one in proxy_conf.asked(text) if ask(node, base_of(one)).kind == "identity"), keystone)
    by = login(node, text, url)
    _signing_folder(node, proxy_conf.section(text, proxy_conf.AUTHTOKEN).get("signing_dir", ""))
    node.write_file(CONF, proxy_conf.with_keystone(text, by, public or url), independent=True)
    node.then(applied, unit=unit, files=[CONF])
    return node.done()


def proxy_s3(task: Task, *, keystone: str) -> Result[None]:
    """Have the proxy serve S3 by Swift's own filters, checked by the Keystone that its `authtoken` asks (else `keystone`).

    Raises Refused where the pipeline does not ask Keystone yet.
    """
    node = Node(task)
    unit = look(node).unit
    if not unit:
        return node.skipped("Swift's proxy does not run here")
    text = _text(node)
    url = next(iter(proxy_conf.asked(text)), keystone)
    node.write_file(CONF, proxy_conf.with_s3(text, login(node, text, url)), independent=True)
    node.then(applied, unit=unit, files=[CONF])
    return node.done()


def look(node: Node) -> Proxy:
    """Swift's proxy on this node."""
    said = node.read(sh(_LOOK, CONF, *UNITS, label="look for Swift's proxy")).stdout
    unit = wanted_unit(said)
    if not unit:
        return Proxy()
    port = proxy_conf.section(node.read_file(CONF) or "", "DEFAULT").get("bind_port", _PORT)
    return Proxy(unit, int(port) if port.isdigit() else int(_PORT))


def wanted_unit(said: str) -> str:
    """The unit that runs or would at boot, of the lines `Id LoadState ActiveState UnitFileState`. Pure."""
    for line in said.splitlines():
        words = line.split()
        if len(words) > 2 and words[1] == "loaded" and (words[2] in {"active", "activating"} or words[-1] == "enabled"):  # noqa: PLR2004  three states
            return words[0]
    return ""


def login(node: Node, text: str, url: str) -> Login:
    """As whom the proxy logs in; its password is masked wherever it would show from here on."""
    given = settings_of(node.host, Swift).password
    found = proxy_conf.login(text, url, given.reveal() if given else "")
    Secret(literal=found.password).reveal()
    return found


def _text(node: Node) -> str:
    text = node.read_file(CONF)
    if text is None:
        raise Refused(f"{node.name} has no {CONF}: install Swift's proxy first")
    return text


def _signing_folder(node: Node, path: str) -> None:
    """The folder that an older middleware keeps Keystone's certificates in: Swift's own, and SELinux lets it."""
    if path:
        # systemd gives an existing /var/cache/swift its mode at every start
        node.make_folder(path, mode="" if node.stat(path) else "0700", owner="swift:swift")
        context = cast("Callable[..., Result[str]]", file_context)
        node.then(context, path=path, type="swift_var_cache_t")
