"""Documents: document n of a seed is a function of the two alone, whatever others are made beside it.

Its uniform numbers come from Philox with the key (seed, n), as raw 64-bit integers: their stream is fixed by numpy's
policy. All documents of a block are drawn together, word by word.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .document import Document, Trace
from .grammar import grammar
from .language import Language, cumulative, slot_weights
from .reading import Ints, Reading
from .vocabulary import N_NAMES, N_VALUES_OF_TYPE, OPEN_CLASSES, Class, vocabulary

BLOCK = 512  # documents drawn together: 15 MB
_HEAD, _PER_WORD = 4, 6  # uniform numbers of a document and of each of its words
Floats = NDArray[np.float64]


class _Hidden(NamedTuple):
    """[B] each, of the documents; the topic is the first word's."""

    style: Ints
    language: Ints
    speaker: Ints
    topic: Ints


def documents(seed: int, start: int, stop: int, *, language: Language | None = None) -> Iterator[Document]:
    """Documents number `start` to `stop` − 1 of a seed."""
    spec = language or Language()
    for begin in range(start, stop, BLOCK):
        yield from _block(seed, np.arange(begin, min(begin + BLOCK, stop)), spec)


def _block(seed: int, numbers: Ints, spec: Language) -> Iterator[Document]:
    uniform = np.stack([_uniform(seed, int(number), _HEAD + spec.words * _PER_WORD) for number in numbers])
    hidden = _Hidden(*((uniform[:, i] * n).astype(np.int64) for i, n in enumerate(spec.hidden)))
    draw = _Draw(hidden, spec)
    by_word = uniform[:, _HEAD:].reshape(len(numbers), spec.words, _PER_WORD).transpose(1, 2, 0)
    steps = [draw.step(each) for each in np.ascontiguousarray(by_word)]
    traces = {name: np.stack([step[name] for step in steps], 1) for name in steps[0]}
    words = draw.words
    for i, number in enumerate(numbers):
        yield Document(
            number=int(number),
            seed=seed,
            spec=spec,
            words=words[i],
            language=int(hidden.language[i]),
            style=int(hidden.style[i]),
            speaker=int(hidden.speaker[i]),
            trace=Trace(**{name: values[i] for name, values in traces.items()}),
        )


def _uniform(seed: int, number: int, n: int) -> Floats:
    """[n] in [0, 1), the upper 53 bits of each integer."""
    raw = np.random.Philox(key=np.array([seed, number], np.uint64)).random_raw(n)
    return (raw >> np.uint64(11)).astype(np.float64) * 2.0**-53


@cache
def _class_table() -> Floats:
    """[situations, styles, classes], cumulative."""
    return cumulative(grammar().probability)


@cache
def _slot_table() -> Floats:
    """[classes, styles, speakers, slots], cumulative; names, values and verbs of facts have no slots."""
    weight = slot_weights()
    return cumulative(np.where(weight.sum(-1, keepdims=True) > 0, weight, 1.0))


