"""Files and settings as texts: keys, hosts, repositories, templates, kernel settings."""

from __future__ import annotations

import pytest

from nornir_stack.errors import Refused, UsageError
from nornir_stack.secret import Secret
from nornir_stack.tasks.system.access import merged
from nornir_stack.tasks.system.kernel import parse, path_of, refuse
from nornir_stack.tasks.system.names import BEGIN, END, checked, edited, from_inventory, renamed
from nornir_stack.tasks.system.repositories import deb822, mirrored, mirrored_yum, yum
from nornir_stack.tasks.system.selinux import type_of
from nornir_stack.tasks.system.templates import render
from nornir_stack.tasks.system.unattended import blacklist, excludes, no_restart
from tests.unit.fleets import fleet

ONE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7Rk3bKZ0qgYkWwC1r3K3x0b8c5m2nq9p0QwErTyUiO"
TWO = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7"


def test_keys_are_told_apart_by_the_key_alone() -> None:
    """Options and comment follow what is wanted; other lines stay; applied twice it is the same."""
    lines = ["# mine", f'from="10.0.0.1" {ONE} old', "", f"{TWO} else", f"{ONE} twice"]
    once = merged(lines, [f"{ONE} new"], exclusive=False)
    assert once == ["# mine", f"{ONE} new", "", f"{TWO} else"]
    assert merged(once, [f"{ONE} new"], exclusive=False) == once
    assert merged(lines, [f"{ONE} new"], exclusive=True) == ["# mine", f"{ONE} new", ""]


@pytest.mark.parametrize("key", ["", "hello", "ssh-rsa short", f"{ONE} a\n{TWO} b", "-----BEGIN OPENSSH PRIVATE KEY-----"])
def test_what_is_no_public_key(key: str) -> None:
    """It is refused, a private key too."""
    with pytest.raises(UsageError, match="no public key"):
        merged([], [key], exclusive=False)


def test_the_hosts_file() -> None:
    """Our block is replaced where it stands, the rest is kept, and applied twice it is the same."""
    before = ["127.0.0.1 localhost", "127.0.1.1\tdb1.lan db1", BEGIN, "10.0.0.9 gone", END, "", "192.0.2.1 printer # x"]
    once = edited(before, {"10.0.0.1": ["db1", "dbcluster1"]})
    block = [BEGIN, "10.0.0.1 db1 dbcluster1", END]
    assert once == ["127.0.0.1 localhost", "127.0.1.1\tdb1.lan", *block, "", "192.0.2.1 printer # x"]
    assert edited(once, {"10.0.0.1": ["db1", "dbcluster1"]}) == once
    assert edited(once, {}) == ["127.0.0.1 localhost", "127.0.1.1\tdb1.lan", "", "192.0.2.1 printer # x"]


def test_a_block_without_its_end() -> None:
    """Someone cut the end mark off: the block is what stands up to the next blank line."""
    assert edited([BEGIN, "10.0.0.9 gone", "", "192.0.2.1 kept"], {}) == ["", "192.0.2.1 kept"]


def test_a_line_of_others_for_our_name() -> None:
    """With another address it is refused, with the same or one of the other kind it is left."""
    with pytest.raises(Refused, match=r"db1: /etc/hosts has `10\.0\.0\.9 db2`, and db2 is to be 10\.0\.0\.2"):
        edited(["10.0.0.9 db2"], {"10.0.0.2": ["db2"]}, "db1")
    assert edited(["10.0.0.2 db2", "fd00::2 db2"], {"10.0.0.2": ["db2"]})[:2] == ["10.0.0.2 db2", "fd00::2 db2"]


def test_entries_of_the_inventory() -> None:
    """Hosts whose hostname is an address, and what the settings add; loopbacks and names are left out."""
    nr = fleet({"db": ["db1", "db2", "here"]})
    nr.inventory.hosts["db1"].hostname = "10.0.0.1"
    nr.inventory.hosts["here"].hostname = "127.0.0.1"
    assert from_inventory(nr.inventory.hosts.values(), {"10.0.0.100": ("dbcluster1",)}) == {
        "10.0.0.1": ("db1",),
        "10.0.0.100": ("dbcluster1",),
    }


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"10.0.0": ["a"]}, "no address"),
        ({"10.0.0.1": ["a_b"]}, "no host name"),
        ({"10.0.0.1": ["a"], "10.0.0.2": ["a"]}, "a is to have two addresses"),
    ],
)
def test_entries_that_make_no_sense(entries: dict[str, list[str]], said: str) -> None:
    """They are refused in a sentence."""
    with pytest.raises(UsageError, match=said):
        checked(entries)


def test_the_own_line_follows_a_new_name() -> None:
    """Debian's 127.0.1.1 carries the new name, other names of it stay, and other lines are not touched."""
    lines = ["127.0.0.1 localhost", "127.0.1.1 old.lan old extra", "10.0.0.3 old"]
    once = renamed(lines, "old", "new.lan")
    assert once == ["127.0.0.1 localhost", "127.0.1.1\tnew.lan new old.lan extra", "10.0.0.3 old"]
    assert renamed(once, "new.lan", "new.lan") == once


