"""What all tests share: campaigns, of which a seeded sample runs unless all of it is asked for."""

from __future__ import annotations

import os
import random

import hypothesis
import pytest

_SEED = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--campaign", action="store_true", help="run all cases of the tests marked campaign, not a seeded sample")


def pytest_configure(config: pytest.Config) -> None:
    hypothesis.settings.register_profile("untimed", deadline=None)  # how long a case takes is the machine's business
    hypothesis.settings.load_profile("untimed")
    config.stash[_SEED] = int(os.environ.get("NORNIR_STACK_SEED") or random.SystemRandom().randrange(10**6))


def pytest_report_header(config: pytest.Config) -> str:
    """The seed, so that a sample that failed can be had again."""
    what = "all cases" if config.getoption("campaign") else "a sample"
    return f"campaigns: {what}; again with NORNIR_STACK_SEED={config.stash[_SEED]}"


@pytest.fixture
def campaign(request: pytest.FixtureRequest) -> bool:
    """Whether all cases are wanted."""
    return bool(request.config.getoption("campaign"))


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """What the sample is drawn by."""
    return request.config.stash[_SEED]
