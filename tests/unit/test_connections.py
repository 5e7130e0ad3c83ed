"""What is remembered of a host's connections beyond one of them."""

from __future__ import annotations

import socket
import time

import pytest
from nornir.core.inventory import ConnectionOptions

from nornir_stack.connections import connection
from nornir_stack.errors import ConnectionFailed
from nornir_stack.inventory.plugins import register_connections
from tests.unit.fleets import fleet


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
