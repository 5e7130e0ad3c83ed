"""Certificates of members, looked at before anybody joins: which would shut a member out, and why."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Plan
from nornir_stack.command import sh
from nornir_stack.errors import DatabaseFailed, Refused
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.sql import Sql
from nornir_stack.tasks.cluster.observe import look, member_of
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.views import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

SOON_SECONDS = 14 * 86400
# ca cert key: what openssl says of them. The authority that signed is found by trying each of the bundle alone, whatever
# the time is; `-untrusted` lets a certificate bring those in between with it.
LOOK = r"""
export LC_ALL=C
ca=$1 cert=$2 key=$3
echo "now $(date +%s)"
for path in "$ca" "$cert" "$key"; do
    if [ ! -f "$path" ]; then echo "absent $path"
    elif id mysql >/dev/null 2>&1 && ! runuser -u mysql -- test -r "$path"; then echo "unreadable $path"; fi
done
if [ -f "$cert" ]; then
    openssl x509 -in "$cert" -noout -subject -nameopt multiline,utf8 | sed -n 's/^ *commonName *= /cn /p'
    from=$(openssl x509 -in "$cert" -noout -startdate) && echo "from $(date -d "${from#*=}" +%s)"
    until=$(openssl x509 -in "$cert" -noout -enddate) && echo "until $(date -d "${until#*=}" +%s)"
    if [ -f "$key" ]; then
        ours=$(openssl pkey -in "$key" -pubout </dev/null 2>/dev/null)
        [ "$ours" = "$(openssl x509 -in "$cert" -noout -pubkey 2>/dev/null)" ] && echo matches
    fi
fi
[ -f "$ca" ] || exit 0
block=
while IFS= read -r line || [ -n "$line" ]; do
    case $line in *'BEGIN CERTIFICATE'*) block=;; esac
    block="$block$line
"
    case $line in *'END CERTIFICATE'*) ;; *) continue;; esac
    print=$(printf '%s' "$block" | openssl x509 -noout -fingerprint -sha256 2>/dev/null) || continue
    echo "authority ${print#*=}"
    if [ -f "$cert" ] && printf '%s' "$block" |
        openssl verify -no_check_time -untrusted "$cert" -CAfile /dev/stdin "$cert" >/dev/null 2>&1
    then echo "signed ${print#*=}"; fi
done <"$ca"
"""
_OPTIONS = "SHOW GLOBAL VARIABLES LIKE 'wsrep_provider_options'"


@dataclass(frozen=True)
class Certificate:
    """A member's own certificate. Times are seconds since 1970; `signed`: the authority of its own bundle that signed it.

    `matches`: the private key belongs to it.
    """

    common_name: str = ""
    begins: int = 0
    ends: int = 0
    signed: str = ""
    matches: bool = True


@dataclass(frozen=True)
class Papers:
    """What a member shows to the others. `now` is its own clock, in seconds since 1970.

    `encrypted`: what its running server does (None: it does not run); `dynamic`: it takes members of both kinds
    (socket.dynamic). `authorities`: fingerprints of those that it trusts. `absent`, `unreadable`: files that it should have.
    """

    address: str
    sst_method: str = "rsync"
    product: str = "mariadb"
    tls: bool = False
    plain: bool = False
    """Percona's own encryption is switched off (`pxc_encrypt_cluster_traffic`)."""
    encrypted: bool | None = None
    dynamic: bool = False
    now: int = 0
    certificate: Certificate | None = None
    authorities: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()


def certificates() -> Chain:
    """Look at every member's certificate, and fail (exit code 1) with a sentence for each that would shut a member out."""
    return Chain("galera.certificates", Plan("certificates", papers, partial(_judged, all_of_them=True), DB))


def look_before(lost: Sequence[str] = ()) -> Plan[Papers]:
    """Refuse before a join what would end in a member that nobody lets in, or that waits for a copy for ever.

    Members that were not seen are left to whoever decides about them, and those that are named as `lost` are not asked.
    """
    return Plan("certificates", papers, _judged, DB - hosts(*lost) if lost else DB)


def _judged(seen: Seen[Papers], *, all_of_them: bool = False) -> Chain:
    problems = conflicts(seen)
    if all_of_them:
        problems += [f"{host} was not seen ({why})." for host, why in seen.missing.items()]
    if problems:
        raise Refused("\n".join(problems))
    return Chain("certificates", reasons=soon(seen))


def papers(task: Task) -> Result[Papers]:
    """Observe a member's certificate, and whether its server encrypts what it sends the others."""
    node = Node(task)
    galera, _ = member_of(node)
    running = look(node).wsrep is not None
    options = _provider_options(node) if running else ""
    switched = {name.lower().replace("-", "_"): str(value).lower() for name, value in galera.extra.items()}
    found = Papers(
        address=str(galera.address),
        sst_method=galera.sst_method,
        product=galera.product,
        tls=galera.tls is not None,
        plain=switched.get("pxc_encrypt_cluster_traffic", "on") in {"off", "0", "false"},
        encrypted=encrypts(options) if options else None,
        dynamic=bool(re.search(r"socket\.dynamic = (yes|true|1|on)\b", options, re.IGNORECASE)),
    )
    if galera.tls is None:
        return node.done(found)
    files = (galera.tls.ca, galera.tls.cert, galera.tls.private_key)
    return node.done(parse(node.read(sh(LOOK, *files, label="look at the certificate")).stdout, found))


