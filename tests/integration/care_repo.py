"""A repository on a node with one newer package, as a security archive has it: apt itself says where it comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nornir_stack.lab import Lab

_MAKE = r"""
mkdir -p /srv/security/p/DEBIAN && cd /srv/security
version=$(dpkg-query -W -f '${Version}' iputils-ping)
printf 'Package: iputils-ping\nVersion: %s.1\nArchitecture: all\nMaintainer: x\nDescription: x\n' "$version" >p/DEBIAN/control
dpkg-deb -b p iputils-ping.deb >/dev/null
{ cat p/DEBIAN/control; printf 'Filename: ./iputils-ping.deb\nSize: %s\nSHA256: %s\n' "$(stat -c %s iputils-ping.deb)" \
    "$(sha256sum iputils-ping.deb | cut -d ' ' -f 1)"; } >Packages
{ printf 'Label: Debian-Security\nSuite: stable-security\nVersion: 12\nSHA256:\n'; printf ' %s %s Packages\n' \
    "$(sha256sum Packages | cut -d ' ' -f 1)" "$(stat -c %s Packages)"; } >Release
echo 'deb [trusted=yes] file:/srv/security ./' >/etc/apt/sources.list.d/security.list
apt-get -qq update
"""
_TAKE = "rm -rf /srv/security /etc/apt/sources.list.d/security.list /var/lib/apt/lists/*security*"


def make(lab: Lab, name: str) -> None:
    """A newer iputils-ping is to be had there."""
    done = lab.enter(name, "sh", "-c", _MAKE)
    assert done.returncode == 0, done.stderr


def take(lab: Lab, name: str) -> None:
    """It is not any more."""
    lab.enter(name, "sh", "-c", _TAKE)
