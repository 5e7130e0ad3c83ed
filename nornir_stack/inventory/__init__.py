"""The inventory: Nornir's own files, checked before the first connection, every complaint with its file and line."""

from nornir_stack.inventory.fleet import Fleet
from nornir_stack.inventory.load import load, open_inventory
from nornir_stack.inventory.networks import Network, networks_of
from nornir_stack.inventory.show import HostRow, fleet_show
from nornir_stack.inventory.source import Problem

__all__ = ["Fleet", "HostRow", "Network", "Problem", "fleet_show", "load", "networks_of", "open_inventory"]
