"""The services of the controller, each set up, migrated and running."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nornir_stack.command import command, sh
from nornir_stack.errors import Refused, UsageError
from nornir_stack.node import Node
from nornir_stack.secret import Secret
from nornir_stack.select import nearest
from nornir_stack.tasks.config.apply import edit
from nornir_stack.tasks.openstack import files, programs
from nornir_stack.tasks.openstack.applied import applied
from nornir_stack.tasks.openstack.plane import plane_of
from nornir_stack.tasks.openstack.schemas import migrate, rows
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.services import service

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.tasks.openstack.plane import Plane

PROGRAMS = {one.name: one for one in (*programs.ON_CONTROLLER, programs.CINDER, programs.GNOCCHI, programs.OCTAVIA)}
_KEYS = {"fernet": "fernet-keys", "credential": "credential-keys"}
# The password comes by stdin: words of a command are seen by everyone on the node.
_BOOTSTRAP = r"""
IFS= read -r OS_BOOTSTRAP_PASSWORD; export OS_BOOTSTRAP_PASSWORD
exec runuser -u keystone -- keystone-manage bootstrap --bootstrap-region-id "$1" \
    --bootstrap-admin-url "$2" --bootstrap-internal-url "$2" --bootstrap-public-url "$2"
"""
# An authority of its own, and what it certifies Octavia by to the machines that would balance. The passphrase comes by stdin.
_CERTIFY = r"""
set -e
umask 077
IFS= read -r word
new=$(mktemp -d "$1.XXXXXX")
trap 'rm -rf -- "$new"' EXIT
cd -- "$new"
printf '%s\n' "$word" | openssl req -x509 -newkey rsa:3072 -days 3650 -subj /CN=octavia-ca -passout stdin \
    -keyout ca.key -out ca.crt
openssl req -newkey rsa:3072 -nodes -subj /CN=octavia -keyout client.key -out client.csr
printf '%s\n' "$word" | openssl x509 -req -days 3650 -in client.csr -CA ca.crt -CAkey ca.key -passin stdin -CAcreateserial \
    -out client.crt
cat client.crt client.key >client.pem
rm client.crt client.key client.csr
chown -R octavia:octavia .
chmod 0750 .
trap - EXIT
mv -T -- "$new" "$1"
"""
# What ceilometer-upgrade makes in Gnocchi: types of resources, a line each, and those of their properties that came later.
_TYPES = """
from ceilometer import gnocchi_client as own
for name in own.resources_initial: print(name)
for step in own.resources_update_operations:
    print(step["resource_type"], *(one["path"].rpartition("/")[2] for one in step["data"] if one.get("op") == "add"))
"""
_MADE = "SELECT name, attributes FROM resource_type"
# 0: the password is right, and it may do everything. Else there may be no such user, or another password.
_MESSAGES_LOOK = r"""
rabbitmqctl --quiet authenticate_user openstack >/dev/null 2>&1 &&
    rabbitmqctl --quiet list_user_permissions openstack </dev/null | grep -qx '/[[:space:]]\.\*[[:space:]]\.\*[[:space:]]\.\*'
