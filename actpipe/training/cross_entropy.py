"""What a reconstruction costs the model: next-token cross-entropy with x̂ in place of x at the hook.

    loss recovered = (CE₀ − CE) / (CE₀ − CE_clean)        CE₀: the rows replaced by zero, or by their mean

Only rows that the mask counts are replaced: a dictionary was never shown the others, and the first token of a sequence
carries the attention sink, without which any model falls apart whatever the dictionary does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from actpipe.harvest.capture import splice
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.recorded import recorded_model
from actpipe.harvest.sites import Site
from actpipe.progress import Bar
from actpipe.store import Store
from sae import Dictionary

SEQUENCES = 16
SEQUENCES_PER_BATCH = 4  # logits are [batch, context, vocabulary] float32: 100 MB at 4 · 128 · 49k


@dataclass(frozen=True)
class Recovery:
    delta_ce: float
    loss_recovered: float
    loss_recovered_mean: float
    ce_clean: float
    ce_zero: float
    ce_mean: float
    ce_tokens: int


@dataclass(frozen=True)
class Probe:
    """The text on which cross-entropies are measured; all [sequences, context]."""

    tokens: Tensor
    attention: Tensor  # true at tokens that are not padding
    replaced: Tensor  # rows to replace
    counted: Tensor  # tokens whose prediction counts: real tokens of held-out documents


def model_of(store: Store, device: str | None) -> LanguageModel:
    """The model the store was harvested from, in the dtype it was harvested with."""
    return recorded_model(store, device, otherwise="Or skip what needs it with --no-evaluate-loss.")


def choose_probe(store: Store, held_out_share: float) -> Probe:
    held_out = store.held_out(held_out_share)
    most = np.argsort(-held_out.sum(axis=1), kind="stable")[:SEQUENCES]
    counted = held_out[most].copy()
    counted[:, 0] = False  # nothing predicts the first token
    return Probe(
        tokens=torch.from_numpy(store.tokens[most].astype(np.int64)),
        attention=torch.from_numpy(store.doc[most] >= 0),
        replaced=torch.from_numpy(store.mask[most].copy()),
        counted=torch.from_numpy(counted),
    )


def recoveries(
    model: LanguageModel, store: Store, hook: str, dictionaries: Sequence[Dictionary], probe: Probe, bar: Bar
) -> list[Recovery]:
    """One for each dictionary; `bar` advances by one for each of the 3 + len(dictionaries) readings of the text."""
    site = Site.recorded(hook, store.config["sites"][hook], store.hooks[hook])
    mean = torch.from_numpy(store.statistics(hook).mean).to(model.device, torch.float32)

    def measured(replace: Callable[[Tensor], Tensor] | None) -> float:
        value = _cross_entropy(model, site, probe, replace)
        bar.advance(1)
        return value

    clean = measured(None)
    zero = measured(torch.zeros_like)
    average = measured(lambda x: mean.expand_as(x))
    spliced = [measured(_reconstruction(dictionary.to(model.device))) for dictionary in dictionaries]
    return [
        Recovery(
            delta_ce=ce - clean,
            loss_recovered=_share(zero, ce, clean),
            loss_recovered_mean=_share(average, ce, clean),
            ce_clean=clean,
            ce_zero=zero,
            ce_mean=average,
            ce_tokens=int(probe.counted.sum()),
        )
        for ce in spliced
    ]


def _share(worst: float, ce: float, clean: float) -> float:
    """NaN where replacing the rows costs the model nothing: then there is nothing to recover."""
    return (worst - ce) / (worst - clean) if worst != clean else math.nan


def _reconstruction(dictionary: Dictionary) -> Callable[[Tensor], Tensor]:
    return lambda x: dictionary.decode(dictionary.encode(x))


def _cross_entropy(model: LanguageModel, site: Site, probe: Probe, replace: Callable[[Tensor], Tensor] | None) -> float:
    """Nats a counted token."""
    total = 0.0
    for begin in range(0, len(probe.tokens), SEQUENCES_PER_BATCH):
        part = slice(begin, begin + SEQUENCES_PER_BATCH)
        ids, replaced = probe.tokens[part].to(model.device), probe.replaced[part].to(model.device)
        attention = probe.attention[part]

        def at_site(value: Tensor, replaced: Tensor = replaced) -> Tensor:
            if replace is None:
                return value
            flat = value.flatten(2)
            new = torch.where(replaced[..., None], replace(flat.float()).to(value.dtype), flat)
            return new.view_as(value)

        with torch.inference_mode(), splice(model, site, at_site) as read:
            logits = read(ids, attention)
        counted = probe.counted[part, 1:].to(model.device)
        losses = cross_entropy(logits[:, :-1][counted].float(), ids[:, 1:][counted], reduction="sum")
        total += float(losses)
    return total / int(probe.counted.sum())
