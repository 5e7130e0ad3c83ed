"""Why Cinder makes no volumes: what its logs, packstack's, and its configuration say, each as a cause with what to do."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from nornir_stack.chain import Chain, Check, Plan, Stage
from nornir_stack.command import sh
from nornir_stack.node import Node
from nornir_stack.settings import settings_of
from nornir_stack.tasks.openstack.block_storage import volume_services, volumes_alive
from nornir_stack.tasks.openstack.one_cloud import CLOUD
from nornir_stack.tasks.openstack.plane import CONTROLLER, STORAGE
from nornir_stack.tasks.openstack.settings import Cinder

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from nornir.core.task import Task

    from nornir_stack.results import Result
    from nornir_stack.seen import Seen

CONF = "/etc/cinder/cinder.conf"
_LAST = 5000  # lines of each log
# Target helper of cinder.conf to the program that Cinder calls for it, if it is one (cinder/volume/targets).
_PROGRAMS = {
    "tgtadm": "tgtadm",
    "lioadm": "cinder-rtstool",
    "scstadmin": "scstadmin",
    "iscsictl": "iscsictl",
    "ietadm": "ietadm",
    "nvmet": "",
    "spdk-nvmeof": "",
    "fake": "",
}
_DATABASE = r"Access denied for user '([^']+)'@"
# What is looked for in a log, in the words of Cinder, keystonemiddleware, oslo and puppet-cinder from Juno to today; what
# it means; what to do. {} is what the pattern caught.
_SIGNS: tuple[tuple[str, str, str], ...] = (
    (
        r"Identity server rejected authorization",
        "Keystone refuses Cinder's own user: [keystone_authtoken] in " + CONF + " has another password than Keystone",
        "run openstack.control_plane, or set both alike and restart Cinder's API",
    ),
    (
        r"Unsupported iscsi helper: ?([^ .]*)",
        "puppet knows no iSCSI helper {!r}",
        "say lioadm (or tgtadm, where the distribution still has it)",
    ),
    (
        r"Value for option (?:target|iscsi)_helper .*but found '?([^ ']*)",
        "Cinder knows no iSCSI helper {!r}",
        "say tgtadm or lioadm as target_helper in " + CONF,
    ),
    (
        r"Failed to create iscsi target for volume",
        "the iSCSI target's daemon does not give a volume away that Cinder made",
        "see that tgt runs, and that its configuration includes /var/lib/cinder/volumes/*",
    ),
    (
        r'Volume [Gg]roup "?([^ "]+)"? (?:does not exist|not found)',
        "there is no volume group {}",
        "storage.volume_group makes one",
    ),
    (
        r"ACCESS_REFUSED",
        "RabbitMQ refuses Cinder's login: transport_url in " + CONF,
        "run openstack.control_plane, or set the password as RabbitMQ has it",
    ),
    (
        _DATABASE,
        "the database refuses Cinder's user {}: [database] connection in " + CONF,
        "run openstack.control_plane, or set the password as the database has it",
    ),
)
# A service that was started again has the word anew: what its log says of the time before is over.
_BEGINS = r"Starting cinder-\S+ node|\*\*\* Starting uWSGI"
_AT = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")


@dataclass(frozen=True)
class Trouble:
    """A cause, with what to do about it; `path` is the file that tells it, `at` when it did so last ('' if not known)."""

    cause: str
    remedy: str
    path: str
    at: str = ""

    def __str__(self) -> str:
        return f"{self.cause}: {self.remedy} ({self.path}{f', last at {self.at}' if self.at else ''})"


@dataclass(frozen=True)
class VolumeNode:
    """A node of Cinder's: whether the inventory wants volumes of it, and what keeps it from making them."""

    gives: bool
    troubles: tuple[Trouble, ...]


def volumes() -> Chain:
    """Whether Cinder hears its scheduler and its volume nodes, and why not, from their logs and configuration: a look."""
    return Chain("openstack.volumes", Plan("nodes", volume_node, _services, CONTROLLER | STORAGE))


