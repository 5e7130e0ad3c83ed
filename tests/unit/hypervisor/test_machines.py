"""Machines as XML, whose they are, their host keys, where they are; all of it without a libvirt."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from nornir.core.inventory import Host

from nornir_stack.chain import Plan
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
    mark_of,
    moved_xml,
    resized,
    sources_of,
)
from nornir_stack.tasks.hypervisor.hostkeys import _write, label_of, new_pair, with_key
from nornir_stack.tasks.hypervisor.images import Made, made
from nornir_stack.tasks.hypervisor.live import Files, arrival, differing
from nornir_stack.tasks.hypervisor.machines import refuse_twice
from nornir_stack.tasks.hypervisor.movable import Packed, crowded, destination, foreign, immovable, model_of, taken
from nornir_stack.tasks.hypervisor.moving import Placed, alive, astray, forgetting, leaving, whereabouts
from nornir_stack.tasks.hypervisor.names import is_nova, mac_of, refuse_nova
from nornir_stack.tasks.hypervisor.settings import HypervisorSettings, Image, Machine, Pool, _collisions
from nornir_stack.tasks.hypervisor.snapshots import snapshot_xml
from nornir_stack.tasks.hypervisor.teardown import Belongings, demolition

if TYPE_CHECKING:
    from pathlib import Path

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


def test_what_belongs_to_a_console_goes_with_it() -> None:
    """QEMU does not start with sound by SPICE where there is no SPICE; libvirt added both."""
    added = "<channel type='spicevmc'/><audio id='1' type='spice'/></devices>"
    other, _ = resized(domain_xml(WANTED).replace("</devices>", added), _SIZES, "vnc")
    assert ("spice" in other, 'type="vnc"' in other) == (False, True)


def test_memory_in_numa_cells_is_not_changed_over_their_heads() -> None:
    """libvirt would take the sum of the cells, and each further run would find another size."""
    cells = "<cpu><numa><cell id='0' memory='524288'/></numa></cpu><clock"
    with pytest.raises(Refused, match="NUMA cells"):
        resized(domain_xml(WANTED).replace("<clock", cells), replace(_SIZES, memory=Size.parse("1G")), "spice")


def test_two_machines_have_nothing_in_common() -> None:
    """Names of disks are made of two names, so two pairs can make one: told before anything is touched."""
    more = {"hypervisor": "hv1", "authorized_keys": ("k",)}
    web = Machine(disks={"data-root": Size(1 << 30)}, networks={"a": None}, **more)  # type: ignore[arg-type]
    data = Machine(networks={"a": None}, **more)  # type: ignore[arg-type]
    found = [(each.host, each.text) for each in _collisions({"web": web, "web-data": data})]
    assert found == [("web-data", "its disk root would be web-data-root, as one of web: choose another name")]
    assert not [*_collisions({"web": replace(web, hypervisor="hv2"), "web-data": data})]


def test_a_moved_machine_has_its_files_elsewhere_and_the_same_cards() -> None:
    """Hardware addresses go along, and with them what DHCP and the machine's own files say."""
    xml = moved_xml(domain_xml(WANTED), {"/pool/vm1-root.qcow2": "/other/vm1-root.qcow2", "/i/k": "/other/k"}, "one")
    assert sources_of(xml) == ["/other/vm1-root.qcow2", "/pool/vm1-seed.raw"]
    assert boot_files_of(xml) == ["/other/k", "/i/r"]
    assert macs_of(xml) == macs_of(domain_xml(WANTED))
    assert (mark_of(xml), host_key_of(xml)) == ("one", "ssh-ed25519 AAAA")
    assert mark_of(moved_xml(xml, {}, "two")) == "two"
    assert mark_of(moved_xml("<domain/>", {}, "two")) == "two"


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


