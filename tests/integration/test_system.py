"""The tasks of the base system on a real Debian node: each in a dry run first, then for real, then again."""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.chain import Chain, Stage, do
from nornir_stack.command import sh
from nornir_stack.connections import shell_of
from nornir_stack.results import Report, Status
from nornir_stack.secret import Secret
from nornir_stack.select import everyone
from nornir_stack.tasks.system.access import authorized_keys
from nornir_stack.tasks.system.clock import clock
from nornir_stack.tasks.system.facts import facts
from nornir_stack.tasks.system.kernel import sysctl
from nornir_stack.tasks.system.names import hostname, hosts_file
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.repositories import no_repository, pin, proxy, repository
from nornir_stack.tasks.system.selinux import file_context, selinux_mode
from nornir_stack.tasks.system.services import reload, restart, service, unit_state
from nornir_stack.tasks.system.templates import template
from nornir_stack.tasks.system.unattended import BLACKLIST, hands_off
from tests.integration.conftest import nornir

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core import Nornir

    from nornir_stack.command import Command, Output

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ7Rk3bKZ0qgYkWwC1r3K3x0b8c5m2nq9p0QwErTyUiO"
# Whatever is written shows in a change time; contents and what runs beside it.
DRIFT = (
    r"{ find /etc /root /home /usr /var/lib/dpkg /var/lib/nornir-stack /var/lib/systemd -xdev ! -path '/var/lib/systemd/[rt]*'"
    r" -printf '%p %l %m %u %s %C@\n'; find /etc -type f -exec cat {} +; } 2>/dev/null | sha256sum;"
    r"cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/hostname; systemctl list-units --plain --no-legend '*.service' | sort"
)
# A package that does nothing but bring a service, as Debian's packages do: enabled and started by its postinst.
PACKAGE = r"""
set -e
mkdir -p /tmp/p/DEBIAN /tmp/p/lib/systemd/system
cat >/tmp/p/DEBIAN/control <<END
Package: stack-sleeper
Version: 1.0
Architecture: all
Maintainer: nobody <nobody@example.invalid>
Description: a service for tests
END
cat >/tmp/p/lib/systemd/system/stack-sleeper.service <<END
[Service]
ExecStartPre=/bin/sh -c 'echo started >>/root/sleeper.log'
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
END
cat >/tmp/p/DEBIAN/postinst <<'END'
#!/bin/sh
set -e
if [ -p /root/hold-up ]; then cat /root/hold-up; fi
if [ -e /root/die ]; then kill -9 $$; fi
deb-systemd-helper unmask stack-sleeper.service >/dev/null
if deb-systemd-helper --quiet was-enabled stack-sleeper.service; then deb-systemd-helper enable stack-sleeper.service; fi
systemctl daemon-reload
deb-systemd-invoke start stack-sleeper.service
END
chmod 755 /tmp/p/DEBIAN/postinst
mkdir -p /srv/repo
dpkg-deb --root-owner-group -b /tmp/p /srv/repo/stack-sleeper_1.0_all.deb >/dev/null
rm -rf /tmp/p
cd /srv/repo
deb=./stack-sleeper_1.0_all.deb
{ dpkg-deb -f $deb; echo "Filename: $deb"
  echo "Size: $(stat -c %s $deb)"; echo "SHA256: $(sha256sum $deb | cut -d' ' -f1)"; } >Packages
echo 'deb [trusted=yes] file:/srv/repo ./' >/etc/apt/sources.list.d/stack-test.list
"""


@pytest.fixture(scope="module")
def nr(boot: Callable[..., Any]) -> Nornir:
    lab = boot("node1")
    nr = nornir(lab, {"system": ["node1"]})
    on_node(nr, PACKAGE)
    return nr


@pytest.fixture
def bare(nr: Nornir) -> Nornir:
    """socat, which the tests take for a small package, is not installed: others bring it along."""
    on_node(nr, "apt-mark unhold socat; dpkg --purge --force-all socat")
    return nr


