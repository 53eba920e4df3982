"""What a unit's direction says of the next token by the weights alone, and how peaked that is.

ℓ_u      the logits of w_u (actpipe/harvest/unembedding.py), mean zero over the vocabulary, per unit of code
norm     √(Σ_v ℓ_uv²)
kurtosis E ℓ⁴ / (E ℓ²)² − 3 over the vocabulary: 0 for normal numbers, large where few tokens are raised or lowered
entropy  of softmax(s ℓ_u / ρ) in nats: s is the 99th percentile of the unit's code where it fires, ρ the size by
         which the final normalisation divides the rows it sees; ln V says that the unit alone says nothing
input    share of the unit's activation that lies on tokens among its ten most raised: a unit that repeats what it
         reads (the idea of the input score of Arad et al. 2505.20063, as a share of activation)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.errors import ActpipeError
from actpipe.harvest.model import LanguageModel
from actpipe.harvest.sites import find_sites
from actpipe.harvest.unembedding import logit_directions

from .intervention import intervene
from .text import Text

Floats = NDArray[np.float64]
KEPT = 10  # most raised tokens
CODE_PERCENTILE = 99
_FINAL = "ln_final.hook_in"
_ROWS = 64  # directions at a time


@dataclass(frozen=True, kw_only=True, eq=False)
class Lens:
    tokens: NDArray[np.int64]  # [m, KEPT], most raised first
    lowered: NDArray[np.int64]  # [m, KEPT], most lowered first
    norm: Floats  # [m]
    kurtosis: Floats
    entropy: Floats  # NaN where no unit fires or the size of the rows is not known
    input: Floats


def lens(
    model: str, hook: str, directions: Tensor, codes: NDArray[np.float32], row_tokens: NDArray[np.int64], size: float
) -> Lens | None:
    """Of `directions` [m, d] with `codes` [rows, m] on rows of `row_tokens`. `size` is ρ. None where `hook` has no
    direct way to the logits."""
    columns: dict[str, list[Tensor]] = {name: [] for name in ("tokens", "lowered", "norm", "kurtosis", "entropy")}
    scale = torch.from_numpy(_percentiles(codes)) / size
    for start in range(0, len(directions), _ROWS):
        logits = logit_directions(model, hook, directions[start : start + _ROWS])
        if logits is None:
            return None
        square = logits.double().square()
        keep = min(KEPT, logits.shape[1])
        ln_q = (logits.double() * scale[start : start + _ROWS, None]).log_softmax(-1)
        columns["tokens"].append(logits.topk(keep).indices)
        columns["lowered"].append(logits.topk(keep, largest=False).indices)
        columns["norm"].append(square.sum(1).sqrt())
        columns["kurtosis"].append(square.square().mean(1) / square.mean(1).square() - 3)
        columns["entropy"].append(-(ln_q.exp() * ln_q).sum(1))
    found = {name: torch.cat(each).numpy() for name, each in columns.items()}
    return Lens(**found, input=_on(found["tokens"], codes, row_tokens))


def final_size(model: LanguageModel, text: Text) -> float:
    """ρ, mean over rows: √(mean square) of the row that the final normalisation sees, less its mean in a LayerNorm.
    NaN where the model has no final normalisation by that name."""
    try:
        (site,) = find_sites((_FINAL,), model.config, model.tokenizer)
    except ActpipeError:
        return float("nan")
    if site.through == "bridge":
        return float("nan")
    seen: list[Tensor] = []
    with torch.inference_mode(), intervene(model, [(site, lambda x: seen.append(x))]) as logits:
        logits(text.tokens, text.attention)
    x = seen[0][text.changed.to(model.device)]
    norm = model.module.get_submodule(site.path)
    with torch.inference_mode():
        centred = torch.allclose(norm(x[:1]), norm(x[:1] + 1), rtol=1e-2, atol=1e-2)
    x = x.float()
    x = x - x.mean(1, keepdim=True) if centred else x
    return float(x.square().mean(1).sqrt().mean())


def _percentiles(codes: NDArray[np.float32]) -> Floats:
    """[m] of the codes where each unit fires; NaN where it does not."""
    each = [codes[codes[:, i] > 0, i] for i in range(codes.shape[1])]
    return np.array([np.percentile(some, CODE_PERCENTILE) if len(some) else np.nan for some in each], dtype=np.float64)


def _on(tokens: NDArray[np.int64], codes: NDArray[np.float32], row_tokens: NDArray[np.int64]) -> Floats:
    """[m]: share of each unit's codes on rows whose token is among its `tokens` [m, KEPT]."""
    total = codes.sum(axis=0, dtype=np.float64)
    on = np.array([codes[np.isin(row_tokens, some), i].sum(dtype=np.float64) for i, some in enumerate(tokens)])
    found: Floats = np.divide(on, total, out=np.full(len(total), np.nan), where=total > 0)
    return found
