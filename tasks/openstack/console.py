"""`openstack.console`: instances' screens by SPICE, from the roles: who listens where, and the proxy's page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.openstack import Cloud
from nornir_stack.tasks.config.apply import apply
from nornir_stack.tasks.openstack.ask import Base, ask, base_of, path_of
from nornir_stack.tasks.openstack.files import CONSOLE_PAGE, CONSOLE_PORT, merged, proxy_tls, screens
from nornir_stack.tasks.openstack.plane import COMPUTE, CONTROLLER, address_of
from nornir_stack.tasks.openstack.screens import NOVA, controller, disagreeing, screen_fails, screens_seen, shown
from nornir_stack.tasks.system.firewall import firewall

if TYPE_CHECKING:
    from typing import Any

    from nornir.core.task import Task
    from openstack.connection import Connection

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.openstack.screens import Screens

_OK = 200


def console() -> Chain:
    """SPICE instead of VNC in nova.conf of the controller and of every compute node, one after the other; the page answers.

    What is wrong before is said first, and at the end all nodes have to agree. Instances that run keep the screen that they
    were started with: a hard reboot gives them the new one.
    """
    return Chain("openstack.console", Plan("look", screens_seen, _planned, COMPUTE | CONTROLLER))


def _planned(seen: Seen[Screens]) -> Chain:
    page = Check(console_page, page_comes, CONTROLLER, within=60)
    agree = Check(screens_seen, disagreeing, COMPUTE | CONTROLLER)
    return Chain(
        "in order",
        Stage("certificate", [readable], CONTROLLER),
        Stage("compute", [console_settings], COMPUTE - CONTROLLER, serial=1),
        Stage("controller", [console_settings], CONTROLLER, serial=1, until=page),
        Stage("agree", [], COMPUTE | CONTROLLER, until=agree),
        reasons=disagreeing(seen),
    )


def console_settings(task: Task) -> Result[None]:
    """nova.conf with SPICE on and VNC off: QEMU listens, and is asked, at the node's own address; what reads it is restarted.

    The proxy's port is opened on the controller, where a firewall is. Raises Refused where the inventory has a certificate
    that the proxy there cannot read: without one nobody gets an https URL.
    """
    node = Node(task)
    wanted = controller(task.nornir.inventory)
    sections = screens(wanted, address_of(task.host))
    if task.host.has_parent_group("controller"):
        readable(task)
        firewall(task, purpose="console", ports=[f"{CONSOLE_PORT}/tcp"], sources=["0.0.0.0/0"])
        sections = merged(sections, proxy_tls(wanted))
    apply(task, files={NOVA: sections})
    return node.done()


def readable(task: Task) -> Result[None]:
    """Observe that the proxy's user can read the inventory's certificate and its key. Raises Refused where not."""
    node = Node(task)
    wanted = controller(task.nornir.inventory)
    for path in filter(None, (wanted.certificate, wanted.key)):
        if not node.read("runuser", "-u", "nova", "--", "test", "-r", path, ok=None).ok:
            raise Refused(f"the proxy's user nova cannot read {path} on {node.name}: put it there, chgrp nova, mode 0640")
    return node.done()


def console_page(task: Task) -> Result[int]:
    """Observe the console proxy's page, as the controller sees it: HTTP's status, 0 for no answer."""
    node = Node(task)
    base = Base(controller(task.nornir.inventory).scheme, address_of(task.host), CONSOLE_PORT)
    return node.done(ask(node, base, CONSOLE_PAGE).status)


def console_of(task: Task, *, server: str, screen: bool = True) -> Result[str]:
    """Have Nova open a console of an instance (name or id) that runs. The value: its URL, whose word is good for minutes.

    screen: its SPICE server has to answer through the proxy's WebSocket too, not only the page.
    Raises Refused with the cause where Nova has none: the notebook's "Invalid console type" among them.
    """
    node = Node(task)
    cloud = Cloud(node)
    found = cloud.read(f"the instance {server}", lambda c: _compute(c).find_server(server, all_projects=True))
    if found is None:
        raise Refused(f"the cloud has no instance {server}")
    full = cloud.read(f"the instance {server}", lambda c: _compute(c).get_server(found.id))
    if full.status != "ACTIVE":
        raise Refused(f"the instance {server} is {full.status}: only one that runs has a screen")
    url = cloud.change(
        f"open a console of {server}", lambda c: _open(c, found.id, full.compute_host or "its host", screen=screen)
    )
    return node.done(url or "")


def page_comes(seen: Seen[int]) -> list[str]:
    """The proxy's page comes."""
    problems = [f"{host} was not seen: {why}" for host, why in seen.missing.items()]
    return problems + [
        f"{host}: the console's proxy answers {f'HTTP {status}' if status else 'nothing'} on port {CONSOLE_PORT}"
        for host, status in seen.items()
        if status != _OK
    ]


def cause(said: str, host: str) -> str:
    """What is to be done about Nova's answer to a request for a console; '' for one that says nothing of the kind. Pure."""
    if "console type" not in said.lower():
        return ""
    return (
        f"Nova has no SPICE console of it ({said}): [spice] enabled is false in nova.conf on {host}, or the instance was"
        " started before it was true: run openstack.console, then reboot the instance hard"
    )


def _open(cloud: Connection, server: str, host: str, *, screen: bool) -> str:
    from keystoneauth1.exceptions.connection import SSLError  # noqa: PLC0415  an extra
    from openstack.exceptions import HttpException  # noqa: PLC0415  an extra

    try:
        url = str(_compute(cloud).create_console(server, "spice-html5")["url"])
    except HttpException as error:
        why = cause(str(error), host)
        if not why:
            raise
        raise Refused(why) from None
    try:
        answer = cloud.session.get(f"{base_of(url)}/{path_of(url)}", authenticated=False, raise_exc=False)
    except SSLError:
        raise Refused(f"the certificate of the console's proxy at {base_of(url)} is not trusted here") from None
    if answer.status_code != _OK:
        raise Refused(f"the console's proxy at {base_of(url)} answers HTTP {answer.status_code}")
    if screen and (why := screen_fails(shown(url), host)):
        raise Refused(why)
    return url


def _compute(cloud: Connection) -> Any:
    return cloud.compute
