"""Cases that are data: a new case is a new entry in a file of tests/cases."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

CASES = Path(__file__).parents[2] / "cases"


def cases(file: str) -> list[Any]:
    """The named cases of a file, as pytest parameters `(case,)` whose ids are the names."""

    found = YAML(typ="safe").load((CASES / file).read_text())
    return [pytest.param(case or {}, id=name) for name, case in found.items()]
