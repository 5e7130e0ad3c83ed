"""Machines as XML, whose they are, their host keys, where they are; all of it without a libvirt."""

from __future__ import annotations

from dataclasses import replace

import pytest
from nornir.core.inventory import Host

from nornir_stack.connections.libvirt import uri_of
from nornir_stack.errors import Refused
from nornir_stack.seen import Seen
from nornir_stack.size import Size
from nornir_stack.tasks.hypervisor.capacity import Sizes
from nornir_stack.tasks.hypervisor.domain_xml import (
    Attached,
    Description,
    Domain,
    boot_files_of,
    disks_of,
    disks_to_write,
    domain_xml,
    free_target,
    host_key_of,
    macs_of,
    moved_xml,
    resized,
    sources_of,
)
from nornir_stack.tasks.hypervisor.hostkeys import label_of, new_pair, with_key
from nornir_stack.tasks.hypervisor.images import Made, made
from nornir_stack.tasks.hypervisor.live import Files, arrival, differing
from nornir_stack.tasks.hypervisor.moving import Placed, alive, astray, forgetting, leaving, whereabouts
from nornir_stack.tasks.hypervisor.names import is_nova, mac_of, refuse_nova
from nornir_stack.tasks.hypervisor.settings import Image
from nornir_stack.tasks.hypervisor.snapshots import snapshot_xml
from nornir_stack.tasks.hypervisor.teardown import Belongings, demolition

_SIZES = Sizes(1, Size.parse("512M"), Size.parse("2G"))
_DISKS = [Attached("root", "/pool/vm1-root.qcow2"), Attached("seed", "/pool/vm1-seed.raw", "raw", readonly=True)]
WANTED = Description(
    "vm1", "0001", "ssh-ed25519 AAAA", _SIZES, Made("/i/d.qcow2", "/i/k", "/i/r", "root=LABEL=root"), _DISKS, ["a", "b"]
)


def test_a_machine_says_all_that_it_was_made_of() -> None:
    """What is read back out of its XML is what was put in."""
    xml = domain_xml(WANTED)
    assert host_key_of(xml) == "ssh-ed25519 AAAA"
    assert disks_of(xml) == {"root": "vda", "seed": "vdb"}
    assert macs_of(xml) == {mac_of("vm1", "a"): "a", mac_of("vm1", "b"): "b"}
    assert boot_files_of(xml) == ["/i/k", "/i/r"]
    assert free_target(xml, "") == "vdc"


def test_emulation_and_kvm_are_two_machines() -> None:
    """Where the processor is emulated, its side channels are not guarded, which costs time only."""
    emulated, kvm = domain_xml(WANTED), domain_xml(replace(WANTED, kvm=True))
    assert ('type="qemu"' in emulated, 'type="kvm"' in kvm) == (True, True)
    assert ("mitigations=off" in emulated, "mitigations=off" in kvm) == (True, False)


def test_words_of_people_stay_words() -> None:
    """Nothing in a host key or a name is read as XML."""
    assert host_key_of(domain_xml(replace(WANTED, host_key="ssh-ed25519 AAAA <b>&"))) == "ssh-ed25519 AAAA <b>&"


def test_other_sizes_keep_everything_else() -> None:
    """Memory and processors are replaced in the definition that is there; the same sizes are no change."""
    xml = domain_xml(WANTED)
    assert resized(xml, _SIZES, "spice") == (xml, ())
    larger, lines = resized(xml, Sizes(2, Size.parse("1G"), Size.parse("2G")), "spice")
    assert lines == ("-memory 524288 KiB", "+memory 1048576 KiB", "-cpus 1", "+cpus 2")
    assert disks_of(larger) == disks_of(xml)
    assert resized(xml, _SIZES, "none")[1] == ("-console spice", "+console none")


def test_a_moved_machine_has_its_files_elsewhere_and_the_same_cards() -> None:
    """Hardware addresses go along, and with them what DHCP and the machine's own files say."""
    xml = moved_xml(domain_xml(WANTED), {"/pool/vm1-root.qcow2": "/other/vm1-root.qcow2", "/i/k": "/other/k"})
    assert sources_of(xml) == ["/other/vm1-root.qcow2", "/pool/vm1-seed.raw"]
    assert boot_files_of(xml) == ["/other/k", "/i/r"]
    assert macs_of(xml) == macs_of(domain_xml(WANTED))


