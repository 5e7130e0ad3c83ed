"""A directory like FreeIPA's on a node (OpenLDAP's slapd), and a domain of Keystone whose users are in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nornir_stack.secret import Secret
from nornir_stack.tasks.openstack.ldap import ldap, login
from nornir_stack.tasks.openstack.ldap_settings import Trial
from tests.integration.cloud_lab import address, asked, enter, renewed, well

if TYPE_CHECKING:
    from nornir.core import Nornir

    from nornir_stack.lab import Lab

READER, ERIKA = "reader-of-the-directory", "erika-her-word"
CA = "/etc/keystone/ipa-ca.pem"
FILE = "/etc/keystone/domains/keystone.people.conf"
# FreeIPA's tree: users and groups below cn=accounts, readers that are no users below cn=sysaccounts; no password without TLS.
DIRECTORY = r"""
set -e
mkdir -p /srv/directory/data /srv/directory/tls; cd /srv/directory/tls
if [ ! -e ca.pem ]; then
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=ca -keyout ca.key -out ca.pem 2>/dev/null
    openssl req -newkey rsa:2048 -nodes -subj "/CN=$1" -keyout key.pem -out request.pem 2>/dev/null
    echo "subjectAltName=IP:$1" >names
    openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out cert.pem 2>/dev/null
fi
cd ..
cat >slapd.conf <<X
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile /srv/directory/pid
TLSCACertificateFile /srv/directory/tls/ca.pem
TLSCertificateFile /srv/directory/tls/cert.pem
TLSCertificateKeyFile /srv/directory/tls/key.pem
security simple_bind=64
database mdb
suffix dc=example,dc=test
directory /srv/directory/data
access to attrs=userPassword by anonymous auth by * none
access to * by dn.base="uid=keystone,cn=sysaccounts,cn=etc,dc=example,dc=test" read by * none
X
cat >tree.ldif <<X
dn: dc=example,dc=test
objectClass: dcObject
objectClass: organization
dc: example
o: example

dn: cn=accounts,dc=example,dc=test
objectClass: organizationalRole
cn: accounts

dn: cn=users,cn=accounts,dc=example,dc=test
objectClass: organizationalRole
cn: users

dn: cn=groups,cn=accounts,dc=example,dc=test
objectClass: organizationalRole
cn: groups

dn: cn=etc,dc=example,dc=test
objectClass: organizationalRole
cn: etc

dn: cn=sysaccounts,cn=etc,dc=example,dc=test
objectClass: organizationalRole
cn: sysaccounts

dn: uid=keystone,cn=sysaccounts,cn=etc,dc=example,dc=test
objectClass: account
objectClass: simpleSecurityObject
uid: keystone
userPassword: $2

dn: uid=erika,cn=users,cn=accounts,dc=example,dc=test
objectClass: inetOrgPerson
uid: erika
cn: Erika
sn: Mustermann
mail: erika@example.test
userPassword: $3

dn: cn=editors,cn=groups,cn=accounts,dc=example,dc=test
objectClass: groupOfNames
cn: editors
member: uid=erika,cn=users,cn=accounts,dc=example,dc=test
X
systemctl stop slapd 2>/dev/null || :
if [ ! -e data/data.mdb ]; then slapadd -f slapd.conf -l tree.ldif; fi
systemctl is-active -q directory || systemd-run -q --unit=directory slapd -d 0 -h ldap:/// -f /srv/directory/slapd.conf
i=0; until nc -z "$1" 389; do i=$((i + 1)); [ $i -lt 100 ] || exit 1; sleep 0.1; done
cat tls/ca.pem
"""


def directory(lab: Lab, node: str = "out1") -> dict[str, Any]:
    """The directory up; what the inventory says of it."""
    at = address(lab, node)
    ca = enter(lab, node, DIRECTORY, at, READER, ERIKA)
    enter(lab, "c1", f'printf %s "$1" >{CA}', ca)
    return {
        "url": f"ldap://{at}",
        "suffix": "dc=example,dc=test",
        "user": "uid=keystone,cn=sysaccounts,cn=etc,dc=example,dc=test",
        "password": Secret(literal=READER),
        "ca": CA,
        "trial": {"user": "erika", "password": Secret(literal=ERIKA)},
    }


def started(lab: Lab) -> str:
    return enter(lab, "c1", "systemctl show -p ActiveEnterTimestampMonotonic keystone")


def logs_in(lab: Lab, nr: Nornir) -> None:
    """Dry run, run, run again: the user logs in through TLS, a wrong word is refused, Keystone is restarted once."""
    plan = ldap().run(nr, dry_run=True)
    assert plan.exit_code == 3, plan
    assert lab.enter("c1", "test", "-e", FILE).returncode
    done = well(ldap().run(nr))
    for report in (plan, done):
        assert READER not in report.to_json()
        assert ERIKA not in report.to_json()
    assert enter(lab, "c1", f"stat -c '%a %U:%G' {FILE}").strip() == "640 root:keystone"
    since = started(lab)
    assert well(ldap().run(nr)).changed == ()
    assert started(lab) == since
    renewed(nr)
    false = Trial(user="erika", password=Secret(literal="not-erikas-word"))
    assert asked(nr, lambda c: login(c, "people", false)) == "HTTP 401"

    def groups(c: Any) -> list[str]:
        found = next(iter(c.identity.domains(name="people")))
        return [each.name for each in c.identity.groups(domain_id=found.id)]

    assert asked(nr, groups) == ["editors"]
