"""RabbitMQ, Keystone's keys, backups, network namespaces: what the survey's look printed of them. Pure."""

from __future__ import annotations

import json
from typing import Any

from nornir_stack.tasks.maintenance.condition import BackupSeen, Keys, Namespace, Queue, Rabbit

_MOST_QUEUES = 5


def rabbit(status: str, queues: str) -> Rabbit:
    """From `rabbitmqctl --formatter json cluster_status` and `list_queues name messages consumers`; the fullest queues."""
    try:
        at = json.loads(status)
    except ValueError:
        return Rabbit(problem="its unit is active and rabbitmqctl does not answer")
    running, nodes = set(at.get("running_nodes", ())), set(at.get("disk_nodes", ())) | set(at.get("ram_nodes", ()))
    partitions = at.get("partitions") or {}
    return Rabbit(
        alarms=tuple(sorted({_alarm(one) for one in at.get("alarms", ())})),
        partitions=tuple(f"{node} does not see {', '.join(others)}" for node, others in sorted(partitions.items())),
        missing=tuple(sorted(nodes - running)),
        queues=_queues(queues),
    )


def _alarm(one: Any) -> str:
    """`{"node": "rabbit@c1", "resource": "disk", "type": "resource_limit"}`."""
    if not isinstance(one, dict):
        return str(one)
    return f"{one.get('resource') or one.get('type')} on {one.get('node')}"


def _queues(text: str) -> tuple[Queue, ...]:
    try:
        rows = json.loads(text)
    except ValueError:
        return ()
    found = [Queue(str(row.get("name")), int(row.get("messages") or 0), int(row.get("consumers") or 0)) for row in rows]
    return tuple(sorted(found, key=lambda queue: -queue.messages)[:_MOST_QUEUES])


def key_folders(text: str) -> tuple[Keys, ...]:
    """From stat's `%a %Y %n` of the keys. The youngest is the staged one, `0`, which each rotation makes anew."""
    at: dict[str, list[tuple[str, int]]] = {}
    for line in text.splitlines():
        mode, written, path = line.split(" ", 2)
        at.setdefault(path.rpartition("/")[0], []).append((mode, int(written)))
    return tuple(
        Keys(folder, len(keys), max(when for _, when in keys), any(int(mode, 8) & 0o077 for mode, _ in keys))
        for folder, keys in at.items()
    )


def backups(text: str) -> tuple[BackupSeen, ...]:
    """Of each backup: how many files, the newest (`mtime kind|size path`), and for a folder the size of all in it."""
    found = []
    for part in text.split("\x1d")[1:]:
        name, count, *more = part.splitlines()
        if not more or not more[0]:
            found.append(BackupSeen(name))
            continue
        when, _, rest = more[0].partition(" ")
        size, _, path = rest.partition("|")[2].partition(" ")
        found.append(BackupSeen(name, int(when), int(more[1] if len(more) > 1 else size), int(count), path))
    return tuple(found)


def namespaces(text: str, processes: str) -> tuple[Namespace, ...]:
    """From `filesystem-type inode links name`, and how many processes are in the namespace of each inode."""
    counts = {inode: int(count) for count, inode in (line.split() for line in processes.splitlines())}
    rows = [line.split(" ", 3) for line in text.splitlines()]
    return tuple(
        Namespace(name, int(links or 0), counts.get(inode, 0), broken=kind != "nsfs") for kind, inode, links, name in rows
    )


def zombie_ports(text: str) -> tuple[str, ...]:
    """From ovs-vsctl's `name,error`: interfaces whose device is gone."""
    return tuple(line.partition(",")[0].strip('"') for line in text.splitlines() if line.strip())