def test_a_raw_disk_keeps_no_snapshot() -> None:
    """It is refused by its name; a seed, which is only read, is left out."""
    assert 'name="vda" snapshot="internal"' in snapshot_xml(domain_xml(WANTED), "one")
    raw = replace(WANTED, disks=[Attached("root", "/dev/vg/vm1-root", "raw")])
    with pytest.raises(Refused, match="disk vda is raw"):
        snapshot_xml(domain_xml(raw), "one")


@pytest.mark.parametrize(("name", "nova"), [("instance-0000001a", True), ("instance-1", False), ("storage1", False)])
def test_machines_of_nova_are_told_by_their_name(name: str, nova: bool) -> None:
    """As Nova's instance_name_template has it."""
    assert is_nova(name) == nova


def test_machines_of_nova_are_told_by_what_nova_wrote() -> None:
    """Whatever they are called."""
    xml = '<domain><metadata><n:instance xmlns:n="http://openstack.org/xmlns/libvirt/nova/1.1"/></metadata></domain>'
    with pytest.raises(Refused, match="machine of Nova"):
        refuse_nova("web", xml)


def test_a_hardware_address_is_one_of_qemus() -> None:
    """The same for the same names, another for another network."""
    assert mac_of("vm1", "a") == mac_of("vm1", "a") != mac_of("vm1", "b")
    assert mac_of("vm1", "a").startswith("52:54:00:")


def test_a_new_host_key_replaces_the_old_one() -> None:
    """Of that host only: shared lines, hashed ones and comments stay."""
    lines = ["# ours", "vm1,vm2 ssh-ed25519 OLD", "|1|abc= ssh-rsa X", "@cert-authority *.net ssh-rsa CA"]
    new = with_key(lines, "vm1", "ssh-ed25519 NEW")
    assert new == ["# ours", "vm2 ssh-ed25519 OLD", *lines[2:], "vm1 ssh-ed25519 NEW"]
    assert with_key(new, "vm1", "ssh-ed25519 NEW") == new
    assert (label_of("vm1", None), label_of("vm1", 2222)) == ("vm1", "[vm1]:2222")


def test_a_host_key_is_openssh_s_and_hidden() -> None:
    """The private half is a Secret."""
    private, public = new_pair()
    assert private.reveal().startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "OPENSSH" not in repr(private)
    assert public.startswith("ssh-ed25519 AAAA")


def test_another_declaration_is_another_image() -> None:
    """So a machine never starts from something else than it was declared with."""
    assert made(Image(), "/i") == made(Image(), "/i")
    assert made(Image(), "/i").disk != made(Image(packages=("lvm2",)), "/i").disk
    assert made(Image(source="/x.qcow2", sha256="a" * 64), "/i").kernel == ""


def test_a_login_becomes_a_uri() -> None:
    """As the ssh connection logs in, with the host key checked."""
    login = {"hostname": "10.0.0.1", "username": "root", "port": 2222, "extras": {"client_keys": ["/k"], "known_hosts": "/h"}}
    assert uri_of(login, local=False) == (
        "qemu+libssh://root@10.0.0.1:2222/system"
        "?known_hosts=%2Fh&known_hosts_verify=normal&sshauth=agent%2Cprivkey&keyfile=%2Fk"
    )
    assert uri_of({"hostname": "fd00::1"}, local=False) == "qemu+ssh://[fd00::1]/system?no_tty=1"
    assert uri_of({}, local=True) == "qemu:///system"


def _domain(*, running: bool) -> Domain:
    return Domain("vm1", "<domain/>", "<domain/>" if running else "")


OLD, NEW = Placed({"vm1": _domain(running=True)}, ()), Placed({}, ("vm1",))
OFF, ARRIVED = Placed({"vm1": _domain(running=False)}, ()), Placed({"vm1": _domain(running=True)}, ("vm1",))


def test_no_second_machine_is_made_of_one_that_is_elsewhere() -> None:
    """It is to be moved; where a hypervisor cannot be asked, it is not known."""
    assert "cloud.move machine=vm1" in astray(Seen({"hv1": OLD, "hv2": NEW}))[0]
    assert "could not be asked" in astray(Seen({"hv2": NEW}, {"hv1": "unreachable"}))[0]
    assert "hypervisor.stop" in astray(Seen({"hv1": OLD, "hv2": ARRIVED}))[0]
    assert astray(Seen({"hv1": OFF, "hv2": ARRIVED})) == []
    assert astray(Seen({"hv1": Placed({}, ()), "hv2": NEW})) == []


