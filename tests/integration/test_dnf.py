"""The package tasks on a node of Red Hat's family, by real dnf and rpm: each in a dry run first, then for real, then again.

The node says that it is Rocky Linux 9 and has Rocky's settings; its dnf 4.14, rpm 4.18, versionlock and dnf-automatic are those
that Debian builds, its packages are made by rpmbuild and signed there, and its repository is made by createrepo_c. What it is
not: Red Hat's distribution. There are no modules, no SELinux, no subscription and no kernel package; dnf-automatic has its
program and no timer, and the versionlock plugin is there from the start (on Rocky it is a package of its own, installed when
it is first needed).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from nornir_stack.results import Report, Status
from nornir_stack.tasks.cluster.upkeep import CHECK_UPDATE, newer_by_dnf
from nornir_stack.tasks.maintenance.patch import patch
from nornir_stack.tasks.maintenance.survey import condition, survey
from nornir_stack.tasks.system import dnf
from nornir_stack.tasks.system.facts import facts
from nornir_stack.tasks.system.packages import packages
from nornir_stack.tasks.system.repositories import mirror, no_repository, proxy, repository
from nornir_stack.tasks.system.services import service, unit_state
from nornir_stack.tasks.system.transaction import Work
from nornir_stack.tasks.system.unattended import AUTOMATIC, hands_off
from tests.integration import rpm_repo, test_system
from tests.integration.conftest import nornir
from tests.integration.test_system import error, nornir_beside, on_node, run, status

if TYPE_CHECKING:
    from collections.abc import Callable

    from nornir.core import Nornir

    from nornir_stack.lab import Lab

# Databases of rpm and dnf are looked at through rpm and dnf: their files change by being read. So do packages in a repository
# of files, whose checksums dnf notes in their extended attributes.
DRIFT = (
    r"{ find /etc /root /home /var/lib/nornir-stack /var/lib/systemd -xdev ! -path '/var/lib/systemd/[rt]*'"
    r" -printf '%p %l %m %u %s %C@\n'; find /etc -type f -exec cat {} +; } 2>/dev/null | sha256sum;"
    r"rpm -qa --qf '%{NVRA} %{INSTALLTIME}\n' | sort; dnf -q history list 2>/dev/null;"
    r"find /var/cache/dnf /srv -name '*.xml*' -printf '%p %s %T@\n' | sort;"
    r"systemctl list-units --plain --no-legend '*.service' | sort"
)
EMPTY = r"""
rm -f /root/hold-up; pkill -x cat; while pgrep -x 'dnf|rpm' >/dev/null; do sleep 0.1; done
systemctl stop stack-sleeper stack-eager 2>/dev/null
others=$(rpm -qa --qf '%{NAME}\n' | grep -v -x -e rocky-release -e gpg-pubkey)
[ -z "$others" ] || rpm -e --nodeps $others 2>/dev/null
rm -rf /etc/systemd/system/*/stack-* /etc/stack-* /etc/yum.repos.d/extra.repo*
: >/etc/dnf/plugins/versionlock.list
systemctl daemon-reload
"""
SLEEPER = "stack-sleeper"
LIST = "rpm -qa --qf '%{NAME}-%{VERSION}\n' | grep -v -e ^rocky-release -e ^gpg-pubkey | sort"


@pytest.fixture(scope="module")
def lab(boot: Callable[..., Lab]) -> Lab:
    return boot("node1", tree="dnf")


@pytest.fixture(scope="module")
def node(lab: Lab) -> Nornir:
    """Disguised, with the packages built; no repository yet, and no lists."""
    nr = nornir(lab, {"system": ["node1"]}, {"system": {"care": {"lists_days": [100, 100], "disk_used": [99.5, 100]}}})
    on_node(nr, rpm_repo.DISGUISE)
    on_node(nr, f'{rpm_repo.BUILD}\nrpm -i "$folder"/noarch/*.rpm 2>/dev/null', "/root/system", rpm_repo.SYSTEM)
    on_node(nr, rpm_repo.BUILD, rpm_repo.REPOSITORY, *rpm_repo.SPECS)
    on_node(nr, rpm_repo.SIGN, rpm_repo.REPOSITORY)
    on_node(nr, rpm_repo.BUILD, rpm_repo.REPOSITORY, rpm_repo.UNSIGNED)
    on_node(nr, 'printf "%s" "$1" >/root/updateinfo.xml', rpm_repo.ADVISORY)
    on_node(nr, rpm_repo.INDEX, rpm_repo.REPOSITORY, "/root/updateinfo.xml")
    return nr


@pytest.fixture
def bare(node: Nornir) -> Nornir:
    """Nothing of the tests is installed or locked; the repository is there."""
    on_node(node, EMPTY)
    done = run(node, repository, **stack(node))
    assert done.ok, error(done)
    return node


def stack(nr: Nornir) -> dict[str, Any]:
    """What `repository` is told of the node's own."""
    return {"label": "stack", "uri": f"file://{rpm_repo.REPOSITORY}", "key": on_node(nr, "cat /root/stack.asc")}


def converges(nr: Nornir, function: Callable[..., Any], **arguments: Any) -> Report:
    return test_system.converges(nr, function, drift=DRIFT, **arguments)


def diff(report: Report) -> list[str]:
    """The lines of what came and went."""
    text = report.stages[-1].hosts[0].tasks[0].diff
    return [line for line in text.splitlines() if line[:1] in {"+", "-"} and line[:3] not in {"+++", "---"}]


def installed(nr: Nornir, *names: str) -> None:
    report = run(nr, packages, present=names)
    assert report.ok, error(report)


def test_its_family(node: Nornir) -> None:
    """The node is told by its os-release."""
    seen = run(node, facts).value(facts, "node1")
    assert (seen.os, seen.version, seen.family, seen.init) == ("rocky", "9.4", "redhat", "systemd")


def test_a_repository_with_its_key(node: Nornir) -> None:
    """dnf knows it by its address, its key and its priority, and not any more when it was taken out."""
    on_node(node, EMPTY)
    path = converges(node, repository, preferred=True, **stack(node)).value(repository, "node1")
    assert path == "/etc/yum.repos.d/stack.repo"
    dumped = on_node(node, "dnf -q config-manager --dump stack").splitlines()
    for setting in (
        "baseurl = file:///srv/stack",
        "gpgcheck = 1",
        "priority = 10",
        "gpgkey = file:///etc/pki/rpm-gpg/stack.asc",
    ):
        assert setting in dumped
    converges(node, no_repository, names=["stack"])
    assert on_node(node, "dnf -q repolist; ls /etc/yum.repos.d /etc/pki/rpm-gpg") == "/etc/pki/rpm-gpg:\n\n/etc/yum.repos.d:"


def test_a_key_goes_with_its_repository(bare: Nornir) -> None:
    """rpm has it since the first package came, would take it for any repository, and forgets it."""
    nr = bare
    installed(nr, "stack-extras")
    assert on_node(nr, "rpm -q gpg-pubkey").startswith("gpg-pubkey-")
    converges(nr, no_repository, names=["stack"])
    assert on_node(nr, "rpm -q gpg-pubkey; :") == "package gpg-pubkey is not installed"


def test_packages_come_and_go(bare: Nornir) -> None:
    """With what they need and without what they recommend, by the repository's key; what only they needed is left."""
    nr = bare
    come = converges(nr, packages, present=["stack-tool"])
    assert diff(come) == ["+stack-sleeper 2.0-1.el9", "+stack-tool 1.0-1.el9"]
    assert come.value(packages, "node1") == {"stack-tool": "1.0-1.el9"}
    assert on_node(nr, "rpm -q gpg-pubkey --qf '%{SUMMARY}\\n'") == "stack test <stack@example.invalid> public key"
    gone = converges(nr, packages, absent=["stack-tool"])
    assert diff(gone) == ["-stack-tool 1.0-1.el9"]
    assert on_node(nr, LIST) == "stack-sleeper-2.0"


def test_a_dry_run_on_lists_that_are_there_says_what_would_come(bare: Nornir) -> None:
    """The same as comes then."""
    on_node(bare, "dnf -q makecache")
    foreseen = diff(run(bare, packages, dry_run=True, present=["stack-tool"]))
    come = diff(run(bare, packages, present=["stack-tool"]))
    assert foreseen == come == ["+stack-sleeper 2.0-1.el9", "+stack-tool 1.0-1.el9"]


def test_a_given_version(bare: Nornir) -> None:
    """A name with a version brings that one, up or down, and is satisfied by no other."""
    nr = bare
    first = converges(nr, packages, present=["stack-sleeper-1.0"])
    assert first.value(packages, "node1") == {"stack-sleeper-1.0": "1.0-1.el9"}
    assert run(nr, packages, present=[SLEEPER]).changed == ()
    up = converges(nr, packages, present=["stack-sleeper-2.0-1.el9"])
    assert diff(up) == ["-stack-sleeper 1.0-1.el9", "+stack-sleeper 2.0-1.el9"]
    down = converges(nr, packages, present=["stack-sleeper-1.0"])
    assert diff(down) == ["+stack-sleeper 1.0-1.el9"]


def test_nothing_goes_that_was_not_named(bare: Nornir) -> None:
    """What needs a package, and what needs that, is named and nothing is removed, in a dry run too; named, all may go."""
    nr = bare
    installed(nr, "stack-suite")
    for dry_run in (True, False):
        said = error(run(nr, packages, dry_run=dry_run, absent=[SLEEPER]))
        assert "node1: to remove stack-sleeper would also remove stack-tool, stack-suite: name them in absent" in said
    assert on_node(nr, LIST) == "stack-sleeper-2.0\nstack-suite-1.0\nstack-tool-1.0"
    converges(nr, packages, absent=[SLEEPER, "stack-tool", "stack-suite"])
    assert on_node(nr, f"{LIST}; :") == ""


def test_a_successor_takes_its_predecessors_place(bare: Nornir) -> None:
    """What a package obsoletes is shown as going, in a dry run too."""
    nr = bare
    on_node(nr, "rpm -i /srv/stack/noarch/stack-old-*.rpm")
    assert diff(converges(nr, packages, present=["stack-heir"])) == ["+stack-heir 2.0-1.el9", "-stack-old 1.0-1.el9"]


def test_a_name_that_only_another_package_provides(bare: Nornir) -> None:
    """Nothing is installed for it, and the sentence says what would have come, or is there already."""
    nr = bare
    for name in ("stack-heir", "stack-heir-2.0-1.el9.noarch"):
        said = error(run(nr, packages, present=["stack-old"]))
        assert f"node1: there is no package stack-old to install, what provides it is among {name}: name that" in said
        installed(nr, "stack-heir")
    assert on_node(nr, LIST) == "stack-heir-2.0"


def test_a_package_that_does_not_exist(bare: Nornir) -> None:
    """It is said in one sentence, and the other packages are not installed either."""
    report = run(bare, packages, present=["no-such-thing", "stack-extras"])
    assert status(report) is Status.FAILED
    assert "node1: no package no-such-thing in the node's sources: check the name" in error(report)
    assert on_node(bare, f"{LIST}; :") == ""


def test_a_package_that_came_to_the_repository_since(bare: Nornir) -> None:
    """The lists are fetched anew where a wanted package is not in them."""
    nr = bare
    on_node(nr, "dnf -q makecache")
    on_node(nr, rpm_repo.BUILD, rpm_repo.LATER, rpm_repo.spec("stack-late"))
    on_node(nr, rpm_repo.SIGN, rpm_repo.LATER)
    on_node(nr, f"mv {rpm_repo.LATER}/noarch/* {rpm_repo.REPOSITORY}/noarch")
    on_node(nr, rpm_repo.INDEX, rpm_repo.REPOSITORY, "/root/updateinfo.xml")
    converges(nr, packages, present=["stack-late"])


def test_a_package_that_nobody_signed(bare: Nornir) -> None:
    """dnf refuses it, and its reason is what is told."""
    report = run(bare, packages, present=["stack-unsigned"])
    assert status(report) is Status.FAILED
    assert "stack-unsigned-1.0-1.el9.noarch.rpm is not signed" in error(report)
    assert on_node(bare, f"{LIST}; :") == ""


def test_a_version_that_is_held(bare: Nornir) -> None:
    """No upgrade takes it, another version is refused with the reason, and it goes only when it was released."""
    nr = bare
    converges(nr, packages, present=["stack-sleeper-1.0"], held=["stack-sleeper-1.0"])
    assert on_node(nr, "dnf -q versionlock list") == "stack-sleeper-0:1.0-1.el9.*"
    on_node(nr, "dnf -y -q upgrade")
    assert on_node(nr, LIST) == "stack-sleeper-1.0"
    said = error(run(nr, packages, present=["stack-sleeper-2.0"]))
    assert "the sources have stack-sleeper-2.0, and a version lock, an exclude or its module's stream keeps it out" in said
    assert run(nr, packages, held=["stack-sleeper-1.0"]).changed == ()
    converges(nr, packages, released=[SLEEPER])
    installed(nr, "stack-sleeper-2.0")
    run(nr, packages, held=[SLEEPER])
    converges(nr, packages, absent=[SLEEPER])
    assert on_node(nr, "dnf -q versionlock list") == ""


def test_its_configuration_is_kept(bare: Nornir) -> None:
    """A file that an operator changed stays when a newer version brings another, and nobody is asked."""
    nr = bare
    installed(nr, "stack-sleeper-1.0")
    on_node(nr, "echo mine >/etc/stack-sleeper.conf")
    converges(nr, packages, present=["stack-sleeper-2.0"])
    assert on_node(nr, "cat /etc/stack-sleeper.conf /etc/stack-sleeper.conf.rpmnew") == "mine\nas version 2.0 brings it"


def test_the_life_of_a_service(bare: Nornir) -> None:
    """Installed it neither runs nor is enabled; enabled, started, stopped and masked as on Debian."""
    nr = bare
    installed(nr, SLEEPER)
    seen = run(nr, unit_state, unit="stack-sleeper.service").value(unit_state, "node1")
    assert (seen.known, seen.running, seen.enabled, seen.since) == (True, False, False, 0)
    up = converges(nr, service, unit="stack-sleeper.service", state="started", enabled=True).value(service, "node1")
    assert (up.running, up.enabled) == (True, True)
    converges(nr, service, unit="stack-sleeper.service", state="stopped", enabled=False)
    converges(nr, service, unit="stack-sleeper.service", masked=True)
    converges(nr, service, unit="stack-sleeper.service", masked=False)


def test_a_package_that_enables_its_service_itself(bare: Nornir) -> None:
    """With no_start it is disabled after the installation, one that was brought along too, and without it is not."""
    nr = bare
    converges(nr, packages, present=["stack-eager-tools"], no_start=True)
    assert on_node(nr, "systemctl is-enabled stack-eager; :") == "disabled"
    assert on_node(nr, "ls /tmp | grep -v ^systemd-private; :") == ""
    on_node(nr, EMPTY)
    installed(nr, "stack-eager-tools")
    assert on_node(nr, "systemctl is-enabled stack-eager") == "enabled"


def test_an_upgrade_without_a_start_leaves_what_runs(bare: Nornir) -> None:
    """The transaction of a rolling upgrade brings an installed package to the newest; its service runs on and stays enabled."""
    nr = bare
    installed(nr, "stack-sleeper-1.0")
    before = run(nr, service, unit="stack-sleeper.service", state="started", enabled=True).value(service, "node1")
    assert newer_by_dnf(on_node(nr, CHECK_UPDATE, SLEEPER)) == ("+stack-sleeper 2.0-1.el9",)
    upgrade = dnf.transaction(Work(install=(SLEEPER,), no_start=True), 60)
    on_node(nr, upgrade.argv[2], *upgrade.argv[4:])
    assert on_node(nr, LIST) == "stack-sleeper-2.0"
    after = run(nr, unit_state, unit="stack-sleeper.service").value(unit_state, "node1")
    assert (after.pid, after.enabled) == (before.pid, True)


@pytest.mark.parametrize("other", ["rpm -i /srv/stack/noarch/stack-slow-*.rpm", "dnf -y -q install stack-slow"])
def test_a_busy_rpm_is_waited_for(bare: Nornir, other: str) -> None:
    """While rpm, or another dnf, is in its transaction the task waits, and then does its own work."""
    nr = bare
    on_node(nr, "mkfifo /root/hold-up; $1 >/root/other.log 2>&1 & exit 0", other)
    on_node(nr, "until pgrep -x cat >/dev/null; do sleep 0.1; done")
    found: list[Report] = []
    waiting = threading.Thread(target=lambda: found.append(run(nr, packages, present=["stack-extras"])))
    waiting.start()
    beside = nornir_beside(nr)
    on_node(beside, "until pgrep -x -f 'sleep 1' >/dev/null; do sleep 0.1; done")
    assert waiting.is_alive()
    assert on_node(beside, "rpm -q stack-extras; :") == "package stack-extras is not installed"
    on_node(beside, "echo on >/root/hold-up; rm /root/hold-up")
    waiting.join(60)
    assert status(found[0]) is Status.CHANGED, error(found[0])
    beside.close_connections()
    assert on_node(nr, LIST) == "stack-extras-1.0\nstack-slow-1.0"


def test_a_lock_that_nobody_gives_back(bare: Nornir) -> None:
    """After the time it was given the transaction ends, with dnf's own words for who holds it."""
    nr = bare
    on_node(nr, "mkfifo /root/hold-up; dnf -y -q install stack-slow >/root/other.log 2>&1 & exit 0")
    on_node(nr, "until pgrep -x cat >/dev/null; do sleep 0.1; done")
    late = dnf.transaction(Work(install=("stack-extras",)), 0)
    said = on_node(nr, f"( {late.argv[2]} ) 2>&1; :", *late.argv[4:])
    assert "RPMDB already locked by" in said


def test_a_repository_that_a_package_brought(bare: Nornir) -> None:
    """It goes with its package, as epel-release is taken out."""
    nr = bare
    installed(nr, "extra-release")
    assert "extra" in on_node(nr, "dnf -q repolist")
    converges(nr, packages, absent=["extra-release"])
    assert "extra" not in on_node(nr, "dnf -q repolist")


def test_a_mirror(bare: Nornir) -> None:
    """The address is replaced, and dnf asks the mirror list no more: what it takes comes from the mirror."""
    nr = bare
    there = ("https://dl.example.invalid/$releasever/stack", "metalink=https://mirrors.example.invalid/stack")
    on_node(nr, 'sed -i "s#^baseurl=.*#\\#baseurl=$1\\n$2#" /etc/yum.repos.d/stack.repo', *there)
    on_node(nr, "mkdir -p /srv/mirror-9; ln -sfn /srv/stack /srv/mirror-9/stack")
    converges(nr, mirror, replace={"https://dl.example.invalid/$releasever": "file:///srv/mirror-$releasever"})
    installed(nr, "stack-extras")
    run(nr, repository, **stack(nr))


def test_a_proxy(bare: Nornir) -> None:
    """dnf itself says that it goes through it, and not any more; the rest of its settings stays."""
    nr = bare
    before = on_node(nr, "cat /etc/dnf/dnf.conf")
    converges(nr, proxy, uri="http://proxy.example.invalid:3128")
    assert "proxy = http://proxy.example.invalid:3128" in on_node(nr, "dnf -q config-manager --dump").splitlines()
    converges(nr, proxy)
    assert on_node(nr, "cat /etc/dnf/dnf.conf") == before


def test_hands_off(bare: Nornir) -> None:
    """dnf-automatic upgrades the rest, and not what belongs to a cluster, nor what an operator excluded before."""
    nr = bare
    installed(nr, "stack-sleeper-1.0", "galera-4-1.0")
    on_node(
        nr, "rpm -i /srv/stack/noarch/stack-old-*.rpm; sed -i 's/^\\[base\\]/&\\nexclude = kernel* stack-heir/' $1", AUTOMATIC
    )
    assert converges(nr, hands_off).value(hands_off, "node1") == (AUTOMATIC,)
    # what /usr/bin/dnf-automatic of dnf's own sources calls
    on_node(nr, "cd /; python3 -c 'import sys, dnf.automatic.main as it; sys.exit(it.main([\"--installupdates\"]))'")
    assert on_node(nr, LIST) == "galera-4-1.0\nstack-old-1.0\nstack-sleeper-2.0"


def test_what_the_survey_reads_of_updates(bare: Nornir) -> None:
    """What is security by the repository's advisories, what else is newer, a successor once, and when dnf looked."""
    nr = bare
    installed(nr, "stack-sleeper-1.0", "galera-4-1.0")
    on_node(nr, "rpm -i /srv/stack/noarch/stack-old-*.rpm")
    on_node(nr, "find /var/cache/dnf -name '*.xml*' -exec touch -d @1000000000 {} +; dnf -q makecache; date +%s >/root/now")
    found = survey().run(nr).value(condition, "node1").condition.updates
    assert found is not None
    assert (found.security, found.others) == ((SLEEPER,), 2)
    assert abs(found.lists - int(on_node(nr, "cat /root/now"))) < 60
    installed(nr, "stack-sleeper-2.0", "galera-4-2.0", "stack-heir")
    clean = survey().run(nr).value(condition, "node1").condition.updates
    assert clean is not None
    assert (clean.security, clean.others) == ((), 0)


def test_patch(bare: Nornir) -> None:
    """Newer packages come by `maintenance.patch`, also to a node whose dnf has no lists yet; a dry run says which."""
    nr = bare
    installed(nr, "stack-sleeper-1.0")
    on_node(nr, "dnf -q clean all")
    first = patch(reboot=False).run(nr, dry_run=True)
    assert first.exit_code == 3, first
    on_node(nr, "dnf -q makecache")
    plan = patch(reboot=False).run(nr, dry_run=True)
    assert "+stack-sleeper 2.0-1.el9" in plan.to_json()
    assert on_node(nr, LIST) == "stack-sleeper-1.0"
    on_node(nr, "dnf -q clean all")
    done = patch(reboot=False).run(nr)
    assert done.ok, done
    assert on_node(nr, LIST) == "stack-sleeper-2.0"
    assert patch(reboot=False).run(nr).changed == ()
