"""Who is patched, in which order, how it is taken out of service, and when nobody is."""

from __future__ import annotations

import pytest

from nornir_stack.chain import Chain, Stage
from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.maintenance.patch import Due, not_well, parse, planned, turn

NEWER = ("openssl 3.0.15",)
SHOWN = """\
\x1enewer
Inst libssl3 [3.0.14-1] (3.0.15-1~deb12u1 Debian-Security:12/stable-security [amd64])
Inst linux-base (4.9 Debian:12.9/stable [all])
newer tzdata.noarch                     2024b-1.el9         baseos
\x1ekernel
6.1.0-9-amd64
/boot/vmlinuz-6.1.0-9-amd64
/boot/vmlinuz-6.1.0-18-amd64
\x1ereboot
\x1edrained
yes
\x1eboot
b-1
\x1efailed
\x1eactive
cron.service
ssh.service
"""


def names(chain: Chain) -> list[str]:
    return [part.name for part in chain.parts]


def decided(seen: Seen[Due], *nodes: str, reboot: bool = True) -> Chain:
    return planned(seen, nodes=nodes, reboot=reboot)


def test_what_the_look_prints() -> None:
    """Both package managers, a kernel that waits for a boot, the flag of a run that was cut."""
    assert parse(SHOWN) == Due(
        ("libssl3 3.0.15-1~deb12u1", "linux-base 4.9", "tzdata 2024b-1.el9"),
        "6.1.0-18-amd64 is installed, 6.1.0-9-amd64 runs",
        "",
        "b-1",
        (),
        ("cron.service", "ssh.service"),
        drained=True,
    )


def test_one_after_the_other_by_role() -> None:
    """Those who serve nobody else first; whoever has nothing to come has no turn; a hypervisor is named and left."""
    seen = Seen(
        {
            "ctl1": Due(NEWER, role="controller"),
            "lb1": Due(NEWER, role="loadbalancer"),
            "db1": Due(boot="libc6", role="db"),
            "db2": Due(role="db"),
            "any": Due(NEWER),
            "hv1": Due(NEWER, role="hypervisor"),
        }
    )
    chain = decided(seen)
    assert names(chain) == ["any", "db1", "lb1", "ctl1"]
    assert all(isinstance(part, Chain) and part.unit for part in chain.parts)
    assert chain.reasons[1] == "db1: a boot is due (libc6)."
    assert chain.due == ("hv1 is a hypervisor: its machines have to be moved first (1 newer package).",)
    assert names(decided(seen, reboot=False)) == ["any", "lb1", "ctl1"]
    assert names(decided(seen, "ctl1")) == ["ctl1"]
    assert decided(Seen({"a": Due()})).reasons == ("No node has anything to come.",)


def test_a_member_that_was_left_out_is_finished() -> None:
    """Nothing is to come for it any more, and it is drained: it has a turn all the same."""
    assert names(decided(Seen({"db1": Due(role="db", drained=True)}))) == ["db1"]


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (Seen({"a": Due(NEWER)}, {"b": "unreachable"}), "b was not seen: unreachable"),
        (Seen({"a": Due(NEWER), "b": Due(failed=("x.service",))}), "b: x.service failed"),
        (
            Seen({"db1": Due(("mariadb-server 1:11.4.3-1",), role="db", version="10.11.6-MariaDB")}),
            "another release: that is galera.upgrade",
        ),
    ],
)
def test_nothing_is_patched(seen: Seen[Due], words: str) -> None:
    """A node that was not seen, one that is not well before, another release of the database."""
    with pytest.raises(Refused, match=words):
        decided(seen)
    with pytest.raises(Refused, match="there is no node z"):
        decided(Seen({"a": Due()}), "z")


def test_how_each_role_is_taken_out() -> None:
    """A member by the gate before every step; a balancer gives its address away if another can take it."""
    member = turn("db1", Due(NEWER, role="db"), alone=False, reboot=True)
    assert names(member) == ["drain", "flag", "stop", "upgrade", "join", "unflag", "undrain", "well"]
    stages = {part.name: part for part in member.parts if isinstance(part, Stage)}
    assert all(stages[name].before for name in ("drain", "flag", "stop", "join"))
    assert stages["undrain"].always
    pair = turn("lb1", Due(NEWER, role="loadbalancer"), alone=False, reboot=True)
    assert names(pair) == ["give the address away", "upgrade", "take it back"]
    assert names(turn("lb1", Due(NEWER, role="loadbalancer"), alone=True, reboot=True)) == ["upgrade"]
    (upgrade,) = turn("any", Due(NEWER), alone=True, reboot=False).parts
    assert isinstance(upgrade, Stage)
    assert [bound.name for bound in upgrade.bound] == ["upgraded"]


def test_a_node_is_as_it_was() -> None:
    """What ran runs, but for what comes and goes; nothing failed; it is seen at all."""
    before = ("cron.service", "user@0.service", "apt-daily.service")
    assert not_well(Seen({"a": Due(active=("cron.service",))}), name="a", before=before) == []
    assert not_well(Seen({"a": Due(failed=("y.service",))}), name="a", before=before) == [
        "a: y.service failed",
        "a: cron.service ran before and does not now",
    ]
    assert not_well(Seen({}, {"a": "gone"}), name="a", before=()) == ["a was not seen: gone"]