def test_a_move_stops_the_machine_where_it_is_and_nowhere_else() -> None:
    """One that has arrived is left alone; two that run are refused."""
    stages = leaving(Seen({"hv1": OLD, "hv2": NEW}), machine="vm1", within=60).parts
    assert [(stage.name, str(stage.on)) for stage in stages] == [("stop", "hv1")]  # type: ignore[union-attr]
    assert leaving(Seen({"hv1": OFF, "hv2": ARRIVED}), machine="vm1", within=60).parts == ()
    with pytest.raises(Refused, match="two with one address"):
        whereabouts(Seen({"hv1": OLD, "hv2": ARRIVED}), "vm1")
    with pytest.raises(Refused, match="not known where"):
        whereabouts(Seen({"hv2": NEW}, {"hv1": "unreachable"}), "vm1")


def test_a_live_move_begins_where_the_machine_runs() -> None:
    """One that has arrived is left alone; one that is off, or nowhere, is another matter."""
    (part,) = alive(Seen({"hv1": OLD, "hv2": NEW}), machine="vm1", within=60).parts
    assert (part.name, str(part.on)) == ("files", "hv1")  # type: ignore[union-attr]
    assert alive(Seen({"hv1": Placed({}, ()), "hv2": ARRIVED}), machine="vm1", within=60).parts == ()
    with pytest.raises(Refused, match="does not run on hv1: it is moved without live="):
        alive(Seen({"hv1": OFF, "hv2": NEW}), machine="vm1", within=60)
    with pytest.raises(Refused, match=r"is on no hypervisor: cloud\.infrastructure makes it"):
        alive(Seen({"hv1": Placed({}, ()), "hv2": NEW}), machine="vm1", within=60)


def test_files_are_the_same_only_if_all_says_so() -> None:
    """A disk has its inode and is held by the machine that runs; what nobody writes has its time too; else each is named."""
    assert disks_to_write(domain_xml(WANTED)) == ["/pool/vm1-root.qcow2"]
    bags = Files("", {"/pool/vm1-root.qcow2": "11 1.5"}, {"/i/d.qcow2": "12 1.0", "/i/my k": "13 1.0"})
    alike = ["held 11 9.9 /pool/vm1-root.qcow2", "free 12 1.0 /i/d.qcow2", "free 13 1.0 /i/my k"]
    assert differing(bags, alike) == []
    assert differing(bags, ["free 11 1.5 /pool/vm1-root.qcow2", "free 12 1.1 /i/d.qcow2", "free absent absent /i/my k"]) == [
        "/pool/vm1-root.qcow2 is not held by the running machine, as seen from there",
        "/i/d.qcow2 is another file there",
        "/i/my k is not there",
    ]
    assert differing(bags, ["held 14 1.5 /pool/vm1-root.qcow2"]) == ["/pool/vm1-root.qcow2 is another file there"]


def test_the_memory_goes_to_the_address_of_the_inventory() -> None:
    """Of a hypervisor without one, libvirt asks for its name."""
    assert [arrival(Host("hv2", hostname=name)) for name in ("10.0.0.2", "fd00::2", "hv2.lab", None)] == [
        "tcp:10.0.0.2",
        "tcp:[fd00::2]",
        "tcp:hv2.lab",
        "",
    ]


def test_the_old_machine_is_kept_until_it_is_confirmed() -> None:
    """And never deleted while the new one does not run."""
    seen = Seen({"hv1": OFF, "hv2": ARRIVED})
    assert "confirm='vm1' deletes it" in forgetting(seen, machine="vm1", within=60, confirm="").reasons[0]
    assert len(forgetting(seen, machine="vm1", within=60, confirm="vm1").parts) == 1
    stopped = Placed({"vm1": _domain(running=False)}, ("vm1",))
    with pytest.raises(Refused, match="does not run on hv2"):
        forgetting(Seen({"hv1": OFF, "hv2": stopped}), machine="vm1", within=60, confirm="vm1")


def test_a_teardown_names_all_that_goes() -> None:
    """It is refused without the names, and where others run on a network."""
    mine = Belongings({"vm1": ("/pool/vm1-root.qcow2",)}, {"control": ("vm1",)}, ("default",))
    with pytest.raises(Refused, match=r"machine vm1 with /pool/vm1-root\.qcow2(.|\n)*network control(.|\n)*confirm='vm1'"):
        demolition(Seen({"hv1": mine}), confirm="")
    assert [part.name for part in demolition(Seen({"hv1": mine}), confirm="vm1").parts] == ["hv1"]
    with pytest.raises(Refused, match="web, not of the inventory"):
        demolition(Seen({"hv1": replace(mine, networks={"control": ("vm1", "web")})}), confirm="vm1")
    with pytest.raises(Refused, match="not every hypervisor"):
        demolition(Seen({"hv1": mine}, {"hv2": "unreachable"}), confirm="vm1")
