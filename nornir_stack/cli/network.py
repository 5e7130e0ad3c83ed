"""`inventory show --network`: the plan of addresses as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nornir_stack.inventory.addressing import Lost, NetworkPlan, Row

_MANY = 1 << 32  # a count beyond it (IPv6) tells nobody anything


def as_text(plans: Sequence[NetworkPlan]) -> str:
    """Each network with its addresses, then the public ones that are lost, and how to win them back."""
    if not plans:
        return "no networks are declared: put them under `networks` in defaults.yaml"
    return "\n\n".join("\n".join(_network(plan)) for plan in plans)


def as_observed(notes: Sequence[str]) -> str:
    """What differs between plan and nodes."""
    if not notes:
        return "the nodes are as planned"
    return "\n".join(["the nodes differ from the plan:", *(f"  {note}" for note in notes)])


def _network(plan: NetworkPlan) -> Iterator[str]:
    network = plan.network
    over = f", bridge {network.bridge}" if network.bridge else ""
    yield f"{plan.name}  {network.cidr}  {network.kind}{over}"
    yield from _columns([(_range(row), row.who + _count(row)) for row in plan.rows])
    if network.kind != "public":
        return
    floating = sum(row.count for row in plan.rows if row.who == "floating")
    yield f"  of {network.cidr.num_addresses} public addresses {floating} are for instances, {len(plan.lost)} are lost:"
    yield from _columns([(str(one.address), one.holder, _back(one)) for one in plan.lost], indent=4)


def _range(row: Row) -> str:
    return str(row.first) if row.first == row.last else f"{row.first} - {row.last}"


def _count(row: Row) -> str:
    return f" ({row.count})" if 1 < row.count < _MANY else ""


def _back(one: Lost) -> str:
    return f"can be won back: {one.why}; {one.how}" if one.how else f"cannot be won back: {one.why}"


def _columns(table: Sequence[tuple[str, ...]], indent: int = 2) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        yield " " * indent + "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()
