"""Whether the clocks are right, and agree: a cluster, certificates and tokens need it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Check
from nornir_stack.command import sh
from nornir_stack.node import Node

if TYPE_CHECKING:
    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen
    from nornir_stack.select import Selector

LIMIT = 0.5

# Within a container the clock is the machine's, and no service of the container can keep it.
_LOOK = """
export LC_ALL=C
if systemd-detect-virt --quiet --container 2>/dev/null; then echo "service the host"; exit 0; fi
for unit in chrony chronyd systemd-timesyncd ntpsec ntp ntpd openntpd; do
    if systemctl is-active --quiet "$unit.service"; then echo "service $unit"; break; fi
done
echo "synchronised $(timedatectl show -p NTPSynchronized --value 2>/dev/null)"
if command -v chronyc >/dev/null; then chronyc -n tracking 2>/dev/null | sed -n 's/^Leap status *: /leap /p'; fi
:
"""


@dataclass(frozen=True)
class Clock:
    """A node's clock beside that of this machine: `offset` seconds ahead, give or take `doubt` seconds (half a round trip).

    `service` keeps it (`the host` in a container, nothing where none runs); `synchronised` by what that service says.
    """

    offset: float
    doubt: float
    service: str
    synchronised: bool


def clock(task: Task) -> Result[Clock]:
    """Observe the clock; two round trips."""
    node = Node(task)
    service, synchronised = parse(node.read(sh(_LOOK)).stdout)
    before = time.time()
    there = float(node.read("date", "+%s.%N").text)
    after = time.time()
    return node.done(Clock(there - (before + after) / 2, (after - before) / 2, service, synchronised))


def parse(text: str) -> tuple[str, bool]:
    """The service, and whether it is synchronised: chrony says it itself, for others systemd asks the kernel."""
    said = dict(line.partition(" ")[::2] for line in text.splitlines())
    service = said.get("service", "")
    if service == "the host":
        return service, True
    if service in {"chrony", "chronyd"} and said.get("leap"):
        return service, said["leap"] != "Not synchronised"
    return service, bool(service) and said.get("synchronised") == "yes"


def unsynchronised(seen: Seen[Clock], *, limit: float = LIMIT) -> list[str]:
    """Problems: a node without a clock that is kept, and two nodes that are certainly more than `limit` seconds apart."""
    problems = [f"{host} could not be asked for its time: {why}" for host, why in seen.missing.items()]
    for host, one in seen.items():
        if not one.service:
            problems.append(f"{host}: no service keeps its clock: install and start chrony")
        elif not one.synchronised:
            problems.append(f"{host}: {one.service} runs and is not synchronised: look at its time servers")
    if len(seen) > 1:
        first, slow = min(seen.items(), key=lambda item: item[1].offset)
        last, fast = max(seen.items(), key=lambda item: item[1].offset)
        apart = fast.offset - slow.offset
        if apart - fast.doubt - slow.doubt > limit:
            problems.append(f"the clock of {last} is {apart:.1f} s ahead of that of {first}, and {limit:g} s are allowed")
    return problems


def clocks_agree(on: Selector, *, limit: float = LIMIT, within: float = 0.0) -> Check[Clock]:
    """The check for a stage: all clocks of `on` are kept, and agree."""
    return Check(clock, partial(unsynchronised, limit=limit), on, within=within)
