"""Directories at Keystone: what the inventory may say, what the domain's file holds, how it is judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack import framing, locks, schema, session
from nornir_stack.chain import Chain, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.inventory.plugins import register_connections
from nornir_stack.secret import Secret
from nornir_stack.seen import Seen
from nornir_stack.select import role
from nornir_stack.tasks.openstack.ldap import Answered, _parts, answers, conf, trusts
from nornir_stack.tasks.openstack.ldap_settings import Ldap
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from pathlib import Path

WORD = Secret(literal="the-word-of-the-reader")
IPA = {
    "url": "ldap://10.0.0.9",
    "suffix": "dc=example,dc=test",
    "user": "uid=keystone,cn=sysaccounts,cn=etc,dc=example,dc=test",
    "password": WORD,
}


def read(**words: Any) -> Any:
    value, complaints = schema.read(Ldap, {"domains": {"people": {**IPA, **words}}})
    assert value is not None, complaints
    return conf(value.domains["people"])["ldap"]


def complaint(data: dict[str, Any]) -> str:
    value, complaints = schema.read(Ldap, {"domains": data})
    assert value is None
    return complaints[0].text


def test_what_is_not_said_is_as_freeipa_has_it() -> None:
    """Its tree below the suffix; a reader that is not anonymous; nobody is held for ever by a directory that is gone."""
    made = read()
    assert made["user_tree_dn"] == "cn=users,cn=accounts,dc=example,dc=test"
    assert made["group_tree_dn"] == "cn=groups,cn=accounts,dc=example,dc=test"
    assert (made["user_id_attribute"], made["user_objectclass"]) == ("uid", "inetOrgPerson")
    assert made["password"] is WORD
    assert made["connection_timeout"] == 10


@pytest.mark.parametrize(
    ("url", "ca", "start"),
    [
        ("ldap://10.0.0.9", "/etc/ipa/ca.crt", True),
        ("ldaps://10.0.0.9", "/etc/ipa/ca.crt", False),
        ("ldap://10.0.0.9", None, False),
    ],
)
def test_with_a_ca_everything_goes_by_tls(url: str, ca: str | None, start: bool) -> None:
    """StartTLS on the plain port, TLS from the start on the other; the certificate is always judged."""
    made = read(url=url, ca=ca)
    assert (made["use_tls"], made["tls_cacertfile"], made["tls_req_cert"]) == (start, ca, "demand")


def test_an_account_that_is_locked_is_not_enabled() -> None:
    """FreeIPA has the attribute only where one is locked, and true means locked out."""
    made = read(locked="nsAccountLock")
    assert made["user_enabled_attribute"] == "nsAccountLock"
    assert (made["user_enabled_default"], made["user_enabled_invert"]) == ("False", True)
    assert read()["user_enabled_attribute"] is None


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"people": {**IPA, "url": "http://10.0.0.9"}}, "is not ldap://HOST or ldaps://HOST"),
        ({"people": {**IPA, "url": "ldap://10.0.0.9/dc=x"}}, "is not ldap://HOST or ldaps://HOST"),
        ({"../people": IPA}, "is not the name of a domain"),
        ({"Default": IPA}, "the services' own users are in that domain"),
        ({"people": {**IPA, "ca": "ca.crt"}}, "is not an absolute path"),
    ],
)
def test_what_cannot_be_is_refused(data: dict[str, Any], said: str) -> None:
    """Before anything is asked."""
    assert said in complaint(data)


def test_keystone_is_judged_by_what_it_says_of_the_domain() -> None:
    """Not reached, reached and nobody found, found and not let in; without a trial nobody logs in."""

    def said(one: Answered) -> list[str]:
        return answers(Seen({"cloud1": one}), domain="people")

    assert said(Answered(None, why="HTTP 500")) == ["Keystone does not list the users of people: HTTP 500"]
    assert "Keystone finds no user in people" in said(Answered(0))[0]
    assert said(Answered(3, False, "HTTP 401")) == ["the user that proves people does not log in: HTTP 401"]
    assert said(Answered(3)) == said(Answered(3, True)) == []
    assert answers(Seen({}, {"cloud1": "gone"}), domain="people") == ["cloud1 was not seen: gone"]


@pytest.mark.parametrize(("mode", "said"), [(0o640, ""), (0o600, "keystone cannot read"), (None, "here has no ")])
def test_keystone_has_to_read_the_ca(mode: int | None, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at as the user that it runs as, before its domain is made: root reads any file, and Keystone would not log in."""
    ca = tmp_path / "ca.pem"
    if mode:
        ca.write_text("a certificate")
        ca.chmod(mode)
    # what the group may read is what keystone may
    script = '[ "$1 $2 $3 $4 $5" = "-u keystone -- test -r" ] && [ -n "$(find "$6" -perm -040)" ]'
    (tmp_path / "runuser").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "runuser").chmod(0o755)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(locks, "NODE_LOCK", str(tmp_path / "lock"))
    prelude = framing.PRELUDE.replace("PATH=/usr/local/sbin", f"PATH={tmp_path}:/usr/local/sbin", 1)
    monkeypatch.setattr(session, "PRELUDE", prelude)
    register_connections()
    ldap = {"domains": {"people": {**IPA, "ca": str(ca)}}}
    nr = fleet({"controller": ["here"], "cloud": ["cloud1"]}, {"here": {"connection": "local"}, "cloud1": {"ldap": ldap}})
    host = Chain("c", Stage("s", [do(trusts, domain="people")], role("controller"))).run(nr).stage("s").host("here")
    nr.close_connections()
    assert (said in host.error, bool(host.error)) == (True, bool(said))


def test_the_domain_is_there_before_its_file() -> None:
    """Keystone passes over a file whose domain it does not have; a domain that nobody proves is named."""
    chain = _parts(Seen({"cloud1": (("people", False),)}))
    assert [part.name for part in chain.parts] == ["trust", "domains", "keystone", "proof people"]
    assert chain.reasons == ("Nobody logs in to prove people: it has no trial.",)
    with pytest.raises(Refused, match="has no directory"):
        _parts(Seen({"cloud1": ()}))
