"""`galera.status`: is the cluster well? For people, cron and Prometheus."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Plan, Stage, do
from nornir_stack.errors import Refused
from nornir_stack.node import Node
from nornir_stack.select import hosts
from nornir_stack.tasks.cluster.observe import member_of
from nornir_stack.tasks.cluster.product import DB
from nornir_stack.tasks.cluster.vitals import Limits, Vitals, unwell, vitals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

METRICS = "galera.prom"


def status(
    *,
    missing: Sequence[str] = (),
    flow_control: float = 0.1,
    receive_queue: int = 100,
    certification_failures: int = 10,
    disk_free: float = 0.1,
    clock: float = 1.0,
    join: float = 1800.0,
    window: float = 2.0,
    textfile: str = "",
) -> Chain:
    """Look at all members, and fail (exit code 1) with a sentence for each thing that is not well. Changes nothing.

    `nornir-stack check galera.status` takes no lock, so it answers while another run works.

    missing: members that are known to be lost.
    flow_control: the most of the time, 0 to 1, in which replication may be paused.
    receive_queue: the most write sets that may wait to be applied on a member (a donor's are not counted).
    certification_failures: the most transactions that may fail certification within the window.
    disk_free: the least of the data's disk, 0 to 1, that has to be free.
    clock: the most seconds by which the members' clocks may differ.
    join: the most seconds for which a member may be starting, joining or a donor, before it is said to take long.
    window: seconds over which is counted.
    textfile: a folder on the members where node_exporter's textfile collector reads: each gets its numbers in galera.prom.
    """
    limits = Limits(flow_control, receive_queue, certification_failures, disk_free, clock, join)
    judged = partial(_judged, limits=limits, missing_ok=tuple(missing))
    parts: list[Stage | Plan[Vitals]] = [Plan("members", do(vitals, window=window), judged, DB)]
    if textfile:
        write = do(metrics, folder=textfile, window=window)
        parts.append(Stage("metrics", [write], DB - hosts(*missing), always=True))
    return Chain("galera.status", *parts)


def _judged(seen: Seen[Vitals], *, limits: Limits, missing_ok: Sequence[str]) -> Chain:
    problems = unwell(seen, limits=limits, missing_ok=missing_ok)
    if problems:
        raise Refused("\n".join(problems))
    return Chain("well", reasons=[f"{len(seen)} members, one cluster, complete and Synced."])


def metrics(task: Task, *, folder: str, window: float = 2.0) -> Result[str]:
    """The member's numbers in the text form of Prometheus, for the collector on its own node: as fresh as the file is.

    The value: the text. Raises Refused where the folder is not there.
    """
    node = Node(task)
    galera, _ = member_of(node)
    text = exposition(vitals(task, window=window).value, cluster=galera.cluster_name, name=node.name)
    if node.stat(folder) is None:
        raise Refused(f"{node.name}: there is no folder {folder}: is that where node_exporter's textfile collector reads?")
    node.write_file(f"{folder}/{METRICS}", text)
    return node.done(text)


def exposition(one: Vitals, *, cluster: str, name: str) -> str:
    """Gauges, by Prometheus' rules for names and units. A member that does not answer has galera_up 0 and no others."""
    wsrep = one.member.wsrep
    found: list[tuple[str, str, float]] = [
        ("galera_up", "The server answers SQL", float(wsrep is not None)),
        ("galera_disk_free_bytes", "Free on the file system of the data", one.disk_free),
        ("galera_disk_size_bytes", "Size of the file system of the data", one.disk_size),
        ("galera_clock_offset_seconds", "Ahead of the clock of the machine that watches", one.clock_offset),
        ("galera_under_way_seconds", "Starting, joining or a donor for so long", one.under_way),
    ]
    if wsrep is not None:
        found += [
            ("galera_primary", "In the Primary component", float(wsrep.primary)),
            ("galera_synced", "Primary, Synced, ready and connected", float(one.member.synced)),
            ("galera_cluster_size", "Members that it lists", wsrep.size),
            ("galera_local_state", "wsrep_local_state", wsrep.state),
            ("galera_last_committed", "wsrep_last_committed", wsrep.position.seqno),
        ]
    if one.rates is not None:
        found += [
            ("galera_flow_control_paused_ratio", "Share of the window in which replication was paused", one.rates.flow_control),
            ("galera_receive_queue", "Write sets that wait to be applied", one.rates.receive_queue),
            ("galera_send_queue", "Write sets that wait to be sent", one.rates.send_queue),
            ("galera_certification_failures", "Failed in the window", one.rates.certification_failures),
            ("galera_replicated", "Write sets sent in the window", one.rates.replicated),
            ("galera_uptime_seconds", "Since the server's start", one.rates.uptime),
        ]
    label = f'{{cluster="{cluster}",member="{name}"}}'
    return "".join(f"# HELP {key} {what}.\n# TYPE {key} gauge\n{key}{label} {_number(value)}\n" for key, what, value in found)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
