"""Concept erasure: what must be taken from the rows until a linear probe cannot tell a concept any more, and what that
costs the model (the gender study of Cunningham et al. 2309.08600).

    x → x − Σ_{u ∈ F} (c_u(x) − rest_u) w_u         F: the k units that tell the concept best

Units are ranked by |mean code where the concept is true − where it is not| · ‖w‖ on documents of EXPLAIN; the probe
(least squares) is fitted there too, on edited rows, so that it may use all that is left; its AUROC is on documents of
SCORE. 0.5: nothing is left for a linear reader. The arm `least_squares` takes out what a linear reader uses, and
nothing else: one direction written, another read (LEACE for one concept, Belrose et al. 2306.03819).

    edit   E‖x' − x‖ / E‖x − E x‖
    kl     mean over tokens of KL(p ‖ p'), nats: every row of the text edited
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.errors import Misuse
from actpipe.progress import Bar

from .arms import Arm
from .bootstrap import Floats
from .concentration import ranks
from .intervention import intervene
from .nats import nats
from .place import Clean, Place, read_clean
from .text import Text

COUNTS = (0, 1, 2, 4, 8, 16, 32, 64)
_RIDGE = 1e-4  # of the mean variance, for rows that do not fill the space once directions are gone


@dataclass(frozen=True, kw_only=True, eq=False)
class Read:
    """A text read by the model as it is, and the concept at its changed rows."""

    clean: list[Clean]  # one for each sequence
    labels: NDArray[np.bool_]  # [rows]

    @property
    def reads(self) -> Tensor:
        return torch.cat([each.reads for each in self.clean]).cpu()

    @property
    def writes(self) -> Tensor:
        return torch.cat([each.writes for each in self.clean]).cpu()


@dataclass(frozen=True, kw_only=True, eq=False)
class Erasure:
    counts: tuple[int, ...]
    auroc: Floats  # [counts]
    auroc_drawn: Floats  # [draws, counts], over documents drawn again
    edit: Floats
    kl: Floats  # [counts, documents]: sums of each document
    tokens: Floats  # [documents]
    units: tuple[int, ...]  # in the order in which they go


def read(place: Place, text: Text, labels: NDArray[np.bool_]) -> Read:
    """`labels` [sequences, context]"""
    found = labels[text.changed.numpy()]
    if not found.any() or found.all():
        raise Misuse("The concept is true at every row of the text or at none, so nothing can be erased; name another.")
    return Read(clean=[read_clean(place, one) for one in text.parts(1)], labels=found)


def erase(place: Place, arm: Arm, fit: Read, test: Read, bar: Bar, *, most: int, weights: Floats) -> Erasure:
    """`weights` [draws, documents of `test`]; `bar` advances by one for each count."""
    order = _order(arm, fit)
    counts = tuple(count for count in COUNTS if count <= min(most, arm.n))
    documents = test.clean[0].text.n_documents
    found, drawn, edit, kl, tokens = [], [], [], [], np.zeros(documents)
    document = np.concatenate([each.text.documents[each.text.changed].numpy() for each in test.clean])
    spread = _length(test.writes - test.writes.mean(0))
    for count in counts:
        gone = order[:count]
        left = [rows.writes - _taken(arm, gone, rows.reads, rows.writes) for rows in (fit, test)]
        scores = _probe(left[0], fit.labels, left[1])
        found.append(auroc(scores, test.labels))
        drawn.append(auroc_drawn(scores, test.labels, document, weights))
        edit.append(_length(left[1] - test.writes) / spread)
        kl.append(_cost(place, arm, gone, test, tokens if count == counts[0] else np.zeros(documents)))
        bar.advance(1)
    return Erasure(
        counts=counts,
        auroc=np.array(found),
        auroc_drawn=np.stack(drawn, axis=1),
        edit=np.array(edit),
        kl=np.stack(kl),
        tokens=tokens,
        units=tuple(order[: counts[-1]]),
    )


def auroc(scores: Floats, labels: NDArray[np.bool_]) -> float:
    """P(score where true > score where not), ties half."""
    true = int(labels.sum())
    above = float(ranks(scores)[labels].sum()) - true * (true + 1) / 2
    return above / (true * (len(labels) - true))


def auroc_drawn(scores: Floats, labels: NDArray[np.bool_], documents: NDArray[np.int64], weights: Floats) -> Floats:
    """[draws]: the same with the rows of document d counted `weights[draw, d]` times.

    = w A w' / (w P · w Q): A_de pairs of a true row of d above a false one of e, P and Q rows of each document.
    """
    _, level = np.unique(scores, return_inverse=True)
    false = np.zeros((int(level.max()) + 1, weights.shape[1]))
    np.add.at(false, (level[~labels], documents[~labels]), 1.0)
    below = np.cumsum(false, axis=0) - false / 2
    above = np.zeros((weights.shape[1],) * 2)
    np.add.at(above, documents[labels], below[level[labels]])
    true, wrong = (np.bincount(documents[which], minlength=weights.shape[1]) for which in (labels, ~labels))
    pairs = (weights @ true) * (weights @ wrong)
    found: Floats = np.divide(
        ((weights @ above) * weights).sum(axis=1), pairs, out=np.full(len(weights), np.nan), where=pairs > 0
    )
    return found


def _order(arm: Arm, fit: Read) -> list[int]:
    codes = arm.codes(fit.reads, fit.writes).double().cpu()
    true = torch.from_numpy(fit.labels)
    apart = (codes[true].mean(0) - codes[~true].mean(0)).abs() * arm.directions.double().norm(dim=1)
    found: list[int] = apart.argsort(descending=True)[: COUNTS[-1]].tolist()
    return found


def _taken(arm: Arm, units: list[int], reads: Tensor, writes: Tensor) -> Tensor:
    """[N, d_out]: what `units` say beyond their rest."""
    codes = arm.codes(reads, writes)[:, units]
    return (codes - arm.rest[units].to(codes.device)) @ arm.directions[units].to(codes.device)


def _probe(x: Tensor, labels: NDArray[np.bool_], other: Tensor) -> Floats:
    """Scores of the rows `other` by the least-squares probe of the labels of `x`."""
    x, y = x.double(), torch.from_numpy(labels).double()
    mean = x.mean(0)
    covariance = (x - mean).T @ (x - mean) / len(x)
    ridge = _RIDGE * covariance.trace() / len(covariance) * torch.eye(len(covariance), dtype=x.dtype)
    weights = torch.linalg.solve(covariance + ridge, (x - mean).T @ (y - y.mean()) / len(x))
    found: Floats = (other.double() @ weights).numpy()
    return found


def _cost(place: Place, arm: Arm, units: list[int], test: Read, tokens: Floats) -> Floats:
    """[documents]: KL of tokens, summed; counts these into `tokens`."""
    found = np.zeros(len(tokens))
    for clean in test.clean:
        text = clean.text
        added = torch.zeros(1, text.tokens.shape[1], arm.directions.shape[1])
        added[0, text.changed[0]] = -_taken(arm, units, clean.reads, clean.writes).cpu()
        changes = [(place.writes, lambda x, added=added: x + added.to(x.device, x.dtype))]
        with torch.inference_mode(), intervene(place.model, changes) as logits:
            predicted = logits(text.tokens, text.attention)
            predicted = predicted[:, :-1][text.predicted_at.to(predicted.device)]
            kl = nats(predicted, clean.ln_p, text.wanted).kl
        document = text.documents[:, 1:][text.predicted_at].numpy()
        np.add.at(found, document, kl.numpy())
        np.add.at(tokens, document, 1.0)
    return found


def _length(rows: Tensor) -> float:
    return float(rows.double().norm(dim=1).mean())
