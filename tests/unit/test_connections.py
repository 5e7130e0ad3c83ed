"""What is remembered of a host's connections beyond one of them."""

from __future__ import annotations

import inspect
import socket
import time
from dataclasses import fields
from typing import TYPE_CHECKING

import pytest
from nornir.core.inventory import ConnectionOptions

from nornir_stack.connections import connection, libvirt, ssh
from nornir_stack.connections.mongodb import Mongo
from nornir_stack.connections.mysql import Mysql
from nornir_stack.connections.openstack import Api
from nornir_stack.errors import ConnectionFailed
from nornir_stack.inventory.options import EXTRAS
from nornir_stack.inventory.plugins import register_connections
from tests.unit.fleets import fleet

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_host_that_took_long_to_be_found_unreachable_is_not_waited_for_again_at_once() -> None:
    """Whoever asks for the connection in the next seconds is told at once, with the same error."""
    register_connections()
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes the connection and never says SSH-2.0
        nr = fleet({"db": ["db1"]})
        host = nr.inventory.hosts["db1"]
        extras = {"connect_timeout": 2.2, "known_hosts": "/dev/null"}
        port = silent.getsockname()[1]
        host.connection_options["ssh"] = ConnectionOptions("127.0.0.1", port, "root", None, None, extras)
        with pytest.raises(ConnectionFailed) as first:
            connection(host, "ssh", nr.config)
        began = time.monotonic()
        with pytest.raises(ConnectionFailed) as second:
            connection(host, "ssh", nr.config)
        assert second.value is first.value
        assert time.monotonic() - began < 1.0  # not a speed but a wait that is left out: it would take 2.2


def words_of(made: Callable[..., object]) -> set[str]:
    return set(inspect.signature(made).parameters)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("ssh", ssh._EXTRAS),
        ("local", {"sudo", "sudo_password"}),
        ("libvirt", libvirt._EXTRAS),
        ("mysql", words_of(Mysql) - {"through"}),
        ("mongodb", words_of(Mongo)),
        ("openstack", words_of(Api)),
    ],
)
def test_the_inventory_knows_the_extras_of_each_plugin(name: str, taken: set[str]) -> None:
    """What the inventory lets through is what the plugin takes, no more and no less."""
    assert {field.name for field in fields(EXTRAS[name])} == taken
