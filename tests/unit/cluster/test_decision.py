"""Decisions as values."""

from __future__ import annotations

from nornir_stack.tasks.cluster.decision import Form, Mandate
from nornir_stack.tasks.cluster.member import NOWHERE
from nornir_stack.tasks.cluster.recovery import recovery
from tests.unit.cluster.shorthand import cluster, told


def test_whom_a_form_bootstraps() -> None:
    """The host of its mandate; without one nobody: a Primary component lives. A mandate knows nothing unless it is told."""
    assert Form().bootstrap is None
    assert Form(mandate=Mandate("db2")).bootstrap == "db2"
    assert (Mandate("db2").position, Mandate("db2").fresh) == (NOWHERE, False)


def test_of_equals_the_older_release_leads() -> None:
    """It cannot take a full copy of a newer one; one that is further leads whatever its release, one of none by its place."""
    rows = {"db1": "down A 9 v=11.8.2", "db2": "down A 9 v=10.11.6", "db3": "down A 9 v=11.4.1"}
    assert told(recovery(cluster(rows))).startswith("bootstrap db2 ")
    assert told(recovery(cluster({**rows, "db3": "down A 10 v=11.8.2"}))).startswith("bootstrap db3 ")
    assert told(recovery(cluster(dict.fromkeys(rows, "down A 9 v=")))).startswith("bootstrap db1 ")
