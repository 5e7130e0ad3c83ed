"""A cloud over many nodes: its databases on a Galera cluster behind a load balancer, its objects on two storage nodes.

Keystone and Swift: four minutes on two busy cores, so only with --campaign.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.secret import Secret
from nornir_stack.tasks.cluster.form import form
from nornir_stack.tasks.loadbalancer.deploy import deploy
from nornir_stack.tasks.openstack.control_plane import control_plane
from tests.integration.cloud_lab import ADMIN, address, asked, cloud, enter, well
from tests.integration.cluster_lab import tell, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core import Nornir

    from nornir_stack.lab import Lab

# openstacksdk says of its own calls and defaults that they will go
pytestmark = [
    pytest.mark.cloud,
    pytest.mark.campaign,
    pytest.mark.skipif("not config.getoption('--campaign', default=False)", reason="four minutes: only with --campaign"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
]
DB, NODES = ("db1", "db2", "db3"), ("c1", "n1", "n2")
WRITES = 3307
MASTER = "galera-below-the-trial"
GAP_SECONDS, COPIED_SECONDS, JOINED_SECONDS = 30.0, 120.0, 120.0
SETTINGS = {"secret": Secret(literal=MASTER), "admin_password": Secret(literal=ADMIN), "workers": 1, "compute_driver": "fake"}
GALERA = {
    "cluster_name": "t",
    "buffer_pool": "256M",
    "log_file_size": "32M",
    "gcache_size": "32M",
    "max_connections": 300,
    # as whom loadbalancer.deploy proves its listener
    "users": [{"name": "through", "password": Secret(literal="only-to-see-who-answers")}],
}
WHO = {"user": {"name": "admin", "password": ADMIN, "domain": {"id": "default"}}}
SCOPE = {"project": {"name": "admin", "domain": {"id": "default"}}}
LOGIN = json.dumps({"auth": {"identity": {"methods": ["password"], "password": WHO}, "scope": SCOPE}})
# 201: a token. Keystone looks the user up in its database for each.
TOKEN = r"""
curl -s -m 5 -o /dev/null -w '%{http_code}' -H 'Content-Type: application/json' -d "$2" "http://$1:5000/v3/auth/tokens" || :
"""
CLIENTS = "SELECT DISTINCT User FROM information_schema.PROCESSLIST WHERE Host <> '' AND Host <> 'localhost' ORDER BY User"
STATE = """mariadb -N -e "SHOW STATUS LIKE 'wsrep_local_state_comment'" 2>/dev/null || :"""
TABLES = "SELECT TABLE_SCHEMA, COUNT(*) FROM information_schema.TABLES GROUP BY 1 ORDER BY 1"
STANDING = r"""
for u; do systemctl show -p Id,ActiveEnterTimestampMonotonic -- "$u.service"; done
find /etc/keystone /etc/swift -type f | sort | xargs md5sum
"""
# The object's content, from the proxy of one node.
READ = r"""
token=$(curl -s -m 20 -o /dev/null -D - -H 'Content-Type: application/json' -d "$3" "http://$1:5000/v3/auth/tokens" |
    sed -n 's/^[Xx]-[Ss]ubject-[Tt]oken: *//p' | tr -d '\r')
curl -s -m 20 -H "X-Auth-Token: $token" "http://$2:8080/v1/AUTH_$4/box/thing"
"""
# Which of the three a node has something of.
COPIES = r"""
for kind in accounts containers objects; do
    if find "/srv/node/d1/$kind" -name '*.db' -o -name '*.data' 2>/dev/null | grep -q .; then printf '%s ' $kind; fi
