"""What an inventory says about how public networks reach the instances behind a physical host. The key `external`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, ip_address, ip_interface
from typing import TYPE_CHECKING, ClassVar, Literal, TypeAlias

from nornir_stack.errors import Refused
from nornir_stack.inventory.networks import Network, networks_of, read_networks
from nornir_stack.select import nearest
from nornir_stack.settings import Address, Device, Finding, Text, dotted, settings_of
from nornir_stack.tasks.networking.settings import Link, Links, Route

if TYPE_CHECKING:
    from nornir.core.inventory import Host, Inventory

    from nornir_stack.tasks.networking.observe import NodeNetwork, SeenLink, SeenRoute
    from nornir_stack.tasks.networking.settings import AnyInterface

How: TypeAlias = Literal["bridged", "routed", "proxy_arp"]


@dataclass(frozen=True, kw_only=True)
class Uplink:
    """How a public network comes in: by the physical `card` from outside, over the `bridge` to the network node.

    `bridged`: the card is a port of the bridge, which gets the card's addresses. `routed`: the upstream router sends the
    network to this host (`next_hop`, by default its hostname). `proxy_arp`: this host answers for the network on the card.
    """

    mode: How
    card: Device
    bridge: Device
    next_hop: Address | None = None


@dataclass(frozen=True, kw_only=True)
class External:
    """Public networks of the plan of addresses by name, and how each reaches this host."""

    key: ClassVar[str] = "external"

    networks: Mapping[Text, Uplink] = field(default_factory=dict)

    @staticmethod
    def judge(mine: Mapping[str, "External"], inventory: "Inventory") -> Iterator[Finding]:
        """The networks are declared, public and of IPv4; a bridge serves one of them, and has a gateway to give."""
        networks, _ = read_networks(inventory.defaults.data)
        for host, external in mine.items():
            for name, uplink in external.networks.items():
                for text in wrong(name, uplink, networks, external):
                    yield Finding(host, dotted("networks", name), text)


def wrong(name: str, uplink: Uplink, networks: Mapping[str, Network], external: External) -> Iterator[str]:
    """What does not hold together in one uplink. Pure."""
    network = networks.get(name)
    if network is None:
        yield f"{name!r} is not declared under networks in defaults.yaml{nearest(name, networks)}"
        return
    if network.kind != "public":
        yield f"{name!r} is a private network: say `kind: public`, or leave it inside"
    if not isinstance(network.cidr, IPv4Network):
        yield f"{network.cidr} is of IPv6: only IPv4 is brought in so"
    if uplink.mode != "bridged" and network.gateway is None:
        yield f"network {name!r} has no gateway: it is the address that {uplink.bridge} has itself"
    if uplink.card == uplink.bridge:
        yield f"{uplink.card} cannot be both the card and the bridge"
    twin = next((other for other, one in external.networks.items() if one.bridge == uplink.bridge), name)
    if twin != name:
        yield f"{uplink.bridge} serves network {twin!r} already"
    for other, one in external.networks.items():
        if other != name and one.card == uplink.card and one.mode == "bridged":
            yield f"{uplink.card} is bridged for network {other!r}: it is a port of {one.bridge} and nothing else"


def own_ranges(network: Network, uplink: Uplink) -> tuple[str, ...]:
    """The addresses that are ours, as nft writes them: of a shared segment those of the plan, else the whole network."""
    if uplink.mode != "bridged" or not network.floating:
        return (str(network.cidr),)
    single = [network.bridge_address, *network.routers, *network.static.values()]
    ranges = [f"{pool.first}-{pool.last}" for pool in network.floating]
    outside = [address for address in single if address is not None and not any(address in pool for pool in network.floating)]
    return (*ranges, *map(str, outside))


def declared(host: "Host", now: "NodeNetwork", ours: Mapping[str, str]) -> Links:
    """The host's declaration of links with the bridges of its public networks, `ours` being devices of earlier runs. Pure.

    A bridge that is there and was not made here (libvirt's) is left alone, once it has what is needed. Raises Refused where a
    card would give the bridge an address that it has by DHCP.
    """
    links = settings_of(host, Links)
    networks = networks_of(host.defaults)
    for name, uplink in settings_of(host, External).networks.items():
        foreign = uplink.bridge in now.links and uplink.bridge not in ours and uplink.bridge not in links.links
        if uplink.mode == "bridged":
            links = _bridged(links, uplink, now)
        elif name in networks and not foreign:
            links = _routed(links, uplink, networks[name])
    return links


def _routed(links: Links, uplink: Uplink, network: Network) -> Links:
    bridge = links.links.get(uplink.bridge, Link(kind="bridge"))
    gateway = ip_interface(f"{network.gateway}/{network.cidr.prefixlen}")
    addresses = bridge.addresses if gateway in bridge.addresses else (*bridge.addresses, gateway)
    return replace(links, links={**links.links, uplink.bridge: replace(bridge, addresses=addresses)})


def _bridged(links: Links, uplink: Uplink, now: "NodeNetwork") -> Links:
    """The card becomes a port, and the bridge takes its addresses and routes: declared ones, or those that it has now.

    Raises Refused where nothing is declared and the card has its address by DHCP: written down it would outlive its lease.
    """
    bridge = links.links.get(uplink.bridge, Link(kind="bridge"))
    card = links.links.get(uplink.card, Link())
    held = [now.links[name] for name in (uplink.bridge, uplink.card) if name in now.links]
    holder = next((one for one in held if one.addresses or leases(one)), None)
    said = bool(bridge.addresses or card.addresses or bridge.dhcp or card.dhcp)
    if not said and holder is not None and leases(holder):
        raise Refused(
            f"{holder.name} has {', '.join(map(str, leases(holder)))} by DHCP, which {uplink.bridge} is to have then: say"
            f" network: {{links: {{{uplink.bridge}: {{kind: bridge, dhcp: true}}}}}}, or give it a static address there"
        )
    seen = holder.addresses if holder is not None and not said else ()
    addresses = bridge.addresses or card.addresses or tuple(a for a in seen if a.version == 4)  # noqa: PLR2004
    ports = bridge.ports if uplink.card in bridge.ports else (uplink.card, *bridge.ports)
    bridge = replace(bridge, ports=ports, addresses=addresses, dhcp=bridge.dhcp or card.dhcp)
    routes = [replace(route, link=uplink.bridge) if route.link == uplink.card else route for route in links.routes]
    if holder is not None and not said:
        routes += [route for one in _ways(now, holder) if (route := _kept(one, uplink.bridge)).target not in _targets(routes)]
    named = {**links.links, uplink.card: replace(card, addresses=(), dhcp=False), uplink.bridge: bridge}
    return replace(links, links=named, routes=tuple(routes))


def leases(link: "SeenLink") -> list["AnyInterface"]:
    """The addresses of IPv4 that a link has for a time only."""
    return [one for one in link.dynamic if one.version == 4]  # noqa: PLR2004


def _ways(now: "NodeNetwork", link: "SeenLink") -> list["SeenRoute"]:
    """Routes of the main table that leave by a link, without those that its addresses bring."""
    connected = [address.network for address in link.addresses]
    return [
        one
        for one in now.routes
        if one.link == link.name
        and one.table == "main"
        and one.target.version == 4  # noqa: PLR2004
        and one.protocol not in {"dhcp", "ra"}
        and (one.via or one.target not in connected)
    ]


def _kept(one: "SeenRoute", link: str) -> Route:
    return Route(to=one.target, via=ip_address(one.via) if one.via else None, link=link, metric=one.metric or None)


def _targets(routes: list[Route]) -> list[object]:
    return [route.target for route in routes]


def next_hop(host: "Host", uplink: Uplink) -> IPv4Address | None:
    """The address to which the upstream router sends a routed network; None where the inventory names none."""
    try:
        found = uplink.next_hop or ip_address(host.hostname or "")
    except ValueError:
        return None
    return found if isinstance(found, IPv4Address) else None
