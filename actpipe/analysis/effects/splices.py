"""The dictionaries of a run in place of the rows they describe: one hook at a time, and all hooks at once."""

from __future__ import annotations

import time
from collections.abc import Mapping
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
from .together import Cost, Replacement, costs

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
    config: EffectsConfig | None = None,
    progress: Progress = silent,
) -> Effects:
    """`described`: member → its dictionary, one for each hook that is written to.

    Table `splices`: each hook alone, and "all" together where there is more than one.
    """
    config = config or EffectsConfig()
    written = [each.writes for each in described.values()]
    if len(set(written)) < len(written):
        raise Misuse(f"Several dictionaries for {sorted({w for w in written if written.count(w) > 1})[0]}; name one.")
    text = text_of(corpus, sequence_order(corpus, config.seed)[: config.uniform])
    members = {each.writes: member for member, each in described.items()}
    replacements = {each.writes: _replacement(model, corpus, each) for each in described.values()}
    arms = {hook: [each] for hook, each in replacements.items()}
    if len(replacements) > 1:
        arms[ALL] = list(replacements.values())
    at_once = max(1, next(iter(replacements.values()))[0].at_once(text.tokens.shape[1]) // 4)
    begun = time.perf_counter()
    with progress.bar("Replacing hooks", 1 + 3 * len(arms), "readings") as bar:
        found = costs(
            model,
            text,
            {hook: [replacement for _, replacement in several] for hook, several in arms.items()},
            torch.from_numpy(corpus.store.mask[text.number]),
            bar,
            at_once=at_once,
            draws=config.draws,
            seed=config.seed,
        )
    records = Records()
    for hook, cost in found.items():
        for metric in fields(Cost):
            records.splice(members.get(hook), hook, metric.name, getattr(cost, metric.name))
    return Effects(records.tables(), (), {"splices": time.perf_counter() - begun})


def _replacement(model: LanguageModel, corpus: Corpus, each: Described) -> tuple[Place, Replacement]:
    place = Place.of(model, corpus.store, each.hook, each.writes)
    if each.writes not in corpus.store.hooks:
        raise Misuse(f"{each.writes} was not harvested, so its mean is not known; harvest it too.")
    mean = torch.from_numpy(corpus.store.statistics(each.writes).mean).float()
    return place, Replacement(reads=place.reads, writes=place.writes, answer=each.answer, mean=mean)
