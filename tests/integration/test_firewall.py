"""Openings on real nodes that reject everything else: what another node reaches before and after, and what a reboot keeps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.effects import RunState
from nornir_stack.errors import Refused
from nornir_stack.tasks.system.firewall import NO_FIREWALL, firewall, observe_ports
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir_stack.lab import Lab
    from nornir_stack.results import Result

SERVED = """\
[Service]
ExecStart=/bin/nc -lk 3306
[Install]
WantedBy=multi-user.target
"""
NFT = """\
#!/usr/sbin/nft -f
flush ruleset
table inet filter {
\tset friends { type ipv4_addr; elements = { 192.0.2.1 }
\t}
\tchain input {
\t\ttype filter hook input priority filter; policy drop;
\t\tct state established,related accept
\t\tiif "lo" accept
\t\ttcp dport 22 accept comment "not ours"
\t\tip saddr @friends accept
\t\treject with icmpx admin-prohibited
\t}
}
"""
IPTABLES = """\
*filter
:INPUT ACCEPT [0:0]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT
-A INPUT -i lo -j ACCEPT
-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT
-A INPUT -j REJECT --reject-with icmp-host-prohibited
COMMIT
"""


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    """Two nodes with a listener on 3306 each, and one to reach them from."""
    lab = boot("fresh", "nft", "ipt", "fwd", "other")
    for name in ("fresh", "nft", "ipt", "fwd"):
        inside(lab, name, f"printf '{SERVED}' > /etc/systemd/system/served.service; systemctl enable -q --now served")
    return lab


def inside(lab: Lab, name: str, script: str) -> str:
    done = lab.enter(name, "sh", "-c", script)
    return done.stdout.strip()


def address(lab: Lab, name: str) -> str:
    return lab.spec.node(name).address.partition("/")[0]


def one(lab: Lab, host: str, task: Callable[..., Result[Any]], *, dry_run: bool = False, **words: Any) -> Any:
    nr = nornir(lab, {"db": [host]})
    nr.data = RunState(dry_run=dry_run)
    with nr:
        result = nr.run(task=task, raise_on_error=False, **words)[host][0]
    if result.exception:
        raise result.exception
    return result


def reached(lab: Lab, name: str, *, by: str = "other") -> bool:
    """Whether `by` gets through to 3306 of `name`; a refusal and silence are the same."""
    return lab.enter(by, "nc", "-z", "-w", "2", address(lab, name), "3306").returncode == 0


def galera(lab: Lab) -> dict[str, Any]:
    return {"purpose": "galera", "ports": ["galera"], "sources": [address(lab, "other"), "10.9.0.0/16", "fd00::/64"]}


def rebooted(lab: Lab, name: str) -> None:
    lab.stop(name)
    lab.start(name)


def opened_once(lab: Lab, name: str, listing: str) -> None:
    """The story of every family: closed, a dry run, open to the named only, others' rules as before, twice, a reboot."""

    def others() -> str:
        lines = inside(lab, name, listing).splitlines()
        return "\n".join(line.rstrip() for line in lines if "nornir-stack" not in line and not line.startswith("#")).strip()

    words, before = galera(lab), others()
    files = inside(lab, name, "find /etc -type f | sort | xargs cksum")
    assert not reached(lab, name)
    plan = one(lab, name, firewall, dry_run=True, **words)
    assert plan.changed
    assert "3306" in plan.diff
    assert files == inside(lab, name, "find /etc -type f | sort | xargs cksum")
    assert not reached(lab, name)
    value = one(lab, name, firewall, **words).value
    assert value.closed == ()
    assert reached(lab, name)
    assert not reached(lab, name, by="fresh")
    assert before == others()
    assert not one(lab, name, firewall, **words).changed
    rebooted(lab, name)
    assert before == others()
    assert one(lab, name, observe_ports, **words).value.closed == ()
    assert reached(lab, name)
    assert not reached(lab, name, by="fresh")
    assert not one(lab, name, firewall, **words).changed
    one(lab, name, firewall, **{**words, "sources": ["10.9.0.0/16"]})
    assert not reached(lab, name)
    one(lab, name, firewall, **{**words, "sources": []})
    assert "nornir-stack" not in inside(lab, name, listing)
    assert before == others()