def test_keys_of_many_machines_are_noted_at_once(tmp_path: Path) -> None:
    """None is lost, the file keeps its mode and its link, and is whole at any time."""
    known = tmp_path / "real"
    known.write_text("other ssh-rsa X\n")
    known.chmod(0o600)
    (tmp_path / "known_hosts").symlink_to(known)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: _write(tmp_path / "known_hosts", f"vm{i}", "ssh-ed25519 K"), range(24)))
    lines = known.read_text().splitlines()
    assert sorted(lines) == sorted(["other ssh-rsa X", *(f"vm{i} ssh-ed25519 K" for i in range(24))])
    assert known.stat().st_mode & 0o777 == 0o600
    assert sorted(each.name for each in tmp_path.iterdir()) == ["known_hosts", "real"]


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
    assert uri_of(login, local=False, program="/p") == (
        "qemu+ssh://root@10.0.0.1:2222/system?no_tty=1&command=%2Fp&keyfile=%2Fk"
    )
    assert uri_of({"hostname": "fd00::1"}, local=False) == "qemu+ssh://[fd00::1]/system?no_tty=1"
    assert uri_of({}, local=True) == "qemu:///system"
    blank = {"hostname": "hv1", "username": "a/b", "extras": {"client_keys": ["/my keys/k"]}}
    assert uri_of(blank, local=False) == "qemu+ssh://a%2Fb@hv1/system?no_tty=1&keyfile=%2Fmy%20keys%2Fk"


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
    stopped = Placed({"vm1": _domain(running=False)}, ("vm1",))
    assert "runs on none" in astray(Seen({"hv1": OFF, "hv2": stopped}))[0]


def test_a_machine_is_not_made_twice() -> None:
    """Nor started where another hypervisor has it too: by the task alone, without the plan of cloud.infrastructure."""
    on, off = Domain("vm1", "<domain/>", "<domain/>"), Domain("vm1", "<domain/>")
    refuse_twice("hv1", ["vm1"], {"vm1": on}, {"hv2": {"vm1": off}})
    refuse_twice("hv1", ["vm1"], {}, {"hv2": {"web": on}})
    with pytest.raises(Refused, match=r"vm1 is on hv2: cloud\.move machine=vm1"):
        refuse_twice("hv1", ["vm1"], {}, {"hv2": {"vm1": off}})
    with pytest.raises(Refused, match="vm1 is on hv2 too"):
        refuse_twice("hv1", ["vm1"], {"vm1": off}, {"hv2": {"vm1": on}})


def test_a_move_looks_at_both_before_it_stops_the_machine() -> None:
    """At what it takes along, then at who is to have it; one that has arrived is left alone; two that run are refused."""
    (pack,) = leaving(Seen({"hv1": OLD, "hv2": NEW}), machine="vm1", within=60).parts
    assert isinstance(pack, Plan)
    assert (pack.name, str(pack.on)) == ("pack", "hv1")
    stages = pack.decide(Seen({"hv1": Packed("", {}, {})})).parts
    assert [(stage.name, str(stage.on)) for stage in stages] == [("admit", "hv2"), ("stop", "hv1")]  # type: ignore[union-attr]
    with pytest.raises(Refused, match="unreachable"):
        pack.decide(Seen({}, {"hv1": "unreachable"}))
    assert leaving(Seen({"hv1": OFF, "hv2": ARRIVED}), machine="vm1", within=60).parts == ()
    with pytest.raises(Refused, match="two with one address"):
        whereabouts(Seen({"hv1": OLD, "hv2": ARRIVED}), "vm1")
    stopped = Placed({"vm1": _domain(running=False)}, ("vm1",))
    with pytest.raises(Refused, match="is older: delete that first"):
        leaving(Seen({"hv1": OLD, "hv2": stopped}), machine="vm1", within=60)
    with pytest.raises(Refused, match="not known where"):
        whereabouts(Seen({"hv2": NEW}, {"hv1": "unreachable"}), "vm1")


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("<hostdev type='pci'/>", "a device of the hypervisor's own"),
        ("<filesystem type='mount'/>", "shares a folder"),
        ("<tpm model='tpm-crb'/>", "its TPM"),
        ("<disk><source dev='/dev/vg/a'/><target dev='vdc'/></disk>", ""),
        ("<disk type='volume'><source pool='p' volume='v'/><target dev='vdc'/></disk>", "vdc is no file and no device (p v)"),
        ("<disk><source file='/a'/><target dev='vdc'/><shareable/></disk>", "others write to a disk"),
        ("<interface type='bridge'><source bridge='br0'/></interface>", "on no network of libvirt"),
        ("<disk device='cdrom'><target dev='sda'/></disk>", ""),
    ],
)
def test_what_copies_of_disks_would_leave_behind_is_told_first(inside: str, said: str) -> None:
    """A machine that is more than its files is not stopped to be moved; a drive without a medium is nothing to take."""
    plain = domain_xml(WANTED)
    assert immovable(plain, []) == []
    found = immovable(plain.replace("</devices>", f"{inside}</devices>"), ["snapshot one"])
    assert found[0] == "snapshot one would stay behind"
    assert [each for each in found[1:] if said not in each] == []
    assert len(found) == 1 + bool(said)