@pytest.fixture
def sleeper(bare: Nornir) -> Nornir:
    """The package of the tests is not installed, and has left nothing."""
    nr = bare
    on_node(
        nr,
        "systemctl unmask stack-sleeper 2>/dev/null; systemctl stop stack-sleeper 2>/dev/null;"
        "dpkg --purge --force-all stack-sleeper;"
        "rm -rf /root/hold-up /root/die /root/sleeper.log /usr/sbin/policy-rc.d /var/lib/nornir-stack/no-start"
        " /etc/systemd/system/*/stack-sleeper* $(find /var/lib/systemd/deb-systemd-helper* -name 'stack-sleeper*');"
        "systemctl daemon-reload",
    )
    return nr


def on_node(nr: Nornir, script: str, *values: str) -> str:
    """What a script prints on the node, beside any task."""
    return shell_of(nr.inventory.hosts["node1"], nr.config).run(sh(script, *values), timeout=120).require().text


def run(nr: Nornir, function: Callable[..., Any], *, dry_run: bool = False, **arguments: Any) -> Report:
    return Chain("test", Stage("it", [do(function, **arguments)], everyone)).run(nr, dry_run=dry_run)


def status(report: Report) -> Status:
    return report.hosts["node1"]


def error(report: Report) -> str:
    return report.stages[-1].hosts[0].error


def converges(nr: Nornir, function: Callable[..., Any], *, drift: str = DRIFT, **arguments: Any) -> Report:
    """A dry run says that it would change something and changes nothing; the first run changes, the second does not."""
    before = on_node(nr, drift)
    dry = run(nr, function, dry_run=True, **arguments)
    assert on_node(nr, drift) == before
    assert dry.exit_code == 3, error(dry)
    first = run(nr, function, **arguments)
    assert status(first) is Status.CHANGED, error(first)
    after = on_node(nr, drift)
    again = run(nr, function, **arguments)
    assert status(again) is Status.OK, again.changed
    assert on_node(nr, drift) == after
    assert run(nr, function, dry_run=True, **arguments).exit_code == 0
    return first


def test_facts(nr: Nornir) -> None:
    """Facts of a container: its own name and address, its family, and that it is one."""
    seen = run(nr, facts).value(facts, "node1")
    assert (seen.os, seen.family, seen.hostname, seen.init) == ("debian", "debian", "node1", "systemd")
    assert seen.virtualization == "systemd-nspawn"
    assert any(address.startswith("10.77.") for many in seen.addresses.values() for address in many)
    root = seen.mount_of("/etc/fstab")
    assert root is not None
    assert root.target == "/"
    assert root.free > 0
    assert len(seen.boot_id) == 36


def test_packages_come_and_go(bare: Nornir) -> None:
    """A package is installed from the mirror, held, released and removed; each only once."""
    nr = bare
    installed = converges(nr, packages, present=["socat"], held=["socat"])
    assert re.match(r"\d", installed.value(packages, "node1")["socat"])
    assert on_node(nr, "apt-mark showhold") == "socat"
    converges(nr, packages, released=["socat"])
    converges(nr, packages, absent=["socat"])


