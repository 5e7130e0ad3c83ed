"""What the survey's look prints, as it was printed by real programs, made into a condition."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from nornir_stack.tasks.maintenance.condition import (
    Array,
    BackupSeen,
    Certificate,
    Disk,
    Drive,
    FailedUnit,
    Kernel,
    Keys,
    Log,
    Memory,
    Namespace,
    Queue,
    Rabbit,
    Updates,
)
from nornir_stack.tasks.maintenance.reading import clock_offset, condition, disks, failed, kernel, logs, memory, updates
from nornir_stack.tasks.maintenance.reading_hardware import arrays, certificates, drives
from nornir_stack.tasks.maintenance.reading_services import backups, key_folders, namespaces, rabbit, zombie_ports

DF = """\
      1B-blocks        Used       Avail    Inodes  IUsed Type     Filesystem     Mounted on
    10000000000  4000000000  5500000000    655360  12345 ext4     /dev/vda1      /
     1000000000           0  1000000000    100000      1 tmpfs    tmpfs          /run
     5000000000  1000000000  4000000000         0      0 btrfs    /dev/vdb       /srv/with space
"""


def test_disks_by_df() -> None:
    """What is in memory is no disk; mounts may hold spaces; btrfs knows no inodes."""
    root, other = disks(DF)
    assert root == Disk("/", "/dev/vda1", "ext4", 10000000000, 4000000000, 5500000000, 655360, 12345)
    assert (other.mount, other.inodes_percent) == ("/srv/with space", 0.0)
    assert round(root.percent, 1) == 42.1
    assert disks("") == ()


def test_memory_pressure_and_kills() -> None:
    """KiB become bytes; a kernel without pressure says nothing of it."""
    meminfo = "MemTotal: 1000 kB\nMemFree: 100 kB\nMemAvailable: 300 kB\nSwapTotal: 0 kB\nHugePages_Total:       0\n"
    some = "some avg10=1.00 avg60=2.00 avg300=12.50 total=9\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    assert memory(meminfo, some, "oom_kill 3\n") == Memory(1024000, 307200, 0, 0, 12.5, 3)
    assert memory(meminfo, "", "").pressure is None


FAILED = """\
uptime 1000.00
Id=broken.service
ActiveState=failed
SubState=failed
Result=exit-code
NRestarts=0
StateChangeTimestampMonotonic=400000000

Id=loops.service
ActiveState=activating
SubState=auto-restart
Result=exit-code
NRestarts=17
StateChangeTimestampMonotonic=999000000

