"""`galera.form` against the same steps by hand over ssh, on the same prepared nodes, runs alternating.

    sudo .venv/bin/python benchmarks/form.py [ROUNDS]

Prints seconds and ratios of medians. The nodes are virgin before each run (that is not timed).
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from ipaddress import IPv4Network
from pathlib import Path

import nornir_stack
from nornir_stack.lab import Lab, LabSpec, NodeSpec
from nornir_stack.settings import settings_of
from nornir_stack.tasks.cluster import mycnf
from nornir_stack.tasks.cluster.form import form
from nornir_stack.tasks.cluster.product import PRODUCTS
from nornir_stack.tasks.cluster.settings import Galera

HERE = Path(__file__).parent
NAMES = ("db1", "db2", "db3")
DEFAULTS = """\
username: root
connection_options: {{ssh: {{extras: {{known_hosts: {state}/known_hosts, client_keys: [{state}/id_ed25519]}}}}}}
data: {{networks: {{data: {{cidr: 10.77.251.0/24}}}}}}
"""
GROUPS = """\
db:
  data:
    galera:
      {{cluster_name: bench, buffer_pool: 128M, log_file_size: 48M, gcache_size: 64M, max_connections: 200,
       schemas: [my_test_db], users: [{{name: app, password: !secret 'file:{password}', grants: [ALL ON my_test_db.*]}}]}}
"""


def main(rounds: int) -> None:
    nodes = tuple(NodeSpec(name, f"10.77.251.{11 + i}/24", tree="db") for i, name in enumerate(NAMES))
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        folder = Path(scratch)
        lab = Lab(LabSpec("bench", IPv4Network("10.77.251.0/24"), nodes, folder / "lab"), print)
        lab.up()
        try:
            measure(lab, folder, rounds)
        finally:
            lab.down()


def measure(lab: Lab, folder: Path, rounds: int) -> None:
    fleet = write_fleet(lab, folder)
    hand: list[float] = []
    formed: list[float] = []
    again: list[float] = []
    for number in range(rounds):
        lab.reset(*NAMES)
        hand.append(seconds_by_hand(lab, folder))
        lab.reset(*NAMES)
        formed.append(seconds_by_chain(fleet))
        again.append(seconds_by_chain(fleet))
        line = f"by hand {hand[-1]:.1f} s, galera.form {formed[-1]:.1f} s, again {again[-1]:.1f} s"
        print(f"round {number + 1}: {line}", flush=True)
    base, first, second = map(statistics.median, (hand, formed, again))
    print(f"galera.form / by hand: {first / base:.2f}     forming / second run: {first / second:.1f}")


def seconds_by_hand(lab: Lab, folder: Path) -> float:
    pairs = [f"{node.name}={node.address.partition('/')[0]}" for node in lab.spec.nodes]
    argv = ["sh", str(HERE / "by_hand.sh"), str(lab.spec.state / "ssh_config"), str(folder), str(folder / "password"), *pairs]
    started = time.monotonic()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    took = time.monotonic() - started
    for name in NAMES:
        stop = ["ssh", "-O", "exit", "-o", f"ControlPath={folder}/%n", "-F", str(lab.spec.state / "ssh_config"), name]
        subprocess.run(stop, check=False, capture_output=True)
    return took


def seconds_by_chain(fleet: Path) -> float:
    started = time.monotonic()
    with nornir_stack.open(fleet) as nr:
        report = form().run(nr)
    if not report.ok:
        sys.exit(report.to_json())
    return time.monotonic() - started


def write_fleet(lab: Lab, folder: Path) -> Path:
    """The inventory for the chain, and the very same configuration files for the hand."""
    (folder / "password").write_text("a-password-for-a-benchmark")
    fleet = folder / "fleet"
    fleet.mkdir()
    hosts = "".join(f"{node.name}: {{hostname: {node.address.partition('/')[0]}, groups: [db]}}\n" for node in lab.spec.nodes)
    (fleet / "hosts.yaml").write_text(hosts)
    (fleet / "groups.yaml").write_text(GROUPS.format(password=folder / "password"))
    (fleet / "defaults.yaml").write_text(DEFAULTS.format(state=lab.spec.state))
    nr = nornir_stack.open(fleet)
    members = [node.address.partition("/")[0] for node in lab.spec.nodes]
    for name in NAMES:
        galera = settings_of(nr.inventory.hosts[name], Galera)
        product = PRODUCTS["mariadb", "debian"]
        text = mycnf.rendered(galera, product, name=name, members=members, memory=24 << 30, cpus=2)
        (folder / f"{name}.cnf").write_text(text)
    return fleet


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