done
"""
KINDS = ["accounts", "containers", "objects"]
CONTENT = b"what is kept twice"
UNITS = "keystone swift-proxy swift-account swift-container swift-object swift-object-replicator rsync"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot(*DB, "lb1", *NODES, tree={**dict.fromkeys(DB, "db"), **dict.fromkeys(NODES, "cloud")})


@pytest.fixture(scope="module")
def nr(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Nornir:
    """Members, a balancer, a controller, storage nodes: formed, deployed, put up."""
    roles = {"controller": ["c1"], "storage": ["n1", "n2"]}
    balancer = {
        "virtual_address": str(lab.spec.network[20]),
        "listeners": {"writes": {"port": WRITES, "mode": "single-writer"}},
    }
    data: dict[str, dict[str, Any]] = {
        "db": {"galera": GALERA},
        "loadbalancer": {"loadbalancer": balancer},
        "defaults": {"openstack": SETTINGS},
    }
    nr = cloud(lab, tmp_path_factory.mktemp("up"), {"db": list(DB), "loadbalancer": ["lb1"], **roles}, data)
    for chain in (form(), deploy(), control_plane(horizon=False)):
        began = time.monotonic()
        well(chain.run(nr))
        tell(f"{chain.name}: {time.monotonic() - began:.0f} s")
    return nr


def on_each(lab: Lab, sql: str, names: tuple[str, ...] = DB) -> dict[str, str]:
    return {name: enter(lab, name, 'mariadb -N -e "$1"', sql) for name in names}


def issued(lab: Lab) -> bool:
    """Whether Keystone gave a token, within five seconds."""
    return enter(lab, "c1", TOKEN, address(lab, "c1"), LOGIN) == "201"


def standing(lab: Lab) -> dict[str, str]:
    """When each unit was started, and the checksums of all configuration files."""
    return {node: enter(lab, node, STANDING, *UNITS.split()) for node in NODES}


def test_every_service_writes_through_the_balancer(nr: Nornir, lab: Lab) -> None:
    """All sessions are the balancer's, on one member; all members have all tables; the controller has no server of its own."""
    assert issued(lab)
    clients = on_each(lab, CLIENTS)
    assert "keystone" in clients["db1"].split()
    assert (clients["db2"].split(), clients["db3"].split()) == ([], [])
    tables = on_each(lab, TABLES)
    assert len(set(tables.values())) == 1
    assert "keystone\t" in tables["db3"]
    wanted = f"@{lab.spec.network[20]}:{WRITES}/keystone"
    assert wanted in enter(lab, "c1", "cat /etc/keystone/keystone.conf")
    assert enter(lab, "c1", "systemctl is-active mariadb || :").strip() == "inactive"


def test_the_second_run_changes_nothing(nr: Nornir, lab: Lab) -> None:
    """No file, no restart."""
    before = standing(lab)
    for chain in (form(), deploy(), control_plane(horizon=False)):
        assert well(chain.run(nr)).changed == ()
    assert standing(lab) == before


def test_the_writers_power_is_cut(nr: Nornir, lab: Lab) -> None:
    """Keystone gives tokens again soon and takes what is new; the chain works meanwhile; the writer gets its place back."""
    began = time.monotonic()
    lab.kill("db1")
    until(lambda: issued(lab), GAP_SECONDS, "a token")
    tell(f"tokens again after {time.monotonic() - began:.1f} s")
    asked(nr, lambda c: c.identity.create_user(name="made-without-db1", domain_id="default"))
    assert well(control_plane(horizon=False).run(nr)).changed == ()
    lab.start("db1")
    until(lambda: "Synced" in enter(lab, "db1", STATE), JOINED_SECONDS, "db1 in the cluster")
    until(lambda: on_each(lab, CLIENTS, ("db2", "db3")) == {"db2": "", "db3": ""}, GAP_SECONDS, "the sessions' way back")
    until(lambda: issued(lab), GAP_SECONDS, "a token")
    users = "SELECT COUNT(*) FROM keystone.local_user WHERE name = 'made-without-db1'"
    assert on_each(lab, users) == dict.fromkeys(DB, "1\n")
    assert users_now(nr) >= {"admin", "swift", "made-without-db1"}


def test_an_object_outlives_either_storage_node(nr: Nornir, lab: Lab) -> None:
    """Stored while one is off, brought there when it is back, and read from it while the other is off."""
    lab.kill("n2")

    def store(c: Any) -> str:
        c.object_store.create_container(name="box")
        c.object_store.upload_object(container="box", name="thing", data=CONTENT)
        return str(c.current_project_id)

    project = asked(nr, store)
    lab.start("n2")
    until(lambda: enter(lab, "n2", COPIES).split() == KINDS, COPIED_SECONDS, "copies of account, container and object")
    lab.kill("n1")
    said = enter(lab, "c1", READ, address(lab, "c1"), address(lab, "n2"), LOGIN, project)
    lab.start("n1")
    enter(lab, "n1", "systemctl is-system-running --wait || :")
    assert said == CONTENT.decode()


def users_now(nr: Nornir) -> set[str]:
    found: set[str] = asked(nr, lambda c: {each.name for each in c.identity.users()})
    return found
