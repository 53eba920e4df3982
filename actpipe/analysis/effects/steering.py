"""Steering curves: what adding a unit's direction everywhere does to its own tokens, and what it costs.

x_t → x_t + s σ w_u / ‖w_u‖      at every row that counts, for each s of STEPS; σ: spread of a row's numbers at the
                                 hook, √(E‖x − E x‖² / d), which is the spread along a random direction

lift     mean over tokens of the change of the mean logit of the unit's ten most raised tokens, logits taken less
         their mean over the vocabulary
kl       mean over tokens of KL(p ‖ p_steered), nats
area     ∫ lift d√kl / √kl_max over s ≥ 0: the mean lift on the way to the strongest step. √kl, because for small
         steps lift grows with s and kl with s²
slope    lift / √kl at s = 1: free of the length of the step
output   mean over tokens of the largest p(v)·(1 − rank(v)/V) of those ten tokens at the strongest step (the idea of
         the output score of Arad et al. 2505.20063)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.progress import Bar

from .nats import nats
from .place import Clean, Place, read_changed, read_clean
from .text import Text

Floats = NDArray[np.float64]
STEPS = (-4.0, -2.0, -1.0, 1.0, 2.0, 4.0)  # of σ


@dataclass(frozen=True, kw_only=True, eq=False)
class Steering:
    """Sums over the tokens of each document, [documents, m, steps]."""

    tokens: Floats  # [documents]
    lift: Floats
    kl: Floats
    output: Floats


def steer(
    place: Place, text: Text, directions: Tensor, tokens: NDArray[np.int64], bar: Bar, *, spread: float
) -> Steering:
    """Along `directions` [m, d_out], for the tokens [m, KEPT] of each. `bar` advances by one for each sequence."""
    unit = torch.nn.functional.normalize(directions.detach().float(), dim=1)
    shape = (text.n_documents, len(directions), len(STEPS))
    found = Steering(tokens=np.zeros(text.n_documents), **{name: np.zeros(shape) for name in ("lift", "kl", "output")})
    for one in text.parts(1):
        clean = read_clean(place, one)
        found.tokens[:] += np.bincount(_documents(one), minlength=len(found.tokens))
        for items in _batches(len(unit), place.at_once(one.tokens.shape[1])):
            added = torch.zeros(len(items), one.tokens.shape[1], unit.shape[1], device=unit.device)
            for i, (which, step) in enumerate(items):
                added[i, one.changed[0]] = STEPS[step] * spread * unit[which]
            logits = read_changed(place, one, added)
            for i, (which, step) in enumerate(items):
                _count(found, clean, logits[i], tokens[which], (which, step))
        bar.advance(1)
    return found


def _count(found: Steering, clean: Clean, logits: Tensor, tokens: NDArray[np.int64], place: tuple[int, int]) -> None:
    (which, step), document = place, _documents(clean.text)
    own = torch.from_numpy(tokens).to(logits.device)
    ln_q, ln_p = logits.float().log_softmax(-1), clean.ln_p
    # A shift of all logits cancels in the difference to their mean.
    lift = _raised(ln_q, own) - _raised(ln_p, own)
    best = ln_q[:, own].max(1).values
    rank = (ln_q > best[:, None]).sum(1)
    values = {
        "lift": lift,
        "kl": nats(logits, ln_p, clean.text.wanted).kl,
        "output": best.exp() * (1 - rank / ln_q.shape[1]),
    }
    for name, value in values.items():
        np.add.at(getattr(found, name)[:, which, step], document, value.double().cpu().numpy())


def _raised(ln_p: Tensor, tokens: Tensor) -> Tensor:
    return ln_p[:, tokens].mean(1) - ln_p.mean(1)


def _documents(one: Text) -> NDArray[np.int64]:
    found: NDArray[np.int64] = one.documents[:, 1:][one.predicted_at].numpy()
    return found


def _batches(units: int, at_once: int) -> Iterator[list[tuple[int, int]]]:
    """(unit, step), a few at a time."""
    items = [(unit, step) for unit in range(units) for step in range(len(STEPS))]
    for start in range(0, len(items), at_once):
        yield items[start : start + at_once]


def area(lift: Floats, kl: Floats) -> Floats:
    """[…, m] from means [..., m, steps]."""
    up = [i for i, step in enumerate(STEPS) if step > 0]
    root = np.sqrt(np.maximum(kl[..., up], 0))
    root = np.concatenate([np.zeros_like(root[..., :1]), root], axis=-1)
    high = np.concatenate([np.zeros_like(root[..., :1]), lift[..., up]], axis=-1)
    return _over(np.trapezoid(high, root, axis=-1), root[..., -1])


def slope(lift: Floats, kl: Floats) -> Floats:
    first = STEPS.index(1.0)
    return _over(lift[..., first], np.sqrt(np.maximum(kl[..., first], 0)))


def _over(top: Floats, bottom: Floats) -> Floats:
    found: Floats = np.divide(top, bottom, out=np.full(np.shape(top), np.nan), where=bottom > 0)
    return found
