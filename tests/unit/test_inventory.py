"""The inventory: what loads, and what is said of what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nornir import InitNornir
from ruamel.yaml import YAML

from nornir_stack.inventory import load

CASES = Path(__file__).parents[1] / "cases" / "inventory"
FILES = ("hosts", "groups", "defaults")


def case(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(CASES / f"{name}.yaml")
    return loaded


def write(folder: Path, files: dict[str, Any]) -> Path:
    for name in FILES:
        text = files.get(name, case("base")[name])
        if text is not None:
            (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.mark.parametrize("name", sorted(path.stem for path in CASES.glob("*.yaml")))
def test_case(name: str, tmp_path: Path) -> None:
    """Each case's inventory has exactly the problems and warnings that the case lists, each with file and line."""
    wanted = case(name)
    fleet = load(write(tmp_path, wanted))
    seen = {
        kind: [str(one).replace(f"{tmp_path}/", "").replace(str(tmp_path), "FOLDER") for one in found]
        for kind, found in (("problems", fleet.problems), ("warnings", fleet.warnings))
    }
    assert seen == {"problems": wanted.get("problems", []), "warnings": wanted.get("warnings", [])}
