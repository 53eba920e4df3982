"""What needs the language model again: effects of units, splices of all hooks at once, probes on labelled texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from actpipe.errors import Missing
from actpipe.progress import Progress

from .config import AnalyzeConfig
from .corpus import Corpus
from .effects.config import EffectsConfig
from .effects.fidelity import Answer
from .effects.measure import Effects, measure
from .effects.schemas import SCHEMAS as EFFECTS
from .effects.splices import Described, measure_splices
from .effects.tasks import measure_tasks, tasks_of
from .effects.widened import widened
from .inputs import Member
from .probing import PROBES, Labelled, labelled_factors, labelled_jsonl, labelled_reviews, probe
from .score_tables import keyed, with_keys
from .units import UnitSet
from .units.chosen import ChosenUnits
from .units.dictionary import DictionaryUnits

if TYPE_CHECKING:
    from actpipe.harvest.model import LanguageModel

REVIEWS, FACTORS = "reviews", "actpipe:factorlang"
SPLICES = "splices"
SCHEMAS = {name: keyed(schema) if name != SPLICES else schema for name, schema in EFFECTS.items()}


@dataclass(frozen=True)
class Subject:
    member: Member
    units: UnitSet
    alive: NDArray[np.bool_]

    @property
    def answer(self) -> Answer | None:
        """What the dictionary that the units are of says of rows."""
        units = self.units.of if isinstance(self.units, ChosenUnits) else self.units
        return units.dictionary.reconstruct if isinstance(units, DictionaryUnits) else None


def effects_tables(
    subjects: Sequence[Subject], model: LanguageModel, corpus: Corpus, config: AnalyzeConfig, progress: Progress
) -> Iterator[tuple[str, pa.Table] | str]:
    """Tables by name, and notes."""
    model = widened(model)
    asked = EffectsConfig(units=config.effects or 1, seed=config.seed)
    tasks = tasks_of(model, corpus.store, asked)
    yield from tasks.notes
    for subject in subjects:
        try:
            found = measure(
                model,
                corpus,
                subject.units,
                alive=subject.alive,
                answer=subject.answer,
                config=asked,
                progress=progress,
            )
            more = measure_tasks(model, corpus, subject.units, tasks, config=asked, progress=progress)
        except Missing as error:  # nothing of this member fires
            yield f"{subject.member.name} has no effects: {error}"
            continue
        yield from _keyed(found, subject.units)
        yield from _keyed(more, subject.units)


def _keyed(found: Effects, units: UnitSet) -> Iterator[tuple[str, pa.Table] | str]:
    yield from found.notes
    for name, table in found.tables.items():
        if name != SPLICES:
            yield name, with_keys(table, units)


def splices_table(
    subjects: Sequence[Subject], model: LanguageModel, corpus: Corpus, config: AnalyzeConfig, progress: Progress
) -> pa.Table:
    """Of every dictionary; then, of each hook that is written to, the one that leaves the least of its variance
    unexplained, all of these at once."""
    described: dict[str, Described] = {}
    best: dict[str, tuple[float, str]] = {}
    for subject in subjects:
        answer, fvu, units = subject.answer, subject.member.result.get("fvu"), subject.units
        if answer is None or fvu is None or subject.member.kind != "dictionary":
            continue
        described[units.name] = Described(hook=units.hook, writes=units.writes, answer=answer)
        best[units.writes] = min(best.get(units.writes, (float(fvu), units.name)), (float(fvu), units.name))
    if not described:
        return EFFECTS[SPLICES].empty_table()
    found = measure_splices(
        widened(model),
        corpus,
        described,
        together=[member for _, member in best.values()],
        config=EffectsConfig(seed=config.seed),
        progress=progress,
    )
    return found.tables[SPLICES]


def probes_table(
    subjects: Sequence[Subject], model: LanguageModel, labelled: Labelled, seed: int, progress: Progress
) -> pa.Table:
    """Of the members of each hook."""
    hooks = dict.fromkeys(subject.units.hook for subject in subjects)
    tables = [
        probe(model, hook, [s.units for s in subjects if s.units.hook == hook], labelled, seed=seed, progress=progress)
        for hook in hooks
    ]
    return pa.concat_tables(tables) if tables else PROBES.empty_table()


def labelled_texts(asked: str) -> Labelled:
    if asked == REVIEWS:
        return labelled_reviews()
    if asked.startswith(FACTORS):
        return labelled_factors(asked)
    if not Path(asked).is_file():
        raise Missing(
            f"There are no labelled texts {asked!r}: give {REVIEWS}, {FACTORS}, or a JSONL file whose lines hold "
            '"text" and "label".'
        )
    return labelled_jsonl(Path(asked))