_CAPABILITIES = """<capabilities><guest><os_type>hvm</os_type><arch name='x86_64'><emulator>/usr/bin/qemu</emulator>
<machine maxCpus='288'>pc-q35-7.2</machine><machine canonical='pc-q35-7.2' maxCpus='288'>q35</machine>
<domain type='qemu'/></arch></guest></capabilities>"""


@pytest.mark.parametrize(
    ("domain", "said"),
    [
        ("type='qemu'><os><type arch='x86_64' machine='q35'/></os>", []),
        ("type='qemu'><os><type arch='x86_64' machine='pc-q35-7.2'/></os>", []),
        ("type='qemu'><os><type arch='x86_64' machine='pc-9'/></os>", ["its QEMU does not know the machine type pc-9"]),
        ("type='kvm'><os><type arch='x86_64' machine='q35'/></os>", ["it has no KVM"]),
        ("type='qemu'><os><type arch='aarch64' machine='virt'/></os>", ["it runs no machines of aarch64"]),
        (
            "type='qemu'><os><type arch='x86_64' machine='q35'/></os><devices><emulator>/qemu-kvm</emulator></devices>",
            ["/qemu-kvm is not there"],
        ),
    ],
)
def test_a_hypervisor_must_know_the_kind_of_machine(domain: str, said: list[str]) -> None:
    """Before it is stopped where it is: an older QEMU does not have a newer one's machine types."""
    assert foreign(f"<domain {domain}</domain>", _CAPABILITIES) == said


@pytest.mark.parametrize(
    ("domain", "named"),
    [
        ("type='kvm'><cpu mode='custom'><model>Skylake-Client</model></cpu>", True),
        ("type='kvm'><cpu><model>Skylake-Client</model></cpu>", True),
        ("type='qemu'><cpu mode='custom'><model>Skylake-Client</model></cpu>", False),
        ("type='kvm'><cpu mode='host-model'/>", False),
        ("type='kvm'>", False),
    ],
)
def test_a_processor_that_is_named_is_asked_for(domain: str, named: bool) -> None:
    """Of others a machine takes what its hypervisor has, from its next start."""
    assert bool(model_of(f"<domain {domain}</domain>")) == named


