"""The scripts that go to a node: they parse, and what stands in them arrives as it was meant."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nornir_stack import undo
from nornir_stack.command import command
from nornir_stack.confirmed import File, _written
from nornir_stack.secret import Secret
from nornir_stack.undo_live import LIVE

WORDS = st.text(alphabet=st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)


@settings(max_examples=25, deadline=None)
@given(st.lists(WORDS, max_size=3), st.binary(max_size=200))
def test_words_and_stdin_arrive(words: list[str], stdin: bytes) -> None:
    """Each step gets its very words and bytes, whatever they hold, and the next one runs after it."""
    show = command("sh", "-c", r'for w; do printf "%s\0" "$w"; done; cat', "sh", *words, stdin=stdin)
    text = undo.script([show, command("printf", "%s", "end")])
    done = subprocess.run(["sh", "-e"], input=text.encode(), capture_output=True, check=True)
    assert done.stdout == b"".join(word.encode() + b"\0" for word in words) + stdin + b"end"


@settings(max_examples=10, deadline=None)
@given(WORDS, st.lists(WORDS.map(lambda word: f"/{word}".replace("\n", "")), max_size=3))
def test_every_script_parses(about: str, paths: list[str]) -> None:
    """Whatever the change is called and whatever files it has."""
    change = undo.Change([command("ip", "link", "set", about, "up")], paths, [command("true")], 5, about)
    for script in (undo.arm(change), undo.CONFIRM, undo.LOOK, undo.TIDY, LIVE):
        done = subprocess.run(["sh", "-n"], input=script.encode(), capture_output=True, check=False)
        assert done.stderr == b""


def test_a_step_that_fails_ends_the_script() -> None:
    """So that what depends on it is not done on a network that it did not make; also where its stdin comes by a pipe."""
    for stdin in (None, "x"):
        text = undo.script([command("sh", "-c", "cat >/dev/null; exit 3", stdin=stdin), command("echo", "on")])
        done = subprocess.run(["sh", "-e"], input=text.encode(), capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (3, b"")


@pytest.mark.parametrize("content", ["", "plain\n", b"\x00\xff" * 40_000, Secret(literal="s3cret of today")])
def test_a_file_that_is_a_step_is_written_whole(content: str | bytes | Secret, tmp_path: Path) -> None:
    """With the mode and the owner that it has, where the step names none; its name is all that is shown of it."""
    path = tmp_path / "10-lan.network"
    path.write_text("old")
    path.chmod(0o640)
    step = _written(File(str(path), content))
    subprocess.run(["sh", "-e"], input=undo.script([step]).encode(), check=True)
    wanted = content.reveal() if isinstance(content, Secret) else content
    assert path.read_bytes() == (wanted if isinstance(wanted, bytes) else wanted.encode())
    assert path.stat().st_mode & 0o777 == 0o640
    assert (step.line, "s3cret" in repr(step)) == (f"write {path}", False)


LINKS = Path(__file__).parents[1] / "cases/networking/ip-d-o-link.txt"


def test_what_makes_a_device_again() -> None:
    """Bridges, VLANs and bonds by their words; not the end of a pair elsewhere, nor one whose ports' VLANs would be lost."""
    text = f"{LIVE}\nip() {{ cat; }}\ndevices"
    done = subprocess.run(["sh", "-c", text], input=LINKS.read_text(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "br0 name br0 address 02:00:00:00:00:01 type bridge forward_delay 200 stp_state 1 priority 32768 mcast_snooping 0",
        "bo name bo address 02:00:00:00:00:03 type bond mode 802.3ad miimon 100 xmit_hash_policy layer3+4 lacp_rate fast",
        "bo.5 link bo name bo.5 address 02:00:00:00:00:03 type vlan protocol 802.1Q id 5",
    ]


def test_tables_that_a_process_owns_are_left_alone() -> None:
    """Nobody else may change them, and one try would make the whole restoration fail: neither restored nor compared."""
    tables = r"""
    nft() {
        case "$*" in
            "list tables") printf 'table inet mine\ntable inet firewalld\n' ;;
            *firewalld) printf 'table inet firewalld { # progname firewalld\n\tflags owner,persist\n}\n' ;;
            *mine) printf 'table inet mine {\n\tchain c {\n\t}\n}\n' ;;
        esac
    }
    iptables() { :; }
    """
    script = f"{LIVE}\n{tables}\ntables; own_tables /nowhere"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[:2] == ["inet mine", "table inet mine {"]
    assert "firewalld" not in done.stdout


def namespaces() -> bool:
    """Whether a network namespace with a bridge can be made here."""
    made = "ip link add br0 type bridge && ip link add v1 type veth peer name v2"
    return subprocess.run(["unshare", "-n", "sh", "-c", made], capture_output=True, check=False).returncode == 0


MORE_TRIAL = r"""
mount -t sysfs none /sys
D=$1
ip link set lo up
ip link add v1 type veth peer name v2
ip link set v1 up addrgenmode none; ip link set v2 up addrgenmode none
ip address add 10.0.0.1/24 dev v1
ip rule add from 10.0.0.1 table 100 priority 500
nft add table inet mine
live_save "$D/live"
ip address add 10.0.1.1/24 dev v1
ip route add 10.9.0.0/16 via 10.0.0.9
ip rule add from 10.0.0.2 table 100 priority 501
nft add chain inet mine drops
eval "$2"
live_restore "$D/live" 2 >/dev/null 2>&1
cat "$D/live.left"
"""


@pytest.mark.parametrize(
    ("broken", "left"),
    [
        ("", []),
        (
            'ip() { case "$*" in *delete*) false ;; *) command ip "$@" ;; esac; }',
            [
                "not there before, addresses: v1 inet 10.0.1.1/24 scope global v1",
                "not there before, routes-4: 10.0.1.0/24 dev v1 proto kernel scope link src 10.0.1.1",
                "not there before, routes-4: 10.9.0.0/16 via 10.0.0.9 dev v1",
                "not there before, rules-4: 501 from 10.0.0.2 lookup 100",
            ],
        ),
        (
            'nft() { case "$*" in "-f -") false ;; *) command nft "$@" ;; esac; }',
            ["nft did not take its former tables", "not there before, filter: chain drops {"],
        ),
    ],
)
@pytest.mark.skipif(not namespaces(), reason="no network namespace with a bridge can be made here")
def test_what_could_not_be_taken_away_is_left(tmp_path: Path, broken: str, left: list[str]) -> None:
    """Addresses, routes, rules and filters that a change added, where the node could not delete them."""
    words = ["unshare", "-n", "-m", "sh", "-c", f"{LIVE}\n{MORE_TRIAL}", "sh", str(tmp_path), broken]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == left


LIVE_TRIAL = r"""
mount -t sysfs none /sys
D=$1
ip link set lo up
ip link add br0 address 02:00:00:00:00:01 type bridge forward_delay 200
ip link add v1 type veth peer name v2
ip link set v1 master br0 up; ip link set v2 up; ip link set br0 up
ip address add 10.0.0.1/24 dev br0
ip route add 10.9.0.0/16 via 10.0.0.9
live_save "$D/live"
ip link delete br0; ip link delete v1
[ "$2" = whole ] || sed -i -e '/^br0/d' "$D/live/devices"
restore_devices "$D/live" >/dev/null
live_restore "$D/live" 2 >/dev/null 2>&1
cat "$D/live.left"
"""


@pytest.mark.skipif(not namespaces(), reason="no network namespace with a bridge can be made here")
@pytest.mark.parametrize("kept", ["whole", "part"])
def test_devices_that_were_deleted_come_back(tmp_path: Path, kept: str) -> None:
    """A bridge and a pair of veth with ports, addresses and routes; what cannot be made again is written down as left."""
    words = ["unshare", "-n", "-m", "sh", "-c", f"{LIVE}\n{LIVE_TRIAL}", "sh", str(tmp_path), kept]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    if kept == "whole":
        assert done.stdout == ""
    else:
        assert "not as before, links: br0 1 1500 -" in done.stdout
        assert "not as before, routes-4: 10.9.0.0/16 via 10.0.0.9" in done.stdout
