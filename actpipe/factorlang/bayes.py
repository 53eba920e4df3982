"""The probability of every next word to a reader who knows the language and has read the document so far: exact.

The syntax, the facts and the sentences that may be copied can be read off the words (`Reading`). Hidden are h =
(style, language, speaker, topic), 1,536 values, and whether this sentence is new or repeats one of the last four. With
N(h) = P(new, h | words so far), O(h) = P(h | words before this sentence) and c_j = P(copy of j | words so far),

    P(word) = Σ_h N(h) L(h, word) + Σ_j c_j [word is next in sentence j]
    L(h, word) = P(class of word | state of the grammar, style) · P(word | class, h) · memory(facts)

and after the word N ← N L / P(word), c_j ← c_j [it was next] / P(word). Words of a copy say nothing of h, so O is the
same for every j and only its topic moves. Before every word but the first the topic of N and O moves by its Markov
chain; where a sentence ends, N + O Σ c_j is what is known of h. Nothing is approximated.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from actpipe.errors import Misuse

from .document import Document
from .language import SOURCES, Language
from .reading import Ints, Reading
from .vocabulary import SIZE, Class, vocabulary

AT_ONCE = 128  # documents filtered together, 12 kB of state each; 64 are 10 % slower, 16 half as fast
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class CrossEntropy:
    """Nats a word. The standard errors are over documents."""

    bayes: float  # of the best reader of the words; no model of them has less on average
    bayes_error: float
    oracle: float  # of one who is told all that is hidden; what a model gains by inference is less than the difference
    oracle_error: float
    n_words: int


class Filter:
    """What a reader believes of B documents, and how it changes."""

    def __init__(self, n: int, spec: Language) -> None:
        self.spec, self.reading = spec, Reading(n, spec)
        self.emission = spec.emission.reshape(SIZE, spec.styles, -1)  # [2048, S, R], R = language · speaker · topic
        self.new = np.full((n, *self.emission.shape[1:]), 1 / self.emission[0].size)  # N(h)
        self.old = self.new.copy()  # O(h)
        self.copies = np.zeros((n, SOURCES))  # c_j
        self.next_copied = np.zeros((n, SOURCES), np.int64)  # position of the next word of sentence j

    def prepare(self) -> None:
        """Before each word: the topic may move, and a sentence may begin."""
        if self.reading.position:
            self._move(self.new)
            self._move(self.old)
        begins = self.reading.at_start.nonzero()[0]
        if not len(begins):
            return
        known = self.new[begins] + self.old[begins] * self.copies[begins].sum(1)[:, None, None]
        sources = self.reading.begins[begins, 1:]
        n = (sources >= 0).sum(1)
        copy = np.where(n > 0, self.spec.copy, 0.0)
        self.old[begins], self.new[begins] = known, known * (1 - copy)[:, None, None]
        self.copies[begins] = np.where(sources >= 0, (copy / np.maximum(n, 1))[:, None], 0.0)
        self.next_copied[begins] = sources

    def read(self, words: Ints, before: Ints) -> Floats:
        """[B] probabilities of the next words given those `before` them [B, T]; believed from here on."""
        by_style = self.by_class(words[:, None])[:, :, 0]
        joint = self.new
        joint *= self.emission[words]
        joint *= by_style[:, :, None]
        self.copies *= before[self.reading.all[:, None], self.next_copied] == words[:, None]
        probability: Floats = joint.sum((1, 2)) + self.copies.sum(1)
        if not (probability > 0).all():
            word = vocabulary().words[words[probability <= 0][0]]
            raise Misuse(f"Word {self.reading.position} of a document, {word!r}, cannot stand there in its FactorLang.")
        joint /= probability[:, None, None]
        self.copies /= probability[:, None]
        self.next_copied += 1
        self.reading.advance(words)
        return probability

    def predict(self, out: Floats, before: Ints) -> None:
        """Fill [B, 2048] zeros with the probability of every next word; `before` as in `read`."""
        known, rates = vocabulary(), self._rates()
        for kind in Class:
            here = np.flatnonzero(rates[:, :, kind].any(1))
            if not len(here):
                continue
            words = np.arange(known.first[kind], known.first[kind] + known.size_of[kind])
            weighted = (self.new[here] * rates[here, :, kind, None]).reshape(len(here), -1)
            given = self.emission[words[0] : words[-1] + 1].reshape(len(words), -1)
            # torch's product: its number of threads is set in one place, numpy's is not.
            shares = (torch.from_numpy(weighted) @ torch.from_numpy(given).T).numpy()
            if kind in (Class.NAME, Class.VALUE, Class.FACT_VERB):
                shares *= self.reading.memory(np.broadcast_to(words, (len(out), len(words))))[here]
            out[here[:, None], words] = shares
        for j in range(SOURCES):
            at = before[self.reading.all, self.next_copied[:, j]]
            out[self.reading.all, at] += self.copies[:, j]  # of a sentence that cannot be copied: 0

    def _rates(self) -> Floats:
        """[B, S, classes]: P(class | state, style)"""
        rates: Floats = self.reading.grammar.probability[self.reading.situation, : self.spec.styles]
        return rates

    def by_class(self, words: Ints) -> Floats:
        """[B, S, W]: P(class | state, style) · memory of words [B, W]."""
        kind = vocabulary().class_of[words]
        shares: Floats = np.take_along_axis(self._rates(), kind[:, None, :], 2) * self.reading.memory(words)[:, None, :]
        return shares

    def _move(self, belief: Floats) -> None:
        """The topic is left with probability `switch` for one of the others: in place."""
        others = self.spec.topics - 1
        if not others or not self.spec.switch:
            return
        by_topic = belief.reshape(-1, self.spec.topics)
        rate = self.spec.switch / others
        total = by_topic.sum(1, keepdims=True) * rate
        by_topic *= 1 - self.spec.switch - rate
        by_topic += total


def surprisals(documents: Iterable[Document]) -> Floats:
    """[documents, words], −log P(word | the words before it), nats: the floor of any model's, on average."""
    return _both(documents)[0]


