"""Which windows of samples.parquet a panel shows, wherever the table is cut into parts."""

from __future__ import annotations

import pyarrow as pa
import pytest

from actpipe.report.windows import NEAR_MISSES, PER_DECILE, SEARCHED, thinned

STRATA = ("decile 0", "decile 1", "near_miss", "uniform")
ROWS = 40  # of each unit and stratum: more than any is shown


def sampled(*features: int) -> pa.Table:
    rows = [{"feature": feature, "stratum": stratum, "peak": i}
            for feature in features for stratum in STRATA for i in range(ROWS)]  # fmt: skip
    return pa.Table.from_pylist(rows)


@pytest.mark.parametrize("part", [1, 3, ROWS, 2 * ROWS + 1, 1000])
def test_a_unit_that_is_cut_between_parts_shows_no_more_windows(part: int) -> None:
    table = sampled(0, 1)
    parts = [table.slice(start, part) for start in range(0, table.num_rows, part)]
    kept = [row for each in thinned(parts) for row in each.to_pylist()]
    limits = dict(zip(STRATA, (PER_DECILE, PER_DECILE, NEAR_MISSES, SEARCHED), strict=True))
    expected = [
        {"feature": feature, "stratum": stratum, "peak": i}
        for feature in (0, 1)
        for stratum in STRATA
        for i in range(limits[stratum])
    ]
    assert kept == expected


def test_parts_without_rows_are_passed_over() -> None:
    table = sampled(0)
    cut = [table.slice(0, 1), table.slice(0, 0), table.slice(1)]
    assert sum(each.num_rows for each in thinned(cut)) == 2 * PER_DECILE + NEAR_MISSES + SEARCHED