"""
_MESSAGES = r"""
IFS= read -r word
verb=add_user
if rabbitmqctl --quiet list_users </dev/null | grep -q '^openstack[[:space:]]'; then verb=change_password; fi
printf '%s\n' "$word" | rabbitmqctl --quiet $verb openstack >/dev/null
rabbitmqctl --quiet set_permissions openstack '.*' '.*' '.*' </dev/null
"""
# Nova sees a service as up for a minute after it was heard (service_down_time).
_SERVICES = """SELECT host, COALESCE(last_seen_up, created_at) > UTC_TIMESTAMP() - INTERVAL 60 SECOND FROM services
WHERE `binary` = 'nova-compute' AND deleted = 0"""
_REPORTED = "SELECT host FROM compute_nodes WHERE deleted = 0"
_MAPPED = "SELECT host FROM host_mappings"
_REPORT_SECONDS, _PAUSE = 60.0, 1.0
_APACHE = "/etc/apache2"
_DASHBOARD = "/etc/openstack-dashboard/local_settings.d/_0100_nornir_stack.py"


@dataclass(frozen=True)
class Cell:
    """Hosts as Nova's databases have them: `services` of nova-compute (and whether they are alive), those that `reported` what
    resources they have, and those that are `mapped` to the cell."""

    services: Mapping[str, bool]
    reported: frozenset[str]
    mapped: frozenset[str]

    @property
    def alive(self) -> frozenset[str]:
        return frozenset(host for host, up in self.services.items() if up)

    @property
    def new(self) -> tuple[str, ...]:
        """What nova-manage is to take in."""
        return tuple(sorted((self.alive & self.reported) - self.mapped))

    @property
    def silent(self) -> tuple[str, ...]:
        """What it would pass over: nothing is known of it yet."""
        return tuple(sorted(self.alive - self.reported - self.mapped))


def messages(task: Task) -> Result[None]:
    """RabbitMQ with the services' user, and memcached; nothing of them is in a command's words."""
    node = Node(task)
    plane = plane_of(task.nornir.inventory)
    packages(task, present=programs.MESSAGES)
    for unit in ("rabbitmq-server.service", "memcached.service"):
        node.then(service, unit=unit, state="started", enabled=True)
    line = Secret(literal=f"{plane.password('messages').reveal()}\n")
    if not node.gate.pending and node.read(sh(_MESSAGES_LOOK, stdin=line), ok=None).ok:
        return node.done()
    node.change(sh(_MESSAGES, stdin=line), what="the user openstack of RabbitMQ", repeatable=True)
    return node.done()


def program(task: Task, *, service: str) -> Result[None]:
    """One of the controller's services: installed, its files as the inventory wants them, its databases migrated, running.

    Raises UsageError for one that is not known.
    """
    if service not in PROGRAMS:
        raise UsageError(f"there is no service {service!r}{nearest(service, PROGRAMS)}")
    node = Node(task)
    wanted, plane = PROGRAMS[service], plane_of(task.nornir.inventory)
    packages(task, present=wanted.packages)
    for path, sections in files.MADE[service](plane).items():
        edit(node, path, sections)
    sizes = {"processes": str(plane.workers)} if plane.workers else {}
    if plane.workers or wanted.threads == programs.ONE_THREAD:
        node.edit_ini(wanted.uwsgi, "uwsgi", {**sizes, "threads": str(wanted.threads)}, independent=True)
    if service == "octavia":
        _octavia(node, plane)
    migrate(node, plane, wanted)
    if service == "keystone":
        _keystone(node, plane)
    for unit in wanted.units:
        node.then(applied, unit=unit, files=list(wanted.files) + ([files.OCTAVIA_API] if unit == "octavia-api.service" else []))
    return node.done()


def _keystone(node: Node, plane: Plane) -> None:
    """Its keys, and the first user, role, project and endpoint."""
    for kind, folder in _KEYS.items():
        if node.stat(f"/etc/keystone/{folder}/0", independent=True) is None:
            node.change("keystone-manage", f"{kind}_setup", "--keystone-user=keystone", "--keystone-group=keystone")
    if not rows(node, plane, "keystone", "SELECT 1 FROM local_user WHERE name = 'admin'"):
        line = Secret(literal=f"{plane.admin.reveal()}\n")
        url = programs.KEYSTONE.url.format(plane.address)
        node.change(sh(_BOOTSTRAP, plane.region, url, stdin=line), what="keystone-manage bootstrap", repeatable=True)


def _octavia(node: Node, plane: Plane) -> None:
    """Its certificates, and what its API alone is told."""
    folder = files.OCTAVIA_API.rpartition("/")[0]
    node.make_folder(folder)
    node.write_file(files.OCTAVIA_API, files.OCTAVIA_PORTS, independent=True)
    if node.stat(files.CERTIFICATES, independent=True) is None:
        line = Secret(literal=f"{plane.password('octavia ca').reveal()}\n")
        node.change(sh(_CERTIFY, files.CERTIFICATES, stdin=line), what=f"make Octavia's certificates in {files.CERTIFICATES}")


def telemetry(task: Task) -> Result[None]:
    """Ceilometer's agents on the controller, and what they need in Gnocchi, which has to answer."""
    node = Node(task)
    plane = plane_of(task.nornir.inventory)
    packages(task, present=programs.AGENTS)
    for path, sections in files.ceilometer(plane).items():
        edit(node, path, sections)
    wanted = node.read(command("python3", "-", stdin=_TYPES)).lines
    if lacking := lacking_types(wanted, rows(node, plane, "gnocchi", _MADE)):
        what = f"ceilometer-upgrade: {len(lacking)} types of resources in Gnocchi"
        # it asks for ever otherwise
        node.change("runuser", "-u", "ceilometer", "--", "ceilometer-upgrade", "--retry=10", what=what, repeatable=True)
    for agent in programs.AGENTS:
        node.then(applied, unit=f"{agent}.service", files=list(files.ceilometer(plane)))
    return node.done()


