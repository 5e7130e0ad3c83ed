"""What of RabbitMQ, keys, backups and namespaces an operator should know. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nornir_stack.tasks.maintenance.history import DAY
from nornir_stack.tasks.maintenance.trouble import Trouble, above, days, few, size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nornir_stack.tasks.maintenance.condition import Condition, Namespace
    from nornir_stack.tasks.maintenance.settings import Care

_FERNET_LEAST = 3  # keys: staged, primary, and one that tokens were made with before


def of_rabbit(seen: Condition, care: Care) -> Iterator[Trouble]:
    now = seen.rabbit
    if now is None:
        return
    if now.problem:
        yield Trouble("severe", "rabbitmq", f"{now.problem}.")
    for line in now.partitions:
        yield Trouble("severe", "rabbitmq", f"Its cluster is in parts: {line}.")
    if now.missing:
        yield Trouble("severe", "rabbitmq", f"Nodes of its cluster do not run: {few(now.missing)}.")
    for alarm in now.alarms:
        yield Trouble("severe", "rabbitmq", f"Its alarm is on: {alarm}: whoever publishes is blocked.")
    for queue in now.queues:
        if level := above(queue.messages, care.queue_messages):
            nobody = ", and nobody takes them" if not queue.consumers else ""
            yield Trouble(level, "rabbitmq", f"Queue {queue.name} holds {queue.messages} messages{nobody}.")


def of_keys(seen: Condition, care: Care) -> Iterator[Trouble]:
    for one in seen.keys:
        if one.exposed:
            yield Trouble(
                "severe", "keys", f"Others than Keystone's own user can read {one.folder}: chmod 600, then rotate them."
            )
        if not one.folder.endswith("fernet-keys"):
            continue
        age = (seen.now - one.rotated) / DAY
        if level := above(age, care.fernet_days):
            yield Trouble(level, "keys", f"{one.folder} was rotated {days(age)} ago.")
        if one.count < _FERNET_LEAST and age > 1:
            yield Trouble("look", "keys", f"{one.folder} holds {one.count} keys: tokens end at the next rotation.")


def of_backups(seen: Condition, care: Care) -> Iterator[Trouble]:
    there = {one.name: one for one in seen.backups}
    for name, wanted in care.backups.items():
        one = there.get(name)
        if one is None or not one.count:
            yield Trouble("severe", f"backup {name}", f"There is none: no {wanted.files}.")
            continue
        age = (seen.now - one.newest) / DAY
        if age > wanted.days:
            level = above(age, (wanted.days, 2 * wanted.days)) or "look"
            yield Trouble(level, f"backup {name}", f"The newest, {one.path}, is {days(age)} old.")
        if one.size < wanted.least:
            yield Trouble("severe", f"backup {name}", f"The newest, {one.path}, has only {size(one.size)}: it is cut short.")


def of_namespaces(seen: Condition) -> Iterator[Trouble]:
    if dead := [one.name for one in seen.namespaces if is_dead(one)]:
        yield Trouble("look", "namespaces", f"Nothing lives in {few(dead)} (ip netns delete).")
    if seen.ports:
        yield Trouble("look", "ports", f"Open vSwitch has ports whose device is gone: {few(seen.ports)} (ovs-vsctl del-port).")


def is_dead(one: Namespace) -> bool:
    """Nobody in it: a name without a namespace, one without links and processes, or a DHCP server's without the server."""
    empty = not one.links and not one.processes
    return one.broken or empty or (one.name.startswith("qdhcp-") and not one.processes)