Id=gone.service
ActiveState=inactive
SubState=dead
Result=success
NRestarts=0
StateChangeTimestampMonotonic=0
"""


def test_failed_units_and_since_when() -> None:
    """Times of systemd count from the boot."""
    assert failed(FAILED, 5000.0) == (
        FailedUnit("broken.service", "failed", "exit-code", 0, 4400),
        FailedUnit("loops.service", "auto-restart", "exit-code", 17, 4999),
    )
    assert failed("uptime 1000.00\n", 5000.0) == ()


APT = """\
lists 1700000000
Inst libssl3 [3.0.14-1] (3.0.15-1~deb12u1 Debian-Security:12/stable-security [amd64])
Inst tzdata [1] (2 Debian:12.9/stable [all])
Inst linux-base (4.9 Debian:12.9/stable [all])
Inst curl [7] (8 Ubuntu:24.04/noble-updates, Ubuntu:24.04/noble-security [amd64]) []
"""
DNF = """\
lists 1700000000
advisory RLSA-2024:1 Important/Sec. openssl-libs-1:3.0.7-27.el9.x86_64
advisory RLSA-2024:1 Important/Sec. openssl-1:3.0.7-27.el9.x86_64
newer
newer openssl.x86_64                    1:3.0.7-28.el9      baseos
newer tzdata.noarch                     2024b-1.el9         baseos
newer Obsoleting Packages
newer stack-heir.noarch                 2.0-1.el9           stack
newer     stack-old.noarch              1.0-1.el9           @System
"""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (APT, Updates(("curl", "libssl3"), 2, 1700000000)),
        (DNF, Updates(("openssl", "openssl-libs"), 2, 1700000000)),
        ("lists 0\n", Updates((), 0, 0)),
        ("", None),
    ],
)
def test_security_updates(text: str, expected: Updates | None) -> None:
    """Debian, Ubuntu and Red Hat each say in their own way what is security; a successor counts, its predecessor does not."""
    assert updates(text) == expected


def test_the_newest_kernel_of_the_same_flavour() -> None:
    """6.1.0-18 is newer than 6.1.0-9; cloud kernels and rescue images are others."""
    text = (
        "6.1.0-9-amd64\n/boot/vmlinuz-6.1.0-9-amd64\n/boot/vmlinuz-6.1.0-18-amd64\n/boot/vmlinuz-0-rescue-1\n"
        "/boot/vmlinuz-6.6.0-1-cloud\n"
    )
    expected = Kernel("6.1.0-9-amd64", "6.1.0-18-amd64", ("libc6",), ("cron.service",))
    assert kernel(text, "libc6\nlibc6\n", "cron.service\n") == expected
    assert kernel("", "", "") == Kernel()


def test_logs_are_read_with_spaces() -> None:
    """Size, when it was written last, path."""
    assert logs("2048 1700000000.5000 /var/log/a b.log\n") == (Log("/var/log/a b.log", 2048, 1700000000),)


MDSTAT = """\
Personalities : [raid1] [raid6] [raid5]
md1 : active raid1 sdb2[1](F) sda2[0]
      1046528 blocks super 1.2 [2/1] [U_]

md0 : active raid1 sdb1[1] sda1[0]
      1046528 blocks super 1.2 [2/2] [UU]

md2 : active raid5 sdd1[3] sdc1[1] sdb3[0]
      20960256 blocks level 5, 512k chunk, algorithm 2 [3/2] [UU_]
      [==>..................]  recovery = 12.6% (1323936/10480128) finish=2.8min speed=53021K/sec

unused devices: <none>
"""
ZPOOL = "  pool: tank\n state: DEGRADED\nstatus: One or more devices\n"


def test_arrays() -> None:
    """Missing and failed disks, a recovery that goes on; ZFS in its own words."""
    assert arrays(MDSTAT, ZPOOL) == (
        Array("md1", "1 of 2 disks, failed: sdb2"),
        Array("md0"),
        Array("md2", "2 of 3 disks, recovery 12.6%"),
        Array("tank", "degraded"),
    )
    assert arrays("Personalities :\nunused devices: <none>\n", "all pools are healthy\n") == ()


ATA = """\
sda
=== START OF READ SMART DATA SECTION ===
SMART overall-health self-assessment test result: PASSED
ID# ATTRIBUTE_NAME          FLAG     VALUE WORST THRESH TYPE      UPDATED  WHEN_FAILED RAW_VALUE
  5 Reallocated_Sector_Ct   0x0033   100   100   010    Pre-fail  Always       -       8
194 Temperature_Celsius     0x0022   064   050   000    Old_age   Always       -       36 (Min/Max 20/50)
197 Current_Pending_Sector  0x0012   100   100   000    Old_age   Always       -       0
"""
NVME = "nvme0n1\nSMART overall-health self-assessment test result: FAILED!\nCritical Warning:    0x04\nPercentage Used:   97%\n"
SCSI = "sdc\nSMART Health Status: OK\n"


def test_disks_by_their_own_account() -> None:
    """ATA's raw sector counts, NVMe's warning and wear, SCSI's verdict."""
    assert drives("".join(f"\x1d{one}" for one in (ATA, NVME, SCSI, "sdd\nDevice is in STANDBY mode\n"))) == (
        Drive("sda", "", ("8 reallocated sectors",)),
        Drive("nvme0n1", "FAILED!", ("97 % of its life used",)),
        Drive("sdc"),
        Drive("sdd"),
    )