class _Draw:
    """The state of a block of documents while their words are drawn."""

    def __init__(self, hidden: _Hidden, spec: Language) -> None:
        self.hidden, self.spec, self.vocabulary = hidden, spec, vocabulary()
        self.topic = hidden.topic
        self.reading = Reading(len(hidden.topic), spec)
        self.words = np.full((len(hidden.topic), spec.words), -1)
        self.source = np.zeros_like(hidden.topic)
        self.next_copied = np.zeros_like(hidden.topic)  # position of the word to copy, where source > 0
        self.classes, self.slots = _class_table(), _slot_table()
        self.is_open = np.isin(np.arange(len(Class)), OPEN_CLASSES)

    def step(self, uniform: Floats) -> dict[str, NDArray[np.generic]]:
        """Draw and read the next word of every document with `uniform` [6, B]; what a Trace keeps of it."""
        reading, t = self.reading, self.reading.position
        if t:
            self._maybe_switch(uniform[0], uniform[1])
        self._maybe_copy(uniform[5])
        new, noise = self._new_word(*uniform[2:5])
        copying = self.source > 0
        copied = self.words[reading.all, np.where(copying, self.next_copied, 0)]
        words = np.where(copying, copied, new)
        self.next_copied += copying
        self.words[:, t] = words
        before, depth, innermost, resumed = reading.control, reading.depth, reading.innermost, reading.resumed
        place = t - reading.begins[:, 0]
        kind = self.vocabulary.class_of[words]
        reading.advance(words)
        opened = reading.depth > depth
        belongs = (kind == Class.NAME) | (kind == Class.VALUE)
        return {
            "topic": self.topic,
            "noise": noise & ~copying,
            "source": self.source,
            "before": before,
            "after": reading.control,
            "depth": np.maximum(depth, reading.depth),
            "innermost": np.where(opened, reading.innermost, innermost),
            "resumed": np.where(opened, reading.resumed, resumed),
            "fact": np.where(belongs, self._fact_of(), -1),
            "n_stated": reading.n_stated.copy(),
            "place": place,
        }

    def _maybe_switch(self, whether: Floats, which: Floats) -> None:
        others = self.spec.topics - 1
        if others:
            moved = (self.topic + 1 + (which * others).astype(np.int64)) % self.spec.topics
            self.topic = np.where(whether < self.spec.switch, moved, self.topic)

    def _maybe_copy(self, uniform: Floats) -> None:
        """At the start of a sentence: whether it repeats one of the last four, and which."""
        start, n = self.reading.at_start, self.reading.n_sources
        copies = start & (n > 0) & (uniform < self.spec.copy)
        back = 1 + (uniform / max(self.spec.copy, 1e-300) * n).astype(np.int64)
        self.source = np.where(copies, back, np.where(start, 0, self.source))
        at = self.reading.begins[self.reading.all, np.where(copies, back, 0)]
        self.next_copied = np.where(copies, at, self.next_copied)

    def _new_word(self, by_class: Floats, by_slot: Floats, by_noise: Floats) -> tuple[Ints, NDArray[np.bool_]]:
        reading, hidden, known = self.reading, self.hidden, self.vocabulary
        kind = (by_class[:, None] >= self.classes[reading.situation, hidden.style]).sum(1)
        slot = (by_slot[:, None] >= self.slots[kind, hidden.style, hidden.speaker]).sum(1)
        slot = np.where(kind == Class.FACT_VERB, reading.types[known.first[Class.NAME] + reading.name], slot)
        words = known.candidates[kind, hidden.language, self.topic, slot]
        noise = self.is_open[kind] & (by_noise < self.spec.noise)
        anything = known.first[kind] + (by_noise / max(self.spec.noise, 1e-300) * known.size_of[kind]).astype(np.int64)
        words = np.where(noise, anything, words)
        for special, fill in ((Class.NAME, self._names), (Class.VALUE, self._values)):
            here = (kind == special).nonzero()[0]
            if len(here):
                words[here] = fill(here, by_slot[here])
        return words, noise

    def _names(self, here: Ints, uniform: Floats) -> Ints:
        """One that was stated in a question, else one that was not."""
        reading = self.reading
        asked = reading.control[here] == reading.grammar.state("query word")
        n = np.where(asked, reading.n_stated[here], N_NAMES - reading.n_stated[here])
        index = (uniform * n).astype(np.int64)
        # A stable sort of the flags puts the names that were not stated first, in their order.
        free = np.argsort(reading.place_of[here] >= 0, axis=1, kind="stable")
        name = np.where(
            asked,
            reading.stated[here, np.where(asked, index, 0)],
            free[np.arange(len(here)), index],
        )
        return np.asarray(self.vocabulary.first[Class.NAME] + name, np.int64)

    def _values(self, here: Ints, uniform: Floats) -> Ints:
        reading = self.reading
        asked = reading.control[here] == reading.grammar.state("query mark")
        kind = reading.types[self.vocabulary.first[Class.NAME] + reading.name[here]]
        new = self.vocabulary.first[Class.VALUE] + kind * N_VALUES_OF_TYPE
        new = new + (uniform * N_VALUES_OF_TYPE).astype(np.int64)
        return np.asarray(np.where(asked, reading.value_of[here, reading.name[here]], new), np.int64)

    def _fact_of(self) -> Ints:
        name = self.reading.name
        known = self.reading.place_of[self.reading.all, name]
        # The name of a statement comes before its fact is known: it will be the next.
        return np.where(known >= 0, known, self.reading.n_stated)
