"""A new password beside the old one: the ways to log in, as mysql.global_priv has them, before and after."""

from __future__ import annotations

import pytest

from nornir_stack.errors import Refused
from nornir_stack.tasks.cluster.rotate import wanted_ways

NATIVE = "mysql_native_password"
OLD = {"plugin": NATIVE, "authentication_string": "*OLD"}
BOTH = {"plugin": NATIVE, "authentication_string": "*NEW", "auth_or": [{}, OLD]}


@pytest.mark.parametrize(
    ("row", "finish", "expected"),
    [
        (OLD, False, ["*NEW", "*OLD"]),
        (BOTH, False, []),
        (BOTH, True, ["*NEW"]),
        ({"plugin": NATIVE, "authentication_string": "*NEW"}, True, []),
        ({"plugin": NATIVE, "authentication_string": "*NEW"}, False, []),
    ],
)
def test_the_ways_to_log_in(row: dict[str, object], expected: list[str], *, finish: bool) -> None:
    """Both until it is finished, the new one first; then that alone; a second time nothing."""
    assert wanted_ways(row, "*NEW", "app@%", finish=finish) == expected


def test_refusals() -> None:
    """Not finished before it was begun; a user who logs in by something else keeps that."""
    with pytest.raises(Refused, match="without finish first"):
        wanted_ways(OLD, "*NEW", "app@%", finish=True)
    with pytest.raises(Refused, match="ed25519"):
        wanted_ways({"plugin": "ed25519", "authentication_string": "x"}, "*NEW", "app@%", finish=False)