def test_without_a_firewall_nothing_is_done(lab: Lab) -> None:
    """A node that rejects nothing: skipped, with the reason; every port counts as open."""
    result = one(lab, "fresh", firewall, **galera(lab))
    assert (result.changed, result.skipped) == (False, NO_FIREWALL)
    assert one(lab, "fresh", observe_ports, **galera(lab)).value.closed == ()
    assert reached(lab, "fresh")


def test_nftables(lab: Lab) -> None:
    """nftables.service with a drop policy and a reject at the end, rules and a set of others in it."""
    inside(lab, "nft", f"cat > /etc/nftables.conf <<'END'\n{NFT}END\nsystemctl enable -q --now nftables")
    opened_once(lab, "nft", "nft list ruleset")


def test_nftables_that_nobody_keeps(lab: Lab) -> None:
    """Rules that no service loads at boot: refused, since an opening would go with the next boot."""
    inside(lab, "fresh", "nft add table inet t; nft 'add chain inet t c { type filter hook input priority 0; }'")
    inside(lab, "fresh", "nft add rule inet t c tcp dport 3306 reject")
    try:
        with pytest.raises(Refused, match=r"nftables\.service is not enabled"):
            one(lab, "fresh", firewall, **galera(lab))
    finally:
        inside(lab, "fresh", "nft delete table inet t")


def test_iptables(lab: Lab) -> None:
    """iptables-persistent with the rules of the notebook; chains that Nova and Docker hold in the kernel are not saved."""
    install = "DEBIAN_FRONTEND=noninteractive apt-get install -qy iptables-persistent"
    assert lab.enter("ipt", "sh", "-c", f"apt-get update -q && {install}").returncode == 0
    inside(lab, "ipt", f"cat > /etc/iptables/rules.v4 <<'END'\n{IPTABLES}END\nsystemctl restart netfilter-persistent")
    inside(lab, "ipt", "iptables -N nova-api-INPUT; iptables -I INPUT -j nova-api-INPUT")
    one(lab, "ipt", firewall, **galera(lab))
    kept = inside(lab, "ipt", "cat /etc/iptables/rules.v4")
    assert "nova" not in kept
    assert [line for line in kept.splitlines() if "nornir-stack" not in line] == IPTABLES.splitlines()
    assert "-A INPUT -j nova-api-INPUT" in inside(lab, "ipt", "iptables-save -t filter")
    one(lab, "ipt", firewall, **{**galera(lab), "sources": []})
    inside(lab, "ipt", "iptables -D INPUT -j nova-api-INPUT; iptables -X nova-api-INPUT")
    opened_once(lab, "ipt", "iptables-save -t filter | sed 's/\\[.*//'")


def test_firewalld(lab: Lab) -> None:
    """firewalld with its public zone: a policy of ours, before the zones."""
    install = "DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends firewalld netbase"
    assert lab.enter("fwd", "sh", "-c", f"apt-get update -q && {install}").returncode == 0
    inside(lab, "fwd", "systemctl enable -q --now firewalld; firewall-cmd --state")
    inside(lab, "fwd", "firewall-cmd --add-port=8080/tcp")
    with pytest.raises(Refused, match="8080/tcp"):
        one(lab, "fwd", firewall, **galera(lab))
    inside(lab, "fwd", "firewall-cmd --remove-port=8080/tcp")
    opened_once(
        lab,
        "fwd",
        "firewall-cmd --list-all-zones; firewall-cmd --policy=nornir-galera --list-rich-rules | sed 's/^rule/nornir-stack/'",
    )
