"""The seed disk by which a new machine learns its names, addresses and keys: NoCloud, and plain files beside it. Pure.

Cloud images read user-data, meta-data and network-config by cloud-init (its manual, "NoCloud": a FAT file system labelled
CIDATA). An image that is made of packages has no cloud-init, and unpacks files.tar by a script of twenty lines.
"""

from __future__ import annotations

import io
import json
import struct
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Interface, IPv6Interface

    from nornir_stack.secret import Secret

UNIT = "nornir-stack-seed.service"
SCRIPT = "usr/local/sbin/nornir-stack-seed"
MARK = "var/lib/nornir-stack-seed"  # a machine that has read its seed by the script
_SCRIPT = """#!/bin/sh
# Takes this machine's names, addresses and keys from its seed disk, at its first boot.
set -e
root=$(findmnt -n -o SOURCE /)
resize2fs "$root" 2>/dev/null || echo "the file system of / could not be made as large as its disk"
[ ! -e /var/lib/nornir-stack-seed ] || exit 0
mount -r -t vfat "$(blkid -L CIDATA)" /mnt
tar -x -f /mnt/files.tar -C / --no-same-owner
umount /mnt
: > /var/lib/nornir-stack-seed
cat /etc/hostname > /proc/sys/kernel/hostname
"""
_UNIT = f"""[Unit]
Description=Names, addresses and keys from the seed disk
DefaultDependencies=no
After=systemd-remount-fs.service systemd-udevd.service
Before=sysinit.target network-pre.target systemd-networkd.service ssh.service shutdown.target
Wants=network-pre.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/{SCRIPT}

[Install]
WantedBy=sysinit.target
"""
_MIB = 1 << 20
_SECTOR, _ENTRY, _FATS, _ROOT_ENTRIES, _SECTORS_PER_FAT = 512, 32, 2, 112, 6
_LONG, _LABEL, _ARCHIVE = 0x0F, 0x08, 0x20
_LONG_CHARACTERS, _LAST = 13, 0x40


@dataclass(frozen=True)
class Nic:
    """A network card by its hardware address, with its address and the way out, if it has them."""

    mac: str
    address: IPv4Interface | IPv6Interface | None = None
    gateway: str = ""


@dataclass(frozen=True)
class Identity:
    """What a machine is told. `host_key` is the private key of its sshd, in OpenSSH's form, `host_public` its other half.

    `instance` is another for each machine that ever had the name.
    """

    name: str
    instance: str
    nics: Sequence[Nic]
    authorized: Sequence[str]
    host_key: Secret
    host_public: str


def image_files() -> bytes:
    """A tar with what an image made of packages has beside them: the script that reads the seed, and what starts it."""
    enabled = "etc/systemd/system/sysinit.target.wants"
    networkd = "etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
    files = {SCRIPT: (0o755, _SCRIPT), f"etc/systemd/system/{UNIT}": (0o644, _UNIT), "etc/machine-id": (0o444, "")}
    return _tar(files, {f"{enabled}/{UNIT}": f"../{UNIT}", networkd: "/lib/systemd/system/systemd-networkd.service"})


def seed(identity: Identity) -> bytes:
    """The disk: one MiB, the same bytes for the same identity. The private key of the machine's sshd is in it."""
    meta = f"instance-id: {identity.instance}\nlocal-hostname: {identity.name}\n"
    user = "#cloud-config\n" + json.dumps(_user_data(identity), indent=1) + "\n"  # JSON is YAML
    network = json.dumps(_network_config(identity), indent=1) + "\n"
    files = {"meta-data": meta, "user-data": user, "network-config": network}
    return fat("CIDATA", {**{each: text.encode() for each, text in files.items()}, "files.tar": _tar(_files(identity))})


