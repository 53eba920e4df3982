"""models, dictionaries, stores, reports → a comparison: the stage behind `actpipe compare`.

The folder keeps what was made for it under arms/, so that the same command goes on where it stopped. compare.json is
removed first and written last: where it is, everything beside it belongs to it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actpipe import __version__
from actpipe.errors import Misuse
from actpipe.files import write_bytes, write_json
from actpipe.memory import keep_freed_memory
from actpipe.progress import Progress, silent

from .config import ARMS, CompareConfig

if TYPE_CHECKING:
    from actpipe.analysis.scores import Metric

    from .arm import Arm
    from .stand import Row, Stand

SUMMARY, PAGE, JSON = "summary.md", "index.html", "compare.json"
FEWEST_REPLICATES, MOST_REPLICATES = 2000, 10_000
REPLICATES_PER_QUESTION = 100  # of a family, so that Holm's smallest p can be small


def compare(config: CompareConfig, progress: Progress = silent) -> dict[str, Any]:
    """Write the comparison to `config.out`; return what compare.json holds, with `out` and the rows of its tables."""
    from .arms import open_arms
    from .measures import metrics

    keep_freed_memory()
    _refuse_foreign(config.out)
    known = metrics()
    arms = open_arms(config, [metric.name for metric in known], progress)
    held = [metric for metric in known if any(_scored(arm, metric.name) for arm in arms)]
    if not held:
        raise Misuse("None of the arms has a score to compare; analyze them without `--scores none`.")
    found, tables = compared(arms, held, config, progress)
    _write(config.out, found, tables, progress)
    return {"out": str(config.out), **found, "tables": tables}


def _scored(arm: Arm, metric: str) -> bool:
    return any(metric in each.own.values for system in arm.systems for each in system.units.values())


def compared(
    arms: Sequence[Arm], metrics: Sequence[Metric], config: CompareConfig, progress: Progress
) -> tuple[dict[str, Any], dict[str, list[Row]]]:
    """What compare.json holds, and the rows of the tables."""
    from actpipe.analysis.statistics.equivalence import margin_of

    from .claims import claim_rows
    from .lints import lints
    from .matching import matched
    from .measures import HEADLINE
    from .pairs import ALPHA, Sides, design_rows, pair_rows
    from .schemas import FORMAT, VERSION
    from .stand import mean_rows
    from .surfaces import surface_rows
    from .systems import ALL
    from .verdicts import verdict_rows
    from .volumes import volume_rows
    from .words import claim_sentences, sentences

    n_pairs = math.comb(len(arms), 2)
    replicates = _replicates(len(metrics) * n_pairs)
    if 2 * len(HEADLINE) * n_pairs > ALPHA * replicates:
        progress.say(f"{n_pairs} pairs are too many for Holm's correction to leave any difference; compare fewer arms.")
    stood = _stands(arms, metrics, config.seed, progress)
    twins = _stands([arm.twin for arm in arms if arm.twin], metrics, config.seed, progress, layers=False)
    tables: dict[str, list[Row]] = {"means": [], "designs": [], "pairs": [], "verdicts": []}
    pairs: dict[bool, list[Sides]] = {}
    for twin, stands in ((False, stood), (True, twins)):
        pairs[twin] = [Sides.of(a, b) for a, b in itertools.combinations(stands, 2) if a.place == b.place]
        tables["means"] += (means := [row for each in stands for row in mean_rows(each, twin=twin)])
        tables["designs"] += design_rows(pairs[twin], twin=twin)
        tables["pairs"] += (rows := pair_rows(pairs[twin], twin=twin))
        tables["verdicts"] += verdict_rows(pairs[twin], rows, means)
    tables["hypervolumes"] = volume_rows([each for each in pairs[False] if each.first.place == ALL])
    tables["surfaces"] = surface_rows([each for each in stood if each.place == ALL])
    tables["claims"] = claim_rows(pairs[False], tables["verdicts"], tables["hypervolumes"])
    whole = [each for each in stood if each.place == ALL]
    alike = [matched(each) for each in whole]
    fired = lints(whole, alike, [each for each in pairs[False] if each.first.place == ALL], tables["pairs"])
    margins = {metric.name: margin_of(metric.name) for metric in metrics}
    described = {
        "format": FORMAT,
        "version": VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "actpipe": __version__,
        "config": {**_asked(config), "margins": margins, "replicates": replicates},
        "arms": [dataclasses.asdict(each) for each in alike],
        "lints": [lint._asdict() for lint in fired],
        "claims": claim_sentences(tables["claims"]),
        "verdicts": sentences(tables["verdicts"], tables["pairs"]),
    }
    return described, tables


def _stands(
    arms: Sequence[Arm], metrics: Sequence[Metric], seed: int, progress: Progress, layers: bool = True
) -> list[Stand]:
    """Each arm at all layers together, with every metric; and, by headline metrics, at each layer that all have. Fewer
    metrics are a smaller family, and need fewer replicates."""
    from actpipe.analysis.threads import one_thread_each

    from .measures import HEADLINE
    from .stand import stand
    from .systems import ALL

    headline = [metric for metric in metrics if metric.name in HEADLINE]
    shared = [layer for layer in arms[0].layers if all(layer in arm.layers for arm in arms)] if arms else []
    several = layers and max((len(arm.layers) for arm in arms), default=0) > 1
    asked = [(arm, ALL, metrics if layers else headline) for arm in arms]
    asked += [(arm, layer, headline) for layer in shared for arm in arms] if several and headline else []

    def drawn(one: tuple[Arm, str, Sequence[Metric]]) -> Stand:
        arm, place, chosen = one
        replicates = _replicates(len(chosen) * math.comb(len(arms), 2))
        return stand(arm, place, chosen, seed=seed, replicates=replicates)

    found = []
    with progress.bar("Drawing intervals", len(asked), "arms") as bar, one_thread_each(len(asked)) as pool:
        for each in pool.map(drawn, asked):
            found.append(each)
            bar.advance(1)
    return found


def _asked(config: CompareConfig) -> dict[str, Any]:
    asked = dataclasses.asdict(config)
    del asked["out"]
    return asked


def _replicates(questions: int) -> int:
    return min(max(FEWEST_REPLICATES, REPLICATES_PER_QUESTION * questions), MOST_REPLICATES)


def _write(out: Path, found: dict[str, Any], tables: dict[str, list[Row]], progress: Progress) -> None:
    import pyarrow.parquet as pq

    from .figures import figures_of, write_figures
    from .page import write_page
    from .schemas import table
    from .words import summary_of

    out.mkdir(parents=True, exist_ok=True)
    (out / JSON).unlink(missing_ok=True)
    for name in ("parquet", "figures"):
        shutil.rmtree(out / name, ignore_errors=True)
        (out / name).mkdir()
    for name, rows in tables.items():
        pq.write_table(table(name, rows), out / "parquet" / f"{name}.parquet", compression="zstd")
    figures = figures_of(tables)
    with progress.bar("Drawing figures", 2 * len(figures), "files") as bar:
        write_figures(out / "figures", figures, bar)
    titles = {stem: figure.title for stem, figure in figures.items()}
    write_bytes(out / SUMMARY, summary_of(found, tables, titles).encode("utf-8"))
    write_page(out, found, tables, figures)
    write_json(out / JSON, found)


def _refuse_foreign(out: Path) -> None:
    """Never write into what is not a comparison. One that was stopped has arms/ and no compare.json."""
    if not out.exists() or (out.is_dir() and all(path.name == ARMS for path in out.iterdir())):
        return
    try:
        known = json.loads((out / JSON).read_text(encoding="utf-8")).get("format") == "actpipe-comparison"
    except (OSError, ValueError, AttributeError):
        known = (out / ARMS).is_dir() and (out / "parquet").is_dir()
    if not known:
        raise Misuse(f"{out} exists and is not a comparison, so it is left alone. Give --out another place.")
