"""What an inventory says about the nightly care of its hosts: the key `care`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from nornir.core.inventory import Inventory
from pydantic import AfterValidator, Field

from nornir_stack.select import nearest
from nornir_stack.settings import AbsolutePath, Count, Finding, Text, dotted
from nornir_stack.size import Size

Amount = Annotated[float, Field(ge=0)]
# At the first a thing is worth a look, at the second it is severe.
Limits = tuple[Amount, Amount]


def _rising(limits: Limits) -> Limits:
    if limits[0] > limits[1]:
        raise ValueError("the first limit (worth a look) is not above the second (severe)")
    return limits


def _falling(limits: Limits) -> Limits:
    if limits[0] < limits[1]:
        raise ValueError("the first limit (worth a look) is not below the second (severe)")
    return limits


_SOMETHING = Size(1)
_LARGEST = Size(100 << 20)
_JOURNAL = Size(1 << 30)
_LOG_SIZE = (Size(1 << 30), Size(10 << 30))
Most = Annotated[Limits, AfterValidator(_rising)]
Least = Annotated[Limits, AfterValidator(_falling)]


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A backup by the files that it leaves: the newest is at most `days` old and not smaller than `least`."""

    files: AbsolutePath  # a pattern of the shell: /var/backups/db/*.gz; folders count as a whole
    days: Annotated[float, Field(gt=0)] = 1.5
    least: Size = _SOMETHING


@dataclass(frozen=True, kw_only=True)
class Archive:
    """What of a node goes into a nightly archive (`maintenance.backup`), who keeps it, and how many.

    /etc has the keys of Keystone, Swift's rings and builder files, and what libvirt's machines are, beside all else.
    """

    paths: tuple[AbsolutePath, ...] = ("/etc", "/root/.ssh", "/var/spool/cron")
    keeper: Text | None = None  # a host of the inventory; none: the node itself, which saves from slips and not from its loss
    folder: AbsolutePath = "/var/backups/site"  # on the keeper
    keep: Count = 14
    days: Annotated[float, Field(gt=0)] = 1.5  # the survey says so when none was made or confirmed for longer

    def __post_init__(self) -> None:
        for path in self.paths:
            if f"{self.folder}/".startswith(f"{path.rstrip('/')}/"):
                raise ValueError(f"the archives in {self.folder} would be packed with {path}: keep them elsewhere")


@dataclass(frozen=True, kw_only=True)
class Rotation:
    """Logs (patterns of the shell) that are rotated within the hour when one is larger than `largest`; `keep` old ones stay."""

    paths: tuple[AbsolutePath, ...]
    largest: Size = _LARGEST
    keep: Count = 5


# What OpenStack and what it stands on write, on both families. libvirt's own virtlogd rotates what machines say.
_SERVICES = (
    "aodh ceilometer cinder glance gnocchi heat keystone mongodb neutron nova octavia openvswitch placement rabbitmq swift"
)
_PATHS = (
    *(f"/var/log/{name}/*.log" for name in _SERVICES.split()),
    "/var/log/apache2/*.log",
    "/var/log/httpd/*log",
    "/var/log/mysql/*.log",
    "/var/log/mariadb/*.log",
    "/var/log/*.log",
    "/var/log/syslog",
    "/var/log/messages",
)


@dataclass(frozen=True, kw_only=True)
class Logs:
    """What logs may take. The journal takes at most `journal`, and leaves `keep_free` of its disk to others."""

    journal: Size = _JOURNAL
    keep_free: Size = _JOURNAL
    rotations: Mapping[Text, Rotation] = field(default_factory=lambda: {"services": Rotation(paths=_PATHS)})


@dataclass(frozen=True, kw_only=True)
class Care:
    """Limits of `maintenance.survey`, each `[worth a look, severe]`."""

    key: ClassVar[str] = "care"

    disk_used: Most = (85, 95)  # percent of a file system
    inodes_used: Most = (85, 95)  # percent
    full_in: Least = (14, 3)  # days, by the growth that was recorded
    log_size: tuple[Size, Size] = _LOG_SIZE  # one file below /var/log
    memory_free: Least = (10, 3)  # percent that is available
    memory_pressure: Most = (10, 40)  # percent of five minutes in which something waited for memory
    swap_used: Most = (50, 90)  # percent
    clock_offset: Most = (0.5, 5)  # seconds from the clock of the machine that looks
    certificates: tuple[AbsolutePath, ...] = (
        "/etc/haproxy/*.pem",
        "/etc/haproxy/certs/*.pem",
        "/etc/letsencrypt/live/*/fullchain.pem",
        "/etc/mysql/*.pem",
        "/etc/mysql/ssl/*.pem",
        "/etc/my.cnf.d/ssl/*.pem",
        "/etc/octavia/certs/*.pem",
        "/etc/rabbitmq/ssl/*.pem",
        "/etc/keystone/ssl/certs/*.pem",
        "/etc/apache2/ssl/*.pem",
        "/etc/pki/tls/certs/localhost.crt",
        "/etc/pki/CA/cacert.pem",
        "/etc/pki/libvirt/*.pem",
    )  # patterns of the shell
    certificate_days: Least = (30, 7)  # days left
    fernet_days: Most = (35, 90)  # since Keystone's keys were rotated
    lists_days: Most = (7, 30)  # age of the package manager's lists
    security_updates: Most = (1, 30)  # packages
    queue_messages: Most = (1000, 20000)  # of one queue of RabbitMQ
    backups: Mapping[Text, Backup] = field(default_factory=dict)
    archive: Archive | None = None
    logs: Logs = field(default_factory=Logs)

    @staticmethod
    def judge(mine: Mapping[str, "Care"], inventory: Inventory) -> Iterator[Finding]:
        """Whoever keeps archives is a host of the inventory."""
        for host, care in mine.items():
            if care.archive and care.archive.keeper and care.archive.keeper not in inventory.hosts:
                text = f"there is no host {care.archive.keeper!r}{nearest(care.archive.keeper, inventory.hosts)}"
                yield Finding(host, dotted("archive", "keeper"), text)
