"""Who is patched, in which order, how it is taken out of service, and when nobody is."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nornir_stack.chain import Chain, Plan, Stage
from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.tasks.loadbalancer.keepalived import Held
from nornir_stack.tasks.maintenance.patch import Due, boots, emptied, not_well, parse, planned, turn
from nornir_stack.tasks.openstack.fleet import Compute, Fleet, Instance

NEWER = ("openssl 3.0.15",)
SHOWN = """\
\x1enewer
Inst libssl3 [3.0.14-1] (3.0.15-1~deb12u1 Debian-Security:12/stable-security [amd64])
Inst linux-base (4.9 Debian:12.9/stable [all])
newer tzdata.noarch                     2024b-1.el9         baseos
newer Obsoleting Packages
newer tzdata.noarch                     2024b-1.el9         baseos
newer     tzdata-old.noarch             2023a-1.el9         @System
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


def held(*peers: str, **words: bool) -> Held:
    return Held("10.0.0.9", **{"shared": True, "here": False, "keepalived": True, "haproxy": True, **words}, peers=peers)


def test_how_each_role_is_taken_out() -> None:
    """A member by the gate before every step; a balancer gives its address away if another can take it."""
    member = turn("db1", Due(NEWER, role="db"), reboot=True)
    steps = ["drain", "flag", "stop", "upgrade", "join", "unflag", "undrain"]
    assert names(member) == [*steps, "well"]
    stages = {part.name: part for part in member.parts if isinstance(part, Stage)}
    assert all(stages[name].before for name in ("drain", "flag", "stop", "join"))
    assert stages["undrain"].always
    pair = turn("lb1", Due(NEWER, role="loadbalancer", held=held("lb2")), reboot=True)
    away, back = "give the address away", "take it back"
    assert names(pair) == [away, "upgrade", back, "well"]
    stages = {part.name: part for part in pair.parts if isinstance(part, Stage)}
    assert (stages["upgrade"].until, bool(stages[away].before and stages[away].until)) == (None, True)
    assert stages[back].always
    assert names(turn("db1", Due(NEWER, role="db", held=held("lb2")), reboot=True)) == [away, *steps, back, "well"]
    assert names(turn("lb1", Due(NEWER, role="loadbalancer", held=held()), reboot=True)) == ["upgrade"]
    idle = held("lb2", keepalived=False, haproxy=False)  # declared, and not put up yet
    assert names(turn("lb1", Due(NEWER, role="loadbalancer", held=idle), reboot=True)) == ["upgrade"]
    assert decided(Seen({"lb1": Due(role="loadbalancer", held=idle)})).parts == ()
    (upgrade,) = turn("any", Due(NEWER), reboot=False).parts
    assert isinstance(upgrade, Stage)
    assert [bound.name for bound in upgrade.bound] == ["upgraded"]


def test_who_has_the_address_is_the_last_of_the_balancers() -> None:
    """Those that stand by are back before it moves; nobody is patched while none of them would take it."""
    has = Due(NEWER, role="loadbalancer", held=held("lb2", here=True))
    waits = Due(NEWER, role="loadbalancer", held=held("lb1"))
    assert names(decided(Seen({"lb1": has, "lb2": waits}))) == ["lb2", "lb1"]
    ill = replace(waits, held=held("lb1", haproxy=False))
    words = "nobody would take the virtual address 10.0.0.9 from lb1: lb2 does not run both haproxy and keepalived"
    with pytest.raises(Refused, match=words):
        decided(Seen({"lb1": has, "lb2": ill}))
    with pytest.raises(Refused, match="lb2 was not seen"):
        decided(Seen({"lb1": has}, {"lb2": "under maintenance: disk"}))


def test_the_machine_that_this_runs_on_does_not_boot() -> None:
    """It would end the run with the rest half done: its packages come, and its boot is named."""
    here = Due(NEWER, "libc6", here=True)
    chain = decided(Seen({"here": here, "a": Due(boot="libc6")}))
    assert (names(chain), chain.due) == (
        ["here", "a"],
        ("here is the machine that this runs on: boot it by hand (libc6).",),
    )
    (unit, _) = chain.parts
    assert isinstance(unit, Chain)
    (upgrade,) = unit.parts
    assert isinstance(upgrade, Stage)
    assert [bound.name for bound in upgrade.bound] == ["upgraded"]
    assert names(decided(Seen({"here": replace(here, newer=())}))) == []


