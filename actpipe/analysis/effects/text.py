"""The text on which effects are measured: sequences of documents that nothing was chosen on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.analysis.corpus import Corpus
from actpipe.analysis.splits import NAMES, SCORE
from actpipe.analysis.units import UnitSet
from actpipe.errors import Missing
from actpipe.store.hashing import salt, salted

from .config import EffectsConfig
from .sampled import fires

_SALT = 0x65666663  # "effc"; keeps this order apart from those of held-out documents and of the splits
_SEARCHED_AT_ONCE = 8192  # rows whose codes are held together


@dataclass(frozen=True, kw_only=True, eq=False)
class Text:
    """Some sequences of a store; tensors are [sequences, context]."""

    number: NDArray[np.int64]  # [sequences], in the store
    tokens: Tensor
    attention: Tensor  # true at tokens that are not padding
    changed: Tensor  # rows on which units are changed: rows that count, of documents of SCORE
    counted: Tensor  # tokens of SCORE whose prediction counts
    documents: Tensor  # 0 … n_documents − 1; 0 too where there is none, which no measure counts
    n_documents: int
    uniform: int  # the first so many were drawn whatever fires on them

    def part(self, start: int, stop: int) -> Text:
        some = slice(start, stop)
        return Text(
            number=self.number[some],
            tokens=self.tokens[some],
            attention=self.attention[some],
            changed=self.changed[some],
            counted=self.counted[some],
            documents=self.documents[some],
            n_documents=self.n_documents,
            uniform=max(0, min(self.uniform, stop) - start),
        )

    def parts(self, sequences: int) -> Iterator[Text]:
        for start in range(0, len(self.tokens), sequences):
            yield self.part(start, start + sequences)

    @property
    def wanted(self) -> Tensor:
        """[counted] the tokens whose prediction counts, one after the other."""
        return self.tokens[:, 1:][self.counted[:, 1:]]

    @property
    def predicted_at(self) -> Tensor:
        """[sequences, context − 1]: rows whose prediction of the next token counts."""
        return self.counted[:, 1:]


def text_of(corpus: Corpus, number: NDArray[np.int64], *, uniform: int | None = None, split: int = SCORE) -> Text:
    """`split` other than SCORE: text to fit something on, in the same form."""
    store = corpus.store
    documents, mask = store.doc[number], store.mask[number]
    scored = mask & (corpus.split[documents] == split)
    counted = scored.copy()
    counted[:, 0] = False  # nothing predicts the first token
    names, place = np.unique(documents[scored], return_inverse=True)
    dense = np.zeros(documents.shape, dtype=np.int64)
    dense[scored] = place
    return Text(
        number=number,
        tokens=torch.from_numpy(store.tokens[number].astype(np.int64)),
        attention=torch.from_numpy(documents >= 0),
        changed=torch.from_numpy(scored),
        counted=torch.from_numpy(counted),
        documents=torch.from_numpy(dense),
        n_documents=max(1, len(names)),
        uniform=len(number) if uniform is None else uniform,
    )


def sequence_order(corpus: Corpus, seed: int, *, split: int = SCORE) -> NDArray[np.int64]:
    """Sequences with rows of the split, in a random order: those at least half of it first."""
    store = corpus.store
    number = np.concatenate([np.arange(start, stop) for start, stop in corpus.ranges])
    scored = (store.mask[number] & (corpus.split[store.doc[number]] == split)).sum(axis=1)
    number, scored = number[scored > 1], scored[scored > 1]
    if not len(number):
        raise Missing(
            f"{store.place} has no document in the part called {NAMES[split]!r}, which effects need; harvest more text "
            "(--tokens)."
        )
    order = np.lexsort((salted(number.astype(np.uint64), salt(_SALT, seed)), 2 * scored < store.context))
    found: NDArray[np.int64] = number[order]
    return found


def covering_text(
    corpus: Corpus, units: UnitSet, sample: NDArray[np.int64], order: NDArray[np.int64], config: EffectsConfig
) -> Text:
    """The first sequences of `order`, and behind them such on which a unit of `sample` fires that has too few.

    Each unit so has the first sequences of a random order on which it fires: a uniform draw of them.
    """
    chosen = list(order[: config.uniform])
    lacks = np.full(len(sample), config.per_unit)
    at_once = max(1, _SEARCHED_AT_ONCE // corpus.store.context)
    most = max(config.uniform, config.search_rows // corpus.store.context)
    for start in range(0, min(len(order), most), at_once):
        piece = order[start : start + at_once]
        found = fires(corpus, units, piece)[:, sample]
        for place, number in enumerate(piece, start=start):
            here = found[place - start]
            if place >= config.uniform:
                if len(chosen) == config.sequences or not (lacks > 0).any():
                    return text_of(corpus, np.array(chosen), uniform=min(config.uniform, len(order)))
                if not (here & (lacks > 0)).any():
                    continue
                chosen.append(number)
            lacks = lacks - here
    return text_of(corpus, np.array(chosen), uniform=min(config.uniform, len(order)))
