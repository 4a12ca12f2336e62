"""What was made fast stays fast, and what would tell us so can tell."""

from __future__ import annotations

import pytest

from benchmarks.machine import machine
from benchmarks.memory import families, measure
from benchmarks.regression import ALLOWED_FALL, check, fallen_below, kept_on, kept_ratios


def test_a_ratio_may_fall_by_a_fifth_and_no_further() -> None:
    kept = {"decode": 25.0, "store": 8.0}
    assert fallen_below(kept, {"decode": 25.0 * (1 - ALLOWED_FALL) + 0.01, "store": 9.0}) == []
    assert fallen_below(kept, {"decode": 25.0 * (1 - ALLOWED_FALL) - 0.01, "store": 9.0}) == ["decode"]


def test_a_ratio_that_is_not_measured_any_more_has_fallen() -> None:
    assert fallen_below({"decode": 25.0}, {}) == ["decode"]
    assert fallen_below({"decode": 25.0}, {"decode": float("nan")}) == ["decode"]


@pytest.mark.bench
def test_nothing_has_become_slower_than_it_was() -> None:
    if machine()["cpu"] != kept_on():
        pytest.skip(f"the ratios were kept on {kept_on()}, this is {machine()['cpu']}: keep them anew with --keep")
    found, fallen = check()
    kept = kept_ratios()
    assert not fallen, {name: f"{found.get(name, 0.0):.2f}, was {kept[name]:.2f}" for name in fallen}


@pytest.mark.bench
def test_an_object_takes_less_than_three_kilobytes_on_disk(tmp_path: object) -> None:
    result = measure(f"sqlite:///{tmp_path}/store.db", families(None), 5000)
    assert result["store_bytes_per_object"] <= 3000
    assert result["rss_peak_mb"] < 1000
