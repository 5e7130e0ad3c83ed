"""What was measured before, and what comes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nornir_stack.tasks.maintenance.history import DAY, Growth, Sample, folder, growth, log_points, recall, remember, thinned

if TYPE_CHECKING:
    from pathlib import Path

NOW = 1_700_000_000.0


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_samples_are_kept_by_node_and_machine() -> None:
    """A node that was installed anew, or another of the same name in another inventory, has a history of its own."""
    first, second = Sample(NOW, disks={"/": 5}), Sample(NOW + DAY, logs={"/var/log/a": 7})
    assert remember("db1", "aaaa", first) == (first,)
    assert remember("db1", "aaaa", second) == (first, second)
    assert remember("db1", "bbbb", first) == (first,)
    assert recall("db1", "aaaa") == (first, second)
    assert recall("db2", "aaaa") == ()


def test_a_line_that_was_cut_short_is_passed_over() -> None:
    """A crash loses one sample and not the history; a name cannot lead out of the folder."""
    remember("../x", "m", Sample(NOW))
    (path,) = folder().iterdir()
    path.write_text(path.read_text() + '\n{"when": 17')
    remember("../x", "m", Sample(NOW + DAY))
    assert [sample.when for sample in recall("../x", "m")] == [NOW, NOW + DAY]


@given(st.lists(st.floats(min_value=60, max_value=5 * DAY), min_size=1, max_size=60))
def test_a_history_is_bounded(gaps: list[float]) -> None:
    """However often somebody looks: half hours of two days and days of 400; the newest is always there; twice is as once."""
    when, samples = NOW, []
    for gap in gaps:
        when += gap
        samples.append(Sample(when))
    kept = thinned(samples)
    assert kept[-1] == samples[-1]
    assert thinned(kept) == kept
    assert len(kept) <= 2 * 48 + 450
    assert all(sample in samples for sample in kept)


def test_looking_each_minute_for_a_week_keeps_few() -> None:
    """Some hundred samples, the oldest still among them."""
    kept: tuple[Sample, ...] = ()
    for minute in range(0, 7 * 24 * 60, 5):
        kept = thinned([*kept, Sample(NOW + minute * 60)])
    assert len(kept) < 120
    assert kept[0].when == NOW


def points(*values: float, step: float = DAY) -> list[tuple[float, float]]:
    return [(NOW + i * step, value) for i, value in enumerate(values)]


TIDIED = (10, 20, 500, 40, 50)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((10, 20, 30, 40), Growth(10, NOW, 6.0)),
        ((10, 10, 10, 10), None),
        ((40, 30, 20, 10), None),
        ((10, 20), None),
        (TIDIED, None),  # two looks since the clean-up are too few
        ((*TIDIED, 60), Growth(10, NOW + 3 * DAY, 6.0)),
        ((10, 10, 10, 10, 20, 30, 40), Growth(10, NOW + 3 * DAY, 6.0)),
    ],
)
def test_growth(values: tuple[float, ...], expected: Growth | None) -> None:
    """Bytes a day, since when, and when 60 more are gone."""
    assert growth(points(*values), 60) == expected


def test_a_growth_that_quickened_counts() -> None:
    """The last three days are steeper than the last fourteen: it is better to be told too early."""
    slow, fast = [float(i) for i in range(12)], [21.0, 31.0, 41.0]
    found = growth(points(*slow, *fast), 100)
    assert found is not None
    assert found.per_day == pytest.approx(10)


def test_a_few_looks_within_an_hour_are_no_growth() -> None:
    """A forecast of days is not made of minutes."""
    assert growth(points(1, 2, 3, 4, step=600), 10) is None


def test_a_log_that_was_small_before() -> None:
    """It counts as nothing until it was large enough to be listed."""
    history = [Sample(NOW), Sample(NOW + DAY, logs={"/a": 5})]
    assert log_points(history, "/a") == [(NOW, 0), (NOW + DAY, 5)]
