"""An inventory as rows for people: what each host is, how it is reached, and its settings with secrets masked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from nornir_stack.inventory.addressing import Holder
from nornir_stack.inventory.roles import classes_of
from nornir_stack.secret import MASK, Secret
from nornir_stack.settings import dotted, settings_of

if TYPE_CHECKING:
    from nornir.core.inventory import Defaults, Host

    from nornir_stack.inventory.fleet import Fleet


@dataclasses.dataclass(frozen=True)
class HostRow:
    """A host as `nornir-stack inventory show` tells it. `settings`: key to plain data, fit for JSON."""

    host: str
    roles: tuple[str, ...]
    address: str
    connection: str
    maintenance: str
    settings: Mapping[str, Mapping[str, Any]]


def fleet_show(fleet: Fleet) -> list[HostRow]:
    """A row for each host, in declared order. Raises InventoryError where the fleet has problems."""
    fleet.require()
    return [_row(host, fleet) for host in fleet.inventory.hosts.values()]


def holders(fleet: Fleet) -> list[Holder]:
    """The addresses that hosts have, by their hostname and by their settings. Names are not resolved."""
    fleet.require()
    found = []
    for host in fleet.inventory.hosts.values():
        with suppress(ValueError):
            found.append(Holder(ip_address(host.hostname or ""), host.name, "hostname"))
        for _, cls in classes_of(host, fleet.roles):
            settings = settings_of(host, cls)
            claims = getattr(settings, "claims", tuple)
            found += [Holder(claim.address, host.name, dotted(cls.key, claim.field)) for claim in claims()]
    return found


def _row(host: Host, fleet: Fleet) -> HostRow:
    return HostRow(
        host=host.name,
        roles=tuple(group.name for group in host.extended_groups()),
        address=host.hostname or "",
        connection=_connection(host),
        maintenance=str(host.get("maintenance") or ""),
        settings={cls.key: _plain(settings_of(host, cls)) for _, cls in classes_of(host, fleet.roles)},
    )


def _connection(host: Host) -> str:
    kind = str(host.get("connection") or "ssh")
    if kind in {"local", "openstack"}:  # no login on a node
        return kind
    user, port = _login(host, kind, "username"), _login(host, kind, "port")
    return f"{kind} {f'{user}@' if user else ''}{_login(host, kind, 'hostname')}{f':{port}' if port else ''}"


def _login(host: Host, kind: str, name: str) -> Any:
    """Nornir's own look-up would write what it found into the host."""
    elements: list[Host | Defaults] = [host, *host.extended_groups(), host.defaults]
    for element in elements:
        option = element.connection_options.get(kind)
        if option is not None and getattr(option, name) is not None:
            return getattr(option, name)
    return getattr(host, name)


def _plain(value: Any) -> Any:
    if isinstance(value, Secret):
        return f"{MASK} ({value.reference})" if value.reference else MASK
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return value if type(value) in {str, int, float, bool, type(None)} else str(value)
