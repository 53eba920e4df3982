"""Sentences and which of them are of the topic; then, of every unit of every hook, on how many of each it is active.

A unit is active on a sentence if it fires at any counted token of it, or with the rule `last` at the last one. A
sentence longer than the context is cut there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from actpipe.corpora.formats import documents_of
from actpipe.corpora.packing import Packed, PackingPolicy, pack
from actpipe.corpora.spool import Spool
from actpipe.errors import Missing, Misuse
from actpipe.harvest.model import LanguageModel

from .config import KtRule, SparsityConfig
from .measures import above
from .measuring import Batch, Reading, batches
from .subjects import Firing
from .texts import Task

SENTENCES = 500  # of each task, where no file of sentences is given
# Heuristic: a sentence ends at . ! or ? before a space, or at the end of a line. Abbreviations cut some in two.
_END = re.compile(r"(?<=[.!?])\s+|\n+")
_FEWEST_LETTERS = 8


@dataclass(frozen=True)
class Sentences:
    texts: tuple[str, ...]
    of_topic: NDArray[np.bool_]


@dataclass(frozen=True)
class Active:
    """Of one hook: sentences on which each unit is active, and those of them that are of the topic; both [n]."""

    sentences: NDArray[np.int64]
    of_topic: NDArray[np.int64]


def read_sentences(config: SparsityConfig, tasks: Iterable[Task]) -> Sentences:
    """Of --kt-sentences, else the first of every text."""
    if config.kt_label is not None:
        assert config.kt_sentences is not None
        texts, labels = _labelled(config.kt_sentences, config.text_field, config.kt_label)
    else:
        texts = list(_unlabelled(config, tasks))
        labels = [any(word in text.lower() for word in config.words) for text in texts]
    found = Sentences(tuple(texts), np.array(labels, dtype=bool))
    of_topic = int(found.of_topic.sum())
    if not 0 < of_topic < len(texts):
        raise Misuse(
            f"{of_topic} of {len(texts)} sentences are of the topic, so nothing can be compared. "
            "Give other --kt-words, or --kt-sentences of both kinds."
        )
    return found


def split_sentences(document: str) -> list[str]:
    return [part.strip() for part in _END.split(document) if len(part.strip()) >= _FEWEST_LETTERS]


def activity(
    model: LanguageModel,
    sentences: Sentences,
    policy: PackingPolicy,
    reading: Reading,
    firing: dict[str, Firing],
    rule: KtRule,
    advance: Callable[[float], None],
) -> tuple[dict[str, Active], NDArray[np.bool_]]:
    """{hook: on how many sentences its units are active}, and which sentences [N] have a token that counts."""
    topic, read = sentences.of_topic, np.zeros(len(sentences.texts), dtype=bool)
    counts = {s.hook: np.zeros((2, s.site.width), np.int64) for s in reading.subjects}
    with Spool(policy.context) as spool:
        one_each = replace(policy, style="documents")
        for block in pack(sentences.texts, model.tokenizer, one_each, sequences=2**62):
            spool.append(_first_of_each(block, read))
        for batch in batches(model, spool, reading, advance):
            number, last = _sentences_of(batch)
            of_topic = topic[batch.document[last]]
            for hook, rows in batch.rows.items():
                fires = rows != 0 if firing[hook] == "nonzero" else above(rows, reading.eps[-1])
                active = _active(fires, number, last, rule)
                counts[hook] += np.stack([active.sum(axis=0), active[of_topic].sum(axis=0)])
    return {hook: Active(*each) for hook, each in counts.items()}, read


def _labelled(path: Path, text_field: str, label: str) -> tuple[list[str], list[bool]]:
    texts, labels = [], []
    for number, line in enumerate(_existing(path).read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            text, value = record[text_field], record[label]
        except (ValueError, KeyError, TypeError):
            raise Misuse(f"{path}, line {number} is no JSON object with {text_field!r} and {label!r}.") from None
        if not isinstance(text, str) or value not in (True, False, 0, 1):
            raise Misuse(f"{path}, line {number}: {label!r} is {value!r}; it is true or false, beside a text.")
        texts.append(text)
        labels.append(bool(value))
    return texts, labels


def _unlabelled(config: SparsityConfig, tasks: Iterable[Task]) -> Iterator[str]:
    path = config.kt_sentences
    if path is None:
        for task in tasks:
            yield from islice((s for document in task.corpus.documents() for s in split_sentences(document)), SENTENCES)
    elif path.suffix == ".jsonl":
        yield from documents_of(_existing(path), config.text_field)
    else:
        lines = _existing(path).read_text(encoding="utf-8").splitlines()
        yield from (line.strip() for line in lines if line.strip())


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise Missing(f"There is no file {path}; --kt-sentences takes .txt with a sentence a line, or .jsonl.")
    return path


def _first_of_each(block: Packed, read: NDArray[np.bool_]) -> Packed:
    """The first sequence of each sentence that has a token which counts; `read` learns which these are."""
    keep = []
    for row, (doc, mask) in enumerate(zip(block.doc[:, 0], block.mask, strict=True)):
        if mask.any() and not read[doc]:
            read[doc] = True
            keep.append(row)
    return Packed(tokens=block.tokens[keep], doc=block.doc[keep], mask=block.mask[keep])


def _sentences_of(batch: Batch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """[b] number of the sequence in the batch, and [sequences] the row of its last counted token."""
    number = np.cumsum(np.diff(batch.sequence, prepend=batch.sequence[:1]) != 0)
    last = np.flatnonzero(np.diff(number, append=number[-1:] + 1))
    return number, last


def _active(fires: Tensor, number: NDArray[np.int64], last: NDArray[np.int64], rule: KtRule) -> NDArray[np.bool_]:
    """[sequences, n]."""
    if rule == "last":
        return fires[torch.from_numpy(last).to(fires.device)].cpu().numpy()
    found = torch.zeros(len(last), fires.shape[1], dtype=torch.int32, device=fires.device)
    found.index_add_(0, torch.from_numpy(number).to(fires.device), fires.int())
    return (found > 0).cpu().numpy()