def lacking_types(wanted: Sequence[str], made: Iterable[tuple[Any, ...]]) -> tuple[str, ...]:
    """Of lines of a type and properties, the types that are not there, or lack one of these. Pure."""
    have = {str(name): str(attributes) for name, attributes in made}
    lines = [line.split() for line in wanted if line.strip()]
    lacking = [name for name, *more in lines if name not in have or any(f'"{one}"' not in have[name] for one in more)]
    return tuple(dict.fromkeys(lacking))


def discovered(task: Task) -> Result[tuple[str, ...]]:
    """Have every compute node that reported be in Nova's cell, so that instances can start on it. The value: those nodes.

    One whose service is alive and that has not reported its resources yet is waited for: nova-manage would pass it over, and
    end well. Raises Refused where it never does, or is not in the cell afterwards.
    """
    node = Node(task)
    plane = plane_of(task.nornir.inventory)

    def look() -> Cell:
        return Cell(
            {str(row[0]): bool(row[1]) for row in rows(node, plane, "nova", _SERVICES)},
            frozenset(str(row[0]) for row in rows(node, plane, "nova", _REPORTED)),
            frozenset(str(row[0]) for row in rows(node, plane, "nova_api", _MAPPED)),
        )

    now, waited = look(), 0.0
    while now.silent and waited < _REPORT_SECONDS and not node.dry_run:
        node.gate.wait(_PAUSE, f"{', '.join(now.silent)} to report")
        now, waited = look(), waited + _PAUSE
    new = (*now.new, *(now.silent if node.dry_run else ()))
    if new:
        command = ("runuser", "-u", "nova", "--", "nova-manage", "cell_v2", "discover_hosts")
        node.change(*command, what=f"take {', '.join(new)} into Nova's cell", repeatable=True)
        now = now if node.dry_run else look()
    if not node.dry_run and (outside := (*now.new, *now.silent)):
        raise Refused(f"{', '.join(outside)} did not come into Nova's cell: why stands in nova-compute's log there")
    return node.done(tuple(sorted(now.services)))


def dashboard(task: Task) -> Result[None]:
    """Horizon on the controller, asking its Keystone."""
    node = Node(task)
    plane = plane_of(task.nornir.inventory)
    packages(task, present=programs.DASHBOARD)
    names = [plane.address, plane.controller, "localhost"]
    lines = [
        f'OPENSTACK_HOST = "{plane.address}"',
        f'OPENSTACK_KEYSTONE_URL = "{plane.keystone}/v3"',
        f"ALLOWED_HOSTS = {names!r}".replace("'", '"'),
    ]
    node.write_file(_DASHBOARD, "".join(f"{line}\n" for line in lines), independent=True)
    if node.stat(f"{_APACHE}/mods-enabled/ssl.load", independent=True) is None:
        # the package enables this site and not the module that it needs: Apache would not start
        node.remove_file(f"{_APACHE}/sites-enabled/default-ssl.conf")
    node.then(applied, unit="apache2.service", files=[_DASHBOARD])
    return node.done()