def bayes_cross_entropy(documents: Iterable[Document]) -> CrossEntropy:
    bayes, oracle = _both(documents)
    n = len(bayes)
    errors = [float(each.mean(1).std(ddof=1)) / n**0.5 if n > 1 else float("nan") for each in (bayes, oracle)]
    return CrossEntropy(
        bayes=float(bayes.mean()),
        bayes_error=errors[0],
        oracle=float(oracle.mean()),
        oracle_error=errors[1],
        n_words=bayes.size,
    )


def predictions(documents: Iterable[Document]) -> NDArray[np.float64]:
    """[documents, words, 2048]: the whole distribution of every next word; 4 MB a document."""
    parts = []
    for block in _blocks(documents):
        words = np.stack([document.words for document in block])
        believed = Filter(len(block), block[0].spec)
        part = np.zeros((*words.shape, SIZE))
        for t in range(words.shape[1]):
            believed.prepare()
            believed.predict(part[:, t], words)
            believed.read(words[:, t], words)
        parts.append(part)
    return np.concatenate(parts)


def _both(documents: Iterable[Document]) -> tuple[Floats, Floats]:
    """Surprisals to the reader and to the oracle, [documents, words] each."""
    bayes, oracle = [], []
    for block in _blocks(documents):
        words = np.stack([document.words for document in block])
        believed = Filter(len(block), block[0].spec)
        columns = []
        for t in range(words.shape[1]):
            believed.prepare()
            told = _told(believed, block, t)
            columns.append((believed.read(words[:, t], words), told))
        read, told = (np.stack(each, 1) for each in zip(*columns, strict=True))
        bayes.append(-np.log(read))
        oracle.append(-np.log(told))
    if not bayes:
        raise Misuse("There is no document to take the cross-entropy of; give one or more.")
    return np.concatenate(bayes), np.concatenate(oracle)


def _told(believed: Filter, block: list[Document], t: int) -> Floats:
    """[B], P(word | all that is hidden); a copied word is certain."""
    word, style, language, speaker, topic, source = np.array(
        [(d.words[t], d.style, d.language, d.speaker, d.trace.topic[t], d.trace.source[t]) for d in block]
    ).T
    by_style = believed.by_class(word[:, None])[np.arange(len(block)), style, 0]
    new = by_style * believed.spec.emission[word, style, language, speaker, topic]
    return np.where(source > 0, 1.0, new)


def _blocks(documents: Iterable[Document]) -> Iterable[list[Document]]:
    waiting = iter(documents)
    while block := list(islice(waiting, AT_ONCE)):
        if len({document.spec for document in block}) > 1:
            raise Misuse("Documents of different FactorLangs cannot be filtered together; give those of one.")
        yield block
