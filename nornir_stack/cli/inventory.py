"""`inventory check` and `inventory show`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from nornir_stack import catalogue
from nornir_stack.cli.fleet import opened
from nornir_stack.cli.network import as_observed, as_text
from nornir_stack.cli.output import can_write, complain, say, write_file
from nornir_stack.errors import UsageError
from nornir_stack.inventory import fleet_show, load
from nornir_stack.inventory.addressing import plan
from nornir_stack.inventory.observed import differences
from nornir_stack.inventory.picture import hosts_of, marked, svg
from nornir_stack.inventory.show import holders
from nornir_stack.select import Selector, nearest

if TYPE_CHECKING:
    from argparse import Namespace

    from nornir_stack.inventory import Fleet, HostRow
    from nornir_stack.inventory.addressing import Holder, NetworkPlan
    from nornir_stack.inventory.observed import Difference


def command(args: Namespace) -> int:
    """Check it, or show it. Warnings go to stderr and change no exit code. Raises InventoryError with every problem."""
    fleet = load(args.inventory)
    for warning in fleet.warnings:
        complain(f"warning: {warning}")
    rows = fleet_show(fleet)
    if args.verb == "check":
        say(_all_well(fleet, rows))
    elif args.network or args.svg or args.observe:
        _networks(fleet, rows, args)
    elif args.host:
        say(_one(args.host, rows).rstrip())
    else:
        say(_table(rows))
    return 0


def _networks(fleet: Fleet, rows: list[HostRow], args: Namespace) -> None:
    known = holders(fleet)
    plans = plan(fleet.networks, known)
    if args.svg:
        can_write(args.svg)
    found, missing = _observed(args.inventory, plans, known) if args.observe else ([], {})
    notes = [*(one.text for one in found), *(f"{host} was not looked at: {why}" for host, why in missing.items())]
    if args.svg is None:
        say(as_text(plans) + (f"\n\n{as_observed(notes)}" if args.observe else ""))
        return
    drawn = hosts_of(plans, known, {row.host: ", ".join(row.roles) for row in rows})
    write_file(args.svg, svg(plans, marked(drawn, found, missing), notes))


def _observed(folder: str, plans: list[NetworkPlan], known: list[Holder]) -> tuple[list[Difference], dict[str, str]]:
    """Where the nodes differ from the plan; and the hosts that could not be looked at, with why."""
    from nornir_stack.dispatch import survey  # noqa: PLC0415  slow

    nodes = Selector("nodes", lambda host: host.get("connection") not in {"netmiko", "openstack", "libvirt"})
    with opened(folder) as nr:
        seen = survey(nr, catalogue.find("network.observe").load(), nodes)
    held = {
        host: {name: (*link.addresses, *link.dynamic) for name, link in network.links.items()} for host, network in seen.items()
    }
    return differences(plans, known, held), dict(seen.missing)


def _all_well(fleet: Fleet, rows: list[HostRow]) -> str:
    roles = {role for row in rows for role in row.roles}
    return f"{fleet.path}: {_count(len(rows), 'host')} in {_count(len(roles), 'role')}, no problem found"


def _table(rows: list[HostRow]) -> str:
    from rich.console import Console  # noqa: PLC0415  slow
    from rich.table import Table  # noqa: PLC0415  slow
    from rich.text import Text  # noqa: PLC0415  slow

    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold dim")
    for title in ("host", "roles", "connection", "maintenance"):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, (row.host, ", ".join(row.roles), row.connection, row.maintenance)))
    console = Console(highlight=False)
    with console.capture() as captured:
        console.print(table)
    return "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())


def _one(name: str, rows: list[HostRow]) -> str:
    from ruamel.yaml import YAML  # noqa: PLC0415  slow

    known = {row.host: row for row in rows}
    if name not in known:
        raise UsageError(f"there is no host {name!r} in the inventory{nearest(name, known)}")
    row = known[name]
    about: dict[str, Any] = {"roles": list(row.roles), "connection": row.connection}
    if row.maintenance:
        about["maintenance"] = row.maintenance
    stream = io.StringIO()
    yaml = YAML()
    yaml.width = 4096
    yaml.dump({name: {**about, **row.settings}}, stream)
    return stream.getvalue()


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
