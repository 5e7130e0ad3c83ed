"""The services of a control plane as data: packages, units, databases, and where each says that it is."""

from __future__ import annotations

from dataclasses import dataclass

# Of a service that eventlet patched: its greenlets wait for each other across uWSGI's threads, and after a while calls end in
# MessagingTimeout (Nova) or never (Neutron, seen with 8 threads: each further request hung in eventlet's hub).
ONE_THREAD = 1


@dataclass(frozen=True)
class Schema:
    """A database, and the folder (below Python's packages) of the migrations that it is to have gone through (Alembic).

    `last` is a table that has a row when they have, of a service that does more after that.
    """

    name: str
    migrations: str
    last: str = ""


@dataclass(frozen=True)
class Step:
    """A command of a database's migration; one with a `cell` is for that cell of Nova's, which it makes."""

    argv: tuple[str, ...]
    cell: str = ""


@dataclass(frozen=True)
class Program:
    """A service of the controller, from Debian's packages.

    `url` is its endpoint's, with the controller's address for `{}`; `sync` are run in order, each as the service's own user.
    """

    name: str
    type: str
    url: str
    packages: tuple[str, ...]
    units: tuple[str, ...]
    files: tuple[str, ...]
    schemas: tuple[Schema, ...]
    sync: tuple[Step, ...]
    uwsgi: str = ""
    threads: int = 8


# A template, so that no password stands in a command or twice in a database (Nova's manual, "Template URLs for cell mappings").
_URL = "{scheme}://{username}:{password}@{hostname}:{port}/{path}"
_CELL = ("nova-manage", "cell_v2")
_NEUTRON_FILES = ("/etc/neutron/neutron.conf", "/etc/neutron/plugins/ml2/ml2_conf.ini")

