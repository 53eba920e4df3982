"""pipeline.parquet: how much of a score is the doing of how it was measured.

    other draws     some units of each member are scored again, the documents divided anew into what explanations are
                    made from and what they are measured on; variance of units, of draws, and of what is left
    other scores    whether two answers to one question, or the same question put to two embeddings, rank units alike

If what draws add varies more than members differ, the order of the members is the draw's.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actpipe.harvest.model import resolve_device
from actpipe.progress import Progress

from .corpus import Corpus
from .gathering import scored
from .member_pass import ControlPass, drawn
from .model_tables import Subject
from .passes import Encoding, Gatherer, Source, run
from .scores import Metric, Score
from .second_pass import second_pass
from .statistics import Measured
from .statistics.ranks import Stability, rank_stability
from .statistics.variance import components
from .units import UnitSet
from .units.chosen import ChosenUnits

UNITS = 60  # of each member
PAIRS = (("rules_f1_std", "concept_f1_std"), ("ms_c", "ms_lexical"))

Column = NDArray[np.float64]
Row = dict[str, Any]

PIPELINE = pa.schema(
    [
        ("level", pa.string()),  # units of a member, members of a hook
        ("hook", pa.string()),
        ("member", pa.string()),
        ("metric", pa.string()),
        ("against", pa.string()),  # the other score; null: other draws
        ("n", pa.int32()),
        ("draws", pa.int32()),
        *((name, pa.float64()) for name in ("variance", "variance_draws", "variance_rest")),
        *((name, pa.float64()) for name in ("spearman", "overlap", "overlap_chance")),
    ]
)


@dataclass(frozen=True)
class Drawn:
    """Some units of a member, scored in every draw."""

    member: str
    hook: str
    values: Mapping[str, Column]  # metric → [draws, units]


def pipeline_table(
    subjects: Sequence[Subject], measured: Sequence[Measured], found: Sequence[Drawn]
) -> tuple[pa.Table, list[str]]:
    """And a sentence for each metric whose order of members is not decided."""
    rows = [*_of_pairs(subjects, measured), *(row for one in found for row in _of_units(one))]
    members = [row for hook in dict.fromkeys(one.hook for one in found) for row in _of_members(hook, found)]
    notes = [_undecided(row) for row in members if _pipeline(row) > row["variance"]]
    table = pa.Table.from_pylist([{**dict.fromkeys(PIPELINE.names), **row} for row in rows + members], PIPELINE)
    return table, notes


def _undecided(row: Row) -> str:
    moved, differ = np.sqrt(_pipeline(row)), np.sqrt(row["variance"])
    return (
        f"{row['hook']}: the order of the dictionaries by {row['metric']} is not decided: their means move by "
        f"{moved:.3f} when the documents are divided anew, and differ by {differ:.3f} (standard deviations)."
    )


def _pipeline(row: Row) -> float:
    return float(row["variance_draws"] + row["variance_rest"])


def _of_pairs(subjects: Sequence[Subject], measured: Sequence[Measured]) -> Iterator[Row]:
    own = {each.member: each for each in measured if each.control is None}
    for subject in subjects:
        values = own[subject.units.name].values
        for metric, other in PAIRS:
            if metric in values and other in values:
                stability = rank_stability(values[metric][subject.alive], values[other][subject.alive])
                place = {"level": "units", "hook": subject.units.hook, "member": subject.units.name}
                yield {**place, "metric": metric, "against": other, **_ranks([stability])}


def _of_units(one: Drawn) -> Iterator[Row]:
    for metric, table in one.values.items():
        whole = table[:, np.isfinite(table).all(axis=0)]
        if whole.shape[1] < 2:
            continue
        pairs = [rank_stability(a, b) for a, b in itertools.combinations(whole, 2)]
        place = {"level": "units", "hook": one.hook, "member": one.member, "metric": metric}
        yield {**place, **_ranks(pairs), **_variances(whole.T)}


def _of_members(hook: str, found: Sequence[Drawn]) -> Iterator[Row]:
    """Of the means of each member's units."""
    here = [one for one in found if one.hook == hook]
    for metric in here[0].values:
        means = np.array([np.nanmean(one.values[metric], axis=1) for one in here if _defined(one.values[metric])])
        if len(means) > 1:
            yield {"level": "members", "hook": hook, "metric": metric, "n": len(means), **_variances(means)}