def _provider_options(node: Node) -> str:
    try:
        return Sql(node).pairs(_OPTIONS).get("wsrep_provider_options", "")
    except DatabaseFailed:
        return ""


def encrypts(options: str) -> bool:
    """From a running server's `wsrep_provider_options`: with a certificate socket.ssl is on unless it is set off."""
    said = dict(part.strip().partition(" = ")[::2] for part in options.split(";"))
    return bool(said.get("socket.ssl_cert", "")) and said.get("socket.ssl", "yes").lower() not in {"no", "off", "false", "0"}


def parse(text: str, found: Papers) -> Papers:
    """With what the script printed."""
    said: dict[str, list[str]] = {}
    for line in text.splitlines():
        word, _, value = line.partition(" ")
        said.setdefault(word, []).append(value)
    certificate = (
        Certificate(
            common_name=said.get("cn", [""])[-1],
            begins=int(said["from"][0]),
            ends=int(said["until"][0]),
            signed=said.get("signed", [""])[0],
            matches="matches" in said,
        )
        if "from" in said and "until" in said
        else None
    )
    return replace(
        found,
        now=int(said["now"][0]),
        certificate=certificate,
        authorities=tuple(said.get("authority", ())),
        absent=tuple(said.get("absent", ())),
        unreadable=tuple(said.get("unreadable", ())),
    )


def conflicts(seen: Seen[Papers]) -> list[str]:
    """What would shut a member out, a sentence each: with what was seen and what to do."""
    problems = [sentence for host, one in seen.items() for sentence in _own(host, one)]
    problems += _mixed(seen)
    return problems + _strangers(seen)


def _own(host: str, one: Papers) -> list[str]:
    if one.product == "percona" and not one.tls and not one.plain:
        why = "Percona encrypts what members send each other, each with a certificate that it made for itself: nobody trusts it"
        return [f"{host}: {why}. Give galera.tls, or set extra.pxc_encrypt_cluster_traffic to OFF."]
    if not one.tls:
        return []
    problems = [f"{host}: {path} is not there: put it there before this." for path in one.absent]
    problems += [f"{host}: the user mysql cannot read {path}: chown it." for path in one.unreadable]
    certificate = one.certificate
    if certificate is None:
        return problems or [f"{host}: its certificate cannot be read by openssl: is it PEM?"]
    if not certificate.matches and not problems:
        problems.append(f"{host}: its private key does not belong to its certificate: put the pair there.")
    if not certificate.signed and one.authorities:
        problems.append(f"{host}: its certificate is signed by none of the authorities in its own ca file.")
    if one.now < certificate.begins:
        problems.append(f"{host}: its certificate is not valid yet: its clock is {_days(certificate.begins - one.now)} early.")
    if one.now >= certificate.ends:
        problems.append(f"{host}: its certificate ended {_days(one.now - certificate.ends)} ago: renew it.")
    if one.sst_method == "mariabackup" and certificate.common_name != one.address:
        problems.append(
            f"{host}: its certificate is for {certificate.common_name or 'nobody'}, and it is {one.address}: a donor's socat"
            " sends a copy to nobody else. The common name must be the member's address."
        )
    return problems


def _mixed(seen: Seen[Papers]) -> list[str]:
    """Members that encrypt beside members that do not: they do not hear each other."""
    now = {host: one.tls if one.encrypted is None else one.encrypted for host, one in seen.items()}
    taken = any(one.dynamic for _, one in seen.items() if one.encrypted is not None)
    with_tls, without = [host for host, on in now.items() if on], [host for host, on in now.items() if not on]
    if not with_tls or not without or taken:
        return []
    running = [host for host, one in seen.items() if one.encrypted is not None]
    how = f" ({words(running)} run)" if running else ""
    why = f"{words(with_tls)} encrypt what they send the others, {words(without)} do not{how}: they cannot hear each other."
    return [f"{why} All or none; while that changes in a cluster that runs, socket.dynamic=true lets both in."]


def _strangers(seen: Seen[Papers]) -> list[str]:
    problems = []
    for host, one in seen.items():
        signed = one.certificate.signed if one.tls and one.certificate else ""
        others = [name for name, other in seen.items() if name != host and other.tls and other.authorities]
        strange = [name for name in others if signed and signed not in seen[name].authorities]
        if strange:
            problems.append(
                f"{words(strange)} do not know the authority that signed the certificate of {host} ({signed[:23]}...): give all"
                " members one ca file, which may hold the old and the new."
            )
    return problems


def soon(seen: Seen[Papers]) -> list[str]:
    """Certificates that end soon: a member restarted after that is not let in."""
    found = [(host, one.certificate.ends - one.now) for host, one in seen.items() if one.tls and one.certificate]
    return [f"The certificate of {host} ends in {_days(left)}: renew it." for host, left in found if left < SOON_SECONDS]


def _days(seconds: int) -> str:
    return f"{seconds / 86400:.0f} days" if seconds >= 2 * 86400 else f"{seconds / 3600:.0f} hours"