def test_a_balancer_that_was_left_aside_is_finished() -> None:
    """Nothing is to come for it any more, and its keepalived does not run: it has a turn, before the one with the address."""
    aside = Due(role="loadbalancer", held=held("lb1", keepalived=False))
    has = Due(NEWER, role="loadbalancer", held=held("lb2", here=True))
    assert names(decided(Seen({"lb1": has, "lb2": aside}))) == ["lb2", "lb1"]
    with pytest.raises(Refused, match="nobody would take"):
        decided(Seen({"lb1": has, "lb2": aside}), "lb1")


COMPUTE = Due(NEWER, boot="libc6", compute=True)


def test_a_compute_node_boots_at_the_end() -> None:
    """Its packages come as it stands; whether it boots is decided when the cloud says what runs on it."""
    chain = decided(Seen({"n1": COMPUTE, "n2": replace(COMPUTE, newer=()), "ctl": Due(NEWER, role="controller")}))
    assert names(chain) == ["n1", "ctl", "compute nodes"]
    (unit, *_, plan) = chain.parts
    assert isinstance(unit, Chain)
    (upgrade,) = unit.parts
    assert isinstance(upgrade, Stage)
    assert [bound.name for bound in upgrade.bound] == ["upgraded"]
    assert isinstance(plan, Plan)
    assert names(decided(Seen({"n1": COMPUTE}), reboot=False)) == ["n1"]


@pytest.mark.parametrize(
    ("computes", "words"),
    [
        ((Compute("n1", "s", instances=(Instance("i", "web", "ACTIVE"),)),), "instances are on it (web)"),
        ((Compute("n1", "s"),), "it is in service"),
        ((), "the cloud has no nova-compute of that name"),
        (None, "nobody says what runs there (the inventory has 0 hosts of the role cloud"),
    ],
)
def test_a_compute_node_that_is_in_use_does_not_boot(computes: tuple[Compute, ...] | None, words: str) -> None:
    """Instances would be stopped with it: it is named as due, with what to do; nothing is taken for unused by guess."""
    seen = Seen({} if computes is None else {"cloud1": Fleet(computes)})
    (plan,) = emptied(seen, nodes=("n1",)).parts
    assert isinstance(plan, Plan)
    chain = plan.decide(Seen({"n1": COMPUTE}))
    assert chain.parts == ()
    (said,) = chain.due
    assert said.startswith(f"n1: a boot is due (libc6), and {words}")
    assert "compute.drain node=n1, maintenance.patch nodes=n1, compute.add node=n1" in said


def test_a_compute_node_that_was_emptied_boots() -> None:
    """Out of service and without instances; one that needs no boot is left."""
    fleet = Fleet((Compute("n1", "s", enabled=False), Compute("n2", "s")))
    chain = boots(Seen({"n1": COMPUTE, "n2": Due(compute=True)}), fleet=fleet)
    assert (names(chain), chain.due) == (["n1"], ())
    (unit,) = chain.parts
    assert isinstance(unit, Chain)
    (upgrade,) = unit.parts
    assert isinstance(upgrade, Stage)
    assert [bound.name for bound in upgrade.bound] == ["upgraded", "rebooted"]
    with pytest.raises(Refused, match="n1 was not seen: gone"):
        boots(Seen({}, {"n1": "gone"}), fleet=fleet)


def test_a_node_is_as_it_was() -> None:
    """What ran runs, but for what comes and goes; nothing failed; it is seen at all."""
    before = ("cron.service", "user@0.service", "apt-daily.service")
    assert not_well(Seen({"a": Due(active=("cron.service",))}), name="a", before=before) == []
    assert not_well(Seen({"a": Due(failed=("y.service",))}), name="a", before=before) == [
        "a: y.service failed",
        "a: cron.service ran before and does not now",
    ]
    assert not_well(Seen({}, {"a": "gone"}), name="a", before=()) == ["a was not seen: gone"]