def test_nothing_to_do_is_one_round_trip(nr: Nornir, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a warm connection a package that is there costs one command."""
    run(nr, packages, present=["bash"])
    shell = shell_of(nr.inventory.hosts["node1"], nr.config)
    commands: list[str] = []
    send = shell.run

    def counted(command: Command, **how: Any) -> Output:
        commands.append(command.line)
        return send(command, **how)

    monkeypatch.setattr(shell, "run", counted)
    nr.run(task=packages, present=["bash"])
    assert len(commands) == 1


def test_a_package_that_does_not_exist(bare: Nornir) -> None:
    """It is said in one sentence, and the other packages are not installed either."""
    nr = bare
    report = run(nr, packages, present=["no-such-thing", "socat"])
    assert status(report) is Status.FAILED
    assert "node1: no package no-such-thing in the node's sources" in error(report)
    assert on_node(nr, "dpkg-query -W -f '${db:Status-Abbrev}' socat 2>/dev/null || true").strip() in {"", "un", "rc"}


def test_a_busy_dpkg_is_waited_for(sleeper: Nornir) -> None:
    """While another dpkg works the task waits, and then does its own work."""
    nr = sleeper
    on_node(nr, "mkfifo /root/hold-up; dpkg -i /srv/repo/stack-sleeper_1.0_all.deb >/root/dpkg.log 2>&1 & sleep 0; exit 0")
    on_node(nr, "until pgrep -f '[s]tack-sleeper.postinst' >/dev/null; do sleep 0.1; done")
    found: list[Report] = []
    waiting = threading.Thread(target=lambda: found.append(run(nr, packages, present=["socat"])))
    waiting.start()
    other = nornir_beside(nr)
    on_node(other, "until pgrep -x sleep >/dev/null; do sleep 0.1; done")
    assert waiting.is_alive()
    on_node(other, "echo on >/root/hold-up; rm -f /root/hold-up")
    waiting.join(60)
    assert status(found[0]) is Status.CHANGED, error(found[0])
    other.close_connections()
    run(nr, packages, absent=["socat"])


def nornir_beside(nr: Nornir) -> Nornir:
    """The same node by another connection."""
    host = nr.inventory.hosts["node1"]
    from nornir.core.inventory import Host, Hosts, Inventory  # noqa: PLC0415  only here

    twin = Host("node1", hostname=host.hostname, username=host.username, connection_options=host.connection_options)
    return nr.__class__(
        Inventory(Hosts({"node1": twin}), nr.inventory.groups, nr.inventory.defaults), nr.config, runner=nr.runner
    )


def test_installed_without_a_start(sleeper: Nornir) -> None:
    """With no_start the service never ran, no boot starts it, and the node's own policy-rc.d is as it was."""
    nr = sleeper
    on_node(nr, "printf '#!/bin/sh\\nexit 0\\n' >/usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d")
    converges(nr, packages, present=["stack-sleeper"], no_start=True)
    assert on_node(nr, "cat /root/sleeper.log 2>/dev/null; systemctl is-enabled stack-sleeper; :") == "disabled"
    assert on_node(nr, "cat /usr/sbin/policy-rc.d; rm /usr/sbin/policy-rc.d; ls -A /var/lib/nornir-stack 2>/dev/null; :") == (
        "#!/bin/sh\nexit 0"
    )


def test_a_database_server_without_a_start(nr: Nornir) -> None:
    """Debian's mariadb-server, installed for a cluster: it never ran, and its unit is disabled; what it needs is there."""
    report = run(nr, packages, present=["mariadb-server", "galera-4"], no_start=True)
    assert status(report) is Status.CHANGED, error(report)
    seen = run(nr, unit_state, unit="mariadb.service").value(unit_state, "node1")
    assert (seen.running, seen.enabled, seen.since) == (False, False, 0)
    assert "rsync" in on_node(nr, "dpkg-query -W rsync")
    run(nr, packages, absent=["mariadb-server", "galera-4"])


def test_without_no_start_debian_starts_it(sleeper: Nornir) -> None:
    """The package of these tests does start by itself where nobody forbids it: so the test above proves something."""
    run(sleeper, packages, present=["stack-sleeper"])
    assert on_node(sleeper, "cat /root/sleeper.log; systemctl is-enabled stack-sleeper") == "started\nenabled"


def test_an_installation_that_was_cut_is_finished_without_a_start(sleeper: Nornir) -> None:
    """After a dpkg that died half way any later transaction recovers it, still under the guard of the first."""
    nr = sleeper
    on_node(nr, "touch /root/die")
    cut = run(nr, packages, present=["stack-sleeper"], no_start=True)
    assert status(cut) is Status.FAILED
    assert on_node(nr, "ls /usr/sbin/policy-rc.d 2>/dev/null; :") == ""
    on_node(nr, "rm /root/die")
    later = run(nr, packages, present=["socat"])
    assert status(later) is Status.CHANGED, error(later)
    assert on_node(nr, "cat /root/sleeper.log 2>/dev/null; systemctl is-enabled stack-sleeper; dpkg --audit; :") == "disabled"
    assert on_node(nr, "ls -A /var/lib/nornir-stack /usr/sbin/policy-rc.d 2>/dev/null; :") in {"", "/var/lib/nornir-stack:"}
    run(nr, packages, absent=["socat"])


def test_nothing_goes_that_was_not_named(nr: Nornir) -> None:
    """Removing what others need is refused, with their names."""
    report = run(nr, packages, absent=["openssh-client"])
    assert status(report) is Status.FAILED
    assert "would also remove" in error(report)
    assert "openssh-server" in error(report)


def test_the_life_of_a_service(sleeper: Nornir) -> None:
    """Enabled and started, restarted when asked, stopped, masked; a masked one is not started by accident."""
    nr = sleeper
    run(nr, packages, present=["stack-sleeper"], no_start=True)
    up = converges(nr, service, unit="stack-sleeper.service", state="started", enabled=True).value(service, "node1")
    assert (up.running, up.enabled, up.pid > 1) == (True, True, True)
    again = run(nr, restart, unit="stack-sleeper.service").value(restart, "node1")
    assert again.since > up.since
    assert "restart it instead" in error(run(nr, reload, unit="stack-sleeper.service"))
    converges(nr, service, unit="stack-sleeper.service", state="stopped", enabled=False)
    converges(nr, service, unit="stack-sleeper.service", masked=True)
    refused = run(nr, service, unit="stack-sleeper.service", state="started")
    assert "is masked" in error(refused)
    converges(nr, service, unit="stack-sleeper.service", masked=False, state="started")


def test_a_service_that_dies_says_why(nr: Nornir) -> None:
    """The error holds the unit's status and the end of its journal, with secrets masked."""
    word = Secret(literal="hunter2-hunter2")
    script = "echo the password is hunter2-hunter2; exit 7"
    word.reveal()
    on_node(
        nr,
        'printf \'[Service]\\nExecStart=/bin/sh -c "%s"\\n\' "$1" >/run/systemd/system/dies.service;systemctl daemon-reload',
        script,
    )
    report = run(nr, service, unit="dies.service", state="started")
    assert status(report) is Status.FAILED
    assert "status=7" in error(report)
    assert "the password is ********" in error(report)
    assert "hunter2" not in report.to_json()


def test_an_unknown_unit(nr: Nornir) -> None:
    """It is refused in a run; in a dry run it would be started, since an earlier task may be about to install it."""
    assert "systemd knows no unit nope.service" in error(run(nr, service, unit="nope.service", state="started"))
    assert status(run(nr, service, unit="nope.service", state="started", dry_run=True)) is Status.CHANGED
    assert not run(nr, unit_state, unit="nope.service").value(unit_state, "node1").known


def test_names(nr: Nornir) -> None:
    """The hosts file carries a block of ours; the rest stays; the host's own name no longer is the loopback."""
    on_node(nr, "printf '127.0.0.1 localhost\\n127.0.1.1 node1\\n# mine\\n' >/etc/hosts")
    converges(nr, hosts_file, entries={"10.77.9.9": ["node1", "dbcluster1"]})
    assert on_node(nr, "cat /etc/hosts") == (
        "127.0.0.1 localhost\n# mine\n# BEGIN nornir-stack: names of the inventory\n"
        "10.77.9.9 node1 dbcluster1\n# END nornir-stack"
    )
    assert "10.77.9.9" in on_node(nr, "getent hosts dbcluster1")
    converges(nr, hosts_file)
    assert "dbcluster1" not in on_node(nr, "cat /etc/hosts")
    converges(nr, hostname, to="other1")
    assert on_node(nr, "cat /etc/hostname; uname -n") == "other1\nother1"
    run(nr, hostname, to="node1")


def test_kernel_settings(nr: Nornir) -> None:
    """They hold now and stand in a file of ours; a key that the kernel lacks touches nothing."""
    on_node(nr, "echo 0 >/proc/sys/net/ipv4/ip_forward; rm -f /etc/sysctl.d/90-nornir-stack*")
    converges(nr, sysctl, values={"net.ipv4.ip_forward": 1, "net.ipv4.tcp_rmem": "4096 131072 6000000"})
    assert on_node(nr, "cat /proc/sys/net/ipv4/ip_forward") == "1"
    before = on_node(nr, DRIFT)
    report = run(nr, sysctl, values={"net.ipv4.no_such_key": 1, "net.ipv4.ip_forward": 0})
    assert "has no setting net/ipv4/no_such_key" in error(report)
    assert on_node(nr, DRIFT) == before


def test_authorized_keys(nr: Nornir) -> None:
    """A key is added with the right modes; another stays unless the list is exclusive."""
    on_node(nr, "id kim 2>/dev/null || useradd -m kim; rm -rf /home/kim/.ssh")
    converges(nr, authorized_keys, user="kim", keys=[f"{KEY} one", f"{KEY[:-1]}P two"])
    assert on_node(nr, "stat -c '%a %U' /home/kim/.ssh /home/kim/.ssh/authorized_keys") == "700 kim\n600 kim"
    kept = converges(nr, authorized_keys, user="kim", keys=[f"{KEY} renamed"]).value(authorized_keys, "node1")
    assert kept == (f"{KEY} renamed", f"{KEY[:-1]}P two")
    converges(nr, authorized_keys, user="kim", keys=[f"{KEY} renamed"], exclusive=True)
    assert "there is no user nobody-here" in error(run(nr, authorized_keys, user="nobody-here", keys=[KEY]))


def test_repositories_and_what_goes_with_them(nr: Nornir) -> None:
    """A repository, a pin, a proxy and the blacklist are files that apt accepts, and they go again."""
    key = "/usr/share/keyrings/debian-archive-keyring.gpg"
    converges(nr, repository, label="extra", uri="http://deb.example.invalid/x", suite="bookworm", key=key, preferred=True)
    converges(nr, pin, label="mariadb", packages=["mariadb-*"], to="version 1:10.11*")
    converges(nr, proxy, uri="http://proxy.example.invalid:3128")
    converges(nr, hands_off)
    dumped = on_node(nr, "apt-config dump")
    assert 'Acquire::http::Proxy "http://proxy.example.invalid:3128";' in dumped
    assert 'Unattended-Upgrade::Package-Blacklist:: "mariadb";' in dumped
    assert "deb.example.invalid" in on_node(nr, "apt-get --print-uris update")
    converges(nr, no_repository, names=["extra"])
    converges(nr, proxy)
    on_node(nr, 'rm "$1" /etc/apt/preferences.d/mariadb.pref', BLACKLIST)


def test_templates(nr: Nornir) -> None:
    """A template is written with its secret; a variable that is missing names the line and touches nothing."""
    text = "host={{ host.name }}\n{% if on %}\npassword={{ word }}\n{% endif %}\n"
    values = {"on": True, "word": Secret(literal="opensesame")}
    report = converges(nr, template, path="/etc/thing.conf", text=text, values=values, mode="0600", source="thing.j2")
    assert on_node(nr, "cat /etc/thing.conf; stat -c %a /etc/thing.conf") == "host=node1\npassword=opensesame\n600"
    assert "opensesame" not in report.to_json()
    before = on_node(nr, DRIFT)
    broken = run(nr, template, path="/etc/thing.conf", text=text, values={"on": True}, source="thing.j2")
    assert "thing.j2:3: 'word' is undefined" in error(broken)
    assert on_node(nr, DRIFT) == before


def test_what_a_container_has_not(nr: Nornir) -> None:
    """SELinux is absent and its task skipped with the reason; the clock is the machine's and agrees with ours."""
    assert run(nr, selinux_mode).value(selinux_mode, "node1") == "absent"
    assert status(run(nr, file_context, path="/srv/mysql", type="mysqld_db_t")) is Status.SKIPPED
    seen = run(nr, clock).value(clock, "node1")
    assert (seen.service, seen.synchronised) == ("the host", True)
    assert abs(seen.offset) <= seen.doubt + 0.1
