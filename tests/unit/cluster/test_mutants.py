"""A sample of the mutants of the rules: each is killed, or explained in docs/mutation.md."""

from __future__ import annotations

import subprocess
import sys

from tests.unit.cluster.mutate import PAGE, RULES, explained, mutants

SAMPLE = 8


def test_a_sample_of_mutants(seed: int, *, campaign: bool) -> None:
    """The rules changed in one place at a time: a test fails (all of them by --campaign)."""
    words = ["--all"] if campaign else ["--seed", str(seed), "--sample", str(SAMPLE)]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.unit.cluster.mutate", *words], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_page_explains_no_mutant_that_is_gone() -> None:
    """Every line of its table is a mutant of the rules as they are."""
    known = {what for module in RULES for what, _, _ in mutants(module)}
    assert explained(PAGE.read_text()) - known == set()
