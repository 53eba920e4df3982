"""First-order estimates of what ablation of every unit does, from one backward pass (attribution patching).

    AtP_u = Σ_t ∂L/∂x_t · w_u · (base_u − a_u(t))        L = Σ over counted tokens of −ln p(token)

x_t: the row at the hook that units write to. base is 0, or the mean code of the unit over the rows of this text that
were drawn uniformly. AtP_u estimates the sum of ΔCE over tokens, in nats (Nanda 2023; Syed et al. 2310.10348).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.analysis.units import UnitSet
from actpipe.progress import Bar

from .intervention import intervene
from .place import Place
from .sampled import coded
from .text import Text

Floats = NDArray[np.float64]
BASES = ("zero", "mean")


@dataclass(frozen=True, kw_only=True, eq=False)
class Attribution:
    sequences: Floats  # [sequences, units of the sample, bases]: the estimate, summed over each sequence
    documents: Floats  # [documents, n, bases]: the same of all units, on the uniform sequences
    rows: int  # of the uniform sequences
    fired: NDArray[np.int64]  # [n], on how many of them
    mean_code: Floats  # [n], over them
    sample_codes: NDArray[np.float32]  # [rows, units of the sample]
    row_tokens: NDArray[np.int64]  # [rows]
    spread: float  # σ of the rows at `writes`: √(E‖x − E x‖² / d)
    tokens: int  # counted, of the uniform sequences

    @property
    def total(self) -> Floats:
        """[n, bases]"""
        found: Floats = self.documents.sum(axis=0)
        return found


def attribute(place: Place, text: Text, units: UnitSet, sample: NDArray[np.int64], bar: Bar) -> Attribution:
    """`bar` advances by one for each sequence."""
    sums = _Sums(text, units, sample)
    at_once = max(1, place.at_once(text.tokens.shape[1]) // 4)  # logits, their softmax, and the gradients of both
    for start in range(0, len(text.tokens), at_once):
        part = text.part(start, start + at_once)
        reads, writes, gradient = _gradients(place, part)
        sums.add(start, part, reads, writes, gradient)
        bar.advance(len(part.tokens))
    return sums.result()


def _gradients(place: Place, part: Text) -> tuple[Tensor, Tensor, Tensor]:
    """Rows at both hooks, and ∂L/∂x at `writes`, on changed rows: [N, ·] float32."""
    seen: dict[str, Tensor] = {}
    changed = part.changed.to(place.model.device)

    def note(x: Tensor) -> None:
        seen["reads"] = x.detach()[changed].float()

    def follow(x: Tensor) -> Tensor:
        seen["writes"] = x.detach()[changed].float()
        seen["x"] = x.detach().clone().requires_grad_()
        return seen["x"]

    with torch.enable_grad(), intervene(place.model, [(place.reads, note), (place.writes, follow)]) as logits:
        predicted = logits(part.tokens, part.attention)[:, :-1][part.predicted_at.to(place.model.device)]
        wanted = part.wanted.to(predicted.device)
        loss = torch.nn.functional.cross_entropy(predicted.float(), wanted, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, seen["x"])
    return seen["reads"], seen["writes"], gradient[changed].float()


class _Sums:
    def __init__(self, text: Text, units: UnitSet, sample: NDArray[np.int64]) -> None:
        self.units, self.sample, self.text = units, torch.from_numpy(sample), text
        self.directions = units.directions.detach().float()
        n, width = self.directions.shape
        # AtP towards zero, and Σ ∂L/∂x for what the mean adds to it.
        self.by_sequence = torch.zeros(len(text.tokens), len(sample), dtype=torch.float64)
        self.by_document = torch.zeros(text.n_documents, n, dtype=torch.float64)
        self.sequence_gradient = torch.zeros(len(text.tokens), width, dtype=torch.float64)
        self.document_gradient = torch.zeros(text.n_documents, width, dtype=torch.float64)
        self.fired = torch.zeros(n, dtype=torch.int64)
        self.codes = torch.zeros(n, dtype=torch.float64)
        self.kept: list[Tensor] = []
        self.moments = torch.zeros(2, width, dtype=torch.float64)
        self.rows = 0

    def add(self, start: int, part: Text, reads: Tensor, writes: Tensor, gradient: Tensor) -> None:
        sequence = torch.arange(len(part.tokens))[:, None].expand_as(part.tokens)[part.changed]
        document, uniform = part.documents[part.changed], sequence < part.uniform
        done = 0
        for codes in coded(self.units, reads):
            some = slice(done, done := done + len(codes))
            effect = -(gradient[some] @ self.directions.T.to(gradient.device)).mul_(codes).double().cpu()
            codes = codes.cpu()
            self.by_sequence.index_add_(0, start + sequence[some], effect[:, self.sample])
            here = uniform[some]
            self.by_document.index_add_(0, document[some][here], effect[here])
            self.fired += (codes[here] > 0).sum(0)
            self.codes += codes[here].sum(0, dtype=torch.float64)
            self.kept.append(codes[here][:, self.sample])
        wide, x = gradient.double().cpu(), writes.double().cpu()[uniform]
        self.sequence_gradient.index_add_(0, start + sequence, wide)
        self.document_gradient.index_add_(0, document[uniform], wide[uniform])
        self.moments += torch.stack([x.sum(0), x.square().sum(0)])
        self.rows += len(x)

    def result(self) -> Attribution:
        rows, mean = max(1, self.rows), self.codes / max(1, self.rows)
        written = self.directions.double().cpu()
        by_document = mean * (self.document_gradient @ written.T)
        by_sequence = mean[self.sample] * (self.sequence_gradient @ written[self.sample].T)
        first, uniform = self.moments[0] / rows, self.text.part(0, self.text.uniform)
        return Attribution(
            sequences=torch.stack([self.by_sequence, self.by_sequence + by_sequence], -1).numpy(),
            documents=torch.stack([self.by_document, self.by_document + by_document], -1).numpy(),
            rows=self.rows,
            fired=self.fired.numpy(),
            mean_code=mean.numpy(),
            sample_codes=torch.cat(self.kept).numpy(),
            row_tokens=uniform.tokens[uniform.changed].numpy(),
            spread=float((self.moments[1] / rows - first.square()).mean().clamp(min=0).sqrt()),
            tokens=int(uniform.counted.sum()),
        )
