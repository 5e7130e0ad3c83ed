"""The chain that puts up the page behind the load balancer."""

from __future__ import annotations

from nornir_stack.chain import Chain, Check, Stage, do
from nornir_stack.select import role
from nornir_stack.tasks.system.names import hosts_file
from nornir_stack.tasks.web.apache import apache
from nornir_stack.tasks.web.page import members_take_turns, page
from nornir_stack.tasks.web.table import table

WEB = role("web")


def deploy(*, tries: int = 6) -> Chain:
    """The table, Apache with the page, and the proof that members take turns on it (`tries` fetches)."""
    return Chain(
        "web.deploy",
        Stage("table", [table], role("db")),
        Stage("page", [hosts_file, apache], WEB),
        Stage(
            "verify",
            [do(page, tries=tries)],
            WEB,
            until=Check(do(page, tries=tries), members_take_turns, WEB, within=10),
        ),
    )