def _services(seen: Seen[VolumeNode]) -> Chain:
    heard = Check(volume_services, partial(unwell, nodes=seen), CLOUD)
    return Chain("services", Stage("heard", [], CLOUD, until=heard), reasons=told(seen))


def told(nodes: Seen[VolumeNode]) -> list[str]:
    """Every trouble with its node. Pure."""
    return [f"{host}: {each}" for host, node in nodes.items() for each in node.troubles]


def unwell(seen: Seen[tuple[tuple[str, str, bool], ...]], *, nodes: Seen[VolumeNode]) -> list[str]:
    """Services that Cinder does not hear, with what the nodes' logs say; and what stands wrong in a configuration. Pure.

    A log alone is no problem: what it tells may be over.
    """
    problems = volumes_alive(seen, nodes=[host for host, node in nodes.items() if node.gives])
    problems += [f"{host} was not seen: {why}" for host, why in nodes.missing.items()]
    wrong = [f"{host}: {each}" for host, node in nodes.items() for each in node.troubles if problems or each.path == CONF]
    return problems + wrong


# Words: the signs as one extended regular expression, how many lines, the configuration, and programs. Only lines that
# match leave the node.
_LOOK = r"""
for log in /var/log/cinder/*.log /var/tmp/packstack/*/manifests/*.log; do
    [ -f "$log" ] || continue
    echo "== $log"
    tail -n "$2" "$log" | grep -aE "$1" | tail -n 200
done
[ -f "$3" ] || exit 0
echo "== $3"
sed -n 's/^ *\(target_helper\|iscsi_helper\) *= *//p' "$3"
shift 3
echo '== programs'
for each in "$@"; do
    ! command -v "$each" >/dev/null || echo "$each"
done
"""


def volume_node(task: Task) -> Result[VolumeNode]:
    """Observe why a node makes no volumes: its logs since the last start, packstack's, and its configuration.

    A node without Cinder has no trouble with it.
    """
    node = Node(task)
    signs = "|".join([*(f"({each})" for each, _, _ in _SIGNS), f"({_BEGINS})"])
    script = sh(_LOOK, _extended(signs), str(_LAST), CONF, *filter(None, _PROGRAMS.values()))
    gives = task.host.has_parent_group("storage") and settings_of(task.host, Cinder).volume_group is not None
    return node.done(VolumeNode(gives, troubles(node.read(script).stdout)))


def _extended(pattern: str) -> str:
    """Python's pattern for grep -E, which has no groups that catch nothing."""
    return pattern.replace("(?:", "(").replace(r"\S", "[^ ]").replace(r"\*", "[*]")


def troubles(said: str) -> tuple[Trouble, ...]:
    """What the node's answer tells. Pure."""
    found: dict[str, Trouble] = {}
    parts = {name: lines for name, *lines in (part.splitlines() for part in f"\n{said}".split("\n== ")[1:])}
    for path, lines in parts.items():
        if path.endswith(".log"):
            found |= {each.cause: each for each in _of_log(path, lines)}
    return (*found.values(), *_of_helpers(dict.fromkeys(parts.get(CONF, ())), parts.get("programs", ())))


def _of_log(path: str, lines: Sequence[str]) -> Iterator[Trouble]:
    since = max((at + 1 for at, line in enumerate(lines) if re.search(_BEGINS, line)), default=0)
    for line in lines[since:]:
        for pattern, cause, remedy in _SIGNS:
            if caught := re.search(pattern, line):
                at = _AT.search(line)
                yield Trouble(cause.format(*caught.groups()), remedy, path, at[0] if at else "")


def _of_helpers(helpers: Iterable[str], programs: Sequence[str]) -> Iterator[Trouble]:
    have = " or ".join(each for each, program in _PROGRAMS.items() if program in programs)
    for helper in helpers:
        wanted = _PROGRAMS.get(helper)
        if helper not in _PROGRAMS:
            yield Trouble(f"Cinder knows no target_helper {helper!r}", f"say {have or 'tgtadm or lioadm'}", CONF)
        elif wanted and wanted not in programs:
            instead = f"say {have}, which the node has, or install it" if have else "install it"
            yield Trouble(f"the target_helper is {helper}, and the node has no program {wanted}", instead, CONF)
