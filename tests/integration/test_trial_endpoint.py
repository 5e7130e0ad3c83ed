"""A real Keystone on a node: an endpoint corrected in place through its API; dry run, for real, again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from nornir.core import Nornir
from nornir.core.configuration import Config, LoggingConfig
from nornir.core.inventory import ConnectionOptions, Defaults, Group, Groups, Host, Hosts, Inventory, ParentGroups
from nornir.plugins.runners import ThreadedRunner

from nornir_stack.chain import Chain, Check, Stage, do
from nornir_stack.connections.openstack import api
from nornir_stack.errors import Refused
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.results import Status
from nornir_stack.secret import Secret
from nornir_stack.select import role
from nornir_stack.tasks.openstack.endpoint import catalogue, endpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from openstack.connection import Connection

    from nornir_stack.lab import Lab
    from nornir_stack.results import Report
    from nornir_stack.seen import Seen
    from nornir_stack.tasks.openstack.endpoint import Catalogue

# openstacksdk says of its own calls and defaults that they will go
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
CLOUD = role("cloud")
PASSWORD = "adminpass"
WRONG, RIGHT = "http://10.255.0.9:8080/v1/AUTH_%(tenant_id)s", "http://10.255.0.11:8080/v1/AUTH_%(tenant_id)s"
# One process of uwsgi: the packaged number takes long to start. Not on SQLite: Keystone's readers lock its writers out.
KEYSTONE = r"""
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -q update >/dev/null
apt-get -q -y --no-install-recommends install mariadb-server >/dev/null
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


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    lab = boot("ks1", tree="keystone")
    address = lab.spec.node("ks1").address.partition("/")[0]
    done = lab.enter("ks1", "sh", "-c", KEYSTONE, "sh", address, PASSWORD)
    assert done.returncode == 0, done.stderr[-2000:]
    return lab


def cloud(lab: Lab, folder: Path, password: str = PASSWORD) -> Nornir:
    """A Nornir object with one host, the cloud; its password is a secret of the inventory, the rest is clouds.yaml."""
    register_connections()
    address = lab.spec.node("ks1").address.partition("/")[0]
    (folder / "clouds.yaml").write_text(
        f"clouds:\n  trial:\n    region_name: RegionOne\n    auth:\n      auth_url: http://{address}:5000/v3\n"
        "      username: admin\n      project_name: admin\n"
        "      user_domain_name: Default\n      project_domain_name: Default\n"
    )
    extras = {"cloud": "trial", "clouds_file": str(folder / "clouds.yaml"), "password": Secret(literal=password)}
    options = ConnectionOptions(None, None, None, None, None, extras)
    group = Group("cloud")
    host = Host(
        "cloud1", groups=ParentGroups([group]), data={"connection": "openstack"}, connection_options={"openstack": options}
    )
    inventory = Inventory(Hosts({"cloud1": host}), Groups({"cloud": group}), Defaults())
    return Nornir(inventory, Config(logging=LoggingConfig(enabled=False)), runner=ThreadedRunner(5))


@pytest.fixture
def nr(lab: Lab, tmp_path: Path) -> Nornir:
    """A cloud whose catalogue sends everybody who wants Swift to the wrong node."""
    nr = cloud(lab, tmp_path)

    def make(c: Connection) -> None:
        identity: Any = c.identity
        swift = next(iter(identity.services(name="swift")), None) or identity.create_service(name="swift", type="object-store")
        for each in identity.endpoints(service_id=swift.id):
            identity.delete_endpoint(each)
        identity.create_endpoint(service_id=swift.id, interface="public", region_id="RegionOne", url=WRONG)

    api(nr.inventory.hosts["cloud1"], nr.config).act(make)
    return nr


def swift(nr: Nornir) -> tuple[str, str]:
    """The id and the URL of Swift's public endpoint, as the API says."""

    def look(c: Connection) -> tuple[str, str]:
        identity: Any = c.identity
        (found,) = identity.endpoints(service_id=next(iter(identity.services(name="swift"))).id)
        return str(found.id), str(found.url)

    return api(nr.inventory.hosts["cloud1"], nr.config).look(look)


def no_wrong_one(seen: Seen[Catalogue]) -> list[str]:
    return [f"{each.url} is in the catalogue" for _, now in seen.items() for each in now.endpoints if each.url == WRONG]


def run(nr: Nornir, *, dry_run: bool = False, **words: Any) -> Report:
    words = {"service": "object-store", "interface": "public", "url": RIGHT, **words}
    until = Check(catalogue, no_wrong_one, CLOUD)
    return Chain("trial", Stage("endpoint", [do(endpoint, **words)], CLOUD, until=until)).run(nr, dry_run=dry_run)


def test_an_endpoint_is_corrected_in_place(nr: Nornir) -> None:
    """Same id, other URL; the dry run shows it and changes nothing, the second run finds it as wanted."""
    number, url = swift(nr)
    assert url == WRONG
    plan = run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    assert f"-{WRONG}\n+{RIGHT}" in plan.stage("endpoint").host("cloud1").tasks[0].diff
    assert swift(nr) == (number, WRONG)
    done = run(nr)
    assert done.ok, done
    assert done.value(endpoint, "cloud1").url == RIGHT
    assert swift(nr) == (number, RIGHT)
    again = run(nr)
    assert again.ok
    assert again.changed == ()


def test_nothing_is_sent_outside_of_a_change(nr: Nornir) -> None:
    """Whatever call of openstacksdk: a look that would change something is refused before it is sent."""
    number, _ = swift(nr)

    def sly(c: Connection) -> object:
        identity: Any = c.identity
        return identity.update_endpoint(number, url=RIGHT)

    with pytest.raises(Refused, match="only looks, and was about to send PATCH"):
        api(nr.inventory.hosts["cloud1"], nr.config).look(sly)
    assert swift(nr) == (number, WRONG)


def test_what_is_not_known_is_refused(nr: Nornir) -> None:
    """A service that the catalogue lacks; two endpoints that answer to one description."""
    assert "no service 'object-stor': did you mean 'object-store'?" in error(run(nr, service="object-stor"))

    def twice(c: Connection) -> None:
        identity: Any = c.identity
        (swift,) = identity.services(name="swift")
        identity.create_endpoint(service_id=swift.id, interface="public", region_id="RegionOne", url=RIGHT)

    api(nr.inventory.hosts["cloud1"], nr.config).act(twice)
    assert "swift has 2 public endpoints" in error(run(nr))


def test_a_refused_login_and_no_answer(lab: Lab, tmp_path: Path) -> None:
    """Both are `unreachable`, with a sentence, and the password stands in neither."""
    report = run(cloud(lab, tmp_path, password="not-the-password"))
    assert report.stage("endpoint").host("cloud1").status is Status.UNREACHABLE
    assert "the login was refused" in error(report)
    assert "not-the-password" not in report.to_json()
    nr = cloud(lab, tmp_path)
    text = (tmp_path / "clouds.yaml").read_text()
    (tmp_path / "clouds.yaml").write_text(text.replace(":5000", ":5001"))
    assert run(nr).stage("endpoint").host("cloud1").status is Status.UNREACHABLE


def error(report: Report) -> str:
    return report.stage("endpoint").host("cloud1").error