def _defined(table: Column) -> bool:
    return bool(np.isfinite(table).any(axis=1).all())


def _variances(table: Column) -> Row:
    """Of scores [units or members, draws]."""
    parts = components(table, ("which", "draw"))
    named = {"variance": parts.factors["which"], "variance_draws": parts.factors["draw"]}
    return {"draws": table.shape[1], **named, "variance_rest": parts.residual}


def _ranks(pairs: Sequence[Stability]) -> Row:
    found = {name: [getattr(pair, name) for pair in pairs] for name in ("spearman", "overlap", "overlap_chance")}
    means = {name: float(np.mean(each)) for name, each in found.items()}
    return {"n": pairs[0].n, **{name: None if np.isnan(mean) else mean for name, mean in means.items()}}


def draws_again(
    subjects: Sequence[Subject],
    measured: Sequence[Measured],
    corpora: Sequence[Corpus],
    *,
    metrics: Sequence[Metric],
    scores: Sequence[Score],
    seed: int,
    folder: Path,
    gather: Gatherer | None,
    progress: Progress,
) -> list[Drawn]:
    """`corpora`: the same text divided anew, one for each further draw."""
    wanted = [metric.name for metric in metrics if metric.better is not None]
    asked = [score for score in scores if any(metric.better is not None for metric in score.metrics)]
    own = {each.member: each for each in measured if each.control is None}
    found = []
    for number, hook in enumerate(dict.fromkeys(subject.units.hook for subject in subjects)):
        here = [subject for subject in subjects if subject.units.hook == hook and subject.alive.any()]
        index = [_some(subject, seed) for subject in here]
        units = [ChosenUnits(of=subject.units, index=some) for subject, some in zip(here, index, strict=True)]
        draws: list[list[Mapping[str, Column]]] = [
            [
                {
                    name: own[subject.units.name].values[name][some]
                    for name in wanted
                    if name in own[subject.units.name].values
                }
            ]
            for subject, some in zip(here, index, strict=True)
        ]
        for draw, corpus in enumerate(corpora, 1):
            place = folder / f"draw-{number:03d}-{draw}"
            again = _scored(units, hook, corpus, asked, seed + draw, place, gather, progress)
            for each, values in zip(draws, again, strict=True):
                each.append(values)
        for subject, each in zip(here, draws, strict=True):
            named = [name for name in each[0] if all(name in values for values in each)]
            values = {name: np.stack([values[name] for values in each]) for name in named}
            found.append(Drawn(subject.units.name, hook, values))
    return found


def _some(subject: Subject, seed: int) -> NDArray[np.int64]:
    alive = np.flatnonzero(subject.alive)
    some: NDArray[np.int64] = alive[drawn(len(alive), UNITS, seed)]
    return some


def _scored(
    units: Sequence[UnitSet],
    hook: str,
    corpus: Corpus,
    scores: Sequence[Score],
    seed: int,
    folder: Path,
    gather: Gatherer | None,
    progress: Progress,
) -> list[dict[str, Column]]:
    """What every score says of each set of units, in both passes."""
    encoding: Encoding[ControlPass] = Encoding(
        name="units",
        corpus=corpus,
        empty=[ControlPass(each, corpus, seed, scores, control="draw") for each in units],
        hook=hook,
        device=resolve_device(None),
        folder=folder / "codes",
    )
    firsts = [each.scores for each in run(encoding, folder, progress, "Scoring again", gather)]
    sources = [
        Source(folder=folder / "codes", number=number, n_units=each.n, gatherings=(number,))
        for number, each in enumerate(units)
    ]
    seconds = second_pass(
        firsts, sources, scores=scores, corpus=corpus, folder=folder, gather=gather, progress=progress
    )
    found = [scored(first, second, scores) for first, second in zip(firsts, seconds, strict=True)]
    return [{name: values for said in each.values() for name, values in said.columns.items()} for each in found]
