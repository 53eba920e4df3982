"""The dictionaries of a run in place of the rows they describe: one at a time, and all hooks at once."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import torch

from actpipe.analysis.corpus import Corpus
from actpipe.errors import Misuse
from actpipe.harvest.model import LanguageModel
from actpipe.progress import Progress, silent

from .config import EffectsConfig
from .fidelity import Answer
from .measure import Effects
from .place import Place
from .records import Records
from .text import sequence_order, text_of
from .together import Cost, Replacement, costs, readings

ALL = "all"


@dataclass(frozen=True, kw_only=True, eq=False)
class Described:
    """One dictionary that stands for its hook: what it answers to rows of `hook` stands for the rows of `writes`."""

    hook: str
    writes: str
    answer: Answer


def measure_splices(
    model: LanguageModel,
    corpus: Corpus,
    described: Mapping[str, Described],
    *,
    together: Sequence[str] | None = None,
    config: EffectsConfig | None = None,
    progress: Progress = silent,
) -> Effects:
    """`described`: member → its dictionary; `together`: of each hook that is written to the member that takes part in
    replacing all at once, by default all of them.

    Table `splices`: each member alone, and "all" hooks together where there is more than one.
    """
    config = config or EffectsConfig()
    together = list(described) if together is None else together
    written = [described[member].writes for member in together]
    if len(set(written)) < len(written):
        several = sorted({hook for hook in written if written.count(hook) > 1})[0]
        raise Misuse(f"Several dictionaries for {several} cannot be in place at once; name one in `together`.")
    text = text_of(corpus, sequence_order(corpus, config.seed)[: config.uniform])
    placed = {member: _replacement(model, corpus, each) for member, each in described.items()}
    arms = {member: [replacement] for member, (_, replacement) in placed.items()}
    if len(together) > 1:
        arms[ALL] = [placed[member][1] for member in together]
    at_once = max(1, next(iter(placed.values()))[0].at_once(text.tokens.shape[1]) // 4)
    begun = time.perf_counter()
    with progress.bar("Replacing hooks", readings(arms), "readings") as bar:
        found = costs(
            model,
            text,
            arms,
            torch.from_numpy(corpus.store.mask[text.number]),
            bar,
            at_once=at_once,
            draws=config.draws,
            seed=config.seed,
        )
    records = Records()
    for name, cost in found.items():
        member, hook = (None, ALL) if name == ALL else (name, described[name].writes)
        for metric in fields(Cost):
            records.splice(member, hook, metric.name, getattr(cost, metric.name))
    return Effects(records.tables(), (), {"splices": time.perf_counter() - begun})


def _replacement(model: LanguageModel, corpus: Corpus, each: Described) -> tuple[Place, Replacement]:
    place = Place.of(model, corpus.store, each.hook, each.writes)
    if each.writes not in corpus.store.hooks:
        raise Misuse(f"{each.writes} was not harvested, so its mean is not known; harvest it too.")
    mean = torch.from_numpy(corpus.store.statistics(each.writes).mean).float()
    return place, Replacement(reads=place.reads, writes=place.writes, answer=each.answer, mean=mean)