def test_repositories() -> None:
    """apt's and dnf's forms, each with its own key."""
    assert deb822("http://m/deb", "bookworm", ["main", "extra"], "/k.asc").splitlines()[1:] == [
        "Types: deb",
        "URIs: http://m/deb",
        "Suites: bookworm",
        "Components: main extra",
        "Signed-By: /k.asc",
    ]
    assert "Components" not in deb822("http://m/deb", "./", ["main"], "/k.asc")
    assert "gpgcheck=1\ngpgkey=file:///k.asc\npriority=10\n" in yum("x", "http://m/rpm", "/k.asc", preferred=True)


def test_a_mirror() -> None:
    """Addresses are replaced whole, comments stay, and dnf's mirror lists go where the baseurl is ours."""
    to = {"http://deb.debian.org/debian": "http://m/d/"}
    assert mirrored("deb http://deb.debian.org/debian bookworm main", to) == "deb http://m/d bookworm main"
    assert mirrored("URIs: http://deb.debian.org/debian/", to) == "URIs: http://m/d/"
    other = "URIs: http://deb.debian.org/debian-security"
    assert mirrored(other, to) == other
    lines = ["[base]", "mirrorlist=https://mirrors/x", "#baseurl=http://dl.rocky/$r/os", "[more]", "mirrorlist=https://y"]
    once = mirrored_yum(lines, {"http://dl.rocky": "http://m/rocky"})
    assert once == ["[base]", "#mirrorlist=https://mirrors/x", "baseurl=http://m/rocky/$r/os", *lines[3:]]
    assert mirrored_yum(once, {"http://dl.rocky": "http://m/rocky"}) == once


def test_upgrades_kept_away() -> None:
    """Names are regular expressions there: what is special in them is escaped."""
    assert '    "galera-4";\n    "lib\\.x";\n' in blacklist(["galera-4", "lib.x"])
    assert "{qr(^mariadb(@.*)?\\.service$)} = 0;" in no_restart(["mariadb"])


@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"),
        ("net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"),
    ],
)
def test_paths_of_kernel_settings(key: str, path: str) -> None:
    """As sysctl(8) reads them: the first separator says which of the two it is."""
    assert path_of(key) == path


@pytest.mark.parametrize("key", ["ip_forward", "../etc/passwd", "net..x", "/net/ipv4", "net.ipv4.a b"])
def test_what_is_no_kernel_setting(key: str) -> None:
    """Nothing outside of /proc/sys can be named."""
    with pytest.raises(UsageError, match="no kernel setting"):
        path_of(key)


def test_kernel_settings_that_would_not_last() -> None:
    """A file that is read after ours and says otherwise is named; one before ours, or that agrees, does not matter."""
    text = (
        "value net/ipv4/ip_forward 0\nvalue net/ipv4/tcp_rmem 4096  131072  6291456\n"
        "file /etc/sysctl.d/10-x.conf:net.ipv4.tcp_rmem=1 2 3\n"
        "file /etc/sysctl.conf:net.ipv4.ip_forward = 0\n"
    )
    now, later = parse(text, "/etc/sysctl.d/90-nornir-stack-x.conf")
    assert now == {"net/ipv4/ip_forward": "0", "net/ipv4/tcp_rmem": "4096 131072 6291456"}
    assert later == {"net/ipv4/ip_forward": ("/etc/sysctl.conf", "0")}
    refuse({"net/ipv4/ip_forward": "0", "net/ipv4/tcp_rmem": "1 2 3"}, now, later, "db1")
    with pytest.raises(Refused, match=r"/etc/sysctl.conf sets net/ipv4/ip_forward to 0 and is read after ours"):
        refuse({"net/ipv4/ip_forward": "1"}, now, later, "db1")
    with pytest.raises(Refused, match="has no setting net/x/y"):
        refuse({"net/x/y": "1"}, now, later, "db1")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\n{{ port }}\n", "t.j2:2: 'port' is undefined"),
        ("a\n\n{% if x %}\n", "t.j2:3: Unexpected end of template"),
        ("{{ x.y }}", "t.j2:1: 'int object' has no attribute 'y'"),
        ("a\n{{ 1 / (x - 1) }}", "t.j2:2: division by zero"),
    ],
)
def test_templates_that_fail(text: str, said: str) -> None:
    """The sentence names the template, the line and what is wrong."""
    with pytest.raises(UsageError, match="^" + said.replace("(", r"\(")):
        render("t.j2", text, {"x": 1})


def test_templates() -> None:
    """Blocks leave no blank lines, the last line ends, secrets are written as they are."""
    text = "{% for n in names %}\n  {{ n }}\n{% endfor %}\npw={{ pw }}\n"
    assert render("t", text, {"names": ["a", "b"], "pw": Secret(literal="opensesame")}) == "  a\n  b\npw=opensesame\n"


def test_file_contexts() -> None:
    """The type of our pattern in the local policy; other patterns are not taken for it."""
    listed = "/data/mysql2(/.*)?   all files   system_u:object_r:etc_t:s0\n"
    listed += "/data/mysql(/.*)?  all files  system_u:object_r:mysqld_db_t:s0\n"
    assert type_of(listed, "/data/mysql(/.*)?") == "mysqld_db_t"
    assert not type_of(listed, "/data(/.*)?")


def test_the_excludes_of_dnf_automatic() -> None:
    """Ours come after those that stand there, with blanks or commas between them, and a second time nothing is added."""
    once = excludes("kernel*, mariadb*", ("mariadb", "galera"))
    assert once == "kernel* mariadb* galera*"
    assert excludes(once, ("mariadb", "galera")) == once
