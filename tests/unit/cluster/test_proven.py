"""docs/galera.md names the tests that prove it: they are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
_NAMED = re.compile(r"`(test_\w+)\.(test_\w+)`")


def test_the_tests_that_the_page_names_exist() -> None:
    """Each `test_module.test_function` of the page is a test on real nodes."""
    named = _NAMED.findall((ROOT / "docs" / "galera.md").read_text())
    assert named
    files = {module: (ROOT / "tests" / "integration" / f"{module}.py").read_text() for module, _ in named}
    assert [f"{module}.{test}" for module, test in named if f"def {test}(" not in files[module]] == []
