"""`inventory show --network --observe` and the picture, beside live nodes: as planned, then changed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

import pytest

from nornir_stack.cli.main import main
from tests.integration.link_trials import inside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from nornir_stack.lab import Lab

ADDRESS = "172.16.1.12"


@pytest.fixture
def inventory(boot: Callable[..., Lab], tmp_path: Path) -> tuple[Lab, Path]:
    """Two nodes on the lab's network, the second with a card on another one; its address there is declared."""
    lab = boot("n1", "n2", nics={"n1": {"eth2": "data"}, "n2": {"eth2": "data"}})
    addresses = {node.name: node.address.partition("/")[0] for node in lab.spec.nodes}
    card = f"{{network: {{links: {{eth2: {{addresses: [{ADDRESS}/24]}}}}}}}}"
    (tmp_path / "hosts.yaml").write_text(
        f"n1:\n  hostname: {addresses['n1']}\n  groups: [network]\n"
        f"n2:\n  hostname: {addresses['n2']}\n  groups: [network]\n  data: {card}\n"
    )
    (tmp_path / "groups.yaml").write_text("network: {}\n")
    state = lab.spec.state
    ssh = f"{{ssh: {{extras: {{known_hosts: {state}/known_hosts, client_keys: [{state}/id_ed25519]}}}}}}"
    pool = "[{first: 172.16.1.100, last: 172.16.1.199}]"
    (tmp_path / "defaults.yaml").write_text(
        f"username: root\nconnection_options: {ssh}\ndata:\n  networks:\n    management: {{cidr: {lab.spec.network}}}\n"
        f"    data: {{cidr: 172.16.1.0/24, pools: {pool}}}\n"
    )
    return lab, tmp_path


def shown(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What the command prints."""
    capsys.readouterr()
    assert main(["inventory", "show", "-i", str(folder), "--observe", *words]) == 0
    return capsys.readouterr().out


def test_plan_and_nodes(inventory: tuple[Lab, Path], capsys: pytest.CaptureFixture[str]) -> None:
    """Before the run the address is missed, after it they agree; what is changed by hand is told, and red in the picture."""
    lab, folder = inventory
    missed = f"{ADDRESS} is planned for n2, which does not have it"
    assert missed in shown(folder, capsys, "--network")
    assert main(["run", "network.links", "-i", str(folder), "--on", "n2"]) == 0
    said = shown(folder, capsys, "--network")
    assert said.endswith("the nodes are as planned\n"), said
    picture = folder / "network.svg"
    shown(folder, capsys, "--svg", str(picture))
    plain = picture.read_text()
    ET.fromstring(plain)  # noqa: S314  our own
    assert f">{ADDRESS}<" in plain
    assert 'class="address wrong"' not in plain
    assert "stroke-dasharray" not in plain

    inside(lab, "n2", f"ip address delete {ADDRESS}/24 dev eth2")
    inside(lab, "n1", "ip address add 172.16.1.150/24 dev eth2")
    strange = "n1 has 172.16.1.150 on eth2, which is pool in the plan"
    said = shown(folder, capsys, "--network")
    assert "the nodes differ from the plan:" in said
    assert (missed in said, strange in said) == (True, True), said
    shown(folder, capsys, "--svg", str(picture))
    marked = picture.read_text()
    ET.fromstring(marked)  # noqa: S314  our own
    for address in (ADDRESS, "172.16.1.150"):
        assert f'class="address wrong" text-anchor="start">{address}<' in marked
    assert missed in marked
    assert strange in marked

    lab.stop("n1")
    said = shown(folder, capsys, "--network")
    assert "n1 was not looked at: " in said
    shown(folder, capsys, "--svg", str(picture))
    assert picture.read_text().count("stroke-dasharray") == 1
