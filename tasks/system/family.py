"""The one table of differences between the Debian and the Red Hat family, and how a node's family is told."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from nornir_stack.errors import Refused
from nornir_stack.select import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

_V = TypeVar("_V")


@dataclass(frozen=True)
class Family:
    """What differs between the families. `units`, `packages` and `paths` are by our own word for the thing."""

    name: Literal["debian", "redhat"]
    manager: Literal["apt", "dnf"]
    units: Mapping[str, str]
    packages: Mapping[str, tuple[str, ...]]
    paths: Mapping[str, str]

    def unit(self, word: str) -> str:
        """The systemd unit, `apache2.service` for `apache`. Raises LookupError for a word that the table lacks."""
        return _found(self.units, word)

    def package(self, word: str) -> tuple[str, ...]:
        """The packages that bring it."""
        return _found(self.packages, word)

    def path(self, word: str) -> str:
        """The absolute path of a file or folder."""
        return _found(self.paths, word)


def _found(table: Mapping[str, _V], word: str) -> _V:
    try:
        return table[word]
    except KeyError:
        raise LookupError(f"the table of families has no {word!r}{nearest(word, table)}") from None


DEBIAN = Family(
    "debian",
    "apt",
    units={
        "apache": "apache2.service",
        "chrony": "chrony.service",
        "cron": "cron.service",
        "haproxy": "haproxy.service",
        "keepalived": "keepalived.service",
        "mariadb": "mariadb.service",
        "nfs-server": "nfs-server.service",
        "openvswitch": "openvswitch-switch.service",
        "ssh": "ssh.service",
    },
    packages={
        "apache": ("apache2",),
        "apache-php": ("libapache2-mod-php", "php-mysql"),
        "chrony": ("chrony",),
        "galera": ("galera-4",),
        "haproxy": ("haproxy",),
        "keepalived": ("keepalived",),
        "mariadb": ("mariadb-server",),
        "mariadb-backup": ("mariadb-backup",),
        "lvm": ("lvm2",),
        "nfs-server": ("nfs-kernel-server",),
        "openvswitch": ("openvswitch-switch",),
        "selinux-tools": ("policycoreutils", "policycoreutils-python-utils"),
    },
    paths={
        "apache-root": "/var/www/html",
        "apache-sites": "/etc/apache2/conf-enabled",
        "mariadb-config": "/etc/mysql/mariadb.conf.d",
        "mariadb-data": "/var/lib/mysql",
        "mariadb-socket": "/run/mysqld/mysqld.sock",
        "repositories": "/etc/apt/sources.list.d",
        "keyrings": "/etc/apt/keyrings",
    },
)

REDHAT = Family(
    "redhat",
    "dnf",
    units={
        "apache": "httpd.service",
        "chrony": "chronyd.service",
        "cron": "crond.service",
        "haproxy": "haproxy.service",
        "keepalived": "keepalived.service",
        "mariadb": "mariadb.service",
        "nfs-server": "nfs-server.service",
        "openvswitch": "openvswitch.service",
        "ssh": "sshd.service",
    },
    packages={
        "apache": ("httpd",),
        "apache-php": ("php", "php-mysqlnd"),
        "chrony": ("chrony",),
        "galera": ("galera-4",),
        "haproxy": ("haproxy",),
        "keepalived": ("keepalived",),
        "mariadb": ("MariaDB-server",),
        "mariadb-backup": ("MariaDB-backup",),
        "lvm": ("lvm2",),
        "nfs-server": ("nfs-utils",),
        "openvswitch": ("openvswitch",),
        "selinux-tools": ("policycoreutils-python-utils",),
    },
    paths={
        "apache-root": "/var/www/html",
        "apache-sites": "/etc/httpd/conf.d",
        "mariadb-config": "/etc/my.cnf.d",
        "mariadb-data": "/var/lib/mysql",
        "mariadb-socket": "/var/lib/mysql/mysql.sock",
        "repositories": "/etc/yum.repos.d",
        "keyrings": "/etc/pki/rpm-gpg",
    },
)

# ID and ID_LIKE of /etc/os-release, see os-release(5); Fedora's children say ID_LIKE="rhel centos fedora".
_BY_ID = {
    "debian": DEBIAN,
    "ubuntu": DEBIAN,
    "rhel": REDHAT,
    "centos": REDHAT,
    "fedora": REDHAT,
    "rocky": REDHAT,
    "almalinux": REDHAT,
}


def os_release(text: str) -> dict[str, str]:
    """The variables of an os-release file, os-release(5): shell quoting, comments, any order."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.strip().partition("=")
        if equals and not key.startswith("#"):
            found[key] = " ".join(shlex.split(value))
    return found


def family_of(release: Mapping[str, str]) -> Family:
    """The family of a system by ID, else by the first known word of ID_LIKE. Raises Refused for another."""
    words = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    for word in words:
        if word in _BY_ID:
            return _BY_ID[word]
    name = release.get("PRETTY_NAME") or release.get("ID") or "something without /etc/os-release"
    raise Refused(f"the node runs {name}, which is neither of the Debian nor of the Red Hat family: use one that is")
