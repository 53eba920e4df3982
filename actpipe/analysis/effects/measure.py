"""units + the model behind a store → tables of effects: everything for one set of units, on documents of SCORE."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.units import UnitSet
from actpipe.errors import Missing
from actpipe.harvest.model import LanguageModel
from actpipe.progress import Bar, Progress, silent

from .ablation import Ablation, ablate, rounding
from .attribution import BASES, Attribution, attribute
from .bootstrap import Estimate, Floats, document_weights, plain, ratio, resampled
from .concentration import concentration, correlations
from .config import EffectsConfig
from .fidelity import Answer, fidelity_text, reconstruction, sparsity
from .lens import Lens, final_size, lens
from .place import Place
from .records import Records
from .sampled import alive_in, draw
from .steering import STEPS, Steering, area, slope, steer
from .text import Text, covering_text, sequence_order

_SEEN = 3  # times the rounding, from which an effect is one
_UNITS_AT_ONCE = 1024  # whose totals are drawn again together


@dataclass(frozen=True)
class Effects:
    tables: dict[str, pa.Table]  # as in schemas.SCHEMAS
    notes: tuple[str, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)  # of each part


def measure(
    model: LanguageModel,
    corpus: Corpus,
    units: UnitSet,
    *,
    alive: NDArray[np.bool_] | None = None,
    answer: Answer | None = None,
    config: EffectsConfig | None = None,
    progress: Progress = silent,
) -> Effects:
    """Sparsity, fidelity, attribution, ablation, logits and steering of one set of units.

    `alive` [n]: units that fire somewhere in the text. `answer` [N, d] → [N, d_out]: what the dictionary that the units
    are of says of rows; without it only sparsity is measured. `model` is the one the store was harvested from.
    """
    return _Measurement(model, corpus, units, alive, answer, config or EffectsConfig(), progress).run()


class _Measurement:
    def __init__(
        self,
        model: LanguageModel,
        corpus: Corpus,
        units: UnitSet,
        alive: NDArray[np.bool_] | None,
        answer: Answer | None,
        config: EffectsConfig,
        progress: Progress,
    ) -> None:
        self.model, self.corpus, self.units, self.answer = model, corpus, units, answer
        self.config, self.progress = config, progress
        self.place = Place.of(model, corpus.store, units.hook, units.writes)
        self.order = sequence_order(corpus, self.config.seed)
        self.alive = alive_in(corpus, units, self.order) if alive is None else alive
        if not self.alive.any():
            raise Missing(f"No unit of {units.name} fires, so there is nothing whose effect could be measured.")
        self.sample = draw(self.alive, self.config.units, self.config.seed)
        self.records, self.notes, self.seconds = Records(), list[str](), dict[str, float]()

    def run(self) -> Effects:
        with self._timed("fidelity"):
            self._fidelity()
        with self._timed("text"):
            text = covering_text(self.corpus, self.units, self.sample, self.order, self.config)
        with self._timed("attribution"), self._bar("Attributing effects", len(text.tokens)) as bar:
            attribution = attribute(self.place, text, self.units, self.sample, bar)
        self._attributed(attribution, text)
        with self._timed("ablation"), self._bar("Ablating units", len(text.tokens)) as bar:
            exact = ablate(
                self.place, text, self.units, self.sample, bar,
                means=attribution.mean_code, per_unit=self.config.per_unit,
            )  # fmt: skip
            floor = rounding(self.place, text)
        totals = self._ablated(exact, attribution)
        self._noise(floor, totals["kl_zero"])
        with self._timed("logits"):
            seen = self._lens(attribution, text, totals)
        if seen is not None and self.config.steered:
            with self._timed("steering"):
                self._steer(seen, text, attribution)
        return Effects(self.records.tables(), tuple(self.notes), self.seconds)

    def _fidelity(self) -> None:
        config, store = self.config, self.corpus.store
        text = fidelity_text(self.corpus, self.order, config.fidelity_rows)
        rows = text.number[:, None] * store.context + np.arange(store.context)
        chosen = rows[text.changed.numpy()]
        documents = text.documents[text.changed].numpy()
        weights = document_weights(text.n_documents, draws=config.draws, seed=config.seed)
        x = store.read_rows(self.units.hook, chosen).float()
        width, given = len(self.units.source), len(np.unique(self.units.feature))
        if given < width:
            self.notes.append(f"The sparsity of {self.units.name} is that of {given} of its {width} features.")
        for name, estimate in sparsity(x, documents, self.units, weights).items():
            self.records.whole(name, estimate)
        if self.answer is None:
            return
        if self.units.writes not in store.hooks:
            self.notes.append(f"Reconstruction is not measured: {self.units.writes} was not harvested.")
            return
        target = x if self.units.writes == self.units.hook else store.read_rows(self.units.writes, chosen).float()
        with torch.no_grad():
            answers = torch.cat([self.answer(some).cpu() for some in torch.split(x, 1024)])
        for name, estimate in reconstruction(target, answers, documents, weights).items():
            self.records.whole(name, estimate)

    def _attributed(self, found: Attribution, text: Text) -> None:
        uniform = text.part(0, text.uniform)
        tokens = np.bincount(uniform.documents[uniform.counted].numpy(), minlength=text.n_documents).astype(np.float64)
        here = tokens > 0  # documents of the uniform sequences; on the others nothing was attributed
        weights = document_weights(int(here.sum()), draws=self.config.draws, seed=self.config.seed)
        alive = np.flatnonzero(self.alive)
        for base, name in enumerate(BASES):
            for start in range(0, len(alive), _UNITS_AT_ONCE):
                some = alive[start : start + _UNITS_AT_ONCE]
                top = found.documents[here][:, some, base]
                estimate = ratio(top, np.repeat(tokens[here, None], len(some), axis=1), weights)
                self.records.units(some, f"atp_{name}", estimate)
            few = concentration(found.documents[here][:, alive, base], weights)
            self.records.whole(f"units_for_90_{name}", few)
            share = Estimate(few.value / len(alive), few.low / len(alive), few.high / len(alive), few.n)
            self.records.whole(f"share_of_units_for_90_{name}", share)

    def _ablated(self, exact: Ablation, attribution: Attribution) -> dict[str, Floats]:
        """Writes the numbers of each unit; returns them, [m] each."""
        config, found = self.config, dict[str, Floats]()
        weights = document_weights(len(exact.firings), draws=config.draws, seed=config.seed)
        for base, name in enumerate(BASES):
            for metric, top, bottom in (
                ("kl", exact.kl, exact.predictions),
                ("delta_ce", exact.ce, exact.predictions),
                ("kl_sum", exact.kl_sum, exact.firings),
                ("delta_ce_sum", exact.ce_sum, exact.firings),
            ):
                estimate = ratio(top[..., base], bottom, weights)
                found[f"{metric}_{name}"] = estimate.value
                self.records.units(self.sample, f"{metric}_{name}", estimate)
                self.records.whole(f"{metric}_{name}", self._over_units(estimate.value))
            estimated = (attribution.sequences[..., base] * exact.used).sum(axis=0)
            measured = np.where(exact.used.any(axis=0), exact.ce_sum[..., base].sum(axis=0), np.nan)
            for kind, estimate in correlations(estimated, measured, draws=config.draws, seed=config.seed).items():
                self.records.whole(f"atp_{name}_{kind}", estimate)
        ablated = int(exact.used.any(axis=0).sum())
        self.records.whole("units_drawn", plain(len(self.sample), len(self.sample)))
        self.records.whole("units_ablated", plain(ablated, len(self.sample)))
        if ablated < len(self.sample):
            self.notes.append(
                f"{len(self.sample) - ablated} of {len(self.sample)} units of {self.units.name} do not fire on the "
                "sequences that were read; their ablation is undefined. More: search_rows and sequences."
            )
        return found

    def _noise(self, floor: float, kl: Floats) -> None:
        self.records.whole("kl_rounding", plain(floor, 1))
        below = int((kl < _SEEN * floor).sum())
        if below:
            self.notes.append(
                f"{below} of {len(kl)} units of {self.units.name} change predictions by less than {_SEEN} times what "
                f"rounding does ({floor:.1e} nats)."
            )

    def _lens(self, attribution: Attribution, text: Text, totals: dict[str, Floats]) -> Lens | None:
        directions = self.units.directions[torch.from_numpy(self.sample)].detach().float().cpu()
        size = final_size(self.model, text.part(0, 1))
        codes, tokens = attribution.sample_codes, attribution.row_tokens
        found = lens(self.model.name, self.units.writes, directions, codes, tokens, size)
        if found is None:
            self.notes.append(f"{self.units.writes} has no direct way to the logits: no logit effects, no steering.")
            return None
        columns = {
            "logit_norm": found.norm,
            "logit_kurtosis": found.kurtosis,
            "logit_entropy": found.entropy,
            "input_score": found.input,
        }
        n = np.full(len(self.sample), attribution.rows)
        nothing = np.full(len(self.sample), np.nan)
        for name, values in columns.items():
            self.records.units(self.sample, name, Estimate(values, nothing, nothing, n))
            self.records.whole(name, self._over_units(values))
        density = attribution.fired[self.sample] / max(1, attribution.rows)
        for against, values in (("logit_norm", found.norm), ("density", density)):
            both = correlations(
                values.astype(np.float64), totals["kl_sum_zero"], draws=self.config.draws, seed=self.config.seed
            )
            self.records.whole(f"kl_sum_zero_with_{against}", both["spearman"])
        return found

    def _steer(self, seen: Lens, text: Text, attribution: Attribution) -> None:
        config, steered = self.config, self.sample[: self.config.steered]
        uniform = text.part(0, min(text.uniform, config.steering_sequences))
        directions = self.units.directions[torch.from_numpy(steered)]
        with self._bar("Steering", len(uniform.tokens)) as bar:
            found = steer(self.place, uniform, directions, seen.tokens[: len(steered)], bar, spread=attribution.spread)
        self._steered(found, steered)

    def _steered(self, found: Steering, steered: NDArray[np.int64]) -> None:
        here = found.tokens > 0
        weights = document_weights(int(here.sum()), draws=self.config.draws, seed=self.config.seed)
        tokens = found.tokens[here]
        below = np.broadcast_to(tokens[:, None, None], found.lift[here].shape)
        lift, kl, output = (ratio(each[here], below, weights) for each in (found.lift, found.kl, found.output))
        drawn_tokens = (weights @ tokens)[:, None, None]
        drawn = [np.tensordot(weights, each[here], axes=1) / drawn_tokens for each in (found.lift, found.kl)]
        for i, unit in enumerate(steered.tolist()):
            for step, s in enumerate(STEPS):
                x = float(kl.value[i, step])
                self.records.point("steering", "units", step=s, x=x, y=lift.at((i, step)), unit=unit)
            for name, summary in (("steering_area", area), ("steering_slope", slope)):
                value = float(summary(lift.value[i], kl.value[i]))
                estimate = resampled(value, summary(drawn[0][:, i], drawn[1][:, i]), int(here.sum()))
                self.records.unit(unit, name, estimate)
            self.records.unit(unit, "steering_kl", kl.at((i, len(STEPS) - 1)))
            self.records.unit(unit, "output_score", output.at((i, len(STEPS) - 1)))
        self.records.whole("steering_area", self._over_units(area(lift.value, kl.value)))
        self.records.whole("steering_slope", self._over_units(slope(lift.value, kl.value)))
        self.records.whole("output_score", self._over_units(output.value[:, -1]))

    def _over_units(self, values: Floats) -> Estimate:
        """Mean over the units drawn, with an interval over units drawn again."""
        defined = values[np.isfinite(values)]
        if not len(defined):
            return plain(float("nan"), 0)
        weights = document_weights(len(defined), draws=self.config.draws, seed=self.config.seed)
        return ratio(defined, np.ones(len(defined)), weights)

    def _bar(self, title: str, total: int) -> AbstractContextManager[Bar]:
        return self.progress.bar(f"{title} of {self.units.name}", total, "sequences")

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - begun
