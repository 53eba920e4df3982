"""Exact ablation: the model reads sequences in which one unit is silent, or constant at its mean.

x_t → x_t + (base_u − a_u(t)) w_u        at every row of the sequence at once

kl, delta_ce            mean over tokens on which the unit fires, of the prediction made there
kl_sum, delta_ce_sum    sum over all tokens of the sequences, those after a firing included, for each firing
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.analysis.units import UnitSet
from actpipe.progress import Bar

from .attribution import BASES
from .nats import nats
from .place import Clean, Place, read_changed, read_clean
from .sampled import coded
from .text import Text

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Ablation:
    """Sums of each document; m units, bases as in BASES."""

    firings: Floats  # [documents, m], on the sequences that the unit was ablated on
    predictions: Floats  # [documents, m], of them those whose prediction counts
    kl: Floats  # [documents, m, bases], over those predictions
    ce: Floats  # the same of ΔCE
    kl_sum: Floats  # over all counted tokens
    ce_sum: Floats
    used: NDArray[np.bool_]  # [sequences, m]: on which sequences each unit was ablated


def ablate(
    place: Place,
    text: Text,
    units: UnitSet,
    sample: NDArray[np.int64],
    bar: Bar,
    *,
    means: Floats,
    per_unit: int,
    share: float = 1.0,
) -> Ablation:
    """Each unit of `sample` on the first `per_unit` sequences on which it fires; `means` [n] are the mean codes.

    `share` of the way to the base is gone: small steps are what first-order estimates are about. `bar` advances by one
    for each sequence.
    """
    m, left = len(sample), np.full(len(sample), per_unit)
    shape = (text.n_documents, m)
    found = Ablation(
        firings=np.zeros(shape),
        predictions=np.zeros(shape),
        **{name: np.zeros((*shape, len(BASES))) for name in ("kl", "ce", "kl_sum", "ce_sum")},
        used=np.zeros((len(text.tokens), m), np.bool_),
    )
    bases = np.stack([np.zeros(m), means[sample]])
    for place_in_text, one in enumerate(text.parts(1)):
        clean = read_clean(place, one)
        codes = torch.cat([each[:, torch.from_numpy(sample)] for each in coded(units, clean.reads)])
        wanted = ((codes > 0).any(0).cpu().numpy() & (left > 0)).nonzero()[0]
        left[wanted] -= 1
        found.used[place_in_text, wanted] = True
        directions = units.directions[torch.from_numpy(sample[wanted])].detach().float().to(codes.device)
        steps = share * (torch.from_numpy(bases[:, wanted]).to(codes.device) - codes[:, wanted, None].transpose(1, 2))
        _count_firings(found, clean, codes, wanted)
        _ablate_each(place, clean, found, wanted, steps.float(), directions)
        bar.advance(1)
    return found


def rounding(place: Place, text: Text) -> float:
    """Mean KL of a reading in which nothing is added, for the first sequence: smaller effects are not seen.

    In float32 next to nothing. In bfloat16 batches of another shape round otherwise.
    """
    one = text.part(0, 1)
    clean, batch = read_clean(place, one), place.at_once(one.tokens.shape[1])
    nothing = torch.zeros(min(batch, 4), one.tokens.shape[1], place.writes.width)
    logits = read_changed(place, one, nothing)
    return float(torch.cat([nats(each, clean.ln_p, one.wanted).kl for each in logits]).mean())


def _count_firings(found: Ablation, clean: Clean, codes: Tensor, wanted: NDArray[np.int64]) -> None:
    text = clean.text
    fires = (codes[:, wanted] > 0).cpu().double().numpy()
    np.add.at(found.firings, (text.documents[text.changed].numpy()[:, None], wanted), fires)


def _ablate_each(
    place: Place, clean: Clean, found: Ablation, wanted: NDArray[np.int64], steps: Tensor, directions: Tensor
) -> None:
    """`steps` [changed rows, bases, units]: what is added to the code of each unit."""
    text = clean.text
    document = text.documents[:, 1:][text.predicted_at].numpy()
    for items in _batches(len(wanted), place.at_once(text.tokens.shape[1])):
        added = torch.zeros(len(items), text.tokens.shape[1], directions.shape[1], device=directions.device)
        for i, (unit, base) in enumerate(items):
            added[i, text.changed[0]] = steps[:, base, unit, None] * directions[unit]
        logits = read_changed(place, text, added)
        for i, (unit, base) in enumerate(items):
            # A unit fires where ablation to zero changes its code.
            here = torch.zeros(text.tokens.shape[1], dtype=torch.bool)
            here[text.changed[0]] = (steps[:, 0, unit] != 0).cpu()
            here = here[:-1][text.predicted_at[0]]
            changed = nats(logits[i], clean.ln_p, text.wanted)
            column = int(wanted[unit])
            for sums, value in ((found.kl_sum, changed.kl), (found.ce_sum, changed.ce - clean.ce)):
                np.add.at(sums[:, column, base], document, value.numpy())
            for sums, value in ((found.kl, changed.kl), (found.ce, changed.ce - clean.ce)):
                np.add.at(sums[:, column, base], document, np.where(here, value, 0))
            if base == 0:
                np.add.at(found.predictions[:, column], document, here.double().numpy())


def _batches(units: int, at_once: int) -> Iterator[list[tuple[int, int]]]:
    """(unit, base), a few at a time."""
    items = [(unit, base) for unit in range(units) for base in range(len(BASES))]
    for start in range(0, len(items), at_once):
        yield items[start : start + at_once]
