"""Sets of units that do not fit into memory together are gathered in groups; tables are the same."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from actpipe.analysis import AnalyzeConfig, analyze, hook_analysis
from actpipe.analysis.hook_analysis import together

from .small_run import make_run, make_store


@pytest.mark.parametrize(
    ("sizes", "most", "expected"),
    [
        ([], 8, []),
        ([5], 8, [(0, 1)]),
        ([50], 8, [(0, 1)]),
        ([4, 4], 8, [(0, 2)]),
        ([4, 4, 4], 8, [(0, 2), (2, 3)]),
        ([4, 4, 4, 4], 15, [(0, 2), (2, 4)]),
        ([50, 1, 1], 8, [(0, 1), (1, 3)]),
        ([1, 1, 50], 8, [(0, 2), (2, 3)]),
    ],
)
def test_groups_are_few_alike_and_within_bounds(sizes: list[int], most: int, expected: list[tuple[int, int]]) -> None:
    assert [(group.start, group.stop) for group in together(sizes, most)] == expected


def test_tables_do_not_depend_on_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path / "run", make_store(tmp_path / "store.zarr"))
    analyze(AnalyzeConfig(run=run, out=tmp_path / "at-once"))
    monkeypatch.setattr(hook_analysis, "together", lambda sizes: [slice(i, i + 1) for i in range(len(sizes))])
    analyze(AnalyzeConfig(run=run, out=tmp_path / "one-by-one"))
    names = sorted(path.name for path in (tmp_path / "at-once" / "parquet").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "one-by-one" / "parquet").iterdir())
    for name in names:
        one, other = (pq.read_table(tmp_path / out / "parquet" / name) for out in ("at-once", "one-by-one"))
        assert one.equals(other), name
