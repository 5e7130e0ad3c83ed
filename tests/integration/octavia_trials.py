"""Octavia on the controller: its API with Neutron's real ports, and a worker that only pretends to make amphorae."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.select import role
from nornir_stack.tasks.openstack.load_balancer import load_balancer, load_balancers
from nornir_stack.tasks.openstack.plane import plane_of
from nornir_stack.tasks.openstack.projects import project
from tests.integration.cloud_lab import address, asked, enter, renewed, well

if TYPE_CHECKING:
    from nornir.core import Nornir

    from nornir_stack.lab import Lab

CLOUD = role("cloud")
WORD = "octavia-its-word"
PROJECT = {"cidr": "10.3.0.0/24"}
# $1: the controller's address, $2: Octavia's password everywhere, $3: that of the messages.
OCTAVIA = r"""
set -e
mysql -e "CREATE DATABASE IF NOT EXISTS octavia; GRANT ALL ON octavia.* TO octavia@'%' IDENTIFIED BY '$2'"
mkdir -p /etc/octavia/certs /etc/octavia/octavia.conf.d; cd /etc/octavia/certs
openssl req -x509 -newkey rsa:2048 -days 30 -subj /CN=ca -passout pass:capass -keyout ca.key -out ca.crt 2>/dev/null
openssl req -x509 -newkey rsa:2048 -days 30 -nodes -subj /CN=client -keyout cl.key -out cl.crt 2>/dev/null
cat cl.crt cl.key >client.pem
login="auth_url = http://$1:5000
auth_type = password
project_domain_name = Default
user_domain_name = Default
project_name = service
username = octavia
password = $2
region_name = RegionOne"
cat >/etc/octavia/octavia.conf <<X
[DEFAULT]
transport_url = rabbit://openstack:$3@$1:5672/
[api_settings]
enabled_provider_drivers = amphora:amphora
default_provider_driver = amphora
[database]
connection = mysql+pymysql://octavia:$2@$1:3306/octavia
[oslo_messaging]
topic = octavia_prov
[keystone_authtoken]
$login
www_authenticate_uri = http://$1:5000
memcached_servers = 127.0.0.1:11211
[service_auth]
$login
[controller_worker]
amphora_driver = amphora_noop_driver
compute_driver = compute_noop_driver
image_driver = image_noop_driver
network_driver = network_noop_driver
amp_image_tag = amphora
workers = 1
client_ca = /etc/octavia/certs/ca.crt
[certificates]
ca_certificate = /etc/octavia/certs/ca.crt
ca_private_key = /etc/octavia/certs/ca.key
ca_private_key_passphrase = capass
server_certs_key_passphrase = insecure-key-do-not-use-this-key
[haproxy_amphora]
client_cert = /etc/octavia/certs/client.pem
server_ca = /etc/octavia/certs/ca.crt
[health_manager]
heartbeat_key = insecure
X
# The API reads this after octavia.conf; the worker, which is given that file, before it.
printf '[controller_worker]\nnetwork_driver = allowed_address_pairs_driver\n' >/etc/octavia/octavia.conf.d/ports.conf
chown -R octavia:octavia /etc/octavia
sed -i -E 's/^processes = .*/processes = 1/; s/^threads = .*/threads = 4/' /etc/octavia/octavia-api-uwsgi.ini
runuser -u octavia -- octavia-db-manage --config-file /etc/octavia/octavia.conf upgrade head >/dev/null 2>&1
systemctl restart octavia-api octavia-worker
i=0; until curl -sf "http://$1:9876/" >/dev/null; do i=$((i + 1)); [ $i -lt 300 ] || exit 1; sleep 0.2; done
"""
WANTED: dict[str, Any] = {
    "project": "balanced",
    "vip": "10.3.0.100",
    "external": "beyond",
    "members": {"10.3.0.11": 1, "10.3.0.12": 2},
}


def put_up(lab: Lab, nr: Nornir) -> None:
    at = address(lab, "c1")

    def known(c: Any) -> None:
        identity = c.identity
        user = identity.create_user(name="octavia", password=WORD, domain_id="default")
        identity.assign_project_role_to_user(identity.find_project("service"), user, identity.find_role("admin"))
        service = identity.create_service(name="octavia", type="load-balancer")
        for interface in ("public", "internal", "admin"):
            url = f"http://{at}:9876"
            identity.create_endpoint(service_id=service.id, interface=interface, region_id="RegionOne", url=url)

    asked(nr, known)
    enter(lab, "c1", OCTAVIA, at, WORD, plane_of(nr.inventory).password("messages").reveal())
    renewed(nr)


def outside(nr: Nornir) -> None:
    """A project with its network, whose router leads to an external network that no other test knows."""
    well(Chain("trial", Stage("project", [do(project, project="balanced")], CLOUD)).run(nr))

    def lead(c: Any) -> None:
        network = c.network.create_network(name="beyond", is_router_external=True)
        c.network.create_subnet(network_id=network.id, ip_version=4, cidr="192.0.2.0/24", is_dhcp_enabled=False)
        c.network.update_router(c.network.find_router("balanced"), external_gateway_info={"network_id": network.id})

    asked(nr, lead)


def ids(nr: Nornir) -> dict[str, list[str]]:
    """Ids of everything that Octavia has, and of floating addresses."""

    def look(c: Any) -> dict[str, list[str]]:
        api = c.load_balancer
        pools = list(api.pools())
        return {
            "balancers": sorted(each.id for each in api.load_balancers()),
            "listeners": sorted(each.id for each in api.listeners()),
            "pools": sorted(each.id for each in pools),
            "members": sorted(each.id for pool in pools for each in api.members(pool)),
            "monitors": sorted(each.id for each in api.health_monitors()),
            "floating": sorted(each.id for each in beyond(c)),
        }

    found: dict[str, list[str]] = asked(nr, look)
    return found


def beyond(c: Any) -> list[Any]:
    """The floating addresses of that network."""
    return list(c.network.ips(floating_network_id=c.network.find_network("beyond").id))


def made(nr: Nornir) -> None:
    """Dry run, run, run again with the same ids; the floating address leads to the balancer's own."""
    plan = load_balancers().run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    assert not ids(nr)["balancers"]
    now = well(load_balancers().run(nr)).value(load_balancer, "cloud1")
    assert (now.status, now.vip, now.algorithm) == ("ACTIVE", "10.3.0.100", "ROUND_ROBIN")
    assert {address: weight for address, (_, weight, _) in now.members.items()} == WANTED["members"]
    assert now.floating.startswith("192.0.2.")
    assert asked(nr, lambda c: beyond(c)[0].fixed_ip_address) == "10.3.0.100"
    before = ids(nr)
    assert [len(found) for found in before.values()] == [1, 1, 1, 2, 1, 1]
    assert well(load_balancers().run(nr)).changed == ()
    assert ids(nr) == before


def corrected(nr: Nornir) -> None:
    """With other members and weights in the inventory: in place; the rest keeps its ids."""
    before = ids(nr)
    now = well(load_balancers().run(nr)).value(load_balancer, "cloud1")
    assert {address: weight for address, (_, weight, _) in now.members.items()} == {"10.3.0.11": 5, "10.3.0.13": 1}
    after = ids(nr)
    assert {key: after[key] for key in after if key != "members"} == {key: before[key] for key in before if key != "members"}
    assert well(load_balancers().run(nr)).changed == ()