KEYSTONE = Program(
    "keystone",
    "identity",
    "http://{}:5000/v3",
    ("keystone", "python3-pymysql", "python3-memcache"),
    ("keystone.service",),
    ("/etc/keystone/keystone.conf", "/etc/keystone/keystone-uwsgi.ini"),
    (Schema("keystone", "keystone/common/sql/migrations/versions"),),
    (Step(("keystone-manage", "db_sync")),),
    "/etc/keystone/keystone-uwsgi.ini",
)
GLANCE = Program(
    "glance",
    "image",
    "http://{}:9292",
    ("glance-api",),
    ("glance-api.service",),
    ("/etc/glance/glance-api.conf", "/etc/glance/glance-api-uwsgi.ini"),
    (Schema("glance", "glance/db/sqlalchemy/alembic_migrations/versions"),),
    (Step(("glance-manage", "db_sync")),),
    "/etc/glance/glance-api-uwsgi.ini",
)
PLACEMENT = Program(
    "placement",
    "placement",
    "http://{}:8778",
    ("placement-api",),
    ("placement-api.service",),
    ("/etc/placement/placement.conf", "/etc/placement/placement-api-uwsgi.ini"),
    (Schema("placement", "placement/db/sqlalchemy/alembic/versions"),),
    (Step(("placement-manage", "db", "sync")),),
    "/etc/placement/placement-api-uwsgi.ini",
)
NOVA = Program(
    "nova",
    "compute",
    "http://{}:8774/v2.1",
    ("nova-api", "nova-conductor", "nova-scheduler", "nova-consoleproxy"),
    ("nova-api.service", "nova-conductor.service", "nova-scheduler.service", "nova-spicehtml5proxy.service"),
    ("/etc/nova/nova.conf", "/etc/nova/nova-api-uwsgi.ini"),
    (
        Schema("nova_api", "nova/db/api/migrations/versions"),
        Schema("nova", "nova/db/main/migrations/versions"),
        Schema("nova_cell0", "nova/db/main/migrations/versions"),
    ),
    (
        Step(("nova-manage", "api_db", "sync")),
        Step((*_CELL, "map_cell0", f"--database_connection={_URL}_cell0"), "cell0"),
        Step(("nova-manage", "db", "sync")),
        Step((*_CELL, "create_cell", "--name=cell1", f"--database_connection={_URL}", f"--transport-url={_URL}"), "cell1"),
    ),
    "/etc/nova/nova-api-uwsgi.ini",
    threads=ONE_THREAD,
)
NEUTRON = Program(
    "neutron",
    "network",
    "http://{}:9696",
    ("neutron-api", "neutron-rpc-server"),
    ("neutron-api.service", "neutron-rpc-server.service"),
    (*_NEUTRON_FILES, "/etc/neutron/neutron-api-uwsgi.ini"),
    (Schema("neutron", "neutron/db/migration/alembic_migrations/versions"),),
    (Step(("neutron-db-manage", *(f"--config-file={file}" for file in _NEUTRON_FILES), "upgrade", "head")),),
    "/etc/neutron/neutron-api-uwsgi.ini",
    threads=ONE_THREAD,
)
ON_CONTROLLER = (KEYSTONE, GLANCE, PLACEMENT, NOVA, NEUTRON)
# Where the inventory has hosts with a volume group to give away.
CINDER = Program(
    "cinder",
    "volumev3",
    "http://{}:8776/v3/%(project_id)s",
    ("cinder-api", "cinder-scheduler"),
    ("cinder-api.service", "cinder-scheduler.service"),
    ("/etc/cinder/cinder.conf", "/etc/cinder/cinder-api-uwsgi.ini"),
    (Schema("cinder", "cinder/db/migrations/versions"),),
    (Step(("cinder-manage", "db", "sync")),),
    "/etc/cinder/cinder-api-uwsgi.ini",
    threads=ONE_THREAD,
)
# Where the inventory wants telemetry. The upgrade makes the index, then the store, and the first archive policies at its end.
GNOCCHI = Program(
    "gnocchi",
    "metric",
    "http://{}:8041",
    ("gnocchi-api", "gnocchi-metricd"),
    ("gnocchi-api.service", "gnocchi-metricd.service"),
    ("/etc/gnocchi/gnocchi.conf", "/etc/gnocchi/gnocchi-api-uwsgi.ini"),
    (Schema("gnocchi", "gnocchi/indexer/alembic/versions", "archive_policy"),),
    (Step(("gnocchi-upgrade", "--config-file=/etc/gnocchi/gnocchi.conf")),),
    "/etc/gnocchi/gnocchi-api-uwsgi.ini",
)
# It has no API and no database: what it finds goes to Gnocchi.
CEILOMETER = "ceilometer"
AGENTS = ("ceilometer-agent-central", "ceilometer-agent-notification")
# Where the inventory wants load balancers.
OCTAVIA = Program(
    "octavia",
    "load-balancer",
    "http://{}:9876",
    ("octavia-api", "octavia-worker"),
    ("octavia-api.service", "octavia-worker.service"),
    ("/etc/octavia/octavia.conf", "/etc/octavia/octavia-api-uwsgi.ini"),
    (Schema("octavia", "octavia/db/migration/alembic_migrations/versions"),),
    (Step(("octavia-db-manage", "--config-file=/etc/octavia/octavia.conf", "upgrade", "head")),),
    "/etc/octavia/octavia-api-uwsgi.ini",
)
DASHBOARD = ("openstack-dashboard-apache",)
MESSAGES = ("rabbitmq-server", "memcached")
DATABASE = ("mariadb-server",)
SWIFT = ("swift-proxy", "swift-account", "swift-container", "swift-object", "python3-keystonemiddleware", "memcached", "rsync")
NETWORK = ("neutron-openvswitch-agent", "neutron-l3-agent", "neutron-dhcp-agent", "openvswitch-switch")
VOLUMES = ("cinder-volume", "lvm2", "tgt")
SWITCH = ("neutron-openvswitch-agent", "openvswitch-switch")
# genisoimage: Nova makes config drives with it, and its packages only recommend it.
COMPUTE = ("nova-compute", "nova-compute-qemu", "genisoimage", *SWITCH)
SWIFT_URL = "http://{}:8080/v1/AUTH_%(project_id)s"