def _files(identity: Identity) -> Mapping[str, tuple[int, str]]:
    name = identity.name
    files = {
        "etc/hostname": (0o644, f"{name}\n"),
        "etc/hosts": (0o644, f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost ip6-localhost ip6-loopback\n"),
        "root/.ssh/authorized_keys": (0o600, "".join(f"{key}\n" for key in identity.authorized)),
        "etc/ssh/ssh_host_ed25519_key": (0o600, identity.host_key.reveal()),
        "etc/ssh/ssh_host_ed25519_key.pub": (0o644, f"{identity.host_public}\n"),
    }
    for number, nic in enumerate(identity.nics):
        files[f"etc/systemd/network/10-nic{number}.network"] = (0o644, networkd(nic))
    return files


def networkd(nic: Nic, *, out: bool = True) -> str:
    """A file of systemd-networkd. A card without an address is brought up and carries none, not even a link-local one.

    `out`: with the gateway that it may have. It is found by its permanent address: a VLAN or a bridge over it, and a bond of
    it, have the same one and would be given what the card has.
    """
    lines = ["[Match]", f"PermanentMACAddress={nic.mac}", "", "[Network]", "LinkLocalAddressing=no", "IPv6AcceptRA=no"]
    lines += [f"Address={nic.address}"] if nic.address else []
    lines += [f"Gateway={nic.gateway}"] if nic.gateway and out else []
    return "\n".join(lines) + "\n"


def _user_data(identity: Identity) -> Mapping[str, object]:
    key, public = identity.host_key.reveal(), identity.host_public
    return {
        "hostname": identity.name,
        "disable_root": False,
        "ssh_pwauth": False,
        "ssh_deletekeys": True,
        "ssh_keys": {"ed25519_private": key, "ed25519_public": public},
        "users": [{"name": "root", "ssh_authorized_keys": list(identity.authorized)}],
    }


def _network_config(identity: Identity) -> Mapping[str, object]:
    """cloud-init's manual, "Networking config Version 2"."""
    cards = {}
    for number, nic in enumerate(identity.nics):
        card: dict[str, object] = {"match": {"macaddress": nic.mac}, "dhcp4": False}
        card |= {"addresses": [str(nic.address)]} if nic.address else {}
        everywhere = "::/0" if ":" in nic.gateway else "0.0.0.0/0"  # which older renderers know too, other than `default`
        card |= {"routes": [{"to": everywhere, "via": nic.gateway}]} if nic.gateway else {}
        cards[f"nic{number}"] = card
    return {"version": 2, "ethernets": cards}


def _tar(files: Mapping[str, tuple[int, str]], links: Mapping[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path, (mode, text) in files.items():
            if path.startswith("root/.ssh/"):
                folder = tarfile.TarInfo("root/.ssh")
                folder.type, folder.mode = tarfile.DIRTYPE, 0o700
                tar.addfile(folder)
            entry = tarfile.TarInfo(path)
            entry.mode, entry.size = mode, len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
        for path, target in (links or {}).items():
            entry = tarfile.TarInfo(path)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return buffer.getvalue()


def fat(label: str, files: Mapping[str, bytes]) -> bytes:
    """A FAT12 file system of one MiB with long names (Microsoft's "FAT General Overview", 2000). Raises ValueError if full."""
    sectors = _MIB // _SECTOR
    root_sectors = _ROOT_ENTRIES * _ENTRY // _SECTOR
    first_data = 1 + _FATS * _SECTORS_PER_FAT + root_sectors
    chain, root, data = [0xFF8, 0xFFF], bytearray(_entry(label.ljust(11).encode(), _LABEL, 0, 0)), bytearray()
    for number, (name, content) in enumerate(files.items()):
        clusters = -(-len(content) // _SECTOR)
        start = len(chain) if clusters else 0
        chain += [*range(start + 1, start + clusters), 0xFFF] if clusters else []
        data += content.ljust(clusters * _SECTOR, b"\0")
        short = f"FILE{number:04d}".ljust(11).encode()
        root += _long_entries(name, short) + _entry(short, _ARCHIVE, start, len(content))
    if first_data * _SECTOR + len(data) > _MIB or len(root) > _ROOT_ENTRIES * _ENTRY:
        raise ValueError("what is to go on the seed disk is larger than it")
    packed = b"".join(_twelve_bits(*chain[i : i + 2]) for i in range(0, len(chain), 2))
    table = packed.ljust(_SECTORS_PER_FAT * _SECTOR, b"\0")
    whole = _boot_sector(label, sectors) + table * _FATS + bytes(root).ljust(root_sectors * _SECTOR, b"\0") + bytes(data)
    return whole.ljust(_MIB, b"\0")


def _boot_sector(label: str, sectors: int) -> bytes:
    shape = (_SECTOR, 1, 1, _FATS, _ROOT_ENTRIES, sectors, 0xF8, _SECTORS_PER_FAT, 32, 2, 0, 0)
    head = b"\xeb\x3c\x90NORNIR  " + struct.pack("<HBHBHHBHHHII", *shape)
    tail = struct.pack("<BBBI", 0x80, 0, 0x29, 0x53454544) + label.ljust(11).encode() + b"FAT12   "
    return (head + tail).ljust(_SECTOR - 2, b"\0") + b"\x55\xaa"


def _twelve_bits(low: int, high: int = 0) -> bytes:
    return struct.pack("<I", low | high << 12)[:3]


def _entry(short: bytes, attributes: int, start: int, size: int) -> bytes:
    day = 0x21  # 1980-01-01: the same bytes each time
    return short + struct.pack("<BBBHHHHHHHI", attributes, 0, 0, 0, day, day, 0, 0, day, start, size)


def _long_entries(name: str, short: bytes) -> bytes:
    total = 0
    for byte in short:
        total = ((total & 1) << 7 | total >> 1) + byte & 0xFF
    text = name.encode("utf-16-le") + b"\0\0"
    width = _LONG_CHARACTERS * 2
    pieces = [name.encode("utf-16-le")[i : i + width] for i in range(0, len(text) - 2, width)]
    made = []
    for number, piece in enumerate(pieces, 1):
        full = piece if len(piece) == width else (piece + b"\0\0").ljust(width, b"\xff")
        order = number | (_LAST if number == len(pieces) else 0)
        made.append(bytes([order]) + full[:10] + bytes([_LONG, 0, total]) + full[10:22] + b"\0\0" + full[22:26])
    return b"".join(reversed(made))
