"""Span corruption (Raffel et al. 2020, section 3.1.4): spans of running text are left out, and the decoder says them.

    text     t₀ t₁ t₂ t₃ t₄ t₅ t₆ t₇, of which t₂ t₃ and t₆ t₇ are left out
    input    t₀ t₁ <extra_id_0> t₄ t₅ <extra_id_1> end
    labels   <extra_id_0> t₂ t₃ <extra_id_1> t₆ t₇ end

Windows run across documents, and a window of one length loses a fixed number of tokens in a fixed number of spans, so
that every sequence has the same length and nothing is padded. Only where the spans lie is random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from actpipe.errors import Misuse
from actpipe.pretraining.texts import Examples, Integers, Texts, Vocabulary

from .pairs import decoder_inputs
from .task import PAD, Batch, Reads, Task


@dataclass(frozen=True, kw_only=True)
class SpanCorruption(Task):
    name: ClassVar[str] = "span-corruption"
    reads: ClassVar[Reads] = "encoder-decoder"

    share: float = 0.15
    """Of the tokens of a window that are left out."""
    mean_span: float = 3.0
    """Tokens a span, on average."""
    sentinels: int = 100
    """`<extra_id_0>` and so on, which stand for the spans; T5's own tokenizer has 100."""

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise Misuse(f"share of span-corruption is between 0 and 1, not {self.share:g}.")
        if not self.mean_span >= 1 or self.sentinels < 1:
            raise Misuse("mean_span and sentinels of span-corruption are at least 1.")

    def special_tokens(self) -> tuple[str, ...]:
        return (PAD, *map(_sentinel, range(self.sentinels)))

    def n_examples(self, texts: Texts, context: int) -> int:
        return len(texts.tokens) // self.window(context)

    def window(self, context: int) -> int:
        """Tokens of text whose input and labels both fit into `context`, the most there are."""
        # A further token makes neither of the two shorter, so the search goes up.
        length = 2
        while max(self._lengths(length + 1)) <= context:
            length += 1
        n_spans = self._counts(length)[1]
        if max(self._lengths(length)) > context:
            raise Misuse(f"A context of {context} tokens is too short for span-corruption; give a longer --context.")
        if n_spans > self.sentinels:
            raise Misuse(
                f"A context of {context} tokens has {n_spans} spans, and there are {self.sentinels} sentinels for "
                "them; give more sentinels, a longer mean_span or a shorter --context."
            )
        return length

    def batch(self, texts: Texts, examples: Examples, vocabulary: Vocabulary, *, context: int) -> Batch:
        length = self.window(context)
        marks = np.array([vocabulary.special[_sentinel(i)] for i in range(self.sentinels)])
        inputs, labels = [], []
        for i, index in enumerate(examples.index):
            phase = _phase(texts, int(examples.epoch[i]), examples.seed)
            window = texts.window(int(index) * length + phase, length)
            noise = self._noise(length, examples.generator(i))
            inputs.append(np.append(_marked(window, noise, marks), vocabulary.end))
            labels.append(np.append(_marked(window, ~noise, marks), vocabulary.end))
        said = torch.from_numpy(np.stack(labels))
        read = torch.from_numpy(np.stack(inputs))
        return {
            "input_ids": read,
            "attention_mask": torch.ones_like(read),
            "decoder_input_ids": decoder_inputs(said, vocabulary.special[PAD]),
            "labels": said,
        }

    def _counts(self, length: int) -> tuple[int, int]:
        """Tokens left out of a window, and spans they lie in; something is left out and something stays."""
        n_noise = min(max(round(length * self.share), 1), length - 1)
        return n_noise, min(max(round(n_noise / self.mean_span), 1), length - n_noise)

    def _lengths(self, length: int) -> tuple[int, int]:
        """Of input and labels, each with its end."""
        n_noise, n_spans = self._counts(length)
        return length - n_noise + n_spans + 1, n_noise + n_spans + 1

    def _noise(self, length: int, generator: np.random.Generator) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Which tokens are left out: stretches that stay and spans that go take turns, and one that stays begins."""
        n_noise, n_spans = self._counts(length)
        stays, goes = _pieces(length - n_noise, n_spans, generator), _pieces(n_noise, n_spans, generator)
        return np.repeat(np.tile([False, True], n_spans), np.stack([stays, goes], axis=1).ravel())


def _sentinel(number: int) -> str:
    return f"<extra_id_{number}>"


def _pieces(total: int, count: int, generator: np.random.Generator) -> Integers:
    """`count` lengths of at least one that are `total` together, all ways equally likely."""
    cuts = np.sort(generator.choice(total - 1, count - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))


def _marked(window: Integers, out: np.ndarray[tuple[int], np.dtype[np.bool_]], marks: Integers) -> Integers:
    """The window with one sentinel in place of each run of tokens that are `out`."""
    first = out & ~np.concatenate([[False], out[:-1]])
    marked = np.where(first, marks[np.cumsum(first) - 1], window)
    kept: Integers = marked[first | ~out]
    return kept


def _phase(texts: Texts, epoch: int, seed: int) -> int:
    """Where the first window of a pass begins, so that a later pass cuts the text in other places."""
    return 0 if epoch == 0 else int(np.random.default_rng((seed, epoch, 0)).integers(len(texts.tokens)))
