"""What an inventory says about the members of a Galera cluster: the key `galera` of hosts of the role `db`."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import PurePosixPath
from typing import Annotated, Any, ClassVar, Literal

from nornir.core.inventory import Host, Inventory

from nornir_stack.secret import Secret
from nornir_stack.select import role
from nornir_stack.settings import AbsolutePath, Address, Claim, Count, Finding, Number, Text, form
from nornir_stack.size import Size
from nornir_stack.tasks.cluster import dangers

Identifier = Annotated[str, form(r"[A-Za-z0-9_$]{1,64}", "a plain name: up to 64 letters, digits, _ and $")]
Setting = Annotated[str, form(r"[A-Za-z0-9_-]+", "the name of a server setting")]
_CLUSTER = r"(?=.{1,32}$)[\w.-]+( +[\w.-]+)*"  # Debian's own default is "MariaDB Galera Cluster"
_GRANT = re.compile(r"[A-Z][A-Z ,]*(\([\w, ]+\))? ON (\*|[\w$`%]+)\.(\*|[\w$`]+)( WITH GRANT OPTION)?")
_LOG_FILE_SIZE = Size(96 << 20)
_GCACHE_SIZE = Size(128 << 20)


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Paths on the members of the files that encrypt what members send to each other; every certificate from one CA.

    A certificate's common name is its member's address: with mariabackup the donor's socat sends a copy nowhere else
    ("certificate is valid but its commonName does not match hostname").
    """

    ca: AbsolutePath
    cert: AbsolutePath
    private_key: AbsolutePath


@dataclass(frozen=True, kw_only=True)
class Repository:
    """Where the packages of a release are. `key`: the armoured public key itself, or a keyring's path on the nodes."""

    uri: Text
    key: Annotated[str, form(r"(?s)/.*|\s*-----BEGIN PGP.*", "an armoured public key, or an absolute path on the nodes")]
    suite: Text = ""  # apt's, such as bookworm; one that ends with / has no components
    components: tuple[Text, ...] = ("main",)


@dataclass(frozen=True, kw_only=True)
class Release:
    """The release of MariaDB that members are to have. `repository`: None means that the nodes' own sources have it."""

    version: Annotated[str, form(r"\d+\.\d+", "a release such as '11.8', in quotes")]
    repository: Repository | None = None


@dataclass(frozen=True, kw_only=True)
class User:
    """A user of the database, made once and replicated. `grants` are such as `SELECT ON shop.*`."""

    name: Text
    host: Text = "%"
    password: Secret
    grants: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for grant in self.grants:
            if not _GRANT.fullmatch(grant):
                raise ValueError(f"the grant {grant!r} is not such as 'SELECT, INSERT ON shop.*'")


