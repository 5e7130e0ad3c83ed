"""A lab: real nodes on this machine, booted, killed, cut off and taken down."""

from __future__ import annotations

import fcntl
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nornir_stack.errors import UsageError
from nornir_stack.lab import machine, trees
from nornir_stack.lab.container import Container
from nornir_stack.lab.identity import write_keys
from nornir_stack.lab.machine import LabError, run
from nornir_stack.lab.spec import NodeSpec

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Sequence

    from nornir_stack.lab.spec import LabSpec

    Tell = Callable[[str], None]


@dataclass(frozen=True)
class NodeStatus:
    """A node as it is now. `memory` in bytes, 0 if it does not run."""

    name: str
    address: str
    running: bool
    answers: bool
    memory: int


def _silent(_: str) -> None:
    pass


class Lab:
    """The nodes of a `LabSpec`. It lives on the machine, not in this object: another process sees the same lab."""

    def __init__(self, spec: LabSpec, tell: Tell = _silent) -> None:
        self.spec = spec
        self.tell = tell
        self.nodes = {node.name: Container(spec, node) for node in spec.nodes}

    def container(self, name: str) -> Container:
        self.spec.node(name)
        return self.nodes[name]

    def up(self) -> bool:
        """Boot every node that does not run and wait until all answer; True if that changed anything."""
        reason = machine.reason_against()
        if reason:
            raise UsageError(reason)
        if missing := machine.missing_packages():
            self.tell(f"installing {', '.join(missing)} on this machine")
            machine.install(missing)
        self.spec.state.mkdir(parents=True, exist_ok=True, mode=0o700)
        with self._locked():
            write_keys(self.spec)
            dead = [node for node in self.nodes.values() if not node.running]
            self._bridge()
            if dead:
                self._boot(dead)
        with ThreadPoolExecutor(max(1, len(self.nodes))) as pool:
            list(pool.map(lambda node: node.wait_ready(), self.nodes.values()))
        return bool(dead)

    def _boot(self, dead: Sequence[Container]) -> None:
        machine.raise_limits(self.tell)
        kinds = {(node.node.tree, self.spec.suite_of(node.node)) for node in dead}
        mirrors = {suite: trees.mirror(suite, self.spec.mirror, self.tell) for _, suite in kinds}
        images = {(tree, suite): trees.image_tree(tree, suite, self.spec.mirror, self.tell) for tree, suite in kinds}
        self.tell(f"booting {', '.join(node.node.name for node in dead)}")
        for node in dead:
            suite = self.spec.suite_of(node.node)
            node.start(images[node.node.tree, suite], mirrors[suite])

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One at a time: two `up` of one lab would boot its nodes twice."""
        with (self.spec.state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _bridge(self) -> None:
        there = run("ip", "-o", "link", "show", "type", "bridge")
        for bridge in (self.spec.bridge, *self.spec.segments.values()):
            if f" {bridge}:" not in there:
                run("ip", "link", "add", bridge, "type", "bridge", "forward_delay", "0", "stp_state", "0")
            run("ip", "link", "set", bridge, "up")
        for bridge in self.spec.segments.values():
            # this machine would else answer there for any address that it has anywhere
            (Path("/proc/sys/net/ipv4/conf") / bridge / "arp_ignore").write_text("8")
            with suppress(OSError):
                (Path("/proc/sys/net/ipv6/conf") / bridge / "disable_ipv6").write_text("1")
        bridge = self.spec.bridge
        wanted = f"{self.spec.gateway}/{self.spec.network.prefixlen}"
        if f" {wanted} " not in run("ip", "-o", "address", "show", "dev", bridge):
            taken = [line.split()[1] for line in run("ip", "-o", "-4", "address").splitlines() if f" {wanted} " in line]
            if taken:
                raise UsageError(f"the network {self.spec.network} is in use on this machine ({taken[0]}): take another")
            run("ip", "address", "add", wanted, "dev", bridge)

    def down(self, *, cache: bool = False) -> None:
        """Take away every process, mount, control group, loop device and file, and the bridge; with `cache` the trees too.

        Raises UsageError where this process is not root.
        """
        machine.need_root("taking nodes down")
        if self.spec.state.exists():
            with self._locked():
                nodes = [*self.nodes.values(), *self._former()]
                with ThreadPoolExecutor(max(1, len(nodes))) as pool:
                    list(pool.map(lambda node: node.kill(), nodes))
                run("nft", "delete", "table", *self._table.split(), check=False)
                for node in nodes:
                    node.wipe()
        run("ip", "link", "delete", self.spec.bridge, check=False)
        for segment in Path("/sys/class/net").glob(f"{self.spec.bridge}.*"):  # those of an earlier inventory too
            run("ip", "link", "delete", segment.name, check=False)
        machine.remove(self.spec.state)
        if cache:
            trees.drop_cache()

    def _former(self) -> Iterator[Container]:
        """Nodes that an earlier inventory described: they are on the machine and must go too."""
        for folder in (self.spec.state / "nodes").glob("*"):
            if folder.name not in self.nodes:
                disk = int((folder / "disk.img").exists())
                yield Container(self.spec, NodeSpec(folder.name, f"{self.spec.gateway}/32", disk_mib=disk))

    def status(self) -> list[NodeStatus]:
        with ThreadPoolExecutor(max(1, len(self.nodes))) as pool:
            return list(pool.map(self._status, self.nodes.values()))

    def _status(self, node: Container) -> NodeStatus:
        running = node.running
        return NodeStatus(
            node.node.name, node.address, running, running and node.answers(), machine.memory(node.init) if running else 0
        )

    # faults

    def start(self, name: str) -> None:
        """Boot a node that was stopped or killed, with the files that it had, and wait until it answers."""
        node = self.container(name)
        with self._locked():
            self._bridge()
            self._boot([] if node.running else [node])
        node.wait_ready()

    def stop(self, name: str) -> None:
        """Power a node off cleanly."""
        self.container(name).stop()

    def kill(self, *names: str) -> None:
        """SIGKILL to everything in these nodes, at once."""
        nodes = [self.container(name) for name in names]
        with ThreadPoolExecutor(max(1, len(nodes))) as pool:
            list(pool.map(lambda node: node.kill(), nodes))

    def reset(self, *names: str) -> None:
        """These nodes again as they were before their first boot, running."""
        self.kill(*names)
        for name in names:
            self.container(name).wipe()
        with self._locked():
            self._bridge()
            self._boot([self.container(name) for name in names])
        for name in names:
            self.container(name).wait_ready()

    def pause(self, name: str) -> None:
        """Stop every process of a node; its network goes on, and nothing answers."""
        self.container(name).pause()

    def resume(self, name: str) -> None:
        self.container(name).resume()

    def enter(self, name: str, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a program in a node as root, without ssh and whatever its network does."""
        return self.container(name).enter(*argv)

    def ssh_command(self, name: str) -> list[str]:
        """The words with which a person gets a shell there."""
        self.spec.node(name)
        return ["ssh", "-F", str(self.spec.state / "ssh_config"), name]

    # network

    def cut(self, name: str) -> None:
        """Take a node's network away, from the other nodes and from this machine."""
        run("ip", "link", "set", self._link(name), "down")

    def partition(self, *groups: Sequence[str]) -> None:
        """Let nodes of different groups not reach each other; this machine reaches all. A later call replaces an earlier."""
        table = self._table
        links = [[self._link(name) for name in group] for group in groups]
        drops = [
            f'        iifname "{one}" oifname "{other}" drop'
            for number, group in enumerate(links)
            for one in group
            for others in links[:number] + links[number + 1 :]
            for other in others
        ]
        chain = ["    chain forward {", "        type filter hook forward priority 0;", *drops, "    }"]
        again = [f"table {table} {{}}", f"delete table {table}", f"table {table} {{", *chain, "}", ""]
        run("nft", "-f", "-", stdin="\n".join(again))

    def heal(self) -> None:
        """Give every node its network back. Raises UsageError where this process is not root."""
        machine.need_root("giving nodes their network back")
        for name, node in self.nodes.items():
            if node.running:
                run("ip", "link", "set", self._link(name), "up")
        run("nft", "delete", "table", *self._table.split(), check=False)

    @property
    def _table(self) -> str:
        return f"bridge nornir_stack_{self.spec.name}"

    def _link(self, name: str) -> str:
        link = self.container(name).link
        if not link:
            raise LabError(f"{name} has no link on the bridge: is it running?")
        return link
