"""What all unit tests share: no test's secrets are masked in another's texts."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _secrets_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process revealed is masked everywhere and for ever; each test starts as a process that revealed nothing."""
    monkeypatch.setattr("nornir_stack.secret._revealed", set())