@dataclass(frozen=True, kw_only=True)
class Galera:
    """A member of a Galera cluster. Sizes are bytes (`Size`), written as `512M`."""

    key: ClassVar[str] = "galera"

    cluster_name: Annotated[str, form(_CLUSTER, "a cluster's name: up to 32 letters, digits, _, ., - and blanks inside")]
    address: Address  # this member's own, by default its hostname
    network: Text = "data"
    product: Literal["mariadb", "percona"] = "mariadb"
    release: Release | None = None  # None: what the nodes' sources have
    datadir: AbsolutePath = "/var/lib/mysql/mysql_data"
    data_mount: AbsolutePath | None = None  # must be mounted before the server starts; datadir lies in a folder of it
    buffer_pool: Literal["auto"] | Size = "auto"  # auto: from the node's memory
    log_file_size: Size = _LOG_FILE_SIZE
    # 1: each commit is on disk. 0 and 2 are faster, and a power cut of all members loses about the last second.
    innodb_flush_log_at_trx_commit: Literal[0, 1, 2] = 1
    flush_method: Literal["O_DIRECT", "O_DIRECT_NO_FSYNC", "fsync", "O_DSYNC"] = "O_DIRECT"
    slave_threads: Literal["auto"] | Count = "auto"  # auto: from the node's processors
    max_connections: Count = 500
    binlog_expire_days: Number = 7
    gcache_size: Size = _GCACHE_SIZE  # the writes that a member may miss and still catch up without a full copy
    sst_method: Literal["rsync", "mariabackup", "xtrabackup-v2"] = "rsync"
    sst_user: Text = "sst"
    sst_password: Secret | None = None
    tls: Tls | None = None
    root_password: Secret | None = None  # None: root logs in by the socket only
    schemas: tuple[Identifier, ...] = ()
    users: tuple[User, ...] = ()
    extra: Mapping[Setting, str | int] = field(default_factory=dict)  # more for [mysqld]

    def __post_init__(self) -> None:
        if self.sst_method == "mariabackup" and self.sst_password is None:
            raise ValueError("sst_method mariabackup logs in to the donor: sst_password is missing")
        if (self.product == "percona") != (self.sst_method == "xtrabackup-v2"):
            raise ValueError(
                f"sst_method {self.sst_method} does not go with product {self.product}:"
                " percona has xtrabackup-v2, mariadb has rsync and mariabackup"
            )
        if self.data_mount and PurePosixPath(self.data_mount) not in PurePosixPath(self.datadir).parents:
            raise ValueError(f"datadir {self.datadir} is no folder inside data_mount {self.data_mount}")

    @staticmethod
    def from_host(host: Host) -> Mapping[str, Any]:
        """A hostname that is an address is the member's own address, unless the data say otherwise."""
        try:
            return {"address": ip_address(host.hostname or "")}
        except ValueError:
            return {}

    def claims(self) -> Iterator[Claim]:
        yield Claim("address", self.address, self.network)

    @staticmethod
    def judge(mine: Mapping[str, "Galera"], inventory: Inventory) -> Iterator[Finding]:
        """What members must have in common, and how many votes they should be with their arbitrators."""
        clusters: defaultdict[str, dict[str, Galera]] = defaultdict(dict)
        for name, galera in mine.items():
            clusters[galera.cluster_name].setdefault(name, galera)
            yield from _dangers(name, galera)
        votes = len(role("arbitrator").hosts(inventory))  # in the cluster of the first member: galera.arbitrator
        for cluster, members in clusters.items():
            yield from _size(cluster, members, votes)
            yield from _agreement(members)
            votes = 0


_COMMON = ("network", "product", "release", "sst_method", "sst_user", "sst_password", "root_password", "schemas", "users")


def _dangers(name: str, galera: Galera) -> Iterator[Finding]:
    if galera.innodb_flush_log_at_trx_commit != 1:
        text = f"{galera.innodb_flush_log_at_trx_commit}: a power cut of all members loses about the last second of commits"
        yield Finding(name, "innodb_flush_log_at_trx_commit", text, warning=True)
    for setting, value in galera.extra.items():
        for text in dangers.refusals({setting: value}):
            yield Finding(name, f"extra.{setting}", text.partition(": ")[2].removeprefix(f"{setting} "))
        for text in dangers.warnings({setting: value}, flush_log_at_trx_commit=1, sst_method=""):
            yield Finding(name, f"extra.{setting}", text.partition(": ")[2], warning=True)


def _size(cluster: str, members: Mapping[str, Galera], arbitrators: int) -> Iterator[Finding]:
    if (len(members) + arbitrators) % 2 == 0:
        last = list(members)[-1]
        more = f" and {arbitrators} arbitrator{'s' * (arbitrators > 1)}" if arbitrators else ""
        text = f"{cluster!r} has {len(members)} members{more}: if it falls into halves, neither goes on: take an odd number"
        yield Finding(last, "cluster_name", text, warning=True)


def _agreement(members: Mapping[str, Galera]) -> Iterator[Finding]:
    first, *others = members
    for name in others:
        for setting in _COMMON:
            if getattr(members[name], setting) != getattr(members[first], setting):
                yield Finding(name, setting, f"not as on {first}: members of a cluster have it in common")
        if (members[name].tls is None) != (members[first].tls is None):
            yield Finding(name, "tls", f"not as on {first}: either all members of a cluster encrypt or none")
