"""What it costs a model to have the rows of several hooks replaced at once.

A model that is sparse by itself is sparse everywhere, so dictionaries are held against it at every hook together, not
one at a time. Each dictionary reads what the model has there once all the hooks below are replaced.

    delta_ce, kl     as for one hook (actpipe/training/cross_entropy.py), over the same tokens for every arm
    ce_recovered     (CE_zero − CE) / (CE_zero − CE_clean), with the same hooks replaced by zero; `_mean` by their means
    kl_zero          KL with the same hooks replaced by zero; kl_recovered (kl_zero − kl) / kl_zero; `_mean` likewise

Arms that replace the same hooks share the readings with zero and with the means.

Rows that the mask does not count stay as they are: among them the first of a sequence, the attention sink.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from actpipe.harvest.model import LanguageModel
from actpipe.harvest.sites import Site
from actpipe.progress import Bar

from .bootstrap import Estimate, Floats, document_weights, ratio
from .fidelity import Answer
from .intervention import Change, intervene
from .nats import nats
from .text import Text


@dataclass(frozen=True, kw_only=True, eq=False)
class Replacement:
    """Rows at `writes` are replaced by what `answer` says of the rows at `reads`, mostly the same hook."""

    reads: Site
    writes: Site
    answer: Answer
    mean: Tensor  # [d_out], of the rows at `writes`


@dataclass(frozen=True, kw_only=True)
class Cost:
    ce: Estimate
    delta_ce: Estimate
    kl: Estimate
    ce_recovered: Estimate
    ce_recovered_mean: Estimate
    kl_zero: Estimate
    kl_mean: Estimate
    kl_recovered: Estimate
    kl_recovered_mean: Estimate


Arms: TypeAlias = Mapping[str, Sequence[Replacement]]
Changes: TypeAlias = Sequence[tuple[Site, Change]]


def costs(
    model: LanguageModel, text: Text, arms: Arms, replaced: Tensor, bar: Bar, *, at_once: int, draws: int, seed: int
) -> dict[str, Cost]:
    """For each arm, a list of replacements made together. `replaced` [sequences, context]: rows that are.

    `bar` advances by one for each of the `readings(arms)` of the text.
    """
    once = {_hooks(replacements): replacements for replacements in arms.values()}
    asked: list[tuple[tuple[Any, str], Sequence[Replacement]]] = [((name, "answer"), arms[name]) for name in arms]
    asked += [((hooks, kind), once[hooks]) for hooks in once for kind in ("zero", "mean")]
    sums = {key: np.zeros((text.n_documents, 2)) for key, _ in asked}
    clean, tokens = np.zeros(text.n_documents), np.zeros(text.n_documents)
    seen: Changes = [(each.reads, _only_seen) for replacements in arms.values() for each in replacements]
    steps = -(-len(text.tokens) // at_once)
    for start in range(0, len(text.tokens), at_once):
        part, rows = text.part(start, start + at_once), replaced[start : start + at_once]
        document = part.documents[:, 1:][part.predicted_at].numpy()
        logits = _predicted(model, part, seen)
        ln_p = logits.float().log_softmax(-1)
        ce = nats(logits, ln_p, part.wanted).ce  # by the same sums as below, so that no change costs exactly nothing
        clean += np.bincount(document, ce.numpy(), minlength=len(clean))
        tokens += np.bincount(document, minlength=len(tokens))
        bar.advance(1 / steps)
        for key, replacements in asked:
            changes = [change for each in replacements for change in _changes(each, key[1], rows)]
            found = nats(_predicted(model, part, changes), ln_p, part.wanted)
            np.add.at(sums[key], document, torch.stack([found.ce, found.kl], 1).numpy())
            bar.advance(1 / steps)
    weights = document_weights(text.n_documents, draws=draws, seed=seed)
    results: dict[str, Cost] = {}
    for name, replacements in arms.items():
        zero, mean = (sums[_hooks(replacements), kind] for kind in ("zero", "mean"))
        results[name] = _cost(sums[name, "answer"], zero, mean, clean=clean, tokens=tokens, weights=weights)
    return results


def readings(arms: Arms) -> int:
    """Of the text: one as the model is, one an arm, and two for each set of hooks."""
    return 1 + len(arms) + 2 * len({_hooks(replacements) for replacements in arms.values()})


def _hooks(replacements: Sequence[Replacement]) -> tuple[str, ...]:
    """Those that are replaced."""
    return tuple(each.writes.hook for each in replacements)


def _predicted(model: LanguageModel, part: Text, changes: Changes) -> Tensor:
    with torch.inference_mode(), intervene(model, changes) as logits:
        found = logits(part.tokens, part.attention)
        return found[:, :-1][part.predicted_at.to(found.device)]


def _only_seen(x: Tensor) -> None:
    """Leaves rows as they are. The clean reading has it, so that it goes the same way through the model."""


def _changes(each: Replacement, kind: str, rows: Tensor) -> Iterator[tuple[Site, Change]]:
    read: dict[str, Tensor] = {}

    def see(x: Tensor) -> None:
        read["x"] = x[rows.to(x.device)].float()

    def replace(x: Tensor) -> Tensor:
        some = rows.to(x.device)
        new = {
            "answer": lambda: each.answer(read["x"]),
            "zero": lambda: torch.zeros_like(x[some]),
            "mean": lambda: each.mean.to(x.device, x.dtype).expand(int(some.sum()), -1),
        }[kind]()
        x = x.clone()
        x[some] = new.to(x.device, x.dtype)
        return x

    yield each.reads, see
    yield each.writes, replace


def _cost(answer: Floats, zero: Floats, mean: Floats, *, clean: Floats, tokens: Floats, weights: Floats) -> Cost:
    """From sums of each document, CE and KL: of the answer and of the two ablations."""
    ce, kl = answer.T
    return Cost(
        ce=ratio(ce, tokens, weights),
        delta_ce=ratio(ce - clean, tokens, weights),
        kl=ratio(kl, tokens, weights),
        ce_recovered=ratio(zero[:, 0] - ce, zero[:, 0] - clean, weights),
        ce_recovered_mean=ratio(mean[:, 0] - ce, mean[:, 0] - clean, weights),
        kl_zero=ratio(zero[:, 1], tokens, weights),
        kl_mean=ratio(mean[:, 1], tokens, weights),
        kl_recovered=ratio(zero[:, 1] - kl, zero[:, 1], weights),
        kl_recovered_mean=ratio(mean[:, 1] - kl, mean[:, 1], weights),
    )