def pem(name: str, ends: datetime) -> str:
    key = generate_private_key(SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(ends - timedelta(days=90)).not_valid_after(ends)
    return made.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


def test_certificates() -> None:
    """Of a chain the first to end; a key's own file is passed over, and what cannot be read is told."""
    soon, late = datetime(2026, 12, 1, tzinfo=timezone.utc), datetime(2030, 1, 1, tzinfo=timezone.utc)
    text = f"\x1d/a.pem\n{pem('late', late)}{pem('soon', soon)}\x1d/key.pem\n\x1d/bad.pem\n-----BEGIN CERTIFICATE-----\nx\n"
    assert certificates(text) == (
        Certificate("/a.pem", "soon", int(soon.timestamp())),
        Certificate("/bad.pem", problem="it is no certificate that can be read"),
    )


def test_rabbitmq() -> None:
    """Alarms, partitions, nodes that are missing, the fullest queues; no answer is a trouble of its own."""
    status = {
        "alarms": [{"node": "rabbit@c1", "resource": "disk", "type": "resource_limit"}],
        "disk_nodes": ["rabbit@c1", "rabbit@c2"],
        "ram_nodes": [],
        "running_nodes": ["rabbit@c1"],
        "partitions": {"rabbit@c1": ["rabbit@c2"]},
    }
    queues = [{"name": "q", "messages": 5, "consumers": 1}, {"name": "notifications.info", "messages": 90, "consumers": 0}]
    assert rabbit(json.dumps(status), json.dumps(queues)) == Rabbit(
        "",
        ("disk on rabbit@c1",),
        ("rabbit@c1 does not see rabbit@c2",),
        ("rabbit@c2",),
        (Queue("notifications.info", 90, 0), Queue("q", 5, 1)),
    )
    assert rabbit("", "").problem


def test_keys_of_keystone() -> None:
    """Rotated when the youngest was made; exposed where one can be read by others."""
    text = "600 100 /etc/keystone/fernet-keys/0\n600 50 /etc/keystone/fernet-keys/1\n640 9 /etc/keystone/credential-keys/0\n"
    assert key_folders(text) == (
        Keys("/etc/keystone/fernet-keys", 2, 100, exposed=False),
        Keys("/etc/keystone/credential-keys", 1, 9, exposed=True),
    )


def test_backups() -> None:
    """A file, a folder with what is in it, none."""
    text = "\x1ddb\n3\n1700 regular file|500 /b/a b.gz\n\x1drings\n1\n1800 directory|4096 /r/1\n9000\n\x1dnone\n0\n\n"
    assert backups(text) == (
        BackupSeen("db", 1700, 500, 3, "/b/a b.gz"),
        BackupSeen("rings", 1800, 9000, 1, "/r/1"),
        BackupSeen("none"),
    )


def test_namespaces_and_ports() -> None:
    """Who is in it, by the number of its inode; a name that is a plain file is broken."""
    text = "nsfs 4026532 2 qrouter-1\nnsfs 4026533 0 qdhcp-1\ntmpfs 77 0 old\n"
    assert namespaces(text, "   100 4026531\n     3 4026532\n") == (
        Namespace("qrouter-1", 2, 3),
        Namespace("qdhcp-1", 0, 0),
        Namespace("old", 0, 0, broken=True),
    )
    assert zombie_ports('tap1,"could not open network device tap1 (No such device)"\n') == ("tap1",)


def test_the_clock_by_one_round_trip() -> None:
    """A script that took two seconds says as much of the clock as one that took none."""
    assert clock_offset(100.0, 103.0, 105.2, 107.8) == (5.0, 0.2)
    assert clock_offset(100.0, 100.2, 100.1, 100.1) == (0.0, 0.1)


def test_a_node_where_nothing_is_installed() -> None:
    """Sections that a node has nothing for are empty; what hung is named."""
    seen = condition("\x1ebegin\n100.0\n\x1eclock\nservice the host\n\x1eend\n100.5\n", "hung df\n", 100.0, 100.5)
    assert (seen.now, seen.hung, seen.rabbit, seen.updates, seen.synchronised) == (100.5, ("df",), None, None, True)
