"""What an arm attains where loss and L0_eff are bounded, against staircases that are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actpipe.compare.surfaces import Cloud, attained
from tests.test_compare_designs import arm, of

AT = np.array([0.0, 1.0, 2.0, 3.0, 4.0])


def cloud(*levels: tuple[float, float, float], replicates: int = 1) -> Cloud:
    """Levels of (loss, log₂ L0_eff, score) that no draw moves."""
    table = np.tile(np.array(levels), (replicates, 1, 1))
    return Cloud(table[..., 0], table[..., 1], table[..., 2])


def test_between_two_levels_an_arm_attains_what_the_sparser_one_does() -> None:
    middle, low, high = attained(cloud((5.0, 1.0, 0.2), (4.5, 3.0, 0.6)), np.inf, AT, level=0.95)
    np.testing.assert_array_equal(middle, [np.nan, 0.2, 0.2, 0.6, 0.6])
    np.testing.assert_array_equal(low, middle)
    np.testing.assert_array_equal(high, middle)


def test_a_level_with_more_loss_than_allowed_and_one_that_another_covers_add_nothing() -> None:
    levels = cloud((5.0, 1.0, 0.2), (4.5, 3.0, 0.6), (4.4, 4.0, 0.1))
    np.testing.assert_array_equal(attained(levels, 4.6, AT, level=0.95)[0], [np.nan, np.nan, np.nan, 0.6, 0.6])
    assert np.isnan(attained(levels, 4.0, AT, level=0.95)[0]).all()


def test_the_ribbon_is_of_the_replicates_and_a_place_that_half_of_them_reach_is_attained() -> None:
    random = np.random.default_rng(0)
    n = 4001
    moved = Cloud(np.full((n, 1), 5.0), 2.0 + random.normal(0, 0.1, (n, 1)), random.normal(0.5, 0.1, (n, 1)))
    middle, low, high = attained(moved, np.inf, np.array([1.0, 1.95, 3.0]), level=0.95)
    assert np.isnan(middle[0])
    assert np.isnan(middle[1])  # 31 % of the replicates stand there
    assert (low[2], middle[2], high[2]) == pytest.approx((0.304, 0.5, 0.696), abs=0.02)


def test_the_surface_of_an_arm_ends_at_its_best_level(tmp_path: Path) -> None:
    points = ((5.0, 20.0), (5.4, 8.0))
    found = of(arm(tmp_path, "good", level=0.7, points=points), arm(tmp_path, "plain", level=0.5, start=1))
    rows = [row for row in found["tables"]["surfaces"] if (row["arm"], row["metric"]) == ("good", "rules_f1_std")]
    ends = {row["loss_bound"]: row for row in rows}  # of each bound the last row, with the largest L0_eff
    (bound,) = set(ends) - {None}
    means = [row for row in found["tables"]["means"] if not row["twin"] and row["arm"] == "good"]
    best = max(row["delta"] for row in means if row["place"] == "all" and row["metric"] == "rules_f1_std")
    assert bound == pytest.approx(5.2, abs=0.05)  # the middle
    assert all(row["low"] < row["attained"] < row["high"] for row in ends.values())
    assert ends[None]["attained"] == pytest.approx(best, abs=0.02)
    sparse = [row for row in rows if row["loss_bound"] is not None and row["l0_bound"] < 15]
    assert sparse
    assert all(np.isnan(row["attained"]) for row in sparse)  # the sparse level has too much loss
