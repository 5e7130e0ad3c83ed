"""Nodes of a cloud for tests: Keystone and Swift put up by hand, and the inventory that knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir.core.inventory import ConnectionOptions, Group, Host, ParentGroups

from nornir_stack.connections.openstack import api
from nornir_stack.secret import Secret
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from nornir.core import Nornir

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report

ADMIN, SERVICE = "adminpass", "swiftpass"
# One process of uwsgi: the packaged number takes long to start. Not on SQLite: Keystone's readers lock its writers out.
KEYSTONE = r"""
set -e
systemctl start mariadb memcached
mysql -e "CREATE DATABASE keystone; GRANT ALL ON keystone.* TO keystone@localhost IDENTIFIED BY '$2'"
cd /etc/keystone
sed -i -e '/^connection *=/d' -e "s#^\[database\]#&\nconnection = mysql+pymysql://keystone:$2@localhost/keystone#" keystone.conf
sed -i -E 's/^processes = .*/processes = 1/; s/^threads = .*/threads = 8/' keystone-uwsgi.ini
su -s /bin/sh keystone -c 'keystone-manage db_sync'
keystone-manage fernet_setup --keystone-user keystone --keystone-group keystone
keystone-manage credential_setup --keystone-user keystone --keystone-group keystone
u=http://$1:5000/v3/
su -s /bin/sh keystone -c "keystone-manage bootstrap --bootstrap-password $2 --bootstrap-region-id RegionOne \
--bootstrap-admin-url $u --bootstrap-internal-url $u --bootstrap-public-url $u"
systemctl start keystone
i=0; until curl -sf "$u" >/dev/null; do i=$((i + 1)); [ $i -lt 300 ] || exit 1; sleep 0.2; done
"""
# As packstack left it: the proxy asks nobody that is there, with Kilo's keys.
SWIFT = r"""
set -e
cd /etc/swift
printf '[swift-hash]\nswift_hash_path_suffix = suff\nswift_hash_path_prefix = pref\n' >swift.conf
mkdir -p /srv/node/d1; chown -R swift:swift /srv/node
for x in account:6202 container:6201 object:6200; do
    n=${x%:*}
    swift-ring-builder $n.builder create 4 1 0 >/dev/null
    swift-ring-builder $n.builder add --region 1 --zone 1 --ip "$1" --port "${x#*:}" --device d1 --weight 100 >/dev/null
    swift-ring-builder $n.builder rebalance >/dev/null
    sed -i -E -e '/^(workers|mount_check|bind_ip) *=/d' \
        -e 's/^\[DEFAULT\]/&\nworkers = 1\nmount_check = false\nbind_ip = 0.0.0.0/' $n-server.conf
done
sed -i -E -e 's/^workers = .*/workers = 1/' -e 's/ tempauth / authtoken keystoneauth /' \
    -e 's/^\[app:proxy-server\]/&\naccount_autocreate = true/' proxy-server.conf
cat >>proxy-server.conf <<X
[filter:authtoken]
# packstack, 2015
signing_dir = /var/cache/swift
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
identity_uri = http://$2:35357/
auth_uri = http://$2:5000
admin_tenant_name = services
admin_user = swift
admin_password = $3
delay_auth_decision = true
cache = swift.cache
[filter:keystoneauth]
use = egg:swift#keystoneauth
operator_roles = admin, SwiftOperator
X
chown -R swift:swift /etc/swift
systemctl enable --now swift-account swift-container swift-object swift-proxy
"""


def enter(lab: Lab, node: str, script: str, *words: str) -> str:
    """What a script printed on a node; it has to end well."""
    done = lab.enter(node, "sh", "-c", script, "sh", *words)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def address(lab: Lab, node: str) -> str:
    return lab.spec.node(node).address.partition("/")[0]


def cloud(
    lab: Lab, folder: Path, roles: Mapping[str, list[str]], data: Mapping[str, Mapping[str, Any]] | None = None
) -> Nornir:
    """A Nornir object over the nodes by role, and the cloud whose Keystone is on c1."""
    nr = nornir(lab, roles, data)
    (folder / "clouds.yaml").write_text(
        f"clouds:\n  trial:\n    region_name: RegionOne\n    auth:\n      auth_url: http://{address(lab, 'c1')}:5000/v3\n"
        "      username: admin\n      project_name: admin\n"
        "      user_domain_name: Default\n      project_domain_name: Default\n"
    )
    extras = {"cloud": "trial", "clouds_file": str(folder / "clouds.yaml"), "password": Secret(literal=ADMIN)}
    group = nr.inventory.groups.setdefault("cloud", Group("cloud"))
    nr.inventory.hosts["cloud1"] = Host(
        "cloud1",
        groups=ParentGroups([group]),
        data={"connection": "openstack"},
        connection_options={"openstack": ConnectionOptions(None, None, None, None, None, extras)},
        defaults=nr.inventory.defaults,
    )
    return nr


def well(report: Report) -> Report:
    """It ended well; else what was wrong, all of it."""
    problems = [f"{each.name}: {problem}" for each in report.stages for problem in each.problems]
    assert report.ok, "\n".join(problems)
    return report


def asked(nr: Nornir, look: Callable[[Any], Any]) -> Any:
    """What the cloud says, past the library's tasks."""
    return api(nr.inventory.hosts["cloud1"], nr.config).act(look)


def renewed(nr: Nornir) -> None:
    """Log in anew: the catalogue of a login is that of its moment, and a service that was restarted ends its connections."""
    api(nr.inventory.hosts["cloud1"], nr.config).renew()


def endpoints(nr: Nornir) -> dict[tuple[str, str], tuple[str, str]]:
    """Service's name and interface to the endpoint's id and URL."""

    def look(c: Any) -> dict[tuple[str, str], tuple[str, str]]:
        names = {each.id: each.name for each in c.identity.services()}
        return {(names[each.service_id], each.interface): (each.id, each.url) for each in c.identity.endpoints()}

    found: dict[tuple[str, str], tuple[str, str]] = asked(nr, look)
    return found
