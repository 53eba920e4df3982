"""Patching and erasure for one set of units, on tasks whose counterfactuals and labels are known.

FactorLang has both: number agreement, and labels of every word. For other text there is the indirect object, if the
tokenizer has English names in one token each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.splits import EXPLAIN, SCORE
from actpipe.analysis.units import UnitSet
from actpipe.analysis.units.random_directions import SAMPLE_ROWS
from actpipe.errors import ActpipeError, Misuse
from actpipe.factorlang import FACTORS, labels_of_store, word_tokenizer
from actpipe.harvest.model import LanguageModel
from actpipe.progress import Progress, silent
from actpipe.store import Store

from .agreement import agreement_pairs
from .arms import Arm, baselines, of_factors, of_units
from .bootstrap import Floats, document_weights, plain, ratio, resampled
from .config import EffectsConfig
from .erasure import COUNTS as ERASE_COUNTS
from .erasure import Erasure, Read, erase, read
from .indirect_object import indirect_object_pairs
from .measure import Effects
from .pairs import Pairs, accuracy
from .patching import COUNTS as PATCH_COUNTS
from .patching import Curve, area_over_edit, area_over_units, first_count, patch, remaining
from .place import Clean, Place, read_clean
from .records import Records
from .text import sequence_order, text_of

POSSIBLE = 0.75  # accuracy from which a task counts as one that the model does
HALF = 0.5
_FEWEST = 20  # rows on which a factor must be true, and false, to have a direction
CONCEPTS = ("form/plural", "awaits/plural")  # of FactorLang, erased where nobody names others
UNSEEN = 900_000  # number of the first document of FactorLang that prompts are made from; models learn from lower ones

# Numbers of sequences → [sequences, context] bool, or [sequences, context, labels]
Labels: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.bool_]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Tasks:
    pairs: Pairs | None = None
    concepts: Mapping[str, Labels] = field(default_factory=dict)
    factors: Labels | None = None  # of which the arm `factors` is made
    notes: tuple[str, ...] = ()


def tasks_of(model: LanguageModel, store: Store, config: EffectsConfig, *, concepts: Sequence[str] = CONCEPTS) -> Tasks:
    """What can be asked of this model on this text. `concepts`: factors to erase, of FactorLang."""
    if str((store.config.get("dataset") or {}).get("name", "")).startswith("actpipe:factorlang"):
        names = [factor.name for factor in FACTORS]
        if unknown := set(concepts) - set(names):
            raise Misuse(f"FactorLang has no factor {min(unknown)!r}; actpipe.factorlang.FACTORS lists them.")
        every = _factor_labels(model, store)
        erased = {name: _one(every, names.index(name)) for name in concepts}
        if model.tokenizer.get_vocab() == word_tokenizer().get_vocab():
            return _posed(model, erased, every, lambda: agreement_pairs(config.pairs, start=UNSEEN, seed=config.seed))
        return Tasks(concepts=erased, factors=every, notes=("No patching: a word of the text has several tokens.",))
    size: int = model.config.get_text_config().vocab_size
    return _posed(
        model, {}, None, lambda: indirect_object_pairs(model.tokenizer, config.pairs, vocabulary=size, seed=config.seed)
    )


def measure_tasks(
    model: LanguageModel,
    corpus: Corpus,
    units: UnitSet,
    tasks: Tasks,
    *,
    config: EffectsConfig | None = None,
    progress: Progress = silent,
) -> Effects:
    """Curves of the units and of what they are held against: PCA, the basis, random directions, true factors."""
    if tasks.pairs is None and not tasks.concepts:
        return Effects(Records().tables())
    return _TaskMeasurement(model, corpus, units, tasks, config or EffectsConfig(), progress).run()


def _posed(
    model: LanguageModel, concepts: Mapping[str, Labels], factors: Labels | None, pose: Callable[[], Pairs]
) -> Tasks:
    """With the pairs, if the model does the task."""
    try:
        pairs = pose()
    except ActpipeError as error:
        return Tasks(concepts=concepts, factors=factors, notes=(f"No patching: {error}",))
    done = accuracy(model, pairs)
    if done < POSSIBLE:
        note = f"No patching: {model.name} is right in {done:.0%} of {pairs.name}, so nothing carries the answer."
        return Tasks(concepts=concepts, factors=factors, notes=(note,))
    return Tasks(pairs=pairs, concepts=concepts, factors=factors)


def _factor_labels(model: LanguageModel, store: Store) -> Labels:
    made: dict[int, NDArray[np.bool_]] = {}

    def labels(number: NDArray[np.int64]) -> NDArray[np.bool_]:
        lacking = np.array(sorted({int(n) for n in number} - made.keys()), dtype=np.int64)
        # Documents that stand together are made together.
        for run in np.split(lacking, np.flatnonzero(np.diff(lacking) > 1) + 1) if len(lacking) else []:
            start, stop = int(run[0]), int(run[-1]) + 1
            of_run = labels_of_store(store, model.tokenizer, start=start, stop=stop).labels
            made.update(zip(range(start, stop), of_run.reshape(stop - start, store.context, -1), strict=True))
        return np.stack([made[int(n)] for n in number])

    return labels


def _one(every: Labels, column: int) -> Labels:
    return lambda number: every(number)[..., column]


def _varies(labels: NDArray[np.bool_]) -> bool:
    return bool(labels.any()) and not bool(labels.all())


def _of_frequent(rows: Tensor, truth: NDArray[np.bool_]) -> Arm:
    often = truth.sum(axis=0)
    return of_factors(rows, torch.from_numpy(truth[:, (often >= _FEWEST) & (often <= len(truth) - _FEWEST)]))


class _TaskMeasurement:
    def __init__(
        self,
        model: LanguageModel,
        corpus: Corpus,
        units: UnitSet,
        tasks: Tasks,
        config: EffectsConfig,
        progress: Progress,
    ) -> None:
        self.corpus, self.units, self.tasks, self.config, self.progress = corpus, units, tasks, config, progress
        self.place = Place.of(model, corpus.store, units.hook, units.writes)
        self.records, self.notes, self.seconds = Records(), list[str](), dict[str, float]()
        self.fit = text_of(corpus, self._sequences(EXPLAIN, 2), split=EXPLAIN)
        self.test = text_of(corpus, self._sequences(SCORE, 1))

    def run(self) -> Effects:
        begun = time.perf_counter()
        fit = [read_clean(self.place, one) for one in self.fit.parts(1)]
        self.seconds["rows"] = time.perf_counter() - begun
        rows = torch.cat([each.writes for each in fit]).cpu()
        arms = [of_units(self.units), *baselines(rows, seed=self.config.seed)]
        if self.tasks.pairs is not None:
            begun = time.perf_counter()
            known = [] if self.tasks.factors is None else [self._factors(rows, self.tasks.factors)]
            self._patch(self.tasks.pairs, [*arms, *known])
            self.seconds["patching"] = time.perf_counter() - begun
        for name, labels in self.tasks.concepts.items():
            begun = time.perf_counter()
            self._erase(name, labels, fit, arms)
            self.seconds[f"erasure of {name}"] = time.perf_counter() - begun
        return Effects(self.records.tables(), tuple(self.notes), self.seconds)

    def _sequences(self, split: int, times: int) -> NDArray[np.int64]:
        return sequence_order(self.corpus, self.config.seed, split=split)[: times * self.config.uniform]

    def _factors(self, rows: Tensor, labels: Labels) -> Arm:
        """From the store where it has rows of the hook, as many as a sample holds: a direction takes many examples."""
        store, hook = self.corpus.store, self.units.writes
        if hook not in store.hooks:
            return _of_frequent(rows, labels(self.fit.number)[self.fit.changed.numpy()])
        start, stop = self.corpus.ranges[0]
        number = np.arange(start, min(stop, start + max(1, SAMPLE_ROWS // store.context)))
        free = store.mask[number] & (self.corpus.split[store.doc[number]] != SCORE)
        all_rows = store.read(hook, start * store.context, (int(number[-1]) + 1) * store.context).float()
        return _of_frequent(all_rows[torch.from_numpy(free.reshape(-1))], labels(number)[free])

    def _patch(self, pairs: Pairs, arms: list[Arm]) -> None:
        config = self.config
        weights = document_weights(len(pairs) - len(pairs) // 2, draws=config.draws, seed=config.seed)
        self.records.whole(f"accuracy {pairs.name}", plain(accuracy(self.place.model, pairs), 2 * len(pairs)))
        steps = sum(count <= config.patches for count in PATCH_COUNTS) * len(arms)
        with self.progress.bar(f"Patching {self.units.name}", steps, "counts") as bar:
            for arm in arms:
                self._patched(
                    f"patching {pairs.name}", arm, patch(self.place, arm, pairs, bar, most=config.patches), weights
                )

    def _patched(self, kind: str, arm: Arm, curve: Curve, weights: Floats) -> None:
        left, drawn = remaining(curve, weights)
        edit = curve.edit.mean(axis=1)
        pairs = curve.kl.shape[1]
        for i, count in enumerate(curve.counts):
            y = resampled(float(left[i]), drawn[:, i], pairs)
            self.records.point(kind, arm.name, step=count, x=float(edit[i]), y=y)
        every = ratio(curve.all_kl, curve.kl[0], weights)
        self.records.point(kind, arm.name, step=arm.n, x=float(curve.all_edit.mean()), y=every)
        over_units = area_over_units(curve.counts, left)
        areas = resampled(float(over_units), area_over_units(curve.counts, drawn), pairs)
        self.records.whole(f"{kind}: area over units", areas, arm=arm.name)
        over_edit = np.array([area_over_edit(edit, each) for each in drawn])
        self.records.whole(
            f"{kind}: area over edit", resampled(area_over_edit(edit, left), over_edit, pairs), arm=arm.name
        )
        half = np.array([first_count(curve.counts, each, HALF) for each in drawn])
        self.records.whole(
            f"{kind}: units for half", resampled(first_count(curve.counts, left, HALF), half, pairs), arm=arm.name
        )

    def _erase(self, name: str, labels: Labels, fit: list[Clean], arms: list[Arm]) -> None:
        config, truth = self.config, labels(self.fit.number)
        weights = document_weights(self.test.n_documents, draws=config.draws, seed=config.seed)
        here = labels(self.test.number)
        if not all(_varies(each[text.changed.numpy()]) for each, text in ((truth, self.fit), (here, self.test))):
            self.notes.append(f"{name} is true at every row of the text that is read or at none, and is not erased.")
            return
        train = Read(clean=fit, labels=truth[self.fit.changed.numpy()])
        test = read(self.place, self.test, here)
        least = replace(of_factors(train.writes, torch.from_numpy(train.labels)[:, None]), name="least_squares")
        every = [*arms, least]
        steps = sum(sum(count <= min(config.patches, arm.n) for count in ERASE_COUNTS) for arm in every)
        with self.progress.bar(f"Erasing {name} from {self.units.name}", steps, "counts") as bar:
            for arm in every:
                found = erase(self.place, arm, train, test, bar, most=config.patches, weights=weights)
                self._erased(f"erasure {name}", arm, found, weights)

    def _erased(self, kind: str, arm: Arm, found: Erasure, weights: Floats) -> None:
        documents = int((found.tokens > 0).sum())
        for i, count in enumerate(found.counts):
            y = resampled(float(found.auroc[i]), found.auroc_drawn[:, i], documents)
            cost = ratio(found.kl[i], found.tokens, weights)
            self.records.point(f"{kind} by edit", arm.name, step=count, x=float(found.edit[i]), y=y)
            self.records.point(f"{kind} by kl", arm.name, step=count, x=float(cost.value), y=y)
        left, drawn = np.abs(2 * found.auroc - 1), np.abs(2 * found.auroc_drawn - 1)
        area = resampled(float(area_over_units(found.counts, left)), area_over_units(found.counts, drawn), documents)
        self.records.whole(f"{kind}: area over units", area, arm=arm.name)
        last = resampled(float(found.auroc[-1]), found.auroc_drawn[:, -1], documents)
        self.records.whole(f"{kind}: auroc left", last, arm=arm.name)
        self.records.whole(f"{kind}: kl", ratio(found.kl[-1], found.tokens, weights), arm=arm.name)
