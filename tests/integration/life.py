"""A formed cluster to which things happen, and which each test gets whole again."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pymysql

from nornir_stack.inventory import open_inventory
from nornir_stack.tasks.cluster.recover import recover
from tests.integration.bank import ACCOUNTS, START, TABLES, Bank, audit
from tests.integration.cluster_lab import PASSWORD, WAIT_SECONDS, Cluster, inside, until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir_stack.chain import Chain
    from nornir_stack.results import Report

KILL = """
systemctl mask --runtime --quiet mariadb
pkill -KILL mariadbd
systemctl stop mariadb
systemctl unmask --runtime --quiet mariadb
"""


@dataclass
class Life(Cluster):
    """A cluster with what may happen to it. Its units are not enabled, so that a boot leaves a member down."""

    def run(self, chain: Chain, *, dry_run: bool = False) -> Report:
        nr = open_inventory(self.folder)
        try:
            return chain.run(nr, dry_run=dry_run, wait=WAIT_SECONDS)
        finally:
            nr.close_connections()

    def whole(self) -> None:
        """Formed, complete, every server down at a boot; from whatever an earlier test left."""
        for name in self.names:
            if self.lab.container(name).init:
                self.lab.resume(name)
        self.lab.heal()
        for name in self.names:
            self.lab.start(name)
        report = self.run(recover())
        if not report.ok:
            self.lab.reset(*self.names)
            report = self.form()
        assert report.ok, explained(report)
        self.everywhere("systemctl disable --quiet mariadb")
        inside(self.lab, self.names[0], f'mariadb -e "{TABLES}"')

    def everywhere(self, script: str, names: Sequence[str] = ()) -> None:
        """At once on all, or on some."""
        with ThreadPoolExecutor(len(self.names)) as pool:
            list(pool.map(lambda name: inside(self.lab, name, script), names or self.names))

    def killed(self, *names: str) -> None:
        """The servers end by SIGKILL, at once, and stay down."""
        self.everywhere(KILL, names)

    def bank(self, *doors: tuple[str, int]) -> Bank:
        """Clients that go to the members themselves, one after the other, or to other doors."""
        return Bank(doors or [(self.address(name), 3306) for name in self.names])

    def audited(self, bank: Bank, names: Sequence[str] = ()) -> None:
        """On every member, or on some: no acknowledged transfer is missing, and the sum is what it was."""
        for name in names or self.names:
            where = {"host": self.address(name), "user": "app", "password": PASSWORD, "database": "my_test_db"}
            with closing(pymysql.connect(**where)) as link:  # type: ignore[call-overload]
                transfers, total = audit(link)
            assert bank.acked - transfers == set(), f"{name} lost acknowledged transfers"
            assert total == ACCOUNTS * START

    def says(self, name: str, key: str) -> str | None:
        return self.seen()[name].get(key)

    def until_primary(self, name: str, status: str) -> None:
        until(lambda: self.says(name, "wsrep_cluster_status") == status, 60, f"{name} {status}")


def explained(report: Report) -> str:
    """What a failed run says."""
    stages = [f"{stage.name}: {stage.status} {'; '.join(stage.problems)}" for stage in report.stages if stage.status.bad]
    return "\n".join([report.error, *stages])


def refusal(report: Report) -> str:
    """What the decision said that refused, where nothing was changed."""
    assert report.exit_code == 1, "it was not refused"
    assert not report.changed
    return " ".join(problem for stage in report.stages for problem in stage.problems)


def well(report: Report) -> Report:
    """The report, of a run that ended well."""
    assert report.ok, explained(report)
    return report


def recovered(cluster: Life) -> Report:
    """The report of a recovery that ended in one complete cluster, never two in between; a second one changed nothing."""
    with cluster.watched() as watch:
        report = well(cluster.run(recover()))
    assert watch.splits == []
    cluster.uuid()
    assert well(cluster.run(recover())).changed == ()
    return report
