"""reports → a comparison: the stage behind `actpipe compare`."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actpipe import __version__
from actpipe.errors import Misuse
from actpipe.files import write_json
from actpipe.progress import Progress, silent

from .config import CompareConfig

if TYPE_CHECKING:
    from actpipe.analysis.scores import Metric

    from .arm import Arm

FEWEST_REPLICATES, MOST_REPLICATES = 2000, 10_000
REPLICATES_PER_QUESTION = 100  # of a family, so that Holm's smallest p can be small


def compare(config: CompareConfig, progress: Progress = silent) -> dict[str, Any]:
    """Write the comparison to `config.out`; return what compare.json holds, with `out` and the rows of its tables."""
    from actpipe.analysis.folder import replaced_folder

    from .arm import open_arms
    from .measures import metrics

    _refuse_foreign(config.out)
    known = metrics()
    progress.say(f"Reading {len(config.arms)} arms.")
    arms = open_arms(config.arms, [metric.name for metric in known])
    held = [metric for metric in known if any(metric.name in each.values for arm in arms for each in arm.measured)]
    if not held:
        raise Misuse("None of the arms has a score to compare; analyze them without `--scores none`.")
    found, tables = _compared(arms, held, config, progress)
    with replaced_folder(config.out) as folder:
        _write(folder, found, tables)
    return {"out": str(config.out), **found, "tables": tables}


def _compared(
    arms: list[Arm], metrics: list[Metric], config: CompareConfig, progress: Progress
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    from actpipe.analysis.statistics.equivalence import MARGIN

    from .estimates import estimates
    from .lints import lints
    from .matching import matched
    from .measures import HEADLINE
    from .pairs import ALPHA, Sides, pair_rows
    from .schemas import FORMAT, VERSION
    from .verdicts import verdict_rows
    from .words import sentences

    n_pairs = math.comb(len(arms), 2)
    replicates = _replicates(len(metrics) * n_pairs)
    if 2 * len(HEADLINE) * n_pairs > ALPHA * replicates:
        progress.say(f"{n_pairs} pairs are too many for Holm's correction to leave any difference; compare fewer arms.")
    drawn = []
    with progress.bar("Drawing intervals", len(arms), "arms") as bar:
        for arm in arms:
            drawn.append(estimates(arm, metrics, seed=config.seed, replicates=replicates))
            bar.advance(1)
    chosen = itertools.combinations(range(len(arms)), 2)
    sides = [Sides(arms[i], arms[j], drawn[i], drawn[j]) for i, j in chosen]
    means = [row for each in drawn for row in each.means]
    pairs = pair_rows(sides, metrics, replicates=replicates)
    verdicts = verdict_rows(sides, pairs, means)
    alike = [matched(arm) for arm in arms]
    described = {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "actpipe": __version__,
        "config": {"arms": list(config.arms), "seed": config.seed, "margin": MARGIN, "replicates": replicates},
        "arms": [dataclasses.asdict(each) for each in alike],
        "lints": [lint._asdict() for lint in lints(arms, alike)],
        "verdicts": sentences(verdicts, pairs),
    }
    return described, {"means": means, "pairs": pairs, "verdicts": verdicts}


def _replicates(questions: int) -> int:
    return min(max(FEWEST_REPLICATES, REPLICATES_PER_QUESTION * questions), MOST_REPLICATES)


def _write(folder: Path, found: dict[str, Any], tables: dict[str, list[dict[str, Any]]]) -> None:
    import pyarrow.parquet as pq

    from actpipe.files import write_bytes

    from .schemas import table
    from .words import summary_of

    (folder / "parquet").mkdir()
    for name, rows in tables.items():
        pq.write_table(table(name, rows), folder / "parquet" / f"{name}.parquet", compression="zstd")
    write_bytes(folder / "summary.md", summary_of(found, tables).encode("utf-8"))
    write_json(folder / "compare.json", found)


def _refuse_foreign(out: Path) -> None:
    """Never replace what is not a comparison."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    try:
        known = json.loads((out / "compare.json").read_text(encoding="utf-8")).get("format") == "actpipe-comparison"
    except (OSError, ValueError, AttributeError):
        known = False
    if not known:
        raise Misuse(f"{out} exists and is not a comparison, so it is left alone. Give --out another place.")