def test_room_and_places_are_looked_at_by_file_system() -> None:
    """What is copied already counts; two pools on one file system share its room; a disk never goes over another file."""
    sizes = {"/a/one": 3 << 20, "/b/two": 2 << 20, "/b/image": 9 << 20}
    lines = ["room 7 1024 4096 /a/one", "room 7 1024 4096 /b/two", f"there {9 << 20} /b/image", "room 7 1024 4096 /b/image"]
    assert crowded(sizes, frozenset({"/a/one", "/b/two"}), lines) == ["its disks want 5 MiB, and there are 4 MiB"]
    other = [line.replace(f"there {9 << 20}", "there 1") for line in lines]
    assert crowded(sizes, frozenset(), other) == ["its disks want 14 MiB, and there are 4 MiB"]
    assert crowded(sizes, frozenset({"/a/one"}), [*lines, f"part {2 << 20} /a/one"]) == []
    assert crowded(sizes, frozenset({"/a/one"}), ["there 7 /a/one"]) == ["/a/one is there already: move it away, or delete it"]
    assert crowded(sizes, frozenset({"/a/one"}), ["room   /a b/one"]) == ["the place of /a b/one is not there"]


def test_logical_volumes_have_the_room_of_their_group() -> None:
    """In extents, and only whole ones: what is larger than what was sent has another sum."""
    path, size = "/dev/vg0/vm1-root", 12 << 20
    room = f"room vg0 2 {4 << 20} {path}"
    assert crowded({path: size}, frozenset({path}), [room]) == ["its disks want 12 MiB, and there are 8 MiB"]
    assert crowded({path: size}, frozenset({path}), [f"part {4 << 20} {path}", room]) == []
    assert crowded({path: size - 512}, frozenset(), [f"room vg0 9 {4 << 20} {path}"]) == [
        f"{path} would have {size - 512} bytes, which are no whole extents of vg0"
    ]
    assert crowded({path: size}, frozenset(), [f"room  {path}"]) == [f"the place of {path} is not there"]


def test_what_is_moved_stays_of_its_kind() -> None:
    """A file goes into a folder, a logical volume into a volume group; a seed is a file always."""
    pools = {"files": Pool(path="/pool"), "groups": Pool(volume_group="vg1")}
    here = HypervisorSettings(pools=pools, image_pool="files")
    machine = {"hypervisor": "hv2", "networks": {"control": None}, "authorized_keys": ("k",)}
    logical, plain = Machine(pool="groups", **machine), Machine(pool="files", **machine)  # type: ignore[arg-type]
    assert destination(here, logical, "vm1", "/dev/vg0/vm1-root") == "/dev/vg1/vm1-root"
    assert destination(here, logical, "vm1", "/old/vm1-seed.raw") == "/pool/vm1-seed.raw"
    assert destination(here, plain, "vm1", "/old/vm1-root.qcow2") == "/pool/vm1-root.qcow2"
    with pytest.raises(Refused, match="is a logical volume, and pool files has files in /pool"):
        destination(here, plain, "vm1", "/dev/vg0/vm1-root")
    with pytest.raises(Refused, match="is a file, and pool groups has the logical volumes of vg1"):
        destination(here, logical, "vm1", "/old/vm1-root.qcow2")


def test_what_is_a_machine_s_alone_must_be_free() -> None:
    """libvirt takes no second UUID, and a network no second hardware address; its own definition is no other."""
    xml = domain_xml(WANTED)
    assert taken("vm1", xml, {"vm1": Domain("vm1", xml)}) == []
    assert taken("vm1", xml, {"web": Domain("web", xml)}) == [
        "web has its UUID",
        *(f"web has its hardware address {mac}" for mac in sorted(macs_of(xml))),
    ]


def test_a_live_move_begins_where_the_machine_runs() -> None:
    """One that has arrived is left alone; one that is off, or nowhere, is another matter."""
    (part,) = alive(Seen({"hv1": OLD, "hv2": NEW}), machine="vm1", within=60).parts
    assert (part.name, str(part.on)) == ("files", "hv1")  # type: ignore[union-attr]
    assert alive(Seen({"hv1": Placed({}, ()), "hv2": ARRIVED}), machine="vm1", within=60).parts == ()
    stopped = Placed({"vm1": _domain(running=False)}, ("vm1",))
    with pytest.raises(Refused, match="hv2 has an older one"):
        alive(Seen({"hv1": OLD, "hv2": stopped}), machine="vm1", within=60)
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
